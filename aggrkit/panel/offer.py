"""What there is to choose from in a source."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.errors import SchemaError, UnknownNameError
from aggrkit.model.schema import Kind, Role
from aggrkit.model.selection import LEVELS, level_columns, values_of
from aggrkit.panel.state import State
from aggrkit.pipeline.expressions import as_time, fetch, label_of
from aggrkit.pipeline.prepared import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggrkit.model.metric import Metric
    from aggrkit.model.schema import Column, Schema
    from aggrkit.sources.observations import Observations

__all__ = ["SPANS", "TIME", "Offer"]

TIME: Final = "time"
"""The choice of `by` for "the latest span against all before it"."""

SPANS: Final = ("1D", "7D", "30D", "90D")
"""The spans that are offered for it."""

_MOST_VALUES: Final = 60


@dataclass(frozen=True)
class Offer:
    """What there is to choose from in a source.

    Parameters
    ----------
    schema : Schema
        The roles of the columns.
    rows : int
        Number of observations.
    result_types : tuple of str
        Types of results that are there, where a column tells them.
    sides : mapping of str to tuple
        Columns by which sides can be told apart, with their values.
    first, last : pandas.Timestamp or None
        First and last time.
    """

    schema: Schema
    rows: int
    result_types: tuple[str, ...]
    sides: Mapping[str, tuple[Any, ...]]
    first: pd.Timestamp | None
    last: pd.Timestamp | None

    @classmethod
    def of(cls, observations: Observations, described_by: Observations | None = None) -> Offer:
        """Look at a source.

        Parameters
        ----------
        observations : Observations
            The source.
        described_by : Observations, optional
            Where the values of describing columns are looked up, such as a sample; the source by default.

        Raises
        ------
        SchemaError
            If there is no metric.
        """
        schema, table = observations.schema, observations.table
        if not schema.metrics:
            raise SchemaError("no column was recognised as a metric; say which are: df.aggr(metrics=['...'])")
        moment = schema.role(Role.TIMESTAMP)
        wanted: dict[str, Any] = {"rows": table.count()}
        if moment is not None:
            time = as_time(table[moment.field])
            wanted |= {"first": time.min(), "last": time.max()}
        found = fetch(table.aggregate(**wanted), observations.label).to_pylist()[0]
        first, last = (None if found.get(end) is None else pd.Timestamp(found[end]) for end in ("first", "last"))
        kind = schema.role(Role.RESULT_TYPE)
        other = schema.playing(Role.CONDITION, Role.HARDWARE, Role.WORKER, Role.ATTRIBUTE)
        telling = [
            column
            for column in (*schema.playing(Role.VERSION), *other)
            if column.kind in (Kind.TEXT, Kind.NUMBER, Kind.BOOLEAN)
        ]
        kinds = () if kind is None else _values([kind], observations)[kind.name]
        values = _values(telling, described_by or observations)
        return cls(
            schema=schema,
            rows=int(found["rows"]),
            result_types=tuple(str(value) for value in kinds),
            sides={name: some for name, some in values.items() if 2 <= len(some) <= _MOST_VALUES},
            first=first,
            last=last,
        )

    @property
    def levels(self) -> list[str]:
        """The named levels that some column of the source has a role of."""
        roles = {name: [self.schema.role(role) for role in columns] for name, columns in LEVELS.items()}
        known = [name for name, columns in roles.items() if all(columns)]
        return known or [name for name, columns in roles.items() if any(columns)]

    def metric_of(self, state: State) -> Metric:
        """Return the metric that a state shows."""
        return self.schema.metrics[0] if state.metric is None else self.schema.metric(state.metric)

    def statistic_of(self, state: State) -> str:
        """Return the statistic that a state shows; a pass/fail metric has only its rate and its number."""
        return "n" if state.statistic == "n" else "mean" if self.metric_of(state).is_proportion else state.statistic

    def where_of(self, state: State, *, cell: bool = True) -> dict[str, Any]:
        """Return the filters of a state, as ``df.aggr.stats`` takes them."""
        where = self.filter_of(state.result_type)
        for name, label in state.cells.items() if cell else ():
            column = self.column_of(name, state.level)
            where[column.name] = label if label != UNKNOWN else [None, UNKNOWN] if _is_text(column) else None
        return where

    def filter_of(self, result_type: str | None) -> dict[str, Any]:
        """Return the filter for a type of results."""
        kind = self.schema.role(Role.RESULT_TYPE)
        return {} if result_type is None or kind is None else {kind.name: result_type}

    def column_of(self, name: str, level: str | tuple[str, ...]) -> Column:
        """Return the column behind a name of a level: named levels go by roles, others by columns."""
        found = self.schema.role(name) if isinstance(level, str) else None
        return self.schema.column(name) if found is None else found

    def fitted(self, state: State) -> State:
        """Return a state that can be shown: checked, and with a metric and a level that the source has.

        Raises
        ------
        UnknownNameError, SchemaError
            For a level, metric, result type or column that the source doesn't have.
        """
        if state.level == "model_hardware" and "model_hardware" not in self.levels:
            state = replace(state, level=self.levels[0] if self.levels else ())
        if isinstance(state.level, str) and state.level not in self.levels:
            raise UnknownNameError.of("level", state.level, self.levels)
        for name in (*level_columns(state.level), *state.cells):
            self.column_of(name, state.level)
        stray = [name for name in state.cells if name not in level_columns(state.level)]
        if stray:
            raise UnknownNameError.of("column of the level", stray[0], level_columns(state.level))
        if state.result_type is not None and state.result_type not in self.result_types:
            raise UnknownNameError.of("result type", state.result_type, self.result_types)
        state = replace(state, metric=self.metric_of(state).name)
        return self._sided(state)

    def kept(self, state: State) -> State:
        """Return a state as far as the source still has what it shows: all of it, unless something is gone.

        Raises
        ------
        SchemaError, UnknownNameError
            If the source has nothing that can be shown.
        """
        sides = {"by": None, "baseline": None, "current": None}
        for lost in ({}, sides, {"cell": ()}, {"metric": None}, {"metric": None, "cell": (), **sides}):
            try:
                return self.fitted(replace(state, **lost))
            except (SchemaError, UnknownNameError):
                continue
        return self.fitted(State(tab=state.tab))

    def _sided(self, state: State) -> State:
        """Return a state with the sides of its comparison: the last value of a column against the one before it."""
        by = state.by or next(iter(self.sides), TIME if self.first is not None else None)
        if by is None:
            return state
        if by == TIME:
            return replace(state, by=by, baseline=_span(state.baseline or SPANS[1]), current=None)
        values = self.sides.get(self.schema.column(by).name, ())
        if state.baseline is None and len(values) > 1:
            return replace(state, by=by, baseline=values[-2], current=values[-1])
        return replace(state, by=by)


def _values(columns: Sequence[Column], observations: Observations) -> dict[str, tuple[Any, ...]]:
    """Return the values of some columns, in their natural order; of columns with many values not all."""
    table, found = observations.table, {}
    for column in columns:
        labels = table.select(value=label_of(table[column.field]))
        some = fetch(labels.filter(labels.value.notnull()).distinct().limit(_MOST_VALUES + 1), observations.label)
        found[column.name] = tuple(sorted(values_of(some["value"].to_pylist()), key=_natural))
    return found


def _is_text(column: Column) -> bool:
    return column.kind is Kind.TEXT or column.text


def _span(text: Any) -> str:
    """Return a span of time that can be read, as it was given."""
    try:
        known = pd.notna(pd.Timedelta(text))
    except (TypeError, ValueError):
        known = False
    if not known:
        raise UnknownNameError.of("span of time", str(text), SPANS)
    return str(text)


def _natural(value: Any) -> tuple[Any, ...]:
    """Order numbers within text by their size: v2 before v10."""
    if not isinstance(value, str):
        return (float(value),)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d{1,18})", value))
