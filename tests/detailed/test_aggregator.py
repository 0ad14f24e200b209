"""The detailed layer: its cycle, its analyses, its charts and reports."""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from scipy import stats

from aggrkit import BenchmarkDBManager, ResultAggregator
from aggrkit.errors import SchemaError, SourceError, UnknownNameError
from tests.service.results import BEFORE, NOW, latencies, manager_of

if TYPE_CHECKING:
    from collections.abc import Callable

FLAT = ("mean", "stdev", "min", "max", "median", "p95", "p99", "cv")


def results_of(number: int = 240, **changes: Any) -> list[dict[str, Any]]:
    """Make results of tests with status, worker and reasons of failure."""
    rows = latencies(number, models=4, **changes)
    for k, row in enumerate(rows):
        row |= {"worker_id": f"w{k % 5}", "task_type": "inference", "status": "fail" if k % 24 == 0 else "pass"}
        if row["status"] == "fail":
            row["error_message"] = "out of memory" if k % 48 == 0 else "timeout"
    return rows


def filled(rows: list[dict[str, Any]]) -> ResultAggregator:
    aggregator = ResultAggregator()
    for row in rows:
        aggregator.process_test_result(row)
    return aggregator


def eventually(holds: Callable[[], bool]) -> bool:
    """Wait until something holds, half a minute at most; say whether it does."""
    deadline = time.monotonic() + 30
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def test_start_loads_history_once_and_analyses_once() -> None:
    manager = manager_of(results_of())
    aggregator = ResultAggregator(db_manager=manager)
    calls: list[str] = []
    for name in ("_load_historical_data", "_aggregate_results", "_analyze_results"):
        own = getattr(aggregator, name)
        setattr(aggregator, name, lambda own=own, name=name: (calls.append(name), own())[1])
    aggregator.start()
    assert calls == ["_load_historical_data", "_aggregate_results", "_analyze_results"]
    assert manager.get_test_results.call_count == 1
    assert len(aggregator.test_results) == 240
    assert aggregator.update_thread is not None
    assert aggregator.update_thread.is_alive()
    aggregator.start()
    aggregator.get_regressions()
    assert len(calls) == 3
    aggregator.stop()
    assert not aggregator.update_thread.is_alive()
    aggregator.stop()
    assert {name for name, _, _ in manager.method_calls} == {"get_test_results"}


def test_stop_before_start_does_nothing() -> None:
    aggregator = ResultAggregator()
    aggregator.stop()
    assert aggregator.update_thread is None


def test_the_cycle_is_idempotent() -> None:
    aggregator = filled(results_of())
    before = aggregator.get_test_analysis()
    aggregator._aggregate_results()
    aggregator._analyze_results()
    aggregator._aggregate_results()
    aggregator._analyze_results()
    assert aggregator.get_test_analysis() == before
    assert len(aggregator.test_results) == 240


def test_the_background_thread_waits_then_updates() -> None:
    aggregator = ResultAggregator()
    aggregator.configure({"update_interval": 0.1})
    aggregator.start()
    assert aggregator.worker_analysis == {}
    for row in results_of(48):
        aggregator.process_test_result(row)
    eventually(lambda: bool(aggregator.worker_analysis))
    aggregator.stop()
    assert set(aggregator.worker_analysis) == {"w0", "w1", "w2", "w3", "w4"}


class Fragile(str):
    """A name that can't be read while something is broken."""

    broken = threading.Event()

    def __str__(self) -> str:
        if self.broken.is_set():
            raise RuntimeError("not now")
        return super().__str__()


