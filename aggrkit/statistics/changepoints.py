"""When did the level of a series shift, by how much, and how sure is that: change points without a penalty to tune."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from aggrkit.errors import number_between
from aggrkit.statistics._segmentation_compiled import COMPILED, NOTE
from aggrkit.statistics._segmentation_steps import FEWEST, Scaled, penalty_of, segmented, varied
from aggrkit.statistics._segmentation_verdict import Changes, Trend, finish, nothing, present

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = ["COMPILED", "NOTE", "Changes", "State", "Trend", "detect", "detect_many"]


def detect(values: ArrayLike, false_alarm: float = 0.05, margin: float = 0.0, min_segment: int = 3) -> Changes:
    """Find where the level of a series shifts.

    Parameters
    ----------
    values : array_like, shape (n,)
        Values in the order of time; logarithms where ratios are meant. Missing and infinite ones are left out.
    false_alarm : float, optional
        Share of series without changes in which a change may be confirmed all the same, at most; see the notes. A
        suspect is another chance of the same size.
    margin : float, optional
        Smallest difference of levels that matters, on the scale of the values; others are no changes.
    min_segment : int, optional
        Fewest points of a level.

    Returns
    -------
    Changes
        Without changes for fewer than 6 values.

    Raises
    ------
    ValueError
        If `false_alarm` is not between 0 and 1, the margin is negative, or `min_segment` is less than 2.

    Notes
    -----
    Minimises ``sum min(((y_t - level_t) / s)^2, 9) + penalty * changes`` exactly, by functional pruning, so that no
    single value makes a change. s is estimated from the differences of neighbours, which steps don't inflate, and then
    from the residuals, until the changes stay where they are, twice at most. The penalty is that at which the share
    `false_alarm` of Gaussian series without changes shows any, by simulation. It is raised for noise with memory, and
    for noise whose shape (skewed, or with long tails) lets a few neighbours gain more than they do in Gaussian noise:
    by the least c with ``E exp(gain / 2c) <= 1`` for the residuals, as exp(-gain / 2) bounds the chance of a gain in
    Gaussian noise.

    Then each change has to hold by Mann and Whitney's rank test, against noise with memory (AR(1), fitted together with
    the levels) and against a straight line, and by the rank test once more, with its variance inflated by the memory
    that is left; and to be larger than the margin. The second rank test is waived for changes whose p-value, as it is
    reported, is below 1 % of `false_alarm`: ranks of few points can't be clear where memory inflates their variance.

    The p-value is the rate of false alarms at which the change would just pay, by the same simulation, for what it
    saves in the fit with AR(1) noise; the shape of the noise is accounted for. Where that p is below 1 %,
    ``sqrt(p / 100)`` is reported, 0.001 for 1e-4: that far out, scale and memory that were misjudged make most alarms.

    The set of places is that with 95 % of the weights ``exp(-cost / 2)``, with the levels given. Levels are taken as
    known when changes are sought and the other way round; so the interval of a change just clear enough to be seen is
    too far from zero. Noise is taken to have the same scale in all segments.

    Telling memory from steps has a price: where noise has no memory, the rate of false alarms is below `false_alarm`,
    1 % to 2.5 % for 5 % asked in 50 to 1,000 points, whether the noise is Gaussian, skewed, rounded, of two modes or
    has outliers. Up to rho = 0.3 it is 4.9 % at most. At rho = 0.6 it is 10.8 % in 20 points, 8.7 % in 50 and 7.1 % in
    100, which are too few to tell that memory from steps, 5.5 % in 200 and 3.6 % in 1,000; these are from 9,000 series
    each, 4,500 of 1,000 points, and of confirmed changes only. Where much more than 5 % is asked, short series with
    memory have more than that: 34 % for 20 % at rho = 0.3 in 50 points.

    References
    ----------
    Fearnhead and Rigaill (2019), Changepoint detection in the presence of outliers, J. Am. Stat. Assoc. 114, 169-183.
    Maidstone, Hocking, Rigaill and Fearnhead (2017), Stat. Comput. 27, 519-533.

    Examples
    --------
    >>> found = detect([10.1, 9.9, 10.0, 10.2, 9.8, 10.1, 12.1, 11.9, 12.0, 12.2, 11.8, 12.1])
    >>> found.places, found.status, found.change.round(2)
    (array([6]), ('confirmed',), array([2.]))
    """
    _check(false_alarm, margin, min_segment)
    return _detect(values, false_alarm, margin, min_segment)


def _detect(values: ArrayLike, false_alarm: float, margin: float, gap: int) -> Changes:
    y, index = present(values)
    if len(y) < FEWEST or not varied(y):
        return nothing(y)
    found = segmented(y, false_alarm, gap)
    return finish(y, index, found.staircase(), found.scale, gap, false_alarm, margin)


def detect_many(
    series: ArrayLike | Iterable[ArrayLike], false_alarm: float = 0.05, margin: float = 0.0, min_segment: int = 3
) -> list[Changes]:
    """Find the changes of many series.

    Parameters
    ----------
    series : iterable of array_like, or array of shape (series, n)
        The series; rows of an array are padded with NaN.
    false_alarm, margin, min_segment : optional
        As for `detect`. The rate is that of each series: adjust the p-values over series.

    Returns
    -------
    list of Changes

    Examples
    --------
    >>> [len(found) for found in detect_many([[1.0, 1.1, 0.9, 1.0, 1.1, 0.9], [2.0, 2.0]])]
    [0, 0]
    """
    _check(false_alarm, margin, min_segment)
    rows: Iterable[ArrayLike] = series  # type: ignore[assignment]
    return [_detect(row, false_alarm, margin, min_segment) for row in rows]


class State:
    """A series that grows at the end: to take in one more value costs the same however long the series is.

    Scale, memory and penalty stay as they were when the state was made, so that what was found stays comparable;
    `refreshed` estimates them again. What `changes` returns is the same as if all values had been there from the start,
    with that scale and penalty.

    Parameters
    ----------
    values : array_like
        The first values.
    false_alarm, margin, min_segment : optional
        As for `detect`.
    scale : float, optional
        Standard deviation of the noise; estimated by default, which takes 6 values that are not all equal.
    penalty : float, optional
        Cost of a change, in squares of the scale; by default that of `detect` if the scale is estimated, and that for
        Gaussian noise without memory if it is given.

    Raises
    ------
    ValueError
        As for `detect`, and if scale or penalty are not more than 0.

    Examples
    --------
    >>> state = State.of([10.1, 9.9, 10.0, 10.2, 9.8, 10.1])
    >>> for value in [12.1, 11.9, 12.0, 12.2]:
    ...     state = state.append(value)
    >>> state.changes().places
    array([6])
    """

    def __init__(
        self,
        values: ArrayLike,
        false_alarm: float = 0.05,
        margin: float = 0.0,
        min_segment: int = 3,
        scale: float | None = None,
        penalty: float | None = None,
    ) -> None:
        _check(false_alarm, margin, min_segment)
        if scale is not None and not 0 < scale < math.inf:
            raise ValueError(f"scale is a standard deviation, more than 0, but it is {scale!r}")
        if penalty is not None and not penalty > 0:
            raise ValueError(f"penalty is the cost of a change, more than 0, but it is {penalty!r}")
        self._asked = (false_alarm, margin, min_segment)
        y, _ = present(values)
        if scale is not None and penalty is None:
            penalty = penalty_of(max(len(y), FEWEST), false_alarm)
        self._given = (scale, penalty)
        self._all = np.array(values, dtype=np.float64)
        self._size = len(self._all)
        self._found: Scaled | None = None
        self._begin(y)

    def _begin(self, y: Floats) -> None:
        """Segment the values so far, if there are enough to know their noise."""
        false_alarm, _, gap = self._asked
        scale, penalty = self._given
        if len(y) < FEWEST or (scale is None and not varied(y)):
            return
        if scale is not None and penalty is not None:
            self._found = Scaled.of(y, scale, penalty, gap)
            return
        self._found = segmented(y, false_alarm, gap)
        if penalty is not None:
            self._found = Scaled.of(y, self._found.scale, penalty, gap)

    @property
    def scale(self) -> float:
        """Standard deviation of the noise; NaN as long as it isn't known."""
        return (self._given[0] or math.nan) if self._found is None else self._found.scale

    @property
    def penalty(self) -> float:
        """Cost of a change, in units of the noise; NaN as long as it isn't known."""
        return (self._given[1] or math.nan) if self._found is None else self._found.segmentation.penalty

    @classmethod
    def of(cls, values: ArrayLike, false_alarm: float = 0.05, margin: float = 0.0, min_segment: int = 3) -> State:
        """Return the state of a series, with scale, memory and penalty estimated from it."""
        return cls(values, false_alarm, margin, min_segment)

    def __len__(self) -> int:
        return self._size

    @property
    def values(self) -> Floats:
        """All values so far, with those that are missing."""
        return self._all[: self._size]

    def append(self, value: float) -> State:
        """Take in one value, in place, and return the state itself."""
        if self._size == len(self._all):
            self._all = np.append(self._all, np.empty(max(self._size, 16)))
        self._all[self._size] = value
        self._size += 1
        if self._found is None:
            self._begin(present(self.values)[0])
        else:
            self._found.extend(present(self._all[self._size - 1 : self._size])[0])
        return self

    def refreshed(self) -> State:
        """Return a state of the same values with scale, memory and penalty estimated anew."""
        return State(self.values.copy(), *self._asked)

    def changes(self) -> Changes:
        """Return what is found so far."""
        false_alarm, margin, gap = self._asked
        y, index = present(self.values)
        if self._found is None or len(y) < FEWEST:
            return nothing(y)
        return finish(y, index, self._found.staircase(), self._found.scale, gap, false_alarm, margin)


def _check(false_alarm: float, margin: float, min_segment: int) -> None:
    number_between(false_alarm, 0, 1, "false_alarm is a share between 0 and 1, such as 0.05")
    if not margin >= 0:
        raise ValueError(f"margin is a difference of levels, 0 or more, but it is {margin!r}")
    if min_segment < 2:
        raise ValueError(f"min_segment is a number of points, 2 or more, but it is {min_segment!r}")
