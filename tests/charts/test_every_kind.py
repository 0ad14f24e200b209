"""Every kind of chart of every finding, on every set of results."""

from __future__ import annotations

import json
import pickle
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import vl_convert

import aggrkit
from aggrkit import datasets, findings
from aggrkit.charts.display import Shown, specification
from aggrkit.errors import (
    AggrError,
    EmptySelectionError,
    SchemaError,
    TooFewObservationsError,
    UnknownNameError,
)
from aggrkit.findings.pictures import KINDS
from aggrkit.model.answer import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import altair as alt

    from aggrkit.findings import Finding

NEWEST = vl_convert.get_vegalite_versions()[-1]
OF_LAB = next(version for version in vl_convert.get_vegalite_versions() if version.startswith("5"))
SIDES: dict[str, tuple[str, Any, Any]] = {
    "mlperf_training": ("round", "v2.1", "v3.1"),
    "onnx_scoreboard": ("worker", "stable", "development"),
    "ci_tests": ("run_id", "dl4j-314", "dl4j-315"),
    "jsfw_bench": ("browser_version", 139, 150),
}
CLASSES = [getattr(findings, name) for name in findings.__all__ if name != "Finding"]


def questions(asked: Any, by: str, baseline: Any, current: Any, **more: Any) -> dict[str, Callable[[], Finding]]:
    """Return every question that can be asked."""
    elsewhere = {name: value for name, value in more.items() if name != "level"}
    return {
        "stats": lambda: asked.stats(**more),
        "proportions": lambda: asked.proportions(**more),
        "distributions": lambda: asked.distributions(**more),
        "anomalies": lambda: asked.anomalies(**more),
        "compare": lambda: asked.compare(baseline, current, by=by, **more),
        "several": lambda: asked.compare(baseline, current, by=by, statistic=("p50", "p90"), **more),
        "correlations": lambda: asked.correlations(**more),
        "trends": lambda: asked.trends(**more),
        "changes": lambda: asked.changes(**more),
        "differences": lambda: asked.differences(**elsewhere),
        "variance": lambda: asked.variance(**more),
        "health": lambda: asked.health(**elsewhere),
        "calibration": lambda: asked.calibrate(baseline, current, by=by, repeats=5, **more),
    }


def answered(asked: dict[str, Callable[[], Finding]]) -> Iterator[tuple[str, Finding]]:
    """Return the findings of a set; what can't be asked of it is left out."""
    for name, ask in asked.items():
        try:
            yield name, ask()
        except (UnknownNameError, EmptySelectionError, SchemaError, TooFewObservationsError):
            continue


def check(name: str, chart: alt.LayerChart, capfd: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    """Assert that a chart is fit to be shown, and return it."""
    assert isinstance(chart, Shown)
    spec = specification(chart)
    text = json.dumps(spec, allow_nan=False, separators=(",", ":"))
    assert 1000 < len(text) < 25_000, (name, len(text))
    assert spec["description"].endswith("."), spec["description"]
    for version in (OF_LAB, *more):
        assert vl_convert.vegalite_to_vega(spec, vl_version=version, show_warnings=True)["marks"]
    said = "".join(capfd.readouterr())
    assert not said, (name, said)
    return spec


def every_chart(name: str, finding: Finding, capfd: pytest.CaptureFixture[str], *versions: str) -> int:
    kinds = finding.chart_kinds()
    for kind in kinds:
        if kind == "heatmap" and finding._name == "stats" and len(finding.meta["selection"].level) < 2:
            continue
        check(f"{name} {kind}", finding.chart(kind), capfd, *versions)
    return len(kinds)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIDES)
