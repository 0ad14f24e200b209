"""Runs on workers: the rows collapsed to one for each cell of like, run, worker and day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from aggrkit.errors import UnknownNameError, listed
from aggrkit.model.schema import Role
from aggrkit.pipeline.coding import codes_of, numbered
from aggrkit.pipeline.expressions import fetch, label_of, mean, text_of
from aggrkit.pipeline.grouping import Groups, like_columns, taken_columns
from aggrkit.pipeline.prepared import UNKNOWN
from aggrkit.statistics.groups import distinct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric
    from aggrkit.model.schema import Column, Schema
    from aggrkit.pipeline.prepared import Prepared

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["RunsOfCells", "Values", "worker_column"]

_SECONDS_A_DAY: Final = 86_400
_RUNS_TO_REPEAT: Final = 3


def worker_column(schema: Schema) -> Column:
    """Return the column that says which machine a result comes from: that of workers, else that of hardware.

    Raises
    ------
    UnknownNameError
        If neither was recognised.
    """
    found = schema.role(Role.WORKER) or schema.role(Role.HARDWARE)
    if found is None:
        message = "the health of workers needs a worker column; say which it is: df.aggr(worker='...')"
        raise UnknownNameError(f"{message}; the columns are: {listed(schema.names)}", choices=schema.names)
    return found


@dataclass(frozen=True)
class Values:
    """The values of one metric, of the rows that have any.

    Parameters
    ----------
    rows : numpy.ndarray of int
        Numbers of the rows.
    mean, n, squares : numpy.ndarray
        Mean of each row's values (of their logarithms where `log` is set), their number, and the sum of squares about
        that mean.
    log : bool
        Whether all values are positive, so that differences are ratios.
    """

    rows: Ints
    mean: Floats
    n: Floats
    squares: Floats
    log: bool


@dataclass(frozen=True)
class RunsOfCells:
    """A row per group, cell of like, run, worker and day: number, mean and variance of each metric's values.

    Parameters
    ----------
    metrics : tuple of Metric
        What is measured.
    labels : pandas.DataFrame
        The groups, in their order.
    members : list of numpy.ndarray
        The rows of each group.
    cell : numpy.ndarray of int
        Cell of each row: what like is compared with like by.
    worker, run, day : numpy.ndarray of int, or None
        Worker, run and day of each row, None where no column says it. A run on several workers counts as one on each.
    workers, runs : list of str
        Their names; what is missing is "unknown".
    time : numpy.ndarray of float
        First time of each row in days since 1970, NaN where it isn't known.
    rows : numpy.ndarray of int
        Number of observations in each row.
    held : tuple of Column
        The columns by which like is compared with like.
    varies : tuple of bool
        Whether each of those has more than one value.
    """

    metrics: tuple[Metric, ...]
    labels: pd.DataFrame
    members: list[Ints]
    cell: Ints
    worker: Ints | None
    run: Ints | None
    day: Ints | None
    workers: list[str]
    runs: list[str]
    time: Floats
    rows: NDArray[np.int64]
    held: tuple[Column, ...]
    varies: tuple[bool, ...]
    found: Any

    @classmethod
    def of(cls, prepared: Prepared, worker: Column | None) -> RunsOfCells:
        """Let the engine collapse the rows, and number groups, cells, workers and runs.

        Parameters
        ----------
        prepared : Prepared
            The selection.
        worker : Column or None
            The column of workers; like isn't told apart by it.
        """
        table, schema = prepared.table, prepared.schema
        held = tuple(column for column in like_columns(prepared) if worker is None or column.name != worker.name)
        run, moment = schema.role(Role.RUN), schema.role(Role.TIMESTAMP)
        keys: dict[str, Any] = {f"g{k}": key for k, key in enumerate(prepared.group_expressions().values())}
        keys |= {f"c{k}": text_of(label_of(table[column.field])) for k, column in enumerate(held)}
        measures: dict[str, Any] = {"rows": table.count()}
        if worker is not None:
            keys["worker"] = text_of(label_of(table[worker.field])).fill_null(UNKNOWN)
        if moment is not None:
            time = table[moment.field]
            keys["day"] = (time.epoch_seconds() / _SECONDS_A_DAY).floor().cast("int64")
            measures["first"] = time.min()
        if run is not None and run.name not in taken_columns(prepared):
            keys["run"] = text_of(label_of(table[run.field]))
        for k, metric in enumerate(prepared.metrics):
            values = prepared.values(metric)
            measures |= {f"n{k}": values.count(), f"mean{k}": mean(values), f"var{k}": values.var(how="sample")}
            if not metric.is_proportion:
                logarithm = values.nullif(0.0).abs().ln()
                measures |= {f"lmean{k}": mean(logarithm), f"lvar{k}": logarithm.var(how="sample")}
                measures[f"low{k}"] = values.min()
        found = fetch(table.group_by(**keys).aggregate(**measures), prepared.label)
        codes = {name: codes_of(found[name]) for name in keys}
        size = found.num_rows
        groups = Groups.of(found, prepared)
        first = np.full(size, np.nan)
        if moment is not None:
            times = found["first"].to_pandas().astype("datetime64[us]")
            days = times.to_numpy().astype(np.int64) / (_SECONDS_A_DAY * 1e6)
            first = np.where(times.notna().to_numpy(), days, np.nan)
        of_worker, workers = codes["worker"] if worker is not None else (None, [])
        of_run, runs = _runs(codes, of_worker, workers, size)
        return cls(
            metrics=prepared.metrics,
            labels=groups.labels,
            members=groups.members,
            cell=numbered([codes[name][0] for name in keys if name.startswith("c")], size),
            worker=of_worker,
            run=of_run,
            day=codes["day"][0] if moment is not None and (codes["day"][0] >= 0).any() else None,
            workers=[str(name) for name in workers],
            runs=runs,
            time=first,
            rows=found["rows"].to_numpy().astype(np.int64),
            held=held,
            varies=tuple(len(np.unique(codes[f"c{k}"][0])) > 1 for k in range(len(held))),
            found=found,
        )

    def values(self, k: int, members: Ints) -> Values:
        """Return the values of a metric, of those of some rows that have any."""
        n = self._column(f"n{k}")[members]
        plain = self._column(f"mean{k}")[members]
        there = (n > 0) & np.isfinite(plain)
        rows, log = members[there], False
        if not self.metrics[k].is_proportion and len(rows):
            log = bool((self._column(f"low{k}")[rows] > 0).all())
        prefix = "l" if log else ""
        variance = np.nan_to_num(self._column(f"{prefix}var{k}")[rows])
        return Values(
            rows,
            self._column(f"{prefix}mean{k}")[rows],
            n[there],
            np.maximum(variance, 0.0) * (n[there] - 1),
            log,
        )

    def relative(self, found: Values) -> Floats:
        """Return values that can be put together over cells: logarithms, else shares of the cell's usual size."""
        if found.log or not len(found.rows):
            return found.mean
        cell = distinct(self.cell[found.rows])[1]
        size = np.bincount(cell, found.n * np.abs(found.mean)) / np.bincount(cell, found.n)
        return found.mean / np.where(size > 0, size, 1.0)[cell]

    def repeats(self) -> tuple[Ints, str]:
        """Return what repeats a worker's work: runs, without them days, or the cells where there are too few of those.

        Returns
        -------
        unit : numpy.ndarray of int
            Number of the repetition of each row.
        name : str
            "run", "day" or "test".
        """
        if self.run is not None:
            return self.run, "run"
        if self.day is not None and self.worker is not None:
            pairs = int(numbered([self.worker, self.day], len(self.day)).max(initial=-1)) + 1
            if pairs >= _RUNS_TO_REPEAT * len(np.unique(self.worker)):
                return self.day - int(self.day.min(initial=0)), "day"
        return self.cell, "test"

    def _column(self, name: str) -> Floats:
        column: Floats = self.found[name].to_numpy().astype(np.float64)
        return column


