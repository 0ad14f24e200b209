"""What the front end draws: charts as Vega-Lite, tables as plain values, key figures in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from aggrkit.charts import distribution_chart, percentile_heatmap, rates_chart, statistics_chart, trend_chart
from aggrkit.charts.display import specification
from aggrkit.charts.parts import amount, clean, labels
from aggrkit.charts.rates import outcomes_chart, rates_of
from aggrkit.findings.words import counted
from aggrkit.model.selection import level_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt

    from aggrkit.findings import Anomalies, Changes
    from aggrkit.model.metric import Metric
    from aggrkit.panel.glance import Glance
    from aggrkit.panel.state import State

__all__ = ["cell_of", "drawn", "figures", "groups_chart", "histogram_of", "marked", "over_time", "overview", "table"]

_MOST_ROWS: Final = 200
_TREND: Final = {"width": "container", "height": 200}
_SHORTEST_STRIP: Final = 60_000  # ms
_CHOSEN: Final = "#CC79A7"


def drawn(chart: Any, **size: Any) -> dict[str, Any]:
    """Return a chart as the front end draws it: text takes the colour of the page around it."""
    return {**specification(chart, text="currentColor"), **size}


def groups_chart(seen: Glance, state: State, statistic: str) -> alt.TopLevelMixin:
    """Return the chart of all groups: a heatmap for two columns, else a line for each group."""
    groups, name = level_columns(state.level), seen.metric.name
    if len(groups) == 2:
        return percentile_heatmap(seen.stats, name, statistic, rows=groups[0], columns=groups[1])
    if seen.metric.is_proportion:
        return rates_chart(rates_of(seen.stats), groups, name)
    return statistics_chart(seen.stats, groups, name, direction=str(seen.metric.direction))


def marked(spec: dict[str, Any], state: State) -> dict[str, Any]:
    """Return the chart of all groups with a frame around the cell that was clicked, where it is a heatmap."""
    chosen, groups = state.cells, level_columns(state.level)
    if not chosen or len(groups) != 2:
        return spec
    tests = [
        {"field": field, "equal": _text(chosen[name])}
        for field, name in zip(("row", "column"), groups, strict=True)
        if name in chosen
    ]
    first = spec["layer"][0]
    frame = {
        "mark": {"type": "rect", "fillOpacity": 0, "stroke": _CHOSEN, "strokeWidth": 3, "aria": False},
        "transform": [{"filter": {"and": tests}}],
        "encoding": {name: first["encoding"][name] for name in ("x", "y", "tooltip") if name in first["encoding"]},
    }
    return {**spec, "layer": [*spec["layer"], frame]}


def cell_of(stats: pd.DataFrame, state: State, datum: dict[str, Any]) -> dict[str, Any]:
    """Return the group that a mark of the chart of all groups stands for; empty where none does.

    Parameters
    ----------
    stats : pandas.DataFrame
        The frame that the chart was drawn from.
    state : State
        What was shown.
    datum : dict
        What the mark was drawn from: "row" and "column", or "label".
    """
    groups = list(level_columns(state.level))
    keys = stats[groups].drop_duplicates().reset_index(drop=True)
    if {"row", "column"} <= set(datum) and len(groups) == 2:
        wanted = dict(zip(groups, (datum["row"], datum["column"]), strict=True))
        hits = np.logical_and.reduce([keys[name].map(_text) == str(value) for name, value in wanted.items()])
    else:
        hits = np.array(labels(keys, groups)) == str(datum.get("label"))
    places = np.flatnonzero(hits)
    return {name: _plain(keys.at[int(places[0]), name]) for name in groups} if len(places) else {}


def over_time(
    seen: Glance,
    words: str,
    anomalies: Anomalies | None = None,
    changes: Changes | None = None,
    time: str | None = None,
) -> dict[str, Any] | None:
    """Return the chart of what is selected over time, with what was found in it; None where there are no times."""
    if seen.bands is None:
        return None
    low, high = (seen.bands[["low", "low_at"]], seen.bands[["high", "high_at"]])
    ends = [part.set_axis(["value", "time"], axis=1) for part in (low, high)]
    points = pd.concat(ends).dropna().drop_duplicates()
    if not len(points):  # a pass rate, whose bins have no extremes
        points = seen.bands[["time", "p50"]].rename(columns={"p50": "value"})
    odd = None
    if anomalies is not None and time is not None and time in anomalies:
        odd = pd.DataFrame(anomalies).rename(columns={time: "time"})[["time", "value", "severity"]]
    moved = None
    if changes is not None:
        sure = pd.DataFrame(changes)[changes["status"].ne("trend").to_numpy()]
        moved = sure.rename(columns={"at": "time"})[["time", "change_pct"]]
    name, unit = seen.metric.name, seen.metric.unit
    chart = trend_chart(points, name, unit=unit, anomalies=odd, changes=moved, band=seen.bands, subtitle=words)
    return drawn(chart, **_TREND)


def overview(seen: Glance, span: tuple[pd.Timestamp, pd.Timestamp], state: State) -> dict[str, Any] | None:
    """Return the strip below the chart over time: all times, with a brush at the time range."""
    if seen.bands is None:
        return None
    first, last = (int(moment.timestamp() * 1000) for moment in span)
    last = max(last, first + _SHORTEST_STRIP)
    values = [
        {"t": int(time.timestamp() * 1000), "n": int(n)}
        for time, n in zip(seen.bands["time"], seen.bands["n"], strict=True)
    ]
    brush: dict[str, Any] = {
        "name": "brush",
        "select": {"type": "interval", "encodings": ["x"], "mark": {"fill": _CHOSEN, "fillOpacity": 0.25}},
    }
    if state.time_range is not None:
        start, end = state.time_range
        brush["value"] = {
            "x": [
                first if start is None else int(pd.Timestamp(start).timestamp() * 1000),
                last if end is None else int(pd.Timestamp(end).timestamp() * 1000),
            ]
        }
    axis = {"title": None, "tickCount": 6, "labelOverlap": "greedy", "labelSeparation": 8}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": "Results over all time; drag to choose a time range.",
        "data": {"values": values},
        "width": "container",
        "height": 36,
        "params": [brush],
        "mark": {"type": "bar", "color": "#56B4E9", "width": 2},
        "encoding": {
            "x": {"field": "t", "type": "temporal", "scale": {"type": "utc", "domain": [first, last]}, "axis": axis},
            "y": {"field": "n", "type": "quantitative", "axis": None},
        },
        "config": drawn_config(),
    }


def drawn_config() -> dict[str, Any]:
    """Return the configuration that charts share within a page."""
    from aggrkit.charts.theme import config

    return config(text="currentColor")


def histogram_of(seen: Glance) -> dict[str, Any]:
    """Return the histogram of what is selected; of a pass/fail metric, how many passed and failed."""
    name = seen.metric.name
    if seen.metric.is_proportion:
        counts = rates_of(seen.whole)[["successes", "failures"]].sum()
        return drawn(outcomes_chart(int(counts["successes"]), int(counts["failures"]), name), width="container")
    chart = distribution_chart(seen.histogram, metric=name, unit=seen.metric.unit)
    return drawn(chart, width="container", height=120)


def figures(seen: Glance, state: State) -> list[dict[str, str]]:
    """Return the key figures: label and value, in words."""
    whole = seen.whole.iloc[0]
    groups = seen.stats[seen.stats["n"] > 0]
    middle = ("pass rate", whole["mean"]) if seen.metric.is_proportion else ("median", whole.get("p50"))
    chosen = ", ".join(_text(label) for label in state.cells.values()) or "all groups"
    return [
        {"label": "results", "value": f"{int(whole['n']):,}"},
        {"label": "groups", "value": f"{len(groups):,}"},
        {"label": "selected", "value": chosen},
        {"label": middle[0], "value": _sized(middle[1], seen.metric)},
    ]


def table(frame: pd.DataFrame, groups: Sequence[str] = ()) -> dict[str, Any]:
    """Return a table as plain values: at most 200 rows, with the group of each, by which it can be selected."""
    shown = pd.DataFrame(frame).head(_MOST_ROWS)
    columns = [str(name) for name in shown.columns]
    rows = [[_cell(value) for value in line] for line in shown.itertuples(index=False, name=None)]
    known = [name for name in groups if name in shown]
    keys = (
        [
            {name: _plain(value) for name, value in zip(known, line, strict=True)}
            for line in shown[known].itertuples(index=False, name=None)
        ]
        if known and len(known) == len(groups)
        else []
    )
    numeric = [bool(pd.api.types.is_numeric_dtype(dtype)) for dtype in shown.dtypes]
    said = counted(len(frame), "row") + (f", the first {_MOST_ROWS} shown" if len(frame) > _MOST_ROWS else "")
    return {"columns": columns, "numeric": numeric, "rows": rows, "keys": keys, "said": said}


def _cell(value: Any) -> Any:
    """Return a value of a table: numbers with six digits, times to the second, nothing where it is missing."""
    if isinstance(value, pd.Timestamp):
        return value.isoformat(sep=" ", timespec="seconds")
    found = clean(value) if not isinstance(value, (list, tuple, dict, np.ndarray)) else str(value)
    return found if isinstance(found, (int, float, bool, type(None))) else str(found)[:200]


def _plain(value: Any) -> Any:
    """Return a label as JSON has it."""
    return value.item() if isinstance(value, np.generic) else value if isinstance(value, (int, float)) else str(value)


def _text(value: Any) -> str:
    """Return a label as the charts write it."""
    return "unknown" if pd.isna(value) else str(value)


def _sized(value: Any, metric: Metric) -> str:
    if value is None or pd.isna(value):
        return "-"
    return f"{100 * value:.1f} %" if metric.is_proportion else amount(value, metric.unit)
