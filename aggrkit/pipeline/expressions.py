"""The Ibis expressions that the stages are made of: the one place that knows how an engine says a thing."""

from __future__ import annotations

from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any, Final

import ibis
import pandas as pd

from aggrkit.errors import UnknownNameError, quoted
from aggrkit.model.schema import FAIL_WORDS, PASS_WORDS, Column, Kind
from aggrkit.model.selection import EPOCH_UNITS, TimeRange
from aggrkit.sources.cancelling import one_at_a_time
from aggrkit.sources.engine import reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

    from aggrkit.model.metric import Metric

__all__ = [
    "all_of",
    "any_of",
    "as_number",
    "as_time",
    "fetch",
    "is_among",
    "label_of",
    "mean",
    "quantiles",
    "row_hash",
    "text_of",
    "valid",
]

LARGEST: Final = 1.7976931348623157e308
_EXACT: Final = 2**53
_TIMES: Final = (-62_135_596_800, 253_402_300_799)  # the years 1 to 9999, in seconds since 1970


@ibis.udf.agg.builtin(name="favg", signature=(("float64",), "float64"))  # type: ignore[untyped-decorator]
def _compensated_mean(values: float) -> float:  # type: ignore[empty-body]
    """DuckDB's mean with Kahan's summation, as exact as numpy's pairwise one."""


def fetch(expression: ibis.Table, label: str) -> pa.Table:
    """Run a query; what the engine can't read becomes a `SourceError`."""
    with one_at_a_time(getattr(expression.get_backend(), "con", None)), reading(label):
        return expression.to_pyarrow()


def mean(column: ibis.Column) -> ibis.Scalar:
    """Return the mean, summed with compensation where the engine offers it."""
    if _engine_of(column) == "duckdb":
        return _compensated_mean(column)
    return column.mean()


def _engine_of(column: ibis.Column) -> str:
    """Return the name of a column's engine; Ibis would look at all columns of the table for each that is asked."""
    node: Any = next(iter(column.op().relations), None)
    while node is not None and not hasattr(node, "source"):
        node = getattr(node, "parent", None) or getattr(node, "first", None)
    return str((column.get_backend() if node is None else node.source).name)


def quantiles(column: ibis.Column, probabilities: Sequence[float]) -> ibis.Scalar:
    """Return quantiles with linear interpolation (numpy's default), all in one call."""
    return column.quantile(list(probabilities))


def as_number(column: ibis.Column, described: Column) -> ibis.Column:
    """Return a metric's column as float64; what can't be read as a number is null."""
    dtype = column.type()
    if dtype.is_string():
        number = column.try_cast("float64")
        if described.kind is Kind.BOOLEAN or (described.metric is not None and described.metric.is_proportion):
            word = column.strip().lower()
            return ibis.cases((word.isin(PASS_WORDS), 1.0), (word.isin(FAIL_WORDS), 0.0), else_=number)
        return number
    if dtype.is_boolean():
        return ibis.cases((column, 1.0), (~column, 0.0))
    return column.cast("float64") if not dtype.is_float64() else column


def valid(number: ibis.Column, metric: Metric, *, in_memory: bool = False) -> ibis.BooleanColumn:
    """Say where a value is possible: finite (NaN, infinity and null are not, on every engine) and within its bounds.

    Rows that are in memory have no statistics that an engine could go by, which saves a test of each value.
    """
    if metric.is_proportion:
        return number.isin([0.0, 1.0])
    lower = -LARGEST if metric.minimum is None else metric.minimum
    upper = LARGEST if metric.maximum is None else metric.maximum
    within = (number >= lower) & (number <= upper)
    # the bounds alone don't keep NaN out of a file: Parquet's statistics leave it out, and engines believe them
    return within if in_memory else ~number.isnan() & within


def as_time(column: ibis.Column) -> ibis.Column:
    """Return a time column as timestamps in UTC without a zone; numbers are seconds (or ms, us, ns) since 1970."""
    dtype = column.type()
    if dtype.is_string():
        moment = column.try_cast("timestamp('UTC')").cast("timestamp")
        return ibis.ifelse(moment.between(*(pd.Timestamp(second, unit="s") for second in _TIMES)), moment, ibis.null())
    if dtype.is_numeric():
        number = column.cast("float64")
        scaled = ibis.cases(
            *(
                (number.abs() >= least, number / 10**power)
                for (least, _), power in zip(EPOCH_UNITS, (9, 6, 3), strict=True)
            ),
            else_=number,
        )
        possible = ibis.ifelse(scaled.between(*_TIMES), scaled, ibis.null("float64"))
        return (possible * 1e3).round().cast("int64").as_timestamp("ms").cast("timestamp")
    if dtype.is_unknown():
        return column.cast("timestamp('UTC')").cast("timestamp")
    return column.cast("timestamp")


def label_of(column: ibis.Column) -> ibis.Column:
    """Return a grouping column in which an empty string, and NaN, is missing."""
    dtype = column.type()
    if dtype.is_floating():
        return ibis.ifelse(column.isnan(), ibis.null(dtype), column)
    return column.nullif("") if dtype.is_string() else column


def text_of(column: ibis.Column) -> ibis.Column:
    """Return values as text that is the same for every source: 8.0 is "8", and booleans are "True" and "False"."""
    dtype = column.type()
    if dtype.is_boolean():
        return ibis.cases((column, "True"), (~column, "False"))
    if dtype.is_floating():
        whole = (column.abs() < _EXACT) & (column == column.round())
        return ibis.ifelse(whole, column.cast("int64").cast("string"), column.cast("string"))
    return column.cast("string")


def is_among(column: ibis.Column, described: Column, values: Iterable[Any]) -> ibis.BooleanColumn:
    """Say where a column has one of the values; None stands for missing.

    Raises
    ------
    UnknownNameError
        If a value can't be one of this column.
    """
    wanted = list(values)
    present = [_literal(value, described) for value in wanted if value is not None]
    tests = [column.isin(present)] if present else []
    if None in wanted:
        tests.append(label_of(column).isnull())
    return any_of(tests)


def row_hash(table: ibis.Table, columns: Sequence[str]) -> ibis.Column:
    """Return a 64-bit hash of a row: equal rows, missing values included, have equal ones."""
    return ibis.struct({f"f{place}": table[name] for place, name in enumerate(columns)}).hash()


def all_of(tests: Iterable[ibis.BooleanValue]) -> ibis.BooleanValue:
    """Return whether all tests hold."""
    return reduce(and_, tests, ibis.literal(True))


def any_of(tests: Iterable[ibis.BooleanValue]) -> ibis.BooleanValue:
    """Return whether any test holds."""
    return reduce(or_, tests, ibis.literal(False))


def _literal(value: Any, described: Column) -> Any:
    try:
        if described.kind is Kind.NUMBER and not described.text:
            return float(value)
        if described.kind is Kind.BOOLEAN and not described.text:
            return {"true": True, "false": False, "1": True, "0": False}[str(value).casefold().removesuffix(".0")]
        if described.kind is Kind.TIME:
            return TimeRange(value, None).start
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        message = f"the column {described.name!r} holds {described.kind.value}s; {quoted(value)} can't be one of them"
        raise UnknownNameError(message, name=str(value)) from error
    return str(value)
