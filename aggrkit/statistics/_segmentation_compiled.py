"""The inner loops of the change point detector: plain Python that numba compiles on first use.

So importing this module costs nothing. Without numba the same functions run as they are, a hundred times slower and
more. Call `prepare` before any of them, and reach them as attributes of this module: compiling replaces them.
"""

from __future__ import annotations

import math
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["COMPILED", "NOTE", "prepare"]

COMPILED: Final = find_spec("numba") is not None
NOTE: Final = "" if COMPILED else "slow: install numba"

# In the order of calls: what is called comes first.
_NAMES: Final = (
    "advance",
    "level_sorted",
    "moments_added",
    "rank_sums",
    "log_squares",
    "level_between",
    "change_removed",
    "fewer_changes",
    "line_refined",
    "levels_spread",
    "residuals",
    "square_within",
    "neighbours",
    "binned",
    "places_kept",
)
_lock = threading.Lock()
_ready = False


def prepare() -> None:
    """Compile what can be compiled, once."""
    global _ready
    if _ready:
        return
    with _lock:
        if COMPILED and not _ready:
            from numba import njit

            for name in _NAMES:
                plain = globals()[name]
                try:
                    globals()[name] = njit(cache=True)(plain)
                except RuntimeError:  # there is no folder that the cache may be written to
                    globals()[name] = njit(plain)
        _ready = True


def rank_sums(one: Floats, two: Floats) -> tuple[float, float]:
    """Return Mann and Whitney's U of the second side, and the sum of k^3 - k over ties, of ascending values."""
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


def moments_added(
    y: Floats, a: int, b: int, c: int, left: float, one: float, two: float, right: float, both: float
) -> tuple[float, float, float]:
    """Return what one level `both` on a to c, for `one` to b and `two` from there, adds to the residuals' moments.

    These are the sums of squares without the first, of products of neighbours, and of squares without the last; `left`
    and `right` are the levels of the neighbours.
    """
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


def log_squares(first: float, product: float, last: float, n: int, floor: float, most_rho: float) -> float:
    """Return n log of the sum of squared innovations, with the rho between 0 and `most_rho` that makes it least."""
    rho = min(max(product / max(last, floor), 0.0), most_rho)
    return n * math.log(max(first - 2 * rho * product + rho * rho * last, floor))


def level_between(sums: Floats, a: int, b: int) -> float:
    """Return the mean from a to b, by cumulated sums that begin with 0; 0 if there is nothing."""
    return (sums[b] - sums[a]) / (b - a) if b > a else 0.0


def change_removed(z: Floats, sums: Floats, edges: Ints, count: int, i: int) -> tuple[float, float, float]:
    """Return what taking out the change at ``edges[i]``, of `count` edges, adds to the residuals' moments."""
    a, b, c = edges[i - 1], edges[i], edges[i + 1]
    left = level_between(sums, edges[i - 2], a) if i > 1 else 0.0
    right = level_between(sums, c, edges[i + 2]) if i + 2 < count else 0.0
    one, two, both = level_between(sums, a, b), level_between(sums, b, c), level_between(sums, a, c)
    return moments_added(z, a, b, c, left, one, two, right, both)


def fewer_changes(z: Floats, edges: Ints, cost: float, floor: float, most_rho: float) -> tuple[float, Ints, Floats]:
    """Take out changes one by one, that which costs the least first; return the best score on the way.

    Also the edges there (with 0 and the end) and what each change saves.
    """
    n, count = len(z), len(edges)
    sums = np.zeros(n + 1)
    for t in range(n):
        sums[t + 1] = sums[t] + z[t]
    first, product, last, before = 0.0, 0.0, 0.0, 0.0
    for i in range(count - 1):
        level = level_between(sums, edges[i], edges[i + 1])
        for t in range(edges[i], edges[i + 1]):
            now = z[t] - level
            if t > 0:
                first += now * now
                product += now * before
            if t < n - 1:
                last += now * now
            before = now

    edges = edges.copy()
    added = np.empty((count, 3))
    for i in range(1, count - 1):
        added[i] = change_removed(z, sums, edges, count, i)
    best = math.inf
    kept, gains = edges, np.empty(0)
    while True:
        fitness = log_squares(first, product, last, n, floor, most_rho)
        saved = np.empty(count - 2)
        for i in range(1, count - 1):
            after = log_squares(first + added[i, 0], product + added[i, 1], last + added[i, 2], n, floor, most_rho)
            saved[i - 1] = after - fitness
        if fitness + cost * (count - 2) <= best:
            best, kept, gains = fitness + cost * (count - 2), edges[:count].copy(), saved
        if count == 2:
            return best, kept, gains
        out = int(np.argmin(saved)) + 1
        first, product, last = first + added[out, 0], product + added[out, 1], last + added[out, 2]
        count -= 1
        for i in range(out, count):
            edges[i], added[i] = edges[i + 1], added[i + 1]
        for i in range(max(out - 2, 1), min(out + 2, count - 1)):
            added[i] = change_removed(z, sums, edges, count, i)


