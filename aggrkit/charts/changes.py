"""Changes of level: when each series changed, by how much, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import altair as alt
import numpy as np
import pandas as pd

from aggrkit.charts.forest import counted
from aggrkit.charts.parts import (
    MOST_LINES,
    STATUS,
    count,
    data,
    drawn,
    finished,
    fixed_part,
    group_numbers,
    labels,
    left_out,
    looks,
    milliseconds,
    nothing,
    number,
    numbers,
    require,
    rows_axis,
    side_text,
    signed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["changes_chart"]

_ORDER: Final = ("regressed", "changed", "improved")
_MOST_MARKS: Final = 80
_DRIFT: Final = "datum.status === 'trend'"
_SUSPECT: Final = "datum.status === 'suspect'"
_MOST_BESIDE: Final = 30
_AT, _FROM, _UNTIL, _SAID, _SERIES = "__at", "__from", "__until", "__said", "__series"  # no group has these names
_NEEDED: Final = ("metric", "at", "at_lower", "at_upper", "before", "after", "change_pct", "status", "verdict")
_MARGIN: Final = 0.03
_DAY: Final = 86_400_000.0


def changes_chart(changes: pd.DataFrame, groups: Sequence[str] = ()) -> alt.LayerChart:
    """Return when each series changed: a mark for each change, with the time within which it happened.

    Parameters
    ----------
    changes : pandas.DataFrame
        The frame "changes" (see `aggrkit.model.answer.COLUMNS`).
    groups : sequence of str, optional
        Names of the group columns.

    Returns
    -------
    altair.LayerChart
        A line for each series that changed, in the order of the frame, with the size of its first change beside it. A
        hollow mark is a suspect, a broad pale bar a drift over all of its length. At most 40 lines and 80 changes.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import changes_chart
    >>> at = pd.Timestamp("2026-01-05")
    >>> line = {"model": "bert", "metric": "latency_ms", "at": at, "at_lower": at, "at_upper": at, "before": 10.0}
    >>> line |= {"after": 12.0, "change_pct": 20.0, "status": "confirmed", "verdict": "regressed"}
    >>> changes_chart(pd.DataFrame([line]), ["model"]).description
    '1 change in 1 series: 1 regressed; first is bert, +20 % at 2026-01-05.'
    """
    title = "Changes over time"
    require(changes, [*groups, *_NEEDED])
    lines = pd.DataFrame(changes).reset_index(drop=True)
    for name, column in ((_AT, "at"), (_FROM, "at_lower"), (_UNTIL, "at_upper")):
        lines[name] = milliseconds(lines[column])
    told = lines[lines[_AT].notna()].copy()
    if not len(told):
        return nothing(title, "no change was found.")
    told["verdict"] = told["verdict"].astype(object).where(told["verdict"].notna(), "changed").map(str)
    told[_SAID] = [_size(line) for _, line in told.iterrows()]
    told[_SERIES] = group_numbers(told, [*groups, "metric"])
    series = list(dict.fromkeys(told[_SERIES]))
    kept = series[:MOST_LINES]
    shown = told[told[_SERIES].isin(kept)]
    rank = shown.groupby(_SERIES).cumcount()
    first = shown[rank == 0]
    shown = shown.loc[rank.sort_values(kind="stable").index[:_MOST_MARKS]]
    names = labels(first, groups, metric=True)
    naming = dict(zip(kept, names, strict=True))
    more = told[_SERIES].value_counts() - 1
    beside = first[_SAID] + [f", and {more[key]:,} more" if more[key] else "" for key in kept]
    started = pd.Timestamp(int(told[_AT].iloc[0]), unit="ms").strftime("%Y-%m-%d")
    status = [
        words
        for name, words in (("suspect", "hollow: a suspect, to be confirmed"), ("trend", "broad bar: a drift"))
        if shown["status"].eq(name).any()
    ]
    return finished(
        _layers(shown, names),
        values=_values(shown, [naming[key] for key in shown[_SERIES]], beside),
        title=title,
        subtitle=[
            fixed_part(first, [*groups, "metric"]),
            "; ".join(["line: when it may have been", *status, "numbers: change in % (points for pass rates)"]),
            left_out(len(series) - len(kept), "the last ones"),
            f"{len(shown):,} of {len(told):,} changes shown" if len(told) > len(shown) else "",
        ],
        description=f"{count(len(told), 'change')} in {len(series):,} series: {counted(told, _ORDER)}; first is "
        f"{names[0]}, {told[_SAID].iloc[0]} at {started}.",
    )


def _values(shown: pd.DataFrame, label: list[str], beside: pd.Series[str]) -> alt.InlineData:
    """Return the records of the changes; an interval of no length, and what most have, is left out."""
    wide = shown[_FROM].ne(shown[_UNTIL])
    levels = zip(numbers(shown, "before"), numbers(shown, "after"), strict=True)
    columns: dict[str, Iterable[Any]] = {
        "label": label,
        "t": shown[_AT],
        "low": shown[_FROM].where(wide),
        "high": shown[_UNTIL].where(wide),
        "verdict": shown["verdict"],
        "status": shown["status"].astype(object).where(shown["status"].isin(["suspect", "trend"]), None),
        "change": [
            f"{said}, {number(before)} to {number(after)}"
            for said, (before, after) in zip(shown[_SAID], levels, strict=True)
        ],
        "said": beside.reindex(shown.index),
    }
    if "coincides_with" in shown and len(shown) <= _MOST_BESIDE:
        columns["beside"] = shown["coincides_with"].astype(object)
    return data(columns)


def _layers(shown: pd.DataFrame, names: Sequence[str]) -> list[alt.Chart]:
    """Return the layers: intervals and drifts, sure changes, suspects, and numbers beside them."""
    colour, shape = looks(shown["verdict"])
    form = "%Y-%m-%d %H:%M"
    tips = [
        alt.Tooltip("label:N", title="series"),
        alt.Tooltip("verdict:N"),
        alt.Tooltip("status:N"),
        alt.Tooltip("t:T", title="at", format=form),
        alt.Tooltip("low:T", title="not before", format=form),
        alt.Tooltip("high:T", title="not after", format=form),
        alt.Tooltip("change:N"),
        alt.Tooltip("beside:N", title="at the same place"),
    ]
    ends = np.concatenate([shown[name].dropna() for name in (_AT, _FROM, _UNTIL)])
    pad = _MARGIN * (ends.max() - ends.min()) or _DAY
    axis = alt.Axis(title="time (UTC)", format="%Y-%m-%d", labelOverlap="greedy", labelSeparation=12, tickCount=5)
    scale, whole = alt.Scale(type="utc"), [ends.min() - pad, ends.max() + pad]  # said once: Vega-Lite compares no times
    at, low = (alt.X(f"{name}:T", scale=scale, axis=axis) for name in ("t", "low"))
    placed = alt.X("t:T", scale=alt.Scale(type="utc", domain=whole, nice=False), axis=axis)
    base = alt.Chart().transform_calculate(status=STATUS).encode(y=rows_axis(), color=colour, tooltip=tips)
    spans = base.transform_filter("isValid(datum.low) && isValid(datum.high)")
    filled = base.mark_point(size=80, opacity=1, filled=True).encode(x=placed, y=rows_axis(names), shape=shape)
    hollow = base.mark_point(size=80, opacity=1, strokeWidth=2).encode(x=at, shape=shape)
    wide = shown[_FROM].ne(shown[_UNTIL])
    drift, suspect = shown["status"].eq("trend"), shown["status"].eq("suspect")
    layers = [
        (
            wide & drift,
            spans.transform_filter(_DRIFT).mark_rule(strokeWidth=9, opacity=0.35).encode(x=low, x2=alt.X2("high")),
        ),
        (
            wide & ~drift,
            spans.transform_filter(f"!({_DRIFT})").mark_rule(strokeWidth=2.5).encode(x=low, x2=alt.X2("high")),
        ),
        (~suspect, filled.transform_filter(f"!({_SUSPECT})")),
        (suspect, hollow.transform_filter(_SUSPECT)),
    ]
    return [*drawn(layers), side_text().transform_filter("isValid(datum.said)")]


def _size(line: pd.Series[float]) -> str:
    """Return the size of a change in words."""
    change = numbers(pd.DataFrame([line]), "change_pct").iloc[0]
    return "no percentage" if np.isnan(change) else f"{signed(change)} %"
