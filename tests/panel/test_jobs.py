"""Work in the background: only the latest counts, and nothing that goes wrong in it ends the thread."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import duckdb

from aggrkit.errors import Cancelled
from aggrkit.panel.jobs import Latest
from aggrkit.sources.cancelling import one_at_a_time

if TYPE_CHECKING:
    import pytest

ENDLESS = "SELECT sum(sin(a.range * b.range)) FROM range(1000000) a, range(1000000) b"


def settled(jobs: Latest, seconds: float = 10.0) -> bool:
    return jobs.wait(seconds)


def test_of_many_fast_requests_few_are_begun_and_the_last_one_is_done() -> None:
    wanted, done = [0], []

    def work() -> None:
        seen = wanted[0]
        time.sleep(0.03)
        done.append(seen)

    jobs = Latest(work)
    for number in range(1, 41):
        wanted[0] = number
        jobs.ask()
        time.sleep(0.005)
    assert settled(jobs)
    assert done[-1] == 40
    assert 1 <= jobs.begun <= 6
    jobs.close()


def test_a_request_after_a_pause_is_begun_at_once() -> None:
    begun: list[float] = []
    jobs = Latest(lambda: begun.append(time.monotonic()))
    asked = time.monotonic()
    jobs.ask()
    assert settled(jobs)
    assert begun[0] - asked < 0.1  # less than the quiet that fast requests wait for
    jobs.close()


def test_what_runs_is_cancelled_by_the_next_request() -> None:
    connection = duckdb.connect()
    entered, ended = threading.Event(), []
    is_first = [True]

    def work() -> None:
        if not is_first[0]:
            ended.append("done")
            return
        is_first[0] = False
        try:
            with one_at_a_time(connection):
                entered.set()
                connection.execute(ENDLESS).fetchall()
        except Cancelled:
            ended.append("cancelled")
            raise

    jobs = Latest(work)
    jobs.ask()
    assert entered.wait(5)
    asked = time.monotonic()
    jobs.ask()
    assert settled(jobs)
    assert time.monotonic() - asked < 2
    assert ended == ["cancelled", "done"]
    jobs.close()


def test_what_goes_wrong_is_logged_and_the_next_request_is_served(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def work() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("of the work")

    jobs = Latest(work)
    with caplog.at_level(logging.ERROR, logger="aggrkit"):
        jobs.ask()
        assert settled(jobs)
    assert "ZeroDivisionError: of the work" in caplog.text
    jobs.ask()
    assert settled(jobs)
    assert len(calls) == 2
    jobs.close()


def test_idle_work_goes_on_after_a_request_until_there_is_none_left() -> None:
    left, order = [3], []

    def idle() -> float | None:
        order.append("idle")
        left[0] -= 1
        return 0.0 if left[0] else None

    jobs = Latest(lambda: order.append("work"), idle)
    jobs.ask()
    assert settled(jobs)
    assert order == ["work", "idle", "idle", "idle"]
    left[0] = 1
    jobs.ask()
    assert settled(jobs)
    assert order[4:] == ["work", "idle"]
    jobs.close()


def test_idle_work_that_is_due_later_is_not_waited_for_but_done() -> None:
    done = threading.Event()
    asked = []

    def idle() -> float | None:
        asked.append(time.monotonic())
        if len(asked) == 1:
            return 0.3
        done.set()
        return None

    jobs = Latest(lambda: None, idle)
    jobs.ask()
    assert settled(jobs)
    assert len(asked) == 1
    assert done.wait(5)
    assert asked[1] - asked[0] >= 0.3
    jobs.close()


def test_idle_work_that_fails_is_logged_and_not_tried_without_end(caplog: pytest.LogCaptureFixture) -> None:
    tried, worked = [], []

    def idle() -> float | None:
        tried.append(1)
        raise ValueError("of the idle work")

    jobs = Latest(lambda: worked.append(1), idle)
    with caplog.at_level(logging.ERROR, logger="aggrkit"):
        jobs.ask()
        assert settled(jobs)
        time.sleep(0.2)
    assert len(tried) == 1
    assert "ValueError: of the idle work" in caplog.text
    jobs.ask()
    assert settled(jobs)
    assert (len(worked), len(tried)) == (2, 2)
    jobs.close()


def test_a_request_stops_idle_work_which_goes_on_afterwards() -> None:
    connection = duckdb.connect()
    entered = threading.Event()
    order: list[str] = []

    def idle() -> float | None:
        order.append("idle")
        if order.count("idle") == 1:
            with one_at_a_time(connection):
                entered.set()
                connection.execute(ENDLESS).fetchall()
        return None

    jobs = Latest(lambda: order.append("work"), idle)
    jobs.ask()
    assert entered.wait(5)
    jobs.ask()
    assert settled(jobs)
    assert order == ["work", "idle", "work", "idle"]
    jobs.close()


def test_a_reminder_does_idle_work_at_once_and_disturbs_nothing() -> None:
    order: list[str] = []
    entered, go_on = threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        assert go_on.wait(5)
        order.append("work")

    def idle() -> float | None:
        order.append("idle")
        if len(order) == 2:
            jobs.remind()  # while idle work runs: it is done once more
            return 60.0
        return 60.0

    jobs = Latest(work, idle)
    jobs.ask()
    assert entered.wait(5)
    jobs.remind()
    go_on.set()
    assert settled(jobs)
    assert order == ["work", "idle", "idle"]
    jobs.remind()
    assert settled(jobs)
    assert order == ["work", "idle", "idle", "idle"]
    jobs.close()
    jobs.remind()
    assert settled(jobs)
    assert len(order) == 4


def test_without_idle_work_the_thread_sleeps() -> None:
    jobs = Latest(lambda: None)
    jobs.ask()
    assert settled(jobs)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.25  # a thread that spins takes all of it
    jobs.close()


def test_closing_stops_what_runs_and_ends_the_thread() -> None:
    connection = duckdb.connect()
    entered = threading.Event()

    def work() -> None:
        with one_at_a_time(connection):
            entered.set()
            connection.execute(ENDLESS).fetchall()

    jobs = Latest(work)
    jobs.ask()
    assert entered.wait(5)
    begun = time.monotonic()
    jobs.close()
    assert time.monotonic() - begun < 2
    assert "aggrkit panel" not in [thread.name for thread in threading.enumerate()]


def test_after_closing_nothing_is_begun_and_nobody_waits() -> None:
    calls: list[int] = []
    jobs = Latest(lambda: calls.append(1), lambda: 0.0)
    jobs.close()
    jobs.ask()
    assert jobs.wait(1)
    assert not calls
    jobs.close()
