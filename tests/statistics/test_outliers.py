"""Outliers against Rosner's and Grubbs' published numbers, an own implementation in plain Python, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aggrkit.errors import TooFewObservationsError
from aggrkit.statistics import outliers
from aggrkit.statistics.outliers import (
    choose_scale,
    far_out,
    gesd,
    max_zscore,
    max_zscore_pvalue,
    moderated_std,
    robust_cut,
    robust_pvalue,
    robust_std,
    zscore_needs,
)

# Rosner (1983), as in the NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.5.17.3, with its test statistics R and
# critical values lambda at the 5 % level for up to ten outliers.
ROSNER = [
    *(-0.25, 0.68, 0.94, 1.15, 1.20, 1.26, 1.26, 1.34, 1.38, 1.43, 1.49, 1.49, 1.55, 1.56, 1.58, 1.65, 1.69, 1.70),
    *(1.76, 1.77, 1.81, 1.91, 1.94, 1.96, 1.99, 2.06, 2.09, 2.10, 2.14, 2.15, 2.23, 2.24, 2.26, 2.35, 2.37, 2.40),
    *(2.47, 2.54, 2.62, 2.64, 2.90, 2.92, 2.92, 2.93, 3.21, 3.26, 3.30, 3.59, 3.68, 4.30, 4.64, 5.34, 5.42, 6.01),
]
ROSNER_R = [3.118, 2.942, 3.179, 2.810, 2.815, 2.848, 2.279, 2.310, 2.101, 2.067]
ROSNER_LAMBDA = [3.158, 3.151, 3.143, 3.136, 3.128, 3.120, 3.111, 3.103, 3.094, 3.085]

# Grubbs and Beck (1972), Technometrics 14, 847-854: upper 2.5 % points of the largest deviate, 5 % for both sides.
GRUBBS = {4: 1.481, 5: 1.715, 6: 1.887, 8: 2.126, 10: 2.290, 15: 2.549, 20: 2.709, 25: 2.822, 30: 2.908, 100: 3.383}


def rosner_by_hand(values: list[float], alpha: float, most: int) -> list[float]:
    """Return the outliers, the most extreme first, straight from Rosner's definition."""
    rest = list(values)
    n = len(rest)
    removed, found = [], 0
    for step in range(1, most + 1):
        mean = math.fsum(rest) / len(rest)
        std = math.sqrt(math.fsum((x - mean) ** 2 for x in rest) / (len(rest) - 1))
        worst = max(rest, key=lambda x: abs(x - mean))
        t = stats.t.ppf(1 - alpha / (2 * (n - step + 1)), n - step - 1)
        critical = (n - step) * t / math.sqrt((n - step - 1 + t**2) * (n - step + 1))
        if abs(worst - mean) / std > critical:
            found = step
        removed.append(worst)
        rest.remove(worst)
    return removed[:found]


def test_scale_constants_are_those_of_the_normal_distribution() -> None:
    assert 1 / stats.norm.ppf(0.75) == pytest.approx(outliers.MAD_TO_STD, rel=1e-12)
    assert 1 / stats.norm.expect(abs) == pytest.approx(outliers.MEAN_DEVIATION_TO_STD, rel=1e-9)


def test_gesd_finds_rosners_three_outliers() -> None:
    found = gesd(ROSNER, alpha=0.05, max_outliers=10)
    assert np.array(ROSNER)[found.places].tolist() == [6.01, 5.42, 5.34]
    np.testing.assert_allclose(found.scores, ROSNER_R[:3], atol=1e-3)
    assert (found.pvalues <= 0.05).all()
    clean = np.sort(ROSNER)[:-3]
    assert found.lower < clean.min()
    assert clean.max() < found.upper < 5.34


def test_gesd_gives_all_ten_of_rosners_statistics() -> None:
    found = gesd(ROSNER, alpha=1.0, max_outliers=10)
    np.testing.assert_allclose(np.abs(found.scores), ROSNER_R, atol=1e-3)


def test_gesd_with_one_outlier_alone_is_masked_in_rosners_data() -> None:
    # R1 = 3.118 is below lambda1 = 3.158: only who looks for three finds them.
    assert len(gesd(ROSNER, max_outliers=1).places) == 0
    assert len(gesd(ROSNER, max_outliers=2).places) == 0
    assert len(gesd(ROSNER, max_outliers=3).places) == 3


