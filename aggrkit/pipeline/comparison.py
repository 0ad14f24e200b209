"""Current against baseline: a verdict for each group and metric, with what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import ibis
import numpy as np
import pandas as pd

from aggrkit.model.answer import COLUMNS, Answer
from aggrkit.model.schema import Role
from aggrkit.pipeline.expressions import fetch, label_of, mean
from aggrkit.pipeline.matching import Matching, find_matching, worth_matching
from aggrkit.pipeline.preprocess import UNKNOWN
from aggrkit.pipeline.sides import SIDE, Sides
from aggrkit.statistics.comparison import Differences, Units, compare_means, compare_pairs, compare_summaries
from aggrkit.statistics.multiplicity import adjust_pvalues
from aggrkit.statistics.power import detectable, runs_needed
from aggrkit.statistics.proportions import compare_rates, overdispersion
from aggrkit.statistics.ranks import rank_test

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric
    from aggrkit.model.schema import Column
    from aggrkit.pipeline.preprocess import Prepared

    Floats = NDArray[np.float64]

__all__ = ["DETAILS", "VERDICTS", "Compare"]

VERDICTS: Final = ("regressed", "changed", "improved", "undecided", "equivalent", "no_data")
"""In the order in which a reader wants to see them."""

DETAILS: Final = (
    "design",
    "strata",
    "pvalue_rank",
    "cliffs_delta",
    "pvalue_heterogeneity",
    "detectable_pct",
    "left_out_pct",
)
"""Columns of the frame beside the comparison: what else is known of each line."""

_MOST_OBSERVATIONS: Final = 2_000_000
_PAIRED_FROM: Final = 0.5
_UNLIKE: Final = 0.5


@dataclass(frozen=True)
class Compare:
    """Compare two sides, like with like.

    Parameters
    ----------
    sides : Sides
        Which rows are the baseline, and which are current.
    margin : float or mapping, optional
        Smallest change that matters, 0.02 for 2 % (2 points for rates); by metric, where they differ.
    alpha : float, optional
        Level of the tests; the intervals are at 1 - alpha.
    adjust : str or None, optional
        How p-values are adjusted over the whole table.
    """

    sides: Sides
    margin: float | Mapping[str, float] = 0.02
    alpha: float = 0.05
    adjust: str | None = "fdr_bh"
    name: str = "compare"

    def __post_init__(self) -> None:
        margins = self.margin.values() if isinstance(self.margin, Mapping) else [self.margin]
        if not all(0 < margin < 1 for margin in margins):
            raise ValueError(f"a margin is a share between 0 and 1, e.g. 0.02 for 2 %; got {self.margin}")
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha is a chance between 0 and 0.5; got {self.alpha}")
        adjust_pvalues([], self.adjust)

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with the frames "compare" and "compare_details"."""
        if isinstance(self.margin, Mapping):
            for name in self.margin:
                prepared.schema.metric(name)
        data = _Data.of(prepared, self.sides)
        parts = [self._metric(data, metric) for metric in prepared.metrics]
        everything = pd.concat(parts, ignore_index=True)
        everything["pvalue_adjusted"] = adjust_pvalues(everything["pvalue"].to_numpy(), self.adjust)
        everything = self._judged(everything)
        place = {name: rank for rank, name in enumerate(VERDICTS)}
        everything["__order"] = everything["verdict"].map(place)
        everything = everything.sort_values(["__order", "__cell", "__metric"], kind="stable").reset_index(drop=True)
        labels = data.labels.iloc[everything["__cell"].to_numpy()].reset_index(drop=True)
        frame = pd.concat([labels, everything[[*COLUMNS["compare"]]]], axis=1)
        details = pd.concat([labels, everything[["metric", *DETAILS]]], axis=1)
        meta = {
            "baseline": data.names[0],
            "current": data.names[1],
            "by": self.sides.by,
            "margin": self.margin,
            "alpha": self.alpha,
            "adjust": self.adjust or "none",
            "design": data.design,
            "matched_on": [*data.labels.columns, *(column.name for column in data.matched)],
            "differing": [column.name for column in data.matching.differing],
        }
        return answer.with_frame("compare", frame, **meta).with_frame("compare_details", details)

    def _margin(self, metric: Metric) -> float:
        return self.margin.get(metric.name, 0.02) if isinstance(self.margin, Mapping) else self.margin

    def _metric(self, data: _Data, metric: Metric) -> pd.DataFrame:
        """Compare one metric in all cells; what the whole table decides is left open."""
        margin = self._margin(metric)
        lines = (
            _rates(data, metric, margin, self.alpha)
            if metric.is_proportion
            else _means(data, metric, margin, self.alpha)
        )
        lines["metric"], lines["unit"] = metric.name, metric.unit
        lines["__metric"] = data.prepared.metrics.index(metric)
        lines["__margin"], lines["__sign"] = 100 * margin, metric.sign
        lines["__cell"] = np.arange(len(lines))
        return lines.astype({"metric": "str", "unit": "str"})

    def _judged(self, lines: pd.DataFrame) -> pd.DataFrame:
        """Say the verdict of each line, from its interval, its adjusted p-value and the margin."""
        margin, change = lines["__margin"], lines["change_pct"]
        zero = lines["baseline"].eq(0) & lines["change_pct"].isna()
        beyond = change.abs().gt(margin) | zero
        clears = lines["ci_lower"].gt(0) | lines["ci_upper"].lt(0) | zero
        moved = beyond & clears & lines["pvalue_adjusted"].lt(self.alpha) & lines["__like"]
        better = np.sign(lines["__direction"]) * lines["__sign"]
        equivalent = lines["__narrow_lower"].ge(-margin) & lines["__narrow_upper"].le(margin) & lines["__like"] & ~moved
        nothing = lines["n_baseline"].eq(0) | lines["n_current"].eq(0)
        lines["verdict"] = np.select(
            [nothing, moved & (better < 0), moved & (better > 0), moved, equivalent],
            ["no_data", "regressed", "improved", "changed", "equivalent"],
            default="undecided",
        )
        lines["verdict"] = pd.Categorical(lines["verdict"], categories=list(VERDICTS), ordered=True)
        open_ = lines["verdict"].eq("undecided") & lines["__like"]
        lines["runs_needed"] = lines["runs_needed"].where(open_).round().astype("Int64")
        return lines


