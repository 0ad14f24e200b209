"""Correlations against scipy, and their combination over groups from the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aggrkit.statistics.correlation import (
    correlation_pvalue,
    grouped_correlation,
    grouped_ranks,
    strength,
    within_groups,
)


@given(st.integers(0, 2**32 - 1), st.integers(3, 200), st.floats(-2, 2))
def test_pvalue_is_that_of_pearson_and_spearman(number: int, n: int, slope: float) -> None:
    rng = np.random.default_rng(number)
    x = rng.normal(0, 1, n)
    y = slope * x + rng.normal(0, 1, n)
    pearson, spearman = stats.pearsonr(x, y), stats.spearmanr(x, y)
    # scipy takes a beta distribution, which is the same up to rounding; r near 1 loses digits in both.
    assert float(correlation_pvalue(pearson.statistic, n)) == pytest.approx(pearson.pvalue, rel=1e-6, abs=1e-12)
    if abs(spearman.statistic) < 1:
        assert float(correlation_pvalue(spearman.statistic, n)) == pytest.approx(spearman.pvalue, rel=1e-9)


def test_pvalue_at_the_ends() -> None:
    assert np.isnan(correlation_pvalue([0.5, 1.0, 0.5, np.nan], [0, 1, 2, 50])).all()
    assert correlation_pvalue([1.0, -1.0, 0.0], 3).tolist() == [0.0, 0.0, 1.0]
    assert correlation_pvalue([], []).shape == (0,)
    assert float(correlation_pvalue(0.999999999, 1_000_000)) == 0.0


@given(st.floats(-0.999, 0.999), st.integers(3, 10_000))
def test_pvalue_does_not_depend_on_the_sign(r: float, n: int) -> None:
    assert correlation_pvalue(r, n) == correlation_pvalue(-r, n)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 60), st.floats(-1e6, 1e6), st.floats(1e-9, 1e9))
def test_grouped_correlation_is_pearsons_of_each_group(
    number: int, groups: int, n: int, shift: float, scale: float
) -> None:
    rng = np.random.default_rng(number)
    group = rng.integers(0, groups, n)
    x = rng.normal(0, 1, n)
    y = x * rng.normal(0, 1, groups)[group] + rng.normal(0, 1, n)
    found = grouped_correlation(x, y, group, groups)
    assert found.shape == (groups,)
    for k in range(groups):
        mine = group == k
        if mine.sum() < 2:
            assert np.isnan(found[k])
        else:
            assert found[k] == pytest.approx(np.corrcoef(x[mine], y[mine])[0, 1], rel=1e-9, abs=1e-12)
    moved = grouped_correlation(shift * scale + scale * x, -y, group, groups)
    np.testing.assert_allclose(moved, -found, rtol=1e-5, atol=1e-8)


def test_grouped_correlation_of_what_does_not_vary() -> None:
    zeros = np.zeros(4, dtype=np.intp)
    ramp = np.arange(4.0)
    assert np.isnan(grouped_correlation(np.full(4, 0.1), ramp, zeros, 1)).all()
    assert np.isnan(grouped_correlation(ramp, np.zeros(4), zeros, 1)).all()
    assert np.isnan(grouped_correlation(np.empty(0), np.empty(0), np.empty(0, dtype=np.intp), 2)).all()
    assert grouped_correlation(ramp, 1e9 - 1e-3 * ramp, zeros, 1) == pytest.approx([-1.0], abs=1e-4)
    assert grouped_correlation(1e300 * ramp, 1e-300 * ramp, zeros, 1) == pytest.approx([1.0])


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(0, 60))
def test_grouped_ranks_are_scipys_of_each_group(number: int, groups: int, n: int) -> None:
    rng = np.random.default_rng(number)
    group, values = rng.integers(0, groups, n), rng.integers(0, 8, n).astype(float)
    ranks = grouped_ranks(values, group)
    for k in range(groups):
        np.testing.assert_array_equal(ranks[group == k], stats.rankdata(values[group == k]))


def test_strength_at_its_borders() -> None:
    values = [1.0, 0.7, 0.6999, 0.3, 0.2999, 0.1, 0.0999, 0.0, -0.7, -0.05, float("nan")]
    words = ["strong", "strong", "moderate", "moderate", "weak", "weak", "negligible", "negligible"]
    assert strength(values) == [*words, "strong", "negligible", "undefined"]
    assert strength([]) == []
    assert strength(0.5) == ["moderate"]


@given(st.lists(st.tuples(st.floats(-0.99, 0.99), st.integers(4, 200)), min_size=1, max_size=10))
def test_within_groups_is_fishers_combination(groups: list[tuple[float, int]]) -> None:
    total = sum(n - 3 for _, n in groups)
    z = sum((n - 3) * math.atanh(r) for r, n in groups) / total
    correlation, pvalue = within_groups([r for r, _ in groups], [n for _, n in groups])
    assert float(correlation[0]) == pytest.approx(math.tanh(z), rel=1e-9, abs=1e-12)
    assert float(pvalue[0]) == pytest.approx(2 * stats.norm.sf(abs(z) * math.sqrt(total)), rel=1e-6, abs=1e-300)


def test_within_groups_leaves_out_what_says_nothing() -> None:
    plain = within_groups([0.5, -0.2], [20, 30])
    mixed = within_groups([0.5, np.nan, -0.2, 0.9, 1.0], [20, 50, 30, 3, 0])
    np.testing.assert_allclose(mixed, plain, rtol=1e-12)
    assert np.isnan(within_groups([], [])).all()
    assert np.isnan(within_groups([0.5, np.nan], [3, 100])).all()


def test_within_groups_of_perfect_correlations_is_defined() -> None:
    correlation, pvalue = within_groups([1.0, 1.0], [10, 10])
    assert correlation[0] == pytest.approx(1.0)
    assert 0 <= pvalue[0] < 1e-12


def test_within_groups_for_several_results() -> None:
    correlation, pvalue = within_groups([0.5, -0.2, 0.9], [20, 30, 10], np.array([0, 2, 0]), 3)
    alone = within_groups([0.5, 0.9], [20, 10]), within_groups([-0.2], [30])
    np.testing.assert_allclose(correlation[[0, 2]], [part[0][0] for part in alone])
    np.testing.assert_allclose(pvalue[[0, 2]], [part[1][0] for part in alone])
    assert np.isnan(correlation[1])
    assert np.isnan(pvalue[1])


def test_within_groups_keeps_its_level() -> None:
    # 4,000 experiments of four groups without any correlation: 200 are expected below 5 %, give or take 4 times 13.8.
    rng = np.random.default_rng(5)
    x, y = rng.normal(0, 1, (2, 4000, 4, 12))
    r = ((x - x.mean(-1, keepdims=True)) * (y - y.mean(-1, keepdims=True))).mean(-1) / (x.std(-1) * y.std(-1))
    pvalue = within_groups(r.ravel(), np.full(16_000, 12), np.repeat(np.arange(4000), 4), 4000)[1]
    assert abs((pvalue < 0.05).sum() - 200) < 56
