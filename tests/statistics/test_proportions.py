"""Rates against statsmodels, scipy and the worked examples of Newcombe's paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import StratifiedTable
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportion_effectsize

from aggrkit.statistics.proportions import (
    compare_rates,
    fisher_pvalue,
    newcombe_interval,
    overdispersion,
    wilson_interval,
)

# Newcombe (1998), Statistics in Medicine 17, 873-890, table II, method 10: successes and size of either sample, and the
# 95 % interval of the first rate minus the second.
NEWCOMBE = [
    (56, 70, 48, 80, 0.0524, 0.3339),
    (9, 10, 3, 10, 0.1705, 0.8090),
    (6, 7, 2, 7, 0.0582, 0.8062),
    (5, 56, 0, 29, -0.0381, 0.1926),
    (0, 10, 0, 20, -0.1611, 0.2775),
    (0, 10, 0, 10, -0.2775, 0.2775),
    (10, 10, 0, 20, 0.6791, 1.0000),
    (10, 10, 0, 10, 0.6075, 1.0000),
]

# Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3 (Wilson's score): 95 % intervals.
WILSON = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0000, 0.1611),
    (1, 29, 0.0061, 0.1718),
]


@st.composite
def rates(draw: st.DrawFn, largest: int = 60) -> tuple[int, int]:
    """Draw a number of successes and of observations, at least one."""
    n = draw(st.integers(1, largest))
    return draw(st.integers(0, n)), n


@st.composite
def strata(draw: st.DrawFn) -> np.ndarray:
    """Draw the successes and sizes of both sides of several strata, shape (strata, 2, 2)."""
    count = draw(st.integers(2, 6))
    return np.array([[draw(rates()), draw(rates())] for _ in range(count)])


@pytest.mark.parametrize(("successes", "n", "lower", "upper"), WILSON)
def test_wilson_in_newcombes_examples(successes: int, n: int, lower: float, upper: float) -> None:
    np.testing.assert_allclose(wilson_interval(successes, n), [lower, upper], atol=5.1e-5)


@given(rates(), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_is_that_of_statsmodels(rate: tuple[int, int], confidence: float) -> None:
    expected = proportion_confint(*rate, alpha=1 - confidence, method="wilson")
    np.testing.assert_allclose(wilson_interval(*rate, confidence), expected, rtol=1e-9, atol=1e-12)


@given(rates())
def test_laws_of_wilsons_interval(rate: tuple[int, int]) -> None:
    successes, n = rate
    lower, upper = (float(end) for end in wilson_interval(successes, n))
    assert 0 <= lower <= successes / n <= upper <= 1
    mirrored = wilson_interval(n - successes, n)
    np.testing.assert_allclose(mirrored, [1 - upper, 1 - lower], atol=1e-12)
    wide = wilson_interval(successes, n, 0.99)
    assert wide[0] <= lower
    assert wide[1] >= upper


def test_wilson_at_the_ends() -> None:
    lower, upper = wilson_interval([0, 7, 0], [7, 7, 0])
    assert lower[0] == 0
    assert upper[1] == 1
    assert np.isnan([lower[2], upper[2]]).all()
    assert wilson_interval([], [])[0].shape == (0,)
    assert 0 < wilson_interval(0.5, 2.5)[0] < 0.2  # effective numbers need not be whole


@pytest.mark.parametrize(("after", "n_after", "before", "n_before", "lower", "upper"), NEWCOMBE)
def test_newcombe_in_the_papers_examples(
    after: int, n_after: int, before: int, n_before: int, lower: float, upper: float
) -> None:
    np.testing.assert_allclose(newcombe_interval(before, n_before, after, n_after), [lower, upper], atol=5.1e-5)


@given(rates(), rates(), st.sampled_from([0.9, 0.95, 0.99]))
def test_newcombe_is_that_of_statsmodels(before: tuple[int, int], after: tuple[int, int], confidence: float) -> None:
    expected = confint_proportions_2indep(*after, *before, method="newcomb", alpha=1 - confidence)
    np.testing.assert_allclose(newcombe_interval(*before, *after, confidence), expected, rtol=1e-9, atol=1e-9)


@given(rates(), rates())
def test_laws_of_newcombes_interval(before: tuple[int, int], after: tuple[int, int]) -> None:
    lower, upper = newcombe_interval(*before, *after)
    difference = after[0] / after[1] - before[0] / before[1]
    assert -1 - 1e-12 <= lower <= difference + 1e-12
    assert difference - 1e-12 <= upper <= 1 + 1e-12
    np.testing.assert_allclose(newcombe_interval(*after, *before), [-upper, -lower], atol=1e-12)


def test_newcombe_of_an_empty_side_is_unknown() -> None:
    assert np.isnan(newcombe_interval(0, 0, 3, 10)).all()
    assert np.isnan(newcombe_interval(3, 10, 0, 0)).all()
    assert newcombe_interval([], [], [], [])[0].shape == (0,)


def test_fisher_and_the_lady_tasting_tea() -> None:
    assert fisher_pvalue(3, 4, 1, 4) == pytest.approx(34 / 70)


@given(rates(), rates())
def test_fisher_is_that_of_scipy(before: tuple[int, int], after: tuple[int, int]) -> None:
    table = [[before[0], before[1] - before[0]], [after[0], after[1] - after[0]]]
    assert fisher_pvalue(*before, *after) == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-9)
    assert fisher_pvalue(*after, *before) == pytest.approx(fisher_pvalue(*before, *after), rel=1e-9)


def test_fisher_where_there_is_nothing_to_compare() -> None:
    assert fisher_pvalue(0, 0, 3, 5) == 1
    assert fisher_pvalue(0, 5, 0, 7) == 1
    assert fisher_pvalue(5, 5, 7, 7) == 1


def compared(data: np.ndarray, inflation: float = 1.0, alpha: float = 0.05):
    """Compare the rates of one cell; strata by side by (successes, n)."""
    cell = np.zeros(len(data), dtype=np.int64)
    return compare_rates(data[:, :, 0], data[:, :, 1], cell, np.full(1, inflation), alpha)


@given(rates(), rates())
def test_one_stratum_is_newcombe_and_fisher(before: tuple[int, int], after: tuple[int, int]) -> None:
    found = compared(np.array([[before, after]]))
    assert found.baseline[0] == pytest.approx(before[0] / before[1])
    assert found.current[0] == pytest.approx(after[0] / after[1])
    assert found.difference[0] == pytest.approx(after[0] / after[1] - before[0] / before[1], abs=1e-15)
    wide = confint_proportions_2indep(*after, *before, method="newcomb", alpha=0.05)
    narrow = confint_proportions_2indep(*after, *before, method="newcomb", alpha=0.10)
    np.testing.assert_allclose([found.lower[0], found.upper[0]], wide, atol=1e-9)
    np.testing.assert_allclose([found.narrow_lower[0], found.narrow_upper[0]], narrow, atol=1e-9)
    table = [[before[0], before[1] - before[0]], [after[0], after[1] - after[0]]]
    assert found.pvalue[0] == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-9)
    expected = proportion_effectsize(after[0] / after[1], before[0] / before[1])
    assert found.effect_size[0] == pytest.approx(expected, abs=1e-12)
    assert (found.n_baseline[0], found.n_current[0], found.strata[0]) == (before[1], after[1], 1)


def sato(data: np.ndarray, difference: float) -> float:
    """Return Sato's variance (1989, Biometrics 45, 1323), with half a discordant pair added, from its definition."""
    weight = skewed = discordant = 0.0
    for (x0, n0), (x1, n1) in data.tolist():
        n = n0 + n1
        weight += n0 * n1 / n
        skewed += (n1**2 * x0 - n0**2 * x1 + n0 * n1 * (n0 - n1) / 2) / n**2
        discordant += (x1 * (n0 - x0) + x0 * (n1 - x1)) / (2 * n)
    return (max(difference * skewed + discordant, 0.0) + 0.5) / weight**2


