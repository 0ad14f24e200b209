"""Levels and spreads of groups: the middle, percentiles, and the whole range."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import altair as alt
import numpy as np

from aggrkit.charts.parts import (
    MOST_LINES,
    amount,
    axis_format,
    count,
    data,
    finished,
    fixed_part,
    labels,
    left_out,
    nothing,
    numbers,
    of_metric,
    require,
    rows_axis,
    side_text,
    spans_decades,
    with_unit,
)
from aggrkit.charts.theme import GREY, PALETTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["statistics_chart"]

_FAR: Final = 3.0
_X: Final = "__x"  # no group has this name


def statistics_chart(
    stats: pd.DataFrame, groups: Sequence[str], metric: str, *, direction: str | None = None
) -> alt.LayerChart:
    """Return where the values of each group lie: median, percentiles, and the whole range.

    Parameters
    ----------
    stats : pandas.DataFrame
        The frame "stats" (see `aggrkit.model.answer.COLUMNS`), with whichever percentiles were asked for.
    groups : sequence of str
        Names of the group columns.
    metric : str
        Which metric.
    direction : {"lower", "higher", "unknown"} or None, optional
        Which way is better; the best group comes first. Where it isn't known, the smallest.

    Returns
    -------
    altair.LayerChart
        At most 40 lines, on a log scale where the groups lie far apart.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import statistics_chart
    >>> line = {"model": "bert", "metric": "latency_ms", "unit": "ms", "n": 9, "mean": 3.1}
    >>> line |= {"min": 1.0, "p50": 3.0, "p75": 4.0, "p90": 5.0, "max": 9.0}
    >>> statistics_chart(pd.DataFrame([line]), ["model"], "latency_ms").description
    'latency_ms of 1 line: p50 from 3 ms (bert) to 3 ms (bert).'
    """
    title = f"Levels of {metric}"
    require(stats, [*groups, "metric", "unit", "n", "mean"])
    lines = of_metric(stats, metric).reset_index(drop=True)
    middle = "p50" if "p50" in lines and numbers(lines, "p50").notna().any() else "mean"
    lines[_X] = numbers(lines, middle)
    told = lines[lines[_X].notna()].sort_values(_X, ascending=direction != "higher", kind="stable")
    if not len(told):
        return nothing(title, "no group has a value.")
    shown = told.head(MOST_LINES)
    names, unit = labels(shown, groups), _unit(shown)
    bands = _bands(shown, middle)
    ends = np.concatenate([shown[_X], *(numbers(shown, name) for pair in bands for name in pair)])
    log = spans_decades(ends)
    columns: dict[str, Any] = {"label": names, "x": shown[_X], "n": shown["n"]}
    said = [f"{amount(x, unit)}, n = {int(n):,}" for x, n in zip(shown[_X], shown["n"], strict=True)]
    columns |= {name: numbers(shown, name) for pair in bands for name in pair if name != middle} | {"said": said}
    scale = alt.Scale(type="log", nice=True) if log else _linear(ends)
    most = None if log else _cut(shown, bands)
    if most is not None:
        scale = alt.Scale(domain=[min(0.0, float(np.nanmin(ends))), most], clamp=True, nice=False)
        columns["over"] = np.where(numbers(shown, "max") > most, most, np.nan)
    axis_title = with_unit(metric, unit) + (", log scale" if log else "")
    axis = alt.Axis(title=axis_title, tickCount=6, format=axis_format(unit))
    first, last = told[_X].idxmin(), told[_X].idxmax()
    every = dict(zip(told.index, labels(told, groups), strict=True))
    return finished(
        _range_layers(names, bands, middle, axis, scale, most is not None),
        values=data(columns),
        title=title,
        subtitle=[
            "; ".join(part for part in (fixed_part(shown, groups), _explained(bands, middle)) if part),
            f"{direction} is better, the best first" if direction in ("lower", "higher") else "",
            "arrows: the range goes on beyond the frame" if most is not None else "",
            left_out(len(told) - len(shown), "the last ones"),
        ],
        description=f"{metric} of {count(len(told), 'line')}: {middle} from {amount(told.at[first, _X], unit)} "
        f"({every[first]}) to {amount(told.at[last, _X], unit)} ({every[last]}).",
    )


def _range_layers(
    names: Sequence[str],
    bands: Sequence[tuple[str, str]],
    middle: str,
    axis: alt.Axis,
    scale: alt.Scale,
    cut: bool,
) -> list[alt.Chart]:
    """Return a bar for each range, the narrowest range the thickest, with a point in the middle."""
    parts = list(dict.fromkeys(name for pair in bands for name in pair if name != middle))
    tips = [
        alt.Tooltip("label:N", title="group"),
        alt.Tooltip("n:Q", format=","),
        alt.Tooltip("x:Q", title=middle, format=",.5~g"),
        *(alt.Tooltip(f"{name}:Q", title=name, format=",.5~g") for name in parts),
    ]
    base = alt.Chart().encode(y=rows_axis(), tooltip=tips)
    widths, tones = (1.5, 5, 11)[: len(bands)], (GREY, PALETTE["sky"], PALETTE["blue"])[: len(bands)]
    layers = []
    for (low, high), width, tone in zip(bands, widths, tones, strict=True):
        low, high = ("x" if name == middle else name for name in (low, high))
        drawn = base.transform_filter(f"isValid(datum.{low}) && isValid(datum.{high})")
        layers.append(
            drawn.mark_rule(strokeWidth=width, color=tone, opacity=1).encode(
                x=alt.X(f"{low}:Q", scale=scale, axis=axis), x2=high
            )
        )
    point = base.mark_point(filled=True, shape="circle", size=60, opacity=1, color=PALETTE["vermillion"])
    layers.append(point.encode(x=alt.X("x:Q", scale=scale, axis=axis), y=rows_axis(names)))
    if cut:
        arrow = base.transform_filter("isValid(datum.over)")
        arrow = arrow.mark_point(shape="triangle-right", filled=True, size=45, color=GREY, opacity=1)
        layers.append(arrow.encode(x=alt.X("over:Q", scale=scale, axis=axis)))
    return [*layers, side_text()]


def _bands(frame: pd.DataFrame, middle: str) -> list[tuple[str, str]]:
    """Return the ranges that the frame has percentiles for, the widest first."""
    known = [name for name in frame.columns if re.fullmatch(r"p\d+", str(name)) and numbers(frame, name).notna().any()]
    found = []
    if numbers(frame, "min").notna().any() and numbers(frame, "max").notna().any():
        found.append(("min", "max"))
    above = [name for name in ("p75", "p90", "p95", "p99") if name in known]
    low = "p25" if "p25" in known else middle
    if middle == "p50":
        found += [(low, name) for name in reversed(above[:2])]
    return found


def _explained(bands: Sequence[tuple[str, str]], middle: str) -> str:
    words = {1: ["line"], 2: ["line", "bar"], 3: ["line", "light bar", "dark bar"]}.get(len(bands), [])
    parts = [f"{word} {low} to {high}" for word, (low, high) in zip(words, bands, strict=True)]
    return ", ".join([f"point: {middle}", *reversed(parts)])


def _cut(shown: pd.DataFrame, bands: Sequence[tuple[str, str]]) -> float | None:
    """Return where to end the axis so that a few far maxima don't squeeze all else; None to show all."""
    usual = [numbers(shown, name) for pair in bands for name in pair if name != "max"]
    highest = float(np.nanmax(np.concatenate([shown[_X], *usual])))
    farthest = float(np.nanmax(np.concatenate([numbers(shown, "max"), [highest]])))
    return 1.2 * highest if highest > 0 and farthest > _FAR * highest else None


def _linear(ends: NDArray[np.float64]) -> alt.Scale:
    """Return a scale without zero; where all values are one, with room about it, so that it is no axis of one tick."""
    low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
    if low < high:
        return alt.Scale(zero=False, nice=True)
    pad = 0.05 * abs(low) or 1.0
    return alt.Scale(domain=[low - pad, high + pad], nice=True)


def _unit(frame: pd.DataFrame) -> str:
    units = frame["unit"].dropna()
    return str(units.iloc[0]) if len(units) else ""
