"""Charts in JupyterLab: drawn, in the colours of the theme, without trust, without a kernel, without a network."""

from __future__ import annotations

import base64
import json

import pytest

import aggrkit
from aggrkit import charts
from aggrkit.charts.display import MIME_TYPE
from aggrkit.charts.theme import PALETTE

pytestmark = pytest.mark.browser

CALCULATE = """import aggrkit
from IPython.display import display
from aggrkit import charts
df = aggrkit.datasets.load("mlperf_training")
stats = df.aggr.stats(level="model", metrics="total_time_seconds")
display(charts.mime_bundle(charts.statistics_chart(stats, ["model"], "total_time_seconds")), raw=True)"""
SHOW = """import json
from pathlib import Path
from IPython.display import display
display(json.loads(Path("chart.json").read_text()), raw=True)"""


@pytest.fixture(scope="module")
def chart():
    """Make once what the kernel makes in `CALCULATE`, as it is saved in a notebook."""
    stats = aggrkit.datasets.load("mlperf_training").aggr.stats(level="model", metrics="total_time_seconds")
    bundle = charts.mime_bundle(charts.statistics_chart(stats, ["model"], "total_time_seconds"))
    return {**bundle, "image/png": base64.b64encode(bundle["image/png"]).decode("ascii")}


@pytest.fixture
def ready(chart, lab):
    """Put the chart where `SHOW` finds it, for tests that are not about how it is made."""
    (lab.root / "chart.json").write_text(json.dumps(chart))


def view(book, number):
    """Return the chart of a cell once it is drawn."""
    place = book.output(number).locator(".vega-embed")
    place.locator("canvas, svg.marks").wait_for()
    book.watched.settle()
    return place


def assert_drawn(book, number, theme):
    """Fail unless the marks of the statistics are there, and its text stands out from what is behind it."""
    pixels = book.watched.pixels(view(book, number))
    # A point, a dark bar and a light bar for each of eleven models; the smallest point is more than 30 pixels large.
    assert pixels.of(PALETTE["vermillion"]) > 300
    assert pixels.of(PALETTE["blue"]) > 1000
    assert pixels.of(PALETTE["sky"]) > 1000
    if theme == "light":
        assert pixels.background == (255, 255, 255)
        assert pixels.darkest < 60
    else:
        assert max(pixels.background) < 40
        assert pixels.brightest > 200


def test_made_shown_loaded_again_and_read_without_a_kernel(notebook, watched, page):
    book = notebook([CALCULATE, "stats.chart()"])
    assert_drawn(book, 0, "light")
    assert_drawn(book, 1, "light")
    book.reload()
    book.kill_kernel()
    assert_drawn(book, 0, "light")

    box = view(book, 0).locator("canvas, svg.marks").bounding_box()
    tip = page.locator("#vg-tooltip-element.visible")
    # Somewhere on a line through the middle there is the bar of a model.
    for share in range(20, 80, 2):
        page.mouse.move(box["x"] + box["width"] * share / 100, box["y"] + box["height"] * 0.46)
        watched.settle()
        if tip.is_visible():
            break
    assert "p50" in tip.inner_text()
    watched.assert_clean()


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("first", ["light", "dark"])
def test_follows_the_theme_even_without_a_kernel(first, notebook, watched):
    book = notebook([SHOW], run=False)
    book.theme(first)
    book.run_all().kill_kernel()
    assert_drawn(book, 0, first)
    watched.screenshot(f"statistics-{first}", book.output(0))
    then = {"light": "dark", "dark": "light"}[first]
    book.theme(then)
    assert_drawn(book, 0, then)
    watched.assert_clean()


def test_drawn_in_a_notebook_that_is_not_trusted(chart, notebook, watched):
    empty = {MIME_TYPE: {**chart[MIME_TYPE], "datasets": {name: [] for name in chart[MIME_TYPE]["datasets"]}}}
    script = {"text/html": "<p>by script: <script>document.body.dataset.trusted = 'yes'</script></p>"}
    outputs = [[{"output_type": "display_data", "data": data}] for data in (chart, script, empty)]
    book = notebook(["1", "2", "3"], outputs=outputs)
    assert not book.trusted()
    assert_drawn(book, 0, "light")
    # What needs trust is kept from running here, so the chart above did without.
    assert "by script" in book.output(1).inner_text()
    assert book.page.evaluate("document.body.dataset.trusted") is None
    watched.assert_clean()
    # And a plot without marks would have been noticed.
    with pytest.raises(AssertionError):
        assert_drawn(book, 2, "light")


def test_a_screen_reader_is_told_what_a_chart_shows(chart, notebook, watched):
    book = notebook(["1"], outputs=[[{"output_type": "display_data", "data": chart}]])
    assert chart["text/plain"] == chart[MIME_TYPE]["description"]
    view(book, 0)
    assert book.output(0).get_by_label(chart["text/plain"], exact=True).count() == 1
    assert watched.axe(".jp-Notebook .vega-embed") == []
