"""The slopes of many series: which of them drift, and how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aggrkit.charts.forest import CHANGE, changes_of, counted, forest_of_changes, ranked, said, unit_of
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
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt
    import pandas as pd

__all__ = ["slopes_chart"]

_ORDER: Final = ("worsening", "trending", "improving", "none", "too_few")
_WORDS: Final = {"none": "without a trend"}
_PER: Final = " per day"


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
    told, without = changes_of(trends, "slope_pct_per_day", "too_few")
    if not len(told):
        return nothing(title, f"no line has a slope ({count(without, 'line')} with too few times or no level).")
    told = ranked(told, _ORDER)
    shown = told.head(MOST_LINES)
    names = labels(shown, groups, metric=True)
    plot = forest_of_changes(
        shown,
        names,
        tips={"metric": list(shown["metric"]), "times": [number(value) for value in numbers(shown, "n")]},
        title=f"slope ({unit_of(shown)}{_PER})",
        least=float(shown[CHANGE].abs().median()) or 1e-3,
        per=_PER,
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
        description=f"Drift of {count(len(told), 'line')}: {counted(told, _ORDER, _WORDS)}; "
        f"steepest is {names[0]}, {said(told.iloc[0], _PER)}.",
    )
