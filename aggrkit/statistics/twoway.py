"""Levels of cells that were not all seen together: what is seen beside what tells how far they are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from aggrkit.statistics.groups import grouped_medians

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["linked_levels"]

_MOST_CELLS: Final = 1500
_ROUNDS: Final = 20
_RIDGE: Final = 1e-9
_HUBER: Final = 1.345
_MAD_TO_STD: Final = 1.4826


def linked_levels(value: ArrayLike, cell: ArrayLike, unit: ArrayLike) -> Floats:
    """Fit the levels of cells while the units move as they like.

    Parameters
    ----------
    value : array_like, shape (n,)
        Values without missing ones.
    cell, unit : array_like of int, shape (n,)
        The cell and the unit of each, numbered from 0 without gaps.

    Returns
    -------
    numpy.ndarray, shape (cells,)
        The level of each cell. Cells that are linked by units in which they were seen together differ by what these
        units tell; those that are not linked, by their medians. Beyond 1,500 cells, the medians.

    Notes
    -----
    The model is ``value = level(cell) + effect(unit) + noise``, fitted by least squares with Huber's weights (k = 1.345
    robust standard deviations). Linked cells are moved together so that the median of their values stays at the median
    of their own medians.

    References
    ----------
    Huber (1981), Robust Statistics, chapter 7.

    Examples
    --------
    Cell 1 was only seen after everything had risen by 1:

    >>> linked_levels([5.0, 5.0, 6.0, 6.0, 9.0, 9.0], [0, 0, 0, 0, 1, 1], [0, 1, 2, 3, 2, 3]).round(6)
    array([5.5, 8.5])
    """
    y, cells, units = (
        np.asarray(value, dtype=np.float64),
        np.asarray(cell, dtype=np.intp),
        np.asarray(unit, dtype=np.intp),
    )
    count, most = int(cells.max(initial=-1)) + 1, int(units.max(initial=-1)) + 1
    medians = grouped_medians(y, cells, count)
    if count < 2 or count > _MOST_CELLS or len(y) >= count * most:
        return medians
    fitted = _fit(y, cells, units, medians, most)
    _, part = connected_components(_links(np.ones(len(y)), cells, units, count, most))
    parts = int(part.max()) + 1
    gap = grouped_medians((medians - fitted)[cells], part.astype(np.intp)[cells], parts)
    found: Floats = fitted + gap[part]
    return found


def _fit(y: Floats, cell: Ints, unit: Ints, medians: Floats, units: int) -> Floats:
    """Return levels up to a constant for cells that are linked."""
    cells = len(medians)
    levels = medians
    effect = grouped_medians(y - levels[cell], unit, units)
    for _ in range(_ROUNDS):
        rest = np.abs(y - levels[cell] - effect[unit])
        told = rest[rest > 1e-12 * np.abs(y)]
        if not len(told):
            break
        scale = _MAD_TO_STD * float(np.median(told))
        weight = np.minimum(1.0, _HUBER * scale / np.maximum(rest, 1e-300))
        total = np.maximum(np.bincount(unit, weight, units), 1e-300)
        means = np.bincount(unit, weight * y, units) / total
        table = sparse.csr_array((weight, (unit, cell)), shape=(units, cells))
        # linked cells can be moved together at no cost: the ridge picks one of the answers
        own = np.bincount(cell, weight, cells) * (1 + _RIDGE)
        left = np.diag(own) - _links(weight, cell, unit, cells, units).toarray()
        right = np.bincount(cell, weight * y, cells) - table.T @ means
        before, levels = levels, np.linalg.solve(left, right)
        effect = np.bincount(unit, weight * (y - levels[cell]), units) / total
        if np.ptp(levels - before) < 1e-3 * scale:
            break
    return levels


def _links(weight: Floats, cell: Ints, unit: Ints, cells: int, units: int) -> sparse.csr_array:
    """Return how much each two cells were seen together."""
    table = sparse.csr_array((weight, (unit, cell)), shape=(units, cells))
    share = weight / np.bincount(unit, weight, units)[unit]
    scaled = sparse.csr_array((share, (unit, cell)), shape=(units, cells))
    return sparse.csr_array(table.T @ scaled)
