"""How often each value of the describing columns occurs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.errors import EmptySelectionError, SchemaError, number_between
from aggrkit.model.answer import COLUMNS
from aggrkit.model.schema import Kind, Role
from aggrkit.pipeline.aggregate import group_labels, keys_of, value_text
from aggrkit.pipeline.plans import planned
from aggrkit.pipeline.selecting import nothing_selected

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis

    from aggrkit.model.schema import Column
    from aggrkit.pipeline.prepared import Prepared

__all__ = ["distributions"]

_DESCRIBED_BY: Final = (
    Role.CONDITION,
    Role.VERSION,
    Role.ATTRIBUTE,
    Role.OUTCOME,
    Role.MODEL,
    Role.HARDWARE,
    Role.WORKER,
    Role.TASK_TYPE,
)


def distributions(
    prepared: Prepared, columns: Sequence[str] | None, max_values: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Count how often each value of the describing columns occurs in each group.

    Returns
    -------
    frame : pandas.DataFrame
        A row per group, column and value; the most frequent value of each first.
    meta : dict
        Which columns were left out, and why.
    """
    number_between(max_values, 0, float("inf"), "max_values is a positive number")
    schema = prepared.schema
    taken = {column.name for column in prepared.groups.values() if column is not None}
    if columns is None:
        chosen = [
            c
            for c in schema.playing(*_DESCRIBED_BY)
            if c.name not in taken and c.kind in (Kind.TEXT, Kind.BOOLEAN, Kind.NUMBER)
        ]
        chosen += [c for c in schema.columns if c.metric is not None and c.metric.is_proportion]
    else:
        chosen = list({column.name: column for column in map(schema.column, columns)}.values())
    if not chosen:
        raise SchemaError(
            "no column describes the observations by categories; name one: distributions(columns=['...'])"
        )
    sizes, _ = planned(_numbers_of_values, prepared, *chosen)
    if not sizes["rows"][0].as_py():
        raise nothing_selected(prepared)
    size = [sizes[f"c{place}"][0].as_py() for place in range(len(chosen))]
    skipped = {}
    if columns is None:
        for values, column in zip(size, chosen, strict=True):
            if not 0 < values <= max_values:
                skipped[column.name] = f"{values:,} different values" if values else "no value"
    kept = {f"c{place}": column for place, column in enumerate(chosen) if column.name not in skipped}
    if not kept:
        raise EmptySelectionError(f"every describing column has no value or more than {max_values} of them: {skipped}")
    counted, _ = planned(_counts_of_values, prepared, *kept.items())
    frame = group_labels(counted, list(prepared.groups))
    names = list(prepared.groups)
    frame["column"] = [kept[key].name for key in counted["column"].to_pylist()]
    frame["value"] = pd.array(counted["value"].to_pylist(), dtype="str")
    frame["count"] = counted["count"].to_numpy()
    by = frame.groupby([*names, "column"], sort=False, observed=True)["count"]
    frame["total_values"], frame["unique_values"] = by.transform("sum"), by.transform("size")
    frame["percentage"] = 100.0 * frame["count"] / frame["total_values"]
    order = pd.Categorical(frame["column"], [column.name for column in kept.values()])
    frame = frame.assign(__order=order.codes).sort_values(
        [*names, "__order", "count", "value"], ascending=[True] * (len(names) + 1) + [False, True]
    )
    return frame[[*names, *COLUMNS["distributions"]]].reset_index(drop=True), {"skipped": skipped}


def _numbers_of_values(prepared: Prepared, *columns: Column) -> tuple[ibis.Table, None]:
    """Build the query for how many rows there are, and how many different values some columns have."""
    table = prepared.table
    sizes = {f"c{place}": value_text(table[column.field], column).nunique() for place, column in enumerate(columns)}
    return table.aggregate(rows=table.count(), **sizes), None


def _counts_of_values(prepared: Prepared, *kept: tuple[str, Column]) -> tuple[ibis.Table, None]:
    """Build the query for how often each value of some columns occurs in each group."""
    table, keys = prepared.table, keys_of(prepared)
    texts = {key: value_text(table[column.field], column) for key, column in kept}
    long = table.select(**keys, **texts).pivot_longer(list(texts), names_to="column", values_to="value")
    present = long.filter(long.value.notnull())
    return present.group_by([*keys, "column", "value"]).aggregate(count=present.count()), None
