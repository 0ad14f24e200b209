"""Text and tables of Markdown in which no value is markup."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["escaped", "grid"]

_MARKUP = re.compile(r"([\\|<>*_`\[\]])")


def escaped(text: str) -> str:
    r"""Return text for Markdown, on one line.

    Examples
    --------
    >>> from aggrkit.markdown import escaped
    >>> print(escaped("p95_ms|<b>"))
    p95\_ms\|\<b\>
    """
    return " ".join(_MARKUP.sub(r"\\\1", text).split())


def grid(columns: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[bool] = ()) -> list[str]:
    r"""Return the lines of a table.

    Parameters
    ----------
    columns : sequence of str
        What the columns are called.
    rows : iterable of sequence of str
        The cells.
    numeric : sequence of bool, optional
        Which columns are set to the right; none where it isn't given.

    Examples
    --------
    >>> from aggrkit.markdown import grid
    >>> print(*grid(["model", "ms"], [["bert", "3.5"]], [False, True]), sep="\n")
    | model | ms |
    | --- | ---: |
    | bert | 3.5 |
    """
    right = [*numeric, *[False] * (len(columns) - len(numeric))]
    rule = f"|{'|'.join(' ---: ' if to_right else ' --- ' for to_right in right)}|"
    return [_row(columns), rule, *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(escaped(cell) or ' ' for cell in cells)} |"
