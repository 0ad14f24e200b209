"""What all charts are put together from: clean records, labels, numbers in words, titles."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import altair as alt
import numpy as np
import pandas as pd

from aggrkit.charts.display import Shown
from aggrkit.charts.theme import LOOKS, PLOT_WIDTH, ROW_HEIGHT, TITLE_OFFSET, WITHIN
from aggrkit.errors import SchemaError, UnknownNameError, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "MOST_LINES",
    "SHORT",
    "STATUS",
    "amount",
    "axis_format",
    "clean",
    "count",
    "data",
    "drawn",
    "finished",
    "fixed_part",
    "group_numbers",
    "labels",
    "left_out",
    "looks",
    "milliseconds",
    "nothing",
    "number",
    "numbers",
    "of_metric",
    "require",
    "rows_axis",
    "side_text",
    "signed",
    "spans_decades",
    "with_unit",
]

MOST_LINES: Final = 40
SHORT: Final = "abs(datum.value) < 1e4 ? format(datum.value, ',.4~g') : format(datum.value, '.3~s')"
"""How an axis or a legend writes numbers that lie far apart: 0.5, 1,000, 25k."""
STATUS: Final = "datum.status || 'confirmed'"
"""The status of a mark: records name only those that aren't confirmed."""

_DIGITS: Final = 6
_LONGEST: Final = 160
_DECADES: Final = 200
_LEGEND_OFFSET: Final = 18


def require(frame: pd.DataFrame, columns: Iterable[str]) -> None:
    """Raise if the frame lacks a column that the chart draws.

    Raises
    ------
    SchemaError
        With the columns that are missing.
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise SchemaError(f"this chart needs columns that the frame doesn't have: {listed(missing)}")


def of_metric(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the lines of one metric.

    Raises
    ------
    UnknownNameError
        If the frame has lines, but none of this metric.
    """
    if len(frame) and not (frame["metric"] == metric).any():
        raise UnknownNameError.of("metric", metric, frame["metric"].dropna().unique())
    return pd.DataFrame(frame[frame["metric"] == metric])


def numbers(frame: pd.DataFrame, name: str) -> pd.Series[float]:
    """Return a column as numbers: what is missing or infinite is NaN, and so is a column that isn't there."""
    if name not in frame.columns:
        return pd.Series(np.nan, index=frame.index, dtype="float64")
    values = pd.to_numeric(frame[name], errors="coerce").astype("Float64").astype("float64")
    return values.where(np.isfinite(values))


def clean(value: Any) -> Any:
    """Return a value that JSON can hold: whole numbers as they are, others with six digits."""
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            return None
        exact = float(value)
        rounded = exact if exact.is_integer() else float(f"{exact:.{_DIGITS}g}")
        return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
    if isinstance(value, (int, np.integer)):
        return int(value) if abs(int(value)) < 2**53 else float(value)
    return str(value)


def data(columns: dict[str, Iterable[Any]]) -> alt.InlineData:
    """Return columns as the records of a chart; missing values are left out of theirs."""
    lists = [list(values) for values in columns.values()]
    records = [
        {name: cleaned for name, value in zip(columns, line, strict=True) if (cleaned := clean(value)) is not None}
        for line in zip(*lists, strict=True)
    ]
    return alt.InlineData(values=records)


def milliseconds(column: pd.Series[Any]) -> pd.Series[float]:
    """Return times as milliseconds since 1970; those without a zone are UTC.

    Raises
    ------
    SchemaError
        If they can't be read.
    """
    try:
        times = pd.to_datetime(column, utc=True)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"the times of this chart can't be read: {error}") from error
    return ((times - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(milliseconds=1)).round()


def labels(frame: pd.DataFrame, groups: Sequence[str], *, metric: bool = False) -> list[str]:
    """Return a name for each line, from the groups that differ; no two are equal.

    Parameters
    ----------
    frame : pandas.DataFrame
        The lines of the chart.
    groups : sequence of str
        Names of the group columns.
    metric : bool, optional
        Whether the metric belongs to the name where there are several.

    Returns
    -------
    list of str
        A name a line.
    """
    names = [*groups, *(["metric"] if metric else [])]
    differing = [name for name in names if _words(frame[name]).nunique() > 1] or names[:1]
    columns = [_words(frame[name]) for name in differing]
    joined = [" · ".join(line) for line in zip(*columns, strict=True)] if columns else ["all"] * len(frame)
    seen: Counter[str] = Counter()
    unique = []
    for whole in joined:
        name = whole if len(whole) <= _LONGEST else f"{whole[: _LONGEST - 1]}…"
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return unique


def group_numbers(frame: pd.DataFrame, names: Sequence[str]) -> pd.Series[int]:
    """Return which lines are alike in some columns: the number of the group of each, as they come."""
    told = zip(*(frame[name].astype(object).map(str) for name in names), strict=True) if names else [()] * len(frame)
    seen: dict[tuple[str, ...], int] = {}
    return pd.Series([seen.setdefault(key, len(seen)) for key in told], index=frame.index, dtype="int64")


def fixed_part(frame: pd.DataFrame, groups: Sequence[str]) -> str:
    """Return the groups that all lines share, for the subtitle, e.g. "hardware: A100"."""
    if len(frame) < 2:
        return ""
    shared = [name for name in groups if _words(frame[name]).nunique() == 1]
    shared = shared if len(shared) < len(groups) else shared[1:]
    return ", ".join(f"{name}: {_words(frame[name]).iloc[0]}" for name in shared)


def _words(column: pd.Series[Any]) -> pd.Series[str]:
    words = column.astype(object).where(column.notna(), "unknown")
    return words.map(lambda value: f"{value:g}" if isinstance(value, float) else str(value))


def number(value: Any) -> str:
    """Return a number for a reader: four digits, thousands apart; "-" where there is none."""
    if value is None or pd.isna(value) or not math.isfinite(value):
        return "-"
    size = abs(float(value))
    if size != 0 and (size < 1e-4 or size >= 1e15):
        return f"{value:.3g}"
    return f"{value:,.0f}" if size >= 1e4 else f"{value:,.4g}"


def signed(value: float) -> str:
    """Return a change for a reader, with its sign."""
    if abs(value) < 1e-12:
        return "0"
    return f"{value:+,.0f}" if abs(value) >= 100 else f"{value:+,.3g}"


def amount(value: Any, unit: str) -> str:
    """Return a number with its unit; a proportion in percent."""
    if unit == "proportion":
        return "-" if value is None or pd.isna(value) else f"{number(100 * value)} %"
    return f"{number(value)} {unit}".rstrip() if unit != "score" else number(value)


def with_unit(metric: str, unit: Any) -> str:
    """Return the title of an axis: the metric, and its unit where it is known."""
    known = isinstance(unit, str) and unit and unit != "proportion"  # which the numbers of the axis tell
    return f"{metric} ({unit})" if known else metric


def axis_format(unit: Any) -> Any:
    """Return how an axis writes its numbers: proportions in percent, all else as Vega does."""
    return "~%" if unit == "proportion" else alt.Undefined


def count(many: int, noun: str) -> str:
    """Return "1 line", "3 lines"."""
    return f"{many:,} {noun if many == 1 else noun + 's'}"


def left_out(many: int, why: str = "the least telling") -> str:
    """Return how many lines aren't shown, or nothing."""
    return f"{count(many, 'more line')} not shown ({why})" if many else ""


def spans_decades(values: Iterable[float], ratio: float = _DECADES) -> bool:
    """Whether the numbers are positive and so far apart that a log scale is needed."""
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) >= ratio


