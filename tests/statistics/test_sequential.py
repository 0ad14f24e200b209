"""The sequential test: against scipy's densities, and its error rates and savings by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from statsmodels.stats.power import TTestIndPower

from aggrkit.statistics.sequential import SequentialTest, log_likelihood_ratio

REPEATS = 1_000
EFFECT, ALPHA, BETA = 1.0, 0.05, 0.1
MOST = 200


@pytest.mark.parametrize("effect", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(("n1", "n2"), [(2, 2), (3, 9), (20, 20)])
@pytest.mark.parametrize("difference", [0.0, 0.4, -2.5])
def test_the_ratio_is_that_of_the_densities_of_f(n1: int, n2: int, difference: float, effect: float) -> None:
    squares, df, weight = 1.7, n1 + n2 - 2, n1 * n2 / (n1 + n2)
    f = weight * difference**2 / (squares / df)
    found = log_likelihood_ratio(n1, n2, difference, squares, effect)
    if f == 0:  # the densities have a pole there; the ratio has a limit
        assert found == pytest.approx(-(effect**2) * weight / 2)
        return
    exact = stats.ncf.logpdf(f, 1, df, effect**2 * weight) - stats.f.logpdf(f, 1, df)
    assert found == pytest.approx(exact, abs=1e-8)


def test_it_stays_finite_where_the_function_itself_overflows() -> None:
    found = log_likelihood_ratio(5_000, 5_000, 3.0, 10_000.0, 3.0)
    assert special.hyp1f1(4_999.5, 0.5, 9 * 2_500 / 2 * 0.69) == math.inf
    assert 1_000 < found < math.inf


@given(
    st.lists(st.floats(-10, 10), min_size=2, max_size=8),
    st.lists(st.floats(-10, 10), min_size=2, max_size=8),
    st.floats(0.1, 5),
)
def test_it_depends_on_neither_order_nor_sign_nor_which_side_is_which(
    first: list[float], second: list[float], effect: float
) -> None:
    test = SequentialTest(effect)
    evidence = test.evidence(first, second)
    assert math.isfinite(evidence)
    same = pytest.approx(evidence, rel=1e-6, abs=1e-6)
    assert test.evidence(second, first) == same
    assert test.evidence(first[::-1], second) == same
    assert test.evidence(np.negative(first), np.negative(second)) == same


def test_a_scale_changes_nothing() -> None:
    first, second = np.array([1.0, 1.1, 0.9]), np.array([1.3, 1.25])
    test = SequentialTest(1.5)
    assert test.evidence(first * 1e3, second * 1e3) == pytest.approx(test.evidence(first, second))


def test_odd_input_has_a_defined_answer() -> None:
    test = SequentialTest(1.0)
    assert test.decide([], []) == "undecided"
    assert test.decide([1.0], [1.0, 2.0]) == "undecided"
    assert test.decide([np.nan, np.inf], [np.nan] * 5) == "undecided"
    assert test.evidence([1.0, np.nan, 2.0], [3.0, 2.5]) == test.evidence([1.0, 2.0], [3.0, 2.5])
    assert test.decide([0.0] * 9, [0.0] * 9) == "undecided"
    assert test.decide([5.0] * 30, [5.0] * 30) == "same"
    assert test.decide([5.0] * 9, [6.0] * 9) == "changed"
    for wrong in ({"effect": 0.0}, {"effect": -1.0}, {"effect": 1.0, "alpha": 1.0}, {"effect": 1.0, "beta": 0.0}):
        with pytest.raises(ValueError, match="got"):
            SequentialTest(**wrong)


def ended(effect: float, rng: np.random.Generator) -> tuple[str, int]:
    """Run one test with a pair of runs at a time, and return what was decided and after how many runs a side."""
    test = SequentialTest(EFFECT, ALPHA, BETA)
    first, second = rng.normal(0, 1, MOST), rng.normal(effect, 1, MOST)
    for n in range(2, MOST + 1):
        decision = test.decide(first[:n], second[:n])
        if decision != "undecided":
            return decision, n
    return "undecided", MOST


@pytest.mark.slow
def test_error_rates_hold_though_one_looks_after_every_run_and_a_third_of_the_runs_is_saved() -> None:
    rng = np.random.default_rng(20_250_301)
    without = [ended(0.0, rng) for _ in range(REPEATS)]
    with_change = [ended(EFFECT * side, rng) for side in rng.choice([-1, 1], REPEATS)]
    false_alarms = np.mean([decision == "changed" for decision, _ in without])
    missed = np.mean([decision == "same" for decision, _ in with_change])
    assert all(decision != "undecided" for decision, _ in without + with_change)
    # Three standard errors of a rate from 1,000 repetitions: 2.1 and 2.8 points.
    assert false_alarms <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / REPEATS)
    assert missed <= BETA + 3 * math.sqrt(BETA * (1 - BETA) / REPEATS)
    # A test of fixed size with the rates that this one is seen to have, which are lower than what was asked.
    fixed = TTestIndPower().solve_power(EFFECT, alpha=max(false_alarms, 1e-3), power=1 - missed)
    assert np.mean([n for _, n in without]) < 0.7 * fixed
    assert np.mean([n for _, n in with_change]) < 0.7 * fixed


@pytest.mark.slow
def test_a_larger_change_is_found_sooner() -> None:
    rng = np.random.default_rng(7)
    means = [np.mean([ended(effect, rng)[1] for _ in range(150)]) for effect in (1.0, 2.0, 4.0)]
    assert means[0] > 1.5 * means[1]
    assert means[1] > means[2]
