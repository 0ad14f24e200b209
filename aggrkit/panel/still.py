"""A panel without its kernel: pictures and a table that need nothing but the page that they are on."""

from __future__ import annotations

import base64
import html
import json
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
import vl_convert

from aggrkit.charts.display import mime_bundle
from aggrkit.errors import AggrError
from aggrkit.findings.words import short_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import altair as alt

__all__ = ["Still", "bundled_vega", "page", "still_table"]

_SHOWN: Final = 20
_WIDTH: Final = 560
_STYLE: Final = """
:root { color-scheme: light dark; }
body { font-family: system-ui, sans-serif; margin: 24px auto; max-width: 1200px; padding: 0 16px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 3px 12px 3px 0; border-bottom: 1px solid #8886; }
.scroll { overflow-x: auto; }
pre { background: #8882; padding: 8px; overflow-x: auto; }
"""


class Still:
    """A picture and a table below a live panel, for when the notebook is opened without a kernel.

    The live panel hides them (see `front/panel.css`).

    Attributes
    ----------
    shows : object
        What they show, as it was given to `update`.
    """

    def __init__(self) -> None:
        from IPython.display import display

        self.shows: object = None
        words = "The picture of this panel is drawn when it has been looked at for a few seconds."
        self._picture, self._table = (
            display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
            for bundle in ({"text/plain": words}, {"text/html": _marked(""), "text/plain": ""})
        )

    def update(self, shows: object, chart: alt.TopLevelMixin, frame: pd.DataFrame) -> None:
        """Show something else."""
        self._picture.update(_encoded(mime_bundle(chart)), raw=True)
        words = "The panel is live when its cell is run."
        self._table.update({"text/html": _marked(still_table(frame, [words])), "text/plain": words}, raw=True)
        self.shows = shows


def _marked(content: str) -> str:
    """Return HTML by which the live panel knows what to hide."""
    return f'<div class="aggrkit-still">{content}</div>'


def _encoded(bundle: dict[str, Any]) -> dict[str, Any]:
    """Return a bundle as it travels: pictures as text."""
    return {**bundle, "image/png": base64.b64encode(bundle["image/png"]).decode("ascii")}


def still_table(frame: pd.DataFrame, words: Sequence[str], most: int | None = _SHOWN) -> str:
    """Return words and the first lines of a table as HTML, readable with styles stripped."""
    shown = pd.DataFrame(frame).head(len(frame) if most is None else most)
    lines = shown.to_html(float_format=short_number, na_rep="-", border=0, index=False, escape=True)
    more = len(frame) - len(shown)
    said = "".join(f"<p>{html.escape(line)}</p>" for line in words if line)
    return f'{said}<div class="scroll">{lines}</div>{f"<p>{more:,} more lines</p>" if more else ""}'


def page(title: str, charts: Mapping[str, Mapping[str, Any]], body: str) -> str:
    """Return a page that needs no network: charts that are live where scripts run, and pictures where they don't.

    Parameters
    ----------
    title : str
        Of the page.
    charts : mapping of str to dict
        Charts as Vega-Lite, by their name.
    body : str
        HTML below the charts.
    """
    specs = [{**spec, "width": _WIDTH} if spec.get("width") == "container" else dict(spec) for spec in charts.values()]
    drawn = "".join(f'<div class="chart" id="chart{place}">{_svg(spec)}</div>' for place, spec in enumerate(specs))
    data = json.dumps(specs, allow_nan=False).replace("</", "<\\/")
    live = (
        f"const specs = {data};\n"
        "const options = {actions: false, renderer: 'svg', ast: false};\n"
        "specs.forEach((spec, place) => vegaEmbed(`#chart${place}`, spec, options));"
    )
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>{drawn}{body}"
        f"<script>{bundled_vega()}\n{live}</script></body></html>\n"
    )


def bundled_vega() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as a script that defines `vegaEmbed`.

    Raises
    ------
    AggrError
        If the installation lacks it.
    """
    place = resources.files("aggrkit.panel") / "front" / "vega.js"
    if not place.is_file():
        raise AggrError("vega.js is missing from this installation of aggrkit; install it again with pip")
    return place.read_text(encoding="utf-8")


def _svg(spec: Mapping[str, Any]) -> str:
    return str(vl_convert.vegalite_to_svg(dict(spec)))
