"""The embedded engine: connections to DuckDB, as every source needs them."""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING, Any

import duckdb
import ibis
import pyarrow as pa

from aggrkit.errors import SourceError
from aggrkit.model.schema import Field, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ibis.backends.duckdb import Backend

__all__ = ["connect", "fields_of", "from_connection", "is_ours", "reading", "typed"]

_SPILL_LIMIT = "20GB"
_REFUSALS = (
    duckdb.Error,
    pa.ArrowException,
    ibis.common.exceptions.IbisError,
    ibis.common.exceptions.TableNotFound,
)


def connect(path: str = ":memory:", *, read_only: bool = False, config: dict[str, str] | None = None) -> Backend:
    """Open a DuckDB database that reads no Python variables and never spills without a bound.

    Parameters
    ----------
    path : str, optional
        Path of a database; in memory by default.
    read_only : bool, optional
        Whether other processes may read it meanwhile.
    config : dict, optional
        Settings of DuckDB, e.g. ``{"memory_limit": "1GB", "threads": "2"}``.

    Returns
    -------
    ibis backend

    Raises
    ------
    SourceError
        If the database can't be opened.
    """
    settings: dict[str, Any] = {
        "max_temp_directory_size": _SPILL_LIMIT,
        # DuckDB 2.0 reads a CSV column as the type that it is cast to later, and fails where the text isn't one
        "disabled_optimizers": "type_pushdown",
        **(config or {}),
    }
    with reading("the embedded engine" if path == ":memory:" else path):
        connection = duckdb.connect(path, read_only=read_only, config=settings)
    return from_connection(connection)


def from_connection(connection: duckdb.DuckDBPyConnection) -> Backend:
    """Use a connection of the user's: a cursor of it, so that its settings and results stay as they are."""
    with reading("the connection"):
        cursor = connection.cursor()
        cursor.execute("SET python_enable_replacements = false")
        backend: Backend = ibis.duckdb.from_connection(_Cursor(cursor))
        cursor.execute("SET TimeZone = 'UTC'")
    return backend


def is_ours(backend: Any) -> bool:
    """Say whether a backend is DuckDB on a cursor that nobody else uses."""
    return isinstance(getattr(backend, "con", None), _Cursor)


class _Cursor:
    """A cursor whose results have the methods that Ibis calls and DuckDB 2 deprecates, without DuckDB's warnings."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        self.lock = threading.RLock()  # a result that is being read would be lost to the next query of another thread

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, *args: Any, **kwargs: Any) -> _Result:
        return _Result(self._cursor.execute(*args, **kwargs))

    def sql(self, *args: Any, **kwargs: Any) -> _Result:
        return _Result(self._cursor.sql(*args, **kwargs))


class _Result:
    """What a cursor or relation of DuckDB answers."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._result, name)

    def fetch_arrow_table(self) -> Any:
        if isinstance(self._result, duckdb.DuckDBPyRelation):
            return self._result.to_arrow_table()
        # Only names of tables and columns come this way; DuckDB warns of Arrow on a cursor, since it copies the rows.
        names = [column[0] for column in self._result.description]
        rows = self._result.fetchall()
        return pa.table({name: [row[place] for row in rows] for place, name in enumerate(names)})


@contextlib.contextmanager
def reading(label: str) -> Iterator[None]:
    """Turn what an engine says of a source that can't be read into a `SourceError`."""
    try:
        yield
    except _REFUSALS as error:
        raise SourceError(_explained(label, error)) from error


def typed(table: ibis.Table) -> ibis.Table:
    """Return a table with its columns of no type (a Parquet file's that hold nothing at all) as missing numbers."""
    untyped = [name for name, dtype in table.schema().items() if dtype.is_unknown() and '"NULL"' in str(dtype)]
    return table.mutate(**{name: ibis.null("float64") for name in untyped}) if untyped else table


def fields_of(table: ibis.Table) -> Sequence[Field]:
    """Return the columns of a table with the kind that their type tells."""
    return [
        Field(name, _kind(dtype), note="" if _kind(dtype) is not Kind.OTHER else f"of type {dtype}")
        for name, dtype in table.schema().items()
    ]


def _kind(dtype: Any) -> Kind:
    if dtype.is_boolean():
        return Kind.BOOLEAN
    if dtype.is_numeric():
        return Kind.NUMBER
    if dtype.is_timestamp() or dtype.is_date():
        return Kind.TIME
    if dtype.is_string() or dtype.is_uuid():
        return Kind.TEXT
    if dtype.is_unknown() and "TIMESTAMP" in str(dtype):  # of nanoseconds with a zone, which Ibis has no name for
        return Kind.TIME
    return Kind.OTHER


def _explained(label: str, error: Exception) -> str:
    said = _first_words(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return f"{label} needs more memory than allowed; raise memory_limit, or select less. ({said})"
    if isinstance(error, duckdb.BinderException) and "does not have a column" in said:
        return f"{label} has changed since it was opened: open it again. ({said})"
    if isinstance(error, duckdb.ConnectionException) and "different configuration" in said:
        hint = "close it, or give its connection or store to aggrkit.open"
        return f"{label} is open in this process already; {hint}. ({said})"
    if re.search(r"\block\b|being used by another process", said, re.IGNORECASE):
        return f"{label} is open for writing in another process; close it there, or open a copy. ({said})"
    if re.search(r"version|newer", said, re.IGNORECASE) and isinstance(
        error, (duckdb.IOException, duckdb.SerializationException)
    ):
        return f"{label} was written by another version of DuckDB than {duckdb.__version__}. ({said})"
    if re.search(r"no files found|does not exist|no such file", said, re.IGNORECASE):
        return f"{label} is not there. ({said})"
    return f"{label} can't be read: {said}"


def _first_words(error: Exception) -> str:
    """Return the first line of a message, and of one about a CSV file also what is wrong with it."""
    lines = [line for line in str(error).splitlines() if not line.startswith("Original Line")]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if "CSV" in lines[0] or "sniffing" in lines[0] else lines[0]
