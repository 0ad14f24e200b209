"""The answer below the charts: words, charts and a table for each tab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from aggrkit.charts import anomalies_chart, changes_chart, compare_chart, correlation_heatmap, volcano_chart
from aggrkit.findings.words import group_names
from aggrkit.model.selection import level_columns
from aggrkit.panel.offer import SPANS, TIME
from aggrkit.panel.pictures import drawn, table

if TYPE_CHECKING:
    from aggrkit.panel.glance import Glance
    from aggrkit.panel.offer import Offer
    from aggrkit.panel.state import State

__all__ = ["answer_of", "sides_of", "statistics_of"]


def statistics_of(seen: Glance, state: State) -> dict[str, Any]:
    """Return the table of the groups that are shown, by which they can be selected without a mouse."""
    groups = level_columns(state.level)
    return {"tab": "statistics", "table": table(seen.stats, groups), "cell": state.cells, "words": []}


def answer_of(found: Any, state: State) -> dict[str, Any]:
    """Return an answer as the front end shows it.

    Parameters
    ----------
    found : Finding or pandas.DataFrame
        What the tab's question answered.
    state : State
        What was asked.
    """
    made: dict[str, Any] = {"tab": state.tab, "cell": state.cells, "words": [], "charts": []}
    if state.tab == "rows":
        return {**made, "table": table(found)}
    groups = group_names(found) if state.tab != "correlations" else []
    made["words"] = found.explain().split("\n")
    if state.tab == "anomalies":
        made["charts"] = [drawn(anomalies_chart(found, groups))]
    elif state.tab == "changes":
        made["charts"] = [drawn(changes_chart(found, groups))]
    elif state.tab == "compare":
        made["charts"] = [drawn(compare_chart(found, groups)), drawn(volcano_chart(found))]
    elif state.tab == "correlations":
        made["charts"] = [drawn(correlation_heatmap(found))]
    known = groups if tuple(groups) == level_columns(state.level) else []
    return {**made, "table": table(pd.DataFrame(found), known)}


def sides_of(state: State, offer: Offer) -> dict[str, Any]:
    """Return what the sides of a comparison can be chosen from."""
    columns = [*offer.sides, *([TIME] if offer.first is not None else [])]
    if state.by == TIME:
        return {"columns": columns, "by": TIME, "baselines": list(SPANS), "baseline": state.baseline, "currents": []}
    values = [_plain(value) for value in offer.sides.get(str(state.by), ())]
    return {
        "columns": columns,
        "by": state.by,
        "baselines": values,
        "baseline": _plain(state.baseline),
        "currents": [None, *values],
        "current": _plain(state.current),
    }


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
