"""Why a gate is closed, and what else to know before it is believed, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.findings.gate.judging import of_outcome
from aggrkit.findings.gate.wording import clean, runs
from aggrkit.findings.words import counted, listing, short_number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrkit.findings.gate.judging import Judged
    from aggrkit.findings.gate.rules import Rules

__all__ = ["missing_words", "moved_words", "notes_of", "undecided_words"]

_LET_PASS: Final = {
    "permitted": "would close a stricter gate, and may be",
    "expected": "on the allow list",
    "tolerated": "of metrics that are tolerated",
    "small": "below the smallest effect that matters here",
}


def moved_words(lines: pd.DataFrame, rules: Rules) -> str:
    """Say how many lines moved, and how many may; empty where it isn't too many."""
    moved = of_outcome(lines, "fails")
    moved = moved[moved["verdict"].ne("undecided")]
    if not len(moved):
        return ""
    kinds = [(verdict, int(moved["verdict"].eq(verdict).sum())) for verdict in rules.failing]
    told = " and ".join(f"{count:,} {verdict}" for verdict, count in kinds if count)
    most = rules.max_regressions
    return f"{told} of {counted(len(lines), 'line')}, and {f'at most {most:,}' if most else 'none'} may."


def undecided_words(lines: pd.DataFrame) -> str:
    """Say how many lines failed because they are undecided, and what would settle them."""
    open_ = of_outcome(lines, "fails")
    open_ = open_[open_["verdict"].eq("undecided")]
    if not len(open_):
        return ""
    return f"{counted(len(open_), 'line')} undecided, and each must be decided: {settled_by(open_)}."


def missing_words(lines: pd.DataFrame, meta: Mapping[str, Any]) -> str:
    """Say how many lines the current side lost."""
    gone = of_outcome(lines, "missing")
    if not len(gone):
        return ""
    sides = [clean(meta[side]) for side in ("current", "baseline")]
    one = len(gone) == 1
    return (
        f"{counted(len(gone), 'line')} of {sides[1]} {'has' if one else 'have'} no data in {sides[0]}: "
        f"{'its test' if one else 'their tests'} didn't run, failed, or {'was' if one else 'were'} renamed."
    )


def settled_by(undecided: pd.DataFrame) -> str:
    """Say how many runs a side would settle undecided lines."""
    needed = undecided["runs_needed"].dropna().astype("int64").sort_values()
    hopeless = len(undecided) - len(needed)
    parts = []
    if len(needed) == 1:
        parts.append(f"about {runs(int(needed.iloc[0]))} runs a side would settle it")
    elif len(needed):
        half, every = int(needed.iloc[(len(needed) - 1) // 2]), int(needed.iloc[-1])
        both = f"half of them, {runs(every)} all" if half != every else "them"
        parts.append(f"about {runs(half)} runs a side would settle {both}")
    if hopeless:
        parts.append(f"{hopeless:,} can't be settled by more of the same runs")
    return "; ".join(parts)


def notes_of(judged: Judged, details: pd.DataFrame, meta: Mapping[str, Any], rules: Rules) -> list[str]:
    """Say what else to know: what was let pass, what was not looked at, and how blind the comparison is.

    Parameters
    ----------
    judged : Judged
        The judged lines.
    details : pandas.DataFrame
        The details of the comparison, line by line.
    meta : mapping
        That of the comparison.
    rules : Rules
        The rules of the gate.
    """
    lines = judged.lines
    notes = [*_not_decided(lines, details, rules), *_let_pass(lines)]
    if rules.missing == "warn" and (said := missing_words(lines, meta)):
        notes.append(said)
    if new := len(of_outcome(lines, "new")):
        notes.append(f"{counted(new, 'line')} new: {clean(meta['baseline'])} has no data for {_them(new)}.")
    notes += _unlike(lines, details, meta)
    notes += _stale(judged, rules)
    if meta["design"] == "observations":
        notes.append("There are no run ids: if several observations come from one run, alarms are too frequent.")
    return notes


def _not_decided(lines: pd.DataFrame, details: pd.DataFrame, rules: Rules) -> list[str]:
    notes = []
    open_ = of_outcome(lines, "open", "fails")
    undecided = open_[open_["verdict"].eq("undecided")]
    decided = lines["verdict"].isin(["regressed", "changed", "improved", "equivalent"])
    if len(undecided):
        if not decided.any():
            notes.append("No line is decided: that there is no sure regression says little.")
        told = f"{counted(len(undecided), 'line')} undecided"
        if rules.fail_on in ("regressed", "changed"):
            notes.append(f"{told}: {settled_by(undecided)}.")
        blind = details["detectable_pct"].to_numpy()[undecided.index]
        found = pd.Series(blind).dropna()
        if len(found):
            units = lines.loc[undecided.index, "unit"].eq("proportion")
            unit = "points" if units.all() else "%" if not units.any() else "% or points"
            which = "In half of them a" if len(undecided) > 1 else "In it a"
            notes.append(f"{which} change below {short_number(found.median())} {unit} would go unseen with these runs.")
    changed = open_[open_["verdict"].eq("changed")]
    if len(changed) and rules.fail_on == "regressed":
        names = listing([clean(name) for name in dict.fromkeys(changed["metric"])])
        notes.append(
            f"{counted(len(changed), 'line')} changed, and it isn't known which direction of {names} is better; "
            "say it, e.g. metrics={'score': 'lower'}."
        )
    return notes


def _let_pass(lines: pd.DataFrame) -> list[str]:
    counts = lines["outcome"].value_counts()
    return [f"{counted(counts[name], 'line')} {why}." for name, why in _LET_PASS.items() if counts.get(name)]


def _unlike(lines: pd.DataFrame, details: pd.DataFrame, meta: Mapping[str, Any]) -> list[str]:
    notes = []
    unlike = int(lines["note"].str.contains("not like with like", regex=False).sum())
    if unlike:
        notes.append(f"{counted(unlike, 'line')} not like with like, so without a verdict: conditions changed.")
    left = details["left_out_pct"].to_numpy()
    some = pd.Series(left)[(pd.Series(left) >= 1).to_numpy() & lines["verdict"].ne("no_data").to_numpy()]
    if len(some):
        conditions = [name for name in meta["matched_on"] if name not in lines.columns]
        hint = f" (matched on {listing([clean(name) for name in conditions])})" if conditions else ""
        notes.append(
            f"{counted(len(some), 'line')} left out observations of which the other side has none of their kind{hint}, "
            f"up to {some.max():.0f} %: tests that didn't run may hide there; group by more columns to see them."
        )
    return notes


def _stale(judged: Judged, rules: Rules) -> list[str]:
    notes = []
    for place, entry in enumerate(rules.allow):
        if place not in judged.met:
            notes.append(f"The allow list names {clean(entry)}, and there is no such line.")
        elif place not in judged.used:
            notes.append(f"What the allow list expects of {clean(entry)} did not happen; the entry can go.")
    return notes


def _them(number: int) -> str:
    return "it" if number == 1 else "them"
