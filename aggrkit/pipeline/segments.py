"""One series cut into segments of equal level: levels of like and levels of time, fitted in turn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from aggrkit.pipeline.over_time import OverTime, Series, binned
from aggrkit.statistics.changepoints import Changes, detect

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["FEWEST", "Segmented"]

FEWEST: Final = 6
"""Units that a series needs."""

_MOST_UNITS: Final = 10_000
_REFINED: Final = 3
_NOTHING: Final = 1e-3


@dataclass(frozen=True)
class Segmented:
    """A metric of a group over time, with the changes of its level.

    Attributes
    ----------
    metric : Metric
        What is measured.
    group : int
        Number of the group.
    series : Series
        The values of its units.
    time, off : numpy.ndarray
        Time and distance from the levels of like of each point that was looked at: a unit, or a bin of them.
    point_of : numpy.ndarray of int
        The point of each unit.
    levels_of_like : numpy.ndarray
        The level of each cell.
    changes : Changes
        What was found, in places of points.
    """

    metric: Metric
    group: int
    series: Series
    time: Floats
    off: Floats
    point_of: Ints
    levels_of_like: Floats
    changes: Changes

    @classmethod
    def of(cls, data: OverTime, k: int, group: int, false_alarm: float, margin: float) -> Segmented | None:
        """Find the changes of a metric of a group, or None where there are too few units."""
        rows = data.rows(k, group)
        if len(rows) < FEWEST:
            return None
        series = data.series(k, rows)
        if len(series) < FEWEST:
            return None
        starts = [series.cell_levels()]
        edge = _edge(series, starts[0], margin)
        if series.cells > 1 and not series.is_balanced and not series.is_rate:
            starts.append(series.linked_levels())
        found = [cls._fitted(data.metrics[k], group, series, levels, false_alarm, edge) for levels in starts]
        known = [one for one in found if one is not None]
        return min(known, key=lambda one: one._badness, default=None)

    @classmethod
    def _fitted(
        cls, metric: Metric, group: int, series: Series, levels: Floats, false_alarm: float, edge: float
    ) -> Segmented | None:
        """Fit levels of time and of like in turn, from some levels of like."""
        time, off, place = _points(series, levels)
        if len(off) < FEWEST:
            return None
        changes = detect(off, false_alarm, edge)
        for _ in range(_REFINED if series.cells > 1 else 0):
            if not len(changes.confirmed):
                break
            shift = _levels_at(changes, len(off))
            levels = series.cell_levels((shift - np.median(shift))[place])
            time, off, place = _points(series, levels)
            before, changes = changes.confirmed, detect(off, false_alarm, edge)
            if np.array_equal(before, changes.confirmed):
                break
        return cls(metric, group, series, time, off, place, levels, changes)

    @property
    def centre(self) -> float:
        """The level of like that distances are added to, to be values again."""
        return float(np.median(self.levels_of_like[self.series.cell]))

    @property
    def _badness(self) -> float:
        """How badly the values are explained: the Bayesian information criterion, with Laplace's errors."""
        series, n = self.series, len(self.series.value)
        rest = series.value - self.levels_of_like[series.cell] - self.levels[self.point_of][series.unit]
        error = max(float(np.abs(rest).mean()), 1e-12)
        return 2 * n * math.log(error) + 2 * len(self.changes.confirmed) * math.log(n)

    @property
    def is_binned(self) -> bool:
        """Whether points are bins of several units."""
        return len(self.off) < len(self.series)

    @property
    def levels(self) -> Floats:
        """The level at each point, as a distance: of its segment, or of the trend."""
        trend = self.changes.trend
        if trend is not None:
            return np.linspace(trend.start, trend.end, len(self.off))
        return _levels_at(self.changes, len(self.off))

    def value(self, distance: float | Floats) -> Floats:
        """Return distances as values."""
        value = np.asarray(self.centre + distance, dtype=np.float64)
        if self.series.logarithmic:
            return np.exp(value)
        return np.clip(value, 0.0, 1.0) if self.series.is_rate else value

    def percent(self, difference: float, before: float) -> float:
        """Return a difference of distances in percent of the value before; of rates in percentage points."""
        if self.series.logarithmic:
            return float(100 * np.expm1(difference))
        if self.series.is_rate:
            return float(100 * difference)
        # a share of next to nothing says nothing
        return float(100 * difference / abs(before)) if abs(before) > _NOTHING * abs(difference) else float("nan")

    def moment(self, place: int) -> pd.Timestamp:
        """Return the time of a point."""
        return pd.Timestamp(int(self.time[place]), unit="ns").floor("us")

    def rows_of(self, start: int, stop: int) -> Ints:
        """Return the rows of the points from `start` up to before `stop`."""
        point = self.point_of[self.series.unit]
        return self.series.rows[(point >= start) & (point < stop)]


def _edge(series: Series, levels: Floats, margin: float) -> float:
    """Return the margin on the scale of the series."""
    if series.logarithmic:
        return float(np.log1p(margin))
    return margin if series.is_rate else margin * abs(float(np.median(levels[series.cell])))


def _points(series: Series, levels: Floats) -> tuple[Floats, Floats, Ints]:
    """Return time and distance of the points that are looked at, and the point of each unit."""
    off = series.distances(levels)
    most = max(series.most(_MOST_UNITS), 1)
    if len(off) <= most:
        return series.time, off, np.arange(len(off))
    return binned(series.time, off, series.weight, most, rate=series.is_rate)


def _levels_at(changes: Changes, n: int) -> Floats:
    return changes.levels[np.searchsorted(changes.confirmed, np.arange(n), side="right")]
