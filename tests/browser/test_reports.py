"""Reports in Chromium, without a network: live charts, pictures where scripts are off, paper, and JupyterLab."""

from __future__ import annotations

import io
import os
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pypdf
import pytest

from aggrkit.charts.display import MIME_TYPE
from aggrkit.reports.export import About, verdict_of, written
from tests.browser.watched import Watched
from tests.reports.cells import notebook_of, run_cells
from tests.reports.results import REAL, SIDES, results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nbformat import NotebookNode
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NAMES = list(REAL)
OF_REAL = [pytest.param(f"{name} of real results", marks=pytest.mark.data) for name in NAMES]
CUT = """() => {
    const page = document.documentElement.clientWidth;
    return [...document.querySelectorAll("figure.chart svg, table")]
        .filter(part => part.getClientRects().length)
        .map(part => part.getBoundingClientRect())
        .filter(box => box.left < 0 || box.right > page + 1)
        .map(box => `${box.left} to ${box.right} of ${page}`);
}"""


class Notebooks(dict[str, "NotebookNode"]):
    """The executed notebook of each template, made when it is looked at."""

    def __init__(self, planted: Path) -> None:
        super().__init__()
        self._planted = planted

    def __missing__(self, key: str) -> NotebookNode:
        name, _, real = key.partition(" of ")
        source, asked = str(self._planted), SIDES if name == "regression" else {}
        if real:
            file, asked = REAL[name]
            source = str(Path(os.environ["AGGRKIT_TEST_DATA"]) / file)
        with pytest.MonkeyPatch.context() as patch:
            self[key] = notebook_of(name, run_cells(name, patch, source=source, repeats=3, **asked))
        return self[key]


class Pages(dict[str, Path]):
    """The page of each."""

    def __init__(self, notebooks: Notebooks, folder: Path) -> None:
        super().__init__()
        self._notebooks, self._folder = notebooks, folder

    def __missing__(self, name: str) -> Path:
        self[name] = written(self._notebooks[name], self._folder / f"{name}.html", About(""))
        return self[name]


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> Notebooks:
    """Return the executed notebooks by the names of their templates."""
    planted = tmp_path_factory.mktemp("data") / "results.parquet"
    results().to_parquet(planted)
    return Notebooks(planted)


@pytest.fixture(scope="module")
def pages(notebooks: Notebooks, tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """Return their pages."""
    return Pages(notebooks, tmp_path_factory.mktemp("pages"))


@pytest.fixture
def still(browser: Browser, screenshots: Path) -> Iterator[Watched]:
    """Return a page in which no script runs."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, java_script_enabled=False)
    yield Watched(context, screenshots)
    context.close()


def opened(watched: Watched, page: Path) -> None:
    """Open a page as a file, which is the one request that is allowed."""
    watched.page.goto(page.as_uri())
    watched.external.remove(page.as_uri())


def charts_in(notebook: NotebookNode) -> int:
    return sum(MIME_TYPE in output.data for cell in notebook.cells for output in cell.get("outputs", []))


@pytest.mark.parametrize("name", [*NAMES, *OF_REAL])
def test_every_chart_is_live_and_nobody_is_asked(
    name: str, pages: Pages, notebooks: Notebooks, watched: Watched
) -> None:
    page = watched.page
    opened(watched, pages[name])
    charts = charts_in(notebooks[name])
    assert charts >= 3
    page.wait_for_function(f"document.querySelectorAll('figure.chart.drawn').length === {charts}")
    for figure in page.locator("figure.chart").all():
        assert figure.locator(".live svg").bounding_box()["height"] > 40
        assert figure.locator(".live svg path, .live svg text").count() > 5
        assert not figure.locator(".picture").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.set_viewport_size({"width": 420, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    watched.screenshot(f"report_{name}")
    assert watched.axe("main") == []
    watched.assert_clean()


@pytest.mark.parametrize("name", [*NAMES, *OF_REAL])
def test_with_scripts_off_every_chart_has_its_picture(
    name: str, pages: Pages, notebooks: Notebooks, still: Watched
) -> None:
    opened(still, pages[name])
    pictures = still.page.locator("figure.chart .picture svg")
    assert pictures.count() == charts_in(notebooks[name])
    for picture in pictures.all():
        assert picture.is_visible()
        box = picture.bounding_box()
        assert box["height"] > 40
        assert box["x"] + box["width"] <= 1280
    assert not still.errors
    assert not still.external


def test_the_dark_page_is_dark_and_its_code_is_shown_on_demand(pages: Pages, watched: Watched) -> None:
    page = watched.page
    page.emulate_media(color_scheme="dark")
    opened(watched, pages["regression"])
    page.wait_for_selector("figure.chart.drawn")
    seen = watched.pixels(page.locator("figure.chart").first)
    assert sum(seen.background) < 120
    assert seen.brightest > 200
    assert not page.locator(".code").first.is_visible()
    page.get_by_label("Show the code").focus()
    page.keyboard.press("Space")
    assert page.locator(".code").first.is_visible()
    assert watched.axe("main") == []
    watched.assert_clean()


@pytest.mark.parametrize("name", NAMES)
def test_the_pdf_says_the_same_and_cuts_nothing(
    name: str, notebooks: Notebooks, pages: Pages, tmp_path: Path, watched: Watched
) -> None:
    paper = written(notebooks[name], tmp_path / "a.pdf", About("")).read_bytes()
    read = pypdf.PdfReader(io.BytesIO(paper))
    said = unicodedata.normalize("NFKC", "".join(sheet.extract_text() for sheet in read.pages))  # without ligatures
    text = "".join(said.split())
    verdict = verdict_of(notebooks[name])
    assert verdict is not None
    for line in verdict["said"]:
        assert "".join(line.split()) in text
    (findings,) = [cell for cell in notebooks[name].cells if cell.id == "findings"]
    told = [line[2:] for line in findings.outputs[0].data["text/markdown"].splitlines() if line.startswith("- ")]
    plain = [line.replace("\\", "") for line in told]
    assert [line for line in plain if "".join(line.split()) not in text] == []
    for cell in notebooks[name].cells:
        for output in cell.get("outputs", []):
            title = output.data.get(MIME_TYPE, {}).get("title", {}).get("text")
            assert title is None or "".join(title.split()) in text
    watched.page.emulate_media(media="print")
    watched.page.set_viewport_size({"width": 688, "height": 1000})  # A4 without its margins, in CSS pixels
    opened(watched, pages[name])
    watched.page.wait_for_selector("figure.chart.drawn", state="attached")
    assert watched.page.evaluate(CUT) == []
    tallest = watched.page.evaluate(
        "Math.max(...[...document.querySelectorAll('.live svg')].map(svg => svg.getBoundingClientRect().height))"
    )
    assert tallest <= 235 / 25.4 * 96 + 1


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_shows_every_chart_though_nobody_trusts_it(
    name: str, notebook: Callable[..., object], notebooks: Notebooks, tmp_path: Path, watched: Watched
) -> None:
    path = tmp_path / f"{name}.ipynb"
    nbformat.write(notebooks[name], path)
    book = notebook(path=path, run=False)
    assert not book.trusted()
    for place, cell in enumerate(notebooks[name].cells):
        drawn = [output for output in cell.get("outputs", []) if MIME_TYPE in output.data]
        if drawn:
            output = book.output(place)
            output.scroll_into_view_if_needed()
            output.locator("svg.marks, canvas.marks, .vega-embed svg").first.wait_for()
    watched.assert_clean()
