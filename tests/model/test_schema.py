"""Which column plays which role: every spelling, what the user says, the reasons, and what real sets have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import aggrkit
from aggrkit import Metric
from aggrkit.errors import SchemaError, UnknownNameError
from aggrkit.model.schema import Field, Kind, Role, Schema, recognise

if TYPE_CHECKING:
    from pathlib import Path


def schema_of(**kinds: Kind) -> Schema:
    return recognise([Field(name, kind) for name, kind in kinds.items()])


def said(kinds: dict[str, Kind], **given: Any) -> Schema:
    return recognise([Field(name, kind) for name, kind in kinds.items()], given)


def roles(schema: Schema) -> dict[str, str]:
    return {column.name: column.role.value for column in schema.columns}


# Every spelling that the contract names, and the others in use.
SPELLINGS = {
    "run_id": ["run_id", "run", "test_run_id", "job_id"],
    "timestamp": ["timestamp", "started_at", "created_at", "start_time", "datetime", "date"],
    "model": ["model", "model_id", "model_name"],
    "hardware": ["hardware", "hardware_id", "hardware_name", "device_name", "device"],
    "worker": ["worker", "worker_id", "hostname"],
    "task_type": ["task_type", "test_module"],
    "result_type": ["result_type"],
    "result_id": ["result_id", "id"],
    "repeat": ["repeat", "repetition", "iteration", "trial"],
    "condition": ["batch_size", "precision", "test_case", "browser", "platform", "sequence_length"],
    "version": ["commit", "driver", "browser_version", "model_version"],
    "outcome": ["error_message", "return_code"],
    "ignored": ["seed", "Unnamed: 0", "__index_level_0__"],
}


@pytest.mark.parametrize(
    ("role", "spelling"), [(role, spelling) for role, spellings in SPELLINGS.items() for spelling in spellings]
)
@pytest.mark.parametrize("kind", [Kind.TEXT, Kind.NUMBER])
def test_every_spelling_plays_its_role(role: str, spelling: str, kind: Kind) -> None:
    schema = schema_of(**{spelling: kind, "latency_ms": Kind.NUMBER})
    assert roles(schema) == {spelling: role, "latency_ms": "metric"}
    column = schema.role(role)
    assert column is not None
    assert column.reason


@pytest.mark.parametrize("spelling", ["Model", "MODEL_NAME", "Device_Name", "Batch_Size", "Started_At"])
def test_letter_case_does_not_matter(spelling: str) -> None:
    expected = next(role for role, spellings in SPELLINGS.items() if spelling.casefold() in spellings)
    assert roles(schema_of(**{spelling: Kind.TEXT})) == {spelling: expected}


def test_of_several_spellings_the_first_in_the_table_plays_the_role() -> None:
    schema = schema_of(model_name=Kind.TEXT, model=Kind.TEXT, model_id=Kind.NUMBER)
    assert roles(schema) == {"model_name": "attribute", "model": "model", "model_id": "attribute"}
    assert roles(schema_of(created_at=Kind.TIME, started_at=Kind.TIME))["started_at"] == "timestamp"


def test_a_column_of_the_wrong_kind_does_not_play_the_role() -> None:
    assert roles(schema_of(model=Kind.OTHER, model_name=Kind.TEXT)) == {"model": "ignored", "model_name": "model"}
    assert roles(schema_of(run=Kind.BOOLEAN, job_id=Kind.NUMBER)) == {"run": "metric", "job_id": "run_id"}
    assert roles(schema_of(timestamp=Kind.OTHER))["timestamp"] == "ignored"


def test_what_has_no_role_of_its_own_is_a_metric_or_an_attribute() -> None:
    schema = schema_of(score=Kind.NUMBER, cached=Kind.BOOLEAN, note=Kind.TEXT, build_id=Kind.NUMBER, when=Kind.TIME)
    assert roles(schema) == {
        "score": "metric",
        "cached": "metric",
        "note": "attribute",
        "build_id": "attribute",
        "when": "attribute",
    }
    assert schema.metric("cached").is_proportion
    assert not schema.metric("score").is_proportion


def test_a_known_metric_that_is_stored_as_text_is_read_as_numbers_and_says_so() -> None:
    schema = schema_of(latency_ms=Kind.TEXT, passed=Kind.TEXT, colour=Kind.TEXT)
    assert roles(schema) == {"latency_ms": "metric", "passed": "metric", "colour": "attribute"}
    for column in schema.playing(Role.METRIC):
        assert column.text
        assert "stored as text" in column.reason


def test_metrics_come_in_the_order_of_the_result_types_then_of_the_source() -> None:
    schema = schema_of(
        zeta=Kind.NUMBER, passed=Kind.BOOLEAN, alpha=Kind.NUMBER, throughput=Kind.NUMBER, latency=Kind.NUMBER
    )
    assert [metric.name for metric in schema.metrics] == ["latency", "throughput", "passed", "zeta", "alpha"]


class TestStatus:
    """A status becomes pass or fail; a skip or an error is neither."""

    def test_is_read_where_nothing_else_says_it(self) -> None:
        schema = schema_of(status=Kind.TEXT, model=Kind.TEXT)
        assert roles(schema) == {"status": "outcome", "model": "model", "passed": "metric"}
        passed = schema.metric("passed")
        assert (passed.is_proportion, passed.sign) == (True, 1)
        assert "read from 'status'" in passed.reason
        assert "neither" in passed.reason

    @pytest.mark.parametrize("outcome", ["passed", "success", "is_compatible", "success_value"])
    def test_is_not_read_where_a_column_says_it(self, outcome: str) -> None:
        schema = schema_of(**{"status": Kind.TEXT, outcome: Kind.BOOLEAN})
        assert [metric.name for metric in schema.metrics] == [outcome]

    def test_a_boolean_that_says_something_else_does_not_hide_it(self) -> None:
        names = [metric.name for metric in schema_of(status=Kind.TEXT, is_cached=Kind.BOOLEAN).metrics]
        assert names == ["passed", "is_cached"]

    def test_is_not_read_where_it_was_named_otherwise_or_is_a_number(self) -> None:
        assert not said({"status": Kind.TEXT}, ignore="status").metrics
        assert not schema_of(status=Kind.NUMBER).metrics

    @pytest.mark.parametrize(
        ("words", "n", "passed", "missing"),
        [
            (["pass", "fail"], 2, 1, 0),
            (["PASSED", "Failed", " ok ", "failure"], 4, 2, 0),
            (["success", "skip", "skipped", "error", "aborted", "timeout"], 1, 1, 5),
            (["succeeded", None, "", "fail"], 2, 1, 2),
            (["true", "false", "1", "0"], 4, 2, 0),
            (["skip", "error"], 0, 0, 2),
        ],
    )
    def test_words(self, words: list[str | None], n: int, passed: int, missing: int) -> None:
        frame = pd.DataFrame({"status": words, "model": "a"})
        line = frame.aggr.proportions(level="model").iloc[0]
        assert (line["n"], line["successes"], line["failures"], line["missing"]) == (n, passed, n - passed, missing)


KINDS = {"net": Kind.TEXT, "gpu": Kind.TEXT, "model": Kind.TEXT, "score": Kind.NUMBER, "job": Kind.NUMBER}


class TestWhatTheUserSays:
    """Roles that are named go before those that are recognised."""

    def test_single_roles(self) -> None:
        schema = said(KINDS, model="net", hardware="gpu", run="job")
        expected = {"net": "model", "gpu": "hardware", "model": "attribute", "score": "metric", "job": "run_id"}
        assert roles(schema) == expected
        for name in ("net", "gpu", "job"):
            assert schema.column(name).reason == "named by you"

    def test_time_and_timestamp_are_the_same(self) -> None:
        for key in ("time", "timestamp"):
            assert roles(said({"at": Kind.TEXT}, **{key: "at"})) == {"at": "timestamp"}

    def test_lists(self) -> None:
        schema = said(KINDS, conditions=["net", "job"], versions="gpu", ignore=["model"])
        expected = {"net": "condition", "gpu": "version", "model": "ignored", "score": "metric", "job": "condition"}
        assert roles(schema) == expected

    def test_nothing_said_is_nothing_changed(self) -> None:
        assert said(KINDS, model=None, metrics=None) == said(KINDS)

    def test_metrics_by_direction(self) -> None:
        schema = said(KINDS, metrics={"score": "lower"})
        assert schema.metric("score").sign == -1
        assert schema.metric("score").reason == "lower is better, as you said"

    def test_metrics_by_name_keep_what_the_name_says(self) -> None:
        assert said({"x_ms": Kind.NUMBER}, metrics="x_ms").metric("x_ms").sign == -1
        assert said({"x_ms": Kind.NUMBER}, metrics=["x_ms"]).metric("x_ms").unit == "ms"

    def test_a_metric_of_ones_own_is_taken_under_the_name_of_its_column(self) -> None:
        own = Metric("whatever", unit="points", direction="higher", minimum=0, maximum=100)  # type: ignore[arg-type]
        metric = said(KINDS, metrics={"score": own}).metric("score")
        assert (metric.name, metric.unit, metric.sign, metric.maximum) == ("score", "points", 1, 100)

    def test_text_can_be_named_as_a_metric(self) -> None:
        column = said({"size": Kind.TEXT}, metrics=["size"]).column("size")
        assert (column.role, column.text) == (Role.METRIC, True)

    def test_numbers_can_be_named_as_conditions(self) -> None:
        schema = said({"depth": Kind.NUMBER, "x_ms": Kind.NUMBER}, conditions="depth")
        assert [metric.name for metric in schema.metrics] == ["x_ms"]

    def test_a_later_call_adds_to_an_earlier_one(self) -> None:
        frame = pd.DataFrame({"net": ["a"], "gpu": ["g"], "score": [1.0]})
        schema = frame.aggr(model="net")(hardware="gpu").schema
        assert roles(schema) == {"net": "model", "gpu": "hardware", "score": "metric"}

    def test_an_unknown_role(self) -> None:
        with pytest.raises(UnknownNameError, match=r"unknown role 'modl'; did you mean 'model'") as caught:
            said(KINDS, modl="net")
        assert {"model", "hardware", "metrics", "conditions", "ignore"} <= set(caught.value.choices)

    @pytest.mark.parametrize("key", ["model", "metrics", "conditions", "versions", "ignore"])
    def test_a_column_that_is_not_there(self, key: str) -> None:
        message = r"no column 'scroe' to be '{}'; did you mean 'score'.*'net', 'gpu', 'model', 'score', 'job'"
        with pytest.raises(SchemaError, match=message.format(key)):
            said(KINDS, **{key: "scroe"})

    @pytest.mark.parametrize(
        "given",
        [
            {"model": "net", "hardware": "net"},
            {"model": "net", "conditions": ["net"]},
            {"metrics": ["score"], "conditions": "score"},
        ],
    )
    def test_a_column_cannot_be_two_things(self, given: dict[str, Any]) -> None:
        with pytest.raises(SchemaError, match="named as two things"):
            said(KINDS, **given)

    def test_a_column_of_a_type_that_cannot_be_used(self) -> None:
        fields = [Field("blob", Kind.OTHER, note="of type list"), Field("score", Kind.NUMBER)]
        for key in ("model", "metrics", "conditions", "versions", "time"):
            with pytest.raises(SchemaError, match=r"'blob' can't be used, it is of type list"):
                recognise(fields, {key: "blob"})
        assert roles(recognise(fields, {"ignore": "blob"})) == {"blob": "ignored", "score": "metric"}

    def test_times_are_no_metric_and_booleans_no_times(self) -> None:
        kinds = {"at": Kind.TIME, "done": Kind.BOOLEAN}
        with pytest.raises(SchemaError, match="'at' holds times"):
            said(kinds, metrics=["at"])
        with pytest.raises(SchemaError, match="'done' holds booleans"):
            said(kinds, timestamp="done")

    @pytest.mark.parametrize("direction", ["lowr", "up", 3])
    def test_a_direction_that_does_not_exist(self, direction: object) -> None:
        with pytest.raises(UnknownNameError, match="unknown direction") as caught:
            said(KINDS, metrics={"score": direction})
        assert caught.value.choices == ("lower", "higher", "unknown")


def test_columns_that_are_there_twice() -> None:
    with pytest.raises(SchemaError, match="more than once: 'a'"):
        recognise([Field("a", Kind.TEXT), Field("a", Kind.NUMBER), Field("b", Kind.TEXT)])


class TestLookingUp:
    """Columns and metrics are found by name, role, and other spellings."""

    SCHEMA = recognise(
        [
            Field("model_name", Kind.TEXT),
            Field("job_id", Kind.TEXT),
            Field("latency_ms", Kind.NUMBER),
            Field("batch_size", Kind.NUMBER),
            Field("blob", Kind.OTHER, note="of type list"),
        ]
    )

    @pytest.mark.parametrize(
        ("name", "column"),
        [
            ("model_name", "model_name"),
            ("model", "model_name"),
            ("model_id", "model_name"),
            ("run", "job_id"),
            ("run_id", "job_id"),
            ("latency_ms", "latency_ms"),
        ],
    )
    def test_column(self, name: str, column: str) -> None:
        assert self.SCHEMA.column(name).name == column

    @pytest.mark.parametrize("name", ["latency_ms", "average_latency_ms", "latency", "avg_latency_ms"])
    def test_metric(self, name: str) -> None:
        assert self.SCHEMA.metric(name).name == "latency_ms"

    def test_numbers_of_other_roles_are_metrics_when_asked_for(self) -> None:
        assert self.SCHEMA.metric("batch_size").sign == 0

    def test_normalised_metrics(self) -> None:
        assert self.SCHEMA.metric("normalized_latency_ms").unit == "ratio"
        with pytest.raises(UnknownNameError, match="unknown metric"):
            self.SCHEMA.metric("normalized_normalized_latency_ms")

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("latency_mss", "did you mean 'latency_ms'"),
            ("model_name", "'model_name' holds text"),
            ("blob", "'blob' is of type list"),
        ],
    )
    def test_an_unknown_metric(self, name: str, words: str) -> None:
        with pytest.raises(UnknownNameError, match=re.escape(words)) as caught:
            self.SCHEMA.metric(name)
        assert caught.value.choices == ("latency_ms",)
        assert caught.value.name == name

    def test_an_unknown_column(self) -> None:
        with pytest.raises(UnknownNameError, match=r"unknown filter 'bach_size'; did you mean 'batch_size'") as caught:
            self.SCHEMA.column("bach_size", "filter")
        assert caught.value.choices == ("model_name", "job_id", "latency_ms", "batch_size", "blob")
        with pytest.raises(SchemaError, match="'blob' can't be used"):
            self.SCHEMA.column("blob")

    def test_a_role_that_no_column_plays(self) -> None:
        assert self.SCHEMA.role("hardware") is None
        with pytest.raises(UnknownNameError, match="unknown column 'hardware'"):
            self.SCHEMA.column("hardware")
        with pytest.raises(UnknownNameError, match=r"a time range needs a time column.*timestamp='...'"):
            self.SCHEMA.moment("a time range")


class TestShown:
    """What was recognised is shown, with the reason for each column."""

    FRAME = pd.DataFrame({"model_name": ["a"], "x<b>": [1.0], "latency_ms": [2.0], "blob": [[1]], "seed": [1]})

    def test_repr_has_a_line_for_each_column_with_role_metric_and_reason(self) -> None:
        schema = self.FRAME.aggr.schema
        head, *lines = repr(schema).split("\n")
        assert head.startswith("Schema of 5 columns")
        assert len(lines) == 5
        assert all(column.reason in repr(schema) for column in schema.columns)
        assert re.search(r"model +model_name .*one of the spellings of model", repr(schema))
        assert re.search(
            r"metric +latency_ms +ms, lower is better +another spelling of average_latency_ms", repr(schema)
        )
        assert re.search(r"ignored +blob +of type object", repr(schema))

    def test_html_has_the_same_and_is_escaped(self) -> None:
        page = self.FRAME.aggr.schema._repr_html_()
        assert page.count("<tr>") == 6
        assert "x&lt;b&gt;" in page
        assert "<b>" not in page
        assert "lower is better" in page

    def test_a_schema_of_nothing(self) -> None:
        assert repr(Schema(())).startswith("Schema of 0 columns")
        assert "<table>" in Schema(())._repr_html_()


# A few columns of every real set, with the role that someone who knows the set would give them.
REAL = {
    "mlperf_training/results.csv": {
        "run_id": "run_id",
        "timestamp": "timestamp",
        "model": "model",
        "hardware": "hardware",
        "worker": "worker",
        "repeat": "repeat",
        "n_accelerators": "condition",
        "round": "version",
        "status": "outcome",
        "submitter": "attribute",
        "total_time_seconds": "metric",
        "passed": "metric",
        "seed": "ignored",
    },
    "mlperf_inference/results.csv": {
        "model": "model",
        "precision": "condition",
        "valid": "outcome",
        "average_latency_ms": "metric",
        "latency_p99_ms": "metric",
        "tokens_per_second": "metric",
    },
    "dbbench/performance.parquet": {
        "timestamp": "timestamp",
        "repeat": "repeat",
        "question": "condition",
        "on_disk": "condition",
        "model_version": "version",
        "memory_peak_mb": "metric",
        "checksum": "ignored",
    },
    "dbbench/integration.csv": {"test_name": "condition", "return_code": "outcome", "passed": "metric"},
    "timm_bench/results.parquet": {"img_size": "condition", "cuda": "version", "average_latency_ms": "metric"},
    "gpu_cnn_iter/results.parquet": {"iteration": "repeat", "n_gpus": "condition", "average_latency_ms": "metric"},
    "liger_kernel/results.csv": {"provider": "condition", "x_value": "condition", "liger_version": "version"},
    "sap_hana_cpd/raw_repeats.parquet": {"unit": "condition", "sut_version": "version", "value": "metric"},
    "onnx_scoreboard/daily.csv": {"channel": "condition", "n_failed": "metric", "compatibility_score": "metric"},
    "onnx_scoreboard/monthly_tests.parquet": {"status": "outcome", "is_compatible": "metric"},
    "torch_xpu_compat/results.csv": {"suite": "condition", "initialization_success": "metric"},
    "ci_tests/results.csv": {"test_name": "condition", "passed": "metric", "execution_time_seconds": "metric"},
    "flakeflagger/results.csv": {"model": "model", "test_name": "condition", "pass_rate": "metric"},
    "jsfw_bench/run_medians.parquet": {"framework": "version", "load_time_ms": "metric", "size_kb": "metric"},
    "jsfw_bench/samples.parquet": {"repeat": "repeat", "browser": "condition", "browser_version": "version"},
    "web_conformance/wpt_bsf_daily.csv": {"worker": "worker", "sha": "version", "score": "metric"},
    "nab/series.parquet": {"timestamp": "timestamp", "file": "attribute", "value": "metric"},
    "compare_refs/benchstat_samples.csv": {"repeat": "repeat", "benchmark": "condition", "value": "metric"},
}
DIRECTIONS = {
    "total_time_seconds": -1,
    "average_latency_ms": -1,
    "latency_p99_ms": -1,
    "memory_peak_mb": -1,
    "load_time_ms": -1,
    "size_kb": -1,
    "n_failed": -1,
    "execution_time_seconds": -1,
    "tokens_per_second": 1,
    "passed": 1,
    "is_compatible": 1,
    "compatibility_score": 1,
    "initialization_success": 1,
    "pass_rate": 1,
    "value": 0,
    "score": 0,
}


@pytest.mark.data
@pytest.mark.parametrize(("file", "expected"), REAL.items())
def test_real_sets_are_recognised(data_folder: Path, file: str, expected: dict[str, str]) -> None:
    schema = aggrkit.open(data_folder / file).schema
    found = roles(schema)
    assert {name: found[name] for name in expected} == expected
    for metric in schema.metrics:
        assert metric.sign == DIRECTIONS.get(metric.name, metric.sign), metric.name
    assert all(column.reason for column in schema.columns)
    assert not any(column.kind is Kind.OTHER for column in schema.columns)


@pytest.mark.parametrize("name", ["mlperf_training", "onnx_scoreboard", "ci_tests", "jsfw_bench"])
def test_the_sets_of_the_package_have_every_dimension_and_a_metric(name: str) -> None:
    schema = aggrkit.datasets.load(name).aggr.schema
    for role in ("run_id", "timestamp", "model", "hardware", "task_type", "worker"):
        column = schema.role(role)
        assert column is not None, role
        assert column.name == role
    assert schema.metrics
