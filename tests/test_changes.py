"""When levels shifted: planted steps are found once and in their place, a change of mix is none."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import aggrkit
from aggrkit.errors import EmptySelectionError, SchemaError, UnknownNameError
from aggrkit.model.answer import COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

START = pd.Timestamp("2026-01-01")


def nightly(
    step: float = 0.08,
    at: int = 40,
    moved: tuple[str, ...] = ("h1",),
    models: int = 6,
    nights: int = 70,
    seed: int = 5,
    noise: float = 0.01,
) -> pd.DataFrame:
    """Return nightly runs of some models on two devices in two precisions, with the luck of the run of each model."""
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([range(nights), range(models), ["h1", "h2"], ["fp16", "fp32"], range(3)])
    frame = index.to_frame(index=False, name=["night", "number", "hardware", "precision", "repeat"])
    level = (10.0 + frame["number"]) * np.where(frame["precision"] == "fp16", 1, 2)
    device = (frame["hardware"] == "h2").astype(int)
    luck = rng.lognormal(0, noise, (nights, models, 2))[frame["night"], frame["number"], device]
    frame["latency_ms"] = level * luck * rng.lognormal(0, 0.02, len(frame))
    shifted = frame["hardware"].isin(moved) & (frame["night"] >= at)
    frame["latency_ms"] *= np.where(shifted, 1 + step, 1)
    frame["model"] = "m" + frame["number"].astype(str)
    frame["run_id"] = "r" + frame["night"].astype(str)
    frame["timestamp"] = START + pd.to_timedelta(frame["night"], unit="D")
    frame["driver_version"] = np.where(shifted, "2.0", "1.9")
    return frame.drop(columns=["night", "number"])


def series(values: Any, **more: object) -> pd.DataFrame:
    times = START + pd.to_timedelta(np.arange(len(values)), unit="D")
    return pd.DataFrame({"model": "a", "timestamp": times, "latency_ms": values, **more})


def noisy(levels: list[tuple[int, float]], seed: int = 1, spread: float = 0.02) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([level * rng.lognormal(0, spread, n) for n, level in levels])


def test_a_planted_step_is_found_once_in_each_series_and_as_one_event() -> None:
    found = nightly().aggr.changes()
    assert list(found.columns) == ["model", "hardware", *COLUMNS["changes"]]
    assert set(map(tuple, found[["model", "hardware"]].to_numpy())) == {(f"m{k}", "h1") for k in range(6)}
    assert len(found) == 6
    day = START + pd.Timedelta(days=40)
    assert ((found["at_lower"] <= day) & (day <= found["at_upper"])).all()
    assert ((found["at"] - day).abs() <= pd.Timedelta(days=1)).all()
    assert found["change_pct"].between(6.5, 9.5).all()
    assert found["status"].eq("confirmed").all()
    assert found["verdict"].eq("regressed").all()
    assert found["direction"].eq("up").all()
    assert found["coincides_with"].eq("driver_version 1.9 -> 2.0").all()
    events = found.incidents()
    assert events[["verdict", "slice", "series", "of"]].to_numpy().tolist() == [["regressed", "hardware h1", 6, 12]]
    assert events["since"].item() < day <= events["until"].item()
    said = found.explain()
    assert "6 confirmed changes (6 regressed) in 12 series" in said
    assert "6 of 12 series regressed at once" in said
    assert "hardware h1" in said
    assert "driver_version 1.9 -> 2.0" in said
    assert "precision" in said


def test_levels_and_interval_are_those_of_the_segments() -> None:
    values = noisy([(30, 10.0), (25, 13.0), (45, 11.0)])
    found = series(values).aggr.changes(level="model").sort_values("at")
    assert found["at"].tolist() == [START + pd.Timedelta(days=30), START + pd.Timedelta(days=55)]
    segments = [values[:30], values[30:55], values[55:]]
    # the loss is that of the mean of logarithms, but for values beyond three standard deviations
    levels = [float(np.exp(np.log(part).mean())) for part in segments]
    np.testing.assert_allclose(found["before"], levels[:2], rtol=0.004)
    np.testing.assert_allclose(found["after"], levels[1:], rtol=0.004)
    for i, (one, two) in enumerate(pairwise(segments)):
        welch = stats.ttest_ind(np.log(two), np.log(one), equal_var=False).confidence_interval()
        line = found.iloc[i]
        np.testing.assert_allclose(
            [line["ci_lower"], line["ci_upper"]], 100 * np.expm1([welch.low, welch.high]), rtol=0.15
        )
    assert found.details[["n_before", "n_after"]].to_numpy().tolist() == [[30, 25], [25, 45]]
    points = found.points(0)
    np.testing.assert_allclose(points["value"], values, rtol=1e-9)
    assert points["level"].nunique() == 3
    assert len(found.rows(0)) == 100


def test_the_better_direction_says_the_verdict() -> None:
    values = noisy([(20, 10.0), (20, 12.0)])
    frame = series(values, throughput=values, score=values)
    found = frame.aggr(metrics={"latency_ms": "lower", "throughput": "higher", "score": "unknown"}).changes("model")
    assert dict(zip(found["metric"], found["verdict"], strict=True)) == {
        "latency_ms": "regressed",
        "throughput": "improved",
        "score": "changed",
    }
    assert found["verdict"].tolist() == ["regressed", "changed", "improved"]
    # the same sense at the same time is one event, another sense another
    assert len(found.incidents()) == 3


def test_a_change_of_mix_is_no_change_of_level() -> None:
    rng = np.random.default_rng(3)
    night = np.repeat(np.arange(60), 10)
    large = rng.random(600) < np.where(night < 30, 0.2, 0.8)
    frame = pd.DataFrame(
        {
            "model": "a",
            "batch_size": np.where(large, 32, 8),
            "run_id": night,
            "timestamp": START + pd.to_timedelta(night, unit="D"),
            "latency_ms": np.where(large, 40.0, 10.0) * rng.lognormal(0, 0.02, 600),
        }
    )
    assert len(frame.aggr.changes(level="model")) == 0
    across = frame.aggr.changes(level="model", across="batch_size")
    assert across["verdict"].tolist() == ["regressed"]
    assert across.meta["across"] == ["batch_size"]


def test_conditions_that_take_turns_are_fitted_together_with_the_segments() -> None:
    # batch 8 was run up to night 59, batch 16 from night 40: the step at night 50 is within both, in part
    rng = np.random.default_rng(4)
    early, late = np.arange(60), np.arange(40, 100)
    night = np.concatenate([early, late])
    frame = pd.DataFrame(
        {
            "model": "a",
            "batch_size": np.repeat([8, 16], 60),
            "run_id": night,
            "timestamp": START + pd.to_timedelta(night, unit="D"),
            "latency_ms": np.repeat([10.0, 20.0], 60) * np.where(night >= 50, 1.1, 1) * rng.lognormal(0, 0.01, 120),
        }
    )
    found = frame.aggr.changes(level="model")
    assert len(found) == 1
    assert found["at"].item() == START + pd.Timedelta(days=50)
    assert found["change_pct"].item() == pytest.approx(10, abs=1)


def test_the_unit_is_the_run() -> None:
    """Iterations share the luck of their run: as if they were many runs, they would alarm all the time."""
    rng = np.random.default_rng(8)
    alarms = {"run": 0, "moment": 0}
    for _ in range(20):
        night = np.repeat(np.arange(30), 20)
        luck = rng.normal(0, 0.03, 30)[night]
        frame = series(100 * np.exp(luck + rng.normal(0, 0.005, 600)), run_id=night)
        frame["timestamp"] = START + pd.to_timedelta(night, unit="D") + pd.to_timedelta(np.arange(600), unit="s")
        for name, some in (("run", frame), ("moment", frame.drop(columns="run_id"))):
            found = some.aggr.changes(level="model", margin=0)
            assert found.meta["unit"] == name
            alarms[name] += bool(found["status"].eq("confirmed").any())
    assert alarms["run"] <= 3
    assert alarms["moment"] >= 15


def test_the_machine_is_named_where_it_changed() -> None:
    values = noisy([(30, 10.0), (30, 7.0)])
    frame = series(values, hardware=["old box"] * 30 + ["new box"] * 30, worker=["w1"] * 60)
    # each machine is compared with itself
    assert len(frame.aggr.changes(level="model")) == 0
    found = frame.aggr.changes(level="model", across="hardware")
    assert found["coincides_with"].tolist() == ["hardware old box -> new box"]
    assert "hardware old box -> new box" in found.explain()


def test_the_machine_moved_and_one_model_regressed() -> None:
    """The host was 20 % slower in the last eight nights; one model regressed by 8 % before that."""
    frame = nightly(step=0.0, models=12, seed=3)
    night = (frame["timestamp"] - START).dt.days
    frame.loc[frame["model"].eq("m4") & (night >= 40), "latency_ms"] *= 1.08
    frame.loc[night >= 62, "latency_ms"] *= 1.2
    plain = frame.aggr.changes(level="model")
    assert plain["model"].nunique() == 12
    found = frame.aggr.changes(level="model", common_mode="remove")
    assert found[["model", "verdict"]].astype(str).to_numpy().tolist() == [["m4", "regressed"]]
    assert abs(found["at"].item() - START - pd.Timedelta(days=40)) <= pd.Timedelta(days=1)
    assert found["change_pct"].item() == pytest.approx(8, abs=1.5)
    assert "taken off first" in found.explain()
    runs = frame.aggr.variance().runs
    slow = runs[runs["pvalue_adjusted"].lt(0.05) & runs["effect_pct"].gt(10)]
    assert set(slow["run"]) == {f"r{k}" for k in range(62, 70)}


def test_a_drift_is_a_trend_and_the_last_runs_are_a_suspect() -> None:
    drift = series(100 * np.exp(0.004 * np.arange(80)) * noisy([(80, 1.0)], spread=0.01))
    found = drift.aggr.changes(level="model")
    assert found[["status", "verdict"]].astype(str).to_numpy().tolist() == [["trend", "regressed"]]
    assert found["change_pct"].item() == pytest.approx(100 * np.expm1(0.004 * 79), rel=0.1)
    assert found["ci_lower"].item() < 100 * np.expm1(0.004 * 79) < found["ci_upper"].item()
    assert "drifts rather than shifts" in found.explain()
    assert not len(found.incidents())

    late = series(np.append(noisy([(40, 100.0)], spread=0.01), [110.0, 111.0]))
    found = late.aggr.changes(level="model")
    assert found["status"].tolist() == ["suspect"]
    assert found["at"].item() == START + pd.Timedelta(days=40)
    assert "to confirm it" in found.explain()


def test_one_group_of_all() -> None:
    found = series(noisy([(30, 10.0), (30, 12.0)])).aggr.changes(level=[])
    assert list(found.columns) == [*COLUMNS["changes"]]
    assert found["verdict"].tolist() == ["regressed"]
    assert "of all has regressed" in found.explain()


def test_one_outlier_is_no_change() -> None:
    values = noisy([(50, 10.0)])
    values[20] = 100.0
    assert len(series(values).aggr.changes(level="model")) == 0


def test_what_is_smaller_than_the_margin_does_not_count() -> None:
    frame = series(noisy([(60, 100.0), (60, 103.0)], spread=0.005), throughput=1.0)
    assert len(frame.aggr.changes(level="model", margin=0.05)) == 0
    assert len(frame.aggr.changes(level="model", margin=0.01)) == 1
    assert len(frame.aggr.changes(level="model", margin={"latency": 0.05})) == 0
    assert frame.aggr.changes(level="model", margin={"latency_ms": 0.01}).meta["margin"] == {"latency_ms": 0.01}


def test_rates_change_in_points() -> None:
    rng = np.random.default_rng(2)
    night = np.repeat(np.arange(60), 25)
    passed = rng.random(1500) < np.where(night < 35, 0.98, 0.7)
    frame = pd.DataFrame({"model": "a", "run_id": night, "passed": passed})
    frame["timestamp"] = START + pd.to_timedelta(night, unit="D") + pd.to_timedelta(np.arange(1500) % 25, unit="s")
    found = frame.aggr.changes(level="model")
    assert found["verdict"].tolist() == ["regressed"]
    assert abs(found["at"].item() - (START + pd.Timedelta(days=35))) <= pd.Timedelta(days=2)
    rates = passed[night < 35].mean(), passed[night >= 35].mean()
    assert found["before"].item() == pytest.approx(rates[0], abs=0.02)
    assert found["change_pct"].item() == pytest.approx(100 * (rates[1] - rates[0]), abs=2)


def test_values_that_are_not_positive_change_by_differences() -> None:
    rng = np.random.default_rng(6)
    values = rng.normal(0, 1, 60) + np.where(np.arange(60) < 30, -20, -10)
    found = (
        series(values).aggr(metrics={"latency_ms": aggrkit.Metric("latency_ms", direction="higher")}).changes("model")
    )
    assert found["change_pct"].item() == pytest.approx(50, abs=4)
    assert found["verdict"].item() == "improved"
    centred = series(np.where(np.arange(60) < 30, 0.0, 10.0)).aggr(metrics={"latency_ms": aggrkit.Metric("latency_ms")})
    line = centred.changes("model").iloc[0]
    assert (line["before"], line["after"]) == (0.0, 10.0)
    assert np.isnan(line["change_pct"])
    assert "no percentage" in centred.changes("model").explain()


@pytest.mark.parametrize(
    "values",
    [[], [1.0], [1.0] * 5, [3.0] * 40, [np.nan] * 40, [np.inf] * 20 + [np.nan] * 20, [1.0, 2.0] * 20],
    ids=["none", "one", "five", "equal", "null", "infinite", "alternating"],
)
def test_nothing_to_find_is_nothing_found(values: list[float]) -> None:
    frame = series(values)
    if not len(values):
        with pytest.raises(EmptySelectionError):
            frame.aggr.changes("model")
        return
    found = frame.aggr.changes("model")
    assert len(found) == 0
    assert list(found.columns) == ["model", *COLUMNS["changes"]]
    assert len(found.incidents()) == 0
    assert found.explain()
    if len(values) < 6:
        assert "fewer than 6 units" in found.explain()


def test_missing_values_are_left_out_and_never_filled() -> None:
    values = noisy([(30, 10.0), (30, 12.0)])
    holes = values.copy()
    holes[[3, 17, 31, 32, 50]] = [np.nan, np.inf, np.nan, -5.0, np.nan]
    found = series(holes).aggr.changes("model")
    there = series(values)[np.isfinite(holes) & (holes > 0)].aggr.changes("model")
    pd.testing.assert_frame_equal(pd.DataFrame(found), pd.DataFrame(there))


def test_clean_series_stay_quiet_and_adjustment_is_over_all() -> None:
    clean = nightly(step=0.0, models=40, seed=21)
    found = clean.aggr.changes(margin=0)
    assert found.meta["series"] == 80
    assert len(found) <= 1
    alone = clean.aggr.changes(margin=0, adjust=None)
    # 5 % of 80 series is the bound; 4 standard deviations above it would be 12
    assert alone["status"].eq("confirmed").sum() <= 8
    assert found.meta["not_surviving"] == len(alone) - len(found)


def test_beyond_ten_thousand_units_bins_are_looked_at() -> None:
    rng = np.random.default_rng(9)
    n = 25_000
    frame = pd.DataFrame({"model": "a", "timestamp": START + pd.to_timedelta(np.arange(n), unit="s")})
    frame["latency_ms"] = 10 * rng.lognormal(0, 0.02, n) * np.where(np.arange(n) < 15_000, 1, 1.03)
    found = frame.aggr.changes("model")
    assert len(found) == 1
    assert found.meta["binned"] == 1
    assert abs(found["at"].item() - frame["timestamp"][15_000]) < pd.Timedelta(seconds=60)


def test_order_of_rows_and_kind_of_source_make_no_difference(tmp_path: Path) -> None:
    frame = nightly(models=2, nights=40, at=20)
    frame.loc[3, "latency_ms"] = np.nan
    frame.loc[4, ["run_id", "precision"]] = None
    with duckdb.connect(str(tmp_path / "r.duckdb")) as connection:
        connection.execute("CREATE TABLE results AS SELECT * FROM frame")
    frame.to_parquet(tmp_path / "r.parquet")
    frame.to_csv(tmp_path / "r.csv", index=False)
    with aggrkit.BenchmarkDBManager(tmp_path / "store.duckdb") as store:
        store.ingest(frame, "performance")
    wanted = pd.DataFrame(frame.aggr.changes())
    assert len(wanted) == 2
    for name in ("r.duckdb", "r.parquet"):
        pd.testing.assert_frame_equal(pd.DataFrame(aggrkit.open(tmp_path / name).changes()), wanted)
    read = aggrkit.open(tmp_path / "r.csv").changes()
    pd.testing.assert_frame_equal(
        pd.DataFrame(read).drop(columns="coincides_with"), wanted.drop(columns="coincides_with")
    )
    stored = pd.DataFrame(aggrkit.open(tmp_path / "store.duckdb").changes())
    numbers = ["change_pct", "ci_lower", "ci_upper", "before", "after"]
    np.testing.assert_allclose(stored[numbers], wanted[numbers], rtol=1e-9)
    assert stored["at"].tolist() == wanted["at"].tolist()
    shuffled = frame.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(pd.DataFrame(shuffled.aggr.changes()), wanted)


def test_times_with_zones_are_the_same_moments() -> None:
    frame = series(noisy([(30, 10.0), (30, 12.0)]))
    wanted = frame.aggr.changes("model")
    zoned = frame.assign(timestamp=frame["timestamp"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"))
    assert zoned.aggr.changes("model")["at"].tolist() == wanted["at"].tolist()


def test_bad_questions() -> None:
    frame = series(noisy([(20, 10.0)]))
    with pytest.raises(UnknownNameError, match="needs a time column"):
        frame.drop(columns="timestamp").aggr.changes("model")
    with pytest.raises(EmptySelectionError, match="can be read as a time"):
        frame.assign(timestamp="soon").aggr(timestamp="timestamp").changes("model")
    with pytest.raises(UnknownNameError, match="did you mean 'model'"):
        frame.aggr.changes("model", across="modle")
    with pytest.raises(UnknownNameError, match="latncy"):
        frame.aggr.changes("model", margin={"latncy": 0.1})
    with pytest.raises(ValueError, match="false_alarm"):
        frame.aggr.changes("model", false_alarm=0)
    with pytest.raises(ValueError, match="margin"):
        frame.aggr.changes("model", margin=-0.1)
    with pytest.raises(UnknownNameError, match="fdr_bh"):
        frame.aggr.changes("model", adjust="bh")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="'remove'"):
        frame.aggr.changes("model", common_mode="subtract")  # type: ignore[arg-type]
    with pytest.raises(SchemaError):
        frame.drop(columns="latency_ms").aggr.changes("model")
    with pytest.raises(IndexError):
        frame.aggr.changes("model").points(0)


@pytest.mark.data
def test_machine_changes_that_are_documented_are_found(data_folder: Path) -> None:
    """The db-benchmark moved from one node to another, and then to the cloud; its folder says which ran when."""
    found = aggrkit.open(data_folder / "dbbench" / "performance.parquet").changes(
        level="model", across="hardware", metrics="total_time_seconds"
    )
    beside = " ".join(found["coincides_with"])
    assert "hardware mr-0xc11 -> mr-dl11" in beside
    assert "hardware mr-dl11 -> c6id.metal" in beside
    events = found.incidents()
    moved = events[events["coincides_with"].str.contains("mr-dl11 -> c6id.metal")]
    assert len(moved) == 1
    assert moved["series"].item() >= 4
    assert moved["verdict"].item() == "improved"


@pytest.mark.data
def test_a_new_way_of_measuring_is_one_event(data_folder: Path) -> None:
    """In October 2023 the js-framework-benchmark halved nearly all total times at once, on the same laptop."""
    found = aggrkit.open(data_folder / "jsfw_bench" / "run_medians.parquet").changes(
        metrics="total_time_ms", where={"hardware": "MacBook Pro 14 M1 32GB"}
    )
    events = found.incidents()
    halved = events[events["change_pct"].lt(-40)]
    assert len(halved) == 1
    assert halved["since"].item() >= pd.Timestamp("2023-09-01")
    assert halved["until"].item() <= pd.Timestamp("2023-10-31")
