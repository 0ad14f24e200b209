"""The one widget that draws: charts, tables and key figures, in any Jupyter."""

from __future__ import annotations

import gzip
import json
from importlib import resources
from typing import Any

import anywidget
import traitlets

from aggrkit.panel.state import TABS
from aggrkit.panel.still import bundled_vega

__all__ = ["FrontEnd"]

_FRONT = resources.files("aggrkit.panel") / "front"


class FrontEnd(anywidget.AnyWidget):
    """What a browser shows of a panel.

    Each part travels as JSON, compressed, when it changes; a page that is opened again gets all of them.

    Attributes
    ----------
    charts : dict
        The charts that are shown, as Vega-Lite, by part.
    """

    _esm = f"{bundled_vega()}\n{(_FRONT / 'panel.js').read_text(encoding='utf-8')}"
    _css = (_FRONT / "panel.css").read_text(encoding="utf-8")
    groups = traitlets.Bytes(b"").tag(sync=True)
    over_time = traitlets.Bytes(b"").tag(sync=True)
    overview = traitlets.Bytes(b"").tag(sync=True)
    spread = traitlets.Bytes(b"").tag(sync=True)
    answer = traitlets.Bytes(b"").tag(sync=True)
    code = traitlets.Bytes(b"").tag(sync=True)
    figures = traitlets.Dict().tag(sync=True)
    busy = traitlets.Bool(False).tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    tab = traitlets.Unicode(TABS[0]).tag(sync=True)
    tabs = traitlets.List(list(TABS)).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.charts: dict[str, Any] = {}

    def show(self, part: str, content: Any) -> None:
        """Show a part anew: one of "groups", "over_time", "overview", "spread", "answer" and "code"."""
        if part in ("groups", "over_time", "spread"):
            self.charts = {**self.charts, part: content} if content else self.charts
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        setattr(self, part, gzip.compress(text.encode(), compresslevel=5, mtime=0))
