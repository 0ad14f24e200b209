"""The cells in which like is compared with like: a group, and what was measured of its values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Final

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa

from aggrkit.model.schema import Role
from aggrkit.pipeline.aggregate import group_labels
from aggrkit.pipeline.expressions import fetch
from aggrkit.pipeline.keyed import (
    MIDDLE,
    OF_CELL,
    QUANTILES,
    joined,
    keyed,
    measures,
    query_of_joined,
    query_of_keyed,
    spreads,
    trimmed_middles,
)
from aggrkit.pipeline.plans import planned
from aggrkit.pipeline.pooling import are_thin, without_poolable
from aggrkit.pipeline.segments import FEWEST
from aggrkit.pipeline.shifts import shifts_of
from aggrkit.sources.observations import ROW
from aggrkit.statistics.outliers import choose_scale, far_out, robust_std

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric
    from aggrkit.model.schema import Column
    from aggrkit.pipeline.prepared import Prepared

    Floats = NDArray[np.float64]

__all__ = ["Cells"]

_CELL_ROLES: Final = (Role.MODEL, Role.HARDWARE, Role.TASK_TYPE, Role.CONDITION)
_FEWEST_TRIMMED: Final = 10
_FEWEST_TO_SHIFT: Final = 2 * FEWEST


@dataclass(frozen=True)
class Cells:
    """The cells of a selection, with what was measured of each.

    Parameters
    ----------
    prepared : Prepared
        The selection.
    keys : sequence of Column
        What a cell is a combination of.
    found : pyarrow.Table
        A row for each cell: its keys, and the measures of each metric.
    places : dict
        Name of a metric to its number in `found`.
    memo : dict, optional
        What was measured later.
    pooled : sequence of str, optional
        Columns that would be keys, but make no difference to any metric.
    cut : ibis.Table, optional
        The selected rows with the keys of their cell beside them, where cells were cut at shifts of their level.
    shifted : int, optional
        How many cells that were.
    """

    prepared: Prepared
    keys: Sequence[Column]
    found: pa.Table
    places: dict[str, int]
    memo: dict[str, Any] = field(default_factory=dict)
    pooled: Sequence[str] = ()
    cut: ibis.Table | None = None
    shifted: int = 0

    @classmethod
    def of(cls, prepared: Prepared, metrics: Sequence[Metric], rows: int) -> Cells:
        """Measure all cells and metrics in one scan.

        Thin cells are pooled over what makes no difference; where levels shifted over time, cells are cut there.
        """
        cells = cls._pooled(prepared, metrics)
        enough = any(cells.n(metric).max(initial=0) >= _FEWEST_TO_SHIFT for metric in metrics)
        shifts = shifts_of(prepared, cells.keys, metrics, rows) if enough else {}
        return cells._cut(metrics, shifts) if shifts else cells

    @classmethod
    def _pooled(cls, prepared: Prepared, metrics: Sequence[Metric]) -> Cells:
        schema = prepared.schema
        grouped = [column for column in prepared.groups.values() if column is not None]
        names = {column.name for column in grouped} | {metric.name for metric in metrics}
        others = [column for column in schema.playing(*_CELL_ROLES) if column.name not in names]
        cells = cls._scanned(prepared, metrics, [*grouped, *others])
        if metrics and others and are_thin([cells.n(metric) for metric in metrics]):
            kept = without_poolable(prepared, metrics, grouped, others)
            if len(kept) < len(others):
                pooled = [column.name for column in others if column not in kept]
                return replace(cls._scanned(prepared, metrics, [*grouped, *kept]), pooled=pooled)
        return cells

    @classmethod
    def _scanned(cls, prepared: Prepared, metrics: Sequence[Metric], keys: Sequence[Column]) -> Cells:
        places = {metric.name: place for place, metric in enumerate(metrics)}
        fields = tuple(prepared.field(metric) for metric in metrics)
        found, _ = planned(query_of_keyed, prepared, tuple(keys), measures, *fields)
        return cls(prepared, keys, found, places)

    @property
    def table(self) -> ibis.Table:
        """The selected rows, with the keys of their cell beside them."""
        return keyed(self.prepared, self.keys) if self.cut is None else self.cut

    def ask(self, build: Callable[..., ibis.Table], beside: Mapping[str, Any], *about: Hashable) -> pa.Table:
        """Run a query on the rows, with their cell and something of it beside them.

        Parameters
        ----------
        build : callable
            A function of a module, ``(rows, *about) -> query``.
        beside : mapping
            What is beside the rows, an array with a value for each cell; two underscores tell these from the rest.
        *about : hashable
            What else the query depends on.
        """
        if self.cut is not None:
            return fetch(build(self.beside(beside), *about), self.prepared.label)
        found, _ = planned(
            query_of_joined, self.prepared, tuple(self.keys), build, *about, beside=self._with_cells(beside)
        )
        return found

    def _cut(self, metrics: Sequence[Metric], shifts: Mapping[str, pa.Array]) -> Cells:
        """Cut cells where their levels shifted: the segment becomes one more key."""
        edges = [name for name in shifts if name.startswith("e")]
        beside = ibis.memtable(pa.table({f"__shift_{name}": column for name, column in shifts.items()}))
        alike = [self.table[f"__{k}"].identical_to(beside[f"__shift_{k}"]) for k in shifts if k not in edges]
        joined = self.table.left_join(beside, alike) if alike else self.table.cross_join(beside)
        held = [f"__shift_{name}" for name in edges]
        rows = joined.select(*self.table.columns, *held)
        time = rows[self.prepared.schema.moment("cutting cells").field]
        after = [(time >= rows[name]).fill_null(False).cast("int64") for name in held]
        # a key of its own projection: what is added within a join can't be joined by
        kept = rows.mutate(**{f"__k{len(self.keys)}": reduce(add, after)})
        table = kept.drop(*held)
        fields = [self.prepared.field(metric) for metric in metrics]
        found = fetch(measures(table, *fields), self.prepared.label)
        return replace(self, found=found, memo={}, cut=table, shifted=len(shifts[edges[0]]))

    def n(self, metric: Metric) -> Floats:
        """Return the number of values of each cell."""
        return self.of_metric(metric, "n")

    def of_metric(self, metric: Metric, name: str) -> Floats:
        """Return one measure of each cell."""
        place = self.places[metric.name]
        if name in QUANTILES:
            column = pa.compute.list_element(self.found[f"q{place}"], list(QUANTILES).index(name))
        else:
            column = self.found[f"{name}{place}"]
        return np.asarray(column.to_numpy(), dtype=np.float64)

    def sizes(self, metrics: Sequence[Metric], fewest: int) -> pd.DataFrame:
        """Return a row per group and metric: how many cells were tested, and the size of the largest."""
        groups = self.groups_of(np.arange(self.found.num_rows))
        parts = [
            groups.assign(metric=metric.name, tested=self.n(metric) >= fewest, largest=self.n(metric))
            for metric in metrics
        ]
        if not parts:
            return groups.iloc[:0].assign(metric="", tested=0, largest=0)
        keys = [*self.prepared.groups, "metric"]
        measured = pd.concat(parts, ignore_index=True).groupby(keys, sort=False, observed=True)
        return measured.agg(tested=("tested", "sum"), largest=("largest", "max")).astype("int64").reset_index()

    def scale(self, metric: Metric) -> str:
        """Return the scale on which the clean values of a metric look symmetric."""
        key = f"scale of {metric.name}"
        if key not in self.memo:
            low, middle, high = self.memo[f"middles of {metric.name}"]
            self.memo[key] = choose_scale(low, middle, high, self.n(metric), self._positive(metric))
        return str(self.memo[key])

    def _positive(self, metric: Metric) -> bool:
        smallest = self.of_metric(metric, "min")
        return bool((smallest[np.isfinite(smallest)] > 0).all())

    def measure_middles(self, metrics: Sequence[Metric]) -> None:
        """Find the percentiles that tell the scale of each metric; outliers left out, in one scan if there are any."""
        cuts: dict[str, Any] = {}
        trimmed = []
        for place, metric in enumerate(metrics):
            middles = [self.of_metric(metric, name).copy() for name in MIDDLE]
            self.memo[f"middles of {metric.name}"] = middles
            if not self._positive(metric):
                continue
            lower, upper = far_out(*(self.of_metric(metric, name) for name in ("q1", "p50", "q3")))
            small = self.n(metric) < _FEWEST_TRIMMED
            lower, upper = np.where(small, -np.inf, lower), np.where(small, np.inf, upper)
            if ((self.of_metric(metric, "min") < lower) | (self.of_metric(metric, "max") > upper)).any():
                trimmed.append((place, metric))
                cuts |= {f"lower{place}": lower, f"upper{place}": upper}
        if not trimmed:
            return
        found = self.ask(trimmed_middles, cuts, *((place, self.prepared.field(metric)) for place, metric in trimmed))
        cell = found["cell"].to_numpy()
        for place, metric in trimmed:
            for rank, column in enumerate(self.memo[f"middles of {metric.name}"]):
                column[cell] = pa.compute.list_element(found[f"q{place}"], rank).to_numpy()

    def scales(self, metric: Metric) -> tuple[str, ...]:
        """Return the scales on which a metric is scored."""
        scale = self.scale(metric)
        return ("raw", "log") if scale == "both" else (scale,)

    def measure_spread(self, metrics: Sequence[Metric]) -> None:
        """Find the robust standard deviation of each cell, metric and scale, all in one scan.

        See `aggrkit.statistics.outliers.robust_std`.
        """
        centres: dict[str, tuple[Metric, str, Floats]] = {}
        for metric in metrics:
            for scale in self.scales(metric):
                median = self.of_metric(metric, "p50")
                with np.errstate(divide="ignore"):  # a median too small for its logarithm
                    centres[f"c{len(centres)}"] = metric, scale, np.log(median) if scale == "log" else median
        spread = self.ask(
            spreads,
            {key: centre for key, (_, _, centre) in centres.items()},
            *((key, self.prepared.field(metric), scale == "log") for key, (metric, scale, _) in centres.items()),
        )
        for key, (metric, scale, centre) in centres.items():
            measured = np.full((4, self.found.num_rows), np.nan)
            for row, name in enumerate(("mad", "average", "step", "off")):
                measured[row, spread["cell"].to_numpy()] = spread[f"{name}_{key}"].to_numpy()
            rounding = 8 * np.finfo(float).eps * np.maximum(np.abs(centre), 1e-300)
            mad, average, step, off = measured
            width = robust_std(mad, average, step, off, self.n(metric), rounding)
            self.memo[f"{metric.name}:{scale}"] = centre, width

    def robust(self, metric: Metric, scale: str) -> tuple[Floats, Floats]:
        """Return median and robust standard deviation of each cell, as `measure_spread` found them."""
        centre, width = self.memo[f"{metric.name}:{scale}"]
        return centre, width

    def values(self, metric: Metric, usable: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Floats, NDArray[np.int64]]:
        """Return cell, value and row number of every value in the cells that can be tested."""
        joined = self.beside({"usable": usable})
        column = joined[self.prepared.field(metric)]
        rows = fetch(
            joined.filter(joined["__usable"], column.notnull()).select(
                cell=joined["__cell"], value=column, row=joined[ROW]
            ),
            self.prepared.label,
        )
        return rows["cell"].to_numpy(), rows["value"].to_numpy(), rows["row"].to_numpy()

    def groups_of(self, cell: NDArray[np.intp]) -> pd.DataFrame:
        """Return the labels of the groups that cells belong to, a row for each cell that is given."""
        renamed = {}
        for place, column in enumerate(self.prepared.groups.values()):
            source = None if column is None else next(k for k, key in enumerate(self.keys) if key.name == column.name)
            renamed[f"g{place}"] = (
                pa.nulls(self.found.num_rows, pa.string()) if source is None else self.found[f"__k{source}"]
            )
        labels = group_labels(pa.table(renamed) if renamed else self.found, list(self.prepared.groups))
        return labels.iloc[cell].reset_index(drop=True)

    def beside(self, columns: Mapping[str, Any]) -> ibis.Table:
        """Return the rows with their cell and something of it beside them; two underscores tell these from the rest."""
        return joined(self.table, ibis.memtable(self._with_cells(columns)))

    def _with_cells(self, columns: Mapping[str, Any]) -> pa.Table:
        by = [name for name in self.found.column_names if name.startswith("__k")]
        data = {f"{name}{OF_CELL}": self.found[name] for name in by}
        data |= {"__cell": pa.array(np.arange(self.found.num_rows, dtype=np.int64))}
        data |= {f"__{name}": pa.array(values) for name, values in columns.items()}
        return pa.table(data)
