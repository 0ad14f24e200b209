"""Taking results in: each once, all or nothing, whatever they look like."""

from __future__ import annotations

import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggrkit.errors import SchemaError, UnknownNameError
from aggrkit.store import BenchmarkDBManager, Ingested


@pytest.fixture
def store():
    with BenchmarkDBManager(":memory:") as manager:
        yield manager


def performance(rows: int, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "run_id": [f"run-{k % 7}" for k in range(rows)],
            "timestamp": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 10**12, rows), unit="us"),
            "model": rng.choice(["bert", "vit"], rows),
            "hardware": rng.choice(["a100", "h100"], rows),
            "batch_size": rng.choice([1, 8], rows),
            "average_latency_ms": rng.lognormal(3, 0.2, rows),
            "memory_peak_mb": np.where(rng.random(rows) < 0.2, np.nan, rng.lognormal(7, 0.2, rows)),
        }
    )


def keys_are_unique(store: BenchmarkDBManager, table: str = "performance_results") -> bool:
    with store._reading() as connection:
        rows, keys, gone = connection.execute(
            f"SELECT count(*), count(DISTINCT result_key), count(*) - count(result_key) FROM {table}"
        ).fetchall()[0]
    return rows == keys and not gone


def test_comes_back_equal_to_pandas(store):
    frame = performance(1000)
    done = store.ingest(frame)
    assert (done.result_type, done.rows_in, done.rows_new, done.rows_known) == ("performance", 1000, 1000, 0)
    assert done.columns_added == ()
    wanted = frame.rename(columns={"model": "model_id", "hardware": "hardware_id"})
    found = pd.DataFrame(store.get_performance_results())[list(wanted.columns)]
    found["timestamp"] = found["timestamp"].dt.tz_localize(None).astype(wanted["timestamp"].dtype)
    order = ["timestamp", "average_latency_ms"]
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True),
        wanted.sort_values(order, ignore_index=True),
        check_dtype=False,
    )


def test_the_same_again_adds_nothing(store):
    frame = performance(500)
    store.ingest(frame)
    again = store.ingest(frame.sample(frac=1, random_state=1)[frame.columns[::-1]])
    assert (again.rows_new, again.rows_known) == (0, 500)
    assert keys_are_unique(store)
    assert store.runs()["rows"].sum() == 500


def test_a_column_more_that_is_empty_changes_no_key(store):
    frame = performance(50)
    store.ingest(frame)
    assert store.ingest(frame.assign(browser=None, note=np.nan, driver=pd.NA)).rows_new == 0
    assert store.ingest(frame.assign(driver="535")).rows_new == 50


def test_repeats_without_id_and_time_stay(store):
    rows = [{"model": "bert", "latency": 3.5}] * 3
    assert store.ingest(rows).rows_new == 3
    assert store.ingest(rows).rows_new == 0
    assert store.ingest(rows * 2).rows_new == 3
    assert keys_are_unique(store)


def test_equal_rows_with_a_time_are_one(store):
    rows = [{"model": "bert", "latency": 3.5, "timestamp": "2026-01-01T00:00:00Z"}] * 3
    assert store.ingest(rows).rows_new == 1


def test_equal_ids_are_one_whatever_they_say(store):
    done = store.ingest([{"id": 7, "latency": 1.0}, {"id": 7, "latency": 2.0}, {"id": "7", "latency": 3.0}])
    assert (done.rows_new, done.rows_known) == (1, 2)
    assert store.get_performance_results() == [{"result_id": "7", "average_latency_ms": 1.0}]


def test_rows_with_and_without_ids_in_one_batch(store):
    rows = [
        {"id": "a", "latency": 1.0},
        {"latency": 1.0},
        {"latency": 1.0},
        {"latency": 1.0, "timestamp": "2026-01-01"},
    ]
    assert store.ingest(rows).rows_new == 4
    assert store.ingest(rows).rows_new == 0


def test_names_and_values_cannot_be_mistaken_for_each_other(store):
    time = {"timestamp": "2026-01-01"}
    rows = [{"a": "x", "b": "y"}, {"a": "x1:b=1:y"}, {"b": "y", "c": "x"}, {"a": "x", "c": "y"}]
    assert store.ingest([{**row, **time, "latency": 1.0} for row in rows]).rows_new == 4


def test_zero_is_zero(store):
    rows = [{"latency": zero, "timestamp": "2026-01-01"} for zero in (0.0, -0.0)]
    assert store.ingest(rows).rows_new == 1


