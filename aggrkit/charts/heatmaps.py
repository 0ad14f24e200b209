"""Heatmaps: a statistic by model and hardware, and correlations."""

from __future__ import annotations

import re
from typing import Any, Final

import altair as alt
import numpy as np
import pandas as pd

from aggrkit.charts.parts import (
    SHORT,
    amount,
    count,
    data,
    finished,
    nothing,
    number,
    numbers,
    of_metric,
    require,
    spans_decades,
    with_unit,
)
from aggrkit.charts.theme import PALETTE
from aggrkit.errors import UnknownNameError

__all__ = ["correlation_heatmap", "percentile_heatmap"]

_MOST_DOWN: Final = 40
_MOST_ACROSS: Final = 20
_MOST_CELLS: Final = 200
_TALL: Final = 12  # lines
_MOST_METRICS: Final = 14
_FAR_APART: Final = 30.0  # colours tell less apart than places
_WIDEST: Final = 7  # characters in a cell
_THOUSANDS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
_FIXED: Final = ("n", "missing", "mean", "std", "min", "max")
_LIGHT_TEXT, _DARK_TEXT = "white", "black"


def percentile_heatmap(
    stats: pd.DataFrame, metric: str, statistic: str = "p50", *, rows: str = "model", columns: str = "hardware"
) -> alt.LayerChart:
    """Return a statistic of every model on every hardware as a heatmap.

    Parameters
    ----------
    stats : pandas.DataFrame
        The frame "stats", by `rows` and `columns`.
    metric : str
        Which metric.
    statistic : str, optional
        Which of its columns, e.g. "p95".
    rows, columns : str, optional
        Names of the group columns. Where there are more columns than rows, they change places: names have more room
        beside a chart than below it.

    Returns
    -------
    altair.LayerChart
        At most 200 cells, those of the names with most values; on a log scale where values lie far apart.

    Raises
    ------
    UnknownNameError
        If the frame has no such metric or statistic.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import percentile_heatmap
    >>> line = {"model": "bert", "hardware": "A100", "metric": "latency_ms", "unit": "ms", "n": 9, "p50": 3.0}
    >>> percentile_heatmap(pd.DataFrame([line]), "latency_ms").description
    'p50 of latency_ms in 1 cell of model and hardware: from 3 ms (bert on A100) to 3 ms (bert on A100).'
    """
    title = f"{statistic} of {metric}"
    require(stats, [rows, columns, "metric", "unit", "n"])
    known = [name for name in stats.columns if name in _FIXED or re.fullmatch(r"p\d+(\.\d+)?", str(name))]
    if statistic not in known:
        raise UnknownNameError.of("statistic", statistic, known)
    lines = of_metric(stats, metric)
    cells = pd.DataFrame({"row": _words(lines[rows]), "column": _words(lines[columns])}, index=lines.index)
    cells["x"], cells["n"] = numbers(lines, statistic), numbers(lines, "n")
    cells["unit"] = lines["unit"].astype(object).where(lines["unit"].notna(), "")
    cells = cells[cells["x"].notna()].sort_values("n", ascending=False, kind="stable")
    several = len(cells)
    cells = cells.drop_duplicates(["row", "column"])
    several -= len(cells)
    if not len(cells):
        return nothing(title, f"no {rows} has this value on any {columns}.")
    shown = _fullest(cells)
    unit = "" if statistic in ("n", "missing") else str(shown["unit"].iloc[0])
    log = unit != "proportion" and spans_decades(shown["x"], _FAR_APART)
    place = np.log(shown["x"]) if log else shown["x"]
    low, high = float(place.min()), float(place.max())
    share = (place - low) / (high - low) if high > low else pd.Series(0.5, index=shown.index)
    values = data(
        {
            "row": shown["row"],
            "column": shown["column"],
            "x": shown["x"],
            "said": [_fitting(value, unit) for value in shown["x"]],
            "n": shown["n"].astype(int),
            "dark": share < 0.55,
        }
    )
    scale = alt.Scale(scheme="viridis", type="log") if log else alt.Scale(scheme="viridis", zero=False)
    legend = alt.Legend(
        title=with_unit(statistic, unit) + (", log" if log else ""),
        gradientLength=140,
        labelExpr="format(datum.value, '.3~p')" if unit == "proportion" else SHORT,
    )
    tips = [
        alt.Tooltip("row:N", title=rows),
        alt.Tooltip("column:N", title=columns),
        alt.Tooltip("x:Q", title=with_unit(statistic, unit), format=".2~%" if unit == "proportion" else ",.5~g"),
        alt.Tooltip("n:Q", format=","),
    ]
    titles, down = {"row": rows, "column": columns}, _down(cells)
    across = "row" if down == "column" else "column"
    below = sorted(set(shown[down]))
    x = _axis_x(across, titles[across], sorted(set(shown[across])), above=len(below) > _TALL)
    y = _axis_y(down, titles[down], below)
    base = alt.Chart().encode(x=x, y=y, tooltip=tips)
    layers = [base.mark_rect().encode(color=alt.Color("x:Q", scale=scale, legend=legend)), _cell_text(base)]
    order = cells["x"].to_numpy()
    smallest, largest = cells.iloc[int(order.argmin())], cells.iloc[int(order.argmax())]
    hidden = len(cells) - len(shown)
    ends = [f"{amount(cell['x'], unit)} ({cell['row']} on {cell['column']})" for cell in (smallest, largest)]
    return finished(
        layers,
        values=values,
        title=title,
        subtitle=[
            f"{count(hidden, 'more cell')} not shown (rows and columns with the fewest)" if hidden else "",
            f"of each cell the group with most values; {count(several, 'other group')} not shown" if several else "",
        ],
        description=f"{statistic} of {metric} in {count(len(cells), 'cell')} of {rows} and {columns}: "
        f"from {ends[0]} to {ends[1]}.",
        width=alt.Step(42),
        height=alt.Step(22),
    )


