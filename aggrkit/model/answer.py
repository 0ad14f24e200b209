"""What a pipeline returns: tidy frames by name, with the selection and where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from aggrkit.errors import SchemaError, listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from aggrkit.model.selection import Selection

__all__ = ["COLUMNS", "Answer", "RowsReport"]

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "stats": ("metric", "unit", "n", "missing", "mean", "std", "min", "p50", "p75", "p90", "p95", "p99", "max"),
    "proportions": ("metric", "n", "missing", "successes", "failures", "rate", "ci_lower", "ci_upper"),
    "distributions": ("column", "value", "count", "percentage", "total_values", "unique_values"),
    "anomalies": ("metric", "observation", "value", "score", "lower", "upper", "direction", "severity")
    + ("pvalue", "pvalue_adjusted"),
    "compare": ("metric", "unit", "n_baseline", "n_current", "runs_baseline", "runs_current", "baseline", "current")
    + (
        "change_pct",
        "ci_lower",
        "ci_upper",
        "effect_size",
        "pvalue",
        "pvalue_adjusted",
        "verdict",
        "runs_needed",
        "note",
    ),
    "correlations": ("metric1", "metric2", "method", "correlation", "pvalue", "pvalue_adjusted", "n", "strength")
    + ("direction", "significant", "reversed_within_groups"),
    "trends": ("metric", "unit", "n", "start", "end", "slope_per_day", "slope_pct_per_day", "ci_lower", "ci_upper")
    + ("tau", "pvalue", "pvalue_adjusted", "verdict"),
    "changes": ("metric", "at", "at_lower", "at_upper", "before", "after", "change_pct", "ci_lower", "ci_upper")
    + ("pvalue_adjusted", "direction", "status", "verdict", "coincides_with"),
    "calibration": ("what", "alarms", "trials", "rate", "ci_lower", "ci_upper", "stated"),
    "differences": ("dimension", "metric", "unit", "n", "groups", "effect_size", "magnitude", "pvalue")
    + ("pvalue_adjusted", "significant", "best", "worst", "lowest", "highest", "spread_pct", "adjusted_for"),
    "variance": ("metric", "factor", "level", "share", "effect_pct", "ci_lower", "ci_upper", "n", "pvalue_adjusted"),
    "variance_runs": ("metric", "run", "effect_pct", "ci_lower", "ci_upper", "n", "pvalue_adjusted"),
    "health": ("worker", "rank", "verdict", "evidence", "offset_pct", "spread_ratio", "failure_rate")
    + ("drift_pct_per_day", "pvalue", "pvalue_adjusted", "n_runs", "n", "reason"),
}
"""The fixed columns of each frame; the columns of the level come before them."""


@dataclass(frozen=True, slots=True)
class RowsReport:
    """How many rows went in, and what was taken out, by stage and reason.

    Parameters
    ----------
    selected : int
        Rows that passed the filters.
    rows_out : mapping
        Reason to the number of rows that were taken out for it.
    cells_out : mapping
        Reason to the number of single values that were taken out for it, their rows staying.
    notes : tuple of str, optional
        What else a reader should know, e.g. a check that could not be made.
    """

    selected: int
    rows_out: Mapping[str, int] = field(default_factory=dict)
    cells_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def used(self) -> int:
        """Rows that were left."""
        return self.selected - sum(self.rows_out.values())


@dataclass(frozen=True)
class Answer:
    """What a pipeline found.

    Parameters
    ----------
    selection : Selection
        What was asked.
    frames : mapping of str to pandas.DataFrame
        Tidy frames by name.
    rows : RowsReport or None
        Rows in, and rows out by reason.
    meta : mapping
        Source, engine, method and parameters.
    """

    selection: Selection
    frames: Mapping[str, pd.DataFrame] = field(default_factory=lambda: MappingProxyType({}))
    rows: RowsReport | None = None
    meta: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.selection, dict(self.frames), self.rows, dict(self.meta))

    def with_frame(self, name: str, frame: pd.DataFrame, **meta: Any) -> Answer:
        """Return the answer with one more named frame, and what is to be said of it.

        Raises
        ------
        SchemaError
            If a column to group by has the name of a column of the answer.
        """
        doubled = sorted({str(column) for column in frame.columns[frame.columns.duplicated()]})
        if doubled:
            raise SchemaError(
                f"the answer would have two columns called {listed(doubled)}; "
                "rename the columns that are grouped by, or the stage that adds one"
            )
        return replace(
            self,
            frames=MappingProxyType({**self.frames, name: frame}),
            meta=MappingProxyType({**self.meta, **meta}),
        )


def _restored(
    selection: Selection, frames: dict[str, pd.DataFrame], rows: RowsReport | None, meta: dict[str, Any]
) -> Answer:
    """Make an answer again that was pickled."""
    return Answer(selection, MappingProxyType(frames), rows, MappingProxyType(meta))
