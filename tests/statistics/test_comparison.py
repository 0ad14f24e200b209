"""Comparisons of means against scipy and statsmodels, and the laws that they must keep."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from aggrkit.statistics.comparison import (
    Differences,
    Units,
    compare_means,
    compare_pairs,
    compare_summaries,
    nested_effect,
)

NAMES = ["baseline", "current", "difference", "se", "df", "pvalue", "effect_size", "heterogeneity"]


def one_cell(*strata: tuple[np.ndarray, np.ndarray], spanning: bool = False) -> Units:
    """Make the units of one cell from the two sides of each stratum, baseline first.

    With `spanning`, the first unit of a side is of the same run in all strata, and so on.
    """
    value, side, stratum, run = [], [], [], []
    for number, sides in enumerate(strata):
        for which, values in enumerate(sides):
            value.append(np.asarray(values, dtype=float))
            side.append(np.full(len(values), which))
            stratum.append(np.full(len(values), number))
            run.append(1000 * which + np.arange(len(values)))
    parts = [np.concatenate(part) for part in (value, side, stratum, run)]
    cell_of = np.zeros(len(strata), dtype=np.int64)
    return Units(parts[0], parts[1], parts[2], cell_of, parts[3] if spanning else None)


def with_spread(rng: np.random.Generator, n: int, mean: float, std: float) -> np.ndarray:
    """Return n values with exactly this mean and standard deviation."""
    values = rng.normal(0, 1, n)
    return mean + std * (values - values.mean()) / values.std(ddof=1)


def same(one: Differences, other: Differences, rtol: float = 1e-9) -> None:
    """Check that two comparisons say the same."""
    for name in NAMES:
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=rtol, atol=1e-12, err_msg=name, equal_nan=True
        )
    for name in ("n_baseline", "n_current", "strata"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


# One stratum


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(2, 30), st.floats(0.01, 100))
def test_one_stratum_is_welchs_test(number: int, before: int, after: int, ratio: float) -> None:
    rng = np.random.default_rng(number)
    a, b = rng.normal(5, 1, before), rng.normal(5.5, ratio, after)
    found, oracle = compare_means(one_cell((a, b))), stats.ttest_ind(b, a, equal_var=False)
    assert found.pvalue[0] == pytest.approx(oracle.pvalue, rel=1e-9)
    assert found.df[0] == pytest.approx(oracle.df, rel=1e-9)
    for level in (0.9, 0.95, 0.99):
        expected = oracle.confidence_interval(level)
        np.testing.assert_allclose(np.ravel(found.interval(level)), [expected.low, expected.high], rtol=1e-8, atol=1e-9)
    assert found.difference[0] == pytest.approx(b.mean() - a.mean(), rel=1e-9, abs=1e-12)
    np.testing.assert_allclose([found.baseline[0], found.current[0]], [a.mean(), b.mean()], rtol=1e-12)
    assert (found.n_baseline[0], found.n_current[0], found.strata[0]) == (before, after, 1)
    assert np.isnan(found.heterogeneity[0])
    assert not found.paired
    pooled = math.sqrt(((before - 1) * a.var(ddof=1) + (after - 1) * b.var(ddof=1)) / (before + after - 2))
    hedges = (b.mean() - a.mean()) / pooled * (1 - 3 / (4 * (before + after - 2) - 1))
    assert found.effect_size[0] == pytest.approx(hedges, rel=1e-9, abs=1e-12)
    if before == after:
        assert found.spread[0] == pytest.approx(math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2), rel=1e-9)


def test_students_sleep_data() -> None:
    # "Student" (1908), Biometrika 6, 1-25: additional hours of sleep by two drugs. R's t.test(extra ~ group) prints
    # t = -1.8608, df = 17.776, p-value = 0.07939, interval -3.3654832 to 0.2054832.
    first = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
    second = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
    found = compare_means(one_cell((second, first)))
    assert found.difference[0] / found.se[0] == pytest.approx(-1.8608, abs=5e-5)
    assert found.df[0] == pytest.approx(17.776, abs=5e-4)
    assert found.pvalue[0] == pytest.approx(0.07939, abs=5e-6)
    np.testing.assert_allclose(np.ravel(found.interval(0.95)), [-3.3654832, 0.2054832], atol=5e-8)
    # R's t.test(..., paired = TRUE) prints t = -4.0621, df = 9, p-value = 0.002833, interval -2.4598858 to -0.7001142.
    zeros = np.zeros(10, dtype=np.int64)
    paired = compare_pairs(first - second, second, zeros, 1)
    assert paired.difference[0] / paired.se[0] == pytest.approx(-4.0621, abs=5e-5)
    assert paired.pvalue[0] == pytest.approx(0.002833, abs=5e-7)
    np.testing.assert_allclose(np.ravel(paired.interval(0.95)), [-2.4598858, -0.7001142], atol=5e-8)


@given(st.integers(0, 2**32 - 1), st.integers(2, 20), st.booleans())
def test_a_single_unit_borrows_the_variance_of_the_other_side(number: int, n: int, first: bool) -> None:
    rng = np.random.default_rng(number)
    many, one = rng.normal(0, 2, n), rng.normal(1, 2, 1)
    a, b = (one, many) if first else (many, one)
    found, oracle = compare_means(one_cell((a, b))), stats.ttest_ind(b, a, equal_var=True)
    assert found.pvalue[0] == pytest.approx(oracle.pvalue, rel=1e-9)
    assert found.df[0] == pytest.approx(oracle.df, rel=1e-12)
    interval = oracle.confidence_interval(0.95)
    np.testing.assert_allclose(np.ravel(found.interval(0.95)), [interval.low, interval.high], rtol=1e-9)


def test_two_single_units_give_a_difference_without_a_verdict() -> None:
    found = compare_means(one_cell(([2.0], [3.0])))
    assert found.difference[0] == 1
    assert (found.n_baseline[0], found.n_current[0], found.strata[0]) == (1, 1, 1)
    for name in ("se", "pvalue"):
        assert np.isnan(getattr(found, name)[0])
    assert np.isnan(found.interval(0.95)).all()


@pytest.mark.parametrize("sides", [([], []), ([1.0, 2.0], []), ([], [1.0, 2.0])])
def test_an_empty_side_is_unknown(sides: tuple[list[float], list[float]]) -> None:
    found = compare_means(one_cell(sides))
    for name in ("baseline", "current", "difference", "se", "pvalue"):
        assert np.isnan(getattr(found, name)[0]), name
    assert (found.n_baseline[0], found.n_current[0], found.strata[0]) == (0, 0, 0)
    assert np.isnan(found.interval(0.95)).all()


def test_of_no_cells_at_all() -> None:
    none = np.empty(0, dtype=np.int64)
    found = compare_means(Units(np.empty(0), none, none, none))
    assert found.pvalue.shape == (0,)
    assert Units(np.empty(0), none, none, none).cells == 0
    assert compare_summaries(np.empty((0, 2)), np.empty((0, 2)), np.empty((0, 2)), none).pvalue.shape == (0,)
    assert compare_pairs(np.empty(0), np.empty(0), none, 0).pvalue.shape == (0,)


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0, 1e-300, 1e300, 123456.789])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_no_variation_and_no_difference_is_equal(value: float, n: int) -> None:
    found = compare_means(one_cell((np.full(n, value), np.full(n + 1, value))))
    assert found.difference[0] == 0
    assert found.pvalue[0] == 1
    assert found.effect_size[0] == 0
    assert np.ravel(found.interval(0.95)).tolist() == [0, 0]


@pytest.mark.parametrize("n", [2, 7])
def test_no_variation_and_a_difference_is_certain(n: int) -> None:
    found = compare_means(one_cell((np.full(n, 0.1), np.full(n, 0.3))))
    assert found.difference[0] == pytest.approx(0.2)
    assert found.pvalue[0] == 0
    assert found.se[0] == 0
    np.testing.assert_allclose(np.ravel(found.interval(0.95)), [0.2, 0.2])
    assert np.isnan(found.effect_size[0])


def test_variation_on_one_side_only() -> None:
    a, b = np.full(5, 2.0), np.array([2.1, 2.3, 2.2, 2.4])
    found = compare_means(one_cell((a, b)))
    oracle = stats.ttest_1samp(b, 2.0)
    assert found.pvalue[0] == pytest.approx(oracle.pvalue, rel=1e-9)
    assert found.df[0] == pytest.approx(3)


def test_a_huge_offset_costs_no_digits() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 50, 20).astype(float), rng.integers(5, 60, 25).astype(float)
    plain, offset = compare_means(one_cell((a, b))), compare_means(one_cell((a + 2**40, b + 2**40)))
    # Means near 2**40 are spaced by 2.4e-4, which no subtraction gets back; errors come from the deviations.
    assert offset.difference[0] == pytest.approx(plain.difference[0], abs=2.5e-4)
    assert offset.se[0] == pytest.approx(plain.se[0], rel=1e-9)
    assert offset.df[0] == pytest.approx(plain.df[0], rel=1e-9)


# Several strata


def ols_with_strata(strata: list[tuple[np.ndarray, np.ndarray]]) -> sm.regression.linear_model.RegressionResults:
    """Fit value ~ current side + stratum by least squares."""
    value = np.concatenate([np.concatenate(sides) for sides in strata])
    current = np.concatenate([np.repeat([0.0, 1.0], [len(a), len(b)]) for a, b in strata])
    number = np.repeat(np.arange(len(strata)), [len(a) + len(b) for a, b in strata])
    design = np.column_stack([current, number[:, None] == np.arange(len(strata))]).astype(float)
    return sm.OLS(value, design).fit()


@given(st.integers(0, 2**32 - 1), st.integers(6, 12))
def test_two_balanced_strata_are_least_squares_with_stratum_dummies(number: int, n: int) -> None:
    rng = np.random.default_rng(number)
    strata = [(rng.normal(0, 1, n), rng.normal(0.5, 1, n)), (rng.normal(9, 1, n), rng.normal(9.5, 1, n))]
    found, fit = compare_means(one_cell(*strata)), ols_with_strata(strata)
    assert found.difference[0] == pytest.approx(fit.params[0], rel=1e-9, abs=1e-12)
    # Least squares count the variation of the change between strata as noise too; without it the errors are the same.
    within = sum(((part - part.mean()) ** 2).sum() for sides in strata for part in sides) / (4 * n - 4)
    assert found.se[0] == pytest.approx(fit.bse[0] * math.sqrt(within / fit.scale), rel=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(2, 5))
def test_thin_strata_are_judged_about_a_common_change_where_that_says_less(number: int, count: int, n: int) -> None:
    """Clusters within strata: the runs of a side are close to each other when they are far from the other side."""
    rng = np.random.default_rng(number)
    strata = [tuple(rng.integers(0, 2, n) + rng.normal(0, 0.01, n) for _ in range(2)) for _ in range(count)]
    found = compare_means(one_cell(*strata))
    gaps = np.array([b.mean() - a.mean() for a, b in strata])
    blocks = ols_with_strata([(a, b) for a, b in strata])
    assert gaps.min() - 1e-9 <= found.difference[0] <= gaps.max() + 1e-9
    # weights are nearly those of the least squares, and the error isn't less but where these pool what is unlike
    assert found.df[0] <= max(blocks.df_resid, 2 * count * (n - 1)) + 1e-9
    t = found.difference[0] / found.se[0]
    assert found.pvalue[0] == pytest.approx(2 * stats.t.sf(abs(t), found.df[0]), rel=1e-9)
    assert found.se[0] >= 0.5 * blocks.bse[0]


@pytest.mark.parametrize("count", [3, 8])
def test_single_runs_of_many_conditions_are_paired(count: int) -> None:
    """One run a side in each stratum: how much the strata disagree is all that is known of the noise."""
    rng = np.random.default_rng(count)
    before = rng.normal(10 * np.arange(count), 1)
    after = before + rng.normal(1, 0.5, count)
    found = compare_means(one_cell(*[([a], [b]) for a, b in zip(before, after, strict=True)]))
    oracle = stats.ttest_rel(after, before)
    assert found.difference[0] == pytest.approx((after - before).mean())
    assert found.se[0] == pytest.approx((after - before).std(ddof=1) / math.sqrt(count))
    # unlike noise is allowed for: never more degrees of freedom than the paired test has
    assert 1 <= found.df[0] <= count - 1 + 1e-9
    assert found.pvalue[0] >= oracle.pvalue - 1e-12


@pytest.mark.parametrize("sizes", [[(4, 4)] * 3, [(4, 9), (6, 6), (12, 3), (5, 7)], [(3, 3)] * 10])
def test_alike_strata_are_least_squares_with_stratum_dummies(sizes: list[tuple[int, int]]) -> None:
    rng = np.random.default_rng(2)
    strata = [
        (with_spread(rng, a, 7 * k, 1.5), with_spread(rng, b, 7 * k + 0.3, 1.5)) for k, (a, b) in enumerate(sizes)
    ]
    found, fit = compare_means(one_cell(*strata)), ols_with_strata(strata)
    assert found.difference[0] == pytest.approx(fit.params[0], rel=1e-9)
    assert found.baseline[0] + found.difference[0] == pytest.approx(found.current[0], rel=1e-12)
    plain = fit.bse[0] * 1.5 / math.sqrt(fit.scale)
    # What Meier (1953) adds for weights that were estimated, here from all strata together.
    size = np.array([a * b / (a + b) for a, b in sizes])
    share, freedom = size / size.sum(), 2 * sum(a + b - 2 for a, b in sizes) / 2
    price = 1 + 4 * (share * (1 - share)).sum() / freedom
    assert plain * (1 - 1e-9) <= found.se[0] <= plain * math.sqrt(price) * (1 + 1e-9)
    assert found.strata[0] == len(sizes)
    assert found.heterogeneity[0] == pytest.approx(1.0)


def test_unlike_strata_are_weighed_by_inverse_variance() -> None:
    # 500 units a side: the variances are known to 6 %, so the weights and the result are those of a fixed-effect
    # meta-analysis to within a fraction of its standard error.
    rng = np.random.default_rng(3)
    strata = [(rng.normal(0, s, 500), rng.normal(0.1, s, 500)) for s in (0.5, 1.0, 2.0, 4.0)]
    found = compare_means(one_cell(*strata))
    gaps = np.array([b.mean() - a.mean() for a, b in strata])
    variances = np.array([a.var(ddof=1) / 500 + b.var(ddof=1) / 500 for a, b in strata])
    oracle = combine_effects(gaps, variances)
    error = math.sqrt(1 / (1 / variances).sum())
    assert found.difference[0] == pytest.approx(oracle.mean_effect_fe, abs=0.1 * error)
    assert found.se[0] == pytest.approx(error, rel=0.05)


def test_heterogeneity_is_cochrans_q() -> None:
    rng = np.random.default_rng(4)
    strata = [(with_spread(rng, 8, 0, 1), with_spread(rng, 8, change, 1)) for change in (0.0, 0.4, 2.0)]
    found = compare_means(one_cell(*strata))
    gaps, variances = np.array([0.0, 0.4, 2.0]), np.full(3, 1 / 8 + 1 / 8)
    oracle = combine_effects(gaps, variances)
    expected = stats.f.sf(oracle.q / 2, 2, found.df[0])
    assert found.heterogeneity[0] == pytest.approx(expected, rel=1e-9)
    assert found.heterogeneity[0] < 0.05


def test_strata_with_one_side_only_do_not_count() -> None:
    rng = np.random.default_rng(5)
    strata = [(rng.normal(0, 1, 4), rng.normal(0, 1, 5)) for _ in range(4)]
    lopsided = [*strata, (rng.normal(50, 1, 9), np.empty(0)), (np.empty(0), rng.normal(-50, 1, 9))]
    same(compare_means(one_cell(*strata)), compare_means(one_cell(*lopsided)))


def test_a_change_of_mix_is_no_change() -> None:
    # Slow and fast tests, 9 to 1 before and 1 to 9 after, each as fast as ever: the means of all differ by 80 %.
    rng = np.random.default_rng(6)
    strata = [(rng.normal(0, 0.01, 9), rng.normal(0, 0.01, 1)), (rng.normal(1, 0.01, 1), rng.normal(1, 0.01, 9))]
    found = compare_means(one_cell(*strata))
    assert abs(found.difference[0]) < 0.05
    assert found.pvalue[0] > 0.01


def test_single_units_in_many_strata_borrow_from_the_others() -> None:
    rng = np.random.default_rng(7)
    strata = [(rng.normal(k, 1, 5), rng.normal(k, 1, 5)) for k in range(6)]
    found = compare_means(one_cell(*strata, ([20.0], [20.0])))
    assert np.isfinite(found.pvalue[0])
    assert found.strata[0] == 7
    only = compare_means(one_cell(*[([float(k)], [k + 1.0]) for k in range(6)], spanning=True))
    assert only.difference[0] == pytest.approx(1.0)
    assert np.isnan(only.pvalue[0])  # two runs: all strata share their luck


def test_strata_without_variation_are_weighed_by_size() -> None:
    found = compare_means(one_cell(*[(np.full(4, float(k)), np.full(4, float(k))) for k in range(5)]))
    assert (found.difference[0], found.pvalue[0], found.se[0]) == (0, 1, 0)
    mixed = compare_means(
        one_cell(*[(np.full(4, float(k)), np.full(4, k + 1.0)) for k in range(3)], ([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]))
    )
    assert mixed.difference[0] == pytest.approx(1.0)
    assert 0 <= mixed.pvalue[0] < 0.1


# Runs that span strata


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(2, 12))
def test_runs_in_two_strata_are_welch_on_run_averages(number: int, before: int, after: int) -> None:
    rng = np.random.default_rng(number)
    luck = rng.normal(0, 1, before), rng.normal(0.3, 2, after)
    strata = [tuple(k + part + rng.normal(0, 0.5, len(part)) for part in luck) for k in (0, 10)]
    found = compare_means(one_cell(*strata, spanning=True))
    a, b = ((strata[0][side] + strata[1][side]) / 2 for side in (0, 1))
    oracle = stats.ttest_ind(b, a, equal_var=False)
    assert found.difference[0] == pytest.approx(b.mean() - a.mean(), rel=1e-9, abs=1e-12)
    assert found.se[0] == pytest.approx(math.sqrt(a.var(ddof=1) / before + b.var(ddof=1) / after), rel=1e-9)
    assert found.df[0] == pytest.approx(max(oracle.df, 1), rel=1e-9)
    assert found.pvalue[0] == pytest.approx(oracle.pvalue, rel=1e-9)


@pytest.mark.parametrize(("strata", "before", "after"), [(3, 5, 5), (6, 4, 9), (10, 3, 3)])
def test_runs_in_many_alike_strata_are_welch_on_run_averages(strata: int, before: int, after: int) -> None:
    rng = np.random.default_rng(8)
    luck = rng.normal(0, 1, before), rng.normal(0, 1, after)
    data = []
    for k in range(strata):
        # Every stratum with the same spread, so that all weigh the same.
        sides = [part + rng.normal(0, 0.3, len(part)) for part in luck]
        data.append(tuple(k + (part - part.mean()) / part.std(ddof=1) + part.mean() for part in sides))
    found = compare_means(one_cell(*data, spanning=True))
    a, b = (np.mean([sides[which] for sides in data], axis=0) for which in (0, 1))
    oracle = stats.ttest_ind(b, a, equal_var=False)
    assert found.pvalue[0] == pytest.approx(oracle.pvalue, rel=1e-9)
    assert found.df[0] == pytest.approx(oracle.df, rel=1e-9)
    independent = compare_means(one_cell(*data))
    assert independent.se[0] < found.se[0] / 1.5


def test_runs_of_one_stratum_each_are_on_their_own() -> None:
    rng = np.random.default_rng(9)
    strata = [(rng.normal(k, 1, 4), rng.normal(k, 1, 6)) for k in range(4)]
    plain = one_cell(*strata)
    numbered = Units(plain.value, plain.side, plain.stratum, plain.cell_of, np.arange(len(plain.value)))
    same(compare_means(plain), compare_means(numbered))


def test_one_run_in_all_strata_cannot_tell() -> None:
    rng = np.random.default_rng(10)
    strata = [(rng.normal(k, 1, 1), rng.normal(k, 1, 5)) for k in range(4)]
    found = compare_means(one_cell(*strata, spanning=True))
    assert np.isfinite(found.difference[0])
    assert np.isnan(found.pvalue[0])


@pytest.mark.slow
@pytest.mark.parametrize("absent", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("noise", [(1.0, 0.7), (0.2, 2.0)])
@pytest.mark.parametrize("unlike", [False, True])
def test_intervals_cover_where_runs_span_strata(absent: float, noise: tuple[float, float], unlike: bool) -> None:
    # Ten runs a side, each in six strata but for those that are absent at random; run-to-run noise that the strata
    # share, and noise of their own. 5,000 cells: coverage is known to 0.3 points; 93 to 98 % are allowed.
    rng = np.random.default_rng(11)
    cells, strata, runs = 5000, 6, 10
    between, within = noise
    spread = within * (np.geomspace(0.2, 2, strata) if unlike else np.ones(strata))
    parts = []
    for side in (0, 1):
        value = rng.normal(0, between, (cells, 1, runs)) + spread[:, None] * rng.normal(0, 1, (cells, strata, runs))
        there = rng.random(value.shape) >= absent
        cell, stratum, run = (index[there] for index in np.indices(value.shape))
        parts.append((value[there], np.full(there.sum(), side), cell * strata + stratum, run + runs * side))
    value, side, stratum, run = (np.concatenate(part) for part in zip(*parts, strict=True))
    found = compare_means(Units(value, side, stratum, np.repeat(np.arange(cells), strata), run))
    lower, upper = found.interval(0.95)
    told = np.isfinite(found.pvalue)
    assert told.mean() > 0.99
    assert 0.93 <= ((lower <= 0) & (upper >= 0))[told].mean() <= 0.98


# Laws

NUMBERS = st.integers(0, 2**32 - 1)


def random_units(rng: np.random.Generator, cells: int, spanning: bool) -> Units:
    """Make units of cells with one to four strata of unequal sizes."""
    cell_of = np.repeat(np.arange(cells), rng.integers(1, 5, cells))
    n = 12 * len(cell_of)
    stratum, side = rng.integers(0, len(cell_of), n), rng.integers(0, 2, n)
    run = rng.integers(0, 6, n) if spanning else np.arange(n)
    value = rng.normal(0, 1, n) + stratum + 0.3 * side
    if spanning:
        value += rng.normal(0, 1, 12)[run * 2 + side]
    # A run appears once in a stratum.
    keep = np.unique(np.stack([stratum, side, run]), axis=1, return_index=True)[1]
    return Units(value[keep], side[keep], stratum[keep], cell_of, run[keep] + 1000 * side[keep])


@given(NUMBERS, st.booleans(), st.floats(-1e3, 1e3), st.floats(1e-6, 1e6))
def test_comparisons_move_and_scale_with_the_values(number: int, spanning: bool, shift: float, scale: float) -> None:
    units = random_units(np.random.default_rng(number), 5, spanning)
    plain = compare_means(units)
    other = compare_means(Units((units.value + shift) * scale, units.side, units.stratum, units.cell_of, units.cluster))
    np.testing.assert_allclose(other.difference, plain.difference * scale, rtol=1e-6, atol=1e-8 * scale)
    np.testing.assert_allclose(other.se, plain.se * scale, rtol=1e-6)
    np.testing.assert_allclose(other.baseline, (plain.baseline + shift) * scale, rtol=1e-6, atol=1e-6 * scale)
    for name in ("df", "pvalue", "effect_size", "heterogeneity"):
        np.testing.assert_allclose(getattr(other, name), getattr(plain, name), rtol=1e-5, atol=1e-9, err_msg=name)


@given(NUMBERS, st.booleans())
def test_the_order_of_units_never_matters(number: int, spanning: bool) -> None:
    rng = np.random.default_rng(number)
    units = random_units(rng, 5, spanning)
    order = rng.permutation(len(units.value))
    assert units.cluster is not None
    shuffled = Units(units.value[order], units.side[order], units.stratum[order], units.cell_of, units.cluster[order])
    same(compare_means(units), compare_means(shuffled))


@given(NUMBERS, st.booleans())
def test_the_names_of_strata_and_runs_never_matter(number: int, spanning: bool) -> None:
    rng = np.random.default_rng(number)
    units = random_units(rng, 5, spanning)
    renamed = rng.permutation(len(units.cell_of))
    cell_of = np.empty_like(units.cell_of)
    cell_of[renamed] = units.cell_of
    assert units.cluster is not None
    runs = rng.permutation(3000)[units.cluster]
    same(compare_means(units), compare_means(Units(units.value, units.side, renamed[units.stratum], cell_of, runs)))


@given(NUMBERS, st.booleans())
def test_swapping_the_sides_flips_the_sign(number: int, spanning: bool) -> None:
    units = random_units(np.random.default_rng(number), 5, spanning)
    plain = compare_means(units)
    other = compare_means(Units(units.value, 1 - units.side, units.stratum, units.cell_of, units.cluster))
    for name in ("difference", "effect_size"):
        np.testing.assert_allclose(getattr(other, name), -getattr(plain, name), rtol=1e-9, atol=1e-12)
    for name in ("se", "df", "pvalue", "heterogeneity"):
        np.testing.assert_allclose(getattr(other, name), getattr(plain, name), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(other.baseline, plain.current, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(other.n_baseline, plain.n_current)


@given(NUMBERS)
def test_many_cells_at_once_are_each_on_their_own(number: int) -> None:
    units = random_units(np.random.default_rng(number), 6, spanning=True)
    together = compare_means(units)
    assert units.cluster is not None
    for cell in range(6):
        mine = units.cell_of[units.stratum] == cell
        strata = np.flatnonzero(units.cell_of == cell)
        alone = compare_means(
            Units(
                units.value[mine],
                units.side[mine],
                np.searchsorted(strata, units.stratum[mine]),
                np.zeros(len(strata), dtype=np.int64),
                units.cluster[mine],
            )
        )
        for name in NAMES:
            assert getattr(together, name)[cell] == pytest.approx(getattr(alone, name)[0], rel=1e-9, nan_ok=True), name


@given(NUMBERS, st.booleans())
def test_identical_sides_do_not_differ(number: int, spanning: bool) -> None:
    rng = np.random.default_rng(number)
    values = [rng.normal(k, 1 + k, rng.integers(2, 6)) for k in range(rng.integers(1, 5))]
    found = compare_means(one_cell(*[(part, part) for part in values], spanning=spanning))
    assert found.difference[0] == 0
    assert found.pvalue[0] == 1
    assert found.effect_size[0] == 0
    lower, upper = found.interval(0.95)
    assert lower[0] == -upper[0]


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from([0.0, 1.0, -1.0, 1e-9, 1e9, 0.1]), max_size=4),
            st.lists(st.sampled_from([0.0, 1.0, -1.0, 1e-9, 1e9, 0.1]), max_size=4),
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_every_answer_is_defined(strata: list[tuple[list[float], list[float]]], spanning: bool) -> None:
    # Warnings are errors here. A verdict needs a p-value wherever the noise is known, and an interval round the
    # difference.
    found = compare_means(one_cell(*strata, spanning=spanning))
    both = [(a, b) for a, b in strata if a and b]
    assert found.strata[0] == len(both)
    assert np.isnan(found.difference[0]) == (not both)
    if both and not spanning and any(len(part) > 1 for sides in both for part in sides):
        assert 0 <= found.pvalue[0] <= 1
        lower, upper = found.interval(0.95)
        assert lower[0] <= found.difference[0] <= upper[0]
        assert found.se[0] >= 0
        assert found.df[0] >= 1


# From summaries


@given(NUMBERS)
def test_summaries_say_what_the_values_say(number: int) -> None:
    units = random_units(np.random.default_rng(number), 4, spanning=False)
    strata = len(units.cell_of)
    n, mean, variance = np.zeros((strata, 2)), np.full((strata, 2), np.nan), np.full((strata, 2), np.nan)
    for stratum in range(strata):
        for side in (0, 1):
            values = units.value[(units.stratum == stratum) & (units.side == side)]
            n[stratum, side] = len(values)
            mean[stratum, side] = values.mean() if len(values) else np.nan
            variance[stratum, side] = values.var(ddof=1) if len(values) > 1 else np.nan
    plain = Units(units.value, units.side, units.stratum, units.cell_of)
    same(compare_summaries(n, mean, variance, units.cell_of), compare_means(plain))


def test_summaries_are_scipys_welch_from_statistics() -> None:
    found = compare_summaries(
        np.array([[8, 13]]), np.array([[2.0, 3.0]]), np.array([[1.5, 0.5]]), np.zeros(1, dtype=np.int64)
    )
    oracle = stats.ttest_ind_from_stats(3.0, math.sqrt(0.5), 13, 2.0, math.sqrt(1.5), 8, equal_var=False)
    assert found.pvalue[0] == pytest.approx(oracle.pvalue, rel=1e-12)


# Pairs


@given(NUMBERS, st.integers(2, 40))
def test_pairs_are_scipys_paired_test(number: int, n: int) -> None:
    rng = np.random.default_rng(number)
    a = rng.normal(10, 3, n)
    b = a + rng.normal(0.2, 1, n)
    found, oracle = compare_pairs(b - a, a, np.zeros(n, dtype=np.int64), 1), stats.ttest_rel(b, a)
    assert found.pvalue[0] == pytest.approx(oracle.pvalue, rel=1e-9)
    assert found.df[0] == oracle.df
    expected = oracle.confidence_interval(0.95)
    np.testing.assert_allclose(np.ravel(found.interval(0.95)), [expected.low, expected.high], rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose([found.baseline[0], found.current[0]], [a.mean(), b.mean()], rtol=1e-9)
    effect = (b - a).mean() / (b - a).std(ddof=1) * (1 - 3 / (4 * (n - 1) - 1))
    assert found.effect_size[0] == pytest.approx(effect, rel=1e-9)
    assert found.paired
    assert found.spread[0] == pytest.approx((b - a).std(ddof=1) / math.sqrt(2), rel=1e-9)


def test_edges_of_pairs() -> None:
    cell = np.array([0, 1, 1, 2, 2, 2])
    found = compare_pairs(np.array([1.0, 0.0, 0.0, 0.5, 0.5, 0.5]), np.full(6, 2.0), cell, 4)
    assert found.difference[0] == 1
    assert np.isnan([found.pvalue[0], found.se[0]]).all()  # a single pair
    assert (found.pvalue[1], found.difference[1], found.effect_size[1]) == (1, 0, 0)  # always the same
    assert (found.pvalue[2], found.difference[2]) == (0, 0.5)  # always the same change
    assert np.isnan([found.pvalue[3], found.difference[3], found.baseline[3]]).all()  # none
    assert found.strata.tolist() == [1, 1, 1, 0]


@given(NUMBERS, st.integers(3, 20), st.floats(1e-6, 1e6))
def test_laws_of_pairs(number: int, n: int, scale: float) -> None:
    rng = np.random.default_rng(number)
    a, gap, zeros = rng.normal(10, 3, n), rng.normal(0.2, 1, n), np.zeros(n, dtype=np.int64)
    found, order = compare_pairs(gap, a, zeros, 1), rng.permutation(n)
    same(found, compare_pairs(gap[order], a[order], zeros, 1))
    scaled, swapped = compare_pairs(gap * scale, a * scale, zeros, 1), compare_pairs(-gap, a + gap, zeros, 1)
    np.testing.assert_allclose([scaled.pvalue, swapped.pvalue], [found.pvalue] * 2, rtol=1e-6)
    np.testing.assert_allclose(swapped.difference, -found.difference, rtol=1e-9)


# Nested groups


@given(NUMBERS, st.integers(2, 6))
def test_nested_effect_in_one_outer_group_is_the_analysis_of_variance(number: int, groups: int) -> None:
    rng = np.random.default_rng(number)
    inner = np.concatenate([np.arange(groups), rng.integers(0, groups, 20)])
    value = rng.normal(0, 1, len(inner)) + 0.5 * inner
    zeros = np.zeros(len(inner), dtype=np.int64)
    expected = stats.f_oneway(*(value[inner == k] for k in range(groups))).pvalue
    assert nested_effect(value, zeros, inner, zeros, 1)[0] == pytest.approx(expected, rel=1e-9)


@given(NUMBERS)
def test_nested_effect_compares_two_linear_models(number: int) -> None:
    rng = np.random.default_rng(number)
    outer = np.repeat(np.arange(3), 16)
    inner = np.tile(np.repeat(np.arange(4), 4), 3)
    value = rng.normal(0, 1, 48) + 5 * outer + rng.normal(0, 0.5, 12)[outer * 4 + inner]
    small = sm.OLS(value, (outer[:, None] == np.arange(3)).astype(float)).fit()
    large = sm.OLS(value, ((outer * 4 + inner)[:, None] == np.arange(12)).astype(float)).fit()
    zeros = np.zeros(48, dtype=np.int64)
    assert nested_effect(value, outer, inner, zeros, 1)[0] == pytest.approx(large.compare_f_test(small)[1], rel=1e-9)


def test_edges_of_nested_effect() -> None:
    zeros = np.zeros(6, dtype=np.int64)
    halves = np.array([0, 0, 0, 1, 1, 1])
    assert nested_effect(np.full(6, 0.1), zeros, halves, zeros, 1).tolist() == [1]
    assert nested_effect(halves.astype(float), zeros, halves, zeros, 1).tolist() == [0]
    assert nested_effect(np.arange(6.0), zeros, np.arange(6), zeros, 1).tolist() == [1]  # one unit in each
    assert nested_effect(np.arange(6.0), zeros, zeros, zeros, 2).tolist() == [1, 1]  # one group; and an empty cell
    none = np.empty(0, dtype=np.int64)
    assert nested_effect(np.empty(0), none, none, none, 1).tolist() == [1]
