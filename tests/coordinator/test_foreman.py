"""Who looks after the tasks: what earlier runs and new results say is followed, on a real store and a real server."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from aggrkit import BenchmarkDBManager
from aggrkit.coordinator import Client, Server
from aggrkit.coordinator.foreman import Foreman
from aggrkit.coordinator.tasks import Task

START = datetime(2026, 3, 1, tzinfo=UTC)
WORKERS = [f"w{k}" for k in range(8)]


def results(slow: str) -> list[dict[str, object]]:
    """Return ten runs of two models on each worker, at 1 % noise, one worker a fifth slower."""
    rng = np.random.default_rng(5)
    return [
        {
            "result_id": f"{run}-{worker}-{model}",
            "run_id": f"r{run}",
            "timestamp": (START + timedelta(minutes=run)).isoformat(),
            "worker_id": worker,
            "model": model,
            "latency_ms": typical * (1.2 if worker == slow else 1.0) * float(np.exp(rng.normal(0, 0.01))),
            "execution_time_seconds": 10.0 * typical,
        }
        for run, worker, (model, typical) in itertools.product(range(10), WORKERS, {"bert": 9.0, "vit": 2.0}.items())
    ]


@pytest.fixture
def store():
    with BenchmarkDBManager(":memory:") as store:
        yield store


def test_what_earlier_runs_took_orders_the_tasks(store):
    store.ingest(results("w0"), "performance")
    foreman = Foreman(store)
    foreman.remember()
    foreman.queue.register("w0")
    foreman.queue.add([Task("short", labels={"model": "vit"}), Task("long", labels={"model": "bert"})])
    assert [foreman.queue.take("w0").task.task_id for _ in range(2)] == ["long", "short"]


def test_a_slow_worker_is_found_among_the_results_of_those_that_are_there(store):
    foreman = Foreman(store)
    made = results("w3")
    store.ingest(made, "performance")
    for name in WORKERS[:3]:
        foreman.queue.register(name)
    assert foreman.look(len(made)) == []
    for name in WORKERS[3:]:
        foreman.queue.register(name)
    assert foreman.look(len(made)) == []  # nothing is new
    assert foreman.look(2 * len(made)) == ["w3"]
    assert "latency_ms" in foreman.queue.worker("w3").quarantined


def test_the_tasks_of_one_run_tell_of_workers_as_runs_do(store):
    made = results("w3")
    store.ingest([{**record, "run_id": "nightly"} for record in made], "performance")
    foreman = Foreman(store)
    for name in WORKERS:
        foreman.queue.register(name)
    assert foreman.look(len(made)) == []  # one run is not enough to tell
    foreman.queue.add(Task(record["result_id"], run_id="nightly") for record in made)
    assert foreman.look(2 * len(made)) == ["w3"]


def test_a_server_quarantines_a_slow_worker_and_says_why(store):
    with Server(store, port=0, watch_seconds=0.1).running() as server, Client(server.url) as client:
        for name in WORKERS:
            client.request("register", worker_id=name, hardware=["cpu"])
        client.submit(results("w5"), "performance")
        until = time.monotonic() + 60
        while time.monotonic() < until:
            said = client.request("get_task", worker_id="w5")
            if said["quarantined"]:
                break
            time.sleep(0.1)
        assert "latency_ms" in said["quarantined"]
        assert said["task"] is None
        told = {each["worker_id"]: each["quarantined"] for each in client.request("status")["workers"]}
        assert [name for name, why in told.items() if why] == ["w5"]
