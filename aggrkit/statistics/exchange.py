"""What exchanging the sides of units can tell at all, whatever the shape of the noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import gammaln

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = ["ANY_SHAPE", "guarded", "least_pvalue", "log_splits"]

ANY_SHAPE: Final = 0.02
"""Share of cells whose noise may have any shape, such as clusters that are each as narrow as can be."""


def log_splits(first: ArrayLike, second: ArrayLike) -> Floats:
    """Return the logarithm of the number of ways to deal units out to two sides of given sizes.

    Parameters
    ----------
    first, second : array_like of int
        Units of either side.

    Returns
    -------
    numpy.ndarray

    See Also
    --------
    scipy.special.comb : the number itself.

    Examples
    --------
    >>> np.exp(log_splits([3], [2])).round(6)
    array([10.])
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    found: Floats = gammaln(a + b + 1) - gammaln(a + 1) - gammaln(b + 1)
    return found


def least_pvalue(splits: ArrayLike) -> Floats:
    """Return the smallest two-sided p-value of an exact permutation test.

    Parameters
    ----------
    splits : array_like
        Logarithm of the number of ways to deal the units out.

    Returns
    -------
    numpy.ndarray

    Examples
    --------
    >>> least_pvalue(log_splits([3, 4], [2, 4])).round(4)
    array([0.2   , 0.0286])
    """
    found: Floats = np.minimum(2 * np.exp(-np.asarray(splits, dtype=np.float64)), 1.0)
    return found


def guarded(pvalues: ArrayLike, least: ArrayLike, alpha: float = 0.05) -> Floats:
    """Return p-values that also hold where some cells have noise of another shape than the test takes it to have.

    Parameters
    ----------
    pvalues : array_like
        Of a test that takes noise to be about normal; NaN stays NaN.
    least : array_like
        The smallest p-value that exchanging units could give, see `least_pvalue`.
    alpha : float, optional
        The level at which they are to be adjusted.

    Returns
    -------
    numpy.ndarray
        ``p + 0.02 least``, at most 1, where exchanging the units could not tell a change among so many tests: where
        `least` exceeds alpha over their number. Elsewhere p as it is.

    Notes
    -----
    A t test of two against three runs says p = 1e-7 where the two come from one narrow cluster of values and the three
    from another, though of ten ways to deal them out one is like this. If all but 2 % of cells have the noise that the
    test supposes, and the others any, then the chance that a cell without a change shows a p-value of at most p is at
    most p plus 2 % of the chance of the clearest split. A table of few cells hardly feels it; in a table of hundreds
    two or three runs a side don't give a verdict, and five do.

    Examples
    --------
    >>> guarded([1e-7, 0.3], least_pvalue(log_splits([3, 3], [2, 2]))).round(4)
    array([0.004, 0.304])
    """
    raw, floor = np.asarray(pvalues, dtype=np.float64), np.asarray(least, dtype=np.float64)
    blind = floor * np.count_nonzero(np.isfinite(raw)) > alpha
    found: Floats = np.where(blind, np.minimum(raw + ANY_SHAPE * floor, 1.0), raw)
    return found