@dataclass(frozen=True)
class _Data:
    """Both sides, collapsed to one row per run (or to the single observations) of each stratum."""

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

    @classmethod
    def of(cls, prepared: Prepared, sides: Sides) -> _Data:
        """Mark the sides, find what to match on, and fetch the units."""
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
        units, design = _fetch(prepared, marked, groups, matching, run)
        keys = [f"g{k}" for k in range(len(groups))] + [f"m{k}" for k in range(len(matching.on))]
        perhaps = worth_matching(units, keys, [f"p{k}" for k in range(len(matching.perhaps))])
        chosen = tuple(matching.perhaps[int(name[1:])] for name in perhaps)
        cell, labels = _numbered(units, [f"g{k}" for k in range(len(groups))])
        stratum, _ = _numbered(units, keys + perhaps + (["run"] if design == "within runs" else []))
        labels = _named(labels, list(groups))
        return cls(
            prepared, matching, (*matching.on, *chosen), units, labels, cell, stratum, design, names, tuple(perhaps)
        )

    @property
    def cells(self) -> int:
        """Number of groups."""
        return len(self.labels)


def _fetch(
    prepared: Prepared,
    marked: Any,
    groups: Mapping[str, Column | None],
    matching: Matching,
    run: Column | None,
) -> tuple[pd.DataFrame, str]:
    """Return a row per run and stratum, or per observation where there are no runs and not too many rows."""
    keys: dict[str, Any] = {}
    for k, column in enumerate(groups.values()):
        keys[f"g{k}"] = _key(marked, column)
    for prefix, columns in (("m", matching.on), ("p", matching.perhaps), ("d", matching.differing)):
        keys |= {f"{prefix}{k}": _key(marked, column) for k, column in enumerate(columns)}
    keys[SIDE] = marked[SIDE]
    values = {k: marked[prepared.field(metric)] for k, metric in enumerate(prepared.metrics)}
    if run is not None:
        keys["run"] = label_of(marked[run.field]).cast("string")
    elif fetch(marked.aggregate(n=marked.count()), prepared.label)["n"][0].as_py() <= _MOST_OBSERVATIONS:
        flat = fetch(
            marked.select(**keys, **{f"x{k}": value for k, value in values.items()}), prepared.label
        ).to_pandas()
        return _single_observations(flat, len(values)), "observations"
    measures: dict[str, Any] = {}
    for k, value in values.items():
        logarithm = value.nullif(0.0).abs().ln()
        measures |= {
            f"n{k}": value.count(),
            f"mean{k}": mean(value),
            f"var{k}": value.var(how="sample"),
            f"lmean{k}": mean(logarithm),
            f"lvar{k}": logarithm.var(how="sample"),
            f"low{k}": value.min(),
        }
    units = fetch(marked.group_by(**keys).aggregate(**measures), prepared.label).to_pandas()
    if run is None:
        return units, "observations"
    both = units.groupby("run", dropna=True)[SIDE].nunique()
    design = "within runs" if len(both) and (both > 1).mean() >= _PAIRED_FROM else "runs"
    return units, design


