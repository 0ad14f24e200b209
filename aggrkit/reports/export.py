"""An executed notebook as a page, a text or a PDF."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aggrkit.charts.display import MIME_TYPE
from aggrkit.charts.theme import GREY_TEXT
from aggrkit.output import write_whole
from aggrkit.panel.still import bundled_vega
from aggrkit.reports.pieces import VERDICT
from aggrkit.reports.printing import printed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nbformat import NotebookNode

__all__ = ["FORMATS", "About", "verdict_of", "written"]

FORMATS: Final = (".html", ".ipynb", ".pdf", ".md")

_HERE: Final = Path(__file__).parent
_ERROR_TAG: Final = "papermill-error-cell-tag"
_OUTPUTS: Final = ("text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain")
_TEXTS: Final = ("text/markdown", "image/png", "image/jpeg", "text/plain")


@dataclass(frozen=True)
class About:
    """What a page says of itself.

    Parameters
    ----------
    template : str
        What it was made from, and why from that.
    failure : tuple of str, optional
        Name of the error that ended it, and its message.
    notebook : str, optional
        Where the unfinished notebook is.
    """

    template: str
    failure: tuple[str, str] | None = None
    notebook: str = ""


def written(notebook: NotebookNode, path: Path, about: About) -> Path:
    """Write an executed notebook as what the suffix of the path says.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        With its outputs.
    path : pathlib.Path
        One of `FORMATS`. Beside a text (".md") the pictures are in a folder ``<name>_files``.
    about : About
        What the page says of itself.
    """
    suffix = path.suffix.lower()
    if suffix == ".ipynb":
        import nbformat

        return write_whole(path, nbformat.writes(notebook) + "\n")  # type: ignore[no-untyped-call]
    if suffix == ".md":
        return _write_text(notebook, path, about)
    page = _page(notebook, path.stem, about)
    return write_whole(path, printed(page) if suffix == ".pdf" else page)


def verdict_of(notebook: NotebookNode) -> Mapping[str, Any] | None:
    """Return title, tone and sentences of the verdict of a notebook, where it has one."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found = output.get("data", {}).get(VERDICT)
            if found is not None:
                return dict(found)
    return None


def _page(notebook: NotebookNode, name: str, about: About) -> str:
    """Return a page that needs nothing from elsewhere."""
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    shown = _shown(notebook)
    verdict = verdict_of(shown)
    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        config=Config({"NbConvertBase": {"display_data_priority": [MIME_TYPE, *_OUTPUTS]}}),
        template_name="page",
        extra_template_basedirs=[str(_HERE)],
    )
    drawn: list[str] = []
    exporter.register_filter("chart", lambda output: _chart(output, drawn))  # type: ignore[no-untyped-call]
    page, _ = exporter.from_notebook_node(
        shown,
        {
            "aggrkit": {
                "title": verdict["title"] if verdict else name,
                "about": about,
                "contents": _contents(shown),
                "css": (_HERE / "page" / "report.css").read_text(encoding="utf-8"),
            }
        },
    )
    # Vega comes after all else, and once; put in here, since nbconvert would look through all of it for images.
    scripts = f"<script>{bundled_vega()}</script>\n<script>{_LIVE}</script>" if drawn else ""
    return str(page).replace("<!-- scripts -->", scripts)


_LIVE: Final = """
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
for (const figure of document.querySelectorAll("figure.chart")) {
  const spec = JSON.parse(figure.querySelector("script.spec").textContent);
  const options = {mode: "vega-lite", actions: false, renderer: "svg", tooltip: {theme: dark ? "dark" : "light"}};
  vegaEmbed(figure.querySelector(".live"), spec, options).then(() => figure.classList.add("drawn"));
}
"""


def _chart(output: NotebookNode, drawn: list[str]) -> str:
    """Return a chart: a picture, which its live twin replaces where scripts run."""
    import html

    # without its version, of which Vega would say that it isn't its own
    spec = {name: part for name, part in output.data[MIME_TYPE].items() if name != "$schema"}
    said = html.escape(str(output.data.get("text/plain", "A chart.")))
    drawn.append(said)
    text = json.dumps(spec, allow_nan=False).replace("<", "\\u003c")
    return (
        f'<figure class="chart" role="group" tabindex="0" aria-label="{said}">'
        f'<div class="picture" role="img" aria-label="{said}">'
        f'{_picture(spec, len(drawn), output)}</div><div class="live"></div>'
        f'<script type="application/json" class="spec">{text}</script></figure>'
    )


def _picture(spec: dict[str, Any], place: int, output: NotebookNode) -> str:
    """Return a chart as SVG whose names are its own on the page, in the colour of the text around it."""
    import vl_convert

    try:
        drawn = str(vl_convert.vegalite_to_svg(spec))
    except ValueError:  # a chart of the user's that this version of Vega doesn't draw: the notebook has a picture
        return f'<img src="data:image/png;base64,{output.data.get("image/png", "")}" alt="">'
    named = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>c{place}-", drawn)
    return named.replace(f'fill="{GREY_TEXT}"', 'fill="currentColor"')


def _shown(notebook: NotebookNode) -> NotebookNode:
    """Return what is for readers: without papermill's marks, and without headings that nothing follows."""
    made = copy.deepcopy(notebook)
    cells = [cell for cell in made.cells if _ERROR_TAG not in cell.metadata.get("tags", [])]
    kept = []
    for place, cell in enumerate(cells):
        if cell.cell_type == "markdown" and cell.source.lstrip().startswith("## ") and "\n" not in cell.source.strip():
            after = []
            for other in cells[place + 1 :]:
                if other.cell_type == "markdown" and other.source.lstrip().startswith("## "):
                    break
                after.append(other)
            if not any(other.cell_type == "markdown" or other.get("outputs") for other in after):
                continue
        kept.append(cell)
    made.cells = kept
    return made


def _contents(notebook: NotebookNode) -> list[tuple[str, str]]:
    """Return the headings with the anchors that nbconvert gives them."""
    headings = [
        line.removeprefix("## ").strip()
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("## ")
    ]
    return [(heading.replace(" ", "-"), heading) for heading in headings]


def _write_text(notebook: NotebookNode, path: Path, about: About) -> Path:
    """Write Markdown, and its pictures into a folder beside it, which GitHub shows; it shows no embedded ones."""
    from nbconvert import MarkdownExporter
    from traitlets.config import Config

    exporter = MarkdownExporter(  # type: ignore[no-untyped-call]
        config=Config({"NbConvertBase": {"display_data_priority": list(_TEXTS)}}),
        template_name="text",
        extra_template_basedirs=[str(_HERE)],
        exclude_input=True,
    )
    folder = f"{path.stem}_files"
    text, resources = exporter.from_notebook_node(
        _shown(notebook), {"output_files_dir": folder, "unique_key": "chart", "aggrkit": {"about": about}}
    )
    for name, content in resources.get("outputs", {}).items():
        place = path.parent / name
        place.parent.mkdir(exist_ok=True)
        write_whole(place, content)
    return write_whole(path, re.sub(r"\n{3,}", "\n\n", str(text)).strip() + "\n")
