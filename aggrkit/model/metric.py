"""What is measured: metrics with their unit, the direction that is better, and the values that are possible."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aggrkit.errors import UnknownNameError

__all__ = [
    "METRIC_SPELLINGS",
    "NORMALIZED",
    "RESULT_TYPES",
    "Direction",
    "Metric",
    "MetricKind",
    "metric_by_name",
    "normalized_metric",
]

NORMALIZED: Final = "normalized_"


class Direction(StrEnum):
    """Which way a metric gets better."""

    LOWER = "lower"
    HIGHER = "higher"
    UNKNOWN = "unknown"


class MetricKind(StrEnum):
    """What kind of number a metric is, which decides how it is summarised and compared."""

    CONTINUOUS = "continuous"
    PROPORTION = "proportion"


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is measured.

    Parameters
    ----------
    name : str
        Name of the metric, which is the name of its column.
    unit : str, optional
        Unit of the values, e.g. "ms". Empty where it isn't known.
    direction : Direction or str, optional
        Which way is better: "lower", "higher" or "unknown". With "unknown" a comparison says "changed",
        never "improved" or "regressed".
    kind : MetricKind or str, optional
        "continuous" for numbers, "proportion" for pass/fail values, which must be 0 or 1.
    minimum, maximum : float or None, optional
        Smallest and largest possible value; what lies outside is invalid and is left out.
    reason : str, optional
        Where unit and direction come from.

    Examples
    --------
    >>> from aggrkit.model.metric import Metric
    >>> Metric("frames_per_second", unit="1/s", direction="higher").sign
    1
    """

    name: str
    unit: str = ""
    direction: Direction = Direction.UNKNOWN
    kind: MetricKind = MetricKind.CONTINUOUS
    minimum: float | None = None
    maximum: float | None = None
    reason: str = "declared"

    def __post_init__(self) -> None:
        for field, enum in (("direction", Direction), ("kind", MetricKind)):
            try:
                object.__setattr__(self, field, enum(getattr(self, field)))
            except ValueError:
                raise UnknownNameError.of(field, getattr(self, field), list(enum)) from None
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"{self.name!r} can't be at least {self.minimum} and at most {self.maximum}")

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is better, 0 where it isn't known."""
        return {Direction.HIGHER: 1, Direction.LOWER: -1, Direction.UNKNOWN: 0}[self.direction]

    @property
    def is_proportion(self) -> bool:
        """Whether the metric is a pass/fail value."""
        return self.kind is MetricKind.PROPORTION


def _known(name: str, unit: str, direction: Direction, maximum: float | None = None) -> Metric:
    return Metric(name, unit, direction, minimum=0.0, maximum=maximum, reason="a metric that aggrkit knows")


def _outcome(name: str) -> Metric:
    return Metric(
        name, "proportion", Direction.HIGHER, MetricKind.PROPORTION, 0.0, 1.0, "an outcome that aggrkit knows"
    )


RESULT_TYPES: Final[dict[str, tuple[Metric, ...]]] = {
    "performance": (
        _known("total_time_seconds", "s", Direction.LOWER),
        _known("average_latency_ms", "ms", Direction.LOWER),
        _known("throughput_items_per_second", "items/s", Direction.HIGHER),
        _known("memory_peak_mb", "MB", Direction.LOWER),
    ),
    "compatibility": (
        _outcome("is_compatible"),
        _outcome("detection_success"),
        _outcome("initialization_success"),
        _known("compatibility_score", "score", Direction.HIGHER, maximum=1.0),
    ),
    "integration": (
        _outcome("passed"),
        _known("execution_time_seconds", "s", Direction.LOWER),
    ),
    "web_platform": (
        _known("load_time_ms", "ms", Direction.LOWER),
        _known("initialization_time_ms", "ms", Direction.LOWER),
        _known("inference_time_ms", "ms", Direction.LOWER),
        _known("total_time_ms", "ms", Direction.LOWER),
        _known("memory_usage_mb", "MB", Direction.LOWER),
        _outcome("success_value"),
    ),
}
"""The metrics of each result type, in the order in which answers show them."""

