"""Both sides of a comparison, collapsed to one row per run of each stratum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from aggrkit.model.schema import Role
from aggrkit.pipeline.aggregate import as_text
from aggrkit.pipeline.expressions import label_of, mean
from aggrkit.pipeline.marked import SIDE
from aggrkit.pipeline.matching import Matching, find_matching, worth_matching
from aggrkit.pipeline.prepared import group_key
from aggrkit.statistics.comparison import nested_effect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import ibis
    from numpy.typing import NDArray

    from aggrkit.model.schema import Column
    from aggrkit.pipeline.halves import Halves
    from aggrkit.pipeline.marked import Marked
    from aggrkit.pipeline.prepared import Prepared
    from aggrkit.pipeline.sides import Sides
    from aggrkit.statistics.quantiles import Statistic

    Floats = NDArray[np.float64]

__all__ = ["Observed", "Sample", "SideUnits", "counted_runs", "padded"]

_MOST_OBSERVATIONS: Final = 2_000_000
_MOST_HELD: Final = 20_000_000
_PAIRED_FROM: Final = 0.5
_WORKERS_DIFFER: Final = 0.01


@dataclass(frozen=True)
class Observed:
    """The single values of a metric, for what moments can't tell.

    Parameters
    ----------
    value : numpy.ndarray, shape (n,)
        All values of both sides.
    row : numpy.ndarray of int, shape (n,)
        The row of the units that each belongs to.
    """

    value: Floats
    row: NDArray[np.int64]


@dataclass(frozen=True)
class SideUnits:
    """Both sides, collapsed to one row per run (or to the single observations) of each stratum.

    For statistics other than the mean the single values of each metric are held beside, 8 bytes each. Where they would
    be more than 20 million, the engine computes the statistics of each row instead, as further columns.
    """

    prepared: Prepared
    matching: Matching
    matched: tuple[Column, ...]
    units: pd.DataFrame
    labels: pd.DataFrame
    cell: NDArray[np.int64]
    stratum: NDArray[np.int64]
    design: str
    names: tuple[str, str]
    extra_keys: tuple[str, ...]
    observed: tuple[Observed, ...] = ()

    @classmethod
    def of(
        cls, prepared: Prepared, sides: Sides | Halves, statistics: Sequence[Statistic] = (), rows: int | None = None
    ) -> SideUnits:
        """Mark the sides, find what to match on, and fetch the units, and what statistics beside the mean need.

        Where it is known that there are no more than so many `rows`, they aren't counted.
        """
        marked, names = sides.mark(prepared)
        by = sides.column(prepared)
        told_by = {by.name} if by is not None else set()
        groups = {
            name: column for name, column in prepared.groups.items() if column is None or column.name not in told_by
        }
        grouped = {column.name for column in groups.values() if column is not None}
        measured = {metric.name for metric in prepared.metrics}
        versions = by is not None and by.role is Role.VERSION
        matching = find_matching(prepared, marked, told_by | grouped | measured, versions_differ=not versions)
        run = prepared.schema.role(Role.RUN)
        if run is not None and (run.name in told_by or run.name in grouped):
            run = None
        units, design, observed = _fetch(prepared, marked, groups, matching, run, statistics, rows)
        keys = [f"g{k}" for k in range(len(groups))] + [f"m{k}" for k in range(len(matching.on))]
        optional = {f"p{k}": column.role for k, column in enumerate(matching.perhaps)}
        attributes = [key for key, role in optional.items() if role is Role.ATTRIBUTE]
        perhaps = worth_matching(units, keys, list(optional), attributes)
        chosen = tuple(matching.perhaps[int(name[1:])] for name in perhaps)
        cell, labels = _numbered(units, [f"g{k}" for k in range(len(groups))])
        stratum, _ = _numbered(units, keys + perhaps + (["run"] if design == "within runs" else []))
        labels = _named(labels, list(groups))
        matched = (*matching.on, *chosen)
        return cls(
            prepared, matching, matched, units, labels, cell, stratum, design, names, tuple(perhaps), tuple(observed)
        )

    @property
    def worker_key(self) -> str | None:
        """Column of the units that holds the worker, where workers are not matched on anyway."""
        known = {f"p{k}": column for k, column in enumerate(self.matching.perhaps)}
        known |= {f"d{k}": column for k, column in enumerate(self.matching.differing)}
        found = [key for key, column in known.items() if column.role is Role.WORKER and column not in self.matched]
        return found[0] if found else None

    @property
    def cells(self) -> int:
        """Number of groups."""
        return len(self.labels)


def _fetch(
    prepared: Prepared,
    marked: Marked,
    groups: Mapping[str, Column | None],
    matching: Matching,
    run: Column | None,
    statistics: Sequence[Statistic],
    rows: int | None,
) -> tuple[pd.DataFrame, str, list[Observed]]:
    """Return a row per run and stratum, or per observation where there are no runs and not too many rows."""
    metrics = len(prepared.metrics)
    by = (tuple(groups.values()), tuple(matching.on), tuple(matching.perhaps), tuple(matching.differing), run)
    if run is None and _count(marked) <= _MOST_OBSERVATIONS:
        flat = marked.ask(_each, *by).to_pandas(integer_object_nulls=True)
        units = _single_observations(flat, metrics)
        return units, "observations", _each_observed(units, metrics) if statistics else []
    with_values = False
    if statistics:
        rows = _count(marked) if rows is None else rows
        with_values = rows * metrics <= _MOST_HELD
    table = marked.ask(_collapsed, with_values, tuple(statistics), *by)
    held = [f"values{k}" for k in range(metrics)] if with_values else []
    observed = [_listed(table[name]) for name in held]
    units = table.drop_columns(held).to_pandas(integer_object_nulls=True)
    if run is None:
        return units, "observations", observed
    both = units.groupby("run", dropna=True)[SIDE].nunique()
    design = "within runs" if len(both) and (both > 1).mean() >= _PAIRED_FROM else "runs"
    return units, design, observed


def _keys(
    prepared: Prepared,
    groups: Sequence[Column | None],
    on: Sequence[Column],
    perhaps: Sequence[Column],
    differing: Sequence[Column],
    run: Column | None,
) -> dict[str, Any]:
    """Return by what marked rows are collapsed."""
    table = prepared.table
    keys: dict[str, Any] = {f"g{k}": group_key(table, column) for k, column in enumerate(groups)}
    for prefix, columns in (("m", on), ("p", perhaps), ("d", differing)):
        keys |= {f"{prefix}{k}": label_of(table[column.field]) for k, column in enumerate(columns)}
    keys[SIDE] = table[SIDE]
    if run is not None:
        keys["run"] = label_of(table[run.field]).cast("string")
    return keys


def _each(prepared: Prepared, *by: Any) -> ibis.Table:
    """Build the query for all values, with their keys."""
    values = {f"x{k}": prepared.values(metric) for k, metric in enumerate(prepared.metrics)}
    return prepared.table.select(**_keys(prepared, *by), **values)


def _collapsed(prepared: Prepared, with_values: bool, statistics: Sequence[Statistic], *by: Any) -> ibis.Table:
    """Build the query that collapses marked rows to a row for each combination of keys."""
    measures: dict[str, Any] = {}
    for k, metric in enumerate(prepared.metrics):
        value = prepared.values(metric)
        logarithm = value.nullif(0.0).abs().ln()
        measures |= {
            f"n{k}": value.count(),
            f"mean{k}": mean(value),
            f"var{k}": value.var(how="sample"),
            f"lmean{k}": mean(logarithm),
            f"lvar{k}": logarithm.var(how="sample"),
            f"low{k}": value.min(),
        }
        measures |= {f"values{k}": value.collect()} if with_values else _computed(value, k, statistics)
    return prepared.table.group_by(**_keys(prepared, *by)).aggregate(**measures)


def _count(marked: Marked) -> int:
    return int(marked.ask(_size)["n"][0].as_py())


def _size(prepared: Prepared) -> ibis.Table:
    return prepared.table.aggregate(n=prepared.table.count())


def _computed(value: ibis.Column, k: int, statistics: Sequence[Statistic]) -> dict[str, Any]:
    """Return what the engine computes of each unit: percentiles, the mean distance from the median, and the median."""
    found = {f"{each.name}_{k}": value.quantile(each.q) for each in statistics if each.is_percentile}
    if any(each.is_spread for each in statistics):
        ascending = value.collect().sort()
        half = ascending.length() // 2
        distance = ascending[ascending.length() - half :].sums() - ascending[:half].sums()
        found |= {f"spread_{k}": distance / value.count(), f"p50_{k}": value.quantile(0.5)}
    return found


def _each_observed(units: pd.DataFrame, metrics: int) -> list[Observed]:
    """Return the single values where each row is one."""
    found = []
    for k in range(metrics):
        rows = np.flatnonzero(units[f"n{k}"].to_numpy() > 0)
        found.append(Observed(units[f"mean{k}"].to_numpy(dtype=np.float64)[rows], rows))
    return found


def _listed(column: pa.ChunkedArray) -> Observed:
    """Return the single values where each row has a list of them."""
    chunks = [np.asarray(chunk.flatten()) for chunk in column.chunks]
    sizes = [np.asarray(pc.fill_null(pc.list_value_length(chunk), 0)) for chunk in column.chunks]
    size = np.concatenate([np.empty(0, dtype=np.int64), *sizes])
    value = np.concatenate([np.empty(0), *chunks]).astype(np.float64)
    return Observed(value, np.repeat(np.arange(len(size)), size))


def _single_observations(flat: pd.DataFrame, metrics: int) -> pd.DataFrame:
    added: dict[str, Any] = {}
    for k in range(metrics):
        value = flat[f"x{k}"].to_numpy(dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            logarithm = np.log(np.abs(np.where(value == 0, np.nan, value)))
        there = np.isfinite(value)
        added |= {f"n{k}": there.astype(np.int64), f"mean{k}": value, f"lmean{k}": logarithm, f"low{k}": value}
        added |= {f"var{k}": np.full(len(flat), np.nan), f"lvar{k}": np.full(len(flat), np.nan)}
    return pd.concat(
        [flat.drop(columns=[f"x{k}" for k in range(metrics)]), pd.DataFrame(added, index=flat.index)], axis=1
    )


def _numbered(units: pd.DataFrame, keys: list[str]) -> tuple[NDArray[np.int64], pd.DataFrame]:
    """Return the number of each row's combination of keys, and the combinations in order."""
    if not keys:
        return np.zeros(len(units), dtype=np.int64), pd.DataFrame(index=range(1))
    grouped = units.groupby(keys, dropna=False, sort=True, observed=True)
    number = grouped.ngroup().to_numpy().astype(np.int64)
    first = np.unique(number, return_index=True)[1]
    return number, units[keys].iloc[first].reset_index(drop=True)


