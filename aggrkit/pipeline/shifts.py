"""Where the cells of like shifted their level: from when on a value is measured against another one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from aggrkit.errors import EmptySelectionError
from aggrkit.model.schema import Role
from aggrkit.pipeline.over_time import OverTime
from aggrkit.pipeline.segments import Segmented

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggrkit.model.metric import Metric
    from aggrkit.model.schema import Column
    from aggrkit.pipeline.prepared import Prepared

__all__ = ["shifts_of"]

_FALSE_ALARM: Final = 0.01
_FEWEST_UNITS: Final = 12
_A_MICROSECOND: Final = 1_000  # in nanoseconds


def shifts_of(
    prepared: Prepared, keys: Sequence[Column], metrics: Sequence[Metric], rows: int
) -> Mapping[str, pa.Array]:
    """Find when cells shifted their level in any metric.

    Parameters
    ----------
    prepared : Prepared
        The rows.
    keys : sequence of Column
        What a cell is a combination of.
    metrics : sequence of Metric
        In which metrics shifts are looked for.
    rows : int
        How many rows there are.

    Returns
    -------
    mapping of str to pyarrow.Array
        A row for each cell that shifted: its keys ``k0, k1, ...``, and the first times after its shifts ``e0, e1,
        ...``, null where it has fewer. Empty where no cell did, or there are no times.

    Notes
    -----
    Each worker is held against itself: that others ran the test at another time is no shift. Change points of run
    medians, see `aggrkit.pipeline.segments.Segmented`; in 1 % of cells without shifts one may be
    found all the same, which costs nothing but that the cell is looked at in two parts.
    """
    if prepared.schema.role(Role.TIMESTAMP) is None:
        return {}
    as_groups = replace(
        prepared, groups={f"k{place}": column for place, column in enumerate(keys)}, metrics=(*metrics,)
    )
    workers = [column for column in prepared.schema.playing(Role.WORKER) if column not in keys]
    try:
        data = OverTime.of(as_groups, rows, "finding shifts", held=workers)
    except EmptySelectionError:
        return {}
    edges: dict[int, list[int]] = {}
    sizes = data.sizes()
    for group in np.flatnonzero(sizes.max(axis=1, initial=0) >= _FEWEST_UNITS).tolist():
        long = np.flatnonzero(sizes[group] >= _FEWEST_UNITS).tolist()
        found = (Segmented.of(data, k, group, _FALSE_ALARM, 0.0) for k in long)
        starts = {int(one.time[place]) for one in found if one is not None for place in one.changes.confirmed}
        if starts:
            edges[group] = sorted(starts)
    if not edges:
        return {}
    cells = data.keys.take(pa.array(list(edges)))
    columns = {f"k{place}": cells[name] for place, name in enumerate(cells.column_names)}
    for place in range(max(map(len, edges.values()))):
        times = [each[place] // _A_MICROSECOND if place < len(each) else None for each in edges.values()]
        columns[f"e{place}"] = pa.array(times, pa.timestamp("us"))
    return columns
