"""One metric that is a number, compared in all cells: a line of numbers for each cell and statistic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from aggrkit.pipeline.means import LONE, Measured, by_means
from aggrkit.pipeline.notes import differing, notes_of
from aggrkit.pipeline.percentiles import Values, by_statistic
from aggrkit.pipeline.units import Sample, SideUnits, counted_runs
from aggrkit.statistics.exchange import least_pvalue, log_splits
from aggrkit.statistics.power import detectable, runs_needed
from aggrkit.statistics.quantiles import (
    MEAN,
    Statistic,
)
from aggrkit.statistics.ranks import rank_test

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric
    from aggrkit.statistics.comparison import (
        Differences,
        Units,
    )

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

__all__ = ["compare_metric"]

_RELATIVE: Final = "of the median"


def compare_metric(
    data: SideUnits, metric: Metric, margins: Mapping[Statistic, float], alpha: float
) -> list[pd.DataFrame]:
    """Compare statistics of a metric that is a number in all cells.

    Parameters
    ----------
    data : SideUnits
        Both sides, with their single values if anything but the mean is asked for.
    metric : Metric
        What was measured.
    margins : mapping of Statistic to float
        What to compare, and the smallest change of it that matters.
    alpha : float
        Level of the tests.

    Returns
    -------
    list of pandas.DataFrame
        For each statistic a line per cell, in their order; what the whole table decides (adjusted p-value, verdict) is
        left open.
    """
    sample = Sample.of(data, data.prepared.metrics.index(metric), whole_log=True)
    unlike = differing(sample)
    values = Values(sample)
    found = []
    for statistic, margin in margins.items():
        measured = by_means(sample) if statistic == MEAN else by_statistic(values, statistic)
        lines = _lines(sample, measured, unlike, margin, alpha)
        if statistic.is_spread:  # the steadier the better, where better is known at all
            lines["unit"] = pd.array(np.where(sample.log, _RELATIVE, metric.unit).tolist(), dtype="str")
            lines["__sign"] = -abs(metric.sign)
        found.append(lines)
    return found


def _lines(sample: Sample, measured: Measured, unlike: list[list[str]], margin: float, alpha: float) -> pd.DataFrame:
    data, found, ratio = sample.data, measured.found, measured.log
    count = sample.column("n")
    n = [sample.per_cell(count, side) for side in (0, 1)]
    runs = (
        [sample.distinct_runs(side) for side in (0, 1)]
        if data.design != "observations"
        else [np.zeros(data.cells, int)] * 2
    )
    lower, upper = found.interval(1 - alpha)
    narrow_lower, narrow_upper = found.interval(1 - 2 * alpha)
    edge = np.where(ratio, np.log1p(margin), margin * np.abs(found.baseline))
    needed = np.where(np.isnan(measured.needed), _runs_needed(found, edge, alpha), measured.needed)
    lines = pd.DataFrame(
        {
            "n_baseline": n[0],
            "n_current": n[1],
            "runs_baseline": counted_runs(runs[0], data.design),
            "runs_current": counted_runs(runs[1], data.design),
            "baseline": _shown(found.baseline, ratio, measured.units, 0),
            "current": _shown(found.current, ratio, measured.units, 1),
            "change_pct": _percent(found.difference, found, ratio),
            "ci_lower": _percent(lower, found, ratio),
            "ci_upper": _percent(upper, found, ratio),
            "__narrow_lower": _percent(narrow_lower, found, ratio),
            "__narrow_upper": _percent(narrow_upper, found, ratio),
            "__direction": np.nan_to_num(found.difference),
            "effect_size": found.effect_size,
            "pvalue": found.pvalue,
            "__chance": _least_chance(measured, n, runs),
            "runs_needed": needed,
            "__like": measured.told,
        }
    )
    lines = pd.concat([lines, _details(sample, measured, alpha)], axis=1)
    lines["note"] = notes_of(sample, found, lines, measured.design, unlike, measured.remarks)
    return lines


def _least_chance(measured: Measured, n: Sequence[NDArray[np.int64]], runs: Sequence[NDArray[np.int64]]) -> Floats:
    """Return the smallest p-value that exchanging runs (or observations) of the two sides could give in each cell."""
    units, found = measured.units, measured.found
    sizes = np.bincount(units.stratum * 2 + units.side, minlength=2 * len(units.cell_of)).reshape(-1, 2)
    within = np.bincount(units.cell_of, log_splits(sizes[:, 0], sizes[:, 1]), len(found.difference))
    # runs that span strata are exchanged as wholes; pairs are swapped one by one
    by_runs = np.minimum(within, log_splits(runs[0], runs[1]))
    paired = found.n_baseline * np.log(2)
    design = measured.design
    lone = log_splits(runs[0], runs[1])  # a single run a side: exchanging the two tells nothing
    known = [design == "runs", design == "pairs of runs", design == LONE["runs"]]
    return least_pvalue(np.select(known, [by_runs, paired, lone], log_splits(n[0], n[1])))


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


def _shown(centre: Floats, ratio: Flags, units: Units, side: int) -> Floats:
    """Return the statistic as a value; where only this side has data, the plain mean of its units."""
    with np.errstate(over="ignore"):
        values = np.where(ratio, np.exp(centre), centre)
    mine = units.side == side
    cell = units.cell_of[units.stratum[mine]]
    with np.errstate(divide="ignore", invalid="ignore"):
        plain = np.bincount(cell, units.value[mine], units.cells) / np.bincount(cell, minlength=units.cells)
    with np.errstate(over="ignore"):
        alone = np.where(ratio, np.exp(plain), plain)
    return np.where(np.isnan(values), alone, values)


def _details(sample: Sample, measured: Measured, alpha: float) -> pd.DataFrame:
    stratum, cell_of = sample.owners()
    found = measured.found
    by_ranks = np.isin(measured.design, ["runs", "observations"] if measured.statistic == MEAN else ["runs"])
    pvalue, delta = rank_test(measured.units)
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
                "design": pd.array(measured.design.tolist(), dtype="str"),
                "strata": found.strata,
                "pvalue_rank": np.where(by_ranks, pvalue, np.nan),
                "cliffs_delta": np.where(by_ranks, delta, np.nan),
                "pvalue_heterogeneity": found.heterogeneity,
                "detectable_pct": _percent(size, found, measured.log),
                "left_out_pct": np.where(everything > 0, 100 * left / everything, np.nan),
            }
        )
