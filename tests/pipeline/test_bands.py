"""A metric over time in bins: what pandas finds in the same bins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

import aggrkit
from aggrkit import Pipeline, Selection
from aggrkit.errors import EmptySelectionError, UnknownNameError
from aggrkit.pipeline.bands import TimeBins, bands

COLUMNS = ["time", "n", "mean", "p05", "p50", "p95", "low", "high", "low_at", "high_at"]


def asked(source: Any, metric: str = "latency_ms", most: int = 120, **selected: Any) -> pd.DataFrame:
    analysis = source.aggr if isinstance(source, pd.DataFrame) else source
    prepared = Pipeline().prepare(analysis.source(analysis.given), Selection(level=(), metrics=(metric,), **selected))
    return bands(prepared, prepared.metrics[0], most)


def results(n: int = 2000, days: float = 90, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    seconds = np.sort(rng.choice(int(days * 86_400), n, replace=False))
    return pd.DataFrame(
        {
            "model": rng.choice(["a", "b"], n),
            "timestamp": pd.Timestamp("2026-01-01") + pd.to_timedelta(seconds, unit="s"),
            "latency_ms": rng.lognormal(3, 0.4, n),
        }
    )


@pytest.mark.parametrize(
    ("days", "most", "width"),
    [(90, 120, "1D"), (90, 20, "7D"), (2, 120, "1h"), (0.05, 120, "1min"), (4000, 120, "91D"), (0.05, 1000, "5s")],
)
def test_each_bin_has_the_numbers_of_pandas(days: float, most: int, width: str) -> None:
    frame = results(1500, days).sample(frac=1, random_state=1)
    found = asked(frame, most=most)
    assert list(found.columns) == COLUMNS
    assert len(found) <= most
    seconds = int(pd.Timedelta(width).total_seconds())
    epoch = (frame["timestamp"] - pd.Timestamp(0)).dt.total_seconds().to_numpy()
    binned = frame.assign(bin=np.floor(epoch / seconds)).groupby("bin")
    values = binned["latency_ms"]
    assert found["time"].tolist() == [pd.Timestamp(number * seconds, unit="s") for number in binned.groups]
    assert found["n"].tolist() == values.size().tolist()
    for name, wanted in (
        ("mean", values.mean()),
        ("p05", values.quantile(0.05)),
        ("p50", values.quantile(0.5)),
        ("p95", values.quantile(0.95)),
        ("low", values.min()),
        ("high", values.max()),
    ):
        np.testing.assert_allclose(found[name], wanted, rtol=1e-9)
    for name, places in (("low_at", values.idxmin()), ("high_at", values.idxmax())):
        assert found[name].tolist() == frame.loc[places, "timestamp"].tolist()


def test_bins_hold_fractions_of_a_second_and_times_before_1970() -> None:
    times = ["1969-12-30 23:59:59.7", "1969-12-31", "1969-12-31 23:59:59.999999", "1970-04-01"]
    frame = pd.DataFrame({"timestamp": [pd.Timestamp(time) for time in times], "latency_ms": [1.0, 2.0, 3.0, 4.0]})
    found = asked(frame)
    assert found["time"].tolist() == [pd.Timestamp(day) for day in ("1969-12-30", "1969-12-31", "1970-04-01")]
    assert found["n"].tolist() == [1, 2, 1]


@pytest.mark.parametrize("span", ["1s", "59s", "1h", "1D", "100D", "3650D", "20000D"])
@pytest.mark.parametrize("most", [2, 20, 120, 740])
def test_there_are_at_most_so_many_bins(span: str, most: int) -> None:
    last = pd.Timestamp("2026-02-03 04:05:06")
    first = last - pd.Timedelta(span)
    made = TimeBins.over(first, last, most)
    numbers = [moment.timestamp() // made.width for moment in (first, last)]
    assert numbers[1] - numbers[0] + 1 <= most


def test_missing_values_and_missing_times_are_left_out() -> None:
    frame = results(300)
    frame.loc[::3, "latency_ms"] = np.nan
    frame.loc[1::3, "timestamp"] = pd.NaT
    assert asked(frame)["n"].sum() == 100
    nothing = asked(frame.assign(latency_ms=np.nan, accuracy=0.5))
    assert list(nothing.columns) == COLUMNS
    assert not len(nothing)
    assert not len(asked(frame.assign(timestamp=pd.NaT)))


def test_one_value_is_one_bin() -> None:
    found = asked(results(1))
    assert found["n"].tolist() == [1]
    assert found[["mean", "p05", "p50", "p95", "low", "high"]].nunique(axis=1).tolist() == [1]


def test_rows_that_are_there_twice_count_once() -> None:
    frame = results(200)
    assert asked(pd.concat([frame, frame]))["n"].sum() == 200


def test_filters_and_time_range_are_heeded() -> None:
    frame = results()
    found = asked(frame, where=(("model", "a"),), time_range=("2026-02-01", "2026-02-14T23:59:59.999999"))
    part = frame[frame["model"].eq("a") & frame["timestamp"].between("2026-02-01", "2026-02-14T23:59:59.999999")]
    assert found["n"].sum() == len(part)
    assert found["high"].max() == part["latency_ms"].max()


def test_a_pass_fail_metric_has_its_rate_and_the_interval_of_scipy() -> None:
    rng = np.random.default_rng(4)
    frame = results(600, 100).assign(passed=rng.random(600) < 0.8)[["timestamp", "passed"]]
    found = asked(frame, "passed")
    by_day = frame.groupby(frame["timestamp"].dt.floor("1D"))["passed"]
    assert found["time"].tolist() == list(by_day.groups)
    np.testing.assert_allclose(found["p50"], by_day.mean())
    for row, (_, passed) in zip(found.itertuples(), by_day, strict=True):
        wanted = scipy_stats.binomtest(int(passed.sum()), len(passed)).proportion_ci(0.95, "wilson")
        assert (row.p05, row.p95) == pytest.approx((wanted.low, wanted.high))
    assert found[["low", "high", "low_at", "high_at"]].isna().all(axis=None)


def test_what_cannot_be_asked_is_said() -> None:
    with pytest.raises(UnknownNameError, match="needs a time column"):
        asked(results()[["model", "latency_ms"]])
    with pytest.raises(EmptySelectionError, match="no observation has model 'c'"):
        asked(results(), where=(("model", "c"),))


def test_a_file_has_the_bands_of_a_frame(tmp_path: Any) -> None:
    frame = results()
    frame.to_parquet(tmp_path / "results.parquet")
    pd.testing.assert_frame_equal(asked(aggrkit.open(tmp_path / "results.parquet")), asked(frame))
