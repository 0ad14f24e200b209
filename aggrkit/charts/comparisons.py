"""Current against baseline: a forest plot and a volcano plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import altair as alt
import numpy as np

from aggrkit.charts.forest import (
    CHANGE,
    changes_of,
    counted,
    forest_of_changes,
    limits,
    ranked,
    said,
    unit_of,
)
from aggrkit.charts.parts import (
    MOST_LINES,
    amount,
    count,
    data,
    finished,
    fixed_part,
    labels,
    left_out,
    looks,
    nothing,
    number,
    numbers,
    require,
)
from aggrkit.charts.theme import GREY, PLOT_WIDTH, WITHIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

__all__ = ["compare_chart", "volcano_chart"]

_ORDER: Final = ("regressed", "changed", "improved", "undecided", "equivalent", "no_data")
_DECIDED: Final = _ORDER[:3]
_NEEDED: Final = ("metric", "unit", "baseline", "current", "change_pct", "ci_lower", "ci_upper", "verdict")
_MOST_POINTS: Final = 150
_SMALLEST_P: Final = 1e-50
_MOST_NAMES: Final = 8
_LONGEST_NAME: Final = 32
_HEIGHT: Final = 300
_LETTER: Final = 5.6  # pixels
_P: Final = "__pvalue"


def compare_chart(compare: pd.DataFrame, groups: Sequence[str] = (), *, margin: float = 0.02) -> alt.LayerChart:
    """Return a forest plot: the change of each line with its interval, its verdict, and the margin that doesn't matter.

    Parameters
    ----------
    compare : pandas.DataFrame
        The frame "compare" (see `aggrkit.model.answer.COLUMNS`).
    groups : sequence of str, optional
        Names of the group columns.
    margin : float, optional
        The share of change that doesn't matter, drawn as a band.

    Returns
    -------
    altair.LayerChart
        At most 40 lines, decided ones first.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import compare_chart
    >>> line = {"model": "bert", "metric": "latency_ms", "unit": "ms", "baseline": 10.0, "current": 11.0}
    >>> line |= {"change_pct": 10.0, "ci_lower": 8.0, "ci_upper": 12.0, "verdict": "regressed"}
    >>> compare_chart(pd.DataFrame([line]), ["model"]).description
    'Change against the baseline of 1 line: 1 regressed; largest is bert, +10 % (+8 to +12).'
    """
    title = "Change against the baseline"
    require(compare, [*groups, *_NEEDED])
    told, without = _told(compare)
    if not len(told):
        return nothing(title, f"no line has data on both sides to compare ({count(without, 'line')} without).")
    told = ranked(told, _ORDER)
    shown = told.head(MOST_LINES)
    names = _names(compare, groups)
    plot = forest_of_changes(
        shown,
        labels(shown, names),
        tips={
            "metric": list(shown["metric"]),
            **({"statistic": list(shown["statistic"])} if names[-1] == "statistic" else {}),
            "baseline": [amount(v, u) for v, u in zip(numbers(shown, "baseline"), shown["unit"], strict=True)],
            "current": [amount(v, u) for v, u in zip(numbers(shown, "current"), shown["unit"], strict=True)],
            **({"note": list(shown["note"])} if "note" in shown and len(shown) <= MOST_LINES // 2 else {}),
        },
        title=f"change ({unit_of(shown)})",
        least=150 * margin,
        band=100 * margin,
    )
    decided = told["verdict"].iloc[0] in _DECIDED
    place = 0 if decided else int(told[CHANGE].abs().to_numpy().argmax())
    every = labels(told, names)
    subtitle = [
        "; ".join(part for part in (fixed_part(shown, names), f"band: within {100 * margin:g} %") if part),
        plot.cut(),
        left_out(len(told) - len(shown)),
        f"{count(without, 'line')} without data on both sides" if without else "",
    ]
    return finished(
        plot.layers(),
        values=plot.values(),
        title=title,
        subtitle=subtitle,
        description=f"{title} of {count(len(told), 'line')}: {counted(told, _ORDER)}; "
        f"largest is {every[place]}, {said(told.iloc[place])}.",
    )


def volcano_chart(compare: pd.DataFrame, *, margin: float = 0.02, alpha: float = 0.05) -> alt.LayerChart:
    """Return a volcano plot: how large each change is against how sure it is.

    Parameters
    ----------
    compare : pandas.DataFrame
        The frame "compare".
    margin : float, optional
        The share of change that doesn't matter.
    alpha : float, optional
        Adjusted p-values below are significant.

    Returns
    -------
    altair.LayerChart
        At most 150 points, the surest ones; the surest verdicts have their names where there is room.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import volcano_chart
    >>> line = {"model": "bert", "metric": "latency_ms", "unit": "ms", "baseline": 10.0, "current": 11.0}
    >>> line |= {"change_pct": 10.0, "ci_lower": 8.0, "ci_upper": 12.0, "verdict": "regressed", "pvalue_adjusted": 0.01}
    >>> volcano_chart(pd.DataFrame([line])).description
    'Size of 1 change against its certainty: 1 regressed; 1 of 1 has an adjusted p-value below 0.05.'
    """
    title = "Size and certainty of changes"
    require(compare, [*_NEEDED, "pvalue_adjusted"])
    told, without = _told(compare)
    told[_P] = numbers(told, "pvalue_adjusted")
    tested = told[told[_P].notna()].sort_values(_P, kind="stable")
    if not len(tested):
        return nothing(title, f"no line could be tested ({count(without + len(told), 'line')} without a p-value).")
    shown = tested.head(_MOST_POINTS)
    names = _names(compare, [str(name) for name in compare.columns[: compare.columns.get_loc("metric")]])
    sure = -np.log10(np.clip(shown[_P], _SMALLEST_P, 1.0))
    lowest, highest = limits(shown[CHANGE], shown[CHANGE], shown[CHANGE], 150 * margin)
    top, lines = 1.06 * max(float(sure.max()), 2.0), labels(shown, names)
    values = data(
        {
            "label": lines,
            "verdict": shown["verdict"],
            "x": shown[CHANGE],
            "y": sure,
            "p": [number(value) for value in shown[_P]],
        }
    )
    scale = alt.Scale(domain=[lowest, highest], clamp=True, nice=False)
    x = alt.X("x:Q", scale=scale, axis=alt.Axis(title="change (%; points for pass rates)"))
    y = alt.Y(
        "y:Q",
        axis=alt.Axis(title="certainty (-log10 of the adjusted p-value)"),
        scale=alt.Scale(domain=[0, top], nice=False),
    )
    colour, shape = looks(shown["verdict"])
    tips = [
        alt.Tooltip("label:N", title="line"),
        alt.Tooltip("verdict:N"),
        alt.Tooltip("x:Q", title="change", format="+,.3~f"),
        alt.Tooltip("p:N", title="adjusted p-value"),
    ]
    edges = alt.Chart(data({"x": [-100 * margin, 100 * margin]}))
    level = alt.Chart(data({"y": [-np.log10(alpha)]}))
    layers = [
        edges.mark_rule(color=GREY, strokeDash=[4, 3]).encode(x=x),
        level.mark_rule(color=GREY, strokeDash=[4, 3]).encode(y=y),
        alt.Chart(values)
        .mark_point(filled=True, size=60, opacity=0.8)
        .encode(x=x, y=y, color=colour, shape=shape, tooltip=tips),
    ]
    across = (shown[CHANGE].clip(lowest, highest) - lowest) / (highest - lowest)
    middle = -PLOT_WIDTH * lowest / (highest - lowest)
    named = [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in lines]
    for right, some in _named(named, PLOT_WIDTH * across, _HEIGHT * (1 - sure / top), shown["verdict"], middle):
        text = alt.Chart(data({"x": shown[CHANGE].iloc[some], "y": sure.iloc[some], "said": [named[i] for i in some]}))
        text = text.mark_text(style=WITHIN, align="left" if right else "right", dx=7 if right else -7, fontSize=10)
        layers.append(text.encode(x=x, y=y, text=alt.Text("said:N")))
    significant = int((tested[_P] < alpha).sum())
    cut = bool((shown[_P] < _SMALLEST_P).any())
    far = int((~shown[CHANGE].between(lowest, highest)).sum())
    return finished(
        layers,
        title=title,
        subtitle=[
            f"dashed: margin of {100 * margin:g} % and p = {alpha:g}{'; certainty is cut off at 50' if cut else ''}",
            f"{count(far, 'change')} beyond the frame, drawn at its edge" if far else "",
            left_out(len(tested) - len(shown), "the least certain"),
        ],
        description=f"Size of {count(len(tested), 'change')} against {'its' if len(tested) == 1 else 'their'} "
        f"certainty: {counted(tested, _ORDER)}; {significant} of {len(tested)} {'has' if significant == 1 else 'have'} "
        f"an adjusted p-value below {alpha:g}.",
        height=_HEIGHT,
    )


def _named(
    lines: Sequence[str], x: pd.Series[float], y: pd.Series[float], verdicts: pd.Series[str], middle: float
) -> Iterator[tuple[bool, list[int]]]:
    """Yield which points get their names, in pixels: the surest verdicts, as long as a name covers nothing else.

    A name is on the side of its point that is away from `middle`, where no change is, if there is room.
    """
    points = [(left - 5, top - 5, left + 5, top + 5) for left, top in zip(x, y, strict=True)]
    taken, found = list(points), dict[bool, list[int]]({True: [], False: []})
    for i in (i for i, verdict in enumerate(verdicts) if verdict in _DECIDED):
        width = _LETTER * len(lines[i])
        outward = bool(x.iloc[i] >= middle)
        for right in (outward, not outward):
            start = x.iloc[i] + 7 if right else x.iloc[i] - 7 - width
            box = (start, y.iloc[i] - 6, start + width, y.iloc[i] + 6)
            inside = box[0] >= 0 and box[2] <= PLOT_WIDTH
            if inside and not any(_touch(box, other) for place, other in enumerate(taken) if place != i):
                found[right].append(i)
                taken.append(box)
                break
        if sum(map(len, found.values())) == _MOST_NAMES:
            break
    yield from ((right, some) for right, some in found.items() if some)


def _touch(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _names(compare: pd.DataFrame, groups: Sequence[str]) -> list[str]:
    """Return the columns that tell lines apart: groups, metric, and the statistic where there are several."""
    several = "statistic" in compare.columns and "statistic" not in groups
    return [*groups, "metric", *(["statistic"] if several else [])]


def _told(compare: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Return the lines with a change, and how many have none."""
    return changes_of(compare, "change_pct", "no_data")
