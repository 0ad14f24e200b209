"""A metric by group and day: numbers of any part of it, against pandas on the observations themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

import aggrkit
from aggrkit import Pipeline, Selection
from aggrkit.pipeline import cube as module
from aggrkit.pipeline.cube import Cube, cube

EXACT = ["mean", "std", "min", "max"]
PERCENTILES = {"p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}
START = pd.Timestamp("2026-01-01")
INSTANT = pd.Timedelta(microseconds=1)


def counted(frame: Any, level: Any = ("model", "hardware"), metric: str = "latency_ms") -> Cube:
    analysis = frame.aggr if isinstance(frame, pd.DataFrame) else frame
    prepared = Pipeline().prepare(analysis.source(analysis.given), Selection(level=level, metrics=(metric,)))
    found = cube(prepared, prepared.metrics[0])
    assert found is not None
    return found


def results(n: int = 4000, days: int = 60, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    seconds = rng.choice(days * 86_400, n, replace=False)
    return pd.DataFrame(
        {
            "model": rng.choice(["a", "b"], n),
            "hardware": rng.choice(["x", "y", "z"], n),
            "timestamp": START + pd.to_timedelta(seconds, unit="s"),
            "latency_ms": rng.lognormal(3, 0.5, n),
        }
    )


def check(found: pd.DataFrame, frame: pd.DataFrame, names: list[str], metric: str = "latency_ms") -> None:
    """Compare counts, moments and extremes with those of pandas."""
    if names:
        wanted = [
            (labels, group[metric])
            for labels, group in frame.assign(**{name: frame[name].fillna("unknown") for name in names}).groupby(names)
        ]
        assert [tuple(line) for line in found[names].to_numpy()] == [labels for labels, _ in wanted]
    else:
        wanted = [((), frame[metric])]
    assert found["n"].tolist() == [values.count() for _, values in wanted]
    assert found["missing"].tolist() == [values.isna().sum() for _, values in wanted]
    for name in EXACT:
        np.testing.assert_allclose(
            found[name].to_numpy(dtype=float), [getattr(values, name)() for _, values in wanted], rtol=1e-9, atol=1e-12
        )


LABELS = st.sampled_from(["a", "b", "unknown", None])
ROWS = st.lists(
    st.tuples(
        LABELS,
        st.sampled_from(["x", "y", None]),
        st.none() | st.integers(0, 12 * 24 * 60 - 1),
        st.none() | st.floats(0.001, 1e6).map(lambda value: round(value, 3)),
    ),
    min_size=1,
    max_size=60,
    unique_by=lambda row: (row[2], row[3]),
)


@given(ROWS, st.integers(0, 12), st.integers(0, 12), st.booleans())
def test_any_days_of_any_cell_have_the_numbers_of_pandas(
    rows: list[tuple[Any, ...]], first: int, days: int, of_one_cell: bool
) -> None:
    frame = pd.DataFrame(rows, columns=["model", "hardware", "minute", "latency_ms"])
    frame["timestamp"] = START + pd.to_timedelta(frame.pop("minute").astype("float64"), unit="min")
    frame["latency_ms"] = frame["latency_ms"].astype("float64")
    frame = frame.astype({"model": "str", "hardware": "str"}).where(frame.notna())
    span = frame["timestamp"].max() - frame["timestamp"].min()
    held = counted(frame)
    everything = held.chosen()
    check(held.stats(["model", "hardware"], everything), frame, ["model", "hardware"])
    check(held.stats(["model"], everything), frame, ["model"])
    check(held.stats([], everything), frame, [])
    if not span > pd.Timedelta(days=3):  # so short a time is counted by hours, which the next test looks at
        return
    start, end = START + pd.Timedelta(days=first), START + pd.Timedelta(days=first + days + 1) - INSTANT
    assert held.fits(start, end)
    part = frame[frame["timestamp"].between(start, end)]
    cell = {"model": "unknown"} if of_one_cell else None
    if cell:
        part = part[part["model"].isna() | part["model"].eq("unknown")]
    kept = held.chosen(cell, start, end)
    assert held.moments["rows"][kept].sum() == len(part)
    if len(part):
        check(held.stats(["model", "hardware"], kept), part, ["model", "hardware"])
        check(held.stats([], kept), part, [])


def test_a_short_time_is_counted_by_hours() -> None:
    frame = results(500, days=3)
    held = counted(frame)
    start, end = START + pd.Timedelta(hours=5), START + pd.Timedelta(hours=31) - INSTANT
    assert held.fits(start, end)
    assert not held.fits(start + pd.Timedelta(minutes=1), end)
    part = frame[frame["timestamp"].between(start, end)]
    check(held.stats(["hardware"], held.chosen(None, start, end)), part, ["hardware"])


def test_open_ends_and_ends_within_a_bin() -> None:
    frame = results()
    held = counted(frame)
    middle = START + pd.Timedelta(days=30)
    check(held.stats([], held.chosen(None, middle, None)), frame[frame["timestamp"] >= middle], [])
    check(held.stats([], held.chosen(None, None, middle - INSTANT)), frame[frame["timestamp"] < middle], [])
    assert held.fits(None, None)
    assert held.fits(middle, None)
    assert not held.fits(middle + INSTANT, None)
    assert not held.fits(None, middle)


def test_percentiles_over_all_time_are_those_of_numpy() -> None:
    frame = results()
    held = counted(frame)
    for kept, part in (
        (held.chosen(), frame),
        (held.chosen({"model": "a"}), frame[frame["model"] == "a"]),
        (held.chosen({"model": "a", "hardware": "z"}), frame[frame["model"].eq("a") & frame["hardware"].eq("z")]),
    ):
        found = held.stats(["model", "hardware"], kept)
        by_group = part.groupby(["model", "hardware"])["latency_ms"]
        for name, share in PERCENTILES.items():
            wanted = [np.percentile(values, 100 * share) for _, values in by_group]
            np.testing.assert_allclose(found[name], wanted, rtol=1e-12)


@pytest.mark.parametrize("shape", ["log-normal", "two levels", "drifting", "groups apart"])
def test_percentiles_of_a_part_are_close(shape: str) -> None:
    """They are off by at most 2 percentage points of rank, and the median by 0.05 standard deviations.

    A cell of a group and a day holds about 33 values here, and is known by 14 of its quantiles. Each stands for the
    values halfway to the next, at most 7.5 percentage points away; over 180 cells that averages out.
    """
    rng = np.random.default_rng(3)
    frame = results(12_000, seed=3)
    day = (frame["timestamp"] - START).dt.days
    frame["latency_ms"] = {
        "log-normal": rng.lognormal(3, 0.6, len(frame)),
        "two levels": np.where(rng.random(len(frame)) < 0.3, 50, 100) + rng.normal(0, 4, len(frame)),
        "drifting": rng.normal(100, 5, len(frame)) + 0.5 * day,
        "groups apart": rng.normal(100, 5, len(frame)) + 20 * frame["model"].eq("a"),
    }[shape]
    held = counted(frame)
    start, end = START + pd.Timedelta(days=10), START + pd.Timedelta(days=40) - INSTANT
    part = frame[frame["timestamp"].between(start, end)]
    kept = held.chosen(None, start, end)
    asked = [
        (row, values)
        for row, (_, values) in zip(
            held.stats(["model"], kept).to_dict("records"), part.groupby("model")["latency_ms"], strict=True
        )
    ]
    asked.append((held.stats([], kept).iloc[0].to_dict(), part["latency_ms"]))
    for row, values in asked:
        for name, share in PERCENTILES.items():
            assert (values < row[name]).mean() - 0.02 <= share <= (values <= row[name]).mean() + 0.02
        assert abs(row["p50"] - values.median()) < 0.05 * values.std()
        ordered = [row[name] for name in ("min", *PERCENTILES, "max")]
        assert ordered == sorted(ordered)


def test_percentiles_of_many_values_that_are_alike_every_day_are_those_of_all() -> None:
    """What is known of each day is enough where days are alike: their quantiles are those of the part."""
    frame = results(30_000, days=10, seed=8)
    held = counted(frame, ["model"])
    part = frame[frame["timestamp"] >= START + pd.Timedelta(days=2)]["latency_ms"]
    found = held.stats([], held.chosen(None, START + pd.Timedelta(days=2), None)).iloc[0]
    for name, share in PERCENTILES.items():
        # three standard errors of the quantile of a cell's 1,500 values, in ranks
        off = 3 * np.sqrt(share * (1 - share) / 1500)
        assert part.quantile(max(share - off, 0)) <= found[name] <= part.quantile(min(share + off, 1))


def test_percentiles_of_equal_values_are_that_value() -> None:
    frame = results(300).assign(latency_ms=7.25)
    held = counted(frame)
    found = held.stats([], held.chosen(None, START + pd.Timedelta(days=3), None)).iloc[0]
    assert [found[name] for name in PERCENTILES] == pytest.approx([7.25] * 5, rel=1e-14)
    assert found["std"] == 0


def test_bands_over_time_are_those_of_pandas() -> None:
    frame = results(6000, days=40)
    held = counted(frame, ["model"])
    found = held.bands(held.chosen({"model": "a"}))
    part = frame[frame["model"] == "a"]
    by_day = part.groupby(part["timestamp"].dt.floor("1D"))["latency_ms"]
    assert found["time"].tolist() == list(by_day.groups)
    assert found["n"].tolist() == by_day.size().tolist()
    for name, wanted in (("mean", by_day.mean()), ("low", by_day.min()), ("high", by_day.max())):
        np.testing.assert_allclose(found[name], wanted, rtol=1e-9)
    for name, share in (("p05", 0.05), ("p50", 0.5), ("p95", 0.95)):  # of one cell each, which are known
        np.testing.assert_allclose(found[name], by_day.quantile(share), rtol=1e-9)
    middles = found["time"] + pd.Timedelta(hours=12)
    assert found["low_at"].tolist() == found["high_at"].tolist() == middles.tolist()


def test_bands_of_many_days_are_joined_to_at_most_so_many() -> None:
    frame = results(5000, days=700)
    held = counted(frame, [])
    found = held.bands(held.chosen(), most=100)
    assert len(found) <= 101  # the first bin begins where its number says, and not with the values
    assert found["n"].sum() == len(frame)
    width = found["time"].diff().min()
    binned = frame.groupby(pd.cut(frame["timestamp"], [*found["time"], found["time"].iloc[-1] + width], right=False))
    assert found["n"].tolist() == binned.size().tolist()
    np.testing.assert_allclose(found["high"], binned["latency_ms"].max())


@pytest.mark.parametrize("bins", [1, 7, 40])
def test_counts_of_the_histogram_sum_to_n(bins: int) -> None:
    frame = results()
    frame.loc[::7, "latency_ms"] = np.nan
    held = counted(frame)
    kept = held.chosen({"hardware": "y"}, START + pd.Timedelta(days=5), None)
    found = held.histogram(kept, bins)
    part = frame[frame["hardware"].eq("y") & frame["timestamp"].ge(START + pd.Timedelta(days=5))]
    assert found["count"].sum() == part["latency_ms"].count()
    assert len(found) == bins
    assert (found["low"].iloc[1:].to_numpy() == found["high"].iloc[:-1].to_numpy()).all()


def test_the_histogram_has_the_shape_of_the_values() -> None:
    frame = results(20_000, days=30, seed=5)
    held = counted(frame, ["model"])
    found = held.histogram(held.chosen())
    edges = [*found["low"], found["high"].iloc[-1]]
    wanted = np.histogram(frame["latency_ms"].clip(edges[0], edges[-1]), edges)[0]
    # no share up to an edge is off by more than 2 percentage points
    assert np.abs(found["count"].cumsum() - wanted.cumsum()).max() < 0.02 * len(frame)


def test_rows_without_a_time_count_over_all_time_only() -> None:
    frame = results(800)
    frame.loc[::4, "timestamp"] = pd.NaT
    held = counted(frame)
    check(held.stats(["model"], held.chosen()), frame, ["model"])
    timed = frame[frame["timestamp"].notna()]
    check(held.stats(["model"], held.chosen(None, START - pd.Timedelta(days=365), None)), timed, ["model"])
    assert held.bands(held.chosen())["n"].sum() == len(timed)
    found = held.stats(["model", "hardware"], held.chosen())
    wanted = frame.groupby(["model", "hardware"])["latency_ms"].quantile(0.9)
    np.testing.assert_allclose(found["p90"], wanted, rtol=1e-12)


@pytest.mark.parametrize("times", [None, pd.NaT])
def test_without_times(times: Any) -> None:
    frame = results(300).drop(columns="timestamp")
    if times is pd.NaT:
        frame["timestamp"] = pd.Series(pd.NaT, index=frame.index)
    held = counted(frame)
    assert held.bins is None
    assert held.fits(None, None)
    assert not held.fits(START, None)
    check(held.stats(["hardware"], held.chosen({"model": "b"})), frame[frame["model"] == "b"], ["hardware"])
    assert held.histogram(held.chosen())["count"].sum() == 300


def test_missing_labels_are_one_group() -> None:
    frame = results(400)
    frame.loc[::5, "model"] = None
    frame.loc[1::5, "model"] = ""
    frame.loc[2::5, "model"] = "unknown"
    held = counted(frame, ["model"])
    assert held.moments["rows"][held.chosen({"model": "unknown"})].sum() == 240
    numbers = frame.assign(batch_size=np.where(np.arange(400) % 4 == 0, np.nan, np.arange(400) % 3 + 1.0))
    held = counted(numbers, ["batch_size"])
    assert sorted(held.groups["batch_size"]) == ["1", "2", "3", "unknown"]
    wanted = numbers["batch_size"].eq(2).sum()
    for label in ("2", 2, 2.0):  # beside a missing label numbers are text
        assert held.moments["rows"][held.chosen({"batch_size": label})].sum() == wanted
    whole = counted(numbers.dropna(subset="batch_size"), ["batch_size"])
    for label in ("2", 2, 2.0):
        assert whole.moments["rows"][whole.chosen({"batch_size": label})].sum() == wanted


def test_a_group_without_a_value_is_there_with_none() -> None:
    frame = results(300)
    frame.loc[frame["model"] == "a", "latency_ms"] = np.nan
    held = counted(frame.assign(accuracy=0.5), ["model"])
    found = held.stats(["model"], held.chosen()).set_index("model")
    assert found.at["a", "n"] == 0
    assert found.loc["a", [*EXACT, *PERCENTILES]].isna().all()
    assert found.at["b", "n"] == frame["latency_ms"].count()
    nothing = held.chosen({"model": "a"})
    assert not len(held.bands(nothing))
    assert not len(held.histogram(nothing))


def test_a_pass_fail_metric() -> None:
    rng = np.random.default_rng(2)
    frame = results(900, days=20).assign(passed=rng.random(900) < 0.7)
    held = counted(frame, ["model"], "passed")
    start = START + pd.Timedelta(days=4)
    part = frame[frame["timestamp"] >= start]
    kept = held.chosen(None, start, None)
    found = held.stats(["model"], kept)
    by_model = part.groupby("model")["passed"]
    assert found["n"].tolist() == by_model.size().tolist()
    np.testing.assert_allclose(found["mean"], by_model.mean())
    assert held.histogram(kept)["count"].tolist() == [(~part["passed"]).sum(), part["passed"].sum()]
    bands = held.bands(kept)
    by_day = part.groupby(part["timestamp"].dt.floor("1D"))["passed"]
    np.testing.assert_allclose(bands["p50"], by_day.mean())
    wilson = [scipy_stats.binomtest(int(day.sum()), len(day)).proportion_ci(0.95, "wilson") for _, day in by_day]
    np.testing.assert_allclose(bands[["p05", "p95"]], [(one.low, one.high) for one in wilson])


def test_statistics_are_laid_out_as_those_of_the_source() -> None:
    frame = results(500)
    held = counted(frame)
    found = held.stats(["model", "hardware"], held.chosen())
    wanted = pd.DataFrame(frame.aggr.stats())
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False, rtol=1e-9)


def test_rows_that_are_there_twice_count_once() -> None:
    frame = results(300)
    held = counted(pd.concat([frame, frame]))
    check(held.stats(["model"], held.chosen()), frame, ["model"])


def test_one_row() -> None:
    held = counted(results(1))
    found = held.stats([], held.chosen()).iloc[0]
    assert found["n"] == 1
    assert np.isnan(found["std"])
    assert len(held.bands(held.chosen())) == 1
    assert held.histogram(held.chosen())["count"].sum() == 1


def test_a_cube_that_would_be_too_large_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_CELLS", 100)
    for frame in (results(300), results(300).drop(columns="timestamp").assign(run_id=range(300))):
        level = ["run_id"] if "run_id" in frame else ["model", "hardware"]
        prepared = Pipeline().prepare(frame.aggr.source({}), Selection(level=level, metrics=("latency_ms",)))
        assert cube(prepared, prepared.metrics[0]) is None


def test_a_file_has_the_cube_of_a_frame(tmp_path: Any) -> None:
    frame = results(700)
    frame.to_parquet(tmp_path / "results.parquet")
    held, wanted = counted(aggrkit.open(tmp_path / "results.parquet")), counted(frame)
    pd.testing.assert_frame_equal(
        held.stats(["model"], held.chosen()), wanted.stats(["model"], wanted.chosen()), rtol=1e-12
    )
