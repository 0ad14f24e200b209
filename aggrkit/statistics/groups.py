"""Groups of values by number: their medians, and which numbers there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["distinct", "grouped_medians"]

_COUNTED: Final = 8
_LARGE: Final = 100  # values a group
_NARROW: Final = 2**15
_SORTED_FROM: Final = 2  # values of a group, up to which its first and its last tell its median


def distinct(codes: ArrayLike) -> tuple[Ints, Ints]:
    """Return the different values of whole numbers from 0 in order, and the place of each code among them.

    Parameters
    ----------
    codes : array_like of int, shape (n,)
        Numbers, none of them negative.

    Returns
    -------
    values, place : numpy.ndarray of int

    See Also
    --------
    numpy.unique : the same by sorting; where the numbers are not much larger than their count, counting is faster.

    Examples
    --------
    >>> distinct([5, 2, 5, 0])
    (array([0, 2, 5]), array([2, 1, 2, 0]))
    """
    code = np.asarray(codes, dtype=np.intp)
    top = int(code.max(initial=-1)) + 1
    if top > _COUNTED * len(code) + 1000:
        values, place = np.unique(code, return_inverse=True)
        return values.astype(np.intp), place.ravel().astype(np.intp)
    there = np.zeros(top, dtype=bool)
    there[code] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[code].astype(np.intp)


def grouped_medians(values: Floats, group: Ints, groups: int) -> Floats:
    """Return the median of each group, NaN for those without values.

    Examples
    --------
    >>> import numpy as np
    >>> grouped_medians(np.array([5.0, 1.0, 3.0, 4.0]), np.array([0, 0, 2, 2]), 3)
    array([3. , nan, 3.5])
    """
    size = np.bincount(group, minlength=groups)
    small = size <= _SORTED_FROM
    if small.all() or np.count_nonzero(small) > _COUNTED * np.count_nonzero(~small):
        return _of_small_groups(values, group, small)
    start = np.cumsum(size) - size
    there = size > 0
    if len(values) > _LARGE * groups and groups < _NARROW:
        # numpy sorts narrow whole numbers by counting, and large groups one by one faster than all at once
        ordered = values[np.argsort(group.astype(np.int16), kind="stable")]
        for a, b in zip(start[there], (start + size)[there], strict=True):
            ordered[a:b].sort()
    else:
        ordered = values[np.lexsort((values, group))]
    low, high = (start + (size - 1) // 2)[there], (start + size // 2)[there]
    found = np.full(groups, np.nan)
    found[there] = ordered[low] / 2 + ordered[high] / 2
    return found


def _of_small_groups(values: Floats, group: Ints, small: NDArray[np.bool_]) -> Floats:
    """Return the medians where nearly all groups have one or two values: only the others are sorted."""
    groups, index = len(small), np.arange(len(values))
    first, last = np.full(groups, -1, dtype=np.intp), np.full(groups, -1, dtype=np.intp)
    first[group[::-1]], last[group] = index[::-1], index
    found = np.full(groups, np.nan)
    pairs = small & (last >= 0)
    found[pairs] = values[first[pairs]] / 2 + values[last[pairs]] / 2
    if not small.all():
        more = np.flatnonzero(~small[group])
        present, place = distinct(group[more])
        ordered = values[more][np.lexsort((values[more], place))]
        size = np.bincount(place)
        start = np.cumsum(size) - size
        found[present] = ordered[start + (size - 1) // 2] / 2 + ordered[start + size // 2] / 2
    return found
