"""Two prepared selections as one, with a column that tells them apart."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import ibis

from aggrkit.errors import SchemaError
from aggrkit.model.schema import Column, Kind, Role, Schema
from aggrkit.pipeline.expressions import text_of

if TYPE_CHECKING:
    from aggrkit.pipeline.prepared import Prepared

__all__ = ["beside", "with_side"]


def beside(current: Prepared, history: Prepared, side: str) -> Prepared:
    """Put the rows of two selections together.

    Parameters
    ----------
    current, history : Prepared
        Two selections on one engine, each with its own preprocessing done.
    side : str
        Name of the new column, which holds "current" or "historical".

    Returns
    -------
    Prepared
        The rows of both with the columns and metrics that both have, grouped as `current` is.

    Raises
    ------
    SchemaError
        If the two have no metric in common.
    """
    pairs = [(mine, other) for mine in current.schema.columns if (other := _counterpart(mine, history.schema))]
    names = {mine.name for mine, _ in pairs}
    metrics = tuple(metric for metric in current.metrics if metric.name in names)
    if not metrics:
        raise SchemaError("the current and the historical results have no metric in common")
    parts: tuple[dict[str, ibis.Value], dict[str, ibis.Value]] = ({}, {})
    columns = []
    for place, (mine, other) in enumerate(pairs):
        values = (current.table[mine.field], history.table[other.field])
        families = {_family(value) for value in values}
        mixed = len(families) > 1
        wider = {"numeric": "float64", "temporal": "timestamp"}.get(families.pop()) if not mixed else None
        alike = values[0].type() == values[1].type()
        for part, value in zip(parts, values, strict=True):
            part[f"c{place}"] = text_of(value) if mixed else value if alike or wider is None else value.cast(wider)
        columns.append(replace(mine, field=f"c{place}", kind=Kind.TEXT if mixed else mine.kind, text=False))
    tables = [
        source.table.select(**part, **{side: ibis.literal(label)})
        for source, part, label in zip((current, history), parts, ("current", "historical"), strict=True)
    ]
    together = ibis.union(*tables)
    schema = Schema(tuple(columns))
    groups = {
        name: None if column is None or column.name not in names else schema.column(column.name)
        for name, column in current.groups.items()
    }
    both = replace(
        current,
        table=together,
        selected=together,
        schema=schema,
        groups=MappingProxyType(groups),
        metrics=metrics,
        audits=MappingProxyType({}),
    )
    return with_side(both, side)


def with_side(prepared: Prepared, side: str) -> Prepared:
    """Return the rows with their column `side` known as one that tells sides apart."""
    column = Column(side, side, Role.ATTRIBUTE, Kind.TEXT, "tells the sides apart")
    return replace(prepared, schema=replace(prepared.schema, columns=(*prepared.schema.columns, column)))


def _counterpart(mine: Column, schema: Schema) -> Column | None:
    """Return the column of the other side that means the same: by its name, or by its role where only one plays it."""
    if mine.kind is Kind.OTHER or mine.role is Role.IGNORED:
        return None
    found = next((column for column in schema.columns if column.name == mine.name), None)
    if found is None and mine.role not in (Role.CONDITION, Role.VERSION, Role.OUTCOME, Role.ATTRIBUTE, Role.METRIC):
        found = schema.role(mine.role)
    return None if found is None or found.kind is Kind.OTHER else found


def _family(value: ibis.Value) -> str:
    dtype = value.type()
    for name in ("boolean", "numeric", "string", "temporal"):
        if getattr(dtype, f"is_{name}")():
            return name
    return str(dtype)
