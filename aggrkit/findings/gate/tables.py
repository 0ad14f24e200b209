"""The tables of a gate: which lines are shown to a reader, with which columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.findings.gate.judging import of_outcome, records_of
from aggrkit.findings.gate.wording import change, clean, span
from aggrkit.findings.words import counted, short_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aggrkit.findings.gate.gate import Gate

__all__ = ["Table", "tables_of"]

_ROWS: Final = 25
_NAME: Final = 60
_NOTE: Final = 240


@dataclass(frozen=True)
class Table:
    """A table for a reader.

    Parameters
    ----------
    title : str
        What it shows.
    columns : sequence of str
        The heads, as text.
    rows : sequence of sequences of str
        The cells, as text.
    names : int
        How many of the first columns hold names.
    more : int
        How many lines aren't shown.
    folded : bool
        Whether it is shown only when asked for.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int
    more: int
    folded: bool


def tables_of(gate: Gate) -> list[Table]:
    """Return the tables that have lines: what closes the gate first, then what was let pass, then all else."""
    lines = gate._lines
    if not len(lines):
        return []
    fails = of_outcome(lines, "fails")
    let_pass = of_outcome(lines, "permitted", "expected", "tolerated", "small")
    parts: list[tuple[str, pd.DataFrame, bool]] = [
        ("closing the gate", fails, False),
        ("without data", of_outcome(lines, "missing"), gate.rules.missing == "warn"),
        ("let pass", let_pass, True),
        ("open", of_outcome(lines, "open"), True),
        ("improved", lines[lines["verdict"].eq("improved") & lines["outcome"].eq("passes")], True),
    ]
    return [
        _table(gate, f"{counted(len(part), 'line')} {title}", part, folded)
        for title, part, folded in parts
        if len(part)
    ]


def _table(gate: Gate, title: str, lines: pd.DataFrame, folded: bool) -> Table:
    order = lines["change_pct"].abs().sort_values(ascending=False, kind="stable").index
    ranks = lines["verdict"].cat.codes.loc[order].sort_values(kind="stable").index
    shown = records_of(lines.loc[ranks[:_ROWS]])
    statistic = ["statistic"] if "statistic" in lines else []
    named = [*gate.groups, "metric", *statistic]
    sides = [clean(gate.meta[side], _NAME) for side in ("baseline", "current")]
    level = f"{100 * (1 - gate.meta['alpha']):g} % interval"
    columns = [*(clean(name, _NAME) for name in named), *sides, "change", level, "verdict", "remark"]
    return Table(title, columns, [_row(line, named) for line in shown], len(named), len(lines) - len(shown), folded)


def _row(line: dict[str, Any], named: Sequence[str]) -> list[str]:
    names = ["unknown" if pd.isna(line[name]) else clean(line[name], _NAME) for name in named]
    values = [_value(line[side], str(line["unit"])) for side in ("baseline", "current")]
    remark = "; ".join(clean(part, _NOTE) for part in (line["why"], line["note"]) if part)
    return [*names, *values, change(line), span(line), str(line["verdict"]).replace("_", " "), remark]


def _value(value: Any, unit: str) -> str:
    if pd.isna(value):
        return ""
    if unit == "proportion":
        return f"{100 * value:.4g} %"
    return f"{short_number(value)} {clean(unit)}".rstrip() if unit != "score" else short_number(value)
