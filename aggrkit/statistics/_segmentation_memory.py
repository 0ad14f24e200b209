"""Steps, a slow wave or a drift: staircases against AR(1) noise and against a straight line, on one scale."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from aggrkit.statistics import _segmentation_compiled as compiled
from aggrkit.statistics._segmentation import FAR
from aggrkit.statistics._segmentation_steps import BOUND, on_points, quick_median

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrkit.statistics._segmentation import BestFit

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["FACTOR", "Line", "Verdict", "judge", "robust_line"]

# A change costs this much more here than in the segmentation: it also has to pay for the search among AR(1) models.
FACTOR: Final = 1.1
_MOST_RHO: Final = 0.99
_LEAST_NOISE: Final = 1e-3  # innovations are at least this share of the scale, so that an exact fit has a logarithm
_BINS: Final = 48


class Line(NamedTuple):
    """A straight line through the points: its value at time 0, and what it gains per unit of time."""

    start: float
    slope: float


class Verdict(NamedTuple):
    """Where segments start (the first is 0), what each change saves, and the line if that is the better model."""

    starts: list[int]
    gains: list[float]
    line: Line | None


def judge(y: Floats, time: Floats, fit: BestFit, scale: float, penalty: float) -> Verdict:
    """Choose between the staircase, the same with fewer changes down to none, and a straight line.

    Each model has AR(1) noise, ``r_t = rho r_{t-1} + e_t``, and costs ``n log sum e_t^2`` plus ``FACTOR penalty`` for
    each change; the slope of the line counts as a change. As rho is estimated with the levels, steps that a slow wave
    makes are seen as the wave. The changes are taken out one by one, each time that which costs the least.

    Parameters
    ----------
    y : numpy.ndarray, shape (n,)
        Values; outliers are moved to three scales from the staircase first.
    time : numpy.ndarray, shape (n,)
        Their times, rising.
    fit : BestFit
        The staircase, in units of the values.
    scale : float
        Standard deviation of the noise.
    penalty : float
        Penalty of a change without memory.
    """
    n = len(y)
    cost = FACTOR * penalty
    floor = n * _LEAST_NOISE**2
    line = robust_line(time, y, scale)
    origin = fit.levels[0]
    level = on_points(fit, n)
    z = _held((level - origin) / scale, FAR) + _held((y - level) / scale, BOUND)
    straight = _held(z - (line.start - origin + line.slope * time) / scale, FAR)

    compiled.prepare()
    score, edges, gains = compiled.fewer_changes(z, np.append(fit.starts, n), cost, floor, _MOST_RHO)
    now, before = straight[1:], straight[:-1]
    moments = float(now @ now), float(now @ before), float(before @ before)
    if compiled.log_squares(*moments, n, floor, _MOST_RHO) + cost < score:
        return Verdict([0], [], line)
    return Verdict(edges[:-1].tolist(), (gains / FACTOR).tolist(), None)


def _held(values: Floats, bound: float) -> Floats:
    """Return values cut to the bound; `numpy.clip` takes twice as long for short arrays."""
    found: Floats = np.minimum(np.maximum(values, -bound), bound)
    return found


def robust_line(time: Floats, y: Floats, scale: float) -> Line:
    """Fit a line with the bounded loss: Theil and Sen's through the medians of up to 48 bins, then refined."""
    compiled.prepare()
    origin = quick_median(y)
    z = (y - origin) / scale
    count = min(len(z), _BINS)
    wide = len(z) // count
    skip = (len(z) - count * wide) // 2
    inner = slice(skip, skip + count * wide)
    t = time[inner].reshape(count, wide).mean(axis=1)
    ordered = np.sort(z[inner].reshape(count, wide), axis=1)
    m = (ordered[:, (wide - 1) // 2] + ordered[:, wide // 2]) / 2
    first, second = _pairs(count)
    slope = quick_median((m[second] - m[first]) / (t[second] - t[first]))
    start = quick_median(z - slope * time)
    start, slope = compiled.line_refined(time, z, start, slope, BOUND)
    return Line(float(start * scale + origin), float(slope * scale))


@lru_cache(_BINS)
def _pairs(count: int) -> tuple[Ints, Ints]:
    return np.triu_indices(count, 1)
