"""How strata are combined: variances drawn together, weights, and the error of the weighted difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.special import digamma, polygamma, stdtr

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrkit.statistics.comparison import Units

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

__all__ = ["Combined", "Strata", "combined", "prior_df"]

# Fewer units in a stratum than these don't show what their noise is like, and a narrow pair is more often luck.
_THIN: Final = 12
_THIN_PRIOR: Final = 4.0
_THIN_WEIGHT: Final = 0.1


@dataclass(frozen=True)
class Strata:
    """The moments of both sides of each stratum, and what is known of them.

    Attributes
    ----------
    n, mean, variance : numpy.ndarray, shape (strata, 2)
        Units, their mean, and their variance (ddof 1; NaN for a single unit), baseline first.
    owner : numpy.ndarray of int, shape (strata,)
        The cell of each.
    matched : numpy.ndarray of bool, shape (strata,)
        Whether there are both sides.
    cells : int
        Number of cells.
    """

    n: Floats
    mean: Floats
    variance: Floats
    owner: Ints
    matched: Flags
    cells: int

    @classmethod
    def of(cls, n: Floats, mean: Floats, variance: Floats, owner: Ints) -> Strata:
        """Return the strata of these moments."""
        cells = int(owner.max()) + 1 if len(owner) else 0
        return cls(n, mean, variance, owner, np.logical_and(n[:, 0] > 0, n[:, 1] > 0), cells)

    def summed(self, values: Floats) -> Floats:
        """Return the sum over the strata of each cell."""
        return np.bincount(self.owner, values, self.cells).astype(np.float64)

    @property
    def count(self) -> Ints:
        """Matched strata of each cell."""
        return np.bincount(self.owner[self.matched], minlength=self.cells)

    @property
    def gap(self) -> Floats:
        """Current minus baseline; 0 where there is no match."""
        return np.where(self.matched, self.mean[:, 1] - self.mean[:, 0], 0.0)

    @property
    def size(self) -> Floats:
        """What a unit's variance is divided by in that of the difference; 0 where there is no match."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.matched, self.n[:, 0] * self.n[:, 1] / self.n.sum(axis=1), 0.0)

    @property
    def thin(self) -> Flags:
        """Whether a stratum has too few units to show what its noise is like."""
        found: Flags = self.matched & (self.n.sum(axis=1) < _THIN)
        return found


class Combined(NamedTuple):
    """The strata of each cell as one difference.

    Attributes
    ----------
    variance : numpy.ndarray, shape (strata, 2)
        Variance of a unit, as the error states it.
    weight : numpy.ndarray, shape (strata,)
        Weight in the difference of the cell.
    var, df : numpy.ndarray, shape (cells,)
        Variance of that difference, and its degrees of freedom.
    """

    variance: Floats
    weight: Floats
    var: Floats
    df: Floats


def combined(strata: Strata, units: Units | None) -> Combined:
    """Weigh the strata of each cell, and state the error of their weighted difference.

    The error is that of the variances within strata and sides or, where the strata are thin, that about a common
    change, whichever gives the larger p-value. With units in runs that span strata it is that of runs.
    """
    n, owner, matched, cells = strata.n, strata.owner, strata.matched, strata.cells
    weighing, variance, extra = _moderated(strata)
    weight = _weights((weighing / np.maximum(n, 1)).sum(axis=1), n, owner, matched, strata.count, cells)
    var, df = _satterthwaite(weight, variance, n, extra, owner, matched, cells)
    price = _price_of_weights(weight, n, extra, owner, matched, strata.count, cells)
    if units is not None and units.cluster is not None:
        by_own = matched & ~(extra > 0).all(axis=1)
        surcharge = var * (_price_of_weights(weight, n, extra, owner, by_own, strata.count, cells) - 1)
        var, df, spanned = _clustered(units, n, strata.mean, weight, owner, matched, cells, var * price, df, surcharge)
    else:
        var, spanned = var * price, np.zeros(cells, dtype=bool)
    return Combined(variance, weight, *_by_common_change(strata, weight, extra, var, df, ~spanned))


def _moderated(strata: Strata) -> tuple[Floats, Floats, Floats]:
    """Return the variances to weigh by, those to state errors by, and the degrees of freedom that the latter borrow.

    Where the strata of a cell vary alike, all use their pooled variance. Where they don't, each states its error by
    its own variance, and is weighed by one that is drawn towards the pooled one, that of a thin stratum by as much as
    four degrees of freedom at least: two runs that happen to be close must not outweigh all others. A single unit
    borrows altogether.
    """
    n, variance, owner = strata.n, strata.variance, strata.owner
    matched, cells = strata.matched, strata.cells
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
        finite = np.where(strata.thin, np.maximum(finite, _THIN_PRIOR), finite)
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