def correlation_heatmap(correlations: pd.DataFrame, *, method: str | None = None) -> alt.LayerChart:
    """Return the correlations of every two metrics as a heatmap.

    Parameters
    ----------
    correlations : pandas.DataFrame
        The frame "correlations" (see `aggrkit.model.answer.COLUMNS`). Where it has groups, their median is shown.
    method : str or None, optional
        Which method; "spearman" where the frame has it.

    Returns
    -------
    altair.LayerChart
        Blue for positive, orange for negative, the numbers in the cells; at most 14 metrics.

    Raises
    ------
    UnknownNameError
        If the frame has no such method.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import correlation_heatmap
    >>> line = {"metric1": "time_ms", "metric2": "memory_mb", "method": "spearman", "correlation": 0.8, "n": 9}
    >>> frame = pd.DataFrame([line | {"significant": True, "reversed_within_groups": False}])
    >>> correlation_heatmap(frame).description
    'spearman correlations of 1 pair of metrics; strongest is time_ms and memory_mb, 0.80.'
    """
    title = "Correlations of metrics"
    require(correlations, ["metric1", "metric2", "method", "correlation", "n", "significant", "reversed_within_groups"])
    methods = list(dict.fromkeys(correlations["method"]))
    if method is not None and methods and method not in methods:
        raise UnknownNameError.of("method", method, methods)
    chosen = method or ("spearman" if "spearman" in methods else next(iter(methods), ""))
    lines = pd.DataFrame(correlations[correlations["method"] == chosen])
    lines["r"] = numbers(lines, "correlation").clip(-1, 1)
    lines["n"] = numbers(lines, "n").fillna(0)
    lines = lines[lines["r"].notna()]
    if not len(lines):
        return nothing(title, "no two metrics have a correlation that is defined.")
    pairs = lines.groupby(["metric1", "metric2"], sort=False).agg(
        r=("r", "median"),
        n=("n", "sum"),
        significant=("significant", "any"),
        turned=("reversed_within_groups", "any"),
        groups=("r", "size"),
    )
    pairs = pairs.reset_index()
    order = list(dict.fromkeys([*pairs["metric1"], *pairs["metric2"]]))
    strength = pairs.assign(r=pairs["r"].abs())
    largest = {
        name: float(strength.loc[strength[["metric1", "metric2"]].eq(name).any(axis=1), "r"].max()) for name in order
    }
    told = sorted(order, key=lambda name: -largest[name])[:_MOST_METRICS]
    kept = [name for name in order if name in told]
    shown = pairs[pairs["metric1"].isin(kept) & pairs["metric2"].isin(kept)]
    both = pd.concat([shown, shown.rename(columns={"metric1": "metric2", "metric2": "metric1"})])
    marked = [
        (f"{r:.2f}" if sure else f"({r:.2f})") + ("*" if turned else "")
        for r, sure, turned in zip(both["r"], both["significant"], both["turned"], strict=True)
    ]
    values = data(
        {
            "row": both["metric1"],
            "column": both["metric2"],
            "r": both["r"],
            "said": marked,
            "n": both["n"].astype(int),
            "dark": both["r"] > 0.75,
        }
    )
    ends = [PALETTE["vermillion"], "#f4b183", "#f2f2f2", "#8fbfe0", PALETTE["blue"]]
    scale = alt.Scale(domain=[-1, -0.5, 0, 0.5, 1], range=ends)
    legend = alt.Legend(title=f"{chosen} r", gradientLength=140)
    tips = [
        alt.Tooltip("row:N", title="metric"),
        alt.Tooltip("column:N", title="with"),
        alt.Tooltip("r:Q", title=f"{chosen} r", format=".3f"),
        alt.Tooltip("n:Q", format=",", title="pairs of values"),
    ]
    base = alt.Chart().encode(x=_axis_x("column", None, kept), y=_axis_y("row", None, kept), tooltip=tips)
    strongest = pairs.iloc[int(pairs["r"].abs().to_numpy().argmax())]
    grouped = int(pairs["groups"].max())
    notes = ["(in brackets): not significant"] if not both["significant"].all() else []
    notes += ["*: turns round within groups"] if both["turned"].any() else []
    return finished(
        [base.mark_rect().encode(color=alt.Color("r:Q", scale=scale, legend=legend)), _cell_text(base)],
        values=values,
        title=title,
        subtitle=[
            "; ".join(notes),
            f"median over {grouped} groups" if grouped > 1 else "",
            f"{count(len(order) - len(kept), 'more metric')} not shown (the least correlated)"
            if len(order) > len(kept)
            else "",
        ],
        description=f"{chosen} correlations of {count(len(pairs), 'pair')} of metrics; strongest is "
        f"{strongest['metric1']} and {strongest['metric2']}, {strongest['r']:.2f}.",
        width=alt.Step(52),
        height=alt.Step(30),
    )


