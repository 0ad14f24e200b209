"""Observations that don't belong to their cell, against the range that was expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import altair as alt
import numpy as np
import pandas as pd

from aggrkit.charts.parts import (
    MOST_LINES,
    count,
    data,
    finished,
    fixed_part,
    labels,
    looks,
    nothing,
    number,
    numbers,
    require,
    rows_axis,
    side_text,
)
from aggrkit.charts.theme import GREY, PALETTE

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["anomalies_chart"]

_MOST_POINTS: Final = 120
_MOST_A_LINE: Final = 10
_FARTHEST: Final = 1e6


def anomalies_chart(anomalies: pd.DataFrame, groups: Sequence[str] = ()) -> alt.LayerChart:
    """Return the anomalies of each group against what was expected there, the most certain first.

    Units and levels differ from group to group, so values are placed by their distance from the middle of the expected
    range, with half the range as the unit: between -1 and 1 is what was expected.

    Parameters
    ----------
    anomalies : pandas.DataFrame
        The frame "anomalies" (see `aggrkit.model.answer.COLUMNS`).
    groups : sequence of str, optional
        Names of the group columns.

    Returns
    -------
    altair.LayerChart
        At most 40 lines and 120 anomalies, the numbers of the most certain one beside each line.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import anomalies_chart
    >>> line = {"model": "bert", "metric": "latency_ms", "observation": 7, "value": 9.0, "lower": 2.0, "upper": 4.0}
    >>> frame = pd.DataFrame([line | {"severity": "major", "score": 6.0, "pvalue_adjusted": 0.001}])
    >>> anomalies_chart(frame, ["model"]).description
    '1 anomaly in 1 group: 1 major; most certain is bert, 9 where 2 to 4 was expected.'
    """
    title = "Anomalies against the expected range"
    require(anomalies, [*groups, "metric", "value", "lower", "upper", "severity", "score", "pvalue_adjusted"])
    lines = pd.DataFrame(anomalies).reset_index(drop=True)
    lines["v"], lines["a"], lines["b"] = (numbers(lines, name) for name in ("value", "lower", "upper"))
    lines["p"], lines["size"] = numbers(lines, "pvalue_adjusted").fillna(1.0), -numbers(lines, "score").abs()
    told = lines[lines[["v", "a", "b"]].notna().all(axis=1)].sort_values(["p", "size"], kind="stable")
    if not len(told):
        return nothing(title, "no anomaly was found." if not len(lines) else "no anomaly has an expected range.")
    told["verdict"] = told["severity"].astype(object).where(told["severity"].notna(), "minor").map(str)
    keys = pd.Series(_keys(told, [*groups, "metric"]), index=told.index)
    order = list(dict.fromkeys(keys))
    kept = order[:MOST_LINES]
    shown = told[keys.isin(kept) & (told.groupby(keys).cumcount() < _MOST_A_LINE)]
    extra = shown.groupby(keys.loc[shown.index]).cumcount() > 0
    shown = pd.concat([shown[~extra], shown[extra]]).head(_MOST_POINTS)
    first = shown[~extra.reindex(shown.index)]
    naming = dict(zip(keys.loc[first.index], labels(first, groups, metric=True), strict=True))
    names = [naming[key] for key in kept]
    triples = zip(shown["v"], shown["a"], shown["b"], strict=True)
    said = [f"{number(v)}, expected {number(a)} to {number(b)}" for v, a, b in triples]
    values = data(
        {
            "label": [naming[key] for key in keys.loc[shown.index]],
            "x": _distance(shown),
            "verdict": shown["verdict"],
            "said": said,
            "first": [True if place < len(first) else None for place in range(len(said))],
        }
    )
    found = told["verdict"].value_counts()
    counted = ", ".join(f"{found[name]:,} {name}" for name in ("critical", "major", "minor", "good") if found.get(name))
    hidden = len(told) - len(shown)
    many = "1 anomaly" if len(told) == 1 else f"{len(told):,} anomalies"
    best = told.iloc[0]
    return finished(
        _layers(names, shown, _distance(shown)),
        values=values,
        title=title,
        subtitle=[
            "; ".join(part for part in (fixed_part(first, [*groups, "metric"]), "band: what was expected") if part),
            f"{hidden:,} more not shown (less certain)" if hidden else "",
        ],
        description=f"{many} in {count(len(order), 'group')}: {counted}; most certain is {names[0]}, "
        f"{number(best['v'])} where {number(best['a'])} to {number(best['b'])} was expected.",
    )


def _layers(names: Sequence[str], shown: pd.DataFrame, distance: pd.Series[float]) -> list[alt.Chart]:
    farthest = max(10.0, float(distance.abs().max()))
    powers = [10.0**power for power in range(int(np.ceil(np.log10(farthest))) + 1)]
    step = 1 if len(powers) <= 4 else 2
    inner = sorted({1.0, *powers[::step]})
    lowest = -1.3 * max(1.3, -float(distance.min()))
    highest = 1.3 * max(1.3, float(distance.max()))
    ticks = [tick for tick in (*(-value for value in reversed(inner)), 0.0, *inner) if lowest <= tick <= highest]
    axis = alt.Axis(title="distance from the expected (in half ranges)", values=ticks, format="~s")
    scale = alt.Scale(type="symlog", constant=1, domain=[lowest, highest], nice=False)
    x = alt.X("x:Q", scale=scale, axis=axis)
    colour, shape = looks(shown["verdict"])
    band = alt.Chart(data({"low": [-1], "high": [1]})).mark_rect(color=PALETTE["sky"], opacity=0.22)
    zero = alt.Chart(data({"x": [0]})).mark_rule(color=GREY)
    tips = [
        alt.Tooltip("label:N", title="group"),
        alt.Tooltip("verdict:N", title="severity"),
        alt.Tooltip("said:N", title="value"),
        alt.Tooltip("x:Q", title="half ranges from the middle", format="+,.3~g"),
    ]
    points = alt.Chart().mark_point(filled=True, size=70, opacity=0.85)
    return [
        band.encode(x=alt.X("low:Q", scale=scale, axis=axis), x2="high"),
        zero.encode(x=x),
        points.encode(x=x, y=rows_axis(names), color=colour, shape=shape, tooltip=tips),
        side_text().transform_filter("datum.first"),
    ]


def _distance(lines: pd.DataFrame) -> pd.Series[float]:
    """Return how far values lie from the middle of their range; a range of no width counts as next to none."""
    half = (lines["b"] / 2 - lines["a"] / 2).abs()
    level = np.fmax(lines["a"].abs(), lines["b"].abs())
    least = np.fmax(level * 1e-9, np.finfo(float).tiny)
    distance = (lines["v"] - (lines["a"] / 2 + lines["b"] / 2)) / np.fmax(half, least)
    return pd.Series(distance.clip(-_FARTHEST, _FARTHEST))


def _keys(frame: pd.DataFrame, names: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(frame[name].astype(object).map(str) for name in names), strict=True))
