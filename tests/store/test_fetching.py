"""Results out of a store, and what else it knows."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from aggrkit.errors import SchemaError, SourceError, UnknownNameError
from aggrkit.model.answer import COLUMNS
from aggrkit.model.selection import Selection
from aggrkit.pipeline.pipeline import Pipeline
from aggrkit.store import BenchmarkDBManager

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store():
    with BenchmarkDBManager(":memory:") as manager:
        yield manager


@pytest.fixture(scope="module")
def filled():
    with BenchmarkDBManager(":memory:") as manager:
        manager.ingest(
            [
                {
                    "id": k,
                    "run_id": f"run-{k % 3}",
                    "timestamp": START + timedelta(hours=k),
                    "model": ["bert", "vit"][k % 2],
                    "hardware": ["a100", "h100", None][k % 3],
                    "worker": f"w{k % 3}",
                    "batch_size": [1, 8][k % 2],
                    "latency": 1.0 + k,
                }
                for k in range(12)
            ]
        )
        manager.ingest(
            [{"id": k, "timestamp": START + timedelta(minutes=30 * k), "passed": k > 1, "suite": "s"} for k in range(4)]
        )
        yield manager


def ids(rows: list[dict]) -> list[int]:
    return [int(row["result_id"]) for row in rows]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        (None, range(12)),
        ({"model": "bert"}, range(0, 12, 2)),
        ({"model_id": "bert"}, range(0, 12, 2)),
        ({"model_name": ["bert", "vit"]}, range(12)),
        ({"hardware": None}, range(2, 12, 3)),
        ({"hardware_id": "a100", "batch_size": 8}, [3, 9]),
        ({"batch_size": "8"}, range(1, 12, 2)),
        ({"run": "run-1"}, range(1, 12, 3)),
        ({"id": 4}, [4]),
        ({"browser": "firefox"}, []),
        ({"model": "x' OR 1=1 --"}, []),
        ({"model": []}, []),
    ],
)
def test_filters(filled, filters, wanted):
    assert ids(filled.get_performance_results(filter_params=filters)) == list(wanted)


def test_time_ranges(filled):
    assert ids(filled.get_performance_results(time_range=("2026-01-01T02:00", "2026-01-01T04:00:00Z"))) == [2, 3, 4]
    assert ids(filled.get_performance_results(time_range=(None, START))) == [0]
    assert ids(filled.get_performance_results(time_range=(START + timedelta(hours=11), None))) == [11]
    assert ids(filled.get_performance_results("model", {"model": "vit"}, (None, START + timedelta(hours=1)))) == [1]


def test_what_is_missing_is_left_out_and_times_have_a_zone(filled):
    row = filled.get_performance_results(filter_params={"id": 2})[0]
    assert row == {
        "result_id": "2",
        "run_id": "run-2",
        "timestamp": START + timedelta(hours=2),
        "model_id": "bert",
        "worker_id": "w2",
        "batch_size": 1.0,
        "average_latency_ms": 3.0,
    }
    assert row["timestamp"].tzinfo is UTC


def test_names_that_do_not_exist(filled):
    with pytest.raises(UnknownNameError, match="unknown filter 'modle'; did you mean"):
        filled.get_performance_results(filter_params={"modle": "bert"})
    with pytest.raises(UnknownNameError, match="unknown filter 'modle'"):
        filled.get_test_results(filter_params={"modle": "bert"})
    with pytest.raises(UnknownNameError, match="unknown filter 'suite'"):
        filled.get_web_platform_results(filter_params={"suite": "s"})
    with pytest.raises(UnknownNameError, match="unknown level"):
        filled.get_performance_results(aggregation_level="planet")
    with pytest.raises(UnknownNameError, match="unknown result type"), filled.observations("speed"):
        pass
    with pytest.raises(UnknownNameError, match="unknown result type"):
        filled.get_test_results(filter_params={"result_type": "speed"})


@pytest.mark.parametrize("level", ["test_run", "model", "hardware", "model_hardware", "task_type", "worker"])
def test_every_level_and_every_type(filled, level):
    assert len(filled.get_performance_results(aggregation_level=level)) == 12
    assert len(filled.get_integration_test_results(aggregation_level=level)) == 4
    assert filled.get_compatibility_results(aggregation_level=level, filter_params={"model": "bert"}) == []
    assert filled.get_web_platform_results(aggregation_level=level, time_range=("2026", None)) == []


def test_all_types_together(filled):
    rows = filled.get_test_results()
    assert len(rows) == 16
    assert [row["timestamp"] for row in rows] == sorted(row["timestamp"] for row in rows)
    assert pd.Series([row["result_type"] for row in rows]).value_counts().to_dict() == {
        "performance": 12,
        "integration": 4,
    }
    assert filled.get_test_results(limit=3) == rows[-3:]
    assert filled.get_test_results(limit=0) == []
    assert ids(filled.get_test_results(filter_params={"suite": "s"})) == [0, 1, 2, 3]
    assert len(filled.get_test_results(filter_params={"result_type": "integration"})) == 4
    assert ids(filled.get_test_results({"model": "bert"}, (None, START))) == [0]
    with pytest.raises(SchemaError, match="limit is a number"):
        filled.get_test_results(limit=-1)


def test_observations_answer_like_pandas(filled):
    with filled.observations("performance") as observations:
        assert observations.label == ":memory:, performance results"
        assert observations.unique
        names = observations.schema.names
        assert "result_key" not in names
        assert not {"browser", "memory_peak_mb", "status"} & set(names)
        found = Pipeline().run(observations, Selection("model")).frames["stats"].set_index("model")
    rows = pd.DataFrame(filled.get_performance_results())
    wanted = rows.groupby("model_id")["average_latency_ms"].agg(["mean", "std", "min", "max"])
    pd.testing.assert_frame_equal(found[list(wanted.columns)], wanted, check_names=False, check_index_type=False)


def test_observations_are_of_one_moment(store):
    store.ingest([{"id": 1, "latency": 1.0}])
    with store.observations("performance") as observations:
        thread = threading.Thread(target=store.ingest, args=([{"id": 2, "latency": 2.0, "extra": "x"}],))
        thread.start()
        thread.join()
        assert observations.table.to_pyarrow().num_rows == 1
        assert observations.table.to_pyarrow().num_rows == 1
    with store.observations("performance") as observations:
        assert observations.table.to_pyarrow().num_rows == 2
        assert "extra" in observations.schema.names


def test_observations_of_nothing(store):
    with store.observations("performance") as observations:
        assert observations.schema.names == []
    assert store.get_performance_results() == []
    assert store.get_test_results() == []


def test_observations_are_ready_at_once(store):
    rng = np.random.default_rng(1)
    store.ingest(pd.DataFrame({"timestamp": rng.integers(0, 10**9, 100_000), "latency": rng.random(100_000)}))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        with store.observations("performance"):
            times.append(time.perf_counter() - start)
    assert min(times) < 0.05  # the goal is 10 ms; the machine may be busy


def test_threads_read_while_one_ingests(store):
    batch = 50
    store.ingest([{"id": f"0-{k}", "latency": 1.0, "batch": 0.0} for k in range(batch)])
    wrong: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                count = len(store.get_performance_results())
                with store.observations("performance") as observations:
                    counts = observations.table.group_by("batch").aggregate(n=observations.table.count()).to_pyarrow()
                if count % batch or set(counts["n"].to_pylist()) != {batch}:
                    wrong.append((count, counts))
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shall say it
                wrong.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(1, 11):
        store.ingest([{"id": f"{number}-{k}", "latency": 1.0, "batch": number, f"c{number}": 1} for k in range(batch)])
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(store.get_performance_results()) == 11 * batch


# -- models, hardware, runs ---------------------------------------------------------------------------------------


def test_models_and_hardware(store):
    store.ingest([{"id": 1, "model": "bert", "hardware": "a100", "latency": 1.0}])
    assert store.get_model_info("nobody") is None
    assert store.get_model_info("bert") == {
        "name": "bert",
        "family": None,
        "modality": None,
        "parameters_million": None,
    }
    store.add_model("bert", name="BERT", family="transformer", modality="text", parameters_million=110)
    store.add_model("bert", license="MIT", sizes=[1, np.int64(2)])
    assert store.get_model_info("bert") == {
        "name": "BERT",
        "family": "transformer",
        "modality": "text",
        "parameters_million": 110,
        "license": "MIT",
        "sizes": [1, 2],
    }
    store.add_hardware("h100", vendor="NVIDIA", type="gpu", memory_gb=80, tdp_w=700)
    assert store.get_hardware_info("h100")["tdp_w"] == 700
    assert store.get_hardware_info("h100")["memory_gb"] == 80
    assert store.hardware()["hardware_id"].tolist() == ["a100", "h100"]
    assert store.models()["parameters_million"].tolist() == [110.0]
    assert store.models()["license"].tolist() == ["MIT"]
    store.ingest([{"id": 2, "model": "bert", "hardware": "a100", "latency": 1.0}])
    assert store.get_model_info("bert")["name"] == "BERT"
    with pytest.raises(SchemaError, match="is a number"):
        store.add_model("bert", parameters_million="many")
    with pytest.raises(SchemaError, match="isn't empty"):
        store.add_model("")
    with pytest.raises(SchemaError, match="JSON"):
        store.add_model("bert", weight=float("nan"))


def test_runs(filled):
    runs = filled.runs()
    assert runs["run_id"].tolist() == ["run-0", "run-1", "run-2"]
    assert runs["rows"].tolist() == [4, 4, 4]
    assert runs["worker_id"].tolist() == ["w0", "w1", "w2"]
    assert runs["first_timestamp"].tolist() == [pd.Timestamp(START + timedelta(hours=k)) for k in range(3)]
    assert runs["last_timestamp"].tolist() == [pd.Timestamp(START + timedelta(hours=9 + k)) for k in range(3)]


def test_a_run_grows(store):
    for day in (2, 1, 3):
        store.ingest([{"run_id": "r", "timestamp": f"2026-01-0{day}", "latency": 1.0}])
    store.ingest([{"run_id": "r", "passed": True}])
    run = store.runs().iloc[0]
    assert (run["rows"], run["first_timestamp"].day, run["last_timestamp"].day) == (4, 1, 3)


# -- stored answers -----------------------------------------------------------------------------------------------


def test_aggregates_are_kept_by_selection(store, filled):
    selections = [Selection("model"), Selection(where={"model": "bert"})]
    with filled.observations("performance") as observations:
        frames = [Pipeline().run(observations, selection).frames["stats"] for selection in selections]
    for selection, frame in zip(selections, frames, strict=True):
        assert store.store_aggregates(frame, selection, "performance") == len(frame)
        assert store.store_aggregates(frame, selection, "performance") == len(frame)
    for selection, frame in zip(selections, frames, strict=True):
        found = store.get_aggregates(selection)
        assert found.pop("computed_at").notna().all()
        pd.testing.assert_frame_equal(found[frame.columns], frame, check_dtype=False)
    every = store.get_aggregates()
    assert len(every) == sum(map(len, frames))
    assert set(every["selection"]) == {selection.to_json() for selection in selections}
    assert store.get_aggregates(result_type="integration").empty
    assert store.store_aggregates(frames[0].head(0), selections[0], "performance") == 0
    assert store.get_aggregates(selections[0]).empty


def test_anomalies_are_kept(store):
    row = ("latency", "row 3", 9.0, 8.5, 1.0, 3.0, "high", "severe", 1e-9, 1e-7)
    frame = pd.DataFrame([("bert", "a\"'b", *row)], columns=["model", "hardware", *COLUMNS["anomalies"]])
    assert store.store_anomalies(frame) == 1
    found = store.get_anomalies(Selection())
    pd.testing.assert_frame_equal(found.drop(columns="computed_at")[frame.columns], frame, check_dtype=False)
    with pytest.raises(SchemaError, match="tidy frame"):
        store.store_anomalies(pd.DataFrame({"x": [1]}))
    assert len(store.get_anomalies()) == 1


# -- the version of the data --------------------------------------------------------------------------------------


def test_the_version_of_the_data(tmp_path):
    path = tmp_path / "a.duckdb"
    with BenchmarkDBManager(path) as one, BenchmarkDBManager(str(path)) as other:
        seen = [other.data_version]
        one.ingest([{"id": 1, "latency": 1.0}])
        seen.append(other.data_version)
        other.add_model("bert")
        seen.append(one.data_version)
        assert len(set(seen)) == 3
        one.get_performance_results()
        one.ingest([{"id": 1, "latency": 1.0}])
        one.store_aggregates(pd.DataFrame({"metric": ["x"], "n": [1]}))
        with pytest.raises(SchemaError):
            one.ingest([{"nothing": 1}])
        assert one.data_version == other.data_version == seen[-1]
    with BenchmarkDBManager(path) as again:
        assert again.data_version not in seen


def test_what_is_closed_says_so(store):
    assert "open" in repr(store)
    store.close()
    store.close()
    assert "closed" in repr(store)
    with pytest.raises(SourceError, match="was closed; open it again"):
        store.get_performance_results()
    with pytest.raises(SourceError, match="was closed"):
        store.ingest([{"id": 1, "latency": 1.0}])
