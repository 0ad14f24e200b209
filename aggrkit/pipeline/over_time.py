"""Observations over time: one value per run, each relative to the level of its like."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import ibis
import numpy as np

from aggrkit.errors import EmptySelectionError
from aggrkit.model.schema import Role
from aggrkit.pipeline.coding import codes_of, numbered
from aggrkit.pipeline.expressions import label_of, mean, text_of
from aggrkit.pipeline.grouping import Groups, like_columns, taken_columns
from aggrkit.pipeline.plans import planned
from aggrkit.pipeline.selecting import times_of
from aggrkit.statistics.common_mode import common_mode
from aggrkit.statistics.groups import grouped_medians
from aggrkit.statistics.trends import time_bins
from aggrkit.statistics.twoway import linked_levels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric
    from aggrkit.model.schema import Column
    from aggrkit.pipeline.prepared import Prepared

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["OverTime", "Series", "binned"]

_RESULTS_A_UNIT: Final = 10
_MOST_TIMES: Final = 2_000_000
_SLICES: Final = 4000
_DIGITS: Final = 14


@dataclass(frozen=True)
class Series:
    """One metric of one group: a value per cell and unit, the units in the order of time.

    Attributes
    ----------
    rows : numpy.ndarray of int
        Places in the table of cells and units.
    value : numpy.ndarray
        Level of each row's values; its logarithm if `logarithmic`.
    count : numpy.ndarray
        Number of values of each row.
    cell, unit : numpy.ndarray of int
        Number of each row's cell (what like is compared with like by), and of its unit.
    time : numpy.ndarray
        First time of each unit, in nanoseconds.
    logarithmic : bool
        Whether all values are positive, so that ratios are meant.
    is_rate : bool
        Whether values are pass rates.
    """

    rows: Ints
    value: Floats
    count: Floats
    cell: Ints
    unit: Ints
    time: Floats
    logarithmic: bool
    is_rate: bool

    def __len__(self) -> int:
        return len(self.time)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return int(self.cell.max(initial=-1)) + 1

    @property
    def weight(self) -> Floats:
        """Number of values of each unit."""
        return np.bincount(self.unit, self.count, len(self)).astype(np.float64)

    @property
    def is_balanced(self) -> bool:
        """Whether all cells were seen in all units."""
        return len(self.value) == self.cells * len(self)

    def cell_levels(self, shift: Floats | None = None) -> Floats:
        """Return the level of each cell: the median of its values, of rates their mean; after the shifts of units."""
        value = self.value if shift is None else self.value - shift[self.unit]
        if self.is_rate:
            total = np.bincount(self.cell, self.count, self.cells)
            return np.bincount(self.cell, self.count * value, self.cells) / total
        return grouped_medians(value, self.cell, self.cells)

    def linked_levels(self) -> Floats:
        """Return the level of each cell, as what was seen in the same units tells it."""
        return linked_levels(self.value, self.cell, self.unit)

    def distances(self, levels: Floats) -> Floats:
        """Return how far each unit is from the levels of its cells: the median of its rows, of rates their mean."""
        off = self.value - levels[self.cell]
        if self.is_rate:
            return np.round(np.bincount(self.unit, self.count * off, len(self)) / self.weight, _DIGITS)
        # equal ratios shall be ties, whatever the levels they are of
        off = np.round(off, _DIGITS) if self.logarithmic else off
        return grouped_medians(off, self.unit, len(self))

    def most(self, limit: int) -> int:
        """Return how many units can be looked at: of rates, ten results make one."""
        return min(limit, int(self.count.sum()) // _RESULTS_A_UNIT) if self.is_rate else limit


@dataclass(frozen=True)
class OverTime:
    """A row per cell and unit (run, or moment): its first time, and number and level of each metric's values."""

    metrics: tuple[Metric, ...]
    keys: pa.Table
    labels: pd.DataFrame
    members: list[Ints]
    cell: Ints
    unit: Ints
    time: NDArray[np.int64]
    timed: NDArray[np.bool_]
    count: NDArray[np.int64]
    value: Floats
    held: list[Column]
    beside: Mapping[str, tuple[Ints, list[Any]]]
    unit_is: str
    untimed: int

    @classmethod
    def of(
        cls, prepared: Prepared, rows: int, purpose: str, held: Sequence[Column] | None = None, beside: bool = False
    ) -> OverTime:
        """Let the engine collapse the rows to units, and number groups, cells and units.

        Parameters
        ----------
        prepared : Prepared
            The rows.
        rows : int
            How many there are.
        purpose : str
            What it is for, in the message if there is no time column.
        held : sequence of Column, optional
            By what like is compared with like; all of `HELD_FIXED` that isn't grouped by, by default.
        beside : bool, optional
            Whether to note what else describes each row, where that is one thing only.

        Raises
        ------
        UnknownNameError
            If there is no time column.
        EmptySelectionError
            If no value of it can be read as a time.
        """
        moment = prepared.schema.moment(purpose)
        taken = taken_columns(prepared)
        fixed = list(like_columns(prepared) if held is None else held)
        run = prepared.schema.role(Role.RUN)
        span: tuple[float, float] | None = None
        if run is not None and run.name not in taken:
            unit_is = "run"
        elif rows > _MOST_TIMES:
            unit_is = "slice of time"
            first_time, last_time = times_of(prepared)
            span = first_time.timestamp(), last_time.timestamp()
        else:
            unit_is = "moment"
        others = _describing(prepared, {*taken, *(column.name for column in fixed)}) if beside else []
        by_run = run if unit_is == "run" else None
        found, _ = planned(_collapsed, prepared, moment, tuple(fixed), by_run, span, tuple(others))
        first = found["first"].to_pandas()
        timed = first.notna().to_numpy()
        if not timed.any():
            times_of(prepared)
            raise EmptySelectionError(f"no value of {moment.name!r} can be read as a time")
        inner = [f"c{k}" for k in range(len(fixed))]
        codes = {name: codes_of(found[name])[0] for name in (*inner, "unit")}
        groups = Groups.of(found, prepared)
        return cls(
            metrics=prepared.metrics,
            keys=groups.keys,
            labels=groups.labels,
            members=groups.members,
            cell=numbered([codes[name] for name in inner], found.num_rows),
            unit=codes["unit"],
            time=first.astype("datetime64[ns]").to_numpy().astype(np.int64),
            timed=timed,
            count=np.array([found[f"n{k}"].to_numpy() for k in range(len(prepared.metrics))], dtype=np.int64),
            value=np.array([found[f"x{k}"].to_numpy() for k in range(len(prepared.metrics))], dtype=np.float64),
            held=fixed,
            beside={column.name: codes_of(found[f"b{k}"]) for k, column in enumerate(others)},
            unit_is=unit_is,
            untimed=int(found["rows"].to_numpy()[~timed].sum()),
        )

    def without_common_mode(self) -> OverTime:
        """Return the same with what all series of a run share taken out, of metrics whose values are all positive."""
        group = np.repeat(np.arange(len(self.members)), [len(members) for members in self.members])
        of_row = np.empty(len(self.cell), dtype=np.intp)
        of_row[np.concatenate(self.members)] = group
        series = numbered([of_row, self.cell], len(self.cell))
        value = self.value.copy()
        for k, metric in enumerate(self.metrics):
            rows = np.flatnonzero(self.timed & (self.count[k] > 0) & np.isfinite(self.value[k]) & (self.unit >= 0))
            if not metric.is_proportion and len(rows) and (self.value[k][rows] > 0).all():
                told, run = (np.unique(codes[rows], return_inverse=True)[1].ravel() for codes in (series, self.unit))
                value[k][rows] = np.exp(common_mode(np.log(self.value[k][rows]), told, run).residual)
        return replace(self, value=value)

    def sizes(self) -> Ints:
        """Return how many rows of each group have a value of each metric, an array of shape (groups, metrics)."""
        group = np.empty(len(self.cell), dtype=np.intp)
        group[np.concatenate(self.members)] = np.repeat(np.arange(len(self.members)), [len(m) for m in self.members])
        there = self.timed & (self.count > 0)
        return np.stack([np.bincount(group, some, len(self.members)) for some in there], axis=1).astype(np.intp)

    def rows(self, k: int, group: int) -> Ints:
        """Return the rows of a group in which a metric has a value and a time."""
        rows: Ints = self.members[group]
        known: Ints = rows[self.timed[rows] & (self.count[k][rows] > 0) & np.isfinite(self.value[k][rows])]
        return known

    def series(self, k: int, rows: Ints) -> Series:
        """Return a metric over time; cells that were seen at one time only say nothing, and are left out."""
        rows = self._told(rows)
        rate = self.metrics[k].is_proportion
        value, count = self.value[k][rows], self.count[k][rows].astype(np.float64)
        logarithmic = not rate and bool((value > 0).all())
        cell = np.unique(self.cell[rows], return_inverse=True)[1].ravel()
        unit = np.unique(self.unit[rows], return_inverse=True)[1].ravel()
        time = np.full(int(unit.max(initial=-1)) + 1, np.iinfo(np.int64).max)
        np.minimum.at(time, unit, self.time[rows])
        order = np.argsort(time, kind="stable")
        place = np.empty(len(order), dtype=np.intp)
        place[order] = np.arange(len(order))
        return Series(
            rows=rows,
            value=np.log(value) if logarithmic else value,
            count=count,
            cell=cell,
            unit=place[unit],
            time=time[order].astype(np.float64),
            logarithmic=logarithmic,
            is_rate=rate,
        )

    def _told(self, rows: Ints) -> Ints:
        """Leave out cells that were seen at one time only."""
        if not len(rows):
            return rows
        cell = np.unique(self.cell[rows], return_inverse=True)[1].ravel()
        size = int(cell.max()) + 1
        low, high = np.full(size, np.iinfo(np.int64).max), np.full(size, np.iinfo(np.int64).min)
        np.minimum.at(low, cell, self.time[rows])
        np.maximum.at(high, cell, self.time[rows])
        return rows[(high > low)[cell]]