def line_refined(time: Floats, z: Floats, start: float, slope: float, bound: float) -> tuple[float, float]:
    """Return intercept and slope after at most ten least-squares fits to the points nearer than `bound`."""
    best_start, best_slope, least = start, slope, math.inf
    for _ in range(10):
        cost, near, x, y = 0.0, 0, 0.0, 0.0
        for t in range(len(z)):
            rest = abs(z[t] - start - slope * time[t])
            cost += min(rest, bound) ** 2
            if rest < bound:
                near, x, y = near + 1, x + time[t], y + z[t]
        if cost >= least - 1e-9:
            break
        best_start, best_slope, least = start, slope, cost
        if near < 3:
            break
        x, y = x / near, y / near
        square, product = 0.0, 0.0
        for t in range(len(z)):
            if abs(z[t] - start - slope * time[t]) < bound:
                square += (time[t] - x) * (time[t] - x)
                product += (time[t] - x) * (z[t] - y)
        slope = product / square
        start = y - slope * x
    return best_start, best_slope


def levels_spread(starts: Ints, levels: Floats, n: int) -> Floats:
    """Return the level at each of n points."""
    found = np.empty(n)
    for i in range(len(starts)):
        for t in range(starts[i], starts[i + 1] if i + 1 < len(starts) else n):
            found[t] = levels[i]
    return found


def residuals(y: Floats, starts: Ints, levels: Floats, scale: float) -> Floats:
    """Return what is left of each point without its level, in units of the scale."""
    found = np.empty(len(y))
    for i in range(len(starts)):
        for t in range(starts[i], starts[i + 1] if i + 1 < len(starts) else len(y)):
            found[t] = (y[t] - levels[i]) / scale
    return found


def square_within(rest: Floats, bound: float) -> float:
    """Return the sum of squares of residuals, those beyond the bound cut to it."""
    total = 0.0
    for value in rest:
        held = min(max(value, -bound), bound)
        total += held * held
    return total


def neighbours(rest: Floats, starts: Ints, bound: float) -> tuple[float, float]:
    """Return the sum of squares, and of products of neighbours on the same level, of residuals cut to the bound."""
    square, product, before, i = 0.0, 0.0, 0.0, 0
    for t in range(len(rest)):
        held = min(max(rest[t], -bound), bound)
        square += held * held
        if i < len(starts) and starts[i] == t:
            i += 1
        else:
            product += held * before
        before = held
    return square, product


def binned(rest: Floats, far: float, wide: float, count: int) -> Floats:
    """Return the share of residuals in each of so many bins, the first from -far; what is farther is in the last."""
    found = np.zeros(count)
    for value in rest:
        found[int((min(max(value, -far), far) + far) / wide)] += 1.0
    return found / len(rest)


def places_kept(
    y: Floats, one: float, two: float, scale: float, bound: float, noise: float, hopeless: float, mass: float
) -> tuple[int, int]:
    """Return the first and the last of the places at which the level may change that have the given mass of weight."""
    cost = np.empty(len(y) - 1)
    total, least = 0.0, math.inf
    for t in range(len(y) - 1):
        first, second = min(abs((y[t] - one) / scale), bound), min(abs((y[t] - two) / scale), bound)
        total += first * first - second * second
        cost[t] = total / noise
        least = min(least, cost[t])
    place = np.flatnonzero(cost - least < hopeless)
    weight = np.exp(-(cost[place] - least) / 2)
    whole, held = weight.sum(), 0.0
    low, high = len(y), 0
    for i in np.argsort(-weight, kind="mergesort"):
        held += weight[i]
        low, high = min(low, place[i]), max(high, place[i])
        if held >= mass * whole:
            break
    return low + 1, high + 1


def level_sorted(z: Floats, bound: float) -> tuple[float, float]:
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


def advance(
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