def test_the_background_thread_outlives_any_error(caplog: pytest.LogCaptureFixture) -> None:
    aggregator = ResultAggregator(db_manager=manager_of(results_of(48)))
    aggregator.configure({"update_interval": 0.05})
    aggregator.start()
    try:
        Fragile.broken.set()
        aggregator.process_test_result(results_of(1)[0] | {"id": "late", "worker_id": Fragile("w9")})
        assert eventually(lambda: aggregator.last_error == "RuntimeError: not now")
        assert aggregator.update_thread is not None
        assert aggregator.update_thread.is_alive()
        assert any("the update failed: not now" in record.message and record.exc_info for record in caplog.records)
        Fragile.broken.clear()
        assert eventually(lambda: "w9" in aggregator.worker_analysis and aggregator.last_error is None)
    finally:
        Fragile.broken.clear()
        aggregator.stop()


def test_results_count_once() -> None:
    rows = results_of(48)
    aggregator = filled([*rows, *rows])
    assert len(aggregator.test_results) == 48
    without = [{k: v for k, v in row.items() if k != "id"} for row in rows]
    assert len(filled([*without, *without]).test_results) == 48
    repeats = [{"model_id": "a", "average_latency_ms": 1.0}] * 3
    assert len(filled(repeats).test_results) == 3


def test_results_are_grouped_by_what_they_belong_to() -> None:
    rows = results_of(48)
    rows[0]["worker_id"] = None
    aggregator = filled(rows)
    aggregator.get_overall_status()
    assert {key: len(found) for key, found in aggregator.hardware_results.items()} == {"h0": 16, "h1": 16, "h2": 16}
    assert len(aggregator.worker_results["unknown"]) == 1
    assert list(aggregator.task_type_results) == ["inference"]


@pytest.mark.slow
@pytest.mark.parametrize("dimension", ["model", "hardware", "worker", "task_type", "batch_size", "test", "hardware_id"])
def test_dimensions_have_flat_statistics(dimension: str) -> None:
    rows = results_of()
    aggregator = filled(rows)
    found = aggregator.get_dimension_analysis(dimension)
    column = {"model": "model_id", "test": "model_id", "hardware": "hardware_id", "worker": "worker_id"}.get(
        dimension, dimension
    )
    assert set(found) == {str(row[column]) for row in rows}
    for value, entry in found.items():
        data = np.array([row["average_latency_ms"] for row in rows if str(row[column]) == value])
        wanted = {
            "mean": data.mean(),
            "stdev": data.std(ddof=1),
            "min": data.min(),
            "max": data.max(),
            "median": np.median(data),
            "p95": np.quantile(data, 0.95),
            "p99": np.quantile(data, 0.99),
            "cv": data.std(ddof=1) / data.mean(),
        }
        for name in FLAT:
            assert entry[f"average_latency_ms_{name}"] == pytest.approx(wanted[name], rel=1e-9)
        statuses = [row["status"] == "pass" for row in rows if str(row[column]) == value]
        assert entry["success_rate"] == pytest.approx(np.mean(statuses))
        assert entry["count"] == len(data)


def test_an_unknown_dimension_lists_those_that_are_there() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown dimension 'modle'; did you mean 'model'\?"):
        filled(results_of(48)).get_dimension_analysis("modle")


def test_workers_have_rates_reasons_metrics_and_trends() -> None:
    rows = results_of()
    aggregator = filled(rows)
    found = aggregator.get_worker_analysis("w3")
    own = [row for row in rows if row["worker_id"] == "w3"]
    passed = sum(row["status"] == "pass" for row in own)
    assert (found["count"], found["passed"], found["failed"]) == (48, passed, 48 - passed)
    interval = stats.binomtest(passed, 48).proportion_ci(0.95, method="wilson")
    assert found["success_rate_ci"] == pytest.approx([interval.low, interval.high])
    reasons: dict[str, int] = {}
    for row in own:
        if "error_message" in row:
            reasons[row["error_message"]] = reasons.get(row["error_message"], 0) + 1
    assert found["failure_reasons"] == reasons
    assert found["metrics"]["average_latency_ms"]["count"] == 48
    assert found["trends"]["average_latency_ms"]["verdict"] == "none"
    with pytest.raises(UnknownNameError, match="unknown worker 'w9'"):
        aggregator.get_worker_analysis("w9")