def binned(
    time: Floats, off: Floats, weight: Floats, most: int, *, rate: bool
) -> tuple[Floats, Floats, NDArray[np.intp]]:
    """Return medians (of rates the means) over bins of time of about equal count, and the bin of each unit."""
    place = np.unique(time_bins(time, most), return_inverse=True)[1].ravel()
    bins = int(place.max(initial=-1)) + 1
    middle = grouped_medians(time, place, bins)
    if rate:
        return middle, np.bincount(place, weight * off, bins) / np.bincount(place, weight, bins), place
    return middle, grouped_medians(off, place, bins), place


def _describing(prepared: Prepared, taken: set[str]) -> list[Column]:
    """Return what may have changed together with a level: versions, machines, and what else describes a run."""
    roles = (Role.VERSION, Role.HARDWARE, Role.WORKER, Role.CONDITION, Role.ATTRIBUTE)
    return [column for column in prepared.schema.playing(*roles) if column.name not in taken]


def _collapsed(
    prepared: Prepared,
    moment: Column,
    fixed: Sequence[Column],
    run: Column | None,
    span: tuple[float, float] | None,
    others: Sequence[Column],
) -> tuple[ibis.Table, None]:
    """Build the query that collapses rows to units: runs, slices of a span of time, or moments."""
    table = prepared.table
    time = table[moment.field]
    outer = {f"g{k}": key for k, key in enumerate(prepared.group_expressions().values())}
    inner = {f"c{k}": text_of(label_of(table[column.field])) for k, column in enumerate(fixed)}
    unit: Any = time if span is None else _slices(span, time)
    if run is not None:
        # a row without a run id is a unit of its own time
        unit = ibis.coalesce(text_of(label_of(table[run.field])), time.cast("string"))
    measures: dict[str, Any] = {"first": time.min(), "rows": table.count()}
    for k, metric in enumerate(prepared.metrics):
        values = prepared.values(metric)
        measures |= {f"n{k}": values.count(), f"x{k}": mean(values) if metric.is_proportion else values.median()}
    for k, column in enumerate(others):
        text = text_of(label_of(table[column.field]))
        measures[f"b{k}"] = ibis.ifelse(text.min() == text.max(), text.min(), ibis.null("string"))
    return table.group_by(**outer, **inner, unit=unit).aggregate(**measures), None


def _slices(span: tuple[float, float], time: Any) -> Any:
    """Return the number of the slice of time that a row falls into."""
    first, last = span
    return ((time.epoch_seconds() - int(first)) / max((last - first) / _SLICES, 1.0)).floor().cast("int64")
