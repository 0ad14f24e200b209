"""Which anomalies are sure to be single observations, and which may yet prove to be something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from aggrkit.model.schema import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis
    from numpy.typing import NDArray

    from aggrkit.pipeline.bounds import Bounds
    from aggrkit.pipeline.cells import Cells

    Ints = NDArray[np.int64]

__all__ = ["REASONS", "STATUSES", "Normal", "status_of"]

STATUSES: Final = ("confirmed", "suspect")
REASONS: Final = ("latest", "few")
"""Why an anomaly is suspect: no later value of its cell is normal, or its cell has few values."""

_ENOUGH: Final = 10  # values of a cell; among fewer, one more run may move what is expected


class Normal:
    """When each cell last had a value within what is expected.

    Parameters
    ----------
    cells : Cells
        The cells.
    flagged : sequence of Bounds
        What is expected in each of them, by metric.
    """

    def __init__(self, cells: Cells, flagged: Sequence[Bounds]) -> None:
        self._last: dict[int, pd.Series[pd.Timestamp]] = {}
        moment = cells.prepared.schema.role(Role.TIMESTAMP)
        if moment is None:
            return
        ends = {f"lower{k}": b.lower for k, b in enumerate(flagged)}
        ends |= {f"upper{k}": b.upper for k, b in enumerate(flagged)}
        fields = (cells.prepared.field(bounds.metric) for bounds in flagged)
        found = cells.ask(_last_normal, ends, moment.field, *fields).to_pandas()
        last = found.set_index("__cell").reindex(range(cells.found.num_rows))
        self._last = {k: last[f"t{k}"] for k in range(len(flagged))}

    def is_later(self, k: int, cell: Ints, time: pd.Series[pd.Timestamp] | None) -> NDArray[np.bool_]:
        """Say of observations whether their cell has no normal value of a metric at their time or after it."""
        if k not in self._last or time is None:
            return np.zeros(len(cell), dtype=bool)
        last = self._last[k].iloc[cell].reset_index(drop=True)
        moment = time.reset_index(drop=True)
        later: NDArray[np.bool_] = (moment.notna() & (last.isna() | (moment > last))).to_numpy(dtype=bool)
        return later


def _last_normal(rows: ibis.Table, moment: str, *fields: str) -> ibis.Table:
    """Return the query for the last time at which each cell had a value within its ends, by field."""
    measures = {}
    for k, field in enumerate(fields):
        within = (rows[field] >= rows[f"__lower{k}"]) & (rows[field] <= rows[f"__upper{k}"])
        measures[f"t{k}"] = rows[moment].max(where=within)
    return rows.group_by("__cell").aggregate(**measures)


def status_of(later: NDArray[np.bool_], n: Ints) -> tuple[pd.Categorical[str], list[str]]:
    """Return the status of anomalies, and the reason of those that are suspect.

    Parameters
    ----------
    later : numpy.ndarray of bool
        Whether no later value of the cell is normal: what begins there may be a shift.
    n : numpy.ndarray of int
        Values of the cell.
    """
    few = n < _ENOUGH
    reasons = np.select([later, few], list(REASONS), "").tolist()
    words = np.where(later | few, STATUSES[1], STATUSES[0])
    return pd.Categorical(words, categories=list(STATUSES), ordered=True), reasons
