"""Databases as relations: a DuckDB file, a connection, or any Ibis table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from aggrkit.errors import SchemaError, SourceError, UnknownNameError, listed
from aggrkit.sources.engine import connect, fields_of, from_connection, reading
from aggrkit.sources.files import neighbours
from aggrkit.sources.observations import Relation
from aggrkit.sources.results import STORE_MARK

if TYPE_CHECKING:
    import duckdb
    import ibis
    from ibis.backends.duckdb import Backend

_SQLITE = b"SQLite format 3\0"

__all__ = ["connection_relation", "database_relation", "table_relation"]


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


def connection_relation(connection: duckdb.DuckDBPyConnection, table: str | None = None) -> Relation:
    """Open a table of a DuckDB connection."""
    return _named_table(from_connection(connection), table, "the connection")


def table_relation(table: ibis.Table) -> Relation:
    """Take an Ibis table as it is, on whatever engine it lives."""
    name = table.get_name() if hasattr(table.op(), "name") else "an expression"
    with reading(f"the Ibis table {name}"):
        table.get_backend()
        fields = fields_of(table)
    if not fields:
        raise SchemaError(f"the table {name} has no columns")
    return Relation(table, fields, f"Ibis table {name}")


def _named_table(backend: Backend, table: str | None, label: str) -> Relation:
    with reading(label):
        tables = backend.list_tables()
        filled = _filled(backend) if STORE_MARK in tables else {}
    if table is None and STORE_MARK in tables:
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
    with reading(label):
        found = backend.table(table)
    fields = [field for field in fields_of(found) if table not in filled or field.name in filled[table]]
    return Relation(found, fields, f"{label}, table {table}", unique=table in filled)


def _filled(backend: Backend) -> dict[str, set[str]]:
    """Return the tables of a store that hold results, with the columns that hold anything."""
    kept = backend.table(STORE_MARK).to_pyarrow().to_pylist()
    lists = {line["key"].removeprefix("filled."): line["value"] for line in kept}
    return {name: set(json.loads(text)) for name, text in lists.items() if name.endswith("_results") and text != "[]"}
