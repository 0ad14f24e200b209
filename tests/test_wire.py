"""What leaves the package as JSON and CSV."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from copy import deepcopy
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggrkit import ResultAggregatorService, wire
from tests.service.results import latencies, manager_of

ZONES = st.sampled_from([None, dt.UTC, dt.timezone(dt.timedelta(hours=-7)), dt.timezone(dt.timedelta(minutes=330))])
TIMES = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1), timezones=ZONES)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    TIMES,
    TIMES.map(pd.Timestamp),
    st.dates(),
    st.times(),
    st.timedeltas(dt.timedelta(days=-9999), dt.timedelta(days=9999)),
    st.floats().map(np.float64),
    st.floats(width=32).map(np.float32),
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.booleans().map(np.bool_),
    st.text().map(np.str_),
    st.just(pd.NaT),
    st.just(pd.NA),
    st.just(np.datetime64("2026-01-02T03:04:05")),
    st.just(np.timedelta64(90, "s")),
    st.complex_numbers(),
)
KEYS = st.one_of(st.text(), st.integers(), st.none(), st.booleans(), st.floats(), st.tuples(st.text(), st.integers()))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
        st.frozensets(st.one_of(st.text(), st.integers(), st.floats()), max_size=4),
        st.lists(st.floats(), max_size=4).map(np.array),
        st.lists(st.floats(), max_size=4).map(lambda values: pd.Series(values, dtype=float)),
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(VALUES)
def test_whatever_it_is_json_takes_it(value: Any) -> None:
    said = wire.plain(value)
    text = json.dumps(said, allow_nan=False)
    assert (
        json.loads(text) == said
    )  # lists, dictionaries with texts as keys, texts, numbers, true, false, null: no more
    assert wire.plain(said) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.float64(1.5), 1.5),
        (np.float32(0.5), 0.5),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.True_, True),
        (np.str_("a"), "a"),
        (float("nan"), None),
        (float("-inf"), None),
        (np.float32("inf"), None),
        (pd.NaT, None),
        (pd.NA, None),
        (np.datetime64("NaT"), None),
        (np.timedelta64("NaT"), None),
        (dt.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05Z"),
        (dt.datetime(2026, 1, 2, 3, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))), "2026-01-01T21:30:00Z"),
        (pd.Timestamp("2026-07-01 12:00", tz="Europe/Berlin"), "2026-07-01T10:00:00Z"),
        (np.datetime64("2026-01-02"), "2026-01-02T00:00:00Z"),
        (pd.Timestamp("2026-01-02 03:04:05.000006"), "2026-01-02T03:04:05.000006Z"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.timedelta(minutes=1.5), 90.0),
        (pd.Timedelta(1, "h"), 3600.0),
        (b"abc\xff", "abc\\xff"),
        ({"b", "a", "c"}, ["a", "b", "c"]),
        ((1, np.nan), [1, None]),
        (range(3), [0, 1, 2]),
        (pd.Series([1.0, None]), [1.0, None]),
        (pd.array([1, None], dtype="Int64"), [1, None]),
        (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
        ({1: {None: {True: 0}}}, {"1": {"null": {"true": 0}}}),
        ({("bert", "a100"): 1}, {"bert:a100": 1}),
        ({pd.Timestamp("2026-01-01"): 1}, {"2026-01-01T00:00:00Z": 1}),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
    ],
)
def test_what_becomes_of_it(value: Any, said: Any) -> None:
    found = wire.plain(value)
    assert found == said
    assert type(found) is type(said)


@given(st.integers(0, 60), st.integers(0, 60))
def test_outcomes_are_described_as_zeros_and_ones_are(passed: int, failed: int) -> None:
    if not passed + failed:
        return
    values = np.array([1.0] * passed + [0.0] * failed)
    stats = pd.DataFrame({name: [None] for name in ("n", "missing", "mean", "p50", "min", "max", "std")})
    stats = stats.assign(model="a", metric="passed", n=0, missing=len(values), p75=None, p90=None, p95=None, p99=None)
    counted = {"n": len(values), "missing": 0, "successes": passed, "failures": failed, "rate": passed / len(values)}
    rates = pd.DataFrame([{"model": "a", "metric": "passed", **counted, "ci_lower": 0.0, "ci_upper": 1.0}])
    found = wire.basic_statistics(stats, ["model"], rates)["a"]["passed"]
    assert (found["count"], found["min"], found["max"]) == (len(values), values.min(), values.max())
    assert [found["mean"], found["median"]] == pytest.approx([values.mean(), np.median(values)])
    assert found["std"] == (None if len(values) == 1 else pytest.approx(np.std(values, ddof=1)))
    points = wire.percentiles_response(stats, ["model"], rates)["a"]["passed"]
    assert list(points) == ["p50", "p75", "p90", "p95", "p99"]
    assert list(points.values()) == pytest.approx(np.quantile(values, [0.5, 0.75, 0.9, 0.95, 0.99]).tolist())


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=8)
HOSTILE = st.one_of(
    NAMES, st.sampled_from(["a,b", 'say "yes"', "two\nlines", "cr\rlf\r\n", ";", "'", "=1+1", " a ", "ä:ö"])
)
NUMBER = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))


@given(st.dictionaries(HOSTILE, st.dictionaries(HOSTILE, NUMBER, min_size=1, max_size=3), max_size=4))
def test_csv_gives_back_what_it_was_made_of(means: dict[str, dict[str, float | None]]) -> None:
    groups = {
        group: {
            metric: {"count": 2, "mean": mean, "std": None}
            for metric, mean in metrics.items()
            if metric != "result_count"
        }
        | {"result_count": 2}
        for group, metrics in means.items()
    }
    points = {group: {metric: {"p50": mean} for metric, mean in metrics.items()} for group, metrics in means.items()}
    text = wire.as_csv({"results": {"basic_statistics": groups, "percentiles": points}})
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    assert text.splitlines()[0] == "group,metric,count,mean,median,min,max,std,p50,p75,p90,p95,p99"
    found = {(line["group"], line["metric"]): line for line in lines}
    assert len(found) == len(lines) == sum(metric != "result_count" for one in means.values() for metric in one)
    for (group, metric), line in found.items():
        mean = means[group][metric]
        assert (line["count"], line["std"], line["p99"]) == ("2", "", "")
        assert line["mean"] == line["p50"] == ("" if mean is None else str(mean))


def test_group_keys() -> None:
    frame = pd.DataFrame({"model": ["a", "b:c", None], "hardware": [1, 2.5, np.nan], "flag": [True, False, True]})
    assert wire.group_keys(frame, []) == ["all", "all", "all"]
    assert wire.group_keys(frame, ["model"])[:2] == ["a", "b:c"]
    assert wire.group_keys(frame, ["model", "hardware"])[:2] == ["a:1.0", "b:c:2.5"]
    assert wire.group_keys(frame.iloc[:0], ["model"]) == []


@pytest.fixture(scope="module")
def answer() -> dict[str, Any]:
    rows = latencies(120, models=2, slower={1: 1.0})
    rows[3]["average_latency_ms"] = 90.0
    return ResultAggregatorService(manager_of(rows)).aggregate_results("performance", "model")


def changed(answer: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    broken = deepcopy(answer)
    inner: Any = broken
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = to
    return broken


def test_the_schema_lets_an_answer_pass(answer: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(wire.answer_schema())
    jsonschema.Draft202012Validator(wire.answer_schema()).validate(answer)
    assert tuple(answer["results"]) == wire.PARTS
    assert answer["results"]["anomalies"]["m01"]["average_latency_ms"]["anomalies"]


@pytest.mark.parametrize(
    "key", ["aggregation_level", "results", "metadata", "processed_at", "raw_result_count", "context"]
)
def test_the_schema_lets_no_answer_pass_that_lacks_something(answer: dict[str, Any], key: str) -> None:
    broken = {name: value for name, value in answer.items() if name != key}
    assert not jsonschema.Draft202012Validator(wire.answer_schema()).is_valid(broken)


STATISTICS = ("results", "basic_statistics", "m00", "average_latency_ms")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("aggregation_level",), "planet"),
        (("result_type",), "speed"),
        (("processed_at",), "yesterday"),
        (("raw_result_count",), -1),
        (("raw_result_count",), 1.5),
        (("results", "percentiles"), None),
        (("surplus",), 1),
        ((*STATISTICS, "count"), 0),
        ((*STATISTICS, "mean"), "fast"),
        ((*STATISTICS, "surplus"), 1.0),
        (("results", "basic_statistics", "m00", "result_count"), None),
        (("results", "percentiles", "m00", "average_latency_ms", "p50"), None),
        (("results", "anomalies", "m01", "average_latency_ms", "anomalies", 0, "severity"), "terrible"),
        (("results", "anomalies", "m01", "average_latency_ms", "anomalies", 0, "expected_range"), [1.0]),
        (("context", "current_time"), "2026-01-01 00:00"),
    ],
)
def test_the_schema_lets_no_broken_answer_pass(answer: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    broken = changed(answer, *path, to=value)
    assert not jsonschema.Draft202012Validator(wire.answer_schema()).is_valid(broken)


@pytest.mark.parametrize("statistic", ["mean", "p90", ("mean", "p90", "spread")])
def test_lines_of_several_statistics_have_entries_of_their_own(statistic: Any) -> None:
    rng = np.random.default_rng(6)
    version = np.repeat(["v1", "v2"], 200)
    latency = np.where(version == "v1", 10.0, 12.0) + rng.normal(0, 0.1, 400)
    frame = pd.DataFrame({"model": "m", "version": version, "latency_ms": latency})
    found = frame.aggr.compare("v1", "v2", by="version", level="model", statistic=statistic)
    means = pd.DataFrame({"model": ["m"], "metric": "latency_ms", "historical": 10.0, "current": 12.0})
    made = wire.comparisons_response(found, means, ["model"], frame.aggr.schema.metric)["m"]
    wanted = ["mean"] if statistic == "mean" else list(found["statistic"])
    assert set(made) == {"latency_ms" if name == "mean" else f"latency_ms:{name}" for name in wanted}
    shape = wire.answer_schema()["$defs"]["comparison"]
    for name, entry in made.items():
        jsonschema.validate(entry, {**shape, "$defs": wire.answer_schema()["$defs"]})
        line = found[found["statistic"] == (name.partition(":")[2] or "mean")] if statistic != "mean" else found
        assert entry["change_pct"] == line["change_pct"].iloc[0]
        assert entry["is_improvement"] is {"regressed": False, "improved": True}.get(entry["verdict"])
