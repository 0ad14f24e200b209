"""Lines that belong together: the same time, the same sense, and the slice that holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from aggrkit.pipeline.prepared import UNKNOWN
from aggrkit.statistics.slices import slices

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["incidents_by_slice", "incidents_by_time", "slices_of"]

EVERYWHERE: Final = "all"
SCATTERED: Final = "scattered"


def slices_of(lines: pd.DataFrame, flagged: pd.Series[bool], columns: Sequence[str]) -> pd.DataFrame:
    """Say where the flagged lines are.

    Parameters
    ----------
    lines : pandas.DataFrame
        All lines that could have been flagged.
    flagged : pandas.Series of bool
        Which are, with the index of `lines`.
    columns : sequence of str
        By which columns it may be said.

    Returns
    -------
    pandas.DataFrame
        ``slice, flagged, members``, the most telling slice first, and ``lines``: the index of the flagged lines in it.
        Those in none are "scattered", or where there is only one, it is named.
    """
    telling = [name for name in columns if lines[name].nunique(dropna=False) > 1]
    factors = {name: pd.factorize(lines[name], use_na_sentinel=False) for name in telling}
    codes = np.column_stack([factors[name][0] for name in telling]) if telling else np.zeros((len(lines), 1), int)
    left = flagged.to_numpy(dtype=bool).copy()
    rows = []
    for found in slices(codes, left) if len(lines) else []:
        inside = left.copy()
        for column, code in found.values:
            inside &= codes[:, column] == code
        names = [f"{telling[c]} {_shown(factors[telling[c]][1][code])}" for c, code in found.values]
        rows.append((", ".join(names) or EVERYWHERE, found.flagged, found.members, lines.index[inside]))
        left &= ~inside
    if left.sum() == 1 and telling:
        line = lines.loc[lines.index[left][0], telling]
        rows.append((", ".join(f"{name} {_shown(line[name])}" for name in telling), 1, 1, lines.index[left]))
    elif left.any():
        rows.append((SCATTERED if telling else EVERYWHERE, int(left.sum()), len(lines), lines.index[left]))
    return pd.DataFrame(rows, columns=["slice", "flagged", "members", "lines"])


def incidents_by_slice(lines: pd.DataFrame, columns: Sequence[str], verdicts: Sequence[str]) -> pd.DataFrame:
    """Gather the lines of each verdict by the slices that hold them.

    Parameters
    ----------
    lines : pandas.DataFrame
        A comparison, with ``verdict`` and ``change_pct``.
    columns : sequence of str
        By which columns slices may be told: those of the level, and ``metric``.
    verdicts : sequence of str
        Which verdicts are gathered, in order.

    Returns
    -------
    pandas.DataFrame
        ``verdict, slice, lines, of, change_pct, smallest_pct, largest_pct``: the median change of the lines, and the
        least and the most extreme.
    """
    rows = []
    for verdict in verdicts:
        for _, found in slices_of(lines, lines["verdict"].eq(verdict), columns).iterrows():
            change = lines.loc[found["lines"], "change_pct"]
            order = change.abs().sort_values().index
            ends = (change[order[0]], change[order[-1]])
            rows.append((verdict, found["slice"], found["flagged"], found["members"], change.median(), *ends))
    names = ["verdict", "slice", "lines", "of", "change_pct", "smallest_pct", "largest_pct"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.astype({"verdict": "str", "slice": "str", "lines": "int64", "of": "int64"})


def incidents_by_time(
    changes: pd.DataFrame, since: pd.Series[pd.Timestamp], tested: pd.DataFrame, columns: Sequence[str]
) -> pd.DataFrame:
    """Gather changes that may be one: at a time that suits all of them, in the same sense.

    Parameters
    ----------
    changes : pandas.DataFrame
        With ``at, at_lower, at_upper, change_pct, verdict, direction, coincides_with``.
    since : pandas.Series
        Last time before each change could have been seen.
    tested : pandas.DataFrame
        The series that were looked at, with `columns`, ``start`` and ``end``.
    columns : sequence of str
        By which columns slices may be told: those of the level, and ``metric``.

    Returns
    -------
    pandas.DataFrame
        ``at, since, until, verdict, slice, series, of, change_pct, coincides_with``, in the order of time: `series` of
        the `of` series that went over this time changed, by the median of `change_pct`, between `since` and `until`.
    """
    sense = np.where(
        changes["verdict"].eq("changed"), "changed " + changes["direction"].astype(str), changes["verdict"]
    )
    rows = []
    for said in pd.unique(pd.Series(sense)):
        mine = changes[sense == said].sort_values("at_upper", kind="stable")
        while len(mine):
            until = mine["at_upper"].iloc[0]
            # The first of them belongs to itself, also where units of the same time stand on both sides of the change.
            together = mine[since[mine.index].lt(until) | (mine.index == mine.index[0])]
            rows.append(_incident(said, together, since[together.index].max(), until, tested, columns))
            mine = mine.drop(together.index)
    names = ["at", "since", "until", "verdict", "slice", "series", "of", "change_pct", "coincides_with"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.sort_values(["at", "verdict"], kind="stable").reset_index(drop=True)


def _incident(
    said: str,
    together: pd.DataFrame,
    since: pd.Timestamp,
    until: pd.Timestamp,
    tested: pd.DataFrame,
    columns: Sequence[str],
) -> tuple[object, ...]:
    over = tested[(tested["start"] <= since) & (tested["end"] >= until)]
    keys = pd.MultiIndex.from_frame(together[list(columns)].astype(object))
    flagged = pd.MultiIndex.from_frame(over[list(columns)].astype(object)).isin(keys)
    where = slices_of(over, pd.Series(flagged, index=over.index), columns)
    beside = [text for text in together["coincides_with"].unique() if text]
    return (
        together["at"].min(),
        since,
        until,
        said,
        " | ".join(where["slice"]),
        len(together),
        max(len(over), len(together)),
        together["change_pct"].median(),
        " | ".join(beside),
    )


def _shown(value: object) -> str:
    return UNKNOWN if pd.isna(value) else str(value)  # type: ignore[call-overload]
