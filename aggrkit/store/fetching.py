"""Results out of a store: as observations for the pipeline, and as dictionaries for programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from aggrkit.errors import SchemaError, UnknownNameError
from aggrkit.model.schema import Field, Role, recognise
from aggrkit.model.selection import Selection
from aggrkit.pipeline.expressions import fetch
from aggrkit.pipeline.selecting import select
from aggrkit.sources.engine import reading
from aggrkit.sources.observations import Observations
from aggrkit.store.layout import COMMON, KEY, KINDS, METRICS, TABLES, columns_of, filled_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb
    import ibis
    from ibis.backends.duckdb import Backend

__all__ = ["as_limit", "observations_of", "records", "records_of_all"]

_ROLES: Final = {
    Role.RESULT_ID: "result_id",
    Role.RUN: "run_id",
    Role.TIMESTAMP: "timestamp",
    Role.MODEL: "model_id",
    Role.HARDWARE: "hardware_id",
    Role.WORKER: "worker_id",
    Role.TASK_TYPE: "task_type",
}
_RESULT_TYPE: Final = "result_type"


def observations_of(
    backend: Backend, connection: duckdb.DuckDBPyConnection, path: str, result_type: str, *, every: bool = False
) -> Observations:
    """Return the results of a type as observations.

    Parameters
    ----------
    backend, connection
        The store: the same connection twice, within a transaction.
    path : str
        What the store is called in messages.
    result_type : str
        Which results.
    every : bool, optional
        Whether columns that hold nothing at all are offered too.
    """
    name = TABLES[result_type]
    label = f"{path}, {result_type} results"
    with reading(path):
        columns = columns_of(connection, name)
        filled = None if every else set(filled_columns(connection, name))
        table = backend.table(name)
    fields, physical = [], {}
    for column, dtype in columns.items():
        if column == KEY or (filled is not None and column not in filled):
            continue
        # two underscores are what the pipeline's own columns begin with
        place = _free(f"column{column}", columns) if column.startswith("__") else column
        fields.append(Field(column, KINDS[dtype], place))
        physical[place] = column
    if any(place != column for place, column in physical.items()):
        table = table.select(**{place: table[column] for place, column in physical.items()})
    elif fields:
        table = table.select(*physical)
    return Observations(table, recognise(fields, _given(fields)), label, unique=True)


def records(
    observations: Observations,
    filter_params: Mapping[str, Any] | None,
    time_range: Any,
    level: Any,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Return the results that pass a selection as dictionaries, without the values that are missing.

    Parameters
    ----------
    observations : Observations
        With all columns.
    filter_params : mapping or None
        Column, role or another spelling of it to the value or the values that are let in.
    time_range : pair or None
        First and last moment.
    level : str or None
        A level, of which only the name is checked.
    limit : int or None, optional
        How many at most: the latest ones, in the order of time.

    Raises
    ------
    UnknownNameError
        For a filter or level that can't be.
    """
    selection = Selection(
        () if level is None else level, where=tuple((filter_params or {}).items()), time_range=time_range
    )
    prepared = select(observations, selection)
    stored = [column for column in prepared.schema.columns if not _is_derived(column.name, column.field)]
    table: ibis.Table = prepared.table
    if limit is not None:
        table = table.order_by(table["timestamp"].desc(nulls_first=False)).limit(limit)
    found = fetch(table.select(*(column.field for column in stored)), prepared.label)
    present = [column for column in stored if found[column.field].null_count < len(found)]
    moments = {column.name for column in present if column.kind.value == "time"}
    names = [column.name for column in present]
    values = [found[column.field].to_pylist() for column in present]
    if not values:
        return [{} for _ in range(found.num_rows)]
    out = [
        {name: value for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*values, strict=True)
    ]
    for record in out:
        for name in moments & record.keys():
            record[name] = record[name].replace(tzinfo=UTC)
    return out


def records_of_all(
    every: Mapping[str, Observations],
    filter_params: Mapping[str, Any] | None,
    time_range: Any,
    limit: int | None,
) -> list[dict[str, Any]]:
    """Return results of all types together, each with its type, in the order of time.

    Parameters
    ----------
    every : mapping of str to Observations
        Result type to its observations, with all columns.
    filter_params, time_range
        See `records`. "result_type" can be filtered by too; a column that only some types have lets in none of the
        others.
    limit : int or None
        How many at most: the latest ones.

    Raises
    ------
    UnknownNameError
        If no type has a column that is filtered by.
    """
    filters = dict(filter_params or {})
    kinds = filters.pop(_RESULT_TYPE, list(every))
    chosen = Selection((), where={_RESULT_TYPE: kinds}).where[0][1]  # type: ignore[arg-type]
    unknown = [kind for kind in chosen if kind not in every]
    if unknown:
        raise UnknownNameError.of("result type", unknown[0], every)
    lacking: list[UnknownNameError] = []
    out: list[dict[str, Any]] = []
    for kind, observations in every.items():
        try:
            for name in filters:
                observations.schema.column(str(name), "filter")
        except UnknownNameError as error:
            lacking.append(error)
            continue
        if kind in chosen:
            found = records(observations, filters, time_range, None, limit)
            out += [{_RESULT_TYPE: kind, **record} for record in found]
    if len(lacking) == len(every):
        names = {column: None for observations in every.values() for column in observations.schema.names}
        raise UnknownNameError.of("filter", lacking[0].name, [*names, _RESULT_TYPE])
    first = datetime.min.replace(tzinfo=UTC)
    out.sort(key=lambda record: record.get("timestamp", first))
    return out if limit is None else out[max(len(out) - limit, 0) :]


def _given(fields: list[Field]) -> dict[str, Any]:
    """Say which column plays which role: those of the store do, whatever else looks like one."""
    names = {field.name for field in fields}
    roles: dict[str, Any] = {}
    for role, name in _ROLES.items():
        if name in names:
            roles["run" if role is Role.RUN else role.value] = name
    return roles


def _is_derived(name: str, field: str) -> bool:
    """Say whether a column is another one read in another way, as "passed" is of "status"."""
    return name != field and (name in METRICS or name in COMMON) and not field.startswith("column__")


def _free(name: str, taken: Mapping[str, str]) -> str:
    folded = {other.casefold() for other in taken}
    while name.casefold() in folded:
        name += "_"
    return name


def as_limit(limit: object) -> int | None:
    """Return how many results are wanted at most.

    Raises
    ------
    SchemaError
        If that is no count.
    """
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise SchemaError(f"limit is a number of results, 0 or more, or None; got {limit!r}")
    return limit
