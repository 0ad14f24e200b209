"""How often a comparison cries wolf: what exchanging the sides of real and simulated data shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import aggrkit
from aggrkit.errors import TooFewObservationsError, UnknownNameError
from aggrkit.model.answer import COLUMNS

if TYPE_CHECKING:
    from pathlib import Path


def runs(models: int = 20, each: int = 8, change: float = 0.0, noise: float = 0.02, seed: int = 0) -> pd.DataFrame:
    """Return runs of two builds, five iterations each, with the luck of the run; every fourth model changed."""
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([["a", "b"], range(each), range(models), range(5)])
    frame = index.to_frame(index=False, name=["build", "run", "number", "repeat"])
    luck = rng.lognormal(0, noise, (2, each, models))[
        (frame["build"] == "b").astype(int), frame["run"], frame["number"]
    ]
    frame["latency_ms"] = (10.0 + frame["number"]) * luck * rng.lognormal(0, 0.01, len(frame))
    frame["latency_ms"] *= np.where((frame["build"] == "b") & (frame["number"] % 4 == 0), 1 + change, 1)
    frame["model"] = "m" + frame["number"].astype(str)
    frame["run_id"] = frame["build"] + frame["run"].astype(str)
    return frame.drop(columns=["run", "number"])


def test_where_it_takes_long_the_sides_are_exchanged_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggrkit.pipeline.calibrate._SECONDS", 0.0)
    assert runs().aggr.calibrate("a", "b", by="build", level="model").meta["repeats"] == 40
    assert runs().aggr.calibrate("a", "b", by="build", level="model", repeats=45).meta["repeats"] == 45


def test_the_rate_is_the_one_that_is_stated() -> None:
    found = runs().aggr.calibrate("a", "b", by="build", level="model", repeats=200)
    assert list(found.columns) == [*COLUMNS["calibration"]]
    tables, lines, raw = (row for _, row in found.iterrows())
    assert (tables["trials"], lines["trials"], raw["trials"]) == (200, 4000, 4000)
    assert tables["ci_lower"] <= 0.05
    # p-values are uniform where nothing changed: the interval over whole tables covers alpha
    assert raw["ci_lower"] <= 0.05 <= raw["ci_upper"]
    assert lines["rate"] <= raw["rate"]
    assert found["rate"].tolist() == pytest.approx((found["alarms"] / found["trials"]).tolist())
    exact = stats.binomtest(int(tables["alarms"]), 200).proportion_ci(method="wilson")
    assert (tables["ci_lower"], tables["ci_upper"]) == pytest.approx((exact.low, exact.high))
    assert found.meta["exchanged"] == "whole runs"
    assert found.meta["seconds"] > 0
    said = found.explain()
    assert "Sides exchanged 200 times" in said
    assert "5 % is stated" in said


def test_a_true_change_is_no_noise() -> None:
    changed = runs(change=0.2).aggr.calibrate("a", "b", by="build", level="model", repeats=100)
    assert changed.meta["aligned"] == 5
    raw = changed.iloc[2]
    assert raw["ci_lower"] <= 0.05 <= raw["ci_upper"]
    assert "set back to no change" in changed.explain()


def test_the_same_numbers_for_the_same_rng() -> None:
    frame = runs(models=6)
    first, again, other = (
        frame.aggr.calibrate("a", "b", by="build", level="model", repeats=60, rng=rng) for rng in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(first, again)
    assert not first["alarms"].equals(other["alarms"])
    generator = frame.aggr.calibrate("a", "b", by="build", level="model", repeats=60, rng=np.random.default_rng(1))
    pd.testing.assert_frame_equal(first, generator)


def test_without_sides_every_other_run_is_compared_with_the_rest() -> None:
    found = runs().aggr.calibrate(level="model", repeats=100)
    assert found.meta["baseline"] == "one half"
    assert found.iloc[2]["ci_lower"] <= 0.05 <= found.iloc[2]["ci_upper"]
    assert len(found.rows(0)) == len(runs())
    single = runs().drop(columns="run_id").aggr.calibrate(level="model", repeats=40)
    assert single.meta["design"] == "observations"
    assert "No run ids" in single.explain()


def test_fewer_false_alarms_by_adjustment() -> None:
    frame = runs(noise=0.05)
    plain = frame.aggr.calibrate("a", "b", by="build", level="model", adjust="none", margin=1e-6, repeats=100)
    held = frame.aggr.calibrate("a", "b", by="build", level="model", adjust="holm", margin=1e-6, repeats=100)
    assert plain["rate"].iloc[0] > 0.4
    assert "more than stated" in plain.explain()
    assert held["rate"].iloc[0] <= 0.1


def test_pairs_within_runs_and_pass_rates() -> None:
    frame = runs(models=5)
    paired = frame.assign(run_id=frame["run_id"].str[1:])
    found = paired.aggr.calibrate("a", "b", by="build", level="model", repeats=100)
    assert found.meta["design"] == "within runs"
    assert found.meta["exchanged"] == "the sides of whole runs"
    assert found.iloc[2]["ci_lower"] <= 0.05
    rng = np.random.default_rng(3)
    passed = frame.assign(passed=rng.random(len(frame)) < 0.9).drop(columns="latency_ms")
    rates = passed.aggr.calibrate("a", "b", by="build", level="model", repeats=100)
    assert rates["ci_lower"].iloc[0] <= 0.05


def test_nothing_to_exchange_is_an_error() -> None:
    frame = runs(models=2)
    apart = frame[(frame["build"] == "a") == (frame["model"] == "m0")]
    with pytest.raises(TooFewObservationsError, match="nothing can be exchanged"):
        apart.aggr.calibrate("a", "b", by="build", level="model")
    with pytest.raises(TooFewObservationsError, match="one run can't be split"):
        frame[frame["run_id"] == "a0"].aggr.calibrate(level="model")
    with pytest.raises(UnknownNameError, match="did you mean 'build'"):
        frame.aggr.calibrate("a", "b", by="biuld")
    with pytest.raises(TypeError, match="one source"):
        frame.aggr.calibrate(frame)


@pytest.mark.slow
def test_resubmitted_runs_alarm_at_most_as_stated() -> None:
    """Half of the repeats of each MLPerf system against the other half: nothing was changed between them."""
    frame = aggrkit.datasets.load("mlperf_training")
    found = frame.aggr.calibrate(level=["model", "worker"], metrics="total_time_seconds", repeats=100)
    assert found["ci_lower"].iloc[0] <= 0.05


@pytest.mark.slow
@pytest.mark.data
def test_halves_of_real_iterations_alarm_at_most_as_stated(data_folder: Path) -> None:
    """Iterations of the same runs, dealt out to two sides at random, are the same on both."""
    frame = pd.read_parquet(data_folder / "gpu_cnn_iter" / "results.parquet")
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(12):
        halves = frame.assign(half=rng.permuted(np.arange(len(frame)) % 2).astype(str))
        found = halves.aggr.compare("0", "1", by="half", metrics="average_latency_ms")
        alarms += bool(found["verdict"].isin(["regressed", "improved"]).any())
    # 5 % of 12; three and more have a chance of 2 %
    assert alarms <= 2
    said = halves.aggr.calibrate("0", "1", by="half", metrics="average_latency_ms", repeats=40)
    assert said["ci_lower"].iloc[0] <= 0.05


@pytest.mark.slow
@pytest.mark.data
def test_few_real_runs_alarm_at_most_as_stated(data_folder: Path) -> None:
    """Whole runs of CNNs on GPUs, one to two a side under the same conditions: nothing could be told for sure."""
    frame = pd.read_parquet(data_folder / "gpu_cnn_iter" / "results.parquet")
    found = frame.aggr.calibrate(metrics="average_latency_ms", repeats=40)
    assert found.meta["exchanged"] == "runs of the same conditions"
    assert found["ci_lower"].iloc[0] <= 0.05
    assert found["ci_lower"].iloc[2] <= 0.05


@pytest.mark.slow
@pytest.mark.data
def test_random_halves_of_real_results_alarm_at_most_as_stated(data_folder: Path) -> None:
    """Results of the same systems dealt out at random; many strata have two or three runs of unlike noise."""
    frame = pd.read_csv(data_folder / "mlperf_training" / "results.csv", low_memory=False)
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(8):
        halves = frame.assign(half=rng.permuted(np.arange(len(frame)) % 2).astype(str))
        found = halves.aggr.compare("0", "1", by="half", metrics="total_time_seconds")
        alarms += bool(found["verdict"].isin(["regressed", "improved"]).any())
    # 5 % of 8; three and more have a chance of .6 %
    assert alarms <= 2
