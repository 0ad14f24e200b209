"""What a report shows beside its charts, each as HTML and as Markdown: a verdict, figures, lists, tables."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aggrkit.markdown import escaped, grid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["TONES", "Piece", "Table", "figures", "paragraphs", "stacked", "verdict"]

TONES: Final = {
    "bad": ("Act on this", "■"),
    "warn": ("Look at this", "◆"),
    "open": ("Undecided", "◐"),
    "good": ("Fine", "●"),
    "info": ("For information", "▪"),
    "none": ("No data", "○"),
}
"""Each tone with its word and its mark, the worst first: nothing is told by colour alone."""

_LONG: Final = 44
"""From so many letters on, a cell is wrapped."""

VERDICT: Final = "application/vnd.aggrkit.verdict+json"
"""Under this name the verdict is in the executed notebook, for programs."""


@dataclass(frozen=True)
class Piece:
    """A part of a page.

    Parameters
    ----------
    html : str
        For a page and a notebook; it reads well with its styles stripped, as GitHub does.
    markdown : str
        The same for a text.
    data : mapping, optional
        More of it, by MIME type.
    """

    html: str
    markdown: str
    data: Mapping[str, Any] | None = None

    def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        plain = self.markdown.replace("**", "")
        return {"text/html": self.html, "text/markdown": self.markdown, "text/plain": plain, **(self.data or {})}


@dataclass(frozen=True)
class Table:
    """Cells as text, with a heading.

    Parameters
    ----------
    title : str
        What it is of; may be empty.
    columns : sequence of str
        The headings.
    rows : sequence of sequence of str
        The cells.
    numbers : frozenset of int, optional
        Which columns hold numbers, and are set to the right.
    note : str, optional
        What is said below.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    note: str = ""

    def piece(self) -> Piece:
        """Return it as a part of a page."""
        return Piece(self._html(), self._markdown())

    def _html(self) -> str:
        def cell(tag: str, place: int, text: str) -> str:
            side, kind = ("right", "number") if place in self.numbers else ("left", "")
            kind = "long" if len(text) > _LONG else kind
            scope = ' scope="col"' if tag == "th" else f' class="{kind}"' if kind else ""
            return f'<{tag}{scope} style="text-align:{side}">{html.escape(text)}</{tag}>'

        head = "".join(cell("th", place, text) for place, text in enumerate(self.columns))
        body = "".join(
            f"<tr>{''.join(cell('td', place, text) for place, text in enumerate(row))}</tr>" for row in self.rows
        )
        title = f"<h3>{html.escape(self.title)}</h3>" if self.title else ""
        note = f'<p class="note">{html.escape(self.note)}</p>' if self.note else ""
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if self.rows else ""
        scroll = f'<div class="scroll" tabindex="0" role="group" aria-label="{html.escape(self.title or "table")}">'
        return f'<div class="piece">{title}{f"{scroll}{table}</div>" if table else ""}{note}</div>'

    def _markdown(self) -> str:
        lines = [f"### {escaped(self.title)}", ""] if self.title else []
        if self.rows:
            lines += grid(self.columns, self.rows, [place in self.numbers for place in range(len(self.columns))])
        lines += ["", escaped(self.note)] if self.note else []
        return "\n".join(lines)


def verdict(title: str, tone: str, said: Sequence[str]) -> Piece:
    """Return the head of a page: what it is of, and the one thing to know."""
    word, mark = TONES[tone]
    first, *others = said
    more = "".join(f"<li>{html.escape(line)}</li>" for line in others)
    page = (
        f'<div class="aggrkit-verdict {tone}"><h1>{html.escape(title)}</h1>'
        f'<p class="headline"><span class="mark">{mark} {html.escape(word)}</span> '
        f"<strong>{html.escape(first)}</strong></p>{f'<ul>{more}</ul>' if more else ''}</div>"
    )
    listed = "".join(f"\n- {escaped(line)}" for line in others)
    text = f"# {escaped(title)}\n\n**{mark} {word}. {escaped(first)}**{f'{chr(10)}{listed}' if listed else ''}"
    return Piece(page, text, {VERDICT: {"title": title, "tone": tone, "said": list(said)}})


def figures(said: Mapping[str, str]) -> Piece:
    """Return key figures: label and value."""
    page = "".join(
        f"<div><dt>{html.escape(label)}</dt><dd>{html.escape(value)}</dd></div>" for label, value in said.items()
    )
    text = "\n".join(f"- {escaped(label)}: {escaped(value)}" for label, value in said.items())
    return Piece(f'<dl class="aggrkit-figures">{page}</dl>', text)


def paragraphs(said: Mapping[str, Sequence[str]]) -> Piece:
    """Return sentences under headings, as lists."""
    page = "".join(
        f"<h3>{html.escape(title)}</h3><ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"
        for title, lines in said.items()
    )
    text = "\n\n".join(
        "\n".join((f"### {escaped(title)}", "", *(f"- {escaped(line)}" for line in lines)))
        for title, lines in said.items()
    )
    return Piece(f'<div class="piece">{page}</div>', text)


def stacked(pieces: Sequence[Piece]) -> Piece:
    """Return several pieces as one, below each other."""
    return Piece("".join(piece.html for piece in pieces), "\n\n".join(piece.markdown for piece in pieces))
