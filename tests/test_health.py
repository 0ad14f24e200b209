"""Which workers are sick: a planted one is named, and without one nobody is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit.errors import EmptySelectionError, UnknownNameError
from aggrkit.findings.causes import Health
from aggrkit.model.answer import COLUMNS
from aggrkit.pipeline.health import FindHealth

if TYPE_CHECKING:
    from pathlib import Path

START = pd.Timestamp("2025-01-01")
RATE = "throughput_items_per_second"


def ask(frame: Any, metrics: Any = None, alpha: float = 0.05, margin: float = 0.02, **roles: Any) -> Health:
    analysis = frame if isinstance(frame, aggrkit.Analysis) else frame.aggr(**roles)
    answer, _ = analysis._run(analysis._bare(FindHealth(alpha, margin)), (), metrics, None, None)
    return Health._made(answer, lambda line: pd.DataFrame())


def fleet(
    number: int = 0,
    slow: float = 0.05,
    workers: int = 12,
    runs: int = 10,
    models: int = 5,
    repeats: int = 1,
    luck: float = 0.0,
) -> pd.DataFrame:
    """Return runs of one model each, on workers at random; w3 is slow."""
    rng = np.random.default_rng(number)
    run = np.repeat(np.arange(workers * runs), repeats)
    model = rng.integers(0, models, workers * runs)[run]
    frame = pd.DataFrame({"worker": np.char.add("w", (run // runs).astype(str)), "hardware": "a100"})
    frame["model"], frame["run_id"] = np.char.add("m", model.astype(str)), np.char.add("r", run.astype(str))
    frame["timestamp"] = START + pd.to_timedelta(2 * rng.permutation(workers * runs)[run], unit="h")
    noise = rng.normal(0, 0.02, len(run)) + rng.normal(0, luck, workers * runs)[run]
    frame[RATE] = 100 * (1 + model) * np.exp(noise) * np.where(frame["worker"] == "w3", 1 - slow, 1)
    return frame


def test_a_slow_worker_is_named_with_the_reason() -> None:
    found = ask(fleet(repeats=5, luck=0.01))
    assert list(found.columns) == list(COLUMNS["health"])
    first = found.iloc[0]
    assert (first["worker"], first["rank"], first["verdict"], first["evidence"]) == ("w3", 1, "sick", "offset")
    assert first["offset_pct"] == pytest.approx(-5, abs=1.5)
    assert (first["n_runs"], first["n"]) == (10, 50)
    assert first["reason"].startswith(f"{RATE} {-first['offset_pct']:.1f} % lower than the other workers (")
    assert first["reason"].endswith(" %, 10 runs)")
    assert found["verdict"].tolist()[1:] == ["fine"] * 11
    assert list(found["verdict"].cat.categories) == ["sick", "suspect", "fine", "too_few"]
    said = found.explain()
    assert "12 workers: 1 sick, 11 fine" in said
    assert "w3 is sick" in said
    assert "at most 5 %" in said
    tests = found.tests
    assert tests.groupby("evidence").size().to_dict() == {"drift": 12, "offset": 12, "spread": 12}


def test_each_kind_of_evidence_names_its_worker() -> None:
    frame = fleet(1, slow=0, runs=30)
    rng = np.random.default_rng(2)
    days = (frame["timestamp"] - START) / pd.Timedelta(days=1)
    frame[RATE] *= np.where(frame["worker"] == "w1", np.exp(rng.normal(0, 0.15, len(frame))), 1)
    frame[RATE] *= np.where(frame["worker"] == "w2", 1 - 0.1 * (days / days.max() - 0.5), 1)
    frame["passed"] = rng.random(len(frame)) > np.where(frame["worker"] == "w4", 0.5, 0.03)
    frame[RATE] *= np.where(frame["worker"] == "w5", 0.95, 1)
    found = ask(frame).set_index("worker")
    sick = found[found["verdict"] == "sick"]
    assert sick["evidence"].to_dict() == {"w1": "spread", "w2": "drift", "w4": "failures", "w5": "offset"}
    assert found.at["w1", "spread_ratio"] > 4
    assert found.at["w2", "drift_pct_per_day"] == pytest.approx(-10 / days.max(), rel=0.3)
    assert found.at["w4", "failure_rate"] == pytest.approx(50, abs=20)
    assert "varies" in found.at["w1", "reason"]
    assert "falls" in found.at["w2", "reason"]
    assert "times as often" in found.at["w4", "reason"]


def test_only_the_bad_direction_and_what_matters_is_sick() -> None:
    assert ask(fleet(slow=-0.05))["verdict"].eq("sick").sum() == 0
    slower = fleet(slow=-0.05).rename(columns={RATE: "latency_ms"})
    assert ask(slower).iloc[0][["worker", "verdict"]].tolist() == ["w3", "sick"]
    small = fleet(slow=0.01, runs=200)
    found = ask(small).set_index("worker")
    assert found.at["w3", "verdict"] == "fine"
    assert found.at["w3", "offset_pct"] == pytest.approx(-1, abs=0.5)
    assert ask(small, margin=0).iloc[0][["worker", "verdict"]].tolist() == ["w3", "sick"]


def test_a_mix_of_slow_tests_is_no_sickness() -> None:
    rng = np.random.default_rng(4)
    frame = fleet(4, slow=0)
    large = rng.random(len(frame)) < np.where(frame["worker"] == "w3", 0.9, 0.3)
    frame["batch_size"] = np.where(large, 64, 8)
    frame[RATE] *= np.where(large, 0.5, 1)
    assert not ask(frame)["verdict"].eq("sick").any()
    assert ask(frame, ignore="batch_size").iloc[0]["worker"] == "w3"


def test_hardware_stands_in_for_workers() -> None:
    frame = fleet().drop(columns="hardware").rename(columns={"worker": "device"})
    found = ask(frame)
    assert found.meta["workers"] == "device"
    assert found.iloc[0][["worker", "verdict"]].tolist() == ["w3", "sick"]


def test_without_runs_days_repeat_and_without_days_tests_do() -> None:
    frame = fleet(runs=40).drop(columns="run_id")
    found = ask(frame)
    assert found.meta["unit"] == "day"
    assert found.iloc[0][["worker", "verdict"]].tolist() == ["w3", "sick"]
    found = ask(fleet(runs=40, models=10).drop(columns=["run_id", "timestamp"]))
    assert found.meta["unit"] == "test"
    assert found.iloc[0][["worker", "verdict"]].tolist() == ["w3", "sick"]
    assert found["n_runs"].max() <= 10


def test_every_source_gives_the_same(tmp_path: Path) -> None:
    frame = fleet()
    frame.loc[3, RATE] = np.nan
    frame.loc[[4, 5], ["worker", "run_id"]] = None
    frame.to_parquet(tmp_path / "r.parquet")
    frame.to_csv(tmp_path / "r.csv", index=False)
    wanted = pd.DataFrame(ask(frame))
    assert "unknown" not in set(wanted["worker"])
    for name in ("r.parquet", "r.csv"):
        pd.testing.assert_frame_equal(pd.DataFrame(ask(aggrkit.open(tmp_path / name))), wanted)
    pd.testing.assert_frame_equal(pd.DataFrame(ask(frame.sample(frac=1, random_state=1))), wanted)


def test_bad_input() -> None:
    with pytest.raises(UnknownNameError, match=r"needs a worker column; say which it is: df.aggr\(worker='...'\)"):
        ask(fleet().drop(columns=["worker", "hardware"]))
    with pytest.raises(EmptySelectionError):
        ask(fleet().head(0), metrics=[RATE])
    for alpha in (0, 1, 2):
        with pytest.raises(ValueError, match="alpha"):
            FindHealth(alpha)
    with pytest.raises(ValueError, match="margin"):
        FindHealth(margin=-1)


def test_little_and_odd_values() -> None:
    one = ask(fleet(workers=1))
    assert one[["worker", "verdict", "reason"]].to_numpy().tolist() == [
        ["w0", "too_few", "no other worker ran the same tests"]
    ]
    single = ask(fleet(runs=1, models=1))
    assert set(single["verdict"]) == {"too_few"}
    assert "only 1 run that" in single["reason"].iloc[0]
    for values in (np.nan, 5.0, 0.0, -3.0, 1e308):
        found = ask(fleet().assign(loss=values), metrics=["loss"])
        assert found["verdict"].isin(["fine", "too_few"]).all(), values
        assert len(found) == 12
    rng = np.random.default_rng(5)
    odd = fleet(slow=0)
    odd["other"] = rng.choice([0.0, -1.0, 1.0, np.inf, np.nan, 1e-300], len(odd))
    assert not ask(odd, metrics=["other"])["verdict"].isna().any()
    text = fleet().astype({RATE: object})
    text.loc[::7, RATE] = "broken"
    found = ask(text, metrics=[RATE])
    assert found.iloc[0][["worker", "verdict"]].tolist() == ["w3", "sick"]
    unclear = ask(fleet().assign(strange=1.0))
    assert unclear.meta["left_out"] == {"strange": "which way is better isn't known"}
    two = ask(fleet(workers=2))
    assert "not which of them" in two.explain()
    negative = fleet().assign(score_delta=lambda frame: -frame[RATE]).drop(columns=RATE)
    found = ask(negative, metrics=["score_delta"])
    assert found.iloc[0][["worker", "verdict"]].tolist() == ["w3", "sick"]
    assert found.iloc[0]["offset_pct"] == pytest.approx(5, abs=1.5)


@pytest.mark.slow
@pytest.mark.parametrize(("repeats", "luck"), [(1, 0.0), (20, 0.02)])
def test_a_slow_worker_is_named_and_others_are_not(repeats: int, luck: float) -> None:
    sets, named, false = 100, 0, 0
    for number in range(sets):
        found = ask(fleet(number, repeats=repeats, luck=luck))
        sick = set(found.loc[found["verdict"] == "sick", "worker"])
        named += "w3" in sick
        false += bool(sick - {"w3"})
    assert named >= 0.95 * sets
    # at most 5 %: with 100 sets the promise itself is asked for, without allowance for luck
    assert false <= 0.05 * sets


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "runs", "models", "repeats", "luck"), [(12, 10, 5, 1, 0.0), (12, 10, 5, 20, 0.02), (12, 4, 30, 1, 0.0)]
)
def test_without_a_sick_worker_none_is_named(workers: int, runs: int, models: int, repeats: int, luck: float) -> None:
    sets = 60
    false = sum(
        ask(fleet(1000 + number, 0, workers, runs, models, repeats, luck))["verdict"].eq("sick").any()
        for number in range(sets)
    )
    # the promise itself, without allowance for luck
    assert false <= 0.05 * sets
