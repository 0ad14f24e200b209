"""The steps of the change point detector: the scale of the noise, its memory, the penalty, refits, elimination."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.special import ndtr

from aggrkit.statistics import _segmentation_compiled as compiled
from aggrkit.statistics._segmentation import BestFit, Segmentation, best_level
from aggrkit.statistics._segmentation_shape import shape_factor

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "BOUND",
    "FEWEST",
    "Scaled",
    "critical",
    "eliminate",
    "first_scale",
    "grouped_median",
    "inflation",
    "memory",
    "on_points",
    "penalty_of",
    "quick_median",
    "scan_pvalue",
    "segmented",
    "varied",
]

FEWEST: Final = 6  # values in which a change is sought
BOUND: Final = 3.0
# Standard errors of rho that are taken off it before it raises the penalty. High, for a slow wave is better told from
# steps by the models of _segmentation_memory than by a penalty that hides steps as well.
_SHRINK: Final = 5.0
_REFITS: Final = 2
_ALIKE: Final = 1.1  # scales with no larger ratio are taken as one: a step of 0.9 in the middle makes as much
_REFINED: Final = 2  # as often the scale is estimated from the residuals of one staircase
RESOLUTION: Final = 1e-14  # values that differ by less than this share of their size are the same
_MOST_RHO: Final = 0.95
_FARTHEST: Final = 2.0**48  # units of the noise from zero, where the last digit is a sixteenth of the noise
_SIZES: Final = np.log([12.0, 20.0, 50.0, 100.0, 300.0, 1000.0, 3000.0])
_ALPHAS: Final = np.log([0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.001])
# Penalty by size and rate: what a share of change-free Gaussian series would pay for a change, with scale and memory as
# first_scale finds them; 30,000 series of 12 points to 1,500 of 3,000. The smallest rates are smoothed for the longest.
_CRITICAL: Final = np.array(
    [
        [1.5, 3.5, 5.2, 7.3, 10.5, 13.6, 17.1, 25.8],
        [2.5, 4.8, 6.7, 8.8, 11.6, 14.4, 17.0, 24.2],
        [4.0, 6.3, 8.0, 9.8, 11.9, 13.9, 15.9, 20.3],
        [5.0, 7.0, 8.4, 9.9, 12.0, 13.7, 15.3, 19.7],
        [6.4, 8.2, 9.5, 10.8, 12.6, 13.8, 15.1, 18.2],
        [7.8, 9.3, 10.4, 11.6, 13.2, 14.3, 15.9, 18.6],
        [8.9, 10.4, 11.5, 12.6, 14.1, 15.4, 16.8, 19.6],
    ]
)
_SQUARE_WITHIN: Final = 0.9950  # mean of min(Z^2, 9) of a standard normal Z


class Scaled(NamedTuple):
    """The segmentation of ``(y - centre) / scale``."""

    segmentation: Segmentation
    centre: float
    scale: float

    @classmethod
    def of(cls, y: Floats, scale: float, penalty: float, gap: int) -> Scaled:
        """Segment the values, of which there are `FEWEST` at least.

        The centre saves digits where values are far from zero. It depends on the first `FEWEST` and the scale alone, so
        that values that come one by one are rounded like those that were there from the start: where two staircases
        cost the same, as they often do for integers, rounding decides. First values too far out for noise of that scale
        to be seen, such as marks of what is missing, are no centre.
        """
        centre = quick_median(y[:FEWEST])
        if not abs(centre) / scale < _FARTHEST:
            centre = 0.0
        return cls(Segmentation((y - centre) / scale, penalty, BOUND, gap), centre, scale)

    def extend(self, y: Floats) -> None:
        """Append values."""
        self.segmentation.extend((y - self.centre) / self.scale)

    def staircase(self) -> BestFit:
        """Return the best staircase, with levels in units of the values; its cost is in units of the noise."""
        fit = self.segmentation.best()
        return fit._replace(levels=fit.levels * self.scale + self.centre)


def varied(y: Floats) -> bool:
    """Return whether there is more than one value, digits that rounding may have made aside."""
    return float(y.max() - y.min()) > RESOLUTION * float(np.abs(y).max())


@lru_cache(1024)
def critical(n: int) -> Floats:
    """Return the penalties at the rates of the table for a series of n points; beyond 3,000 they grow as before."""
    x = math.log(max(n, 12))
    if x <= _SIZES[-1]:
        return np.array([np.interp(x, _SIZES, column) for column in _CRITICAL.T])
    growth = (_CRITICAL[-1] - _CRITICAL[-3]) / (_SIZES[-1] - _SIZES[-3])
    found: Floats = _CRITICAL[-1] + growth * (x - _SIZES[-1])
    return found


@lru_cache(1024)
def penalty_of(n: int, false_alarm: float) -> float:
    """Return the penalty with the given rate of false alarms, linear in the logarithm of the rate."""
    at = critical(n)
    x = math.log(false_alarm)
    if x < _ALPHAS[-1]:
        return float(at[-1] + (at[-1] - at[-2]) / (_ALPHAS[-1] - _ALPHAS[-2]) * (x - _ALPHAS[-1]))
    return float(np.interp(-x, -_ALPHAS, at))


def scan_pvalue(gain: Floats, n: int) -> Floats:
    """Return the rate of false alarms at which each gain would just pay for a change."""
    at = critical(n)
    inside = np.interp(gain, np.append(0.0, at), np.append(0.0, _ALPHAS))
    beyond = _ALPHAS[-1] + (_ALPHAS[-1] - _ALPHAS[-2]) / (at[-1] - at[-2]) * (gain - at[-1])
    found: Floats = np.exp(np.where(gain > at[-1], beyond, inside))
    return found


def first_scale(y: Floats) -> tuple[float, float]:
    """Return the standard deviation of the noise and its lag-one correlation, from differences that steps leave alone.

    ``s = median |y[t+1] - y[t]| / (0.6745 sqrt 2) / sqrt(1 - rho)`` and ``rho = (median |y[t+2] - y[t]| / median
    |y[t+1] - y[t]|)^2 - 1``, for var(lag 2) / var(lag 1) = 1 + rho in an AR(1) series. Rounded values share few
    differences; their medians are those of grouped data.
    """
    n = len(y)
    near = RESOLUTION * quick_median(np.abs(y))
    steps = np.abs(y[1:] - y[:-1])
    one = grouped_median(steps, near)
    scale = one / (0.6745 * math.sqrt(2))
    if np.count_nonzero(steps <= near) * 2 > n - 1:
        # Most neighbours are equal: how seldom they differ counts too, and their memory can't be seen.
        return max(scale, float(steps.mean()) * math.sqrt(math.pi) / 2), 0.0
    rho = (grouped_median(np.abs(y[2:] - y[:-2]), near) / one) ** 2 - 1
    rho = _shrunk(rho, n)
    return scale / math.sqrt(1 - rho), rho


def grouped_median(sizes: Floats, near: float) -> float:
    """Return the median of sizes; where many are tied, as if they were spread evenly around the shared value."""
    ordered = np.sort(sizes)
    n = len(ordered)
    middle = ordered[(n - 1) // 2]
    low = int(np.searchsorted(ordered, middle - near, "left"))
    tied = int(np.searchsorted(ordered, middle + near, "right")) - low
    if tied <= 1:
        return float(middle + ordered[n // 2]) / 2
    gaps = ordered[1:] - ordered[:-1]
    gaps = gaps[gaps > near]
    if not len(gaps):
        return float(middle) if middle > near else 0.0
    grain = float(gaps.min())
    if middle <= near:
        return grain / 4 * n / tied
    return float(middle) - grain / 2 + grain * (n / 2 - low) / tied


def rescaled(y: Floats, fit: BestFit, scale: float) -> tuple[float, Floats]:
    """Return the scale of the residuals of a staircase, those beyond three scales cut to that; and them in its units.

    Where there are none to speak of, the scale stays as it was.
    """
    n = len(y)
    compiled.prepare()
    rest = compiled.residuals(y, fit.starts, fit.levels, scale)
    total = 1.0
    for _ in range(_REFINED):
        square = compiled.square_within(rest, BOUND) / _SQUARE_WITHIN
        better = math.sqrt(square / max(n - len(fit.starts), n / 2))
        if total * better <= 1e-6:
            return scale, np.zeros(n)
        rest, total = rest / better, total * better
    return scale * total, rest


def dearer(rest: Floats, starts: Ints) -> float:
    """Return by how much memory and shape of the residuals raise the penalty."""
    return inflation(_shrunk(memory(rest, starts), len(rest))) * shape_factor(rest)


def memory(rest: Floats, starts: Ints) -> float:
    """Return the lag-one correlation of residuals in units of their scale, with what fitting levels takes away."""
    compiled.prepare()
    square, product = compiled.neighbours(rest, starts, BOUND)
    if square <= 0:
        return 0.0
    rho = product / square
    rho += len(starts) * (1 + 3 * rho) / len(rest)
    return min(max(rho, 0.0), _MOST_RHO)


def _shrunk(rho: float, n: int) -> float:
    return max(min(rho, _MOST_RHO) - _SHRINK / math.sqrt(n), 0.0)


def on_points(fit: BestFit, n: int) -> Floats:
    """Return the level at every point."""
    compiled.prepare()
    found: Floats = compiled.levels_spread(fit.starts, fit.levels, n)
    return found


def quick_median(values: Floats) -> float:
    """Return the median; numpy's takes ten times as long for a short array."""
    k, ordered = len(values) // 2, values.copy()
    if len(values) % 2:
        ordered.partition(k)
        return float(ordered[k])
    ordered.partition((k - 1, k))
    one, two = ordered[k - 1 : k + 1].tolist()
    return float(one + (two - one) / 2)


