"""Pass rates with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import numpy as np

from aggrkit.charts.forest import Forest
from aggrkit.charts.parts import (
    MOST_LINES,
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
)
from aggrkit.charts.theme import PALETTE, WITHIN
from aggrkit.statistics.proportions import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

__all__ = ["outcomes_chart", "rates_chart", "rates_of"]

_SHARE, _LOW, _HIGH = "__share", "__low", "__high"  # no group has these names


def rates_chart(proportions: pd.DataFrame, groups: Sequence[str], metric: str) -> alt.LayerChart:
    """Return pass rates with their intervals, those that are surely bad first.

    Parameters
    ----------
    proportions : pandas.DataFrame
        The frame "proportions" (see `aggrkit.model.answer.COLUMNS`).
    groups : sequence of str
        Names of the group columns.
    metric : str
        Which pass/fail metric.

    Returns
    -------
    altair.LayerChart
        At most 40 lines.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import rates_chart
    >>> line = {"model": "bert", "metric": "passed", "n": 10, "successes": 9, "failures": 1, "rate": 0.9}
    >>> rates_chart(pd.DataFrame([line | {"ci_lower": 0.6, "ci_upper": 0.98}]), ["model"], "passed").description
    'passed: 1 of 1 line has failures; surely worst is bert, 90 % of 10 (60 to 98 %).'
    """
    title = f"Rates of {metric}"
    require(proportions, [*groups, "metric", "n", "successes", "failures", "rate", "ci_lower", "ci_upper"])
    lines = of_metric(proportions, metric).reset_index(drop=True)
    for name, source in ((_SHARE, "rate"), (_LOW, "ci_lower"), (_HIGH, "ci_upper")):
        lines[name] = 100 * numbers(lines, source)
    told = lines[lines[_SHARE].notna()].sort_values([_HIGH, _SHARE], kind="stable")
    if not len(told):
        return nothing(title, "no observation passed or failed.")
    shown = told.head(MOST_LINES)
    names = labels(shown, groups)
    failing = shown["failures"] > 0
    lowest = float(np.nanmin(np.fmin(shown[_LOW], shown[_SHARE])))
    start = 0.0 if lowest < 40 else 10 * np.floor(lowest / 10)
    plot = Forest(
        names=names,
        x=shown[_SHARE],
        low=shown[_LOW],
        high=shown[_HIGH],
        verdicts=["some failed" if some else "none failed" for some in failing],
        said=[_said(line) for _, line in shown.iterrows()],
        tips={"passed": list(shown["successes"]), "failed": list(shown["failures"])},
        title=f"{metric} (% of results, with interval)",
        domain=(float(start), 100.0),
        rule=None,
    )
    some = int((told["failures"] > 0).sum())
    return finished(
        plot.layers(),
        values=plot.values(),
        title=title,
        subtitle=[fixed_part(shown, groups), left_out(len(told) - len(shown), "the best ones")],
        description=f"{metric}: {some:,} of {count(len(told), 'line')} {'has' if some == 1 else 'have'} failures; "
        f"surely worst is {names[0]}, {_said(told.iloc[0])}.",
    )


def outcomes_chart(passed: int, failed: int, metric: str) -> alt.LayerChart:
    """Return how many results of a pass/fail metric passed and failed, as two bars.

    Parameters
    ----------
    passed, failed : int
        Numbers of results.
    metric : str
        Which metric.

    Examples
    --------
    >>> from aggrkit.charts.rates import outcomes_chart
    >>> outcomes_chart(9, 1, "success").description
    'success: 10 results, of which 9 passed (90 %) and 1 failed (10 %).'
    """
    title, total = f"Outcomes of {metric}", passed + failed
    if not total:
        return nothing(title, "no observation passed or failed.")
    counts = {"passed": passed, "failed": failed}
    shares = {name: f"{_percent(100 * many / total)} %" for name, many in counts.items()}
    told = [f"{many:,} ({shares[name]})" for name, many in counts.items()]
    values = data({"label": counts, "count": counts.values(), "said": told})
    y = alt.Y("label:N", scale=alt.Scale(domain=list(counts)), axis=alt.Axis(title=None, ticks=False, domain=False))
    scale = alt.Scale(domain=[0, 1.3 * max(counts.values())], nice=False)  # with room for the numbers
    x = alt.X("count:Q", scale=scale, axis=alt.Axis(title="results (count)", tickMinStep=1, tickCount=6))
    colours = alt.Scale(domain=list(counts), range=[PALETTE["blue"], PALETTE["vermillion"]])
    base = alt.Chart(values).encode(y=y, x=x, tooltip=[alt.Tooltip("label:N"), alt.Tooltip("said:N", title="results")])
    bars = base.mark_bar(height={"band": 0.7}).encode(color=alt.Color("label:N", scale=colours, legend=None))
    text = base.mark_text(style=WITHIN, align="left", baseline="middle", dx=5, fontSize=11).encode(
        text=alt.Text("said:N")
    )
    parts = " and ".join(f"{many:,} {name} ({shares[name]})" for name, many in counts.items())
    description = f"{metric}: {count(total, 'result')}, of which {parts}."
    return finished([bars, text], title=title, subtitle=[], description=description, height=alt.Step(36))


def rates_of(stats: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of a pass/fail metric with what `rates_chart` needs: counts, rate and Wilson's 95 % interval.

    Parameters
    ----------
    stats : pandas.DataFrame
        The frame "stats", of pass/fail metrics only.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts.rates import rates_of
    >>> found = rates_of(pd.DataFrame({"metric": ["passed"], "n": [10], "mean": [0.9]}))
    >>> found[["successes", "failures", "ci_lower"]].round(3).values.tolist()
    [[9.0, 1.0, 0.596]]
    """
    n = stats["n"].to_numpy(dtype=np.int64)
    successes = np.rint(np.nan_to_num(stats["mean"].to_numpy(dtype=float)) * n).astype(np.int64)
    lower, upper = wilson_interval(successes, n, 0.95)
    return stats.assign(successes=successes, failures=n - successes, rate=stats["mean"], ci_lower=lower, ci_upper=upper)


def _said(line: pd.Series[float]) -> str:
    share, low, high = (_percent(line[name]) for name in (_SHARE, _LOW, _HIGH))
    return f"{share} % of {int(line['n']):,} ({low} to {high} %)"


def _percent(value: float) -> str:
    """Return percent in three digits, but never 100 for what is less."""
    return f"{value:.3g}" if value < 99 else f"{np.floor(100 * value) / 100:.4g}"
