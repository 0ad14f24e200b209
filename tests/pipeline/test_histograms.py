"""Histograms: every value is in one bin, and in the right one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aggrkit
from aggrkit import Pipeline, Selection
from aggrkit.errors import SchemaError, UnknownNameError
from aggrkit.pipeline.histograms import histograms

if TYPE_CHECKING:
    from pathlib import Path


def counted(source: Any, level: Any = (), metric: str = "latency_ms", **options: Any) -> pd.DataFrame:
    analysis = source if not isinstance(source, pd.DataFrame) else source.aggr
    prepared = Pipeline().prepare(analysis.source(analysis.given), Selection(level=level))
    return histograms(prepared, metric, **options)


def frame_of(values: Any) -> pd.DataFrame:
    return pd.DataFrame({"latency_ms": pd.array(values, dtype="Float64")}).astype("float64")


def check_against_numpy(found: pd.DataFrame, values: Any) -> None:
    """Compare with numpy's count in the same bins; its last bin holds its right edge, ours never has one."""
    edges = np.append(found["low"], found["high"].iloc[-1])
    inside = np.append(edges[:-1], np.nextafter(edges[-1], -np.inf) if math.isfinite(edges[-1]) else np.inf)
    wanted, _ = np.histogram(np.asarray(values, dtype=float), np.unique(np.append(inside, edges[-1])))
    if len(wanted) > len(found):
        wanted = np.append(wanted[: len(found) - 1], wanted[len(found) - 1 :].sum())
    assert found["count"].tolist() == wanted.tolist()
    assert (found["low"].iloc[1:].to_numpy() == found["high"].iloc[:-1].to_numpy()).all()


SHAPES = {
    "normal": lambda rng: rng.normal(100, 5, 3000),
    "log-normal": lambda rng: rng.lognormal(3, 2, 3000),
    "two levels": lambda rng: np.append(rng.normal(10, 1, 500), rng.normal(50, 1, 500)),
    "far tail": lambda rng: np.append(rng.normal(10, 1, 2000), [900.0, 1e6, 0.001]),
    "whole numbers": lambda rng: rng.poisson(4, 2000).astype(float),
    "ties at edges": lambda rng: rng.integers(0, 40, 2000) / 10,
    "tenths": lambda rng: rng.choice([0.1, 0.2, 0.3, 0.7, 0.30000000000000004], 500),
    "constant": lambda rng: np.full(50, 3.7),
    "one value": lambda rng: np.array([12.5]),
    "zeros": lambda rng: np.zeros(9),
    "tiny": lambda rng: rng.random(400) * 1e-300,
    "huge": lambda rng: rng.random(400) * 1e308,
    "close together": lambda rng: 1e15 + rng.integers(0, 8, 300) / 8,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bins", [1, 7, 40])
def test_counts_are_those_of_numpy_with_the_same_edges(shape: str, bins: int) -> None:
    values = SHAPES[shape](np.random.default_rng(5))
    found = counted(frame_of(values), bins=bins)
    assert found["count"].sum() == len(values)
    assert len(found) <= bins + 3  # edges are round, so that the range may take one bin more; and two without an end
    check_against_numpy(found, values)


@given(
    st.lists(
        st.one_of(
            st.floats(0, 1e300, allow_nan=False), st.integers(0, 20).map(float), st.sampled_from([0.0, 1e-320, 1e308])
        ),
        min_size=1,
        max_size=60,
    )
)
def test_no_value_vanishes(values: list[float]) -> None:
    found = counted(frame_of(values))
    assert found["count"].sum() == len(values)
    check_against_numpy(found, values)


def test_counts_of_groups_sum_to_their_n() -> None:
    frame = aggrkit.datasets.load("mlperf_training")
    found = counted(frame, ["model", "hardware"], "total_time_seconds")
    stats = frame.aggr.stats(metrics="total_time_seconds")
    wanted = stats[stats["n"] > 0].set_index(["model", "hardware"])["n"]
    pd.testing.assert_series_equal(
        found.groupby(["model", "hardware"])["count"].sum(), wanted, check_names=False, check_dtype=False
    )
    edges = [tuple(group["low"]) for _, group in found.groupby(["model", "hardware"])]
    assert len(set(edges)) == 1


def test_edges_are_round_and_the_far_tail_is_open() -> None:
    found = counted(frame_of(np.append(np.linspace(1, 9, 1600), [5000.0])))
    assert found["low"].iloc[0] == 1.0
    assert found["high"].iloc[-1] == math.inf
    assert found["count"].iloc[-1] == 1
    widths = (found["high"] - found["low"]).iloc[:-1].round(12)
    assert widths.unique().tolist() == [0.5]


def test_values_over_decades_are_counted_by_parts_of_decades() -> None:
    found = counted(frame_of(10 ** np.linspace(-1, 3, 1600)))
    ratios = (found["high"] / found["low"]).round(9)
    assert ratios.nunique() == 1
    assert {0.1, 1.0, 10.0, 100.0} <= set(found["low"])


def test_missing_values_and_groups_without_any_are_not_there() -> None:
    frame = pd.DataFrame({"model": ["a", "a", "b", None], "latency_ms": [1.0, None, None, 2.0]})
    found = counted(frame, "model")
    assert found.groupby("model")["count"].sum().to_dict() == {"a": 1, "unknown": 1}
    nothing = counted(pd.DataFrame({"model": ["a"], "latency_ms": [float("nan")]}), "model")
    assert list(nothing.columns) == ["model", "low", "high", "count"]
    assert not len(nothing)


def test_infinities_of_a_pipeline_that_keeps_them_are_in_open_bins() -> None:
    frame = pd.DataFrame({"latency_ms": [1.0, 2.0, float("inf"), -float("inf")]})
    analysis = frame.aggr
    prepared = Pipeline().without("invalid").prepare(analysis.source(analysis.given), Selection(level=()))
    found = histograms(prepared, "latency_ms")
    assert found["count"].sum() == frame.aggr(pipeline=Pipeline().without("invalid")).stats(level=[])["n"].iloc[0]


def test_a_file_counts_as_a_frame_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"model": rng.choice(["a", "b"], 500), "latency_ms": rng.integers(0, 40, 500) / 10})
    path = tmp_path / "results.csv"
    frame.to_csv(path, index=False)
    pd.testing.assert_frame_equal(counted(aggrkit.open(path), "model"), counted(frame, "model"), check_dtype=False)


def test_it_takes_two_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    from aggrkit.pipeline import histograms as module

    asked = []
    fetch = module.fetch
    monkeypatch.setattr(module, "fetch", lambda *arguments: asked.append(1) or fetch(*arguments))
    counted(frame_of(range(100)))
    assert len(asked) == 2


def test_wrong_questions_are_told() -> None:
    frame = pd.DataFrame({"low": ["a", "b"], "latency_ms": [1.0, 2.0]})
    with pytest.raises(UnknownNameError, match="did you mean 'latency_ms'"):
        counted(frame, metric="latency")
    with pytest.raises(SchemaError, match="'low'"):
        counted(frame, ["low"])
    with pytest.raises(ValueError, match="whole number"):
        counted(frame, bins=0)
