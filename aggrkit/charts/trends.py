"""A metric over time: one series, and what was found in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from aggrkit.charts.parts import (
    amount,
    axis_format,
    count,
    data,
    finished,
    looks,
    milliseconds,
    nothing,
    number,
    numbers,
    require,
    signed,
    with_unit,
)
from aggrkit.charts.theme import GREY, PALETTE, WITHIN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["trend_chart"]

_MOST_POINTS: Final = 240
_MOST_BAND: Final = 90
_MOST_ANOMALIES: Final = 60
_MOST_CHANGES: Final = 20
_FEWEST_FOR_BAND: Final = 8
_MOST_STEPS: Final = 80
_WIDTH: Final = 560
_LETTER: Final = 6.0
_ROWS: Final = (-7, -19, -31)
_DAY: Final = 86_400_000.0


def trend_chart(
    units: pd.DataFrame,
    metric: str,
    *,
    unit: str = "",
    anomalies: pd.DataFrame | None = None,
    changes: pd.DataFrame | None = None,
    levels: pd.DataFrame | None = None,
    slope_per_day: float | None = None,
    band: pd.DataFrame | None = None,
    subtitle: str = "",
) -> alt.LayerChart:
    """Return a metric over time: points, rolling median and band or levels, and what was found in it.

    Parameters
    ----------
    units : pandas.DataFrame
        Columns `time` (or `timestamp`) and `value`, a row for each run or bin of time.
    metric, unit : str
        What was measured, for the axis.
    anomalies : pandas.DataFrame or None, optional
        `time` (or `timestamp`) and `value`, and `severity` where it is known: drawn by colour and shape.
    changes : pandas.DataFrame or None, optional
        `time` (or `timestamp`), and `change_pct` where it is known: drawn as rules, with their size above the plot
        where there is room for it.
    levels : pandas.DataFrame or None, optional
        `time` (or `timestamp`) and `value`: the level of each segment, drawn in place of the rolling median.
    slope_per_day : float or None, optional
        Theil and Sen's slope; its line goes through the medians of time and value.
    band : pandas.DataFrame or None, optional
        `time`, `p05`, `p50` and `p95`, a row for each bin of time, where they are known of more values than `units`
        has; by default they are those of rolling windows over `units`. Of a proportion, its rate and the ends of its
        95 % interval.
    subtitle : str, optional
        Which series it is.

    Returns
    -------
    altair.LayerChart
        At most 240 points: those that are lowest and highest in each stretch of time.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import trend_chart
    >>> runs = pd.DataFrame({"time": pd.to_datetime(["2026-01-01", "2026-01-02"]), "value": [3.0, 5.0]})
    >>> trend_chart(runs, "latency_ms", unit="ms").description
    'latency_ms from 2026-01-01 to 2026-01-02: 2 values, median 4 ms.'
    """
    title = f"{metric} over time"
    series = _series(units)
    if not len(series):
        return nothing(title, "no value has a time.")
    y_axis = alt.Axis(title=with_unit(metric, unit), format=axis_format(unit))
    shown = _telling(series, _MOST_POINTS)
    flagged = _found(anomalies, "severity", _MOST_ANOMALIES)
    broken = _found(changes, "change_pct", _MOST_CHANGES)
    steps = series.head(0) if levels is None else _series(levels)
    own = series.head(0) if len(steps) else _rolling(series) if band is None else _binned(band)
    layers = [*_band(own, y_axis), *_steps(steps, y_axis), _points(shown, y_axis, metric, unit)]
    if slope_per_day is not None and np.isfinite(slope_per_day):
        layers.append(_line(series, float(slope_per_day), y_axis))
    room = 0
    if len(broken):
        every = pd.concat([series["t"], broken["t"], flagged["t"]])
        rules, room = _rules(broken, float(every.min()), float(every.max()), "points" if unit == "proportion" else "%")
        layers += rules
    if len(flagged):
        layers.append(_diamonds(flagged, y_axis, room))
    first, last = (pd.Timestamp(int(value), unit="ms").strftime("%Y-%m-%d") for value in series["t"].iloc[[0, -1]])
    found = [
        count(len(flagged), "anomaly").replace("anomalys", "anomalies") if len(flagged) else "",
        count(len(broken), "change point") if len(broken) else "",
        f"slope {amount(slope_per_day, unit)} per day" if slope_per_day is not None else "",
    ]
    is_rate = unit == "proportion" and band is not None
    middle = "pass rate, band: 95 % interval" if is_rate else "median, band: p05 to p95"
    parts = [f"line: {'rolling ' if band is None else ''}{middle}"] if len(own) else []
    parts += ["line: level"] if len(steps) else []
    parts += ["dashed: Theil-Sen slope"] if slope_per_day is not None else []
    parts += ["rules: change points"] if len(broken) else []
    return finished(
        layers,
        title=title,
        subtitle=[
            subtitle,
            "; ".join(parts),
            f"{count(len(series) - len(shown), 'more point')} not shown (neither lowest nor highest of their stretch)"
            if len(series) > len(shown)
            else "",
        ],
        description=f"{metric} from {first} to {last}: {count(len(series), 'value')}, median "
        f"{amount(series['v'].median(), unit)}" + "".join(f", {part}" for part in found if part) + ".",
        width=_WIDTH,
        height=260,
        room=0 if len(flagged) else room,
    )


def _series(frame: pd.DataFrame) -> pd.DataFrame:
    """Return time in milliseconds and value, sorted, without what is missing."""
    name = "time" if "time" in frame.columns else "timestamp"
    require(frame, [name, "value"])
    made = pd.DataFrame({"t": milliseconds(frame[name]), "v": numbers(frame, "value")})
    return made.dropna().sort_values("t", kind="stable").reset_index(drop=True)


def _telling(series: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return the lowest and the highest value of each stretch of time, so that a picture of all looks the same."""
    if len(series) <= most:
        return series
    stretch = pd.Series(np.linspace(0, most / 2, len(series), endpoint=False).astype(int))
    grouped = series["v"].groupby(stretch)
    return series.loc[np.unique(np.concatenate([grouped.idxmin(), grouped.idxmax()]))]


