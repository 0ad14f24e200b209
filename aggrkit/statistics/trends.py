"""Does a metric drift over time, and how fast: Theil and Sen's slope, Mann and Kendall's test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from aggrkit.errors import number_between

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = ["mann_kendall", "theil_sen", "time_bins"]


def theil_sen(time: ArrayLike, values: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the median of the slopes between every two points, with its confidence interval.

    Parameters
    ----------
    time, values : array_like, shape (n,)
        Points, in any order; those with a missing or infinite side are left out.
    confidence : float, optional
        Level of the interval.

    Returns
    -------
    slope, ci_lower, ci_upper : float
        In units of the values per unit of time; NaN for fewer than 2 distinct times.

    See Also
    --------
    scipy.stats.theilslopes : gives the same numbers, from a full sort of all pairs.

    Notes
    -----
    The slopes ``(y_j - y_i) / (t_j - t_i)`` of the N pairs of distinct times are ordered. The interval goes from the
    slope of rank ``(N - z s) / 2`` to that of rank ``(N + z s) / 2``, where s is the standard deviation of Kendall's S
    without a trend, with ties of times and of values taken into account. Up to 29 % of the points may be anything. The
    errors are taken as independent and of one distribution; points that go with their neighbours make the interval too
    narrow. All pairs are held in memory, 8 bytes each.

    References
    ----------
    Theil (1950), Proc. Kon. Ned. Akad. Wetensch. A 53, 386-392. Sen (1968), J. Am. Stat. Assoc. 63, 1379-1389.

    Examples
    --------
    >>> slope, lower, upper = theil_sen([0, 1, 2, 3, 4], [1.0, 3.0, 5.0, 90.0, 9.0])
    >>> slope
    2.0
    """
    number_between(confidence, 0, 1, "confidence is a share between 0 and 1, such as 0.95")
    t, y = _points(time, values)
    n = len(t)
    first, second = np.triu_indices(n, 1)
    apart = t[second] - t[first]
    slopes = y[second]
    slopes -= y[first]
    different = apart > 0
    with np.errstate(over="ignore", invalid="ignore"):
        slopes = slopes[different] / apart[different]
    pairs = len(slopes)
    if not pairs:
        return float("nan"), float("nan"), float("nan")
    variance = (n * (n - 1) * (2 * n + 5) - _of_ties(t) - _of_ties(y)) / 18
    reach = -float(ndtri((1 - confidence) / 2)) * float(np.sqrt(max(variance, 0.0)))
    low = max(round((pairs - reach) / 2) - 1, 0)
    high = min(round((pairs + reach) / 2), pairs - 1)
    middle = [(pairs - 1) // 2, pairs // 2]
    ordered = np.partition(slopes, sorted({low, high, *middle}))
    return float(ordered[middle].mean()), float(ordered[low]), float(ordered[high])


def mann_kendall(time: ArrayLike, values: ArrayLike) -> tuple[float, float]:
    """Test for a monotone trend: Kendall's tau-b of values and time, with the p-value that there is none.

    Parameters
    ----------
    time, values : array_like, shape (n,)
        Points, in any order; those with a missing or infinite side are left out. Times may repeat.

    Returns
    -------
    tau, pvalue : float
        Two-sided; NaN where all times or all values are equal.

    See Also
    --------
    scipy.stats.kendalltau : does the work; exact for few points without ties, else by the normal approximation.

    Notes
    -----
    ``S = sum sign(t_j - t_i) sign(y_j - y_i)`` over all pairs; its variance without a trend takes ties of times and of
    values into account. The test needs no distribution, but it needs independent values: where neighbours go together
    it gives alarms too often.

    References
    ----------
    Mann (1945), Econometrica 13, 245-259. Kendall (1975), Rank Correlation Methods, 4th edition.

    Examples
    --------
    >>> tau, pvalue = mann_kendall([0, 1, 2, 3, 4, 5], [1.0, 2.0, 4.0, 3.0, 5.0, 6.0])
    >>> round(tau, 3), round(pvalue, 4)
    (0.867, 0.0167)
    """
    from scipy.stats import kendalltau

    t, y = _points(time, values)
    if len(t) < 2 or t[0] == t[-1] or y.min() == y.max():
        return float("nan"), float("nan")
    found = kendalltau(t, y)
    return float(found.statistic), float(found.pvalue)


def time_bins(time: ArrayLike, bins: int) -> NDArray[np.intp]:
    """Return the numbers of bins of about equal count along time; equal times share a bin.

    Parameters
    ----------
    time : array_like, shape (n,)
        Finite times, in any order.
    bins : int
        Most bins that there may be.

    Returns
    -------
    numpy.ndarray of int, shape (n,)
        Bin of each time, from 0 and not falling with time; some bins may be empty.

    Examples
    --------
    >>> time_bins([3.0, 1.0, 1.0, 2.0, 5.0, 4.0], 3)
    array([1, 0, 0, 1, 2, 2])
    """
    times = np.asarray(time, dtype=np.float64)
    _, place, count = np.unique(times, return_inverse=True, return_counts=True)
    centre = np.cumsum(count) - count / 2
    found: NDArray[np.intp] = (centre * bins / max(len(times), 1)).astype(np.intp)[place.ravel()]
    return found


def _points(time: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    """Return the complete points in the order of time, of equal times in that of values."""
    t, y = np.asarray(time, dtype=np.float64), np.asarray(values, dtype=np.float64)
    there = np.isfinite(t) & np.isfinite(y)
    t, y = t[there], y[there]
    order = np.lexsort((y, t))
    return t[order], y[order]


def _of_ties(values: Floats) -> float:
    """Return the sum of k (k - 1) (2 k + 5) over the groups of k equal values."""
    k = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((k * (k - 1) * (2 * k + 5)).sum())