def _key(marked: ibis.Table, column: Column | None) -> Any:
    return ibis.literal(UNKNOWN) if column is None else label_of(marked[column.field])


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
    """Number the combinations of keys, in order; return the numbers and the combinations."""
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
            text = renamed[name].map(lambda value: UNKNOWN if pd.isna(value) else str(value))
            renamed[name] = text.astype("str")
    return renamed


@dataclass(frozen=True)
class _Sample:
    """The units of one metric: only those that have a value."""

    data: _Data
    k: int
    rows: NDArray[np.int64]
    cell: NDArray[np.int64]
    stratum: NDArray[np.int64]
    side: NDArray[np.int64]
    log: NDArray[np.bool_]
    like: NDArray[np.bool_]

    @classmethod
    def of(cls, data: _Data, k: int, whole_log: bool) -> _Sample:
        """Take the units that have a value; cells in which the sides share no stratum are compared as wholes."""
        count = data.units[f"n{k}"].to_numpy()
        rows = np.flatnonzero(count > 0)
        cell, stratum = data.cell[rows], data.stratum[rows]
        side = data.units[SIDE].to_numpy()[rows].astype(np.int64)
        present = np.zeros((int(data.stratum.max()) + 1, 2), dtype=bool)
        present[stratum, side] = True
        matched = present.all(axis=1)
        like = np.zeros(data.cells, dtype=bool)
        np.logical_or.at(like, cell, matched[stratum])
        stratum = np.where(like[cell], stratum, int(data.stratum.max()) + 1 + cell)
        low = np.full(data.cells, np.inf)
        np.minimum.at(low, cell, data.units[f"low{k}"].to_numpy(dtype=np.float64)[rows])
        return cls(data, k, rows, cell, stratum, side, whole_log & (low > 0), like)

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
        return n.reshape(-1, 2), middle.reshape(-1, 2), variance.reshape(-1, 2), cell_of

    def per_cell(self, values: Any, side: int) -> NDArray[np.int64]:
        """Sum something over the units of a side of each cell."""
        mine = self.side == side
        return np.bincount(self.cell[mine], values[mine], self.data.cells).astype(np.int64)

    def distinct_runs(self, side: int) -> NDArray[np.int64]:
        """Count the runs of a side of each cell."""
        mine = self.side == side
        pairs = np.unique(np.stack([self.cell[mine], self.runs()[mine]]), axis=1)
        return np.bincount(pairs[0], minlength=self.data.cells).astype(np.int64)


