"""Two sides, many cells: the change with its interval, the test, and how many runs would settle it.

All functions work on arrays of units (a unit is one run, or one observation where there are no runs), and on thousands
of cells at once. A cell is what gets a verdict; within it like is compared with like in strata.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import fdtrc, stdtr, stdtrit

from aggrkit.statistics._strata import Strata, combined, prior_df

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = [
    "Differences",
    "Units",
    "compare_estimates",
    "compare_means",
    "compare_pairs",
    "compare_summaries",
    "nested_effect",
    "prior_df",
]


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

    One stratum: Welch's test; where a side has a single unit, the other side's variance stands for both. Several
    strata:
    differences within strata, combined with inverse variance. The variances of the strata are moderated, each side
    towards its mean over the strata, as far as they vary no more than chance would have it (empirical Bayes), so that
    strata of two or three units don't get weights by luck. Where runs span several strata, the variance is that of the
    runs' sums (cluster-robust, corrected for small samples).

    Few units don't show what their noise is like: where strata of fewer than 12 units carry more than a tenth of the
    weight, the p-value is the larger of that and of the test about a common change, in which the differences between
    strata count as noise too (the residuals of a randomised block design). So runs in clusters, or noise that is much
    larger in some strata, don't pass for a change. In 2 to 20 strata of 1 to 10 runs a side and Gaussian, log-normal,
    t3, clustered and unequal noise, p-values below 5 % are then 0.3 to 5.7 % of all (standard error 0.5). In a single
    stratum nothing tells clusters: 13 % of 2 against 2 clustered runs, 3 % of 3 against 3.

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
    Bell and McCaffrey (2002), Survey Methodology 28, 169-181 (cluster-robust variances). Fisher (1935), The Design of
    Experiments, chapter 4 (randomised blocks). Hedges (1981), J. Educ.
    Stat. 6.

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


def compare_estimates(estimate: Floats, se: Floats, df: Floats, n: Ints, cell_of: Ints) -> Differences:
    """Compare estimates of any kind with their standard errors; strata are combined as in `compare_means`.

    Parameters
    ----------
    estimate, se, df : numpy.ndarray, shape (strata, 2)
        The estimate, its standard error and the degrees of freedom of that, baseline first.
    n : numpy.ndarray of int, shape (strata, 2)
        How many values each estimate rests on; 0 where there is none.
    cell_of : numpy.ndarray of int, shape (strata,)
        The cell that each stratum belongs to.

    Returns
    -------
    Differences
        Without an effect size, for there is no standard deviation that it could be told in.

    Notes
    -----
    An estimate with `df` degrees of freedom is taken as a mean of df + 1 values with the variance (df + 1) se^2.

    Examples
    --------
    >>> import numpy as np
    >>> se, df, n = np.full((1, 2), 1.0), np.full((1, 2), 9.0), np.full((1, 2), 50)
    >>> found = compare_estimates(np.array([[10.0, 13.0]]), se, df, n, np.zeros(1, dtype=int))
    >>> found.se.round(4), found.df, found.pvalue.round(4)
    (array([1.4142]), array([18.]), array([0.048]))
    """
    there = n > 0
    size = np.where(there, np.where(np.isfinite(df), df, 0.0) + 1, 0.0)
    found = _compare(size, np.where(there, estimate, np.nan), se**2 * size, cell_of, None)
    used = there.all(axis=1)
    counted = [np.bincount(cell_of[used], n[used, side], len(found.difference)).astype(np.int64) for side in (0, 1)]
    nothing = np.full(len(found.difference), np.nan)
    return replace(found, effect_size=nothing, n_baseline=counted[0], n_current=counted[1])


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
        pvalue=_two_sided(mean, se, df, n.astype(np.int64)),
        effect_size=np.where(np.isfinite(effect), effect, np.nan),
        n_baseline=n.astype(np.int64),
        n_current=n.astype(np.int64),
        strata=(n > 0).astype(np.int64),
        heterogeneity=np.full(cells, np.nan),
        paired=True,
    )


def nested_effect(value: Floats, outer: Ints, inner: Ints, cell: Ints, cells: int) -> Floats:
    """Return the p-value that the inner groups of a cell don't differ within the outer ones, by nested ANOVA.

    Parameters
    ----------
    value : numpy.ndarray, shape (n,)
        Value of each unit.
    outer, inner : numpy.ndarray of int, shape (n,)
        Number of the outer and the inner group of each unit; inner groups lie within outer ones.
    cell : numpy.ndarray of int, shape (n,)
        Number of the cell.
    cells : int
        Number of cells.

    Returns
    -------
    numpy.ndarray, shape (cells,)
        1 where there is nothing to tell it by.

    See Also
    --------
    scipy.stats.f_oneway : the same, for one outer group.

    Examples
    --------
    >>> import numpy as np
    >>> zeros = np.zeros(6, dtype=int)
    >>> nested_effect(np.array([1.0, 2, 3, 7, 8, 9]), zeros, np.array([0, 0, 0, 1, 1, 1]), zeros, 1).round(4)
    array([0.0018])
    """
    inner = np.unique(np.stack([outer, inner]), axis=1, return_inverse=True)[1].ravel()
    groups = int(inner.max()) + 1 if len(inner) else 0
    n, mean, variance = _moments(value, inner, groups)
    outer_of, cell_of = np.zeros(groups, dtype=np.int64), np.zeros(groups, dtype=np.int64)
    outer_of[inner], cell_of[inner] = outer, cell
    size = int(outer.max()) + 1 if len(outer) else 0
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = mean - _moments(value, outer, size)[1][outer_of]
        gap = np.where(np.abs(gap) <= 8 * np.finfo(float).eps * np.abs(mean), 0.0, gap)
        between = np.bincount(cell_of, n * gap**2, cells)
        within = np.bincount(cell_of, (n - 1) * np.nan_to_num(variance), cells)
        used = np.unique(np.stack([cell, outer]), axis=1)[0] if len(outer) else outer
        df = np.bincount(cell_of, minlength=cells) - np.bincount(used, minlength=cells)
        rest = np.bincount(cell_of, n - 1, cells)
        ratio = (between / df) / (within / rest)
    told = (df > 0) & (rest > 0)
    pvalue = fdtrc(np.maximum(df, 1), np.maximum(rest, 1), np.where(np.isfinite(ratio), ratio, 0.0))
    return np.where(told, np.where(np.isinf(ratio), 0.0, pvalue), 1.0)


def _compare(n: Floats, mean: Floats, variance: Floats, owner: Ints, units: Units | None) -> Differences:
    strata = Strata.of(n, mean, variance, owner)
    matched, cells, gap, count = strata.matched, strata.cells, strata.gap, strata.count
    variance, weight, var, df = combined(strata, units)
    some = count > 0
    se = np.sqrt(np.where(some, var, np.nan))
    difference = np.where(some, strata.summed(weight * gap), np.nan)
    centre = [strata.summed(weight * np.where(matched, mean[:, side], 0.0)) for side in (0, 1)]
    size = [np.bincount(owner[matched], n[matched, side], cells).astype(np.int64) for side in (0, 1)]
    per_stratum = (variance / np.maximum(n, 1)).sum(axis=1)
    return Differences(
        baseline=np.where(some, centre[0], np.nan),
        current=np.where(some, centre[1], np.nan),
        difference=difference,
        se=se,
        df=df,
        pvalue=_two_sided(difference, se, df, np.minimum(*size)),
        effect_size=_hedges_g(difference, n, variance, owner, matched, cells),
        n_baseline=size[0],
        n_current=size[1],
        strata=count.astype(np.int64),
        heterogeneity=_heterogeneity(gap, difference, per_stratum, df, owner, matched, count),
    )


def _moments(value: Floats, place: Ints, size: int) -> tuple[Floats, Floats, Floats]:
    """Return n, mean and variance (ddof 1) by place; variances within rounding of zero are zero."""
    n = np.bincount(place, minlength=size).astype(np.float64)
    largest = np.zeros(size)
    np.maximum.at(largest, place, np.abs(value))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = np.bincount(place, value, size) / n
        mean += np.bincount(place, value - mean[place], size) / n
        variance = np.bincount(place, (value - mean[place]) ** 2, size) / (n - 1)
        rounding = (8 * np.finfo(float).eps * np.maximum(largest, 1e-300)) ** 2
    return n, mean, np.where(n > 1, np.where(variance <= rounding, 0.0, variance), np.nan)


def _two_sided(difference: Floats, se: Floats, df: Floats, fewest: Ints) -> Floats:
    """Return p-values; where nothing varies, a difference is sure if either side shows it at least twice."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(difference) / se
    t = np.where((se == 0) & (difference == 0), 0.0, t)
    t = np.where((se == 0) & (difference != 0) & (fewest < 2), np.nan, t)
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
