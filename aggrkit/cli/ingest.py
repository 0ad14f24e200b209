"""``aggrkit ingest``: take files of results into a store, each result once."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aggrkit.cli.asking import STANDARD_INPUT, name_and_value
from aggrkit.cli.codes import DATA_TROUBLE, DONE
from aggrkit.errors import AggrError, SourceError
from aggrkit.model.metric import RESULT_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

    from aggrkit.sources.importers.format import Format
    from aggrkit.store import BenchmarkDBManager
    from aggrkit.store.ingest import Ingested

__all__ = ["add_to"]

_FORMATS: Final = (
    *("pytest-benchmark", "google-benchmark", "go", "asv", "hyperfine", "junit", "mlperf-training"),
    *("mlperf-inference", "table"),
)
_EPILOG: Final = """\
examples:
  aggrkit ingest bench.json --into benchmarks.duckdb
  aggrkit ingest 'reports/TEST-*.xml' --into benchmarks.duckdb --set commit=4f2a1c0
  go test -run '^$' -bench . -count 10 | aggrkit ingest - --into benchmarks.duckdb

A file that was taken in before adds nothing. Each file is taken in as a whole or not at all, and one that is refused
leaves the others alone; --together takes in all of them or none. Returns 3 if a file was refused.
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "ingest",
        help="take files of results into a store, each result once",
        description="Take files of results into a store, each result once: JSON of pytest-benchmark, Google Benchmark "
        "and hyperfine, output of go test -bench, results of asv, JUnit XML, logs of MLPerf, and CSV, Parquet, JSON "
        "lines and DuckDB files. What a file is, is told by what it holds.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="a file, a glob in quotes, or a folder; - is stdin")
    parser.add_argument("--into", required=True, metavar="STORE", help="the store, a DuckDB file; made where it isn't")
    parser.add_argument("--format", choices=_FORMATS, help="read the files as of this format, whatever they look like")
    parser.add_argument("--result-type", choices=tuple(RESULT_TYPES), help="of what type the results are")
    parser.add_argument("--table", metavar="NAME", help="which table of a DuckDB file; not needed where there is one")
    parser.add_argument(
        "--set",
        dest="constants",
        action="append",
        default=[],
        type=name_and_value,
        metavar="COLUMN=VALUE",
        help="what the files don't say and holds for all of them, e.g. commit=4f2a1c0 or timestamp=2026-03-01T12:00Z "
        "(repeatable)",
    )
    parser.add_argument("--together", action="store_true", help="take in all files or none of them")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")
    parser.set_defaults(parser=parser, run=_ingest)


def _ingest(given: argparse.Namespace) -> int:
    """Take in every file that is named, and tell of each."""
    told: list[dict[str, Any]] = []
    with ExitStack() as stack:
        sources = [source for name in given.files for source in _sources(name, given, stack)]
        store = _Store(given.into, stack)
        with _progress(len(sources)) as advance:
            if given.together:
                frames = []
                for source in sources:
                    frames.append(_with_constants(source.read(), given))
                    advance(source.label)
                told.append(_told(f"{len(sources)} files", store.take(frames, given.result_type)))
            for source in () if given.together else sources:
                try:
                    frame = _with_constants(source.read(), given)
                    told.append(_told(source.label, store.take([frame], given.result_type)))
                except AggrError as error:
                    told.append({"file": source.label, "refused": str(error)})
                advance(source.label)
    _tell(told, given)
    return DATA_TROUBLE if any("refused" in line for line in told) else DONE


class _Store:
    """The store, which is opened, and made, when something is first taken in."""

    def __init__(self, path: str, stack: ExitStack) -> None:
        self.path = path
        self.stack = stack
        self.manager: BenchmarkDBManager | None = None

    def take(self, frames: Sequence[pd.DataFrame], result_type: str | None) -> Ingested:
        """Take in frames, all of them or none."""
        import pandas as pd

        from aggrkit.store import BenchmarkDBManager

        if self.manager is None:
            self.manager = self.stack.enter_context(BenchmarkDBManager(self.path))
        frame = frames[0] if len(frames) == 1 else pd.concat([part.astype(object) for part in frames])
        return self.manager.ingest(frame.infer_objects(), result_type)


