"""A file of the store is opened like any other source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest

import aggrkit
from aggrkit import BenchmarkDBManager
from aggrkit.errors import SourceError, UnknownNameError

if TYPE_CHECKING:
    from pathlib import Path


def test_the_only_results_of_a_store_are_opened(tmp_path: Path) -> None:
    frame = aggrkit.datasets.load("mlperf_training")
    path = tmp_path / "results.duckdb"
    with BenchmarkDBManager(path) as store:
        store.ingest(frame, "performance")
    opened = aggrkit.open(path)
    names = opened.schema.names
    assert "result_key" not in names
    assert "memory_peak_mb" not in names  # no result has it
    found = opened.stats(level="model", metrics="total_time_seconds").set_index("model")
    wanted = frame.drop_duplicates().groupby("model")["total_time_seconds"]
    pd.testing.assert_series_equal(found["p50"], wanted.median(), check_names=False)
    assert found["n"].to_dict() == wanted.count().to_dict()


def test_a_store_of_several_types_says_which_there_are(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    with BenchmarkDBManager(path) as store:
        store.ingest([{"model_id": "a", "average_latency_ms": 1.0}], "performance")
        store.ingest([{"model_id": "a", "passed": True}], "integration")
    with pytest.raises(UnknownNameError, match="'integration_results', 'performance_results'") as raised:
        aggrkit.open(path)
    assert set(raised.value.choices) == {"performance_results", "integration_results"}
    assert aggrkit.open(path, table="integration_results").proportions(level="model")["rate"].tolist() == [1.0]


def test_an_empty_store_holds_no_results(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    BenchmarkDBManager(path).close()
    with pytest.raises(SourceError, match="holds no results yet; say which table"):
        aggrkit.open(path)
