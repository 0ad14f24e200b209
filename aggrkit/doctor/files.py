"""Examination of a file of results."""

from __future__ import annotations

from pathlib import Path

from aggrkit.doctor.diagnosis import Diagnosis, failed, fine, warned
from aggrkit.errors import AggrError, UnknownNameError, listed

__all__ = ["results"]


def results(path: str) -> Diagnosis:
    """Open results, and say what is in them, or why that can't be."""
    import aggrkit
    from aggrkit.pipeline.expressions import fetch
    from aggrkit.sources.files import DATABASE_SUFFIXES

    is_database = Path(path).suffix.casefold() in DATABASE_SUFFIXES
    try:
        if is_database and (trouble := _trouble_of_store(path)):
            return trouble
        results = aggrkit.open(path)
        schema, table = results.schema, results.table
        rows = int(fetch(table.aggregate(rows=table.count()), path)["rows"][0].as_py())
    except UnknownNameError as error:  # a database with several tables
        return fine(f"DuckDB can read it; it holds several tables, say which by --table: {listed(error.choices)}")
    except AggrError as error:
        return failed(str(error), _fix(str(error), path))
    if not schema.metrics:
        return failed(
            f"{rows:,} rows, but no column was recognised as a metric; columns: {listed(schema.names)}",
            "name one: --role metrics=COLUMN",
        )
    if not rows:
        return warned("it can be read, and holds no row", "see why nothing was written to it")
    roles = [name for name in ("run_id", "timestamp", "model", "hardware") if schema.role(name) is None]
    lacking = f"; no column was recognised as {', '.join(roles)}" if roles else ""
    metrics = listed(metric.name for metric in schema.metrics)
    return fine(f"{rows:,} rows, metrics {metrics}{lacking}")


def _trouble_of_store(path: str) -> Diagnosis | None:
    """Look at a store of aggrkit: whether its tables are of a version that this one knows."""
    from aggrkit.sources.engine import connect
    from aggrkit.sources.results import STORE_MARK
    from aggrkit.store.layout import VERSION, meta_value

    if not Path(path).is_file():
        return None
    backend = connect(path, read_only=True)
    try:
        if STORE_MARK not in backend.list_tables():
            return None
        version = int(meta_value(backend.con, "schema_version") or 0)
    finally:
        backend.disconnect()
    if version > VERSION:
        return failed(
            f"it is a store of version {version}, and this aggrkit knows versions up to {VERSION}",
            "upgrade aggrkit: pip install --upgrade aggrkit",
        )
    if version < VERSION:
        return warned(
            f"it is a store of version {version}; it is brought to version {VERSION} when it is opened for writing",
            f"python -c \"import aggrkit; aggrkit.BenchmarkDBManager('{path}').close()\"",
        )
    return None


def _fix(message: str, path: str) -> str:
    if "lock" in message.casefold() or "another process" in message:
        return "end the process that writes to it, or let it close the file; many may read, one may write"
    if "is not there" in message:
        return "give the path of a file that exists"
    if "is empty" in message:
        return "write the results again"
    return f"look at {path}, and write the results again if it is damaged"
