"""Pass and fail: rates with intervals, and differences between rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "RateDifferences",
    "compare_rates",
    "fisher_pvalue",
    "newcombe_interval",
    "overdispersion",
    "wilson_interval",
]


def wilson_interval(
    successes: ArrayLike, n: ArrayLike, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Wilson's score interval of a rate.

    Parameters
    ----------
    successes, n : array_like
        Number of successes, and of observations that passed or failed. They need not be whole: effective numbers of
        dependent observations are allowed.
    confidence : float, optional
        Level of the interval.

    Returns
    -------
    lower, upper : numpy.ndarray
        Within 0 and 1; NaN where n is 0.

    References
    ----------
    Wilson (1927), J. Am. Stat. Assoc. 22, 209-212; checked against statsmodels' ``proportion_confint``.

    Examples
    --------
    >>> lower, upper = wilson_interval(8, 10)
    >>> round(float(lower), 4), round(float(upper), 4)
    (0.4902, 0.9433)
    """
    passed, total = np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64)
    return _wilson(passed, total, ndtri(0.5 + confidence / 2))


def _wilson(passed: Floats, total: Floats, z: ArrayLike) -> tuple[Floats, Floats]:
    z2 = np.square(z)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = passed / total
        centre = (rate + z2 / (2 * total)) / (1 + z2 / total)
        half = np.sqrt(z2 * (rate * (1 - rate) / total + z2 / (4 * total**2))) / (1 + z2 / total)
    lower = np.where(passed == 0, 0.0, np.maximum(centre - half, 0.0))
    upper = np.where(passed == total, 1.0, np.minimum(centre + half, 1.0))
    return np.where(total > 0, lower, np.nan), np.where(total > 0, upper, np.nan)


