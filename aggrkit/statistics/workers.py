"""Is a worker sick: its level, spread and drift against those of the other workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from aggrkit.errors import number_between
from aggrkit.statistics.common_mode import noise_of_groups
from aggrkit.statistics.comparison import prior_df
from aggrkit.statistics.groups import distinct, grouped_medians
from aggrkit.statistics.trends import mann_kendall, theil_sen, time_bins

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["Runs", "WorkerTests", "drift_of_workers", "offset_of_workers", "shared_cells", "spread_of_workers"]

_CLIPPED: Final = 4.0
_FEWEST_RUNS: Final = 3
_FEWEST_TO_SPREAD: Final = 6
_FEWEST_TO_DRIFT: Final = 6
_MOST_POINTS: Final = 300
_MOST_DENSE: Final = 3000
_NEIGHBOURS: Final = 11


class WorkerTests(NamedTuple):
    """A test of each worker against the others; NaN where it can't be made.

    Parameters
    ----------
    effect, ci_lower, ci_upper : numpy.ndarray, shape (workers,)
        By how much a worker differs, with its interval.
    pvalue : numpy.ndarray, shape (workers,)
        That it doesn't.
    n : numpy.ndarray of int, shape (workers,)
        Runs of each worker that could be compared.
    """

    effect: Floats
    ci_lower: Floats
    ci_upper: Floats
    pvalue: Floats
    n: Ints


class Runs(NamedTuple):
    """One value for each run, brought to the level of its cells.

    Parameters
    ----------
    off : numpy.ndarray, shape (runs,)
        Values relative to what is usual for the worker and the cells, outliers as they are.
    scale : numpy.ndarray, shape (runs,)
        How noisy the cells of a run are.
    worker, run : numpy.ndarray of int, shape (runs,)
        Worker of each run, and its number.
    """

    off: Floats
    scale: Floats
    worker: Ints
    run: Ints


def offset_of_workers(
    value: ArrayLike, worker: ArrayLike, cell: ArrayLike, run: ArrayLike, worse: int = 0, alpha: float = 0.05
) -> tuple[WorkerTests, Runs]:
    """Test whether the level of each worker is that of the others, like with like, by runs.

    Parameters
    ----------
    value : array_like, shape (n,)
        Finite values, logarithms where offsets are ratios; one for each run and cell.
    worker, cell, run : array_like of int, shape (n,)
        Numbers from 0. A run on several workers counts as one run of each.
    worse : {-1, 0, 1}, optional
        Which sign of an offset is tested for; 0 for both.
    alpha : float, optional
        Level of the intervals, which are two-sided.

    Returns
    -------
    tests : WorkerTests
        Offsets from the median of the other workers, in units of the values. NaN for fewer than 3 runs in cells that
        other workers ran too.
    runs : Runs
        The runs that were compared.

    Notes
    -----
    ``y = cell + worker + noise`` is fitted by least squares, each run counting once, however many cells it has, and the
    less the noisier its cells are. Values further than 4 standard deviations of their cell from the fit are then drawn
    in, and it is fitted again. Only workers that are connected by common cells are compared.

    An offset is that from the median of the others, so that one odd worker doesn't make the rest look odd. Its standard
    error is that of the fit, with the variance between the worker's own runs, drawn towards that of all workers as far
    as those are alike (Smyth), and enlarged for what a median costs; Student's t. With two workers the difference is
    seen, but it doesn't tell which of them is right.

    References
    ----------
    Welch (1947), Biometrika 34, 28-35. Smyth (2004), Stat. Appl. Genet. Mol. Biol. 3, article 3.

    Examples
    --------
    >>> level = [1.0, 1.2, 1.1, 1.1, 1.0, 1.2, 2.1, 2.0, 2.2]
    >>> tests, _ = offset_of_workers(level, [0, 0, 0, 1, 1, 1, 2, 2, 2], [0] * 9, range(9))
    >>> tests.effect.round(2), tests.pvalue.round(4)
    (array([-0.5, -0.5,  1. ]), array([0.0004, 0.0004, 0.    ]))
    """
    number_between(alpha, 0, 1, "alpha is a chance between 0 and 1")
    y = np.asarray(value, dtype=np.float64)
    w, c, r = (np.asarray(codes, dtype=np.intp) for codes in (worker, cell, run))
    workers = int(w.max(initial=-1)) + 1
    nothing = np.full(workers, np.nan)
    rows = np.flatnonzero(shared_cells(w, c))
    empty = Runs(np.empty(0), np.empty(0), np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp))
    if not len(rows):
        return WorkerTests(nothing, nothing, nothing, nothing, np.zeros(workers, dtype=np.intp)), empty
    y, w = y[rows], w[rows]
    c = distinct(c[rows])[1]
    unit = distinct(w * (int(r.max()) + 1) + r[rows])[1]
    cells, units = int(c.max()) + 1, int(unit.max()) + 1
    of_unit, run_of = np.zeros(units, dtype=np.intp), np.zeros(units, dtype=np.intp)
    of_unit[unit], run_of[unit] = w, r[rows]
    held = np.bincount(unit, minlength=units)
    group = _connected(w, c, workers)
    there = np.bincount(w, minlength=workers) > 0
    groups = len(np.unique(group[there]))
    noise, clipped = np.ones(cells), y
    for last in (False, True):
        weight = 1 / (noise[c] ** 2 * held[unit])
        of_worker, of_cell, leverage = _two_ways(clipped, weight, w, c, workers, group)
        off = y - of_worker[w] - of_cell[c]
        if not last:
            noise = noise_of_groups(off, c, len(y) - int(there.sum()) - cells + groups)
            noise = np.maximum(noise, 1e-12 * max(float(np.abs(y).max()), 1e-30))
            clipped = y - off + np.clip(off, -_CLIPPED * noise[c], _CLIPPED * noise[c])
    precision = np.bincount(unit, weight, units)
    scale = 1 / np.sqrt(precision)
    level = np.bincount(unit, weight * (clipped - of_cell[c]), units) / precision
    n = np.bincount(of_unit, minlength=workers).astype(np.float64)
    spent = (cells - groups) * float((1 / held[unit]).mean())
    own = n - 1.0
    left = float(units - there.sum())
    share = max(left - spent, 0.0) / left if left else 0.0
    squares = np.bincount(of_unit, precision * (level - of_worker[of_unit]) ** 2, workers).astype(np.float64)
    variance, df = _drawn(squares, own * share, there)
    others = _of_others(of_worker, group, there)
    size = np.bincount(group[there], minlength=int(group.max()) + 1)[group].astype(np.float64)
    ready = there & (n >= _FEWEST_RUNS) & (size > 1) & (df > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        sums, freedom = (np.bincount(group[there], part[there], int(group.max()) + 1) for part in (variance * own, own))
        left_over = freedom[group] - own
        pooled = np.where(left_over > 0, (sums[group] - variance * own) / left_over, variance)
        price = np.where(size > 3, 1 + (np.pi / 2 - 1) / size, 1.0)
        se = np.sqrt(leverage * price * ((size - 1) * variance + pooled) / size)
        offset = np.where(ready, of_worker - others, np.nan)
        tiny = np.abs(offset) <= 1e-9 * max(float(np.abs(y).max()), 1e-30)
        t = np.where(tiny, 0.0, offset / se)
        chance = 2 * stdtr(df, -np.abs(t)) if worse == 0 else stdtr(df, -worse * t)
        reach = -stdtrit(df, alpha / 2) * se
    tests = WorkerTests(
        offset,
        np.where(ready, offset - reach, np.nan),
        np.where(ready, offset + reach, np.nan),
        np.where(ready, np.minimum(chance, 1.0), np.nan),
        n.astype(np.intp),
    )
    plain = np.bincount(unit, weight * off, units) / precision
    return tests, Runs(plain, scale, of_unit, run_of)


def spread_of_workers(runs: Runs, workers: int) -> WorkerTests:
    """Test whether the runs of each worker vary more than those of the others.

    Parameters
    ----------
    runs : Runs
        From `offset_of_workers`.
    workers : int
        Number of workers.

    Returns
    -------
    WorkerTests
        Ratio of the standard deviation to that of the others, without an interval; one-sided p-values. NaN for fewer
        than 6 runs of either.

    See Also
    --------
    scipy.stats.levene : the same for equal variances of the distances, two-sided, with ``center="median"``.

    Notes
    -----
    Brown and Forsythe's test: the distances of the runs from the median of their worker are compared between the worker
    and all others, by Welch's t.

    References
    ----------
    Brown and Forsythe (1974), J. Am. Stat. Assoc. 69, 364-367.

    Examples
    --------
    >>> import numpy as np
    >>> off = np.array([0.1, -0.1, 0.0, 0.1, 0.2, -0.2, 3.0, -3.0, 2.0, -2.0, 1.0, -1.0])
    >>> worker = np.repeat([0, 1], 6)
    >>> spread_of_workers(Runs(off, np.ones(12), worker, np.arange(12)), 2).pvalue.round(3)
    array([0.998, 0.002])
    """
    scaled, w = runs.off / runs.scale if len(runs.scale) else runs.off, runs.worker
    n = np.bincount(w, minlength=workers).astype(np.float64)
    distance = np.abs(scaled - np.nan_to_num(grouped_medians(scaled, w, workers))[w])
    first, second = np.bincount(w, distance, workers), np.bincount(w, distance**2, workers)
    squares = np.bincount(w, scaled**2, workers)
    rest = n.sum() - n
    with np.errstate(divide="ignore", invalid="ignore"):
        own, other = first / n, (first.sum() - first) / rest
        within = np.maximum(second / n - own**2, 0) / (n - 1)
        without = np.maximum((second.sum() - second) / rest - other**2, 0) / (rest - 1)
        se = np.sqrt(within + without)
        df = (within + without) ** 2 / (within**2 / (n - 1) + without**2 / (rest - 1))
        t = np.where(np.abs(own - other) <= 1e-9 * other, 0.0, (own - other) / se)
        # one worker's degrees of freedom went into its level
        degrees = np.maximum(rest - (np.count_nonzero(n) - 1), 1)
        ratio = np.sqrt(squares / (n - 1)) / np.sqrt((squares.sum() - squares) / degrees)
        ready = (n >= _FEWEST_TO_SPREAD) & (rest >= _FEWEST_TO_SPREAD) & (squares.sum() > squares) & np.isfinite(t)
        pvalue = np.where(ready, stdtr(np.maximum(np.nan_to_num(df), 1.0), -t), np.nan)
    nothing = np.full(workers, np.nan)
    return WorkerTests(np.where(ready, ratio, np.nan), nothing, nothing, pvalue, n.astype(np.intp))


def drift_of_workers(runs: Runs, time: ArrayLike, workers: int, worse: int = 0) -> WorkerTests:
    """Test whether each worker drifts away from the others.

    Parameters
    ----------
    runs : Runs
        From `offset_of_workers`.
    time : array_like, shape (runs,)
        Time of each of them; NaN where it isn't known.
    workers : int
        Number of workers.
    worse : {-1, 0, 1}, optional
        Which direction is tested for; 0 for both.

    Returns
    -------
    WorkerTests
        Theil and Sen's slope per unit of time with its interval, and Mann and Kendall's p-value. NaN for fewer than
        6 distinct times.

    Notes
    -----
    From each run the median of the other workers' runs next to it in time is taken, so that what moved for all of them
    at once is no drift of one. More than 300 runs a worker are taken in as many bins of time.

    Examples
    --------
    >>> import numpy as np
    >>> level = np.concatenate([np.tile([0.0, 0.1], 10), np.linspace(0, 2, 20)])
    >>> worker, time = np.repeat([0, 1], 20), np.tile(np.arange(20.0), 2)
    >>> drift_of_workers(Runs(level, np.ones(40), worker, np.arange(40)), time, 2, 1).pvalue.round(3)
    array([1., 0.])
    """
    when = np.asarray(time, dtype=np.float64)
    found = np.full((4, workers), np.nan)
    timed = np.flatnonzero(np.isfinite(when))
    n = np.bincount(runs.worker[timed], minlength=workers)
    off, when, owner = runs.off[timed], when[timed], runs.worker[timed]
    if len(timed) > _MOST_POINTS * workers:
        binned, place = distinct(owner * _MOST_POINTS + time_bins(when, _MOST_POINTS))
        owner, off = binned // _MOST_POINTS, grouped_medians(off, place, len(binned))
        when = np.bincount(place, when) / np.bincount(place)
    order = np.argsort(when, kind="stable")
    off, when, owner = off[order], when[order], owner[order]
    for worker in np.flatnonzero(n >= _FEWEST_TO_DRIFT):
        mine = owner == worker
        moment = when[mine]
        if len(np.unique(moment)) < _FEWEST_TO_DRIFT:
            continue
        mean = off[mine] - _beside(moment, when[~mine], off[~mine], len(moment))
        if len(moment) > _MOST_POINTS:
            place = distinct(time_bins(moment, _MOST_POINTS))[1]
            bins = int(place.max()) + 1
            moment, mean = grouped_medians(moment, place, bins), grouped_medians(mean, place, bins)
        tau, pvalue = mann_kendall(moment, mean)
        if not np.isfinite(pvalue):
            continue
        if worse:
            pvalue = pvalue / 2 if np.sign(tau) == worse else 1 - pvalue / 2
        found[:, worker] = (*theil_sen(moment, mean), pvalue)
    return WorkerTests(found[0], found[1], found[2], found[3], n)


def shared_cells(worker: Ints, cell: Ints) -> NDArray[np.bool_]:
    """Say which values are of cells that several workers ran."""
    size = int(worker.max(initial=0)) + 1
    pairs = distinct(cell * size + worker)[0]
    found: NDArray[np.bool_] = (np.bincount(pairs // size, minlength=int(cell.max(initial=-1)) + 1) > 1)[cell]
    return found


def _connected(worker: Ints, cell: Ints, workers: int) -> Ints:
    """Return a number for each set of workers that are connected by common cells."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = workers + int(cell.max()) + 1
    links = coo_array((np.ones(len(worker)), (worker, workers + cell)), shape=(size, size))
    return np.asarray(connected_components(links, directed=False)[1][:workers], dtype=np.intp)


