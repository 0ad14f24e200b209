"""Databases as relations: a DuckDB file, a connection, or any Ibis table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from aggrkit.errors import SchemaError, SourceError, UnknownNameError, listed
from aggrkit.sources.cancelling import one_at_a_time
from aggrkit.sources.engine import connect, fields_of, from_connection, reading
from aggrkit.sources.files import neighbours
from aggrkit.sources.marks import table_mark
from aggrkit.sources.observations import Relation
from aggrkit.sources.opened import Opened
from aggrkit.sources.results import STORE_MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    import duckdb
    import ibis
    from ibis.backends.duckdb import Backend

_RESULTS = "_results"
_SQLITE = b"SQLite format 3\0"

__all__ = ["connection_opened", "database_relation", "table_relation"]


def database_relation(path: str, table: str | None = None, config: dict[str, str] | None = None) -> Relation:
    """Open a table of a DuckDB file, for reading only.

    Parameters
    ----------
    path : str
        Path of the file.
    table : str, optional
        Which table or view; may be left out where there is only one.
    config : dict, optional
        Settings of DuckDB.

    Raises
    ------
    SourceError
        If the file is missing, damaged, or open for writing elsewhere.
    UnknownNameError
        If the table isn't there, or it must be said which.
    """
    place = Path(path).expanduser()
    if not place.is_file():
        raise SourceError(f"{path} is not there{neighbours(place)}" if not place.exists() else f"{path} is no file")
    with place.open("rb") as file:
        if file.read(len(_SQLITE)) == _SQLITE:
            how = "aggrkit.open(ibis.sqlite.connect(...).table(...))"
            raise SourceError(f"{path} is a database of SQLite, not of DuckDB; open it through Ibis: {how}")
    backend = connect(str(place), read_only=True, config=config)
    return _named_table(backend, table, path)


def connection_opened(
    connection: duckdb.DuckDBPyConnection,
    table: str | None = None,
    label: str = "the connection",
    mark: Callable[[], Hashable] | None = None,
) -> Opened:
    """Open a table of a DuckDB connection, which may grow.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        The connection; each opening has a cursor of its own.
    table : str, optional
        Which table or view; may be left out where there is only one at the beginning.
    label : str, optional
        What it is called in messages.
    mark : callable, optional
        Tells whether it has changed; `table_mark` by default.
    """
    looking = from_connection(connection)
    name = _name_of(looking, table, label)

    def rows() -> Hashable:
        with one_at_a_time(looking.con), reading(label):
            return table_mark(looking.table(name))

    return Opened(lambda: _named_table(from_connection(connection), name, label), mark or rows, is_late=mark is None)


def table_relation(table: ibis.Table) -> Relation:
    """Take an Ibis table as it is, on whatever engine it lives."""
    name = table.get_name() if hasattr(table.op(), "name") else "an expression"
    with reading(f"the Ibis table {name}"):
        table.get_backend()
        fields = fields_of(table)
    if not fields:
        raise SchemaError(f"the table {name} has no columns")
    return Relation(table, fields, f"Ibis table {name}")


def _name_of(backend: Backend, table: str | None, label: str) -> str:
    """Return which table is meant."""
    with reading(label):
        tables = backend.list_tables()
        is_store = STORE_MARK in tables
        filled = _filled(backend) if is_store else {}
    if table is None and is_store:
        if not filled:
            empty = [name for name in tables if name.endswith(_RESULTS)]
            said = f"say which table they will be in: table={empty[0]!r}; there are {listed(empty)}"
            raise SourceError(f"{label} holds no results yet; {said}")
        tables = sorted(filled)
    if table is None and len(tables) == 1:
        table = tables[0]
    if table is None:
        if not tables:
            raise SourceError(f"{label} holds no table with results")
        message = f"{label} holds several tables; say which: table={tables[0]!r}; there are {listed(tables)}"
        raise UnknownNameError(message, choices=tables)
    if table not in tables:
        raise UnknownNameError.of("table", table, tables)
    return table


def _named_table(backend: Backend, table: str | None, label: str) -> Relation:
    name = _name_of(backend, table, label)
    with reading(label):
        filled = _filled(backend) if STORE_MARK in backend.list_tables() else {}
        found = backend.table(name)
    fields = [field for field in fields_of(found) if name not in filled or field.name in filled[name]]
    return Relation(found, fields, f"{label}, table {name}", unique=name in filled)


def _filled(backend: Backend) -> dict[str, set[str]]:
    """Return the tables of a store that hold results, with the columns that hold anything."""
    kept = backend.table(STORE_MARK).to_pyarrow().to_pylist()
    lists = {line["key"].removeprefix("filled."): line["value"] for line in kept}
    return {name: set(json.loads(text)) for name, text in lists.items() if name.endswith(_RESULTS) and text != "[]"}