def _weights(per_unit: Floats, n: Floats, owner: Ints, matched: Flags, count: Ints, cells: int) -> Floats:
    """Return inverse-variance weights that add to 1 in each cell; by size alone where variances can't be told apart."""
    plain = ~(per_unit > 0) & matched
    by_size = (np.bincount(owner, plain, cells)[owner] > 0) | (count < 3)[owner]
    with np.errstate(divide="ignore", invalid="ignore"):
        size = n[:, 0] * n[:, 1] / (n[:, 0] + n[:, 1])
        raw = np.where(matched, np.where(by_size, size, 1 / per_unit), 0.0)
        return np.where(matched, raw / np.bincount(owner, raw, cells)[owner], 0.0)


def _satterthwaite(
    weight: Floats, variance: Floats, n: Floats, extra: Floats, owner: Ints, matched: Flags, cells: int
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
    weight: Floats, n: Floats, extra: Floats, owner: Ints, matched: Flags, count: Ints, cells: int
) -> Floats:
    """Return by how much weights that were estimated raise the variance (Meier 1953, Biometrics 9, 59-73)."""
    df = np.where(matched, n.sum(axis=1) - 2 + extra.sum(axis=1), np.inf)
    loss = np.where(matched, weight * (1 - weight) / np.maximum(df, 1.0), 0.0)
    return np.where(count < 3, 1.0, 1 + 4 * np.bincount(owner, loss, cells))


def _by_common_change(
    strata: Strata, weight: Floats, extra: Floats, var: Floats, df: Floats, apart: Flags
) -> tuple[Floats, Floats]:
    """Return variance and degrees of freedom, where strata are thin those about a common change if they say less.

    Where each side of each stratum has a single unit, there are no others. Only in cells whose units stand `apart`: of
    runs that span strata, the strata don't disagree by chance.

    Two or three runs a side that come in clusters are close to each other when they are far from the other side, so the
    variance within sides is least where the difference is largest. About a common change of all strata, what is between
    the sides counts as noise as far as the strata disagree; that variance doesn't depend on how runs were dealt out to
    the sides. Its degrees of freedom are n - 1 of each stratum, less its share of the one for the change.
    """
    n, owner = strata.n, strata.owner
    thin = strata.summed(np.where(strata.thin, weight, 0.0)) > _THIN_WEIGHT
    difference = strata.summed(weight * strata.gap)
    with np.errstate(divide="ignore", invalid="ignore"):
        within = np.where(n > 1, (n - 1) * strata.variance, 0.0).sum(axis=1)
        squares = np.where(strata.matched, within + strata.size * (strata.gap - difference[owner]) ** 2, 0.0)
        own = np.where(strata.matched, n.sum(axis=1) - 1 - weight, 0.0)
        total = strata.summed(own)
        borrowing = strata.matched & (extra > 0).all(axis=1)
        alike = np.bincount(owner[borrowing], minlength=strata.cells) == strata.count
        each = np.where(alike[owner], (strata.summed(squares) / total)[owner], squares / own)
        part = np.where(strata.matched, weight**2 * each / strata.size, 0.0)
        common = strata.summed(part)
        satterthwaite = common**2 / strata.summed(np.where(part > 0, part**2 / own, 0.0))
        common_df = np.maximum(np.where(alike | ~np.isfinite(satterthwaite), total, satterthwaite), 1.0)
        less = stdtr(common_df, -np.abs(difference) / np.sqrt(common)) > stdtr(df, -np.abs(difference) / np.sqrt(var))
    taken = apart & (strata.count > 1) & ((thin & less) | np.isnan(var))
    return np.where(taken, common, var), np.where(taken, common_df, df)


def _clustered(
    units: Units,
    n: Floats,
    mean: Floats,
    weight: Floats,
    owner: Ints,
    matched: Flags,
    cells: int,
    var: Floats,
    df: Floats,
    surcharge: Floats,
) -> tuple[Floats, Floats, Flags]:
    """Replace variance and degrees of freedom in the cells where runs span several strata, and say which these are.

    What a run adds to the difference is its sum over strata. Squares within a stratum are freed from bias as any
    variance, products between strata as by the jackknife over runs; the degrees of freedom are those of runs of unequal
    load.
    """
    assert units.cluster is not None  # noqa: S101 - narrows the type
    live = matched[units.stratum]
    stratum, side, cell = units.stratum[live], units.side[live], units.cell_of[units.stratum[live]]
    key = np.stack([cell, side, units.cluster[live]])
    _, run, appearances = np.unique(key, axis=1, return_inverse=True, return_counts=True)
    if not (appearances > 1).any():
        return var, df, np.zeros(cells, dtype=bool)
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
    return var, np.where(known, clustered_df, df), spans