def _means(data: _Data, metric: Metric, margin: float, alpha: float) -> pd.DataFrame:
    sample = _Sample.of(data, data.prepared.metrics.index(metric), whole_log=True)
    cells = data.cells
    count = sample.column("n")
    n = [sample.per_cell(count, side) for side in (0, 1)]
    runs = (
        [sample.distinct_runs(side) for side in (0, 1)] if data.design != "observations" else [np.zeros(cells, int)] * 2
    )
    found, design = _differences(sample, n, runs)
    lower, upper = found.interval(1 - alpha)
    narrow_lower, narrow_upper = found.interval(1 - 2 * alpha)
    ratio = sample.log
    edge = np.where(ratio, np.log1p(margin), margin * np.abs(found.baseline))
    needed = _runs_needed(found, edge, alpha)
    lines = pd.DataFrame(
        {
            "n_baseline": n[0],
            "n_current": n[1],
            "runs_baseline": _counted(runs[0], data.design),
            "runs_current": _counted(runs[1], data.design),
            "baseline": _shown(found.baseline, ratio, sample, 0),
            "current": _shown(found.current, ratio, sample, 1),
            "change_pct": _percent(found.difference, found, ratio),
            "ci_lower": _percent(lower, found, ratio),
            "ci_upper": _percent(upper, found, ratio),
            "__narrow_lower": _percent(narrow_lower, found, ratio),
            "__narrow_upper": _percent(narrow_upper, found, ratio),
            "__direction": np.nan_to_num(found.difference),
            "effect_size": found.effect_size,
            "pvalue": found.pvalue,
            "runs_needed": needed,
            "__like": sample.like,
        }
    )
    details = _details(sample, found, design, alpha, ratio)
    lines = pd.concat([lines, details], axis=1)
    lines["note"] = _notes(sample, found, lines, design)
    return lines


def _differences(
    sample: _Sample, n: list[NDArray[np.int64]], runs: list[NDArray[np.int64]]
) -> tuple[Differences, NDArray[np.object_]]:
    """Compare by the design that the data have; where a side has a single run, by its observations."""
    data, cells = sample.data, sample.data.cells
    stratum, cell_of = sample.owners()
    cell_of = _padded(cell_of, cells)
    design = np.full(cells, data.design, dtype=object)
    by_summaries = compare_summaries(*_padded_summaries(sample, cells))
    if data.design == "observations":
        if len(sample.rows) and (sample.column("n") == 1).all():
            return compare_means(Units(sample.column("mean"), sample.side, stratum, cell_of)), design
        return by_summaries, design
    if data.design == "within runs":
        paired = _paired(sample)
        enough = paired.n_baseline > 1
        design[:] = np.where(enough, "pairs of runs", "observations within a run")
        return _mixed(enough, paired, by_summaries), design
    by_runs = compare_means(Units(sample.column("mean"), sample.side, stratum, cell_of, sample.runs()))
    single = (np.minimum(runs[0], runs[1]) < 2) & (np.minimum(n[0], n[1]) > 1)
    design[:] = np.where(single, "observations of a single run", "runs")
    return _mixed(~single, by_runs, by_summaries), design


def _padded(cell_of: NDArray[np.int64], cells: int) -> NDArray[np.int64]:
    """Add an empty stratum for the last cell, so that results have one entry per cell."""
    return np.append(cell_of, cells - 1)


def _padded_summaries(sample: _Sample, cells: int) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    n, middle, variance, cell_of = sample.summed()
    empty = np.zeros((1, 2))
    return (
        np.vstack([n, empty]),
        np.vstack([middle, empty]),
        np.vstack([variance, empty * np.nan]),
        _padded(cell_of, cells),
    )