def _named(labels: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    renamed = labels.set_axis(names, axis=1)
    for name in names:
        if renamed[name].isna().any() or pd.api.types.is_string_dtype(renamed[name].dtype):
            renamed[name] = as_text(renamed[name])
    return renamed


@dataclass(frozen=True)
class Sample:
    """The units of one metric: only those that have a value."""

    data: SideUnits
    k: int
    rows: NDArray[np.int64]
    cell: NDArray[np.int64]
    stratum: NDArray[np.int64]
    side: NDArray[np.int64]
    log: NDArray[np.bool_]
    like: NDArray[np.bool_]
    refined: NDArray[np.bool_]

    @classmethod
    def of(cls, data: SideUnits, k: int, whole_log: bool) -> Sample:
        """Take the units that have a value; cells in which the sides share no stratum are compared as wholes."""
        count = data.units[f"n{k}"].to_numpy()
        rows = np.flatnonzero(count > 0)
        cell, stratum = data.cell[rows], data.stratum[rows]
        side = data.units[SIDE].to_numpy()[rows].astype(np.int64)
        low = np.full(data.cells, np.inf)
        np.minimum.at(low, cell, data.units[f"low{k}"].to_numpy(dtype=np.float64)[rows])
        log = whole_log & (low > 0)
        refined = np.zeros(data.cells, dtype=bool)
        if data.worker_key is not None:
            value = data.units[[f"mean{k}", f"lmean{k}"]].to_numpy(dtype=np.float64)[rows]
            worker = pd.factorize(data.units[data.worker_key].to_numpy()[rows], use_na_sentinel=False)[0]
            scaled = np.where(log[cell], value[:, 1], value[:, 0])
            stratum, refined = _same_workers(scaled, stratum, worker.astype(np.int64), side, cell, data.cells)
        both = _both_sides(stratum, side)
        like = np.zeros(data.cells, dtype=bool)
        np.logical_or.at(like, cell, both[stratum])
        stratum = np.where(like[cell], stratum, len(both) + cell)
        return cls(data, k, rows, cell, stratum, side, log, like, refined)

    def column(self, name: str) -> Floats:
        """Return a measure of each unit, on the scale of its cell."""
        plain = self.data.units[f"{name}{self.k}"].to_numpy(dtype=np.float64)[self.rows]
        if name not in ("mean", "var"):
            return plain
        logarithm = self.data.units[f"l{name}{self.k}"].to_numpy(dtype=np.float64)[self.rows]
        return np.where(self.log[self.cell], logarithm, plain)

    def owners(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return strata numbered without gaps, and the cell of each."""
        kept, stratum = np.unique(self.stratum, return_inverse=True)
        cell_of = np.zeros(len(kept), dtype=np.int64)
        cell_of[stratum] = self.cell
        return stratum.astype(np.int64), cell_of

    def compared(self) -> NDArray[np.bool_]:
        """Say which units are compared: those of strata that both sides have."""
        return _both_sides(self.stratum, self.side)[self.stratum]

    def runs(self) -> NDArray[np.int64]:
        """Return the number of each unit's run; without runs, each unit is on its own."""
        if self.data.design == "observations":
            return np.arange(len(self.rows), dtype=np.int64)
        return pd.factorize(self.data.units["run"].to_numpy()[self.rows], use_na_sentinel=False)[0].astype(np.int64)

    def summed(self) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
        """Return n, mean and variance of the single observations, by stratum and side, and the cell of each stratum."""
        stratum, cell_of = self.owners()
        place, size = stratum * 2 + self.side, len(cell_of) * 2
        count, centre, spread = self.column("n"), self.column("mean"), np.nan_to_num(self.column("var"))
        n = np.bincount(place, count, size)
        with np.errstate(divide="ignore", invalid="ignore"):
            middle = np.bincount(place, count * centre, size) / n
            squares = np.bincount(place, (count - 1) * spread + count * (centre - middle[place]) ** 2, size)
            variance = np.where(n > 1, squares / (n - 1), np.nan)
        return n.astype(np.float64).reshape(-1, 2), middle.reshape(-1, 2), variance.reshape(-1, 2), cell_of

    def per_cell(self, values: Any, side: int) -> NDArray[np.int64]:
        """Sum something over the units of a side of each cell."""
        mine = self.side == side
        return np.bincount(self.cell[mine], values[mine], self.data.cells).astype(np.int64)

    def distinct_runs(self, side: int) -> NDArray[np.int64]:
        """Count the runs of a side of each cell."""
        mine = self.side == side
        pairs = np.unique(np.stack([self.cell[mine], self.runs()[mine]]), axis=1)
        return np.bincount(pairs[0], minlength=self.data.cells).astype(np.int64)


def padded(cell_of: NDArray[np.int64], cells: int) -> NDArray[np.int64]:
    """Add an empty stratum for the last cell, so that results have one entry per cell."""
    return np.append(cell_of, cells - 1)


def counted_runs(runs: NDArray[np.int64], design: str) -> pd.Series[Any]:
    """Return the number of runs, missing where there are none."""
    counted = pd.Series(runs, dtype="Int64")
    return counted if design != "observations" else counted.mask(counted >= 0)


def _both_sides(stratum: NDArray[np.int64], side: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which strata have units of both sides."""
    present = np.zeros((int(stratum.max(initial=-1)) + 1, 2), dtype=bool)
    present[stratum, side] = True
    return np.logical_and(present[:, 0], present[:, 1])


def _same_workers(
    value: Floats,
    stratum: NDArray[np.int64],
    worker: NDArray[np.int64],
    side: NDArray[np.int64],
    cell: NDArray[np.int64],
    cells: int,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Split strata by worker in the cells where workers differ and both sides share enough of them."""
    finer = np.unique(np.stack([stratum, worker]), axis=1, return_inverse=True)[1].ravel().astype(np.int64)
    matters = nested_effect(value, stratum * 2 + side, finer, cell, cells) < _WORKERS_DIFFER
    shared = _both_sides(finer, side)[finer]
    enough = [np.bincount(cell[shared & (side == which)], minlength=cells) > 1 for which in (0, 1)]
    refined = matters & enough[0] & enough[1]
    first = int(stratum.max(initial=-1)) + 1
    return np.where(refined[cell], first + finer, stratum), refined
