"""Metrics: what aggrkit knows of the metrics of the four result types, and what it reads from a name."""

from __future__ import annotations

import dataclasses

import pytest

from aggrkit import Metric
from aggrkit.errors import UnknownNameError
from aggrkit.model.metric import (
    METRIC_SPELLINGS,
    RESULT_TYPES,
    Direction,
    MetricKind,
    metric_by_name,
    normalized_metric,
)

# Result type, name, unit, better direction, largest possible value; None as unit stands for a pass/fail metric.
SUPPORTED = [
    ("performance", "total_time_seconds", "s", "lower", None),
    ("performance", "average_latency_ms", "ms", "lower", None),
    ("performance", "throughput_items_per_second", "items/s", "higher", None),
    ("performance", "memory_peak_mb", "MB", "lower", None),
    ("compatibility", "is_compatible", None, "higher", 1),
    ("compatibility", "detection_success", None, "higher", 1),
    ("compatibility", "initialization_success", None, "higher", 1),
    ("compatibility", "compatibility_score", "score", "higher", 1),
    ("integration", "passed", None, "higher", 1),
    ("integration", "execution_time_seconds", "s", "lower", None),
    ("web_platform", "load_time_ms", "ms", "lower", None),
    ("web_platform", "initialization_time_ms", "ms", "lower", None),
    ("web_platform", "inference_time_ms", "ms", "lower", None),
    ("web_platform", "total_time_ms", "ms", "lower", None),
    ("web_platform", "memory_usage_mb", "MB", "lower", None),
    ("web_platform", "success_value", None, "higher", 1),
]


@pytest.mark.parametrize(("result_type", "name", "unit", "better", "largest"), SUPPORTED)
def test_supported_metrics(result_type: str, name: str, unit: str | None, better: str, largest: float | None) -> None:
    metric = metric_by_name(name)
    assert metric in RESULT_TYPES[result_type]
    assert metric.name == name
    assert metric.direction == better
    assert metric.is_proportion == (unit is None)
    assert metric.unit == ("proportion" if unit is None else unit)
    assert (metric.minimum, metric.maximum) == (0, largest)
    assert metric.sign == {"lower": -1, "higher": 1}[better]


def test_result_types_hold_these_metrics_and_no_others() -> None:
    assert {(kind, metric.name) for kind, metrics in RESULT_TYPES.items() for metric in metrics} == {
        (kind, name) for kind, name, *_ in SUPPORTED
    }


@pytest.mark.parametrize(("spelling", "known"), METRIC_SPELLINGS.items())
def test_other_spellings_keep_their_name_and_direction(spelling: str, known: str) -> None:
    metric, original = metric_by_name(spelling), metric_by_name(known)
    assert metric.name == spelling
    assert (metric.direction, metric.kind) == (original.direction, original.kind)
    assert known in metric.reason


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("latency_ms", "ms"),
        ("avg_latency_ms", "ms"),
        ("memory_mb", "MB"),
        ("duration_seconds", "s"),
        ("items_per_second", "items/s"),
        ("latency", ""),
        ("throughput", ""),
        ("memory_peak", ""),
        ("total_time", ""),
        ("execution_time", ""),
    ],
)
def test_a_spelling_has_a_unit_only_where_it_says_one(name: str, unit: str) -> None:
    metric = metric_by_name(name)
    assert metric.unit == unit
    assert ("unit not said" in metric.reason) == (not unit)


def test_letter_case_of_a_known_metric_does_not_matter() -> None:
    metric = metric_by_name("Average_Latency_MS")
    assert (metric.name, metric.direction, metric.unit) == ("Average_Latency_MS", "lower", "ms")


# Rates are better when higher, and keep the span that they are per.
@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("frames_per_second", "frames/s"),
        ("samples_per_sec", "samples/s"),
        ("tokens_per_s", "tokens/s"),
        ("requests_per_minute", "requests/min"),
        ("jobs_per_hour", "jobs/h"),
        ("per_second", "1/s"),
        ("read_mb_s", "MB/s"),
        ("disk_write_gb_s", "GB/s"),
        ("throughputItemsPerSecond", "items/s"),
    ],
)
def test_rates(name: str, unit: str) -> None:
    metric = metric_by_name(name)
    assert (metric.unit, metric.direction) == (unit, "higher")
    assert metric.minimum == 0
    assert "rate" in metric.reason


@pytest.mark.parametrize("name", ["qps", "fps", "throughput_total", "memory_bandwidth_gbps", "speedup", "decode_tps"])
def test_words_for_rates(name: str) -> None:
    assert metric_by_name(name).direction is Direction.HIGHER


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("decode_time_ms", "ms"),
        ("p99_latency_ns", "ns"),
        ("wall_us", "us"),
        ("elapsed_hours", "h"),
        ("setup_minutes", "min"),
        ("runtime", ""),
        ("setup_time", ""),
        ("ttft", ""),
        ("averageLatencyMs", "ms"),
        ("TimeToFirstTokenMS", "ms"),
        ("Duration (ms)", "ms"),
    ],
)
def test_times_are_better_when_lower(name: str, unit: str) -> None:
    metric = metric_by_name(name)
    assert (metric.unit, metric.direction) == (unit, "lower")


