"""What is read in a chart: colours of text, percent, short numbers, names beside points."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import vl_convert

import aggrkit
from aggrkit import charts
from aggrkit.charts.display import specification
from aggrkit.charts.rates import outcomes_chart
from aggrkit.charts.theme import GREY_TEXT, PALETTE

TEXT = re.compile(r"<text[^>]*>[^<]*</text>")


def written(chart: Any, **look: Any) -> list[tuple[str, str]]:
    """Return colour and content of everything that is written in a chart."""
    found = TEXT.findall(vl_convert.vegalite_to_svg(specification(chart, **look)))
    return [(re.search(r'fill="([^"]*)"', each)[1], re.sub(r"<[^>]*>", "", each)) for each in found]


def words(chart: Any) -> list[str]:
    return [text for _, text in written(chart)]


def stats(**columns: Any) -> pd.DataFrame:
    line = {"model": "a", "hardware": "x", "metric": "m", "unit": "ms", "n": 9, "mean": 1.0, "p50": 1.0}
    return pd.DataFrame(line | columns)


def compared(count: int, **columns: Any) -> pd.DataFrame:
    lines = pd.DataFrame({"model": [f"model {i}" for i in range(count)], "metric": "latency_ms", "unit": "ms"})
    fixed = {"baseline": 1.0, "current": 1.1, "ci_lower": 1.0, "ci_upper": 20.0, "verdict": "regressed"}
    return lines.assign(**fixed).assign(**columns)


EVERY_TEXT = {
    "forest": lambda: charts.compare_chart(compared(3, change_pct=[1.0, 5.0, 9.0]), ["model"]),
    "volcano": lambda: charts.volcano_chart(compared(3, change_pct=[1.0, 5.0, 9.0], pvalue_adjusted=1e-9)),
    "nothing": lambda: charts.compare_chart(compared(0, change_pct=[]), ["model"]),
    "outcomes": lambda: outcomes_chart(9, 1, "passed"),
    "changes": lambda: charts.trend_chart(
        pd.DataFrame({"time": pd.date_range("2026-01-01", periods=9), "value": range(9)}),
        "m",
        changes=pd.DataFrame({"time": pd.to_datetime(["2026-01-05"]), "change_pct": [12.0]}),
    ),
}


@pytest.mark.parametrize("kind", EVERY_TEXT)
def test_all_that_is_written_has_the_colour_of_the_theme(kind: str) -> None:
    made = EVERY_TEXT[kind]()
    assert {colour for colour, _ in written(made, text="#e1e2e3")} == {"#e1e2e3"}
    # on white, what is written within the plot is a grey that stands out from it by 4.5 to 1
    assert GREY_TEXT in {colour for colour, _ in written(made)}
    level = (int(GREY_TEXT[1:3], 16) / 255 + 0.055) ** 2.4 / 1.055**2.4
    assert 1.05 / (level + 0.05) > 4.5


def test_the_colour_of_words_in_bars_stands_out() -> None:
    lines = {"model": "a", "column": "c", "value": list("123456789"), "count": range(90, 0, -10)}
    spec = specification(charts.shares_chart(pd.DataFrame(lines), ["model"]))
    told = [line for name in spec["datasets"].values() for line in name if "part" in line]
    for line, colour in zip(told, PALETTE.values(), strict=False):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        level = 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] + 0.05
        assert (1.05 / level if line.get("dark") else level / 0.05) > 4.5, colour


def test_pass_rates_are_in_percent() -> None:
    lines = stats(model=["a", "b"], unit="proportion", mean=[0.5, 0.98039], p50=np.nan)
    chart = charts.percentile_heatmap(lines, "m", "mean")
    seen = words(chart)
    assert {"50 %", "98 %", "50%", "98%"} <= set(seen)
    assert "98.04 % (b on x)" in chart.description
    assert {"9"} == {text for text in words(charts.percentile_heatmap(lines, "m", "n")) if "9" in text}
    rates = pd.DataFrame({"time": pd.date_range("2026-01-01", periods=60), "value": [1.0, 0.9] * 30})
    moved = pd.DataFrame({"time": rates["time"][[30]], "change_pct": [-5.0]})
    chart = charts.trend_chart(rates, "passed", unit="proportion", changes=moved)
    ticks = [float(text[:-1]) for text in words(chart) if re.fullmatch(r"[\d.]+%", text)]
    assert max(ticks) == 100
    assert "-5 points" in words(chart)


def test_pass_rates_of_an_answer_have_intervals_and_shares() -> None:
    frame = pd.DataFrame({"model": ["a"] * 50 + ["b"] * 50, "passed": ([True] * 45 + [False] * 5) * 2})
    found = frame.aggr.stats(level="model")
    assert "surely worst is" in found.chart().description
    assert "90 % of 50 (78.6 to 95.7 %)" in " ".join(words(found.chart()))
    shares = found.chart("distribution")
    parts = [line for lines in shares.to_dict()["datasets"].values() for line in lines if "part" in line]
    assert {(line["label"], line["part"]): line["share"] for line in parts} == {
        (model, part): pytest.approx(share) for model in "ab" for part, share in (("passed", 90), ("failed", 10))
    }


def test_nearly_all_is_not_all() -> None:
    lines = pd.DataFrame({"model": ["a"], "metric": "m", "n": 28_000, "successes": 27_999, "failures": 1})
    lines = lines.assign(rate=27_999 / 28_000, ci_lower=0.9998, ci_upper=0.99999)
    assert "99.99 % of 28,000 (99.98 to 99.99 %)" in words(charts.rates_chart(lines, ["model"], "m"))
    assert "100 % of 28,000 (99.98 to 99.99 %)" in words(charts.rates_chart(lines.assign(rate=1.0), ["model"], "m"))
    assert outcomes_chart(27_999, 1, "m").description.count("99.99 %") == 1
    assert "no observation passed or failed" in outcomes_chart(0, 0, "m").description


def test_numbers_fit_into_the_cells_of_a_heatmap() -> None:
    values = [10_860_122.0, 0.0001234, 97_268_321.0, -999_999.0, 22_999.0, 1.5e9, 3e-9, 0.5, 123.4567]
    lines = stats(model=[f"m{i}" for i in range(len(values))], p50=values)
    spec = specification(charts.percentile_heatmap(lines, "m"))
    (records,) = spec["datasets"].values()
    assert all(len(line["said"]) <= 7 for line in records)
    assert {line["said"] for line in records} >= {"10.9M", "97.3M", "22,999", "1.5G", "0.5", "123.5"}


def test_small_and_large_numbers_of_a_legend_are_read() -> None:
    lines = stats(model=["a", "b", "c"], p50=[0.7327, 100.0, 1.99e7])
    seen = words(charts.percentile_heatmap(lines, "m"))
    assert not [text for text in seen if re.fullmatch(r"[\d.]+m", text)]  # 0.7327, and not 733 thousandths
    assert [text for text in seen if text.endswith("M")]


def test_far_anomalies_leave_the_ticks_near_the_band_as_they_are() -> None:
    lines = pd.DataFrame({"model": ["a", "b"], "metric": "m", "value": [5.0, 40_000.0], "lower": 1.0, "upper": 3.0})
    chart = charts.anomalies_chart(lines.assign(severity="critical", score=9.0, pvalue_adjusted=0.001), ["model"])
    assert {"0", "1", "10k"} <= set(words(chart))
    assert "0k" not in words(chart)


def test_a_lone_value_has_an_axis_around_it() -> None:
    chart = charts.statistics_chart(stats(mean=[0.4], p50=[0.4]), ["model"], "m")
    ticks = [float(text) for text in words(chart) if re.fullmatch(r"[\d.]+", text)]
    assert min(ticks) < 0.4 < max(ticks)
    zero = charts.statistics_chart(stats(mean=[0.0], p50=[0.0]), ["model"], "m")
    assert "1.0" in words(zero)


def test_sizes_of_changes_are_above_the_plot_and_have_a_unit() -> None:
    runs = pd.DataFrame({"time": pd.date_range("2026-01-01", periods=20), "value": np.arange(20.0)})
    moved = pd.DataFrame({"time": runs["time"][[5, 6]], "change_pct": [2449.0, 12.5]})
    spec = charts.trend_chart(runs, "m", changes=moved).to_dict()
    texts = [layer for layer in spec["layer"] if layer["mark"]["type"] == "text"]
    assert all(layer["encoding"]["y"]["value"] < 0 for layer in texts)
    assert spec["title"]["offset"] > 20
    assert {"+2,449 %", "+12.5 %"} <= set(words(charts.trend_chart(runs, "m", changes=moved)))
    odd = pd.DataFrame({"time": runs["time"][[9]], "value": [9.0], "severity": "major"})
    both = charts.trend_chart(runs, "m", changes=moved, anomalies=odd).to_dict()
    legends = [layer["encoding"].get("color", {}).get("legend", {}) for layer in both["layer"]]
    assert max(legend.get("offset", 0) for legend in legends) > 30
    assert "offset" not in both["title"]


def test_the_series_of_a_change_has_the_unit_of_its_metric() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "model": "a",
            "timestamp": pd.date_range("2026-01-01", periods=60, freq="D"),
            "latency_ms": np.repeat([10.0, 12.0], 30) + rng.normal(0, 0.1, 60),
        }
    )
    found = frame.aggr.changes(level="model")
    assert found.meta["units"] == {"latency_ms": "ms"}
    assert "latency_ms (ms)" in words(found.chart("series"))


def test_the_surest_changes_of_a_volcano_have_names_that_cover_nothing() -> None:
    rng = np.random.default_rng(3)
    many = compared(60, change_pct=rng.normal(0, 30, 60), pvalue_adjusted=10.0 ** -rng.uniform(0, 12, 60))
    spec = charts.volcano_chart(many.assign(verdict=["regressed", "undecided"] * 30)).to_dict()
    texts = [layer for layer in spec["layer"] if layer["mark"]["type"] == "text"]
    domain = next(layer["encoding"]["x"]["scale"]["domain"] for layer in texts)
    top = next(layer["encoding"]["y"]["scale"]["domain"][1] for layer in texts)
    boxes = []
    for layer in texts:
        for line in spec["datasets"][layer["data"]["name"]]:
            x = 460 * (np.clip(line["x"], *domain) - domain[0]) / (domain[1] - domain[0])
            y, width = 300 * (1 - line["y"] / top), 5 * len(line["said"])
            left = x + 7 if layer["mark"]["align"] == "left" else x - 7 - width
            boxes.append((left, y - 5, left + width, y + 5))
            assert int(line["said"].split()[1]) % 2 == 0  # those that have a verdict
    assert 3 <= len(boxes) <= 8
    for i, one in enumerate(boxes):
        assert one[0] >= 0
        assert one[2] <= 460
        for other in boxes[:i]:
            assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]


def test_long_names_in_the_legend_of_a_distribution_are_told_apart() -> None:
    names = [f"a model with a rather long name · on hardware {i}" for i in range(3)]
    bins = pd.DataFrame({"label": np.repeat(names, 2), "low": [0.0, 1.0] * 3, "high": [1.0, 2.0] * 3, "count": 5})
    assert set(names) <= set(words(charts.distribution_chart(bins, ["label"])))


def test_dates_keep_apart() -> None:
    times = pd.date_range("2019-01-01", "2021-05-01", periods=60)
    chart = charts.trend_chart(pd.DataFrame({"time": times, "value": range(60)}), "m")
    svg = vl_convert.vegalite_to_svg(specification(chart))
    found = re.findall(r"translate\(([\d.]+),[\d.]+\)[^>]*>\d{4}-\d\d-\d\d</text>", svg)
    shown = re.findall(r'<text[^>]*opacity="1"[^>]*>\d{4}-\d\d-\d\d</text>', svg)
    places = sorted(float(re.search(r"translate\(([\d.]+)", each)[1]) for each in shown) or sorted(map(float, found))
    assert len(places) >= 3
    assert min(np.diff(places)) > 62  # ten characters, and a space


def test_wide_ranges_of_colours_are_on_a_log_scale() -> None:
    for values, wanted in (([0.1, 0.2, 19.86], "log"), ([1.0, 2.0, 3.0], None)):
        spec = json.dumps(charts.percentile_heatmap(stats(model=list("abc"), p50=values), "m").to_dict())
        assert ('"type": "log"' in spec) is (wanted == "log")


def test_shipped_results_have_names_in_their_volcano() -> None:
    found = aggrkit.datasets.load("mlperf_training").aggr.compare(
        "v3.0", "v3.1", by="round", level="model_hardware", metrics="total_time_seconds"
    )
    layers = found.chart("volcano").to_dict()["layer"]
    assert [layer for layer in layers if layer["mark"]["type"] == "text"]
