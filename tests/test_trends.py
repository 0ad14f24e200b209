"""What drifts over time: planted drifts are found, a change of mix is none, and clean data stay quiet."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import aggrkit
from aggrkit.errors import EmptySelectionError, SchemaError, UnknownNameError
from aggrkit.model.answer import COLUMNS
from aggrkit.statistics.multiplicity import adjust_pvalues

if TYPE_CHECKING:
    from pathlib import Path

START = pd.Timestamp("2025-01-01")


def nightly(drift: float = 0.005, models: int = 20, nights: int = 60) -> pd.DataFrame:
    """Return nightly runs of all models in two precisions, with the luck of the run; m7 drifts."""
    rng = np.random.default_rng(11)
    index = pd.MultiIndex.from_product([range(nights), range(models), ["fp16", "fp32"], range(3)])
    frame = index.to_frame(index=False, name=["night", "number", "precision", "repeat"])
    level = (10.0 + frame["number"]) * np.where(frame["precision"] == "fp16", 1, 2)
    luck = rng.lognormal(0, 0.005, (nights, models))[frame["night"], frame["number"]]
    frame["latency_ms"] = level * luck * rng.lognormal(0, 0.02, len(frame))
    frame["latency_ms"] *= np.where(frame["number"] == 7, 1 + drift * frame["night"], 1)
    frame["model"], frame["hardware"] = "m" + frame["number"].astype(str), "a100"
    frame["run_id"] = "r" + frame["night"].astype(str)
    frame["timestamp"] = START + pd.to_timedelta(frame["night"], unit="D")
    return frame.drop(columns=["night", "number"])


def series(values: list[float] | np.ndarray, **more: object) -> pd.DataFrame:
    times = START + pd.to_timedelta(np.arange(len(values)), unit="D")
    return pd.DataFrame({"model": "a", "timestamp": times, "latency_ms": values, **more})


def test_a_planted_drift_is_found_and_no_other() -> None:
    found = nightly().aggr.trends()
    assert list(found.columns) == ["model", "hardware", *COLUMNS["trends"]]
    told = found[found["verdict"] != "none"]
    assert told[["model", "verdict"]].to_numpy().tolist() == [["m7", "worsening"]]
    line = told.iloc[0]
    # half a percent of the first level; the median is that of the middle
    assert line["slope_pct_per_day"] == pytest.approx(0.5 / (1 + 0.005 * 29.5), rel=0.05)
    assert line["ci_lower"] < 0.5 / (1 + 0.005 * 29.5) < line["ci_upper"]
    assert (line["n"], line["start"], line["end"]) == (60, START, START + pd.Timedelta(days=59))
    said = found.explain()
    assert "1 worsening, 19 none" in said
    assert "m7" in said
    assert "The unit is the run" in said
    assert found.meta["adjusted_for"] == ["precision"]
    assert set(found.rows(int(told.index[0]))["model"]) == {"m7"}


def test_improving_worsening_and_unknown_direction() -> None:
    falling = 100 * 0.99 ** np.arange(30.0)
    frame = series(falling, throughput=falling, strange=falling, steady=5.0)
    found = frame.aggr.trends(level="model").set_index("metric")
    assert found["verdict"].astype(str).to_dict() == {
        "latency_ms": "improving",
        "throughput": "worsening",
        "strange": "trending",
        "steady": "none",
    }
    assert list(found["verdict"].cat.categories) == ["worsening", "trending", "improving", "none", "too_few"]
    assert math.isnan(found.at["steady", "pvalue"])
    assert found.at["steady", "slope_per_day"] == 0
    answer = frame.aggr.trends(level="model")
    assert answer.meta["undefined"] == {"steady, a": "all values are equal"}


def test_numbers_are_scipys_for_one_cell() -> None:
    rng = np.random.default_rng(2)
    frame = series(np.round(rng.normal(100, 5, 40) + 0.2 * np.arange(40), 1), offset=rng.normal(0, 1, 40))
    frame = frame.sample(frac=1, random_state=1)
    found = frame.aggr.trends(level="model", adjust="none").set_index("metric")
    days = (frame["timestamp"] - START) / pd.Timedelta(days=1)
    for metric in ("latency_ms", "offset"):
        slope, tau = stats.theilslopes(frame[metric], days), stats.kendalltau(days, frame[metric])
        line = found.loc[metric]
        assert line["slope_per_day"] == pytest.approx(slope.slope)
        scale = 100 / abs(frame[metric].median())
        wanted = [scale * part for part in (slope.slope, slope.low_slope, slope.high_slope)]
        assert line[["slope_pct_per_day", "ci_lower", "ci_upper"]].tolist() == pytest.approx(wanted)
        assert line[["tau", "pvalue"]].tolist() == pytest.approx([tau.statistic, tau.pvalue])


def test_a_change_of_mix_is_no_trend() -> None:
    rng = np.random.default_rng(5)
    days = np.repeat(np.arange(50), 20)
    large = rng.random(1000) < days / 50
    frame = pd.DataFrame(
        {
            "model": "a",
            "batch_size": np.where(large, 64, 8),
            "timestamp": START + pd.to_timedelta(days, unit="D"),
            "latency_ms": np.where(large, 80, 10) * rng.lognormal(0, 0.05, 1000),
        }
    )
    assert frame.aggr.trends(level="model")["verdict"].tolist() == ["none"]
    assert frame.aggr(ignore="batch_size").trends(level="model")["verdict"].tolist() == ["worsening"]


def test_pass_rates_are_pooled() -> None:
    rng = np.random.default_rng(9)
    frame = series(np.ones(400), passed=rng.random(400) < np.linspace(1, 0.5, 400))
    found = frame.aggr.trends(level="model", metrics="passed")
    assert found[["n", "verdict"]].to_numpy().tolist() == [[40, "worsening"]]
    assert found["slope_pct_per_day"].item() == pytest.approx(-50 / 400, rel=0.3)
    assert "points per day" in found.explain()
    few = frame.head(30).aggr.trends(level="model", metrics="passed")
    assert few["verdict"].tolist() == ["too_few"]


def test_many_units_are_binned_and_said_so() -> None:
    rng = np.random.default_rng(1)
    n = 5000
    times = START + pd.to_timedelta(np.arange(n), unit="h")
    frame = pd.DataFrame({"model": "a", "timestamp": times, "latency_ms": rng.lognormal(0, 0.1, n)})
    frame["latency_ms"] *= 1 + 0.001 * np.arange(n) / 24
    found = frame.aggr.trends(level="model")
    assert (found["n"].item(), found.meta["binned"]) == (2000, 1)
    assert found["slope_pct_per_day"].item() == pytest.approx(0.1 / (1 + 0.001 * n / 48), rel=0.1)
    assert "bins of time" in found.explain()


def test_very_many_moments_are_sliced_by_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggrkit.pipeline.over_time._MOST_TIMES", 100)
    found = series(100 + np.arange(300.0)).aggr.trends(level="model")
    assert found.meta["unit"] == "slice of time"
    assert found[["n", "verdict"]].to_numpy().tolist() == [[300, "worsening"]]


def test_every_source_gives_the_same(tmp_path: Path) -> None:
    frame = nightly(models=8, nights=20)
    frame.loc[3, "latency_ms"] = np.nan
    frame.loc[4, ["run_id", "precision"]] = None
    with duckdb.connect(str(tmp_path / "r.duckdb")) as connection:
        connection.execute("CREATE TABLE results AS SELECT * FROM frame")
    frame.to_parquet(tmp_path / "r.parquet")
    frame.to_csv(tmp_path / "r.csv", index=False)
    wanted = pd.DataFrame(frame.aggr.trends())
    for name in ("r.duckdb", "r.parquet", "r.csv"):
        pd.testing.assert_frame_equal(pd.DataFrame(aggrkit.open(tmp_path / name).trends()), wanted)
    shuffled = frame.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(pd.DataFrame(shuffled.aggr.trends()), wanted)
    pd.testing.assert_frame_equal(pd.DataFrame(aggrkit.trends(frame)), wanted)


def test_the_twin_has_the_methods_signature_and_words() -> None:
    mine = list(inspect.signature(aggrkit.trends).parameters.values())[1:]
    assert mine == list(inspect.signature(aggrkit.Analysis.trends).parameters.values())[1:]
    assert aggrkit.trends.__doc__ == aggrkit.Analysis.trends.__doc__


def test_bad_input() -> None:
    with pytest.raises(UnknownNameError, match="needs a time column"):
        series([1.0, 2]).drop(columns="timestamp").aggr.trends(level="model")
    with pytest.raises(EmptySelectionError, match="can be read as a time"):
        series([1.0, 2]).assign(timestamp=pd.Series([pd.NaT, pd.NaT], dtype="datetime64[ns]")).aggr.trends("model")
    with pytest.raises(EmptySelectionError):
        series([1.0, 2]).head(0).aggr.trends("model")
    with pytest.raises(UnknownNameError, match="did you mean 'latency_ms'"):
        series([1.0, 2]).aggr.trends("model", metrics="latncy_ms")
    with pytest.raises(SchemaError):
        series([1.0, 2]).drop(columns="latency_ms").aggr.trends("model")
    for alpha in (0, 1, 2):
        with pytest.raises(ValueError, match="alpha"):
            series([1.0, 2]).aggr.trends("model", alpha=alpha)
    with pytest.raises(UnknownNameError, match="adjustment"):
        series([1.0, 2]).aggr.trends("model", adjust="sidak")  # type: ignore[arg-type]


def test_little_and_odd_values() -> None:
    one = series([5.0]).aggr.trends("model")
    assert one[["n", "verdict"]].to_numpy().tolist() == [[1, "too_few"]]
    assert "not judged" in one.explain()
    empty = series([np.nan] * 6).aggr(metrics=["latency_ms"]).trends("model")
    assert empty[["n", "verdict"]].to_numpy().tolist() == [[0, "too_few"]]
    assert empty["start"].isna().all()
    text = series(np.arange(6)).astype({"latency_ms": object})
    text["latency_ms"] = ["1", "x", "3", "inf", "5", "6"]
    assert text.aggr(metrics=["latency_ms"]).trends("model")["n"].tolist() == [4]
    odd = series([1.0, np.nan, 3, np.inf, -np.inf, 6, 7, 9], other=[0.0, 0, -1, 1e308, -1e308, 3, 0, 0])
    found = odd.aggr.trends("model").set_index("metric")
    assert found["n"].to_dict() == {"latency_ms": 5, "other": 8}
    untimed = series(np.arange(1.0, 9)).assign(timestamp=[None, *(START + pd.to_timedelta(np.arange(7), unit="D"))])
    found = untimed.aggr.trends("model")
    assert (found["n"].item(), found.meta["untimed"]) == (7, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("units", "cells"), [(10, 1), (30, 1), (30, 3), (60, 5)])
def test_clean_data_rarely_trend(units: int, cells: int) -> None:
    rng = np.random.default_rng(units + cells)
    groups = 1000
    cell = rng.integers(0, cells, groups * units)
    frame = pd.DataFrame(
        {
            "model": np.char.add("m", np.repeat(np.arange(groups), units).astype(str)),
            "dataset": np.char.add("d", cell.astype(str)),
            "timestamp": START + pd.to_timedelta(np.tile(np.arange(units), groups), unit="D"),
            "latency_ms": rng.lognormal(0, 0.05, groups * units) * (1 + cell),
        }
    )
    found = frame.aggr.trends(level="model", adjust="none")
    bound = 0.05 + 3.1 * math.sqrt(0.05 * 0.95 / groups)
    assert found["pvalue"].lt(0.05).mean() <= bound
    covered = ((found["ci_lower"] <= 0) & (found["ci_upper"] >= 0))[found["tau"].notna()]
    assert covered.mean() >= 1 - bound
    assert not (adjust_pvalues(found["pvalue"]) < 0.05).any()
