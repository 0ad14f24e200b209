"""A panel that follows its source: what comes in is shown, what was chosen stays, and nothing is left behind."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit import BenchmarkDBManager
from aggrkit.errors import SourceError
from aggrkit.panel import holdings as holdings_module
from aggrkit.panel.holdings import Holdings
from aggrkit.sources import engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aggrkit.panel import Panel

EVERY = 0.05
PATIENCE = 30
START = pd.Timestamp("2026-01-01")


def results(first: int = 0, n: int = 60, model: str = "bert", **more: Any) -> pd.DataFrame:
    """Return results with ids from `first` on."""
    rng = np.random.default_rng(first)
    return pd.DataFrame(
        {
            "result_id": [str(first + number) for number in range(n)],
            "model": model,
            "hardware": rng.choice(["a100", "h100"], n),
            "timestamp": START + pd.to_timedelta(first + np.arange(n), unit="h"),
            "latency_ms": rng.lognormal(3, 0.4, n),
            **more,
        }
    )


def figures(panel: Panel) -> dict[str, str]:
    return {item["label"]: item["value"] for item in panel._front.figures.get("items", [])}


def until(look: Callable[[], Any], expected: Any = True) -> None:
    """Wait until a look gives what is expected; fail with what it gives if it never does."""
    end = time.monotonic() + PATIENCE
    while (found := look()) != expected and time.monotonic() < end:
        time.sleep(0.02)
    assert found == expected


def shows(panel: Panel, rows: int) -> None:
    until(lambda: figures(panel).get("results"), f"{rows:,}")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("aggrkit")]


@pytest.fixture
def store() -> Iterator[BenchmarkDBManager]:
    with BenchmarkDBManager(":memory:") as made:
        made.ingest(results())
        yield made


@pytest.fixture
def following() -> Iterator[Callable[..., Panel]]:
    """Return a function that opens panels which follow; they are closed afterwards, and no thread is left."""
    panels: list[Panel] = []

    def of(source: Any, follow: Any = EVERY, **state: Any) -> Panel:
        opened = source if isinstance(source, aggrkit.accessor.Results) else aggrkit.open(source)
        panels.append(opened.explore(follow=follow, **state))
        return panels[-1].wait()

    yield of
    for panel in panels:
        panel.close()
    assert threads() == []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of what is asked of any engine from now on, by whatever method."""
    found: list[str] = []
    plain = engine._Cursor.__getattr__

    def counted(self: Any, name: str) -> Any:
        if name != "interrupt":
            found.append(name)
        return plain(self, name)

    for name in ("execute", "sql"):
        own = getattr(engine._Cursor, name)

        def one(self: Any, *args: Any, own: Any = own, name: str = name, **kwargs: Any) -> Any:
            found.append(name)
            return own(self, *args, **kwargs)

        monkeypatch.setattr(engine._Cursor, name, one)
    monkeypatch.setattr(engine._Cursor, "__getattr__", counted)
    return found


def test_what_comes_in_is_shown_and_what_was_chosen_stays(
    store: BenchmarkDBManager, following: Callable[..., Panel]
) -> None:
    chosen = {
        "level": "model",
        "statistic": "p95",
        "cell": {"model": "bert"},
        "tab": "anomalies",
        "start": "2026-01-01",
        "end": "2026-01-09",
    }
    panel = following(store, **chosen)
    shows(panel, 60)
    before = panel.state
    assert panel._front.follow["changed"] is None
    store.ingest(results(60, 40))
    store.ingest(results(100, 30, "vit", throughput=2.0))
    shows(panel, 100)
    assert panel.state == before
    assert {name: panel.state[name] for name in chosen} == chosen
    assert panel._front.tab == "anomalies"
    controls = panel._controls.by_name
    assert [controls[name].value for name in ("level", "statistic")] == ["model", "p95"]
    assert str(controls["end"].value) == "2026-01-09"
    until(lambda: "throughput_items_per_second" in controls["metric"]._options_values)
    assert abs(panel._front.follow["changed"] / 1000 - time.time()) < PATIENCE
    # the new model can be chosen, and what is answered are the new numbers
    panel.show(cell={"model": "vit"}).wait()
    shows(panel, 30)
    assert panel.show(tab="statistics", cell={}).wait().result["n"].tolist() == [100, 30]


