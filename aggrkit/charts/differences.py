"""Which describing columns go with differences in which metrics."""

from __future__ import annotations

from typing import Final

import altair as alt
import pandas as pd

from aggrkit.charts.parts import count, data, finished, looks, nothing, numbers, require
from aggrkit.charts.theme import WITHIN

__all__ = ["differences_chart"]

_MOST_ROWS: Final = 10
_MOST_COLUMNS: Final = 8
_MAGNITUDES: Final = ("large", "medium", "small", "negligible", "undefined")


def differences_chart(differences: pd.DataFrame) -> alt.LayerChart:
    """Return the size of each effect, a describing column across and a metric down.

    Parameters
    ----------
    differences : pandas.DataFrame
        The frame "differences" (see `aggrkit.model.answer.COLUMNS`).

    Returns
    -------
    altair.LayerChart
        Magnitude by colour and shape, the effect size beside it, in brackets where it isn't significant. At most 10
        describing columns and 8 metrics, those with the largest effects.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import differences_chart
    >>> line = {"dimension": "hardware", "metric": "latency_ms", "effect_size": 0.6, "magnitude": "large", "n": 90}
    >>> frame = pd.DataFrame([line | {"significant": True, "lowest": "A100", "highest": "T4", "adjusted_for": "model"}])
    >>> differences_chart(frame).description
    '1 effect: 1 large; 1 significant; largest is latency_ms by hardware, 0.60 (lowest A100, highest T4).'
    """
    title = "What goes with differences"
    needed = [
        "dimension",
        "metric",
        "n",
        "effect_size",
        "magnitude",
        "significant",
        "lowest",
        "highest",
        "adjusted_for",
    ]
    require(differences, needed)
    lines = pd.DataFrame(differences)[needed].reset_index(drop=True)
    lines["x"] = numbers(lines, "effect_size")
    told = lines[lines["x"].notna()].sort_values("x", ascending=False, kind="stable")
    if not len(told):
        return nothing(title, "no difference could be tested.")
    rows, columns = list(dict.fromkeys(told["dimension"])), list(dict.fromkeys(told["metric"]))
    shown = told[told["dimension"].isin(rows[:_MOST_ROWS]) & told["metric"].isin(columns[:_MOST_COLUMNS])]
    sure = shown["significant"].fillna(False).astype(bool)
    values = data(
        {
            "row": shown["dimension"],
            "column": shown["metric"],
            "x": shown["x"],
            "verdict": shown["magnitude"],
            "said": [f"{x:.2f}" if known else f"({x:.2f})" for x, known in zip(shown["x"], sure, strict=True)],
            "ends": [
                f"{str(low)[:40]} / {str(high)[:40]}"
                for low, high in zip(shown["lowest"], shown["highest"], strict=True)
            ],
            "fixed": shown["adjusted_for"],
            "n": shown["n"],
        }
    )
    colour, shape = looks(shown["magnitude"])
    x = alt.X(
        "column:N",
        scale=alt.Scale(domain=columns[:_MOST_COLUMNS]),
        axis=alt.Axis(title="metric", labelAngle=-35, labelLimit=180, ticks=False, domain=False, grid=False),
    )
    y = alt.Y(
        "row:N",
        scale=alt.Scale(domain=rows[:_MOST_ROWS]),
        axis=alt.Axis(
            title="differs by",
            titleAngle=0,
            titleX=-6,
            titleY=-10,
            titleAlign="right",
            titleBaseline="bottom",
            labelLimit=260,
            ticks=False,
            domain=False,
            grid=False,
        ),
    )
    tips = [
        alt.Tooltip("row:N", title="differs by"),
        alt.Tooltip("column:N", title="metric"),
        alt.Tooltip("said:N", title="effect size"),
        alt.Tooltip("verdict:N", title="magnitude"),
        alt.Tooltip("ends:N", title="lowest / highest"),
        alt.Tooltip("fixed:N", title="held fixed"),
        alt.Tooltip("n:Q", format=","),
    ]
    base = alt.Chart().encode(x=x, y=y)
    points = base.mark_point(filled=True, opacity=1, size=110, xOffset=-18)
    text = base.mark_text(style=WITHIN, align="left", baseline="middle", dx=-6, fontSize=11)
    found = told["magnitude"].value_counts()
    counted = ", ".join(f"{found[name]:,} {name}" for name in _MAGNITUDES if found.get(name))
    best = told.iloc[0]
    hidden = len(told) - len(shown)
    without = len(lines) - len(told)
    return finished(
        [points.encode(color=colour, shape=shape, tooltip=tips), text.encode(text=alt.Text("said:N"))],
        values=values,
        title=title,
        subtitle=[
            f"size of the effect, 0 to 1{'' if sure.all() else '; (in brackets): not significant'}",
            f"{count(hidden, 'smaller effect')} not shown" if hidden else "",
            f"{count(without, 'pair')} could not be tested" if without else "",
        ],
        description=f"{count(len(told), 'effect')}: {counted}; {int(told['significant'].sum()):,} significant; "
        f"largest is {best['metric']} by {best['dimension']}, {best['x']:.2f} "
        f"(lowest {best['lowest']}, highest {best['highest']}).",
        width=alt.Step(74),
        height=alt.Step(26),
    )