METRIC_SPELLINGS: Final[dict[str, str]] = {
    "latency": "average_latency_ms",
    "latency_ms": "average_latency_ms",
    "avg_latency_ms": "average_latency_ms",
    "mean_latency_ms": "average_latency_ms",
    "throughput": "throughput_items_per_second",
    "items_per_second": "throughput_items_per_second",
    "memory_peak": "memory_peak_mb",
    "peak_memory_mb": "memory_peak_mb",
    "memory_mb": "memory_peak_mb",
    "total_time": "total_time_seconds",
    "execution_time": "execution_time_seconds",
    "duration_seconds": "execution_time_seconds",
    "success": "passed",
    "compatible": "is_compatible",
}
"""Other spellings of the known metrics; a metric can be asked for by either, and keeps the name of its column."""

_KNOWN: Final = {metric.name: metric for metrics in RESULT_TYPES.values() for metric in metrics}

_UNITS: Final[dict[str, str]] = {
    **dict.fromkeys(("ns", "nanoseconds"), "ns"),
    **dict.fromkeys(("us", "microseconds", "usec"), "us"),
    **dict.fromkeys(("ms", "msec", "millis", "milliseconds"), "ms"),
    **dict.fromkeys(("s", "sec", "secs", "seconds"), "s"),
    **dict.fromkeys(("min", "minutes"), "min"),
    **dict.fromkeys(("h", "hours"), "h"),
    **dict.fromkeys(("b", "bytes"), "B"),
    **dict.fromkeys(("kb", "kib"), "KB"),
    **dict.fromkeys(("mb", "mib"), "MB"),
    **dict.fromkeys(("gb", "gib"), "GB"),
    **dict.fromkeys(("pct", "percent"), "%"),
    **dict.fromkeys(("w", "watts"), "W"),
    **dict.fromkeys(("j", "joules"), "J"),
}
_TIME_UNITS: Final = frozenset({"ns", "us", "ms", "s", "min", "h"})
_SIZE_UNITS: Final = frozenset({"B", "KB", "MB", "GB"})
_SPAN: Final = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), "s"),
    "ms": "ms",
    **dict.fromkeys(("min", "minute"), "min"),
    **dict.fromkeys(("h", "hour"), "h"),
}
_RATES: Final = frozenset(
    {"throughput", "qps", "fps", "tps", "rps", "ips", "ops", "bandwidth", "speedup", "gbps", "mbps"}
)
_HIGHER: Final = frozenset(
    {"accuracy", "recall", "f1", "auc", "bleu", "rouge", "passed", "pass", "success", "successes"}
)
_LOWER: Final = frozenset(
    {"overhead", "loss", "perplexity", "mse", "rmse", "mae", "wer"}
    | {"error", "errors", "failed", "fail", "failure", "failures", "crash", "crashes", "warnings"}
)
_CALLS: Final = frozenset({"op", "ops", "operation", "iteration", "call"})
_SPENT: Final = {
    **dict.fromkeys(("alloc", "allocs", "allocations"), "allocs"),
    "cycles": "cycles",
    "instructions": "instructions",
}
_TIMES: Final = frozenset({"latency", "duration", "elapsed", "runtime", "delay", "ttft", "tpot"})
_NEVER_NEGATIVE: Final = frozenset(
    {"latency", "duration", "elapsed", "runtime", "time", "memory", "mem", "rss", "throughput"}
)


def metric_by_name(name: str, *, boolean: bool = False) -> Metric:
    """Return the metric that a column of this name holds.

    The rule, in this order: a metric that aggrkit knows (in any of its spellings); what an operation costs ("ns per
    op", "bytes per op", "allocs per op") is better when lower; a rate ("per second", "throughput", "fps", ...) is
    better when higher; a time or a size, told by its unit at the end of the name or by a word such as
    "latency", is better when lower; words such as "accuracy" and "loss" say their direction; all else is unknown.

    Parameters
    ----------
    name : str
        Name of the column.
    boolean : bool, optional
        Whether the column holds booleans, which makes it a proportion.

    Returns
    -------
    Metric
        Name, unit, direction and possible values; `reason` says which part of the rule applied.

    Examples
    --------
    >>> from aggrkit.model.metric import metric_by_name
    >>> metric_by_name("decode_time_ms")
    Metric(name='decode_time_ms', unit='ms', direction=<Direction.LOWER: 'lower'>, \
kind=<MetricKind.CONTINUOUS: 'continuous'>, minimum=0.0, maximum=None, reason="its unit 'ms' is one of time")
    """
    canonical = METRIC_SPELLINGS.get(name.casefold(), name.casefold())
    if canonical in _KNOWN:
        return _renamed(_KNOWN[canonical], name)
    words = [word for word in re.split(r"[^a-z0-9]+", _snake(name)) if word]
    unit, direction, reason = _read_words(words)
    minimum = 0.0 if unit in _TIME_UNITS or "/" in unit or _NEVER_NEGATIVE & set(words) else None
    if boolean:
        return Metric(name, "proportion", direction, MetricKind.PROPORTION, 0.0, 1.0, f"a column of booleans; {reason}")
    return Metric(name, unit, direction, minimum=minimum, reason=reason)


