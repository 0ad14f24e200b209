"""The best staircase under a bounded loss, exactly, by functional pruning; and the best single level."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from aggrkit.statistics import _segmentation_compiled as compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["FAR", "BestFit", "Segmentation", "best_level"]

FAR: Final = 1e100  # squares of what is farther would overflow


class BestFit(NamedTuple):
    """A staircase: `starts` of the segments (the first is 0), the `levels` on them, and what it costs."""

    starts: Ints
    levels: Floats
    cost: float


class Segmentation:
    """The segmentation of points that may grow at the end.

    Minimises ``sum min((z_t - level_t)^2, bound^2) + penalty * changes`` over all staircases whose segments have at
    least `gap` points. One more point costs time in proportion to the pieces of the value function, not to the points.

    Parameters
    ----------
    z : numpy.ndarray, shape (n,)
        Finite values, in units of their noise; what is beyond 1e100 is moved there.
    penalty : float
        Cost of a change.
    bound : float, optional
        Residual beyond which a point costs no more.
    gap : int, optional
        Fewest points of a segment.

    Notes
    -----
    The value function ``Q_t(level)``, the least cost of the first t points if the last segment has the given level, is
    piecewise quadratic. It obeys ``Q_t(x) = min(Q_{t-1}(x) + loss(z_t, x), F_{t-gap} + penalty + sum of the loss of the
    last gap points at x)`` with ``F_t = min_x Q_t(x)``. Pieces are kept by vertex (weight, centre, least value), so
    that far levels cost no digits. Candidates that are best at no level are gone for good (functional pruning).

    References
    ----------
    Fearnhead and Rigaill (2019), J. Am. Stat. Assoc. 114, 169-183. Maidstone et al. (2017), Stat. Comput. 27, 519-533.
    """

    def __init__(self, z: Floats, penalty: float, bound: float = 3.0, gap: int = 3) -> None:
        compiled.prepare()
        self.penalty, self.bound, self.gap = penalty, bound, gap
        room = max(len(z), 16)
        self._z = np.empty(room)
        self._best, self._level = np.full(room + 1, math.inf), np.zeros(room + 1)
        self._back = np.zeros(room + 1, dtype=np.int64)
        self._best[0] = 0.0
        self._pieces, self._spare = np.empty((4, 256)), np.empty((4, 256))
        self._origin, self._spare_origin = np.empty(256, dtype=np.int64), np.empty(256, dtype=np.int64)
        self.size = self.pieces = 0
        self.extend(z)

    def extend(self, z: Floats) -> None:
        """Append points."""
        end = self.size + len(z)
        if end > len(self._z):
            more = max(end, 2 * len(self._z)) - len(self._z)
            self._z, self._level = np.append(self._z, np.empty(more)), np.append(self._level, np.zeros(more))
            self._best = np.append(self._best, np.full(more, math.inf))
            self._back = np.append(self._back, np.zeros(more, dtype=np.int64))
        self._z[self.size : end] = np.minimum(np.maximum(z, -FAR), FAR)
        while self.size < end:
            # The penalty goes in as float so that numba compiles one version only.
            self.size, self.pieces = compiled.advance(
                self._z,
                self.size,
                end,
                float(self.penalty),
                float(self.bound),
                self.gap,
                self._best,
                self._back,
                self._level,
                self._pieces,
                self._origin,
                self._spare,
                self._spare_origin,
                self.pieces,
            )
            if self.size < end:
                room = self._pieces.shape[1]
                self._pieces = np.concatenate([self._pieces, np.empty((4, room))], axis=1)
                self._origin = np.append(self._origin, np.empty(room, dtype=np.int64))
                self._spare, self._spare_origin = np.empty((4, 2 * room)), np.empty(2 * room, dtype=np.int64)

    def best(self) -> BestFit:
        """Return the best staircase; one level without changes where there are fewer than `gap` points."""
        if self.size < self.gap:
            level, cost = best_level(self._z[: self.size], self.bound)
            return BestFit(np.zeros(1, dtype=np.int64), np.array([level]), cost)
        starts, levels, end = [], [], self.size
        while end > 0:
            starts.append(int(self._back[end]))
            levels.append(float(self._level[end]))
            end = starts[-1]
        return BestFit(np.array(starts[::-1], dtype=np.int64), np.array(levels[::-1]), float(self._best[self.size]))


def best_level(z: Floats, bound: float = 3.0) -> tuple[float, float]:
    """Return the level with the least ``sum min((z - level)^2, bound^2)``, and that sum.

    Examples
    --------
    >>> best_level(np.array([1.0, 2.0, 3.0, 100.0]))
    (2.0, 11.0)
    """
    compiled.prepare()
    if not len(z):
        return math.nan, 0.0
    level, cost = compiled.level_sorted(np.sort(z), float(bound))
    return float(level), float(cost)