@pytest.mark.parametrize(("name", "unit"), [("peak_rss_mb", "MB"), ("model_size_bytes", "B"), ("vram_used", "")])
def test_sizes_are_better_when_lower(name: str, unit: str) -> None:
    metric = metric_by_name(name)
    assert (metric.unit, metric.direction) == (unit, "lower")


# The unit goes before words that may be part of what is timed: a forward pass is not a test that passes.
@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("forward_pass_time_ms", "lower"),
        ("success_latency", "lower"),
        ("first_pass_seconds", "lower"),
        ("top1_accuracy", "higher"),
        ("pass_rate", "higher"),
        ("bleu", "higher"),
        ("val_loss", "lower"),
        ("error_rate", "lower"),
        ("accuracy_loss", "unknown"),
        ("success_errors", "unknown"),
    ],
)
def test_words_that_say_a_direction(name: str, better: str) -> None:
    assert metric_by_name(name).direction == better


@pytest.mark.parametrize("name", ["score", "x", "temperature", "gpuUtil", "batch_size", "energy_j", "", "ms", "日本"])
def test_what_no_rule_says_is_unknown(name: str) -> None:
    metric = metric_by_name(name)
    assert (metric.direction, metric.sign) == (Direction.UNKNOWN, 0)
    assert metric.kind is MetricKind.CONTINUOUS
    assert metric.reason


def test_times_and_rates_cannot_be_negative_and_others_can() -> None:
    assert metric_by_name("decode_ms").minimum == 0
    assert metric_by_name("frames_per_minute").minimum == 0
    assert metric_by_name("memory_used").minimum == 0
    assert metric_by_name("reward").minimum is None
    assert metric_by_name("log_loss").minimum is None


def test_a_boolean_column_is_a_proportion_of_the_direction_that_its_name_says() -> None:
    passed, cached = metric_by_name("all_passed", boolean=True), metric_by_name("is_cached", boolean=True)
    assert passed.is_proportion
    assert (passed.unit, passed.direction, passed.minimum, passed.maximum) == ("proportion", "higher", 0, 1)
    assert cached.is_proportion
    assert cached.direction is Direction.UNKNOWN
    assert "booleans" in cached.reason


def test_a_metric_reads_its_direction_and_kind_and_is_frozen() -> None:
    metric = Metric("fps", "1/s", "higher", "continuous")  # type: ignore[arg-type]
    assert metric.direction is Direction.HIGHER
    assert metric.kind is MetricKind.CONTINUOUS
    with pytest.raises(dataclasses.FrozenInstanceError):
        metric.unit = "s"  # type: ignore[misc]
    assert hash(metric) == hash(Metric("fps", "1/s", Direction.HIGHER))
    assert Metric("x").sign == 0


@pytest.mark.parametrize(
    ("arguments", "near", "choices"),
    [
        ({"direction": "lowr"}, "lower", ("lower", "higher", "unknown")),
        ({"direction": "Higher "}, "higher", ("lower", "higher", "unknown")),
        ({"kind": "proportions"}, "proportion", ("continuous", "proportion")),
    ],
)
def test_a_wrong_direction_or_kind_is_refused(arguments: dict[str, str], near: str, choices: tuple[str, ...]) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean '{near}'") as caught:
        Metric("x", **arguments)  # type: ignore[arg-type]
    assert caught.value.choices == choices
    for choice in choices:
        assert repr(choice) in str(caught.value)


def test_a_range_without_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 5 and at most 1"):
        Metric("x", minimum=5, maximum=1)
    assert Metric("x", minimum=1, maximum=1).minimum == 1


def test_a_normalised_metric_is_a_ratio_that_is_better_when_higher() -> None:
    for name in ("latency_ms", "throughput"):
        ratio = normalized_metric(metric_by_name(name))
        assert (ratio.name, ratio.unit, ratio.sign) == (f"normalized_{name}", "ratio", 1)
        assert name in ratio.reason


@pytest.mark.parametrize(
    ("name", "unit", "direction"),
    [
        ("ns_per_op", "ns/op", "lower"),
        ("bytes_per_op", "B/op", "lower"),
        ("allocs_per_op", "allocs/op", "lower"),
        ("p99_us_per_call", "us/op", "lower"),
        ("errors_per_op", "errors/op", "lower"),
        ("swaps_per_op", "swaps/op", "unknown"),
        ("ops_per_second", "ops/s", "higher"),
        ("time_per_op_ns", "ns", "lower"),
    ],
)
def test_what_an_operation_costs(name: str, unit: str, direction: str) -> None:
    metric = metric_by_name(name)
    assert (metric.unit, metric.direction) == (unit, direction)
    assert metric.minimum == 0
