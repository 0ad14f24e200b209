"""JSON of hyperfine: an invocation in a file.

The invocation is the run, and each timed execution of a command an observation. hyperfine keeps user and system time
as means over the executions only, which are no observations: they are taken where there is one execution. The file
doesn't say when it was made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aggrkit.sources.importers.format import Format
from aggrkit.sources.importers.rows import arguments, identity, numeric, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrkit.sources.importers.content import Content
    from aggrkit.sources.importers.head import Head
    from aggrkit.sources.importers.rows import Row

__all__ = ["FORMAT"]


def _suits(head: Head) -> bool:
    return head.has("results.[].command") and (head.has("results.[].mean") or head.has("results.[].times"))


def _read(content: Content) -> Iterator[Row]:
    results = content.sequence(content.document.get("results"), "'results'")
    run = identity("hyperfine", content.digest)
    for place, found in enumerate(results):
        result = content.mapping(found, f"result {place + 1}")
        command = plain_text(result.get("command"))
        if command is None:
            raise content.broken(f"result {place + 1} has no command")
        parameters = result.get("parameters")
        about = {
            "run_id": run,
            "model": command,
            "test_case": command,
            **arguments(parameters if isinstance(parameters, dict) else {}),
        }
        for repeat, times in enumerate(_executions(content, result, command)):
            yield {**about, **times, "result_id": identity(run, place, repeat), "repeat": repeat}


def _executions(content: Content, result: dict[str, Any], command: str) -> Iterator[Row]:
    times = result.get("times")
    if times is None:  # left out with --export-json - of old versions, and by those who make the file smaller
        times, codes, memory = [result.get("mean")], [None], [None]
    else:
        times = content.sequence(times, f"'times' of {command!r}")
        codes = _beside(result.get("exit_codes"), len(times))
        memory = _beside(result.get("memory_usage_byte"), len(times))
    once = {"user_time_seconds": result.get("user"), "system_time_seconds": result.get("system")}
    for seconds, code, used in zip(times, codes, memory, strict=True):
        yield {
            "time_seconds": numeric(seconds),
            "peak_memory_bytes": numeric(used),
            "return_code": numeric(code),
            "status": _status(code, known="exit_codes" in result),
            **({name: numeric(value) for name, value in once.items()} if len(times) == 1 else {}),
        }


def _status(code: object, *, known: bool) -> str:
    """Return how a command ended; one that a signal ended has no exit code."""
    return "passed" if code == 0 or not known else "failed"


def _beside(values: object, count: int) -> list[Any]:
    return values if isinstance(values, list) and len(values) == count else [None] * count


FORMAT: Final = Format(
    name="hyperfine",
    title="JSON of hyperfine",
    remedy="write it again: hyperfine --export-json FILE COMMAND",
    result_type="performance",
    suits=_suits,
    read=_read,
)
