"""The second phase: each stage says which expressions it needs, and all of them go into one scan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from aggrkit.errors import (
    StageError,
    UnknownNameError,
    listed,
    number_between,
    quoted,
)
from aggrkit.model.answer import COLUMNS, RowsReport
from aggrkit.pipeline.auditing import rows_report
from aggrkit.pipeline.deviations import inexact, two_pass_std
from aggrkit.pipeline.expressions import as_number, fetch, label_of, mean, quantiles, text_of
from aggrkit.pipeline.plans import planned
from aggrkit.pipeline.prepared import UNKNOWN, Prepared
from aggrkit.pipeline.selecting import nothing_selected
from aggrkit.statistics.proportions import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aggrkit.model.metric import Metric
    from aggrkit.model.schema import Column

__all__ = [
    "Aggregator",
    "Counts",
    "Custom",
    "Means",
    "Moments",
    "Percentiles",
    "aggregate",
    "as_text",
    "group_labels",
    "keys_of",
    "proportions",
    "value_text",
]

PERCENTILES: Final = (50, 75, 90, 95, 99)


class Aggregator(Protocol):
    """A stage of the second phase: the expressions that it needs of each metric."""

    @property
    def name(self) -> str:
        """Name of the stage, as errors call it."""
        ...

    def expressions(self, values: ibis.Column, metric: Metric) -> Mapping[str | tuple[str, ...], ibis.Scalar]:
        """Return column of the answer -> expression over the values of one group.

        A tuple of columns stands for an expression that gives a list of as many values.
        """
        ...


@dataclass(frozen=True)
class Moments:
    """Count, mean, standard deviation (ddof 1), minimum and maximum of what is not missing."""

    name: str = "moments"

    def expressions(self, values: ibis.Column, metric: Metric) -> Mapping[str | tuple[str, ...], ibis.Scalar]:
        """Return n and mean; for numbers also std, min and max."""
        found: dict[str | tuple[str, ...], ibis.Scalar] = {"n": values.count(), "mean": mean(values)}
        if not metric.is_proportion:
            found |= {"std": values.std(how="sample"), "min": values.min(), "max": values.max()}
        return found


@dataclass(frozen=True)
class Means:
    """Count and mean of what is not missing."""

    name: str = "means"

    def expressions(self, values: ibis.Column, metric: Metric) -> Mapping[str | tuple[str, ...], ibis.Scalar]:
        """Return n and mean."""
        return {"n": values.count(), "mean": mean(values)}


@dataclass(frozen=True)
class Percentiles:
    """Percentiles with linear interpolation between the two nearest values, numpy's default, exact at every n.

    Parameters
    ----------
    points : sequence of float
        Percentages, from 0 to 100.
    """

    points: Iterable[float] = PERCENTILES
    name: str = "percentiles"

    def __post_init__(self) -> None:
        what = "percentiles are numbers from 0 to 100, such as (50, 95)"
        given: object = self.points
        if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
            raise TypeError(f"{what}; got {quoted(given)}")
        points = tuple(dict.fromkeys(given))
        for point in points:
            if point != 0 and point != 100:
                number_between(point, 0, 100, what)
        object.__setattr__(self, "points", points)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns: p50, p99.9, ..."""
        return tuple("p" + repr(float(point)).removesuffix(".0") for point in self.points)

    def expressions(self, values: ibis.Column, metric: Metric) -> Mapping[str | tuple[str, ...], ibis.Scalar]:
        """Return all percentiles of a metric as one list; a proportion has none."""
        if metric.is_proportion or not self.points:
            return {}
        return {self.columns: quantiles(values, [point / 100 for point in self.points])}


@dataclass(frozen=True)
class Counts:
    """Passed and failed observations of a proportion."""

    name: str = "counts"

    def expressions(self, values: ibis.Column, metric: Metric) -> Mapping[str | tuple[str, ...], ibis.Scalar]:
        """Return n and the number of successes."""
        return {"n": values.count(), "successes": values.sum().fill_null(0.0).cast("int64")}


_PLANNED: Final = {Moments, Means, Percentiles, Counts}
"""The stages of which it is certain that they ask the same of the same columns."""


