"""The queries that are asked of rows by their cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import ibis

from aggrkit.pipeline.expressions import any_of, mean, quantiles
from aggrkit.pipeline.prepared import group_key
from aggrkit.sources.observations import ROW

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aggrkit.model.schema import Column
    from aggrkit.pipeline.prepared import Prepared

__all__ = [
    "MIDDLE",
    "OF_CELL",
    "QUANTILES",
    "joined",
    "keyed",
    "measures",
    "numbered",
    "outside",
    "query_of_joined",
    "query_of_keyed",
    "spreads",
    "trimmed_middles",
]

QUANTILES: Final = {"p10": 0.1, "q1": 0.25, "p50": 0.5, "q3": 0.75, "p90": 0.9}
MIDDLE: Final = ("p10", "p50", "p90")
OF_CELL: Final = "_of_cell"
"""What is added to the name of a key, where a table of cells holds it."""


def keyed(prepared: Prepared, keys: Sequence[Column]) -> ibis.Table:
    """Return the rows with the keys of their cell, ``__k0, __k1, ...``, beside them."""
    table = prepared.table
    return table.mutate(**{f"__k{place}": group_key(table, column) for place, column in enumerate(keys)})


def joined(rows: ibis.Table, cells: ibis.Table) -> ibis.Table:
    """Return keyed rows with what a table says of their cell."""
    by = [name.removesuffix(OF_CELL) for name in cells.columns if name.endswith(OF_CELL)]
    if not by:
        return rows.cross_join(cells)
    return rows.join(cells, [rows[name].identical_to(cells[f"{name}{OF_CELL}"]) for name in by])


def query_of_keyed(
    prepared: Prepared, keys: Sequence[Column], build: Callable[..., ibis.Table], *about: Any
) -> tuple[ibis.Table, None]:
    """Build a query of keyed rows."""
    return build(keyed(prepared, keys), *about), None


def query_of_joined(
    prepared: Prepared, cells: ibis.Table, keys: Sequence[Column], build: Callable[..., ibis.Table], *about: Any
) -> tuple[ibis.Table, None]:
    """Build a query of rows with what is known of their cell."""
    return build(joined(keyed(prepared, keys), cells), *about), None


def measures(rows: ibis.Table, *fields: str) -> ibis.Table:
    """Measure the values of each cell, in fields that are numbered in this order."""
    expressions: dict[str, ibis.Value] = {}
    for place, name in enumerate(fields):
        values = rows[name]
        expressions |= {
            f"n{place}": values.count(),
            f"mean{place}": mean(values),
            f"std{place}": values.std(how="sample"),
            f"min{place}": values.min(),
            f"max{place}": values.max(),
            f"q{place}": quantiles(values, list(QUANTILES.values())),
        }
    by = [name for name in rows.columns if name.startswith("__k")]
    return rows.group_by(by).aggregate(**expressions) if by else rows.aggregate(**expressions)


def trimmed_middles(rows: ibis.Table, *fields: tuple[int, str]) -> ibis.Table:
    """Find the middle percentiles of each cell, of the values between ``__lower0`` and ``__upper0``, and so on."""
    levels: dict[str, ibis.Value] = {}
    for place, name in fields:
        values = rows[name]
        inside = ibis.cases((values.between(rows[f"__lower{place}"], rows[f"__upper{place}"]), values))
        levels[f"q{place}"] = quantiles(inside, [QUANTILES[middle] for middle in MIDDLE])
    return rows.group_by(cell=rows["__cell"]).aggregate(**levels)


def spreads(rows: ibis.Table, *centres: tuple[str, str, bool]) -> ibis.Table:
    """Measure how far the values of each cell are from its centre: of key, field, and whether it is of logarithms."""
    expressions: dict[str, ibis.Value] = {}
    for key, name, is_log in centres:
        values = rows[name]
        deviation = ((values.ln() if is_log else values) - rows[f"__{key}"]).abs()
        expressions |= {
            f"mad_{key}": deviation.quantile(0.5),
            f"average_{key}": deviation.mean(),
            f"step_{key}": deviation.nullif(0.0).quantile(0.5),
            f"off_{key}": deviation.nullif(0.0).count(),
        }
    return rows.group_by(cell=rows["__cell"]).aggregate(**expressions)


def outside(
    rows: ibis.Table, fields: Sequence[str], shown: Sequence[str], identity: str | None, most: int
) -> ibis.Table:
    """Find the rows in which any value lies below ``__lower0`` or above ``__upper0``, and so on for each field."""
    values = [rows[name] for name in fields]
    tests = [(value < rows[f"__lower{k}"]) | (value > rows[f"__upper{k}"]) for k, value in enumerate(values)]
    return _chosen(rows, any_of(tests), fields, shown, identity).limit(most)


def numbered(
    rows: ibis.Table,
    wanted: Sequence[int],
    fields: Sequence[str],
    shown: Sequence[str],
    identity: str | None,
    most: int,
) -> ibis.Table:
    """Find the rows of these numbers."""
    test = rows[ROW].isin(list(wanted)) if wanted else ibis.literal(False)
    return _chosen(rows, test, fields, shown, identity).limit(most)


def _chosen(
    rows: ibis.Table, test: ibis.BooleanValue, fields: Sequence[str], shown: Sequence[str], identity: str | None
) -> ibis.Table:
    values = {f"v{k}": rows[name] for k, name in enumerate(fields)}
    described = {f"d{k}": rows[name] for k, name in enumerate(shown)}
    number = {} if identity is None else {"identity": rows[identity]}
    return rows.filter(test).select(cell=rows["__cell"], row=rows[ROW], **values, **described, **number)
