"""Tests on a tree: models, then the hardware of each, then its metrics; a branch is looked into where it moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aggrkit.errors import number_between

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["adjust_on_tree"]


def adjust_on_tree(pvalues: ArrayLike, branches: Sequence[ArrayLike], alpha: float = 0.05) -> Floats:
    """Adjust p-values from the trunk to the leaves.

    Parameters
    ----------
    pvalues : array_like, shape (m,)
        Raw p-values of the leaves. NaN stands for a test that couldn't be made: it stays NaN and doesn't count.
    branches : sequence of array_like of int, each of shape (m,)
        From the trunk on, the number of the branch that each leaf is on: its model, its hardware, ...
    alpha : float, optional
        The level at which branches are looked into.

    Returns
    -------
    numpy.ndarray, shape (m,)
        Adjusted p-values, never below the raw ones; those below `alpha` are what the procedure finds at this level.

    Raises
    ------
    ValueError
        If alpha is not between 0 and 1.

    Notes
    -----
    TreeBH: a branch has Simes's p-value of its leaves. On each level the branches of one branch are tested by
    Benjamini and Hochberg's procedure at alpha, times the share of branches that were found on each level above. It
    holds the expected share of false branches among those found, on each level, on average over the branches that were
    looked into. Where changes come in clusters (all metrics of one device) it finds more than one procedure over the
    whole table, where they are scattered it finds less.

    References
    ----------
    Bogomolov, Peterson, Benjamini and Sabatti (2021), Hypotheses on a tree: new error rates and testing strategies,
    Biometrika 108, 575-590. Simes (1986), Biometrika 73, 751-754.

    Examples
    --------
    One of three models moved, in both metrics:

    >>> adjust_on_tree([0.004, 0.006, 0.3, 0.9, 0.5, 0.7], [[0, 0, 1, 1, 2, 2]]).round(3)
    array([0.018, 0.018, 1.   , 1.   , 1.   , 1.   ])
    """
    number_between(alpha, 0, 1, "alpha is a chance between 0 and 1")
    raw = np.asarray(pvalues, dtype=np.float64)
    made = np.isfinite(raw)
    adjusted = np.full(raw.shape, np.nan)
    leaves = raw[made]
    levels = [np.asarray(branch, dtype=np.intp)[made] for branch in branches]
    found, share = np.zeros(len(leaves)), np.ones(len(leaves))
    family = np.zeros(len(leaves), dtype=np.intp)
    for codes in [*levels, np.arange(len(leaves))]:
        node = pd.factorize(family * (int(codes.max(initial=0)) + 1) + codes)[0].astype(np.intp)
        first = np.unique(node, return_index=True)[1]
        of_node = _least(_adjusted_within(leaves, node), node)
        mine = _adjusted_within(of_node, family[first])[node] / share
        found = np.maximum(found, np.minimum(mine, 1.0))
        selected = (found < alpha)[first].astype(np.float64)
        size = np.bincount(family[first])
        rate = np.bincount(family[first], selected) / np.maximum(size, 1)
        share = share * np.where(rate > 0, rate, 1.0)[family]
        family = node
    adjusted[made] = np.maximum(found, leaves)
    return adjusted


def _adjusted_within(pvalues: Floats, family: Ints) -> Floats:
    """Adjust p-values by Benjamini and Hochberg's procedure within each family."""
    order = np.lexsort((pvalues, family))
    ordered, of = pvalues[order], family[order]
    size = np.bincount(of)
    start = np.append(0, np.cumsum(size))[of]
    scaled = ordered * size[of] / (np.arange(len(of)) - start + 1)
    lowest = pd.Series(scaled[::-1]).groupby(of[::-1], sort=False).cummin().to_numpy()[::-1]
    found = np.empty(len(pvalues))
    found[order] = np.minimum(lowest, 1.0)
    return found


def _least(values: Floats, group: Ints) -> Floats:
    """Return the least value of each group: of p-values adjusted within it, Simes's p-value."""
    found = np.ones(int(group.max(initial=-1)) + 1)
    np.minimum.at(found, group, values)
    return found
