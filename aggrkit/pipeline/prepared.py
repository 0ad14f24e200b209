"""The rows that passed a selection, between two stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import ibis

from aggrkit.pipeline.expressions import label_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrkit.model.metric import Metric
    from aggrkit.model.schema import Column, Schema
    from aggrkit.model.selection import Selection
    from aggrkit.sources.observations import Observations

__all__ = ["UNKNOWN", "Prepared", "group_key"]

UNKNOWN: Final = "unknown"
_SMALL: Final = 500_000


@dataclass(frozen=True)
class Prepared:
    """The rows that passed a selection, between two stages.

    Parameters
    ----------
    table : ibis.Table
        The rows.
    schema : Schema
        The roles of their columns.
    selection : Selection
        What was asked.
    groups : mapping of str to Column or None
        Name in the answer to the column that is grouped by; None where no column plays that role.
    metrics : tuple of Metric
        What is measured, as asked for.
    label : str
        What the source is called in messages.
    observations : Observations
        Where the rows come from.
    selected : ibis.Table
        The rows that passed the filters, before any stage.
    audits : mapping of str to str
        Reason to the column that says whether a row (or one of its values) was taken out for it; counted in the scan
        of the aggregates.
    rows_out : mapping of str to int
        Reason to rows that were taken out, where that is known already.
    cells_out : mapping of str to int
        Reason to single values that were taken out, where that is known already.
    notes : tuple of str
        What else a reader should know.
    size : int, optional
        Number of rows, or more than that, where it is known.
    """

    table: ibis.Table
    schema: Schema
    selection: Selection
    groups: Mapping[str, Column | None]
    metrics: tuple[Metric, ...]
    label: str
    observations: Observations
    selected: ibis.Table
    audits: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    rows_out: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    cells_out: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()
    size: int | None = None

    @property
    def is_small(self) -> bool:
        """Whether it is known that looking at all values costs less than finding out which to look at."""
        return self.size is not None and self.size <= _SMALL

    def values(self, metric: Metric) -> ibis.Column:
        """Return the values of a metric: numbers, null where missing or invalid."""
        return self.table[self.field(metric)]

    def field(self, metric: Metric) -> str:
        """Return the name under which the table has a metric."""
        return next(column.field for column in self.schema.columns if column.name == metric.name)

    def group_expressions(self) -> dict[str, ibis.Value]:
        """Return what rows are grouped by, under the names of the answer."""
        return {name: group_key(self.table, column) for name, column in self.groups.items()}


def group_key(table: ibis.Table, column: Column | None) -> ibis.Value:
    """Return what rows are grouped by: text that is missing goes with that which says "unknown"."""
    if column is None:
        return ibis.literal(UNKNOWN)
    label = label_of(table[column.field])
    return label.fill_null(UNKNOWN) if label.type().is_string() else label
