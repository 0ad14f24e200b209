"""Does a worker fail more often than the others: exact where that is possible, by runs where they go together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.special import gammaln, ndtr, stdtrit

from aggrkit.errors import number_between
from aggrkit.statistics.groups import distinct
from aggrkit.statistics.workers import WorkerTests, shared_cells

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["failures_of_workers"]

_MOST_EXACT: Final = 300


def failures_of_workers(
    failures: ArrayLike, n: ArrayLike, worker: ArrayLike, cell: ArrayLike, run: ArrayLike, alpha: float = 0.05
) -> WorkerTests:
    """Test whether each worker fails more often than the others, like with like.

    Parameters
    ----------
    failures, n : array_like, shape (rows,)
        Failures and results of each run and cell.
    worker, cell, run : array_like of int, shape (rows,)
        Numbers from 0.
    alpha : float, optional
        Level of the intervals.

    Returns
    -------
    WorkerTests
        Ratio of the failures to those expected at the rates of the others in the same cells, with an interval;
        one-sided p-values. NaN for workers without cells that others ran too, and where nothing failed in any of them.

    See Also
    --------
    scipy.stats.fisher_exact : the same for one cell, where results of a run don't go together.

    Notes
    -----
    Exact and conditional: with the failures of each cell given, those of a worker are a sum of hypergeometric numbers,
    whose distribution is computed (beyond 300 expected failures, its normal approximation is used). Results of a run
    may fail together: where a run's failures over all its results vary surely more than those of independent results
    would, the p-value is at least that of a normal approximation whose variance is inflated by as much (Rao and Scott),
    and that of Fisher's test of the runs with more failures than expected.
    The ratio's interval is of a Poisson number by its square root, inflated alike.

    References
    ----------
    Fisher (1935), J. R. Stat. Soc. 98, 39-82. Rao and Scott (1992), Biometrics 48, 577-585.

    Examples
    --------
    >>> found = failures_of_workers([8, 1], [10, 10], [0, 1], [0, 0], [0, 1])
    >>> found.pvalue.round(4)
    array([0.0027, 0.9999])
    """
    number_between(alpha, 0, 1, "alpha is a chance between 0 and 1")
    bad, size = np.rint(np.asarray(failures, dtype=np.float64)), np.asarray(n, dtype=np.float64)
    w, c, r = (np.asarray(codes, dtype=np.intp) for codes in (worker, cell, run))
    workers = int(w.max(initial=-1)) + 1
    found = np.full((4, workers), np.nan)
    rows = shared_cells(w, c)
    bad, size, w, c, r = bad[rows], size[rows], w[rows], c[rows], r[rows]
    units = distinct(w * (int(r.max(initial=0)) + 1) + r)[0]
    runs = np.bincount(units // (int(r.max(initial=0)) + 1), minlength=workers)
    if not len(w):
        return WorkerTests(found[0], found[1], found[2], found[3], runs)
    failed, total = (np.bincount(c, part).astype(np.float64) for part in (bad, size))
    inflation = _inflation(bad, size, w, c, r)
    pair, place = distinct(w * len(total) + c)
    of_worker, of_cell = pair // len(total), pair % len(total)
    mine = np.bincount(place, size).astype(np.float64)
    seen = np.bincount(of_worker, np.bincount(place, bad), workers)
    told = (failed[of_cell] > 0) & (failed[of_cell] < total[of_cell])
    expected = mine * failed[of_cell] / total[of_cell]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = expected * (1 - failed[of_cell] / total[of_cell]) * (total[of_cell] - mine) / (total[of_cell] - 1)
    sums = np.bincount(of_worker, expected, workers)
    spreads = np.bincount(of_worker, np.where(told, spread, 0.0), workers)
    by_runs = _by_runs(bad - size * (failed / np.maximum(total, 1))[c], w, r) if inflation > 1 else np.zeros(workers)
    by_others = _expected_by_others(bad, place, of_worker, of_cell, mine, failed, total, workers)
    for one in np.flatnonzero(spreads > 0):
        chosen = np.flatnonzero(told & (of_worker == one))
        fixed = seen[one] - sums[one]
        normal = float(ndtr(-(fixed - 0.5) / np.sqrt(spreads[one] * inflation)))
        if sums[one] > _MOST_EXACT:
            chance = normal
        else:
            least = seen[one] - expected[(of_worker == one) & ~told].sum()
            chance = _at_least(round(least), mine[chosen], failed[of_cell[chosen]], total[of_cell[chosen]])
            chance = max(chance, normal, by_runs[one]) if inflation > 1 else chance
        found[3, one] = min(chance, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = -stdtrit(np.inf, alpha / 2) * np.sqrt(inflation) / 2
        found[0] = seen / by_others
        found[1] = np.maximum(np.sqrt(seen) - z, 0.0) ** 2 / by_others
        found[2] = (np.sqrt(seen + 1) + z) ** 2 / by_others
    found[:3, np.isnan(found[3])] = np.nan
    return WorkerTests(found[0], found[1], found[2], found[3], runs)


def _expected_by_others(
    bad: Floats, place: Ints, of_worker: Ints, of_cell: Ints, mine: Floats, failed: Floats, total: Floats, workers: int
) -> Floats:
    """Return the failures of each worker that the others' rates in its cells would give; half a failure at least."""
    own = np.bincount(place, bad, len(mine))
    rate = (failed[of_cell] - own) / (total[of_cell] - mine)
    return np.maximum(np.bincount(of_worker, mine * rate, workers), 0.5)


