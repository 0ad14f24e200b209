"""Stages of the user's own: functions of records, of the relation, and Ibis reductions."""

from __future__ import annotations

import copy
import datetime as dt
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit import Pipeline
from aggrkit.errors import AggrError, EmptySelectionError, SourceError, StageError

if TYPE_CHECKING:
    from pathlib import Path

    from aggrkit.model.answer import Answer
    from aggrkit.pipeline.prepared import Prepared


def results() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": ["a", "a", "b", "b", None, "a"],
            "hardware": ["x", "x", "x", "y", "y", "y"],
            "timestamp": pd.date_range("2025-01-01", periods=6, tz="UTC"),
            "custom_field": ["value", "value", "other", "value", "value", None],
            "custom_metric": [1.0, 3.0, 100.0, 5.0, 7.0, np.nan],
            "latency_ms": [10.0, 20.0, 30.0, 40.0, 50.0, 60.0],
            "passed": [True, None, False, True, True, True],
        },
        index=list("uvwxyz"),
    )


# The three functions as users of record pipelines write them.


def custom_preprocessor(results: Any, context: Any) -> Any:
    """Keep what passes a test, and say how many didn't."""
    filtered_results = [r for r in results if r.get("custom_field") == "value"]
    context["metadata"]["custom_filter_count"] = len(results) - len(filtered_results)
    return filtered_results


def custom_aggregator(results: Any, context: Any) -> Any:
    """Compute a mean for each group."""
    custom_metric = {}
    for group_key, group_results in context["grouped_results"].items():
        metric_values = [r.get("custom_metric", 0) for r in group_results]
        if metric_values:
            custom_metric[group_key] = sum(metric_values) / len(metric_values)
    return {"custom_metrics": custom_metric}


def custom_postprocessor(aggregated_results: Any, context: Any) -> None:
    """Add an analysis of the results."""
    custom_analysis = {
        "analysis_timestamp": dt.datetime.now(tz=dt.UTC).isoformat(),
        "analysis_type": "custom",
        "summary": "Custom analysis of aggregated results",
    }
    aggregated_results["results"]["custom_analysis"] = custom_analysis


def test_the_three_record_functions_work_together() -> None:
    frame = results()
    before = frame.copy(deep=True)
    pipeline = (
        Pipeline()
        .with_preprocessor(custom_preprocessor)
        .with_aggregator(custom_aggregator)
        .with_postprocessor(custom_postprocessor)
    )
    found = frame.aggr(pipeline=pipeline).stats(level="model_hardware", metrics="latency_ms")
    custom = found.meta["custom"]
    assert custom["custom_metrics"] == {"a:x": 2.0, "b:y": 5.0, "unknown:y": 7.0}
    assert custom["custom_analysis"]["analysis_type"] == "custom"
    assert found[["model", "hardware", "n", "mean"]].to_numpy().tolist() == [
        ["a", "x", 2, 15.0],
        ["b", "y", 1, 40.0],
        ["unknown", "y", 1, 50.0],
    ]
    assert found.meta["rows_out"] == {"taken out by custom_preprocessor": 2}
    assert (found.meta["rows"], found.meta["rows_used"]) == (6, 4)
    assert "custom_filter_count: 2" in found.meta["notes"]
    assert "2 rows taken out: taken out by custom_preprocessor" in found.explain()
    pd.testing.assert_frame_equal(found.rows(0), frame.iloc[[0, 1]])
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize("question", ["stats", "anomalies", "compare", "correlations", "proportions", "distributions"])
def test_stages_are_run_for_every_question(question: str) -> None:
    pipeline = Pipeline().with_preprocessor(custom_preprocessor).with_postprocessor(custom_postprocessor)
    aggr = results().aggr(pipeline=pipeline)
    ask = {
        "stats": lambda: aggr.stats(),
        "anomalies": lambda: aggr.anomalies(),
        "compare": lambda: aggr.compare("x", by="hardware", level="model"),
        "correlations": lambda: aggr.correlations(),
        "proportions": lambda: aggr.proportions(),
        "distributions": lambda: aggr.distributions(level="model"),
    }
    meta = ask[question]().meta
    assert meta["rows_out"]["taken out by custom_preprocessor"] == 2
    assert meta["rows"] == 6
    if question in ("stats", "anomalies", "compare", "correlations"):
        assert meta["custom"]["custom_analysis"]["analysis_type"] == "custom"


def test_records_are_plain_dictionaries_with_the_users_names() -> None:
    seen: list[Any] = []

    def look(records: Any, context: Any) -> Any:
        seen.append((copy.deepcopy(records), copy.deepcopy(context)))
        return records

    frame = results().rename(columns={"model": "net"})
    frame.aggr(model="net", pipeline=Pipeline().with_preprocessor(look)).stats(level="model", where={"hardware": "x"})
    records, context = seen[0]
    assert len(records) == 3
    assert set(records[0]) >= set(frame.columns)
    assert (records[0]["net"], records[0]["latency_ms"]) == ("a", 10.0)
    assert "passed" not in records[1]  # missing: the function's own default shall hold
    assert records[0]["timestamp"].replace(tzinfo=None) == dt.datetime(2025, 1, 1)
    assert context["selection"] == {"level": "model", "where": {"hardware": "x"}}
    assert context["metadata"] == {}