TIMES = pd.date_range("2026-01-01", periods=4, freq="h", tz="UTC")
RESULTS = st.lists(
    st.fixed_dictionaries(
        {"timestamp": st.sampled_from(list(TIMES)), "model": st.sampled_from(["a", "b", "", None])},
        optional={
            "average_latency_ms": st.one_of(st.none(), st.floats(width=64), st.integers(-5, 5)),
            "batch_size": st.sampled_from([1, 8, 8.0]),
            "label": st.text(max_size=3),
        },
    ),
    min_size=1,
    max_size=12,
)


def plain(store: BenchmarkDBManager) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in store.get_performance_results())


@pytest.mark.slow
@given(RESULTS, st.randoms(use_true_random=False))
def test_halves_orders_and_repeats_give_the_same_set(rows, random):
    cut = random.randint(0, len(rows))
    shuffled = random.sample(rows, len(rows))
    with BenchmarkDBManager(":memory:") as once, BenchmarkDBManager(":memory:") as parts:
        once.ingest(rows, "performance")
        before = plain(once)
        assert once.ingest(rows, "performance").rows_new == 0
        assert plain(once) == before
        for part in (shuffled[:cut], shuffled[cut:], rows):
            parts.ingest(part, "performance")
        assert plain(parts) == before
        assert keys_are_unique(parts)


# -- the type of results ------------------------------------------------------------------------------------------


def test_the_type_is_told_by_the_metrics(store):
    assert store.ingest([{"latency": 1.0, "passed": True}]).result_type == "performance"
    assert store.ingest([{"passed": True}]).result_type == "integration"
    assert store.ingest([{"compatibility_score": 0.5}]).result_type == "compatibility"
    assert store.ingest([{"load_time_ms": 5, "success": True}]).result_type == "web_platform"
    assert store.get_web_platform_results() == [{"load_time_ms": 5.0, "success_value": True}]


@pytest.mark.parametrize("row", [{"model": "bert"}, {"latency": 1.0, "load_time_ms": 3.0}, {"status": "ok"}])
def test_a_type_that_cannot_be_told_is_an_error(store, row):
    with pytest.raises(SchemaError, match="'performance', 'compatibility', 'integration', 'web_platform'"):
        store.ingest([row])
    assert store.get_test_results() == []


def test_a_column_says_the_type(store):
    rows = [
        {"result_type": kind, "id": k, "model": "bert"} for k, kind in enumerate(["performance", "integration"] * 3)
    ]
    done = store.ingest(rows)
    assert (done.result_type, done.rows_new) == ("performance, integration", 6)
    assert len(store.get_performance_results()) == len(store.get_integration_test_results()) == 3


def test_all_types_of_a_call_or_none(store):
    store.ingest([{"id": 0, "passed": True, "extra": 1.5}])
    rows = [{"result_type": "performance", "id": 1, "latency": 1.0, "mine": 1}]
    rows += [{"result_type": "integration", "id": 2, "extra": "text"}]
    with pytest.raises(SchemaError, match="'extra' holds number in the store, and text"):
        store.ingest(rows)
    assert [row["result_id"] for row in store.get_test_results()] == ["0"]
    assert store.ingest(rows[:1]).columns_added == ("mine",)


def test_types_that_do_not_exist_or_disagree(store):
    with pytest.raises(UnknownNameError, match="did you mean 'performance'"):
        store.ingest([{"latency": 1}], "performanc")
    with pytest.raises(SchemaError, match="says 'speed'; the result types are"):
        store.ingest([{"latency": 1, "result_type": "speed"}])
    with pytest.raises(SchemaError, match="was given, but"):
        store.ingest([{"latency": 1, "result_type": "integration"}], "performance")
    with pytest.raises(SchemaError, match="1 of 2 results don't say"):
        store.ingest([{"latency": 1, "result_type": "performance"}, {"latency": 2}])
    assert store.ingest([{"latency": 1, "result_type": "performance"}, {"latency": 2}], "performance").rows_new == 2


# -- values -------------------------------------------------------------------------------------------------------


def test_times_of_any_zone_become_utc(store):
    times = ["2026-01-01T02:00:00+02:00", "2026-01-01 00:00:00", 1767225600, pd.Timestamp("2026-01-01", tz="UTC")]
    for place, time in enumerate(times):
        store.ingest([{"id": place, "latency": 1.0, "timestamp": time}])
    frame = pd.DataFrame(
        {"id": ["z"], "latency": [1.0], "timestamp": pd.DatetimeIndex(["2026-01-01"], tz="Asia/Tokyo")}
    )
    store.ingest(frame)
    found = {row["result_id"]: row["timestamp"].isoformat() for row in store.get_performance_results()}
    assert found.pop("z") == "2025-12-31T15:00:00+00:00"
    assert set(found.values()) == {"2026-01-01T00:00:00+00:00"}


