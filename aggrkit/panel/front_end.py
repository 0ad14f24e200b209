"""The one widget that draws: charts, tables and key figures, in any Jupyter."""

from __future__ import annotations

import contextlib
import gzip
import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from aggrkit.panel.state import TABS
from aggrkit.panel.still import bundled_vega

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    follow = traitlets.Dict().tag(sync=True)
    tab = traitlets.Unicode(TABS[0]).tag(sync=True)
    tabs = traitlets.List(list(TABS)).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.charts: dict[str, Any] = {}
        self._coming: dict[str, Any] | None = None

    def show(self, part: str, content: Any) -> None:
        """Show a part anew: one of "groups", "over_time", "overview", "spread", "answer" and "code"."""
        if part in ("groups", "over_time", "spread"):
            self.charts = {**self.charts, part: content} if content else self.charts
        text = json.dumps(content, allow_nan=False, separators=(",", ":"))
        self.put(part, gzip.compress(text.encode(), compresslevel=5, mtime=0))

    def put(self, name: str, value: Any) -> None:
        """Set a trait; within `at_once`, when that ends."""
        if self._coming is None:
            setattr(self, name, value)
        else:
            self._coming[name] = value

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Show all that is shown within the block together, at its end; nothing of it if it fails."""
        self._coming = {}
        try:
            yield
            coming = self._coming
        finally:
            self._coming = None
        for name, value in coming.items():
            setattr(self, name, value)
