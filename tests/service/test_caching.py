"""What the service answers again, and what makes it ask anew."""

from __future__ import annotations

import threading
import time
import warnings
from typing import Any

import pytest

from aggrkit import BenchmarkDBManager, ResultAggregatorService
from tests.service.results import latencies, manager_of


def test_a_cached_answer_is_the_callers_own() -> None:
    service = ResultAggregatorService(manager_of(latencies(40, models=2)))
    first = service.aggregate_results("performance", "model")
    kept = service.aggregate_results("performance", "model")
    assert first == kept
    first["results"]["basic_statistics"].clear()
    kept["context"]["filter_params"]["x"] = 1
    again = service.aggregate_results("performance", "model")
    assert again["results"]["basic_statistics"]
    assert again["context"]["filter_params"] == {}


def test_time_clearing_configuring_and_registering_ask_anew() -> None:
    now = [0.0]
    manager = manager_of(latencies(40, models=2))
    service = ResultAggregatorService(manager, clock=lambda: now[0])

    def asked() -> int:
        before = manager.get_performance_results.call_count
        service.aggregate_results("performance", "model")
        return int(manager.get_performance_results.call_count - before)

    assert (asked(), asked()) == (2, 0)
    now[0] = 299.9
    assert asked() == 0
    now[0] = 300.0
    assert (asked(), asked()) == (2, 0)
    service.clear_cache()
    assert (asked(), asked()) == (2, 0)
    service.configure({"min_data_points": 6})
    assert (asked(), asked()) == (2, 0)
    service.register_preprocessor(lambda results, context: results)
    assert (asked(), asked()) == (2, 0)
    service.aggregate_results("performance", "model", use_cache=False)
    assert manager.get_performance_results.call_count == 12


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"filter_params": {"model_id": "m00"}}, {"filter_params": {"model_id": "m01"}}),
        ({"filter_params": {"batch_size": 8}}, {"filter_params": {}}),
        ({"time_range": ("2026-03-08", None)}, {"time_range": (None, "2026-03-09")}),
        ({"aggregation_level": "hardware"}, {"aggregation_level": "model"}),
    ],
)
def test_different_questions_have_different_answers(one: dict[str, Any], other: dict[str, Any]) -> None:
    manager = manager_of(latencies(40, models=2))
    manager.get_performance_results.side_effect = lambda **asked: latencies(40, models=2)
    service = ResultAggregatorService(manager)
    for asked in (one, other):
        service.aggregate_results(**{"result_type": "performance", "aggregation_level": "model", **asked})
    assert manager.get_performance_results.call_count == 4


def test_new_data_in_the_store_ask_anew() -> None:
    store = BenchmarkDBManager(":memory:")
    store.ingest(latencies(40, models=2), "performance")
    service = ResultAggregatorService(store)
    assert service.aggregate_results("performance", "model")["raw_result_count"] == 40
    store.ingest([{**row, "id": f"new-{row['id']}"} for row in latencies(10, models=2, seed=2)], "performance")
    assert service.aggregate_results("performance", "model")["raw_result_count"] == 50


@pytest.mark.slow
def test_eight_threads_during_ingest_and_configuration(tmp_path: Any) -> None:
    """For 30 seconds: no exception, no answer that mixes two states, and what callers do to theirs stays theirs."""
    store = BenchmarkDBManager(tmp_path / "results.duckdb")
    batch, models = 60, 3

    def results(number: int) -> list[dict[str, Any]]:
        return [{**row, "id": f"{number}-{row['id']}"} for row in latencies(batch, models=models, seed=number)]

    store.ingest(results(0), "performance")
    service = ResultAggregatorService(store)
    stop = time.monotonic() + 30
    errors: list[BaseException] = []
    counts = {"answers": 0, "batches": 1}

    def check(answer: dict[str, Any]) -> None:
        assert answer["raw_result_count"] % batch == 0  # all or nothing of each batch
        basic = answer["results"]["basic_statistics"]
        assert sum(group["result_count"] for group in basic.values()) == answer["raw_result_count"]
        assert "vandal" not in basic
        points = answer["results"]["percentiles"]
        assert all(
            points[key]["average_latency_ms"]["p50"] == group["average_latency_ms"]["median"]
            for key, group in basic.items()
        )
        basic["vandal"] = {}

    def read(number: int) -> None:
        levels = ("model", "hardware", "model_hardware", "worker")
        while time.monotonic() < stop:
            check(service.aggregate_results("performance", levels[number % 4], use_cache=number % 2 == 0))
            counts["answers"] += 1

    def others() -> None:
        while time.monotonic() < stop:
            service.get_result_anomalies("performance", "model")
            service.get_comparison_report("performance", "model")
            service.analyze_correlations("performance")
            service.export_results("performance", "model", format="csv")

    def configure() -> None:
        number = 0
        while time.monotonic() < stop:
            service.configure({"min_data_points": 5 + number % 3, "cache_ttl_seconds": number % 2})
            service.clear_cache()
            number += 1
            time.sleep(0.05)

    def ingest() -> None:
        while time.monotonic() < stop:
            store.ingest(results(counts["batches"]), "performance")
            counts["batches"] += 1
            time.sleep(0.2)

    def guarded(function: Any, *arguments: Any) -> None:
        try:
            with warnings.catch_warnings():
                function(*arguments)
        except BaseException as error:  # noqa: BLE001 - whatever a thread raises is told by the test
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(read, k)) for k in range(4)]
    threads += [threading.Thread(target=guarded, args=(work,)) for work in (others, others, configure, ingest)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert counts["answers"] >= 4, "every reading thread has had an answer"
    answer = service.aggregate_results("performance", "model", use_cache=False)
    assert answer["raw_result_count"] == batch * counts["batches"]
    store.close()