def test_error_over_pairs_is_that_of_paired_differences() -> None:
    # One observation a side in each stratum: pairs, whose mean difference has a plain standard error.
    rng = np.random.default_rng(6)
    passed = rng.binomial(1, np.stack([np.full(400, 0.7), np.full(400, 0.8)], axis=1))
    found = compared(np.stack([passed, np.ones_like(passed)], axis=2))
    gap = passed[:, 1] - passed[:, 0]
    assert found.difference[0] == pytest.approx(gap.mean())
    assert found.se[0] ** 2 == pytest.approx(gap.var() / 400 + 0.5 / 200**2, rel=1e-9)


def test_error_of_large_strata_is_that_of_independent_rates() -> None:
    data = np.array([[(700, 1000), (1500, 2000)], [(90, 900), (130, 1000)]])
    rate, n = data[:, :, 0] / data[:, :, 1], data[:, :, 1].astype(float)
    weight = n.prod(axis=1) / n.sum(axis=1)
    weight /= weight.sum()
    plain = (weight**2 * (rate * (1 - rate) / n).sum(axis=1)).sum()
    assert compared(data).se[0] == pytest.approx(math.sqrt(plain), rel=0.02)


@given(strata())
def test_several_strata_are_cochran_mantel_haenszel(data: np.ndarray) -> None:
    found = compared(data)
    tables = [np.array([[after[0], after[1] - after[0]], [before[0], before[1] - before[0]]]) for before, after in data]
    informative = [table for table in tables if table.sum(axis=0).all()]
    if informative:
        oracle = StratifiedTable([table.astype(float) for table in informative])
        shift = sum(t[0, 0] - t[0].sum() * t[:, 0].sum() / t.sum() for t in informative)
        expected = oracle.test_null_odds(correction=True).pvalue if abs(shift) > 0.5 else 1.0
        assert found.pvalue[0] == pytest.approx(expected, rel=1e-6, abs=1e-12)
    else:
        assert found.pvalue[0] == 1
    weight = [after[1] * before[1] / (after[1] + before[1]) for before, after in data]
    gaps = [after[0] / after[1] - before[0] / before[1] for before, after in data]
    expected = sum(w * gap for w, gap in zip(weight, gaps, strict=True)) / sum(weight)
    assert found.difference[0] == pytest.approx(expected, abs=1e-12)
    assert found.current[0] - found.baseline[0] == pytest.approx(found.difference[0], abs=1e-12)
    error = math.sqrt(sato(data, expected))
    assert found.se[0] == pytest.approx(error, rel=1e-9)
    half = stats.norm.ppf(0.975) * error
    np.testing.assert_allclose([found.lower[0], found.upper[0]], [expected - half, expected + half], atol=1e-9)
    half = stats.norm.ppf(0.95) * error
    np.testing.assert_allclose(
        [found.narrow_lower[0], found.narrow_upper[0]], [expected - half, expected + half], atol=1e-9
    )


