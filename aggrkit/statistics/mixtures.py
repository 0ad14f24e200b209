"""Distributions put together, each of which is known by some of its quantiles.

Each quantile of a distribution is a piece: it stands for the share of the values that lies halfway to those next to it,
so that distributions that are alike have these quantiles together, too. In the order of their values, one pass over all
pieces gives the quantiles of any mixtures of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Pieces", "mixture_counts", "mixture_quantiles"]


@dataclass(frozen=True)
class Pieces:
    """The quantiles of many distributions in order, each standing for what lies halfway to those next to it.

    Parameters
    ----------
    source : numpy.ndarray of int32, shape (pieces,)
        Of which distribution.
    value : numpy.ndarray, shape (pieces,)
        The quantile.
    share : numpy.ndarray, shape (pieces,)
        The share of the distribution that it stands for.
    """

    source: NDArray[np.int32]
    value: Floats
    share: Floats

    @classmethod
    def of(cls, points: Floats, probabilities: Sequence[float]) -> Pieces:
        """Take distributions apart.

        Parameters
        ----------
        points : numpy.ndarray, shape (distributions, quantiles)
            Quantiles of each; NaN where one has no value.
        probabilities : sequence of float
            Of which probabilities, from 0 to 1.
        """
        values, width = points.ravel(), max(points.shape[1], 1)
        order = np.argsort(values, kind="stable")
        order = order[np.isfinite(values[order])]
        halves = np.convolve(np.diff(probabilities), (0.5, 0.5))
        return cls((order // width).astype(np.int32), values[order], halves[order % width])


def mixture_quantiles(
    pieces: Pieces, weights: Floats, target: NDArray[np.int32], count: int, probabilities: Sequence[float]
) -> Floats:
    """Return quantiles of mixtures.

    Parameters
    ----------
    pieces : Pieces
        The distributions.
    weights : numpy.ndarray, shape (distributions,)
        How much each of them counts, such as its number of values.
    target : numpy.ndarray of int32, shape (distributions,)
        To which mixture it belongs, from 0; -1 for none.
    count : int
        Number of mixtures.
    probabilities : sequence of float
        Which quantiles, ascending.

    Returns
    -------
    numpy.ndarray, shape (count, quantiles)
        Linear between the pieces; NaN for a mixture of nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from aggrkit.statistics.mixtures import Pieces, mixture_quantiles
    >>> pieces = Pieces.of(np.array([[0.0, 1, 2, 3, 4], [10, 11, 12, 13, 14]]), [0, 0.25, 0.5, 0.75, 1])
    >>> mixture_quantiles(pieces, np.array([3.0, 1.0]), np.zeros(2, dtype=np.int32), 1, [0.375, 0.75])
    array([[2. , 8.5]])
    """
    totals = np.bincount(target[target >= 0], weights[target >= 0], count)
    found: Floats = _compiled(_quantiles)(
        pieces.source,
        pieces.value,
        pieces.share,
        weights,
        target,
        totals,
        np.asarray(probabilities, dtype=np.float64),
    )
    return found


def mixture_counts(
    points: Floats, probabilities: Sequence[float], weights: Floats, low: float, high: float, bins: int
) -> Floats:
    """Return how much of a mixture lies in bins of equal width; what lies beyond is in the outermost ones.

    Parameters
    ----------
    points : numpy.ndarray, shape (distributions, quantiles)
        Quantiles of each distribution; what lies between two of them is spread evenly.
    probabilities : sequence of float
        Of which probabilities, from 0 to 1.
    weights : numpy.ndarray, shape (distributions,)
        How much each of them counts.
    low, high : float
        Ends of the bins.
    bins : int
        Their number.

    Returns
    -------
    numpy.ndarray, shape (bins,)

    Examples
    --------
    >>> import numpy as np
    >>> from aggrkit.statistics.mixtures import mixture_counts
    >>> mixture_counts(np.array([[0.0, 1, 5]]), [0, 0.5, 1], np.array([8.0]), 0.0, 3.0, 3)
    array([4., 1., 3.])
    """
    shares = np.diff(probabilities)
    found: Floats = _compiled(_counts)(points, shares, weights, float(low), (high - low) / bins, bins)
    return found


def _quantiles(
    source: NDArray[np.int32],
    value: Floats,
    share: Floats,
    weights: Floats,
    target: NDArray[np.int32],
    totals: Floats,
    probabilities: Floats,
) -> Floats:
    count, many = len(totals), len(probabilities)
    found = np.full((count, many), np.nan)
    summed = np.zeros(count)
    before = np.full(count, -1.0)  # how much was summed at the one before this one
    last = np.zeros(count)
    reached = np.zeros(count, dtype=np.int32)
    for k in range(len(source)):
        mixture = target[source[k]]
        if mixture < 0:
            continue
        weight = weights[source[k]] * share[k]
        if weight <= 0.0:
            continue
        at = summed[mixture] + weight / 2
        while reached[mixture] < many and probabilities[reached[mixture]] * totals[mixture] <= at:
            wanted = probabilities[reached[mixture]] * totals[mixture]
            reading = value[k]
            if before[mixture] >= 0.0 and wanted > before[mixture]:
                reading = last[mixture] + (wanted - before[mixture]) / (at - before[mixture]) * (
                    value[k] - last[mixture]
                )
            elif before[mixture] >= 0.0:
                reading = last[mixture]
            found[mixture, reached[mixture]] = reading
            reached[mixture] += 1
        summed[mixture] += weight
        before[mixture] = at
        last[mixture] = value[k]
    for mixture in range(count):
        if before[mixture] >= 0.0:
            for place in range(reached[mixture], many):
                found[mixture, place] = last[mixture]
    return found


def _counts(points: Floats, shares: Floats, weights: Floats, low: float, width: float, bins: int) -> Floats:
    found = np.zeros(bins)
    for k in range(points.shape[0]):
        for j in range(points.shape[1] - 1):
            begin, end = (points[k, j] - low) / width, (points[k, j + 1] - low) / width
            weight = weights[k] * shares[j]
            first, last = min(max(int(begin), 0), bins - 1), min(max(int(end), 0), bins - 1)
            if first == last:
                found[first] += weight
                continue
            density = weight / (end - begin)
            found[first] += density * (first + 1 - begin)
            for place in range(first + 1, last):
                found[place] += density
            found[last] += density * (end - last)
    return found


@cache
def _compiled(function: Any) -> Any:
    """Compile a function on first use; its machine code is kept on disk where that can be written."""
    from numba import njit

    try:
        return njit(cache=True)(function)
    except RuntimeError:
        return njit(function)
