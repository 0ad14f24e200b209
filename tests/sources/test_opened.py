"""What tells that a source has changed, and how it is opened anew."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import duckdb
import ibis
import pandas as pd
import pytest

import aggrkit
from aggrkit import BenchmarkDBManager
from aggrkit.errors import SourceError
from aggrkit.sources.opened import Opened
from aggrkit.sources.opening import open_source

if TYPE_CHECKING:
    from pathlib import Path

ROWS = pd.DataFrame({"model": ["bert", "vit"], "latency_ms": [3.0, 5.0]})


def opened(source: object, table: str | None = None) -> Opened:
    found = open_source(source, table, None, None)
    assert isinstance(found, Opened)
    return found


def rows_of(source: Opened) -> int:
    return int(source({}).table.count().to_pyarrow().as_py())


@pytest.mark.parametrize("given", ["folder", "glob"])
def test_files_that_come_and_go_are_seen(given: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        ROWS.to_csv(tmp_path / f"{name}.csv", index=False)
    source = opened(tmp_path if given == "folder" else tmp_path / "*.csv")
    assert not source.has_changed()
    ROWS.to_csv(tmp_path / "c.csv", index=False)
    assert source.has_changed()
    renewed = source.renewed()
    assert not renewed.has_changed()
    assert rows_of(renewed) == 6
    (tmp_path / "a.csv").unlink()
    assert renewed.has_changed()
    for name in ("b", "c"):
        (tmp_path / f"{name}.csv").unlink()
    with pytest.raises(SourceError, match=r"\*\.csv is not there") if given == "glob" else pytest.raises(SourceError):
        renewed.renewed()


def test_a_file_of_the_same_size_is_told_by_its_time(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("model,latency_ms\nbert,3\n")
    source = opened(path)
    path.write_text("model,latency_ms\nbert,4\n")
    later = path.stat().st_mtime_ns + 1_000_000
    os.utime(path, ns=(later, later))
    assert source.has_changed()


@pytest.mark.parametrize("as_list", [False, True])
def test_files_of_a_tool_are_read_again(as_list: bool, tmp_path: Path) -> None:
    path = tmp_path / "bench.txt"
    line = "BenchmarkSum-8   \t 1000\t 12.5 ns/op\n"
    path.write_text(f"goos: linux\ngoarch: amd64\npkg: sums\n{line}PASS\n")
    source = opened([path] if as_list else path)
    path.write_text(path.read_text().replace("PASS", f"{line}PASS"))
    assert source.has_changed()
    assert (rows_of(source), rows_of(source.renewed())) == (1, 2)


def test_rows_and_columns_of_a_connection_are_seen() -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE results AS SELECT 'bert' AS model, 3.0 AS latency_ms")
        source = opened(connection)
        assert source.has_changed()  # nothing is counted before it is to be watched
        source.watch()
        assert not source.has_changed()
        connection.execute("INSERT INTO results VALUES ('vit', 5.0)")
        assert source.has_changed()
        renewed = source.renewed()
        connection.execute("ALTER TABLE results ADD COLUMN accuracy DOUBLE")
        assert renewed.has_changed()
        assert "accuracy" in renewed.renewed()({}).schema.names
        connection.execute("CREATE TABLE others AS SELECT 1 AS n")
        assert rows_of(renewed.renewed()) == 2  # it stays with its table


@pytest.mark.filterwarnings("ignore:The 'future.infer_string' option is deprecated")  # Ibis asks pandas for it
def test_tables_of_other_engines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("CREATE TABLE results (model TEXT, latency_ms REAL)")
        writer.execute("INSERT INTO results VALUES ('bert', 3)")
        writer.commit()
        backend = ibis.sqlite.connect(path)
        source = opened(backend)
        source.watch()
        assert not source.has_changed()
        writer.execute("INSERT INTO results VALUES ('vit', 5)")
        writer.commit()
        assert source.has_changed()
        backend.disconnect()


def test_a_database_that_was_let_go_can_be_written_by_others(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE results AS SELECT 'bert' AS model, 3.0 AS latency_ms")
    write = f"import duckdb; duckdb.connect({str(path)!r}).execute(\"INSERT INTO results VALUES ('vit', 5.0)\")"

    def written() -> bool:
        return not subprocess.run([sys.executable, "-c", write], capture_output=True, check=False).returncode

    source = opened(path)
    assert source.is_exclusive
    assert rows_of(source) == 1
    assert not written()
    source.let_go()
    assert written()
    assert source.has_changed()
    assert rows_of(source) == 2
    kept = source.apart()
    source.let_go()
    assert not written()  # the other one has it
    kept.let_go()
    assert written()


def test_a_store_is_opened_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    with BenchmarkDBManager(path) as store:
        with pytest.raises(SourceError, match="holds no results yet; say which table they will be in"):
            aggrkit.open(store)
        store.ingest([{"id": 1, "model": "bert", "hardware": "a100", "latency": 3.0}])
        results = aggrkit.open(store)
        assert results.stats(level="model")["mean"].tolist() == [3.0]
        store.ingest([{"id": 2, "model": "bert", "hardware": "a100", "latency": 5.0}])
        assert results.stats(level="model")["mean"].tolist() == [4.0]
        with BenchmarkDBManager(path) as other:  # another manager of the same file in this process
            source = store.opened()
            other.ingest([{"id": 3, "model": "bert", "hardware": "a100", "latency": 7.0}])
            assert source.has_changed()
        for option in ({"threads": 1}, {"memory_limit": "1GB"}):
            with pytest.raises(SourceError, match="set them by 'config' of the store itself"):
                aggrkit.open(store, **option)
    with pytest.raises(SourceError, match="was closed"):
        aggrkit.open(store)
    with pytest.raises(SourceError, match="was closed"):
        source.has_changed()
