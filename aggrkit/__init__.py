"""aggrkit: understand the results of the same tests on many models, devices and workers.

``import aggrkit`` adds ``df.aggr`` to pandas; `aggrkit.open` asks the same questions of files and databases.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from aggrkit import datasets, errors
from aggrkit.accessor import (
    anomalies,
    calibrate,
    changes,
    compare,
    correlations,
    differences,
    distributions,
    explore,
    health,
    open,
    proportions,
    report,
    stats,
    trends,
    variance,
)
from aggrkit.analysis import Analysis
from aggrkit.model.constants import (
    AGGREGATION_LEVEL_HARDWARE,
    AGGREGATION_LEVEL_MODEL,
    AGGREGATION_LEVEL_MODEL_HARDWARE,
    AGGREGATION_LEVEL_TASK_TYPE,
    AGGREGATION_LEVEL_TEST_RUN,
    AGGREGATION_LEVEL_WORKER,
    RESULT_TYPE_COMPATIBILITY,
    RESULT_TYPE_INTEGRATION,
    RESULT_TYPE_PERFORMANCE,
    RESULT_TYPE_WEB_PLATFORM,
)
from aggrkit.model.metric import Metric
from aggrkit.model.selection import Selection, TimeRange

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = [
    "AGGREGATION_LEVEL_HARDWARE",
    "AGGREGATION_LEVEL_MODEL",
    "AGGREGATION_LEVEL_MODEL_HARDWARE",
    "AGGREGATION_LEVEL_TASK_TYPE",
    "AGGREGATION_LEVEL_TEST_RUN",
    "AGGREGATION_LEVEL_WORKER",
    "RESULT_TYPE_COMPATIBILITY",
    "RESULT_TYPE_INTEGRATION",
    "RESULT_TYPE_PERFORMANCE",
    "RESULT_TYPE_WEB_PLATFORM",
    "Analysis",
    "BenchmarkDBManager",
    "Metric",
    "Pipeline",
    "ResultAggregator",
    "ResultAggregatorService",
    "Selection",
    "TimeRange",
    "anomalies",
    "calibrate",
    "changes",
    "compare",
    "correlations",
    "datasets",
    "differences",
    "distributions",
    "errors",
    "explore",
    "health",
    "open",
    "proportions",
    "report",
    "reports",
    "stats",
    "trends",
    "variance",
]

__version__ = "0.1.0"


_LATE = {
    "BenchmarkDBManager": "aggrkit.store",
    "Pipeline": "aggrkit.pipeline.pipeline",
    "ResultAggregator": "aggrkit.detailed",
    "ResultAggregatorService": "aggrkit.service",
}


def __getattr__(name: str) -> object:
    if name == "reports":
        return import_module("aggrkit.reports")
    # These bring the engine with them, which `import aggrkit` alone shall not cost.
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module 'aggrkit' has no attribute {name!r}")


def load_ipython_extension(shell: "InteractiveShell") -> None:
    """Add the magic ``%aggr`` to IPython, for ``%load_ext aggrkit``."""
    import_module("aggrkit.magics").load(shell)


def unload_ipython_extension(shell: "InteractiveShell") -> None:
    """Take the magic ``%aggr`` away again."""
    import_module("aggrkit.magics").unload(shell)