def _two_ways(
    y: Floats, weight: Floats, worker: Ints, cell: Ints, workers: int, group: Ints
) -> tuple[Floats, Floats, Floats]:
    """Fit levels of workers and cells; return them, and the variance of each worker's offset from the others' mean.

    The levels of each connected set of workers have mean 0; variances are per unit of 1 / weight.
    """
    from scipy.sparse import coo_array, diags_array

    of_cell = np.bincount(cell, weight)
    table: Any = coo_array((weight, (worker, cell)), shape=(workers, len(of_cell))).tocsr()
    middle = np.bincount(cell, weight * y) / of_cell
    right = np.bincount(worker, weight * (y - middle[cell]), workers)
    sums = np.bincount(worker, weight, workers)
    system = (diags_array(sums) - table @ diags_array(1 / of_cell) @ table.T).tocsr()
    found, leverage = np.zeros(workers), np.full(workers, np.nan)
    present = np.flatnonzero(sums > 0)
    for members in _split(present, group):
        m = len(members)
        if m < 2:
            continue
        part = system[members][:, members]
        if m <= _MOST_DENSE:
            dense = part.toarray()
            common = float(np.trace(dense)) / m**2
            inverse = np.linalg.inv(dense + common)
            found[members] = inverse @ right[members]
            own = np.diagonal(inverse) - 1 / (common * m**2)
        else:
            from scipy.sparse.linalg import cg

            found[members] = cg(part, right[members], rtol=1e-10, maxiter=2000)[0]
            own = 1 / part.diagonal()
        found[members] -= found[members].mean()
        leverage[members] = np.maximum(own, 0.0) * (m / (m - 1)) ** 2
    levels = np.bincount(cell, weight * (y - found[worker])) / of_cell
    return found, levels, leverage


