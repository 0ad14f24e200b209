"""Which conditions may be pooled where cells are too thin to tell what is odd in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aggrkit.pipeline.coding import codes_of, numbered
from aggrkit.pipeline.expressions import fetch
from aggrkit.pipeline.prepared import group_key
from aggrkit.statistics.differences import kruskal_wallis
from aggrkit.statistics.groups import grouped_medians

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric
    from aggrkit.model.schema import Column
    from aggrkit.pipeline.prepared import Prepared

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["are_thin", "without_poolable"]

_THIN: Final = 20
_MOST_ROWS: Final = 200_000
_MATTERS: Final = 0.01
_MOST_LEVELS: Final = 200
_ROWS_A_LEVEL: Final = 5


def are_thin(sizes: Sequence[Floats]) -> bool:
    """Say whether half of the values of any metric are in cells of fewer than 20.

    Parameters
    ----------
    sizes : sequence of numpy.ndarray
        For each metric the number of values of each cell.
    """
    for size in sizes:
        ordered = np.sort(size[size > 0])
        if ordered.sum() and ordered[np.searchsorted(np.cumsum(ordered), ordered.sum() / 2)] < _THIN:
            return True
    return False


def without_poolable(
    prepared: Prepared, metrics: Sequence[Metric], grouped: Sequence[Column], others: Sequence[Column]
) -> list[Column]:
    """Return the columns that cells must differ by, so that no metric depends on those that are left out.

    One after the other the column that matters least is left out, until each of the rest matters: within cells of all
    the others, the values or their distance from the middle differ by it (Kruskal and Wallis, p < 0.01 for any metric).
    A column with more than 200 values, or fewer than 5 rows for each, stays: too little is known of what it does.

    Parameters
    ----------
    prepared : Prepared
        The selection.
    metrics : sequence of Metric
        What is measured.
    grouped : sequence of Column
        Columns that are grouped by, and stay.
    others : sequence of Column
        Columns that may be left out.

    Returns
    -------
    list of Column
        Those of `others` that stay; all of them where there are too many rows to look at.
    """
    table = prepared.table
    chosen: dict[str, Any] = {f"k{place}": group_key(table, column) for place, column in enumerate((*grouped, *others))}
    chosen |= {f"x{place}": table[prepared.field(metric)] for place, metric in enumerate(metrics)}
    rows = fetch(table.select(**chosen).limit(_MOST_ROWS + 1), prepared.label)
    if rows.num_rows > _MOST_ROWS:
        return list(others)
    fixed = [codes_of(rows[f"k{place}"])[0] for place in range(len(grouped))]
    codes = {column.name: codes_of(rows[f"k{len(grouped) + place}"])[0] for place, column in enumerate(others)}
    values = [rows[f"x{place}"].to_numpy().astype(np.float64) for place in range(len(metrics))]
    kept = list(others)
    open_ = [column for column in others if _is_told(codes[column.name])]
    while open_:
        chances = {}
        for column in list(open_):
            rest = [codes[other.name] for other in kept if other is not column]
            chance = _least_chance(values, codes[column.name], numbered([*fixed, *rest], rows.num_rows))
            if chance < _MATTERS:
                open_.remove(column)
            else:
                chances[column.name] = chance
        if not open_:
            break
        least = max(open_, key=lambda column: chances[column.name])
        kept.remove(least)
        open_.remove(least)
    return kept


def _least_chance(values: Sequence[Floats], group: Ints, stratum: Ints) -> float:
    """Return the smallest p-value over all metrics, or the first that is small enough."""
    least = 1.0
    for value in values:
        least = min(least, _chance(value, group, stratum))
        if least < _MATTERS:
            break
    return least


def _is_told(code: Ints) -> bool:
    """Say whether there are enough rows of each value to see what a column does."""
    levels = int(code.max(initial=0)) + 1
    return levels <= _MOST_LEVELS and len(code) >= _ROWS_A_LEVEL * levels


def _chance(values: Floats, group: Ints, stratum: Ints) -> float:
    """Return the smaller p-value of a difference in level and in spread; 1 where nothing can be told."""
    there = np.isfinite(values)
    if not there.any():
        return 1.0
    value, mine, place = values[there], group[there] + 1, np.unique(stratum[there], return_inverse=True)[1].ravel()
    middle = grouped_medians(value, place, int(place.max()) + 1)[place]
    found = [kruskal_wallis(data, mine, place).pvalue for data in (value, np.abs(value - middle))]
    return float(np.nanmin([*found, 1.0]))
