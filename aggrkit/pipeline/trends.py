"""What drifts over time: one value per run, each brought to the level of its like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import ibis
import numpy as np
import pandas as pd

from aggrkit.errors import EmptySelectionError, number_between
from aggrkit.model.answer import COLUMNS, Answer
from aggrkit.model.schema import Role
from aggrkit.pipeline.aggregate import group_labels
from aggrkit.pipeline.expressions import fetch, label_of, mean, text_of
from aggrkit.pipeline.selecting import times_of
from aggrkit.statistics.differences import grouped_medians
from aggrkit.statistics.multiplicity import adjust_pvalues
from aggrkit.statistics.trends import mann_kendall, theil_sen, time_bins

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric
    from aggrkit.model.schema import Column
    from aggrkit.pipeline.prepared import Prepared

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["HELD_FIXED", "VERDICTS", "FindTrends", "codes_of", "numbered"]

VERDICTS: Final = ("worsening", "trending", "improving", "none", "too_few")
HELD_FIXED: Final = (Role.MODEL, Role.HARDWARE, Role.TASK_TYPE, Role.RESULT_TYPE, Role.CONDITION)
"""The roles by which like is compared with like."""

_FEWEST_TIMES: Final = 4
_MOST_UNITS: Final = 2000
_RESULTS_A_UNIT: Final = 10
_MOST_TIMES: Final = 2_000_000
_SLICES: Final = 4000
_DAY: Final = 86_400e9
_DIGITS: Final = 14


@dataclass(frozen=True)
class FindTrends:
    """Look for a trend of each metric over time, in each group.

    Parameters
    ----------
    alpha : float, optional
        Level at which an adjusted p-value gives a verdict.
    adjust : str or None, optional
        How p-values are adjusted over the whole table.
    """

    alpha: float = 0.05
    adjust: str | None = "fdr_bh"
    name: str = "trends"

    def __post_init__(self) -> None:
        number_between(self.alpha, 0, 1, "alpha is a chance between 0 and 1")
        adjust_pvalues([], self.adjust)

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with the frame "trends".

        Raises
        ------
        UnknownNameError
            If there is no time column.
        EmptySelectionError
            If no value of it can be read as a time.
        """
        data = _Timed.of(prepared, 0 if answer.rows is None else answer.rows.used)
        lines = [data.line(k, group) for group in range(len(data.labels)) for k in range(len(prepared.metrics))]
        found = pd.DataFrame(lines, columns=[*_Line.__annotations__])
        frame = data.labels.loc[np.repeat(np.arange(len(data.labels)), len(prepared.metrics))].reset_index(drop=True)
        frame["metric"] = pd.array([m.name for m in prepared.metrics] * len(data.labels), dtype="str")
        frame["unit"] = pd.array([m.unit for m in prepared.metrics] * len(data.labels), dtype="str")
        for name in ("start", "end"):
            frame[name] = pd.to_datetime(found[name]).astype("datetime64[us]")
        for name in ("n", "slope_per_day", "slope_pct_per_day", "ci_lower", "ci_upper", "tau", "pvalue"):
            frame[name] = found[name]
        frame["pvalue_adjusted"] = adjust_pvalues(frame["pvalue"].to_numpy(), self.adjust)
        signs = np.array([m.sign for m in prepared.metrics] * len(data.labels), dtype=np.int64)
        frame["verdict"] = _verdicts(frame, signs, found["too_few"].to_numpy(dtype=bool), self.alpha)
        names = list(data.labels.columns)
        why = {
            ", ".join(map(str, (line[-1], *line[:-1]))): "all values are equal"
            for line in frame.loc[frame["pvalue"].isna() & ~found["too_few"], [*names, "metric"]].itertuples(
                index=False, name=None
            )
        }
        return answer.with_frame(
            "trends",
            frame[[*names, *COLUMNS["trends"]]],
            alpha=self.alpha,
            adjust=self.adjust or "none",
            unit=data.unit_is,
            adjusted_for=[column.name for column in data.held],
            binned=int(found["binned"].sum()),
            untimed=data.untimed,
            undefined=why,
        )


@dataclass(frozen=True)
class _Line:
    """What is known of one metric of one group."""

    n: int
    start: pd.Timestamp | None = None
    end: pd.Timestamp | None = None
    slope_per_day: float = float("nan")
    slope_pct_per_day: float = float("nan")
    ci_lower: float = float("nan")
    ci_upper: float = float("nan")
    tau: float = float("nan")
    pvalue: float = float("nan")
    too_few: bool = True
    binned: bool = False


