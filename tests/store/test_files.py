"""The file of a store: versions, what is no store, and what goes wrong on a disk."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pandas as pd
import pytest

from aggrkit.errors import SourceError
from aggrkit.store import BenchmarkDBManager, layout
from tests.unprivileged import unprivileged_folder

if TYPE_CHECKING:
    from pathlib import Path

ROW = {"id": 1, "run_id": "r", "timestamp": "2026-01-01", "model": "bert", "worker": "w", "latency": 1.0}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.duckdb"


def filled(path: Path) -> None:
    with BenchmarkDBManager(path) as store:
        store.ingest([ROW])


def version_1(path: Path) -> None:
    """Write a store as version 1 was: no runs, no anomalies, nothing said of empty columns."""
    with duckdb.connect(str(path)) as connection:
        layout._first_tables(connection)
        connection.execute("INSERT INTO aggrkit_meta VALUES ('schema_version', '1'), ('aggrkit_version', '0.0.9')")
        connection.execute("ALTER TABLE performance_results ADD COLUMN note VARCHAR")
        for k in range(3):
            connection.execute(
                "INSERT INTO performance_results (result_key, result_id, run_id, timestamp, worker_id,"
                " average_latency_ms) VALUES (?, ?, 'r', ?, 'w', ?)",
                [f"id:{k}", str(k), f"2026-01-0{k + 1}", float(k)],
            )


def test_what_is_stored_is_there_again(path):
    filled(path)
    for read_only in (True, False):
        with BenchmarkDBManager(path, read_only=read_only) as store:
            assert [row["result_id"] for row in store.get_performance_results()] == ["1"]
            assert store.path == str(path)


def test_a_store_of_version_1_is_brought_up_to_date(path):
    version_1(path)
    before = path.read_bytes()
    with pytest.raises(SourceError, match="open it once for writing"):
        BenchmarkDBManager(path, read_only=True)
    assert path.read_bytes() == before
    with BenchmarkDBManager(path) as store:
        run = store.runs().iloc[0]
        assert (run["run_id"], run["rows"], run["worker_id"], run["last_timestamp"].day) == ("r", 3, "w", 3)
        with store.observations("performance") as observations:
            assert set(observations.schema.names) == {
                "result_id", "run_id", "timestamp", "worker_id", "average_latency_ms",
            }  # fmt: skip
        assert store.get_anomalies().empty
        assert store.ingest([{"id": 1, "latency": 5.0}, {"id": 9, "latency": 5.0, "note": "x"}]).rows_new == 1
    with BenchmarkDBManager(path, read_only=True) as store:
        assert len(store.get_performance_results()) == 4
        with store._reading() as connection:
            assert layout.meta_value(connection, "schema_version") == str(layout.VERSION) == "2"


def test_a_migration_that_fails_changes_nothing(path, monkeypatch):
    version_1(path)

    def broken(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("DROP TABLE performance_results")
        connection.execute("SELECT no_such_column FROM models")

    with monkeypatch.context() as patched:
        patched.setattr(layout, "_STEPS", (layout._first_tables, broken))
        with pytest.raises(SourceError, match="no_such_column"):
            BenchmarkDBManager(path)
    with BenchmarkDBManager(path) as store:
        assert len(store.get_performance_results()) == 3


@pytest.mark.parametrize("read_only", [True, False])
def test_a_store_of_a_later_version_is_left_as_it_is(path, read_only):
    filled(path)
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE aggrkit_meta SET value = '99' WHERE key = 'schema_version'")
        connection.execute("UPDATE aggrkit_meta SET value = '7.5.0' WHERE key = 'aggrkit_version'")
    before = path.read_bytes()
    with pytest.raises(SourceError, match=r"install aggrkit 7\.5\.0 or newer"):
        BenchmarkDBManager(path, read_only=read_only)
    assert path.read_bytes() == before


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    "sql", ["CREATE TABLE mine (x INT)", "CREATE TABLE aggrkit_meta (x INT)", "CREATE VIEW v AS SELECT 1"]
)
def test_a_file_that_is_no_store_is_left_as_it_is(path, sql, read_only):
    with duckdb.connect(str(path)) as connection:
        connection.execute(sql)
    before = path.read_bytes()
    with pytest.raises(SourceError, match="is no store of aggrkit"):
        BenchmarkDBManager(path, read_only=read_only)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"model,latency\nbert,1\n", b"SQLite format 3\0" * 9, b"x", b"\0" * 5000])
def test_a_file_of_another_kind_is_left_as_it_is(path, content):
    path.write_bytes(content)
    for read_only in (True, False):
        with pytest.raises(SourceError, match=r"left as it is|left as it was"):
            BenchmarkDBManager(path, read_only=read_only)
    assert path.read_bytes() == content


def test_a_damaged_file(path):
    filled(path)
    content = bytearray(path.read_bytes())
    content[12:20000] = os.urandom(20000 - 12)
    path.write_bytes(bytes(content))
    with pytest.raises(SourceError, match=r"results\.duckdb"):
        BenchmarkDBManager(path)


def test_an_empty_file(path):
    path.touch()
    for read_only in (True, False):
        with pytest.raises(SourceError, match="is an empty file; delete it"):
            BenchmarkDBManager(path, read_only=read_only)


def test_paths_that_cannot_be(tmp_path, path):
    with pytest.raises(SourceError, match=r"the folder .* is not there; make it first"):
        BenchmarkDBManager(tmp_path / "none" / "x.duckdb")
    with pytest.raises(SourceError, match="is a folder; give the path of a file in it"):
        BenchmarkDBManager(tmp_path)
    with pytest.raises(SourceError, match="is not there; open it without read_only to make it"):
        BenchmarkDBManager(path, read_only=True)
    with pytest.raises(SourceError, match="the path of the store is empty"):
        BenchmarkDBManager(" ")
    with pytest.raises(SourceError, match="leave out read_only"):
        BenchmarkDBManager(":memory:", read_only=True)


def test_a_store_open_for_reading_is_not_written(path):
    filled(path)
    with BenchmarkDBManager(path, read_only=True) as store:
        for write in (lambda: store.ingest([ROW]), lambda: store.add_model("x"), lambda: store.store_aggregates(None)):
            with pytest.raises(SourceError, match="open it without read_only to write"):
                write()
        with pytest.raises(SourceError, match="open in this process already"):
            BenchmarkDBManager(path)


def test_a_second_process(path):
    script = (
        "import sys\nfrom aggrkit.errors import SourceError\nfrom aggrkit.store import BenchmarkDBManager\n"
        "for read_only in (False, True):\n"
        "    try:\n        BenchmarkDBManager(sys.argv[1], read_only=read_only)\n"
        "    except SourceError as error:\n        print(error)\n"
    )
    with BenchmarkDBManager(path) as store:
        store.ingest([ROW])
        told = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
        assert told.stdout.count("is open for writing in another process; close it there") == 2
        assert len(store.get_performance_results()) == 1


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_folder_that_cannot_be_written(path):
    filled(path)
    content = path.read_bytes()
    with unprivileged_folder() as folder:
        theirs = folder / path.name
        theirs.write_bytes(content)
        theirs.chmod(0o400)
        folder.chmod(0o500)
        with pytest.raises(SourceError, match=r"can't be written|can't be opened"):
            BenchmarkDBManager(theirs)
        with BenchmarkDBManager(theirs, read_only=True) as store:
            assert len(store.get_performance_results()) == 1


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder of 8 MB, or skip."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = False
    if sys.platform == "linux" and os.geteuid() == 0:
        order = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
        mounted = subprocess.run(order, capture_output=True, check=False).returncode == 0
    if not mounted:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def test_a_full_disk(small_disk):
    path = small_disk / "results.duckdb"
    rng = np.random.default_rng(1)
    big = pd.DataFrame({"result_id": rng.permutation(1_000_000), "average_latency_ms": rng.random(1_000_000)})
    filled(path)
    full = pytest.raises(SourceError, match="is full, so nothing of this call was stored")
    with BenchmarkDBManager(path) as store, full:
        store.ingest(big)
    with BenchmarkDBManager(path) as store:
        assert len(store.get_performance_results()) == 1
    subprocess.run(["mount", "-o", "remount,size=256m", str(small_disk)], check=True)  # space is freed
    with BenchmarkDBManager(path) as store:
        assert store.ingest(big).rows_new == 1_000_000 - 1  # the id 1 is there already


def test_a_read_only_file_system(small_disk):
    path = small_disk / "results.duckdb"
    filled(path)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(SourceError, match="can't be written"):
        BenchmarkDBManager(path)
    with pytest.raises(SourceError, match="can't be written"):
        BenchmarkDBManager(small_disk / "new.duckdb")
    with BenchmarkDBManager(path, read_only=True) as store:
        assert len(store.get_performance_results()) == 1