def newcombe_interval(
    successes1: ArrayLike, n1: ArrayLike, successes2: ArrayLike, n2: ArrayLike, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Newcombe's interval of the difference of two independent rates, second minus first.

    Parameters
    ----------
    successes1, n1, successes2, n2 : array_like
        Successes and observations of either side.
    confidence : float, optional
        Level of the interval.

    Returns
    -------
    lower, upper : numpy.ndarray
        Within -1 and 1; NaN where a side is empty.

    References
    ----------
    Newcombe (1998), Statistics in Medicine 17, 873-890, method 10 (without continuity correction).

    Examples
    --------
    >>> lower, upper = newcombe_interval(48, 80, 56, 70)  # the first worked example of the paper, sides exchanged
    >>> round(float(lower), 4), round(float(upper), 4)
    (0.0524, 0.3339)
    """
    first, total1, second, total2 = (np.asarray(part, dtype=np.float64) for part in (successes1, n1, successes2, n2))
    return _newcombe(first, total1, second, total2, ndtri(0.5 + confidence / 2))


def _newcombe(first: Floats, total1: Floats, second: Floats, total2: Floats, z: ArrayLike) -> tuple[Floats, Floats]:
    low1, high1 = _wilson(first, total1, z)
    low2, high2 = _wilson(second, total2, z)
    with np.errstate(invalid="ignore", divide="ignore"):
        rate1, rate2 = first / total1, second / total2
    difference = rate2 - rate1
    lower = difference - np.sqrt((rate2 - low2) ** 2 + (high1 - rate1) ** 2)
    upper = difference + np.sqrt((high2 - rate2) ** 2 + (rate1 - low1) ** 2)
    return lower, upper


def fisher_pvalue(successes1: int, n1: int, successes2: int, n2: int) -> float:
    """Return the two-sided p-value of Fisher's exact test that two rates are equal.

    Parameters
    ----------
    successes1, n1, successes2, n2 : int
        Successes and observations of either side.

    Returns
    -------
    float
        1 where a side is empty or all observations are alike.

    Examples
    --------
    >>> round(fisher_pvalue(1, 10, 8, 10), 4)
    0.0055
    """
    from scipy.stats import fisher_exact

    if not n1 or not n2 or successes1 + successes2 in (0, n1 + n2):
        return 1.0
    return float(fisher_exact(np.array([[successes1, n1 - successes1], [successes2, n2 - successes2]])).pvalue)


_EXACT_UP_TO = 1000


@dataclass(frozen=True)
class RateDifferences:
    """Current rate against baseline rate, one entry per cell; NaN where a side is empty.

    Attributes
    ----------
    baseline, current, difference : numpy.ndarray
        Rates, weighted alike over the matched strata, and their difference.
    se : numpy.ndarray
        Standard error of the difference.
    lower, upper, narrow_lower, narrow_upper : numpy.ndarray
        Intervals at the level 1 - alpha, and at 1 - 2 alpha.
    pvalue : numpy.ndarray
        Two-sided: Fisher's exact test for one stratum of independent observations, else Cochran-Mantel-Haenszel's.
    effect_size : numpy.ndarray
        Cohen's h, the difference of the arcsines.
    n_baseline, n_current, strata : numpy.ndarray of int
        What was compared.
    """

    baseline: Floats
    current: Floats
    difference: Floats
    se: Floats
    lower: Floats
    upper: Floats
    narrow_lower: Floats
    narrow_upper: Floats
    pvalue: Floats
    effect_size: Floats
    n_baseline: Ints
    n_current: Ints
    strata: Ints


def compare_rates(
    successes: Floats, n: Floats, cell_of: Ints, inflation: Floats, alpha: float = 0.05, df: Floats | None = None
) -> RateDifferences:
    """Compare the pass rates of two sides, like with like.

    Parameters
    ----------
    successes, n : numpy.ndarray, shape (strata, 2)
        Successes and observations of each stratum, baseline first.
    cell_of : numpy.ndarray of int, shape (strata,)
        The cell that each stratum belongs to.
    inflation : numpy.ndarray, shape (cells,)
        By how much the variance exceeds that of independent observations, see `overdispersion`; at least 1.
    alpha : float, optional
        Level of the intervals.
    df : numpy.ndarray, shape (cells,), optional
        Degrees of freedom of the inflation, where it was estimated; known (infinite) by default.

    Returns
    -------
    RateDifferences

    Notes
    -----
    One stratum: Newcombe's interval and Fisher's test. Several: the difference is weighted as by Mantel and Haenszel;
    its variance is Sato's, which holds for few large and for many small strata, with half a discordant pair added, so
    that it is never 0; the test is Cochran-Mantel-Haenszel's with continuity correction. Where observations of a run
    go together, all act on numbers divided by the inflation (Rao and Scott), and on Student's t.

    References
    ----------
    Mantel and Haenszel (1959), J. Natl. Cancer Inst. 22, 719-748. Newcombe (1998), Statistics in Medicine 17, 873-890.
    Sato (1989), Biometrics 45, 1323-1324. Rao and Scott (1992), Biometrics 48, 577-585.

    Examples
    --------
    >>> import numpy as np
    >>> found = compare_rates(np.array([[48, 56]]), np.array([[80, 70]]), np.zeros(1, dtype=int), np.ones(1))
    >>> found.difference.round(2), found.lower.round(4), found.upper.round(4)
    (array([0.2]), array([0.0524]), array([0.3339]))
    """
    cells = len(inflation)
    passed, total = successes.astype(np.float64), n.astype(np.float64)
    matched = np.logical_and(total[:, 0] > 0, total[:, 1] > 0)
    owner = cell_of
    count = np.bincount(owner[matched], minlength=cells)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where(matched, total.prod(axis=1) / total.sum(axis=1), 0.0)
        weight = np.where(matched, size / np.bincount(owner, size, cells)[owner], 0.0)
        rate = np.where(matched[:, None], passed / total, 0.0)
    some = count > 0
    baseline, current = (np.where(some, np.bincount(owner, weight * rate[:, side], cells), np.nan) for side in (0, 1))
    effective = total / inflation[owner][:, None]
    difference = current - baseline
    se = np.sqrt(np.where(some, _sato(passed, total, matched, owner, difference, inflation), np.nan))
    freedom = np.full(cells, np.inf) if df is None else df
    edges = []
    for level in (alpha, 2 * alpha):
        cut = -np.asarray(stdtrit(freedom, level / 2), dtype=np.float64)
        lower, upper = difference - cut * se, difference + cut * se
        single = np.flatnonzero(matched & (count == 1)[owner])
        exact = _newcombe(*_pair(rate * effective, effective, single), cut[owner[single]])
        lower[owner[single]], upper[owner[single]] = exact
        edges += [lower, upper]
    with np.errstate(invalid="ignore"):
        h = 2 * (np.arcsin(np.sqrt(np.clip(current, 0, 1))) - np.arcsin(np.sqrt(np.clip(baseline, 0, 1))))
    sizes = [np.bincount(owner[matched], total[matched, side], cells).astype(np.int64) for side in (0, 1)]
    return RateDifferences(
        baseline=baseline,
        current=current,
        difference=difference,
        se=se,
        lower=edges[0],
        upper=edges[1],
        narrow_lower=edges[2],
        narrow_upper=edges[3],
        pvalue=_rates_pvalue(passed, total, matched, owner, count, inflation, freedom),
        effect_size=h,
        n_baseline=sizes[0],
        n_current=sizes[1],
        strata=count.astype(np.int64),
    )


def overdispersion(
    successes: Floats, n: Floats, place: Ints, cell: Ints, cells: int, run: Ints | None = None
) -> tuple[Floats, Floats]:
    """Return by how much the pass rates of runs vary more than those of independent observations would.

    Parameters
    ----------
    successes, n : numpy.ndarray, shape (runs,)
        Successes and observations of each run (within one stratum and side).
    place : numpy.ndarray of int, shape (runs,)
        Number of the stratum and side.
    cell : numpy.ndarray of int, shape (runs,)
        Number of the cell.
    cells : int
        Number of cells.
    run : numpy.ndarray of int, shape (runs,), optional
        Number of the run, for runs that span several strata: what counts is how far a run is off in all of them
        together. Each entry is a run of its own by default.

    Returns
    -------
    inflation, df : numpy.ndarray, shape (cells,)
        Pearson's chi-square over its degrees of freedom, at least 1, and those; 1 and infinite where there is nothing
        to tell it by, or the rates vary no more than by chance.

    Examples
    --------
    >>> import numpy as np
    >>> zeros = np.zeros(4, dtype=int)
    >>> overdispersion(np.array([10.0, 0.0, 10.0, 0.0]), np.full(4, 10.0), zeros, zeros, 1)
    (array([13.33333333]), array([3.]))
    """
    size = int(place.max()) + 1 if len(place) else 0
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.bincount(place, successes, size) / np.bincount(place, n, size)
        expected = rate[place]
    off, own = successes - n * expected, n * expected * (1 - expected)
    told = own > 0
    key = np.arange(len(place)) if run is None else run
    unique, run_of, spans = np.unique(
        np.stack([cell[told], key[told]]), axis=1, return_inverse=True, return_counts=True
    )
    count = unique.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = np.bincount(run_of.ravel(), off[told], count) ** 2 / np.bincount(run_of.ravel(), own[told], count)
    runs = np.bincount(unique[0], minlength=cells)
    places = np.bincount(np.unique(np.stack([cell[told], place[told]]), axis=1)[0], minlength=cells)
    with np.errstate(divide="ignore", invalid="ignore"):
        strata_per_run = np.bincount(unique[0], spans, cells) / runs
        df = runs - places / strata_per_run
        found = np.bincount(unique[0], excess, cells) / df
    more = (df > 0) & (found > 1)
    return np.where(more, found, 1.0), np.where(more, df, np.inf)


def _pair(passed: Floats, total: Floats, rows: NDArray[np.intp]) -> tuple[Floats, Floats, Floats, Floats]:
    return passed[rows, 0], total[rows, 0], passed[rows, 1], total[rows, 1]


def _sato(
    passed: Floats, total: Floats, matched: NDArray[np.bool_], owner: Ints, difference: Floats, inflation: Floats
) -> Floats:
    """Return Sato's variance of the Mantel-Haenszel difference of rates, with half a discordant pair added."""
    cells = len(inflation)
    (x0, x1), (n0, n1) = passed.T, total.T
    with np.errstate(divide="ignore", invalid="ignore"):
        everything = n0 + n1
        skewed = (n1**2 * x0 - n0**2 * x1 + n1 * n0 * (n0 - n1) / 2) / everything**2
        discordant = (x1 * (n0 - x0) + x0 * (n1 - x1)) / (2 * everything)
        size, skewed, discordant = (
            np.bincount(owner, np.where(matched, part, 0.0), cells)
            for part in (n0 * n1 / everything, skewed, discordant)
        )
        plain = np.maximum(np.nan_to_num(difference) * skewed + discordant, 0.0)
        return (inflation * plain + inflation**2 / 2) / size**2


def _rates_pvalue(
    passed: Floats,
    total: Floats,
    matched: NDArray[np.bool_],
    owner: Ints,
    count: Ints,
    inflation: Floats,
    df: Floats,
) -> Floats:
    cells = len(inflation)
    everything = total.sum(axis=1)
    good = passed.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = total[:, 1] * good / everything
        variance = total.prod(axis=1) * good * (everything - good) / (everything**2 * (everything - 1))
    shift = np.bincount(owner, np.where(matched, passed[:, 1] - expected, 0.0), cells)
    spread = np.bincount(owner, np.where(matched, variance, 0.0), cells) * inflation
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.maximum(np.abs(shift) - 0.5, 0.0) / np.sqrt(spread)
    pvalue = np.where(count > 0, np.where(spread > 0, np.minimum(2 * stdtr(df, -z), 1.0), 1.0), np.nan)
    for row in np.flatnonzero(matched & ((count == 1) & (inflation == 1))[owner] & (everything <= _EXACT_UP_TO)):
        pvalue[owner[row]] = fisher_pvalue(
            *(int(x) for x in (passed[row, 0], total[row, 0], passed[row, 1], total[row, 1]))
        )
    return pvalue