def test_stages_work_on_copies() -> None:
    def vandal(records: Any, context: Any) -> Any:
        for record in records:
            record["latency_ms"] = -1.0
        if "grouped_results" in context:
            context["grouped_results"].clear()
            return {}
        kept = list(records)
        records.clear()
        return [{**record, "latency_ms": 1.0} for record in kept]

    def wrecker(aggregated: Any, context: Any) -> None:
        aggregated["results"]["stats"].clear()
        context.clear()

    frame = results()
    before = frame.copy(deep=True)

    def count(records: Any, context: Any) -> Any:
        return {group: len(members) for group, members in context["grouped_results"].items()}

    pipeline = Pipeline().with_preprocessor(vandal).with_aggregator(vandal).with_aggregator(count)
    found = frame.aggr(pipeline=pipeline.with_postprocessor(wrecker)).stats(level="model", metrics="latency_ms")
    assert found["mean"].tolist() == [1.0, 1.0, 1.0]
    assert found.meta["custom"] == {"a": 3, "b": 2, "unknown": 1}
    pd.testing.assert_frame_equal(frame, before)


def test_a_field_that_a_preprocessor_adds_is_seen_by_later_stages() -> None:
    def add(records: Any, context: Any) -> Any:
        return [{**record, "double": 2 * record["latency_ms"]} for record in records]

    def total(records: Any, context: Any) -> Any:
        return {"total": sum(record["double"] for record in records)}

    found = results().aggr(pipeline=Pipeline().with_preprocessor(add).with_aggregator(total)).stats(level="model")
    assert found.meta["custom"] == {"total": 420.0}
    # What is asked for is what the source has: an added number is no metric that nobody asked for.
    assert "double" not in set(found["metric"])


def test_changed_values_are_used_and_rows_are_still_the_users() -> None:
    def rename(records: Any, context: Any) -> Any:
        return [{**record, "model": "both", "latency_ms": record["latency_ms"] / 10} for record in records[::-1]]

    frame = results()
    found = frame.aggr(pipeline=Pipeline().with_preprocessor(rename)).stats(level="model", metrics="latency_ms")
    assert found[["model", "n", "mean"]].to_numpy().tolist() == [["both", 6, 3.5]]
    pd.testing.assert_frame_equal(found.rows(0).sort_index(), frame)


def test_anomalies_after_a_preprocessor_name_the_users_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"model": "a", "keep": [False] * 20 + [True] * 40, "latency_ms": rng.normal(100, 1, 60)})
    frame.index = [f"row{k}" for k in range(60)]
    frame.loc["row47", "latency_ms"] = 300.0

    def keep(records: Any, context: Any) -> Any:
        return [record for record in records if record["keep"]][::-1]

    pipeline = Pipeline().with_preprocessor(keep)
    found = frame.aggr(pipeline=pipeline).anomalies(level="model")
    assert found["observation"].tolist() == ["row47"]
    pd.testing.assert_frame_equal(found.rows(0), frame.loc[["row47"]])
    frame.to_parquet(tmp_path / "x.parquet", index=False)
    found = aggrkit.open(tmp_path / "x.parquet", pipeline=pipeline).anomalies(level="model")
    assert found["observation"].tolist() == [47]
    assert found.rows(0)["latency_ms"].tolist() == [300.0]


def test_new_records_have_themselves_behind_them() -> None:
    def invent(records: Any, context: Any) -> Any:
        return [{"model": "new", "latency_ms": float(k)} for k in range(4)]

    found = results().aggr(pipeline=Pipeline().with_preprocessor(invent)).stats(level="model", metrics="latency_ms")
    assert found[["model", "n", "mean"]].to_numpy().tolist() == [["new", 4, 1.5]]
    assert found.rows(0)["latency_ms"].tolist() == [0.0, 1.0, 2.0, 3.0]


# Functions of the relation, and Ibis reductions.


def test_a_function_of_the_relation_filters_and_changes() -> None:
    frame = results()
    pipeline = Pipeline().with_preprocessor(
        lambda table: table.filter(table.latency_ms > 15).mutate(model=table.model.upper()), name="upper"
    )
    found = frame.aggr(pipeline=pipeline).stats(level="model", metrics="latency_ms")
    assert found[["model", "n", "mean"]].to_numpy().tolist() == [["A", 2, 40.0], ["B", 2, 35.0], ["unknown", 1, 50.0]]
    pd.testing.assert_frame_equal(found.rows(0), frame.loc[["v", "z"]])
    assert [stage.name for stage in pipeline.preprocess] == ["upper", "invalid", "duplicates", "normalise"]


def test_functions_run_in_the_order_in_which_they_were_added() -> None:
    pipeline = (
        Pipeline()
        .with_preprocessor(lambda table: table.mutate(latency_ms=table.latency_ms + 1), name="one")
        .with_preprocessor(lambda table: table.mutate(latency_ms=table.latency_ms * 10), name="two")
    )
    found = results().aggr(pipeline=pipeline).stats(level=[], metrics="latency_ms")
    assert found["min"].item() == 110.0


