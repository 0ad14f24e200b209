"""Comparisons on data made by hand, against scipy, statsmodels and plain reckoning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep

import aggrkit
from aggrkit.errors import EmptySelectionError, SchemaError, UnknownNameError


def sides(baseline: Any, current: Any, metric: str = "latency_ms", **columns: Any) -> pd.DataFrame:
    """Return a frame with the values of two rounds, without runs."""
    names = ["v1"] * len(baseline) + ["v2"] * len(current)
    return pd.DataFrame({"model": "a", "hardware": "x", "round": names, metric: [*baseline, *current], **columns})


def runs(change: float = 1.0, count: int = 6, repeats: int = 5, seed: int = 0, noise: float = 0.01) -> pd.DataFrame:
    """Return two rounds of runs with repeats; a run's luck moves all its repeats."""
    rng = np.random.default_rng(seed)
    rows = []
    for side, factor in (("v1", 1.0), ("v2", change)):
        for run in range(count):
            luck = rng.normal(1, noise)
            rows += [
                {"round": side, "run_id": f"{side}-{run}", "latency_ms": 20 * factor * luck * rng.normal(1, 0.005)}
                for _ in range(repeats)
            ]
    return pd.DataFrame(rows).assign(model="a")


def one(found: pd.DataFrame) -> pd.Series:
    assert len(found) == 1
    return pd.DataFrame(found).iloc[0]


# The numbers.


def test_observations_without_runs_are_compared_by_welch_on_logarithms() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.lognormal(3, 0.05, 9), rng.lognormal(3.1, 0.15, 14)
    line = one(sides(before, after).aggr.compare("v1", "v2", by="round"))
    welch = stats.ttest_ind(np.log(after), np.log(before), equal_var=False)
    interval = welch.confidence_interval(0.95)
    assert line["change_pct"] == pytest.approx(100 * (stats.gmean(after) / stats.gmean(before) - 1), rel=1e-9)
    assert line["baseline"] == pytest.approx(stats.gmean(before), rel=1e-12)
    assert line["current"] == pytest.approx(stats.gmean(after), rel=1e-12)
    assert line["pvalue"] == pytest.approx(welch.pvalue, rel=1e-9)
    assert line["ci_lower"] == pytest.approx(100 * np.expm1(interval.low), rel=1e-9)
    assert line["ci_upper"] == pytest.approx(100 * np.expm1(interval.high), rel=1e-9)
    assert (line["n_baseline"], line["n_current"]) == (9, 14)
    assert pd.isna(line["runs_baseline"])
    assert "no run ids" in line["note"]


def test_values_that_can_be_negative_are_compared_as_they_are() -> None:
    rng = np.random.default_rng(2)
    before, after = rng.normal(-2, 1, 12), rng.normal(1, 2, 9)
    line = one(sides(before, after, "drift").aggr(metrics=["drift"]).compare("v1", by="round"))
    welch = stats.ttest_ind(after, before, equal_var=False)
    assert line["pvalue"] == pytest.approx(welch.pvalue, rel=1e-9)
    assert line["baseline"] == pytest.approx(before.mean(), rel=1e-12)
    assert line["change_pct"] == pytest.approx(100 * (after.mean() - before.mean()) / abs(before.mean()), rel=1e-9)


def test_the_unit_is_the_run() -> None:
    frame = runs(1.03)
    line = one(frame.aggr.compare("v1", "v2", by="round", level="model"))
    means = np.log(frame["latency_ms"]).groupby([frame["round"], frame["run_id"]]).mean()
    welch = stats.ttest_ind(means["v2"], means["v1"], equal_var=False)
    assert line["pvalue"] == pytest.approx(welch.pvalue, rel=1e-9)
    assert line["ci_lower"] == pytest.approx(100 * np.expm1(welch.confidence_interval().low), rel=1e-8)
    assert (line["n_baseline"], line["runs_baseline"], line["runs_current"]) == (30, 6, 6)
    assert line["note"] == ""


