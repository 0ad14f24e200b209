"""``df.aggr``, `aggrkit.open`, and the functions with types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from aggrkit.analysis import Analysis
from aggrkit.errors import SourceError, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import duckdb
    import ibis
    import numpy as np

    from aggrkit.analysis import Adjustment, Level, Method, Names, TableAdjustment, Where
    from aggrkit.findings import (
        Anomalies,
        Calibration,
        Changes,
        Comparison,
        Correlations,
        Differences,
        Distributions,
        Health,
        Proportions,
        Stats,
        Trends,
        Variance,
    )
    from aggrkit.panel import Panel
    from aggrkit.reports import Report
    from aggrkit.sources.observations import Observations
    from aggrkit.store import BenchmarkDBManager

__all__ = [
    "anomalies",
    "calibrate",
    "changes",
    "compare",
    "correlations",
    "differences",
    "distributions",
    "explore",
    "health",
    "open",
    "proportions",
    "report",
    "stats",
    "trends",
    "variance",
]


class _FrameSource:
    """A frame as a source; the engine is imported when it is first asked."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def __call__(self, given: Mapping[str, Any]) -> Observations:
        from aggrkit.sources.frame import frame_observations

        return frame_observations(self.frame, given)


@dataclass(frozen=True)
class Results(Analysis):
    """Questions to one source, and a panel to look at it.

    Parameters
    ----------
    opened : str, optional
        How the source is written in code.
    place : mapping, optional
        The path that the source was opened from, and how; None where it has none.
    """

    opened: str = "df.aggr"
    place: Mapping[str, Any] | None = None

    def explore(self, *, follow: bool | float = False, **state: Any) -> Panel:
        """Look at the results: a panel of charts to choose from and click into, with the answers below.

        Parameters
        ----------
        follow : bool or float, optional
            Whether the panel shows by itself what comes later, with everything chosen as it is; or every how many
            seconds it looks, 2 by default. For stores, databases and files; see `Panel.follow` for what it sees.
        **state
            What is shown first, all of it optional: `result_type`, `level`, `metric`, `statistic` ("p50", "mean", ...),
            `start` and `end` (such as "2026-03-01"), `cell` (the group that is clicked, ``{"model": "bert"}``), `tab`
            ("statistics", "anomalies", "changes", "compare", "correlations" or "rows"), and what is compared: `by`,
            `baseline` and `current`.

        Returns
        -------
        aggrkit.panel.Panel
            A widget. ``panel.result`` is the answer of the open tab, ``panel.code`` the Python that computes it,
            ``panel.state`` what is shown: ``explore(**panel.state)`` shows it again.

        Raises
        ------
        UnknownNameError
            For a level, metric, statistic or column that doesn't exist.
        SourceError
            If a DataFrame is to be followed, which is a snapshot.

        Notes
        -----
        Sources of more than a million observations are shown from a random sample of 200,000 until all of them are
        counted by group and day, in the background; each picture says whether it is exact, cached or sampled.

        Examples
        --------
        >>> import aggrkit
        >>> df = aggrkit.datasets.load("mlperf_training")
        >>> panel = df.aggr.explore(metric="total_time_seconds", cell={"model": "bert"}, level="model")
        >>> print(panel.code)
        import aggrkit
        <BLANKLINE>
        result = df.aggr.stats(
            level='model',
            metrics=['total_time_seconds'],
            where={'model': 'bert'},
        )
        >>> panel.close()
        """
        from aggrkit.panel import Panel

        roles = ", ".join(f"{name}={value!r}" for name, value in self.given.items())
        return Panel(self, f"{self.opened}({roles})" if roles else self.opened, follow=follow, **state)

    def report(
        self, path: str | Path, template: str | None = None, *, progress: bool = True, **parameters: Any
    ) -> Report:
        """Make a report: a notebook is run on the results, and a page of it written that can be sent to anybody.

        Parameters
        ----------
        path : path
            Where to write; the suffix says what. ".html": one page of at most 3 MB that needs no network; its charts
            are live, and pictures where scripts are off. ".pdf": the same on paper, by the Chromium that is installed.
            ".md": for GitHub, with its pictures in the folder ``<name>_files``. ".ipynb": the notebook.
        template : str, optional
            "performance", "compatibility", "integration", "web_platform", "regression" (two builds) or "health" (which
            machine is sick); or the path of a notebook of one's own. By default the one that fits the results.
        progress : bool, optional
            Whether to show how far it is.
        **parameters
            What is said to the template: `level`, `metrics`, `where`, `time_range`, `result_type` as in `stats`;
            `title`; `margin`, `alpha`, `repeats`; for "regression" also `baseline`, `current`, `by`, `statistic` and
            `adjust`. ``aggrkit.reports.templates()`` lists all.

        Returns
        -------
        aggrkit.reports.Report
            ``path``, ``template``, ``verdict`` (title, tone and sentences of the head) and ``seconds``.

        Raises
        ------
        ReportError
            If a cell failed. The page is written and shows the error; the notebook, as far as it was run, is kept.
        UnknownNameError, TypeError
            For an unknown format, template or parameter, or a value of another type.
        AggrError
            If papermill or, for a PDF, Chromium is missing; it says how to install them.

        Notes
        -----
        The notebook runs in a process of its own. It opens files and databases where they are; of a frame it gets a
        copy, which is deleted when the report is done.

        Examples
        --------
        >>> import aggrkit, pathlib, tempfile
        >>> df = aggrkit.datasets.load("onnx_scoreboard")
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "scores.html"
        >>> made = df.aggr.report(path, level="hardware", progress=False)  # doctest: +SKIP
        >>> made.verdict["tone"]  # doctest: +SKIP
        'bad'
        """
        from aggrkit.reports import report

        return report(self, path, template, parameters, opened=self.place, progress=progress)


