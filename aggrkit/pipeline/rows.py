"""The way back from an answer to the observations behind it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ibis
import pandas as pd

from aggrkit.pipeline.aggregate import value_text
from aggrkit.pipeline.expressions import all_of, fetch, label_of
from aggrkit.pipeline.prepared import UNKNOWN
from aggrkit.pipeline.selecting import nothing_selected
from aggrkit.sources.observations import ROW, Observations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggrkit.model.schema import Column
    from aggrkit.pipeline.prepared import Prepared
    from aggrkit.pipeline.sides import Sides

__all__ = ["first_rows", "is_condition", "is_group", "numbered_rows", "rows_behind", "rows_numbered", "rows_of_sides"]


def is_condition(value: object) -> bool:
    """Say whether a value is an Ibis expression that a table can be filtered by."""
    return isinstance(value, (ibis.Deferred, ibis.Value))


def numbered_rows(observations: Observations) -> Observations:
    """Return the observations with their rows numbered from 0, in the order of the source."""
    if ROW in observations.table.columns:
        return observations
    return replace(observations, table=observations.table.mutate(**{ROW: ibis.row_number()}))


def first_rows(prepared: Prepared, n: int) -> pd.DataFrame:
    """Return the first rows of a selection, as the source has them.

    Raises
    ------
    EmptySelectionError
        If there are none.
    """
    table = prepared.selected
    ordered = table.order_by(ROW) if ROW in table.columns else table
    found = _users_own(prepared, ordered.limit(n))
    if not len(found):
        raise nothing_selected(prepared)
    return found


def rows_behind(prepared: Prepared, groups: Mapping[str, Any], value: tuple[str, str] | None = None) -> pd.DataFrame:
    """Return the selected rows of one group, as the source has them.

    Parameters
    ----------
    prepared : Prepared
        The selection.
    groups : mapping
        Name of each grouping column to the label of the group.
    value : tuple of str, optional
        A further column and its value, as text.
    """
    table = prepared.selected
    tests = [is_group(table, prepared.groups[name], label) for name, label in groups.items()]
    if value is not None:
        column = prepared.observations.schema.column(value[0])
        tests.append(value_text(table[column.field], column) == value[1])
    return _users_own(prepared, table.filter(all_of(tests)) if tests else table)


def rows_of_sides(prepared: Prepared, groups: Mapping[str, Any], sides: Sides) -> pd.DataFrame:
    """Return the selected rows of one group that are on either side of a comparison."""
    marked = sides.mark(replace(prepared, table=prepared.selected, schema=prepared.observations.schema))[0]
    return rows_behind(replace(prepared, selected=marked.rows), groups)


def rows_numbered(prepared: Prepared, numbers: Sequence[int]) -> pd.DataFrame:
    """Return the rows of these numbers, as the source has them."""
    return _users_own(
        prepared, prepared.selected.filter(prepared.selected[ROW].isin([int(number) for number in numbers]))
    )


def is_group(table: ibis.Table, column: Column | None, label: Any) -> ibis.BooleanValue:
    """Say which rows are of a group, by the label that the answer has for it."""
    if column is None:
        return ibis.literal(True)
    values = label_of(table[column.field])
    if label == UNKNOWN:
        return values.isnull() | (values.cast("string") == UNKNOWN)
    return values == (_read_label(values.type(), label) if isinstance(label, str) else label)


def _read_label(dtype: Any, label: str) -> Any:
    """Return a label as a value of its column: where some labels are missing, all of them are text."""
    if dtype.is_boolean():
        return label == "True"
    if dtype.is_numeric():
        return int(label) if label.lstrip("-").isdigit() else float(label)
    return pd.Timestamp(label) if dtype.is_temporal() else label


def _users_own(prepared: Prepared, table: ibis.Table) -> pd.DataFrame:
    """Return rows as the user knows them: of a frame its own, of other sources under their names."""
    take = prepared.observations.take
    if take is not None:
        return take(fetch(table.select(table[ROW]).order_by(ROW), prepared.label)[ROW].to_numpy()).copy()
    schema = prepared.observations.schema
    ordered = table.order_by(ROW) if ROW in table.columns else table
    columns = {column.name: ordered[column.field] for column in schema.columns if column.field in table.columns}
    rows: pd.DataFrame = fetch(ordered.select(**columns), prepared.label).to_pandas()
    return rows