def _runs(
    codes: dict[str, tuple[Ints, list[Any]]], worker: Ints | None, workers: list[Any], size: int
) -> tuple[Ints | None, list[str]]:
    """Give each run of each worker a number; rows without a run id are one run a day."""
    if "run" not in codes or not (codes["run"][0] >= 0).any():
        return None, []
    run, names = codes["run"]
    day, days = codes["day"] if "day" in codes else (np.zeros(size, dtype=np.intp), [])
    without = run < 0
    parts = [run, np.where(without, day, 0)] + ([] if worker is None else [worker])
    number = numbered(parts, size)
    first = np.zeros(int(number.max(initial=-1)) + 1, dtype=np.intp)
    first[number] = np.arange(size)
    spans = np.zeros(len(names) + 1, dtype=np.intp)
    if worker is not None:
        pairs = distinct((run + 1) * len(workers) + worker)[0] // len(workers)
        spans = np.roll(np.bincount(pairs, minlength=len(names) + 1), -1)
    found = np.array([*names, UNKNOWN], dtype=object)[run[first]].astype(str).tolist()
    special = without[first] if worker is None else without[first] | (spans[run[first]] > 1)
    for place in np.flatnonzero(special):
        row, name = first[place], found[place]
        if without[row] and day[row] >= 0 and days:
            name = f"{UNKNOWN}, {pd.Timestamp(int(days[day[row]]), unit='D'):%Y-%m-%d}"
        if worker is not None and spans[run[row]] > 1:
            name = f"{name} on {workers[worker[row]]}"
        found[place] = name
    return number, found