def inflation(rho: float) -> float:
    """Return by how much memory inflates the variance of a mean of many points."""
    return (1 + rho) / (1 - rho)


def rank_pvalue(one: Floats, two: Floats, inflate: float) -> float:
    """Return the two-sided p of Mann and Whitney's test, its variance inflated; ties and continuity are minded."""
    a, b = len(one), len(two)
    compiled.prepare()
    u, ties = compiled.rank_sums(np.sort(one), np.sort(two))
    variance = a * b / 12 * ((a + b + 1) - ties / ((a + b) * (a + b - 1)))
    if variance <= 0:
        return 1.0
    return float(min(2 * ndtr(-max(abs(u - a * b / 2) - 0.5, 0.0) / math.sqrt(variance * inflate)), 1.0))


def eliminate(
    y: Floats,
    fit: BestFit,
    scale: float,
    inflate: float,
    alpha: float,
    margin: float,
    gap: int,
    sure: Collection[int] = (),
) -> BestFit:
    """Take out changes until each is sustained, shown by ranks and beyond the margin, the weakest first.

    A segment with fewer than `gap` points near its level is no level: its edge with the nearer neighbour goes first.
    Then the change with the largest rank p above `alpha`, unless it begins at one of the `sure` places: ranks of few
    points can't be clear where memory inflates their variance. Then the smallest change within the margin.
    """
    starts, levels, n = fit.starts.tolist(), fit.levels.tolist(), len(y)
    ranks = [math.nan] * (len(starts) - 1)
    while len(starts) > 1:
        ends = [*starts[1:], n]
        weakest = _unsustained(y, starts, ends, levels, BOUND * scale, gap)
        if weakest is None:
            for i, known in enumerate(ranks):
                if math.isnan(known):
                    parts = y[starts[i] : ends[i]], y[ends[i] : ends[i + 1]]
                    ranks[i] = 0.0 if ends[i] in sure else rank_pvalue(*parts, inflate)
            sizes = np.abs(np.diff(levels))
            if max(ranks) > alpha:
                weakest = int(np.argmax(ranks))
            elif sizes.min() <= margin:
                weakest = int(sizes.argmin())
            else:
                break
        del starts[weakest + 1], levels[weakest], ranks[weakest]
        end = [*starts[1:], n][weakest]
        levels[weakest] = best_level(y[starts[weakest] : end] / scale, BOUND)[0] * scale
        for i in (weakest - 1, weakest):
            if 0 <= i < len(ranks):
                ranks[i] = math.nan
    return BestFit(np.array(starts, dtype=np.int64), np.array(levels), math.nan)