def test_a_reduction_is_a_column_of_the_statistics() -> None:
    pipeline = (
        Pipeline()
        .with_aggregator(lambda values: values.sum(), name="total")
        .with_aggregator(lambda values: (values > 25).sum(), name="slow")
    )
    found = results().aggr(pipeline=pipeline).stats(level="model", metrics=["latency_ms", "custom_metric"])
    assert list(found.columns)[-2:] == ["total", "slow"]
    lines = found.set_index(["model", "metric"])
    assert lines.loc[("a", "latency_ms"), ["total", "slow"]].tolist() == [90.0, 1.0]
    assert lines.loc[("a", "custom_metric"), "total"] == 4.0
    with_range = Pipeline().with_aggregator(lambda values: values.max() - values.min(), name="range")
    assert results().aggr(pipeline=with_range).stats(level=[], metrics="latency_ms")["range"].item() == 50.0


def test_a_stage_object_is_taken_as_it_is() -> None:
    class Doubled:
        name = "doubled"

        def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
            return answer.with_frame("doubled", 2 * answer.frames["stats"][["mean"]], factor=2)

    found = results().aggr(pipeline=Pipeline().with_postprocessor(Doubled())).stats(level=[], metrics="latency_ms")
    assert found.meta["factor"] == 2


def test_pipelines_are_values() -> None:
    base = Pipeline()
    more = base.with_preprocessor(custom_preprocessor).with_postprocessor(custom_postprocessor)
    assert base == Pipeline()
    assert more.without("custom_preprocessor", "custom_postprocessor") == base
    assert results().aggr(pipeline=base).stats().equals(results().aggr.stats())


# A stage that fails.


def fail(*_: Any) -> Any:
    raise ZeroDivisionError("by purpose")


def two(records: Any, context: Any) -> Any:
    return fail()


def one(values: Any) -> Any:
    return fail()


# These three fail only when the engine computes them.


def text_filter(table: ibis.Table) -> ibis.Table:
    return table.filter(table.model.cast("int64") > 0)


def text_number(table: ibis.Table) -> ibis.Table:
    return table.mutate(latency_ms=table.custom_field.cast("float64"))


def text_sum(values: ibis.Column) -> ibis.Scalar:
    return values.cast("string").concat("x").cast("int64").sum()


@pytest.mark.parametrize(
    ("pipeline", "phase", "cause"),
    [
        (Pipeline().with_preprocessor(two, name="mine"), "preprocess", ZeroDivisionError),
        (Pipeline().with_preprocessor(one, name="mine"), "preprocess", ZeroDivisionError),
        (Pipeline().with_preprocessor(lambda records, context: None, name="mine"), "preprocess", TypeError),
        (Pipeline().with_preprocessor(lambda records, context: [{"x": 1}], name="mine"), "preprocess", ValueError),
        (Pipeline().with_preprocessor(lambda table: table.nothing, name="mine"), "preprocess", AttributeError),
        (Pipeline().with_preprocessor(lambda table: table.drop("model"), name="mine"), "preprocess", ValueError),
        (Pipeline().with_preprocessor(text_filter, name="mine"), "preprocess", SourceError),
        (Pipeline().with_preprocessor(text_number, name="mine"), "preprocess", SourceError),
        (Pipeline().with_aggregator(two, name="mine"), "postprocess", ZeroDivisionError),
        (Pipeline().with_aggregator(lambda records, context: [1], name="mine"), "postprocess", TypeError),
        (Pipeline().with_aggregator(one, name="mine"), "aggregate", ZeroDivisionError),
        (Pipeline().with_aggregator(lambda values: values + 1, name="mine"), "aggregate", TypeError),
        (Pipeline().with_aggregator(text_sum, name="mine"), "aggregate", SourceError),
        (Pipeline().with_postprocessor(two, name="mine"), "postprocess", ZeroDivisionError),
    ],
)
def test_a_failing_stage_is_named_with_its_cause(pipeline: Pipeline, phase: str, cause: type[Exception]) -> None:
    with pytest.raises(StageError, match="'mine'") as raised:
        results().aggr(pipeline=pipeline).stats(level="model")
    assert (raised.value.phase, raised.value.stage) == (phase, "mine")
    assert isinstance(raised.value.__cause__, cause)
    assert isinstance(raised.value, AggrError)
    assert phase in str(raised.value)


def test_a_stage_that_leaves_nothing_says_so() -> None:
    nothing = Pipeline().with_preprocessor(lambda records, context: [], name="strict")
    with pytest.raises(EmptySelectionError, match="'strict' took out every observation"):
        results().aggr(pipeline=nothing).stats()
    with pytest.raises(EmptySelectionError):
        results().aggr(pipeline=Pipeline().with_preprocessor(lambda table: table.filter(ibis.literal(False)))).stats()
    # Where the filters leave nothing, it isn't the stage's doing.
    with pytest.raises(EmptySelectionError, match="no observation has hardware 'z'"):
        results().aggr(pipeline=Pipeline().with_preprocessor(custom_preprocessor)).stats(where={"hardware": "z"})
