"""What is printed for people: tables that fit a terminal, and how numbers and notes are written in them."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from typing import IO

__all__ = [
    "LABEL",
    "STYLES",
    "WIDE",
    "add_line",
    "at_slashes",
    "change_of",
    "comparison_note",
    "new_console",
    "new_table",
    "number_of",
]

WIDE: Final = 120
"""From this many characters on, a table has a column for notes; else they stand below what they are about."""

LABEL: Final = 24
"""What a name, and a note below it, get at least."""

STYLES: Final = {
    **dict.fromkeys(("regressed", "sick", "critical", "worsening", "fail"), "bold red"),
    **dict.fromkeys(("improved", "improving", "good", "ok"), "bold green"),
    **dict.fromkeys(("undecided", "suspect", "major", "changed", "warning"), "bold yellow"),
}
"""How the words of verdicts, severities and states are set off."""


def new_console(file: IO[str] | None = None, width: int | None = None) -> Console:
    """Return a console that prints text as it is: on a terminal in its width and with colours, elsewhere without."""
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)


def new_table(label: str, *numbers: str, detail: str = "", least: int = 0) -> Table:
    """Return an empty table: what a line is about, its numbers, and, if there is room, what else is to be said."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column(label, overflow="fold", min_width=least)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    if detail:
        table.add_column(detail, overflow="fold")
    return table


def add_line(table: Table, wide: bool, label: str, *numbers: str, detail: str = "") -> None:
    """Add a line; the detail has a column of its own, or stands below the label where there is no room for it."""
    if wide:
        table.add_row(label, *numbers, detail)
    elif detail:
        table.add_row(Group(Text(label), Padding(Text(detail, style="dim"), (0, 0, 0, 2))), *numbers)
    else:
        table.add_row(label, *numbers)


def comparison_note(line: pd.Series[Any]) -> str:
    """Return what a reader must know of a line, without reasons and examples."""
    parts = []
    if not pd.isna(line["runs_needed"]):
        parts.append(f"needs about {line['runs_needed']:,} runs a side")
    for part in str(line["note"]).split("; "):
        if part.startswith("differs too: "):
            names = re.sub(r" \(.*?->.*?\)(?=, |$)", "", part.removeprefix("differs too: "))
            parts.append(f"{names} changed too")
        elif part and part != "percentage points":
            parts.append(re.split(r": | \(|, for ", part)[0].replace("of the observations left out", "unmatched"))
    return "; ".join(parts)


def change_of(percent: float) -> str:
    """Return a change with its sign."""
    if percent != percent:
        return "-"
    return f"{percent:+,.1f}" if abs(percent) < 1000 else f"{percent:+,.0f}"


def at_slashes(text: str, width: int) -> str:
    """Return a long name in lines that end at a slash."""
    return "\n".join(line.replace("/ ", "/") for line in textwrap.wrap(text.replace("/", "/ "), width))


def number_of(value: float) -> str:
    """Return a number with about four digits."""
    if value != value:
        return "-"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
