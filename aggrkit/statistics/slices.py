"""Where the flagged ones are: the few combinations of values that hold nearly all of them and little else."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import xlogy
from scipy.stats import hypergeom

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Bools = NDArray[np.bool_]
    Ints = NDArray[np.int64]

__all__ = ["Slice", "slices"]

_CHANCE: Final = 0.05
_MOSTLY: Final = 0.5
_NEARLY_ALL: Final = 0.8


@dataclass(frozen=True)
class Slice:
    """A combination of values.

    Attributes
    ----------
    values : tuple of (int, int)
        Column and code of each value that is fixed; none of them for everything.
    flagged : int
        How many of its members are flagged, that were not in a slice before it.
    members : int
        How many members it has, those left out that were in a slice before it.
    """

    values: tuple[tuple[int, int], ...]
    flagged: int
    members: int


def slices(codes: ArrayLike, flagged: ArrayLike, most_values: int = 2, most_slices: int = 5) -> list[Slice]:
    """Find the slices in which the flagged ones lie.

    Parameters
    ----------
    codes : array_like of int, shape (members, columns)
        What each member has in each column, as whole numbers from 0; below 0 where it has nothing.
    flagged : array_like of bool, shape (members,)
        Which members are flagged.
    most_values : int, optional
        How many columns a slice may fix.
    most_slices : int, optional
        How many slices may be given.

    Returns
    -------
    list of Slice
        The most telling first. Empty where the flagged ones lie anywhere: then no slice has more of them than chance
        puts into the best of all slices at 5 % (hypergeometric, adjusted by Bonferroni), with at least half of its
        members flagged. One slice without values, where four fifths of all members or more are flagged.

    Notes
    -----
    Greedy: the slice is taken that makes the flags most likely (the likelihood ratio of a rate inside and one outside
    against a rate for all; of equals, the one that fixes less), its members are set aside, and the search goes on. A
    slice that fixes more has to be more likely by more than the extra choice is worth (the logarithm of the number of
    slices of that size).

    Examples
    --------
    >>> hardware = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    >>> precision = [0, 0, 1, 1] * 3
    >>> slow = [False] * 4 + [True] * 4 + [False] * 4
    >>> slices(list(zip(hardware, precision)), slow)
    [Slice(values=((0, 1),), flagged=4, members=4)]
    """
    table = np.asarray(codes, dtype=np.int64)
    table = table if table.ndim == 2 else table.reshape(len(table), 1)
    left = np.asarray(flagged, dtype=np.bool_).copy()
    if len(left) != len(table):
        raise ValueError(f"codes and flags must be of the same members, but there are {len(table)} and {len(left)}")
    there = np.ones(len(left), dtype=np.bool_)
    found: list[Slice] = []
    while left.any() and len(found) < most_slices:
        if left[there].mean() >= _NEARLY_ALL:
            found.append(Slice((), int(left.sum()), int(there.sum())))
            break
        best = _best(table[there], left[there], most_values)
        if best is None:
            break
        values, size, members = best
        found.append(Slice(values, size, members))
        inside = there & np.logical_and.reduce([table[:, column] == code for column, code in values])
        there &= ~inside
        left &= ~inside
    return found


def _best(table: Ints, flagged: Bools, most_values: int) -> tuple[tuple[tuple[int, int], ...], int, int] | None:
    """Return the slice that makes the flags most likely, if chance alone doesn't."""
    total, hits = len(flagged), int(flagged.sum())
    best, gain_of_best = None, 0.0
    columns = range(table.shape[1])
    for size in range(1, most_values + 1):
        for some in combinations(columns, size):
            keys, place = np.unique(table[:, some], axis=0, return_inverse=True)
            members = np.bincount(place.ravel(), minlength=len(keys))
            inside = np.bincount(place.ravel(), flagged, len(keys)).astype(np.int64)
            possible = (keys >= 0).all(axis=1) & (inside >= _MOSTLY * members) & (members < total)
            gain = np.where(possible, _likelihood_ratio(inside, members, hits, total) - np.log(len(keys)), -np.inf)
            top = int(np.argmax(gain))
            chance = float(hypergeom.sf(inside[top] - 1, total, hits, members[top])) * len(keys) * len(columns)
            if gain[top] > gain_of_best + 1e-9 and chance < _CHANCE:
                gain_of_best = float(gain[top])
                values = tuple((column, int(code)) for column, code in zip(some, keys[top], strict=True))
                best = values, int(inside[top]), int(members[top])
    return best


def _likelihood_ratio(inside: Ints, members: Ints, hits: int, total: int) -> NDArray[np.float64]:
    """Return by how much a rate inside and one outside make the flags likelier than one rate, as logarithms."""
    outside, others = hits - inside, total - members

    def likelihood(k: NDArray[np.int64] | int, n: NDArray[np.int64] | int) -> NDArray[np.float64]:
        size = np.maximum(n, 1)
        found: NDArray[np.float64] = xlogy(k, k / size) + xlogy(n - k, (n - k) / size)
        return found

    return likelihood(inside, members) + likelihood(outside, others) - likelihood(hits, total)
