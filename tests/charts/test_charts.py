"""Every chart, of real results: it compiles with each Vega-Lite without a warning, is small, and says what it shows."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import vl_convert

import aggrkit
from aggrkit import charts, datasets
from aggrkit.charts.display import specification
from aggrkit.charts.theme import LOOKS
from aggrkit.errors import SchemaError, UnknownNameError
from aggrkit.model.answer import COLUMNS

VERSIONS = vl_convert.get_vegalite_versions()
SETS = {
    "mlperf_training": ("total_time_seconds", "round", "v2.1", "v3.1"),
    "onnx_scoreboard": ("is_compatible", "worker", "stable", "development"),
    "ci_tests": ("execution_time_seconds", "run_id", "dl4j-314", "dl4j-315"),
    "jsfw_bench": ("total_time_ms", "browser_version", 139, 150),
}
GROUPS = ["model", "hardware"]


def all_charts(frame, metric, by, baseline, current):
    """Return every chart by name, of the frames of one set of results."""
    asked = frame.aggr
    stats, anomalies = asked.stats(), asked.anomalies()
    made = {
        "statistics": charts.statistics_chart(stats, GROUPS, metric, direction="lower"),
        "heatmap": charts.percentile_heatmap(stats, metric, "mean"),
        "anomalies": charts.anomalies_chart(anomalies, GROUPS),
        "slopes": charts.slopes_chart(asked.trends(), GROUPS),
        "correlations": charts.correlation_heatmap(asked.correlations()),
        "differences": charts.differences_chart(asked.differences()),
    }
    compared = asked.compare(baseline, current, by=by)
    made["compare"] = charts.compare_chart(compared, GROUPS)
    made["volcano"] = charts.volcano_chart(compared)
    try:
        rates = asked.proportions()
    except UnknownNameError:
        pass
    else:
        made["rates"] = charts.rates_chart(rates, GROUPS, rates["metric"].iloc[0])
    largest = frame[frame["model"] == frame["model"].value_counts().index[0]]
    runs = largest.assign(value=largest[metric].astype(float))
    found = anomalies[anomalies["metric"] == metric]
    made["trend"] = charts.trend_chart(runs, metric, unit="s", anomalies=found, slope_per_day=0.01)
    made["distribution"] = charts.distribution_chart(bins_of(runs, ["hardware"]), ["hardware"], metric=metric)
    return made


def bins_of(frame, groups):
    parts = []
    for key, group in frame.groupby(groups):
        counts, edges = np.histogram(group["value"].dropna(), bins=30)
        part = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})
        parts.append(part.assign(**dict(zip(groups, key, strict=True))))
    return pd.concat(parts)


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


@pytest.mark.parametrize("name", list(SETS))
def test_every_chart_of_the_shipped_sets(name, capfd):
    made = all_charts(datasets.load(name), *SETS[name])
    assert len(made) >= 10
    for kind, chart in made.items():
        check(f"{name} {kind}", chart, capfd)


@pytest.mark.data
@pytest.mark.parametrize("path", ["mlperf_inference", "gpu_cnn_iter", "liger_kernel", "timm_bench", "torch_xpu_compat"])
def test_charts_of_the_large_sets(path, data_folder, capfd):
    found = sorted([*(data_folder / path).glob("*.parquet"), *(data_folder / path).glob("*.csv*")])
    assert found, f"no table in {path}"
    asked = aggrkit.open(found[0])
    stats = asked.stats()
    metric = stats["metric"].iloc[0]
    made = {
        "statistics": charts.statistics_chart(stats, GROUPS, metric),
        "heatmap": charts.percentile_heatmap(stats, metric, "mean"),
        "correlations": charts.correlation_heatmap(asked.correlations()),
        "differences": charts.differences_chart(asked.differences()),
        "anomalies": charts.anomalies_chart(asked.anomalies(), GROUPS),
    }
    for kind, chart in made.items():
        check(f"{path} {kind}", chart, capfd)


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


def test_no_two_verdicts_of_a_kind_share_colour_or_shape():
    for kind in (
        ("regressed", "changed", "improved", "undecided", "equivalent", "no_data"),
        ("worsening", "trending", "improving", "none", "too_few"),
        ("critical", "major", "minor", "good"),
        ("large", "medium", "small", "negligible", "undefined"),
        ("some failed", "none failed"),
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


def test_a_warning_would_be_seen(capfd):
    bad = {"data": {"values": [{"a": 1}]}, "mark": "bar", "encoding": {"x": {"field": "a", "type": "nominal"}}}
    bad["encoding"]["shape"] = {"field": "a", "type": "quantitative"}
    vl_convert.vegalite_to_vega(bad, show_warnings=True)
    assert "".join(capfd.readouterr())


def test_importing_the_package_does_not_import_altair():
    code = "import sys, aggrkit; assert not {'altair', 'vl_convert', 'aggrkit.charts'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
