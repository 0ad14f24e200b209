"""Runs of tests on this machine: what is found is stored, and what goes wrong is told and made good."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from aggrkit import BenchmarkDBManager, ResultAggregator, ResultAggregatorService
from aggrkit.coordinator import RunConfig, TestCoordinator
from aggrkit.coordinator.queue import TaskQueue
from aggrkit.errors import AggrError, SchemaError, UnknownNameError
from tests.coordinator.measured import LATENCY, asserting, endless, failing, killed_always, killed_once, latency


def slow_w05(model):
    """Return about the same, but 20 % more on one worker; threads are named as workers are."""
    time.sleep(0.1)
    factor = 1.2 if threading.current_thread().name.startswith("w5_") else 1.0
    return {"latency_ms": LATENCY[model] * factor * float(np.exp(np.random.default_rng().normal(0, 0.01)))}


@pytest.fixture
def store(tmp_path):
    with BenchmarkDBManager(tmp_path / "r.duckdb") as store:
        yield store


@pytest.fixture
def coordinator(store):
    return TestCoordinator(db_manager=store)


def stored(coordinator):
    return coordinator.db_manager.get_performance_results(filter_params={"run_id": coordinator.current_run_id})


@pytest.mark.parametrize("executor", ["processes", "threads"])
def test_a_grid_is_run_and_what_it_finds_is_in_the_store_and_both_layers(store, executor):
    service, detailed = ResultAggregatorService(db_manager=store), ResultAggregator(db_manager=store)
    coordinator = TestCoordinator(service, store, detailed_aggregator=detailed)
    grid = {"model": ["bert", "vit"], "hardware": ["cpu"], "batch_size": [1, 8]}
    config = {"tests": latency, "grid": grid, "repeats": 3, "executor": executor, "workers": 2}
    report = coordinator.run_distributed_tests({**config, "labels": {"commit": "4f2a1c0"}})
    assert report.state == "completed"
    assert report.counts == {"waiting": 0, "running": 0, "done": 12, "failed": 0, "cancelled": 0}
    assert report.events == ()
    records = stored(coordinator)
    seen = Counter((r["model_id"], r["hardware_id"], r["batch_size"], r["repeat"]) for r in records)
    assert seen == Counter((m, "cpu", b, k) for m in ("bert", "vit") for b in (1, 8) for k in range(3))
    assert {r["average_latency_ms"] / r["batch_size"] / LATENCY[r["model_id"]] for r in records} == {1.0}
    assert {r["worker_id"] for r in records} == {"w1", "w2"}
    assert {(r["test_case"], r["status"], r["commit"]) for r in records} == {("latency", "passed", "4f2a1c0")}
    assert {r["python"] for r in records} == {".".join(map(str, sys.version_info[:3]))}
    assert all(r["hostname"] and r["os"] for r in records)
    pids = {r["pid"] for r in records}
    assert pids == {os.getpid()} if executor == "threads" else len(pids) == 2 and os.getpid() not in pids
    assert len(detailed.test_results) == 12
    answer = coordinator.process_results()
    assert answer == service.aggregate_results(
        "performance", "model_hardware", filter_params={"run_id": coordinator.current_run_id}
    )
    found = answer["results"]["basic_statistics"]["bert:cpu"]["average_latency_ms"]
    assert (found["count"], found["mean"]) == (6, np.mean([9.0, 72.0]))
    kept = store.get_aggregates(result_type="performance").set_index(["model", "metric"])
    assert kept.loc[("bert", "average_latency_ms"), "mean"] == np.mean([9.0, 72.0])


def test_process_results_are_those_of_the_current_run(coordinator):
    with pytest.raises(AggrError, match="nothing was run yet"):
        coordinator.process_results()
    config = {"tests": latency, "executor": "threads", "workers": 1}
    coordinator.run_distributed_tests({**config, "grid": {"model": "bert"}, "run_id": "first"})
    coordinator.run_distributed_tests({**config, "grid": {"model": "vit"}})
    assert set(coordinator.process_results("model")["results"]["basic_statistics"]) == {"vit"}
    assert set(coordinator.process_results()["results"]["basic_statistics"]) == {"vit:cpu"}
    with pytest.raises(UnknownNameError, match="did you mean 'model'"):
        coordinator.process_results("modell")
    with pytest.raises(SchemaError, match="a run 'first' already"):
        coordinator.run_distributed_tests({**config, "grid": {"model": "vit"}, "run_id": "first"})


def test_what_took_longest_before_comes_first(coordinator):
    seen = []

    def timed(model):
        seen.append(model)
        time.sleep({"a": 0.0, "b": 0.15, "c": 0.05}[model])

    config = {"tests": {"timed": timed}, "grid": {"model": ["a", "b", "c"]}, "executor": "threads", "workers": 1}
    coordinator.run_distributed_tests(config)
    coordinator.run_distributed_tests(config)
    assert seen == ["a", "b", "c", "b", "c", "a"]


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_test_run_again(coordinator, tmp_path):
    config = {"tests": killed_once, "grid": {"model": ["bert", "vit"], "mark": str(tmp_path / "mark")}, "repeats": 3}
    report = coordinator.run_distributed_tests({**config, "workers": 2, "retries": 0})
    assert report.counts["done"] == 6
    assert len(stored(coordinator)) == 6
    assert [words for words in report.events if "was lost while it ran it" in words]
    assert [words for words in report.events if "took the place of worker" in words]
    assert "will be run again" in report.explain()


@pytest.mark.slow
def test_a_test_that_kills_all_its_workers_fails_in_the_end(coordinator):
    config = {"tests": {"killed": killed_always, "quick": ["true"]}, "workers": 1, "retries": 0}
    report = coordinator.run_distributed_tests(config)
    assert (report.counts["failed"], report.counts["done"]) == (1, 1)
    assert sum("will be run again" in words for words in report.events) == 2  # the other test is not given to the dead
    assert any("given out 3 times in vain" in words for words in report.events)


@pytest.mark.parametrize("test", [endless, ["sleep", "60"], "tests.coordinator.measured:endless"])
def test_a_test_that_does_not_end_is_stopped(coordinator, test):
    started = time.monotonic()
    config = {"tests": {"endless": test, "quick": ["true"]}, "workers": 1, "timeout_seconds": 0.5, "retries": 0}
    report = coordinator.run_distributed_tests(config)
    assert time.monotonic() - started < 30
    assert (report.counts["failed"], report.counts["done"]) == (1, 1)
    if not isinstance(test, str):
        assert any("longer than 0.5 s" in words for words in report.events)


def test_a_test_that_fails_is_run_again_and_recorded(coordinator, tmp_path):
    config = {"tests": {"failing": failing, "asserting": asserting}, "executor": "threads", "workers": 1}
    grid = {"model": ["bert", "vit"], "mark": str(tmp_path / "mark")}
    report = coordinator.run_distributed_tests({**config, "grid": grid})
    assert (report.counts["done"], report.counts["failed"]) == (1, 3)
    found = {(r["test_case"], r["model_id"]): (r["status"], r.get("error")) for r in stored(coordinator)}
    assert found == {
        ("failing", "bert"): ("passed", None),
        ("failing", "vit"): ("error", "ValueError: no such\nlayer"),
        ("asserting", "bert"): ("failed", found["asserting", "bert"][1]),
        ("asserting", "vit"): ("failed", found["asserting", "vit"][1]),
    }
    assert "one and one" in found["asserting", "vit"][1]
    assert sum("will be run again: it failed" in words for words in report.events) == 4
    rates = coordinator.process_results("model")["results"]["basic_statistics"]
    assert (rates["bert"]["passed"]["successes"], rates["bert"]["passed"]["failures"]) == (1, 1)


def test_commands_get_the_grid_and_may_fail_or_say_nonsense(coordinator):
    say = (
        "import json, os; print(json.dumps({'latency_ms': json.loads(os.environ['AGGRKIT_PARAMETERS'])['batch_size']}))"
    )
    tests = {
        "good": [sys.executable, "-c", say],
        "nonsense": [sys.executable, "-c", "print('{{{ hello')"],
        "list": [sys.executable, "-c", "print('[1, 2]')"],
        "infinite": [sys.executable, "-c", "print('{\"latency_ms\": NaN}')"],
        "failing": [sys.executable, "-c", "raise SystemExit('out of memory')"],
        "missing": ["/nowhere/at-all"],
    }
    config = {"tests": tests, "grid": {"batch_size": [4]}, "executor": "threads", "workers": 2, "retries": 0}
    report = coordinator.run_distributed_tests(config)
    found = {r["test_case"]: r for r in stored(coordinator)}
    assert {name: r["status"] for name, r in found.items()} == {
        "good": "passed",
        "nonsense": "passed",
        **dict.fromkeys(("list", "infinite", "failing", "missing"), "error"),
    }
    assert found["good"]["average_latency_ms"] == 4
    assert "neither an object nor a list of objects" in found["list"]["error"]
    assert "isn't finite" in found["infinite"]["error"]
    assert "out of memory" in found["failing"]["error"]
    assert "can't be run" in found["missing"]["error"]
    assert report.notes == ("1 runs of 'nonsense' passed without saying a result.",)


def test_a_run_in_which_all_fails_has_aggregates_too(coordinator):
    config = {"tests": ["false"], "executor": "threads", "workers": 1, "retries": 0, "result_type": "integration"}
    report = coordinator.run_distributed_tests(config)
    assert report.counts["failed"] == 1
    assert coordinator.process_results()["raw_result_count"] == 1
    with BenchmarkDBManager(":memory:") as empty:
        coordinator = TestCoordinator(db_manager=empty)
        coordinator.run_distributed_tests({**config, "tests": ["true"]})
        assert coordinator.process_results()["results"]["basic_statistics"]["unknown:cpu"]["passed"]["rate"] == 1.0


@pytest.mark.slow
def test_a_slow_worker_is_quarantined_while_the_run_goes_on(coordinator, monkeypatch):
    begun = []  # what each worker began, in order, and that one was sent away

    def noted(model):
        begun.append(threading.current_thread().name.partition("_")[0])
        if len(begun) > 300 and "sent away" not in begun:
            time.sleep(1)  # where the machine is busy with more than this, the run waits for who looks at it
        return slow_w05(model)

    def quarantine(queue, worker_id, reason, quarantine=TaskQueue.quarantine):
        quarantine(queue, worker_id, reason)
        begun.append("sent away")

    monkeypatch.setattr(TaskQueue, "quarantine", quarantine)
    workers = {f"w{k}": "cpu" for k in range(12)}
    config = {"tests": noted, "grid": {"model": ["bert", "vit"]}, "repeats": 250}
    report = coordinator.run_distributed_tests({**config, "executor": "threads", "workers": workers})
    assert report.counts["done"] == 500
    sick = {each["worker_id"]: each["quarantined"] for each in report.workers if each["quarantined"]}
    assert set(sick) == {"w5"}
    assert "latency_ms" in sick["w5"]
    assert f"Quarantined: w5: {sick['w5']}" in report.explain()
    before, after = begun[: begun.index("sent away")], begun[begun.index("sent away") :]
    assert after.count("w5") <= 1 <= before.count("w5")  # one may have been on its way
    assert len(after) > 12, "the run goes on"


def test_tests_go_where_their_hardware_is(coordinator):
    config = {"tests": latency, "grid": {"model": ["bert"], "hardware": ["cpu", "cuda"]}, "repeats": 4}
    workers = {"a": "cpu", "b": ["cuda"]}
    coordinator.run_distributed_tests({**config, "executor": "threads", "workers": workers})
    assert {(r["worker_id"], r["hardware_id"]) for r in stored(coordinator)} == {("a", "cpu"), ("b", "cuda")}


def test_an_interrupt_leaves_what_was_acknowledged_in_the_store(coordinator):
    ended = []

    def interrupted(k):
        ended.append(k)
        if len(ended) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return {"latency_ms": 1.0}

    config = {"tests": interrupted, "grid": {"k": list(range(200))}, "executor": "threads", "workers": 1}
    with pytest.raises(KeyboardInterrupt):
        coordinator.run_distributed_tests(config)
    report = coordinator.report
    assert report.state == "interrupted"
    assert 3 <= report.counts["done"] < 200
    # It may come between a result that is stored and the note that its task has ended.
    assert report.counts["done"] <= len(stored(coordinator)) <= report.counts["done"] + 1
    assert "was interrupted" in report.explain()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("aggrkit-settle")]


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_interrupt_ends_the_worker_processes(coordinator, tmp_path):
    mark = tmp_path / "pid"
    program = f"import os, pathlib, time; pathlib.Path({str(mark)!r}).write_text(str(os.getpid())); time.sleep(60)"

    def interrupt():
        until = time.monotonic() + 30
        while not (mark.exists() and mark.read_text()) and time.monotonic() < until:
            time.sleep(0.05)
        interrupted.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    interrupted = []
    killer = threading.Thread(target=interrupt)
    killer.start()
    with pytest.raises(KeyboardInterrupt):
        coordinator.run_distributed_tests({"tests": {"sleep": [sys.executable, "-c", program]}, "workers": 1})
    killer.join()
    command = int(mark.read_text())
    while is_running(command) and time.monotonic() - interrupted[0] < 20:
        time.sleep(0.05)
    assert not is_running(command)  # the command goes with its worker


def test_functions_that_no_module_has_are_sent_as_they_are(coordinator):
    factor = 3.0
    report = coordinator.run_distributed_tests({"tests": {"local": lambda: factor}, "workers": 1})
    assert report.counts["done"] == 1
    assert stored(coordinator)[0]["value"] == 3.0
    lock = threading.Lock()
    with pytest.raises(AggrError, match=r"can't be sent to another process.*executor='threads'"):
        coordinator.run_distributed_tests({"tests": {"local": lambda: lock}, "workers": 1})


def test_a_coordinator_needs_one_store(store):
    with pytest.raises(TypeError, match="needs a store"):
        TestCoordinator()
    with pytest.raises(TypeError, match="needs a store"):
        TestCoordinator(ResultAggregatorService(db_manager=object()))
    with BenchmarkDBManager(":memory:") as other, pytest.raises(SchemaError, match="another store"):
        TestCoordinator(ResultAggregatorService(db_manager=other), store)
    detailed = ResultAggregator(db_manager=store)
    assert TestCoordinator(detailed).detailed_aggregator is detailed
    assert TestCoordinator(detailed).db_manager is store


def test_a_configuration_may_be_an_object(coordinator):
    config = RunConfig(tests=latency, grid={"model": "bert"}, executor="threads", workers=1)
    assert coordinator.run_distributed_tests(config).counts["done"] == 1


@pytest.mark.slow
def test_the_run_of_the_readme(store, tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    programs = re.findall(r"^```py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (code,) = (program for program in programs if "TestCoordinator(" in program)
    monkeypatch.chdir(tmp_path)
    Path("bench.py").write_text(
        "def latency(model, hardware, batch_size):\n    return {'latency_ms': 2.0 * batch_size}\n"
    )
    Path("smoke.py").write_text("print('fine')\n")
    names = {"store": store, "service": ResultAggregatorService(db_manager=store)}
    exec(code.replace('["python",', f"[{sys.executable!r},").replace('"repeats": 5', '"repeats": 2'), names)
    assert names["report"].counts["done"] == 2 * 2 * 2 * 2
    found = names["coordinator"].process_results()["results"]["basic_statistics"]["bert:cpu"]
    assert found["average_latency_ms"]["mean"] == 9.0
    assert found["passed"]["rate"] == 1.0
