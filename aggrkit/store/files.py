"""The file of a store: opened with care, and refused in words where it can't be used."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb

from aggrkit.errors import SourceError, listed
from aggrkit.sources.engine import connect, reading
from aggrkit.store.layout import META, VERSION, columns_of, meta_value, migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibis.backends.duckdb import Backend

__all__ = ["MEMORY", "FileState", "opened", "state_of", "writing"]

MEMORY: Final = ":memory:"
_LEAST_HEADER: Final = 12
_MAGIC: Final = b"DUCK"


@dataclass
class FileState:
    """What the managers of one file in this process share.

    Parameters
    ----------
    lock : RLock, optional
        Held while something is written.
    version : int, optional
        Counts the changes of the data.
    users : int, optional
        How many managers have the file open.
    """

    lock: threading.RLock = field(default_factory=threading.RLock)  # type: ignore[assignment, unused-ignore]
    version: int = 0
    users: int = 0


_states: dict[str, FileState] = {}
_states_lock = threading.Lock()


def state_of(path: str) -> FileState:
    """Return what the managers of a file share; a database in memory is its manager's own."""
    if path == MEMORY:
        return FileState()
    with _states_lock:
        return _states.setdefault(str(Path(path).resolve()), FileState())


def opened(path: str, state: FileState, *, read_only: bool, config: dict[str, str] | None) -> Backend:
    """Open a store; make it where there is none, and bring it up to date, unless it is only read.

    Parameters
    ----------
    path : str
        Path of the file, or ":memory:".
    state : FileState
        What its managers share; the lock is held.
    read_only : bool
        Whether other processes may read it meanwhile.
    config : dict or None
        Settings of DuckDB.

    Raises
    ------
    SourceError
        If it can't be opened, is no store, or is one of another version.
    """
    if path == MEMORY and read_only:
        raise SourceError("a store in memory begins empty, so there is nothing to read; leave out read_only")
    there = path != MEMORY and _is_there(Path(path), read_only=read_only)
    if there and not read_only and not state.users:
        with contextlib.closing(_Open(path, True, config)) as first:  # what is no store is never opened for writing
            _version(first.connection, path, read_only=False)
    found = _Open(path, read_only, config)
    try:
        version = _version(found.connection, path, read_only=read_only)
        if version < VERSION:
            with writing(path):
                migrate(found.connection, version)
    except BaseException:
        found.close()
        raise
    return found.backend


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turn what DuckDB says of something that can't be written into a `SourceError` that says what to do."""
    try:
        with reading(path):
            yield
    except SourceError as error:
        said = str(error.__cause__ or error)
        first = said.splitlines()[0] if said else ""
        if isinstance(error.__cause__, duckdb.InvalidInputException) and "read-only" in said:
            message = f"{path} is open for reading only; open it without read_only to write. ({first})"
        elif any(
            words in said for words in ("No space left", "max_temp_directory_size", "disk quota", "File too large")
        ):
            message = (
                f"the disk that holds {path} is full, so nothing of this call was stored; free some space, open the"
                f" store again, and repeat the call. ({first})"
            )
        elif "has been invalidated" in said or isinstance(error.__cause__, duckdb.FatalException):
            message = f"{path} had to be given up after an earlier error; close it, open it again and repeat. ({first})"
        else:
            raise
        raise SourceError(message) from error.__cause__


class _Open:
    """A backend, with the connection beneath it."""

    def __init__(self, path: str, read_only: bool, config: dict[str, str] | None) -> None:
        try:
            self.backend = connect(path, read_only=read_only, config=config)
        except SourceError as error:
            raise _better(path, error, read_only=read_only) from error.__cause__
        self.connection: duckdb.DuckDBPyConnection = self.backend.con.cursor()

    def close(self) -> None:
        self.connection.close()
        self.backend.disconnect()


def _is_there(place: Path, *, read_only: bool) -> bool:
    """Say whether there is a file to open; refuse what can't become one."""
    try:
        if place.is_dir():
            raise SourceError(f"{place} is a folder; give the path of a file in it, e.g. {place / 'results.duckdb'}")
        if not place.exists():
            if read_only:
                raise SourceError(f"{place} is not there; open it without read_only to make it")
            if not place.parent.is_dir():
                raise SourceError(f"the folder {place.parent} is not there; make it first, or give another path")
            return False
        with place.open("rb") as file:
            start = file.read(_LEAST_HEADER)
    except OSError as error:
        reason = error.strerror or error
        raise SourceError(f"{place} can't be opened: {reason}; see who may read and write it and its folder") from error
    if not start:
        raise SourceError(f"{place} is an empty file; delete it, or give a path where nothing is")
    if start[8:] != _MAGIC:
        what = "a database of SQLite" if start.startswith(b"SQLite") else "no DuckDB file, or a damaged one"
        raise SourceError(
            f"{place} is {what}, and was left as it is; give the path of a store, or a new path and ingest into it"
        )
    return True


def _version(connection: duckdb.DuckDBPyConnection, path: str, *, read_only: bool) -> int:
    """Return the version of a store, 0 for an empty file; refuse all else."""
    with reading(path):
        rows = connection.execute("SELECT table_name FROM duckdb_tables() WHERE NOT internal").fetchall()
        ours = (META,) in rows and list(columns_of(connection, META)) == ["key", "value"]
        if not ours:
            rows += connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
        tables = sorted(str(name) for (name,) in rows)
        said = meta_value(connection, "schema_version") if ours else None
        writer = meta_value(connection, "aggrkit_version") if ours else None
    if not tables and not read_only:
        return 0
    if said is None or not said.isdecimal():
        hint = "give another path for the store; to analyse its tables use aggrkit.open(path, table=...)"
        holds = f"holds other tables ({listed(tables)})" if tables else "holds no table"
        raise SourceError(f"{path} is no store of aggrkit: it {holds}, and was left as it is; {hint}")
    version = int(said)
    if version > VERSION:
        raise SourceError(
            f"{path} is a store of version {version}, written by aggrkit {writer or '(a later one)'}; this aggrkit"
            f" reads up to version {VERSION}. The file was left as it is: install"
            f" aggrkit {writer or 'of a later version'} or newer to open it"
        )
    if version < VERSION and read_only:
        raise SourceError(
            f"{path} is a store of version {version}, from an earlier aggrkit; open it once for writing (without"
            f" read_only), which brings it to version {VERSION}"
        )
    return version


def _better(path: str, error: SourceError, *, read_only: bool) -> SourceError:
    """Say what to do about a file that DuckDB doesn't open."""
    said: Any = str(error)
    if "different configuration" in said:
        how = "once for reading and once for writing, or with other settings"
        return SourceError(f"{path} is open in this process already, {how}; close that first, or use it here too")
    if "Permission denied" in said or "Read-only file system" in said:
        hint = "see who may write there, or open it with read_only=True" if not read_only else "see who may read it"
        return SourceError(f"{path} can't be {'read' if read_only else 'written'}: {hint}. ({said})")
    if "can't be read" in said:
        return SourceError(f"{said}; if the file is damaged, restore a copy, or ingest the results into a new store")
    return error