def test_large_samples_of_one_stratum_are_cochran_mantel_haenszel() -> None:
    found = compared(np.array([[(900, 1000), (1850, 2000)]]))
    oracle = StratifiedTable([np.array([[1850.0, 150.0], [900.0, 100.0]])])
    assert found.pvalue[0] == pytest.approx(oracle.test_null_odds(correction=True).pvalue, rel=1e-9)
    exact = stats.fisher_exact([[1850, 150], [900, 100]]).pvalue
    assert exact <= found.pvalue[0] <= 1.2 * exact  # the correction for continuity errs on the safe side


def test_simpsons_paradox_of_berkeley() -> None:
    # Bickel, Hammel and O'Connell (1975), Science 187, 398-404: admissions of men and women to six departments. Pooled,
    # women are admitted less often by 14 points; within departments the difference has the other sign.
    men = [(512, 825), (353, 560), (120, 325), (138, 417), (53, 191), (22, 373)]
    women = [(89, 108), (17, 25), (202, 593), (131, 375), (94, 393), (24, 341)]
    within = compared(np.array([[m, w] for m, w in zip(men, women, strict=True)]))
    pooled = compared(np.array([[np.sum(men, axis=0), np.sum(women, axis=0)]]))
    assert pooled.difference[0] == pytest.approx(-0.1416, abs=1e-3)
    assert pooled.pvalue[0] < 1e-15
    assert within.difference[0] > 0
    # Agresti (2002), Categorical Data Analysis, has CMH = 1.43 (with correction), p = 0.23, for these tables.
    assert within.pvalue[0] == pytest.approx(0.23, abs=0.01)


@given(strata(), st.floats(1.0, 20.0))
def test_inflation_divides_what_is_known(data: np.ndarray, inflation: float) -> None:
    plain, wide = compared(data), compared(data, inflation)
    assert wide.difference[0] == plain.difference[0]
    assert wide.pvalue[0] >= plain.pvalue[0] - 1e-12
    assert wide.se[0] >= plain.se[0] - 1e-12
    single = compared(data[:1], inflation)
    effective = data[0, :, 1] / inflation
    passed = data[0, :, 0] / inflation
    expected = newcombe_interval(passed[0], effective[0], passed[1], effective[1])
    np.testing.assert_allclose([single.lower[0], single.upper[0]], np.ravel(expected), atol=1e-9)


