"""Runs that compare two sides: they stop when it is decided, and at the latest at the most that was allowed."""

from __future__ import annotations

import math
import random
import time
from collections import Counter

import numpy as np
import pytest

from aggrkit import BenchmarkDBManager
from aggrkit.coordinator import TestCoordinator
from aggrkit.coordinator.config import RunConfig
from aggrkit.coordinator.contest import Contests
from aggrkit.coordinator.noise import noise_of
from aggrkit.coordinator.plan import Plan
from aggrkit.statistics.sequential import SequentialTest

SIDES = {"by": "build", "baseline": "a", "current": "b", "metric": "latency_ms", "margin": 0.02, "noise": 0.01}


def contests_of(repeats=2, models=("bert",), noise=0.01, **more):
    config = RunConfig.of(
        {"tests": "m:f", "grid": {"model": list(models)}, "repeats": repeats, "compare": {**SIDES, **more}}
    )
    return Contests(config.compare, Plan(config, "r"), repeats, noise)


def play(contests, latency, free=0):
    """Run the tasks in their order, and return how many there were."""
    tasks, count = contests.begin(), 0
    while tasks:
        unneeded = set()
        for task in tasks:
            if task.task_id not in unneeded:
                count += 1
                unneeded |= set(contests.note(task, [{"latency_ms": latency(**task.payload["parameters"])}]))
        contests.settle(lambda name, gone=unneeded: name in gone)
        tasks = contests.more(free)
    return count


def noisy(rng, change):
    """Return a test with 1 % noise, and this change from build a to build b."""
    return lambda model, build: 10 * (1 + change * (build == "b")) * math.exp(rng.normal(0, 0.01))


@pytest.fixture
def coordinator():
    with BenchmarkDBManager(":memory:") as store:
        yield TestCoordinator(db_manager=store)


def run(coordinator, test, **more):
    compare = {**SIDES, **more.pop("compare", {})}
    config = {"tests": {"t": test}, "executor": "threads", "workers": 2, "compare": compare, **more}
    return coordinator.run_distributed_tests(config)


def measured(latency):
    """Return a test that says what is measured."""
    return lambda model, build: {"latency_ms": latency(model, build)}


def test_a_clear_difference_ends_the_run_early(coordinator):
    report = run(coordinator, measured(noisy(np.random.default_rng(1), 0.2)), grid={"model": ["bert", "vit"]})
    assert [(c.cell, c.decision) for c in report.comparisons] == [({"model": m}, "changed") for m in ("bert", "vit")]
    assert all(c.change == pytest.approx(0.2, abs=0.03) for c in report.comparisons)
    assert all(max(c.runs) <= 4 for c in report.comparisons)
    assert report.counts["done"] <= 20
    assert "t, bert: changed by +" in report.explain()
    records = coordinator.db_manager.get_performance_results()
    assert {r["build"] for r in records} == {"a", "b"}


def test_no_difference_ends_it_too(coordinator):
    report = run(coordinator, measured(noisy(np.random.default_rng(2), 0.0)), grid={"model": "bert"})
    assert report.comparisons[0].decision == "same"
    assert report.counts["done"] < 60


def test_what_can_not_be_decided_ends_at_the_most(coordinator):
    compare = {"most": 6, "noise": 0.5}  # a margin of a 25th of the noise needs some thousands of runs
    report = run(coordinator, measured(noisy(np.random.default_rng(3), 0.01)), grid={"model": "bert"}, compare=compare)
    assert report.comparisons[0].decision == "undecided"
    assert report.comparisons[0].runs == (6, 6)
    assert report.counts["done"] == 12


def test_without_values_it_ends_at_once(coordinator):
    report = run(coordinator, lambda model, build: {"throughput": 1.0}, grid={"model": "bert"})
    assert report.counts["done"] <= 6
    assert "undecided, as no run brought a value" in report.explain()


def test_a_side_that_fails_does_not_go_on_for_ever(coordinator):
    def half(model, build):
        if build == "b":
            raise RuntimeError("no")
        return {"latency_ms": 1.0}

    report = run(coordinator, half, grid={"model": "bert"}, compare={"most": 5}, retries=0)
    assert report.comparisons[0].decision == "undecided"
    assert (report.counts["done"], report.counts["failed"]) == (5, 5)


def test_each_side_gets_its_runs_in_turn():
    contests = contests_of(repeats=3)
    tasks = contests.begin()
    assert [(task.labels["build"], task.labels["repeat"], task.priority) for task in tasks] == [
        *(("a", 0, 0), ("b", 0, -1)),
        *(("b", 1, -2), ("a", 1, -3)),  # each time the other one first
        *(("a", 2, -4), ("b", 2, -5)),
    ]
    assert contests.more(free=0) == []  # it has runs to wait for
    assert len(contests.more(free=3)) == 4  # workers that are free begin the next pairs