def _fitting(value: float, unit: str) -> str:
    """Return a number that has room in a cell."""
    if unit == "proportion":
        return f"{100 * value:.3g} %"
    for size, letter in _THOUSANDS:
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    said = number(value)
    return said if len(said) <= _WIDEST else f"{value:.2g}"


def _down(cells: pd.DataFrame) -> str:
    """Return the side of a cell that has more names."""
    return "column" if cells["column"].nunique() > cells["row"].nunique() else "row"


def _fullest(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells of the names with most values: as many names below each other as there are cells to show."""
    down = _down(cells)
    across = "row" if down == "column" else "column"
    kept = cells[cells[across].isin(_by_size(cells, across)[:_MOST_ACROSS])]
    order = _by_size(kept, down)
    so_far = kept[down].value_counts().reindex(order).cumsum()
    names = order[: max(1, min(_MOST_DOWN, int((so_far <= _MOST_CELLS).sum())))]
    return kept[kept[down].isin(names)]


def _by_size(cells: pd.DataFrame, name: str) -> pd.Index[str]:
    """Return the names of one side, those with most cells and values first."""
    return cells.groupby(name)["n"].agg(["size", "sum"]).sort_values(["size", "sum"], ascending=False).index


def _cell_text(base: alt.Chart) -> alt.Chart:
    """Return the layer of numbers in cells; their colour is against that of the cell, which no theme changes."""
    colour = alt.ColorValue(_DARK_TEXT, condition={"test": "datum.dark", "value": _LIGHT_TEXT})
    drawn: alt.Chart = base.mark_text(fontSize=10).encode(text=alt.Text("said:N"), color=colour)
    return drawn


def _axis_x(field: str, title: str | None, domain: list[str], *, above: bool = False) -> alt.X:
    """Return an axis of names; above the plot where who reads its first lines wouldn't see what is below."""
    axis = alt.Axis(
        title=title,
        labelAngle=-40,
        labelLimit=170,
        ticks=False,
        domain=False,
        orient="top" if above else "bottom",
        labelAlign="left" if above else "right",
    )
    return alt.X(f"{field}:N", scale=alt.Scale(domain=domain), axis=axis)


def _axis_y(field: str, title: str | None, domain: list[str]) -> alt.Y:
    axis = alt.Axis(
        title=title,
        titleAngle=0,
        titleX=-6,
        titleY=-10,
        titleAlign="right",
        titleBaseline="bottom",
        labelLimit=320,
        ticks=False,
        domain=False,
    )
    return alt.Y(f"{field}:N", scale=alt.Scale(domain=domain), axis=axis)


def _words(column: pd.Series[Any]) -> pd.Series[str]:
    return column.astype(object).where(column.notna(), "unknown").map(str)
