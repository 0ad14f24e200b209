"""How often each value of a describing column occurs, group by group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from aggrkit.charts.parts import (
    MOST_LINES,
    count,
    finished,
    fixed_part,
    group_numbers,
    labels,
    left_out,
    nothing,
    numbers,
    require,
)
from aggrkit.charts.stacks import MOST_PARTS, MOST_SEGMENTS, Stacks
from aggrkit.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import altair as alt

__all__ = ["shares_chart"]


def shares_chart(
    distributions: pd.DataFrame, groups: Sequence[str] = (), *, column: str | None = None
) -> alt.LayerChart:
    """Return the shares of the values of one describing column, a bar of 100 % for each group.

    Parameters
    ----------
    distributions : pandas.DataFrame
        The frame "distributions" (see `aggrkit.model.answer.COLUMNS`).
    groups : sequence of str, optional
        Names of the group columns.
    column : str or None, optional
        Which describing column; by default the first one of which some group has several values.

    Returns
    -------
    altair.LayerChart
        The most frequent values, all others put together, for the groups with most values; at most 140 parts of bars.

    Raises
    ------
    UnknownNameError
        If the frame has lines, but none of this column.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts import shares_chart
    >>> lines = {"model": "bert", "column": "precision", "value": ["fp16", "fp32"], "count": [3, 1]}
    >>> shares_chart(pd.DataFrame(lines), ["model"]).description
    'precision of 1 line: 2 values in all; most frequent is fp16, 75 % of 4.'
    """
    require(distributions, [*groups, "column", "value", "count"])
    lines = pd.DataFrame(distributions).reset_index(drop=True)
    chosen = _chosen(lines, groups, column)
    title = f"Shares of {chosen}" if chosen else "Shares of values"
    lines = lines[lines["column"].eq(chosen)]
    counts = numbers(lines, "count").fillna(0)
    series = group_numbers(lines, groups)
    totals = counts.groupby(series, sort=False).sum().sort_values(ascending=False, kind="stable")
    totals = totals[totals > 0]
    if not len(totals):
        return nothing(title, "no value was counted.")
    values = lines["value"].map(str)
    frequent = counts.groupby(values, sort=False).sum().sort_values(ascending=False, kind="stable")
    whole = len(frequent) <= MOST_PARTS
    parts = list(frequent.index[: MOST_PARTS if whole else MOST_PARTS - 1])
    rest = "" if whole else f"{len(frequent) - len(parts):,} others"
    most = min(MOST_LINES, MOST_SEGMENTS // (len(parts) + (not whole)))
    kept = list(totals.index[:most])
    first = lines[~series.duplicated()].iloc[kept]
    table = counts.groupby([series, values.where(values.isin(parts), rest)]).sum().unstack(fill_value=0)
    told = counts.gt(0).groupby(series).sum()
    plot = Stacks(
        names=labels(first, groups),
        said=[f"n = {int(totals[key]):,}, {count(int(told[key]), 'value')}" for key in kept],
        parts=[*parts, *([rest] if rest else [])],
        shares=(100 * table.div(totals, axis=0)).loc[kept],
        rest=rest,
        title=f"{chosen} (% of the values of each line)",
    )
    return finished(
        plot.layers(),
        title=title,
        subtitle=[fixed_part(first, groups), left_out(len(totals) - len(kept), "those with the fewest values")],
        description=f"{chosen} of {count(len(totals), 'line')}: {count(len(frequent), 'value')} in all; most frequent "
        f"is {frequent.index[0]}, {100 * frequent.iloc[0] / frequent.sum():.3g} % of {int(frequent.sum()):,}.",
    )


def _chosen(lines: pd.DataFrame, groups: Sequence[str], column: str | None) -> str:
    """Return the column to draw; nothing where there are no lines."""
    known = list(dict.fromkeys(lines["column"].map(str)))
    if not known:
        return ""
    if column is not None:
        if column not in known:
            raise UnknownNameError.of("column", column, known)
        return column
    several = lines.loc[lines.duplicated([*groups, "column"]), "column"].map(str)
    return next((name for name in known if several.eq(name).any()), known[0])
