"""What exchanging the sides can tell at all."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from scipy.special import comb

from aggrkit.statistics.exchange import ANY_SHAPE, guarded, least_pvalue, log_splits
from aggrkit.statistics.multiplicity import adjust_pvalues


@pytest.mark.parametrize(("first", "second"), [(2, 3), (4, 4), (1, 1), (5, 5), (30, 20)])
def test_the_smallest_p_value_is_that_of_the_exact_test(first: int, second: int) -> None:
    assert np.exp(log_splits(first, second)) == pytest.approx(comb(first + second, first, exact=True))
    if 1 < first == second <= 5:
        apart = stats.permutation_test(
            (np.arange(first), 100.0 + np.arange(second)),
            lambda x, y, axis: y.mean(axis=axis) - x.mean(axis=axis),
            vectorized=True,
            n_resamples=np.inf,
        )
        assert least_pvalue(log_splits(first, second)) == pytest.approx(apart.pvalue)


def test_only_where_exchanging_tells_nothing_and_never_above_one() -> None:
    least = least_pvalue(log_splits([2, 10], [3, 10]))
    found = guarded([1e-7, 1e-7], least)
    assert found[0] == pytest.approx(1e-7 + ANY_SHAPE * least[0])
    assert found[1] == 1e-7
    assert guarded([0.999], [1.0]).item() == 1.0
    assert np.isnan(guarded([np.nan, 0.5], [1.0, 1.0])[0])


@pytest.mark.slow
def test_noise_in_narrow_clusters_gives_no_verdicts_in_large_tables() -> None:
    """Of 500 cells with two against three runs, ten have values in two clusters: Welch's test alarms in most tables."""
    rng = np.random.default_rng(7)
    tables, cells = 100, 500
    plain, held = 0, 0
    least = np.full(cells, least_pvalue(log_splits(2, 3)))
    for _ in range(tables):
        values = rng.normal(0, 1, (cells, 5))
        values[:10] = np.array([0, 0, 0, 100, 100]) + rng.normal(0, 0.01, (10, 5))
        values[:10] = rng.permuted(values[:10], axis=1)
        pvalues = stats.ttest_ind(values[:, :2], values[:, 2:], axis=1, equal_var=False).pvalue
        plain += (adjust_pvalues(pvalues) < 0.05).any()
        held += (adjust_pvalues(guarded(pvalues, least)) < 0.05).any()
    # the chance of the one clear split is a tenth in each of the ten cells
    assert len(list(combinations(range(5), 2))) == 10
    assert plain > 50
    assert held <= 5


def test_a_true_change_of_four_runs_is_still_found_in_a_table() -> None:
    rng = np.random.default_rng(8)
    least = np.full(40, least_pvalue(log_splits(4, 4)))
    found = 0
    for _ in range(50):
        values = rng.normal(0, 0.01, (40, 8))
        values[0, 4:] += 0.15
        pvalues = stats.ttest_ind(values[:, :4], values[:, 4:], axis=1, equal_var=False).pvalue
        found += adjust_pvalues(guarded(pvalues, least))[0] < 0.05
    assert found >= 48
