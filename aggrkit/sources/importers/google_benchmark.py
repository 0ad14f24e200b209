"""JSON of Google Benchmark: a run of the program in a file.

The process is the run, and each repetition an observation. Means, medians and fits that the library adds ("aggregate"
lines) are no observations, and are left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aggrkit.sources.importers.format import Format
from aggrkit.sources.importers.rows import arguments, extras, identity, numbered, numeric, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrkit.sources.importers.content import Content
    from aggrkit.sources.importers.head import Head
    from aggrkit.sources.importers.rows import Row

__all__ = ["FORMAT"]

_NANOSECONDS: Final = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
_OURS: Final = frozenset(
    {"name", "run_name", "run_type", "family_index", "per_family_instance_index", "repetitions", "repetition_index"}
    | {"threads", "iterations", "real_time", "cpu_time", "time_unit", "label", "error_occurred", "error_message"}
    | {"skipped", "skip_message", "aggregate_name", "aggregate_unit"}
)
_AGGREGATE_NAMES: Final = re.compile(r"_(mean|median|stddev|cv|BigO|RMS)$")  # before version 1.5 only the name said it
_SETTINGS: Final = frozenset({"iterations", "repeats", "min_time", "min_warmup_time", "threads"})
_WAYS: Final = frozenset({"real_time", "process_time", "manual_time"})


def _suits(head: Head) -> bool:
    if head.has("benchmarks.[].run_name") or head.has("benchmarks.[].name", "benchmarks.[].time_unit"):
        return True
    return head.has("context.host_name") or head.has("context.num_cpus")


def _read(content: Content) -> Iterator[Row]:
    document = content.document
    context = content.mapping(document.get("context", {}), "'context'")
    benchmarks = content.sequence(document.get("benchmarks"), "'benchmarks'")
    measured = [b for k, b in enumerate(benchmarks) if not _is_aggregate(content.mapping(b, f"benchmark {k + 1}"))]
    if benchmarks and not measured:
        raise content.broken(
            "it holds only means, medians and the like, and no single repetition",
            remedy="run the program without --benchmark_report_aggregates_only",
        )
    run = identity("google-benchmark", content.digest)
    about = {
        "run_id": run,
        "timestamp": plain_text(context.get("date")),
        "worker": plain_text(context.get("host_name")),
        "build_type": plain_text(context.get("library_build_type")),
    }
    for place, row in enumerate(numbered((_observation(content, found) for found in measured), "repeat")):
        yield {**about, **row, "result_id": identity(run, place)}


def _observation(content: Content, found: dict[str, Any]) -> Row:
    test = plain_text(found.get("run_name")) or plain_text(found.get("name"))
    if test is None:
        raise content.broken("a benchmark has no name")
    unit = found.get("time_unit", "ns")
    if unit not in _NANOSECONDS:
        raise content.broken(f"{test} is timed in {unit!r}, which is none of ns, us, ms and s")
    scale = _NANOSECONDS[unit]
    message = plain_text(found.get("error_message")) or plain_text(found.get("skip_message"))
    failed = bool(found.get("error_occurred") or found.get("skipped"))
    threads = numeric(found.get("threads"))
    return {
        "model": test,
        "test_case": test,
        "label": plain_text(found.get("label")),
        "threads": None if np.isnan(threads) else threads,
        "loops": numeric(found.get("iterations")),
        "status": "error" if failed else "passed",
        "reason": message,
        "real_time_ns": np.nan if failed else numeric(found.get("real_time")) * scale,
        "cpu_time_ns": np.nan if failed else numeric(found.get("cpu_time")) * scale,
        **arguments(_arguments(test)),
        **extras({name: value for name, value in found.items() if name not in _OURS}, "counter"),
    }


def _is_aggregate(found: dict[str, Any]) -> bool:
    if "run_type" in found:
        return bool(found["run_type"] != "iteration")
    return _AGGREGATE_NAMES.search(str(found.get("name", ""))) is not None


def _arguments(test: str) -> dict[str, object]:
    """Return the arguments in a name such as "BM_Copy/size:64/8/threads:2"; those without a name by number."""
    found: dict[str, object] = {}
    for place, part in enumerate(test.split("/")[1:], start=1):
        name, said, value = part.rpartition(":")
        if part in _WAYS or name in _SETTINGS:
            continue
        found[name if said and name else str(place)] = value if said else part
    return found


FORMAT: Final = Format(
    name="google-benchmark",
    title="JSON of Google Benchmark",
    remedy="write it again: ./PROGRAM --benchmark_out=FILE --benchmark_out_format=json",
    result_type="performance",
    suits=_suits,
    read=_read,
)
