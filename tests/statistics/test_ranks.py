"""Rank tests against scipy's Mann-Whitney and van Elteren's definition in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aggrkit.statistics.comparison import Units
from aggrkit.statistics.ranks import rank_test


def one_cell(*strata: tuple[list[float], list[float]]) -> Units:
    """Make the units of one cell from the two sides of each stratum, baseline first."""
    value, side, stratum = [], [], []
    for number, sides in enumerate(strata):
        for which, values in enumerate(sides):
            value += list(values)
            side += [which] * len(values)
            stratum += [number] * len(values)
    ints = (np.array(part, dtype=np.int64) for part in (side, stratum))
    return Units(np.array(value, dtype=float), *ints, np.zeros(len(strata), dtype=np.int64))


def van_elteren(strata: list[tuple[list[float], list[float]]]) -> tuple[float, float]:
    """Return the two-sided p-value and Cliff's delta, from the definition."""
    shift = total = wins = pairs = 0.0
    for before, after in strata:
        n = len(before) + len(after)
        ranks = stats.rankdata([*before, *after])
        ties = sum(count**3 - count for count in np.unique(ranks, return_counts=True)[1].tolist())
        weight = 1 / (n + 1)
        shift += weight * (ranks[len(before) :].sum() - len(after) * (n + 1) / 2)
        total += weight**2 * len(before) * len(after) / 12 * (n + 1 - ties / (n * (n - 1)))
        wins += sum((y > x) - (y < x) for x in before for y in after)
        pairs += len(before) * len(after)
    return 2 * stats.norm.sf(abs(shift) / math.sqrt(total)) if total else 1.0, wins / pairs


SIDE = st.lists(st.integers(0, 12), min_size=1, max_size=12)


@given(SIDE, SIDE)
def test_one_stratum_is_mann_whitney(before: list[int], after: list[int]) -> None:
    pvalue, delta = rank_test(one_cell((before, after)))
    if len({*before, *after}) == 1:
        assert pvalue.tolist() == [1.0]
        assert delta.tolist() == [0.0]
        return
    oracle = stats.mannwhitneyu(after, before, method="asymptotic", use_continuity=True)
    assert pvalue[0] == pytest.approx(oracle.pvalue, rel=1e-10)
    assert delta[0] == pytest.approx(2 * oracle.statistic / (len(before) * len(after)) - 1, abs=1e-12)


def test_without_ties_as_scipy_gives_it() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.normal(0, 1, 30), rng.normal(0.5, 1, 41)
    pvalue, _ = rank_test(one_cell((before, after)))
    assert pvalue[0] == pytest.approx(stats.mannwhitneyu(after, before, method="asymptotic").pvalue, rel=1e-10)


@given(st.lists(st.tuples(SIDE, SIDE), min_size=2, max_size=6))
def test_several_strata_are_van_elterens_test(strata: list[tuple[list[int], list[int]]]) -> None:
    pvalue, delta = rank_test(one_cell(*strata))
    expected, cliff = van_elteren(strata)
    assert pvalue[0] == pytest.approx(expected, rel=1e-9, abs=1e-300)
    assert delta[0] == pytest.approx(cliff, abs=1e-12)


def test_strata_with_one_side_only_do_not_count() -> None:
    strata = [([1.0, 2, 3], [3.0, 4, 5]), ([7.0, 7, 8], [8.0, 9, 9])]
    lopsided = [*strata, ([100.0, 200.0], []), ([], [-100.0])]
    for first, second in zip(rank_test(one_cell(*strata)), rank_test(one_cell(*lopsided)), strict=True):
        np.testing.assert_array_equal(first, second)


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_laws_of_the_rank_test(number: int, strata: int) -> None:
    rng = np.random.default_rng(number)
    n = 8 * strata
    value = rng.integers(0, 9, n).astype(float)
    side, stratum = rng.integers(0, 2, n), rng.integers(0, strata, n)
    cell_of = np.zeros(strata, dtype=np.int64)
    pvalue, delta = rank_test(Units(value, side, stratum, cell_of))
    order = rng.permutation(n)
    again, other = rank_test(Units(value[order], side[order], stratum[order], cell_of))
    np.testing.assert_allclose([again, other], [pvalue, delta], rtol=1e-12)
    again, other = rank_test(Units(np.exp(value / 3), side, stratum, cell_of))
    np.testing.assert_allclose([again, other], [pvalue, delta], rtol=1e-12)
    again, other = rank_test(Units(value, 1 - side, stratum, cell_of))
    np.testing.assert_allclose([again, -other], [pvalue, delta], rtol=1e-9, atol=1e-12)


def test_many_cells_at_once_are_each_on_their_own() -> None:
    rng = np.random.default_rng(2)
    cells = [
        [(rng.integers(0, 5, 4).tolist(), rng.integers(0, 6, 5).tolist()) for _ in range(count)] for count in (1, 3, 2)
    ]
    alone = [rank_test(one_cell(*strata)) for strata in cells]
    parts = [one_cell(*strata) for strata in cells]
    offsets = np.cumsum([0, 1, 3])
    together = Units(
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.side for part in parts]),
        np.concatenate([part.stratum + offset for part, offset in zip(parts, offsets, strict=True)]),
        np.repeat(np.arange(3), [1, 3, 2]),
    )
    pvalue, delta = rank_test(together)
    np.testing.assert_allclose(pvalue, [a[0][0] for a in alone], rtol=1e-12)
    np.testing.assert_allclose(delta, [a[1][0] for a in alone], rtol=1e-12)


def test_edges_of_the_rank_test() -> None:
    pvalue, delta = rank_test(one_cell(([], [])))
    assert np.isnan(pvalue).all()
    assert np.isnan(delta).all()
    pvalue, delta = rank_test(one_cell(([1.0, 2.0], [])))
    assert np.isnan(pvalue).all()
    assert np.isnan(delta).all()
    pvalue, delta = rank_test(one_cell(([1.0], [2.0])))
    assert (pvalue.tolist(), delta.tolist()) == ([1.0], [1.0])
    pvalue, delta = rank_test(one_cell(([0.0] * 5, [0.0] * 7)))
    assert (pvalue.tolist(), delta.tolist()) == ([1.0], [0.0])
    none = np.empty(0, dtype=np.int64)
    assert [part.shape for part in rank_test(Units(np.empty(0), none, none, none))] == [(0,), (0,)]