@dataclass(frozen=True)
class Custom:
    """One more column of the statistics, by a function of the user's.

    Parameters
    ----------
    name : str
        Name of the column.
    function : callable
        Gets the values of one metric as an Ibis column, and gives an Ibis expression that reduces it.
    """

    name: str
    function: Callable[[ibis.Column], ibis.Scalar]

    def expressions(self, values: ibis.Column, metric: Metric) -> Mapping[str | tuple[str, ...], ibis.Scalar]:
        """Return the user's expression."""
        found = self.function(values)
        if not isinstance(found, ibis.Scalar):
            raise TypeError(f"it must reduce the values to one, not give {type(found).__name__}")
        return {self.name: found}


@dataclass(frozen=True)
class _Planned:
    """Where the scan's columns belong."""

    metric: Metric
    key: str
    columns: str | tuple[str, ...]


def aggregate(prepared: Prepared, stages: Sequence[Aggregator]) -> tuple[pd.DataFrame, RowsReport]:
    """Run all stages in one scan and return a row per group and metric, and what was taken out.

    Raises
    ------
    EmptySelectionError
        If no row passed the filters.
    """
    known: list[Any] = [stage for stage in stages if type(stage) in _PLANNED]
    if len(known) == len(stages):
        found, places = planned(_wide, prepared, *known)
    else:  # a stage of the user's may ask something else every time
        query, places = _wide(prepared, *stages)
        found = fetch(query, prepared.label)
    rows = found["rows"].to_numpy()
    if not rows.sum():
        raise nothing_selected(prepared)
    found = _with_exact_std(found, places, prepared)
    labels = group_labels(found, list(prepared.groups))
    audited = {reason: int(pc.sum(found[f"a{place}"]).as_py() or 0) for place, reason in enumerate(prepared.audits)}
    frame = _tidy(prepared.metrics, places, found, labels)
    return frame, rows_report(prepared, int(rows.sum()), audited)


def _wide(prepared: Prepared, *stages: Aggregator) -> tuple[ibis.Table, Sequence[_Planned]]:
    """Build the one scan that all stages need: a row per group, and where each of its columns belongs."""
    table = prepared.table
    places: list[_Planned] = []
    expressions: dict[str, ibis.Value] = {"rows": table.count()}
    for metric in prepared.metrics:
        values = prepared.values(metric)
        for stage in stages:
            for columns, expression in _needs_of(stage, values, metric).items():
                key = f"e{len(places)}"
                places.append(_Planned(metric, key, columns))
                expressions[key] = expression
    for place, column in enumerate(prepared.audits.values()):
        expressions[f"a{place}"] = table[column].cast("int64").sum()
    keys = keys_of(prepared)
    return (table.group_by(**keys) if keys else table).aggregate(**expressions), places


def keys_of(prepared: Prepared) -> dict[str, ibis.Value]:
    """Return what rows are grouped by, as ``g0, g1, ...``."""
    return {f"g{place}": expression for place, expression in enumerate(prepared.group_expressions().values())}


def _with_exact_std(found: pa.Table, places: Sequence[_Planned], prepared: Prepared) -> pa.Table:
    means = {place.metric.name: place.key for place in places if place.columns == "mean"}
    pairs = {
        place.key: (place.metric, means[place.metric.name])
        for place in places
        if place.columns == "std" and place.metric.name in means
    }
    lossy = inexact(found, {key: mean_key for key, (_, mean_key) in pairs.items()})
    if not lossy:
        return found
    values = {key: (prepared.values(pairs[key][0]), pairs[key][1]) for key in lossy}
    for key, better in two_pass_std(prepared.table, keys_of(prepared), found, values).items():
        found = found.set_column(found.column_names.index(key), key, pa.array(better))
    return found


def _needs_of(stage: Aggregator, values: ibis.Column, metric: Metric) -> Mapping[str | tuple[str, ...], ibis.Scalar]:
    try:
        return stage.expressions(values, metric)
    except Exception as error:
        raise StageError("aggregate", stage.name, error) from error


def statistics_columns(stages: Sequence[Aggregator]) -> tuple[str, ...]:
    """Return the order of the statistics' columns, for the percentiles and further columns that the stages make."""
    points = tuple(column for stage in stages if isinstance(stage, Percentiles) for column in stage.columns)
    further = tuple(stage.name for stage in stages if isinstance(stage, Custom))
    return ("metric", "unit", "n", "missing", "mean", "std", "min", *points, "max", *further)


