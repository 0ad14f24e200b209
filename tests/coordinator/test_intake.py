"""What is acknowledged is on disk, and in the store once, whatever goes wrong in between."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggrkit.coordinator.intake import Intake
from aggrkit.coordinator.journal import Journal
from aggrkit.coordinator.records import batch_of
from aggrkit.errors import ProtocolError, SourceError
from aggrkit.store import BenchmarkDBManager


def result(name, **more):
    return {"result_id": name, "model": "bert", "latency_ms": 1.0, **more}


@pytest.fixture
def store(tmp_path):
    with BenchmarkDBManager(tmp_path / "r.duckdb") as store:
        yield store


@pytest.fixture
def slow(store):
    """An intake that puts nothing into the store by itself."""
    intake = Intake(store, settle_seconds=1000)
    intake.keep(batch_of([result("first")], "performance")).result(30)  # so that the shape is known
    yield intake
    intake.stop()


def ids(store):
    return sorted(found["result_id"] for found in store.get_performance_results())


def journal_of(store):
    return Journal(f"{store.path}.journal")


def test_what_is_acknowledged_is_on_disk_before_it_is_in_the_store(store, slow):
    slow.keep(batch_of([result("a"), result("b")], "performance")).result(30)
    assert ids(store) == ["first"]
    assert [entry["record"]["result_id"] for entry in journal_of(store).read()] == ["a", "b"]
    assert slow.unsettled
    slow.settle()
    assert ids(store) == ["a", "b", "first"]
    assert list(journal_of(store).read()) == []
    assert not slow.unsettled


def test_many_are_acknowledged_by_one_flush(store, slow, monkeypatch):
    flushes = []
    flush = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: (flushes.append(file), flush(file))[1])
    with slow._writing:  # what arrives meanwhile waits
        kept = [slow.keep(batch_of([result(f"n{k}")], "performance")) for k in range(200)]
    for each in kept:
        each.result(30)
    assert len(flushes) <= 3
    slow.settle()
    assert len(ids(store)) == 201


def test_what_an_earlier_process_left_is_taken_in_once(store, slow):
    slow.keep(batch_of([result("a"), result("b")], "performance")).result(30)
    with BenchmarkDBManager(store.path) as second:  # as after a crash between the store and the journal
        second.ingest([result("a")], "performance")
        Intake(second).stop()
        assert ids(second) == ["a", "b", "first"]
        assert list(journal_of(second).read()) == []


def test_both_ways_tell_the_detailed_layer(store):
    class Layer:
        def __init__(self):
            self.told = []

        def process_test_result(self, record):
            self.told.append((record["result_id"], record["result_type"]))

    layer = Layer()
    intake = Intake(store, layer, settle_seconds=1000)
    for name in ("new shape", "known shape"):
        intake.keep(batch_of([result(name)], "performance")).result(30)
    intake.stop()
    assert layer.told == [("new shape", "performance"), ("known shape", "performance")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"mine": 1.0}, {"mine": "words"}),
        ({"mine": True}, {"mine": 2.0}),
        ({"mine": 1.0}, {"mine": True}),
    ],
)
def test_what_the_store_refuses_is_never_acknowledged(store, slow, first, second):
    slow.keep(batch_of([result("a", **first)], "performance")).result(30)
    with pytest.raises(ProtocolError) as caught:
        slow.keep(batch_of([result("b", **second)], "performance")).result(30)
    assert caught.value.code == "bad_result"
    assert "mine" in str(caught.value)
    slow.settle()
    assert ids(store) == ["a", "first"]
    assert not (journal_of(store).folder / "rejected.jsonl").exists()


@pytest.mark.slow
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["model", "latency_ms", "timestamp", "batch_size", "status", "mine", "other", "metrics"]),
            st.none()
            | st.booleans()
            | st.integers(-(2**60), 2**60)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.sampled_from(["", "5", "x", "nan", "2026-01-01", "true", "\u00e9"])
            | st.just([1, "a"])
            | st.just({"latency_ms": 3.0, "mine": "7"}),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_what_is_acknowledged_is_stored_whatever_it_is(records):
    """A shape that is known is one that the store never refuses: the journal may acknowledge it."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder, BenchmarkDBManager(f"{folder}/r.duckdb") as store:
        intake = Intake(store, settle_seconds=1000)
        kept = []
        for place, record in enumerate(records):
            try:
                batch = batch_of([{"result_id": f"r{place}", **record}], "performance")
                intake.keep(batch).result(30)
            except ProtocolError:
                continue
            kept += batch.result_ids
        intake.stop()
        assert ids(store) == sorted(kept)
        assert not list(journal_of(store).folder.iterdir())


def test_a_store_that_can_not_be_written_loses_nothing(store, slow, monkeypatch):
    slow.keep(batch_of([result("a")], "performance")).result(30)
    works = store.ingest

    def full(*_):
        raise SourceError("the disk is full")

    monkeypatch.setattr(store, "ingest", full)
    with pytest.raises(SourceError, match="the disk is full"):
        slow.settle()
    assert [entry["record"]["result_id"] for entry in journal_of(store).read()] == ["a"]
    monkeypatch.setattr(store, "ingest", works)
    slow.stop()
    assert ids(store) == ["a", "first"]


def test_a_journal_that_can_not_be_written_acknowledges_nothing(store, slow, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    flush = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(SourceError, match="No space left"):
        slow.keep(batch_of([result("a")], "performance")).result(30)
    monkeypatch.setattr(os, "fdatasync", flush)
    slow.keep(batch_of([result("b")], "performance")).result(30)
    slow.settle()
    assert ids(store) == ["b", "first"]


def test_nothing_is_taken_in_after_the_end(store, slow):
    slow.stop()
    with pytest.raises(ProtocolError) as caught:
        slow.keep(batch_of([result("late")], "performance")).result(30)
    assert caught.value.code == "shutting_down"


@pytest.mark.slow
def test_too_many_columns_are_refused(store, slow):
    for start in range(0, 2100, 150):
        fields = {f"field_{k}": 1.0 for k in range(start, start + 150)}
        kept = slow.keep(batch_of([result(f"r{start}", **fields)], "performance"))
        if start >= 1950:
            with pytest.raises(ProtocolError, match="name fields alike"):
                kept.result(60)
            return
        kept.result(60)


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text()), min_size=1), st.data())
def test_a_journal_that_was_cut_off_anywhere_holds_what_was_whole(entries, data):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(folder)
        ends = []
        for entry in entries:
            journal.append([entry])
            ends.append(journal._end)
        (path,) = journal.rotate()
        content = path.read_bytes()
        cut = data.draw(st.integers(0, len(content)))
        path.write_bytes(content[:cut])
        assert list(Journal(folder).read()) == [entry for entry, end in zip(entries, ends, strict=True) if end <= cut]


def test_the_journal_is_for_its_owner_alone(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.append([{"a": 1}])
    (path,) = journal.rotate()
    assert (tmp_path / "j").stat().st_mode & 0o077 == 0
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(SourceError, match="can't be opened"):
        Journal(path)


def test_ids_that_are_made_here():
    with_time = {"model": "bert", "timestamp": "2026-01-01", "latency_ms": 1.0}
    assert batch_of([with_time]).result_ids == batch_of([dict(with_time)]).result_ids
    assert batch_of([with_time]).result_ids != batch_of([{**with_time, "latency_ms": 2.0}]).result_ids
    without = {"model": "bert", "latency_ms": 1.0}
    assert batch_of([without]).result_ids != batch_of([without]).result_ids
    assert batch_of([{"id": 7, "latency_ms": 1.0}]).result_ids == ["7"]
