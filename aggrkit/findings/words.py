"""How findings are put into words: counts, lists, numbers, lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from aggrkit.model.answer import COLUMNS

if TYPE_CHECKING:
    from aggrkit.findings.base import Finding

__all__ = [
    "by_words",
    "console_width",
    "counted",
    "group_names",
    "line_name",
    "listing",
    "margin_words",
    "plain_text",
    "short_number",
    "signed",
    "verdict_counts",
]


def group_names(finding: Finding) -> list[str]:
    """Return the columns that a finding is grouped by."""
    columns = list(finding._known().frames[finding._name].columns)
    return columns[: columns.index(COLUMNS[finding._name][0])]


def line_name(finding: Finding, line: pd.Series[Any]) -> str:
    """Return what a line is of: its groups."""
    names = group_names(finding)
    return ", ".join(str(line[name]) for name in names) or "all"


def by_words(groups: list[str]) -> str:
    """Say what is grouped by."""
    return " and ".join(groups) if groups else "nothing"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listing(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def margin_words(margin: Any) -> str:
    """Return a margin, or one for each metric, in percent."""
    if isinstance(margin, Mapping):
        return ", ".join(f"{name} {margin_words(share)}" for name, share in margin.items())
    return f"{100 * margin:g} %"


def plain_text(value: Any) -> str:
    """Return a value of `meta` as text."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {plain_text(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain_text(inner) for inner in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def short_number(value: Any) -> str:
    """Return a number with four digits; other values as they are."""
    if not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.4g}" if abs(value) < 1e4 or abs(value) >= 1e15 else f"{value:,.0f}"


def signed(value: float) -> str:
    """Return a change with its sign and three digits."""
    return f"{value:+,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:+.3g}"


def console_width() -> int:
    """Return the width that pandas prints to."""
    return int(pd.get_option("display.width") or 80)


def verdict_counts(verdicts: pd.Series[Any]) -> str:
    """Return how often each verdict was given, in their order."""
    counts = verdicts.value_counts()
    there = [verdict for verdict in verdicts.cat.categories if counts.get(verdict)]
    return ", ".join(f"{counts[verdict]} {verdict.replace('_', ' ')}" for verdict in there)
