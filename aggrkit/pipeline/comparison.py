"""Current against baseline: a verdict for each group and metric, with what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from aggrkit.errors import number_between
from aggrkit.model.answer import COLUMNS, Answer
from aggrkit.pipeline.means import compare_metric
from aggrkit.pipeline.rates import compare_outcome
from aggrkit.pipeline.units import SideUnits
from aggrkit.statistics.multiplicity import adjust_pvalues

if TYPE_CHECKING:
    from aggrkit.model.metric import Metric
    from aggrkit.model.schema import Schema
    from aggrkit.pipeline.prepared import Prepared
    from aggrkit.pipeline.sides import Sides

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
        for margin in self.margin.values() if isinstance(self.margin, Mapping) else [self.margin]:
            number_between(margin, 0, 1, "a margin is a share between 0 and 1, e.g. 0.02 for 2 %")
        number_between(self.alpha, 0, 0.5, "alpha is a chance between 0 and 0.5")
        adjust_pvalues([], self.adjust)

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with the frames "compare" and "compare_details"."""
        if isinstance(self.margin, Mapping):
            for name in self.margin:
                prepared.schema.metric(name)
        data = SideUnits.of(prepared, self.sides)
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

    def _margin(self, metric: Metric, schema: Schema) -> float:
        if not isinstance(self.margin, Mapping):
            return self.margin
        return {schema.metric(name).name: margin for name, margin in self.margin.items()}.get(metric.name, 0.02)

    def _metric(self, data: SideUnits, metric: Metric) -> pd.DataFrame:
        """Compare one metric in all cells; what the whole table decides is left open."""
        margin = self._margin(metric, data.prepared.schema)
        with np.errstate(over="ignore", invalid="ignore"):  # values near the largest number are possible
            lines = (
                compare_outcome(data, metric, margin, self.alpha)
                if metric.is_proportion
                else compare_metric(data, metric, margin, self.alpha)
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
        runs = lines[["runs_baseline", "runs_current"]].astype("Float64").max(axis=1)
        there = runs.fillna(lines[["n_baseline", "n_current"]].max(axis=1)).to_numpy(dtype=np.float64)
        needed = np.maximum(lines["runs_needed"].to_numpy(dtype=np.float64), there + 1)
        lines["runs_needed"] = pd.Series(needed, index=lines.index).where(open_).round().astype("Int64")
        return lines