@pytest.mark.parametrize(("step", "critical"), list(enumerate(ROSNER_LAMBDA)))
def test_pvalue_at_rosners_critical_values_is_the_level(step: int, critical: float) -> None:
    assert max_zscore_pvalue(critical, 54 - step) == pytest.approx(0.05, rel=0.01)


@pytest.mark.parametrize("n", list(GRUBBS))
def test_pvalue_at_grubbs_critical_values_is_the_level(n: int) -> None:
    assert max_zscore_pvalue(GRUBBS[n], n) == pytest.approx(0.05, rel=0.02)


def test_grubbs_example_of_tietjen_and_moore() -> None:
    # NIST/SEMATECH e-Handbook, 1.3.5.17.1: G = 2.4687 for n = 8, one-sided critical value 2.032 at 5 %.
    values = [199.31, 199.53, 200.19, 200.82, 201.92, 201.95, 202.18, 245.57]
    found = gesd(values)
    assert found.places.tolist() == [7]
    assert found.scores[0] == pytest.approx(2.4687, abs=1e-4)
    assert max_zscore_pvalue(2.032, 8) == pytest.approx(0.10, rel=0.01)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(5, 60),
    st.integers(0, 6),
    st.floats(2, 30),
    st.sampled_from([0.001, 0.01, 0.05, 0.2]),
)
def test_gesd_is_rosners_definition(number: int, n: int, planted: int, size: float, alpha: float) -> None:
    rng = np.random.default_rng(number)
    values = rng.normal(0, 1, n)
    values[: min(planted, n // 4)] += size * rng.choice([-1, 1], min(planted, n // 4))
    most = min(n - 3, max(1, n // 3))
    found = gesd(values, alpha, most)
    assert values[found.places].tolist() == rosner_by_hand(values.tolist(), alpha, most)


def test_gesd_pvalue_is_that_of_the_most_convincing_step() -> None:
    found = gesd(ROSNER, max_outliers=10)
    # The third step decides for all three: R3 against lambda3 is the only one beyond.
    n, t = 52, None
    score = found.scores[2]
    t = score * math.sqrt(n * (n - 2) / ((n - 1) ** 2 - n * score**2))
    np.testing.assert_allclose(found.pvalues, 2 * n * stats.t.sf(t, n - 2), rtol=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(8, 80), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_gesd_moves_and_scales_with_the_data(number: int, n: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(number)
    values = rng.standard_t(2, n)
    found, other = gesd(values, max_outliers=n // 4), gesd(shift + scale * values, max_outliers=n // 4)
    assert found.places.tolist() == other.places.tolist()
    np.testing.assert_allclose(other.scores, found.scores, rtol=1e-6)
    np.testing.assert_allclose(
        [other.lower, other.upper], shift + scale * np.array([found.lower, found.upper]), rtol=1e-6
    )
    mirrored = gesd(-values, max_outliers=n // 4)
    assert mirrored.places.tolist() == found.places.tolist()
    np.testing.assert_allclose(mirrored.scores, -found.scores, rtol=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(8, 80))
def test_gesd_does_not_depend_on_the_order(number: int, n: int) -> None:
    rng = np.random.default_rng(number)
    values = rng.standard_t(2, n)
    order = rng.permutation(n)
    found, other = gesd(values, max_outliers=n // 4), gesd(values[order], max_outliers=n // 4)
    assert order[other.places].tolist() == found.places.tolist()
    np.testing.assert_allclose(other.pvalues, found.pvalues, rtol=1e-9)


def test_gesd_of_constant_values_finds_nothing() -> None:
    found = gesd([3.0] * 12)
    assert len(found.places) == 0
    assert (found.lower, found.upper) == (3.0, 3.0)


def test_gesd_of_one_value_among_equal_ones_is_certain() -> None:
    found = gesd([1.0] * 9 + [2.0])
    assert found.places.tolist() == [9]
    assert found.pvalues.tolist() == [0.0]
    assert found.scores[0] == pytest.approx(9 / math.sqrt(10))


@pytest.mark.parametrize("n", range(5))
def test_gesd_needs_five_values(n: int) -> None:
    with pytest.raises(TooFewObservationsError, match=rf"n={n}, needs 5"):
        gesd(np.arange(n, dtype=float))


def test_gesd_needs_three_more_values_than_outliers() -> None:
    with pytest.raises(TooFewObservationsError, match=r"n=6, needs 7"):
        gesd(np.arange(6.0), max_outliers=4)
    assert len(gesd(np.arange(7.0), max_outliers=4).places) == 0


def test_gesd_looks_for_a_tenth_by_default_and_at_most_fifty() -> None:
    rng = np.random.default_rng(1)
    few = np.concatenate([rng.normal(0, 1, 27), [50.0, 60.0, 70.0]])
    assert sorted(gesd(few).places) == [27, 28, 29]
    assert len(gesd(np.concatenate([rng.normal(0, 1, 26), [50.0, 60.0, 70.0]])).places) == 2
    many = np.concatenate([rng.normal(0, 1, 940), 1000 + rng.normal(0, 1, 60)])
    assert len(gesd(many, max_outliers=60).places) == 60
    assert len(gesd(many).places) <= 50


@pytest.mark.parametrize("n", range(2, 40))
def test_max_zscore_is_that_of_one_value_apart(n: int) -> None:
    values = np.zeros(n)
    values[0] = 1e9
    assert float(max_zscore(n)) == pytest.approx(abs(values[0] - values.mean()) / values.std(ddof=1), rel=1e-12)


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=12))
def test_no_zscore_exceeds_max_zscore(values: list[float]) -> None:
    data = np.array(values)
    if data.std(ddof=1) > 1e-6:
        assert np.abs((data - data.mean()) / data.std(ddof=1)).max() <= float(max_zscore(len(data))) * (1 + 1e-9)


def test_max_zscore_at_small_sizes() -> None:
    assert np.isneginf(max_zscore(0)) or np.isnan(max_zscore(0))
    assert max_zscore(1) == 0


@pytest.mark.parametrize("threshold", [0.1, 0.7, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 10.0])
def test_zscore_needs_is_the_smallest_size_that_reaches_it(threshold: float) -> None:
    assert zscore_needs(threshold) == next(n for n in range(2, 1000) if (n - 1) / math.sqrt(n) >= threshold)


@pytest.mark.parametrize("n", [2, 3, 9, 16, 25, 100])
def test_zscore_needs_inverts_max_zscore(n: int) -> None:
    assert zscore_needs(float(max_zscore(n))) == n


def test_max_zscore_pvalue_at_the_ends() -> None:
    assert max_zscore_pvalue(5.0, 2) == 1.0
    assert max_zscore_pvalue(0.0, 20) == 1.0
    assert max_zscore_pvalue(float(max_zscore(20)), 20) == 0.0
    falling = [max_zscore_pvalue(score, 20) for score in np.linspace(1, 4.2, 30)]
    assert falling == sorted(falling, reverse=True)


def test_max_zscore_pvalue_is_the_chance_of_the_largest_deviate() -> None:
    # Of 40,000 samples of 12, 2,000 are expected beyond the 5 % point; four standard errors are 174.
    rng = np.random.default_rng(20)
    values = rng.normal(0, 1, (40_000, 12))
    score = np.abs(values - values.mean(axis=1, keepdims=True)).max(axis=1) / values.std(axis=1, ddof=1)
    pvalue = np.array([max_zscore_pvalue(s, 12) for s in score])
    assert abs((pvalue <= 0.05).sum() - 2000) < 174


@given(st.integers(5, 5000), st.floats(1e-7, 0.9))
def test_robust_cut_inverts_robust_pvalue(n: int, alpha: float) -> None:
    assert float(robust_pvalue(robust_cut(n, alpha), n)) == pytest.approx(alpha, rel=1e-6)


@given(st.integers(5, 5000))
def test_robust_pvalue_falls_with_the_score(n: int) -> None:
    pvalue = robust_pvalue(np.linspace(0, 40, 200), n)
    assert pvalue[0] == 1.0
    assert (np.diff(pvalue) <= 0).all()
    assert ((pvalue >= 0) & (pvalue <= 1)).all()


def test_robust_pvalue_needs_five_values() -> None:
    assert np.isnan(robust_pvalue(9.0, np.arange(5))).all()
    assert np.isnan(robust_cut(np.arange(5), 0.05)).all()
    assert np.isfinite(robust_cut(5, 0.05))
    assert robust_pvalue(np.empty(0), np.empty(0)).shape == (0,)


def test_robust_cut_of_large_cells_is_that_of_the_normal_distribution() -> None:
    exact = stats.norm.isf(-math.expm1(math.log1p(-0.05) / 100_000) / 2)
    assert float(robust_cut(100_000, 0.05)) == pytest.approx(exact, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 6, 7, 10, 16, 21, 24, 35, 60, 85, 150, 400])
def test_robust_pvalue_keeps_its_word_for_clean_values(n: int) -> None:
    # Sizes that the constants were fitted at, and sizes between. At 5 %, some 2,000 of 40,000 samples would be beyond
    # the cut: the rate is known to 2 % of itself. Allowed: the stated rate and 4 standard errors above, a fifth below.
    # At 0.5 % the standard error is 7 % of the rate.
    rng = np.random.default_rng(n)
    values = rng.normal(100, 10, (40_000, n))
    centre = np.median(values, axis=1, keepdims=True)
    deviation = np.abs(values - centre)
    score = deviation.max(axis=1) / (1.482602218505602 * np.median(deviation, axis=1))
    assert 0.8 <= (score > robust_cut(n, 0.05)).mean() / 0.05 <= 1.09
    assert 0.7 <= (score > robust_cut(n, 0.005)).mean() / 0.005 <= 1.28


def percentiles(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=1)
    return low, middle, high


def test_choose_scale_tells_normal_from_lognormal() -> None:
    rng = np.random.default_rng(3)
    size = np.full(50, 200.0)
    assert choose_scale(*percentiles(rng.normal(100, 20, (50, 200))), size, positive=True) == "raw"
    assert choose_scale(*percentiles(rng.lognormal(3, 0.3, (50, 200))), size, positive=True) == "log"
    assert choose_scale(*percentiles(rng.lognormal(3, 0.3, (50, 200))), size, positive=False) == "raw"


def test_choose_scale_says_where_it_cannot_be_told() -> None:
    rng = np.random.default_rng(4)
    assert choose_scale(*percentiles(rng.lognormal(3, 0.1, (1, 10))), [10], positive=True) == "both"
    assert choose_scale([1.0], [1.0], [1.0], [100], positive=True) == "both"
    assert choose_scale([0.28], [1.0], [3.6], [4], positive=True) == "both"
    assert choose_scale([], [], [], [], positive=True) == "both"
    assert choose_scale([np.nan], [np.nan], [np.nan], [0], positive=True) == "both"


@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e6), st.sampled_from([0.05, 0.3, 1.0]))
def test_choose_scale_does_not_depend_on_the_unit(number: int, factor: float, sigma: float) -> None:
    values = np.random.default_rng(number).lognormal(3, sigma, (10, 50))
    size = np.full(10, 50.0)
    chosen = choose_scale(*percentiles(values), size, positive=True)
    assert choose_scale(*(part * factor for part in percentiles(values)), size, positive=True) == chosen


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.3, 1.0]), st.floats(1e-6, 1e6))
def test_far_out_is_beyond_on_both_scales(number: int, sigma: float, factor: float) -> None:
    values = np.random.default_rng(number).lognormal(3, sigma, 99) * factor
    q1, p50, q3 = np.quantile(values, [0.25, 0.5, 0.75])
    lower, upper = (float(bound) for bound in far_out(q1, p50, q3))
    # The quartiles of the normal distribution are 1.349 standard deviations apart.
    iqr = 2 * stats.norm.ppf(0.75)
    raw = 3.5 * (q3 - q1) / iqr
    log = 3.5 * (math.log(q3) - math.log(q1)) / iqr
    for value in np.concatenate([values, p50 + raw * np.array([-1.01, -0.99, 0.99, 1.01]), p50 * np.exp([-log, log])]):
        far = abs(value - p50) > raw and value > 0 and abs(math.log(value / p50)) > log
        if value > 0 and abs(abs(math.log(value / p50)) - log) > 1e-9:
            assert (value < lower or value > upper) == far


def test_far_out_where_quartiles_are_equal() -> None:
    lower, upper = far_out([2.0, 1.0], [2.0, 2.0], [2.0, 4.0])
    assert (lower[0], upper[0]) == (-math.inf, math.inf)
    assert -math.inf < lower[1] < 1
    assert 4 < upper[1] < math.inf
    assert np.isneginf(far_out(np.nan, np.nan, np.nan)[0])
    assert far_out([], [], [])[0].shape == (0,)


def deviations(values: list[float]) -> tuple[float, float, float, int, int]:
    """Return what the robust standard deviation is made of."""
    off = np.abs(np.array(values) - np.median(values))
    apart = off[off > 0]
    return float(np.median(off)), off.mean(), float(np.median(apart)) if len(apart) else math.nan, len(apart), len(off)


def test_robust_std_is_the_scaled_median_deviation() -> None:
    values = np.random.default_rng(6).normal(5, 2, 10_001)
    found = float(robust_std(*deviations(values.tolist())))
    assert found == pytest.approx(stats.median_abs_deviation(values, scale="normal"), rel=1e-12)
    assert found == pytest.approx(2, rel=0.05)


def test_robust_std_of_values_that_are_mostly_equal() -> None:
    few = [1.0] * 9 + [3.0]
    assert float(robust_std(*deviations(few))) == pytest.approx(0.2 * math.sqrt(math.pi / 2))
    assert float(robust_std(*deviations([1.0] * 9))) == 0
    assert float(robust_std(*deviations([1.0] * 9 + [1.0 + 1e-15]), rounding=1e-14)) == 0


def test_robust_std_of_rounded_values_is_near_the_truth() -> None:
    # Rounded so coarsely that more than half are equal: within a factor of two of what it was before rounding.
    values = np.round(np.random.default_rng(7).normal(0, 0.55, 5000)).tolist()
    assert np.median(np.abs(values)) == 0
    assert 0.275 <= float(robust_std(*deviations(values))) <= 1.1


def spread_of(values: np.ndarray) -> np.ndarray:
    """Return 1.4826 MAD of each row."""
    return np.asarray(stats.median_abs_deviation(values, axis=1, scale="normal"))


@pytest.mark.parametrize(
    ("cells", "size", "tau"), [(20, 5, 0.0), (80, 10, 0.0), (80, 10, 0.3), (80, 8, 0.8), (20, 20, 0.3)]
)
def test_moderated_spreads_keep_the_rate_and_find_more(cells: int, size: int, tau: float) -> None:
    rng = np.random.default_rng(12)
    n = np.full(cells, float(size))
    chance = 1 - 0.95 ** (1 / cells)
    alarms, found, found_before, repeats = 0, 0.0, 0.0, 200
    for _ in range(repeats):
        values = rng.normal(0, 1, (cells, size)) * np.exp(rng.normal(0, tau, (cells, 1)))
        values[:, 0] += 10 * values.std(axis=1)
        off = np.abs(values - np.median(values, axis=1, keepdims=True))
        std, worth = moderated_std(spread_of(values), n)
        flagged = off > (robust_cut(n, chance, worth) * std)[:, None]
        alarms += bool(flagged[:, 1:].any())
        found += flagged[:, 0].mean()
        found_before += (off[:, 0] > robust_cut(n, chance) * spread_of(values)).mean()
    # A true rate of 5 % gives more than 18 of 200 in less than 1 % of such simulations.
    assert alarms <= 18
    if tau <= 0.3:
        assert found >= found_before


def test_few_cells_are_not_moderated() -> None:
    std, worth = moderated_std([1.0, 2.0, 3.0], [5, 6, 7])
    assert std.tolist() == [1.0, 2.0, 3.0]
    assert worth.tolist() == [5.0, 6.0, 7.0]


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.integers(10, 60))
def test_moderated_spreads_scale_with_the_unit_and_lie_between(number: int, factor: float, cells: int) -> None:
    rng = np.random.default_rng(number)
    size = rng.integers(5, 40, cells).astype(float)
    std = np.exp(rng.normal(0, rng.uniform(0, 1), cells))
    moderated, worth = moderated_std(std, size)
    scaled, same = moderated_std(std * factor, size)
    np.testing.assert_allclose(scaled, moderated * factor, rtol=1e-9)
    np.testing.assert_allclose(same, worth, rtol=1e-9)
    corrected = std * np.exp(1.5 / size + 2 / size**2)
    assert (moderated >= corrected.min() * (1 - 1e-12)).all()
    assert (moderated <= corrected.max() * (1 + 1e-12)).all()
    order = rng.permutation(cells)
    np.testing.assert_allclose(moderated_std(std[order], size[order])[0], moderated[order], rtol=1e-9)
