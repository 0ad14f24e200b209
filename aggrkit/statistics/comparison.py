"""Two sides, many cells: the change with its interval, the test, and how many runs would settle it.

All functions work on arrays of units (a unit is one run, or one observation where there are no runs), and on thousands
of cells at once. A cell is what gets a verdict; within it like is compared with like in strata.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.special import chdtri, digamma, fdtrc, nctdtr, ndtr, polygamma, stdtr, stdtrit

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "Differences",
    "Units",
    "compare_means",
    "compare_pairs",
    "compare_summaries",
    "detectable",
    "rank_test",
    "runs_for_power",
    "runs_needed",
]

POWER: Final = 0.8
_MOST_RUNS: Final = 10_000


@dataclass(frozen=True)
class Units:
    """What is compared: one entry per unit.

    Parameters
    ----------
    value : numpy.ndarray, shape (n,)
        Value of each unit, finite; logarithms where a ratio is meant.
    side : numpy.ndarray of int, shape (n,)
        0 for the baseline, 1 for the current side.
    stratum : numpy.ndarray of int, shape (n,)
        Number of the stratum, over all cells.
    cell_of : numpy.ndarray of int, shape (strata,)
        The cell that each stratum belongs to.
    cluster : numpy.ndarray of int, shape (n,), optional
        Number of the run of each unit: units of one run in several strata of a cell share that run's luck. Each unit is
        on its own by default.
    """

    value: Floats
    side: Ints
    stratum: Ints
    cell_of: Ints
    cluster: Ints | None = None

    @property
    def cells(self) -> int:
        """Number of cells."""
        return int(self.cell_of.max()) + 1 if len(self.cell_of) else 0


@dataclass(frozen=True)
class Differences:
    """Current against baseline, one entry per cell; NaN where it can't be known.

    Attributes
    ----------
    baseline, current : numpy.ndarray
        Weighted means of the matched strata.
    difference, se, df : numpy.ndarray
        Current minus baseline, its standard error, and the degrees of freedom of that.
    pvalue : numpy.ndarray
        Two-sided, of Student's t.
    effect_size : numpy.ndarray
        Hedges' g: the difference in pooled standard deviations, corrected for small samples.
    n_baseline, n_current : numpy.ndarray of int
        Units that were compared.
    strata : numpy.ndarray of int
        Strata that have both sides.
    heterogeneity : numpy.ndarray
        p-value of Cochran's Q that the difference is the same in all strata; NaN for one stratum.
    paired : bool
        Whether the units of either side are the same runs.
    """

    baseline: Floats
    current: Floats
    difference: Floats
    se: Floats
    df: Floats
    pvalue: Floats
    effect_size: Floats
    n_baseline: Ints
    n_current: Ints
    strata: Ints
    heterogeneity: Floats
    paired: bool = False

    def interval(self, confidence: float) -> tuple[Floats, Floats]:
        """Return the confidence interval of the difference."""
        with np.errstate(invalid="ignore"):
            half = np.where(self.se == 0, 0.0, -stdtrit(self.df, (1 - confidence) / 2) * self.se)
        return self.difference - half, self.difference + half

    @property
    def spread(self) -> Floats:
        """Standard deviation of a unit, as the standard error implies it."""
        if self.paired:
            return self.se * np.sqrt(self.n_baseline / 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.se / np.sqrt(1 / self.n_baseline + 1 / self.n_current)


def compare_means(units: Units) -> Differences:
    """Compare the means of two sides, like with like.

    One stratum: Welch's test; where a side has a single unit, the other side's variance stands for both. Several strata:
    differences within strata, combined with inverse variance. The variances of the strata are moderated, each side
    towards its mean over the strata, as far as they vary no more than chance would have it (empirical Bayes), so that
    strata of two or three units don't get weights by luck. Where runs span several strata, the variance is that of the
    runs' sums (cluster-robust, corrected for small samples).

    Parameters
    ----------
    units : Units
        Values, sides, strata and runs.

    Returns
    -------
    Differences

    References
    ----------
    Welch (1947), Biometrika 34, 28-35. Smyth (2004), Stat. Appl. Genet. Mol. Biol. 3, 3 (moderated variances).
    Bell and McCaffrey (2002), Survey Methodology 28, 169-181 (cluster-robust variances). Hedges (1981), J. Educ. Stat. 6.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.zeros(1, dtype=int)
    >>> value = np.array([10.0, 11.0, 12.0, 13.0, 14.0, 15.0])
    >>> found = compare_means(Units(value, np.array([0, 0, 0, 1, 1, 1]), np.zeros(6, dtype=int), one))
    >>> found.difference, found.pvalue.round(4)
    (array([3.]), array([0.0213]))
    """
    strata = len(units.cell_of)
    n, mean, variance = _moments(units.value, units.stratum * 2 + units.side, strata * 2)
    return _compare(n.reshape(-1, 2), mean.reshape(-1, 2), variance.reshape(-1, 2), units.cell_of, units)


def compare_summaries(n: Floats, mean: Floats, variance: Floats, cell_of: Ints) -> Differences:
    """Compare the means of two sides from the moments of their strata; see `compare_means`.

    Parameters
    ----------
    n, mean, variance : numpy.ndarray, shape (strata, 2)
        Number of units, their mean, and their variance (ddof 1), baseline first.
    cell_of : numpy.ndarray of int, shape (strata,)
        The cell that each stratum belongs to.

    Returns
    -------
    Differences

    Examples
    --------
    >>> import numpy as np
    >>> found = compare_summaries(np.array([[3, 3]]), np.array([[11.0, 14.0]]), np.ones((1, 2)), np.zeros(1, dtype=int))
    >>> found.pvalue.round(4)
    array([0.0213])
    """
    return _compare(n.astype(np.float64), mean, variance, cell_of, None)


def compare_pairs(difference: Floats, baseline: Floats, cell: Ints, cells: int) -> Differences:
    """Compare two sides that were measured in the same runs, by the differences within runs (paired t test).

    Parameters
    ----------
    difference, baseline : numpy.ndarray, shape (n,)
        Current minus baseline of each pair, and its baseline.
    cell : numpy.ndarray of int, shape (n,)
        The cell of each pair.
    cells : int
        Number of cells.

    Returns
    -------
    Differences
        One stratum; the effect size is the mean difference in standard deviations of the differences, corrected.

    See Also
    --------
    scipy.stats.ttest_rel : the same, for one cell at a time.

    Examples
    --------
    >>> import numpy as np
    >>> found = compare_pairs(np.array([1.0, 2.0, 3.0]), np.zeros(3), np.zeros(3, dtype=int), 1)
    >>> found.pvalue.round(4)
    array([0.0742])
    """
    n, mean, variance = _moments(difference, cell, cells)
    df = np.maximum(n - 1, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        start = np.bincount(cell, baseline, cells) / n
        se = np.sqrt(variance / n)
        effect = np.where(mean == 0, 0.0, mean / np.sqrt(variance) * (1 - 3 / (4 * df - 1)))
    return Differences(
        baseline=start,
        current=start + mean,
        difference=mean,
        se=se,
        df=df,
        pvalue=_two_sided(mean, se, df),
        effect_size=np.where(np.isfinite(effect), effect, np.nan),
        n_baseline=n.astype(np.int64),
        n_current=n.astype(np.int64),
        strata=(n > 0).astype(np.int64),
        heterogeneity=np.full(cells, np.nan),
        paired=True,
    )


def rank_test(units: Units) -> tuple[Floats, Floats]:
    """Compare two sides by ranks: van Elteren's test, which is Mann-Whitney's for one stratum.

    Parameters
    ----------
    units : Units
        Values, sides and strata; runs are not looked at.

    Returns
    -------
    pvalue : numpy.ndarray
        Two-sided, by the normal approximation with ties and continuity taken into account; 1 where all are equal.
    cliffs_delta : numpy.ndarray
        Chance that a current unit is larger than a baseline one, minus that it is smaller; pairs within strata.

    References
    ----------
    van Elteren (1960), Bull. Int. Stat. Inst. 37, 351-361; Cliff (1993), Psychological Bulletin 114, 494-509.

    Examples
    --------
    >>> import numpy as np
    >>> value, side = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1])
    >>> pvalue, delta = rank_test(Units(value, side, np.zeros(4, dtype=int), np.zeros(1, dtype=int)))
    >>> pvalue.round(4), delta
    (array([0.2453]), array([1.]))
    """
    strata, cells = len(units.cell_of), units.cells
    order = np.lexsort((units.value, units.stratum))
    value, stratum = units.value[order], units.stratum[order]
    size = np.bincount(stratum, minlength=strata)
    start = np.concatenate(([0], np.cumsum(size)))[:-1]
    fresh = np.ones(len(value), dtype=bool)
    fresh[1:] = (value[1:] != value[:-1]) | (stratum[1:] != stratum[:-1])
    block = np.cumsum(fresh) - 1
    length = np.bincount(block).astype(np.float64) if len(block) else np.empty(0)
    first = np.flatnonzero(fresh)
    rank = (first + (length - 1) / 2)[block] - start[stratum] + 1 if len(block) else np.empty(0)
    ties = np.bincount(stratum[first], length**3 - length, strata) if len(block) else np.zeros(strata)
    current = units.side[order] == 1
    nc = np.bincount(stratum[current], minlength=strata).astype(np.float64)
    nb = size - nc
    u = np.bincount(stratum[current], rank[current], strata) - nc * (nc + 1) / 2
    both = (nb > 0) & (nc > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = nb * nc / 12 * ((size + 1) - ties / (size * (size - 1)))
    weight = np.where(both, 1 / (size + 1), 0.0)
    owner = units.cell_of
    shift = np.bincount(owner, weight * np.where(both, u - nb * nc / 2, 0.0), cells)
    total = np.bincount(owner, weight**2 * np.where(both, variance, 0.0), cells)
    single = np.bincount(owner[both], minlength=cells) == 1
    correction = np.where(single, np.bincount(owner, weight * 0.5, cells), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.maximum(np.abs(shift) - correction, 0.0) / np.sqrt(total)
    pairs = np.bincount(owner, np.where(both, nb * nc, 0.0), cells)
    with np.errstate(divide="ignore", invalid="ignore"):
        delta = 2 * np.bincount(owner, np.where(both, u, 0.0), cells) / pairs - 1
    pvalue = np.where(total > 0, np.minimum(2 * ndtr(-z), 1.0), np.where(pairs > 0, 1.0, np.nan))
    return pvalue, delta


def runs_for_power(change: ArrayLike, spread: ArrayLike, alpha: float = 0.05, power: float = POWER) -> Floats:
    """Return the runs per side at which a t test finds a change with the given power.

    Parameters
    ----------
    change : array_like
        True difference of the means, e.g. 0.02 on the scale of logarithms for 2 %.
    spread : array_like
        Standard deviation of a run on the same scale (the coefficient of variation, for logarithms).
    alpha : float, optional
        Level of the two-sided test.
    power : float, optional
        Chance to find the change.

    Returns
    -------
    numpy.ndarray
        Whole numbers from 2 to 10,000; NaN where a spread is not known.

    See Also
    --------
    statsmodels.stats.power.TTestIndPower : the same, for one cell at a time.

    Examples
    --------
    >>> runs_for_power([0.01, 0.02, 0.03, 0.05], 0.02)
    array([64., 17.,  9.,  4.])
    """
    delta, sigma = np.broadcast_arrays(np.abs(np.asarray(change, float)), np.asarray(spread, float))

    def enough(n: Floats) -> NDArray[np.bool_]:
        df = 2 * n - 2
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = np.where(sigma > 0, delta / sigma, np.inf) * np.sqrt(n / 2)
        shift = np.minimum(shift, 1e3)
        cut = -stdtrit(df, alpha / 2)
        found = 1 - nctdtr(df, shift, cut) + nctdtr(df, shift, -cut)
        return np.where(np.isfinite(found), found, 1.0) >= power

    return np.where(np.isfinite(sigma), _smallest(enough, sigma.shape), np.nan)


def runs_needed(
    difference: ArrayLike, se: ArrayLike, spread: ArrayLike, df: ArrayLike, margin: ArrayLike, alpha: float = 0.05
) -> Floats:
    """Return the runs per side after which a verdict can be expected.

    A verdict is a difference beyond the margin that the test finds, or equivalence within it. The number is chosen so that
    the chance of either is 80 % if the true difference is what was seen, or half a standard error nearer to the
    margin; a difference that might be right at the margin, where no number suffices, is taken as half the margin.
    The spread is taken at the upper end of its 50 % interval, for it is known from few runs.

    Parameters
    ----------
    difference, se, df : array_like
        What was seen, its standard error and degrees of freedom.
    spread : array_like
        Standard deviation of a unit.
    margin : array_like
        The smallest difference that matters, on the scale of the values.
    alpha : float, optional
        Level of the tests.

    Returns
    -------
    numpy.ndarray
        Whole numbers from 2 to 10,000; NaN where the spread is not known.

    Examples
    --------
    >>> runs_needed(0.0, 0.009, 0.02, 8, 0.02)
    array(34.)
    """
    seen, error, sigma, freedom, edge = np.broadcast_arrays(
        *(np.asarray(x, dtype=np.float64) for x in (difference, se, spread, df, margin))
    )
    sigma = sigma * np.sqrt(freedom / chdtri(freedom, 0.75))
    size = np.abs(seen)
    nearer = np.where(size < edge, np.minimum(size + error / 2, edge), np.maximum(size - error / 2, edge))
    truth = np.where(np.abs(nearer - edge) < edge / 2, edge / 2, nearer)

    def enough(n: Floats) -> NDArray[np.bool_]:
        error_then = sigma * np.sqrt(2 / n)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = edge + stdtrit(2 * n - 2, alpha) * error_then
            equivalent = ndtr((inside - truth) / error_then) - ndtr((-inside - truth) / error_then)
            outside = np.maximum(edge, -stdtrit(2 * n - 2, alpha / 2) * error_then)
            moved = ndtr((truth - outside) / error_then) + ndtr((-truth - outside) / error_then)
        chance = np.where(inside > 0, np.maximum(equivalent, 0.0), 0.0) + moved
        return np.where(error_then == 0, True, chance >= POWER)

    return np.where(np.isfinite(sigma) & np.isfinite(seen), _smallest(enough, sigma.shape), np.nan)


def detectable(se: ArrayLike, df: ArrayLike, alpha: float = 0.05, power: float = POWER) -> Floats:
    """Return the smallest true difference that would be found with the given power, as things are.

    Examples
    --------
    >>> float(detectable(0.01, 18).round(4))
    0.0296
    """
    freedom = np.asarray(df, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return (stdtrit(freedom, power) - stdtrit(freedom, alpha / 2)) * np.asarray(se, dtype=np.float64)


def _compare(n: Floats, mean: Floats, variance: Floats, owner: Ints, units: Units | None) -> Differences:
    cells = int(owner.max()) + 1 if len(owner) else 0
    matched = (n > 0).all(axis=1)
    count = np.bincount(owner[matched], minlength=cells)
    weighing, variance, extra = _moderated(n, variance, owner, matched, cells)
    weight = _weights((weighing / np.maximum(n, 1)).sum(axis=1), n, owner, matched, count, cells)
    gap = np.where(matched, mean[:, 1] - mean[:, 0], 0.0)
    var, df = _satterthwaite(weight, variance, n, extra, owner, matched, cells)
    var *= _price_of_weights(weight, n, extra, owner, matched, count, cells)
    if units is not None and units.cluster is not None:
        var, df = _clustered(units, n, mean, weight, owner, matched, cells, var, df)
    some = count > 0
    se = np.sqrt(np.where(some, var, np.nan))
    difference = np.where(some, np.bincount(owner, weight * gap, cells), np.nan)
    centre = [np.bincount(owner, weight * np.where(matched, mean[:, side], 0.0), cells) for side in (0, 1)]
    size = [np.bincount(owner[matched], n[matched, side], cells).astype(np.int64) for side in (0, 1)]
    per_stratum = (variance / np.maximum(n, 1)).sum(axis=1)
    return Differences(
        baseline=np.where(some, centre[0], np.nan),
        current=np.where(some, centre[1], np.nan),
        difference=difference,
        se=se,
        df=df,
        pvalue=_two_sided(difference, se, df),
        effect_size=_hedges_g(difference, n, variance, owner, matched, cells),
        n_baseline=size[0],
        n_current=size[1],
        strata=count.astype(np.int64),
        heterogeneity=_heterogeneity(gap, difference, per_stratum, df, owner, matched, count),
    )


def _moments(value: Floats, place: Ints, size: int) -> tuple[Floats, Floats, Floats]:
    """Return n, mean and variance (ddof 1) by place; variances within rounding of zero are zero."""
    n = np.bincount(place, minlength=size).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(place, value, size) / n
        mean += np.bincount(place, value - mean[place], size) / n
        variance = np.bincount(place, (value - mean[place]) ** 2, size) / (n - 1)
    largest = np.zeros(size)
    np.maximum.at(largest, place, np.abs(value))
    rounding = (8 * np.finfo(float).eps * np.maximum(largest, 1e-300)) ** 2
    return n, mean, np.where(n > 1, np.where(variance <= rounding, 0.0, variance), np.nan)


def _moderated(
    n: Floats, variance: Floats, owner: Ints, matched: NDArray[np.bool_], cells: int
) -> tuple[Floats, Floats, Floats]:
    """Return the variances to weigh by, those to state errors by, and the degrees of freedom that the latter borrow.

    Where the strata of a cell vary alike, all use their pooled variance. Where they don't, each states its error by its own
    variance, and is weighed by one that is drawn towards the pooled one. A single unit borrows altogether.
    """
    weighing, stated, extra = np.empty_like(variance), np.empty_like(variance), np.zeros_like(variance)
    for side in (0, 1):
        df = np.where(matched & (n[:, side] > 1), n[:, side] - 1, 0.0)
        own = np.where(df > 0, variance[:, side], 0.0)
        total = np.bincount(owner, df, cells)[owner]
        with np.errstate(divide="ignore", invalid="ignore"):
            pooled = np.bincount(owner, df * own, cells)[owner] / total
        prior = _prior_df(own, df, owner, cells)[owner]
        borrow = np.isinf(prior) | (df == 0)
        finite = np.where(np.isinf(prior), 0.0, prior)
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = (finite * pooled + df * own) / (finite + df)
        weighing[:, side] = np.where(borrow, pooled, drawn)
        stated[:, side] = np.where(borrow, pooled, own)
        extra[:, side] = np.where(borrow, total - df, 0.0)
    lent = np.isnan(stated)
    lender = (np.where(n > 1, n - 1, 0.0) + extra)[:, ::-1]
    weighing, stated = np.where(lent, weighing[:, ::-1], weighing), np.where(lent, stated[:, ::-1], stated)
    return weighing, stated, np.where(lent, lender, extra)


def _prior_df(variance: Floats, df: Floats, owner: Ints, cells: int) -> Floats:
    """Estimate how alike the variances of a cell's strata are, in degrees of freedom that each may borrow.

    Infinite where they differ no more than by chance, 0 where there are too few to tell.
    """
    told = (df > 0) & (variance > 0)
    k = np.bincount(owner[told], minlength=cells)
    half = df[told] / 2
    e = np.log(variance[told]) - digamma(half) + np.log(half)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.bincount(owner[told], e, cells) / k
        by_chance = np.bincount(owner[told], polygamma(1, half), cells) / k
        excess = np.bincount(owner[told], (e - centre[owner[told]]) ** 2, cells) / (k - 1) - by_chance
        alike = ~(excess > by_chance * np.sqrt(2 / (k - 1)))
    prior = np.where(alike, np.inf, 2 * _inverse_trigamma(np.where(alike, 1.0, excess)))
    return np.where(k < 3, 0.0, prior)


def _inverse_trigamma(y: Floats) -> Floats:
    """Solve trigamma(x) = y by Newton's steps, from Smyth's starting value."""
    x = 0.5 + 1 / y
    for _ in range(12):
        value = polygamma(1, x)
        x = x + value * (1 - value / y) / polygamma(2, x)
    return x


def _weights(per_unit: Floats, n: Floats, owner: Ints, matched: NDArray[np.bool_], count: Ints, cells: int) -> Floats:
    """Return inverse-variance weights that add to 1 in each cell; by size alone where variances can't be told apart."""
    plain = ~(per_unit > 0) & matched
    by_size = (np.bincount(owner, plain, cells)[owner] > 0) | (count < 3)[owner]
    with np.errstate(divide="ignore", invalid="ignore"):
        size = n[:, 0] * n[:, 1] / (n[:, 0] + n[:, 1])
        raw = np.where(matched, np.where(by_size, size, 1 / per_unit), 0.0)
        return np.where(matched, raw / np.bincount(owner, raw, cells)[owner], 0.0)


