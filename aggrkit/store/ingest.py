"""Taking results in: all of a call or nothing of it, and each observation once."""

# ruff: noqa: S608 - names go through `identifier`, values are parameters

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from aggrkit.sources.observations import ROW
from aggrkit.store.layout import KEY, TABLES, columns_of, filled_columns, identifier, set_filled
from aggrkit.store.staging import STAGED, Staged, stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb
    import pandas as pd
    from ibis.backends.duckdb import Backend

__all__ = ["Ingested", "ingest_parts"]

_FRESH: Final = "__aggrkit_fresh"


@dataclass(frozen=True)
class Ingested:
    """What an ingest did.

    Parameters
    ----------
    result_type : str
        Type of the results; several joined by ", "; empty where there was nothing to take in.
    rows_in : int
        Results that were given.
    rows_new : int
        Those that were stored.
    rows_known : int
        Those that the store had already, or that were given twice.
    cells_unreadable : mapping of str to int
        Column to the number of values that could not be read, and are missing now.
    columns_added : tuple of str
        Columns that the store didn't have before.
    """

    result_type: str = ""
    rows_in: int = 0
    rows_new: int = 0
    rows_known: int = 0
    cells_unreadable: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    columns_added: tuple[str, ...] = ()

    def __repr__(self) -> str:
        parts = [f"{self.rows_in} {self.result_type} results: {self.rows_new} new, {self.rows_known} known already"]
        if self.cells_unreadable:
            cells = ", ".join(f"{count} of {name!r}" for name, count in self.cells_unreadable.items())
            parts.append(f"values that could not be read: {cells}")
        if self.columns_added:
            parts.append(f"columns added: {', '.join(map(repr, self.columns_added))}")
        return f"<Ingested {'; '.join(parts).replace('  ', ' ')}>"

    def __add__(self, other: Ingested) -> Ingested:
        cells = dict(self.cells_unreadable)
        for name, count in other.cells_unreadable.items():
            cells[name] = cells.get(name, 0) + count
        return Ingested(
            ", ".join(filter(None, (self.result_type, other.result_type))),
            self.rows_in + other.rows_in,
            self.rows_new + other.rows_new,
            self.rows_known + other.rows_known,
            MappingProxyType(cells),
            tuple(dict.fromkeys(self.columns_added + other.columns_added)),
        )


def ingest_parts(
    backend: Backend, connection: duckdb.DuckDBPyConnection, parts: Mapping[str, pd.DataFrame]
) -> Ingested:
    """Take in results of several types; the caller holds the transaction.

    Parameters
    ----------
    backend, connection
        The store: the same connection twice, within a transaction.
    parts : mapping of str to pandas.DataFrame
        The results of each type.
    """
    done = Ingested()
    for result_type, frame in parts.items():
        table = TABLES[result_type]
        staged = stage(backend, connection, frame, result_type, columns_of(connection, table))
        done += _stored(connection, result_type, table, staged)
        connection.execute(f"DROP TABLE {STAGED}")
    return done


def _stored(connection: duckdb.DuckDBPyConnection, result_type: str, table: str, staged: Staged) -> Ingested:
    for name in staged.new:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {identifier(name)} {staged.columns[name]}")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {_FRESH} AS {_fresh_rows(table, staged)}")
    new = int(connection.execute(f"SELECT count(*) FROM {_FRESH}").fetchall()[0][0])
    if new:
        names = ", ".join(identifier(name) for name in staged.columns)
        comma = ", " if names else ""
        rows, key = f"{STAGED} s JOIN {_FRESH} f ON s.{identifier(ROW)} = f.row", "f.key"
        if new == staged.rows and not staged.untold:
            rows, key = f"{STAGED} s", f"s.{KEY}"
        values = ", ".join(f"s.{identifier(name)}" for name in staged.columns)
        connection.execute(f"INSERT INTO {table} ({names}{comma}{KEY}) SELECT {values}{comma}{key} FROM {rows}")
        _note_nouns(connection, staged.columns, rows)
        set_filled(connection, table, [*filled_columns(connection, table), *staged.columns])
    connection.execute(f"DROP TABLE {_FRESH}")
    cells = MappingProxyType(dict(staged.unreadable))
    return Ingested(result_type, staged.rows, new, staged.rows - new, cells, staged.new)


def _fresh_rows(table: str, staged: Staged) -> str:
    """Return the SQL of the rows that the store doesn't have: each key, with the first row that has it."""
    row = identifier(ROW)
    keyed = f"SELECT {row} AS row, {KEY} AS key FROM {STAGED}"
    if staged.untold:
        told = [f"{name} IS NOT NULL" for name in ("result_id", "timestamp") if name in staged.columns]
        number = f"row_number() OVER (PARTITION BY {KEY} ORDER BY {row})"
        key = f"CASE WHEN {' OR '.join(told) or 'false'} THEN {KEY} ELSE {KEY} || ':' || {number} END"
        keyed = f"SELECT {row} AS row, {key} AS key FROM {STAGED}"
    return (
        f"SELECT min(k.row) AS row, k.key AS key FROM ({keyed}) k ANTI JOIN {table} t ON k.key = t.{KEY} GROUP BY k.key"
    )


def _note_nouns(connection: duckdb.DuckDBPyConnection, columns: Mapping[str, Any], rows: str) -> None:
    """List the models, the hardware and the runs that new rows speak of."""
    for name, nouns in (("model_id", "models"), ("hardware_id", "hardware")):
        if name in columns:
            connection.execute(
                f"INSERT INTO {nouns} ({name}) SELECT DISTINCT s.{name} FROM {rows} WHERE s.{name} IS NOT NULL"
                " ON CONFLICT DO NOTHING"
            )
    if "run_id" not in columns:
        return
    time = "s.timestamp" if "timestamp" in columns else "NULL::TIMESTAMP"
    worker = "s.worker_id" if "worker_id" in columns else "NULL::VARCHAR"
    connection.execute(
        f"INSERT INTO runs SELECT s.run_id, min({time}), max({time}), min({worker}), count(*) FROM {rows}"
        " WHERE s.run_id IS NOT NULL GROUP BY s.run_id ON CONFLICT (run_id) DO UPDATE SET"
        " first_timestamp = least(first_timestamp, excluded.first_timestamp),"
        " last_timestamp = greatest(last_timestamp, excluded.last_timestamp),"
        " worker_id = coalesce(least(worker_id, excluded.worker_id), worker_id, excluded.worker_id),"
        " rows = rows + excluded.rows"
    )
