"""aggrkit: understand the results of the same tests on many models, devices and workers.

``import aggrkit`` adds ``df.aggr`` to pandas; `aggrkit.open` asks the same questions of files and databases.
"""

from aggrkit import datasets, errors
from aggrkit.accessor import anomalies, compare, correlations, distributions, open, proportions, stats
from aggrkit.analysis import Analysis
from aggrkit.model.metric import Metric
from aggrkit.model.selection import Selection, TimeRange

__all__ = [
    "Analysis",
    "Metric",
    "Pipeline",
    "Selection",
    "TimeRange",
    "anomalies",
    "compare",
    "correlations",
    "datasets",
    "distributions",
    "errors",
    "open",
    "proportions",
    "stats",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Pipeline brings the engine with it, which `import aggrkit` alone shall not cost.
    if name == "Pipeline":
        from aggrkit.pipeline.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module 'aggrkit' has no attribute {name!r}")