@pd.api.extensions.register_dataframe_accessor("aggr")
class AggrAccessor(Results):
    """Questions to the observations in a DataFrame, one row each; the frame is read, never changed.

    Parameters
    ----------
    frame : pandas.DataFrame
        The observations.

    Examples
    --------
    >>> import pandas as pd, aggrkit
    >>> df = pd.DataFrame({"model": ["bert", "bert"], "latency_ms": [3.0, 5.0]})
    >>> df.aggr.stats(level="model")[["model", "mean"]].values.tolist()
    [['bert', 4.0]]
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        super().__init__(_FrameSource(frame), {})

    def __call__(self, **said: Any) -> Results:  # type: ignore[override]
        return Results(self.source, {})(**said)

    __call__.__doc__ = Analysis.__call__.__doc__


def open(
    source: str
    | Path
    | Sequence[str | Path]
    | pd.DataFrame
    | BenchmarkDBManager
    | duckdb.DuckDBPyConnection
    | ibis.Table,
    *,
    table: str | None = None,
    memory_limit: str | None = None,
    threads: int | None = None,
    **roles: Any,
) -> Results:
    r"""Open observations where they are; nothing is loaded before a question, and then only the answer.

    Parameters
    ----------
    source : str, path, list of paths, pandas.DataFrame, BenchmarkDBManager, duckdb.DuckDBPyConnection or ibis.Table
        CSV, Parquet or JSON lines: a file, a glob ("runs/*.parquet"), or a folder of hive partitions; a DuckDB file
        (".duckdb") or connection; a store, also one that this process writes to; a frame; an Ibis table on any engine.
        Or what a tool wrote, also as several files in a list: JSON of pytest-benchmark, Google Benchmark and
        hyperfine, output of ``go test -bench``, results of asv, JUnit XML, logs of MLPerf. These are told by what they
        hold, packed or not, and read into memory.
    table : str, optional
        Which table of a database; may be left out where there is only one.
    memory_limit : str, optional
        Most memory that the embedded engine may use, e.g. "1GB".
    threads : int, optional
        Most threads that it may use.
    **roles
        What the columns mean, as in ``df.aggr(model="net", ...)``.

    Returns
    -------
    Results
        With the methods of ``df.aggr``.

    Raises
    ------
    SourceError
        If the source is missing, damaged, locked or of an unknown kind.

    Examples
    --------
    >>> import aggrkit, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "results.csv"
    >>> _ = path.write_text("model,latency_ms\nbert,3\nbert,5\n")
    >>> aggrkit.open(path).stats(level="model")["mean"].tolist()
    [4.0]
    """
    said = {"table": table, "memory_limit": memory_limit, "threads": threads}
    options = "".join(f", {name}={value!r}" for name, value in said.items() if value is not None)
    written = repr(str(source)) if isinstance(source, (str, Path)) else "source"
    opened = f"aggrkit.open({written}{options})"
    place = {"source": str(source), **said} if isinstance(source, (str, Path)) else None
    return Results(_asked(source, table, memory_limit, threads), {}, opened=opened, place=place)(**roles)


def _asked(
    source: Any, table: str | None, memory_limit: str | None, threads: int | None
) -> Callable[[Mapping[str, Any]], Observations]:
    from aggrkit.sources.opening import open_source
    from aggrkit.store import BenchmarkDBManager

    if not isinstance(source, BenchmarkDBManager):
        return open_source(source, table, memory_limit, threads)
    if memory_limit is not None or threads is not None:
        raise SourceError("memory_limit and threads are for files; set them by 'config' of the store itself")
    return source.opened(table)


def stats(
    data: pd.DataFrame | Analysis,
    level: Level = "model_hardware",
    metrics: Names = None,
    where: Where = None,
    time_range: Sequence[Any] | None = None,
    percentiles: Sequence[float] = (50, 75, 90, 95, 99),
) -> Stats:
    return _analysis(data).stats(level, metrics, where, time_range, percentiles)


def proportions(
    data: pd.DataFrame | Analysis,
    level: Level = "model_hardware",
    metrics: Names = None,
    where: Where = None,
    time_range: Sequence[Any] | None = None,
    confidence: float = 0.95,
) -> Proportions:
    return _analysis(data).proportions(level, metrics, where, time_range, confidence)


def distributions(
    data: pd.DataFrame | Analysis,
    columns: Names = None,
    level: Level = "model_hardware",
    where: Where = None,
    time_range: Sequence[Any] | None = None,
    max_values: int = 50,
) -> Distributions:
    return _analysis(data).distributions(columns, level, where, time_range, max_values)


def anomalies(
    data: pd.DataFrame | Analysis,
    level: Level = "model_hardware",
    metrics: Names = None,
    where: Where = None,
    time_range: Sequence[Any] | None = None,
    method: Method = "robust",
    alpha: float = 0.05,
    threshold: float | None = None,
) -> Anomalies:
    return _analysis(data).anomalies(level, metrics, where, time_range, method, alpha, threshold)


def compare(
    data: pd.DataFrame | Analysis,
    baseline: Any,
    current: Any = None,
    by: str | None = None,
    level: Level = "model_hardware",
    metrics: Names = None,
    where: Where = None,
    time_range: Sequence[Any] | None = None,
    margin: float | Mapping[str, float] = 0.02,
    alpha: float = 0.05,
    adjust: TableAdjustment | None = "fdr_bh",
    statistic: str | Sequence[str] = "mean",
) -> Comparison:
    return _analysis(data).compare(
        baseline, current, by, level, metrics, where, time_range, margin, alpha, adjust, statistic
    )


def calibrate(
    data: pd.DataFrame | Analysis,
    baseline: Any = None,
    current: Any = None,
    by: str | None = None,
    level: Level = "model_hardware",
    metrics: Names = None,
    where: Where = None,
    time_range: Sequence[Any] | None = None,
    margin: float | Mapping[str, float] = 0.02,
    alpha: float = 0.05,
    adjust: TableAdjustment | None = "fdr_bh",
    statistic: str | Sequence[str] = "mean",
    repeats: int | None = None,
    rng: int | np.random.Generator = 0,
    progress: bool = True,
) -> Calibration:
    return _analysis(data).calibrate(
        baseline,
        current,
        by,
        level,
        metrics,
        where,
        time_range,
        margin,
        alpha,
        adjust,
        statistic,
        repeats,
        rng,
        progress,
    )


def correlations(
    data: pd.DataFrame | Analysis,
    level: Level = (),
    metrics: Names = None,
    where: Where = None,
    time_range: Sequence[Any] | None = None,
    method: str | Sequence[str] = ("pearson", "spearman"),
    alpha: float = 0.05,
    adjust: Adjustment | None = "fdr_bh",
) -> Correlations:
    return _analysis(data).correlations(level, metrics, where, time_range, method, alpha, adjust)


def trends(
    data: pd.DataFrame | Analysis,
    level: Level = "model_hardware",
    metrics: Names = None,
    where: Where = None,
    time_range: Sequence[Any] | None = None,
    alpha: float = 0.05,
    adjust: Adjustment | None = "fdr_bh",
) -> Trends:
    return _analysis(data).trends(level, metrics, where, time_range, alpha, adjust)


def changes(
    data: pd.DataFrame | Analysis,
    level: Level = "model_hardware",
    metrics: Names = None,
    where: Where = None,
    time_range: Sequence[Any] | None = None,
    false_alarm: float = 0.05,
    margin: float | Mapping[str, float] = 0.02,
    adjust: Adjustment | None = "fdr_bh",
    across: Names = None,
    common_mode: Literal["keep", "remove"] = "keep",
) -> Changes:
    return _analysis(data).changes(level, metrics, where, time_range, false_alarm, margin, adjust, across, common_mode)


def differences(
    data: pd.DataFrame | Analysis,
    dimensions: Names = None,
    metrics: Names = None,
    where: Where = None,
    time_range: Sequence[Any] | None = None,
    alpha: float = 0.05,
    adjust: Adjustment | None = "fdr_bh",
) -> Differences:
    return _analysis(data).differences(dimensions, metrics, where, time_range, alpha, adjust)


def variance(
    data: pd.DataFrame | Analysis,
    level: Level = (),
    metrics: Names = None,
    where: Where = None,
    time_range: Sequence[Any] | None = None,
    alpha: float = 0.05,
    adjust: Adjustment | None = "fdr_bh",
) -> Variance:
    return _analysis(data).variance(level, metrics, where, time_range, alpha, adjust)


def health(
    data: pd.DataFrame | Analysis,
    metrics: Names = None,
    where: Where = None,
    time_range: Sequence[Any] | None = None,
    alpha: float = 0.05,
    margin: float = 0.02,
) -> Health:
    return _analysis(data).health(metrics, where, time_range, alpha, margin)


def explore(data: pd.DataFrame | Results, *, follow: bool | float = False, **state: Any) -> Panel:
    return _results(data, "explore").explore(follow=follow, **state)


def report(
    data: pd.DataFrame | Results,
    path: str | Path,
    template: str | None = None,
    *,
    progress: bool = True,
    **parameters: Any,
) -> Report:
    return _results(data, "report").report(path, template, progress=progress, **parameters)


def _results(data: pd.DataFrame | Analysis, purpose: str) -> Results:
    found = _analysis(data)
    if not isinstance(found, Results):
        raise TypeError(f"{purpose} a DataFrame, or what aggrkit.open(...) returns; got {quoted(data)}")
    return found


def _analysis(data: pd.DataFrame | Analysis) -> Analysis:
    if isinstance(data, pd.DataFrame):
        return AggrAccessor(data)
    if not isinstance(data, Analysis):
        raise TypeError(f"ask a DataFrame, or what aggrkit.open(...) returns; got {quoted(data)}")
    return data


_TWINS = (
    *(stats, proportions, distributions, anomalies, compare, calibrate, correlations, trends, changes, differences),
    *(variance, health, explore, report),
)
for _twin in _TWINS:
    _twin.__doc__ = getattr(Results, _twin.__name__).__doc__
