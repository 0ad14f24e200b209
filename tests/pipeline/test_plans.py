"""Queries whose SQL is written once: no second compilation, and never an answer to another question."""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from ibis.backends.duckdb import Backend

from aggrkit import BenchmarkDBManager, ResultAggregatorService
from aggrkit.model.schema import Column, Kind, Role
from aggrkit.pipeline.marked import ByValues
from aggrkit.pipeline.plans import PLANS, Plans, anonymous
from aggrkit.sources.engine import connect

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_plans() -> Iterator[None]:
    PLANS.clear()
    yield
    PLANS.clear()


def results(seed: int, rows: int = 240, **further: Any) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    latency = rng.lognormal(3, 0.1, rows)
    latency[7] = 900.0
    frame = {
        "id": [f"{seed}-{k}" for k in range(rows)],
        "run_id": [f"run-{seed}-{k // 10}" for k in range(rows)],
        "timestamp": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(rows) * 3 + seed, unit="h"),
        "model_id": [f"model-{k % 3}" for k in range(rows)],
        "hardware_id": [f"device-{k % 2}" for k in range(rows)],
        "average_latency_ms": latency,
        "throughput_items_per_second": rng.normal(50, 1, rows),
    }
    return pd.DataFrame(frame | further)


def store_of(*frames: pd.DataFrame) -> BenchmarkDBManager:
    store = BenchmarkDBManager(":memory:")
    for frame in frames:
        store.ingest(frame, "performance")
    return store


def asked(store: BenchmarkDBManager, level: str = "model", **question: Any) -> dict[str, Any]:
    answer = ResultAggregatorService(store).aggregate_results("performance", level, use_cache=False, **question)
    return {name: answer[name] for name in ("results", "raw_result_count", "processed_result_count", "metadata")}


def test_the_same_question_to_other_rows_is_not_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    other = results(1).assign(average_latency_ms=lambda frame: 2 * frame["average_latency_ms"])
    stores = [store_of(results(1)), store_of(other)]
    compiled: list[object] = []
    compile_ = Backend.compile

    def counting(self: Backend, *args: Any, **kwargs: Any) -> Any:
        compiled.append(args)
        return compile_(self, *args, **kwargs)

    monkeypatch.setattr(Backend, "compile", counting)
    asked(stores[0])
    first = len(compiled)
    found = asked(stores[1])
    assert first > 5
    assert len(compiled) == first
    by_hand = other[other["model_id"] == "model-1"]["average_latency_ms"].tolist()
    assert found["results"]["basic_statistics"]["model-1"]["average_latency_ms"]["mean"] == pytest.approx(
        statistics.fmean(by_hand), rel=1e-12
    )


def rounded(value: Any) -> Any:
    """Return an answer without the last digits: an engine with threads sums in another order every time."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


QUESTIONS: list[dict[str, Any]] = [
    {},
    {"level": "hardware"},
    {"level": "model_hardware"},
    {"level": "worker"},
    {"filter_params": {"model_id": "model-1"}},
    {"filter_params": {"model_id": ["model-1", "model-2"]}},
    {"time_range": ("2026-01-12", "2026-01-25")},
]


@pytest.mark.slow
def test_plans_of_other_questions_and_other_data_change_no_answer() -> None:
    stores = [
        store_of(results(1)),
        store_of(results(2)),
        store_of(results(1, worker_id="w", batch_size=np.arange(240) % 4)),
        store_of(results(3, passed=np.arange(240) % 5 > 0, precision=[f"fp{k % 3}" for k in range(240)])),
    ]
    fresh = []
    for store in stores:
        for question in QUESTIONS:
            PLANS.clear()
            fresh.append(asked(store, **question))
    PLANS.clear()
    for _ in range(2):
        assert rounded([asked(store, **question) for store in stores for question in QUESTIONS]) == rounded(fresh)


def test_threads_with_stores_of_their_own_share_plans() -> None:
    stores = [store_of(results(seed)) for seed in range(4)]
    alone = [asked(store) for store in stores]
    PLANS.clear()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(asked, stores * 2))
    assert rounded(together) == rounded(alone * 2)


def test_equal_values_of_another_kind_are_another_question() -> None:
    column = Column("flag", "flag", Role.ATTRIBUTE, Kind.TEXT, "said so")
    assert ByValues.of(column, (1,), None) != ByValues.of(column, (True,), None)
    assert ByValues.of(column, (1,), (2,)) == ByValues.of(column, (1,), (2,))


def test_tables_with_data_of_their_own_have_no_plan() -> None:
    assert anonymous(ibis.memtable(pa.table({"a": [1]}))) is None
    backends = [connect() for _ in range(2)]
    tables = []
    for backend in backends:
        backend.con.execute("CREATE TABLE t (a INTEGER)")
        tables.append(backend.table("t"))
    assert anonymous(tables[0].select("a")) == anonymous(tables[1].select("a"))
    assert anonymous(tables[0].mutate(b=1)) != anonymous(tables[0].mutate(b=2))


def test_no_more_plans_are_kept_than_allowed() -> None:
    plans = Plans(most=2)
    plans.put("a", 1)
    plans.put("b", 2)
    assert plans.get("a") == 1
    plans.put("c", 3)
    assert (plans.get("a"), plans.get("b"), plans.get("c"), len(plans)) == (1, None, 3, 2)


@pytest.mark.parametrize(
    ("ids", "left"),
    [
        (["a", "b", "c"], 3),
        (["a", "a", "c"], 2),
        ([1, 2, 2], 2),
        ([1, 2, 3], 3),
        (["a", None, None], 2),  # the two without an id are the same in every column
        (["1", 1, 2], 2),
        ([1.0, 2.0, 2.0], 2),
    ],
)
def test_ids_that_are_there_twice_are_found_of_whatever_kind(ids: list[Any], left: int) -> None:
    frame = pd.DataFrame({"result_id": ids, "timestamp": "2026-01-01", "model": "a", "latency_ms": [1.0, 2.0, 2.0]})
    assert frame.aggr.stats(level="model")["n"].tolist() == [left]