def _split(members: Ints, group: Ints) -> list[Ints]:
    """Return the members of each group."""
    order = members[np.argsort(group[members], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _drawn(squares: Floats, df: Floats, there: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return the variance between the runs of each worker, drawn towards that of all, and its degrees of freedom."""
    told = there & (df > 0)
    total = float(df[told].sum())
    if total <= 0:
        return np.zeros(len(df)), np.zeros(len(df))
    pooled = float(squares[told].sum()) / total
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(told, squares / df, 0.0)
    prior = float(prior_df(own, np.where(told, df, 0.0), np.zeros(len(df), dtype=np.intp), 1)[0])
    if np.isinf(prior):
        return np.full(len(df), pooled), np.full(len(df), total)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(prior + df > 0, (prior * pooled + df * own) / (prior + df), 0.0)
    return variance, np.where(told, np.minimum(prior + df, total), 0.0)


def _of_others(level: Floats, group: Ints, there: NDArray[np.bool_]) -> Floats:
    """Return for each worker the median of the others that it is connected with."""
    found = np.full(len(level), np.nan)
    for members in _split(np.flatnonzero(there), group):
        if len(members) < 2:
            continue
        place = np.argsort(level[members], kind="stable")
        ordered = level[members][place]
        rank = np.empty(len(members), dtype=np.intp)
        rank[place] = np.arange(len(members))
        low, high = (len(members) - 2) // 2, (len(members) - 1) // 2
        # without oneself, all that come later move up by one
        found[members] = (ordered[low + (rank <= low)] + ordered[high + (rank <= high)]) / 2
    return found


def _beside(moment: Floats, times: Floats, off: Floats, runs: int) -> Floats:
    """Return the median of the others' values next to each moment; 0 where there are no others."""
    if not len(times):
        return np.zeros(len(moment))
    width = min(max(_NEIGHBOURS, len(times) // runs), len(times))
    start = np.clip(np.searchsorted(times, moment) - width // 2, 0, len(times) - width)
    if width * len(moment) > 5_000_000:
        width = max(5_000_000 // len(moment), 1)
        start = np.clip(np.searchsorted(times, moment) - width // 2, 0, len(times) - width)
    found: Floats = np.median(off[start[:, None] + np.arange(width)], axis=1)
    return found
