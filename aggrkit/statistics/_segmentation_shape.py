"""How much dearer a change has to be where the noise has another shape than Gaussian noise."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from aggrkit.statistics import _segmentation_compiled as compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["shape_factor"]

_BOUND: Final = 3.0
_LEVELS: Final = np.append(-np.arange(0.5, 3.6, 0.5), np.arange(0.5, 3.6, 0.5))
_FACTORS: Final = np.arange(1.0, 2.01, 0.05)
# Residuals are counted in bins as wide as this, up to where no level of the grid has a gain.
_WIDE: Final = 1 / 16
_FAR: Final = 7.0


def shape_factor(rest: Floats) -> float:
    """Return the least c of 1 to 2 at which the chance of a gain has the bound that it has in Gaussian noise.

    A point at r gains ``g(r) = min(r^2, 9) - min((r - level)^2, 9)`` if it's given a level of its own. In standard
    Gaussian noise ``E exp(g / 2) <= 1`` for every level. So by Markov's inequality m points gain more than x with
    probability ``exp(-x / 2)`` at most, however many they are and whatever the level; the penalty relies on that. In
    noise with a long tail, a few neighbours on that side gain more. With c so that ``E exp(g / 2c) <= 1`` the same
    bound holds for gains c times as large, so a change has to cost c times as much. The expectation is the mean over
    residuals, less a standard error, so that what a few residuals happen to be doesn't count.

    Parameters
    ----------
    rest : numpy.ndarray, shape (n,)
        Residuals about their level, in units of their scale: where either is wrong, c is too large.

    Notes
    -----
    In a long series c is 1.00 for Gaussian noise, 1.06 for t with 3 degrees of freedom, 1.10 for two modes, and 1.32
    for log-normal noise with sigma = 0.5.

    Examples
    --------
    >>> from scipy.stats import expon, norm
    >>> shares = np.linspace(0.0005, 0.9995, 1000)
    >>> [round(shape_factor(noise.ppf(shares) - noise.mean()), 2) for noise in (norm, expon)]
    [1.0, 1.16]
    """
    n = len(rest)
    gains, squares = _exponentials()
    compiled.prepare()
    share = compiled.binned(rest, _FAR, _WIDE, gains.shape[1])
    # At c = 1 first: that is all there is to do for most series.
    count = len(_LEVELS)
    if _excess(gains[:count], squares[:count], share, n)[0] <= 0:
        return 1.0
    excess = _excess(gains, squares, share, n)
    if excess[-1] > 0:
        return float(_FACTORS[-1])
    first = int(np.argmax(excess <= 0))
    step = excess[first - 1] / (excess[first - 1] - excess[first])
    return float(_FACTORS[first - 1] + step * (_FACTORS[first] - _FACTORS[first - 1]))


def _excess(gains: Floats, squares: Floats, share: Floats, n: int) -> Floats:
    """Return for each factor by how much the largest expectation is above 1, less its standard error."""
    mean = gains @ share
    if mean.max() > 1:
        mean = mean - np.sqrt(np.maximum(squares @ share - mean * mean, 0.0) / n)
    found: Floats = mean.reshape(-1, len(_LEVELS)).max(axis=1) - 1
    return found


@lru_cache(1)
def _exponentials() -> tuple[Floats, Floats]:
    """Return ``exp(g / 2c)`` and its square: a row for each factor and level, a column for each bin."""
    r = (np.arange(math.floor(2 * _FAR / _WIDE) + 1) + 0.5) * _WIDE - _FAR
    cap = _BOUND * _BOUND
    gain = np.minimum(r * r, cap) - np.minimum((r - _LEVELS[:, None]) ** 2, cap)
    found = np.exp(gain / (2 * _FACTORS[:, None, None])).reshape(-1, len(r))
    return found, found * found
