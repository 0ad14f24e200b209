"""The tables of findings for readers: few columns, few lines, numbers with their units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.charts.parts import with_unit
from aggrkit.findings.words import counted, group_names, short_number, signed
from aggrkit.reports.pieces import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggrkit.findings import Finding

__all__ = ["TITLES", "table_of"]

_MOST: Final = 20
_LONGEST: Final = 160

TITLES: Final = {
    "stats": "What is normal",
    "proportions": "How many pass",
    "distributions": "What occurs",
    "anomalies": "What is odd",
    "compare": "What changed between the two",
    "correlations": "What goes with what",
    "trends": "What drifts",
    "changes": "When it shifted",
    "calibration": "How often this cries wolf",
    "differences": "What makes a difference",
    "variance": "Where the noise comes from",
    "health": "Which machines are sick",
}
"""The question that each finding answers."""


def _percent(value: Any) -> str:
    return "" if pd.isna(value) else f"{100 * value:.1f} %"


def _change(value: Any) -> str:
    return "" if pd.isna(value) else signed(float(value))


def _day(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:%Y-%m-%d}"


def _words(value: Any) -> str:
    return str(value).replace("_", " ")


def _chance(value: Any) -> str:
    return "" if pd.isna(value) else "< 0.0001" if value < 1e-4 else f"{value:.2g}"


_CHANGE: Final = {"change_pct": ("change, %", _change), "ci_lower": ("from", _change), "ci_upper": ("to", _change)}
_COLUMNS: Final[dict[str, dict[str, tuple[str, Callable[[Any], str] | None]]]] = {
    "stats": {
        **{name: (name, None) for name in ("metric", "unit", "n", "mean", "std", "min")},
        **{name: (name, None) for name in ("p50", "p95", "max")},
    },
    "proportions": {
        "metric": ("metric", None),
        "n": ("results", None),
        "failures": ("failed", None),
        "rate": ("rate", _percent),
        "ci_lower": ("from", _percent),
        "ci_upper": ("to", _percent),
    },
    "distributions": {
        "column": ("column", None),
        "value": ("value", None),
        "count": ("count", None),
        "percentage": ("share, %", None),
    },
    "anomalies": {
        "metric": ("metric", None),
        "observation": ("observation", str),
        "value": ("value", None),
        "lower": ("expected from", None),
        "upper": ("to", None),
        "severity": ("severity", _words),
    },
    "compare": {
        "metric": ("metric", None),
        "statistic": ("statistic", None),
        "unit": ("unit", None),
        "baseline": ("baseline", None),
        "current": ("current", None),
        **_CHANGE,
        "verdict": ("verdict", _words),
        "runs_needed": ("runs needed", None),
    },
    "correlations": {
        "metric1": ("metric", None),
        "metric2": ("and", None),
        "method": ("method", None),
        "correlation": ("correlation", None),
        "n": ("n", None),
        "pvalue_adjusted": ("p (adjusted)", _chance),
    },
    "trends": {
        "metric": ("metric", None),
        "start": ("from", _day),
        "end": ("to", _day),
        "slope_pct_per_day": ("% a day", _change),
        "ci_lower": ("at least", _change),
        "ci_upper": ("at most", _change),
        "verdict": ("verdict", _words),
    },
    "changes": {
        "metric": ("metric", None),
        "at": ("when", _day),
        "before": ("before", None),
        "after": ("after", None),
        **_CHANGE,
        "status": ("status", None),
        "verdict": ("verdict", _words),
        "coincides_with": ("changed then too", None),
    },
    "calibration": {
        "what": ("what", None),
        "alarms": ("alarms", None),
        "trials": ("of", None),
        "rate": ("rate", _percent),
        "ci_lower": ("from", _percent),
        "ci_upper": ("to", _percent),
        "stated": ("stated", _percent),
    },
    "differences": {
        "dimension": ("dimension", None),
        "metric": ("metric", None),
        "magnitude": ("effect", None),
        "spread_pct": ("apart, %", _change),
        "best": ("best", None),
        "worst": ("worst", None),
        "pvalue_adjusted": ("p (adjusted)", _chance),
        "adjusted_for": ("held fixed", None),
    },
    "variance": {
        "metric": ("metric", None),
        "factor": ("factor", None),
        "level": ("which", None),
        "share": ("share", _percent),
        "effect_pct": ("effect, %", _change),
        "ci_lower": ("from", _change),
        "ci_upper": ("to", _change),
    },
    "health": {
        "worker": ("worker", None),
        "verdict": ("verdict", _words),
        "offset_pct": ("offset, %", _change),
        "spread_ratio": ("spread", None),
        "failure_rate": ("failing", _percent),
        "n_runs": ("runs", None),
        "reason": ("why", None),
    },
}
"""The columns of each finding that are shown, with their headings and how their values are written."""


def table_of(finding: Finding, most: int = _MOST) -> Table:
    """Return the table of a finding: its first lines, which are the most telling ones.

    Parameters
    ----------
    finding : Finding
        The answer.
    most : int, optional
        At most so many lines.
    """
    lines = pd.DataFrame(finding)
    groups = group_names(finding)
    named: dict[str, tuple[str, Callable[[Any], str] | None]] = {name: (name, None) for name in groups}
    for name, how in _COLUMNS[finding._name].items():
        if name in lines.columns and name not in named and (lines[name].notna().any() or name in ("metric", "verdict")):
            named[name] = how
    title = TITLES[finding._name]
    if "metric" in named and len(lines) > 1 and lines["metric"].nunique() == 1:  # said once instead of in each line
        unit = named.pop("unit", None) and next(iter(lines["unit"].dropna()), "")
        title = f"{title}: {with_unit(str(lines['metric'].iloc[0]), unit)}"
        del named["metric"]
    shown = lines.head(most)
    numeric = [pd.api.types.is_numeric_dtype(lines[name]) for name in named]
    cells = [[_cell(value, how) for value in shown[name]] for name, (_, how) in named.items()]
    more = len(lines) - len(shown)
    return Table(
        title,
        [heading for heading, _ in named.values()],
        list(zip(*cells, strict=True)),
        frozenset(place for place, number in enumerate(numeric) if number),
        f"{counted(more, 'more line')} in the notebook's answer." if more else "" if len(lines) else "Nothing to list.",
    )


def _cell(value: Any, how: Callable[[Any], str] | None) -> str:
    if how is not None:
        return how(value)
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return ""
    text = short_number(value.item() if hasattr(value, "item") else value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
