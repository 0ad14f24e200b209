"""What was planted in results comes out of the summary layer, and nothing else does."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from aggrkit import BenchmarkDBManager, ResultAggregatorService
from tests.service.results import BEFORE, NOW, anomalies_of, latencies, manager_of

DEVICES = 3


def stored(rows: list[dict[str, Any]], history: list[dict[str, Any]] | None = None) -> Any:
    """Return a store with results; history gets ids of its own there."""
    store = BenchmarkDBManager(":memory:")
    store.ingest(rows, "performance")
    if history:
        store.ingest([{**row, "id": f"old-{row['id']}"} for row in history], "performance")
    return store


@pytest.mark.parametrize("source", ["manager", "store"])
def test_an_outlier_in_each_of_twenty_groups_is_found_with_its_id(source: str) -> None:
    rows = latencies(20 * DEVICES * 30)
    planted = range(600, 620)
    for place in planted:
        rows[place]["average_latency_ms"] *= 1.5
    manager = stored(rows) if source == "store" else manager_of(rows)
    answer = ResultAggregatorService(manager).aggregate_results("performance", "model")
    found = anomalies_of(answer)
    assert sorted(int(entry["observation_id"]) for entry in found) == list(planted)
    for entry in found:
        row = rows[int(entry["observation_id"])]
        assert entry["value"] == row["average_latency_ms"]
        assert entry["observation"]["hardware_id"] == row["hardware_id"]
        assert entry["timestamp"] == row["timestamp"].isoformat() + "Z"
        assert (entry["direction"], entry["sense"]) == ("high", "bad")
        assert entry["severity"] in ("minor", "major", "critical")
        assert entry["expected_range"][0] < 10 < entry["expected_range"][1] < entry["value"]
        assert entry["pvalue_adjusted"] < 0.05
        cell = [
            r["average_latency_ms"]
            for r in rows
            if (r["model_id"], r["hardware_id"]) == (row["model_id"], row["hardware_id"])
        ]
        z_score = (entry["value"] - np.mean(cell)) / np.std(cell, ddof=1)
        assert entry["z_score"] == pytest.approx(z_score)


def test_every_offending_observation_is_reported() -> None:
    rows = latencies(100, models=1)
    for row in rows:
        row["hardware_id"] = "h0"
    for place in (10, 50, 90):
        rows[place]["average_latency_ms"] = 100.0 + place
    found = anomalies_of(ResultAggregatorService(manager_of(rows)).aggregate_results("performance", "model"))
    assert {entry["observation_id"] for entry in found} == {10, 50, 90}


@pytest.mark.parametrize("source", ["manager", "store"])
def test_a_slower_model_of_twenty_regressed_and_no_other(source: str) -> None:
    current = latencies(20 * DEVICES * 20, slower={7: 1.1}, seed=5)
    history = latencies(20 * DEVICES * 20, seed=6, start=BEFORE)
    if source == "store":
        service = ResultAggregatorService(stored(current, history))
        answer = service.aggregate_results("performance", "model", time_range=(NOW, None))
    else:
        answer = ResultAggregatorService(manager_of(current, history)).aggregate_results("performance", "model")
    moved = [
        (model, metric, entry)
        for model, metrics in answer["results"]["comparisons"].items()
        for metric, entry in metrics.items()
        if entry["significance"]
    ]
    assert [(model, metric) for model, metric, _ in moved] == [("m07", "average_latency_ms")]
    entry = moved[0][2]
    now = np.mean([r["average_latency_ms"] for r in current if r["model_id"] == "m07"])
    before = np.mean([r["average_latency_ms"] for r in history if r["model_id"] == "m07"])
    assert (entry["current_mean"], entry["historical_mean"]) == (pytest.approx(now), pytest.approx(before))
    assert entry["pct_change_mean"] == pytest.approx(100 * (now - before) / before)
    assert (entry["verdict"], entry["is_improvement"]) == ("regressed", False)
    assert entry["ci_lower"] < 10 < entry["ci_upper"]
    assert (entry["n_current"], entry["n_historical"]) == (60, 60)


def test_a_better_compatibility_score_is_an_improvement() -> None:
    def rows(score: float, start: dt.datetime) -> list[dict[str, Any]]:
        return [
            {
                "id": k,
                "timestamp": start + dt.timedelta(hours=k),
                "model_id": "a",
                "hardware_id": "h",
                "compatibility_score": score + 0.01 * (k % 3),
                "is_compatible": True,
            }
            for k in range(10)
        ]

    manager = manager_of(rows(0.9, NOW), rows(0.5, BEFORE))
    answer = ResultAggregatorService(manager).aggregate_results("compatibility", "model_hardware")
    entry = answer["results"]["comparisons"]["a:h"]["compatibility_score"]
    assert (entry["verdict"], entry["is_improvement"], entry["significance"]) == ("improved", True, True)


def test_history_with_the_ids_of_the_current_rows_is_used() -> None:
    current, history = latencies(120, models=2, slower={0: 1.3}), latencies(120, models=2, seed=9, start=BEFORE)
    assert [row["id"] for row in current] == [row["id"] for row in history]
    answer = ResultAggregatorService(manager_of(current, history)).aggregate_results("performance", "model")
    entry = answer["results"]["comparisons"]["m00"]["average_latency_ms"]
    assert (entry["n_current"], entry["n_historical"], entry["verdict"]) == (60, 60, "regressed")


def test_history_ends_where_the_current_results_start() -> None:
    """A manager that gives everything whatever it is asked: the current rows are no history of themselves."""
    current, history = latencies(200, models=1), latencies(200, models=1, seed=2, start=BEFORE)
    long_ago = latencies(50, models=1, seed=3, start=NOW - dt.timedelta(days=60), slower={0: 9.0})
    manager = manager_of(current)
    manager.get_performance_results.side_effect = lambda **asked: (
        [*long_ago, *history, *current] if asked["time_range"] else current
    )
    answer = ResultAggregatorService(manager).aggregate_results("performance", "model")
    entry = answer["results"]["comparisons"]["m00"]["average_latency_ms"]
    assert (entry["n_current"], entry["n_historical"]) == (200, 200)
    before = np.mean([row["average_latency_ms"] for row in history])
    assert entry["historical_mean"] == pytest.approx(before)


def test_the_same_results_as_history_compare_with_nothing() -> None:
    rows = latencies(100, models=2)
    manager = manager_of(rows)
    manager.get_performance_results.side_effect = lambda **asked: rows
    answer = ResultAggregatorService(manager).aggregate_results("performance", "model")
    assert answer["results"]["comparisons"] == {}


def test_a_store_without_an_earlier_time_compares_the_latest_days_with_those_before() -> None:
    rows = latencies(400, models=1, start=NOW - dt.timedelta(days=10))
    step = dt.timedelta(hours=1)
    rows = [{**row, "timestamp": NOW - dt.timedelta(days=16) + k * step} for k, row in enumerate(rows)]
    late = NOW - dt.timedelta(days=16) + 399 * step - dt.timedelta(days=7)
    for row in rows:
        row["average_latency_ms"] *= 1.2 if row["timestamp"] > late else 1.0
    answer = ResultAggregatorService(stored(rows)).aggregate_results("performance", "model")
    entry = answer["results"]["comparisons"]["m00"]["average_latency_ms"]
    assert (entry["verdict"], entry["n_current"], entry["n_historical"]) == ("regressed", 168, 232)
    assert any("latest 7 days" in note for note in answer["metadata"]["notes"])


def test_correlations_pair_rows_and_flag_what_turns_round_within_groups() -> None:
    rng = np.random.default_rng(8)
    rows = [{"model_id": "a", "x_ms": float(k), "y_ms": float(k) if k % 10 < 7 else None} for k in range(100)]
    service = ResultAggregatorService(manager_of(rows))
    found = {
        line["method"]: line for line in service.analyze_correlations("performance", ["x_ms", "y_ms"])["correlations"]
    }
    for method in ("pearson", "spearman"):
        assert found[method]["correlation"] == pytest.approx(1.0)
        assert found[method]["n"] == 70
        assert found[method]["significant"]
    rows = []
    for model in range(6):
        for _ in range(40):
            x = rng.normal(0, 1)
            rows.append({"model_id": f"m{model}", "x_ms": 100.0 + 10 * model + x, "y_ms": 100.0 + 10 * model - x})
    answer = ResultAggregatorService(manager_of(rows)).analyze_correlations("performance", ["x_ms", "y_ms"])
    for line in answer["correlations"]:
        assert line["correlation"] > 0.9
        assert line["reversed_within_groups"]


def test_too_few_observations_for_a_z_score_is_said() -> None:
    rows = [{"model_id": "a", "average_latency_ms": 10.0 + k / 10} for k in range(7)]
    rows.append({"model_id": "a", "average_latency_ms": 1e9})
    service = ResultAggregatorService(manager_of(rows))
    service.configure({"anomaly_threshold": 2.5})
    assert service.config["anomaly_method"] == "zscore"
    entry = service.aggregate_results("performance", "model")["results"]["anomalies"]["a"]["average_latency_ms"]
    assert entry == {"anomalies": [], "note": "too few observations (n=8, needs 9)"}
    service = ResultAggregatorService(manager_of(rows))
    assert [e["value"] for e in anomalies_of(service.aggregate_results("performance", "model"))] == [1e9]


@pytest.mark.slow
def test_clean_results_rarely_raise_an_alarm() -> None:
    """Any false flag over the 80 cells of an answer, and any false verdict: at most 5 % of the answers."""
    flagged = moved = 0
    repeats = 60
    for seed in range(repeats):
        current = latencies(20 * 4 * 12, seed=seed, noise=0.05)
        history = latencies(20 * 4 * 12, seed=10_000 + seed, noise=0.05, start=BEFORE)
        answer = ResultAggregatorService(manager_of(current, history)).aggregate_results("performance", "model")
        flagged += bool(anomalies_of(answer))
        comparisons = answer["results"]["comparisons"].values()
        moved += any(entry["significance"] for metrics in comparisons for entry in metrics.values())
    # A true rate of 5 % gives more than 7 of 60 in 2 % of such simulations.
    assert flagged <= 7
    assert moved <= 7
