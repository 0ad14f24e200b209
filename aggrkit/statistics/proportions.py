"""Pass and fail: rates with intervals, and differences between rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr, ndtri

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
    z2 = ndtri(0.5 + confidence / 2) ** 2
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
    first, second = np.asarray(successes1, float), np.asarray(successes2, float)
    total1, total2 = np.asarray(n1, float), np.asarray(n2, float)
    low1, high1 = wilson_interval(first, total1, confidence)
    low2, high2 = wilson_interval(second, total2, confidence)
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
    successes: Floats, n: Floats, cell_of: Ints, inflation: Floats, alpha: float = 0.05
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

    Returns
    -------
    RateDifferences

    Notes
    -----
    One stratum: Newcombe's interval and Fisher's test. Several: the difference is weighted as by Mantel and Haenszel,
    its
    variance is that of Agresti and Caffo, which is never 0, and the test is Cochran-Mantel-Haenszel's with continuity
    correction. Where observations of a run go together, all act on numbers divided by the inflation (Rao and Scott).

    References
    ----------
    Mantel and Haenszel (1959), J. Natl. Cancer Inst. 22, 719-748. Newcombe (1998), Statistics in Medicine 17, 873-890.
    Agresti and Caffo (2000), The American Statistician 54, 280-288. Rao and Scott (1992), Biometrics 48, 577-585.

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
        weight = np.where(matched, total.prod(axis=1) / total.sum(axis=1), 0.0)
        weight = np.where(matched, weight / np.bincount(owner, weight, cells)[owner], 0.0)
        rate = np.where(matched[:, None], passed / total, 0.0)
    some = count > 0
    baseline, current = (np.where(some, np.bincount(owner, weight * rate[:, side], cells), np.nan) for side in (0, 1))
    effective = total / inflation[owner][:, None]
    smoothed = (rate * effective + 1) / (effective + 2)
    variance = np.where(matched, (smoothed * (1 - smoothed) / (effective + 2)).sum(axis=1), 0.0)
    se = np.sqrt(np.where(some, np.bincount(owner, weight**2 * variance, cells), np.nan))
    difference = current - baseline
    edges = []
    for level in (alpha, 2 * alpha):
        half = -ndtri(level / 2) * se
        lower, upper = difference - half, difference + half
        single = np.flatnonzero(matched & (count == 1)[owner])
        exact = newcombe_interval(*_pair(rate * effective, effective, single), confidence=1 - level)
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
        pvalue=_rates_pvalue(passed, total, matched, owner, count, inflation),
        effect_size=h,
        n_baseline=sizes[0],
        n_current=sizes[1],
        strata=count.astype(np.int64),
    )


def overdispersion(
    successes: Floats, n: Floats, place: Ints, cell: Ints, cells: int, run: Ints | None = None
) -> Floats:
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
    numpy.ndarray, shape (cells,)
        Pearson's chi-square over its degrees of freedom, at least 1; 1 where there is nothing to tell it by.

    Examples
    --------
    >>> import numpy as np
    >>> zeros = np.zeros(4, dtype=int)
    >>> overdispersion(np.array([10.0, 0.0, 10.0, 0.0]), np.full(4, 10.0), zeros, zeros, 1).round(2)
    array([13.33])
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
    return np.where((df > 0) & (found > 1), found, 1.0)


def _pair(passed: Floats, total: Floats, rows: NDArray[np.intp]) -> tuple[Floats, Floats, Floats, Floats]:
    return passed[rows, 0], total[rows, 0], passed[rows, 1], total[rows, 1]


def _rates_pvalue(
    passed: Floats, total: Floats, matched: NDArray[np.bool_], owner: Ints, count: Ints, inflation: Floats
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
    pvalue = np.where(count > 0, np.where(spread > 0, np.minimum(2 * ndtr(-z), 1.0), 1.0), np.nan)
    for row in np.flatnonzero(matched & ((count == 1) & (inflation == 1))[owner] & (everything <= _EXACT_UP_TO)):
        pvalue[owner[row]] = fisher_pvalue(
            *(int(x) for x in (passed[row, 0], total[row, 0], passed[row, 1], total[row, 1]))
        )
    return pvalue