def _paired(sample: _Sample) -> Differences:
    """Compare within runs: one difference per run, averaged over its strata."""
    _, middle, _, cell_of = sample.summed()
    stratum, _ = sample.owners()
    both = np.isfinite(middle).all(axis=1)
    run_of = np.zeros(len(cell_of), dtype=np.int64)
    run_of[stratum] = sample.runs()
    pair = np.stack([cell_of[both], run_of[both]])
    unique, place = np.unique(pair, axis=1, return_inverse=True)
    times = np.bincount(place.ravel(), minlength=unique.shape[1])
    gap = np.bincount(place.ravel(), (middle[both, 1] - middle[both, 0]), unique.shape[1]) / np.maximum(times, 1)
    start = np.bincount(place.ravel(), middle[both, 0], unique.shape[1]) / np.maximum(times, 1)
    return compare_pairs(gap, start, unique[0].astype(np.int64), sample.data.cells)


def _mixed(first: NDArray[np.bool_], one: Differences, other: Differences) -> Differences:
    """Take one comparison where `first` says so, the other elsewhere."""
    names = [name for name in Differences.__dataclass_fields__ if name != "paired"]
    picked = {name: np.where(first, getattr(one, name), getattr(other, name)) for name in names}
    return Differences(**picked, paired=one.paired and bool(first.all()))


def _runs_needed(found: Differences, edge: Floats, alpha: float) -> Floats:
    """Plan from each cell's own spread; where it has none, from the typical spread of the metric's other cells."""
    spread, df = found.spread, found.df
    known = np.isfinite(spread) & (found.n_baseline + found.n_current > 2)
    typical = float(np.median(spread[known])) if known.any() else np.nan
    spread = np.where(known, spread, typical)
    df = np.where(known, df, 2.0)
    se = np.where(known, found.se, spread * np.sqrt(2))
    with np.errstate(divide="ignore", invalid="ignore"):
        return runs_needed(np.nan_to_num(found.difference), se, spread, df, np.where(edge > 0, edge, np.nan), alpha)


def _percent(difference: Floats, found: Differences, ratio: NDArray[np.bool_]) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        plain = np.where(difference == 0, 0.0, 100 * difference / np.abs(found.baseline))
        return np.where(ratio, 100 * np.expm1(difference), np.where(np.isinf(plain), np.nan, plain))


def _shown(centre: Floats, ratio: NDArray[np.bool_], sample: _Sample, side: int) -> Floats:
    """Return the means as values; where only this side has data, its own plain mean."""
    with np.errstate(over="ignore"):
        values = np.where(ratio, np.exp(centre), centre)
    mine = sample.side == side
    cells = sample.data.cells
    with np.errstate(divide="ignore", invalid="ignore"):
        plain = np.bincount(sample.cell[mine], sample.column("mean")[mine], cells) / np.bincount(
            sample.cell[mine], minlength=cells
        )
    alone = np.where(ratio, np.exp(np.where(np.isfinite(plain), plain, np.nan)), plain)
    return np.where(np.isnan(values), alone, values)


def _counted(runs: NDArray[np.int64], design: str) -> pd.Series[Any]:
    """Return the number of runs, missing where there are none."""
    counted = pd.Series(runs, dtype="Int64")
    return counted if design != "observations" else counted.mask(counted >= 0)