def _unsustained(
    y: Floats, starts: list[int], ends: list[int], levels: list[float], reach: float, gap: int
) -> int | None:
    """Return the change to take out for the first segment with too few points near its level."""
    for i, (a, b, level) in enumerate(zip(starts, ends, levels, strict=True)):
        if b - a < 4 * gap and np.count_nonzero(np.abs(y[a:b] - level) < reach) < gap:
            last = i == len(starts) - 1
            if i and (last or abs(level - levels[i - 1]) < abs(level - levels[i + 1])):
                return i - 1
            return i
    return None


def segmented(y: Floats, false_alarm: float, gap: int) -> Scaled:
    """Return the segmentation with scale and penalty of its own residuals.

    These are estimated anew until the changes stay where they are, twice at most. The first guess is that there are
    none, unless the scale about a single level is clearly larger than that of the differences.
    """
    centre = quick_median(y)
    scale, rho = first_scale(y)
    base = penalty_of(len(y), false_alarm)
    penalty = base * inflation(rho)
    starts = None
    level = best_level((y - centre) / scale, BOUND)[0] * scale + centre
    single = BestFit(np.zeros(1, dtype=np.int64), np.array([level]), math.nan)
    wide, rest = rescaled(y, single, scale)
    if wide <= _ALIKE * scale:
        scale, starts = wide, single.starts
        penalty = base * dearer(rest, starts)
    for turn in range(_REFITS + 1):
        found = Scaled.of(y, scale, penalty, gap)
        fit = found.staircase()
        if turn == _REFITS or (starts is not None and np.array_equal(fit.starts, starts)):
            break
        starts = fit.starts
        scale, rest = rescaled(y, fit, scale)
        penalty = base * dearer(rest, starts)
    return found