def test_runs_that_straddle_the_sides_are_paired() -> None:
    rng = np.random.default_rng(3)
    rows = []
    for run in range(8):
        luck = rng.normal(1, 0.2)
        for precision, factor in (("fp32", 1.0), ("fp16", 0.9)):
            rows += [
                {"run_id": f"r{run}", "precision": precision, "latency_ms": 50 * luck * factor * rng.normal(1, 0.01)}
                for _ in range(4)
            ]
    frame = pd.DataFrame(rows).assign(model="a")
    found = frame.aggr.compare("fp32", "fp16", by="precision", level="model")
    line = one(found)
    means = np.log(frame["latency_ms"]).groupby([frame["precision"], frame["run_id"]]).mean()
    paired = stats.ttest_rel(means["fp16"], means["fp32"])
    assert line["pvalue"] == pytest.approx(paired.pvalue, rel=1e-9)
    assert line["change_pct"] == pytest.approx(100 * np.expm1((means["fp16"] - means["fp32"]).mean()), rel=1e-9)
    assert line["ci_lower"] == pytest.approx(100 * np.expm1(paired.confidence_interval().low), rel=1e-9)
    assert line["verdict"] == "improved"
    assert found.details["design"].item() == "pairs of runs"
    # The luck of the runs would hide the change if they were not paired.
    assert stats.ttest_ind(means["fp16"], means["fp32"], equal_var=False).pvalue > 0.1


def test_a_single_run_on_a_side_falls_back_to_observations_with_a_note() -> None:
    frame = runs(1.0, count=1, repeats=12)
    line = one(frame.aggr.compare("v1", "v2", by="round", level="model"))
    logs = [np.log(part["latency_ms"]) for _, part in frame.groupby("round")]
    assert line["pvalue"] == pytest.approx(stats.ttest_ind(logs[1], logs[0], equal_var=False).pvalue, rel=1e-9)
    assert "a single run on a side" in line["note"]
    assert (line["runs_baseline"], line["runs_current"]) == (1, 1)


def test_pass_rates_are_compared_in_percentage_points() -> None:
    frame = sides([True] * 90 + [False] * 10, [True] * 60 + [False] * 40, "passed")
    line = one(frame.aggr.compare("v1", by="round"))
    assert (line["baseline"], line["current"], line["change_pct"]) == (0.9, 0.6, pytest.approx(-30.0))
    lower, upper = confint_proportions_2indep(60, 100, 90, 100, method="newcomb")
    assert (line["ci_lower"], line["ci_upper"]) == (pytest.approx(100 * lower), pytest.approx(100 * upper))
    assert line["pvalue"] == pytest.approx(stats.fisher_exact([[60, 40], [90, 10]]).pvalue, rel=1e-9)
    assert line["verdict"] == "regressed"
    assert "percentage points" in line["note"]
    steady = sides([True] * 5000, [True] * 5000, "passed").aggr.compare("v1", by="round")
    assert one(steady)["verdict"] == "equivalent"
    few = sides([True] * 10, [True] * 8 + [False] * 2, "passed").aggr.compare("v1", by="round")
    assert one(few)["verdict"] == "undecided"


def test_skips_and_errors_are_no_failures() -> None:
    frame = sides(["pass"] * 50 + ["fail"] * 50, ["pass"] * 50 + ["skip"] * 30 + ["fail"] * 50, "status")
    line = one(frame.aggr.compare("v1", by="round"))
    assert (line["n_current"], line["change_pct"]) == (100, 0.0)


# The verdicts.


@pytest.mark.parametrize(
    ("metric", "change", "verdict"),
    [
        ("latency_ms", 1.10, "regressed"),
        ("latency_ms", 0.90, "improved"),
        ("throughput", 0.90, "regressed"),
        ("throughput", 1.10, "improved"),
        ("spin", 1.10, "changed"),
        ("spin", 0.90, "changed"),
        ("latency_ms", 1.00, "equivalent"),
        ("latency_ms", 1.005, "equivalent"),
    ],
)
def test_direction_decides_what_a_change_means(metric: str, change: float, verdict: str) -> None:
    rng = np.random.default_rng(4)
    values = 100 * rng.normal(1, 0.005, 20)
    line = one(sides(values, change * values[::-1], metric).aggr.compare("v1", "v2", by="round"))
    assert line["verdict"] == verdict
    turned = one(sides(values, change * values[::-1], metric).aggr.compare("v2", "v1", by="round"))
    opposite = {"regressed": "improved", "improved": "regressed"}
    assert turned["verdict"] == opposite.get(verdict, verdict)


