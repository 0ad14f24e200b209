"""Logs of MLPerf Training, ``result_N.txt``: the events of a training run.

A training run is the run, and one observation: from ``run_start`` to ``run_stop``, the time that MLPerf scores. A run
without a stop has no such time, and the status "unknown".
"""

from __future__ import annotations

import re
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aggrkit.sources.importers.format import Format
from aggrkit.sources.importers.mllog import events
from aggrkit.sources.importers.rows import from_epoch_ms, identity, numeric, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aggrkit.sources.importers.content import Content
    from aggrkit.sources.importers.head import Head
    from aggrkit.sources.importers.mllog import Event
    from aggrkit.sources.importers.rows import Row

__all__ = ["FORMAT"]

_IN_HEAD: Final = re.compile(
    r':::MLLOG \{.*"key": ?"(submission_benchmark|submission_org|cache_clear|init_start|run_start|global_batch_size)"'
)
_WORDS: Final = {
    "model": "submission_benchmark",
    "hardware": "submission_platform",
    "division": "submission_division",
    "submitter": "submission_org",
    "optimizer": "opt_name",
}
_THROUGHPUTS: Final = ("throughput", "samples_per_second", "samples/sec", "images_per_second")
_ACCURACY: Final = ("eval_accuracy", "eval_error")


def _suits(head: Head) -> bool:
    return head.matches(_IN_HEAD)


def _read(content: Content) -> Iterator[Row]:
    for run in _runs(list(events(content))):
        yield _observation(content, run)


def _runs(found: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Split events where another run begins: at what is said of a submission, or started, after a run has stopped."""
    begin, stopped = 0, False
    for place, event in enumerate(found):
        if stopped and event.key in ("submission_benchmark", "cache_clear", "init_start", "run_start"):
            yield found[begin:place]
            begin, stopped = place, False
        stopped = stopped or event.key == "run_stop"
    yield found[begin:]


def _observation(content: Content, run: Sequence[Event]) -> Row:
    first: dict[str, Any] = {}
    for event in run:
        first.setdefault(event.key, event.value)
    times = {key: [numeric(e.time_ms) for e in run if e.key == key] for key in _MOMENTS}
    if not times["run_start"] and not times["init_start"]:
        raise content.broken("no run is started in it ('run_start')")
    started = min(times["run_start"] or times["init_start"])
    stops = [event for event in run if event.key == "run_stop"]
    status = plain_text(stops[-1].metadata.get("status")) if stops else None
    about = {name: plain_text(first.get(key)) for name, key in _WORDS.items()}
    told = identity("mlperf-training", *about.values(), first.get("seed"), started)
    accuracy = [numeric(event.value) for event in run if event.key in _ACCURACY]
    return {
        **about,
        "result_id": told,
        "run_id": told,
        "timestamp": from_epoch_ms(started),
        "test_case": about["model"],
        "task_type": "training",
        "batch_size": numeric(first.get("global_batch_size")),
        "seed": numeric(first.get("seed")),
        "status": status or "unknown",
        "total_time_seconds": _span(times["run_start"], times["run_stop"]),
        "init_time_seconds": _span(times["init_start"], times["init_stop"]),
        "throughput_items_per_second": _throughput(run),
        "final_accuracy": next((value for value in reversed(accuracy) if np.isfinite(value)), np.nan),
        "n_eval": len(accuracy),
    }


_MOMENTS: Final = ("init_start", "init_stop", "run_start", "run_stop")


def _span(starts: list[float], stops: list[float]) -> float:
    """Return the seconds from the first start to the last stop, which several processes may log."""
    return (max(stops) - min(starts)) / 1000 if starts and stops else np.nan


def _throughput(run: Sequence[Event]) -> float:
    """Return the median of the throughputs that were logged on the way."""
    found = []
    for event in run:
        values = event.value if event.key == "tracked_stats" and isinstance(event.value, dict) else {}
        if event.key in _THROUGHPUTS:
            values = {event.key: event.value}
        found += [numeric(values[name]) for name in _THROUGHPUTS if name in values]
    usable = [value for value in found if np.isfinite(value)]
    return median(usable) if usable else np.nan


FORMAT: Final = Format(
    name="mlperf-training",
    title="a log of MLPerf Training",
    remedy="copy it again, or run the training again",
    result_type="performance",
    suits=_suits,
    read=_read,
)
