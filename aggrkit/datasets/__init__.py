"""Small sets of real results that ship with the package, one for each result type.

=================  =============  ==========================================================================
name               result type    what it holds
=================  =============  ==========================================================================
mlperf_training    performance    6,859 training runs of MLPerf rounds v2.1 to v3.1, on 25 accelerators
onnx_scoreboard    compatibility  61,809 results of the ONNX backend tests, once a month for 14 months
ci_tests           integration    10,206 test executions in 341 builds of deeplearning4j
jsfw_bench         web_platform   15,180 samples of 10 web frameworks on 10 Chrome releases
=================  =============  ==========================================================================

``NOTICE.md`` beside this file names the sources, their licences and what was changed. The gaps, aborted runs and
repeated submissions of the sources are kept: they are what real results look like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aggrkit.errors import UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load", "names"]

_NAMES: Final = ("mlperf_training", "onnx_scoreboard", "ci_tests", "jsfw_bench")


def names() -> list[str]:
    """Return the names of the sets that `load` knows.

    Returns
    -------
    list of str
        The names, a new list at each call.

    Examples
    --------
    >>> from aggrkit import datasets
    >>> datasets.names()
    ['mlperf_training', 'onnx_scoreboard', 'ci_tests', 'jsfw_bench']
    """
    return list(_NAMES)


def load(name: str) -> pd.DataFrame:
    """Load a set that ships with the package; nothing is fetched from a network.

    Parameters
    ----------
    name : str
        One of `names()`.

    Returns
    -------
    pandas.DataFrame
        One row for each observation. Times are UTC. Columns are str, int64, float64, bool or datetime64[us, UTC];
        what the source did not record is missing. Each call returns a new frame, which may be changed.

    Raises
    ------
    UnknownNameError
        There is no set of that name.

    Examples
    --------
    >>> from aggrkit import datasets
    >>> runs = datasets.load("mlperf_training")
    >>> runs.shape
    (6859, 26)
    >>> runs["round"].value_counts().to_dict()
    {'v3.0': 2771, 'v3.1': 2208, 'v2.1': 1880}
    """
    if name not in _NAMES:
        raise UnknownNameError.of("dataset", name, _NAMES)
    # Imported here, so that importing this module costs next to nothing.
    from importlib import resources
    from io import BytesIO

    import pandas as pd

    # Bytes instead of a path: a package can also live in a zip file.
    content = resources.files(__name__).joinpath(f"{name}.parquet").read_bytes()
    return pd.read_parquet(BytesIO(content), engine="pyarrow")
