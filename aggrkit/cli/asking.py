"""What commands share: the arguments that say where results are, and which of them are looked at.

A command calls `add_source`, `add_selection` and `add_output` for its parser, `opened` and `selected` when it runs, and
`aggrkit.cli.telling.tell` for its finding:

    >>> import argparse
    >>> from aggrkit.cli import asking
    >>> parser = argparse.ArgumentParser()
    >>> asking.add_source(parser)
    >>> asking.add_selection(parser)
    >>> said = ["demo:mlperf_training", "--level", "model", "--metric", "total_time_seconds", "--where", "round=v3.1"]
    >>> given = parser.parse_args(said)
    >>> found = asking.opened(given).stats(**asking.selected(given))
    >>> found["model"].tolist()[:2]
    ['bert', 'dlrm_dcnv2']
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import re
import shutil
import sys
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aggrkit import datasets
from aggrkit.errors import SourceError, UnknownNameError
from aggrkit.model.metric import Direction
from aggrkit.model.schema import SPELLINGS
from aggrkit.model.selection import LEVELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggrkit.accessor import Results

__all__ = [
    "add_output",
    "add_selection",
    "add_source",
    "name_and_value",
    "named",
    "opened",
    "selected",
    "side_in",
    "values_in",
]

SHIPPED: Final = "demo:"
"""What the name of a set that ships with the package begins with."""

STANDARD_INPUT: Final = "-"

ROLES: Final = tuple(role.value for role in SPELLINGS)
"""The roles that one column plays."""

MANY: Final = ("metrics", "conditions", "versions", "ignore")
"""The roles that several columns play."""


def add_source(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Add SOURCE, ``--table`` and ``--role``, which say where the results are and what their columns mean.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser of the command.
    optional : bool, optional
        Whether SOURCE may be left out, for it was said in another way.
    """
    parser.add_argument(
        "source",
        nargs="?" if optional else None,
        metavar="SOURCE",
        help="a CSV, Parquet, JSON lines or DuckDB file, a file of a tool such as pytest-benchmark (see aggrkit "
        "ingest), a glob in quotes, or a folder; - reads CSV or JSON lines from "
        f"standard input; {SHIPPED}NAME is a set that ships with the package: {', '.join(datasets.names())}",
    )
    group = parser.add_argument_group("what the results are")
    group.add_argument("--table", metavar="NAME", help="which table of a database; not needed where there is one")
    group.add_argument(
        "--role",
        dest="roles",
        action="append",
        type=name_and_value,
        metavar="ROLE=COLUMN",
        help=f"what a column means, e.g. model=net; roles: {', '.join((*ROLES, *MANY))}. metrics=score:higher also "
        "says which direction is better (repeatable)",
    )


def add_selection(
    parser: argparse.ArgumentParser, *, level: str | None = "model_hardware", metrics: bool = True
) -> None:
    """Add ``--level``, ``--metric``, ``--where``, ``--since`` and ``--until``.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser of the command.
    level : str or None, optional
        The default of ``--level``; "" is one group of all, and with None there is no such option.
    metrics : bool, optional
        Whether there is ``--metric``.
    """
    group = parser.add_argument_group("which results are looked at")
    if level is not None:
        group.add_argument(
            "--level",
            default=level,
            metavar="NAME",
            help=f"by what results are grouped: {', '.join(LEVELS)}, or columns such as model,batch_size; '' makes one "
            f"group of all (default: {level or 'one group of all'})",
        )
    if metrics:
        group.add_argument(
            "--metric",
            dest="metrics",
            action="append",
            metavar="NAME",
            help="which metric (repeatable; default: all that were recognised)",
        )
    group.add_argument(
        "--where",
        action="append",
        type=name_and_value,
        metavar="COLUMN=VALUE",
        help="only results with this value, or one of several: model=bert,resnet; a value with a comma goes in double "
        "quotes; column= finds missing ones (repeatable)",
    )
    group.add_argument("--since", metavar="TIME", help="only results from this time on, e.g. 2026-03-01; UTC")
    group.add_argument("--until", metavar="TIME", help="only results up to this time")