def test_what_cannot_be_read_is_missing_and_counted(store):
    done = store.ingest(
        [
            {"id": 1, "latency": "3.5", "timestamp": "2026-01-01", "memory_peak_mb": -4},
            {"id": 2, "latency": "n/a", "timestamp": "yesterday", "memory_peak_mb": float("inf")},
            {"id": 3, "latency": "nan", "timestamp": None, "memory_peak_mb": float("nan")},
        ]
    )
    assert done.cells_unreadable == {"average_latency_ms": 1, "timestamp": 1}
    assert "1 of 'average_latency_ms'" in repr(done)
    found = {row["result_id"]: row for row in store.get_performance_results()}
    assert found["1"]["average_latency_ms"] == 3.5
    assert found["1"]["memory_peak_mb"] == -4.0
    assert found["2"] == {"result_id": "2", "memory_peak_mb": float("inf")}
    assert found["3"] == {"result_id": "3"}


def test_outcomes(store):
    values = [True, False, 1, 0.0, "PASS", "failed", "maybe", 0.5, None]
    done = store.ingest([{"id": k, "passed": value} for k, value in enumerate(values)])
    assert done.cells_unreadable == {"passed": 2}
    found = {int(row["result_id"]): row.get("passed") for row in store.get_integration_test_results()}
    assert found == dict(enumerate([True, False, True, False, True, False, None, None, None]))


def test_the_status_fills_what_the_outcome_does_not_say(store):
    rows = [{"id": 1, "status": "PASSED"}, {"id": 2, "status": "failed"}, {"id": 3, "status": "skip"}]
    store.ingest(rows, "integration")
    store.ingest(rows, "web_platform")
    store.ingest([{"id": 4, "status": "passed", "passed": False}, {"id": 5, "status": "passed", "passed": "?"}])
    found = {int(row["result_id"]): row.get("passed") for row in store.get_integration_test_results()}
    assert found == {1: True, 2: False, 3: None, 4: False, 5: None}
    assert {row.get("success_value") for row in store.get_web_platform_results()} == {True, False, None}


def test_nested_and_other_values_are_kept_as_text(store):
    rows = [
        {"id": 1, "metrics": {"latency": 2.5}, "tags": ["a", "b"]},
        {"id": 2, "metrics": {"latency": 1}, "tags": []},
    ]
    store.ingest(rows)
    found = {row["result_id"]: row for row in store.get_performance_results()}
    assert found["1"] == {"result_id": "1", "average_latency_ms": 2.5, "tags": '["a", "b"]'}


# -- columns ------------------------------------------------------------------------------------------------------


def test_further_columns_are_typed_by_kind(store):
    frame = pd.DataFrame(
        {
            "latency": [1.0, 2.0],
            "power_w": [3, 4],
            "cold": [True, False],
            "note": ["x", None],
            "built_at": pd.to_datetime(["2026-01-01", "2026-01-02"]),
        }
    )
    assert store.ingest(frame).columns_added == ("power_w", "cold", "note", "built_at")
    with store._reading() as connection:
        types = dict(
            connection.execute(
                "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ?", ["performance_results"]
            ).fetchall()
        )
    assert [types[n] for n in ("power_w", "cold", "note", "built_at")] == ["DOUBLE", "BOOLEAN", "VARCHAR", "TIMESTAMP"]
    for column, value, kinds in (
        ("power_w", "much", "number in the store, and text"),
        ("power_w", True, "number in the store, and boolean"),
        ("cold", 1.5, "boolean in the store, and number"),
        ("note", 1.5, "text in the store, and number"),
        ("built_at", 7, "time in the store, and number"),
    ):
        with pytest.raises(SchemaError, match=f"'{column}' holds {kinds}"):
            store.ingest([{"latency": 3.0, column: value}])
    assert store.ingest([{"latency": 3.0, "power_w": "12.5", "POWER": 1}]).rows_new == 1
    assert store.ingest([{"latency": 4.0, "Power_W": 5}]).columns_added == ()
    assert sorted(row["power_w"] for row in store.get_performance_results()) == [3.0, 4.0, 5.0, 12.5]