def _details(
    sample: _Sample, found: Differences, design: NDArray[np.object_], alpha: float, ratio: NDArray[np.bool_]
) -> pd.DataFrame:
    stratum, cell_of = sample.owners()
    units = Units(sample.column("mean"), sample.side, stratum, _padded(cell_of, sample.data.cells))
    by_ranks = np.isin(design, ["runs", "observations"])
    pvalue, delta = rank_test(units)
    size = detectable(found.se, found.df, alpha)
    count = sample.column("n")
    here = np.zeros(len(cell_of), dtype=bool)
    sides = np.bincount(stratum * 2 + sample.side, minlength=2 * len(cell_of)).reshape(-1, 2)
    here[:] = (sides > 0).all(axis=1)
    everything = np.bincount(sample.cell, count, sample.data.cells)
    left = np.bincount(sample.cell, np.where(here[stratum], 0, count), sample.data.cells)
    with np.errstate(divide="ignore", invalid="ignore"):
        return pd.DataFrame(
            {
                "design": pd.array(design.tolist(), dtype="str"),
                "strata": found.strata,
                "pvalue_rank": np.where(by_ranks, pvalue, np.nan),
                "cliffs_delta": np.where(by_ranks, delta, np.nan),
                "pvalue_heterogeneity": found.heterogeneity,
                "detectable_pct": _percent(size, found, ratio),
                "left_out_pct": np.where(everything > 0, 100 * left / everything, np.nan),
            }
        )


