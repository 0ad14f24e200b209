"""What all series of a run have in common: the machine moved, not the code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from aggrkit.errors import number_between
from aggrkit.statistics.comparison import prior_df
from aggrkit.statistics.groups import distinct, grouped_medians

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["CommonMode", "common_mode", "noise_of_groups"]

_ROUNDS: Final = 10
_SETTLED: Final = 1e-9
_NORMAL: Final = 0.674489750196082
_MEDIAN_COSTS: Final = float(np.sqrt(np.pi / 2))
_SERIES_TO_SHARE: Final = 3
_LEAST_PRIOR: Final = 2.0
_ENOUGH_A_GROUP: Final = 5


class CommonMode(NamedTuple):
    """What all series of a run have in common.

    Parameters
    ----------
    factor, ci_lower, ci_upper : numpy.ndarray, shape (runs,)
        By how much the values of a run are off in all series, with its interval.
    pvalue : numpy.ndarray, shape (runs,)
        Two-sided, that they are not.
    n : numpy.ndarray of int, shape (runs,)
        Series of each run.
    residual : numpy.ndarray, shape (n,)
        The values with the factor of their run taken out, where the run has 3 series or more.
    """

    factor: Floats
    ci_lower: Floats
    ci_upper: Floats
    pvalue: Floats
    n: Ints
    residual: Floats


def common_mode(value: ArrayLike, series: ArrayLike, run: ArrayLike, confidence: float = 0.95) -> CommonMode:
    """Take from each run what is off in all its series alike: the machine moved, not the code.

    Parameters
    ----------
    value : array_like, shape (n,)
        Finite values, logarithms where factors are ratios.
    series, run : array_like of int, shape (n,)
        Number of the series and of the run of each value, from 0.
    confidence : float, optional
        Level of the intervals.

    Returns
    -------
    CommonMode
        In units of the values. Factors are relative to the middle run of each series.

    Notes
    -----
    Median polish: the medians of series and of runs are taken out in turns until nothing moves, so that neither a few
    series that really changed nor a few runs that were off draw the rest along. The standard error of a factor is
    ``1.2533 s / sqrt(n)``, that of a median, where each value is divided by the noise of its series, drawn towards that
    of all; the noise is the median absolute deviation of what is left, enlarged for the medians that were fitted;
    Student's t with as many degrees of freedom as values are left over. A run with one series tells a run that is off
    from its series, but not whether the machine or the code moved.

    What changed in most series of a run at once, by the code, looks the same as what the machine did.

    References
    ----------
    Tukey (1977), Exploratory Data Analysis, chapter 11.

    Examples
    --------
    >>> found = common_mode([1.0, 2.0, 3.0, 1.5, 2.5, 3.5, 1.0, 2.0, 9.0], [0, 1, 2] * 3, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    >>> found.factor
    array([0. , 0.5, 0. ])
    """
    number_between(confidence, 0, 1, "confidence is a share between 0 and 1, such as 0.95")
    y = np.asarray(value, dtype=np.float64)
    s, r = np.asarray(series, dtype=np.intp), np.asarray(run, dtype=np.intp)
    rows, columns = int(s.max(initial=-1)) + 1, int(r.max(initial=-1)) + 1
    left, factor = y.copy(), np.zeros(columns)
    for _ in range(_ROUNDS):
        left = left - grouped_medians(left, s, rows)[s]
        moved = np.nan_to_num(grouped_medians(left, r, columns))
        factor += moved
        left = left - moved[r]
        if np.abs(moved).max(initial=0.0) <= _SETTLED * np.abs(factor).max(initial=0.0):
            break
    # the polish leaves the middle open: the middle run of each series is nobody's fault
    middle = float(np.median(factor[r])) if len(r) else 0.0
    factor = factor - middle
    n = np.bincount(r, minlength=columns)
    df = max(len(y) - len(distinct(s)[0]) - int((n > 1).sum()) + 1, 1)
    # nothing is left of a run with one series: it is judged by how far the series goes from run to run
    noise = noise_of_groups(np.where(n[r] > 1, left, left + factor[r]), s, df)
    least = _SETTLED * max(float(np.abs(y).max(initial=0.0)), 1e-30)
    weight = np.bincount(r, 1 / np.maximum(noise[s], least) ** 2, columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        se = np.where(n > 2, _MEDIAN_COSTS, 1.0) / np.sqrt(weight)
        t = np.where(np.abs(factor) > least, np.abs(factor) / se, 0.0)
    pvalue = np.where(n > 0, np.minimum(2 * stdtr(df, -t), 1.0), np.nan)
    reach = -float(stdtrit(df, (1 - confidence) / 2)) * se
    taken = np.where(n >= _SERIES_TO_SHARE, factor, 0.0)
    return CommonMode(factor, factor - reach, factor + reach, pvalue, n, y - taken[r])


def noise_of_groups(left: ArrayLike, group: ArrayLike, df: float) -> Floats:
    """Return the noise of each group, drawn towards that of all groups by as much as it is uncertain.

    Parameters
    ----------
    left : array_like, shape (n,)
        What is left of values after levels were taken out.
    group : array_like of int, shape (n,)
        Number of the group of each value, from 0.
    df : float
        Degrees of freedom that all values together still have.

    Returns
    -------
    numpy.ndarray, shape (groups,)
        Standard deviations, enlarged for the levels that were fitted. Where the groups vary alike, or have fewer than
        5 degrees of freedom each, all have that of all values. What lies further out than 5 standard deviations (by the
        median distance) counts as if it lay there.

    References
    ----------
    Smyth (2004), Stat. Appl. Genet. Mol. Biol. 3, article 3: how much the groups' variances tell of each other.

    Examples
    --------
    >>> noise_of_groups([1.0, -1.0, 1.0, -1.0, 3.0, -3.0], [0, 0, 1, 1, 2, 2], 3).round(2)
    array([2.71, 2.71, 2.71])
    """
    away, place = np.abs(np.asarray(left, dtype=np.float64)), np.asarray(group, dtype=np.intp)
    groups = int(place.max(initial=-1)) + 1
    if not len(away):
        return np.zeros(groups)
    there = away[away > 0]
    middle = float(np.median(there)) if len(there) else 0.0
    far = 5 / _NORMAL * np.maximum(np.nan_to_num(grouped_medians(away, place, groups)), middle)
    squares = np.minimum(away, far[place]) ** 2 * (len(away) / max(df, 1.0))
    n = np.bincount(place, minlength=groups)
    own = n * max(df, 1.0) / len(away)
    sums = np.bincount(place, squares, groups) * (own / np.maximum(n, 1))
    pooled = float(squares.mean())
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(n > 0, sums / own, 0.0)
    prior = float(prior_df(variance, own, np.zeros(groups, dtype=np.intp), 1)[0])
    if np.isinf(prior) or df < _ENOUGH_A_GROUP * groups or pooled == 0:
        return np.full(groups, np.sqrt(pooled))
    prior = max(prior, _LEAST_PRIOR)
    told = variance > 0
    typical = float(np.exp(np.average(np.log(variance[told]), weights=own[told])))
    found: Floats = np.sqrt((sums + prior * typical) / (own + prior))
    return found
