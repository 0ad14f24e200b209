"""Findings as tables for people, as wide as the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from aggrkit.findings.words import group_names, line_name, short_number

if TYPE_CHECKING:
    from aggrkit.findings import Finding

__all__ = ["as_text"]


def as_text(finding: Finding, lines: int = 20, *, plain: bool = False) -> str:
    """Return a finding as a table with its words."""
    console = Console(highlight=False, markup=False, emoji=False, no_color=plain or None)
    groups = group_names(finding)
    rest = [str(name) for name in finding.columns if name not in groups]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column(", ".join(groups) or "group", overflow="fold")
    for name in rest:
        table.add_column(name, justify="right")
    shown = finding.head(lines) if lines else finding
    for _, line in shown.iterrows():
        table.add_row(line_name(finding, line), *(short_number(line[name]) for name in rest))
    head, *others = finding.explain().splitlines()
    with console.capture() as capture:
        console.print(head, style="bold")
        console.print(table)
        if len(shown) < len(finding):
            console.print(f"... {len(finding) - len(shown):,} more lines: --lines 0 shows all")
        for sentence in others:
            console.print(f"- {sentence}")
    return capture.get()
