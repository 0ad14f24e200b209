"""The stated rates, by simulation through the public methods: false alarms, power, coverage, and plans that decide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import aggrkit  # noqa: F401 - registers df.aggr
from aggrkit.statistics.outliers import robust_pvalue

if TYPE_CHECKING:
    from aggrkit.findings import Comparison

pytestmark = pytest.mark.slow

MOVED = ["regressed", "improved", "changed"]


def at_most(rate: float, repetitions: int) -> float:
    """Return the share that a true rate exceeds in one of a thousand simulations of this size."""
    return rate + 3.1 * math.sqrt(rate * (1 - rate) / repetitions)


def clean(kind: str, rng: np.random.Generator, size: int) -> np.ndarray:
    draw = {
        "gauss": lambda: rng.normal(0, 1, size),
        "positive gauss": lambda: rng.normal(100, 10, size),
        "lognormal": lambda: rng.lognormal(3, 0.2, size),
        "skewed lognormal": lambda: rng.lognormal(3, 1, size),
    }
    return draw[kind]()


def cells_of(values: np.ndarray, cells: int) -> pd.DataFrame:
    names = np.char.add("m", np.arange(cells).astype(str))
    return pd.DataFrame({"model": np.repeat(names, len(values) // cells), "value": values})


@pytest.mark.parametrize("n", [5, 6, 10, 11, 30, 100, 1000])
def test_chance_of_the_largest_robust_score(n: int) -> None:
    rng = np.random.default_rng(n)
    repetitions = 40_000 if n < 1000 else 8_000
    values = rng.normal(size=(repetitions, n))
    off = np.abs(values - np.median(values, axis=1, keepdims=True))
    score = off.max(axis=1) / (1.482602218505602 * np.median(off, axis=1))
    pvalue = robust_pvalue(score, np.full(repetitions, n))
    for alpha in (0.05, 0.01, 0.001):
        assert (pvalue <= alpha).mean() <= at_most(alpha, repetitions)
    assert (pvalue <= 0.05).mean() >= 0.04


@pytest.mark.parametrize("kind", ["gauss", "positive gauss", "lognormal", "skewed lognormal"])
@pytest.mark.parametrize(
    ("cells", "sizes", "sets"), [(1, (5, 10, 30, 100), 15), (100, (5, 10, 30, 100), 4), (1000, (5, 10), 2)]
)
def test_clean_data_are_not_flagged(kind: str, cells: int, sizes: tuple[int, ...], sets: int) -> None:
    rng = np.random.default_rng(cells + len(kind))
    flagged = [
        len(cells_of(clean(kind, rng, cells * n), cells).aggr.anomalies(level="model")) > 0
        for n in sizes
        for _ in range(sets)
    ]
    assert np.mean(flagged) <= at_most(0.06, len(flagged))


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("method", ["robust", "gesd"])
def test_three_outliers_of_eight_sigma_are_found(method: str, log: bool) -> None:
    rng = np.random.default_rng(8)
    found = []
    for _ in range(20):
        values = rng.normal(size=100)
        where = rng.choice(100, 3, replace=False)
        values[where] = 8 * rng.choice([-1, 1], 3) + rng.normal(0, 0.1, 3)
        values = np.exp(3 + 0.1 * values) if log else 100 + 5 * values
        flags = cells_of(values, 1).aggr.anomalies(level="model", method=method)
        found.append(set(where) <= set(flags["observation"]))
    assert np.mean(found) >= 0.95


def two_builds(
    rng: np.random.Generator,
    cells: int,
    runs: tuple[int, int],
    iterations: int,
    between: float,
    within: float,
    change: float = 0.0,
    strata: int = 1,
) -> pd.DataFrame:
    """Make runs of two builds in many cells, with noise between runs and within them."""
    parts = []
    for build, count in zip(("a", "b"), runs, strict=True):
        shape = (cells, strata, count, iterations)
        cell, stratum, run, _ = (index.ravel() for index in np.indices(shape))
        luck = np.broadcast_to(rng.normal(0, between, shape[:3])[..., None], shape).ravel()
        moved = math.log1p(change) if build == "b" else 0.0
        number = (cell * strata + stratum) * count + run
        parts.append(
            pd.DataFrame(
                {
                    "build": build,
                    "model": np.char.add("m", cell.astype(str)),
                    "batch_size": 8 * (1 + stratum),
                    "run_id": np.char.add(build, number.astype(str)),
                    "latency_ms": 100 * (1 + stratum) * np.exp(luck + rng.normal(0, within, len(cell)) + moved),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def compared(frame: pd.DataFrame, **options: object) -> Comparison:
    return frame.aggr.compare("a", "b", by="build", level="model", **options)


def test_equal_builds_raise_no_alarm() -> None:
    found = compared(two_builds(np.random.default_rng(1), 2000, (5, 5), 20, 0.01, 0.01), adjust=None)
    assert set(found["note"]) == {""}
    assert found["verdict"].isin(MOVED).mean() <= 0.06
    assert 0.035 <= (found["pvalue"] < 0.05).mean() <= 0.065


def test_families_of_equal_builds_raise_no_alarm() -> None:
    rng = np.random.default_rng(2)
    alarms = [compared(two_builds(rng, 50, (5, 5), 4, 0.01, 0.01))["verdict"].isin(MOVED).any() for _ in range(40)]
    assert np.mean(alarms) <= at_most(0.05, 40)


def test_a_change_of_five_percent_is_found() -> None:
    found = compared(two_builds(np.random.default_rng(3), 1000, (10, 10), 1, 0.02, 0.0, 0.05))
    assert (found["verdict"] == "regressed").mean() >= 0.95


@pytest.mark.parametrize("strata", [1, 6])
@pytest.mark.parametrize("runs", [(5, 5), (5, 9)])
def test_intervals_cover_the_truth(strata: int, runs: tuple[int, int]) -> None:
    rng = np.random.default_rng(strata + runs[1])
    found = compared(two_builds(rng, 1500, runs, 3, 0.02, 0.01, 0.03, strata))
    assert 0.93 <= ((found["ci_lower"] <= 3) & (found["ci_upper"] >= 3)).mean() <= 0.97


def test_enough_equal_runs_are_equivalent() -> None:
    found = compared(two_builds(np.random.default_rng(4), 400, (20, 20), 1, 0.01, 0.0))
    assert (found["verdict"] == "equivalent").mean() >= 0.95


@pytest.mark.parametrize("change", [0.0, 0.01, 0.03, 0.04])
def test_following_the_plan_decides(change: float) -> None:
    rng = np.random.default_rng(int(100 * change))
    first = compared(two_builds(rng, 100, (4, 4), 1, 0.02, 0.0, change), adjust=None)
    undecided = first[first["verdict"] == "undecided"]
    assert len(undecided) > 30
    assert undecided["runs_needed"].notna().all()
    decided = []
    for runs, cells in undecided.groupby("runs_needed").size().items():
        again = compared(two_builds(rng, int(cells), (int(runs),) * 2, 1, 0.02, 0.0, change), adjust=None)
        decided += (again["verdict"] != "undecided").tolist()
    assert np.mean(decided) >= 0.75


@pytest.mark.parametrize("column", ["batch_size", "precision", "flavour", "model"])
def test_a_change_of_mix_is_no_regression(column: str) -> None:
    rng = np.random.default_rng(6)
    parts = []
    for build, share in (("a", 0.2), ("b", 0.8)):
        slow = rng.random(200) < share
        values = np.where(slow, 200.0, 100.0) * np.exp(rng.normal(0, 0.02, 200))
        parts.append(
            pd.DataFrame(
                {
                    "build": build,
                    "hardware": "h",
                    column: np.where(slow, "16", "8"),
                    "run_id": [f"{build}{k}" for k in range(200)],
                    "latency_ms": values,
                }
            )
        )
    frame = pd.concat(parts, ignore_index=True)
    assert frame.groupby("build")["latency_ms"].mean().pct_change().iloc[-1] > 0.3
    found = frame.aggr.compare("a", "b", by="build", level="hardware")
    assert found["verdict"].tolist() == ["equivalent"]


def test_equal_pass_rates_raise_no_alarm() -> None:
    rng = np.random.default_rng(7)
    cells, n = 1000, 100
    names = np.repeat(np.char.add("m", np.arange(cells).astype(str)), 2 * n)
    build = np.tile(np.repeat(["a", "b"], n), cells)
    run = np.char.add(build, np.arange(len(names)).astype(str))
    frame = pd.DataFrame({"model": names, "build": build, "run_id": run, "passed": rng.random(len(names)) < 0.8})
    found = compared(frame, adjust=None)
    assert (found["pvalue"] < 0.05).mean() <= 0.06
    assert 0.93 <= ((found["ci_lower"] <= 0) & (found["ci_upper"] >= 0)).mean() <= 0.98
