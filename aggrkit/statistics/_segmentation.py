"""The best staircase under a bounded loss, exactly: functional pruning, compiled where numba is installed.

The functions whose names are in ``_COMPILED`` are plain Python that numba can compile. That happens on first use, so
importing this module costs nothing; without numba the same functions run as they are, about a hundred times slower.
"""

from __future__ import annotations

import math
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["COMPILED", "NOTE", "BestFit", "Segmentation", "best_level", "moments_added", "rank_sums"]

COMPILED: Final = find_spec("numba") is not None
NOTE: Final = "" if COMPILED else "slow: install numba"

_COMPILED = ("_advance", "_level_sorted", "_moments_added", "_rank_sums")
_lock = threading.Lock()
_ready = False


class BestFit(NamedTuple):
    """A staircase: `starts` of the segments (the first is 0), the `levels` on them, and what it costs."""

    starts: Ints
    levels: Floats
    cost: float


def prepare() -> None:
    """Compile what can be compiled, once."""
    global _ready
    with _lock:
        if _ready:
            return
        if COMPILED:
            from numba import njit

            for name in _COMPILED:
                plain = globals()[name]
                try:
                    globals()[name] = njit(cache=True)(plain)
                except RuntimeError:  # there is no folder that the cache may be written to
                    globals()[name] = njit(plain)
        _ready = True


class Segmentation:
    """The segmentation of points that may grow at the end.

    Minimises ``sum min((z_t - level_t)^2, bound^2) + penalty * changes`` over all staircases whose segments have at
    least `gap` points. One more point costs time in proportion to the pieces of the value function, not to the points.

    Parameters
    ----------
    z : numpy.ndarray, shape (n,)
        Finite values, in units of their noise.
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
        prepare()
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
        self._z[self.size : end] = z
        while self.size < end:
            # The penalty goes in as float so that numba compiles one version only.
            self.size, self.pieces = _advance(
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
    prepare()
    if not len(z):
        return math.nan, 0.0
    level, cost = _level_sorted(np.sort(z), float(bound))
    return float(level), float(cost)


def rank_sums(one: Floats, two: Floats) -> tuple[float, float]:
    """Return Mann and Whitney's U of the second side, and the sum of k^3 - k over ties, of ascending values."""
    prepare()
    u, ties = _rank_sums(one, two)
    return float(u), float(ties)


def moments_added(
    y: Floats, a: int, b: int, c: int, left: float, one: float, two: float, right: float, both: float
) -> tuple[float, float, float]:
    """Return what one level `both` on a to c, for `one` to b and `two` from there, adds to the residuals' moments.

    These are the sums of squares without the first, of products of neighbours, and of squares without the last; `left`
    and `right` are the levels of the neighbours.
    """
    prepare()
    found: tuple[float, float, float] = _moments_added(y, a, b, c, left, one, two, right, both)
    return found


def _rank_sums(one: Floats, two: Floats) -> tuple[float, float]:
    u, ties = 0.0, 0.0
    i = j = 0
    while i < len(one) or j < len(two):
        value = one[i] if j == len(two) or (i < len(one) and one[i] <= two[j]) else two[j]
        first, second = i, j
        while i < len(one) and one[i] == value:
            i += 1
        while j < len(two) and two[j] == value:
            j += 1
        k = float(i - first + j - second)
        ties += k * k * k - k
        u += (j - second) * (first + (i - first) / 2)
    return u, ties


def _moments_added(
    y: Floats, a: int, b: int, c: int, left: float, one: float, two: float, right: float, both: float
) -> tuple[float, float, float]:
    n = len(y)
    first, product, last = 0.0, 0.0, 0.0
    old = new = y[a - 1] - left if a > 0 else 0.0
    for t in range(a, min(c + 1, n)):
        before, fresh = old, new
        old = y[t] - (one if t < b else (two if t < c else right))
        new = y[t] - both if t < c else old
        product += new * fresh - old * before
        added = new * new - old * old
        if t > 0:
            first += added
        if t < n - 1:
            last += added
    return first, product, last


def _level_sorted(z: Floats, bound: float) -> tuple[float, float]:
    """Return the best level of ascending values: the points that count are neighbours, so all such sets are tried."""
    n = len(z)
    cap = bound * bound
    level, least = z[0], math.inf
    last, weight, centre, spread = 0, 0, 0.0, 0.0
    for first in range(n):
        while last < n and z[last] - z[first] < 2 * bound:
            weight += 1
            step = z[last] - centre
            centre += step / weight
            spread += step * (z[last] - centre)
            last += 1
            cost = spread + cap * (n - weight)
            if cost < least:
                level, least = centre, cost
        if weight > 1:
            step = z[first] - centre
            centre -= step / (weight - 1)
            spread = max(spread - step * (z[first] - centre), 0.0)
        else:
            centre, spread = 0.0, 0.0
        weight -= 1
        cost = spread + cap * (n - weight)
        if weight > 0 and cost < least:
            level, least = centre, cost
    return level, least