def _inflation(bad: Floats, size: Floats, worker: Ints, cell: Ints, run: Ints) -> float:
    """Return by how much failures of runs vary more than independent ones, within worker and cell; at least 1."""
    place = distinct(worker * (int(cell.max()) + 1) + cell)[1]
    everything = np.bincount(place, size)[place]
    rate = np.bincount(place, bad)[place] / everything
    off = bad - size * rate
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(everything > size, size * rate * (1 - rate) * (everything - size) / (everything - 1), 0.0)
    told = own > 0
    if not told.any():
        return 1.0
    unit = distinct((worker * (int(run.max()) + 1) + run)[told])[1]
    # the ratio of sums isn't swayed by runs with nearly no failures to expect
    found = float((np.bincount(unit, off[told]) ** 2).sum()) / float(own[told].sum())
    by_chance = 1 + 3 * float(np.sqrt(2 / (int(unit.max()) + 1)))
    return found if found > by_chance else 1.0


def _by_runs(off: Floats, worker: Ints, run: Ints) -> Floats:
    """Return for each worker Fisher's chance of as many of its runs with more failures than expected."""
    from scipy.stats import hypergeom

    size = int(run.max()) + 1
    unit, place = distinct(worker * size + run)
    more = np.bincount(place, off) > 0
    owner = unit // size
    runs, bad = np.bincount(owner), np.bincount(owner, more)
    return np.asarray(hypergeom.sf(bad - 1, len(unit), int(more.sum()), runs), dtype=np.float64)


def _at_least(seen: int, mine: Floats, failed: Floats, total: Floats) -> float:
    """Return the chance of at least as many failures, as a sum of hypergeometric numbers."""
    low = np.maximum(0, failed + mine - total)
    high = np.minimum(failed, mine)
    distribution = np.ones(1)
    start = int(low.sum())
    if seen <= start:
        return 1.0
    for size, of_cell, everything, first, last in zip(mine, failed, total, low, high, strict=True):
        k = np.arange(first, last + 1)
        logs = _choose(of_cell, k) + _choose(everything - of_cell, size - k) - _choose(everything, size)
        distribution = np.convolve(distribution, np.exp(logs))
    tail = distribution[seen - start :]
    return float(tail.sum())


def _choose(n: Any, k: Any) -> Any:
    """Return the logarithm of a binomial coefficient."""
    return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
