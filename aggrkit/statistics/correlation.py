"""How sure is a correlation, and does it turn round within groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import ndtr, stdtr

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["STRENGTHS", "correlation_pvalue", "grouped_correlation", "grouped_ranks", "strength", "within_groups"]

STRENGTHS: Final = ((0.7, "strong"), (0.3, "moderate"), (0.1, "weak"), (0.0, "negligible"))


def correlation_pvalue(r: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
    """Return the two-sided p-value that a correlation is 0, by Student's t with n - 2 degrees of freedom.

    Parameters
    ----------
    r : array_like
        Pearson's correlation, or Spearman's, for which it is the usual approximation (as in `scipy.stats.spearmanr`).
    n : array_like
        Number of pairs.

    Returns
    -------
    numpy.ndarray
        NaN for fewer than 3 pairs or an unknown correlation; 0 for one of exactly 1 or -1.

    Examples
    --------
    >>> correlation_pvalue([0.5, 1.0], [20, 5]).round(4)
    array([0.0248, 0.    ])
    """
    value, size = np.asarray(r, dtype=np.float64), np.asarray(n, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(value) * np.sqrt((size - 2) / ((1 - value) * (1 + value)))
        pvalue = np.where(np.isinf(t), 0.0, 2 * stdtr(size - 2, -np.where(np.isfinite(t), t, 0.0)))
    return np.where((size > 2) & ~np.isnan(value), pvalue, np.nan)


def grouped_correlation(
    x: NDArray[np.float64], y: NDArray[np.float64], group: NDArray[np.intp], groups: int
) -> NDArray[np.float64]:
    """Return Pearson's correlation of complete pairs, for many groups at once.

    Parameters
    ----------
    x, y : numpy.ndarray, shape (n,)
        Finite values.
    group : numpy.ndarray of int, shape (n,)
        Number of the group of each pair.
    groups : int
        Number of groups.

    Returns
    -------
    numpy.ndarray, shape (groups,)
        NaN where a side is constant, or there are fewer than 2 pairs.

    Examples
    --------
    >>> import numpy as np
    >>> zeros = np.zeros(4, dtype=int)
    >>> grouped_correlation(np.array([1.0, 2, 3, 4]), np.array([1.0, 3, 2, 4]), zeros, 1)
    array([0.8])
    """
    size = np.bincount(group, minlength=groups)
    deviations = []
    for values in (x, y):
        constant = np.full(groups, np.nan)
        constant[group] = values
        varies = np.bincount(group, values != constant[group], groups) > 0
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            off = values - (np.bincount(group, values, groups) / size)[group]
            off -= (np.bincount(group, off, groups) / size)[group]
            scale = np.zeros(groups)
            np.maximum.at(scale, group, np.abs(off))
            deviations.append(off / np.where(varies & (scale > 0), scale, np.nan)[group])
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = [np.bincount(group, off**2, groups) for off in deviations]
        found = np.bincount(group, deviations[0] * deviations[1], groups) / np.sqrt(squares[0] * squares[1])
    bounded: NDArray[np.float64] = np.clip(found, -1.0, 1.0)
    return bounded


def grouped_ranks(values: NDArray[np.float64], group: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return ranks within groups, ties at their mean.

    Parameters
    ----------
    values : numpy.ndarray, shape (n,)
        Finite values.
    group : numpy.ndarray of int, shape (n,)
        Number of the group of each value.

    Returns
    -------
    numpy.ndarray, shape (n,)
        Ranks from 1, as `scipy.stats.rankdata` gives them for each group.

    Examples
    --------
    >>> import numpy as np
    >>> grouped_ranks(np.array([5.0, 1.0, 5.0, 7.0]), np.array([0, 0, 0, 1]))
    array([2.5, 1. , 2.5, 1. ])
    """
    order = np.lexsort((values, group))
    value, owner = values[order], group[order]
    fresh = np.ones(len(value), dtype=bool)
    fresh[1:] = (value[1:] != value[:-1]) | (owner[1:] != owner[:-1])
    first = np.flatnonzero(fresh)
    length = np.diff(np.append(first, len(value)))
    opening = np.ones(len(value), dtype=bool)
    opening[1:] = owner[1:] != owner[:-1]
    start = np.maximum.accumulate(np.where(opening, np.arange(len(value)), 0))
    ranks = np.empty(len(value))
    ranks[order] = np.repeat(first + (length - 1) / 2, length) - start + 1
    return ranks


def strength(r: ArrayLike) -> list[str]:
    """Return the word for each correlation: strong from .7, moderate from .3, weak from .1, else negligible.

    Examples
    --------
    >>> strength([-0.8, 0.2, float("nan")])
    ['strong', 'weak', 'undefined']
    """
    return [
        next((word for least, word in STRENGTHS if abs(value) >= least), "undefined") if value == value else "undefined"
        for value in np.atleast_1d(np.asarray(r, dtype=np.float64)).tolist()
    ]


def within_groups(
    r: ArrayLike, n: ArrayLike, owner: NDArray[np.intp] | None = None, owners: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Combine the correlations of several groups into one, by Fisher's z with weights n - 3.

    Parameters
    ----------
    r, n : array_like, shape (k,)
        Correlation and number of pairs of each group; those of fewer than 4 pairs, or without one, don't count.
    owner : numpy.ndarray of int, shape (k,), optional
        Into which result each group goes; all into one by default.
    owners : int, optional
        Number of results.

    Returns
    -------
    correlation, pvalue : numpy.ndarray, shape (owners,)
        NaN where no group counts.

    References
    ----------
    Hedges and Olkin (1985), Statistical Methods for Meta-Analysis, chapter 11.

    Examples
    --------
    >>> combined, pvalue = within_groups([-0.9, -0.8], [20, 30])
    >>> combined.round(3)
    array([-0.846])
    """
    value, size = np.asarray(r, dtype=np.float64), np.asarray(n, dtype=np.float64)
    into = np.zeros(len(value), dtype=np.intp) if owner is None else owner
    counts = np.isfinite(value) & (size > 3)
    weight = size[counts] - 3
    z = np.arctanh(np.clip(value[counts], -1 + 1e-12, 1 - 1e-12))
    total = np.bincount(into[counts], weight, owners)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(into[counts], weight * z, owners) / total
    return np.tanh(mean), 2 * ndtr(-np.abs(mean) * np.sqrt(total))