def _advance(
    z: Floats,
    start: int,
    stop: int,
    penalty: float,
    bound: float,
    gap: int,
    best: Floats,
    back: Ints,
    level: Floats,
    pieces: Floats,
    origin: Ints,
    spare: Floats,
    spare_origin: Ints,
    count: int,
) -> tuple[int, int]:
    """Take in the points from `start` to `stop`; return where it ended (the room may not suffice) and the pieces."""
    cap = bound * bound
    left, weight, centre, floor = pieces[0], pieces[1], pieces[2], pieces[3]
    left_a, weight_a, centre_a, floor_a = spare[0], spare[1], spare[2], spare[3]
    room = len(left)
    edge = np.empty(2 * gap + 2)
    weight_b, centre_b, floor_b = np.empty(2 * gap + 1), np.empty(2 * gap + 1), np.empty(2 * gap + 1)
    cut = np.empty(4)
    for t in range(start, stop):
        if 3 * (count + 2 * gap + 4) > room:
            return t, count
        x = z[t]
        low, high = x - bound, x + bound

        # The loss of this point on each piece so far, which may cut two of them.
        held = 0
        for i in range(count):
            a = left[i]
            b = left[i + 1] if i + 1 < count else math.inf
            if a < low:
                left_a[held], weight_a[held], centre_a[held] = a, weight[i], centre[i]
                floor_a[held], spare_origin[held] = floor[i] + cap, origin[i]
                held += 1
            if a < high and b > low:
                share = 1 / (weight[i] + 1)
                step = x - centre[i]
                left_a[held], weight_a[held], centre_a[held] = max(a, low), weight[i] + 1, centre[i] + step * share
                floor_a[held], spare_origin[held] = floor[i] + weight[i] * share * step * step, origin[i]
                held += 1
            if b > high:
                left_a[held], weight_a[held], centre_a[held] = max(a, high), weight[i], centre[i]
                floor_a[held], spare_origin[held] = floor[i] + cap, origin[i]
                held += 1

        # The candidate: a segment that began `gap` points ago.
        since = t + 1 - gap
        edges = 0
        if since == 0 or since >= gap:
            base = best[since] + penalty if since > 0 else 0.0
            edge[0] = -math.inf
            edges = 1
            for k in range(since, t + 1):
                for side in range(2):
                    value = z[k] - bound if side == 0 else z[k] + bound
                    j = edges
                    while j > 1 and edge[j - 1] > value:
                        edge[j] = edge[j - 1]
                        j -= 1
                    edge[j] = value
                    edges += 1
            edge[edges] = math.inf
            for i in range(edges):
                w, c, v = 0.0, 0.0, base
                inner = i > 0 and i + 1 < edges
                middle = (edge[i] + edge[i + 1]) / 2 if inner else 0.0
                for k in range(since, t + 1):
                    if inner and abs(z[k] - middle) < bound:
                        step = z[k] - c
                        w += 1
                        c += step / w
                        v += (w - 1) / w * step * step
                    else:
                        v += cap
                weight_b[i], centre_b[i], floor_b[i] = w, c, v
        elif count == 0:
            continue

        # The lower envelope of both, and its least point.
        least, where, whence = math.inf, 0.0, 0
        count = 0
        i = j = 0
        a = -math.inf
        source = -1
        while a < math.inf:
            end_a = math.inf
            if held == 0:
                end_a = math.inf
            elif i + 1 < held:
                end_a = left_a[i + 1]
            end_b = edge[j + 1] if j + 1 < edges else math.inf
            b = min(end_a, end_b)
            if b > a:
                cuts = 0
                if held > 0 and edges > 0:
                    d = centre_b[j] - centre_a[i]
                    square = weight_a[i] - weight_b[j]
                    half = weight_b[j] * d
                    rest = floor_a[i] - floor_b[j] - half * d
                    if square != 0.0:
                        inside = half * half - square * rest
                        if inside > 0.0:
                            q = -(half + math.sqrt(inside)) if half >= 0 else math.sqrt(inside) - half
                            one = centre_a[i] + q / square
                            two = centre_a[i] + rest / q
                            if one > two:
                                one, two = two, one
                            if a < one < b:
                                cut[cuts] = one
                                cuts += 1
                            if a < two < b and two > one:
                                cut[cuts] = two
                                cuts += 1
                    elif half != 0.0:
                        one = centre_a[i] - rest / (2 * half)
                        if a < one < b:
                            cut[cuts] = one
                            cuts += 1
                cut[cuts] = b
                lo = a
                for k in range(cuts + 1):
                    hi = cut[k]
                    if edges == 0:
                        new = False
                    elif held == 0:
                        new = True
                    else:
                        at = hi - 1 if lo == -math.inf else (lo + 1 if hi == math.inf else (lo + hi) / 2)
                        one, two = at - centre_a[i], at - centre_b[j]
                        new = weight_b[j] * two * two + floor_b[j] < weight_a[i] * one * one + floor_a[i]
                    if new:
                        w, c, v, o, key = weight_b[j], centre_b[j], floor_b[j], since, held + j
                    else:
                        w, c, v, o, key = weight_a[i], centre_a[i], floor_a[i], spare_origin[i], i
                    if key != source:
                        left[count], weight[count], centre[count], floor[count], origin[count] = lo, w, c, v, o
                        count += 1
                        source = key
                    if v < least:
                        if w == 0.0:
                            c = hi if lo == -math.inf else (lo if hi == math.inf else (lo + hi) / 2)
                        at = min(max(c, lo), hi)
                        value = w * (at - c) * (at - c) + v
                        if value < least:
                            least, where, whence = value, at, o
                    lo = hi
            if end_a <= b and held > 0 and i + 1 < held:
                i += 1
            if end_b <= b and j + 1 < edges:
                j += 1
            a = b
        best[t + 1], back[t + 1], level[t + 1] = least, whence, where
    return stop, count