def test_a_drift_is_a_trend() -> None:
    rows = results_of(480)
    for k, row in enumerate(rows):
        row["timestamp"] = NOW + dt.timedelta(hours=k)
        if row["hardware_id"] == "h1":
            row["average_latency_ms"] *= 1 + 0.02 * k / 24
    trends = {name: found["trends"] for name, found in filled(rows).get_hardware_analysis().items()}
    assert trends["h1"]["average_latency_ms"]["verdict"] == "worsening"
    assert trends["h1"]["average_latency_ms"]["ci_lower"] > 0
    assert {trends[name]["average_latency_ms"]["verdict"] for name in ("h0", "h2")} == {"none"}


def test_live_results_are_compared_with_history() -> None:
    history = [{**row, "id": f"old-{row['id']}"} for row in results_of(seed=11, start=BEFORE)]
    aggregator = ResultAggregator(db_manager=manager_of(history))
    aggregator.start()
    assert aggregator.get_regressions() == []
    for row in results_of(slower={2: 1.15}):
        aggregator.process_test_result(row)
    found = aggregator.get_regressions()
    aggregator.stop()
    assert {(line["model"], line["metric"]) for line in found} == {("m02", "average_latency_ms")}
    assert all(line["ci_lower"] < 15 < line["ci_upper"] for line in found)
    assert aggregator.get_overall_status()["compared"] == "the 240 results that came in live, against 240 of history"


def test_without_live_results_the_latest_days_are_compared() -> None:
    rows = [*results_of(seed=3, start=NOW - dt.timedelta(days=20)), *results_of(slower={1: 1.2})]
    for k, row in enumerate(rows):
        row["id"] = k
    aggregator = ResultAggregator(db_manager=manager_of(rows))
    aggregator.start()
    assert {line["model"] for line in aggregator.get_regressions()} == {"m01"}
    aggregator.stop()


def test_anomalies_are_all_listed() -> None:
    rows = results_of(seed=4)
    for place in (30, 100, 170):
        rows[place]["average_latency_ms"] = 300.0
    found = filled(rows).get_anomalies()
    assert {line["observation"] for line in found} == {30, 100, 170}
    assert all(line["severity"] == "critical" for line in found)


def test_a_slow_worker_makes_a_difference() -> None:
    rows = results_of()
    for row in rows:
        row["average_latency_ms"] *= 1.3 if row["worker_id"] == "w1" else 1.0
    first = filled(rows).get_differences()[0]
    assert (first["dimension"], first["metric"], first["worst"]) == ("worker_id", "average_latency_ms", "w1")
    assert first["pvalue_adjusted"] < 0.001
    assert first["magnitude"] == "large"


def test_configurations_are_ranked() -> None:
    rows = results_of(slower={3: 2.0})
    found = filled(rows).get_configuration_analysis()["average_latency_ms"]
    assert {line["model_id"] for line in found["slowest"][:3]} == {"m03"}
    assert found["fastest"][0]["median"] < found["slowest"][0]["median"]
    rates = filled(rows).get_configuration_analysis()["throughput_items_per_second"]
    assert rates["best"][0]["median"] > rates["worst"][0]["median"]