def test_a_change_within_the_margin_is_no_verdict_however_certain() -> None:
    rng = np.random.default_rng(5)
    frame = sides(rng.normal(100, 0.1, 50), rng.normal(101, 0.1, 50))
    line = one(frame.aggr.compare("v1", by="round"))
    assert line["pvalue"] < 1e-6
    assert line["verdict"] == "equivalent"
    assert one(frame.aggr.compare("v1", by="round", margin=0.005))["verdict"] == "regressed"
    assert one(frame.aggr.compare("v1", by="round", margin={"latency_ms": 0.005}))["verdict"] == "regressed"
    with pytest.raises(UnknownNameError, match="latency_ms"):
        frame.aggr.compare("v1", by="round", margin={"latncy_ms": 0.005})


def test_too_few_noisy_runs_are_undecided_and_say_how_many_would_do() -> None:
    line = one(runs(1.0, count=3, noise=0.03, seed=7).aggr.compare("v1", by="round", level="model"))
    assert line["verdict"] == "undecided"
    assert line["runs_needed"] > 3


@pytest.mark.parametrize(
    ("before", "after", "verdict", "change"),
    [
        ([5.0] * 4, [5.0] * 4, "equivalent", 0.0),
        ([5.0] * 4, [6.0] * 4, "regressed", 20.0),
        ([5.0] * 4, [5.05] * 4, "equivalent", 1.0),
        ([5.0] * 4, [4.0] * 4, "improved", -20.0),
        ([0.0] * 4, [0.0] * 4, "equivalent", 0.0),
        ([0.0] * 4, [1.0] * 4, "regressed", np.nan),
        ([1.0] * 4, [0.0] * 4, "improved", -100.0),
        ([0.0] * 5, [1.0, 1.1, 0.9, 1.0, 1.05], "regressed", np.nan),
        ([5.0], [6.0], "undecided", 20.0),
        ([5.0], [5.0], "undecided", 0.0),
        ([5.0, 5.01, 4.99, 5.0, 5.0], [8.0], "regressed", 60.0),
        ([5.0, 5.1], [None, None], "no_data", np.nan),
        ([None], [5.0], "no_data", np.nan),
        ([-5.0], [3.0, 4.0], "no_data", np.nan),
    ],
)
def test_degenerate_sides_have_a_defined_verdict(before: Any, after: Any, verdict: str, change: float) -> None:
    found = sides(before, after).aggr.compare("v1", "v2", by="round")
    line = one(found)
    assert line["verdict"] == verdict
    assert line["change_pct"] == pytest.approx(change, rel=1e-3, nan_ok=True)
    if verdict == "no_data":
        assert line["note"].startswith("no data in ")
    assert found.explain()
    assert found["verdict"].notna().all()


def test_zero_variance_is_told() -> None:
    assert "no variation on either side" in one(sides([5.0] * 4, [6.0] * 4).aggr.compare("v1", by="round"))["note"]


def test_p_values_are_adjusted_over_the_whole_table() -> None:
    rng = np.random.default_rng(6)
    frame = pd.DataFrame({"model": np.repeat([f"m{k}" for k in range(20)], 20), "round": ["v1", "v2"] * 200})
    frame["latency_ms"] = rng.lognormal(0, 0.05, 400) * np.where(
        frame["model"].eq("m3") & frame["round"].eq("v2"), 1.2, 1
    )
    frame["throughput"] = rng.normal(100, 3, 400)
    for adjust, method in (("fdr_bh", "fdr_bh"), ("holm", "holm"), ("bonferroni", "bonferroni"), ("fdr_by", "fdr_by")):
        found = frame.aggr.compare("v1", by="round", level="model", adjust=adjust)
        wanted = multipletests(found["pvalue"], method=method)[1]
        np.testing.assert_allclose(found["pvalue_adjusted"], wanted, rtol=1e-9)
    for adjust in ("none", None):
        found = frame.aggr.compare("v1", by="round", level="model", adjust=adjust)
        assert found["pvalue_adjusted"].tolist() == found["pvalue"].tolist()
    assert found["verdict"].iloc[0] == "regressed"
    assert found["model"].iloc[0] == "m3"


