"""What is left of a staircase after all tests: the changes with their intervals, a trend, or a suspect at the end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from aggrkit.statistics import _segmentation_compiled as compiled
from aggrkit.statistics._segmentation import BestFit, best_level
from aggrkit.statistics._segmentation_memory import judge
from aggrkit.statistics._segmentation_shape import shape_factor
from aggrkit.statistics._segmentation_steps import (
    BOUND,
    FEWEST,
    eliminate,
    inflation,
    memory,
    on_points,
    penalty_of,
    scan_pvalue,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from aggrkit.statistics._segmentation_memory import Line

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Status = Literal["confirmed", "suspect"]

__all__ = ["Changes", "Trend", "finish", "nothing", "present"]

_MASS: Final = 0.95
_TAIL: Final = 0.01
_SURE: Final = 0.01  # share of the false alarms that are asked for, at which ranks are not asked any more
_HOPELESS: Final = 80.0  # places that cost this much more have no weight, however many they are


class Trend(NamedTuple):
    """A straight line, where it fits better than a staircase.

    Attributes
    ----------
    start, end : float
        The line at the first and at the last point.
    slope, ci_lower, ci_upper : float
        What it gains per place in the array, with the 95 % interval.
    pvalue : float
        Of the slope, by t; the memory of the noise is accounted for.
    """

    start: float
    end: float
    slope: float
    ci_lower: float
    ci_upper: float
    pvalue: float


@dataclass(frozen=True)
class Changes:
    """The changes of one series, one entry per change and in their order; empty where there are none.

    Attributes
    ----------
    places : numpy.ndarray of int
        Index of the first point after each change, in the array as it was given.
    lower, upper : numpy.ndarray of int
        Indices between which that point is, with 95 % confidence.
    before, after : numpy.ndarray
        Level on either side.
    change, ci_lower, ci_upper : numpy.ndarray
        `after` minus `before`, on the scale of the values, and its 95 % interval. For a suspect, the interval of the
        last points about what was expected.
    pvalue : numpy.ndarray
        Of a confirmed change: the share p of Gaussian series without changes that show one as clear, by simulation, so
        that the search for the place is accounted for; below 1 %, ``sqrt(p / 100)`` in place of p, see `detect`. Of a
        suspect: by t, that the last points are as far from what was expected, times `min_segment` - 1.
    status : tuple of str
        "confirmed", or "suspect" where no more than the last few points differ.
    levels : numpy.ndarray
        Level of each segment between confirmed changes: one more than there are of these. NaN where there is no value.
    scale : float
        Standard deviation of the noise.
    rho : float
        Lag-one correlation of the noise, at least 0.
    trend : Trend or None
        A straight line that fits better than a staircase; there are no changes then.
    """

    places: Ints
    lower: Ints
    upper: Ints
    before: Floats
    after: Floats
    change: Floats
    ci_lower: Floats
    ci_upper: Floats
    pvalue: Floats
    status: tuple[Status, ...]
    levels: Floats
    scale: float
    rho: float
    trend: Trend | None = None

    def __len__(self) -> int:
        return len(self.places)

    @property
    def confirmed(self) -> Ints:
        """Places of the confirmed changes."""
        return self.places[[status == "confirmed" for status in self.status]]


class _Row(NamedTuple):
    place: int
    lower: int
    upper: int
    before: float
    after: float
    ci_lower: float
    ci_upper: float
    pvalue: float
    status: Status


def present(values: ArrayLike) -> tuple[Floats, Ints]:
    """Return the finite values, and where they are."""
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1:
        raise ValueError(f"values are one series, but they have {given.ndim} dimensions: use detect_many for several")
    index = np.flatnonzero(np.isfinite(given))
    return given[index], index


def nothing(y: Floats) -> Changes:
    """Return that there are no changes in too few or equal values."""
    level = float(np.median(y)) if len(y) else math.nan
    return _changes([], np.array([level]), 0.0 if len(y) >= FEWEST else math.nan, 0.0, None)


def _changes(rows: list[_Row], levels: Floats, scale: float, rho: float, trend: Trend | None) -> Changes:
    whole = np.array([row[:3] for row in rows], dtype=np.int64).reshape(-1, 3)
    real = np.array([row[3:8] for row in rows], dtype=np.float64).reshape(-1, 5)
    before, after, ci_lower, ci_upper, pvalue = real.T
    places, lower, upper = whole.T
    return Changes(
        places=places,
        lower=lower,
        upper=upper,
        before=before,
        after=after,
        change=after - before,
        ci_lower=ci_lower,
        ci_upper=ci_upper,
        pvalue=pvalue,
        status=tuple(row.status for row in rows),
        levels=levels,
        scale=scale,
        rho=rho,
        trend=trend,
    )


def finish(y: Floats, index: Ints, fit: BestFit, scale: float, gap: int, false_alarm: float, margin: float) -> Changes:
    """Return what is left of a staircase after all tests, with its intervals."""
    fit, pvalues, line = _kept(y, index, fit, scale, gap, false_alarm, margin)
    if line is not None:
        return _changes([], fit.levels, scale, *_trend(y, index, scale, line))
    rho = memory(compiled.residuals(y, fit.starts, fit.levels, scale), fit.starts)
    noise = inflation(rho)
    rows = _rows(y, index, fit, scale, noise, pvalues) if len(pvalues) else []
    rows += _suspect(y, index, fit, scale, noise, gap, false_alarm, margin)
    return _changes(rows, fit.levels, scale, rho, None)


def _kept(
    y: Floats, index: Ints, fit: BestFit, scale: float, gap: int, false_alarm: float, margin: float
) -> tuple[BestFit, Floats, Line | None]:
    """Return the staircase of the changes that stand all tests and their p-values, and the line if that is better.

    By ranks, against memory and a line, then by ranks again with the memory that is left.
    """
    n, none = len(y), np.empty(0)
    if len(fit.starts) > 1:
        fit = eliminate(y, fit, scale, 1.0, false_alarm, 0.0, gap)
    if len(fit.starts) == 1:
        return fit, none, None
    shape = shape_factor(compiled.residuals(y, fit.starts, fit.levels, scale))
    starts, gains, line = judge(y, index.astype(np.float64), fit, scale, penalty_of(n, false_alarm) * shape)
    fit = BestFit(np.array(starts, dtype=np.int64), _levels(y, starts, scale), math.nan)
    if len(starts) == 1:
        return fit, none, line
    noise = inflation(memory(compiled.residuals(y, fit.starts, fit.levels, scale), fit.starts))
    pvalues = _with_long_tail(scan_pvalue(np.array(gains) / shape, n))
    sure = {start for start, pvalue in zip(starts[1:], pvalues.tolist(), strict=True) if pvalue < false_alarm * _SURE}
    fit = eliminate(y, fit, scale, noise, false_alarm, margin, gap, sure)
    return fit, pvalues[[starts.index(start) - 1 for start in fit.starts[1:].tolist()]], None


def _with_long_tail(pvalues: Floats) -> Floats:
    """Return p-values that also hold far out, where scale and memory that were misjudged make most alarms.

    ``sqrt(p / 100)`` below 1 %: what is taken for 1e-4 is seen in up to 1e-3 of series without changes (simulated,
    memory up to 0.3), what is taken for 1e-5 in up to 1e-3 of them with heavy tails.
    """
    return np.where(pvalues < _TAIL, np.sqrt(_TAIL * pvalues), pvalues)


def _levels(y: Floats, starts: list[int], scale: float) -> Floats:
    ends = [*starts[1:], len(y)]
    return np.array([best_level(y[a:b] / scale, BOUND)[0] * scale for a, b in zip(starts, ends, strict=True)])


def _trend(y: Floats, index: Ints, scale: float, line: Line) -> tuple[float, Trend]:
    """Return the memory, and the trend with the interval of its slope, its variance inflated by the memory."""
    start, slope = line
    rest = (y - start - slope * index) / scale
    rho = memory(rest, np.zeros(1, dtype=np.int64))
    near = np.abs(rest) < BOUND
    x = index[near] - index[near].mean()
    variance = float((rest[near] ** 2).sum()) / max(int(near.sum()) - 2, 1) * inflation(rho) / float(x @ x)
    freedom, error = max(len(y) - 2, 1), scale * math.sqrt(variance)
    half = -float(stdtrit(freedom, 0.025)) * error
    pvalue = 2 * float(stdtr(freedom, -abs(slope) / error)) if error > 0 else 0.0
    ends = start + slope * index[0], start + slope * index[-1]
    return rho, Trend(float(ends[0]), float(ends[1]), slope, slope - half, slope + half, pvalue)


def _rows(y: Floats, index: Ints, fit: BestFit, scale: float, noise: float, pvalues: Floats) -> list[_Row]:
    """Return the confirmed changes, with the set of their places and the intervals of the differences."""
    bounds = [*fit.starts.tolist(), len(y)]
    levels = fit.levels.tolist()
    rest = np.abs(y - on_points(fit, len(y))) / scale
    near = rest < BOUND
    count = [max(int(np.count_nonzero(near[a:b])), 1) for a, b in pairwise(bounds)]
    freedom = max(sum(count) - len(levels), 1)
    spread = scale * math.sqrt(float((rest[near] ** 2).sum()) / freedom * noise)
    reach = -float(stdtrit(freedom, (1 - _MASS) / 2)) * spread
    rows = []
    for i, pvalue in enumerate(pvalues.tolist()):
        one, two = levels[i], levels[i + 1]
        first, last = _place_set(y[bounds[i] : bounds[i + 2]], one, two, scale, noise)
        place = bounds[i + 1]
        lower, upper = min(bounds[i] + first, place), max(bounds[i] + last, place)
        half = reach * math.sqrt(1 / count[i] + 1 / count[i + 1])
        where = int(index[place]), int(index[lower]), int(index[upper])
        rows.append(_Row(*where, one, two, two - one - half, two - one + half, pvalue, "confirmed"))
    return rows


def _place_set(y: Floats, one: float, two: float, scale: float, noise: float) -> tuple[int, int]:
    """Return the first and the last place at which the level may change from one to two: 95 % of the weights."""
    compiled.prepare()
    # The second level begins at place 1, 2, ...: never at 0, for there is a first one.
    first, last = compiled.places_kept(y, one, two, scale, BOUND, noise, _HOPELESS, _MASS)
    return int(first), int(last)


def _suspect(
    y: Floats,
    index: Ints,
    fit: BestFit,
    scale: float,
    noise: float,
    gap: int,
    false_alarm: float,
    margin: float,
) -> list[_Row]:
    """Return the last few points as a suspect, if all are on one side and outside what the segment foretells.

    Tried for the last 1 to ``gap - 1`` points, with the rate shared. Each has to be farther from the staircase than all
    but the share `false_alarm` of the points before, for noise with heavy tails makes its own bounds; all have to be
    near their mean, and this outside the prediction interval.
    """
    n = len(y)
    a = int(fit.starts[-1])
    rest = y - on_points(fit, n)
    sizes = np.abs(rest)
    for k in range(gap - 1, 0, -1):
        m = n - k - a
        if m < gap or n - k < FEWEST:
            continue
        tail = math.ceil((n - k - 1) * (1 - false_alarm))
        if np.count_nonzero(sizes[: n - k] < sizes[n - k :].min()) <= tail:
            continue
        level = best_level(y[a : n - k] / scale, BOUND)[0] * scale
        last = y[n - k :] - level
        if (last > 0).any() and (last < 0).any():
            continue
        held = np.clip(rest[: n - k] / scale, -BOUND, BOUND)
        freedom = max(n - k - len(fit.starts), 1)
        spread = max(scale, scale * math.sqrt(float(held @ held) / freedom))
        error = spread * math.sqrt(min(noise, k) / k + noise / m)
        mean = float(last.mean())
        pvalue = min(2 * float(stdtr(freedom, -abs(mean) / error)) * (gap - 1), 1.0)
        if pvalue >= false_alarm or abs(mean) <= margin or np.abs(last - mean).max() > BOUND * spread:
            continue
        half = -float(stdtrit(freedom, (1 - _MASS) / 2)) * error
        first, end = int(index[n - k]), int(index[n - 1])
        return [_Row(first, first, end, level, level + mean, mean - half, mean + half, pvalue, "suspect")]
    return []