@given(strata(), st.integers(1, 30), st.floats(1.0, 8.0))
def test_an_estimated_inflation_asks_for_students_t(data: np.ndarray, df: int, inflation: float) -> None:
    cell, one = np.zeros(len(data), dtype=np.int64), np.ones(1)
    args = (data[:, :, 0], data[:, :, 1], cell, inflation * one)
    known, estimated = compare_rates(*args), compare_rates(*args, df=df * one)
    z = stats.norm.isf(known.pvalue[0] / 2)
    if known.pvalue[0] > 1e-12 and inflation > 1:
        assert estimated.pvalue[0] == pytest.approx(2 * stats.t.sf(z, df), rel=1e-6)
    cut = stats.t.ppf(0.975, df)
    expected = known.difference[0] - cut * known.se[0], known.difference[0] + cut * known.se[0]
    np.testing.assert_allclose([estimated.lower[0], estimated.upper[0]], expected, rtol=1e-9, atol=1e-12)
    single = compare_rates(data[:1, :, 0], data[:1, :, 1], cell[:1], one, df=df * one)
    (x0, n0), (x1, n1) = data[0].tolist()
    confidence = 1 - 2 * stats.norm.sf(cut)
    if confidence < 1 - 1e-9:
        expected = newcombe_interval(x0, n0, x1, n1, confidence)
        np.testing.assert_allclose([single.lower[0], single.upper[0]], np.ravel(expected), atol=1e-6)
    assert -1 - 1e-12 <= single.lower[0] <= single.upper[0] <= 1 + 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.5, 0.8, 0.9])
@pytest.mark.parametrize(("strata", "before", "after"), [(100, 1, 1), (20, 5, 5), (50, 2, 2), (3, 30, 10), (2, 50, 50)])
def test_intervals_cover_over_few_and_many_strata(rate: float, strata: int, before: int, after: int) -> None:
    # 5,000 cells: coverage is known to 0.3 points; 93.5 % are wanted, and up to 98.5 % are allowed, for few
    # failures make it wide. The true difference is 5 points.
    rng = np.random.default_rng(7)
    n = np.broadcast_to([before, after], (5000 * strata, 2))
    easy = np.clip(rate + rng.uniform(-0.1, 0.1, len(n)), 0, 0.95)
    passed = rng.binomial(n, np.stack([easy, easy + 0.05], axis=1))
    found = compare_rates(passed, n, np.repeat(np.arange(5000), strata), np.ones(5000))
    assert 0.935 <= ((found.lower <= 0.05) & (found.upper >= 0.05)).mean() <= 0.985


@given(strata(), st.randoms(use_true_random=False))
def test_laws_of_comparing_rates(data: np.ndarray, random) -> None:
    found = compared(data)
    order = list(range(len(data)))
    random.shuffle(order)
    names = ["baseline", "current", "difference", "se", "lower", "upper", "pvalue", "effect_size"]
    for name in names:
        np.testing.assert_allclose(getattr(compared(data[order]), name), getattr(found, name), rtol=1e-9, atol=1e-12)
    swapped = compared(data[:, ::-1])
    np.testing.assert_allclose(
        [swapped.difference, swapped.lower, swapped.upper, swapped.effect_size],
        [-found.difference, -found.upper, -found.lower, -found.effect_size],
        atol=1e-12,
    )
    np.testing.assert_allclose(swapped.pvalue, found.pvalue, rtol=1e-9)
    failures = data.copy()
    failures[:, :, 0] = data[:, :, 1] - data[:, :, 0]
    np.testing.assert_allclose(compared(failures).difference, -found.difference, atol=1e-12)
    np.testing.assert_allclose(compared(failures).pvalue, found.pvalue, rtol=1e-9)


@given(strata())
def test_identical_sides_do_not_differ(data: np.ndarray) -> None:
    data[:, 1] = data[:, 0]
    found = compared(data)
    assert found.difference[0] == 0
    assert found.pvalue[0] == pytest.approx(1)
    assert found.lower[0] < 0 < found.upper[0]
    assert found.effect_size[0] == 0


def test_edges_of_comparing_rates() -> None:
    data = np.array([[(0, 0), (3, 5)], [(4, 9), (0, 0)]])
    found = compared(data)
    for name in ("baseline", "current", "difference", "se", "lower", "upper", "pvalue", "effect_size"):
        assert np.isnan(getattr(found, name)).all(), name
    assert (found.n_baseline[0], found.n_current[0], found.strata[0]) == (0, 0, 0)
    perfect = compared(np.array([[(6, 6), (9, 9)], [(2, 2), (3, 3)]]))
    assert (perfect.difference[0], perfect.pvalue[0]) == (0, 1)
    assert perfect.se[0] > 0
    one = compared(np.array([[(1, 1), (0, 1)]]))
    assert (one.difference[0], one.pvalue[0]) == (-1, 1)
    empty = compare_rates(np.empty((0, 2)), np.empty((0, 2)), np.empty(0, dtype=np.int64), np.empty(0))
    assert empty.difference.shape == (0,)