def add_output(parser: argparse.ArgumentParser, *, lines: bool = True) -> None:
    """Add ``--json``, ``--csv``, ``-o FILE`` and ``--lines``, which say how a finding is printed.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser of the command.
    lines : bool, optional
        Whether there is ``--lines``.
    """
    group = parser.add_argument_group("how it is printed")
    form = group.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="JSON: lines, words and meta")
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="CSV: all lines and columns")
    group.add_argument(
        "-o", "--output", metavar="FILE", help="write to a file instead; .json and .csv say the form as well"
    )
    if not lines:
        return
    group.add_argument(
        "--lines",
        type=_count,
        default=20,
        metavar="N",
        help="most lines of a printed table; 0 for all (default: %(default)s)",
    )


def opened(given: argparse.Namespace) -> Results:
    """Open the results that the arguments of `add_source` name.

    Raises
    ------
    SourceError
        If they can't be read.
    UnknownNameError
        If there is no such role, or no such set.
    """
    import aggrkit

    source, roles = given.source, roles_in(given.roles)
    if source.startswith(SHIPPED):
        if given.table is not None:
            raise SourceError(f"--table is for databases, and {source} is none; leave it out")
        name = source.removeprefix(SHIPPED)
        shipped = aggrkit.open(datasets.load(name))
        return replace(shipped, opened=f"aggrkit.datasets.load({name!r}).aggr")(**roles)
    if source == STANDARD_INPUT:
        if given.table is not None:
            raise SourceError("--table is for databases, and standard input is none; leave it out")
        return _from_standard_input()(**roles)
    return aggrkit.open(source, table=given.table, **roles)


def selected(given: argparse.Namespace) -> dict[str, Any]:
    """Return what the arguments of `add_selection` say, as the methods of ``df.aggr`` take it.

    Returns
    -------
    dict
        `level` and `metrics` where the command has them, `where` and `time_range`.
    """
    found: dict[str, Any] = {}
    if hasattr(given, "level"):
        found["level"] = level_in(given.level)
    if hasattr(given, "metrics"):
        found["metrics"] = given.metrics
    return {**found, "where": where_in(given.where), "time_range": _time_range(given.since, given.until)}


def level_in(text: str) -> str | list[str]:
    """Return a level: one of the six names, or a list of columns.

    Examples
    --------
    >>> from aggrkit.cli.asking import level_in
    >>> level_in("model_hardware"), level_in("model,batch_size"), level_in("")
    ('model_hardware', ['model', 'batch_size'], [])
    """
    names = values_in(text)
    return names[0] if len(names) == 1 and names[0] in LEVELS else names


def where_in(pairs: Sequence[tuple[str, str]] | None) -> dict[str, list[str | None]] | None:
    """Return filters: column to the values that are let in; what has no value is missing.

    Values stay text: the filter reads them by the type of the column.

    Examples
    --------
    >>> from aggrkit.cli.asking import where_in
    >>> where_in([("batch_size", "8"), ("model", "bert,resnet"), ("batch_size", "16"), ("worker", "")])
    {'batch_size': ['8', '16'], 'model': ['bert', 'resnet'], 'worker': [None]}
    """
    found: dict[str, list[str | None]] = {}
    for column, values in pairs or ():
        found.setdefault(column, []).extend(values_in(values) or [None])
    return found or None


def roles_in(pairs: Sequence[tuple[str, str]] | None) -> dict[str, Any]:
    """Return roles, as ``df.aggr(...)`` takes them.

    Raises
    ------
    UnknownNameError
        For a role of one column that is given to two.

    Examples
    --------
    >>> from aggrkit.cli.asking import roles_in
    >>> roles_in([("model", "net"), ("metrics", "score:higher,size"), ("conditions", "seed")])
    {'model': 'net', 'metrics': {'score': 'higher', 'size': None}, 'conditions': ['seed']}
    """
    found: dict[str, Any] = {}
    for role, columns in pairs or ():
        if role in MANY:
            found.setdefault(role, []).extend(values_in(columns))
        elif role in found:
            raise UnknownNameError(f"--role {role}=... is given twice, and only one column plays it", name=role)
        else:
            found[role] = columns
    if "metrics" in found:
        found["metrics"] = dict(map(_direction, found["metrics"]))
    return found


