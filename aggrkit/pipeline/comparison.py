"""Current against baseline: a verdict for each group and metric, with what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from aggrkit.errors import SchemaError, listed, number_between
from aggrkit.model.answer import COLUMNS, Answer
from aggrkit.pipeline.margins import DEFAULT_MARGIN, check_margin, margins_of
from aggrkit.pipeline.quantities import compare_metric
from aggrkit.pipeline.rates import compare_outcome
from aggrkit.pipeline.units import SideUnits
from aggrkit.statistics.exchange import guarded
from aggrkit.statistics.hierarchy import adjust_on_tree
from aggrkit.statistics.multiplicity import adjust_pvalues
from aggrkit.statistics.quantiles import MEAN, Statistic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric
    from aggrkit.pipeline.halves import Halves
    from aggrkit.pipeline.prepared import Prepared
    from aggrkit.pipeline.sides import Sides

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


HIERARCHICAL: Final = "hierarchical"

SPREAD_MARGIN: Final = 0.1
"""Smallest change of a spread that matters, unless the margin is larger: a spread of 100 values is known to 8 %."""


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
        How p-values are adjusted over the whole table; "hierarchical" from group to group, in the order of the level,
        and then metric.
    statistic : str or sequence of str, optional
        What is compared: "mean", percentiles such as "p50" and "p99.9", "spread", or several of them. With anything but
        the plain default the frames have a column `statistic`.
    """

    sides: Sides | Halves
    margin: float | Mapping[str, float] = DEFAULT_MARGIN
    alpha: float = 0.05
    adjust: str | None = "fdr_bh"
    statistic: str | Sequence[str] = "mean"
    name: str = "compare"

    def __post_init__(self) -> None:
        wanted = Statistic.read(self.statistic)
        if not isinstance(self.statistic, str):
            object.__setattr__(self, "statistic", tuple(statistic.name for statistic in wanted))
        check_margin(self.margin)
        number_between(self.alpha, 0, 0.5, "alpha is a chance between 0 and 0.5")
        if self.adjust != HIERARCHICAL:
            adjust_pvalues([], self.adjust)

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with the frames "compare" and "compare_details"."""
        margins_of(self.margin, prepared)  # a name that isn't there is told before anything is fetched
        mean_only = self._mean_only(prepared)
        data = self.units(prepared, None if answer.rows is None else answer.rows.used)
        everything = self.lines(data)
        place = {name: rank for rank, name in enumerate(VERDICTS)}
        everything["__order"] = everything["verdict"].map(place)
        everything = everything.sort_values(
            ["__order", "__cell", "__metric", "__statistic"], kind="stable"
        ).reset_index(drop=True)
        labels = data.labels.iloc[everything["__cell"].to_numpy()].reset_index(drop=True)
        named = [] if self._is_plain else ["statistic"]
        fixed = COLUMNS["compare"]
        frame = pd.concat([labels, everything[[*fixed[:2], *named, *fixed[2:]]]], axis=1)
        details = pd.concat([labels, everything[["metric", *named, *DETAILS]]], axis=1)
        meta: dict[str, Any] = {
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
        if not self._is_plain:
            meta["statistic"] = [statistic.name for statistic in self.wanted]
            meta["mean_only"] = mean_only
            if any(statistic.is_spread for statistic in self.wanted):
                meta["margin_spread"] = self._margin_of_spread()
        return answer.with_frame("compare", frame, **meta).with_frame("compare_details", details)

    def units(self, prepared: Prepared, rows: int | None) -> SideUnits:
        """Return both sides, collapsed to their units; there are no more than so many rows, where that is known."""
        return SideUnits.of(prepared, self.sides, [each for each in self.wanted if each != MEAN], rows)

    def lines(self, data: SideUnits) -> pd.DataFrame:
        """Return a line per group, metric and statistic, with its verdict; in no order."""
        margins = margins_of(self.margin, data.prepared)
        parts = [part for metric in data.prepared.metrics for part in self._metric(data, metric, margins[metric.name])]
        lines = pd.concat(parts, ignore_index=True)
        lines["pvalue_adjusted"] = self._adjusted(data, lines)
        return self._judged(lines)

    def _adjusted(self, data: SideUnits, lines: pd.DataFrame) -> Floats:
        """Adjust the p-values over all lines that can get a verdict, and over the others by themselves."""
        like = lines["__like"].to_numpy(dtype=bool)
        adjusted = np.full(len(lines), np.nan)
        for some in (like, ~like):
            adjusted[some] = self._over(data, lines[some])
        return adjusted

    def _over(self, data: SideUnits, lines: pd.DataFrame) -> Floats:
        """Adjust p-values over some lines, or from group to group and metric."""
        pvalues = lines["pvalue"].to_numpy()
        if self.adjust in (None, "none"):
            return adjust_pvalues(pvalues, None)
        pvalues = guarded(pvalues, lines["__chance"].fillna(0.0).to_numpy(), self.alpha)
        if self.adjust != HIERARCHICAL:
            return adjust_pvalues(pvalues, self.adjust)
        cell = lines["__cell"].to_numpy()
        branches = [pd.factorize(data.labels[name])[0][cell] for name in data.labels.columns]
        return adjust_on_tree(pvalues, [*branches, lines["__metric"].to_numpy()], self.alpha)

    @property
    def wanted(self) -> tuple[Statistic, ...]:
        """The statistics to compare."""
        return Statistic.read(self.statistic)

    @property
    def _is_plain(self) -> bool:
        return self.statistic == MEAN.name

    def _mean_only(self, prepared: Prepared) -> list[str]:
        """Return the pass/fail metrics of which something else than the mean was asked for."""
        others = [statistic.name for statistic in self.wanted if statistic != MEAN]
        found = [metric.name for metric in prepared.metrics if metric.is_proportion] if others else []
        if found and len(found) == len(prepared.metrics) and MEAN not in self.wanted:
            raise SchemaError(
                f"a pass/fail metric has no {' or '.join(others)}, and there is no other among {listed(found)}; "
                "compare their 'mean', or a metric that is a number"
            )
        return found

    def _margin_of_spread(self) -> float | dict[str, float]:
        if isinstance(self.margin, Mapping):
            return {name: max(margin, SPREAD_MARGIN) for name, margin in self.margin.items()}
        return max(self.margin, SPREAD_MARGIN)

    def _metric(self, data: SideUnits, metric: Metric, margin: float) -> list[pd.DataFrame]:
        """Compare one metric in all cells; what the whole table decides is left open."""
        margins = {
            statistic: max(margin, _least_margin(statistic))
            for statistic in self.wanted
            if statistic == MEAN or not metric.is_proportion
        }
        with np.errstate(over="ignore", invalid="ignore"):  # values near the largest number are possible
            parts = (
                [compare_outcome(data, metric, margin, self.alpha) for _ in margins]
                if metric.is_proportion
                else compare_metric(data, metric, margins, self.alpha)
            )
        return [
            self._numbered(data, metric, statistic, margins[statistic], lines)
            for statistic, lines in zip(margins, parts, strict=True)
        ]

    def _numbered(
        self, data: SideUnits, metric: Metric, statistic: Statistic, margin: float, lines: pd.DataFrame
    ) -> pd.DataFrame:
        """Say of lines what they are of, and in which order they come."""
        count = len(lines)
        said = {
            "metric": pd.array([metric.name] * count, dtype="str"),
            "statistic": pd.array([statistic.name] * count, dtype="str"),
            "__metric": np.full(count, data.prepared.metrics.index(metric)),
            "__statistic": np.full(count, self.wanted.index(statistic)),
            "__margin": np.full(count, 100 * margin),
            "__cell": np.arange(count),
        }
        if "unit" not in lines:
            said |= {"unit": pd.array([metric.unit] * count, dtype="str"), "__sign": np.full(count, metric.sign)}
        return pd.concat([lines, pd.DataFrame(said, index=lines.index)], axis=1)

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


def _least_margin(statistic: Statistic) -> float:
    return SPREAD_MARGIN if statistic.is_spread else 0.0