def _found(frame: pd.DataFrame | None, extra: str, most: int) -> pd.DataFrame:
    """Return the times of what was found, in milliseconds, the first `most` lines of the frame."""
    if frame is None or not len(frame):
        return pd.DataFrame({"t": []})
    name = "time" if "time" in frame.columns else "timestamp"
    require(frame, [name])
    made = pd.DataFrame({"t": milliseconds(frame[name]), "v": numbers(frame, "value")})
    made[extra] = frame[extra] if extra in frame.columns else None
    return made[made["t"].notna()].head(most)


def _x(field: str = "t") -> alt.X:
    axis = alt.Axis(title="time (UTC)", format="%Y-%m-%d", labelOverlap="greedy", labelSeparation=12, tickCount=6)
    return alt.X(f"{field}:T", scale=alt.Scale(type="utc"), axis=axis)


def _y(field: str, axis: alt.Axis) -> alt.Y:
    return alt.Y(f"{field}:Q", scale=alt.Scale(zero=False), axis=axis)


def _points(shown: pd.DataFrame, axis: alt.Axis, metric: str, unit: str) -> alt.Chart:
    value = alt.Tooltip("v:Q", title=metric, format=".2~%" if unit == "proportion" else ",.5~g")
    tips = [alt.Tooltip("t:T", title="time", format="%Y-%m-%d %H:%M"), value]
    points = alt.Chart(data({"t": shown["t"], "v": shown["v"]})).mark_point(
        filled=True, size=18, color=GREY, opacity=0.7
    )
    drawn: alt.Chart = points.encode(x=_x(), y=_y("v", axis), tooltip=tips)
    return drawn


