"""Queries that another thread stops, and one query at a time on each connection."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ibis
import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit.errors import Cancelled, SourceError
from aggrkit.pipeline.expressions import fetch
from aggrkit.sources.cancelling import Cancellation, one_at_a_time
from aggrkit.sources.engine import connect


def endless(backend: Any) -> Any:
    """Return a query that takes hours."""
    rows = backend.sql("SELECT a.range * b.range AS x FROM range(1000000) a, range(1000000) b")
    return rows.aggregate(total=rows.x.cast("float64").sin().sum())


def answer(backend: Any) -> int:
    found: int = fetch(backend.sql("SELECT 42 AS x"), "test")["x"][0].as_py()
    return found


@pytest.mark.parametrize("delay", [0.0, 0.001, 0.005, 0.3])
def test_a_long_query_is_interrupted_within_a_second(delay: float) -> None:
    """Also where it is stopped while the engine has yet to begin, and would forget that it was."""
    backend = connect()
    query, work = endless(backend), Cancellation()
    stopped: list[float] = []

    def stop() -> None:
        while work._running is None:
            time.sleep(0.0002)
        time.sleep(delay)
        stopped.append(time.monotonic())
        work.cancel()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Cancelled, match="superfluous"), work:
        fetch(query, "test")
    assert time.monotonic() - stopped[0] < 1
    thread.join()
    assert answer(backend) == 42
    assert [thread.name for thread in threading.enumerate()].count("aggrkit cancellation") == 0


def test_after_a_cancellation_further_queries_are_refused_within_it_and_answered_outside() -> None:
    backend, work = connect(), Cancellation()
    with work:
        assert answer(backend) == 42
        work.cancel()
        with pytest.raises(Cancelled):
            answer(backend)
    assert work.is_cancelled
    assert answer(backend) == 42
    with Cancellation():
        assert answer(backend) == 42


def test_a_failure_of_the_source_stays_one() -> None:
    backend = connect()
    with pytest.raises(SourceError), Cancellation():
        fetch(backend.sql("SELECT error('broken') AS x"), "test")


def test_cancelling_one_piece_of_work_leaves_that_of_another_thread() -> None:
    backend = connect()
    mine, other = Cancellation(), Cancellation()
    entered = threading.Event()
    found: list[Any] = []

    def ask() -> None:
        with other, one_at_a_time(backend.con):
            entered.set()
            found.append(backend.con.execute("SELECT sum(sqrt(range)) FROM range(20000000)").fetchall())

    thread = threading.Thread(target=ask)
    thread.start()
    assert entered.wait(5)
    mine.cancel()
    thread.join()
    assert found[0][0][0] == pytest.approx(np.sqrt(np.arange(20_000_000)).sum())


def test_an_engine_that_cannot_be_interrupted_is_left_alone() -> None:
    work = Cancellation()
    with work, one_at_a_time(object()):
        work.cancel()
    with pytest.raises(Cancelled):
        work.check()


def test_two_threads_that_ask_one_source_get_their_own_answers() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"model": rng.choice(["a", "b", "c"], 3000), "x": rng.normal(5, 1, 3000), "y": rng.normal(90, 1, 3000)}
    )
    given = {"metrics": ["x", "y"]}
    observations = frame.aggr(**given).source(given)
    source = aggrkit.analysis.Analysis(lambda _: observations, {})
    wanted = {(metric, model): frame.loc[frame["model"] == model, metric].mean() for metric in "xy" for model in "abc"}

    def ask(place: int) -> None:
        metric, model = list(wanted)[place % 6]
        found = source.stats([], [metric], {"model": model})
        assert found["mean"].tolist() == pytest.approx([wanted[metric, model]])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(48)))


def test_a_result_that_is_read_is_not_lost_to_another_thread() -> None:
    backend = connect()
    wide = backend.sql("SELECT range AS x FROM range(300000)")
    narrow = backend.sql("SELECT range AS x FROM range(7)")

    def ask(place: int) -> int:
        return int(fetch(wide if place % 2 else narrow.filter(ibis._.x >= 0), "test").num_rows)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(40))) == [7, 300_000] * 20
