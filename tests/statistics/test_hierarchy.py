"""Tests on a tree, against the procedure written out and against statsmodels; what it holds, by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from aggrkit.statistics.hierarchy import adjust_on_tree


def tree_bh(pvalues: np.ndarray, model: np.ndarray, alpha: float) -> np.ndarray:
    """Find leaves by the procedure as it is written, for a tree of models and their lines."""
    models = np.unique(model)
    simes = [multipletests(pvalues[model == one], method="fdr_bh")[1].min() for one in models]
    chosen = models[multipletests(simes, alpha=alpha, method="fdr_bh")[0]]
    found = np.zeros(len(pvalues), dtype=bool)
    for one in chosen:
        level = alpha * len(chosen) / len(models)
        found[model == one] = multipletests(pvalues[model == one], alpha=level, method="fdr_bh")[0]
    return found


@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(0.0, 1.0)), min_size=1, max_size=40),
    st.sampled_from([0.01, 0.05, 0.2]),
)
def test_finds_what_the_procedure_finds(rows: list[tuple[int, float]], alpha: float) -> None:
    model = np.array([row[0] for row in rows])
    pvalues = np.array([row[1] ** 3 for row in rows])
    found = adjust_on_tree(pvalues, [model], alpha)
    wanted = tree_bh(pvalues, model, alpha)
    # statsmodels counts p-values that are equal to the level as found
    close = np.isclose(found, alpha, rtol=1e-9)
    np.testing.assert_array_equal((found < alpha)[~close], wanted[~close])
    assert (found >= pvalues).all()
    assert (found <= 1).all()


def test_without_branches_it_is_benjamini_and_hochbergs() -> None:
    pvalues = np.random.default_rng(1).random(50) ** 3
    np.testing.assert_allclose(adjust_on_tree(pvalues, []), multipletests(pvalues, method="fdr_bh")[1])


def test_missing_tests_stay_missing_and_do_not_count() -> None:
    pvalues = np.array([0.001, np.nan, 0.4, np.nan, 0.02])
    branch = np.array([0, 0, 1, 2, 1])
    found = adjust_on_tree(pvalues, [branch])
    assert np.isnan(found[[1, 3]]).all()
    np.testing.assert_allclose(found[[0, 2, 4]], adjust_on_tree(pvalues[[0, 2, 4]], [branch[[0, 2, 4]]]))
    assert len(adjust_on_tree([], [[]])) == 0
    with pytest.raises(ValueError, match="alpha"):
        adjust_on_tree([0.1], [], alpha=1.5)


def test_the_share_of_false_ones_is_held_where_changes_come_in_clusters() -> None:
    """Of 100 models with 20 lines each, 5 moved in half of their lines."""
    rng = np.random.default_rng(4)
    model = np.repeat(np.arange(100), 20)
    moved = (model < 5) & (np.arange(2000) % 20 < 10)
    shares, power, plain = [], [], []
    for _ in range(200):
        pvalues = 2 * stats.norm.sf(np.abs(rng.normal(np.where(moved, 3.0, 0.0), 1)))
        found = adjust_on_tree(pvalues, [model]) < 0.05
        shares.append((found & ~moved).sum() / max(found.sum(), 1))
        power.append(found[moved].mean())
        plain.append((multipletests(pvalues, method="fdr_bh")[1] < 0.05)[moved].mean())
    assert np.mean(shares) <= 0.05
    assert np.mean(power) > np.mean(plain) - 0.05
    clean = [(adjust_on_tree(rng.random(2000), [model]) < 0.05).any() for _ in range(400)]
    # 5 % of 400 is 20, three standard deviations above it 33
    assert sum(clean) <= 33
