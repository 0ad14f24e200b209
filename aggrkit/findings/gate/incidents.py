"""What stands in the way, one line each: lines that belong together are one incident."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from aggrkit.findings.gate.judging import records_of
from aggrkit.findings.gate.wording import clean, group, line_words, runs, subject, unit_of
from aggrkit.findings.words import signed

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Incident", "incidents_of"]


@dataclass(frozen=True, slots=True)
class Incident:
    """Lines that closed the gate, and what they have in common; ``str(incident)`` says it on one line.

    Parameters
    ----------
    verdict : str
        "regressed", "changed", "improved", "undecided" or "missing".
    where : str
        The slice that holds them, such as "hardware a100, metric latency_ms"; for a single line what it is of.
    lines, of : int
        How many of how many lines of the slice.
    change_pct, smallest_pct, largest_pct : float or None
        Their median change, the least and the most extreme, in percent, or points for rates.
    words : str
        All of it.
    """

    verdict: str
    where: str
    lines: int
    of: int
    change_pct: float | None
    smallest_pct: float | None
    largest_pct: float | None
    words: str

    def __str__(self) -> str:
        return self.words


def incidents_of(lines: pd.DataFrame, groups: Sequence[str], blocking: Sequence[str]) -> tuple[Incident, ...]:
    """Gather the lines that closed a gate, the worst verdict first, and the largest changes first.

    Parameters
    ----------
    lines : pandas.DataFrame
        Judged lines.
    groups : sequence of str
        The columns that they are grouped by.
    blocking : sequence of str
        The outcomes that close the gate.
    """
    lines = lines[lines["outcome"].isin([*blocking]) | ~lines["outcome"].isin(["new", "empty", "missing"])]
    columns = [*groups, "metric", *(["statistic"] if "statistic" in lines else [])]
    kinds = lines["verdict"].astype(str).mask(lines["outcome"].eq("missing"), "missing")
    kinds = kinds.where(lines["outcome"].isin(blocking), "")
    found: list[Incident] = []
    for verdict in ("regressed", "changed", "improved", "missing", "undecided"):
        flagged = kinds.eq(verdict)
        if flagged.any():
            among = lines if verdict == "missing" else lines[lines["verdict"].ne("no_data")]
            found += _of_verdict(among, flagged[among.index], columns, groups, verdict)
    return tuple(found)


def _of_verdict(
    lines: pd.DataFrame, flagged: pd.Series[bool], columns: Sequence[str], groups: Sequence[str], verdict: str
) -> list[Incident]:
    from aggrkit.pipeline.incidents import SCATTERED, slices_of

    together: list[Incident] = []
    alone: list[Incident] = []
    for _, found in slices_of(lines, flagged, columns).iterrows():
        mine = lines.loc[found["lines"]]
        if verdict == "missing" and found["slice"] == SCATTERED and groups:
            alone += _by_group(mine, lines, groups)
        elif found["slice"] == SCATTERED or len(mine) == 1:
            alone += [_single(line, groups, verdict) for line in records_of(mine)]
        else:
            together.append(_slice(mine, str(found["slice"]), int(found["members"]), verdict))
    return together + sorted(alone, key=lambda one: -abs(one.change_pct or 0.0))


def _by_group(mine: pd.DataFrame, lines: pd.DataFrame, groups: Sequence[str]) -> list[Incident]:
    """Gather missing lines by what they are of: a test that didn't run lacks all of its metrics."""
    sizes = lines.groupby([*groups], dropna=False, observed=True, sort=False)["metric"].transform("size")
    found = []
    for _, part in mine.groupby([*groups], dropna=False, observed=True, sort=False):
        first = records_of(part.head(1))[0]
        if len(part) == 1:
            found.append(_single(first, groups, "missing"))
            continue
        where, members = group(first, groups), int(sizes[part.index[0]])
        share = f"all {members:,}" if len(part) == members else f"{len(part):,} of the {members:,}"
        words = f"missing: {share} lines of {where}"
        found.append(Incident("missing", where, len(part), members, None, None, None, words))
    return found


def _single(line: dict[str, Any], groups: Sequence[str], verdict: str) -> Incident:
    size = None if pd.isna(line["change_pct"]) else float(line["change_pct"])
    told = subject(line, groups) if verdict == "missing" else line_words(line, groups)
    more = f"; {line['why']}" if verdict == "undecided" and line["why"] else ""
    return Incident(verdict, subject(line, groups), 1, 1, size, size, size, f"{verdict}: {told}{more}")


def _slice(mine: pd.DataFrame, where: str, members: int, verdict: str) -> Incident:
    from aggrkit.pipeline.incidents import EVERYWHERE

    place = "the table" if where == EVERYWHERE else clean(where)
    share = f"all {members:,}" if len(mine) == members else f"{len(mine):,} of the {members:,}"
    words = f"{verdict}: {share} lines of {place}"
    changes = mine["change_pct"].dropna()
    if verdict == "undecided":
        needed = mine["runs_needed"].dropna()
        words += (
            f"; at most {runs(int(needed.max()))} runs a side would settle {len(needed):,} of them"
            if len(needed)
            else ""
        )
    if verdict in ("missing", "undecided") or not len(changes):
        return Incident(verdict, clean(where), len(mine), members, None, None, None, words)
    order = changes.abs().sort_values().index
    least, most = float(changes[order[0]]), float(changes[order[-1]])
    units = sorted({unit_of(line) for line in records_of(mine)})
    median = float(changes.median())
    words += f", by {signed(median)} {' or '.join(units)} in the median ({signed(least)} to {signed(most)})"
    return Incident(verdict, clean(where), len(mine), members, median, least, most, words)
