"""A metric by group and day, small enough to be kept: pictures of any part of it without another scan.

Counts, means, standard deviations and extremes of any part are exact, for they add. So are percentiles of a group over
all time, which are kept as well. Percentiles over part of the time are those of the days' distributions put together,
each known by fourteen of its quantiles.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import ibis
import numpy as np
import pandas as pd
import pyarrow.compute as pc

from aggrkit.errors import EmptySelectionError
from aggrkit.pipeline.aggregate import group_labels
from aggrkit.pipeline.bands import TimeBins, rate_bands
from aggrkit.pipeline.expressions import fetch, mean, quantiles
from aggrkit.pipeline.selecting import times_of
from aggrkit.statistics.mixtures import Pieces, mixture_counts, mixture_quantiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric
    from aggrkit.pipeline.prepared import Prepared

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

__all__ = ["Cube", "cube"]

_DAY: Final = 86_400
_MOST_BINS: Final = 740
_MOST_CELLS: Final = 400_000
_MOST_PARTS: Final = 64
_POINTS: Final = (0.0, 0.02, 0.05, 0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 0.95, 0.98, 0.99, 1.0)
_NAMES: Final = {50: "p50", 75: "p75", 90: "p90", 95: "p95", 99: "p99"}


@dataclass(frozen=True)
class Part:
    """What is known of some groups in a time range.

    Parameters
    ----------
    cells : int
        How many cells it has.
    stats : pandas.DataFrame
        Their statistics together, in one line.
    bands : pandas.DataFrame or None
        The metric over time; None where there are no times.
    histogram : pandas.DataFrame
        ``low, high, count``.
    """

    cells: int
    stats: pd.DataFrame
    bands: pd.DataFrame | None
    histogram: pd.DataFrame


@dataclass(frozen=True)
class Cube:
    """A metric by group and bin of time.

    Parameters
    ----------
    metric : Metric
        Which metric.
    groups : pandas.DataFrame
        The groups, a row each.
    group, bin : numpy.ndarray of int, shape (cells,)
        Row of the group, and number of the bin, of each cell; the least integer where observations have no time.
    moments : mapping of str to numpy.ndarray, shape (cells,)
        ``rows, n, mean, m2, low, high`` of each cell.
    points : numpy.ndarray, shape (cells, 14)
        Quantiles of each cell; without columns for a pass/fail metric.
    pieces : Pieces
        The quantiles of all cells, in order.
    whole : pandas.DataFrame
        Percentiles of each group over all time.
    bins : TimeBins or None
        None where there are no times.
    """

    metric: Metric
    groups: pd.DataFrame
    group: Ints
    bin: Ints
    moments: Mapping[str, Floats]
    points: Floats
    pieces: Pieces
    whole: pd.DataFrame
    bins: TimeBins | None
    _parts: dict[Any, Part] = field(default_factory=dict, repr=False, compare=False)

    def part(
        self,
        where: Mapping[str, Any] | None = None,
        start: pd.Timestamp | None = None,
        end: pd.Timestamp | None = None,
    ) -> Part:
        """Return what is known of some groups in a time range; the latest ones are kept."""
        key = tuple(sorted((where or {}).items())), start, end
        if key not in self._parts:
            kept = self.chosen(where, start, end)
            over_time = None if self.bins is None else self.bands(kept)
            made = Part(int(kept.sum()), self.stats([], kept), over_time, self.histogram(kept))
            while len(self._parts) >= _MOST_PARTS:
                self._parts.pop(next(iter(self._parts)))
            self._parts[key] = made
        return self._parts[key]

    def fits(self, start: pd.Timestamp | None, end: pd.Timestamp | None) -> bool:
        """Say whether a time range begins and ends with bins."""
        if start is None and end is None:
            return True
        if self.bins is None:
            return False
        return _begins(start, self.bins.width) and (
            end is None or _begins(end + pd.Timedelta(microseconds=1), self.bins.width)
        )

    def chosen(
        self,
        where: Mapping[str, Any] | None = None,
        start: pd.Timestamp | None = None,
        end: pd.Timestamp | None = None,
    ) -> Bools:
        """Return which cells are of some groups and within a time range (both ends included)."""
        wanted = np.ones(len(self.groups), dtype=bool)
        for name, label in (where or {}).items():
            wanted &= (self.groups[name].map(_text) == _text(label)).to_numpy()
        kept: Bools = wanted[self.group]
        if self.bins is None or (start is None and end is None):
            return kept
        kept = kept & (self.bin != _untimed)
        if start is not None:
            kept &= self.bin >= start.timestamp() // self.bins.width
        if end is not None:
            kept &= self.bin <= end.timestamp() // self.bins.width
        return kept

    def stats(self, names: Sequence[str], kept: Bools) -> pd.DataFrame:
        """Return the statistics of the chosen cells by group, as the frame "stats" has them.

        Parameters
        ----------
        names : sequence of str
            Columns to group by, some or all of those of the cube.
        kept : numpy.ndarray of bool
            See `chosen`.
        """
        if names:
            numbers = self.groups.groupby(list(names), sort=True, dropna=False).ngroup().to_numpy()[self.group]
        else:
            numbers = np.zeros(len(self.group), dtype=np.int64)
        present, places = np.unique(numbers[kept], return_inverse=True)
        parts = {name: values[kept] for name, values in self.moments.items()}
        n = np.bincount(places, parts["n"], len(present))
        with np.errstate(invalid="ignore", divide="ignore"):
            average = np.bincount(places, parts["n"] * np.nan_to_num(parts["mean"]), len(present)) / n
            off = np.nan_to_num(parts["mean"]) - np.nan_to_num(average)[places]
            squares = np.bincount(places, parts["m2"] + parts["n"] * off**2, len(present))
            spread = np.where(n > 1, np.sqrt(squares / (n - 1)), np.nan)
        made = pd.DataFrame({"metric": self.metric.name, "unit": self.metric.unit, "n": n.astype(np.int64)})
        made["missing"] = (np.bincount(places, parts["rows"], len(present)) - n).astype(np.int64)
        made["mean"] = average
        if not self.metric.is_proportion:
            made["std"] = spread
            made["min"] = _reduced(np.fmin, parts["low"], places, len(present), np.inf)
            exact = len(names) == len(self.groups.columns) and bool(kept.all() or self._is_whole(kept))
            if exact:
                rows = self.group[kept][np.unique(places, return_index=True)[1]]
                made[list(_NAMES.values())] = self.whole.iloc[rows].to_numpy()
            else:
                made[list(_NAMES.values())] = self._mixed(kept, places, len(present), [p / 100 for p in _NAMES])
            made["max"] = _reduced(np.fmax, parts["high"], places, len(present), -np.inf)
        else:
            made[["std", "min", *_NAMES.values(), "max"]] = np.nan
        firsts = self.group[kept][np.unique(places, return_index=True)[1]]
        return pd.concat([self.groups[list(names)].iloc[firsts].reset_index(drop=True), made], axis=1)

    def bands(self, kept: Bools, most: int = 180) -> pd.DataFrame:
        """Return the metric over time, as `aggrkit.pipeline.bands.bands` does; extremes are at the middle of bins."""
        if self.bins is None:
            raise ValueError("there are no times")
        kept = kept & (self.bin != _untimed) & (self.moments["n"] > 0)
        numbers = self.bin[kept]
        if not numbers.size:
            return pd.DataFrame(columns=["time", "n", "mean", "p05", "p50", "p95", "low", "high", "low_at", "high_at"])
        step = -(-int(numbers.max() - numbers.min() + 1) // most)
        present, places = np.unique(numbers // step, return_inverse=True)
        n = np.bincount(places, self.moments["n"][kept], len(present))
        frame = pd.DataFrame({"time": self.bins.start(present * step), "n": n.astype(np.int64)})
        frame["mean"] = np.bincount(places, (self.moments["n"] * self.moments["mean"])[kept], len(present)) / n
        if self.metric.is_proportion:
            return rate_bands(frame)
        frame[["p05", "p50", "p95"]] = self._mixed(kept, places, len(present), (0.05, 0.5, 0.95))
        frame["low"] = _reduced(np.fmin, self.moments["low"][kept], places, len(present), np.inf)
        frame["high"] = _reduced(np.fmax, self.moments["high"][kept], places, len(present), -np.inf)
        middle = frame["time"] + pd.Timedelta(seconds=self.bins.width * step / 2)
        return frame.assign(low_at=middle, high_at=middle)

    def histogram(self, kept: Bools, bins: int = 40) -> pd.DataFrame:
        """Return ``low, high, count`` of the chosen cells, in bins of equal width; the counts sum to n."""
        kept = kept & (self.moments["n"] > 0)
        total = int(self.moments["n"][kept].sum())
        if not total:
            return pd.DataFrame(columns=["low", "high", "count"])
        if self.metric.is_proportion:
            passed = round(float((self.moments["n"] * self.moments["mean"])[kept].sum()))
            return pd.DataFrame({"low": [-0.25, 0.75], "high": [0.25, 1.25], "count": [total - passed, passed]})
        usual = self._mixed(kept, np.zeros(int(kept.sum()), dtype=np.int64), 1, (0.005, 0.995))[0]
        edges = np.linspace(*_wider(usual[0], usual[1]), bins + 1)
        counts = mixture_counts(self.points[kept], _POINTS, self.moments["n"][kept], edges[0], edges[-1], bins)
        whole = np.diff(np.concatenate([[0], np.rint(np.cumsum(counts) * total / counts.sum())])).astype(np.int64)
        return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": whole})

    def _is_whole(self, kept: Bools) -> bool:
        """Whether every group is kept as a whole or not at all."""
        many = np.bincount(self.group, minlength=len(self.groups))
        some = np.bincount(self.group[kept], minlength=len(self.groups))
        return bool(((some == 0) | (some == many)).all())

    def _mixed(self, kept: Bools, places: Ints, count: int, wanted: Sequence[float]) -> Floats:
        """Return quantiles of the distributions of the chosen cells put together, by place."""
        target = np.full(len(self.group), -1, dtype=np.int32)
        target[kept] = places
        found = mixture_quantiles(self.pieces, self.moments["n"], target, count, wanted)
        there = np.flatnonzero(kept & (self.moments["n"] > 0))
        lone = np.bincount(target[there], minlength=count)[target[there]] == 1
        for place, share in enumerate(wanted):
            if share in _POINTS:  # of one cell alone they are known
                found[target[there[lone]], place] = self.points[there[lone], _POINTS.index(share)]
        return found


_untimed: Final = np.iinfo(np.int64).min


def cube(prepared: Prepared, metric: Metric) -> Cube | None:
    """Count a metric by group and bin of time, in three scans.

    Parameters
    ----------
    prepared : Prepared
        The selection, with its groups.
    metric : Metric
        Which metric.

    Returns
    -------
    Cube or None
        In days, or what is coarser where there are many; None where even then there would be too many cells.
    """
    table = prepared.table
    keys = {f"g{place}": expression for place, expression in enumerate(prepared.group_expressions().values())}
    moment = prepared.schema.role("timestamp")
    bins = None if moment is None else _bins(prepared)
    number = {}
    if bins is not None and moment is not None:
        number["bin"] = bins.number(table[moment.field]).fill_null(_untimed)
    found = _fetched(prepared, metric, {**keys, **number}, _POINTS, most=_MOST_CELLS)
    if found is None:
        return None
    whole = _fetched(prepared, metric, keys, [point / 100 for point in _NAMES])
    groups = group_labels(whole, list(prepared.groups))
    labels = group_labels(found, list(prepared.groups))
    if len(groups.columns):
        both = pd.concat([groups, labels], ignore_index=True).groupby(list(groups.columns), sort=False).ngroup()
        place_of = pd.Series(np.arange(len(groups)), index=both[: len(groups)])
        group = place_of.loc[both[len(groups) :]].to_numpy()
    else:
        group = np.zeros(found.num_rows, dtype=np.int64)
    moments = {name: found[name].to_numpy().astype("float64") for name in ("rows", "n", "mean")}
    for name in ("m2", "low", "high"):
        moments[name] = found[name].to_numpy() if name in found.column_names else np.zeros(found.num_rows)
    moments["m2"] = np.nan_to_num(moments["m2"])
    points = _lists(found, len(_POINTS)) if "points" in found.column_names else np.empty((found.num_rows, 0))
    names = list(_NAMES.values())
    percentiles = _lists(whole, len(names)) if "points" in whole.column_names else np.full((len(groups), 5), np.nan)
    return Cube(
        metric=metric,
        groups=groups,
        group=group,
        bin=found["bin"].to_numpy() if bins is not None else np.zeros(found.num_rows, dtype=np.int64),
        moments=moments,
        points=points,
        pieces=Pieces.of(points, _POINTS),
        whole=pd.DataFrame(percentiles, columns=names),
        bins=bins,
    )


def _bins(prepared: Prepared) -> TimeBins | None:
    """Return bins of days or wider, but of hours where all is within three days; None where there are no times."""
    try:
        first, last = times_of(prepared)
    except EmptySelectionError:
        return None
    return TimeBins.over(first, last, _MOST_BINS, finest=_DAY if last - first > pd.Timedelta(days=3) else 3600)


def _fetched(
    prepared: Prepared, metric: Metric, keys: Mapping[str, Any], shares: Sequence[float], most: int | None = None
) -> Any:
    """Return counts, moments and quantiles by key, or None where there are more than `most` keys."""
    table, value = prepared.table, prepared.values(metric)
    wanted: dict[str, ibis.Value] = {"rows": table.count(), "n": value.count(), "mean": mean(value)}
    if not metric.is_proportion:
        wanted |= {"m2": value.var(how="pop") * value.count(), "low": value.min(), "high": value.max()}
        wanted["points"] = quantiles(value, shares)
    if most is not None and keys:
        many = fetch(table.select(**keys).distinct().aggregate(many=ibis._.count()), prepared.label)["many"][0].as_py()
        if many > most:
            return None
    grouped = table.group_by(**keys) if keys else table
    return fetch(grouped.aggregate(**wanted), prepared.label)


def _lists(found: Any, width: int) -> Floats:
    columns = [pc.list_element(found["points"], place).to_numpy() for place in range(width)]
    stacked: Floats = np.column_stack(columns)
    return stacked


def _text(label: Any) -> str:
    """Return a label as text that is the same whether numbers came as such or, beside missing ones, as text."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def _reduced(function: Any, values: Floats, places: Ints, count: int, start: float) -> Floats:
    found = np.full(count, start)
    function.at(found, places, values)
    return np.where(np.isfinite(found), found, np.nan)


def _begins(moment: pd.Timestamp | None, width: int) -> bool:
    return moment is None or (moment.microsecond == 0 and moment.nanosecond == 0 and moment.timestamp() % width == 0)


def _wider(low: float, high: float) -> tuple[float, float]:
    pad = 0.02 * (high - low) or abs(low) * 0.01 or 0.5
    return low - pad, high + pad