def normalized_metric(metric: Metric) -> Metric:
    """Return the metric that "normalise" makes of `metric`: a ratio to the reference, > 1 meaning better."""
    return Metric(
        NORMALIZED + metric.name,
        "ratio",
        Direction.HIGHER,
        reason=f"{metric.name} against its reference; above 1 is better",
    )


def _renamed(known: Metric, name: str) -> Metric:
    if name == known.name:
        return known
    reason = f"another spelling of {known.name}"
    unit = known.unit
    if known.kind is MetricKind.CONTINUOUS and not name.casefold().endswith(("_ms", "_mb", "_seconds", "_per_second")):
        unit = ""
        reason += ", its unit not said"
    return Metric(name, unit, known.direction, known.kind, known.minimum, known.maximum, reason)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).casefold()


def _read_words(words: list[str]) -> tuple[str, Direction, str]:
    """Return unit, direction and reason as the words of a name tell them."""
    present = set(words)
    if len(words) > 2 and words[-2] == "per" and words[-1] in _CALLS:
        spent = _UNITS.get(words[-3]) or _SPENT.get(words[-3])
        if spent is not None:
            return f"{spent}/op", Direction.LOWER, f"what an operation costs: '{words[-3]} per {words[-1]}'"
        return _worded(present, f"{words[-3]}/op")
    for place, word in enumerate(words[:-1]):
        if word == "per" and words[place + 1] in _SPAN:
            item = words[place - 1] if place else "1"
            return f"{item}/{_SPAN[words[place + 1]]}", Direction.HIGHER, f"a rate: '{item} per {words[place + 1]}'"
    if rate := sorted(present & _RATES):
        return "", Direction.HIGHER, f"{rate[0]!r} is a rate"
    unit = _unit(words)
    if unit == "s" and _unit(words[:-1]) in _SIZE_UNITS:
        return f"{_unit(words[:-1])}/s", Direction.HIGHER, f"a rate: '{words[-2]} per {words[-1]}'"
    if unit in _TIME_UNITS:
        return unit, Direction.LOWER, f"its unit {words[-1]!r} is one of time"
    if unit in _SIZE_UNITS:
        return unit, Direction.LOWER, f"its unit {words[-1]!r} is one of size"
    if present & {"memory", "mem", "rss", "vram"}:
        return unit, Direction.LOWER, "memory in use"
    if times := sorted(present & _TIMES) or [word for word in words[-1:] if word == "time"]:
        return unit, Direction.LOWER, f"{times[0]!r} is a time, its unit not said"
    return _worded(present, unit)


def _worded(present: set[str], unit: str) -> tuple[str, Direction, str]:
    """Return unit, direction and reason where only words such as "accuracy" can tell which way is better."""
    good, bad = sorted(present & _HIGHER), sorted(present & _LOWER)
    if good and bad:
        return unit, Direction.UNKNOWN, f"{good[0]!r} and {bad[0]!r} don't agree on which way is better"
    for found, direction in ((good, Direction.HIGHER), (bad, Direction.LOWER)):
        if found:
            return unit, direction, f"for {found[0]!r}, {direction.value} is better"
    return unit, Direction.UNKNOWN, "a number whose name doesn't say which way is better"


def _unit(words: list[str]) -> str:
    return _UNITS.get(words[-1], "") if len(words) > 1 else ""
