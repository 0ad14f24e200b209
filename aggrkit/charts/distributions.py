"""Histograms of values that were counted elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import altair as alt
import pandas as pd

from aggrkit.charts.parts import (
    count,
    data,
    finished,
    group_numbers,
    labels,
    nothing,
    number,
    numbers,
    require,
    with_unit,
)
from aggrkit.charts.theme import PALETTE

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["distribution_chart"]

_MOST_GROUPS: Final = 6
_MOST_BINS: Final = 60
_GROWTH: Final = 10.0
_LONGEST_BESIDE: Final = 36  # characters of a name in two columns
_DASHES: Final = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 4], [1, 3])


def distribution_chart(
    bins: pd.DataFrame, groups: Sequence[str] = (), *, metric: str = "value", unit: str = "", subtitle: str = ""
) -> alt.LayerChart:
    """Return a histogram of counted bins; of several groups, outlines of their shares.

    Parameters
    ----------
    bins : pandas.DataFrame
        Columns `low`, `high` and `count`, a row for each bin, and those of `groups`. Bins without an end aren't drawn;
        the subtitle says how many values they hold.
    groups : sequence of str, optional
        Names of the group columns.
    metric, unit : str, optional
        What was counted, for the axis.
    subtitle : str, optional
        What else is to be said.

    Returns
    -------
    altair.LayerChart
        The six largest groups, at most 60 bins each; on a log scale where the bins are made for it.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import distribution_chart
    >>> bins = pd.DataFrame({"low": [0.0, 1.0], "high": [1.0, 2.0], "count": [3, 1]})
    >>> distribution_chart(bins, metric="latency_ms", unit="ms").description
    'latency_ms: 4 values from 0 to 2 ms; most lie in 0 to 1.'
    """
    title = f"Distribution of {metric}"
    require(bins, [*groups, "low", "high", "count"])
    lines = pd.DataFrame({name: numbers(bins, name) for name in ("low", "high", "count")}).reset_index(drop=True)
    lines["label"] = _names(bins, groups)
    beyond = _beyond(lines)
    lines = lines[lines["low"].notna() & lines["high"].notna() & (lines["count"] > 0)]
    if not len(lines):
        return nothing(title, "no value was counted.")
    totals = lines.groupby("label", sort=False)["count"].sum().sort_values(ascending=False, kind="stable")
    kept = list(totals.index[:_MOST_GROUPS])
    shown = pd.concat([_fewer(lines[lines["label"] == name]) for name in kept])
    peak = lines.iloc[int(lines["count"].to_numpy().argmax())]
    log = _is_logarithmic(lines)
    axis_title = with_unit(metric, unit) + (", log scale" if log else "")
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=False)
    several = len(kept) > 1
    return finished(
        _outlines(shown, totals, kept, axis_title, scale) if several else _bars(shown, axis_title, scale),
        title=title,
        subtitle=[
            "each outline sums to 100 % of its group" if several else "",
            f"{count(len(totals) - len(kept), 'smaller group')} not shown" if len(totals) > len(kept) else "",
            beyond,
            subtitle,
        ],
        description=f"{metric}: {count(int(totals.sum()), 'value')}"
        f"{f' in {len(totals)} groups' if len(totals) > 1 else ''} from {number(lines['low'].min())} to "
        f"{number(lines['high'].max())} {unit}".rstrip()
        + f"; most lie in {number(peak['low'])} to {number(peak['high'])}"
        + (f" ({peak['label']})." if several else "."),
        height=240,
    )


def _bars(shown: pd.DataFrame, axis_title: str, scale: alt.Scale) -> list[alt.Chart]:
    values = data({name: shown[name] for name in ("low", "high", "count")})
    x = alt.X("low:Q", bin="binned", scale=scale, axis=alt.Axis(title=axis_title, tickCount=8))
    tips = [
        alt.Tooltip("low:Q", title="from", format=",.5~g"),
        alt.Tooltip("high:Q", title="to", format=",.5~g"),
        alt.Tooltip("count:Q", title="values", format=","),
    ]
    bars = alt.Chart(values).mark_bar(color=PALETTE["blue"], binSpacing=1)
    y = alt.Y("count:Q", axis=alt.Axis(title="values (count)", tickMinStep=1))
    return [bars.encode(x=x, x2=alt.X2("high"), y=y, tooltip=tips)]


def _outlines(
    shown: pd.DataFrame, totals: pd.Series[float], kept: list[str], axis_title: str, scale: alt.Scale
) -> list[alt.Chart]:
    parts = []
    for name in kept:
        group = shown[shown["label"] == name].sort_values("low")
        share = 100 * group["count"] / totals[name]
        parts.append(pd.DataFrame({"label": name, "x": group["low"], "y": share}))
        gaps = group[group["high"] < group["low"].shift(-1, fill_value=float("inf"))]
        parts.append(pd.DataFrame({"label": name, "x": gaps["high"], "y": 0.0}))
        parts.append(pd.DataFrame({"label": [name], "x": [group["low"].iloc[0]], "y": [0.0], "first": [1]}))
    every = pd.concat(parts)
    every["first"] = every["first"].fillna(2)
    every = every.sort_values(["label", "x", "first"], kind="stable")
    values = data({name: every[name] for name in ("label", "x", "y")})
    beside = max(map(len, kept)) <= _LONGEST_BESIDE
    legend = alt.Legend(
        title=None,
        orient="top",
        columns=2 if beside else 1,
        symbolType="stroke",
        symbolSize=300,
        labelLimit=220 if beside else 440,
    )
    colours = alt.Scale(domain=kept, range=list(PALETTE.values())[: len(kept)])
    dashes = alt.Scale(domain=kept, range=[list(dash) for dash in _DASHES[: len(kept)]])
    tips = [alt.Tooltip("label:N", title="group"), alt.Tooltip("x:Q"), alt.Tooltip("y:Q", title="%", format=".3~g")]
    line = alt.Chart(values).mark_line(interpolate="step-after", strokeWidth=2)
    x = alt.X("x:Q", scale=scale, axis=alt.Axis(title=axis_title, tickCount=8))
    y = alt.Y("y:Q", axis=alt.Axis(title="values (% of the group)"))
    colour = alt.Color("label:N", scale=colours, legend=legend)
    dash = alt.StrokeDash("label:N", scale=dashes, legend=legend)
    return [line.encode(x=x, y=y, color=colour, strokeDash=dash, order=alt.Order("x:Q"), tooltip=tips)]


def _beyond(lines: pd.DataFrame) -> str:
    """Return how many values lie in bins without an end."""
    open_ended = lines["low"].isna() | lines["high"].isna()
    sides = ((lines["high"].notna(), "below", "high"), (lines["low"].notna(), "above", "low"))
    told = []
    for known, word, end in sides:
        some = lines[open_ended & known & (lines["count"] > 0)]
        told += [f"{count(int(some['count'].sum()), 'value')} {word} {number(some[end].iloc[0])}"] if len(some) else []
    return f"not shown: {', '.join(told)}" if told else ""


def _is_logarithmic(lines: pd.DataFrame) -> bool:
    """Whether bins grow with their place, so that they are alike on a log scale only."""
    widths = lines["high"] - lines["low"]
    return bool(lines["low"].min() > 0 and widths.max() > _GROWTH * widths.min())


def _fewer(group: pd.DataFrame) -> pd.DataFrame:
    """Return a group with neighbouring bins put together where there are too many."""
    ordered = group.sort_values("low", kind="stable").reset_index(drop=True)
    step = -(-len(ordered) // _MOST_BINS)
    if step == 1:
        return ordered
    made = ordered.groupby(ordered.index // step)
    return made.agg(low=("low", "min"), high=("high", "max"), count=("count", "sum"), label=("label", "first"))


def _names(bins: pd.DataFrame, groups: Sequence[str]) -> list[str]:
    """Return the group of each bin, in words."""
    if not groups:
        return ["all"] * len(bins)
    numbered = group_numbers(bins, groups)
    told = labels(pd.DataFrame(bins)[~numbered.duplicated()], groups)
    return [told[group] for group in numbered]