def _rates(data: _Data, metric: Metric, margin: float, alpha: float) -> pd.DataFrame:
    sample = _Sample.of(data, data.prepared.metrics.index(metric), whole_log=False)
    cells = data.cells
    count = sample.column("n")
    passed = np.rint(count * sample.column("mean"))
    stratum, cell_of = sample.owners()
    cell_of = _padded(cell_of, cells)
    place = stratum * 2 + sample.side
    size = 2 * len(cell_of)
    total = np.bincount(place, count, size).reshape(-1, 2)
    good = np.bincount(place, passed, size).reshape(-1, 2)
    if data.design == "runs":
        inflation = overdispersion(passed, count, place, sample.cell, cells)
    else:
        inflation = np.ones(cells)
    found = compare_rates(good, total, cell_of, inflation, alpha)
    n = [sample.per_cell(count, side) for side in (0, 1)]
    runs = (
        [sample.distinct_runs(side) for side in (0, 1)] if data.design != "observations" else [np.zeros(cells, int)] * 2
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (found.baseline + found.current) / 2
        spread = np.sqrt(np.clip(middle * (1 - middle), 1e-4, None) * inflation)
        observations = runs_needed(found.difference, found.se, spread, np.full(cells, 1e6), margin, alpha)
        per_run = np.where(np.minimum(*runs) > 0, (n[0] + n[1]) / np.maximum(runs[0] + runs[1], 1), 1.0)
        unmatched = [
            np.where(
                n[side] > 0,
                np.bincount(sample.cell[sample.side == side], passed[sample.side == side], cells) / n[side],
                np.nan,
            )
            for side in (0, 1)
        ]
    lines = pd.DataFrame(
        {
            "n_baseline": n[0],
            "n_current": n[1],
            "runs_baseline": _counted(runs[0], data.design),
            "runs_current": _counted(runs[1], data.design),
            "baseline": np.where(np.isnan(found.baseline), unmatched[0], found.baseline),
            "current": np.where(np.isnan(found.current), unmatched[1], found.current),
            "change_pct": 100 * found.difference,
            "ci_lower": 100 * found.lower,
            "ci_upper": 100 * found.upper,
            "__narrow_lower": 100 * found.narrow_lower,
            "__narrow_upper": 100 * found.narrow_upper,
            "__direction": np.nan_to_num(found.difference),
            "effect_size": found.effect_size,
            "pvalue": found.pvalue,
            "runs_needed": np.ceil(observations / per_run).clip(min=2),
            "__like": sample.like,
            "design": pd.array([data.design] * cells, dtype="str"),
            "strata": found.strata,
            "pvalue_rank": np.nan,
            "cliffs_delta": np.nan,
            "pvalue_heterogeneity": np.nan,
            "detectable_pct": 100 * detectable(found.se, np.full(cells, 1e6), alpha),
            "left_out_pct": np.nan,
        }
    )
    notes = ["percentage points"] * cells
    wide = inflation > 1.5
    extra = _notes(sample, None, lines, np.full(cells, data.design, dtype=object))
    for cell in range(cells):
        parts = [notes[cell]] if n[0][cell] and n[1][cell] else []
        if wide[cell]:
            parts.append(
                f"results of a run go together (variance {inflation[cell]:.1f} times that of independent ones)"
            )
        notes[cell] = "; ".join(part for part in (*parts, extra[cell]) if part)
    lines["note"] = pd.array(notes, dtype="str")
    return lines


def _notes(sample: _Sample, found: Differences | None, lines: pd.DataFrame, design: NDArray[np.object_]) -> Any:
    """Say of each cell what a reader must know before believing it."""
    cells = sample.data.cells
    unlike = _unlike(sample)
    notes: list[str] = []
    for cell in range(cells):
        parts: list[str] = []
        sizes = (lines["n_baseline"].iat[cell], lines["n_current"].iat[cell])
        if not min(sizes):
            side = sample.data.names[0 if not sizes[0] else 1]
            notes.append(f"no data in {side}")
            continue
        if not sample.like[cell]:
            parts.append("not like with like")
        elif design[cell] == "observations of a single run":
            parts.append("a single run on a side: run-to-run noise can't be seen, alarms are too frequent")
        elif design[cell] == "observations within a run":
            parts.append("both sides in one run: compared by its observations")
        elif design[cell] == "observations" and found is not None:
            parts.append("no run ids: observations are taken as independent")
        if unlike[cell]:
            parts.append("differs too: " + ", ".join(unlike[cell]))
        left = lines["left_out_pct"].iat[cell]
        if sample.like[cell] and left >= 1:
            parts.append(f"{left:.0f} % of the observations left out: the other side has none of their kind")
        if found is not None and found.heterogeneity[cell] < 0.001:
            parts.append(f"the change differs between the {found.strata[cell]} strata")
        if found is not None and found.se[cell] == 0:
            parts.append("no variation on either side")
        notes.append("; ".join(parts))
    return pd.array(notes, dtype="str")


def _unlike(sample: _Sample) -> list[list[str]]:
    """Name what differs between the sides of each cell and isn't matched on."""
    data, cells = sample.data, sample.data.cells
    matched = {column.name for column in data.matched}
    watched = [(f"d{k}", column, False) for k, column in enumerate(data.matching.differing)]
    watched += [
        (f"p{k}", column, False) for k, column in enumerate(data.matching.perhaps) if column.name not in matched
    ]
    watched += [(f"m{k}", column, True) for k, column in enumerate(data.matching.on)]
    names: list[list[str]] = [[] for _ in range(cells)]
    sizes = sample.column("n")
    for key, column, only_unlike in watched:
        part = pd.DataFrame(
            {"cell": sample.cell, "side": sample.side, "value": data.units[key].to_numpy()[sample.rows], "n": sizes}
        )
        if only_unlike:
            part = part[~sample.like[part["cell"].to_numpy()]]
        if not len(part):
            continue
        shares = (
            part.groupby(["cell", "value", "side"], dropna=False, observed=True)["n"]
            .sum()
            .unstack("side", fill_value=0.0)
        )
        shares = shares.reindex(columns=[0, 1], fill_value=0.0)
        totals = shares.groupby(level="cell").transform("sum")
        apart = ((shares[0] / totals[0] - shares[1] / totals[1]).abs().groupby(level="cell").sum() / 2).fillna(0.0)
        for cell in apart.index[apart.gt(_UNLIKE)]:
            names[int(cell)].append(_described(column.name, shares.loc[cell]))
    return names


def _described(name: str, shares: pd.DataFrame) -> str:
    before, after = shares[0].idxmax(), shares[1].idxmax()
    one_each = (shares[0] > 0).sum() == 1 and (shares[1] > 0).sum() == 1
    texts = [
        "missing" if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)
        for value in (before, after)
    ]
    return f"{name} ({texts[0]} -> {texts[1]})" if one_each and max(map(len, texts)) <= 40 else name
