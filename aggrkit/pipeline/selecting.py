"""Which rows, groups and metrics a selection means; where it means none, why."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import ibis

from aggrkit.errors import EmptySelectionError, SchemaError, UnknownNameError, did_you_mean, listed
from aggrkit.model.schema import Column, Kind, Role
from aggrkit.model.selection import LEVELS
from aggrkit.pipeline.expressions import all_of, as_time, fetch, is_among
from aggrkit.pipeline.plans import planned
from aggrkit.pipeline.prepared import UNKNOWN, Prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from aggrkit.model.metric import Metric
    from aggrkit.model.schema import Schema
    from aggrkit.model.selection import Selection
    from aggrkit.sources.observations import Observations

__all__ = ["nothing_selected", "select", "times_of"]


def select(observations: Observations, selection: Selection, condition: object = None) -> Prepared:
    """Apply filters and time range, and find the columns that a selection names.

    Parameters
    ----------
    observations : Observations
        All rows.
    selection : Selection
        What is asked.
    condition : Ibis expression, optional
        A further filter, on the columns of the relation.

    Raises
    ------
    UnknownNameError
        For a column, metric or value that can't be.
    """
    table, schema = _timed(observations.table, observations.schema)
    tests = [is_among(table[column.field], column, values) for column, values in _filters(schema, selection)]
    if selection.time_range is not None:
        start, end = selection.time_range.start, selection.time_range.end
        time = table[schema.moment("a time range").field]
        tests += [time >= start] if start is not None else []
        tests += [time <= end] if end is not None else []
    if tests:
        table = table.filter(all_of(tests))
    if condition is not None:
        table = _filtered(table, condition, schema)
    prepared = Prepared(
        table=table,
        schema=schema,
        selection=selection,
        groups=MappingProxyType(_groups(schema, selection)),
        metrics=_metrics(schema, selection),
        label=observations.label,
        observations=observations,
        selected=table,
    )
    missing = [name for name, column in prepared.groups.items() if column is None]
    notes = tuple(
        f"no column was recognised as {name}: all observations are in the group {UNKNOWN!r}" for name in missing
    )
    return replace(prepared, notes=notes)


def times_of(prepared: Prepared) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the first and the last time.

    Raises
    ------
    EmptySelectionError
        If no value can be read as a time.
    """
    column = prepared.schema.moment("a span of time")
    found = planned(_ends, prepared, column)[0].to_pandas()
    if found.isna().any(axis=None):
        raise EmptySelectionError(f"no value of {column.name!r} can be read as a time")
    return found.at[0, "first"], found.at[0, "last"]


def _ends(prepared: Prepared, column: Column) -> tuple[ibis.Table, None]:
    time = prepared.table[column.field]
    return prepared.table.aggregate(first=time.min(), last=time.max()), None


def nothing_selected(prepared: Prepared) -> EmptySelectionError:
    """Make the error for a selection that no row passes, saying which filter is at fault."""
    table, schema = _timed(prepared.observations.table, prepared.observations.schema)
    for column, values in _filters(schema, prepared.selection):
        if fetch(table.filter(is_among(table[column.field], column, values)).limit(1), prepared.label).num_rows:
            continue
        held = fetch(table.select(value=table[column.field]).distinct().order_by("value").limit(1000), prepared.label)
        choices = [str(value) for value in held["value"].to_pylist() if value is not None]
        wanted = ", ".join(repr(value) for value in values) or "among no values"
        hint = did_you_mean(str(values[0]), choices) if values else ""
        said = (f"no observation has {column.name} {wanted}", hint, f"it holds: {listed(choices) or 'no value'}")
        return EmptySelectionError("; ".join(filter(None, said)))
    if prepared.selection.time_range is not None:
        first, last = times_of(replace(prepared, table=table, schema=schema))
        span = f"the times of {prepared.label} go from {first} to {last}"
        return EmptySelectionError(f"no observation passes the filters within {prepared.selection.time_range}; {span}")
    return EmptySelectionError(f"{prepared.label} has no observation that passes all filters")


def _timed(table: ibis.Table, schema: Schema) -> tuple[ibis.Table, Schema]:
    """Return the rows with their time column as timestamps, whatever it was stored as."""
    moment = schema.role(Role.TIMESTAMP)
    if moment is None:
        return table, schema
    timed = replace(moment, kind=Kind.TIME, text=False)
    schema = replace(schema, columns=tuple(timed if column is moment else column for column in schema.columns))
    return table.mutate(**{moment.field: as_time(table[moment.field])}), schema


def _filtered(table: ibis.Table, condition: Any, schema: Schema) -> ibis.Table:
    """Keep the rows that an expression of the user's lets in."""
    try:
        dtype = table.bind(condition)[0].type()
        if dtype.is_boolean():
            return table.filter(condition)
    except Exception as error:
        name = str(getattr(error, "name", "") or "")
        if isinstance(error, AttributeError) and name and name not in table.columns and not hasattr(ibis.Column, name):
            raise UnknownNameError.of("column", name, schema.names) from error
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"the expression in 'where' can't be used: {said}; columns: {listed(schema.names)}"
        raise SchemaError(message) from error
    raise SchemaError(f"the expression in 'where' gives {dtype}, and must say true or false")


def _filters(schema: Schema, selection: Selection) -> Sequence[tuple[Column, tuple[object, ...]]]:
    found = [(schema.column(name, "filter"), values) for name, values in selection.where]
    kind = schema.role(Role.RESULT_TYPE)
    if selection.result_type is not None and kind is not None:
        found.append((kind, (selection.result_type,)))
    return found


def _groups(schema: Schema, selection: Selection) -> dict[str, Column | None]:
    if isinstance(selection.level, tuple):
        own = [name for name in selection.level if name.startswith("__") and not name.endswith("__")]
        if own:
            raise SchemaError(
                f"names that begin with two underscores are aggrkit's own; rename {listed(own)} to group by it"
            )
        return {name: schema.column(name) for name in selection.level}
    found = {name: schema.role(name) for name in selection.columns}
    if not any(found.values()):
        roles = " or ".join(found)
        said = ", ".join(f"{name}='...'" for name in found)
        hints = [hint for name in found if (hint := did_you_mean(name, schema.names))]
        message = (
            f"no column was recognised as {roles}; {''.join(f'{hint} ' for hint in hints)}say which it is: "
            f"df.aggr({said}), or group by columns: level=[...] (level=[] makes one group of all)"
        )
        raise _no_such_role(message, schema)
    return found


def _no_such_role(message: str, schema: Schema) -> SchemaError:
    """Make a schema error that lists the columns and the levels that would work."""
    possible = [level for level, roles in LEVELS.items() if any(schema.role(role) for role in roles)]
    levels = f"; levels that would work: {listed(possible)}" if possible else ""
    return SchemaError(f"{message}. Columns: {listed(schema.names)}{levels}")


def _metrics(schema: Schema, selection: Selection) -> tuple[Metric, ...]:
    if selection.metrics is not None:
        return tuple(schema.metric(name) for name in selection.metrics)
    grouped = set(selection.columns)
    found = tuple(metric for metric in schema.metrics if metric.name not in grouped)
    if not found:
        message = "no column was recognised as a metric, for none holds numbers or booleans"
        raise SchemaError(f"{message}; say which are: df.aggr(metrics=['...']). Columns: {listed(schema.names)}")
    return found
