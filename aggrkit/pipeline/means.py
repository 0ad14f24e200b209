"""One metric compared in all cells: by runs, by pairs of runs, or by single observations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from aggrkit.pipeline.notes import notes_of
from aggrkit.pipeline.units import Sample, SideUnits, counted_runs, padded
from aggrkit.statistics.comparison import Differences, Units, compare_means, compare_pairs, compare_summaries
from aggrkit.statistics.power import detectable, runs_needed
from aggrkit.statistics.ranks import rank_test

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric

    Floats = NDArray[np.float64]

__all__ = ["compare_metric"]


def compare_metric(data: SideUnits, metric: Metric, margin: float, alpha: float) -> pd.DataFrame:
    """Compare a metric that is a number in all cells.

    Returns
    -------
    pandas.DataFrame
        A line per cell, in their order; what the whole table decides (adjusted p-value, verdict) is left open.
    """
    sample = Sample.of(data, data.prepared.metrics.index(metric), whole_log=True)
    cells = data.cells
    count = sample.column("n")
    n = [sample.per_cell(count, side) for side in (0, 1)]
    runs = (
        [sample.distinct_runs(side) for side in (0, 1)] if data.design != "observations" else [np.zeros(cells, int)] * 2
    )
    found, design = _differences(sample)
    lower, upper = found.interval(1 - alpha)
    narrow_lower, narrow_upper = found.interval(1 - 2 * alpha)
    ratio = sample.log
    edge = np.where(ratio, np.log1p(margin), margin * np.abs(found.baseline))
    needed = _runs_needed(found, edge, alpha)
    lines = pd.DataFrame(
        {
            "n_baseline": n[0],
            "n_current": n[1],
            "runs_baseline": counted_runs(runs[0], data.design),
            "runs_current": counted_runs(runs[1], data.design),
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
    lines["note"] = notes_of(sample, found, lines, design)
    return lines


def _differences(sample: Sample) -> tuple[Differences, NDArray[np.object_]]:
    """Compare by the design that the data have; where runs tell nothing of their noise, by observations."""
    data, cells = sample.data, sample.data.cells
    stratum, cell_of = sample.owners()
    cell_of = padded(cell_of, cells)
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
    single = np.isnan(by_runs.se) & np.isfinite(by_summaries.se)
    design[:] = np.where(single, "observations of a single run", "runs")
    return _mixed(~single, by_runs, by_summaries), design


def _padded_summaries(sample: Sample, cells: int) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    n, middle, variance, cell_of = sample.summed()
    empty = np.zeros((1, 2))
    return (
        np.vstack([n, empty]),
        np.vstack([middle, empty]),
        np.vstack([variance, empty * np.nan]),
        padded(cell_of, cells),
    )


def _paired(sample: Sample) -> Differences:
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


def _shown(centre: Floats, ratio: NDArray[np.bool_], sample: Sample, side: int) -> Floats:
    """Return the means as values; where only this side has data, its own plain mean."""
    with np.errstate(over="ignore"):
        values = np.where(ratio, np.exp(centre), centre)
    mine = sample.side == side
    cells = sample.data.cells
    with np.errstate(divide="ignore", invalid="ignore"):
        plain = np.bincount(sample.cell[mine], sample.column("mean")[mine], cells) / np.bincount(
            sample.cell[mine], minlength=cells
        )
    with np.errstate(over="ignore"):
        alone = np.where(ratio, np.exp(plain), plain)
    return np.where(np.isnan(values), alone, values)


def _details(
    sample: Sample, found: Differences, design: NDArray[np.object_], alpha: float, ratio: NDArray[np.bool_]
) -> pd.DataFrame:
    stratum, cell_of = sample.owners()
    units = Units(sample.column("mean"), sample.side, stratum, padded(cell_of, sample.data.cells))
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
