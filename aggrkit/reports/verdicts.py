"""The one sentence of each finding, and how good or bad it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.findings.words import counted, line_name, signed
from aggrkit.reports.pieces import TONES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aggrkit.findings import Finding

__all__ = ["said_of", "worst"]

_ODD: Final = ("critical", "major", "minor")


def said_of(finding: Finding) -> tuple[str, str]:
    """Return the tone of a finding, one of `TONES`, and its sentence."""
    return _SAID[finding._name](finding) if finding._name in _SAID else ("info", finding.explain().split("\n")[0])


def worst(tones: Iterable[str]) -> str:
    """Return the worst of some tones; what has no data counts only where nothing has."""
    found = set(tones)
    return next((tone for tone in TONES if tone in found), "none")


def _compare(finding: Finding) -> tuple[str, str]:
    counts = finding["verdict"].value_counts()
    n = {name: int(counts.get(name, 0)) for name in ("regressed", "changed", "improved", "undecided", "equivalent")}
    lines, decided = len(finding), sum(n.values())
    if not decided:
        return "none", "Nothing could be compared."
    others = _others(n, ("improved", "undecided", "equivalent"))
    if n["regressed"] or n["changed"]:
        moved = "regressed" if n["regressed"] else "changed"
        some = pd.DataFrame(finding[finding["verdict"] == moved])
        line = some.iloc[int(some["change_pct"].abs().fillna(-1).to_numpy(dtype="float64").argmax())]
        name = f"{line['metric']} of {line_name(finding, line)}"
        said = f"{n[moved]} of {counted(lines, 'line')} {moved}, most of all {name} ({_size(line)})"
        return ("bad" if n["regressed"] else "warn"), f"{said}{others}."
    if n["undecided"] > max(n["equivalent"] + n["improved"], 0):
        return "open", f"Nothing surely regressed, but most is not decided{others}."
    return "good", f"Nothing regressed{others}."


def _changes(finding: Finding) -> tuple[str, str]:
    if not finding.meta["series"]:
        return "none", "Too few results over time to see whether anything shifted."
    if not len(finding):
        return "good", f"Nothing shifted over time, in {counted(finding.meta['series'], 'series', 'series')}."
    sure = finding[finding["status"].eq("confirmed")]
    worse = sure[sure["verdict"].eq("regressed")]
    if len(worse):
        line = pd.DataFrame(worse).sort_values("at").iloc[-1]
        name = f"{line['metric']} of {line_name(finding, line)}"
        better = int(sure["verdict"].eq("improved").sum())
        said = f"{counted(len(worse), 'lasting change')} for the worse over time, the latest: {name}"
        return (
            "bad",
            f"{said} ({_size(line)}) on {line['at']:%Y-%m-%d}{f'; {better} for the better' if better else ''}.",
        )
    slipping = finding[finding["verdict"].eq("regressed")]
    if len(slipping):
        return "warn", f"{counted(len(slipping), 'drift or suspect', 'drifts and suspects')} for the worse over time."
    if len(sure) and not sure["verdict"].eq("improved").all():
        return "warn", f"{counted(len(sure), 'lasting change')} over time; which way is better isn't known."
    return "good", f"Nothing got worse over time; {counted(len(finding), 'change')} for the better."


def _anomalies(finding: Finding) -> tuple[str, str]:
    if not finding.meta["cells_tested"]:
        return "none", "Too few results of one kind to tell which are odd."
    odd = finding[finding["severity"].isin(_ODD)]
    tested = counted(finding.meta["cells_tested"], "cell")
    if not len(odd):
        return "good", f"No result is odd on the bad side, in {tested}."
    counts = odd["severity"].value_counts()
    parts = [f"{counts[name]} {name}" for name in _ODD if counts.get(name)]
    return "warn", f"{counted(len(odd), 'odd result')} in {tested}: {', '.join(parts)}."


def _health(finding: Finding) -> tuple[str, str]:
    for verdict, tone in (("sick", "bad"), ("suspect", "warn")):
        some = finding[finding["verdict"].eq(verdict)]
        if len(some):
            names = ", ".join(str(name) for name in some["worker"].head(3))
            more = f" and {len(some) - 3} more" if len(some) > 3 else ""
            return tone, f"{len(some)} of {counted(len(finding), 'worker')} {verdict}: {names}{more}."
    judged = int(finding["verdict"].ne("too_few").sum())
    if not judged:
        return "none", "No worker could be judged: none ran what others ran too, often enough."
    return "good", f"No worker is sick: {judged} of {counted(len(finding), 'worker')} judged."


def _proportions(finding: Finding) -> tuple[str, str]:
    told = finding[finding["n"] > 0]
    if not len(told):
        return "none", "No result passed or failed."
    total, failed = int(told["n"].sum()), int(told["failures"].sum())
    rate = f"{100 * (total - failed) / total:.1f} %"
    failing = told[told["failures"] > 0]
    if not failed:
        return "good", f"All {total:,} results pass."
    line = pd.DataFrame(failing).sort_values("ci_upper", kind="stable").iloc[0]
    place = f"surely worst {line['metric']} of {line_name(finding, line)} with {100 * line['rate']:.1f} %"
    return "warn", f"{rate} of {total:,} results pass; {counted(len(failing), 'line')} with failures, {place}."


def _trends(finding: Finding) -> tuple[str, str]:
    worse = int(finding["verdict"].eq("worsening").sum()) if len(finding) else 0
    if worse:
        return "warn", f"{counted(worse, 'line')} of {len(finding)} drift for the worse."
    if not len(finding) or finding["verdict"].eq("too_few").all():
        return "none", "Too few results over time to see a drift."
    return "good", "Nothing drifts for the worse."


def _stats(finding: Finding) -> tuple[str, str]:
    if not finding["n"].gt(0).any():
        return "none", "No result has a value."
    return "info", finding.explain().split("\n")[0]


_SAID: Final[dict[str, Callable[[Any], tuple[str, str]]]] = {
    "compare": _compare,
    "changes": _changes,
    "anomalies": _anomalies,
    "health": _health,
    "proportions": _proportions,
    "trends": _trends,
    "stats": _stats,
}


def _others(n: dict[str, int], names: Iterable[str]) -> str:
    parts = [f"{n[name]} {name}" for name in names if n[name]]
    return f"; {', '.join(parts)}" if parts else ""


def _size(line: pd.Series[Any]) -> str:
    if pd.isna(line["change_pct"]):
        return "no percentage"
    unit = "points" if line.get("unit") == "proportion" else "%"
    return f"{signed(line['change_pct'])} {unit}"
