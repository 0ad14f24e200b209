"""How a report begins: the source is opened, and what is asked of it is made sure to exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aggrkit.analysis import Analysis
from aggrkit.errors import EmptySelectionError, SchemaError
from aggrkit.model.metric import METRIC_SPELLINGS, RESULT_TYPES
from aggrkit.model.selection import Selection
from aggrkit.panel.offer import Offer
from aggrkit.pipeline.selecting import select
from aggrkit.reports.handing_over import input_hash, read_options
from aggrkit.reports.sheet import Sheet, Unanswered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["begin"]

_LEVELS_FOR: Final = {"integration": ("task_type", "model_hardware", "worker"), "health": ("worker", "hardware")}


def begin(
    title: str,
    source: str,
    *,
    table: str | None = None,
    options: Mapping[str, Any] | None = None,
    label: str | None = None,
    level: str | Sequence[str] | None = None,
    metrics: str | Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
    time_range: Sequence[Any] | None = None,
    result_type: str | None = None,
    kind: str = "performance",
) -> Sheet:
    r"""Open a source for a report, and make sure that what is asked of it can be.

    Parameters
    ----------
    title : str
        Heading of the page.
    source : str
        Path, glob, folder or DuckDB file, as for `aggrkit.open`.
    table : str, optional
        Which table of a database.
    options : mapping, optional
        Further arguments of `aggrkit.open`: what columns mean, memory_limit, threads.
    label : str, optional
        What the source is called on the page.
    level, metrics, where, time_range, result_type
        The fields of a `Selection`. Without a level, the first that the results have of those that suit the report.
        Without metrics, the known ones of the result type, where there are any, else all.
    kind : str, optional
        Which result type the report is about.

    Returns
    -------
    Sheet

    Raises
    ------
    SourceError
        If the source can't be read.
    UnknownNameError
        If a level, metric or column doesn't exist.

    Examples
    --------
    >>> import aggrkit, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "runs.csv"
    >>> _ = path.write_text("model,latency_ms\nbert,3\nbert,5\n")
    >>> sheet = aggrkit.reports.begin("My runs", str(path))
    >>> sheet.ask("stats")["mean"].tolist(), sheet.asked["level"]
    ([4.0], 'model')
    """
    from aggrkit.sources.opening import open_source

    roles = read_options(options or {})
    limits = (roles.pop("memory_limit", None), roles.pop("threads", None))
    results = Analysis(open_source(source, table, *limits), {})(**roles)
    said = {"label": label or source, "table": table, "options": options, "hash": input_hash(source)}
    selection = _selection(level if level is not None else (), metrics, where, time_range, result_type)
    asked: dict[str, Any] = {"level": level, "metrics": metrics, "where": dict(where or {}), "time_range": time_range}
    sheet = Sheet(title, results, selection, asked, said)
    observations = results.source(results.given)  # says so where a role is of no column
    try:
        results.head(1)
        sheet.offer = offer = Offer.of(observations)
    except (EmptySelectionError, SchemaError) as error:
        sheet.results = Unanswered("stats", str(error))
        return sheet
    if result_type is not None:
        asked["where"] |= offer.filter_of(result_type)
    if level is None:
        asked["level"] = _level_for(kind, offer)
    if metrics is None:
        asked["metrics"] = _metrics_for(result_type or kind, offer)
    sheet.selection = _selection(**asked, result_type=result_type)
    try:
        select(observations, sheet.selection)  # says so where a name doesn't exist
        results.head(1, where=asked["where"], time_range=time_range)
    except EmptySelectionError as error:
        sheet.results = Unanswered("stats", str(error))
    return sheet


def _selection(level: Any, metrics: Any, where: Any, time_range: Any, result_type: str | None) -> Selection:
    return Selection(level, metrics, where, time_range, result_type)


def _level_for(kind: str, offer: Offer) -> str | list[str]:
    """Return the level of a report where none was given."""
    wanted = (*_LEVELS_FOR.get(kind, ()), "model_hardware", "model", "hardware", "task_type", "worker", "test_run")
    known = [name for name in wanted if name in offer.levels]
    return known[0] if known else []


def _metrics_for(kind: str, offer: Offer) -> list[str] | None:
    """Return the known metrics of a type, and what passes or fails; None for all, where none of them is known."""
    known = {metric.name for metric in RESULT_TYPES.get(kind, ())}
    metrics = offer.schema.metrics
    if not any(_canonical(metric.name) in known for metric in metrics):
        return None
    return [metric.name for metric in metrics if _canonical(metric.name) in known or metric.is_proportion]


def _canonical(name: str) -> str:
    return METRIC_SPELLINGS.get(name.casefold(), name.casefold())
