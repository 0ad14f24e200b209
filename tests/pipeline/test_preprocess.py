"""The first phase: what is taken out, for which reason, and what stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit import Metric, Pipeline
from aggrkit.errors import UnknownNameError

if TYPE_CHECKING:
    from pathlib import Path

INF = float("inf")
TIME = "negative, or not a finite number"


def of(metric: str, values: Any, **roles: Any) -> Any:
    """Ask for the statistics of one metric in one group."""
    frame = pd.DataFrame({"model": "a", metric: values})
    return frame.aggr(**roles).stats(level="model")


# Impossible values cost their cell, and are counted by reason.


@pytest.mark.parametrize(
    ("metric", "values", "kept", "missing", "reason"),
    [
        ("latency_ms", [1.0, np.nan, None, 3.0], [1.0, 3.0], 2, None),
        ("latency_ms", [1.0, INF, -INF, -0.5, 3.0], [1.0, 3.0], 3, TIME),
        ("latency_ms", [0.0, -0.0, 3.0], [0.0, 0.0, 3.0], 0, None),
        ("total_time_seconds", [-1, 5, 7], [5, 7], 1, TIME),
        ("throughput_items_per_second", [-1.0, 2.0], [2.0], 1, TIME),
        ("memory_peak_mb", [-1.0, 2.0], [2.0], 1, TIME),
        ("items_per_second", [-1.0, 2.0], [2.0], 1, TIME),
        ("compatibility_score", [-0.01, 0.0, 0.5, 1.0, 1.01], [0.0, 0.5, 1.0], 2, "not a number from 0 to 1"),
        ("temperature", [-40.0, INF, 20.0], [-40.0, 20.0], 1, "not a finite number"),
        ("latency_ms", [1.0, "fast", "", "  ", "3", None], [1.0, 3.0], 4, TIME),
        ("latency_ms", ["1e3", "nan", "inf", "-2", "7"], [1000.0, 7.0], 3, TIME),
        ("latency_ms", [1.0, True, "x", 3], [1.0, 3.0], 2, TIME),
        ("passed", [1, 0, 2, -1, 0.5, None], [1, 0], 4, "neither passed nor failed"),
        ("passed", ["pass", "FAILED", "skip", "error", None], [1, 0], 3, "neither passed nor failed"),
    ],
)
def test_impossible_values_cost_the_cell(
    metric: str, values: list[Any], kept: list[float], missing: int, reason: str | None
) -> None:
    found = of(metric, np.array(values, dtype=object) if any(isinstance(v, str) for v in values) else values)
    line = found.iloc[0]
    assert (line["n"], line["missing"]) == (len(kept), missing)
    assert line["mean"] == np.mean(kept)
    gaps = sum(1 for value in values if value is None or value != value or value in ("", "nan"))
    counted = {f"{metric}: {reason}": missing - gaps} if reason else {}
    assert found.meta["cells_out"] == counted
    # A row whose only value is gone is an observation of nothing; it is told, and still in the group.
    assert found.meta["rows_out"] == ({"no metric has a value": missing} if missing else {})
    for told in counted:
        assert told in found.explain()


def test_a_bad_cell_costs_its_row_nothing_else() -> None:
    frame = pd.DataFrame(
        {
            "model": list("aaaa"),
            "latency_ms": np.array([1.0, -1.0, "x", None], dtype=object),
            "memory_peak_mb": [INF, 10.0, 20.0, 30.0],
        }
    )
    found = frame.aggr.stats(level="model").set_index("metric")
    assert found["n"].to_dict() == {"latency_ms": 1, "memory_peak_mb": 3}
    assert found["mean"].to_dict() == {"latency_ms": 1.0, "memory_peak_mb": 20.0}
    meta = frame.aggr.stats(level="model").meta
    assert meta["cells_out"] == {f"latency_ms: {TIME}": 2, f"memory_peak_mb: {TIME}": 1}
    assert (meta["rows"], meta["rows_used"], meta["rows_out"]) == (4, 4, {})


@pytest.mark.parametrize("question", ["stats", "anomalies", "compare", "correlations", "proportions", "distributions"])
def test_no_bad_value_stops_a_question(question: str) -> None:
    bad = [None, np.nan, INF, -INF, -5.0, "text", "", 1e308, True, 0.0]
    n = 40
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "model": np.array([None, "a", "", "b"] * (n // 4), dtype=object),
            "timestamp": np.array(["2025-01-01", "not a time", "", None] * (n // 4), dtype=object),
            "latency_ms": np.array([*bad, *rng.normal(100, 1, n - len(bad))], dtype=object),
            "throughput": np.array([*rng.normal(100, 1, n - len(bad)), *bad], dtype=object),
            "batch_size": np.array([8, "8", None, "many"] * (n // 4), dtype=object),
            "status": np.array(["pass", "fail", "", None] * (n // 4), dtype=object),
        }
    )
    ask = {
        "stats": lambda: frame.aggr.stats(),
        "anomalies": lambda: frame.aggr.anomalies(level="model"),
        "compare": lambda: frame.aggr.compare("a", by="model", level=[]),
        "correlations": lambda: frame.aggr.correlations(),
        "proportions": lambda: frame.aggr.proportions(),
        "distributions": lambda: frame.aggr.distributions(level="model"),
    }
    assert ask[question]() is not None


def test_bounds_that_the_user_declares() -> None:
    frame = pd.DataFrame({"model": "a", "loss": [-1.0, 0.2, 0.9, 5.0]})
    declared = frame.aggr(metrics={"loss": Metric("loss", direction="lower", minimum=0, maximum=1)})
    found = declared.stats(level="model")
    assert (found["n"].item(), found["mean"].item()) == (2, pytest.approx(0.55))
    assert found.meta["cells_out"] == {"loss: not a number from 0 to 1": 2}


# Duplicates.


def timed(n: int = 3, **columns: Any) -> pd.DataFrame:
    base = {
        "model": "a",
        "timestamp": pd.date_range("2025-01-01", periods=n, freq="s"),
        "latency_ms": np.arange(n) + 1.0,
    }
    return pd.DataFrame({**base, **columns})


def test_rows_that_are_equal_with_their_time_are_one_observation() -> None:
    frame = timed()
    doubled = pd.concat([frame, frame.iloc[[0, 0, 2]]])
    found = doubled.aggr.stats(level="model")
    assert (found["n"].item(), found["mean"].item()) == (3, 2.0)
    assert found.meta["rows_out"] == {"the same in every column": 3}
    assert (found.meta["rows"], found.meta["rows_used"]) == (6, 3)
    assert "3 rows taken out: the same in every column" in found.explain()
    assert len(found.rows(0)) == 6


@pytest.mark.parametrize(
    "differing",
    [
        {"latency_ms": 1.5},
        {"timestamp": pd.Timestamp("2025-01-01 00:00:00.000001")},
        {"run_id": "r1"},
        {"repeat": 1},
        {"batch_size": None},
        {"memory_peak_mb": np.nan},
        {"worker": ""},
        {"notes": "x"},
        {"latency_ms": -7.0},
    ],
)
def test_one_difference_makes_a_repeat_and_repeats_stay(differing: dict[str, Any]) -> None:
    """Whatever differs: a metric, a condition, a time, a gap, even between two impossible values."""
    row = {
        "model": "a",
        "timestamp": pd.Timestamp("2025-01-01"),
        "latency_ms": -3.0 if differing.get("latency_ms") == -7.0 else 1.0,
        "memory_peak_mb": 5.0,
        "run_id": "r0",
        "repeat": 0,
        "batch_size": 8.0,
        "worker": "w",
        "notes": "",
        "total_time_seconds": 2.0,
    }
    frame = pd.DataFrame([row, {**row, **differing}])
    found = frame.aggr.stats(level="model", metrics="total_time_seconds")
    assert found["n"].item() == 2
    assert found.meta["rows_out"] == {}


def test_equal_result_ids_are_one_observation_whatever_else_differs() -> None:
    frame = pd.DataFrame(
        {"model": "a", "result_id": ["x", "y", "x", None, None, ""], "latency_ms": [1.0, 2.0, 1.0, 3.0, 3.0, 3.0]}
    )
    found = frame.aggr.stats(level="model")
    assert found["n"].item() == 5
    assert sum(found.meta["rows_out"].values()) == 1
    later = frame.assign(latency_ms=[1.0, 2.0, 50.0, 3.0, 3.0, 3.0]).aggr.stats(level="model")
    assert (later["n"].item(), later["max"].item()) == (5, 3.0)
    assert later.meta["rows_out"] == {"the same result_id": 1}
    named = frame.rename(columns={"result_id": "nr"}).aggr(result_id="nr").stats(level="model")
    assert named["n"].item() == 5


def test_without_time_and_id_nothing_is_taken_out_and_a_note_says_so() -> None:
    found = of("latency_ms", [1.0, 1.0, 1.0])
    assert found["n"].item() == 3
    assert found.meta["rows_out"] == {}
    assert any("duplicates were not looked for" in note for note in found.meta["notes"])


def test_rows_whose_time_is_missing_stay() -> None:
    """Ten passes of one test without a time are ten results, not one."""
    frame = pd.DataFrame({"model": "a", "timestamp": pd.to_datetime([None] * 10), "passed": [True] * 9 + [False]})
    found = frame.aggr.proportions(level="model")
    assert (found["n"].item(), found["successes"].item()) == (10, 9)
    mixed = timed(3, timestamp=pd.to_datetime(["2025-01-01", None, "2025-01-01"]), latency_ms=1.0)
    assert pd.concat([mixed, mixed]).aggr.stats(level="model")["n"].item() == 3


@pytest.mark.parametrize("times", ["text", "zone", "seconds", "date"])
def test_times_of_every_kind_tell_duplicates(times: str) -> None:
    moments = pd.date_range("2025-01-01", periods=3)
    column: Any = {
        "text": moments.astype(str),
        "zone": moments.tz_localize("Europe/Paris"),
        "seconds": moments.astype("int64") // 10**6,
        "date": [moment.date() for moment in moments],
    }[times]
    frame = timed(3, timestamp=column, latency_ms=1.0)
    found = pd.concat([frame, frame.iloc[[1]]]).aggr.stats(level="model")
    assert (found["n"].item(), found.meta["rows_out"]) == (3, {"the same in every column": 1})


def test_the_quick_look_for_duplicates_agrees_with_the_exact_one(tmp_path: Path) -> None:
    """Frames are first looked at by a hash of their numbers; files are always looked at exactly."""
    rng = np.random.default_rng(8)
    for trial in range(6):
        n = 400
        frame = pd.DataFrame(
            {
                "model": rng.choice(["a", "b"], n),
                "timestamp": pd.Timestamp("2025-01-01")
                + pd.to_timedelta(rng.integers(0, 40 + 500 * trial, n), unit="s"),
                "latency_ms": rng.integers(1, 3, n) * np.where(rng.random(n) < 0.1, np.nan, 1.0) * [1, -1][trial % 2],
                "memory_peak_mb": rng.choice([0.0, -0.0, 1.0], n).astype("float32"),
                "n_gpus": rng.integers(1, 3, n),
            }
        )
        frame.to_parquet(tmp_path / "x.parquet")
        found = frame.aggr.stats(level="model")
        exact = n - len(frame.drop_duplicates())
        assert sum(v for k, v in found.meta["rows_out"].items() if "same" in k) == exact
        other = aggrkit.open(tmp_path / "x.parquet").stats(level="model")
        assert other.meta["rows_out"] == found.meta["rows_out"]
        pd.testing.assert_frame_equal(pd.DataFrame(found), pd.DataFrame(other), rtol=1e-12)


def test_duplicates_can_be_kept() -> None:
    doubled = pd.concat([timed()] * 2)
    found = doubled.aggr(pipeline=Pipeline().without("duplicates")).stats(level="model")
    assert (found["n"].item(), found.meta["rows_out"]) == (6, {})


# Normalise.


def test_normalised_metrics_are_ratios_to_the_same_test_on_all_hardware() -> None:
    frame = pd.DataFrame(
        {
            "model": ["a"] * 4 + ["b"] * 3,
            "hardware": ["slow", "slow", "fast", "fast", "slow", "fast", "fast"],
            "batch_size": [8, 8, 8, 16, 8, 8, 8],
            "latency_ms": [40.0, 20.0, 10.0, 5.0, 0.0, 3.0, np.nan],
            "throughput": [1.0, 2.0, 4.0, 7.0, 0.0, 0.0, 5.0],
        }
    )
    names = ["normalized_latency_ms", "normalized_throughput"]
    found = frame.aggr.stats(level=["model", "hardware", "batch_size"], metrics=[*names, "latency_ms"])
    keys = found[["model", "hardware", "batch_size", "metric"]].itertuples(index=False, name=None)
    lines = dict(zip(keys, zip(found["n"], found["mean"], strict=True), strict=True))
    # References of model a at batch size 8 are the medians 20 ms and 2 /s; above 1 is better for both.
    assert lines["a", "slow", 8, "normalized_latency_ms"] == (2, (20 / 40 + 20 / 20) / 2)
    assert lines["a", "fast", 8, "normalized_latency_ms"] == (1, 20 / 10)
    assert lines["a", "fast", 16, "normalized_latency_ms"] == (1, 1.0)
    assert lines["a", "slow", 8, "normalized_throughput"] == (2, (1 / 2 + 2 / 2) / 2)
    assert lines["a", "fast", 8, "normalized_throughput"] == (1, 4 / 2)
    # Model b: the median of 0 and 3 ms is 1.5 ms, and a value of 0 has no ratio. The median throughput is 0: no ratios.
    assert lines["b", "slow", 8, "normalized_latency_ms"][0] == 0
    assert lines["b", "fast", 8, "normalized_latency_ms"] == (1, 0.5)
    assert lines["b", "slow", 8, "normalized_throughput"][0] == 0
    assert lines["b", "fast", 8, "normalized_throughput"][0] == 0
    # What was measured is as it was.
    assert lines["a", "slow", 8, "latency_ms"] == (2, 30.0)
    assert found.loc[found["metric"].eq(names[0]), "unit"].unique().tolist() == ["ratio"]


def test_the_reference_is_of_the_selection_and_of_valid_values() -> None:
    frame = pd.DataFrame({"model": "a", "hardware": list("xxyy"), "latency_ms": [10.0, -1.0, 30.0, 50.0]})
    found = frame.aggr.stats(level="hardware", metrics="normalized_latency_ms")
    assert dict(zip(found["hardware"], found["mean"], strict=True)) == {
        "x": 3.0,
        "y": pytest.approx((30 / 30 + 30 / 50) / 2),
    }
    alone = frame.aggr.stats(level="hardware", metrics="normalized_latency_ms", where={"hardware": "y"})
    assert alone["mean"].item() == pytest.approx((40 / 30 + 40 / 50) / 2)


def test_a_metric_without_direction_has_no_normalised_form() -> None:
    frame = pd.DataFrame({"model": "a", "spin": [1.0, 2.0]})
    with pytest.raises(UnknownNameError, match="which way is better"):
        frame.aggr.stats(level="model", metrics="normalized_spin")
    found = frame.aggr(metrics={"spin": "lower"}).stats(level="model", metrics="normalized_spin")
    assert found["mean"].item() == pytest.approx((1.5 / 1 + 1.5 / 2) / 2)


def test_normalised_values_can_be_compared_and_searched() -> None:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"model": np.repeat(["a", "b"], 30), "latency_ms": np.repeat([10.0, 1000.0], 30)})
    frame["latency_ms"] *= rng.normal(1, 0.01, 60)
    frame.loc[[4, 40], "latency_ms"] *= 3
    found = frame.aggr.anomalies(level=[], metrics="normalized_latency_ms")
    assert sorted(found["observation"]) == [4, 40]
    assert set(found["direction"]) == {"low"}
    np.testing.assert_allclose(found["value"], 1 / 3, rtol=0.05)


# Stages can be switched off.


def test_impossible_values_can_be_kept() -> None:
    kept = Pipeline().without("invalid")
    frame = pd.DataFrame({"model": "a", "latency_ms": [-1.0, 3.0], "passed": [True, False]})
    found = frame.aggr(pipeline=kept).stats(level="model").set_index("metric")
    assert found["mean"].to_dict() == {"latency_ms": 1.0, "passed": 0.5}


def test_without_names_the_stages_there_are() -> None:
    pipeline = Pipeline()
    assert [stage.name for stage in pipeline.preprocess] == ["invalid", "duplicates", "normalise"]
    with pytest.raises(UnknownNameError, match="did you mean 'duplicates'"):
        pipeline.without("duplicate")
    less = pipeline.without("percentiles")
    frame = pd.DataFrame({"model": "a", "latency_ms": [1.0, 3.0]})
    assert "p50" not in frame.aggr(pipeline=less).stats(level="model").columns
    only = frame.aggr(pipeline=pipeline.without("moments")).stats(level="model")
    assert only["p50"].item() == 2.0
    assert pipeline == Pipeline()
