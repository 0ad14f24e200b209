"""Observations that don't belong to their cell, against the range that was expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import altair as alt
import numpy as np
import pandas as pd

from aggrkit.charts.parts import (
    MOST_LINES,
    SHORT,
    STATUS,
    count,
    data,
    drawn,
    finished,
    fixed_part,
    group_numbers,
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

_MOST_POINTS: Final = 90
_MOST_A_LINE: Final = 10
_MOST_LETTERS: Final = 4_000
_FARTHEST: Final = 1e6
_SUSPECT: Final = "datum.status === 'suspect'"
# no group has these names
_VALUE, _LOWER, _UPPER = "__value", "__lower", "__upper"
_P, _SIZE, _VERDICT = "__p", "__size", "__verdict"


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
        At most 40 lines and 90 anomalies (fewer where names are long), the numbers of the most certain one beside each
        line.

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
    lines[_VALUE], lines[_LOWER], lines[_UPPER] = (numbers(lines, name) for name in ("value", "lower", "upper"))
    lines[_P], lines[_SIZE] = numbers(lines, "pvalue_adjusted").fillna(1.0), -numbers(lines, "score").abs()
    told = lines[lines[[_VALUE, _LOWER, _UPPER]].notna().all(axis=1)].sort_values([_P, _SIZE], kind="stable")
    if not len(told):
        return nothing(title, "no anomaly was found." if not len(lines) else "no anomaly has an expected range.")
    told[_VERDICT] = told["severity"].astype(object).where(told["severity"].notna(), "minor").map(str)
    series = group_numbers(told, [*groups, "metric"])
    order = list(dict.fromkeys(series))
    kept = order[:MOST_LINES]
    shown = told[series.isin(kept) & (told.groupby(series).cumcount() < _MOST_A_LINE)]
    extra = shown.groupby(series.loc[shown.index]).cumcount() > 0
    shown = pd.concat([shown[~extra], shown[extra]]).head(_MOST_POINTS)
    first = shown[~extra.reindex(shown.index)]
    naming = dict(zip(series.loc[first.index], labels(first, groups, metric=True), strict=True))
    names = [naming[key] for key in kept]
    letters = series.loc[shown.index].map(lambda key: len(naming[key])).cumsum()
    shown = shown[(letters <= _MOST_LETTERS) | shown.index.isin(first.index)]
    triples = zip(shown[_VALUE], shown[_LOWER], shown[_UPPER], strict=True)
    said = [f"{number(v)}, expected {number(a)} to {number(b)}" for v, a, b in triples]
    values = data(
        {
            "label": [naming[key] for key in series.loc[shown.index]],
            "x": _distance(shown),
            "verdict": shown[_VERDICT],
            "said": said,
            "status": _suspects(shown, groups),
            "first": [True if place < len(first) else None for place in range(len(said))],
        }
    )
    found = told[_VERDICT].value_counts()
    counted = ", ".join(f"{found[name]:,} {name}" for name in ("critical", "major", "minor", "good") if found.get(name))
    hidden = len(told) - len(shown)
    many = "1 anomaly" if len(told) == 1 else f"{len(told):,} anomalies"
    best = told.iloc[0]
    hollow = ["hollow: a suspect, to be confirmed"] if _suspects(shown, groups).notna().any() else []
    return finished(
        _layers(names, shown, _distance(shown), _suspects(shown, groups)),
        values=values,
        title=title,
        subtitle=[
            "; ".join(
                part for part in (fixed_part(first, [*groups, "metric"]), "band: what was expected", *hollow) if part
            ),
            f"{hidden:,} more not shown (less certain)" if hidden else "",
        ],
        description=f"{many} in {count(len(order), 'group')}: {counted}; most certain is {names[0]}, "
        f"{number(best[_VALUE])} where {number(best[_LOWER])} to {number(best[_UPPER])} was expected.",
    )


def _layers(
    names: Sequence[str], shown: pd.DataFrame, distance: pd.Series[float], suspects: pd.Series[str]
) -> list[alt.Chart]:
    farthest = max(10.0, float(distance.abs().max()))
    powers = [10.0**power for power in range(int(np.ceil(np.log10(farthest))) + 1)]
    step = 1 if len(powers) <= 4 else 2
    inner = sorted({1.0, *powers[::step]})
    lowest = -1.3 * max(1.3, -float(distance.min()))
    highest = 1.3 * max(1.3, float(distance.max()))
    ticks = [tick for tick in (*(-value for value in reversed(inner)), 0.0, *inner) if lowest <= tick <= highest]
    axis = alt.Axis(title="distance from the expected (in half ranges)", values=ticks, labelExpr=SHORT)
    scale = alt.Scale(type="symlog", constant=1, domain=[lowest, highest], nice=False)
    x = alt.X("x:Q", scale=scale, axis=axis)
    colour, shape = looks(shown[_VERDICT])
    band = alt.Chart(data({"low": [-1], "high": [1]})).mark_rect(color=PALETTE["sky"], opacity=0.22)
    zero = alt.Chart(data({"x": [0]})).mark_rule(color=GREY)
    tips = [
        alt.Tooltip("label:N", title="group"),
        alt.Tooltip("verdict:N", title="severity"),
        alt.Tooltip("status:N"),
        alt.Tooltip("said:N", title="value"),
        alt.Tooltip("x:Q", title="half ranges from the middle", format="+,.3~g"),
    ]
    encoded = (
        alt.Chart()
        .transform_calculate(status=STATUS)
        .encode(x=x, y=rows_axis(names), color=colour, shape=shape, tooltip=tips)
    )
    suspect = suspects.notna()
    marks = [
        (~suspect, encoded.transform_filter(f"!({_SUSPECT})").mark_point(filled=True, size=70, opacity=0.85)),
        (suspect, encoded.transform_filter(_SUSPECT).mark_point(filled=False, size=70, strokeWidth=2, opacity=1)),
    ]
    return [
        band.encode(x=alt.X("low:Q", scale=scale, axis=axis), x2=alt.X2("high")),
        zero.encode(x=x),
        *drawn(marks),
        side_text().transform_filter("datum.first"),
    ]


def _suspects(shown: pd.DataFrame, groups: Sequence[str]) -> pd.Series[str]:
    """Return "suspect" for the anomalies that may yet prove to be something else, and None for all others."""
    if "status" in groups or "status" not in shown:
        return pd.Series(None, index=shown.index, dtype=object)
    status = shown["status"].astype(object)
    return status.where(status.eq("suspect"), None)


def _distance(lines: pd.DataFrame) -> pd.Series[float]:
    """Return how far values lie from the middle of their range; a range of no width counts as next to none."""
    half = (lines[_UPPER] / 2 - lines[_LOWER] / 2).abs()
    level = np.fmax(lines[_LOWER].abs(), lines[_UPPER].abs())
    least = np.fmax(level * 1e-9, np.finfo(float).tiny)
    distance = (lines[_VALUE] - (lines[_LOWER] / 2 + lines[_UPPER] / 2)) / np.fmax(half, least)
    return pd.Series(distance.clip(-_FARTHEST, _FARTHEST))