@dataclass(frozen=True)
class _Timed:
    """A row per cell and unit (run, or moment): its first time, and number and level of each metric's values."""

    metrics: tuple[Metric, ...]
    labels: pd.DataFrame
    members: list[Ints]
    cell: Ints
    unit: Ints
    time: NDArray[np.int64]
    timed: NDArray[np.bool_]
    count: NDArray[np.int64]
    value: Floats
    held: list[Column]
    unit_is: str
    untimed: int

    @classmethod
    def of(cls, prepared: Prepared, rows: int) -> _Timed:
        """Let the engine collapse the rows to units, and number groups, cells and units."""
        moment = prepared.schema.moment("a trend")
        table = prepared.table
        time = table[moment.field]
        grouped = {column.name for column in prepared.groups.values() if column is not None}
        taken = grouped | {metric.name for metric in prepared.metrics}
        held = [column for column in prepared.schema.playing(*HELD_FIXED) if column.name not in taken]
        run = prepared.schema.role(Role.RUN)
        outer = {f"g{k}": key for k, key in enumerate(prepared.group_expressions().values())}
        inner = {f"c{k}": text_of(label_of(table[column.field])) for k, column in enumerate(held)}
        if run is not None and run.name not in grouped:
            # a row without a run id is a unit of its own time
            unit: Any = ibis.coalesce(text_of(label_of(table[run.field])), time.cast("string"))
            unit_is = "run"
        elif rows > _MOST_TIMES:
            unit, unit_is = _slices(prepared, time), "slice of time"
        else:
            unit, unit_is = time, "moment"
        measures: dict[str, Any] = {"first": time.min(), "rows": table.count()}
        for k, metric in enumerate(prepared.metrics):
            values = prepared.values(metric)
            measures |= {f"n{k}": values.count(), f"x{k}": mean(values) if metric.is_proportion else values.median()}
        found = fetch(table.group_by(**outer, **inner, unit=unit).aggregate(**measures), prepared.label)
        first = found["first"].to_pandas()
        timed = first.notna().to_numpy()
        if not timed.any():
            times_of(prepared)
            raise EmptySelectionError(f"no value of {moment.name!r} can be read as a time")
        codes = {name: codes_of(found[name])[0] for name in (*outer, *inner, "unit")}
        group = numbered([codes[name] for name in outer], found.num_rows)
        labels = group_labels(found.take(np.unique(group, return_index=True)[1]), list(prepared.groups))
        order = labels.sort_values(list(labels.columns)).index.to_numpy() if len(labels.columns) else np.arange(1)
        by_group = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
        return cls(
            metrics=prepared.metrics,
            labels=labels.loc[order].reset_index(drop=True),
            members=[by_group[place] for place in order],
            cell=numbered([codes[name] for name in inner], found.num_rows),
            unit=codes["unit"],
            time=first.astype("datetime64[ns]").to_numpy().astype(np.int64),
            timed=timed,
            count=np.array([found[f"n{k}"].to_numpy() for k in range(len(prepared.metrics))], dtype=np.int64),
            value=np.array([found[f"x{k}"].to_numpy() for k in range(len(prepared.metrics))], dtype=np.float64),
            held=held,
            unit_is=unit_is,
            untimed=int(found["rows"].to_numpy()[~timed].sum()),
        )

    def line(self, k: int, group: int) -> _Line:
        """Return what is known of a metric of a group."""
        rate = self.metrics[k].is_proportion
        rows = self.members[group]
        rows = rows[self.timed[rows] & (self.count[k][rows] > 0) & np.isfinite(self.value[k][rows])]
        if not len(rows):
            return _Line(0)
        start, end = (pd.Timestamp(int(t), unit="ns") for t in (self.time[rows].min(), self.time[rows].max()))
        units = len(np.unique(self.unit[rows]))
        rows = self._told(rows)
        positive = not rate and bool((self.value[k][rows] > 0).all())
        time, off, weight = self._levelled(k, rows, positive)
        most = min(_MOST_UNITS, int(weight.sum()) // _RESULTS_A_UNIT) if rate else _MOST_UNITS
        binned = len(time) > most
        if binned:
            time, off = _binned(time, off, weight, most, rate)
        if len(np.unique(time)) < _FEWEST_TIMES:
            return _Line(units, start, end)
        if positive:
            off = np.expm1(off)
        days = (time - time.min()) / _DAY
        slopes = np.array(theil_sen(days, off))
        tau, pvalue = mann_kendall(days, off)
        middle = float(np.median(self.value[k][rows]))
        if positive:
            plain, percent = slopes[0] * middle, 100 * slopes
        else:
            scale = 1.0 if rate else abs(middle) or float("nan")
            plain, percent = slopes[0], 100 * slopes / scale
        low, high = float(percent[1]), float(percent[2])
        return _Line(len(time), start, end, float(plain), float(percent[0]), low, high, tau, pvalue, False, binned)

    def _told(self, rows: Ints) -> Ints:
        """Leave out cells that were seen at one time only, for they say nothing of a trend."""
        cell = np.unique(self.cell[rows], return_inverse=True)[1].ravel()
        size = int(cell.max()) + 1
        low, high = np.full(size, np.iinfo(np.int64).max), np.full(size, np.iinfo(np.int64).min)
        np.minimum.at(low, cell, self.time[rows])
        np.maximum.at(high, cell, self.time[rows])
        return rows[(high > low)[cell]]

    def _levelled(self, k: int, rows: Ints, positive: bool) -> tuple[Floats, Floats, Floats]:
        """Return time, distance from the cells' levels, and number of values of each unit."""
        if not len(rows):
            return np.empty(0), np.empty(0), np.empty(0)
        value, weight = self.value[k][rows], self.count[k][rows].astype(np.float64)
        cell = np.unique(self.cell[rows], return_inverse=True)[1].ravel()
        unit = np.unique(self.unit[rows], return_inverse=True)[1].ravel()
        cells, units = int(cell.max()) + 1, int(unit.max()) + 1
        time = np.full(units, np.iinfo(np.int64).max)
        np.minimum.at(time, unit, self.time[rows])
        total = np.bincount(unit, weight, units).astype(np.float64)
        if self.metrics[k].is_proportion:
            level = np.bincount(cell, weight * value, cells) / np.bincount(cell, weight, cells)
            off = np.round(np.bincount(unit, weight * (value - level[cell]), units) / total, _DIGITS)
        else:
            level = grouped_medians(value, cell, cells)[cell]
            # equal ratios shall be ties, whatever the levels they are of
            off = np.round(np.log(value / level), _DIGITS) if positive else value - level
            off = grouped_medians(off, unit, units)
        return time.astype(np.float64), off, total


def _binned(time: Floats, off: Floats, weight: Floats, most: int, rate: bool) -> tuple[Floats, Floats]:
    """Return medians (of rates the means) over bins of time of about equal count."""
    place = np.unique(time_bins(time, most), return_inverse=True)[1].ravel()
    bins = int(place.max(initial=-1)) + 1
    middle = grouped_medians(time, place, bins)
    if rate:
        return middle, np.bincount(place, weight * off, bins) / np.bincount(place, weight, bins)
    return middle, grouped_medians(off, place, bins)


def _slices(prepared: Prepared, time: Any) -> Any:
    """Return the number of the slice of time that a row falls into."""
    first, last = (moment.timestamp() for moment in times_of(prepared))
    return ((time.epoch_seconds() - int(first)) / max((last - first) / _SLICES, 1.0)).floor().cast("int64")


def _verdicts(frame: pd.DataFrame, sign: NDArray[np.int64], too_few: NDArray[np.bool_], alpha: float) -> pd.Categorical:
    moves = frame["pvalue_adjusted"].lt(alpha).to_numpy()
    good = np.sign(frame["tau"].fillna(0).to_numpy()) * sign
    words = np.select(
        [too_few, moves & (sign == 0), moves & (good < 0), moves & (good > 0)],
        ["too_few", "trending", "worsening", "improving"],
        "none",
    )
    return pd.Categorical(words, categories=list(VERDICTS), ordered=True)


def codes_of(column: Any) -> tuple[Ints, list[Any]]:
    """Return a number for each value of a column, -1 where it is missing, and the values by number."""
    encoded = column.combine_chunks().dictionary_encode()
    chunks = encoded.chunks if hasattr(encoded, "chunks") else [encoded]
    codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in chunks]
    values = chunks[0].dictionary.to_pylist() if chunks else []
    return (np.concatenate(codes) if codes else np.empty(0)).astype(np.intp), values


def numbered(codes: list[Ints], size: int) -> Ints:
    """Return a number for each combination of codes, from 0 without gaps."""
    found = np.zeros(size, dtype=np.intp)
    for code in codes:
        found = pd.factorize(found * (int(code.max(initial=-1)) + 2) + code + 1)[0].astype(np.intp)
    return found