HOSTILE = ['a"b', "'; DROP TABLE models; --", "select", "x y", "ä", "a.b", "%s", "{name}", "__valid0", "c0", "?", "row"]


def test_hostile_names_and_values(store):
    row = {"id": 1, "latency": 1.0, "model": "'; DROP TABLE models; --"} | {n: n for n in HOSTILE}
    store.ingest([row])
    assert store.ingest([row]).rows_new == 0
    (found,) = store.get_performance_results()
    assert {name: found[name] for name in HOSTILE} == {n: n for n in HOSTILE}
    assert store.models()["model_id"].tolist() == ["'; DROP TABLE models; --"]
    assert len(store.get_performance_results(filter_params={'a"b': 'a"b', "model": "'; DROP TABLE models; --"})) == 1
    with store.observations("performance") as observations:
        assert set(HOSTILE) <= set(observations.schema.names)
        assert observations.table.to_pyarrow().shape == (1, len(observations.schema.names))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame([[1.0, 2, 3]], columns=["latency", "note", "Note"]), "letter case only"),
        (pd.DataFrame([[1.0, 2]], columns=["latency", ""]), "no name"),
        (pd.DataFrame([[1.0, 2]], columns=["latency", "a\0b"]), "rename it"),
        (pd.DataFrame([[1.0, 2]], columns=["latency", "a" * 2000]), "rename it"),
        (pd.DataFrame([[1.0, 2]], columns=["latency", "result_key"]), "needs for itself"),
        (pd.DataFrame([[1.0, 2]], columns=["latency", "latency"]), "more than once"),
        (pd.DataFrame(index=range(3)), "no columns"),
        (pd.DataFrame({"latency": [True]}).assign(timestamp=True), "'timestamp' holds time in the store, and boolean"),
    ],
)
def test_frames_that_cannot_be_stored(store, frame, words):
    with pytest.raises(SchemaError, match=words):
        store.ingest(frame, "performance")
    assert store.get_test_results() == []
    assert store.runs().empty


def test_what_is_no_result(store):
    for results in ("text", 7, [1], {"latency": 1}):
        with pytest.raises(SchemaError, match="result"):
            store.ingest(results)


def test_an_index_and_columns_of_several_levels(store):
    frame = pd.DataFrame(
        [[1.0, 2.0]],
        index=pd.MultiIndex.from_tuples([("bert", "a100")], names=["model", "hardware"]),
        columns=pd.MultiIndex.from_tuples([("average_latency_ms", ""), ("power", "w")]),
    )
    store.ingest(frame)
    assert store.get_performance_results() == [
        {"model_id": "bert", "hardware_id": "a100", "average_latency_ms": 1.0, "power_w": 2.0}
    ]


@pytest.mark.parametrize("empty", [pd.DataFrame(), pd.DataFrame({"latency": []}), []])
def test_nothing_in_nothing_done(store, empty):
    version = store.data_version
    assert store.ingest(empty) == Ingested()
    assert store.data_version == version


def test_the_frame_of_the_caller_stays_as_it_is(store):
    frame = performance(20).assign(tags=[[1]] * 20)
    copy = frame.copy()
    store.ingest(frame)
    pd.testing.assert_frame_equal(frame, copy)


def test_kinds_of_pandas_columns(store):
    frame = pd.DataFrame(
        {
            "id": pd.array([1, 2, None], dtype="Int64"),
            "model": pd.Categorical(["a", "b", None]),
            "average_latency_ms": pd.array([1.5, None, 2.5], dtype="Float64"),
            "total_time_seconds": pd.to_timedelta(["1min", "2s", None]),
            "platform": pd.array(["x", "y", "z"], dtype="string[pyarrow]"),
            "batch_size": np.array([1, 2, 3], dtype="uint8"),
            "status": [True, None, "skip"],
        }
    )
    store.ingest(frame)
    found = {row["platform"]: row for row in store.get_performance_results()}
    assert found["x"] == {"result_id": "1", "model_id": "a", "average_latency_ms": 1.5, "total_time_seconds": 60.0,
                          "platform": "x", "batch_size": 1.0, "status": "True"}  # fmt: skip
    assert found["z"] == {"average_latency_ms": 2.5, "platform": "z", "batch_size": 3.0, "status": "skip"}


def test_threads_that_ingest_the_same_add_it_once(store):
    frame = performance(300)
    done: list[Ingested] = []
    threads = [threading.Thread(target=lambda: done.append(store.ingest(frame))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.rows_new for one in done) == [0] * 5 + [300]
    assert keys_are_unique(store)