@pytest.mark.slow
def test_status() -> None:
    assert ResultAggregator().get_overall_status()["status"] == "no_data"
    status = filled(results_of()).get_overall_status()
    assert (status["status"], status["total_results"], status["model_count"], status["worker_count"]) == (
        "healthy",
        240,
        4,
        5,
    )
    rows = results_of()
    for row in rows[: len(rows) * 3 // 4]:
        row["status"] = "fail"
    assert filled(rows).get_overall_status()["status"] == "failing"
    rows = results_of()
    rows[77]["average_latency_ms"] = 900.0
    assert filled(rows).get_overall_status()["status"] == "degraded"


@pytest.mark.slow
@pytest.mark.parametrize("dimension", ["hardware", "worker"])
def test_charts_are_specifications_and_files(dimension: str, tmp_path: Path) -> None:
    aggregator = filled(results_of())
    found = aggregator.get_visualizations(dimension, formats=["png", "svg", "html"], output_dir=tmp_path / "charts")
    paths = found.pop("files")
    assert {"average_latency_ms", "throughput_items_per_second", "trends", "anomalies", "differences"} <= set(found)
    for spec in found.values():
        assert spec["$schema"].startswith("https://vega.github.io/schema/vega-lite/")
        json.dumps(spec, allow_nan=False)
    assert len(paths) == 3 * len(found)
    for path in map(Path, paths):
        content = path.read_bytes()
        assert content.startswith({".png": b"\x89PNG", ".svg": b"<svg", ".html": b"<!DOCTYPE"}[path.suffix])
    aggregator.configure({"visualization_enabled": False})
    assert aggregator.get_visualizations(dimension) == {}
    with pytest.raises(ValueError, match="output_dir"):
        aggregator.get_visualizations(dimension, formats="png")
    aggregator.configure({"visualization_enabled": True})
    with pytest.raises(UnknownNameError, match="unknown format 'gif'"):
        aggregator.get_visualizations(dimension, formats="gif", output_dir=tmp_path)


def test_reports(tmp_path: Path) -> None:
    rows = results_of(slower={0: 1.2})
    rows[5] |= {"average_latency_ms": 900.0, "worker_id": "<script>alert('|x|')</script>"}
    aggregator = filled(rows)
    content = json.loads(aggregator.generate_report())
    assert content["status"]["total_results"] == 240
    assert content["anomalies"][0]["observation"] == 5
    text = aggregator.generate_report("markdown", tmp_path / "report.md")
    assert text == (tmp_path / "report.md").read_text("utf-8")
    assert text.startswith("# Test results\n")
    assert "## Anomalies" in text
    assert "<script>" not in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert re.search(r"(?<!\\)\|$", line)
    page = aggregator.generate_report("html")
    assert "<svg" in page
    assert "<script" not in page
    assert "alert(&#39;|x|&#39;)" in page
    outside = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(https?:[^"')]+)""", page)
    assert not outside
    with pytest.raises(UnknownNameError, match="unknown format 'pdf'"):
        aggregator.generate_report("pdf")


@pytest.mark.parametrize("format", ["json", "markdown", "html"])
def test_reports_without_results(format: str) -> None:
    text = ResultAggregator().generate_report(format)
    assert "no_data" in text if format == "json" else "No results yet." in text


@pytest.mark.parametrize("record", [None, [], {}, "text", 7], ids=["none", "list", "empty", "text", "number"])
def test_what_is_no_result_is_refused(record: Any) -> None:
    aggregator = ResultAggregator()
    with pytest.raises(SchemaError, match="a result is a dictionary"):
        aggregator.process_test_result(record)
    assert len(aggregator.test_results) == 0


def test_results_without_any_metric_are_kept_but_not_analysed() -> None:
    aggregator = filled([{"id": 1, "model_id": "a", "note": "nothing measured"}])
    assert len(aggregator.test_results) == 1
    assert aggregator.get_dimension_analysis("model") == {}
    assert aggregator.get_overall_status()["status"] == "no_data"


def test_nested_metrics_are_spread_out() -> None:
    aggregator = filled([{"test_id": "t", "hardware_id": "h", "metrics": {"latency_ms": 3.0}, "status": "pass"}])
    assert aggregator.get_dimension_analysis("hardware")["h"]["latency_ms_mean"] == 3.0


def test_history_of_the_latest_days_only() -> None:
    old = [{**row, "id": f"old-{row['id']}"} for row in results_of(start=NOW - dt.timedelta(days=90))]
    for source in (manager_of([*results_of(), *old]), BenchmarkDBManager(":memory:")):
        if isinstance(source, BenchmarkDBManager):
            source.ingest([*results_of(), *old], "performance")
        aggregator = ResultAggregator(db_manager=source)
        aggregator.start()
        aggregator.stop()
        assert len(aggregator.test_results) == 240


def test_a_manager_that_fails_is_a_clear_error() -> None:
    manager = MagicMock()
    manager.get_test_results.side_effect = ConnectionError("no route")
    with pytest.raises(SourceError, match="get_test_results failed: ConnectionError: no route"):
        ResultAggregator(db_manager=manager).start()


def test_configuration() -> None:
    aggregator = ResultAggregator()
    with pytest.warns(UserWarning, match="unknown settings are kept but not used: colour"):
        aggregator.configure({"colour": "red", "history_days": 3})
    assert (aggregator.config["colour"], aggregator.config["history_days"]) == ("red", 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"history_days": -1},
        {"history_days": 1e9},
        {"visualization_enabled": "yes"},
        {"update_interval": True},
        {"update_interval": 1e12},
        {"anomaly_method": "magic"},
        {"anomaly_method": 3},
        {"significance_level": 0.5},
        {"significance_level": 0},
        {"anomaly_alpha": 0.7},
        {"comparison_margin": 2},
        {"current_days": 3, "history_days": "many"},
        7,
    ],
)
def test_an_impossible_setting_changes_nothing(wrong: Any) -> None:
    aggregator = ResultAggregator()
    before = dict(aggregator.config)
    with pytest.raises((TypeError, ValueError)):
        aggregator.configure(wrong)
    assert aggregator.config == before


