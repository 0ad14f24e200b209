"""Text of ``go test -bench``, as benchstat reads it, or the stream of ``go test -json -bench``.

A process of one package is the run: what stands between its header (goos, pkg, ...) and its "ok". Each line of it is an
observation: with ``-count 10`` a run has ten of each benchmark, and ten calls that were appended to one file are ten
runs. The name keeps the suffix of GOMAXPROCS, as in benchstat, so that nothing is put together that differs by it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aggrkit.sources.importers.format import Format
from aggrkit.sources.importers.rows import arguments, column_name, extras, identity, numbered, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from aggrkit.sources.importers.content import Content
    from aggrkit.sources.importers.head import Head
    from aggrkit.sources.importers.rows import Row

__all__ = ["FORMAT"]

_RESULT: Final = re.compile(r"Benchmark(\S+)\s+(\d+)\s+(\S.*)")
_BARE: Final = re.compile(r"Benchmark\S*\s*")
_CONFIGURATION: Final = re.compile(r"([a-z][^\sA-Z:]*):\s+(\S.*)")
_ENDED: Final = re.compile(r"(--- )?(FAIL|SKIP):\s+Benchmark(\S+)")
_IN_HEAD: Final = re.compile(r"^(Benchmark\S+\s+\d+\s+[\d.]+(e[+-]?\d+)? \S|goos: \w|pkg: \S)", re.MULTILINE)
_STREAM_IN_HEAD: Final = re.compile(
    r'\A\s*\{"(Time|Action|ImportPath)":[^\n]*"Output":"(goos: |pkg: |Benchmark)', re.MULTILINE
)
_STREAM: Final = re.compile(r'^\{"(Time|Action|ImportPath)":.*"Output":"(goos: |pkg: |Benchmark)', re.MULTILINE)
_OVER: Final = re.compile(r"(ok|FAIL)\s+\S+\s+\S+")
_HEADER: Final = ("goos", "pkg")
_NO_CONFIGURATION: Final = frozenset({"panic", "testing", "goroutine", "exit", "warning", "coverage"})
_CPUS: Final = re.compile(r"-(\d+)$")
_UNITS: Final = {"ns/op": "ns_per_op", "B/op": "bytes_per_op", "allocs/op": "allocs_per_op", "MB/s": "mb_per_s"}
_LONGEST: Final = 200


@dataclass
class _Section:
    """The output of one process.

    Parameters
    ----------
    configuration : dict of str to str
        What its header says.
    """

    configuration: dict[str, str]
    lines: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    over: bool = False


@dataclass(frozen=True)
class _Line:
    number: int
    text: str
    time: str | None = None


def _suits(head: Head) -> bool:
    return head.matches(_STREAM if head.text.lstrip().startswith("{") else _IN_HEAD)


def _read(content: Content) -> Iterator[Row]:
    sections = list(_sections(content))
    if not any(section.rows for section in sections):
        raise content.broken("no line has a result of a benchmark", remedy=f"{_REMEDY}; was it cut off?")
    for section in sections:
        run = identity("go", *section.lines)
        rows = numbered((row for row in section.rows), "repeat")
        for place, row in enumerate(rows):
            yield {"run_id": run, "result_id": identity(run, place), **row}


def _sections(content: Content) -> Iterator[_Section]:
    """Split what was written by the processes that wrote it."""
    section = _Section({})
    units = set(_UNITS)
    lines = list(_stream(content) if content.text.lstrip().startswith("{") else _plain(content))
    complete = content.text.endswith(("\n", "\r"))
    for line in lines:
        said = _CONFIGURATION.fullmatch(line.text)
        header = said is not None and said[1] in _HEADER
        if (header and (section.rows or section.over)) or (section.over and line.text.startswith("Benchmark")):
            yield section
            section = _Section({} if header else dict(section.configuration))
        section.lines.append(line.text)
        section.over = section.over or _OVER.fullmatch(line.text) is not None
        if said is not None and not section.rows and said[1] not in _NO_CONFIGURATION and len(said[2]) <= _LONGEST:
            section.configuration[said[1]] = said[2]
        elif (row := _row(line, section.configuration)) is not None:
            found = set(row.pop("units", ()))
            if line is lines[-1] and not complete and (row["status"] == "error" or found - units):
                raise content.broken("the last line is incomplete: the file was cut off", line.number)
            units |= found
            section.rows.append(row)
    yield section


def _plain(content: Content) -> Iterator[_Line]:
    for number, text in enumerate(content.text.splitlines(), start=1):
        yield _Line(number, text.rstrip())


def _stream(content: Content) -> Iterator[_Line]:
    """Return the lines that a stream of events of ``go test -json`` puts out, those of each package together."""
    parts: dict[str, list[_Line]] = {}
    for number, text in enumerate(content.text.splitlines(), start=1):
        if not text.strip():
            continue
        try:
            event = content.mapping(json.loads(text), "an event")
        except (ValueError, RecursionError) as error:
            raise content.broken("it is no whole event: the file was cut off, or edited", number) from error
        if event.get("Action") == "output" and isinstance(event.get("Output"), str):
            line = _Line(number, event["Output"], plain_text(event.get("Time")))
            parts.setdefault(str(event.get("Package", "")), []).append(line)
    for lines in parts.values():
        yield from _put_together(lines)


def _put_together(lines: Iterable[_Line]) -> Iterator[_Line]:
    """Join outputs that are only part of a line."""
    pending = ""
    for line in lines:
        pending += line.text
        if pending.endswith("\n"):
            yield _Line(line.number, pending.rstrip(), line.time)
            pending = ""
    if pending:
        yield _Line(line.number, pending.rstrip(), line.time)


def _row(line: _Line, configuration: dict[str, str]) -> Row | None:
    """Return what a line says of a benchmark, or None where it says nothing."""
    if ended := _ENDED.match(line.text):
        return {**_about(ended[3], configuration), "status": {"FAIL": "failed", "SKIP": "skipped"}[ended[2]]}
    if not line.text.startswith("Benchmark") or _BARE.fullmatch(line.text):
        return None
    said = _RESULT.fullmatch(line.text)
    values = _values(said[3].split()) if said else None
    if said is None or values is None:
        name = line.text.split()[0].removeprefix("Benchmark")
        reason = f"no result in line {line.number}: {line.text[:_LONGEST]}"
        return {**_about(name, configuration), "status": "error", "reason": reason}
    row = {**_about(said[1], configuration), "timestamp": line.time, "status": "passed", "loops": float(said[2])}
    measured = {_UNITS.get(unit) or column_name(unit.replace("/", "_per_")): value for unit, value in values.items()}
    return {**row, **extras(measured, "metric"), "units": list(values)}


def _values(words: list[str]) -> dict[str, float] | None:
    """Return values by unit, or None where the words aren't pairs of them."""
    if len(words) % 2:
        return None
    try:
        return {unit: float(value) for value, unit in zip(words[::2], words[1::2], strict=True)}
    except ValueError:
        return None


def _about(name: str, configuration: dict[str, str]) -> Row:
    """Return what the name of a benchmark and the header of its section say."""
    said: dict[str, Any] = {key: value for key, value in configuration.items() if key not in _OURS}
    cpus = _CPUS.search(name)
    parts = (name[: cpus.start()] if cpus else name).split("/")[1:]
    system = "/".join(configuration[key] for key in ("goos", "goarch") if key in configuration)
    return {
        "model": name,
        "test_case": name,
        "suite": configuration.get("pkg"),
        "hardware": configuration.get("cpu"),
        "platform": system or None,
        "threads": float(cpus[1]) if cpus else 1.0,
        "commit": configuration.get("commit"),
        "branch": configuration.get("branch"),
        **{column_name(key): value for key, value in said.items()},
        **arguments(dict(part.split("=", 1) for part in parts if "=" in part)),
    }


_OURS: Final = frozenset({"goos", "goarch", "pkg", "cpu", "commit", "branch"})
_REMEDY: Final = "write it again: go test -run '^$' -bench . -count 10 > FILE"

FORMAT: Final = Format(
    name="go",
    title="output of 'go test -bench'",
    remedy=_REMEDY,
    result_type="performance",
    suits=_suits,
    read=_read,
)
