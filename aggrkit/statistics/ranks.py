"""Two sides by ranks: for values that no mean describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrkit.statistics.comparison import Units

    Floats = NDArray[np.float64]

__all__ = ["rank_test"]


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
    >>> from aggrkit.statistics.comparison import Units
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