def test_memory_is_bounded_and_what_came_first_makes_room() -> None:
    aggregator = ResultAggregator()
    aggregator.configure({"results_kept": 50})
    for k in range(200):
        aggregator.process_test_result({"id": k, "model": "bert", "latency_ms": float(k)})
    assert list(aggregator.test_results) == [str(k) for k in range(150, 200)]
    status = aggregator.get_overall_status()
    assert (status["total_results"], status["dropped_results"]) == (50, 150)
    assert aggregator.get_dimension_analysis("model")["bert"]["latency_ms_min"] == 150.0
    aggregator.process_test_result({"id": 160, "model": "bert", "latency_ms": 7.0})  # known: nothing has to go
    assert len(aggregator.test_results) == 50
    aggregator.configure({"results_kept": 10})
    assert list(aggregator.test_results) == [str(k) for k in range(190, 200)]
    assert aggregator.get_dimension_analysis("model")["bert"]["latency_ms_min"] == 190.0


def test_repeats_without_id_and_time_stay_apart_however_many_were_dropped() -> None:
    aggregator = ResultAggregator()
    aggregator.configure({"results_kept": 5})
    for _ in range(20):
        aggregator.process_test_result({"model": "bert", "latency_ms": 1.0})
    assert len(aggregator.test_results) == 5
    assert aggregator.get_overall_status()["dropped_results"] == 15


def test_times_of_history_and_texts_of_what_comes_in_live_go_together() -> None:
    with BenchmarkDBManager(":memory:") as store:
        times = [dt.datetime(2026, 3, 1, hour, tzinfo=dt.UTC) for hour in range(12)]
        history = [
            {"id": f"h{k}", "model": "bert", "latency_ms": 10 + k % 3, "timestamp": moment}
            for k, moment in enumerate(times)
        ]
        store.ingest(history, "performance")
        aggregator = ResultAggregator(db_manager=store)
        aggregator.start()
        aggregator.stop()
        for k in range(3):
            live = {"id": f"l{k}", "model": "bert", "timestamp": f"2026-03-02T{k:02}:00:00+00:00"}
            aggregator.process_test_result({**live, "latency_ms": 20.0 + k % 3})
        status = aggregator.get_overall_status()
        assert status["total_results"] == 15
        assert "3 results that came in live, against 12 of history" in status["compared"]
