"""What tells, at little cost, that a source has changed; no mark reads the results themselves."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING

from aggrkit.errors import SourceError
from aggrkit.sources.cancelling import one_at_a_time
from aggrkit.sources.engine import reading

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    import ibis

__all__ = ["database_mark", "files_mark", "table_mark"]


def files_mark(paths: Sequence[str | Path]) -> Hashable:
    """Tell how files are: their names, sizes and times.

    It sees that a file was written, replaced, added or removed. It doesn't see one that was written within the same
    tick of the file system's clock and is as long as before.

    Parameters
    ----------
    paths : sequence of str or path
        Files, globs or folders.

    Raises
    ------
    SourceError
        If one of them isn't there at the moment.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from aggrkit.sources.marks import files_mark
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.csv").write_text("model,latency_ms")
    >>> before = files_mark([folder])
    >>> _ = (folder / "b.csv").write_text("model,latency_ms")
    >>> files_mark([folder]) == before
    False
    """
    return tuple(_mark_of(file) for path in paths for file in _files(Path(path).expanduser(), path))


def database_mark(path: str) -> Hashable:
    """Tell how a database file and its log are; see `files_mark`.

    What another process has in memory and not yet in the file isn't seen.
    """
    log = Path(f"{path}.wal").expanduser()
    return files_mark([path, log] if log.exists() else [path])


def table_mark(table: ibis.Table) -> Hashable:
    """Tell how many rows a table has, and which columns.

    The engine of a database counts the rows of a table from what it knows of it; those of a view it computes.
    Values that are changed in place, and rows that others replace, are not seen.

    Parameters
    ----------
    table : ibis.Table
        The table.

    Raises
    ------
    SourceError
        If it can't be read at the moment.
    """
    with reading("the table"), one_at_a_time(getattr(table.get_backend(), "con", None)):
        rows = table.aggregate(rows=table.count()).to_pyarrow()["rows"][0].as_py()
    return rows, tuple(table.columns)


def _files(place: Path, given: str | Path) -> Iterator[Path]:
    if place.is_dir():
        yield from sorted(file for file in place.rglob("*") if file.is_file())
        return
    found = [place] if place.exists() else sorted(map(Path, glob.glob(str(place), recursive=True)))  # noqa: PTH207
    if not found:
        raise SourceError(f"{given} is not there")
    yield from found


def _mark_of(file: Path) -> Hashable:
    try:
        told = file.stat()
    except OSError as error:
        raise SourceError(f"{file} can't be read: {error.strerror or error}") from error
    return str(file), told.st_ino, told.st_size, told.st_mtime_ns
