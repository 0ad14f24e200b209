"""Percentiles and spread of many groups against numpy and scipy, one group at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import stdtrit
from scipy.stats import mstats

from aggrkit.errors import UnknownNameError
from aggrkit.statistics.quantiles import MEAN, Grouped, Statistic, brown_forsythe, harrell_davis, relative_spread

SHARES = [0.01, 0.25, 0.5, 0.9, 0.99, 0.999]


def mixed(rng: np.random.Generator, parts: list[np.ndarray]) -> Grouped:
    """Return the parts as groups, handed over in no order."""
    value, group = np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    order = rng.permutation(len(value))
    return Grouped.of(value[order], group[order], len(parts))


def some(seed: int) -> tuple[np.random.Generator, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    sizes = [1, 2, 3, 7, 0, 50, 50, 1000]
    return rng, [rng.lognormal(k, 0.5, size) for k, size in enumerate(sizes)]


# Names


@pytest.mark.parametrize(
    ("given_", "name", "q"),
    [
        ("p50", "p50", 0.5),
        ("p99.9", "p99.9", 0.999),
        ("p5", "p5", 0.05),
        ("p90.0", "p90", 0.9),
        ("p0.1", "p0.1", 0.001),
    ],
)
def test_percentiles_are_read(given_: str, name: str, q: float) -> None:
    found = Statistic.of(given_)
    assert (found.name, found.q, found.is_percentile, found.is_spread) == (name, q, True, False)


def test_names_are_read_once_each() -> None:
    found = Statistic.read(["mean", "p50", "p50.0", "spread", "mean"])
    assert [statistic.name for statistic in found] == ["mean", "p50", "spread"]
    assert found[0] == MEAN
    assert found[2].is_spread
    assert Statistic.read("p99") == (Statistic.of("p99"),)


@pytest.mark.parametrize("bad", ["p101", "p100", "p0", "p0.0", "p", "p-5", "p1e1", "median", "P50", "p50 ", "", "pnan"])
def test_what_is_no_statistic_is_refused_with_the_choices(bad: str) -> None:
    for attempt in (bad, ["p50", bad]):
        with pytest.raises(
            UnknownNameError, match=r"'mean', 'spread', and percentiles above 0 and below 100"
        ) as raised:
            Statistic.read(attempt)
        assert raised.value.name == bad


def test_what_is_no_name_at_all_is_refused() -> None:
    for bad in (0.99, None, b"p50"):
        with pytest.raises(TypeError, match="a statistic is a name"):
            Statistic.read(bad)
    with pytest.raises(UnknownNameError, match=r"unknown statistic 0\.99"):
        Statistic.read([0.99])
    with pytest.raises(ValueError, match="empty list of statistics"):
        Statistic.read([])


@pytest.mark.parametrize(
    ("name", "needed"),
    [("p50", 10), ("p90", 50), ("p95", 100), ("p99", 500), ("p99.9", 5000), ("p1", 500), ("mean", 2)],
)
def test_five_values_are_needed_beyond_a_percentile(name: str, needed: int) -> None:
    assert Statistic.of(name).values_needed == needed


@pytest.mark.parametrize("n", [5, 20, 400])
@pytest.mark.parametrize("q", [0.1, 0.5, 0.9, 0.99])
def test_bias_of_percentiles_is_that_of_uniform_values(n: int, q: float) -> None:
    # E x(i) = i / (n + 1) for uniform values, and the linear percentile lies between two of them.
    place = 1 + (n - 1) * q
    low = math.floor(place)
    expected = (low + (place - low)) / (n + 1)
    found = Statistic.of(f"p{100 * q:g}").bias(np.array([float(n)]))[0]
    assert found == pytest.approx((expected - q) / min(q, 1 - q), abs=1e-12)


def test_bias_of_spread_is_that_of_normal_values() -> None:
    # 100,000 samples: the mean deviation is known to 0.1 %. The rule 0.8 / n is rough: within 0.04 / sqrt(n) here.
    rng = np.random.default_rng(1)
    for n in (5, 10, 20, 50):
        x = rng.normal(0, 1, (100_000, n))
        seen = np.abs(x - np.median(x, axis=1, keepdims=True)).mean() / math.sqrt(2 / math.pi) - 1
        assert Statistic.of("spread").bias(np.array([float(n)]))[0] == pytest.approx(seen, abs=0.04 / math.sqrt(n))


# Numbers


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.999))
def test_percentiles_are_numpys(seed: int, q: float) -> None:
    rng, parts = some(seed)
    found = mixed(rng, parts).percentile(q)
    for part, value in zip(parts, found, strict=True):
        assert value == pytest.approx(np.percentile(part, 100 * q) if len(part) else math.nan, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("q", SHARES)
def test_estimates_and_errors_are_those_of_scipy(q: float) -> None:
    rng, parts = some(7)
    found = harrell_davis(mixed(rng, parts), q)
    for k, part in enumerate(parts):
        if len(part) < 2:
            assert found.value[k] == pytest.approx(part[0] if len(part) else math.nan, nan_ok=True)
            assert np.isnan(found.se[k])
            continue
        assert found.value[k] == pytest.approx(float(mstats.hdquantiles(part, [q])[0]), rel=1e-10)
        assert found.se[k] == pytest.approx(float(mstats.hdquantiles_sd(part, [q])[0]), rel=1e-7)
        assert found.df[k] == pytest.approx(2 * math.sqrt(math.pi * len(part) * q * (1 - q)))


def test_groups_of_all_scales_keep_their_digits() -> None:
    rng = np.random.default_rng(2)
    shape = rng.normal(0, 1, 40)
    parts = [1e300 * shape, shape, 1e-300 * shape, np.full(40, 7.1), shape + 1e9]
    found = harrell_davis(mixed(rng, parts), 0.9)
    alone = float(mstats.hdquantiles_sd(shape, [0.9])[0])
    np.testing.assert_allclose(found.se[:3] / [1e300, 1, 1e-300], alone, rtol=1e-9)
    assert (found.value[3], found.se[3]) == (7.1, 0.0)
    assert found.se[4] == pytest.approx(alone, rel=1e-6)


def test_spread_is_the_mean_distance_from_the_median() -> None:
    rng, parts = some(3)
    found = mixed(rng, parts).spread()
    for part, value in zip(parts, found, strict=True):
        wanted = np.abs(part - np.median(part)).mean() if len(part) > 1 else math.nan
        assert value == pytest.approx(wanted, rel=1e-12, nan_ok=True)


@given(st.integers(0, 2**32 - 1), st.integers(3, 60), st.integers(3, 60), st.booleans())
def test_one_stratum_is_scipys_test(seed: int, before: int, after: int, relative: bool) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.lognormal(0, 0.3, before), 3 * rng.lognormal(0, 0.4, after)
    grouped = mixed(rng, [a, b])
    found = brown_forsythe(grouped, np.array([relative] * 2), np.zeros(1, dtype=np.int64), 1)
    scaled = (a / np.median(a), b / np.median(b)) if relative else (a, b)
    assert found[0] == pytest.approx(stats.levene(*scaled, center="median").pvalue, rel=1e-8)


def test_strata_are_an_analysis_of_variance_with_blocks() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(4)
    parts = [rng.normal(k // 2, 1 + 0.1 * (k % 2), size) for k, size in enumerate((12, 9, 30, 22, 8, 8))]
    found = brown_forsythe(mixed(rng, parts), np.zeros(6, dtype=bool), np.zeros(3, dtype=np.int64), 1)
    z = np.concatenate([np.abs(part - np.median(part)) for part in parts])
    place = np.repeat(np.arange(6), [len(part) for part in parts])
    cells = np.eye(6)[place]
    # The contrast of cell means with weights n1 n2 / (n1 + n2) in the model with a mean for every cell.
    n = np.bincount(place).reshape(-1, 2)
    load = n.prod(axis=1) / n.sum(axis=1)
    contrast = (load[:, None] * [-1.0, 1.0]).ravel()
    assert found[0] == pytest.approx(float(sm.OLS(z, cells).fit().t_test(contrast).pvalue), rel=1e-9)


def test_strata_that_are_left_out_or_have_one_side_say_nothing() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(0, 1, 20), rng.normal(0, 2, 20)
    nothing = np.empty(0)
    whole = mixed(rng, [a, b, a, 9 * b, a, nothing, nothing, nothing])
    found = brown_forsythe(whole, np.zeros(8, dtype=bool), np.array([0, -1, 0, 1]), 2)
    assert found[0] == pytest.approx(stats.levene(a, b, center="median").pvalue, rel=1e-9)
    assert np.isnan(found[1])


def test_no_variation_is_equal_spread() -> None:
    rng = np.random.default_rng(6)
    grouped = mixed(rng, [np.full(9, 5.0), np.full(7, 6.0)])
    assert brown_forsythe(grouped, np.array([True, True]), np.zeros(1, dtype=np.int64), 1).tolist() == [1.0]
    found = relative_spread(grouped, np.array([True, True]))
    assert (found.value.tolist(), found.se.tolist()) == ([0.0, 0.0], [0.0, 0.0])


def test_of_no_values_at_all() -> None:
    nothing = Grouped.of(np.empty(0), np.empty(0, dtype=np.int64), 2)
    flags = np.zeros(2, dtype=bool)
    for found in (harrell_davis(nothing, 0.5), relative_spread(nothing, flags)):
        assert np.isnan(found.value).all()
        assert np.isnan(found.se).all()
    assert np.isnan(nothing.percentile(0.5)).all()
    assert np.isnan(brown_forsythe(nothing, flags, np.zeros(1, dtype=np.int64), 1)).all()


# Rates


@pytest.mark.parametrize("relative", [True, False])
def test_error_of_the_spread_is_that_of_a_bootstrap(relative: bool) -> None:
    # Exponential values, of which the median is noisy: its noise is 40 % of the variance of the relative spread.
    # 4,000 resamples: the bootstrap's error is known to 1.1 %, and is itself a random number; 12 % are allowed.
    rng = np.random.default_rng(8)
    x = rng.exponential(1, 400)
    found = relative_spread(Grouped.of(x, np.zeros(400, dtype=np.int64), 1), np.array([relative]))
    again = rng.choice(x, (4000, 400))
    centre = np.median(again, axis=1)
    spread = np.abs(again - centre[:, None]).mean(axis=1) / (centre if relative else 1.0)
    assert found.se[0] == pytest.approx(spread.std(), rel=0.12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["p50", "p90", "p99"])
@pytest.mark.parametrize("kind", ["normal", "lognormal", "exponential"])
@pytest.mark.parametrize("longer", [1, 3])
def test_intervals_of_estimates_keep_their_word(name: str, kind: str, longer: int) -> None:
    # The fewest values that are allowed. 3,000 samples a side: a rate of 5 % is known to 0.4 points (standard error);
    # 3.2 to 6.2 % is the 5 % with three standard errors above, and more below, where the method is careful.
    statistic = Statistic.of(name)
    rng = np.random.default_rng(9)
    draw = {
        "normal": lambda size: rng.normal(10, 1, size),
        "lognormal": lambda size: rng.normal(0, 0.5, size),
        "exponential": lambda size: np.log(rng.exponential(1, size)),
    }[kind]
    samples, sides = 3000, []
    for n in (statistic.values_needed, longer * statistic.values_needed):
        group = np.repeat(np.arange(samples), n)
        sides.append(harrell_davis(Grouped.of(draw(samples * n), group, samples), statistic.q))
    a, b = sides
    se = np.hypot(a.se, b.se)
    df = se**4 / (a.se**4 / a.df + b.se**4 / b.df)
    alarms = (np.abs(a.value - b.value) > -stdtrit(df, 0.025) * se).mean()
    assert 0.032 <= alarms <= 0.062
