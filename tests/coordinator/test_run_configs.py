"""Configurations of runs: what is wrong with them is said before anything is started."""

from __future__ import annotations

import pytest

from aggrkit import BenchmarkDBManager
from aggrkit.coordinator import RunConfig, Sides, TestCoordinator
from aggrkit.coordinator.plan import Plan
from aggrkit.errors import SchemaError, UnknownNameError


def latency(model, batch_size=1):
    return {"latency_ms": 1.0}


SIDES = {"by": "build", "baseline": "a", "current": "b", "metric": "latency_ms"}
WRONG = [
    ([], TypeError, "the configuration is a dictionary"),
    ({}, SchemaError, "lacks tests"),
    ({"test": latency}, UnknownNameError, "did you mean 'tests'"),
    ({"tests": "m:f", "repeat": 3}, UnknownNameError, "did you mean 'repeats'"),
    ({"tests": {}}, SchemaError, "tests is empty"),
    ({"tests": {"": "m:f"}}, TypeError, "the name of a test is a text"),
    ({"tests": {"x": 3}}, TypeError, "the test 'x' is a function"),
    ({"tests": "module.function"}, SchemaError, "a function is named 'module:function'"),
    ({"tests": []}, TypeError, "a command"),
    ({"tests": latency}, UnknownNameError, "needs 'model', which is no condition of the grid"),
    ({"tests": latency, "grid": {"modell": "x"}}, UnknownNameError, "did you mean 'modell'"),
    ({"tests": "m:f", "grid": ["bert"]}, TypeError, "grid is a dictionary of conditions"),
    ({"tests": "m:f", "grid": {"model": []}}, SchemaError, "is empty, so that nothing would be run"),
    ({"tests": "m:f", "grid": {"model": ["a", "a"]}}, SchemaError, "has a value twice"),
    ({"tests": "m:f", "grid": {"model": [None]}}, TypeError, "holds texts, numbers and truth values"),
    ({"tests": "m:f", "grid": {"hardware": [1]}}, TypeError, "names of hardware"),
    ({"tests": "m:f", "grid": {"worker": ["w"]}}, SchemaError, "can't be a condition"),
    ({"tests": "m:f", "grid": {"model": "a", "model_id": "b"}}, SchemaError, "is said twice"),
    ({"tests": "m:f", "labels": {"run": "a"}}, SchemaError, "can't be a condition"),
    ({"tests": "m:f", "labels": ["a"]}, TypeError, "labels are a dictionary"),
    ({"tests": "m:f", "repeats": 0}, ValueError, "repeats is a whole number of at least 1"),
    ({"tests": "m:f", "repeats": True}, TypeError, "repeats is a whole number"),
    ({"tests": "m:f", "retries": -1}, ValueError, "retries is a whole number of at least 0"),
    ({"tests": "m:f", "timeout_seconds": 0}, ValueError, "timeout_seconds is a positive number"),
    ({"tests": "m:f", "timeout_seconds": "5"}, TypeError, "timeout_seconds is a positive number"),
    ({"tests": "m:f", "result_type": "performence"}, UnknownNameError, "did you mean 'performance'"),
    ({"tests": "m:f", "run_id": ""}, TypeError, "run_id is a text"),
    ({"tests": "m:f", "run_id": "x" * 151}, SchemaError, "at most 150 characters"),
    ({"tests": "m:f", "executor": "thread"}, UnknownNameError, "did you mean 'threads'"),
    ({"tests": "m:f", "executor": 3}, TypeError, "executor is 'processes', 'threads'"),
    ({"tests": "m:f", "executor": "tcp://h:1", "workers": 2}, SchemaError, "a Dask cluster has its own"),
    ({"tests": "m:f", "workers": 0}, ValueError, "workers is a whole number of at least 1"),
    ({"tests": "m:f", "workers": {}}, SchemaError, "workers is empty"),
    ({"tests": "m:f", "workers": {"w": 3}}, TypeError, "is its hardware"),
    ({"tests": "m:f", "workers": {"w": "cpu"}, "grid": {"hardware": "cdua"}}, SchemaError, "no worker has 'cdua'"),
    ({"tests": len, "executor": "threads", "timeout_seconds": 3}, SchemaError, "can't be stopped"),
    ({"tests": "m:f", "compare": 3}, TypeError, "compare is a dictionary of by, baseline"),
    ({"tests": "m:f", "compare": {**SIDES, "margn": 0.1}}, UnknownNameError, "did you mean 'margin'"),
    ({"tests": "m:f", "compare": {"by": "build"}}, SchemaError, "compare lacks baseline, current, metric"),
    ({"tests": "m:f", "compare": {**SIDES, "current": "a"}}, SchemaError, "are the same"),
    ({"tests": "m:f", "compare": {**SIDES, "current": None}}, TypeError, "compare holds texts"),
    ({"tests": "m:f", "compare": {**SIDES, "alpha": 2}}, ValueError, "alpha is a chance"),
    ({"tests": "m:f", "compare": {**SIDES, "beta": 0}}, ValueError, "beta is a chance"),
    ({"tests": "m:f", "compare": {**SIDES, "margin": 0}}, ValueError, "the margin is a positive number"),
    ({"tests": "m:f", "compare": {**SIDES, "noise": -1}}, ValueError, "the noise is a positive number"),
    ({"tests": "m:f", "compare": {**SIDES, "most": 1}}, ValueError, "most'. is a whole number of at least 2"),
    ({"tests": "m:f", "compare": {**SIDES, "most": 5}, "repeats": 6}, SchemaError, "fewer than the 6 repeats"),
    ({"tests": "m:f", "compare": SIDES, "grid": {"build": ["a"]}}, SchemaError, "is said twice"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "error", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_what_is_wrong_is_said(config, error, words):
    with BenchmarkDBManager(":memory:") as store:
        coordinator = TestCoordinator(db_manager=store)
        with pytest.raises(error, match=words):
            coordinator.run_distributed_tests(config)
        assert coordinator.current_run_id is None
        assert store.counts()["performance"] == 0


def test_a_task_for_each_test_combination_and_repeat():
    grid = {"model": ["bert", "vit"], "hardware": "cpu", "batch_size": range(1, 3)}
    config = RunConfig.of({"tests": {"f": latency, "c": ["bench", "-q"], "n": "m:f"}, "grid": grid, "repeats": 2})
    tasks = Plan(config, "r").tasks()
    assert len(tasks) == 3 * 4 * 2
    assert len({task.task_id for task in tasks}) == 24
    assert {task.hardware for task in tasks} == {("cpu",)}
    assert {task.run_id for task in tasks} == {"r"}
    first = {task.labels["test_case"]: task for task in reversed(tasks)}
    assert first["f"].payload["parameters"] == {"model": "bert", "batch_size": 1}  # those that it takes
    everything = {"model": "bert", "hardware": "cpu", "batch_size": 1}
    assert first["c"].payload["parameters"] == first["n"].payload["parameters"] == everything
    assert (first["c"].payload["command"], first["n"].payload["callable"]) == (["bench", "-q"], "m:f")
    assert first["f"].labels == {"test_case": "f", **everything, "repeat": 0, "result_type": "performance"}


def test_a_single_test_is_named_by_what_it_is():
    for given, name in ((latency, "latency"), ("bench.mine:speed", "speed"), (["/usr/bin/bench", "-q"], "bench")):
        assert list(RunConfig.of({"tests": given, "grid": {"model": "x"}}).tests) == [name]


def test_functions_that_take_anything_get_everything():
    config = RunConfig.of({"tests": lambda **conditions: None, "grid": {"model": "x", "k": 3}})
    assert Plan(config, "r").tasks()[0].payload["parameters"] == {"model": "x", "k": 3}


def test_sides_may_be_an_object():
    assert RunConfig(tests="m:f", compare=Sides(**SIDES)).compare.values == ("a", "b")
