"""Names and lines of a comparison in words that are safe to print: on one line, and with nothing invisible in them."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.findings.words import short_number, signed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["change", "clean", "group", "line_words", "runs", "span", "subject", "unit_of"]

_LONGEST: Final = 160
_MOST_RUNS: Final = 10_000
_INVISIBLE: Final = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def clean(value: object, longest: int = _LONGEST) -> str:
    r"""Return a name for a reader: on one line, cut off where it is long, and control characters as escapes.

    Characters that can't be seen, turn the direction of writing, steer a terminal, or are forbidden in XML are written
    as in Python, such as ``\x1b``.

    Examples
    --------
    >>> from aggrkit.findings.gate.wording import clean
    >>> print(clean("two\nlines, \x1b[31mred"))
    two lines, \x1b[31mred
    """
    text = " ".join(str(value).split())
    if not text.isprintable():
        text = "".join(_escaped(mark) if unicodedata.category(mark) in _INVISIBLE else mark for mark in text)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _escaped(mark: str) -> str:
    return mark.encode("unicode_escape").decode("ascii")


def group(line: Mapping[str, Any], groups: Sequence[str]) -> str:
    """Return the names of the group that a line is of, or "all"."""
    return ", ".join("unknown" if pd.isna(line[name]) else clean(line[name]) for name in groups) or "all"


def subject(line: Mapping[str, Any], groups: Sequence[str]) -> str:
    """Return what a line is of: "latency_ms p95 of bert, a100"."""
    statistic = f" {line['statistic']}" if "statistic" in line else ""
    return f"{clean(line['metric'])}{statistic} of {group(line, groups)}"


def unit_of(line: Mapping[str, Any]) -> str:
    """Return in what the change of a line is measured."""
    return "points" if line["unit"] == "proportion" else "%"


def change(line: Mapping[str, Any]) -> str:
    """Return the change of a line with its unit, "+10.2 %"; or an empty text where it isn't known."""
    return "" if pd.isna(line["change_pct"]) else f"{signed(line['change_pct'])} {unit_of(line)}"


def span(line: Mapping[str, Any]) -> str:
    """Return the interval of the change of a line, "+8.1 to +12.4", or an empty text."""
    if pd.isna(line["ci_lower"]) or pd.isna(line["ci_upper"]):
        return ""
    return f"{signed(line['ci_lower'])} to {signed(line['ci_upper'])}"


def runs(needed: int) -> str:
    """Return a number of runs; where it is the largest that is looked for, "or more"."""
    return f"{needed:,}" if needed < _MOST_RUNS else f"{_MOST_RUNS:,} or more"


def line_words(line: Mapping[str, Any], groups: Sequence[str]) -> str:
    """Return what a line is of, its change and interval: "latency_ms of bert, a100, +10.2 % (+8.1 to +12.4)"."""
    moved = change(line)
    if moved:
        between = span(line)
        return f"{subject(line, groups)}, {moved}{f' ({between})' if between else ''}"
    ends = [line["baseline"], line["current"]]
    if any(pd.isna(end) for end in ends):
        return subject(line, groups)
    return f"{subject(line, groups)}, from {short_number(ends[0])} to {short_number(ends[1])}"
