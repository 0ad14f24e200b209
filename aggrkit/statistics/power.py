"""How many runs settle a comparison, and what would be found with those there are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import chdtri, nctdtr, ndtr, stdtrit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = ["detectable", "runs_for_power", "runs_needed"]

POWER: Final = 0.8
_MOST_RUNS: Final = 10_000


def runs_for_power(change: ArrayLike, spread: ArrayLike, alpha: float = 0.05, power: float = POWER) -> Floats:
    """Return the runs per side at which a t test finds a change with the given power.

    Parameters
    ----------
    change : array_like
        True difference of the means, e.g. 0.02 on the scale of logarithms for 2 %.
    spread : array_like
        Standard deviation of a run on the same scale (the coefficient of variation, for logarithms).
    alpha : float, optional
        Level of the two-sided test.
    power : float, optional
        Chance to find the change.

    Returns
    -------
    numpy.ndarray
        Whole numbers from 2 to 10,000; NaN where a spread is not known.

    See Also
    --------
    statsmodels.stats.power.TTestIndPower : the same, for one cell at a time.

    Examples
    --------
    >>> runs_for_power([0.01, 0.02, 0.03, 0.05], 0.02)
    array([64., 17.,  9.,  4.])
    """
    delta, sigma = np.broadcast_arrays(np.abs(np.asarray(change, float)), np.asarray(spread, float))

    def enough(n: Floats) -> NDArray[np.bool_]:
        df = 2 * n - 2
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.where(sigma > 0, delta / sigma, np.inf) * np.sqrt(n / 2)
        shift = np.minimum(shift, 1e3)
        cut = -stdtrit(df, alpha / 2)
        found = 1 - nctdtr(df, shift, cut) + nctdtr(df, shift, -cut)
        return np.where(np.isfinite(found), found, 1.0) >= power

    return np.where(np.isfinite(sigma), _smallest(enough, sigma.shape), np.nan)


def runs_needed(
    difference: ArrayLike, se: ArrayLike, spread: ArrayLike, df: ArrayLike, margin: ArrayLike, alpha: float = 0.05
) -> Floats:
    """Return the runs per side after which a verdict can be expected.

    A verdict is a difference beyond the margin that the test finds, or equivalence within it. The number is chosen so
    that the chance of either is 80 % if the true difference is what was seen, or half a standard error nearer to the
    margin; a difference that might be right at the margin, where no number suffices, is taken as half the margin.
    The spread is taken at the upper end of its 60 % interval, for it is known from few runs.

    Parameters
    ----------
    difference, se, df : array_like
        What was seen, its standard error and degrees of freedom.
    spread : array_like
        Standard deviation of a unit.
    margin : array_like
        The smallest difference that matters, on the scale of the values.
    alpha : float, optional
        Level of the tests.

    Returns
    -------
    numpy.ndarray
        Whole numbers from 2 to 10,000; NaN where the spread is not known.

    Examples
    --------
    >>> runs_needed(0.0, 0.009, 0.02, 8, 0.02)
    array(37.)
    """
    seen, error, sigma, freedom, edge = np.broadcast_arrays(
        *(np.asarray(x, dtype=np.float64) for x in (difference, se, spread, df, margin))
    )
    sigma = sigma * np.sqrt(freedom / chdtri(freedom, 0.8))
    size = np.abs(seen)
    nearer = np.where(size < edge, np.minimum(size + error / 2, edge), np.maximum(size - error / 2, edge))
    truth = np.where(np.abs(nearer - edge) < edge / 2, edge / 2, nearer)

    def enough(n: Floats) -> NDArray[np.bool_]:
        error_then = sigma * np.sqrt(2 / n)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = edge + stdtrit(2 * n - 2, alpha) * error_then
            equivalent = ndtr((inside - truth) / error_then) - ndtr((-inside - truth) / error_then)
            outside = np.maximum(edge, -stdtrit(2 * n - 2, alpha / 2) * error_then)
            moved = ndtr((truth - outside) / error_then) + ndtr((-truth - outside) / error_then)
        chance = np.where(inside > 0, np.maximum(equivalent, 0.0), 0.0) + moved
        return np.where(error_then == 0, True, chance >= POWER)

    return np.where(np.isfinite(sigma) & np.isfinite(seen), _smallest(enough, sigma.shape), np.nan)


def detectable(se: ArrayLike, df: ArrayLike, alpha: float = 0.05, power: float = POWER) -> Floats:
    """Return the smallest true difference that would be found with the given power, as things are.

    Examples
    --------
    >>> float(detectable(0.01, 18).round(4))
    0.0296
    """
    freedom = np.asarray(df, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        found = (stdtrit(freedom, power) - stdtrit(freedom, alpha / 2)) * np.asarray(se, dtype=np.float64)
    return np.asarray(found, dtype=np.float64)


def _smallest(enough: Callable[[Floats], NDArray[np.bool_]], shape: tuple[int, ...]) -> Floats:
    """Return the smallest whole number from 2 at which `enough` holds, by bisection; 10,000 where none does."""
    low: Floats = np.full(shape, 1.0)
    high: Floats = np.full(shape, float(_MOST_RUNS))
    for _ in range(math.ceil(math.log2(_MOST_RUNS))):
        middle = np.floor((low + high) / 2)
        middle = np.maximum(middle, 2.0)
        holds = enough(middle)
        high = np.where(holds, np.minimum(high, middle), high)
        low = np.where(holds, low, middle)
    least: Floats = np.maximum(high, 2.0)
    return least
