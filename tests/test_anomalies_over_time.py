"""Anomalies where levels shift over time: a shift is one change and not a hundred anomalies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit.errors import AggrError

if TYPE_CHECKING:
    from pathlib import Path

N = 200
SPIKES = [40, 170]


def shifting(shift: float = 1.12, models: int = 4, spikes: bool = True, seed: int = 1) -> pd.DataFrame:
    """Return hourly runs of some models; three quarters on the way the level shifts, and two runs are off."""
    rng = np.random.default_rng(seed)
    parts = []
    for number in range(models):
        latency = 10.0 * (number + 1) * rng.lognormal(0, 0.02, N)
        latency[150:] *= shift
        if spikes:
            latency[SPIKES] *= 1.15
        times = pd.date_range("2026-01-01", periods=N, freq="h")
        parts.append(
            pd.DataFrame({"model": f"m{number}", "run_id": range(N), "timestamp": times, "latency_ms": latency})
        )
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("method", ["robust", "zscore", "iqr", "gesd"])
def test_only_the_spikes_are_flagged(method: str) -> None:
    frame = shifting()
    threshold = {"zscore": 4.5, "iqr": 3.0}.get(method)
    found = frame.aggr.anomalies(level="model", method=method, threshold=threshold)  # type: ignore[arg-type]
    assert sorted(found["observation"] % N) == sorted(SPIKES * 4)
    assert found.meta["shifted"] == 4
    assert "4 cells shifted over time" in found.explain()
    blind = frame.drop(columns="timestamp").aggr.anomalies(level="model", method=method, threshold=threshold)  # type: ignore[arg-type]
    assert sorted(blind["observation"] % N) != sorted(SPIKES * 4)


def test_expected_values_are_those_of_the_time() -> None:
    found = shifting(models=1).aggr.anomalies(level="model").set_index("observation").sort_index()
    before, after = found.loc[40], found.loc[170]
    assert before["lower"] < 10.0 < before["upper"] < 11.5
    assert 10.0 < after["lower"] < 11.2 < after["upper"] < 12.9


def test_a_shift_without_spikes_has_no_anomalies() -> None:
    flagged = sum(bool(len(shifting(spikes=False, seed=seed).aggr.anomalies(level="model"))) for seed in range(20))
    # 5 % of 20 is 1; 4 and more have a chance of 1.6 %
    assert flagged <= 3
    changes = shifting(spikes=False).aggr.changes(level="model")
    assert changes["status"].tolist() == ["confirmed"] * 4
    assert len(changes.incidents()) == 1


def test_one_cell_of_all() -> None:
    frame = shifting(models=1).drop(columns="model")
    found = frame.aggr.anomalies(level=[])
    assert sorted(found["observation"]) == SPIKES
    assert found.meta["shifted"] == 1


def test_metrics_shift_at_their_own_times() -> None:
    frame = shifting(models=1)
    rng = np.random.default_rng(7)
    frame["memory_mb"] = np.where(np.arange(N) < 60, 100.0, 140.0) * rng.lognormal(0, 0.01, N)
    frame.loc[100, "memory_mb"] *= 1.2
    found = frame.aggr.anomalies(level="model")
    assert set(zip(found["metric"], found["observation"], strict=True)) == {
        ("latency_ms", 40),
        ("latency_ms", 170),
        ("memory_mb", 100),
    }


def test_every_source_gives_the_same(tmp_path: Path) -> None:
    frame = shifting(models=2)
    frame.loc[3, "model"] = None
    frame.loc[5, "timestamp"] = pd.NaT
    frame["batch_size"] = [8.0, np.nan] * N
    wanted = pd.DataFrame(frame.aggr.anomalies(level="model")).drop(columns="observation")
    assert len(wanted)
    with duckdb.connect(str(tmp_path / "r.duckdb")) as connection:
        connection.execute("CREATE TABLE results AS SELECT * FROM frame")
    frame.to_parquet(tmp_path / "r.parquet")
    for name in ("r.duckdb", "r.parquet"):
        found = pd.DataFrame(aggrkit.open(tmp_path / name).anomalies(level="model")).drop(columns="observation")
        pd.testing.assert_frame_equal(found, wanted)


def test_far_too_many_flags_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggrkit.pipeline.anomalies._MOST", 3)
    with pytest.raises(AggrError, match="more than 3 observations would be flagged"):
        shifting().aggr.anomalies(level="model")


def test_what_may_be_the_start_of_a_shift_is_suspect() -> None:
    frame = shifting(models=2)
    frame.loc[[198, 199], "latency_ms"] *= 1.3  # the last two runs of m0
    frame.loc[390, "latency_ms"] *= 1.3  # of m1, and normal runs after it
    found = frame.aggr.anomalies(level="model").set_index("observation")["status"]
    assert found.loc[[198, 199]].tolist() == ["suspect"] * 2
    assert found.drop([198, 199]).eq("confirmed").all()
    assert 390 in found.index
    more = shifting(models=1).tail(3).assign(timestamp=pd.date_range("2026-03-01", periods=3, freq="h"))
    settled = pd.concat([frame, more], ignore_index=True).aggr.anomalies(level="model").set_index("observation")
    assert settled["status"].loc[[198, 199]].eq("confirmed").all()


@pytest.mark.parametrize("method", ["robust", "zscore", "iqr", "gesd"])
def test_status_by_every_method_and_metric(method: str) -> None:
    frame = shifting(models=1)
    frame["memory_mb"] = 100 + np.random.default_rng(3).normal(0, 1, N)
    frame.loc[[100, N - 1], "memory_mb"] = 150.0
    threshold = {"zscore": 4.5, "iqr": 3.0}.get(method)
    found = frame.aggr.anomalies(level="model", metrics="memory_mb", method=method, threshold=threshold)  # type: ignore[arg-type]
    assert dict(zip(found["observation"], found["status"], strict=True)) == {100: "confirmed", N - 1: "suspect"}
    assert found.meta["suspect"] == {"latest": 1, "few": 0}
    said = found.explain()
    assert "1 confirmed, 1 suspect." in said
    assert "may be the start of a shift" in said


def test_few_values_make_suspects_with_and_without_times() -> None:
    values = [10.0, 10.1, 9.9, 10.2, 9.8, 10.0, 10.1, 30.0]
    for times in ({}, {"timestamp": [*pd.date_range("2026-01-01", periods=7), pd.Timestamp("2025-12-01")]}):
        small = pd.DataFrame({"model": "a", "latency_ms": values, **times}).aggr.anomalies(level="model")
        assert small["status"].tolist() == ["suspect"]
        assert small.meta["suspect"] == {"latest": 0, "few": 1}
        assert "fewer than 10 values" in small.explain()
    enough = pd.DataFrame({"model": "a", "latency_ms": [*values, 9.9, 10.1]}).aggr.anomalies(level="model")
    assert enough["status"].tolist() == ["confirmed"]
    assert "All are confirmed: their cells have enough values." in enough.explain()


def test_at_one_time_nothing_is_latest() -> None:
    frame = shifting(models=1, shift=1.0).assign(timestamp=pd.Timestamp("2026-01-01"))
    assert frame.aggr.anomalies(level="model")["status"].eq("confirmed").all()
    frame.loc[0, "timestamp"] = pd.NaT
    assert frame.aggr.anomalies(level="model")["status"].eq("confirmed").all()


def test_a_column_called_status_is_kept_where_it_is_grouped_by() -> None:
    frame = shifting(models=1, shift=1.0).assign(status="nightly")
    assert frame.aggr.anomalies(level=["status"])["status"].eq("nightly").all()
    assert set(frame.aggr.anomalies(level="model")["status"]) == {"confirmed"}