def looks(present: Iterable[str], room: int = 0) -> tuple[alt.Color, alt.Shape]:
    """Return colour and shape for the column "verdict", with a legend of those there are, and `room` below it."""
    found = set(present)
    domain = [name for name in LOOKS if name in found]
    legend = alt.Legend(
        title=None,
        orient="top",
        offset=_LEGEND_OFFSET + room,
        symbolSize=90,
        symbolOpacity=1,
        labelExpr="replace(datum.label, '_', ' ')",
    )
    colours = alt.Scale(domain=domain, range=[LOOKS[name][0] for name in domain])
    shapes = alt.Scale(domain=domain, range=[LOOKS[name][1] for name in domain])
    return (
        alt.Color("verdict:N", scale=colours, legend=legend),
        alt.Shape("verdict:N", scale=shapes, legend=legend),
    )


def rows_axis(names: Sequence[str] = ()) -> alt.Y:
    """Return the axis of the lines, in the order given (by one layer, for all); long names end in an ellipsis."""
    axis = alt.Axis(title=None, labelLimit=320, ticks=False, domain=False, labelPadding=16, grid=True)
    return alt.Y("label:N", scale=alt.Scale(domain=list(names)), axis=axis) if names else alt.Y("label:N", axis=axis)


def side_text() -> alt.Chart:
    """Return the layer with the numbers of each line, to the right of the plot."""
    mark = alt.Chart().mark_text(align="left", baseline="middle", style=WITHIN, fontSize=11)
    drawn: alt.Chart = mark.encode(x=alt.XValue(PLOT_WIDTH + 18), y=rows_axis(), text=alt.Text("said:N"))
    return drawn


def drawn(layers: Iterable[tuple[pd.Series[bool], alt.Chart]]) -> list[alt.Chart]:
    """Return the layers that have a mark: to a screen reader, a layer without any is a picture without a name."""
    return [layer for marked, layer in layers if marked.any()]


def finished(
    layers: Sequence[alt.Chart],
    *,
    title: str,
    subtitle: Sequence[str],
    description: str,
    values: alt.InlineData | None = None,
    width: int | alt.Step = PLOT_WIDTH,
    height: int | alt.Step | None = None,
    room: int = 0,
) -> alt.LayerChart:
    """Return the layers as one chart, with its title, size and alternative text; `room` is left above the plot."""
    chart = Shown(layer=list(layers)) if values is None else Shown(layer=list(layers), data=values)
    lines = [line for line in subtitle if line]
    more: dict[str, Any] = ({"subtitle": lines} if lines else {}) | ({"offset": TITLE_OFFSET + room} if room else {})
    head = alt.TitleParams(text=title, **more)
    tall = alt.Step(ROW_HEIGHT) if height is None else height
    return chart.properties(title=head, description=description, width=width, height=tall)


def nothing(title: str, words: str) -> alt.LayerChart:
    """Return a chart that says that there is nothing to show, and why."""
    text = alt.Chart().mark_text(style=WITHIN, fontSize=13, align="center", baseline="middle")
    placed = text.encode(x=alt.XValue(PLOT_WIDTH / 2), y=alt.YValue(30), text=alt.TextValue(words))
    return finished(
        [placed],
        title=title,
        subtitle=[],
        description=f"{title}: {words}",
        values=data({"none": [0]}),
        height=60,
    )
