"""A gate in a notebook."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

from aggrkit.findings.gate.tables import tables_of
from aggrkit.findings.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggrkit.findings.gate.gate import Gate
    from aggrkit.findings.gate.tables import Table

__all__ = ["html_of"]

_INCIDENTS: Final = 20
_STYLE: Final = "color:var(--jp-ui-font-color1,inherit);overflow-x:auto;padding-left:1em"


def html_of(gate: Gate) -> str:
    """Return a gate as a piece of HTML that follows the theme of the notebook.

    Parameters
    ----------
    gate : Gate
        The gate.
    """
    colour = "var(--jp-success-color1,#2e7d32)" if gate.passed else "var(--jp-error-color1,#c62828)"
    more = len(gate.incidents) - _INCIDENTS
    incidents = [str(incident) for incident in gate.incidents[:_INCIDENTS]]
    incidents += [f"and {counted(more, 'more incident')}"] if more > 0 else []
    tables = tables_of(gate)
    shown = [f"<h4>{html.escape(table.title)}</h4>{_grid(table)}" for table in tables if not table.folded]
    folded = [_folded(table.title, _grid(table)) for table in tables if table.folded]
    return "".join(
        [
            f'<div class="aggrkit-gate" style="{_STYLE};border-left:4px solid {colour}">',
            f"<p><strong>{html.escape(gate.headline)}</strong></p>",
            _listed(gate.reasons),
            _listed(incidents),
            *shown,
            _listed(gate.notes),
            *folded,
            _folded("How it was decided", _listed(gate.method)) if gate.method else "",
            "</div>",
        ]
    )


def _listed(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{html.escape(title)}</summary>{content}</details>"


def _grid(table: Table) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    more = f"<p>and {counted(table.more, 'more line')}</p>" if table.more else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}"
