"""Charts in a cell, in a file and in a report."""

from __future__ import annotations

import copy
import json
import pickle
import re
import threading

import altair as alt
import pandas as pd
import pytest
from altair.utils import schemapi
from IPython.core.formatters import DisplayFormatter

from aggrkit.charts import compare_chart, mime_bundle, save, static_svg
from aggrkit.charts.display import Shown, specification, unchecked
from aggrkit.errors import SourceError, UnknownNameError


@pytest.fixture(scope="module")
def chart():
    line = {"model": "bert", "metric": "latency_ms", "unit": "ms", "baseline": 10.0, "current": 11.0}
    line |= {"change_pct": 10.0, "ci_lower": 8.0, "ci_upper": 12.0, "verdict": "regressed"}
    return compare_chart(pd.DataFrame([line]), ["model"])


def test_a_cell_gets_version_5_a_picture_and_words(chart):
    bundle = mime_bundle(chart)
    assert list(bundle) == ["application/vnd.vegalite.v5+json", "image/png", "text/plain"]
    live = bundle["application/vnd.vegalite.v5+json"]
    assert live["$schema"] == "https://vega.github.io/schema/vega-lite/v5.json"
    assert live["config"]["background"] == "transparent"
    json.dumps(live, allow_nan=False)
    assert bundle["image/png"].startswith(b"\x89PNG")
    assert bundle["text/plain"] == chart.description


@pytest.mark.parametrize("suffix", ["png", "svg", "html", "json", "PNG"])
def test_save_writes_each_kind(suffix, chart, tmp_path):
    path = save(chart, tmp_path / f"chart.{suffix}")
    content = path.read_bytes()
    starts = {"png": b"\x89PNG", "svg": b"<svg", "html": b"<!DOCTYPE", "json": b"{"}[suffix.lower()]
    assert content.strip()[: len(starts)].lower() == starts.lower()
    assert [inside.name for inside in tmp_path.iterdir()] == [path.name]


def test_the_page_needs_no_network(chart, tmp_path):
    page = save(chart, tmp_path / "chart.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page)
    assert "cdn." not in page


def test_other_suffixes_and_missing_folders_are_told(chart, tmp_path):
    with pytest.raises(UnknownNameError, match=r"'.jpg'.*'.png', '.svg', '.html', '.json'"):
        save(chart, tmp_path / "chart.jpg")
    with pytest.raises(UnknownNameError, match="'chart'"):
        save(chart, "chart")
    with pytest.raises(SourceError, match="can't be written"):
        save(chart, tmp_path / "nowhere" / "chart.json")


def test_svg_in_a_page_takes_the_colour_of_its_text(chart):
    drawn = static_svg(chart)
    assert drawn.startswith("<svg")
    texts = re.findall(r"<text[^>]*>", drawn)
    assert texts
    assert all('fill="currentColor"' in text for text in texts)


def test_what_a_chart_configures_itself_holds():
    own = alt.Chart(alt.InlineData(values=[])).mark_point().configure(background="pink")
    assert specification(own)["config"]["background"] == "pink"


@pytest.mark.parametrize(
    "made",
    [
        lambda chart: chart,
        lambda chart: chart.properties(width=300),
        lambda chart: chart.configure_axis(grid=False),
        copy.copy,
        copy.deepcopy,
        lambda chart: pickle.loads(pickle.dumps(chart)),
    ],
)
def test_a_chart_shows_itself_however_it_was_copied(made, chart):
    shown = made(chart)
    assert isinstance(shown, Shown)
    bundle, metadata = shown._repr_mimebundle_()
    assert list(bundle) == ["application/vnd.vegalite.v5+json", "image/png", "text/plain"]
    assert metadata["image/png"]["width"] == pytest.approx(int.from_bytes(bundle["image/png"][16:20]) / 2, abs=1)


def test_it_neither_reads_nor_changes_what_altair_is_set_to(chart):
    class Unusable:
        def __call__(self, *arguments, **options):
            raise AssertionError

    usual = chart._repr_mimebundle_()
    alt.renderers.register("unusable", Unusable())
    with alt.renderers.enable("unusable"), alt.data_transformers.enable("json"):
        assert chart._repr_mimebundle_() == usual
        assert alt.renderers.active == "unusable"
        assert alt.data_transformers.active == "json"


def test_a_cell_of_ipython_gets_the_bundle(chart):
    bundle, metadata = DisplayFormatter().format(chart)
    assert {"application/vnd.vegalite.v5+json", "image/png", "text/plain"} == set(bundle)
    assert set(metadata) == {"image/png"}


def test_it_is_a_chart_of_altair_all_the_same(chart, tmp_path):
    assert isinstance(chart, alt.LayerChart)
    assert alt.LayerChart.from_dict(chart.to_dict()).to_dict()["layer"]
    chart.save(tmp_path / "chart.json")
    assert json.loads((tmp_path / "chart.json").read_text())["description"] == chart.description
    assert isinstance(chart | chart, alt.HConcatChart)


def test_charts_are_validated_again_after_a_block_of_those_that_are_not():
    before = schemapi.DEBUG_MODE
    with unchecked():
        with unchecked():
            chart = alt.Chart(alt.Data(values=[])).mark_point(size="large")  # a size is a number
        assert specification(chart)["mark"]["size"] == "large"
    assert schemapi.DEBUG_MODE is before is True
    with pytest.raises(schemapi.SchemaValidationError):
        alt.Chart(alt.Data(values=[])).mark_point(size="large")


def test_threads_that_end_in_any_order_leave_the_validation_on():
    entered, leave = threading.Event(), threading.Event()

    def within():
        with unchecked():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=within)
    with unchecked():
        thread.start()
        assert entered.wait(10)
    assert schemapi.DEBUG_MODE is False
    leave.set()
    thread.join()
    assert schemapi.DEBUG_MODE is True
