"""The rows of two sides, marked 0 and 1, and the queries that are asked of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import ibis

from aggrkit.pipeline.expressions import fetch, is_among, label_of
from aggrkit.pipeline.plans import planned

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    import pyarrow as pa

    from aggrkit.model.schema import Column
    from aggrkit.pipeline.prepared import Prepared

__all__ = ["SIDE", "ByValues", "Marked", "marked"]

SIDE: Final = "__side"


@dataclass(frozen=True)
class ByValues:
    """How the values of a column tell two sides apart.

    Parameters
    ----------
    column : Column
        The column.
    baseline : tuple
        The values of the baseline.
    current : tuple or None
        The current values; None for all others.
    kinds : tuple of type
        What the values are: equal values of another kind are read in another way.
    """

    column: Column
    baseline: tuple[Any, ...]
    current: tuple[Any, ...] | None
    kinds: tuple[type, ...]

    @classmethod
    def of(cls, column: Column, baseline: tuple[Any, ...], current: tuple[Any, ...] | None) -> ByValues:
        """Tell the sides apart by these values."""
        return cls(column, baseline, current, tuple(map(type, (*baseline, *(current or ())))))

    def mark(self, table: ibis.Table) -> ibis.Table:
        """Return the rows of either side, marked."""
        values = table[self.column.field]
        is_baseline = is_among(values, self.column, self.baseline)
        there = label_of(values).notnull()
        is_current = there & ~is_baseline if self.current is None else is_among(values, self.column, self.current)
        return marked(table, is_baseline, is_current)


@dataclass(frozen=True)
class Marked:
    """The rows of two sides.

    Parameters
    ----------
    prepared : Prepared
        The rows.
    by : ByValues or None
        How they are marked; None where they are marked already.
    """

    prepared: Prepared
    by: ByValues | None = None

    @property
    def rows(self) -> ibis.Table:
        """The rows of either side, with their mark."""
        return self.prepared.table if self.by is None else self.by.mark(self.prepared.table)

    def ask(self, build: Callable[..., ibis.Table], *about: Hashable) -> pa.Table:
        """Run a query.

        Parameters
        ----------
        build : callable
            A function of a module, ``(prepared, *about) -> query``, where the rows of `prepared` are marked.
        *about : hashable
            What else the query depends on.
        """
        if self.by is None:
            return fetch(build(self.prepared, *about), self.prepared.label)
        return planned(_query, self.prepared, self.by, build, *about)[0]


def marked(table: ibis.Table, is_baseline: ibis.BooleanValue, is_current: ibis.BooleanValue) -> ibis.Table:
    """Return the rows of either side, with their mark."""
    side = ibis.cases((is_baseline, 0), (is_current, 1), else_=ibis.null("int8"))
    return table.mutate(**{SIDE: side}).filter(ibis._[SIDE].notnull())


def _query(prepared: Prepared, by: ByValues, build: Callable[..., ibis.Table], *about: Any) -> tuple[ibis.Table, None]:
    return build(replace(prepared, table=by.mark(prepared.table)), *about), None
