"""False alarms and power where strata have few runs, and noise of any shape: by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aggrkit.statistics.comparison import Units, compare_means

SIZES = {"1 and 2": [(2, 1), (1, 2), (1, 1)], "2": [(2, 2)], "3": [(3, 3)], "5": [(5, 5)]}


def noise(kind: str, rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Make noise of cells x strata x runs; each stratum has its own scale where the kind says so."""
    own = rng.lognormal(0, 1.5, (*shape[:2], 1))
    plain = rng.normal(size=shape)
    if kind == "clusters":  # runs come in two narrow clusters, as on two states of a machine
        return (rng.random(shape) < 0.5) * np.sqrt(own) + 0.02 * plain
    return {
        "gaussian": lambda: plain,
        "lognormal": lambda: rng.lognormal(0, 0.7, shape),
        "t3": lambda: rng.standard_t(3, shape),
        "unequal": lambda: own * plain,
        "unequal clusters": lambda: (rng.random(shape) < 0.5) * own + 0.02 * rng.lognormal(0, 1.5, own.shape) * plain,
        "rare": lambda: (rng.random(shape) < 0.15) * rng.exponential(1, shape) + 0.05 * plain,
    }[kind]()


def units_of(rng: np.random.Generator, kind: str, sizes: list[tuple[int, int]], cells: int, change: float) -> Units:
    """Make cells with strata of these sizes, all changed by as much."""
    strata = len(sizes)
    value = noise(kind, rng, (cells, strata, max(map(sum, sizes))))
    parts = []
    for number, (before, after) in enumerate(sizes):
        side = np.tile(np.repeat([0, 1], (before, after)), cells)
        runs = value[:, number, : before + after].ravel() + change * side
        parts.append((runs, side, np.repeat(np.arange(cells) * strata + number, before + after)))
    merged = [np.concatenate(part) for part in zip(*parts, strict=True)]
    return Units(merged[0], merged[1], merged[2], np.repeat(np.arange(cells), strata))


@pytest.mark.parametrize(("strata", "cells"), [(2, 1500), (5, 1000), (20, 400)])
@pytest.mark.parametrize("kind", ["gaussian", "lognormal", "t3", "unequal", "clusters", "unequal clusters", "rare"])
def test_no_more_false_alarms_than_stated(kind: str, strata: int, cells: int) -> None:
    rng = np.random.default_rng([strata, len(kind)])
    for name, each in SIZES.items():
        sizes = (each * strata)[:strata]
        pvalue = compare_means(units_of(rng, kind, sizes, cells, 0.0)).pvalue
        for alpha in (0.05, 0.01):
            # a true rate of alpha exceeds this in one of a thousand simulations
            most = alpha + 3.1 * math.sqrt(alpha * (1 - alpha) / cells)
            assert (pvalue < alpha).mean() <= most, (name, alpha)


@pytest.mark.parametrize(
    ("each", "strata", "change", "least"), [(2, 4, 4.0, 0.95), (3, 4, 3.0, 0.95), (5, 2, 3.0, 0.98)]
)
def test_clear_changes_in_few_runs_are_found(each: int, strata: int, change: float, least: float) -> None:
    """A change of 3 or 4 standard deviations of a run, at the level of 1 %."""
    rng = np.random.default_rng(each)
    found = compare_means(units_of(rng, "gaussian", [(each, each)] * strata, 400, change))
    assert (found.pvalue < 0.01).mean() >= least


def test_unequal_noise_costs_little_where_runs_are_many() -> None:
    """Ten runs a side: strata are weighed by their own noise; weighed alike, the error would be 9 times the least."""
    rng = np.random.default_rng(3)
    spread = np.array([0.2, 0.2, 1.0, 5.0])
    units = units_of(rng, "gaussian", [(10, 10)] * 4, 500, 0.0)
    units = Units(units.value * spread[units.stratum % 4], units.side, units.stratum, units.cell_of)
    found = compare_means(units)
    best = math.sqrt(1 / (1 / (spread**2 / 5)).sum())
    assert found.difference.std() <= 1.6 * best
