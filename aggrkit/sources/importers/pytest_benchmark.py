"""JSON of pytest-benchmark: a session of pytest in a file.

The session is the run. Where the file holds the time of each round (``--benchmark-json``, ``--benchmark-save-data``),
a round is an observation; where it only has statistics (``--benchmark-autosave``), the mean of a benchmark is the one
observation of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aggrkit.sources.importers.format import Format
from aggrkit.sources.importers.rows import arguments, extras, identity, numeric, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrkit.sources.importers.content import Content
    from aggrkit.sources.importers.head import Head
    from aggrkit.sources.importers.rows import Row

__all__ = ["FORMAT"]


def _suits(head: Head) -> bool:
    whole = head.has("machine_info") and (head.has("commit_info") or head.has("benchmarks"))
    return whole or head.has("machine_info.node") or head.has("benchmarks.[].stats", "benchmarks.[].fullname")


def _read(content: Content) -> Iterator[Row]:
    document = content.document
    benchmarks = content.sequence(document.get("benchmarks"), "'benchmarks'")
    run = identity("pytest-benchmark", content.digest)
    about = _session(content, document)
    for place, found in enumerate(benchmarks):
        benchmark = content.mapping(found, f"benchmark {place + 1}")
        test = plain_text(benchmark.get("fullname")) or plain_text(benchmark.get("name"))
        if test is None:
            raise content.broken(f"benchmark {place + 1} has no name")
        stats = benchmark.get("stats") or {}
        if not isinstance(stats, dict):
            raise content.broken(f"the statistics of {test} are no object")
        seconds = _seconds(stats)
        row = {
            **about,
            "run_id": run,
            "model": test,
            "test_case": test,
            "suite": test.split("::")[0] if "::" in test else None,
            "benchmark_group": plain_text(benchmark.get("group")),
            "loops": numeric(stats.get("iterations")),
            "status": "passed" if np.isfinite(seconds).any() else "error",
            **arguments(_mapping(benchmark.get("params"))),
            **extras(_mapping(benchmark.get("extra_info")), "extra"),
        }
        for repeat, value in enumerate(seconds):
            yield {**row, "result_id": identity(run, place, repeat), "repeat": repeat, "time_seconds": value}


def _session(content: Content, document: dict[str, Any]) -> Row:
    """Return what holds for all benchmarks of a session: when, where and what was measured."""
    machine = _mapping(document.get("machine_info"))
    commit = _mapping(document.get("commit_info"))
    cpu = _mapping(machine.get("cpu"))
    dirty = "+dirty" if commit.get("dirty") is True else ""
    implementation, version = (plain_text(machine.get(f"python_{name}")) for name in ("implementation", "version"))
    known = plain_text(commit.get("id"))
    return {
        "timestamp": plain_text(document.get("datetime")),
        "hardware": next(
            filter(None, map(plain_text, (cpu.get("brand_raw"), cpu.get("brand"), machine.get("processor")))), None
        ),
        "worker": plain_text(machine.get("node")),
        "platform": _joined(machine.get("system"), machine.get("machine")),
        "commit": f"{known}{dirty}" if known and known != "unknown" else None,
        "branch": plain_text(commit.get("branch")),
        "python_version": _joined(implementation, version),
    }


def _seconds(stats: dict[str, Any]) -> list[float]:
    """Return the seconds of each round, or the mean where the rounds weren't kept."""
    rounds = stats.get("data")
    if isinstance(rounds, list) and rounds:
        return [numeric(value) for value in rounds]
    return [numeric(stats.get("mean"))]


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _joined(*parts: object) -> str | None:
    return " ".join(filter(None, map(plain_text, parts))) or None


FORMAT: Final = Format(
    name="pytest-benchmark",
    title="JSON of pytest-benchmark",
    remedy="write it again: pytest --benchmark-json=FILE",
    result_type="performance",
    suits=_suits,
    read=_read,
)