def proportions(prepared: Prepared, confidence: float = 0.95) -> tuple[pd.DataFrame, RowsReport]:
    """Return counts and rate of each pass/fail metric, with Wilson's interval."""
    number_between(confidence, 0, 1, "confidence is a share between 0 and 1, such as 0.95")
    numbers = [metric.name for metric in prepared.metrics if not metric.is_proportion]
    if numbers:
        choices = [metric.name for metric in prepared.schema.metrics if metric.is_proportion]
        raise UnknownNameError(
            f"{listed(numbers)} holds numbers, not passes and failures; pass/fail metrics: {listed(choices) or 'none'}",
            name=numbers[0],
            choices=choices,
        )
    frame, report = aggregate(prepared, [Counts()])
    n, successes = frame["n"].to_numpy(), frame["successes"].to_numpy()
    lower, upper = wilson_interval(successes, n, confidence)
    with np.errstate(invalid="ignore"):
        rate = successes / n
    frame = frame.assign(failures=n - successes, rate=rate, ci_lower=lower, ci_upper=upper)
    return frame[[*prepared.groups, *COLUMNS["proportions"]]], report


def group_labels(found: pa.Table, names: Sequence[str]) -> pd.DataFrame:
    """Return the grouping columns of a result; what is missing is called "unknown"."""
    labels = {}
    for place, name in enumerate(names):
        column = found[f"g{place}"]
        values = column.to_pandas(integer_object_nulls=True)
        if pd.api.types.is_string_dtype(values.dtype) or values.dtype == object:
            values = values.astype("str").where(values.notna(), UNKNOWN).astype("str")
        elif values.isna().any():
            values = as_text(values)
        labels[name] = values
    return pd.DataFrame(labels, index=range(found.num_rows))


def value_text(values: ibis.Column, column: Column) -> ibis.Column:
    """Return the values of a describing column as text, those of a pass/fail metric as "True" and "False"."""
    if column.metric is not None and column.metric.is_proportion:
        number = as_number(values, column)
        return ibis.cases((number == 1.0, "True"), (number == 0.0, "False"))
    return text_of(label_of(as_number(values, column) if column.metric is not None else values))


def as_text(values: pd.Series[Any]) -> pd.Series[Any]:
    """Return labels as text; what is missing is called "unknown"."""
    whole = pd.api.types.is_float_dtype(values.dtype) and (values.dropna() % 1 == 0).all()
    text = [
        UNKNOWN if gone else str(int(value) if whole else value)
        for value, gone in zip(values, values.isna(), strict=True)
    ]
    return pd.Series(text, dtype="str")


def _tidy(metrics: Sequence[Metric], places: Sequence[_Planned], found: pa.Table, labels: pd.DataFrame) -> pd.DataFrame:
    """Turn a wide result into a row per group and metric, groups in order."""
    order = (
        labels.sort_values(list(labels.columns), kind="stable").index.to_numpy()
        if len(labels.columns)
        else np.arange(len(labels))
    )
    rows = found["rows"].to_numpy()
    count, width = len(labels), len(metrics)
    values: dict[str, np.ndarray[Any, Any]] = {}
    ranks = {metric.name: rank for rank, metric in enumerate(metrics)}
    for plan in places:
        place = ranks[plan.metric.name]
        for column, data in _unpacked(plan, found).items():
            if column not in values:
                empty: Any = 0 if column in ("n", "successes") else np.nan
                values[column] = np.full((count, width), empty, dtype=np.int64 if empty == 0 else np.float64)
            values[column][:, place] = data
    repeated = labels.iloc[np.repeat(order, width)].reset_index(drop=True)
    repeated["metric"] = pd.array(np.tile([metric.name for metric in metrics], count), dtype="str")
    repeated["unit"] = pd.array(np.tile([metric.unit for metric in metrics], count), dtype="str")
    for column, data in values.items():
        repeated[column] = data[order].ravel()
    if "n" in repeated:
        repeated["missing"] = np.repeat(rows[order], width) - repeated["n"]
    return repeated


def _unpacked(plan: _Planned, found: pa.Table) -> dict[str, np.ndarray[Any, Any]]:
    column = found[plan.key]
    if isinstance(plan.columns, str):
        return {plan.columns: column.to_numpy()}
    return {name: pc.list_element(column, place).to_numpy() for place, name in enumerate(plan.columns)}
