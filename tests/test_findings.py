"""Findings: what they say, what they show, and the way back to the observations."""

from __future__ import annotations

import copy
import io
import pickle
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit import Selection
from aggrkit.errors import AggrError, SchemaError
from aggrkit.findings import Anomalies, Comparison, Correlations, Distributions, Finding, Proportions, Stats

if TYPE_CHECKING:
    from collections.abc import Callable


def results(n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(21)
    frame = pd.DataFrame(
        {
            "model": np.array(["bert", "gpt", "t5", None] * (n // 4), dtype=object),
            "hardware": np.repeat(["a100", "h100"], n // 2),
            "round": np.tile(["v1", "v1", "v1", "v1", "v2", "v2", "v2", "v2"], n // 8),
            "timestamp": pd.date_range("2025-01-01", periods=n, freq="h"),
            "precision": rng.choice(["fp16", "fp32"], n),
            "latency_ms": rng.lognormal(3, 0.02, n),
            "throughput": rng.normal(100, 1, n),
            "passed": rng.random(n) < 0.9,
        },
        index=[f"row{k}" for k in range(n)],
    )
    frame.loc[["row9", "row60"], "latency_ms"] = [60.0, 5.0]
    frame.loc["row11", "latency_ms"] = -1.0
    frame.loc["row12", "throughput"] = np.nan
    return pd.concat([frame, frame.loc[["row20"]]])


FINDINGS: dict[str, tuple[type[Finding], Callable[[Any], Finding]]] = {
    "stats": (Stats, lambda aggr: aggr.stats(level="model")),
    "proportions": (Proportions, lambda aggr: aggr.proportions(level="model")),
    "distributions": (Distributions, lambda aggr: aggr.distributions(level="model")),
    "anomalies": (Anomalies, lambda aggr: aggr.anomalies(level="model")),
    "compare": (Comparison, lambda aggr: aggr.compare("v1", by="round", level="model")),
    "correlations": (Correlations, lambda aggr: aggr.correlations(level="model")),
}


@pytest.fixture(scope="module")
def findings() -> dict[str, Finding]:
    frame = results()
    return {name: ask(frame.aggr) for name, (_, ask) in FINDINGS.items()}


# The way back.


def group_of(frame: pd.DataFrame, column: str, label: Any) -> pd.DataFrame:
    """Return a group of a frame by plain pandas; "unknown" is what is missing, empty or so called."""
    values = frame[column]
    if isinstance(label, str) and label == "unknown":
        return frame[values.isna() | values.astype(object).isin(["", "unknown"])]
    if isinstance(label, str) and not pd.api.types.is_string_dtype(values.dtype) and values.dtype != object:
        if pd.api.types.is_float_dtype(values.dtype):
            return frame[values.eq(float(label))]
        return frame[values.map(lambda value: not pd.isna(value) and str(value) == label).astype(bool)]
    return frame[values.eq(label).fillna(False).astype(bool)]


GROUPS: dict[str, Any] = {
    "text": ["a", "b", "a", "b", "b", "b"],
    "text with gaps": np.array(["a", None, "", "unknown", "a", np.nan], dtype=object),
    "integers": [3, 1, 3, 3, -2, 1],
    "floats": [0.1, 0.30000000000000004, 0.1, 1e-7, 1e20, 0.1],
    "whole floats with gaps": [8.0, 16.0, np.nan, 8.0, 8.0, np.nan],
    "floats with gaps": [0.1, 0.25, np.nan, 1e-7, 0.1, 1e300],
    "large integers with gaps": pd.array([2**53 + 1, 2**53, None, 2**53 + 1, 5, None], dtype="Int64"),
    "booleans": [True, False, True, True, False, True],
    "booleans with gaps": pd.array([True, None, False, True, None, True], dtype="boolean"),
    "times": pd.to_datetime(["2025-01-01", "2025-01-02"] * 3),
    "times with gaps": pd.to_datetime(["2025-01-01 00:00:00.5", None, "2025-01-02"] * 2, format="ISO8601"),
    "times with a zone": pd.to_datetime(["2025-01-01", "2025-01-02"] * 3).tz_localize("Asia/Tokyo"),
    "categories": pd.Categorical(["a", "b", "a", None, "b", "a"], categories=["z", "b", "a"]),
    "categories of numbers": pd.Categorical([8, 16, 8, 8, 16, 8], categories=[32, 16, 8]),
    "numbers among text": np.array(["1", 1, "one", 2.5, None, True], dtype=object),
    "hostile": ["'; DROP TABLE x; --", "%", "a,b", "\n", "ü", '"'],
}


@pytest.mark.parametrize("kind", GROUPS)
def test_rows_are_exactly_the_observations_behind_a_line(kind: str) -> None:
    frame = pd.DataFrame({"g": GROUPS[kind], "latency_ms": [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]}, index=list("uvwxyz"))
    found = frame.aggr.stats(level=["g"], metrics="latency_ms")
    assert not found["g"].duplicated().any()
    seen: list[Any] = []
    for i in range(len(found)):
        mine = found.rows(i)
        line = found.iloc[i]
        assert len(mine) == line["n"] + line["missing"]
        assert mine["latency_ms"].mean() == pytest.approx(line["mean"], rel=1e-15)
        pd.testing.assert_frame_equal(mine, frame.loc[mine.index])
        seen += list(mine.index)
    assert sorted(seen) == list(frame.index)
    if kind not in ("numbers among text", "times with a zone"):
        for i in range(len(found)):
            pd.testing.assert_frame_equal(found.rows(i), group_of(frame, "g", found["g"].iloc[i]))


def test_large_integers_keep_their_digits_as_labels() -> None:
    frame = pd.DataFrame({"g": GROUPS["large integers with gaps"], "x": [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]})
    found = frame.aggr(conditions=["g"]).stats(level=["g"])
    assert set(found["g"]) == {str(2**53 + 1), str(2**53), "5", "unknown"}


@pytest.mark.parametrize("name", FINDINGS)
def test_rows_of_every_finding(name: str, findings: dict[str, Finding]) -> None:
    frame, found = results(), findings[name]
    assert len(found)
    for i in range(len(found)):
        line, mine = found.iloc[i], found.rows(i)
        group = group_of(frame, "model", line["model"])
        if name == "anomalies":
            assert list(mine.index) == [line["observation"]]
            assert mine[line["metric"]].item() == line["value"]
        elif name == "distributions":
            wanted = group[group[line["column"]].astype(str) == line["value"]]
            pd.testing.assert_frame_equal(mine, wanted)
            assert line["count"] == len(wanted.drop_duplicates())
        else:
            pd.testing.assert_frame_equal(mine, group)
    pd.testing.assert_frame_equal(found.rows(-1), found.rows(len(found) - 1))
    for outside in (len(found), -len(found) - 1):
        with pytest.raises(IndexError, match=f"the frame has {len(found)}"):
            found.rows(outside)


def test_rows_can_be_changed_without_harm(findings: dict[str, Finding]) -> None:
    frame = results()
    found = frame.aggr.stats(level="model")
    mine = found.rows(0)
    mine.loc[:, "latency_ms"] = 0.0
    pd.testing.assert_frame_equal(frame, results())


def test_rows_of_statuses_that_were_read_as_outcomes() -> None:
    frame = pd.DataFrame({"model": "a", "status": ["pass", "Failed", "skip", "ok", None, "fail"]})
    found = frame.aggr.distributions(columns=["passed", "status"], level="model")
    counts = found.set_index(["column", "value"])["count"].to_dict()
    assert counts["passed", "True"] == 2
    assert counts["passed", "False"] == 2
    for i in range(len(found)):
        assert len(found.rows(i)) == found["count"].iloc[i]


# What survives, and what says that it doesn't.


CHANGES: dict[str, Callable[[Any], Any]] = {
    "query": lambda f: f[f[f.columns[0]] != f[f.columns[0]].iloc[0]],
    "sort": lambda f: f.sort_values(list(f.columns[:3]), ascending=False),
    "sort and number anew": lambda f: f.sort_values(list(f.columns[:3]), ascending=False, ignore_index=True),
    "head": lambda f: f.head(2),
    "tail numbered anew": lambda f: f.tail(2).reset_index(drop=True),
    "iloc": lambda f: f.iloc[[0, -1]],
    "sample": lambda f: f.sample(frac=1, random_state=1),
    "copy": lambda f: f.copy(),
    "deepcopy": copy.deepcopy,
    "assign": lambda f: f.assign(more=1),
    "pipe": lambda f: f.pipe(lambda g: g[g.columns]),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", FINDINGS)
def test_what_pandas_does_to_lines_is_survived(name: str, change: str, findings: dict[str, Finding]) -> None:
    found = findings[name]
    changed = CHANGES[change](found)
    assert type(changed) is type(found)
    assert changed.meta == found.meta
    assert changed.explain()
    width = len(found.columns)
    contents = [tuple(map(str, line)) for line in pd.DataFrame(found).itertuples(index=False)]
    lines = [tuple(map(str, line[:width])) for line in pd.DataFrame(changed).itertuples(index=False)]
    for i in (0, len(changed) - 1):
        pd.testing.assert_frame_equal(changed.rows(i), found.rows(contents.index(lines[i])))


@pytest.mark.parametrize("name", FINDINGS)
def test_pickled_findings_keep_their_words(name: str, findings: dict[str, Finding]) -> None:
    found = findings[name]
    back = pickle.loads(pickle.dumps(found))
    assert type(back) is type(found)
    pd.testing.assert_frame_equal(back, found)
    assert back.meta == found.meta
    assert back.explain() == found.explain()
    assert back._repr_html_() == found._repr_html_()
    with pytest.raises(AggrError, match="ask the source again"):
        back.rows(0)


@pytest.mark.parametrize("name", FINDINGS)
def test_what_is_no_longer_the_finding_says_so(name: str, findings: dict[str, Finding]) -> None:
    found = findings[name]
    other = pd.DataFrame({found.columns[0]: found.iloc[:, 0].unique(), "extra": 1})
    for made, kind in (
        (found.merge(other), AggrError),
        (pd.concat([found, found]), AggrError),
        (found.T, SchemaError),
        (found[list(found.columns[:2])], SchemaError),
        (found.drop(columns=found.columns[-1]), SchemaError),
        (found.rename(columns={found.columns[0]: "other"}), SchemaError),
    ):
        for method in (lambda made=made: made.explain(), lambda made=made: made.rows(0)):
            with pytest.raises(kind, match="use the original"):
                method()
        assert repr(made)
        assert made._repr_html_()
    assert isinstance(found[found.columns[0]], pd.Series)


def test_plain_pandas_goes_on_as_ever(findings: dict[str, Finding]) -> None:
    found = findings["stats"]
    assert found.groupby("metric")["mean"].mean().index.tolist() == sorted(set(found["metric"]))
    text = found.to_csv(index=False)
    again = pd.read_csv(io.StringIO(text))
    np.testing.assert_allclose(again["mean"], found["mean"])
    assert found.set_index(["model", "metric"]).loc[("bert", "passed"), "n"] > 0
    assert len(found.pivot_table(index="model", columns="metric", values="p50")) == 4
    assert found.to_dict("records")[0]["model"] == "bert"


def test_an_empty_part_has_words_and_pictures(findings: dict[str, Finding]) -> None:
    for found in findings.values():
        nothing = found.iloc[:0]
        assert "(no lines)" in repr(nothing)
        assert nothing.explain()
        assert "<table" in nothing._repr_html_()


def test_nothing_found_is_an_empty_finding() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"model": "a", "latency_ms": rng.normal(100, 1, 30)})
    for method in ("robust", "iqr", "gesd"):
        found = frame.aggr.anomalies(level="model", method=method, **({"threshold": 9.0} if method == "iqr" else {}))
        assert len(found) == 0
        assert list(found.columns)[:3] == ["model", "metric", "observation"]
        assert "0 anomalies in 1 cell" in found.explain()
        assert found["severity"].cat.ordered


# Words.


def test_meta_says_what_was_asked_and_what_was_used(findings: dict[str, Finding]) -> None:
    frame = results()
    where, span = {"hardware": "a100"}, ("2025-01-01", "2025-01-03")
    meta = frame.aggr.stats(level="model", metrics="latency", where=where, time_range=span).meta
    assert meta["selection"] == Selection("model", "latency", where, span)
    assert (meta["source"], meta["engine"]) == ("DataFrame", "duckdb")
    for found in findings.values():
        assert found.meta["rows"] == 121
        assert found.meta["rows_out"] == {"the same in every column": 1}
    assert findings["stats"].meta["cells_out"] == {"latency_ms: negative, or not a finite number": 1}
    assert {"method", "alpha", "cells_tested"} <= set(findings["anomalies"].meta)
    assert {"baseline", "current", "margin", "matched_on", "design"} <= set(findings["compare"].meta)
    kept = findings["stats"].meta
    kept["rows_out"].clear()
    assert findings["stats"].meta["rows_out"]


def test_explain_stats() -> None:
    frame = pd.DataFrame({"model": ["a"] * 6 + ["b"] * 2, "latency_ms": [1.0] * 6 + [np.nan] * 2, "memory_mb": 2.0})
    lines = frame.aggr.stats(level="model").explain().split("\n")
    assert lines[0] == "2 groups by model, 2 metrics: latency_ms, memory_mb."
    assert "1 of 4 lines rest on fewer than 5 values; their percentiles say little." in lines
    assert "1 line without any value: the metric isn't recorded there." in lines
    assert "8 observations used." in lines


def test_explain_proportions() -> None:
    frame = pd.DataFrame({"model": ["a"] * 10 + ["b"] * 10, "passed": [True] * 10 + [True] * 4 + [False] * 6})
    said = frame.aggr.proportions(level="model").explain()
    assert "20 results, 70.0 % passed; 1 of 2 lines have failures." in said
    assert "Surely worst: b, 40.0 % of 10" in said


def test_explain_anomalies() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(100, 1, 40)
    values[7], values[30] = 200.0, 130.0
    frame = pd.DataFrame(
        {"model": ["a"] * 20 + ["b"] * 20, "latency_ms": values, "few": [np.nan] * 37 + [1.0, 2.0, 3.0]}
    )
    found = frame.aggr.anomalies(level="model", metrics=["latency_ms", "few"])
    said = found.explain()
    assert said.startswith("2 anomalies in 2 cells tested by method 'robust'.")
    assert re.search(r"Most certain: latency_ms = 200 of a \(observation 7\), expected 9\d.* to 10\d", said)
    assert "the chance of any false flag over all cells is 5 %" in said
    assert "few: 2 cells not tested, too few observations (n=3, needs 5)." in said
    # However the lines are sorted, the most certain one is meant.
    assert "(observation 7)" in found.sort_values("value").explain()
    zscore = frame.aggr.anomalies(level="model", metrics="latency_ms", method="zscore").explain()
    assert "The threshold 2.5 holds no false-alarm rate" in zscore


def test_explain_compare() -> None:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"model": np.repeat(["a", "b"], 40), "round": np.tile(["v1", "v2"], 40)})
    frame["latency_ms"] = rng.normal(100, 1, 80) * np.where(frame["model"].eq("b") & frame["round"].eq("v2"), 1.2, 1.0)
    frame["throughput"] = rng.normal(100, 1, 80) * np.where(frame["model"].eq("a") & frame["round"].eq("v2"), 1.1, 1.0)
    said = frame.aggr.compare("v1", "v2", by="round", level="model").explain()
    assert said.startswith("v2 against v1: ")
    assert "1 regressed" in said
    assert "1 improved" in said
    assert re.search(r"Largest regression: latency_ms of b, \+[12]\d\.\d % \(\+1\d\.\d to \+2\d\.\d\)\.", said)
    assert re.search(r"Largest improvement: throughput of a, \+\d+\.\d %", said)
    assert "No run ids: observations were taken as independent" in said
    assert "Margin 2 %, alpha 0.05, p-values adjusted by 'fdr_bh' over 4 lines." in said


def test_explain_correlations() -> None:
    x = np.arange(40.0)
    frame = pd.DataFrame({"model": "a", "x": x, "y": 2 * x, "c": 1.0})
    said = frame.aggr.correlations(method="pearson").explain()
    assert said.startswith("3 correlations, 1 of them significant after adjustment.")
    assert "Strongest: x and y, pearson 1.00 (n = 40)." in said
    assert "undefined, a metric is constant" in said


def test_details_follow_the_lines(findings: dict[str, Finding]) -> None:
    found = findings["compare"]
    assert isinstance(found, Comparison)
    details = found.details
    assert list(details.index) == list(found.index)
    assert details["metric"].tolist() == found["metric"].tolist()
    measures = ["design", "strata", "pvalue_rank", "cliffs_delta", "pvalue_heterogeneity", "detectable_pct"]
    assert {*measures, "left_out_pct"} <= set(details)
    for turned in (
        found.sort_values("metric"),
        found.sort_values(["metric", "model"], ascending=False, ignore_index=True),
        found.query("metric == 'latency_ms'").reset_index(drop=True),
        found.set_axis([f"l{k}" for k in range(len(found))]),
    ):
        mine = turned.details
        assert list(mine.index) == list(turned.index)
        assert list(zip(mine["model"], mine["metric"], strict=True)) == list(
            zip(turned["model"], turned["metric"], strict=True)
        )


# Pictures.


class Page(HTMLParser):
    """Collect the tags, and the text, of a page; tags must be closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = ["<script>alert(1)</script>", "a & b", '"><img src=x onerror=alert(1)>', "</table></details>", "&lt;b&gt;"]


@pytest.mark.parametrize("name", FINDINGS)
def test_html_is_whole_and_escaped(name: str) -> None:
    frame = results().assign(model=lambda f: np.resize(np.array(HOSTILE, dtype=object), len(f)))
    frame = frame.rename(columns={"precision": "<b>precision</b>"}).assign(note_text="<i>x</i>")
    frame.loc["row9", "latency_ms"] = 900.0
    found = FINDINGS[name][1](frame.aggr(conditions=["<b>precision</b>"]))
    page = Page(found._repr_html_())
    table = {"table", "thead", "tbody", "tr", "th", "td"}
    assert set(page.tags) <= {"div", "p", "strong", "ul", "li", "details", "summary", *table}
    assert page.tags.count("details") == 1
    assert "What was asked" in page.text
    assert any(label in page.text for label in HOSTILE)
    assert found.explain().split("\n")[0] in page.text
    schema = Page(frame.aggr.schema._repr_html_())
    assert "script" not in schema.tags
    assert "<b>precision</b>" in schema.text


def test_html_shows_at_most_twenty_lines() -> None:
    frame = pd.DataFrame({"model": [f"m{k:03d}" for k in range(75)], "latency_ms": 1.0})
    found = frame.aggr.stats(level="model")
    page = Page(found._repr_html_())
    assert len(re.findall(r"m\d{3}", page.text)) == 20
    assert "55 more lines" in page.text
    assert "more lines" not in found.head(20)._repr_html_()
    assert len(re.findall(r"m\d{3}", repr(found))) <= 20


def test_repr_is_headline_and_table() -> None:
    frame = pd.DataFrame({"model": ["bert", "gpt"], "latency_ms": [1234.5678, 0.00012345]})
    said = repr(frame.aggr.stats(level="model"))
    first, *others = said.split("\n")
    assert first == "2 groups by model, 1 metric: latency_ms."
    assert "bert" in said
    assert re.search(r"1,235|1234\.6|1235", said)
    assert "NaN" not in said
    assert len(others) >= 3


def test_reprs_are_quick_and_never_fail_on_odd_values() -> None:
    frame = pd.DataFrame({"model": ["a", "b", "c"], "x": [1e300, -1e-300, np.nan], "y": [np.inf, 0.0, 1e16]})
    found = frame.aggr.stats(level="model")
    assert repr(found)
    assert Page(found._repr_html_())


def test_findings_of_opened_sources_have_the_way_back(tmp_path: Any) -> None:
    frame = results()
    frame.to_parquet(tmp_path / "x.parquet", index=False)
    found = aggrkit.open(tmp_path / "x.parquet").anomalies(level="model")
    for i in range(len(found)):
        mine = found.rows(i)
        assert mine[found["metric"].iloc[i]].tolist() == [found["value"].iloc[i]]
        assert set(mine.columns) == set(frame.columns)