def test_both_sides_are_run_by_all_workers(coordinator):
    def steady(model, build):
        time.sleep(0.03)
        return {"latency_ms": 10.0 * (1.0 + 0.5 * random.random())}

    run(coordinator, steady, grid={"model": "bert"}, compare={"most": 10, "noise": 0.5})
    records = coordinator.db_manager.get_performance_results()
    seen = Counter((r["worker_id"], r["build"]) for r in records)
    assert set(seen) == {(worker, build) for worker in ("w1", "w2") for build in "ab"}
    assert min(seen.values()) >= 2


def test_runs_that_end_out_of_turn_are_not_looked_at_yet():
    contests = contests_of(repeats=4)
    tasks = contests.begin()
    for task in tasks[2:]:  # the first pair takes long
        value = 10.0 if task.labels["build"] == "a" else 20.0
        contests.note(task, [{"latency_ms": value * (1 + 0.001 * task.labels["repeat"])}])
    assert contests.contests[0].decision == "undecided"
    assert contests.contests[0].runs == (0, 0)
    for task in tasks[:2]:
        contests.note(task, [{"latency_ms": 10.0 if task.labels["build"] == "a" else 20.0}])
    assert contests.contests[0].decision == "changed"


def test_a_run_counts_once_by_the_mean_of_the_logarithms_of_what_it_measured():
    contests = contests_of()
    task = contests.begin()[0]
    values = [{"latency_ms": 4.0}, {"average_latency_ms": 9.0}, {"latency_ms": -1.0}, {"latency_ms": None}, {"n": 1}]
    contests.note(task, values)
    assert contests.contests[0].values[0][0] == pytest.approx(math.log(6.0))


def test_the_decision_is_that_of_the_sequential_test():
    rng, contests = np.random.default_rng(5), contests_of(most=30)
    play(contests, noisy(rng, 0.02))
    (contest,) = contests.contests
    baseline, current = contest.in_order()
    test = SequentialTest(math.log1p(0.02) / 0.01, 0.05, 0.2)
    decided = [test.decide(baseline[:k], current[:k]) for k in range(2, len(current) + 1)]
    assert decided == ["undecided"] * (len(decided) - 1) + [contest.decision]


@pytest.mark.slow
def test_the_error_rates_of_the_sequential_test_hold_for_runs():
    many, found = 300, {}
    for change in (0.0, 0.0202):  # two standard deviations, on the scale of logarithms
        rng, decisions = np.random.default_rng(7), []
        for _ in range(many):
            contests = contests_of(most=100)
            play(contests, noisy(rng, change))
            decisions.append(contests.contests[0].decision)
        found[change] = {name: decisions.count(name) / many for name in ("changed", "same")}
        assert sum(found[change].values()) == 1.0  # a hundred runs are enough for all
    # Three standard deviations of a share of 300 are 0.038 at 5 %, and 0.069 at 20 %.
    assert found[0.0]["changed"] <= 0.05 + 0.038
    assert found[0.0202]["same"] <= 0.2 + 0.069


def test_the_noise_is_pooled_within_runs_and_tests():
    rng = np.random.default_rng(8)
    records = [
        {
            "model_id": model,
            "batch_size": 8.0,
            "run_id": f"r{run}",
            "average_latency_ms": typical * (1 + run) * math.exp(rng.normal(0, 0.03)),
        }
        for run in range(5)
        for model, typical in (("bert", 10.0), ("vit", 3.0))
        for _ in range(40)
    ]
    # 390 degrees of freedom: three standard deviations are 3 / sqrt(780) = 11 %.
    assert noise_of(records, ["model", "batch_size"], "latency_ms") == pytest.approx(0.03, rel=0.11)
    assert noise_of(records[:8], ["model"], "latency_ms") is None
    assert noise_of(records, ["model"], "throughput") is None
    assert noise_of([{**record, "average_latency_ms": 5.0} for record in records], ["model"], "latency_ms") is None


def test_the_noise_of_earlier_runs_is_used(coordinator):
    rng = np.random.default_rng(9)
    history = [
        {
            "test_case": "t",
            "model": "bert",
            "build": "a",
            "run_id": "old",
            "latency_ms": 10 * math.exp(rng.normal(0, 0.3)),
        }
        for _ in range(40)
    ]
    coordinator.db_manager.ingest(history, "performance")
    compare = {"noise": None, "most": 4}
    report = run(coordinator, measured(noisy(rng, 0.2)), grid={"model": "bert"}, compare=compare)
    # At 30 % noise and a margin of 2 % four runs decide nothing, though 20 % stand out clearly from what is seen here.
    assert (report.comparisons[0].decision, report.comparisons[0].runs) == ("undecided", (4, 4))
