"""The tables of a store, and the way from each version of them to the next."""

# ruff: noqa: S608 - names go through `identifier`, values are parameters

from __future__ import annotations

import json
from importlib import metadata
from typing import TYPE_CHECKING, Final

from aggrkit.model.metric import RESULT_TYPES
from aggrkit.model.schema import Kind
from aggrkit.sources.results import STORE_MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import duckdb

__all__ = [
    "COMMON",
    "KEY",
    "KINDS",
    "META",
    "METRICS",
    "TABLES",
    "VERSION",
    "columns_of",
    "filled_columns",
    "identifier",
    "meta_value",
    "migrate",
    "set_filled",
]

KEY: Final = "result_key"
META: Final = STORE_MARK
TABLES: Final = {name: f"{name}_results" for name in RESULT_TYPES}
"""The table of each result type."""

COMMON: Final[dict[str, str]] = {
    "result_id": "VARCHAR",
    "run_id": "VARCHAR",
    "timestamp": "TIMESTAMP",
    "model_id": "VARCHAR",
    "hardware_id": "VARCHAR",
    "worker_id": "VARCHAR",
    "task_type": "VARCHAR",
    "batch_size": "DOUBLE",
    "precision": "VARCHAR",
    "test_case": "VARCHAR",
    "browser": "VARCHAR",
    "platform": "VARCHAR",
    "status": "VARCHAR",
}
"""The columns that describe a result, of whatever type it is."""

METRICS: Final = {metric.name: metric for metrics in RESULT_TYPES.values() for metric in metrics}
"""Every metric that aggrkit knows, by name."""

KINDS: Final = {"DOUBLE": Kind.NUMBER, "BOOLEAN": Kind.BOOLEAN, "VARCHAR": Kind.TEXT, "TIMESTAMP": Kind.TIME}
"""What a column of each type holds."""

_STATS: Final = ("n", "missing", "mean", "std", "min", "p50", "p75", "p90", "p95", "p99", "max")
_ANSWER: Final = 'selection VARCHAR, result_type VARCHAR, level VARCHAR, "group" VARCHAR, metric VARCHAR'


def identifier(name: str) -> str:
    """Return a name as SQL has it, whatever characters it is made of."""
    return '"' + name.replace('"', '""') + '"'


def columns_of(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Return the columns of a table with their types, in order."""
    return dict(connection.execute("SELECT name, type FROM pragma_table_info(?) ORDER BY cid", [table]).fetchall())


def meta_value(connection: duckdb.DuckDBPyConnection, key: str) -> str | None:
    """Return what the store says of itself under a key."""
    found = connection.execute(f"SELECT value FROM {META} WHERE key = ?", [key]).fetchall()
    return str(found[0][0]) if found else None


def filled_columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """Return the columns of a table of results in which any row has a value."""
    filled: list[str] = json.loads(meta_value(connection, f"filled.{table}") or "[]")
    return filled


def set_filled(connection: duckdb.DuckDBPyConnection, table: str, filled: Iterable[str]) -> None:
    """Keep which columns of a table of results hold values, so that nobody needs to look for them."""
    _set_meta(connection, f"filled.{table}", json.dumps(sorted(set(filled))))


def migrate(connection: duckdb.DuckDBPyConnection, version: int) -> None:
    """Bring a store to the present version, all of it or nothing.

    Parameters
    ----------
    connection : DuckDB connection
        Of the store; no transaction is open on it.
    version : int
        The version that it has; 0 for an empty file.
    """
    connection.execute("BEGIN TRANSACTION")
    try:
        for step in _STEPS[version:]:
            step(connection)
        _set_meta(connection, "schema_version", str(VERSION))
        _set_meta(connection, "aggrkit_version", _package_version())
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _set_meta(connection: duckdb.DuckDBPyConnection, key: str, value: str) -> None:
    connection.execute(f"DELETE FROM {META} WHERE key = ?", [key])
    connection.execute(f"INSERT INTO {META} VALUES (?, ?)", [key, value])


def _package_version() -> str:
    try:
        return metadata.version("aggrkit")
    except metadata.PackageNotFoundError:
        return "unknown"


def _first_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Version 1: results by type, models, hardware, and stored aggregates."""
    connection.execute(f"CREATE TABLE {META} (key VARCHAR, value VARCHAR)")
    connection.execute(
        "CREATE TABLE models (model_id VARCHAR PRIMARY KEY, name VARCHAR, family VARCHAR, modality VARCHAR,"
        " parameters_million DOUBLE, info VARCHAR)"
    )
    connection.execute(
        "CREATE TABLE hardware (hardware_id VARCHAR PRIMARY KEY, name VARCHAR, vendor VARCHAR, type VARCHAR,"
        " memory_gb DOUBLE, info VARCHAR)"
    )
    for result_type, table in TABLES.items():
        columns = {KEY: "VARCHAR"} | COMMON
        columns |= {m.name: "BOOLEAN" if m.is_proportion else "DOUBLE" for m in RESULT_TYPES[result_type]}
        listed = ", ".join(f"{identifier(name)} {kind}" for name, kind in columns.items())
        connection.execute(f"CREATE TABLE {table} ({listed})")
    values = ", ".join(f"{name} DOUBLE" for name in _STATS)
    connection.execute(
        f"CREATE TABLE aggregates ({_ANSWER}, unit VARCHAR, {values}, further VARCHAR, computed_at TIMESTAMP)"
    )


def _runs_and_anomalies(connection: duckdb.DuckDBPyConnection) -> None:
    """Version 2: runs, stored anomalies, and which columns hold values."""
    connection.execute(
        "CREATE TABLE runs (run_id VARCHAR PRIMARY KEY, first_timestamp TIMESTAMP, last_timestamp TIMESTAMP,"
        " worker_id VARCHAR, rows BIGINT)"
    )
    every = " UNION ALL ".join(f"SELECT run_id, timestamp, worker_id FROM {table}" for table in TABLES.values())
    connection.execute(
        f"INSERT INTO runs SELECT run_id, min(timestamp), max(timestamp), min(worker_id), count(*) FROM ({every})"
        " WHERE run_id IS NOT NULL GROUP BY run_id"
    )
    connection.execute(
        f"CREATE TABLE anomalies ({_ANSWER}, observation VARCHAR, value DOUBLE, score DOUBLE, lower DOUBLE,"
        " upper DOUBLE, direction VARCHAR, severity VARCHAR, pvalue DOUBLE, pvalue_adjusted DOUBLE, further VARCHAR,"
        " computed_at TIMESTAMP)"
    )
    for table in TABLES.values():
        names = [name for name in columns_of(connection, table) if name != KEY]
        counts = connection.execute(
            f"SELECT {', '.join(f'count({identifier(name)})' for name in names)} FROM {table}"
        ).fetchall()[0]
        set_filled(connection, table, [name for name, count in zip(names, counts, strict=True) if count])


_STEPS: Final[tuple[Callable[[duckdb.DuckDBPyConnection], None], ...]] = (_first_tables, _runs_and_anomalies)
VERSION: Final = len(_STEPS)
"""The version of the tables that this aggrkit reads and writes."""
