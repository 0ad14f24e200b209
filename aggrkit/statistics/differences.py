"""Does a metric differ between several groups, and by how much: ranks and rates, within strata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from scipy.special import chdtrc

from aggrkit.statistics.groups import grouped_medians

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = [
    "MAGNITUDES",
    "Differing",
    "chi_squared",
    "cramers_v",
    "epsilon_squared",
    "group_effects",
    "kruskal_wallis",
    "magnitude",
]

MAGNITUDES: Final = {
    "epsilon_squared": ((0.14, "large"), (0.06, "medium"), (0.01, "small"), (0.0, "negligible")),
    "cramers_v": ((0.5, "large"), (0.3, "medium"), (0.1, "small"), (0.0, "negligible")),
}
"""Smallest effect that each word stands for (Cohen 1988, for eta squared and for w with one degree of freedom)."""

_ROUNDS: Final = 1000
_SETTLED: Final = 1e-10
_RANK_LOST: Final = 1e-9


class Differing(NamedTuple):
    """A test of several groups.

    Parameters
    ----------
    statistic : float
        Chi-squared under no difference.
    df : int
        Its degrees of freedom.
    pvalue : float
        Chance of as large a statistic without a difference; NaN where nothing can differ.
    n : int
        Number of values.
    strata : int
        Number of strata.
    """

    statistic: float
    df: int
    pvalue: float
    n: int
    strata: int


def kruskal_wallis(values: ArrayLike, group: ArrayLike, stratum: ArrayLike | None = None) -> Differing:
    """Test whether values of several groups have one distribution, by their ranks.

    Parameters
    ----------
    values : array_like, shape (n,)
        Finite values; with strata, those that remain after each stratum was brought to a common level.
    group : array_like of int, shape (n,)
        Number of the group of each value, from 0.
    stratum : array_like of int, shape (n,), optional
        Number of the stratum of each value; all in one by default.

    Returns
    -------
    Differing
        Statistic NaN where all values are equal, or no stratum has two groups.

    See Also
    --------
    scipy.stats.kruskal : the same for one stratum.

    Notes
    -----
    With the ranks r of all values, ties at their mean, and the sum ``T_g`` of those of each group, the statistic is
    ``(T - E)' V^- (T - E)``, where mean and covariance are those of all ways to deal the values of each stratum to its
    groups: ``V = sum_s S_s^2 (diag(n_s) - n_s n_s' / N_s)``, with the variance ``S_s^2`` of the ranks in stratum s
    (ddof 1). For one stratum that is Kruskal and Wallis's H with the correction for ties; for several, the aligned rank
    test. The p-value is that of chi-squared, good from about 5 values a group. Values are taken as independent, and as
    exchangeable within strata where there is no difference.

    References
    ----------
    Kruskal and Wallis (1952), J. Am. Stat. Assoc. 47, 583-621. Hodges and Lehmann (1962), Ann. Math. Stat. 33, 482-497.
    Mehra and Sarangi (1967), Ann. Math. Stat. 38, 90-107.

    Examples
    --------
    >>> found = kruskal_wallis([1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 0, 0, 1, 1, 1, 1])
    >>> round(found.statistic, 3), found.df, round(found.pvalue, 3)
    (5.333, 1, 0.021)
    """
    from scipy.stats import rankdata

    y = np.asarray(values, dtype=np.float64)
    return _dealt(np.asarray(rankdata(y), dtype=np.float64), group, stratum, ddof=1)


def chi_squared(passed: ArrayLike, group: ArrayLike, stratum: ArrayLike | None = None) -> Differing:
    """Test whether several groups have one rate.

    Parameters
    ----------
    passed : array_like, shape (n,)
        1 and 0.
    group : array_like of int, shape (n,)
        Number of the group of each value, from 0.
    stratum : array_like of int, shape (n,), optional
        Number of the stratum of each value; all in one by default.

    Returns
    -------
    Differing
        Pearson's chi-squared without a correction for continuity; with several strata, that of the generalised
        Cochran-Mantel-Haenszel test. NaN where all passed, or all failed.

    See Also
    --------
    scipy.stats.chi2_contingency : the same for one stratum.

    Notes
    -----
    The statistic is that of `kruskal_wallis` with the values in place of ranks. The p-value is good where each group
    has about 5 expected passes and failures, over all strata together.

    References
    ----------
    Pearson (1900), Phil. Mag. 50, 157-175. Landis, Heyman and Koch (1978), Int. Stat. Rev. 46, 237-254.

    Examples
    --------
    >>> found = chi_squared([1] * 8 + [0] * 2 + [1] * 3 + [0] * 7, [0] * 10 + [1] * 10)
    >>> round(found.statistic, 3), round(found.pvalue, 3)
    (5.051, 0.025)
    """
    several = stratum is not None and len(np.unique(np.asarray(stratum))) > 1
    return _dealt(np.asarray(passed, dtype=np.float64), group, stratum, ddof=int(several))


def epsilon_squared(statistic: float, n: int, strata: int = 1) -> float:
    """Return the share of the ranks' variance that goes with the groups: ``H / (n - strata)``, from 0 to 1.

    Parameters
    ----------
    statistic : float
        Statistic of `kruskal_wallis`.
    n, strata : int
        Number of values, and of strata.

    References
    ----------
    Tomczak and Tomczak (2014), Trends in Sport Sciences 21, 19-25: ``H / ((n^2 - 1) / (n + 1))`` for one stratum.

    Examples
    --------
    >>> round(epsilon_squared(5.333, 8), 3)
    0.762
    """
    return float(np.clip(statistic / (n - strata), 0.0, 1.0)) if n > strata else float("nan")


def cramers_v(statistic: float, n: int) -> float:
    """Return how much a rate goes with the groups: ``sqrt(chi2 / n)``, from 0 to 1.

    Parameters
    ----------
    statistic : float
        Statistic of `chi_squared`.
    n : int
        Number of values.

    References
    ----------
    Cramer (1946), Mathematical Methods of Statistics, section 21.9.

    Examples
    --------
    >>> round(cramers_v(5.051, 20), 3)
    0.503
    """
    return float(np.clip(np.sqrt(statistic / n), 0.0, 1.0)) if n else float("nan")


def magnitude(effect: float, kind: str) -> str:
    """Return the word for an effect size.

    Parameters
    ----------
    effect : float
        Size of the effect.
    kind : {"epsilon_squared", "cramers_v"}
        Which one it is.

    Examples
    --------
    >>> magnitude(0.08, "epsilon_squared"), magnitude(0.08, "cramers_v"), magnitude(float("nan"), "cramers_v")
    ('medium', 'negligible', 'undefined')
    """
    return next((word for least, word in MAGNITUDES[kind] if effect >= least), "undefined")


def group_effects(values: ArrayLike, group: ArrayLike, cell: ArrayLike, *, means: bool = False) -> Floats:
    """Return the level of each group, where every cell has a level of its own.

    Parameters
    ----------
    values : array_like, shape (n,)
        Finite values.
    group, cell : array_like of int, shape (n,)
        Number of group and cell of each value, from 0.
    means : bool, optional
        Whether levels are means in place of medians, as for rates.

    Returns
    -------
    numpy.ndarray, shape (groups,)
        For one cell the median (mean) of each group; for several, that up to a number common to all groups. NaN for a
        group without values.

    Notes
    -----
    ``level = group + cell`` is fitted by least squares to the medians (means) of each cell's groups, weighted by the
    number of values, in turns until they settle. A group that is mostly in slow cells isn't taken for a slow group.

    References
    ----------
    Yates (1934), J. Am. Stat. Assoc. 29, 51-66 (fitting constants to unequal numbers).

    Examples
    --------
    >>> group_effects([1.0, 2.0, 11.0, 12.0, 12.0], [0, 1, 0, 1, 1], [0, 0, 1, 1, 1]).round(6)
    array([-0.6,  0.4])
    """
    y = np.asarray(values, dtype=np.float64)
    g, c = np.asarray(group, dtype=np.intp), np.asarray(cell, dtype=np.intp)
    groups = int(g.max(initial=-1)) + 1
    pair, place = np.unique(c * max(groups, 1) + g, return_inverse=True)
    place = place.ravel()
    weight = np.bincount(place, minlength=len(pair)).astype(np.float64)
    centre = np.bincount(place, y, len(pair)) / weight if means else grouped_medians(y, place, len(pair))
    g, (names, c) = pair % max(groups, 1), np.unique(pair // max(groups, 1), return_inverse=True)
    c = c.ravel()
    if len(names) == 1:
        found = np.full(groups, np.nan)
        found[g] = centre
        return found
    of_cell = np.zeros(len(names))
    of_group = np.zeros(groups)
    size = float(np.abs(centre).max(initial=0.0))
    for _ in range(_ROUNDS):
        of_cell = _weighted_means(centre - of_group[g], weight, c, len(names))
        fresh = _weighted_means(centre - of_cell[c], weight, g, groups)
        moved = np.nanmax(np.abs(fresh - of_group), initial=0.0)
        of_group = fresh
        if moved <= _SETTLED * size:
            break
    return of_group


def _dealt(score: Floats, group: ArrayLike, stratum: ArrayLike | None, ddof: int) -> Differing:
    """Compare the groups' sums of scores with those of all ways to deal the scores out within strata."""
    from scipy.sparse import csr_array

    n = len(score)
    g = np.unique(np.asarray(group), return_inverse=True)[1].ravel()
    s = (
        np.zeros(n, dtype=np.intp)
        if stratum is None
        else np.unique(np.asarray(stratum), return_inverse=True)[1].ravel()
    )
    groups, strata = int(g.max(initial=-1)) + 1, int(s.max(initial=-1)) + 1
    undefined = Differing(float("nan"), 0, float("nan"), n, strata)
    if groups < 2:
        return undefined
    size = np.bincount(s, minlength=strata).astype(np.float64)
    off = score - (np.bincount(s, score, strata) / size)[s]
    spread = np.bincount(s, off**2, strata) / np.maximum(size - ddof, 1)
    table: Any = csr_array((np.sqrt(spread / size)[s], (s, g)), shape=(strata, groups))
    table.sum_duplicates()
    covariance = np.diag(np.bincount(g, spread[s], groups)) - (table.T @ table).toarray()
    dealt = np.flatnonzero(covariance.any(axis=0))  # alone in its strata, a group can only have what it has
    value, vector = np.linalg.eigh(covariance[np.ix_(dealt, dealt)])
    kept = value > _RANK_LOST * value.max(initial=0.0)
    if not kept.any() or np.ptp(score) == 0:
        return undefined
    along = vector[:, kept].T @ np.bincount(g, off, groups)[dealt]
    statistic = float((along**2 / value[kept]).sum())
    df = int(kept.sum())
    return Differing(statistic, df, float(chdtrc(df, statistic)), n, strata)


def _weighted_means(values: Floats, weight: Floats, group: Ints, groups: int) -> Floats:
    with np.errstate(invalid="ignore"):
        mean: Floats = np.bincount(group, weight * values, groups) / np.bincount(group, weight, groups)
    return mean
