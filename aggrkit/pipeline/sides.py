"""The two sides of a comparison: which rows are the baseline, and which are current."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aggrkit.errors import EmptySelectionError, SchemaError, UnknownNameError, did_you_mean, listed, quoted
from aggrkit.model.schema import Column, Kind, Role
from aggrkit.model.selection import TimeRange, values_of
from aggrkit.pipeline.expressions import fetch
from aggrkit.pipeline.marked import SIDE, ByValues, Marked, marked
from aggrkit.pipeline.selecting import times_of

if TYPE_CHECKING:
    import ibis

    from aggrkit.pipeline.prepared import Prepared

__all__ = ["Sides"]


@dataclass(frozen=True)
class Sides:
    """Which rows are compared with which.

    Parameters
    ----------
    baseline, current : tuple of values, TimeRange, Timedelta or None
        Values of the column `by`, or spans of time. A timedelta as baseline means: the latest such span is current, all
        before it is the baseline. None as current means all that isn't baseline.
    by : str, optional
        The column whose values tell the sides apart.
    """

    baseline: Any
    current: Any = None
    by: str | None = None
    labels: tuple[str, str] = field(default=("", ""), init=False)

    def __post_init__(self) -> None:
        baseline, current = _read(self.baseline, self.by), _read(self.current, self.by)
        if baseline is None:
            raise TypeError("say what the baseline is: values of a column 'by', a pair of times or a timedelta")
        if () in (baseline, current):
            raise ValueError("an empty list of values is no side of a comparison")
        if isinstance(baseline, pd.Timedelta):
            if current is not None:
                raise ValueError("a timedelta as baseline says what is current as well; leave out 'current'")
            if not baseline > pd.Timedelta(0):
                raise ValueError(f"a timedelta as baseline is a positive span of time; got {baseline}")
        if isinstance(baseline, TimeRange) and not (current is None or isinstance(current, TimeRange)):
            raise TypeError(f"the baseline is a time range, so current is one as well; got {quoted(self.current)}")
        if isinstance(baseline, tuple) and isinstance(current, tuple):
            shared = [value for value in baseline if value in current]
            if shared:
                raise SchemaError(f"baseline and current share {listed(shared)}; they must differ")
        object.__setattr__(self, "baseline", baseline)
        object.__setattr__(self, "current", current)

    def column(self, prepared: Prepared) -> Column | None:
        """Return the column that tells the sides apart, or None where time does.

        Raises
        ------
        UnknownNameError
            If `by` isn't a column, or it is needed and wasn't given.
        """
        schema = prepared.schema
        if self.by is not None:
            return schema.column(self.by)
        if isinstance(self.baseline, tuple):
            columns = _holding(prepared, self.baseline[0])
            hint = (
                f"it is a value of {listed(columns)}: by={columns[0]!r}" if columns else "say by which column: by='...'"
            )
            given = quoted(self.baseline[0])
            message = f"the baseline {given} is neither a time range, a timedelta nor a DataFrame; {hint}"
            raise UnknownNameError(message, name=str(self.baseline[0]), choices=columns)
        schema.moment("comparing times")
        return None

    def mark(self, prepared: Prepared) -> tuple[Marked, tuple[str, str]]:
        """Return the rows of either side, marked 0 and 1, and what the sides are called."""
        column = self.column(prepared)
        if column is None:
            is_baseline, is_current, labels = self._by_time(prepared)
            rows = Marked(replace(prepared, table=marked(prepared.table, is_baseline, is_current)))
        else:
            labels = (_said(self.baseline), "all others" if self.current is None else _said(self.current))
            rows = Marked(prepared, ByValues.of(column, self.baseline, self.current))
        self._refuse_empty(prepared, rows, column, labels)
        return rows, labels

    def _by_time(self, prepared: Prepared) -> tuple[ibis.BooleanValue, ibis.BooleanValue, tuple[str, str]]:
        time = prepared.table[prepared.schema.moment("comparing times").field]
        if isinstance(self.baseline, pd.Timedelta):
            _, latest = times_of(prepared)
            try:
                start = latest - self.baseline
            except (OverflowError, ValueError) as error:
                said = f"no observation is baseline: there is no time {self.baseline} before {latest}"
                raise EmptySelectionError(said) from error
            return time <= start, time > start, (str(TimeRange(None, start)), f"the latest {_span(self.baseline)}")
        is_baseline = _within(time, self.baseline)
        if self.current is None:
            return is_baseline, time.notnull() & ~is_baseline, (str(self.baseline), "all other times")
        is_current = _within(time, self.current)
        return is_baseline & ~is_current, is_current, (str(self.baseline), str(self.current))

    def _refuse_empty(self, prepared: Prepared, rows: Marked, column: Column | None, labels: tuple[str, str]) -> None:
        there = set(rows.ask(_sides)[SIDE].to_pylist())
        for side, name in ((0, "baseline"), (1, "current")):
            if side in there:
                continue
            if column is None:
                first, last = times_of(prepared)
                span = f"the times go from {first} to {last}"
                raise EmptySelectionError(f"no observation is {name} ({labels[side]}); {span}")
            held = prepared.table.select(value=prepared.table[column.field]).distinct().limit(1000)
            choices = sorted(
                str(value) for value in fetch(held, prepared.label)["value"].to_pylist() if value is not None
            )
            wanted = (self.baseline, self.current)[side]
            hint = did_you_mean(str(wanted[0]), choices) if wanted else ""
            said = f"no observation is {name}: {column.name} {labels[side] or 'among no values'}"
            raise EmptySelectionError("; ".join(filter(None, (said, hint, f"it holds: {listed(choices)}"))))


def _sides(prepared: Prepared) -> ibis.Table:
    return prepared.table.select(SIDE).distinct()


def _read(value: Any, by: str | None) -> Any:
    if value is None:
        return None
    if by is not None:
        if isinstance(value, (TimeRange, pd.Timedelta, timedelta, np.timedelta64)):
            raise TypeError(f"with by={by!r}, a side is a value of that column or several of them; got {quoted(value)}")
        return values_of(value)
    if isinstance(value, (pd.Timedelta, timedelta, np.timedelta64)):
        return pd.Timedelta(value)
    if isinstance(value, (list, tuple)) and len(value) == 2:
        try:
            value = TimeRange.of(value)
        except ValueError as error:
            raise ValueError(f"{error}; to compare values of a column, say which: by='...'") from error
        if value is None:
            raise ValueError("a time range to compare needs at least one end")
    return value if isinstance(value, TimeRange) else values_of(value)


def _within(time: ibis.Column, span: TimeRange) -> ibis.BooleanValue:
    inside = time.notnull()
    if span.start is not None:
        inside = inside & (time >= span.start)
    return inside if span.end is None else inside & (time <= span.end)


def _said(values: tuple[Any, ...]) -> str:
    return ", ".join(str(value) for value in values)


def _span(length: pd.Timedelta) -> str:
    return str(length).removesuffix(" 00:00:00")


def _holding(prepared: Prepared, value: Any) -> list[str]:
    """Return the columns that hold a value, most telling first."""
    table, schema = prepared.table, prepared.schema
    texts = [c for c in schema.columns if c.role not in (Role.METRIC, Role.IGNORED, Role.TIMESTAMP)]
    texts += [c for c in schema.playing(Role.IGNORED) if c.kind is Kind.TEXT]  # the file that a row came from
    tests = {f"c{k}": (table[c.field].cast("string") == str(value)).any() for k, c in enumerate(texts)}
    if not tests:
        return []
    found = fetch(table.aggregate(**tests), prepared.label).to_pylist()[0]
    return [column.name for k, column in enumerate(texts) if found[f"c{k}"]]