def _satterthwaite(
    weight: Floats, variance: Floats, n: Floats, extra: Floats, owner: Ints, matched: NDArray[np.bool_], cells: int
) -> tuple[Floats, Floats]:
    """Return the variance of the combined difference, and Satterthwaite's degrees of freedom."""
    total, below = np.zeros(cells), np.zeros(cells)
    most = np.zeros(cells)
    for side in (0, 1):
        part = np.where(matched, weight**2 * variance[:, side] / np.maximum(n[:, side], 1), 0.0)
        own = np.where(matched & (n[:, side] > 1), n[:, side] - 1, 0.0)
        df = own + extra[:, side]
        total += np.bincount(owner, part, cells)
        with np.errstate(divide="ignore", invalid="ignore"):
            below += np.bincount(owner, np.where(part > 0, part**2 / df, 0.0), cells)
        most += np.bincount(owner, own, cells)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = np.where(below > 0, total**2 / below, most)
    return total, np.clip(df, 1.0, np.maximum(most, 1.0))


def _price_of_weights(
    weight: Floats, n: Floats, extra: Floats, owner: Ints, matched: NDArray[np.bool_], count: Ints, cells: int
) -> Floats:
    """Return by how much weights that were estimated themselves raise the variance (Meier 1953, Biometrics 9, 59-73)."""
    df = np.where(matched, n.sum(axis=1) - 2 + extra.sum(axis=1), np.inf)
    loss = np.where(matched, weight * (1 - weight) / np.maximum(df, 1.0), 0.0)
    return np.where(count < 3, 1.0, 1 + 4 * np.bincount(owner, loss, cells))


