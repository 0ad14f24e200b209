"""What the detailed layer says of its results: plain dictionaries, made of the core's answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.detailed.log import LIVE
from aggrkit.errors import EmptySelectionError, SchemaError, UnknownNameError
from aggrkit.model.schema import Role
from aggrkit.model.selection import Selection
from aggrkit.pipeline.expressions import as_number, fetch
from aggrkit.pipeline.selecting import select, times_of
from aggrkit.statistics.proportions import wilson_interval
from aggrkit.wire import basic_statistics, group_keys, percentiles_response, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggrkit.analysis import Analysis
    from aggrkit.findings import Comparison
    from aggrkit.model.schema import Schema
    from aggrkit.pipeline.prepared import Prepared

__all__ = [
    "DIMENSIONS",
    "by_value",
    "compared",
    "configurations",
    "differing",
    "dimension_column",
    "flat_statistics",
    "lines",
    "overall",
]

Nested = dict[str, Any]

DIMENSIONS: Final[dict[str, Role]] = {
    "model": Role.MODEL,
    "hardware": Role.HARDWARE,
    "worker": Role.WORKER,
    "task_type": Role.TASK_TYPE,
    "test_run": Role.RUN,
}
"""The dimensions with a name of their own; any other column may be one as well."""

_TEST_COLUMNS: Final = ("test_id", "test_name", "test_case", "test", "benchmark")
_REASONS: Final = ("error_message", "error", "reason", "error_type", "status")
_MOST_REASONS: Final = 5
_MOST_CONFIGURATIONS: Final = 5
_FLAT: Final = {"count": "count", "mean": "mean", "stdev": "std", "min": "min", "max": "max", "median": "median"}


def dimension_column(schema: Schema, dimension: str) -> str:
    """Return the column of a dimension: "test", a role, or a column of that name.

    Raises
    ------
    UnknownNameError
        If there is none; lists those that could be.
    """
    if dimension == "test":
        found = next((name for name in _TEST_COLUMNS if name in schema.names), None)
        column = schema.role(Role.MODEL)
        if found is not None or column is not None:
            return found or column.name  # type: ignore[union-attr]
    role = DIMENSIONS.get(dimension)
    played = None if role is None else schema.role(role)
    if played is not None:
        return played.name
    described = [c.name for c in schema.columns if c.metric is None and c.role is not Role.IGNORED and c.name != LIVE]
    if dimension in described:
        return dimension
    try:
        return schema.column(dimension, "dimension").name
    except UnknownNameError:
        there = [name for name, role in DIMENSIONS.items() if schema.role(role) is not None]
        raise UnknownNameError.of("dimension", dimension, [*there, *described]) from None


def flat_statistics(analysis: Analysis, column: str) -> dict[str, Nested]:
    """Return value of the dimension -> ``count``, ``success_rate`` and ``<metric>_mean``, ``_stdev``, ..., ``_cv``."""
    found: dict[str, Nested] = {}
    for key, (count, metrics) in _statistics(analysis, column).items():
        entry = found.setdefault(key, {"count": count})
        for metric, numbers in metrics.items():
            entry |= {f"{metric}_{name}": number for name, number in numbers.items() if name != "count"}
    for key, rates in _rates(analysis, column).items():
        found[key] |= rates
    return found


def by_value(analysis: Analysis, column: str, alpha: float) -> dict[str, Nested]:
    """Return value of a column -> what is known of its results.

    Returns
    -------
    dict
        ``count``, ``success_rate`` with ``success_rate_ci``, ``failure_reasons`` (most frequent first), ``metrics``
        (metric -> count, mean, stdev, min, max, median, p95, p99, cv) and ``trends`` (metric -> slope and verdict).
    """
    found: dict[str, Nested] = {
        key: {"count": count, "metrics": metrics, "trends": {}, "failure_reasons": {}}
        for key, (count, metrics) in _statistics(analysis, column).items()
    }
    for key, rates in _rates(analysis, column).items():
        found[key] |= rates
    for key, reasons in _failure_reasons(analysis, column).items():
        found[key]["failure_reasons"] = reasons
    for line in _trends(analysis, column, alpha):
        found[line.pop("group")]["trends"][line.pop("metric")] = line
    return found


def _statistics(analysis: Analysis, column: str) -> dict[str, tuple[int, dict[str, Nested]]]:
    """Return value of a column -> number of results, and metric -> its numbers."""
    stats = analysis.stats(level=[column])
    outcomes = [metric.name for metric in analysis.schema.metrics if metric.is_proportion]
    rates = analysis.proportions(level=[column], metrics=outcomes) if outcomes else None
    basic, points = basic_statistics(stats, [column], rates), percentiles_response(stats, [column], rates)
    found: dict[str, tuple[int, dict[str, Nested]]] = {}
    for key, metrics in basic.items():
        described = {}
        for metric, entry in metrics.items():
            if metric == "result_count":
                continue
            numbers = {name: entry[source] for name, source in _FLAT.items()}
            tails = {name: points[key][metric][name] for name in ("p95", "p99")}
            mean, std = entry["mean"], entry["std"]
            described[metric] = {**numbers, **tails, "cv": std / abs(mean) if mean and std is not None else None}
        found[key] = metrics["result_count"], described
    return found


def configurations(analysis: Analysis) -> dict[str, Nested]:
    """Return metric -> fastest and slowest, or best and worst, configurations by their median.

    A configuration is a combination of model, hardware and conditions; where the better direction of a metric isn't
    known they are called "lowest" and "highest".
    """
    schema = analysis.schema
    columns = [c.name for c in schema.playing(Role.MODEL, Role.HARDWARE, Role.TASK_TYPE, Role.CONDITION)]
    stats = analysis.stats(level=columns)
    found: dict[str, Nested] = {}
    for name, lines_of in stats[stats["n"] > 0].groupby("metric", sort=False):
        metric = schema.metric(str(name))
        value = "mean" if metric.is_proportion else "p50"
        ordered = lines_of.sort_values(value, ascending=metric.sign <= 0, kind="stable")
        labels = _ends(metric.sign, metric.unit)
        entries: list[Nested] = [
            {
                **{c: plain(line[c]) for c in columns},
                "median" if value == "p50" else "rate": plain(line[value]),
                "n": int(line["n"]),
            }
            for line in map(dict, ordered.to_dict("records"))
        ]
        found[str(name)] = {
            "unit": metric.unit,
            labels[0]: entries[:_MOST_CONFIGURATIONS],
            labels[1]: entries[::-1][:_MOST_CONFIGURATIONS],
        }
    return found


def differing(analysis: Analysis, alpha: float) -> list[Nested]:
    """Return what differs by dimension, with effect size and adjusted p-value; the largest effect first."""
    try:
        found = analysis.differences(alpha=alpha)
    except (SchemaError, UnknownNameError, EmptySelectionError):
        return []
    return lines(found.sort_values("effect_size", ascending=False, kind="stable"), ())


def compared(analysis: Analysis, config: Mapping[str, Any], *, live: int, total: int) -> tuple[Comparison | None, str]:
    """Compare the current results with those before them.

    Current are those that came in live, where there is history beside them; else the latest ``current_days``, or, where
    all of them are within that time, the later half.

    Returns
    -------
    comparison : Comparison or None
        None where there is nothing to compare.
    why : str
        What was compared with what, or why nothing was.
    """
    options: dict[str, Any] = {"margin": config["comparison_margin"], "alpha": config["significance_level"]}
    try:
        if 0 < live < total:
            found = analysis.compare("historical", "current", by=LIVE, **options)
            return found, f"the {live} results that came in live, against {total - live} of history"
        ignoring = analysis(ignore=[LIVE])
        split = _split(ignoring, config["current_days"])
        if split is None:
            return None, "there are no two times to compare"
        found = ignoring.compare((None, split), (split + pd.Timedelta(1, "us"), None), **options)
    except (EmptySelectionError, SchemaError, UnknownNameError) as error:
        return None, f"nothing was compared: {error}"
    return found, f"results after {split:%Y-%m-%d %H:%M} against those until then"


def overall(analysis: Analysis) -> Nested:
    """Return how many results there are, of when, and how many passed."""
    schema = analysis.schema
    stats = analysis.stats(level=[])
    found: Nested = {"total_results": int((stats["n"] + stats["missing"]).max())}
    moment = schema.role(Role.TIMESTAMP)
    if moment is not None:
        times = _times(analysis)
        found |= {"first_result": plain(times[0]), "last_result": plain(times[1])}
    outcomes = [metric.name for metric in schema.metrics if metric.is_proportion and metric.sign > 0]
    if outcomes:
        line = analysis.proportions(level=[], metrics=outcomes[0]).iloc[0]
        found |= _rate_entry(line)
    for dimension, role in DIMENSIONS.items():
        column = schema.role(role)
        if column is not None:
            found[f"{dimension}_count"] = len(analysis.stats(level=[column.name]).drop_duplicates(column.name))
    return found


def lines(frame: pd.DataFrame, groups: Sequence[str]) -> list[Nested]:
    """Return a frame as a list of dictionaries, with the key of the group where there are groups."""
    keys = group_keys(frame, groups)
    told = [{str(name): plain(value) for name, value in line.items()} for line in frame.to_dict("records")]
    return [{"group": key, **line} if groups else line for key, line in zip(keys, told, strict=True)]


def _rates(analysis: Analysis, column: str) -> dict[str, Nested]:
    outcomes = [metric.name for metric in analysis.schema.metrics if metric.is_proportion and metric.sign > 0]
    if not outcomes:
        return {}
    frame = analysis.proportions(level=[column], metrics=outcomes[0])
    return {
        key: _rate_entry(line) for key, (_, line) in zip(group_keys(frame, [column]), frame.iterrows(), strict=True)
    }


def _rate_entry(line: pd.Series[Any]) -> Nested:
    n, passed = int(line["n"]), int(line["successes"])
    if not n:
        return {"passed": 0, "failed": 0, "success_rate": None, "success_rate_ci": [None, None]}
    low, high = wilson_interval(passed, n)
    interval = [float(low), float(high)]
    return {"passed": passed, "failed": n - passed, "success_rate": passed / n, "success_rate_ci": interval}


def _failure_reasons(analysis: Analysis, column: str) -> dict[str, Nested]:
    """Return value -> reason -> how often, of the results that failed."""
    schema = analysis.schema
    outcomes = [metric for metric in schema.metrics if metric.is_proportion and metric.sign > 0]
    reason = next((name for name in _REASONS if name in schema.names and name != column), None)
    if not outcomes or reason is None:
        return {}
    source = schema.metric(outcomes[0].name).name
    found: dict[str, Nested] = {}
    try:
        frame = analysis.distributions([reason], level=[column], where=_failed(analysis, source), max_values=1000)
    except EmptySelectionError:  # nothing failed
        return found
    for key, line in zip(group_keys(frame, [column]), frame.to_dict("records"), strict=True):
        reasons = found.setdefault(key, {})
        if len(reasons) < _MOST_REASONS:
            reasons[line["value"]] = int(line["count"])
    return found


def _failed(analysis: Analysis, name: str) -> Any:
    """Return an expression for the results that failed."""
    column = next(c for c in analysis.schema.columns if c.name == name)
    return as_number(analysis.table[column.field], column) == 0.0


def _trends(analysis: Analysis, column: str, alpha: float) -> list[Nested]:
    if analysis.schema.role(Role.TIMESTAMP) is None:
        return []
    found = pd.DataFrame(analysis.trends(level=[column], alpha=alpha))
    told = lines(found, [column])
    return [{key: value for key, value in line.items() if key not in ("unit", column)} for line in told]


def _ends(sign: int, unit: str) -> tuple[str, str]:
    if not sign:
        return "lowest", "highest"
    times = unit in ("s", "ms", "us", "ns", "min", "h")
    return ("fastest", "slowest") if times else ("best", "worst")


def _times(analysis: Analysis) -> tuple[pd.Timestamp, pd.Timestamp]:
    return times_of(_everything(analysis))


def _everything(analysis: Analysis) -> Prepared:
    return select(analysis.source(analysis.given), Selection(level=()))


def _split(analysis: Analysis, days: float) -> pd.Timestamp | None:
    """Return the last moment of the baseline: so many days before the latest result, or the middle of the times."""
    first, last = _times(analysis)
    if first == last:
        return None
    start: pd.Timestamp = last - pd.Timedelta(days, "D")
    if first < start:
        return start
    prepared = _everything(analysis)
    time = prepared.table[prepared.schema.moment("a comparison").field]
    ordered = fetch(prepared.table.select(time=time).distinct().order_by("time"), prepared.label)["time"]
    times = ordered.drop_null().to_pandas()
    middle: pd.Timestamp = times.iloc[(len(times) - 1) // 2]
    return middle
