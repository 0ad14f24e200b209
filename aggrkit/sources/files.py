"""Files as relations: CSV, Parquet and JSON lines, one or many, never loaded into memory."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aggrkit.errors import SchemaError, SourceError, listed
from aggrkit.sources.engine import connect, fields_of, reading
from aggrkit.sources.observations import Relation

if TYPE_CHECKING:
    import ibis

__all__ = ["DATABASE_SUFFIXES", "file_relation"]

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
    with reading(path):
        table = _read(backend, reader, pattern)
        table.limit(1).to_pyarrow()
    fields = fields_of(table)
    if not fields:
        raise SchemaError(f"{path} has no columns")
    return Relation(table, fields, path)


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
    if not glob.glob(str(place), recursive=True):  # noqa: PTH207 - the pattern may be absolute, which Path.glob refuses
        raise SourceError(f"{path} is not there{_neighbours(place)}")
    suffixes = [suffix.casefold() for suffix in place.suffixes if suffix.casefold() not in _PACKED]
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in _READERS:
        kinds = (*_READERS, *DATABASE_SUFFIXES)
        raise SourceError(f"{path} is of a kind that aggrkit doesn't read; known kinds: {listed(kinds)}")
    return str(place), _READERS[suffix]


def _neighbours(place: Path) -> str:
    if not place.parent.is_dir():
        return f"; neither is the folder {place.parent}"
    near = sorted(file.name for file in place.parent.iterdir() if file.suffix in (*_READERS, *DATABASE_SUFFIXES))
    return f"; {place.parent} holds {listed(near)}" if near else ""
