"""Tests of several groups against scipy and statsmodels, their strata by enumeration, and what must hold of them."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import StratifiedTable

from aggrkit.statistics.differences import (
    chi_squared,
    cramers_v,
    epsilon_squared,
    group_effects,
    kruskal_wallis,
    magnitude,
)
from aggrkit.statistics.groups import grouped_medians

NUMBERS = st.integers(0, 2**32 - 1)


def sample(number: int, n: int, groups: int, digits: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    group = np.append(np.arange(groups), rng.integers(0, groups, n - groups))
    return np.round(rng.normal(0, 1, n) + np.array([0.0, 0.5, 0, 0, 1, 0])[group], digits), group


@given(NUMBERS, st.integers(6, 200), st.integers(2, 6), st.integers(0, 5))
def test_one_stratum_is_scipys_kruskal(number: int, n: int, groups: int, digits: int) -> None:
    y, group = sample(number, n, groups, digits)
    if np.ptp(y) == 0:
        return
    wanted = stats.kruskal(*(y[group == k] for k in range(groups)))
    found = kruskal_wallis(y, group)
    assert found.statistic == pytest.approx(wanted.statistic, rel=1e-9, abs=1e-10)
    assert found.pvalue == pytest.approx(wanted.pvalue, rel=1e-8, abs=1e-300)
    assert (found.df, found.n, found.strata) == (groups - 1, n, 1)


@given(NUMBERS, st.integers(6, 200), st.integers(2, 6), st.floats(0.1, 0.9))
def test_one_stratum_is_pearsons_chi_squared(number: int, n: int, groups: int, rate: float) -> None:
    rng = np.random.default_rng(number)
    group = np.append(np.arange(groups), rng.integers(0, groups, n - groups))
    passed = (rng.random(n) < rate).astype(float)
    if np.ptp(passed) == 0:
        return
    table = [[((passed == value) & (group == k)).sum() for k in range(groups)] for value in (0, 1)]
    wanted = stats.chi2_contingency(table, correction=False)
    found = chi_squared(passed, group)
    assert found.statistic == pytest.approx(wanted.statistic, rel=1e-9, abs=1e-10)
    assert found.pvalue == pytest.approx(wanted.pvalue, rel=1e-8)
    assert cramers_v(found.statistic, n) == pytest.approx(
        stats.contingency.association(np.array(table), method="cramer"), abs=1e-7
    )


def test_two_groups_in_strata_are_cochran_mantel_haenszel() -> None:
    rng = np.random.default_rng(8)
    n = 300
    group, stratum = rng.integers(0, 2, n), rng.integers(0, 5, n)
    passed = (rng.random(n) < 0.3 + 0.1 * stratum + 0.1 * group).astype(float)
    tables = [
        np.array(
            [
                [((stratum == s) & (group == g) & (passed == value)).sum() for value in (1, 0)]
                for g in (0, 1)
            ]
        )
        for s in range(5)
    ]  # fmt: skip
    wanted = StratifiedTable(tables).test_null_odds(correction=False)
    found = chi_squared(passed, group, stratum)
    assert (found.statistic, found.pvalue) == pytest.approx((wanted.statistic, wanted.pvalue), rel=1e-9)


def test_covariance_within_strata_is_that_of_all_ways_to_deal() -> None:
    values = np.array([1.0, 4, 2, 8, 5, 3, 3])
    group = np.array([0, 1, 2, 0, 1, 1, 2])
    stratum = np.array([0, 0, 0, 1, 1, 1, 1])
    rank = stats.rankdata(values)
    sums = [
        [rank[np.array((*first, *second)) == k].sum() for k in range(3)]
        for first, second in product(permutations(group[:3]), permutations(group[3:]))
    ]
    covariance = np.cov(np.array(sums).T, ddof=0)
    off = np.array([rank[group == k].sum() for k in range(3)]) - np.mean(sums, axis=0)
    found = kruskal_wallis(values, group, stratum)
    assert found.statistic == pytest.approx(off @ np.linalg.pinv(covariance) @ off)
    assert (found.df, found.strata) == (2, 2)


@given(NUMBERS, st.integers(6, 80), st.integers(2, 5), st.integers(1, 4))
def test_laws(number: int, n: int, groups: int, strata: int) -> None:
    y, group = sample(number, n, groups, 2)
    rng = np.random.default_rng(number)
    stratum = rng.integers(0, strata, n)
    order = rng.permutation(n)
    whole = kruskal_wallis(y, group, stratum)
    if not np.isfinite(whole.pvalue):
        return
    for other in (
        kruskal_wallis(y[order], group[order], stratum[order]),
        kruskal_wallis(np.exp(y), group, stratum),
        kruskal_wallis(y * 8, group + 3, 10 * stratum),
        kruskal_wallis(-y, groups - group, stratum),
    ):
        assert other.statistic == pytest.approx(whole.statistic, rel=1e-6, abs=1e-9)
    assert 0 <= epsilon_squared(whole.statistic, n, whole.strata) <= 1
    effects = group_effects(y, group, stratum)
    again = group_effects(y[order], group[order], stratum[order])
    np.testing.assert_array_equal(again, effects)
    np.testing.assert_allclose(np.diff(group_effects(3 * y + 7, group, stratum)), 3 * np.diff(effects), atol=1e-9)


def test_where_nothing_can_differ() -> None:
    for found in (
        kruskal_wallis([], []),
        kruskal_wallis([1.0], [0]),
        kruskal_wallis([1.0, 2.0], [0, 0]),
        kruskal_wallis([5.0, 5.0, 5.0], [0, 1, 1]),
        kruskal_wallis([1.0, 2.0, 3.0], [0, 1, 1], [0, 1, 1]),
        chi_squared([1, 1, 1], [0, 0, 1]),
        chi_squared([], []),
    ):
        assert np.isnan([found.statistic, found.pvalue]).all()
        assert found.df == 0
    assert np.isnan([epsilon_squared(float("nan"), 5), epsilon_squared(1.0, 1), cramers_v(1.0, 0)]).all()
    assert magnitude(float("nan"), "epsilon_squared") == "undefined"


def test_effect_sizes_go_from_nothing_to_all() -> None:
    group = np.repeat([0, 1, 2], 100)
    perfect = chi_squared((group > 0).astype(float), group)
    assert cramers_v(perfect.statistic, perfect.n) == pytest.approx(1.0)
    # Tomczak and Tomczak's formula, written out
    y = np.random.default_rng(2).normal(size=300) + group
    found = kruskal_wallis(y, group)
    assert epsilon_squared(found.statistic, 300) == pytest.approx(found.statistic / ((300**2 - 1) / 301))
    assert [magnitude(size, "epsilon_squared") for size in (0, 0.01, 0.06, 0.14)] == [
        "negligible",
        "small",
        "medium",
        "large",
    ]


@given(NUMBERS, st.integers(1, 60), st.integers(1, 6))
def test_grouped_medians_are_numpys(number: int, n: int, groups: int) -> None:
    rng = np.random.default_rng(number)
    group, y = rng.integers(0, groups, n), rng.normal(size=n)
    for k, found in enumerate(grouped_medians(y, group, groups)):
        mine = y[group == k]
        assert found == pytest.approx(np.median(mine)) if len(mine) else np.isnan(found)


def test_effects_of_one_cell_are_medians_and_means() -> None:
    rng = np.random.default_rng(3)
    y, group = rng.normal(size=50), rng.integers(0, 3, 50)
    medians = [np.median(y[group == k]) for k in range(3)]
    means = [y[group == k].mean() for k in range(3)]
    np.testing.assert_allclose(group_effects(y, group, np.zeros(50, dtype=int)), medians)
    np.testing.assert_allclose(group_effects(y, group, np.zeros(50, dtype=int), means=True), means)


@pytest.mark.parametrize("means", [False, True])
def test_effects_are_found_behind_unequal_cells(means: bool) -> None:
    rng = np.random.default_rng(6)
    cell = rng.integers(0, 8, 4000)
    # the slow group is mostly in the fast cells
    group = np.where(rng.random(4000) < 0.05 + 0.85 * (cell < 4), 2, rng.integers(0, 2, 4000))
    y = 10.0 * cell + np.array([0.0, 0.0, 2.0])[group] + rng.normal(0, 0.1, 4000)
    effects = group_effects(y, group, cell, means=means)
    np.testing.assert_allclose(np.diff(effects), [0, 2], atol=0.03)