def test_a_run_of_a_coordinator_is_followed_from_an_empty_store(following: Callable[..., Panel]) -> None:
    from aggrkit.coordinator import TestCoordinator

    with BenchmarkDBManager(":memory:") as store:
        with pytest.raises(SourceError, match=r"holds no results yet; say which .* table='compatibility_results'"):
            aggrkit.open(store)
        panel = following(aggrkit.open(store, table="performance_results"), level="model")
        assert "no observation" in panel._front.error
        coordinator = TestCoordinator(db_manager=store)
        coordinator.run_distributed_tests(
            {"tests": lambda model: {"throughput": 3.0}, "grid": {"model": ["a", "b"]}, "repeats": 4}
            | {"executor": "threads", "workers": 2}
        )
        shows(panel, 8)
        assert panel._front.error == ""
        assert panel.state["metric"] == "throughput_items_per_second"


def test_nothing_is_asked_while_nothing_changes(
    store: BenchmarkDBManager, following: Callable[..., Panel], asked: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "results.parquet"
    results().to_parquet(path)
    panels = [following(store), following(path)]
    for panel in panels:
        shows(panel, 60)
    assert asked
    time.sleep(0.3)
    looks = []
    for panel in panels:
        source = panel._following._source
        plain = source._mark
        source._mark = lambda plain=plain: looks.append(1) or plain()
    asked.clear()
    sent = []
    for panel in panels:
        panel._front.observe(sent.append)
    time.sleep(0.8)
    assert len(looks) >= 6
    assert (asked, sent) == ([], [])
    store.ingest(results(60, 5))
    shows(panels[0], 65)
    assert asked


def test_a_table_of_a_connection_is_counted_and_nothing_else(following: Callable[..., Panel]) -> None:
    with duckdb.connect() as connection:
        for name, frame in (("results", results()), ("more", results(60, 7))):
            connection.register("frame", frame)
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM frame")
        connection.unregister("frame")
        sources = [aggrkit.open(connection, table="results"), engine.from_connection(connection).table("results")]
        panels = [following(source) for source in sources]
        taken = []
        for panel in panels:
            shows(panel, 60)
            plain = panel._take
            panel._following._take = lambda source, plain=plain: taken.append(1) or plain(source)
        time.sleep(0.5)
        assert taken == []
        connection.execute("INSERT INTO results SELECT * FROM more")
        for panel in panels:
            shows(panel, 67)
        assert len(taken) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "parquet", "duckdb"])
def test_a_file_that_is_written_again_is_read_again(kind: str, following: Callable[..., Panel], tmp_path: Path) -> None:
    path = tmp_path / f"results.{kind}"

    def write(frame: pd.DataFrame) -> None:
        if kind == "csv":
            frame.to_csv(path, index=False)
        elif kind == "parquet":
            frame.to_parquet(path)
        else:  # by another process, which could not if the panel held it
            frame.to_parquet(tmp_path / "rows.parquet")
            said = f"CREATE OR REPLACE TABLE results AS SELECT * FROM '{tmp_path / 'rows.parquet'}'"
            program = f"import duckdb\nwith duckdb.connect({str(path)!r}) as c: c.execute({said!r})"
            subprocess.run([sys.executable, "-c", program], check=True)

    write(results())
    panel = following(path, level="model")
    shows(panel, 60)
    write(pd.concat([results(), results(60, 40, "vit")]))
    shows(panel, 100)
    assert panel.result["n"].tolist() == [60, 40]