def _sources(name: str, given: argparse.Namespace, stack: ExitStack) -> list[_Source]:
    """Return what a name on the command line means."""
    path = _laid_aside(stack) if name == STANDARD_INPUT else name
    label = "standard input" if name == STANDARD_INPUT else name
    if _is_same(path, given.into):
        raise SourceError(f"{path} is the store itself; give the files that go into it")
    files = None if given.format == "table" else _files(path, given.format)
    if files is None:
        return [_Source(label, path, table=given.table)]
    if len(files) == 1:
        return [_Source(label, *files[0])]
    return [_Source(path, path, known) for path, known in files]


def _files(path: str, format_name: str | None) -> list[tuple[str, Format]] | None:
    """Return the files of tools that a path, a glob or a folder means, or None if it means tables."""
    from aggrkit.sources.files import DATABASE_SUFFIXES
    from aggrkit.sources.importers import format_named, importable

    place = Path(path).expanduser()
    if format_name is not None and place.is_file():
        return [(path, format_named(format_name))]
    if place.suffix.casefold() in DATABASE_SUFFIXES:
        return None
    found = importable(path)
    if found is None or format_name is None:
        return found
    return [(one, format_named(format_name)) for one, _ in found]


@dataclass(frozen=True)
class _Source:
    """Something that is taken in as a whole.

    Parameters
    ----------
    label : str
        What the user calls it.
    path : str
        Where it is.
    known : Format, optional
        The format of a tool; None for tables.
    table : str, optional
        Which table of a database.
    """

    label: str
    path: str
    known: Format | None = None
    table: str | None = None

    def read(self) -> pd.DataFrame:
        """Return all that it holds."""
        from aggrkit.sources.importers import import_file
        from aggrkit.sources.opening import all_rows

        try:
            if self.known is None:
                return all_rows(self.path, self.table)
            frame = import_file(self.path, self.known)
        except SourceError as error:
            raise SourceError(str(error).replace(self.path, self.label)) from error
        return frame if self.label == self.path else frame.assign(source_file=self.label)


def _with_constants(frame: pd.DataFrame, given: argparse.Namespace) -> pd.DataFrame:
    constants: dict[str, Any] = dict(given.constants)
    if given.result_type is not None and "result_type" in frame:
        constants["result_type"] = given.result_type
    return frame.assign(**constants)


def _laid_aside(stack: ExitStack) -> str:
    """Put what comes in on standard input into a file, which is removed at the end."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="aggrkit-"))
    place = Path(folder) / "stdin"
    with place.open("wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    if not place.stat().st_size:
        raise SourceError("standard input is empty; pipe results into it")
    return str(place)


def _is_same(name: str, store: str) -> bool:
    one, other = Path(name).expanduser(), Path(store).expanduser()
    return one.exists() and other.exists() and one.samefile(other)


def _told(label: str, done: Ingested) -> dict[str, Any]:
    return {
        "file": label,
        "result_type": done.result_type,
        "rows": done.rows_in,
        "new": done.rows_new,
        "known": done.rows_known,
        "cells_unreadable": dict(done.cells_unreadable),
    }


def _tell(told: Sequence[dict[str, Any]], given: argparse.Namespace) -> None:
    """Print what became of each file, and of all of them together."""
    taken = [line for line in told if "refused" not in line]
    refused = [line for line in told if "refused" in line]
    sums = {name: sum(line[name] for line in taken) for name in ("rows", "new", "known")}
    if given.json:
        print(json.dumps({"into": given.into, "files": list(told), **sums, "refused": len(refused)}, indent=2))
        return
    for line in told:
        if "refused" in line:
            print(f"aggrkit: refused: {line['refused']}", file=sys.stderr)
            continue
        print(f"{line['file']}: {_counts(line)}, {line['result_type'].replace('_', ' ')}")
        for column, count in line["cells_unreadable"].items():
            print(f"  {count:,} values of {column!r} could not be read, and are missing")
    print(f"{given.into}: {_counts(sums)}" + (f"; {len(refused)} files refused" if refused else ""))


def _counts(line: dict[str, Any]) -> str:
    return f"{line['rows']:,} results, {line['new']:,} new, {line['known']:,} known already"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """Show on a terminal how far it is, and leave no trace of that."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.completed} of {task.total} files"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)

        def advance(label: str) -> None:
            progress.update(task, advance=1, description=label)

        yield advance
