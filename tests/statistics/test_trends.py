"""Theil and Sen's slope and Mann and Kendall's test against scipy, and what must hold of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aggrkit.statistics.trends import mann_kendall, theil_sen, time_bins

NUMBERS = st.integers(0, 2**32 - 1)


def points(number: int, n: int, times: int, digits: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    t = np.append(rng.integers(0, times, n - 2), [0, times]).astype(float)
    return t, np.round(rng.normal(0, 1, n) + 0.05 * t, digits)


@given(NUMBERS, st.integers(3, 60), st.integers(2, 100), st.integers(0, 6), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_slope_and_interval_are_scipys(number: int, n: int, times: int, digits: int, confidence: float) -> None:
    t, y = points(number, n, times, digits)
    # scipy reads levels up to 0.5 as the chance to miss
    wanted = stats.theilslopes(y, t, alpha=confidence)
    found = theil_sen(t, y, confidence)
    assert found == pytest.approx((wanted.slope, wanted.low_slope, wanted.high_slope), rel=1e-12, abs=1e-14)


@given(NUMBERS, st.integers(3, 60), st.integers(2, 100), st.integers(0, 6))
def test_trend_test_is_scipys(number: int, n: int, times: int, digits: int) -> None:
    t, y = points(number, n, times, digits)
    if np.ptp(y) == 0:
        return
    wanted = stats.kendalltau(t, y)
    assert mann_kendall(t, y) == pytest.approx((wanted.statistic, wanted.pvalue), rel=1e-12)


def test_variance_with_ties_is_kendalls() -> None:
    t = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4, 5, 6, 6], dtype=float)
    y = np.array([1, 2, 2, 2, 3, 3, 5, 4, 4, 4, 6, 7], dtype=float)
    n = len(t)
    s = sum(np.sign(t[j] - t[i]) * np.sign(y[j] - y[i]) for i in range(n) for j in range(i + 1, n))
    ties = [np.unique(side, return_counts=True)[1] for side in (t, y)]
    variance = (n * (n - 1) * (2 * n + 5) - sum((k * (k - 1) * (2 * k + 5)).sum() for k in ties)) / 18
    variance += math.prod((k * (k - 1)).sum() for k in ties) / (2 * n * (n - 1))
    variance += math.prod((k * (k - 1) * (k - 2)).sum() for k in ties) / (9 * n * (n - 1) * (n - 2))
    assert mann_kendall(t, y)[1] == pytest.approx(2 * stats.norm.sf(abs(s) / math.sqrt(variance)), rel=1e-12)


@given(NUMBERS, st.integers(4, 40), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_laws(number: int, n: int, shift: float, scale: float) -> None:
    t, y = points(number, n, 50, 3)
    if np.ptp(y) == 0:
        return
    order = np.random.default_rng(number).permutation(n)
    slope, tau = theil_sen(t, y), mann_kendall(t, y)
    assert theil_sen(t[order], y[order]) == slope
    assert mann_kendall(t[order], y[order]) == tau
    backwards = mann_kendall(-t, y)
    assert backwards[0] == pytest.approx(-tau[0])
    assert backwards[1] == pytest.approx(tau[1])
    turned = theil_sen(-t, y)
    assert turned == pytest.approx((-slope[0], -slope[2], -slope[1]), abs=1e-12)
    moved = theil_sen(t + 17, y * scale + shift)
    assert moved == pytest.approx([scale * part for part in slope], rel=1e-6, abs=1e-9 * scale + 1e-9)
    # values on a grid of thousandths: a power of two and an integer don't make or break ties
    assert mann_kendall(t * 4, y * 8)[1] == pytest.approx(tau[1])


def test_bad_points_are_left_out() -> None:
    t = [0.0, 1, 2, 3, np.nan, 5, 6]
    y = [1.0, 2, 3, 4, 100, np.inf, np.nan]
    assert theil_sen(t, y)[0] == 1.0
    assert mann_kendall(t, y)[0] == pytest.approx(1.0)


def test_where_there_is_no_answer() -> None:
    for t, y in (([], []), ([1.0], [2.0]), ([1.0, 1.0], [2.0, 3.0])):
        assert np.isnan(theil_sen(t, y)).all()
        assert np.isnan(mann_kendall(t, y)).all()
    assert theil_sen([0, 1, 2], [5.0, 5, 5]) == (0.0, 0.0, 0.0)
    assert np.isnan(mann_kendall([0, 1, 2], [5.0, 5, 5])).all()
    with pytest.raises(ValueError, match="confidence"):
        theil_sen([0, 1], [0, 1], 1.5)


def test_outliers_do_not_move_the_slope_far() -> None:
    rng = np.random.default_rng(4)
    t = np.arange(100.0)
    y = 3 * t + rng.normal(0, 1, 100)
    y[rng.choice(100, 25, replace=False)] = 1e6
    assert theil_sen(t, y)[0] == pytest.approx(3, abs=0.1)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.integers(1, 20))
def test_bins_keep_equal_times_together_and_in_order(times: list[int], bins: int) -> None:
    t = np.array(times, dtype=float)
    place = time_bins(t, bins)
    assert place.min() >= 0
    assert place.max() < bins
    order = np.argsort(t, kind="stable")
    assert (np.diff(place[order]) >= 0).all()
    assert all(len(set(place[t == one])) == 1 for one in np.unique(t))


def test_bins_of_distinct_times_are_of_equal_count() -> None:
    counts = np.bincount(time_bins(np.random.default_rng(1).permutation(1000), 10))
    assert counts.tolist() == [100] * 10
