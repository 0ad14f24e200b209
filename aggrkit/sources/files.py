"""Files as relations: CSV, Parquet and JSON lines, one or many, never loaded into memory."""

from __future__ import annotations

import contextlib
import csv
import glob
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aggrkit.errors import SchemaError, SourceError, listed
from aggrkit.sources.engine import connect, fields_of, reading, typed
from aggrkit.sources.observations import Relation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis

__all__ = ["DATABASE_SUFFIXES", "file_relation", "files_of", "neighbours"]

DATABASE_SUFFIXES: Final = (".duckdb", ".ddb", ".db")
_READERS: Final = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}
_DELIMITERS: Final = ",;\t|"
_TOP: Final = 20
_PACKED: Final = (".gz", ".zst", ".bz2", ".xz")


def file_relation(path: str, config: dict[str, str] | None = None) -> Relation:
    """Open a file, a glob of files, or a folder of hive partitions.

    Parameters
    ----------
    path : str
        "results.parquet", "runs/*.csv", "lake/**/*.parquet", or a folder.
    config : dict, optional
        Settings of DuckDB.

    Returns
    -------
    Relation
        Columns are matched by name over all files; what a file lacks is missing there.

    Raises
    ------
    SourceError
        If there is no such file, or it can't be read.
    """
    pattern, reader = _pattern(path)
    backend = connect(config=config)
    try:
        with reading(path):
            table = typed(_read(backend, reader, pattern))
            table.limit(1).to_pyarrow()
    except SourceError as error:
        uneven = _uneven_line(pattern) if reader == "csv" else ""
        if not uneven:
            raise
        raise SourceError(f"{path} can't be read: {uneven}") from error
    fields = fields_of(table)
    if not fields:
        raise SchemaError(f"{path} has no columns")
    if reader == "csv" and _is_misread(pattern, [field.name for field in fields]) and (uneven := _uneven_line(pattern)):
        raise SourceError(f"{path} can't be read: {uneven}")
    return Relation(table, fields, path)


def files_of(path: str) -> list[Path]:
    """Return the files that a path, a glob or a folder stands for, in the order of their names.

    Raises
    ------
    SourceError
        If there are none.
    """
    place = Path(path).expanduser()
    if place.suffix.casefold() in DATABASE_SUFFIXES:
        return [place]
    return [Path(name) for name in sorted(glob.glob(_pattern(path)[0], recursive=True))]  # noqa: PTH207 - as below


def _read(backend: object, reader: str, pattern: str) -> ibis.Table:
    options = {
        "union_by_name": True,
        "hive_partitioning": "=" in pattern or (Path(pattern).name != pattern and "*" in pattern),
    }
    if reader == "parquet":
        return backend.read_parquet(pattern, **options)  # type: ignore[attr-defined]
    if reader == "csv":
        return backend.read_csv(pattern, sample_size=-1, **options)  # type: ignore[attr-defined]
    return backend.read_json(pattern, **options)  # type: ignore[attr-defined]


def _csv_files(pattern: str) -> list[str]:
    names = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - as in _pattern
    return [name for name in names if not name.casefold().endswith(_PACKED)]


def _is_misread(pattern: str, columns: Sequence[str]) -> bool:
    """Say whether DuckDB took a line for the header that isn't at the top, or the whole of it for a single name.

    It does so where one line has more or fewer values than the others: it skips all lines before that one.
    """
    tops = []
    for name in _csv_files(pattern):
        with Path(name).open(encoding="utf-8-sig", errors="replace") as lines:
            top = list(islice(lines, _TOP))
        if top and top[0].rstrip() in columns and any(mark in top[0] for mark in _DELIMITERS):
            return True
        tops += [name, *top]
    return bool(tops) and not all(any(column in line for line in tops) for column in columns)


def _uneven_line(pattern: str) -> str:
    """Name the first line of CSV files that has more or fewer values than their header, or return an empty string."""
    for name in _csv_files(pattern):
        nothing_to_say = contextlib.suppress(csv.Error, OSError)  # such as a file that may not be read
        with nothing_to_say, Path(name).open(newline="", encoding="utf-8", errors="replace") as lines:
            header = lines.readline()
            if "\0" in header or "\ufffd" in header:  # no text, or not in UTF-8
                continue
            delimiter = max(_DELIMITERS, key=header.count)
            lines.seek(0)
            rows = csv.reader(lines, delimiter=delimiter)
            wanted = len(next(rows, []))
            for row in rows:
                if row and wanted > 1 and len(row) != wanted:
                    values = f"{len(row)} value{'s' if len(row) > 1 else ''}, and the header {wanted}"
                    return f"line {rows.line_num} of {name} has {values}; is the file cut off?"
    return ""


def _pattern(path: str) -> tuple[str, str]:
    """Return what DuckDB is to read, and with which reader."""
    place = Path(path).expanduser()
    if place.is_dir():
        found = sorted({file.suffix for file in place.rglob("*") if file.suffix in _READERS})
        if not found:
            raise SourceError(f"the folder {path} holds no file that can be read; known kinds: {listed(_READERS)}")
        if len(found) > 1:
            raise SourceError(f"the folder {path} holds files of several kinds: {listed(found)}; say which by a glob")
        return str(place / "**" / f"*{found[0]}"), _READERS[found[0]]
    if place.is_file():
        if not place.stat().st_size:
            raise SourceError(f"{path} is empty")
        return glob.escape(str(place)), _reader(path, place)
    if "://" in path:
        raise SourceError(f"{path} is not a local file; download it, or open a table of a connection that reads it")
    if not glob.glob(str(place), recursive=True):  # noqa: PTH207 - the pattern may be absolute, which Path.glob refuses
        raise SourceError(f"{path} is not there{neighbours(place)}")
    return str(place), _reader(path, place)


def _reader(path: str, place: Path) -> str:
    suffixes = [suffix.casefold() for suffix in place.suffixes if suffix.casefold() not in _PACKED]
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in _READERS:
        kinds = (*_READERS, *DATABASE_SUFFIXES)
        raise SourceError(f"{path} is of a kind that aggrkit doesn't read; known kinds: {listed(kinds)}")
    return _READERS[suffix]


def neighbours(place: Path) -> str:
    """Say for a message which files are where one is missing."""
    if not place.parent.is_dir():
        return f"; neither is the folder {place.parent}"
    near = sorted(file.name for file in place.parent.iterdir() if file.suffix in (*_READERS, *DATABASE_SUFFIXES))
    return f"; {place.parent} holds {listed(near)}" if near else ""
