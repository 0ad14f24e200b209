"""One pass/fail metric compared in all cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from aggrkit.pipeline.notes import notes_of
from aggrkit.pipeline.units import Sample, SideUnits, counted_runs, padded
from aggrkit.statistics.power import detectable, runs_needed
from aggrkit.statistics.proportions import compare_rates, overdispersion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric

__all__ = ["compare_outcome"]

_TOGETHER: Final = 1.5


def compare_outcome(data: SideUnits, metric: Metric, margin: float, alpha: float) -> pd.DataFrame:
    """Compare a pass/fail metric in all cells, in percentage points; see `compare_metric`."""
    sample = Sample.of(data, data.prepared.metrics.index(metric), whole_log=False)
    cells = data.cells
    count = sample.column("n")
    passed = np.rint(count * sample.column("mean"))
    stratum, cell_of = sample.owners()
    cell_of = padded(cell_of, cells)
    place = stratum * 2 + sample.side
    size = 2 * len(cell_of)
    total = np.bincount(place, count, size).astype(np.float64).reshape(-1, 2)
    good = np.bincount(place, passed, size).astype(np.float64).reshape(-1, 2)
    inflation, df = np.ones(cells), np.full(cells, np.inf)
    if data.design == "runs":
        inflation, df = overdispersion(passed, count, place, sample.cell, cells, run=sample.runs() * 2 + sample.side)
    found = compare_rates(good, total, cell_of, inflation, alpha, df)
    df = np.minimum(df, 1e6)
    n = [sample.per_cell(count, side) for side in (0, 1)]
    runs = (
        [sample.distinct_runs(side) for side in (0, 1)] if data.design != "observations" else [np.zeros(cells, int)] * 2
    )
    single = (data.design == "runs") & (np.minimum(*runs) < 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (found.baseline + found.current) / 2
        spread = np.sqrt(np.clip(middle * (1 - middle), margin / 2, None) * inflation)
        observations = runs_needed(found.difference, found.se, spread, df, margin, alpha)
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
            "runs_baseline": counted_runs(runs[0], data.design),
            "runs_current": counted_runs(runs[1], data.design),
            "baseline": np.where(np.isnan(found.baseline), unmatched[0], found.baseline),
            "current": np.where(np.isnan(found.current), unmatched[1], found.current),
            "change_pct": 100 * found.difference,
            "ci_lower": 100 * found.lower,
            "ci_upper": 100 * found.upper,
            "__narrow_lower": 100 * found.narrow_lower,
            "__narrow_upper": 100 * found.narrow_upper,
            "__direction": np.nan_to_num(found.difference),
            "effect_size": found.effect_size,
            "__chance": 0.0,  # the test is exact
            "pvalue": found.pvalue,
            "runs_needed": np.ceil(observations / per_run),
            "__like": sample.like,
            "design": pd.array(np.where(single, "observations of a single run", data.design).tolist(), dtype="str"),
            "strata": found.strata,
            "pvalue_rank": np.nan,
            "cliffs_delta": np.nan,
            "pvalue_heterogeneity": np.nan,
            "detectable_pct": 100 * detectable(found.se, df, alpha),
            "left_out_pct": np.nan,
        }
    )
    lines["note"] = _with_units(notes_of(sample, None, lines, lines["design"].to_numpy()), n, inflation)
    return lines


def _with_units(notes: Any, n: list[NDArray[np.int64]], inflation: NDArray[np.float64]) -> Any:
    """Say before each note that changes are in points, and where results of a run go together."""
    texts = []
    for note, before, after, factor in zip(notes, n[0], n[1], inflation, strict=True):
        parts = ["percentage points"] if before and after else []
        if factor > _TOGETHER:
            parts.append(f"results of a run go together (variance {factor:.1f} times that of independent ones)")
        texts.append("; ".join(part for part in (*parts, note) if part))
    return pd.array(texts, dtype="str")