def _rolling(series: pd.DataFrame) -> pd.DataFrame:
    """Return the rolling median, and p05 and p95 around it."""
    if len(series) < _FEWEST_FOR_BAND:
        return series.head(0)
    window = max(7, len(series) // 15) | 1
    rolling = series["v"].rolling(window, center=True, min_periods=4)
    bands = pd.DataFrame(
        {"t": series["t"], "m": rolling.median(), "a": rolling.quantile(0.05), "b": rolling.quantile(0.95)}
    )
    return bands.dropna().drop_duplicates("t", keep="last")


def _binned(band: pd.DataFrame) -> pd.DataFrame:
    """Return bins of time under the names of the rolling band."""
    require(band, ["time", "p05", "p50", "p95"])
    made = {short: numbers(band, name) for short, name in (("m", "p50"), ("a", "p05"), ("b", "p95"))}
    return pd.DataFrame({"t": milliseconds(band["time"]), **made}).dropna().reset_index(drop=True)


def _band(bands: pd.DataFrame, axis: alt.Axis) -> list[alt.Chart]:
    """Return the line of the medians and the band around it."""
    if not len(bands):
        return []
    chosen = np.unique(np.linspace(0, len(bands) - 1, min(len(bands), _MOST_BAND)).round().astype(int))
    bands = bands.iloc[chosen]
    base = alt.Chart(data({name: bands[name] for name in bands.columns}))
    area = base.mark_area(color=PALETTE["sky"], opacity=0.25)
    line = base.mark_line(color=PALETTE["blue"], strokeWidth=2, point=len(bands) == 1)
    return [area.encode(x=_x(), y=_y("a", axis), y2=alt.Y2("b")), line.encode(x=_x(), y=_y("m", axis))]


def _line(series: pd.DataFrame, slope: float, axis: alt.Axis) -> alt.Chart:
    ends = series["t"].iloc[[0, -1]]
    values = series["v"].median() + slope * (ends - series["t"].median()) / _DAY
    line = alt.Chart(data({"t": ends, "v": values})).mark_line(
        color=PALETTE["purple"], strokeDash=[7, 4], strokeWidth=2
    )
    drawn: alt.Chart = line.encode(x=_x(), y=_y("v", axis))
    return drawn


def _steps(levels: pd.DataFrame, axis: alt.Axis) -> list[alt.Chart]:
    """Return the level of each segment as steps, or as a line where it moves all the time."""
    if not len(levels):
        return []
    turns = levels["v"].ne(levels["v"].shift())
    turns.iloc[-1] = True
    steady = int(turns.sum()) <= _MOST_STEPS
    chosen = np.flatnonzero(turns) if steady else np.linspace(0, len(levels) - 1, _MOST_STEPS).round().astype(int)
    line = alt.Chart(data({name: levels[name].iloc[chosen] for name in ("t", "v")})).mark_line(
        color=PALETTE["blue"], strokeWidth=2.5, interpolate="step-after" if steady else "linear"
    )
    return [line.encode(x=_x(), y=_y("v", axis))]


def _rules(changes: pd.DataFrame, first: float, last: float, unit: str) -> tuple[list[alt.Chart], int]:
    """Return a rule at each change point, with its size above the plot, and how much room above that needs."""
    sizes = numbers(changes, "change_pct")
    said = ["" if np.isnan(size) else f"{signed(size)} {unit}" for size in sizes]
    rule = alt.Chart(data({"t": changes["t"], "said": said}))
    rule = rule.mark_rule(color=PALETTE["vermillion"], strokeWidth=1.5, strokeDash=[3, 2])
    tips = [alt.Tooltip("t:T", title="change point", format="%Y-%m-%d %H:%M"), alt.Tooltip("said:N", title="change")]
    layers = [rule.encode(x=_x(), tooltip=tips)]
    placed = _placed(said, (changes["t"] - first) / ((last - first) or 1.0) * _WIDTH)
    for row in dict.fromkeys(placed.values()):
        mine = [place for place, found in placed.items() if found == row]
        text = alt.Chart(data({"t": changes["t"].iloc[mine], "said": [said[place] for place in mine]}))
        text = text.mark_text(style=WITHIN, align="left" if row.after else "right", dx=row.shift, fontSize=10)
        layers.append(text.encode(x=_x(), y=alt.YValue(row.y), text=alt.Text("said:N")))
    return layers, max((-row.y + 9 for row in placed.values()), default=0)


class _Row(NamedTuple):
    """Where a label is: how far down, and on which side of its rule."""

    y: int
    after: bool

    @property
    def shift(self) -> int:
        return 3 if self.after else -3


def _placed(said: Sequence[str], x: Iterable[float]) -> dict[int, _Row]:
    """Return where labels go: each into the first row in which it touches no other; those without room aren't there."""
    free = dict.fromkeys(_ROWS, -np.inf)
    found = {}
    for place, start in sorted(enumerate(x), key=lambda label: label[1]):
        width = _LETTER * len(said[place])
        after = start + width <= _WIDTH
        left = start if after else start - width
        row = next((row for row, end in free.items() if left > end), None)
        if width and row is not None:
            found[place] = _Row(row, after)
            free[row] = left + width
    return found


def _diamonds(anomalies: pd.DataFrame, axis: alt.Axis, room: int) -> alt.Chart:
    """Return what was found odd, with a legend that leaves `room` above the plot."""
    severity = anomalies["severity"].astype(object)
    named: Sequence[str] = [str(word) for word in severity.where(severity.notna(), "major")]
    colour, shape = looks(named, room)
    tips = [
        alt.Tooltip("verdict:N", title="anomaly"),
        alt.Tooltip("t:T", title="time", format="%Y-%m-%d %H:%M"),
        alt.Tooltip("said:N", title="value"),
    ]
    told: dict[str, Any] = {
        "t": anomalies["t"],
        "v": anomalies["v"],
        "verdict": named,
        "said": [number(v) for v in anomalies["v"]],
    }
    points = alt.Chart(data(told)).mark_point(filled=True, size=85, opacity=1)
    drawn: alt.Chart = points.encode(x=_x(), y=_y("v", axis), color=colour, shape=shape, tooltip=tips)
    return drawn
