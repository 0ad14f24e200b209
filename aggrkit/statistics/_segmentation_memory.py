"""Steps, a slow wave or a drift: staircases against AR(1) noise and against a straight line, on one scale."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from aggrkit.statistics._segmentation import moments_added
from aggrkit.statistics._segmentation_steps import BOUND, on_points

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrkit.statistics._segmentation import BestFit

    Floats = NDArray[np.float64]

__all__ = ["FACTOR", "Line", "Verdict", "judge", "robust_line"]

# A change costs this much more here than in the segmentation: it also has to pay for the search among AR(1) models.
FACTOR: Final = 1.1
_MOST_RHO: Final = 0.99


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
    level = on_points(fit, n)
    line = robust_line(time, y, scale)
    y = level + np.clip(y - level, -BOUND * scale, BOUND * scale)
    floor = n * (1e-3 * scale) ** 2
    sums = np.append(0.0, np.cumsum(y - y[0]))

    edges = [*fit.starts.tolist(), n]
    rest = y - np.repeat([_mean(sums, y[0], a, b) for a, b in pairwise(edges)], np.diff(edges))
    total = _moments(rest)
    deltas = np.array([_delta(y, sums, edges, i) for i in range(1, len(edges) - 1)]).reshape(-1, 3)
    best = (float(_fitness(total, n, floor)) + cost * len(deltas), edges, total, deltas)
    while len(deltas):
        scores = _fitness(total + deltas, n, floor)
        out = int(np.argmin(scores))
        total = total + deltas[out]
        edges = edges[: out + 1] + edges[out + 2 :]
        deltas = np.delete(deltas, out, axis=0)
        for i in range(max(out - 2, 0), min(out + 2, len(deltas))):
            deltas[i] = _delta(y, sums, edges, i + 1)
        fitness = float(_fitness(total, n, floor)) + cost * len(deltas)
        if fitness <= best[0]:
            best = (fitness, edges, total, deltas.copy())
    score, edges, total, deltas = best
    straight = float(_fitness(_moments(y - line.start - line.slope * time), n, floor)) + cost
    if straight < score:
        return Verdict([0], [], line)
    gains = _fitness(total + deltas, n, floor) - _fitness(total, n, floor) if len(deltas) else np.empty(0)
    return Verdict(edges[:-1], (gains / FACTOR).tolist(), None)


def _mean(sums: Floats, origin: float, a: int, b: int) -> float:
    return float(sums[b] - sums[a]) / (b - a) + float(origin)


def _moments(rest: Floats) -> Floats:
    """Return the sums of squares without the first, of products of neighbours, and of squares without the last."""
    now, before = rest[1:], rest[:-1]
    return np.array([now @ now, now @ before, before @ before])


def _delta(y: Floats, sums: Floats, edges: list[int], i: int) -> Floats:
    """Return what taking out the change at ``edges[i]`` adds to the moments."""
    a, b, c = edges[i - 1 : i + 2]
    return np.array(
        moments_added(
            *(y, a, b, c),
            *(_mean(sums, y[0], edges[i - 2], a) if a else 0.0, _mean(sums, y[0], a, b)),
            *(_mean(sums, y[0], b, c), _mean(sums, y[0], c, edges[i + 2]) if c < len(y) else 0.0),
            _mean(sums, y[0], a, c),
        )
    )


def _fitness(moments: Floats, n: int, floor: float) -> Floats:
    """Return n log of the sum of squared innovations, with the rho between 0 and 0.99 that makes it least."""
    first, product, last = moments[..., 0], moments[..., 1], moments[..., 2]
    rho = np.clip(product / np.maximum(last, floor), 0.0, _MOST_RHO)
    found: Floats = n * np.log(np.maximum(first - 2 * rho * product + rho * rho * last, floor))
    return found


def robust_line(time: Floats, y: Floats, scale: float) -> Line:
    """Fit a line with the bounded loss: Theil and Sen's through the medians of up to 48 bins, then refined."""
    count = min(len(y), 48)
    wide = len(y) // count
    inner = slice((len(y) - count * wide) // 2, (len(y) - count * wide) // 2 + count * wide)
    t = time[inner].reshape(count, wide).mean(axis=1)
    m = np.median(y[inner].reshape(count, wide), axis=1)
    first, second = np.triu_indices(len(t), 1)
    slope = float(np.median((m[second] - m[first]) / (t[second] - t[first])))
    start = float(np.median(y - slope * time))
    best, least = Line(start, slope), math.inf
    for _ in range(10):
        rest = np.abs(y - start - slope * time) / scale
        cost = float((np.minimum(rest, BOUND) ** 2).sum())
        if cost >= least - 1e-9:
            break
        best, least = Line(start, slope), cost
        near = rest < BOUND
        if near.sum() < 3:
            break
        centre, level = time[near].mean(), y[near].mean()
        x = time[near] - centre
        slope = float(x @ (y[near] - level) / (x @ x))
        start = float(level - slope * centre)
    return best
