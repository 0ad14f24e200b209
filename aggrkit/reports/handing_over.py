"""How results get to the kernel of a notebook: by their path, or as a file that is made for it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from aggrkit.errors import AggrError, SchemaError
from aggrkit.model.metric import Metric
from aggrkit.model.schema import Kind
from aggrkit.sources.engine import reading
from aggrkit.sources.files import files_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aggrkit.analysis import Analysis
    from aggrkit.sources.observations import Observations

__all__ = ["handed_over", "input_hash", "read_options", "written_options"]

_FILE: Final = "observations.parquet"


def handed_over(results: Analysis, opened: Mapping[str, Any] | None, folder: Path) -> dict[str, Any]:
    """Return the parameters by which a notebook opens results.

    Parameters
    ----------
    results : Analysis
        What a report is to be made of.
    opened : mapping or None
        From which path it was opened, and how; None for a frame, a connection or a table, whose observations are
        written into a file.
    folder : pathlib.Path
        Where that file may be.

    Returns
    -------
    dict
        ``source``, ``label``, ``table`` and ``options``, as `aggrkit.reports.begin` takes them.

    Raises
    ------
    AggrError
        If the results have stages of their own, which stay in this process; if the observations can't be written.
    SchemaError
        If columns are there twice, or there are none.
    """
    if results.pipeline is not None:
        raise AggrError(
            "a report is made in a process of its own, which doesn't have the stages of your pipeline; apply them "
            "first, or leave the pipeline out"
        )
    given = dict(results.given)
    if opened is not None:
        options = {name: opened[name] for name in ("memory_limit", "threads") if opened.get(name) is not None}
        source = str(opened["source"])
        place = source if "://" in source else str(Path(source).expanduser().absolute())
        options = written_options({**options, **given})
        return {"source": place, "label": source, "table": opened.get("table"), "options": options}
    path = folder / _FILE
    frame = getattr(results.source, "frame", None)
    if frame is not None and not len(frame) and len(frame.columns):
        _write_nothing(frame, path)  # there is a report of nothing, too
        return {"source": str(path), "label": "DataFrame without rows", "table": None, "options": {}}
    observations = results.source(given)
    _write(observations, path)
    lost = {column.name for column in observations.schema.columns if column.kind is Kind.OTHER}
    if lost and "ignore" in given:
        names = [given["ignore"]] if isinstance(given["ignore"], str) else given["ignore"]
        given["ignore"] = [name for name in names if name not in lost]
    return {"source": str(path), "label": observations.label, "table": None, "options": written_options(given)}


def written_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return roles of columns as a notebook's parameters can hold them; metrics as what they are made of."""
    return {name: _written(value) for name, value in given.items()}


def read_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return roles of columns as they were before `written_options`."""
    return {name: _read(value) for name, value in options.items()}


def input_hash(source: str) -> str:
    """Return the SHA-256 of all files of a source, in the order of their names.

    Raises
    ------
    SourceError
        If they can't be read.
    """
    total = hashlib.sha256()
    for path in files_of(source):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _write(observations: Observations, path: Path) -> None:
    """Write observations as a Parquet file, with the names that the user knows and the types that they are read as."""
    table = observations.table
    columns: dict[str, Any] = {}
    written = set()
    for column in observations.schema.columns:
        if column.kind is Kind.OTHER or column.field in written or column.field not in table.columns:
            continue  # what can't be analysed, and what is read from another column
        written.add(column.field)
        values = table[column.field]
        columns[column.name] = values.try_cast("float64") if column.text and column.kind is Kind.NUMBER else values
    _refuse_alike(columns)
    numbered = table.select(**{f"c{place}": values for place, values in enumerate(columns.values())})
    with reading("the copy of the observations that a report needs"):
        numbered.rename({name: f"c{place}" for place, name in enumerate(columns)}).to_parquet(path)


def _write_nothing(frame: Any, path: Path) -> None:
    """Write a file with the columns of a frame that has no rows."""
    names = dict.fromkeys(str(name) for name in frame.columns)
    pq.write_table(pa.table({name: pa.array([], pa.string()) for name in names or ["nothing"]}), path)


def _refuse_alike(names: Iterable[str]) -> None:
    """Raise where names can't be told apart in a file."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise SchemaError(
                f"the columns {other!r} and {name!r} differ in upper and lower case only, which a report can't tell "
                "apart; rename one of them"
            )
    if not seen:
        raise SchemaError("no column can be analysed, so there is nothing to report")


def _written(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {name: part for name, part in asdict(value).items() if part is not None}
    if isinstance(value, dict):
        return {str(name): _written(part) for name, part in value.items()}
    return [_written(part) for part in value] if isinstance(value, (list, tuple, set, frozenset)) else value


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        if "name" in value and "kind" in value:
            return Metric(**value)
        return {name: _read(part) for name, part in value.items()}
    return [_read(part) for part in value] if isinstance(value, list) else value
