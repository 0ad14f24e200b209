"""Every chart, of real results: it compiles with each Vega-Lite without a warning, is small, and says what it shows."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import vl_convert

from aggrkit import charts
from aggrkit.charts.display import specification
from aggrkit.charts.theme import LOOKS
from aggrkit.errors import SchemaError, UnknownNameError
from aggrkit.model.answer import COLUMNS

VERSIONS = vl_convert.get_vegalite_versions()
GROUPS = ["model", "hardware"]


def check(name, chart, capfd):
    """Assert that a chart is fit to be shown."""
    spec = specification(chart)
    text = json.dumps(spec, allow_nan=False, separators=(",", ":"))
    assert len(text) < 25_000, (name, len(text))
    assert spec["description"].endswith("."), spec["description"]
    assert spec["title"]["text"]
    for version in VERSIONS:
        vega = vl_convert.vegalite_to_vega(spec, vl_version=version, show_warnings=True)
        assert vega["marks"]
    said = "".join(capfd.readouterr())
    assert not said, (name, said)


def frame_of(name, *groups):
    return pd.DataFrame(columns=[*groups, *COLUMNS[name]])


EMPTY = {
    "statistics": lambda: charts.statistics_chart(frame_of("stats", *GROUPS), GROUPS, "x"),
    "heatmap": lambda: charts.percentile_heatmap(frame_of("stats", *GROUPS), "x"),
    "rates": lambda: charts.rates_chart(frame_of("proportions", *GROUPS), GROUPS, "x"),
    "anomalies": lambda: charts.anomalies_chart(frame_of("anomalies", *GROUPS), GROUPS),
    "compare": lambda: charts.compare_chart(frame_of("compare", *GROUPS), GROUPS),
    "volcano": lambda: charts.volcano_chart(frame_of("compare", *GROUPS)),
    "correlations": lambda: charts.correlation_heatmap(frame_of("correlations")),
    "differences": lambda: charts.differences_chart(frame_of("differences")),
    "slopes": lambda: charts.slopes_chart(frame_of("trends", *GROUPS), GROUPS),
    "trend": lambda: charts.trend_chart(pd.DataFrame(columns=["time", "value"]), "x"),
    "shares": lambda: charts.shares_chart(frame_of("distributions", *GROUPS), GROUPS),
    "changes": lambda: charts.changes_chart(frame_of("changes", *GROUPS), GROUPS),
    "variance": lambda: charts.variance_chart(frame_of("variance")),
    "workers": lambda: charts.workers_chart(frame_of("variance")),
    "health": lambda: charts.health_chart(frame_of("health")),
    "calibration": lambda: charts.calibration_chart(frame_of("calibration")),
    "distribution": lambda: charts.distribution_chart(pd.DataFrame(columns=["low", "high", "count"])),
}


@pytest.mark.parametrize("kind", list(EMPTY))
def test_an_empty_frame_says_so_in_words(kind, capfd):
    chart = EMPTY[kind]()
    check(kind, chart, capfd)
    words = chart.description.split(": ", 1)[1]
    assert words in vl_convert.vegalite_to_svg(specification(chart))


def compared(count, **changes):
    lines = pd.DataFrame(
        {"model": [f'model [{i}].x\'s "name"' + "é" + "e" * 100 for i in range(count)], "hardware": None}
    )
    fixed = {"metric": "latency_ms", "unit": "ms", "baseline": 1.0, "current": 1.1, "verdict": "regressed"}
    numbers = {"change_pct": np.arange(count) + 1.0, "ci_lower": 0.0, "ci_upper": 99.0, "pvalue_adjusted": 0.01}
    return lines.assign(**{**fixed, **numbers, **changes})


def test_infinite_and_missing_numbers_stay_out(capfd):
    frame = compared(6, change_pct=[1.0, np.nan, np.inf, -np.inf, 5.0, -3.0], ci_upper=[np.inf, 1, 1, 1, np.nan, -1.0])
    for chart in (charts.compare_chart(frame, GROUPS), charts.volcano_chart(frame)):
        check("infinite", chart, capfd)
        assert "3 " in chart.description


def test_at_most_forty_lines_and_the_subtitle_says_so(capfd):
    chart = charts.compare_chart(compared(75), GROUPS)
    spec = specification(chart)
    check("many", chart, capfd)
    assert any("35 more lines not shown" in line for line in spec["title"]["subtitle"])
    assert len(spec["datasets"][spec["data"]["name"]]) == 40


def test_lines_of_the_same_name_stay_apart():
    frame = pd.concat([compared(1), compared(1)])
    spec = specification(charts.compare_chart(frame, ["model"]))
    names = [line["label"] for line in spec["datasets"][spec["data"]["name"]]]
    assert len(set(names)) == 2


@pytest.mark.parametrize("group", ["size", "order", "change", "low", "high", "x", "p", "label"])
def test_groups_of_any_name_keep_their_values(group):
    lines = compared(2).drop(columns=["model", "hardware"]).assign(slope_pct_per_day=1.0, n=9)
    lines.insert(0, group, ["one", "two"])
    made = [charts.compare_chart(lines, [group]), charts.volcano_chart(lines), charts.slopes_chart(lines, [group])]
    for chart in made:
        text = json.dumps(specification(chart))
        assert '"label": "one"' in text
        assert '"label": "two"' in text


def test_very_long_names_are_the_same_on_the_axis_and_in_the_lines():
    spec = specification(charts.compare_chart(compared(2).assign(model=["a" * 400, "a" * 401]), ["model"]))
    names = {line["label"] for line in spec["datasets"][spec["data"]["name"]]}
    domains = [layer["encoding"].get("y", {}).get("scale", {}).get("domain") for layer in spec["layer"]]
    assert names == {name for domain in domains if domain for name in domain}
    assert len(names) == 2


@pytest.mark.parametrize("letters", [10, 100, 400])
def test_many_anomalies_stay_small_however_long_their_names_and_each_group_keeps_its_first(letters, capfd):
    group = {"metric": "latency_ms", "lower": 2.0123, "upper": 4.01234, "severity": "major", "status": "suspect"}
    frame = pd.DataFrame(
        [
            group | {"model": f"{g:02d}{'m' * letters}", "value": 9.12345 + i, "score": 90 - i, "pvalue_adjusted": 0.01}
            for g in range(40)
            for i in range(10)
        ]
    )
    chart = charts.anomalies_chart(frame, ["model"])
    check(f"names of {letters} letters", chart, capfd)
    spec = specification(chart)
    lines = spec["datasets"][spec["data"]["name"]]
    assert [line["label"][:2] for line in lines if line.get("first")] == [f"{g:02d}" for g in range(40)]
    assert spec["title"]["subtitle"][-1].startswith(f"{400 - len(lines)} more not shown")


def test_no_two_verdicts_of_a_kind_share_colour_or_shape():
    for kind in (
        ("regressed", "changed", "improved", "undecided", "equivalent", "no_data"),
        ("worsening", "trending", "improving", "none", "too_few"),
        ("critical", "major", "minor", "good"),
        ("large", "medium", "small", "negligible", "undefined"),
        ("some failed", "none failed"),
        ("sick", "suspect", "fine", "too_few"),
        ("surely off", "within the noise"),
        ("more than stated", "as stated", "less than stated"),
    ):
        assert len({LOOKS[name][1] for name in kind}) == len(kind)
        assert len({LOOKS[name][0] for name in kind}) >= len(kind) - (kind[0] == "large")


def test_the_best_comes_first():
    lines = pd.DataFrame({"model": ["a", "b", "c"], "metric": "qps", "unit": "1/s", "n": 5, "mean": 1.0})
    lines = lines.assign(p50=[2.0, 9.0, 5.0], min=0.0, p75=9.0, p90=9.0, max=9.0)
    for direction, first in (("higher", "b"), ("lower", "a"), (None, "a")):
        spec = specification(charts.statistics_chart(lines, ["model"], "qps", direction=direction))
        assert spec["datasets"][spec["data"]["name"]][0]["label"] == first


def test_wrong_names_and_frames_are_told():
    lines = pd.DataFrame({"model": ["a"], "metric": "qps", "unit": "1/s", "n": 5, "mean": 1.0, "hardware": "x"})
    with pytest.raises(UnknownNameError, match="did you mean 'qps'"):
        charts.statistics_chart(lines, ["model"], "qpss")
    with pytest.raises(UnknownNameError, match="unknown statistic 'p50'"):
        charts.percentile_heatmap(lines, "qps")
    with pytest.raises(SchemaError, match="'verdict'"):
        charts.compare_chart(lines, ["model"])


def test_a_trend_shows_what_was_found(capfd):
    times = pd.date_range("2026-01-01", periods=3000, freq="h", tz="Europe/Berlin")
    runs = pd.DataFrame({"time": times, "value": np.sin(np.arange(3000.0))})
    runs.loc[1500, "value"] = 50.0
    found = pd.DataFrame({"time": times[[1500]], "value": [50.0], "severity": ["critical"]})
    changes = pd.DataFrame({"time": times[[1000]], "change_pct": [12.0]})
    chart = charts.trend_chart(runs, "latency_ms", anomalies=found, changes=changes, slope_per_day=0.1)
    check("trend", chart, capfd)
    text = json.dumps(chart.to_dict())
    assert "+12 %" in text
    assert '"v": 50' in text
    assert "1 anomaly, 1 change point" in chart.description


def test_times_keep_their_milliseconds():
    moment = pd.Timestamp("2026-03-04 05:06:07.089")
    chart = charts.trend_chart(pd.DataFrame({"time": [moment], "value": [1.0]}), "latency_ms")
    assert f'"t": {moment.value // 10**6}' in json.dumps(chart.to_dict())


def test_labels_of_change_points_do_not_overlap(capfd):
    times = pd.date_range("2026-01-01", periods=400, freq="h")
    runs = pd.DataFrame({"time": times, "value": np.arange(400.0)})
    near = pd.DataFrame({"time": times[[100, 101, 102, 103, 104, 300, 399]], "change_pct": np.arange(7) * 11.5 + 10})
    chart = charts.trend_chart(runs, "latency_ms", changes=near)
    check("labels", chart, capfd)
    spec = chart.to_dict()
    texts = [layer for layer in spec["layer"] if layer["mark"]["type"] == "text"]
    lines = {
        (line["t"], layer["encoding"]["y"]["value"], layer["mark"]["align"], line["said"])
        for layer in texts
        for line in spec["datasets"][layer["data"]["name"]]
    }
    assert len(lines) == 5  # three rows for the five that are near, and room for the two others
    start, span = times[0].value / 1e6, (times[-1] - times[0]).total_seconds() * 1e3
    for row in {line[1] for line in lines}:
        places = []
        for moment, _, align, said in (line for line in lines if line[1] == row):
            x, width = 560 * (moment - start) / span, 5.0 * len(said)
            places.append((x, x + width) if align == "left" else (x - width, x))
        places.sort()
        assert all(end <= begin for (_, end), (begin, _) in pairwise(places))
    rules = next(layer for layer in spec["layer"] if layer["mark"]["type"] == "rule")
    assert len(spec["datasets"][rules["data"]["name"]]) == 7


def test_bins_without_an_end_are_told_in_words():
    bins = pd.DataFrame({"low": [-np.inf, 0.0, 1.0], "high": [0.0, 1.0, np.inf], "count": [2, 5, 1]})
    chart = charts.distribution_chart(bins)
    assert "not shown: 2 values below 0, 1 value above 1" in chart.to_dict()["title"]["subtitle"]


def test_bins_that_grow_are_drawn_on_a_log_scale(capfd):
    edges = 10.0 ** np.arange(-1, 4)
    chart = charts.distribution_chart(pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": 3}))
    check("log", chart, capfd)
    assert '"type": "log"' in json.dumps(chart.to_dict()["layer"])


def test_a_warning_would_be_seen(capfd):
    bad = {"data": {"values": [{"a": 1}]}, "mark": "bar", "encoding": {"x": {"field": "a", "type": "nominal"}}}
    bad["encoding"]["shape"] = {"field": "a", "type": "quantitative"}
    vl_convert.vegalite_to_vega(bad, show_warnings=True)
    assert "".join(capfd.readouterr())


def test_importing_the_package_does_not_import_altair():
    code = "import sys, aggrkit; assert not {'altair', 'vl_convert', 'aggrkit.charts'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
