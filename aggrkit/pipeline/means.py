"""Means compared in all cells: by runs, by pairs of runs, or by single observations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from aggrkit.pipeline.units import Sample, padded
from aggrkit.statistics.comparison import (
    Differences,
    Units,
    compare_means,
    compare_pairs,
    compare_summaries,
)
from aggrkit.statistics.quantiles import (
    MEAN,
    Statistic,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

__all__ = ["LONE", "Measured", "by_means", "by_pairs", "mixed", "units_of"]

LONE: Final = {"runs": "observations of a single run", "within runs": "observations within a run"}


@dataclass(frozen=True)
class Measured:
    """One statistic of a metric, compared in all cells; the arrays have an entry per cell."""

    statistic: Statistic
    units: Units
    found: Differences
    design: NDArray[np.object_]
    log: Flags
    told: Flags
    needed: Floats
    remarks: Mapping[int, Sequence[str]]


def by_means(sample: Sample) -> Measured:
    """Compare means."""
    found, design = _differences(sample)
    unknown = np.full(sample.data.cells, np.nan)
    return Measured(MEAN, units_of(sample), found, design, sample.log, sample.like, unknown, {})


def units_of(sample: Sample) -> Units:
    """Return the means of units, each on its own."""
    stratum, cell_of = sample.owners()
    return Units(sample.column("mean"), sample.side, stratum, padded(cell_of, sample.data.cells))


def _differences(sample: Sample) -> tuple[Differences, NDArray[np.object_]]:
    """Compare by the design that the data have; where runs tell nothing of their noise, by observations."""
    data, cells = sample.data, sample.data.cells
    design = np.full(cells, data.design, dtype=object)
    by_summaries = compare_summaries(*_padded_summaries(sample, cells))
    if data.design == "observations":
        if len(sample.rows) and (sample.column("n") == 1).all():
            return compare_means(units_of(sample)), design
        return by_summaries, design
    if data.design == "within runs":
        paired = by_pairs(sample, sample.summed()[1])
        enough = paired.n_baseline > 1
        design[:] = np.where(enough, "pairs of runs", "observations within a run")
        return mixed(enough, paired, by_summaries), design
    by_runs = compare_means(replace(units_of(sample), cluster=sample.runs()))
    single = np.isnan(by_runs.se) & np.isfinite(by_summaries.se)
    design[:] = np.where(single, "observations of a single run", "runs")
    return mixed(~single, by_runs, by_summaries), design


def _padded_summaries(sample: Sample, cells: int) -> tuple[Floats, Floats, Floats, NDArray[np.int64]]:
    n, middle, variance, cell_of = sample.summed()
    empty = np.zeros((1, 2))
    return (
        np.vstack([n, empty]),
        np.vstack([middle, empty]),
        np.vstack([variance, empty * np.nan]),
        padded(cell_of, cells),
    )


def by_pairs(sample: Sample, middle: Floats) -> Differences:
    """Compare within runs: one difference per run, averaged over its strata; `middle` is by stratum and side."""
    stratum, cell_of = sample.owners()
    both = np.isfinite(middle).all(axis=1)
    run_of = np.zeros(len(cell_of), dtype=np.int64)
    run_of[stratum] = sample.runs()
    pair = np.stack([cell_of[both], run_of[both]])
    unique, place = np.unique(pair, axis=1, return_inverse=True)
    times = np.bincount(place.ravel(), minlength=unique.shape[1])
    gap = np.bincount(place.ravel(), (middle[both, 1] - middle[both, 0]), unique.shape[1]) / np.maximum(times, 1)
    start = np.bincount(place.ravel(), middle[both, 0], unique.shape[1]) / np.maximum(times, 1)
    return compare_pairs(gap, start, unique[0].astype(np.int64), sample.data.cells)


def mixed(first: NDArray[np.bool_], one: Differences, other: Differences) -> Differences:
    """Take one comparison where `first` says so, the other elsewhere."""
    names = [name for name in Differences.__dataclass_fields__ if name != "paired"]
    picked = {name: np.where(first, getattr(one, name), getattr(other, name)) for name in names}
    return Differences(**picked, paired=one.paired and bool(first.all()))