def side_in(text: str, by: str | None) -> Any:
    """Return a side of a comparison, as ``df.aggr.compare`` takes it.

    Parameters
    ----------
    text : str
        With `by`: values of that column. Without: two times with ``..`` between them, either of which may be missing,
        or a span such as "7d".
    by : str or None
        The column that tells the sides apart.

    Examples
    --------
    >>> from aggrkit.cli.asking import side_in
    >>> side_in("v1,v2", "build"), side_in("2026-01-01..", None), side_in("7d", None)
    (['v1', 'v2'], ('2026-01-01', None), Timedelta('7 days 00:00:00'))
    """
    if by is not None:
        return values_in(text)
    if ".." in text:
        start, _, end = text.partition("..")
        return start.strip() or None, end.strip() or None
    if re.fullmatch(r"\d+(\.\d+)?\s*[a-zA-Z]+", text):
        import pandas as pd

        with contextlib.suppress(ValueError):  # such as "8x", which is no span
            return pd.Timedelta(f"{text[:-1]}D" if re.fullmatch(r"[\d.\s]+d", text) else text)
    return values_in(text)


def values_in(text: str) -> list[str]:
    """Return the values of a list with commas; one that has a comma itself stands in double quotes.

    Examples
    --------
    >>> from aggrkit.cli.asking import values_in
    >>> values_in('bert, "GPU, 80 GB"')
    ['bert', 'GPU, 80 GB']
    """
    return [value for value in next(csv.reader([text], skipinitialspace=True), []) if value]


def named(given: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return those of some arguments that were given, by name."""
    return {name: value for name in names if (value := getattr(given, name)) is not None}


def name_and_value(text: str) -> tuple[str, str]:
    """Read NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not (equals and name):
        raise argparse.ArgumentTypeError(f"write NAME=VALUE; got {text!r}")
    return name, value


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"a number of lines, 0 for all; got {text!r}")
    return number


def _direction(name: str) -> tuple[str, str | None]:
    column, _, direction = name.rpartition(":")
    return (column, direction) if column and direction in list(Direction) else (name, None)


def _time_range(since: str | None, until: str | None) -> tuple[str | None, str | None] | None:
    return None if since is None and until is None else (since, until)


def _from_standard_input() -> Results:
    """Open what comes in on standard input: it is laid aside, and removed at the end."""
    import aggrkit

    if sys.stdin.isatty():
        print("aggrkit: reading results from the terminal; Ctrl-D ends them", file=sys.stderr)
    first = sys.stdin.buffer.readline()
    while first and not first.strip():
        first = sys.stdin.buffer.readline()
    if not first:
        raise SourceError("standard input is empty; pipe CSV with a header, or JSON lines, into it")
    folder = tempfile.mkdtemp(prefix="aggrkit-")
    kind = "jsonl" if first.lstrip()[:1] in b"{[" else "csv"
    place = Path(folder) / f"stdin.{kind}"
    try:
        with place.open("wb") as file:
            file.write(first)
            shutil.copyfileobj(sys.stdin.buffer, file)
        results = aggrkit.open(place)
    except SourceError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise SourceError(str(error).replace(str(place), "standard input")) from error
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise SourceError(f"standard input can't be laid aside in {folder}: {error.strerror or error}") from error
    read = results.source

    def observations(said: Mapping[str, Any]) -> Any:
        return replace(read(said), label="standard input")

    weakref.finalize(observations, shutil.rmtree, folder, ignore_errors=True)
    return replace(results, source=observations, opened="aggrkit.open('/dev/stdin')")
