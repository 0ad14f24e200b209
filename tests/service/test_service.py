"""The summary layer on a manager: selection, grouping, statistics, shape of the answer."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest

from aggrkit import ResultAggregatorService
from aggrkit.errors import SchemaError, SourceError, StageError, UnknownNameError
from aggrkit.wire import answer_schema
from tests.service.results import BEFORE, NOW, anomalies_of, latencies, manager_of

VALIDATOR = jsonschema.Draft202012Validator(answer_schema())


def valid(answer: dict[str, Any]) -> dict[str, Any]:
    VALIDATOR.validate(answer)
    json.dumps(answer, allow_nan=False)
    return answer


def test_the_statistics_are_those_of_numpy() -> None:
    rows = latencies(200, models=3)
    answer = valid(ResultAggregatorService(manager_of(rows)).aggregate_results("performance", "model"))
    for model in ("m00", "m01", "m02"):
        values = np.array([row["average_latency_ms"] for row in rows if row["model_id"] == model])
        found = answer["results"]["basic_statistics"][model]["average_latency_ms"]
        assert found == {
            "count": len(values),
            "mean": pytest.approx(values.mean()),
            "median": pytest.approx(np.median(values)),
            "min": values.min(),
            "max": values.max(),
            "std": pytest.approx(values.std(ddof=1)),
        }
        points = answer["results"]["percentiles"][model]["average_latency_ms"]
        wanted = np.quantile(values, [0.5, 0.75, 0.9, 0.95, 0.99])
        assert list(points.values()) == pytest.approx(wanted.tolist())
        assert answer["results"]["basic_statistics"][model]["result_count"] == len(values)
    assert (answer["raw_result_count"], answer["processed_result_count"]) == (200, 200)


def test_one_value_has_no_standard_deviation() -> None:
    rows = [{"model_id": "a", "average_latency_ms": 3.0}]
    answer = valid(ResultAggregatorService(manager_of(rows)).aggregate_results("performance", "model"))
    assert answer["results"]["basic_statistics"]["a"]["average_latency_ms"]["std"] is None


def test_distributions_count_the_values() -> None:
    rows = [{"model_id": "a", "precision": p, "average_latency_ms": 1.0} for p in ("fp16", "fp16", "fp32", None)]
    answer = valid(ResultAggregatorService(manager_of(rows)).aggregate_results("performance", "model"))
    assert answer["results"]["distributions"]["a"]["precision"] == {
        "distribution": {
            "fp16": {"count": 2, "percentage": pytest.approx(200 / 3)},
            "fp32": {"count": 1, "percentage": pytest.approx(100 / 3)},
        },
        "total_values": 3,
        "unique_values": 2,
    }


def test_outcomes_are_proportions_and_skips_are_no_failures() -> None:
    statuses = ["pass"] * 6 + ["fail"] * 2 + ["skip", "error"]
    rows = [{"model_id": "a", "status": s, "execution_time_seconds": 1.0} for s in statuses]
    answer = valid(ResultAggregatorService(manager_of(rows)).aggregate_results("integration", "model"))
    found = answer["results"]["basic_statistics"]["a"]["passed"]
    assert (found["count"], found["successes"], found["failures"], found["rate"]) == (8, 6, 2, 0.75)
    zeros_and_ones = [1] * 6 + [0] * 2
    assert found["std"] == pytest.approx(np.std(zeros_and_ones, ddof=1))
    assert found["median"] == np.median(zeros_and_ones)
    assert found["ci_lower"] == pytest.approx(0.4093, abs=1e-4)  # Wilson, published tables
    assert list(answer["results"]["percentiles"]["a"]["passed"].values()) == pytest.approx(
        np.quantile(zeros_and_ones, [0.5, 0.75, 0.9, 0.95, 0.99]).tolist()
    )


@pytest.mark.parametrize(
    ("level", "keys"),
    [
        ("model", {"m00", "m01"}),
        ("hardware", {"h0", "h1", "h2"}),
        ("model_hardware", {f"m0{m}:h{h}" for m in range(2) for h in range(3)}),
        ("task_type", {"unknown"}),
        ("worker", {"unknown"}),
        ("test_run", {"unknown"}),
    ],
)
def test_group_keys(level: str, keys: set[str]) -> None:
    rows = [{**row, "task_type": None, "worker_id": "", "run_id": None} for row in latencies(60, models=2)]
    answer = valid(ResultAggregatorService(manager_of(rows)).aggregate_results("performance", level))
    assert set(answer["results"]["basic_statistics"]) == keys


@pytest.mark.parametrize("level", ["task_type", "worker", "test_run", "hardware"])
def test_a_missing_dimension_is_unknown(level: str) -> None:
    rows = [{"model_id": "a", "average_latency_ms": float(k)} for k in range(5)]
    answer = valid(ResultAggregatorService(manager_of(rows)).aggregate_results("performance", level))
    assert list(answer["results"]["basic_statistics"]) == ["unknown"]


def test_task_types_fall_back_to_test_module_and_to_platform_and_browser() -> None:
    rows: list[dict[str, Any]] = [{"test_module": "api", "execution_time_seconds": 1.0}]
    answer = ResultAggregatorService(manager_of(rows)).aggregate_results("integration", "task_type")
    assert list(answer["results"]["basic_statistics"]) == ["api"]
    rows = [{"platform": "webgpu", "browser": b, "load_time_ms": 1.0} for b in ("chrome", "firefox")]
    answer = ResultAggregatorService(manager_of(rows)).aggregate_results("web_platform", "task_type")
    assert set(answer["results"]["basic_statistics"]) == {"webgpu:chrome", "webgpu:firefox"}


def test_filters_and_times_are_applied_to_managers_that_ignore_them() -> None:
    rows = latencies(300)
    service = ResultAggregatorService(manager_of(rows))
    answer = valid(service.aggregate_results("performance", "model", {"hardware": "h1", "model_id": ["m00", "m05"]}))
    assert set(answer["results"]["basic_statistics"]) == {"m00", "m05"}
    count = sum(r["hardware_id"] == "h1" and r["model_id"] in ("m00", "m05") for r in rows)
    assert answer["raw_result_count"] == count
    until = NOW + dt.timedelta(minutes=49)
    manager = manager_of(rows)
    manager.get_performance_results.side_effect = lambda **asked: rows
    answer = ResultAggregatorService(manager).aggregate_results("performance", "model", time_range=(NOW, until))
    assert answer["raw_result_count"] == 50


def test_an_unknown_filter_is_an_error_that_lists_the_known_ones() -> None:
    service = ResultAggregatorService(manager_of(latencies(30)))
    with pytest.raises(UnknownNameError, match=r"unknown filter 'modle_id'; did you mean 'model_id'\?.*'batch_size'"):
        service.aggregate_results("performance", "model", {"modle_id": "m00"})


@pytest.mark.parametrize("filters", [{"model_id": "nobody"}, {"precision": "fp16"}, {"browser": "chrome"}])
def test_a_filter_that_lets_nothing_pass_gives_an_empty_answer_that_says_why(filters: dict[str, Any]) -> None:
    service = ResultAggregatorService(manager_of(latencies(30)))
    answer = valid(service.aggregate_results("performance", "model", filters))
    assert all(answer["results"][name] == {} for name in answer["results"])
    assert next(iter(filters)) in answer["metadata"]["notes"][0]


@pytest.mark.parametrize("rows", [[], None, ()])
def test_no_results_give_an_empty_answer(rows: Any) -> None:
    manager = manager_of([])
    manager.get_performance_results.side_effect = lambda **asked: rows
    answer = valid(ResultAggregatorService(manager).aggregate_results("performance", "model"))
    assert answer["raw_result_count"] == 0
    assert set(answer["results"]) == {"basic_statistics", "percentiles", "distributions", "anomalies", "comparisons"}


def test_without_a_manager_every_answer_is_empty() -> None:
    service = ResultAggregatorService()
    assert valid(service.aggregate_results("performance", "model"))["raw_result_count"] == 0
    assert service.get_result_anomalies("performance", "model")["anomaly_count"] == 0
    assert service.analyze_correlations("performance", ["a", "b"])["correlations"] == []


@pytest.mark.parametrize("kind", ["result type", "aggregation level"])
def test_unknown_names_are_errors(kind: str) -> None:
    service = ResultAggregatorService(manager_of(latencies(30)))
    asked = ("speed", "model") if kind == "result type" else ("performance", "modle")
    with pytest.raises(UnknownNameError, match=f"unknown {kind}"):
        service.aggregate_results(*asked)


def test_mixed_keys_times_and_gaps_in_records() -> None:
    """The same thing under several names, times of every kind, None, "", bools where numbers belong."""
    rows: list[dict[str, Any]] = [
        {"model_id": "a", "latency": 1.0, "timestamp": "2026-03-08T00:00:00Z"},
        {"model": "a", "average_latency_ms": 2.0, "timestamp": dt.datetime(2026, 3, 8, 1, tzinfo=dt.UTC)},
        {"model_name": "a", "latency_ms": "3.0", "timestamp": "2026-03-08T04:00:00+02:00"},
        {"model_id": "", "model": "a", "average_latency_ms": None, "timestamp": None},
        {"model_id": None, "average_latency_ms": 5.0, "timestamp": "2026-03-08 03:00:00"},
        {"model_id": "a", "average_latency_ms": "", "timestamp": ""},
        {"model_id": "a", "average_latency_ms": True, "timestamp": "no time"},
        {"model_id": "a", "average_latency_ms": float("nan")},
        {"model_id": "a", "average_latency_ms": float("inf")},
        {"model_id": "a", "average_latency_ms": -1.0},
    ]
    answer = valid(ResultAggregatorService(manager_of(rows)).aggregate_results("performance", "model"))
    found = answer["results"]["basic_statistics"]
    assert found["a"]["average_latency_ms"]["count"] == 3
    assert found["a"]["average_latency_ms"]["mean"] == 2.0
    assert found["unknown"]["average_latency_ms"]["mean"] == 5.0
    assert answer["raw_result_count"] == 10
    window = (dt.datetime(2026, 3, 8, 0, 30), dt.datetime(2026, 3, 8, 2, 30))
    manager = manager_of(rows)
    manager.get_performance_results.side_effect = lambda **asked: rows
    answer = ResultAggregatorService(manager).aggregate_results("performance", "model", time_range=window)
    assert answer["results"]["basic_statistics"]["a"]["average_latency_ms"]["count"] == 2


def test_history_is_fetched_once_and_the_current_fetch_has_no_time_range() -> None:
    manager = manager_of(latencies(120), latencies(120, seed=2, start=BEFORE))
    service = ResultAggregatorService(manager)
    service.aggregate_results("performance", "model", {"batch_size": 8})
    calls = [call.kwargs for call in manager.get_performance_results.call_args_list]
    assert len(calls) == 2
    assert calls[0] == {"aggregation_level": "model", "filter_params": {"batch_size": 8}, "time_range": None}
    start, end = calls[1]["time_range"]
    assert end < NOW
    assert NOW - end < dt.timedelta(seconds=1)
    assert end - start == dt.timedelta(days=7)
    service.aggregate_results("performance", "model", {"batch_size": 8})
    assert manager.get_performance_results.call_count == 2  # a cached call fetches nothing
    used = {name for name, _, _ in manager.method_calls}
    assert used <= {"get_performance_results", "get_model_info", "get_hardware_info"}


def test_model_metadata_comes_with_the_answer_and_what_is_no_mapping_is_left_out() -> None:
    answer = valid(
        ResultAggregatorService(manager_of(latencies(60))).aggregate_results("performance", "model_hardware")
    )
    assert answer["context"]["model_metadata"]["m03"] == {"name": "Model m03", "family": "transformer"}
    assert answer["context"]["hardware_metadata"] == {}


def test_models_can_be_grouped_by_family() -> None:
    manager = manager_of(latencies(60, models=4))
    manager.get_model_info.side_effect = lambda name: {"family": "cnn"} if name in ("m00", "m01") else {}
    service = ResultAggregatorService(manager)
    service.configure({"model_family_grouping": True})
    answer = valid(service.aggregate_results("performance", "model"))
    assert {key: found["result_count"] for key, found in answer["results"]["basic_statistics"].items()} == {
        "cnn": 30,
        "m02": 15,
        "m03": 15,
    }


def test_normalised_metrics_are_above_one_where_better() -> None:
    rows = [
        {"model_id": "a", "hardware_id": h, "average_latency_ms": ms, "throughput_items_per_second": rate}
        for h, ms, rate in (("slow", 20.0, 5.0), ("middle", 10.0, 10.0), ("fast", 5.0, 20.0), ("none", None, 0.0))
    ]
    answer = valid(ResultAggregatorService(manager_of(rows)).aggregate_results("performance", "hardware"))
    found = answer["results"]["basic_statistics"]
    for name in ("average_latency_ms", "throughput_items_per_second"):
        means = [found[h].get(f"normalized_{name}", {}).get("mean") for h in ("slow", "middle", "fast", "none")]
        if name == "average_latency_ms":
            assert means == [0.5, 1.0, 2.0, None]
            assert found["slow"][name]["mean"] == 20.0
        else:
            assert means[0] < means[1] < means[2]
    service = ResultAggregatorService(manager_of(rows))
    service.configure({"normalize_metrics": False})
    assert not any(
        "normalized" in metric
        for metric in service.aggregate_results("performance", "hardware")["results"]["basic_statistics"]["slow"]
    )


def test_duplicates_count_once_and_repeats_stay() -> None:
    rows = latencies(20, models=1)
    doubled = [*rows, *rows[:5]]
    answer = valid(ResultAggregatorService(manager_of(doubled)).aggregate_results("performance", "model"))
    assert (answer["raw_result_count"], answer["processed_result_count"]) == (25, 20)
    assert sum(answer["metadata"]["rows_out"].values()) == 5
    repeats = [{"run_id": "r", "model_id": "a", "average_latency_ms": 1.0}] * 10
    answer = ResultAggregatorService(manager_of(repeats)).aggregate_results("performance", "model")
    assert answer["results"]["basic_statistics"]["a"]["average_latency_ms"]["count"] == 10


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("percentiles_enabled", "percentiles"),
        ("distributions_enabled", "distributions"),
        ("anomaly_detection_enabled", "anomalies"),
        ("comparative_analysis_enabled", "comparisons"),
    ],
)
def test_every_stage_can_be_switched_off(setting: str, part: str) -> None:
    rows = latencies(200, models=2)
    rows[7]["average_latency_ms"] = 500.0
    service = ResultAggregatorService(manager_of(rows, latencies(200, models=2, seed=4, start=BEFORE)))
    assert service.aggregate_results("performance", "model")["results"][part]
    service.configure({setting: False})
    answer = valid(service.aggregate_results("performance", "model"))
    assert answer["results"][part] == {}
    phases = (service.preprocessing_pipeline, service.aggregation_pipeline, service.postprocessing_pipeline)
    assert [len(stages) for stages in phases] == ([3, 2, 3] if part in ("percentiles", "distributions") else [3, 3, 2])


def test_unknown_settings_are_kept_and_warned_about() -> None:
    service = ResultAggregatorService()
    with pytest.warns(UserWarning, match="unknown settings are kept but not used: colour"):
        service.configure({"colour": "red"})
    assert service.config["colour"] == "red"


@pytest.mark.parametrize(
    "wrong",
    [
        {"cache_ttl_seconds": -1},
        {"anomaly_threshold": "high"},
        {"anomaly_alpha": 0.7},
        {"anomaly_method": "magic"},
        {"deduplication_enabled": 1},
        {"comparative_lookback_days": 0},
        ["cache_ttl_seconds"],
    ],
)
def test_an_impossible_setting_changes_nothing(wrong: Any) -> None:
    service = ResultAggregatorService()
    before = service.config
    with pytest.raises((TypeError, ValueError)):
        service.configure(wrong)
    assert service.config == before


def test_a_manager_that_fails_or_lacks_a_method_is_a_clear_error() -> None:
    manager = manager_of([])
    manager.get_performance_results.side_effect = ConnectionError("no route")
    with pytest.raises(SourceError, match="get_performance_results failed: ConnectionError: no route"):
        ResultAggregatorService(manager).aggregate_results("performance", "model")
    with pytest.raises(SourceError, match="no method 'get_performance_results'"):
        ResultAggregatorService(object()).aggregate_results("performance", "model")
    manager.get_performance_results.side_effect = lambda **asked: [1, 2]
    with pytest.raises(SchemaError, match="result 0 is 1"):
        ResultAggregatorService(manager).aggregate_results("performance", "model")


def test_a_manager_may_return_a_frame() -> None:
    frame = pd.DataFrame(latencies(30, models=2))
    manager = manager_of([])
    manager.get_performance_results.side_effect = lambda **asked: frame
    answer = valid(ResultAggregatorService(manager).aggregate_results("performance", "model"))
    assert answer["raw_result_count"] == 30


def test_exports(tmp_path: Any) -> None:
    service = ResultAggregatorService(manager_of(latencies(60, models=2)))
    path = tmp_path / "out.json"
    text = service.export_results("performance", "model", file_path=path)
    assert path.read_text("utf-8") == text
    assert valid(json.loads(text))["raw_result_count"] == 60
    text = service.export_results("performance", "model", format="csv", file_path=tmp_path / "out.csv")
    frame = pd.read_csv(tmp_path / "out.csv")
    assert list(frame.columns) == [
        "group",
        "metric",
        "count",
        "mean",
        "median",
        "min",
        "max",
        "std",
        "p50",
        "p75",
        "p90",
        "p95",
        "p99",
    ]
    line = frame[(frame["group"] == "m01") & (frame["metric"] == "average_latency_ms")].iloc[0]
    answer = service.aggregate_results("performance", "model")
    assert line["mean"] == answer["results"]["basic_statistics"]["m01"]["average_latency_ms"]["mean"]
    assert line["p99"] == answer["results"]["percentiles"]["m01"]["average_latency_ms"]["p99"]
    with pytest.raises(UnknownNameError, match="unknown format 'xml'"):
        service.export_results("performance", "model", format="xml")
    with pytest.raises(SourceError, match="can't be written"):
        service.export_results("performance", "model", file_path=tmp_path / "nowhere" / "out.json")


def test_registered_functions_share_a_context_and_work_on_copies() -> None:
    rows = [{**row, "custom_field": "value" if k % 2 else "other"} for k, row in enumerate(latencies(40, models=2))]
    for row in rows[:4]:
        row["custom_metric"] = 3.0
    service = ResultAggregatorService(manager_of(rows))

    def custom_preprocessor(results: Any, context: Any) -> Any:
        kept = [r for r in results if r.get("custom_field") == "value"]
        context["metadata"]["custom_filter_count"] = len(results) - len(kept)
        results.clear()
        return kept

    def custom_aggregator(results: Any, context: Any) -> Any:
        custom_metric = {}
        for group_key, group_results in context["grouped_results"].items():
            values = [r.get("custom_metric", 0) for r in group_results]
            custom_metric[group_key] = sum(values) / len(values)
        assert all("normalized_average_latency_ms" in record for record in results)
        return {"custom_metrics": custom_metric}

    def custom_postprocessor(aggregated_results: Any, context: Any) -> None:
        aggregated_results["results"]["custom_analysis"] = {"of": context["aggregation_level"]}

    service.register_preprocessor(custom_preprocessor)
    service.register_aggregator(custom_aggregator)
    service.register_postprocessor(custom_postprocessor)
    assert service.preprocessing_pipeline[-1] is custom_preprocessor
    answer = valid(service.aggregate_results("performance", "model"))
    assert answer["metadata"]["custom_filter_count"] == 20
    assert answer["results"]["custom_metrics"] == {"m01": 0.3}
    assert answer["results"]["custom_analysis"] == {"of": "model"}
    assert answer["processed_result_count"] == 20
    assert set(answer["results"]["basic_statistics"]) == {"m01"}


@pytest.mark.parametrize("phase", ["preprocess", "aggregate", "postprocess"])
def test_a_failing_function_is_named_with_its_phase(phase: str) -> None:
    service = ResultAggregatorService(manager_of(latencies(20)))

    def broken(results: Any, context: Any) -> Any:
        raise KeyError("gone")

    register = {"preprocess": "preprocessor", "aggregate": "aggregator", "postprocess": "postprocessor"}[phase]
    getattr(service, f"register_{register}")(broken)
    with pytest.raises(StageError, match=f"the {phase} stage 'broken' failed: KeyError") as raised:
        service.aggregate_results("performance", "model")
    assert (raised.value.phase, raised.value.stage) == (phase, "broken")
    with pytest.raises(TypeError, match="a stage is a function"):
        getattr(service, f"register_{register}")("broken")


def test_reports_of_anomalies_and_comparisons() -> None:
    rows = latencies(300, models=5, slower={2: 1.2})
    rows[11]["average_latency_ms"] = 400.0
    service = ResultAggregatorService(manager_of(rows, latencies(300, models=5, seed=3, start=BEFORE)))
    report = service.get_result_anomalies("performance", "model")
    assert report["anomaly_count"] == 1
    assert anomalies_of(report)[0]["observation_id"] == 11
    assert "1 anomaly" in report["explanation"]
    report = service.get_comparison_report("performance", "model")
    assert report["summary"]["regressed"] == 1
    assert report["comparisons"]["m02"]["average_latency_ms"]["verdict"] == "regressed"
    assert "1 regressed" in report["explanation"]
    json.dumps(report, allow_nan=False)


def test_trends() -> None:
    rows = latencies(300, models=3)
    for k, row in enumerate(rows):
        row["timestamp"] = NOW + dt.timedelta(hours=k)
        row["average_latency_ms"] *= 1 + 0.001 * k if row["model_id"] == "m01" else 1.0
    service = ResultAggregatorService(manager_of(rows))
    found = service.trend_analyzer.analyze_trends("performance", "model")
    verdicts = {model: metrics["average_latency_ms"]["verdict"] for model, metrics in found["trends"].items()}
    assert verdicts == {"m00": "none", "m01": "worsening", "m02": "none"}
    assert found["trends"]["m01"]["average_latency_ms"]["start"] == "2026-03-08T01:00:00Z"
    assert "worsen" in found["explanation"]
    json.dumps(found, allow_nan=False)
    without = [{k: v for k, v in row.items() if k != "timestamp"} for row in rows]
    with pytest.raises(UnknownNameError, match="needs a time column"):
        ResultAggregatorService(manager_of(without)).trend_analyzer.analyze_trends("performance", "model")
