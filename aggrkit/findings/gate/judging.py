"""What becomes of each line of a comparison at a gate, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.findings.gate.wording import runs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggrkit.findings.gate.rules import Expected, Rules

__all__ = ["OUTCOMES", "Judged", "judged"]

OUTCOMES: Final = (
    *("fails", "missing", "permitted", "expected", "tolerated", "small", "open", "new", "empty", "passes"),
)
"""fails: it counts against the gate; missing: the current side has no data; permitted: it would fail, and so many may;
expected: it is on the allow list; tolerated: its metric is; small: below the smallest effect; open: undecided, or
changed where no direction is better; new: the baseline has no data; empty: neither has; passes: improved or equivalent.
"""

_OPEN: Final = ("undecided", "changed")


@dataclass(frozen=True)
class Judged:
    """The lines of a comparison, judged.

    Parameters
    ----------
    lines : pandas.DataFrame
        As they were, numbered from 0, with ``outcome`` and ``why``.
    used : frozenset of int
        Places of the entries of the allow list that let a line pass.
    met : frozenset of int
        Places of the entries that name any line at all.
    """

    lines: pd.DataFrame
    used: frozenset[int]
    met: frozenset[int]


def judged(lines: pd.DataFrame, rules: Rules) -> Judged:
    """Judge each line of a comparison by the rules of a gate.

    Parameters
    ----------
    lines : pandas.DataFrame
        A plain copy of the comparison.
    rules : Rules
        The rules; names are known to be right.
    """
    lines = lines.reset_index(drop=True)
    columns = [str(column) for column in lines.columns]
    records = [dict(zip(columns, values, strict=True)) for values in lines.itertuples(index=False, name=None)]
    used: set[int] = set()
    met: set[int] = set()
    told = [_outcome(record, rules, used, met) for record in records]
    lines["outcome"] = pd.array([outcome for outcome, _ in told], dtype="str")
    lines["why"] = pd.array([why for _, why in told], dtype="str")
    counts = lines["outcome"].eq("fails") & lines["verdict"].ne("undecided")
    if rules.max_regressions is None or counts.sum() <= rules.max_regressions:
        lines.loc[counts, "outcome"] = "permitted"
        most = "any number" if rules.max_regressions is None else f"{rules.max_regressions:,}"
        lines.loc[counts, "why"] = f"{most} may"
    return Judged(lines, frozenset(used), frozenset(met))


def _outcome(line: Mapping[str, Any], rules: Rules, used: set[int], met: set[int]) -> tuple[str, str]:
    verdict = str(line["verdict"])
    fitting = [(place, entry) for place, entry in enumerate(rules.allow) if entry.fits(line)]
    met.update(place for place, _ in fitting)
    if verdict == "no_data" and not line["n_baseline"]:
        return ("new", "") if line["n_current"] else ("empty", "no data on either side")
    gone = verdict == "no_data"
    if not gone and verdict not in rules.failing:
        return ("open", _why_open(line)) if verdict in _OPEN else ("passes", "")
    for place, entry in fitting:
        if _covers(entry, line):
            used.add(place)
            return "expected", entry.reason or "on the allow list"
    if str(line["metric"]) in rules.tolerate:
        return "tolerated", "changes of this metric are tolerated"
    if gone:
        return "missing", ""  # the note of the line says it
    least = rules.least(str(line["metric"]))
    if verdict != "undecided" and abs(line["change_pct"]) < least:
        return "small", f"below {least:g}"
    beyond = [entry for _, entry in fitting if entry.up_to is not None]
    return "fails", f"more than was expected: {beyond[0]}" if beyond else _why_open(line)


def _covers(entry: Expected, line: Mapping[str, Any]) -> bool:
    """Say whether an entry lets a line pass; one with a limit covers changes within it, and nothing else."""
    if entry.up_to is None:
        return True
    moved = str(line["verdict"]) not in ("undecided", "no_data")
    return moved and abs(line["change_pct"]) <= 100 * entry.up_to


def _why_open(line: Mapping[str, Any]) -> str:
    if line["verdict"] == "changed":
        return "it isn't known which direction is better"
    if line["verdict"] != "undecided":
        return ""
    if pd.isna(line["runs_needed"]):
        return "not decided, however many runs"
    return f"about {runs(int(line['runs_needed']))} runs a side would settle it"


def of_outcome(lines: pd.DataFrame, *outcomes: str) -> pd.DataFrame:
    """Return the lines with one of these outcomes."""
    return lines[lines["outcome"].isin(outcomes)]


def records_of(lines: pd.DataFrame) -> Sequence[dict[str, Any]]:
    """Return lines as dictionaries."""
    return [{str(key): value for key, value in record.items()} for record in lines.to_dict("records")]