def test_what_cannot_be_read_is_told_and_recovered_from(following: Callable[..., Panel], tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    with BenchmarkDBManager(path) as store:
        store.ingest(results())
    panel = following(path)
    shows(panel, 60)
    program = "import aggrkit, sys; s = aggrkit.BenchmarkDBManager(sys.argv[1]); print('open', flush=True); input();"
    program += "s.ingest([{'id': 'x', 'model': 'vit', 'hardware': 'a100', 'latency': 2.5}]); s.close()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout.readline() == "open\n"
        panel.show(level="model").wait()  # held elsewhere: a question to it is refused in words
        assert "is open for writing in another process" in panel._front.error
        until(lambda: "is open for writing in another process" in panel._front.follow["trouble"])
        assert "It is tried again" in panel._front.follow["trouble"]
        assert figures(panel)["results"] == "60"  # what was seen stays
        writer.communicate("\n")
    shows(panel, 61)
    until(lambda: (panel._front.follow["trouble"], panel._front.error), ("", ""))


def test_a_missing_file_is_told_and_recovered_from(following: Callable[..., Panel], tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    results().to_csv(path, index=False)
    panel = following(path)
    path.unlink()
    until(lambda: "is not there" in panel._front.follow["trouble"])
    assert panel.is_following
    results(0, 80).to_csv(path, index=False)
    shows(panel, 80)
    assert panel._front.follow["trouble"] == ""


def test_a_store_that_was_closed_is_told(following: Callable[..., Panel], tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    store = BenchmarkDBManager(path)
    store.ingest(results())
    panel = following(store)
    shows(panel, 60)
    store.close()
    until(lambda: "was closed" in panel._front.follow["trouble"])
    duckdb.connect(str(path)).close()  # the panel doesn't hold what was closed


def test_turned_off_it_asks_no_more(store: BenchmarkDBManager, following: Callable[..., Panel]) -> None:
    panel = following(store)
    shows(panel, 60)
    panel._heard(None, {"kind": "follow", "on": False}, [])
    assert not panel.is_following
    assert panel._front.follow["on"] is False
    looks = []
    plain = panel._following._source._mark
    panel._following._source._mark = lambda: looks.append(1) or plain()
    panel.wait()
    looks.clear()
    store.ingest(results(60, 5))
    time.sleep(0.4)
    assert (looks, figures(panel)["results"]) == ([], "60")
    panel._heard(None, {"kind": "follow", "on": True}, [])
    shows(panel, 65)
    assert panel._following._every == 2.0


def test_it_rests_while_no_page_shows_it(store: BenchmarkDBManager, following: Callable[..., Panel]) -> None:
    panel = following(store)
    for view in ("one", "two"):
        panel._heard(None, {"kind": "view", "id": view, "open": True}, [])
    panel._heard(None, {"kind": "view", "id": "one", "open": False}, [])
    store.ingest(results(60, 5))
    shows(panel, 65)
    panel._heard(None, {"kind": "view", "id": "two", "open": False}, [])
    panel.wait()
    store.ingest(results(65, 5))
    time.sleep(0.4)
    assert figures(panel)["results"] == "65"
    panel._heard(None, {"kind": "view", "id": "three", "open": True}, [])
    shows(panel, 70)


def test_slow_answers_are_waited_for_and_not_queued(
    store: BenchmarkDBManager, following: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = following(store)
    shows(panel, 60)
    spans: list[tuple[float, float]] = []
    plain = panel._take

    def slow(source: Any) -> None:
        begun = time.monotonic()
        time.sleep(0.4)
        plain(source)
        spans.append((begun, time.monotonic()))

    panel._following._take = slow
    writing = threading.Event()

    def write() -> None:
        first = 60
        while not writing.wait(0.05):
            store.ingest(results(first, 1))
            first += 1

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(3)
    writing.set()
    writer.join()
    shows(panel, store.counts()["performance"])
    assert 2 <= len(spans) <= 5  # and not the sixty that fit the interval, of which none could be in time
    for (_, ended), (begun, _) in pairwise(spans):
        assert begun - ended >= 0.4  # at least half of the time is left for others


def test_the_latest_request_wins_over_what_comes_in(store: BenchmarkDBManager, following: Callable[..., Panel]) -> None:
    panel = following(store, level="model")
    shows(panel, 60)
    writing = threading.Event()

    def write() -> None:
        for first in range(60, 100):
            store.ingest(results(first, 1, "vit"))
            time.sleep(0.02)
        writing.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not writing.is_set():
        for statistic in ("p50", "mean", "p99"):
            panel.show(statistic=statistic)
            time.sleep(0.01)
    writer.join()
    panel.show(statistic="max", cell={"model": "vit"}).wait()
    shows(panel, 40)
    assert (panel.state["statistic"], panel._controls.by_name["statistic"].value) == ("max", "max")
    assert panel._showing.seen[0] == panel._state


def test_what_is_seen_changes_at_once_and_quietly(store: BenchmarkDBManager, following: Callable[..., Panel]) -> None:
    panel = following(store, tab="anomalies", level="model")
    shows(panel, 60)
    until(lambda: "anomalies" in figures(panel))
    told = []
    panel._front.observe(lambda change: told.append((change["name"], change["new"])))
    store.ingest(results(60, 10))
    shows(panel, 70)
    panel.wait()
    names = [name for name, _ in told if name != "follow"]
    assert len(names) == len(set(names))  # each part once, with all that belongs to it
    assert not {"busy", "tab", "error"} & set(names)
    (seen,) = [new for name, new in told if name == "figures"]
    assert seen["quiet"] is True
    assert {"anomalies", "changes"} <= {item["label"] for item in seen["items"]}


def test_a_large_source_goes_from_cube_to_cube(
    store: BenchmarkDBManager, following: Callable[..., Panel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdings_module, "_SAMPLE", 500)
    monkeypatch.setattr("aggrkit.panel.panel.Holdings", lambda analysis: Holdings(analysis, large=1000))
    store.ingest(results(60, 2000))
    panel = following(store, level="model")
    until(lambda: panel._front.figures.get("mode"), "cached")
    modes: list[str] = []
    panel._front.observe(lambda change: modes.append(change["new"]["mode"]), "figures")
    store.ingest(results(2060, 440))
    shows(panel, 2500)
    assert set(modes) == {"cached"}


def test_following_is_no_part_of_the_question(store: BenchmarkDBManager, following: Callable[..., Panel]) -> None:
    panel = following(store, level="model")
    assert "follow" not in panel.state
    assert "follow" not in panel.code
    panel.show(statistic="mean").undo()
    panel._heard(None, {"kind": "reset"}, [])
    assert panel.is_following
    again = aggrkit.open(store).explore(**panel.state)
    assert (again.state, again.code, again.is_following) == (panel.state, panel.code, False)
    again.close()
    names = {"store": store, "aggrkit": aggrkit, "source": store}
    exec(panel.code, names)
    pd.testing.assert_frame_equal(pd.DataFrame(names["result"]), pd.DataFrame(panel.result))


def test_a_frame_is_a_snapshot_and_says_so() -> None:
    frame = results()
    with pytest.raises(SourceError, match=r"can't follow: a DataFrame is a snapshot .* open the store"):
        frame.aggr.explore(follow=True)
    assert threads() == []
    panel = aggrkit.explore(frame, level="model")
    assert panel._front.follow["able"] is False
    assert "snapshot" in panel._front.follow["why"]
    panel._heard(None, {"kind": "follow", "on": True}, [])
    assert "snapshot" in panel._front.error
    assert not panel.is_following
    panel.close()


@pytest.mark.parametrize(
    ("follow", "error"), [("yes", TypeError), (0, ValueError), (-1, ValueError), (None, TypeError)]
)
def test_what_is_no_interval_is_refused(follow: Any, error: type[Exception], store: BenchmarkDBManager) -> None:
    with pytest.raises(error, match="'follow' is True, False or a number of seconds above 0"):
        aggrkit.open(store).explore(follow=follow)
    assert threads() == []


def test_closing_ends_it(store: BenchmarkDBManager) -> None:
    panel = aggrkit.open(store).explore(follow=EVERY)
    panel.close()
    assert threads() == []
    assert not panel.is_following
    panel.follow()
    assert threads() == []
