"""Tell what a thing is, and open it as a relation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import ibis
import pandas as pd

from aggrkit.errors import SourceError
from aggrkit.sources.database import connection_opened, database_relation, table_relation
from aggrkit.sources.engine import reading
from aggrkit.sources.files import DATABASE_SUFFIXES, file_relation
from aggrkit.sources.frame import frame_observations
from aggrkit.sources.imported import imported_relation
from aggrkit.sources.importers import FORMATS
from aggrkit.sources.marks import database_mark, files_mark, table_mark
from aggrkit.sources.opened import Opened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aggrkit.sources.observations import Observations, Relation

_PERHAPS_OF_A_TOOL: Final = frozenset({".json", ".xml", ".log", ".out", ".bench", ""})

__all__ = ["all_rows", "open_source"]


def open_source(
    source: Any, table: str | None, memory_limit: str | None, threads: int | None
) -> Callable[[Mapping[str, Any]], Observations]:
    """Open a source, and return what gives its observations for given roles: an `Opened`, where it can grow.

    Parameters
    ----------
    source : str, path, list of paths, pandas.DataFrame, DuckDB connection or Ibis table
        What holds the observations.
    table : str, optional
        Which table, for a database.
    memory_limit : str, optional
        Most memory that the engine may use, e.g. "1GB".
    threads : int, optional
        Most threads that it may use.

    Raises
    ------
    SourceError
        If it can't be read, or is of no known kind.
    """
    if isinstance(source, pd.DataFrame):
        _refuse(table is not None, "a DataFrame has no tables; leave out 'table'")
        config = _config(memory_limit, threads)
        return lambda given: frame_observations(source, given, config)
    return _opened(source, table, _config(memory_limit, threads))


def all_rows(source: str, table: str | None = None) -> pd.DataFrame:
    """Read all rows of a file of results, or of a table of a database.

    Parameters
    ----------
    source : str
        A file, a glob or a folder.
    table : str, optional
        Which table, for a database.

    Raises
    ------
    SourceError
        If it can't be read.
    """
    relation = _relation(source, table, {})
    names = {field.field: field.name for field in relation.fields}
    with reading(relation.label):
        rows: pd.DataFrame = relation.table.select(*names).to_pyarrow().to_pandas()
    return rows.rename(columns=names)


def _opened(source: Any, table: str | None, config: dict[str, str]) -> Opened:
    if isinstance(source, (duckdb.DuckDBPyConnection, ibis.Table, ibis.BaseBackend)):
        _refuse(bool(config), "memory_limit and threads are for files; set them on the connection itself")
    if isinstance(source, duckdb.DuckDBPyConnection):
        return connection_opened(source, table)
    if isinstance(source, ibis.Table):
        _refuse(table is not None, "the source is a table already; leave out 'table'")
        return Opened(lambda: table_relation(source), lambda: table_mark(source), is_late=True)
    if isinstance(source, ibis.BaseBackend):
        if source.name == "duckdb":
            return connection_opened(source.con, table)
        names = source.list_tables()
        if table is None and len(names) != 1:
            raise SourceError(f"say which table of the connection: table=...; there are {names}")
        return _opened(source.table(table or names[0]), None, config)
    if isinstance(source, (str, Path)):
        is_database = _is_database(source)
        mark = (lambda: database_mark(str(source))) if is_database else lambda: files_mark([source])
        return Opened(lambda: _relation(source, table, config), mark, is_exclusive=is_database)
    if isinstance(source, (list, tuple)) and source and all(isinstance(path, (str, Path)) for path in source):
        _refuse(table is not None, f"'table' is for databases, and {len(source)} files are none; leave it out")
        return Opened(lambda: _listed(source, config), lambda: files_mark(source))
    raise _strange(source)


def _relation(source: str | Path, table: str | None, config: dict[str, str]) -> Relation:
    path = str(source)
    _refuse(not path.strip(), "the path is empty")
    if _is_database(path):
        return database_relation(path, table, config)
    _refuse(table is not None, f"'table' is for databases, and {path} is none; leave it out")
    return imported_relation(source, path, config) or _tables(path, config)


def _listed(paths: Sequence[str | Path], config: dict[str, str]) -> Relation:
    found = imported_relation(paths, f"{len(paths)} files", config)
    if found is None:
        raise _strange(paths)
    return found


def _is_database(path: str | Path) -> bool:
    return Path(path).suffix.casefold() in DATABASE_SUFFIXES


def _strange(source: Any) -> SourceError:
    kinds = "a path, a pandas DataFrame, a store, a DuckDB connection or an Ibis table"
    kind = type(source)
    hint = "; a list is for files that a tool such as pytest-benchmark wrote, tables are opened by a glob"
    got = f"{kind.__module__}.{kind.__qualname__}".replace("builtins.", "")
    return SourceError(f"aggrkit opens {kinds}; got {got}{hint if kind in (list, tuple) else ''}")


def _tables(path: str, config: dict[str, str]) -> Relation:
    """Open a file of tables; where it is none, say that it is none of a tool's either."""
    try:
        return file_relation(path, config)
    except SourceError as error:
        place = Path(path).expanduser()
        if place.is_file() and place.stat().st_size and place.suffix.casefold() in _PERHAPS_OF_A_TOOL:
            titles = ", ".join(known.title for known in FORMATS.values())
            hint = (
                f"nor does it begin like a file of a tool ({titles}): if it is one, it was cut off, so write it again"
            )
            raise SourceError(f"{error}; {hint}") from error
        raise


def _refuse(wrong: bool, message: str) -> None:
    if wrong:
        raise SourceError(message)


def _config(memory_limit: str | None, threads: int | None) -> dict[str, str]:
    config = {} if memory_limit is None else {"memory_limit": memory_limit}
    return config if threads is None else {**config, "threads": str(threads)}
