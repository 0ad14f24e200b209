"""Adjusted p-values against statsmodels and exact arithmetic."""

from __future__ import annotations

from decimal import Decimal, getcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from aggrkit.errors import UnknownNameError
from aggrkit.statistics.multiplicity import ADJUSTMENTS, adjust_pvalues, any_of_many

METHODS = ["fdr_bh", "fdr_by", "holm", "bonferroni"]
PVALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)

# Benjamini and Hochberg (1995), the example of section 3.2: fifteen p-values, of which the step-up procedure rejects
# four at 5 %, Bonferroni's three.
BH_EXAMPLE = [
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590),
    1.0000,
]


def test_the_published_example() -> None:
    assert (adjust_pvalues(BH_EXAMPLE, "fdr_bh") <= 0.05).sum() == 4
    assert (adjust_pvalues(BH_EXAMPLE, "bonferroni") <= 0.05).sum() == 3


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=6)
@given(PVALUES)
def test_adjusted_as_by_statsmodels(method: str, pvalues: list[float]) -> None:
    np.testing.assert_allclose(adjust_pvalues(pvalues, method), multipletests(pvalues, method=method)[1], rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=6)
@given(PVALUES, st.integers(0, 5), st.randoms(use_true_random=False))
def test_what_could_not_be_tested_does_not_count(method: str, pvalues: list[float], missing: int, random) -> None:
    mixed = [*pvalues, *[float("nan")] * missing]
    random.shuffle(mixed)
    adjusted = adjust_pvalues(mixed, method)
    there = np.isfinite(mixed)
    assert np.isnan(adjusted[~there]).all()
    np.testing.assert_allclose(adjusted[there], multipletests(np.array(mixed)[there], method=method)[1], rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=6)
@given(PVALUES, st.randoms(use_true_random=False))
def test_laws_of_adjusting(method: str, pvalues: list[float], random) -> None:
    adjusted = adjust_pvalues(pvalues, method)
    assert (adjusted >= np.array(pvalues) * (1 - 1e-12)).all()
    assert (adjusted <= 1).all()
    order = list(range(len(pvalues)))
    random.shuffle(order)
    np.testing.assert_allclose(adjust_pvalues(np.array(pvalues)[order], method), adjusted[order], rtol=1e-12)
    ranked = adjusted[np.argsort(pvalues, kind="stable")]
    assert (np.diff(ranked) >= -1e-12).all()


@pytest.mark.parametrize("method", [None, "none"])
def test_without_adjustment_nothing_changes(method: str | None) -> None:
    np.testing.assert_array_equal(adjust_pvalues([0.2, np.nan, 0.0], method), [0.2, np.nan, 0.0])


@pytest.mark.parametrize("method", [*METHODS, "none", None])
def test_of_nothing_and_of_nothing_tested(method: str | None) -> None:
    assert adjust_pvalues([], method).shape == (0,)
    assert np.isnan(adjust_pvalues([np.nan, np.nan], method)).all()
    assert adjust_pvalues([0.03], method).tolist() == [0.03]


def test_an_unknown_method_is_answered_with_the_choices() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean 'fdr_b[hy]'") as caught:
        adjust_pvalues([0.1], "fdr_hb")
    assert caught.value.choices == tuple(ADJUSTMENTS)


@given(st.floats(1e-15, 0.5), st.integers(1, 100_000))
def test_any_of_many_is_sidaks_formula_even_for_tiny_chances(pvalue: float, tests: int) -> None:
    getcontext().prec = 60
    exact = 1 - (1 - Decimal(pvalue)) ** tests
    assert float(any_of_many(pvalue, tests)) == pytest.approx(float(exact), rel=1e-9)


def test_any_of_many_at_the_ends() -> None:
    np.testing.assert_array_equal(any_of_many([0.0, 1.0, 1.5, -0.1], 7), [0.0, 1.0, 1.0, 0.0])
    assert np.isnan(any_of_many([np.nan], 7)).all()
    assert any_of_many([], 7).shape == (0,)
    np.testing.assert_allclose(any_of_many([0.25], 1), [0.25], rtol=1e-15)
