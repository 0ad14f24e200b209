"""Two sides, many cells: the change with its interval, the test, and how many runs would settle it.

All functions work on arrays of units (a unit is one run, or one observation where there are no runs), and on thousands
of cells at once. A cell is what gets a verdict; within it like is compared with like in strata.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import digamma, fdtrc, polygamma, stdtr, stdtrit

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
    Bell and McCaffrey (2002), Survey Methodology 28, 169-181 (cluster-robust variances). Hedges (1981), J. Educ.
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
    cells = int(owner.max()) + 1 if len(owner) else 0
    matched = np.logical_and(n[:, 0] > 0, n[:, 1] > 0)
    count = np.bincount(owner[matched], minlength=cells)
    weighing, variance, extra = _moderated(n, variance, owner, matched, cells)
    weight = _weights((weighing / np.maximum(n, 1)).sum(axis=1), n, owner, matched, count, cells)
    gap = np.where(matched, mean[:, 1] - mean[:, 0], 0.0)
    var, df = _satterthwaite(weight, variance, n, extra, owner, matched, cells)
    by_own = matched & ~(extra > 0).all(axis=1)
    surcharge = var * (_price_of_weights(weight, n, extra, owner, by_own, count, cells) - 1)
    var *= _price_of_weights(weight, n, extra, owner, matched, count, cells)
    if units is not None and units.cluster is not None:
        var, df = _clustered(units, n, mean, weight, owner, matched, cells, var, df, surcharge)
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


def _moderated(
    n: Floats, variance: Floats, owner: Ints, matched: NDArray[np.bool_], cells: int
) -> tuple[Floats, Floats, Floats]:
    """Return the variances to weigh by, those to state errors by, and the degrees of freedom that the latter borrow.

    Where the strata of a cell vary alike, all use their pooled variance. Where they don't, each states its error by
    its own variance, and is weighed by one that is drawn towards the pooled one. A single unit borrows altogether.
    """
    weighing, stated, extra = np.empty_like(variance), np.empty_like(variance), np.zeros_like(variance)
    for side in (0, 1):
        df = np.where(matched & (n[:, side] > 1), n[:, side] - 1, 0.0)
        own = np.where(df > 0, variance[:, side], 0.0)
        total = np.bincount(owner, df, cells)[owner]
        with np.errstate(divide="ignore", invalid="ignore"):
            pooled = np.bincount(owner, df * own, cells)[owner] / total
        prior = prior_df(own, df, owner, cells)[owner]
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


def prior_df(variance: Floats, df: Floats, owner: Ints, cells: int) -> Floats:
    """Estimate how alike the variances of a cell's strata are, in degrees of freedom that each may borrow.

    Parameters
    ----------
    variance : numpy.ndarray, shape (strata,)
        Variance of each stratum (ddof 1).
    df : numpy.ndarray, shape (strata,)
        Its degrees of freedom. Strata where either is 0 tell nothing.
    owner : numpy.ndarray of int, shape (strata,)
        The cell that each stratum belongs to.
    cells : int
        Number of cells.

    Returns
    -------
    numpy.ndarray, shape (cells,)
        Infinite where the variances differ no more than by chance, 0 where fewer than three tell anything.

    Notes
    -----
    The variances s^2 that belong to a cell are taken as drawn from a scaled inverse chi-squared distribution with d0
    degrees of freedom, each measured with its own d. Then ``e = log s^2 - digamma(d / 2) + log(d / 2)`` has the
    variance ``trigamma(d / 2) + trigamma(d0 / 2)``, and d0 solves ``trigamma(d0 / 2) = var(e) - mean trigamma(d / 2)``,
    with var(e) over the k strata (ddof 1). Smyth takes d0 as infinite where the right side isn't positive; here it is
    so up to ``sqrt(2 / (k - 1))`` of the mean trigamma, about one standard error of var(e) if d0 is infinite.

    References
    ----------
    Smyth (2004), Stat. Appl. Genet. Mol. Biol. 3, article 3, section 6.2.

    Examples
    --------
    >>> import numpy as np
    >>> variance = np.array([1.0, 1.1, 0.9, 1.0, 1.0, 4.0, 16.0, 2.0])
    >>> prior_df(variance, np.full(8, 9.0), np.repeat([0, 1], 4), 2).round(2)
    array([ inf, 2.57])
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
    """Return by how much weights that were estimated raise the variance (Meier 1953, Biometrics 9, 59-73)."""
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
    surcharge: Floats,
) -> tuple[Floats, Floats]:
    """Replace variance and degrees of freedom in the cells where runs span several strata.

    What a run adds to the difference is its sum over strata. Squares within a stratum are freed from bias as any
    variance,
    products between strata as by the jackknife over runs; the degrees of freedom are those of runs of unequal load.
    """
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
        part = np.where(size > 1, weight[stratum] * (units.value[live] - mean[stratum, side]) / (size - 1), 0.0)
    total = np.bincount(run.ravel(), part, len(appearances))
    load = np.bincount(run.ravel(), weight[stratum] / size, len(appearances))
    spans = np.bincount(first[0], appearances > 1, cells) > 0
    clustered, below, fewest = np.zeros(cells), np.zeros(cells), np.full(cells, np.inf)
    strata = np.bincount(owner[matched], minlength=cells)
    for which in (0, 1):
        mine = first[1] == which
        runs = np.bincount(first[0][mine], minlength=cells).astype(float)
        spread = np.bincount(first[0][mine], appearances[mine], cells) / np.maximum(runs, 1)
        here = side == which
        within = np.bincount(cell[here], part[here] ** 2 * (1 - 1 / size[here]), cells)
        with np.errstate(divide="ignore", invalid="ignore"):
            jackknife = (1 - 1 / runs) * np.bincount(first[0][mine], total[mine] ** 2, cells)
            between = jackknife - (1 - 1 / runs) * np.bincount(cell[here], part[here] ** 2, cells)
            side_var = np.maximum(within + between, jackknife / 2)
            squares, fourths = (np.bincount(first[0][mine], load[mine] ** power, cells) for power in (2, 4))
            side_df = np.fmax(squares**2 / fourths * (1 - strata / (np.maximum(spread, 1) * runs)), 1.0)
        clustered += side_var
        below += side_var**2 / side_df
        fewest = np.minimum(fewest, runs)
    with np.errstate(divide="ignore", invalid="ignore"):
        clustered_df = np.maximum(np.where(below > 0, clustered**2 / below, fewest), 1.0)
    known = spans & (fewest > 1)
    var = np.where(known, clustered + surcharge, np.where(spans, np.nan, var))
    return var, np.where(known, clustered_df, df)


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