def test_every_kind_of_the_shipped_sets(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    asked = questions(datasets.load(name).aggr, *SIDES[name])
    assert sum(every_chart(f"{name} {which}", found, capfd, NEWEST) for which, found in answered(asked)) >= 15


LARGE: dict[str, dict[str, Any]] = {
    "mlperf_inference/results.csv": {},
    "gpu_cnn_iter/results.parquet": {},
    "liger_kernel/results.csv": {},
    "timm_bench/results.parquet": {"where": {"model_family": ["resnet", "vit"]}},
    "torch_xpu_compat/results.csv": {},
    "dbbench/performance.parquet": {},
    "flakeflagger/results.csv": {},
    "jsfw_bench/samples.parquet": {},
    "onnx_scoreboard/monthly_tests.parquet": {},
    "sap_hana_cpd/raw_repeats.parquet": {},
    "web_conformance/wpt_bsf_daily.csv": {},
}


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("path", LARGE)
def test_every_kind_of_the_large_sets(path: str, data_folder: Any, capfd: pytest.CaptureFixture[str]) -> None:
    asked = aggrkit.open(data_folder / path)
    roles = {column.role.value: column.name for column in asked.schema.columns}
    for role in ("worker", "hardware", "model", "run_id"):
        by = roles.get(role, "")
        labels = asked.distributions(columns=[by], level=[], max_values=1_000_000)["value"].tolist() if by else []
        if len(labels) > 1:
            break
    made = questions(asked, by, labels[0], labels[-1], **LARGE[path])
    assert sum(every_chart(f"{path} {which}", found, capfd, NEWEST) for which, found in answered(made)) >= 5


# Frames that are odd.


def results(n: int = 160) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {
            "model": rng.choice(["bert", "gpt"], n),
            "hardware": rng.choice(["a100", "h100"], n),
            "worker": rng.choice(["w0", "w1", "w2"], n),
            "run_id": [f"r{k // 4}" for k in range(n)],
            "version": np.where(np.arange(n) < n // 2, "v1", "v2"),
            "timestamp": pd.date_range("2026-01-01", periods=n, freq="h"),
            "precision": rng.choice(["fp16", "fp32"], n),
            "latency_ms": rng.lognormal(3, 0.05, n) * np.where(np.arange(n) < n // 2, 1, 1.3),
            "passed": rng.random(n) < 0.9,
        }
    )
    return frame.assign(throughput=1e4 / frame["latency_ms"] + rng.normal(0, 1, n))


@pytest.fixture(scope="module")
def found() -> dict[str, Finding]:
    return dict(answered(questions(results().aggr, "version", "v1", "v2")))


def all_kinds(found: dict[str, Finding]) -> Iterator[tuple[str, Finding, str]]:
    assert len(found) == 13
    for name, finding in found.items():
        for kind in finding.chart_kinds():
            yield name, finding, kind


def test_each_finding_has_kinds() -> None:
    assert set(KINDS) == {kind._name for kind in CLASSES}
    assert all(kind.chart_kinds() for kind in CLASSES)


def test_the_default_is_the_first_kind(found: dict[str, Finding]) -> None:
    for finding in found.values():
        assert finding.chart().to_dict() == finding.chart(finding.chart_kinds()[0]).to_dict()


def test_frames_that_were_emptied_say_so_in_words(found: dict[str, Finding], capfd: pytest.CaptureFixture[str]) -> None:
    for name, finding, kind in all_kinds(found):
        spec = check(f"{name} {kind}", finding.head(0).chart(kind), capfd)
        assert spec["description"].split(": ", 1)[1] in vl_convert.vegalite_to_svg(spec)


def test_frames_of_one_line(found: dict[str, Finding], capfd: pytest.CaptureFixture[str]) -> None:
    for name, finding, kind in all_kinds(found):
        check(f"{name} {kind}", finding.tail(1).chart(kind), capfd)


def test_missing_and_infinite_numbers(found: dict[str, Finding], capfd: pytest.CaptureFixture[str]) -> None:
    for odd in (np.nan, np.inf, -np.inf):
        for name, finding, kind in all_kinds(found):
            numbers = [c for c in finding.columns if pd.api.types.is_float_dtype(finding[c].dtype)]
            altered = finding.assign(**dict.fromkeys(numbers, odd))
            if kind == "series":
                with pytest.raises(AggrError, match="was altered since it was found"):
                    altered.chart(kind)
                continue
            check(f"{name} {kind} {odd}", altered.chart(kind), capfd)


def test_frames_that_were_filtered_sorted_and_pickled(found: dict[str, Finding]) -> None:
    for name, finding, kind in all_kinds(found):
        moved = finding.sort_values(list(finding.columns[:1]), ascending=False, kind="stable").reset_index(drop=True)
        assert isinstance(moved.chart(kind), Shown)
        loaded = pickle.loads(pickle.dumps(moved))
        if (name, kind) == ("stats", "distribution"):
            with pytest.raises(AggrError, match="stayed where it was made"):
                loaded.chart(kind)
        else:
            assert loaded.chart(kind).to_dict() == moved.chart(kind).to_dict()


def test_a_filtered_frame_is_drawn_as_filtered(found: dict[str, Finding]) -> None:
    mine = found["stats"].query("model == 'bert'")
    assert "2 lines" in mine.chart(metric="latency_ms").description
    assert "of 2 lines" in found["proportions"].query("model == 'bert'").chart().description
    n = int(mine.loc[mine["metric"] == "latency_ms", "n"].sum())
    assert f"{n} values in 2 groups" in mine.chart("distribution", metric="latency_ms").description


HOSTILE = ['a"b', "'; DROP TABLE x; --", "[0]", "a.b", "<b>", "$", "\n", "é" * 90, "datum.x", "\\", "null", "other"]
OUR_OWN = [("x", "label", "low", "high"), ("y", "said", "line", "part"), ("share", "size", "count", "v")]


@pytest.mark.slow
def test_hostile_names_and_groups_named_like_our_own(capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(8)
    n = 160
    frame = results(n)
    for groups in OUR_OWN:
        made = {group: rng.choice(HOSTILE if group == groups[0] else ["a", "b"], n) for group in groups}
        asked = frame.drop(columns=["model", "hardware"]).assign(**made).aggr(conditions=list(groups))
        for name, finding in answered(questions(asked, "version", "v1", "v2", level=list(groups))):
            every_chart(f"{groups} {name}", finding, capfd)


# What is asked wrongly.


def test_unknown_kinds_and_options_are_told(found: dict[str, Finding]) -> None:
    for finding in found.values():
        with pytest.raises(UnknownNameError, match="unknown kind of chart 'pie'"):
            finding.chart("pie")
        with pytest.raises(TypeError, match="has no option 'colour'"):
            finding.chart(colour="red")
    with pytest.raises(UnknownNameError, match="did you mean 'levels'"):
        found["stats"].chart("level")
    with pytest.raises(TypeError, match=r"did you mean 'metric'\?"):
        found["stats"].chart(metrics="latency_ms")
    with pytest.raises(UnknownNameError, match="did you mean 'latency_ms'"):
        found["stats"].chart(metric="latency")
    with pytest.raises(UnknownNameError, match="'precision'"):
        found["distributions"].chart(column="precisian")
    with pytest.raises(UnknownNameError, match="unknown statistic 'p51'"):
        found["stats"].chart("heatmap", metric="latency_ms", statistic="p51")
    with pytest.raises(UnknownNameError, match="unknown method"):
        found["correlations"].chart(method="kendal")
    with pytest.raises(IndexError, match="no line 99"):
        found["changes"].chart("series", i=99)


def test_the_longer_side_of_a_heatmap_goes_downwards() -> None:
    for models, devices, down in ((2, 9, "column"), (9, 2, "row")):
        pairs = pd.MultiIndex.from_product([range(models), range(devices)], names=["model", "hardware"]).to_frame(False)
        lines = pairs.assign(metric="m", unit="ms", n=5, p50=1.0 + pairs["model"] + pairs["hardware"])
        spec = specification(aggrkit.charts.percentile_heatmap(lines, "m"))
        assert all(layer["encoding"]["y"]["field"] == down for layer in spec["layer"])
    many = pd.DataFrame({"model": "bert", "hardware": [f"h{k}" for k in range(60)], "metric": "m", "unit": "ms"})
    spec = specification(aggrkit.charts.percentile_heatmap(many.assign(n=range(60), p50=1.0), "m"))
    shown = spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert sorted(shown) == sorted(f"h{k}" for k in range(20, 60))
    assert "20 more cells not shown" in json.dumps(spec["title"])


def test_a_heatmap_needs_two_groups() -> None:
    one = results().aggr.stats(level="model")
    with pytest.raises(SchemaError, match="two group columns, and this frame has only 'model'"):
        one.chart("heatmap")
    three = results().aggr.stats(level=["version", "precision", "worker"], metrics="latency_ms")
    chart = three.chart("heatmap")
    assert "version and precision" in chart.description
    assert "other groups not shown" in json.dumps(chart.to_dict())
    assert "worker and version" in three.chart("heatmap", rows="worker").description


def test_a_frame_that_lost_columns_is_told(found: dict[str, Finding]) -> None:
    with pytest.raises(SchemaError, match="lacks columns of Stats"):
        found["stats"].drop(columns="n").chart()
    with pytest.raises(AggrError, match="no longer knows what was asked"):
        findings.Stats(pd.DataFrame(columns=["model", *COLUMNS["stats"]])).chart()


# What they say.


def test_the_better_direction_comes_from_the_metric(found: dict[str, Finding]) -> None:
    text = json.dumps(found["stats"].chart(metric="latency_ms").to_dict())
    assert "lower is better, the best first" in text
    assert "higher is better" in json.dumps(found["stats"].chart(metric="latency_ms", direction="higher").to_dict())


def records(chart: alt.LayerChart) -> list[dict[str, Any]]:
    return [line for lines in chart.to_dict()["datasets"].values() for line in lines]


def test_the_distribution_counts_what_is_in_the_source() -> None:
    frame = results()
    found = frame.aggr.stats(level="model", metrics="latency_ms")
    chart = found.query("model == 'gpt'").chart("distribution")
    mine = frame.loc[frame["model"] == "gpt", "latency_ms"]
    bars = [line for line in records(chart) if "count" in line]
    assert sum(line["count"] for line in bars) == len(mine)
    for line in bars:
        assert line["count"] == mine.between(line["low"], line["high"], inclusive="left").sum()


def test_shares_sum_to_a_hundred_and_rare_values_are_put_together() -> None:
    values = [f"v{k % 12}" for k in range(240)]
    frame = pd.DataFrame({"model": ["a", "b"] * 120, "kind": values, "latency_ms": 1.0})
    chart = frame.aggr.distributions(columns=["kind"], level="model").chart()
    parts = [line for line in records(chart) if "part" in line]
    assert {line["part"] for line in parts} >= {"6 others"}
    for model in ("a", "b"):
        assert sum(line["share"] for line in parts if line["label"] == model) == pytest.approx(100, abs=1e-3)


def test_lines_of_several_statistics_stay_apart(found: dict[str, Finding]) -> None:
    for kind in ("forest", "volcano"):
        labels = [line["label"] for line in records(found["several"].chart(kind)) if "label" in line]
        assert len(labels) == len(set(labels))
        assert {label.rsplit(" · ", 1)[1] for label in labels} >= {"p50"}
        plain = [line["label"] for line in records(found["compare"].chart(kind)) if "label" in line]
        assert not any(label.endswith(("p50", "mean")) for label in plain)


def test_the_series_has_its_steps_and_rules() -> None:
    times = pd.date_range("2026-01-01", periods=60, freq="D")
    level = np.where(np.arange(60) < 20, 10.0, np.where(np.arange(60) < 40, 12.0, 15.0))
    noise = np.random.default_rng(2).normal(0, 0.1, 60)
    found = pd.DataFrame({"model": "a", "timestamp": times, "latency_ms": level + noise}).aggr.changes(level="model")
    assert len(found) == 2
    for frame in (found, found.head(1)):
        chart = frame.chart("series", i=0)
        assert "60 values" in chart.description
        assert "2 change points" in chart.description
    timeline = found.chart()
    assert timeline.description.startswith("2 changes in 1 series")
    marks = [line for line in records(timeline) if "t" in line]
    assert sorted(line["t"] for line in marks) == [times[20].value // 10**6, times[40].value // 10**6]


def test_suspects_and_drifts_look_otherwise_than_confirmed_changes() -> None:
    at = pd.Timestamp("2026-01-05")
    lines = pd.DataFrame(
        {
            "metric": ["a", "b", "c"],
            "at": at,
            "at_lower": at,
            "at_upper": at + pd.Timedelta("9D"),
            "before": 1.0,
            "after": 2.0,
            "change_pct": [100.0, 50.0, 25.0],
            "status": ["confirmed", "suspect", "trend"],
            "verdict": "regressed",
        }
    )
    layers = aggrkit.charts.changes_chart(lines).to_dict()["layer"]
    suspects = [layer for layer in layers if "'suspect'" in json.dumps(layer.get("transform"))]
    drifts = [layer for layer in layers if "'trend'" in json.dumps(layer.get("transform"))]
    assert sorted(layer["mark"].get("filled", False) for layer in suspects) == [False, True]
    assert len({layer["mark"]["strokeWidth"] for layer in drifts}) == 2


def test_anomalies_that_are_suspect_are_hollow() -> None:
    line = {"model": "bert", "metric": "latency_ms", "lower": 2.0, "upper": 4.0, "severity": "major"}
    line |= {"score": 6.0, "pvalue_adjusted": 0.001}
    sure, unsure = line | {"value": 9.0, "status": "confirmed"}, line | {"value": 8.0, "status": "suspect"}
    shown = aggrkit.charts.anomalies_chart(pd.DataFrame([sure, unsure]), ["model"])
    assert "hollow: a suspect" in " ".join(shown.to_dict()["title"]["subtitle"])
    points = re.findall(r'<path [^>]*"point"[^>]*>', vl_convert.vegalite_to_svg(shown.to_dict()))
    assert {re.search(r"status: (\w+)", point)[1]: "fill=" in point for point in points} == {
        "confirmed": True,
        "suspect": False,
    }
    alone = aggrkit.charts.anomalies_chart(pd.DataFrame([sure]), ["model"]).to_dict()
    marks = [layer["mark"] for layer in alone["layer"]]
    assert [mark["filled"] for mark in marks if mark["type"] == "point"] == [True]  # a layer without a mark has no name
    assert "hollow" not in " ".join(alone["title"]["subtitle"])
    of_a_group = pd.DataFrame([line | {"value": 9.0, "status": "suspect"}])
    assert "hollow" not in str(aggrkit.charts.anomalies_chart(of_a_group, ["status"]).to_dict())


def test_noise_is_split_by_its_variance() -> None:
    lines = pd.DataFrame(
        {
            "metric": "latency_ms",
            "factor": ["worker", "run", "day", "model", "residual", "worker"],
            "level": [None, None, None, None, None, "w1"],
            "share": [0.3, np.nan, 0.0, 0.5, 0.1, np.nan],
            "effect_pct": [3.0, np.nan, 0.0, 9.0, 1.7, 2.0],
        }
    )
    chart = aggrkit.charts.variance_chart(lines)
    parts = {line["part"]: line["share"] for line in records(chart) if "part" in line}
    assert parts == {"worker": pytest.approx(75), "not explained": pytest.approx(25)}


def test_false_alarms_are_held_against_what_is_stated() -> None:
    line = {"what": ["a", "b", "c"], "alarms": 1, "trials": 10, "stated": 0.05, "rate": [0.5, 0.05, 0.001]}
    lines = pd.DataFrame(line | {"ci_lower": [0.3, 0.01, 0.0], "ci_upper": [0.7, 0.2, 0.01]})
    told = {r["label"]: r["verdict"] for r in records(aggrkit.charts.calibration_chart(lines)) if "verdict" in r}
    assert told == {"a": "more than stated", "b": "as stated", "c": "less than stated"}
