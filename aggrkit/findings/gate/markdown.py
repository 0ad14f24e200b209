"""A gate as Markdown for a pull request: GitHub's dialect, in which no name can break out of its place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from aggrkit.findings.gate.tables import tables_of
from aggrkit.findings.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aggrkit.findings.gate.gate import Gate
    from aggrkit.findings.gate.tables import Table

__all__ = ["markdown"]

_LONGEST: Final = 60_000
"""GitHub takes comments of 65,536 characters."""
_INCIDENTS: Final = 30
_PLAIN: Final = re.compile(r"[\w .,:;()/+=%'\-\N{DEGREE SIGN}]*\Z")
_STEERING: Final = re.compile(
    r"[^\w\s.,:;%()+'\"=/#@>\-]"  # not in use by any markup
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis is not within words
    r"|(?<=:)/|(?<=\bwww)\."  # what would be a link
    r"|(?<!-)>"
    r"|[@#](?=\w)"
)
_CALLING: Final = "@#"
_NO_WIDTH: Final = "&#8203;"
"""An entity alone doesn't keep GitHub from calling @somebody; a space of no width after the mark does."""


def markdown(gate: Gate) -> str:
    """Return the summary of a gate.

    Parameters
    ----------
    gate : Gate
        The gate.
    """
    mark = "\N{WHITE HEAVY CHECK MARK}" if gate.passed else "\N{CROSS MARK}"
    parts = [f"### {mark} {escaped(gate.headline)}"]
    parts += [f"**{escaped(reason)}**" for reason in gate.reasons]
    shown = [escaped(str(incident)) for incident in gate.incidents[:_INCIDENTS]]
    more = len(gate.incidents) - len(shown)
    parts += [_listed([*shown, *([f"and {counted(more, 'more incident')}"] if more else [])])]
    tables = tables_of(gate)
    parts += [_table(table) for table in tables if not table.folded]
    notes = [_listed(escaped(note) for note in gate.notes)]
    folded = [_folded(table.title, _grid(table)) for table in tables if table.folded]
    method = [_folded("How it was decided", _listed(map(escaped, gate.method)))] if gate.method else []
    return _fitting([*parts, *notes, *folded, *method])


def escaped(text: str) -> str:
    """Return a sentence in which nothing is markup, a link or a mention: what could be is an entity."""
    return _STEERING.sub(lambda found: _harmless(found[0]), " ".join(text.split()))


def _harmless(mark: str) -> str:
    return mark + _NO_WIDTH if mark in _CALLING else f"&#{ord(mark)};"


def code(name: str) -> str:
    """Return a name as code, in which nobody is mentioned; it may stand in a table."""
    if not name.strip():
        return " "
    if _PLAIN.match(name) and name == name.strip():
        return f"`{name}`"
    return f"<code>{escaped(name)}</code>"


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(table: Table) -> str:
    return f"#### {escaped(table.title)}\n\n{_grid(table)}"


def _grid(table: Table) -> str:
    names = table.names
    figures = len(table.columns) - names - 2
    rule = ["---"] * names + ["---:"] * figures + ["---"] * 2
    rows = [_row(table.columns, [escaped(cell) for cell in table.columns]), f"|{'|'.join(rule)}|"]
    rows += [_row(row, [*map(code, row[:names]), *map(escaped, row[names:])]) for row in table.rows]
    if table.more:
        rows.append(f"\nand {counted(table.more, 'more line')}, in the JSON and JUnit reports")
    return "\n".join(rows)


def _row(row: Sequence[str], cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell if text else ' ' for text, cell in zip(row, cells, strict=True))} |"


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{escaped(title)}</summary>\n\n{content}\n\n</details>"


def _fitting(parts: Sequence[str]) -> str:
    """Join the parts that fit into a comment; those that don't are named at the end."""
    kept: list[str] = []
    left = _LONGEST
    for part in parts:
        if part and len(part) + 2 <= left:
            kept.append(part)
            left -= len(part) + 2
    cut = len([part for part in parts if part]) - len(kept)
    if cut:
        kept.append(f"{counted(cut, 'part')} of this summary didn't fit; the JSON report has everything.")
    return "\n\n".join(kept) + "\n"
