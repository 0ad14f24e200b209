"""Percentiles and spread of many groups at once: exact, and estimated with standard errors.

What a mean can't tell: that the slowest calls became slower, or that results became less steady.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import betainc, stdtr

from aggrkit.errors import UnknownNameError, quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["MEAN", "Estimates", "Grouped", "Statistic", "brown_forsythe", "harrell_davis", "relative_spread"]

_IN_THE_TAIL: Final = 5
_FOR_A_SPREAD: Final = 5
_SPREAD_BIAS: Final = 0.8
_PERCENTILE: Final = re.compile(r"p(\d{1,2}(?:\.\d+)?)")


@dataclass(frozen=True)
class Statistic:
    """What is compared: the mean, a percentile or the spread.

    Parameters
    ----------
    name : str
        "mean", "spread", or "p" with a percentage.
    q : float, optional
        The percentile as a share, 0.99 for p99; NaN for the mean and the spread.
    """

    name: str
    q: float = math.nan

    @classmethod
    def of(cls, given: object) -> Statistic:
        """Read the name of a statistic.

        Raises
        ------
        UnknownNameError
            If there is no such statistic.

        Examples
        --------
        >>> Statistic.of("p99.9")
        Statistic(name='p99.9', q=0.999)
        """
        if given in ("mean", "spread"):
            return cls(str(given))
        found = _PERCENTILE.fullmatch(given) if isinstance(given, str) else None
        percent = float(found[1]) if found else 0.0
        if not percent:
            said = (
                "statistics to choose from: 'mean', 'spread', and percentiles above 0 and below 100 as 'p50' or 'p99.9'"
            )
            raise UnknownNameError(
                f"unknown statistic {quoted(given)}; {said}", name=str(given), choices=("mean", "p50", "p99", "spread")
            )
        return cls(f"p{percent!r}".removesuffix(".0"), round(percent / 100, 15))

    @classmethod
    def read(cls, given: object) -> tuple[Statistic, ...]:
        """Read one name or several; each is taken once.

        Raises
        ------
        UnknownNameError
            If there is no such statistic.
        TypeError
            If it is neither a name nor names.
        ValueError
            If there is no name at all.
        """
        if isinstance(given, str):
            return (cls.of(given),)
        if isinstance(given, bytes) or not isinstance(given, Iterable):
            raise TypeError(f"a statistic is a name such as 'p99', or a list of names; got {quoted(given)}")
        found = tuple(dict.fromkeys(cls.of(name) for name in given))
        if not found:
            raise ValueError("an empty list of statistics leaves nothing to compare; say 'mean', 'p99' or 'spread'")
        return found

    @property
    def is_spread(self) -> bool:
        """Whether this is the spread."""
        return self.name == "spread"

    @property
    def is_percentile(self) -> bool:
        """Whether this is a percentile."""
        return not math.isnan(self.q)

    @property
    def values_needed(self) -> int:
        """How many independent values must be there to say how sure the statistic is.

        For a percentile so many that 5 of them are expected beyond it: n min(q, 1 - q) >= 5, 10 for p50 and 500 for
        p99. That is the rule by which the number of values beyond a percentile may be taken as normal.

        References
        ----------
        Conover (1999), Practical Nonparametric Statistics, 3rd ed., section 3.2 (quantile test).
        """
        if self.is_percentile:
            return math.ceil(round(_IN_THE_TAIL / min(self.q, 1 - self.q), 6))
        return _FOR_A_SPREAD if self.is_spread else 2

    def bias(self, n: Floats) -> Floats:
        """Return by what share the statistic of n values is off for n alone, roughly.

        A linear percentile lies, in the mean, at the share ((n - 1) q + 1) / (n + 1) of the distribution; this is the
        distance from q as a share of the nearer tail. The mean absolute deviation of n normal values is 0.8 / n short.

        Parameters
        ----------
        n : numpy.ndarray
            Number of values that the statistic is of.

        References
        ----------
        Hyndman and Fan (1996), The American Statistician 50, 361-365 (definition 7).

        Examples
        --------
        >>> import numpy as np
        >>> Statistic.of("p99").bias(np.array([20.0, 1000.0])).round(2)
        array([-4.67, -0.1 ])
        """
        if self.is_percentile:
            return np.asarray((1 - 2 * self.q) / ((n + 1) * min(self.q, 1 - self.q)))
        return np.asarray(-_SPREAD_BIAS / n if self.is_spread else np.zeros_like(n))


MEAN: Final = Statistic("mean")


@dataclass(frozen=True)
class Grouped:
    """Values in groups, sorted within each.

    Parameters
    ----------
    value : numpy.ndarray, shape (n,)
        Finite values, group by group, ascending.
    group : numpy.ndarray of int, shape (n,)
        Number of the group of each.
    size : numpy.ndarray of int, shape (groups,)
        How many values each group has; groups may be empty.
    """

    value: Floats
    group: Ints
    size: Ints

    @classmethod
    def of(cls, value: Floats, group: Ints, groups: int) -> Grouped:
        """Sort values into groups."""
        order = np.lexsort((value, group))
        return cls(value[order], group[order], np.bincount(group, minlength=groups).astype(np.int64))

    @cached_property
    def start(self) -> Ints:
        """Position of the first value of each group."""
        return np.concatenate(([0], np.cumsum(self.size)))[:-1].astype(np.int64)

    def percentile(self, q: float) -> Floats:
        """Return a percentile of each group, interpolated linearly; NaN where a group is empty.

        x[j] + (h - j) (x[j+1] - x[j]) with h = (n - 1) q and j the whole part of h, counted from 0.

        See Also
        --------
        numpy.percentile : the same, for one group at a time.

        Examples
        --------
        >>> import numpy as np
        >>> Grouped.of(np.array([1.0, 2.0, 3.0, 7.0]), np.array([0, 0, 0, 1]), 3).percentile(0.75)
        array([2.5, 7. , nan])
        """
        there = self.size > 0
        place = (self.size[there] - 1) * q
        low = np.floor(place).astype(np.int64)
        below = self.value[self.start[there] + low]
        above = self.value[self.start[there] + np.minimum(low + 1, self.size[there] - 1)]
        share = place - low
        found = np.full(len(self.size), np.nan)
        found[there] = np.where(below == above, below, below * (1 - share) + above * share)
        return found

    def deviations(self) -> Floats:
        """Return the distance of each value from the median of its group."""
        return np.abs(self.value - self.percentile(0.5)[self.group])

    def spread(self) -> Floats:
        """Return the mean absolute deviation from the median; NaN where a group has less than two values.

        Examples
        --------
        >>> import numpy as np
        >>> Grouped.of(np.array([1.0, 2.0, 6.0, 7.0]), np.array([0, 0, 0, 1]), 2).spread().round(4)
        array([1.6667,    nan])
        """
        return np.where(self.size > 1, _means(self.deviations(), self), np.nan)

    def scaled(self, value: Floats) -> Grouped:
        """Return the groups with other values in the same order."""
        return Grouped(value, self.group, self.size)


@dataclass(frozen=True)
class Estimates:
    """A statistic of each group, with how sure it is.

    Attributes
    ----------
    value, se, df : numpy.ndarray, shape (groups,)
        The estimate, its standard error, and the degrees of freedom of that; NaN where it can't be known.
    """

    value: Floats
    se: Floats
    df: Floats


def harrell_davis(grouped: Grouped, q: float) -> Estimates:
    """Estimate a percentile of each group from all its values, by Harrell's and Davis's weights.

    The estimate is sum w[i] x[i], w[i] = I(i / n) - I((i - 1) / n), with I the distribution function of
    Beta((n + 1) q, (n + 1) (1 - q)). Its standard error is the jackknife's. The degrees of freedom are
    2 sqrt(pi n q (1 - q)), the number of gaps between neighbours that bear on the estimate: the weights are nearly
    those of a normal density, whose squares add to as many.

    Parameters
    ----------
    grouped : Grouped
        The values; independent within a group.
    q : float
        The percentile as a share.

    Returns
    -------
    Estimates
        One value has no standard error.

    See Also
    --------
    scipy.stats.mstats.hdquantiles, scipy.stats.mstats.hdquantiles_sd : the same, for one group at a time.

    References
    ----------
    Harrell and Davis (1982), Biometrika 69, 635-640.

    Examples
    --------
    >>> import numpy as np
    >>> found = harrell_davis(Grouped.of(np.arange(11.0), np.zeros(11, dtype=int), 1), 0.5)
    >>> found.value.round(6), found.se.round(2), found.df.round(1)
    (array([5.]), array([1.32]), array([5.9]))
    """
    n = grouped.size.astype(np.float64)
    centre = grouped.percentile(q)
    gap = grouped.value - centre[grouped.group]  # equal values have no error at all
    value = centre + np.bincount(grouped.group, _weights(grouped, q, 1) * gap, len(n))
    freedom = 2 * np.sqrt(np.pi * n * q * (1 - q))
    return Estimates(value, _jackknife(grouped, gap, q), np.where(n > 0, freedom, np.nan))


def relative_spread(grouped: Grouped, relative: NDArray[np.bool_]) -> Estimates:
    """Estimate the mean absolute deviation from the median, as a share of the median where that is asked for.

    D / m with m the median and D = mean |x - m|. The standard error is that of the mean of the influences
    (|x - m| - D sign(x - m) e / m) / m, with e = sqrt(n) times the median's standard error: the noise of the median in
    the denominator counts, that in the numerator doesn't, for D is least at the median.

    Parameters
    ----------
    grouped : Grouped
        The values; independent within a group.
    relative : numpy.ndarray of bool, shape (groups,)
        Which groups to divide by their median; all values of those are positive.

    Returns
    -------
    Estimates
        Groups of less than two values have none.

    References
    ----------
    Hampel et al. (1986), Robust Statistics, section 2.1 (influence).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([8.0, 9.0, 10.0, 11.0, 12.0])
    >>> found = relative_spread(Grouped.of(x, np.zeros(5, dtype=int), 1), np.array([True]))
    >>> found.value, found.se.round(3)
    (array([0.12]), array([0.039]))
    """
    n = grouped.size.astype(np.float64)
    centre = grouped.percentile(0.5)
    scale = np.where(relative, centre, 1.0)
    gap = grouped.value - centre[grouped.group]
    spread = np.where(n > 1, _means(np.abs(gap), grouped), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        noise = np.where(relative, _jackknife(grouped, gap, 0.5) * (np.sqrt(n) * spread / centre), 0.0)
        influence = (np.abs(gap) - np.sign(gap) * noise[grouped.group]) / scale[grouped.group]
        se = np.sqrt(_variances(influence, grouped) / n)
        return Estimates(spread / scale, se, np.where(n > 1, n - 1, np.nan))


def brown_forsythe(grouped: Grouped, relative: NDArray[np.bool_], cell_of: Ints, cells: int) -> Floats:
    """Return the p-values of Brown's and Forsythe's test that two sides spread alike.

    An analysis of variance of z = |x - median| (over the median, where that is asked for) by side, within strata:
    the difference of mean z, weighted by n1 n2 / (n1 + n2), over its error from the variance pooled over all groups.

    Parameters
    ----------
    grouped : Grouped
        The values, in groups 2 s for the baseline and 2 s + 1 for the current side of stratum s.
    relative : numpy.ndarray of bool, shape (groups,)
        Which groups to divide by their median.
    cell_of : numpy.ndarray of int, shape (strata,)
        The cell of each stratum; a negative number leaves the stratum out.
    cells : int
        Number of cells.

    Returns
    -------
    numpy.ndarray, shape (cells,)
        1 where nothing differs; NaN where there is nothing to tell it by.

    See Also
    --------
    scipy.stats.levene : with ``center="median"`` the same, for one stratum of one cell.

    References
    ----------
    Brown and Forsythe (1974), J. Am. Stat. Assoc. 69, 364-367.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([8.0, 9.0, 10.0, 11.0, 12.0, 2.0, 8.0, 10.0, 12.0, 18.0])
    >>> side, no = np.repeat([0, 1], 5), np.zeros(2, dtype=bool)
    >>> brown_forsythe(Grouped.of(x, side, 2), no, np.zeros(1, dtype=int), 1).round(4)
    array([0.1411])
    """
    scale = np.where(relative, grouped.percentile(0.5), 1.0)
    z = grouped.scaled(grouped.deviations() / scale[grouped.group])
    n = grouped.size.astype(np.float64).reshape(-1, 2)
    mean = _means(z.value, z).reshape(-1, 2)
    squares = np.where(n > 1, _variances(z.value, z).reshape(-1, 2) * (n - 1), 0.0)
    used = (n > 0).all(axis=1) & (cell_of >= 0)
    owner = cell_of[used]
    load = (n[:, 0] * n[:, 1])[used] / n.sum(axis=1)[used]
    gap = np.bincount(owner, load * (mean[:, 1] - mean[:, 0])[used], cells)
    freedom = np.bincount(owner, (n.sum(axis=1) - 2)[used], cells)
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = np.bincount(owner, squares[used].sum(axis=1), cells) / freedom
        t = np.abs(gap) / np.sqrt(pooled * np.bincount(owner, load, cells))
    t = np.where((gap == 0) & (freedom > 0), 0.0, t)
    told = (freedom > 0) & ~np.isnan(t)
    return np.where(told, 2 * stdtr(np.maximum(freedom, 1.0), -np.where(told, np.minimum(t, 1e300), 0.0)), np.nan)


def _weights(grouped: Grouped, q: float, more: int) -> Floats:
    """Return the weight of each value, of the Beta distribution for n - 1 + `more` values a group.

    Groups of one size share their weights, which are what costs time.
    """
    sizes, which = np.unique(grouped.size[grouped.size > 1 - more], return_inverse=True)
    first = np.concatenate(([0], np.cumsum(sizes)))[:-1]
    table = np.concatenate([*(_beta_weights(int(n), q, more) for n in sizes), np.zeros(1)])
    offset = np.zeros(len(grouped.size), dtype=np.int64)
    offset[grouped.size > 1 - more] = first[which]
    place = np.arange(len(grouped.value)) - grouped.start[grouped.group]
    return np.where(grouped.size[grouped.group] > 1 - more, table[offset[grouped.group] + place], 0.0)


def _beta_weights(n: int, q: float, more: int) -> Floats:
    """Return n weights; of the n - 1 that leave one value out the last is 0."""
    count = n - 1 + more
    edge = np.arange(count + 1) / count
    weight = np.zeros(n)
    weight[:count] = np.diff(betainc((count + 1) * q, (count + 1) * (1 - q), edge))
    return weight


def _jackknife(grouped: Grouped, gap: Floats, q: float) -> Floats:
    """Return the jackknife's standard error of the weighted mean: from the estimates that leave each value out.

    Without value i it is the weighted sum of those below at their places and of those above at one place less.
    """
    n = grouped.size.astype(np.float64)
    if not len(gap):
        return np.full(len(n), np.nan)
    weight = _weights(grouped, q, 0)
    last = np.zeros(len(gap), dtype=bool)
    last[(grouped.start + grouped.size - 1)[grouped.size > 0]] = True
    following = np.where(last, 0.0, np.append(gap[1:], 0.0))
    largest = np.zeros(len(n))
    np.maximum.at(largest, grouped.group, np.abs(gap))
    with np.errstate(divide="ignore", invalid="ignore"):  # groups of all sizes are summed up in one go
        share = np.where(largest > 0, 1 / largest, 0.0)[grouped.group]
        # leaving out the next value instead of this one changes the estimate by so much
        step = np.where(last, 0.0, weight * (gap * share - following * share))
        before = np.concatenate(([0.0], np.cumsum(step)))[:-1]
        left_out = before - before[grouped.start[grouped.group]]
        variance = _variances(left_out, grouped) * (n - 1) / n
        return np.where(n > 1, largest * np.sqrt(variance * (n - 1)), np.nan)


def _means(value: Floats, grouped: Grouped) -> Floats:
    """Return means by group; NaN for none. Values near the largest number don't add up to more than that."""
    share = np.bincount(grouped.group, value / grouped.size[grouped.group], len(grouped.size))
    return np.where(grouped.size > 0, share, np.nan)


def _variances(value: Floats, grouped: Grouped) -> Floats:
    """Return variances (ddof 1) by group; NaN for one value."""
    gap = value - _means(value, grouped)[grouped.group]
    with np.errstate(divide="ignore", invalid="ignore"):
        squares = np.bincount(grouped.group, gap**2, len(grouped.size))
        return np.where(grouped.size > 1, squares / (grouped.size - 1), np.nan)