# Like with like.


def mixed(change: float, seed: int = 8) -> pd.DataFrame:
    """Return sides that differ in their mix of batch sizes; a batch of 64 takes ten times as long."""
    rng = np.random.default_rng(seed)
    sizes = np.array([8] * 40 + [64] * 10 + [8] * 10 + [64] * 40)
    frame = pd.DataFrame({"model": "a", "round": ["v1"] * 50 + ["v2"] * 50, "batch_size": sizes})
    frame["latency_ms"] = np.where(sizes == 64, 100.0, 10.0) * rng.normal(1, 0.01, 100)
    frame.loc[50:, "latency_ms"] *= change
    return frame


def test_a_change_of_mix_is_no_change() -> None:
    frame = mixed(1.0)
    found = frame.aggr.compare("v1", by="round", level="model")
    line = one(found)
    assert line["verdict"] == "equivalent"
    assert abs(line["change_pct"]) < 1.5
    assert "batch_size" in found.meta["matched_on"]
    assert found.details["strata"].item() == 2
    # Compared as wholes the mix alone would be a change of hundreds of percent.
    plain = frame.groupby("round")["latency_ms"].mean()
    assert plain["v2"] / plain["v1"] > 2


def test_a_change_inside_every_stratum_is_found_against_the_mix() -> None:
    frame = mixed(0.95)
    line = one(frame.aggr.compare("v1", by="round", level="model"))
    assert line["verdict"] == "improved"
    strata = np.log(frame["latency_ms"]).groupby([frame["batch_size"], frame["round"]]).mean().unstack()
    changes = 100 * np.expm1(strata["v2"] - strata["v1"])
    assert changes.min() <= line["change_pct"] <= changes.max()


def test_what_only_one_side_has_is_left_out_and_told() -> None:
    frame = pd.concat([mixed(1.0), mixed(1.0).query("round == 'v1'").assign(batch_size=128, latency_ms=500.0)])
    found = frame.aggr.compare("v1", by="round", level="model")
    line = one(found)
    assert line["verdict"] == "equivalent"
    assert "33 % of the observations unmatched" in line["note"]
    assert found.details["left_out_pct"].item() == pytest.approx(100 / 3)


def test_sides_that_share_no_condition_are_undecided_and_the_condition_is_named() -> None:
    rng = np.random.default_rng(9)
    changed = sides(rng.normal(100, 1, 8), rng.normal(150, 1, 8), batch_size=[8] * 8 + [16] * 8)
    steady = sides(rng.normal(50, 0.2, 8), rng.normal(50, 0.2, 8), batch_size=[8] * 16).assign(model="b")
    found = pd.concat([changed, steady]).aggr.compare("v1", by="round", level="model").set_index("model")
    assert found.loc["a", "verdict"] == "undecided"
    assert "not like with like" in found.loc["a", "note"]
    assert "batch_size (8 -> 16)" in found.loc["a", "note"]
    assert pd.isna(found.loc["a", "runs_needed"])
    assert found.loc["b", "verdict"] == "equivalent"


def test_a_condition_that_changed_everywhere_is_named() -> None:
    frame = sides([10.0, 10.1, 9.9], [20.0, 20.1, 19.9], batch_size=[8] * 3 + [16] * 3)
    assert "batch_size (8 -> 16)" in one(frame.aggr.compare("v1", by="round"))["note"]


def test_a_model_on_one_side_only_has_no_data() -> None:
    frame = pd.concat(
        [sides([1.0, 2.0], [1.0, 2.0]), sides([5.0, 6.0], []).assign(model="old"), sides([], [7.0]).assign(model="new")]
    )
    found = frame.aggr.compare("v1", "v2", by="round", level="model").set_index("model")
    assert (found.loc["old", "verdict"], found.loc["old", "note"]) == ("no_data", "no data in v2")
    assert (found.loc["new", "verdict"], found.loc["new", "note"]) == ("no_data", "no data in v1")
    assert found.loc["old", ["n_baseline", "n_current"]].tolist() == [2, 0]
    assert found.loc["new", "current"] == pytest.approx(7.0)


