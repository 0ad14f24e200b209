"""Where the noise comes from: planted parts are found, off workers and runs are named, and shares add up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit.errors import EmptySelectionError, UnknownNameError
from aggrkit.findings.causes import Variance
from aggrkit.model.answer import COLUMNS
from aggrkit.pipeline.variance import FindVariance
from aggrkit.statistics.multiplicity import adjust_pvalues
from aggrkit.statistics.variance import shrunken_offsets, variance_components

if TYPE_CHECKING:
    from pathlib import Path

START = pd.Timestamp("2025-01-01")


def ask(
    frame: Any, level: Any = (), metrics: Any = None, alpha: float = 0.05, adjust: Any = "fdr_bh", **roles: Any
) -> Any:
    analysis = frame if isinstance(frame, aggrkit.Analysis) else frame.aggr(**roles)
    answer, _ = analysis._run(analysis._bare(FindVariance(alpha, adjust)), level, metrics, None, None)
    return Variance._made(answer, lambda line: pd.DataFrame())


def fleet(number: int = 0, workers: int = 12, runs: int = 30, models: int = 4, repeats: int = 5) -> pd.DataFrame:
    """Return runs of all models; workers differ by 2 %, runs by 1 %, days by 1 %, values by 3 %."""
    rng = np.random.default_rng(number)
    index = pd.MultiIndex.from_product([range(workers), range(runs), range(models), range(repeats)])
    frame = index.to_frame(index=False, name=["w", "day", "m", "repeat"])
    off = rng.normal(0, 0.02, workers)[frame["w"]] + rng.normal(0, 0.01, runs)[frame["day"]]
    off += rng.normal(0, 0.01, workers * runs)[frame["w"] * runs + frame["day"]] + rng.normal(0, 0.03, len(frame))
    frame["latency_ms"] = 10 * (1 + frame["m"]) * np.exp(off)
    frame["worker"], frame["model"] = "w" + frame["w"].astype(str), "m" + frame["m"].astype(str)
    frame["run_id"] = "r" + (frame["w"] * runs + frame["day"]).astype(str)
    frame["timestamp"] = START + pd.to_timedelta(frame["day"], unit="D")
    return frame.drop(columns=["w", "m", "day"])


def test_planted_shares_are_found_and_add_up() -> None:
    found = ask(fleet())
    assert list(found.columns) == list(COLUMNS["variance"])
    shares = found[found["level"].isna()].set_index("factor")
    assert shares.index.tolist() == ["worker", "run", "day", "model", "residual"]
    assert shares["share"].sum() == pytest.approx(1)
    # as standard deviations; from 12 workers that of theirs is known to a fifth
    assert shares.at["worker", "effect_pct"] == pytest.approx(2, rel=0.6)
    assert shares.at["run", "effect_pct"] == pytest.approx(1, rel=0.2)
    assert shares.at["day", "effect_pct"] == pytest.approx(1, rel=0.4)
    assert shares.at["residual", "effect_pct"] == pytest.approx(3, rel=0.05)
    levels = np.log(10 * np.arange(1, 5))
    total = levels.var(ddof=1) + 0.02**2 + 0.01**2 + 0.01**2 + 0.03**2
    assert shares.at["model", "share"] == pytest.approx(levels.var(ddof=1) / total, rel=0.01)
    assert shares["n"].to_dict() == {"worker": 12, "run": 360, "day": 30, "model": 4, "residual": 7200}
    said = found.explain()
    assert "of the noise within model" in said
    assert "Compared like with like on model" in said


def test_lines_are_those_of_the_statistics() -> None:
    frame = fleet(1, runs=6)
    found = ask(frame)
    y = np.log(frame["latency_ms"].to_numpy())
    codes = [pd.factorize(frame[name])[0] for name in ("worker", "run_id", "timestamp")]
    cell, one, none = pd.factorize(frame["model"])[0], np.ones(len(y)), np.zeros(len(y))
    wanted = variance_components(y, one, none, cell, codes)
    shares = found[found["level"].isna()].set_index("factor")["share"]
    parts = np.array([*wanted.factors, wanted.cell, wanted.residual])
    assert shares.to_numpy() == pytest.approx(parts / parts.sum(), rel=1e-6)
    offsets = shrunken_offsets(y, one, cell, codes, wanted, unit=1)
    workers = found[found["level"].notna()].set_index("level")
    order = pd.factorize(frame["worker"])[1]
    assert workers.loc[order, "effect_pct"].to_numpy() == pytest.approx(100 * np.expm1(offsets.estimate), rel=1e-6)
    adjusted = adjust_pvalues(offsets.pvalue, "fdr_bh")
    assert workers.loc[order, "pvalue_adjusted"].to_numpy() == pytest.approx(adjusted, rel=1e-5)
    assert workers["effect_pct"].abs().is_monotonic_decreasing
    assert (workers["n"] == 6).all()


def test_a_host_factor_on_one_run_is_that_runs() -> None:
    frame = fleet(2, models=8, repeats=2)
    frame.loc[frame["run_id"] == "r77", "latency_ms"] *= 1.2
    frame.loc[(frame["model"] == "m3") & (frame["timestamp"] > START + pd.Timedelta(days=20)), "latency_ms"] *= 1.1
    runs = ask(frame).runs
    assert list(runs.columns) == list(COLUMNS["variance_runs"])
    first = runs.iloc[0]
    assert (first["run"], first["n"]) == ("r77", 8)
    # its worker, its day and its own luck come on top
    assert first["effect_pct"] == pytest.approx(20, abs=8)
    assert first["ci_lower"] < first["effect_pct"] < first["ci_upper"]
    assert first["pvalue_adjusted"] < 1e-6
    assert runs["effect_pct"].abs().nlargest(1).index.tolist() == [0]
    said = ask(frame).explain()
    assert "Run r77: latency_ms +" in said
    assert "the machine moved, not the code" in said


def test_an_off_worker_is_ranked_first() -> None:
    frame = fleet(3, runs=10)
    frame.loc[frame["worker"] == "w7", "latency_ms"] *= 1.15
    found = ask(frame)
    first = found[found["level"].notna()].iloc[0]
    assert (first["level"], first["n"]) == ("w7", 10)
    assert first["pvalue_adjusted"] < 0.001
    assert first["ci_lower"] > 5
    assert "w7, latency_ms +" in found.explain()


def test_groups_and_several_metrics_have_lines_of_their_own() -> None:
    frame = fleet(4, runs=8)
    frame["passed"] = np.random.default_rng(1).random(len(frame)) < 0.9
    frame["delta"] = frame["latency_ms"] - 20
    found = ask(frame, level="model")
    assert list(found.columns) == ["model", *COLUMNS["variance"]]
    assert found.groupby("model").size().nunique() == 1
    shares = found[found["level"].isna()]
    assert shares.groupby(["model", "metric"])["share"].sum().to_numpy() == pytest.approx(np.ones(12))
    assert set(shares["factor"]) == {"worker", "run", "day", "residual"}
    runs = found.runs
    assert list(runs.columns) == ["model", *COLUMNS["variance_runs"]]
    assert set(runs["metric"]) == {"latency_ms", "delta"}
    assert "of m0" in found.explain()
    by_worker = ask(frame, level="worker")
    assert set(by_worker["factor"]) == {"run", "day", "model", "residual"}


def test_what_cannot_be_told_is_said() -> None:
    frame = fleet(5, runs=10, models=1, repeats=1)
    found = ask(frame)
    assert "there is one value for each run" in found.meta["untold"]["latency_ms, run"]
    assert found[found["factor"] == "run"]["share"].isna().all()
    assert found["share"].sum() == pytest.approx(1)
    assert "it is in the residual" in found.explain()
    lonely = ask(frame[frame["worker"] == "w0"])
    assert lonely.meta["untold"]["latency_ms, worker"] == "there is only one worker"
    assert lonely["level"].isna().all()
    single = ask(fleet(6, runs=1))
    assert single["level"].isna().all()
    assert single.meta["untold"]["latency_ms, run"] == "it goes with the worker: each has one run"


def test_nightly_runs_on_all_workers_are_told_apart() -> None:
    frame = fleet(7, runs=10)
    frame["run_id"] = "night" + frame["timestamp"].dt.day.astype(str)
    frame.loc[(frame["run_id"] == "night4") & (frame["worker"] == "w2"), "latency_ms"] *= 1.3
    found = ask(frame)
    assert found[found["factor"] == "run"]["n"].iloc[0] == 120
    assert found.runs.iloc[0]["run"] == "night4 on w2"


def test_every_source_gives_the_same(tmp_path: Path) -> None:
    frame = fleet(8, runs=5)
    frame.loc[3, "latency_ms"] = np.nan
    frame.loc[[4, 5], ["worker", "run_id"]] = None
    frame.to_parquet(tmp_path / "r.parquet")
    frame.to_csv(tmp_path / "r.csv", index=False)
    wanted = ask(frame)
    assert "unknown" in set(wanted["level"])
    for name in ("r.parquet", "r.csv"):
        again = ask(aggrkit.open(tmp_path / name))
        pd.testing.assert_frame_equal(pd.DataFrame(again), pd.DataFrame(wanted))
        pd.testing.assert_frame_equal(again.runs, wanted.runs)


def test_bad_input() -> None:
    with pytest.raises(UnknownNameError, match="needs a worker, run or time column"):
        ask(fleet(runs=2).drop(columns=["worker", "run_id", "timestamp"]))
    with pytest.raises(EmptySelectionError):
        ask(fleet(runs=2).head(0), metrics=["latency_ms"])
    with pytest.raises(ValueError, match="alpha"):
        FindVariance(0)
    with pytest.raises(UnknownNameError, match="adjustment"):
        FindVariance(adjust="sidak")


def test_little_and_odd_values() -> None:
    frame = fleet(9, runs=4)
    for values in (np.nan, 5.0, 0.0, -3.0, 1e308):
        found = ask(frame.assign(loss=values), metrics=["loss"])
        assert isinstance(found.explain(), str)
        assert found["share"].dropna().between(0, 1).all()
    assert "no value" in ask(frame.assign(loss=np.nan), metrics=["loss"]).explain()
    rng = np.random.default_rng(5)
    odd = frame.assign(other=rng.choice([0.0, -1.0, 1.0, np.inf, np.nan, 1e-300], len(frame)))
    shares = ask(odd, metrics=["other"])
    assert shares["share"].sum() == pytest.approx(1)
    text = frame.astype({"latency_ms": object})
    text.loc[::7, "latency_ms"] = "broken"
    assert ask(text, metrics=["latency_ms"])["share"].sum() == pytest.approx(1)
    one = ask(frame.head(1))
    assert one["share"].isna().all()
    assert "no noise to split" in one.explain()
    without = ask(frame.drop(columns=["worker", "run_id"]))
    assert set(without["factor"]) == {"day", "model", "residual"}
    assert len(without.runs) == 0
