"""The slopes of many series: which of them drift, and how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from aggrkit.charts.forest import Forest, limits
from aggrkit.charts.parts import (
    MOST_LINES,
    count,
    finished,
    fixed_part,
    labels,
    left_out,
    nothing,
    number,
    numbers,
    require,
    signed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt

__all__ = ["slopes_chart"]

_ORDER: Final = ("worsening", "trending", "improving", "none", "too_few")


def slopes_chart(trends: pd.DataFrame, groups: Sequence[str] = ()) -> alt.LayerChart:
    """Return a forest plot of drifts: the slope of each line with its interval and its verdict.

    Parameters
    ----------
    trends : pandas.DataFrame
        The frame "trends" (see `aggrkit.model.answer.COLUMNS`).
    groups : sequence of str, optional
        Names of the group columns.

    Returns
    -------
    altair.LayerChart
        At most 40 lines, those that drift first.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import slopes_chart
    >>> line = {"model": "bert", "metric": "latency_ms", "unit": "ms", "n": 30, "slope_pct_per_day": 0.2}
    >>> frame = pd.DataFrame([line | {"ci_lower": 0.1, "ci_upper": 0.3, "verdict": "worsening"}])
    >>> slopes_chart(frame, ["model"]).description
    'Drift of 1 line: 1 worsening; steepest is bert, +0.2 % per day (+0.1 to +0.3).'
    """
    title = "Drift over time"
    require(trends, [*groups, "metric", "unit", "n", "slope_pct_per_day", "ci_lower", "ci_upper", "verdict"])
    lines = pd.DataFrame(trends).reset_index(drop=True)
    for name, source in (("x", "slope_pct_per_day"), ("low", "ci_lower"), ("high", "ci_upper")):
        lines[name] = numbers(lines, source)
    lines["verdict"] = lines["verdict"].astype(object).where(lines["verdict"].notna(), "too_few").map(str)
    told = lines[lines["x"].notna()].copy()
    without = len(lines) - len(told)
    if not len(told):
        return nothing(title, f"no line has a slope ({count(without, 'line')} with too few times or no level).")
    told["order"] = told["verdict"].map({name: place for place, name in enumerate(_ORDER)}).fillna(len(_ORDER))
    told["size"] = -told["x"].abs()
    told = told.sort_values(["order", "size"], kind="stable")
    shown = told.head(MOST_LINES)
    names = labels(shown, groups, metric=True)
    points = shown["unit"].eq("proportion")
    unit = "% or points" if points.any() and not points.all() else "points" if points.all() else "%"
    usual = float(shown["x"].abs().median())
    plot = Forest(
        names=names,
        x=shown["x"],
        low=shown["low"],
        high=shown["high"],
        verdicts=list(shown["verdict"]),
        said=[_said(line) for _, line in shown.iterrows()],
        tips={"metric": list(shown["metric"]), "times": [number(value) for value in numbers(shown, "n")]},
        title=f"slope ({unit} per day)",
        domain=limits(shown["x"], shown["low"], shown["high"], usual or 1e-3),
    )
    found = told["verdict"].value_counts()
    counted = ", ".join(
        f"{found[name]:,} {'without a trend' if name == 'none' else name.replace('_', ' ')}"
        for name in _ORDER
        if found.get(name)
    )
    return finished(
        plot.layers(),
        values=plot.values(),
        title=title,
        subtitle=[
            fixed_part(shown, [*groups, "metric"]),
            plot.cut(),
            left_out(len(told) - len(shown)),
            f"{count(without, 'line')} with too few times, or no level to be relative to" if without else "",
        ],
        description=f"Drift of {count(len(told), 'line')}: {counted}; steepest is {names[0]}, {_said(told.iloc[0])}.",
    )


def _said(line: pd.Series[float]) -> str:
    unit = "points" if str(line["unit"]) == "proportion" else "%"
    said = f"{signed(line['x'])} {unit} per day"
    known = pd.notna(line["low"]) and pd.notna(line["high"])
    return f"{said} ({signed(line['low'])} to {signed(line['high'])})" if known else said