def _clustered(
    units: Units,
    n: Floats,
    mean: Floats,
    weight: Floats,
    owner: Ints,
    matched: NDArray[np.bool_],
    cells: int,
    var: Floats,
    df: Floats,
) -> tuple[Floats, Floats]:
    """Replace variance and degrees of freedom in the cells where runs span several strata."""
    assert units.cluster is not None  # noqa: S101 - narrows the type
    live = matched[units.stratum]
    stratum, side, cell = units.stratum[live], units.side[live], units.cell_of[units.stratum[live]]
    key = np.stack([cell, side, units.cluster[live]])
    _, run, appearances = np.unique(key, axis=1, return_inverse=True, return_counts=True)
    if not (appearances > 1).any():
        return var, df
    first = np.zeros((2, len(appearances)), dtype=np.int64)
    first[:, run.ravel()] = np.stack([cell, side])
    size = n[stratum, side]
    with np.errstate(divide="ignore", invalid="ignore"):
        small = np.where(size > 1, np.sqrt(size / (size - 1)), 0.0)
    part = weight[stratum] * (units.value[live] - mean[stratum, side]) / size * small
    total = np.bincount(run.ravel(), part, len(appearances))
    spans = np.bincount(first[0], appearances > 1, cells) > 0
    clustered, below, fewest = np.zeros(cells), np.zeros(cells), np.full(cells, np.inf)
    strata = np.bincount(owner[matched], minlength=cells)
    for which in (0, 1):
        mine = first[1] == which
        runs = np.bincount(first[0][mine], minlength=cells).astype(float)
        spread = np.bincount(first[0][mine], appearances[mine], cells) / np.maximum(runs, 1)
        side_var = np.bincount(first[0][mine], total[mine] ** 2, cells)
        side_df = np.maximum(runs - strata / np.maximum(spread, 1), 1.0)
        clustered += side_var
        below += side_var**2 / side_df
        fewest = np.minimum(fewest, runs)
    with np.errstate(divide="ignore", invalid="ignore"):
        clustered_df = np.maximum(np.where(below > 0, clustered**2 / below, fewest), 1.0)
    known = spans & (fewest > 1)
    var = np.where(known, clustered, np.where(spans, np.nan, var))
    return var, np.where(known, clustered_df, df)


