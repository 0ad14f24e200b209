"""How often a comparison raises false alarms, against how often it says that it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from aggrkit.charts.forest import Forest
from aggrkit.charts.parts import finished, labels, nothing, number, numbers, require

if TYPE_CHECKING:
    import altair as alt

__all__ = ["calibration_chart"]


def calibration_chart(calibration: pd.DataFrame) -> alt.LayerChart:
    """Return the rates of false alarms with their intervals, and the rate that was stated.

    Parameters
    ----------
    calibration : pandas.DataFrame
        The frame "calibration" (see `aggrkit.model.answer.COLUMNS`).

    Returns
    -------
    altair.LayerChart
        A line for each kind of alarm, with a rule at the stated rate.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import calibration_chart
    >>> line = {"what": "tables with any verdict", "alarms": 2, "trials": 40, "rate": 0.05, "stated": 0.05}
    >>> calibration_chart(pd.DataFrame([line | {"ci_lower": 0.01, "ci_upper": 0.16}])).description
    'False alarms, 5 % stated: tables with any verdict 5 % (1 to 16), as stated.'
    """
    title = "False alarms where nothing changed"
    require(calibration, ["what", "alarms", "trials", "rate", "ci_lower", "ci_upper", "stated"])
    lines = pd.DataFrame(calibration).reset_index(drop=True)
    x, low, high, stated = (100 * numbers(lines, name) for name in ("rate", "ci_lower", "ci_upper", "stated"))
    known = x.notna() & stated.notna()
    if not known.any():
        return nothing(title, "nothing could be exchanged.")
    shown, x, low, high, stated = lines[known], x[known], low[known], high[known], stated[known]
    verdicts = pd.Series("as stated", index=shown.index)
    verdicts = verdicts.mask(low > stated, "more than stated").mask(high < stated, "less than stated")
    said = [f"{r:.3g} % ({a:.3g} to {b:.3g})" for r, a, b in zip(x, low, high, strict=True)]
    plot = Forest(
        names=labels(shown, ["what"]),
        x=x,
        low=low,
        high=high,
        verdicts=list(verdicts),
        said=said,
        tips={"alarms": list(shown["alarms"]), "trials": list(shown["trials"]), "stated (%)": list(stated)},
        title="rate of alarms (%), with interval",
        domain=(0.0, 1.06 * max(float(high.max()), float(x.max()), 1.5 * float(stated.max()))),
        rule=float(stated.iloc[0]),
    )
    told = zip(plot.names, said, verdicts, strict=True)
    return finished(
        plot.layers(),
        values=plot.values(),
        title=title,
        subtitle=[f"rule: {number(stated.iloc[0])} %, the rate that is stated"],
        description=f"False alarms, {number(stated.iloc[0])} % stated: "
        + "; ".join(f"{what} {numbers_of}, {verdict}" for what, numbers_of, verdict in told)
        + ".",
    )