# How the sides are said.


def three_rounds() -> pd.DataFrame:
    rng = np.random.default_rng(10)
    frame = pd.DataFrame({"model": np.tile(["a", "b"], 45), "round": np.repeat(["v1", "v2", "v3"], 30)})
    frame["timestamp"] = pd.date_range("2025-01-01", periods=90, freq="D")
    frame["latency_ms"] = rng.lognormal(3, 0.02, 90)
    frame["passed"] = rng.random(90) < 0.9
    return frame


def plain(found: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(found).reset_index(drop=True)


def test_sides_by_column_time_and_span_are_the_same_rows() -> None:
    frame = three_rounds()
    wanted = plain(frame.query("round != 'v1'").aggr.compare("v2", "v3", by="round", level="model"))
    first, middle, last = (frame["timestamp"].iloc[k] for k in (30, 59, 60))
    latter = frame.query("round != 'v1'")
    for found in (
        frame.aggr.compare("v2", "v3", by="round", level="model"),
        frame.aggr.compare(["v2"], ("v3",), by="round", level="model"),
        frame.aggr.compare((first, middle), (last, None), level="model"),
        frame.aggr.compare((str(first), middle.tz_localize("UTC")), aggrkit.TimeRange(last), level="model"),
        latter.aggr.compare((None, middle), level="model"),
        latter.aggr.compare(pd.Timedelta("30D"), level="model"),
        latter.aggr.compare(pd.Timedelta("30D").to_pytimedelta(), level="model"),
        latter.aggr.compare(np.timedelta64(30, "D"), level="model"),
        frame.query("round == 'v3'").aggr.compare(frame.query("round == 'v2'"), level="model"),
    ):
        pd.testing.assert_frame_equal(
            plain(found).drop(columns="note"), wanted.drop(columns="note"), rtol=1e-9, atol=1e-12
        )


def test_all_other_values_are_current_where_none_is_said() -> None:
    frame = three_rounds()
    found = frame.aggr.compare("v1", by="round", level="model")
    wanted = frame.aggr.compare("v1", ["v2", "v3"], by="round", level="model")
    pd.testing.assert_frame_equal(plain(found), plain(wanted))
    assert found.meta["current"] == "all others"


def test_the_column_that_tells_the_sides_is_dropped_from_the_level() -> None:
    frame = three_rounds()
    found = frame.aggr.compare("v1", "v2", by="round", level=["round", "model"])
    assert "round" not in found.columns
    pd.testing.assert_frame_equal(plain(found), plain(frame.aggr.compare("v1", "v2", by="round", level="model")))
    found = frame.aggr.compare("a", "b", by="model")
    assert list(found.columns[:2]) == ["hardware", "metric"]


def test_rows_behind_a_line_are_those_of_both_sides() -> None:
    frame = three_rounds()
    found = frame.aggr.compare("v1", "v2", by="round", level="model")
    for i in range(len(found)):
        wanted = frame[frame["model"].eq(found["model"].iloc[i]) & frame["round"].ne("v3")]
        pd.testing.assert_frame_equal(found.rows(i), wanted)
    recent = frame.aggr.compare((None, "2025-01-10"), ("2025-03-01", None), level=[])
    assert len(recent.rows(0)) == 10 + 31


def test_another_frame_as_baseline() -> None:
    rng = np.random.default_rng(11)
    times = pd.date_range("2025-01-01", periods=20, freq="h")
    before = pd.DataFrame({"model": "a", "timestamp": times, "latency_ms": rng.normal(100, 1, 20), "old": "x"})
    after = before.assign(latency_ms=before["latency_ms"] * 1.1).drop(columns="old")
    copies = before.copy(deep=True), after.copy(deep=True)
    line = one(after.aggr.compare(before, level="model"))
    assert (line["verdict"], line["change_pct"]) == ("regressed", pytest.approx(10.0))
    assert (line["n_baseline"], line["n_current"]) == (20, 20)
    # The same rows on both sides are not copies of each other.
    line = one(before.aggr.compare(before, level="model"))
    assert (line["n_baseline"], line["n_current"], line["change_pct"]) == (20, 20, 0.0)
    # Roles that were said hold for both.
    named = one(
        after.rename(columns={"model": "net"}).aggr(model="net").compare(before.rename(columns={"model": "net"}))
    )
    assert (named["model"], named["verdict"]) == ("a", "regressed")
    pd.testing.assert_frame_equal(before, copies[0])
    pd.testing.assert_frame_equal(after, copies[1])
    with pytest.raises(ValueError, match="leave out 'current'"):
        after.aggr.compare(before, "v2")


def test_an_earlier_answer_keeps_its_own_baseline(tmp_path: Any) -> None:
    frame = sides([1.0, 2.0], [3.0, 4.0])
    frame.to_parquet(tmp_path / "x.parquet")
    opened = aggrkit.open(tmp_path / "x.parquet")
    first = opened.compare(frame.assign(latency_ms=10.0), level="model")
    second = opened.compare(frame.assign(latency_ms=70.0), level="model")
    assert first.rows(0)["latency_ms"].sum() == 10.0 + 40.0
    assert second.rows(0)["latency_ms"].sum() == 10.0 + 280.0


def test_a_misspelt_side_lists_the_values_there_are() -> None:
    frame = three_rounds().assign(round=lambda f: f["round"].map({"v1": "first", "v2": "second", "v3": "third"}))
    with pytest.raises(EmptySelectionError, match="did you mean 'second'") as raised:
        frame.aggr.compare("secnd", by="round")
    for value in ("'first'", "'second'", "'third'"):
        assert value in str(raised.value)
    with pytest.raises(EmptySelectionError, match="no observation is current"):
        frame.aggr.compare("first", "nowhere", by="round")
    with pytest.raises(UnknownNameError, match="did you mean 'round'"):
        frame.aggr.compare("first", by="rnd")
    with pytest.raises(UnknownNameError, match="by='round'"):
        frame.aggr.compare("first", "second")
    with pytest.raises(ValueError, match="must differ"):
        frame.aggr.compare("first", ["first", "second"], by="round")
    with pytest.raises(EmptySelectionError, match="no observation is baseline"):
        frame.aggr.compare(("2020-01-01", "2020-02-01"), ("2025-01-01", None))
    with pytest.raises((UnknownNameError, SchemaError), match="timestamp"):
        frame.drop(columns="timestamp").aggr.compare(pd.Timedelta("1D"))


@pytest.mark.parametrize("arguments", [{"margin": 0}, {"margin": 2}, {"alpha": 0}, {"alpha": 0.7}])
def test_impossible_parameters_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="between 0 and"):
        three_rounds().aggr.compare("v1", by="round", **arguments)
    with pytest.raises(UnknownNameError, match="fdr_bh"):
        three_rounds().aggr.compare("v1", by="round", adjust="fdr")  # type: ignore[arg-type]


# Real data: runs that were handed in again in a later round.


@pytest.mark.parametrize(("before", "after"), [("v2.1", "v3.0"), ("v3.0", "v3.1"), ("v2.1", "v3.1")])
def test_resubmitted_runs_are_no_regression(before: str, after: str) -> None:
    frame = aggrkit.datasets.load("mlperf_training")
    same = ["model", "timestamp", "seed", "total_time_seconds"]
    both = frame[frame["round"].isin([before, after])].dropna(subset=same)
    again = both[both.groupby(same)["round"].transform("nunique").eq(2)].drop_duplicates([*same, "round"])
    assert again.groupby("round").size().nunique() == 1
    assert len(again), f"no run of {before} was handed in again in {after}"
    for level in ("model", "model_hardware", []):
        found = again.aggr.compare(before, after, by="round", level=level, metrics="total_time_seconds")
        told = found[found["verdict"] != "no_data"]
        assert len(told)
        assert not told["verdict"].isin(["regressed", "improved"]).any(), told