def test_strata_with_one_side_only_do_not_count() -> None:
    data = np.array([[(3, 9), (7, 10)], [(1, 5), (2, 8)]])
    more = np.concatenate([data, [[(0, 0), (50, 50)], [(0, 70), (0, 0)]]])
    for name in ("difference", "se", "pvalue", "n_baseline", "n_current", "strata"):
        np.testing.assert_array_equal(getattr(compared(more), name), getattr(compared(data), name))


def test_many_cells_at_once_are_each_on_their_own() -> None:
    rng = np.random.default_rng(3)
    n = rng.integers(1, 30, (9, 2))
    successes = rng.binomial(n, 0.7)
    cell = np.array([0, 1, 1, 2, 2, 2, 3, 4, 4])
    inflation = np.array([1.0, 1.0, 2.0, 3.0, 1.5])
    together = compare_rates(successes, n, cell, inflation)
    for which in range(5):
        mine = cell == which
        alone = compare_rates(
            successes[mine], n[mine], np.zeros(mine.sum(), dtype=np.int64), inflation[which : which + 1]
        )
        for name in ("difference", "se", "lower", "upper", "pvalue"):
            assert getattr(together, name)[which] == pytest.approx(getattr(alone, name)[0], rel=1e-12), name


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(2, 8))
def test_overdispersion_is_pearsons_chi_square_of_a_binomial_model(number: int, places: int, runs: int) -> None:
    rng = np.random.default_rng(number)
    place = np.repeat(np.arange(places), runs)
    n = rng.integers(2, 40, len(place)).astype(float)
    successes = rng.binomial(n.astype(int), np.clip(rng.beta(2, 2, len(place)), 0.02, 0.98)).astype(float)
    totals = [(successes[place == p].sum(), n[place == p].sum()) for p in range(places)]
    if any(good in (0, size) for good, size in totals):
        return
    design = (place[:, None] == np.arange(places)).astype(float)
    model = sm.GLM(np.column_stack([successes, n - successes]), design, family=sm.families.Binomial()).fit()
    found, df = overdispersion(successes, n, place, np.zeros(len(place), dtype=np.int64), 1)
    assert found[0] == pytest.approx(max(1.0, model.pearson_chi2 / model.df_resid), rel=1e-6)
    assert df[0] == (model.df_resid if found[0] > 1 else np.inf)


def test_overdispersion_where_there_is_nothing_to_tell_it_by() -> None:
    def answer(successes: list[float], n: list[float], cells: int = 1) -> list[list[float]]:
        zeros = np.zeros(len(n), dtype=np.int64)
        return [part.tolist() for part in overdispersion(np.array(successes), np.array(n), zeros, zeros, cells)]

    by_chance = [[1.0], [math.inf]]
    assert answer([10.0] * 3, [10.0] * 3, 2) == [[1.0, 1.0], [math.inf, math.inf]]  # all passed; a cell without runs
    assert answer([3.0], [10.0]) == by_chance
    assert answer([], []) == by_chance
    assert answer([5.0] * 3, [10.0] * 3) == by_chance  # less than by chance counts as chance


def test_overdispersion_of_runs_that_span_strata() -> None:
    # Each run is off by the same sign in all of its strata: within strata the excess looks small, over runs it adds up.
    rng = np.random.default_rng(4)
    runs, places = 30, 20
    quality = rng.choice([-0.25, 0.25], runs)
    run, place = (part.ravel() for part in np.meshgrid(np.arange(runs), np.arange(places), indexing="ij"))
    n = np.full(len(run), 5.0)
    successes = rng.binomial(5, 0.5 + quality[run]).astype(float)
    zeros = np.zeros(len(run), dtype=np.int64)
    apart = overdispersion(successes, n, place, zeros, 1)[0][0]
    together = overdispersion(successes, n, place, zeros, 1, run=run)[0][0]
    # By hand, with the rate of 0.5 that is expected everywhere.
    off = (successes - 2.5).reshape(runs, places).sum(axis=1)
    assert together == pytest.approx((off**2).sum() / (0.25 * 5 * places) / (runs - 1), rel=0.1)
    assert together > 10 > apart
    alone = overdispersion(successes, n, place, zeros, 1, run=np.arange(len(run)))[0][0]
    assert alone == pytest.approx(apart, rel=1e-12)