def _two_sided(difference: Floats, se: Floats, df: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(difference) / se
    t = np.where((se == 0) & (difference == 0), 0.0, t)
    return np.where(np.isnan(t), np.nan, np.where(np.isinf(t), 0.0, 2 * stdtr(df, -np.where(np.isfinite(t), t, 0.0))))


def _hedges_g(
    difference: Floats, n: Floats, variance: Floats, owner: Ints, matched: NDArray[np.bool_], cells: int
) -> Floats:
    df = np.where(matched[:, None] & (n > 1), n - 1, 0.0)
    total = np.bincount(owner, df.sum(axis=1), cells)
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = np.bincount(owner, (df * np.where(df > 0, variance, 0.0)).sum(axis=1), cells) / total
        g = difference / np.sqrt(pooled) * (1 - 3 / (4 * total - 1))
    return np.where(difference == 0, 0.0, np.where(np.isfinite(g), g, np.nan))


def _heterogeneity(
    gap: Floats, difference: Floats, per_unit: Floats, df: Floats, owner: Ints, matched: NDArray[np.bool_], count: Ints
) -> Floats:
    cells = len(difference)
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.where(matched, (gap - difference[owner]) ** 2 / per_unit, 0.0)
        q = np.where(np.isfinite(q), q, 0.0)
        total = np.bincount(owner, q, cells)
        return np.where(count > 1, fdtrc(np.maximum(count - 1, 1), df, total / np.maximum(count - 1, 1)), np.nan)


def _smallest(enough: Any, shape: tuple[int, ...]) -> Floats:
    """Return the smallest whole number from 2 at which `enough` holds, by bisection; 10,000 where none does."""
    low, high = np.full(shape, 1.0), np.full(shape, float(_MOST_RUNS))
    for _ in range(math.ceil(math.log2(_MOST_RUNS))):
        middle = np.floor((low + high) / 2)
        middle = np.maximum(middle, 2.0)
        holds = enough(middle)
        high = np.where(holds, np.minimum(high, middle), high)
        low = np.where(holds, low, middle)
    return np.maximum(high, 2.0)
