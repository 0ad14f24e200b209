"""Expected durations, and the order of tasks: against plain medians, and by simulated runs."""

from __future__ import annotations

import heapq
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggrkit.coordinator.durations import Durations
from aggrkit.coordinator.queue import TaskQueue
from aggrkit.coordinator.scheduling import LongestFirst
from aggrkit.coordinator.tasks import Task


def test_tasks_of_the_same_labels_tell_and_else_those_that_share_the_first_of_them() -> None:
    seen = [("bert", "a100", 8, 1.0), ("bert", "a100", 16, 2.0), ("bert", "h100", 8, 10.0), ("vit", "a100", 8, 100.0)]
    names = ("model", "hardware", "batch_size")
    durations = Durations({**dict(zip(names, row, strict=False)), "execution_time_seconds": row[3]} for row in seen)
    assert durations.expected({"model": "bert", "hardware": "a100", "batch_size": 16}) == 2.0
    assert durations.expected({"model": "bert", "hardware": "a100", "batch_size": 32}) == 1.5
    assert durations.expected({"model": "bert", "hardware": "mps"}) == 2.0
    assert durations.expected({"model": "gpt", "hardware": "a100"}) is None
    assert durations.expected({}) is None


def test_results_as_a_store_has_them_tell_of_tasks() -> None:
    record = {"model_id": "bert", "hardware_id": "a100", "batch_size": 8.0, "latency_ms": 3.2, "worker_id": "w1"}
    durations = Durations([{**record, "run_id": "r1", "execution_time_seconds": 7.0}])
    assert durations.expected({"model": "bert", "hardware": "a100", "batch_size": 8, "run_id": "r2"}) == 7.0


@pytest.mark.parametrize("wrong", [None, "3", True, -1.0, math.nan, math.inf, [1]])
def test_what_is_no_duration_is_left_out(wrong: object) -> None:
    durations = Durations([{"model": "bert", "execution_time_seconds": wrong}])
    assert durations.expected({"model": "bert"}) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1e6)), max_size=60), st.integers(0, 60))
def test_it_is_the_median_of_the_latest_whenever_it_is_asked(seen: list[tuple[str, float]], asked_at: int) -> None:
    durations = Durations()
    for place, (model, seconds) in enumerate(seen):
        if place == asked_at:
            durations.expected({"model": "a"})
        durations.learn({"model": model}, seconds)
    mine = [seconds for model, seconds in seen if model == "a"][-25:]
    assert durations.expected({"model": "a"}) == (statistics.median(mine) if mine else None)


def test_priority_comes_first_then_the_unknown_then_the_longest() -> None:
    known = Durations({"model": name, "execution_time_seconds": seconds} for name, seconds in (("a", 1), ("b", 5)))
    queue = TaskQueue(choose=LongestFirst(known))
    queue.register("w")
    queue.add([Task(name, labels={"model": name}) for name in ("a", "b", "new")])
    queue.add([Task("urgent", labels={"model": "a"}, priority=1)])
    assert [queue.take("w").task.task_id for _ in range(4)] == ["urgent", "new", "b", "a"]
    assert queue.take("w") is None


def test_it_learns_from_the_tasks_that_end() -> None:
    order = LongestFirst(Durations())
    queue = TaskQueue(choose=order)
    end = order.learn_from(queue)
    queue.register("w")
    queue.add([Task(f"{model}{k}", labels={"model": model}) for k in range(3) for model in ("short", "long")])
    seconds = {"short": 1.0, "long": 9.0}
    taken = []
    for _ in range(4):
        task = queue.take("w").task
        taken.append(task.labels["model"])
        queue.finish(task.task_id, "w", seconds=seconds[task.labels["model"]])
    assert sorted(taken[:2]) == ["long", "short"]
    assert taken[2:] == ["long", "long"]
    end()
    queue.finish(queue.take("w").task.task_id, "w", seconds=500.0)
    assert order.durations.expected({"model": "short"}) == 1.0


def makespan(queue: TaskQueue, workers: int, seconds: dict[str, float]) -> float:
    """Return when the last task ends if workers take a task as soon as they are free."""
    for k in range(workers):
        queue.register(f"w{k}")
    free = [(0.0, k, None) for k in range(workers)]
    last = 0.0
    while free:
        now, worker, ran = heapq.heappop(free)
        if ran is not None:
            queue.finish(ran, f"w{worker}", seconds=seconds[ran])
            last = max(last, now)
        lease = queue.take(f"w{worker}")
        if lease is not None:
            name = lease.task.task_id
            heapq.heappush(free, (now + seconds[name], worker, name))
    return last


@pytest.mark.parametrize("seed", range(20))
def test_a_grid_with_a_heavy_tail_ends_near_the_least_time_that_it_can_take(seed: int) -> None:
    rng = np.random.default_rng(seed)
    workers = 8
    cells = {f"m{k}": seconds for k, seconds in enumerate(np.exp(rng.normal(0, 1.5, 50)))}
    tasks = [Task(f"{name}-{repeat}", labels={"model": name}) for name in cells for repeat in range(4)]
    seconds = {task.task_id: cells[task.labels["model"]] * math.exp(rng.normal(0, 0.1)) for task in tasks}
    bound = max(sum(seconds.values()) / workers, max(seconds.values()))
    # Last night's run is what is known of the cells, but for one in ten that is new.
    history = [
        {"model": name, "execution_time_seconds": typical * math.exp(rng.normal(0, 0.1))}
        for name, typical in cells.items()
        if rng.random() > 0.1
    ]
    order = LongestFirst(Durations(history))
    queue = TaskQueue(choose=order)
    order.learn_from(queue)
    rng.shuffle(tasks)
    queue.add(tasks)
    assert makespan(queue, workers, seconds) <= 1.1 * bound
    assert queue.counts()["done"] == 200


def test_first_come_would_not_do() -> None:
    """The bound above means something: in the order in which they come, the same grids often end later than that."""
    late = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        seconds = {f"t{k}": float(x) for k, x in enumerate(np.exp(rng.normal(0, 1.5, 200)))}
        queue = TaskQueue()
        queue.add(Task(name) for name in seconds)
        late += makespan(queue, 8, seconds) > 1.1 * max(sum(seconds.values()) / 8, max(seconds.values()))
    assert late > 5
