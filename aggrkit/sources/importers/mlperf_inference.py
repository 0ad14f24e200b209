"""Logs of MLPerf Inference: ``mlperf_log_summary.txt`` and ``mlperf_log_detail.txt`` of LoadGen.

A test of LoadGen is the run, and one observation. Both files tell of the same test and make the same observation, so
that a folder with both has it once; the detail says more. Tests of accuracy measure no time, and give none. The model
and the system are known from the folders of a submission, ``<system>/<model>/<scenario>/performance/run_1``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from aggrkit.errors import SourceError
from aggrkit.sources.importers.content import first_bytes
from aggrkit.sources.importers.format import Format
from aggrkit.sources.importers.mllog import events
from aggrkit.sources.importers.rows import identity, numeric, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggrkit.sources.importers.content import Content
    from aggrkit.sources.importers.head import Head
    from aggrkit.sources.importers.rows import Row

__all__ = ["FORMAT"]

_SUMMARY: Final = "MLPerf Results Summary"
_DETAIL_IN_HEAD: Final = re.compile(r':::MLLOG \{"key": "(loadgen_version|requested_scenario|test_datetime)"')
_ACCURACY_ONLY: Final = re.compile(r'"key": "(requested|effective)_test_mode", "value": "AccuracyOnly"')
_WARNINGS_ONLY: Final = re.compile(r"\A\s*(No|\d+) warnings? encountered", re.IGNORECASE)
_FOLDERS: Final = re.compile(
    r"(?:(?P<worker>[^/]+)/)?(?P<model>[^/]+)/(?:offline|server|singlestream|multistream|interactive)/performance(?:/run_\d+)?/[^/]+$",
    re.IGNORECASE,
)
_DATE: Final = re.compile(r'"key": "(?:test_datetime|power_begin)", "value": "([^"]+)"')
_BESIDE: Final = re.compile(r"mlperf_log_(accuracy|trace)\.json|accuracy\.txt")
_SPANS: Final = ("min", "max", "mean")
_PERCENTILES: Final = ("50.00", "90.00", "95.00", "97.00", "99.00", "99.90")
_RATES: Final = (
    "result_samples_per_second",
    "result_completed_samples_per_sec",
    "result_qps_with_loadgen_overhead",
    "result_scheduled_samples_per_sec",
)
_TOKEN_RATES: Final = ("result_tokens_per_second", "result_completed_tokens_per_second")
_IN_SUMMARY: Final = {
    "Scenario": "effective_scenario",
    "Mode": "effective_test_mode",
    "SUT name": "sut_name",
    "Result is": "result_validity",
    "Samples per second": "result_samples_per_second",
    "Completed samples per second": "result_completed_samples_per_sec",
    "Scheduled samples per second": "result_scheduled_samples_per_sec",
    "QPS w/ loadgen overhead": "result_qps_with_loadgen_overhead",
    "Tokens per second": "result_tokens_per_second",
    "Completed tokens per second": "result_completed_tokens_per_second",
    "samples_per_query": "effective_samples_per_query",
    **{f"{span.title()} latency (ns)": f"result_{span}_latency_ns" for span in _SPANS},
    **{f"{p} percentile latency (ns)": f"result_{p}_percentile_latency_ns" for p in _PERCENTILES},
    **{
        f"{p} percentile first token latency (ns)": f"result_first_token_{p}_percentile_latency_ns"
        for p in _PERCENTILES
    },
    **{
        f"{p} percentile time to output token (ns)": f"result_time_per_output_token_{p}_percentile_ns"
        for p in _PERCENTILES
    },
}
_LAST_OF_SUMMARY: Final = "accuracy_sample_count"
_NS_PER_MS: Final = 1e6


def _suits(head: Head) -> bool:
    return _SUMMARY in head.text[:1000] or (head.matches(_DETAIL_IN_HEAD) and not head.matches(_ACCURACY_ONLY))


def _is_beside(head: Head) -> bool:
    named = _BESIDE.fullmatch(head.name) is not None
    return named or head.matches(_ACCURACY_ONLY) or head.matches(_WARNINGS_ONLY)


def _read(content: Content) -> Iterator[Row]:
    summary = _SUMMARY in content.text[:1000]
    said = _of_summary(content) if summary else {event.key: event.value for event in events(content)}
    if said.get("effective_test_mode", said.get("requested_test_mode")) == "AccuracyOnly":
        raise content.broken(
            "it is of a test of accuracy, which measures no time", remedy="open that of a test of performance"
        )
    if "result_validity" not in said:
        raise content.broken("it doesn't say whether the result is valid: the test was stopped, or the file cut off")
    yield _observation(content, said)


def _of_summary(content: Content) -> dict[str, Any]:
    """Return what a summary says, under the keys of the detail."""
    said: dict[str, Any] = {}
    for line in content.text.splitlines():
        name, separator, value = line.strip().partition(":")
        name = " ".join(name.split())
        if separator and name in _IN_SUMMARY:
            said[_IN_SUMMARY[name]] = value.strip()
        elif name == _LAST_OF_SUMMARY and value.strip():
            said[_LAST_OF_SUMMARY] = value.strip()
    if _LAST_OF_SUMMARY not in said:
        raise content.broken("it ends before the last of the test's parameters: it was cut off")
    said.update({key: _number(value) for key, value in said.items() if key not in _IN_WORDS})
    return said


_IN_WORDS: Final = frozenset({"effective_scenario", "effective_test_mode", "sut_name", "result_validity"})


def _observation(content: Content, said: Mapping[str, Any]) -> Row:
    latencies = {
        "average_latency_ms": "result_mean_latency_ns",
        "latency_min_ms": "result_min_latency_ns",
        "latency_max_ms": "result_max_latency_ns",
    }
    for percentile in _PERCENTILES:
        short = percentile.removesuffix("0").removesuffix(".0").replace(".", "_")
        latencies[f"latency_p{short}_ms"] = f"result_{percentile}_percentile_latency_ns"
        latencies[f"ttft_p{short}_ms"] = f"result_first_token_{percentile}_percentile_latency_ns"
        latencies[f"tpot_p{short}_ms"] = f"result_time_per_output_token_{percentile}_percentile_ns"
    measured = {name: numeric(said.get(key)) / _NS_PER_MS for name, key in latencies.items()}
    scenario = plain_text(said.get("effective_scenario"))
    told = identity("mlperf-inference", scenario, *(measured[name] for name in latencies))
    folders = _FOLDERS.search(Path(content.path).absolute().as_posix())
    named = folders.groupdict() if folders else {}
    return {
        "result_id": told,
        "run_id": told,
        "timestamp": _date(content, said),
        "model": named.get("model") or plain_text(said.get("sut_name")),
        "test_case": scenario,
        "worker": named.get("worker"),
        "task_type": f"inference-{scenario.lower()}" if scenario else None,
        "scenario": scenario,
        "batch_size": numeric(said.get("effective_samples_per_query")),
        "loadgen_version": plain_text(said.get("loadgen_version")),
        "status": {"VALID": "passed", "INVALID": "failed"}.get(str(said.get("result_validity")).upper(), "unknown"),
        "throughput_items_per_second": _first(said, _RATES),
        "tokens_per_second": _first(said, _TOKEN_RATES),
        **measured,
    }


def _first(said: Mapping[str, Any], keys: tuple[str, ...]) -> float:
    return next((numeric(said[key]) for key in keys if key in said), np.nan)


def _date(content: Content, said: Mapping[str, Any]) -> pd.Timestamp | None:
    """Return when a test began; a summary doesn't say it, but the detail that LoadGen leaves beside it does."""
    given: object = said.get("test_datetime") or said.get("power_begin")
    if given is None:
        try:
            beside = first_bytes(str(Path(content.path).with_name("mlperf_log_detail.txt")), 1 << 20)
        except SourceError:
            return None
        found = _DATE.search(beside.decode(errors="replace"))
        given = found[1] if found else None
    read = pd.to_datetime(str(given), utc=True, errors="coerce")
    return None if pd.isna(read) else read


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


FORMAT: Final = Format(
    name="mlperf-inference",
    title="a log of MLPerf Inference",
    remedy="copy it again, or run the test again",
    result_type="performance",
    suits=_suits,
    read=_read,
    is_beside=_is_beside,
)
