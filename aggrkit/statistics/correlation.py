"""How sure is a correlation, and does it turn round within groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import ndtr, stdtr

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["STRENGTHS", "correlation_pvalue", "strength", "within_groups"]

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


def within_groups(r: ArrayLike, n: ArrayLike) -> tuple[float, float]:
    """Combine the correlations of several groups into one, by Fisher's z with weights n - 3.

    Parameters
    ----------
    r, n : array_like, shape (k,)
        Correlation and number of pairs of each group; those of fewer than 4 pairs, or without one, don't count.

    Returns
    -------
    correlation, pvalue : float
        NaN where no group counts.

    References
    ----------
    Hedges and Olkin (1985), Statistical Methods for Meta-Analysis, chapter 11.

    Examples
    --------
    >>> combined, pvalue = within_groups([-0.9, -0.8], [20, 30])
    >>> round(combined, 3)
    -0.846
    """
    value, size = np.asarray(r, dtype=np.float64), np.asarray(n, dtype=np.float64)
    counts = np.isfinite(value) & (size > 3)
    if not counts.any():
        return float("nan"), float("nan")
    weight = size[counts] - 3
    z = np.arctanh(np.clip(value[counts], -1 + 1e-12, 1 - 1e-12))
    mean = float((weight * z).sum() / weight.sum())
    return float(np.tanh(mean)), float(2 * ndtr(-abs(mean) * np.sqrt(weight.sum())))
