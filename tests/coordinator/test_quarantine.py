"""The health monitor: sick workers get no more tasks, healthy ones keep theirs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from aggrkit.coordinator.quarantine import HealthMonitor
from aggrkit.coordinator.queue import TaskQueue
from aggrkit.coordinator.tasks import Task

WORKERS = [f"w{k:02}" for k in range(12)]


def results(rng: np.random.Generator, runs: int, slow: dict[str, float] | None = None) -> list[dict[str, object]]:
    """Return the results of so many runs of each worker, of three models, at 2 % noise."""
    models = {"bert": 10.0, "resnet": 3.0, "vit": 30.0}
    made = []
    for run, worker, (model, typical) in itertools.product(range(runs), WORKERS, models.items()):
        factor = (slow or {}).get(worker, 1.0) * float(np.exp(rng.normal(0, 0.02)))
        made.append(
            {
                "result_id": f"{run}-{worker}-{model}",
                "run_id": f"r{run}",
                "worker_id": worker,
                "model_id": model,
                "latency_ms": typical * factor,
            }
        )
    return made


@pytest.fixture
def queue() -> TaskQueue:
    queue = TaskQueue()
    for name in WORKERS:
        queue.register(name, ["cpu"])
    return queue


def test_a_slow_worker_is_quarantined_with_the_reason_and_gets_no_more_tasks(queue: TaskQueue) -> None:
    told = []
    queue.log.listen(told.append)
    monitor = HealthMonitor(queue)
    assert monitor.look(results(np.random.default_rng(1), 6, {"w05": 1.15})) == ["w05"]
    assert "latency_ms" in queue.worker("w05").quarantined
    assert [event.worker_id for event in told if event.kind == "quarantined"] == ["w05"]
    queue.add([Task("t")])
    assert queue.take("w05") is None
    assert queue.take("w06").task.task_id == "t"
    assert monitor.look(results(np.random.default_rng(2), 12, {"w05": 1.15})) == []


@pytest.mark.slow
def test_healthy_workers_stay_however_often_one_looks() -> None:
    wrong = 0
    for seed in range(12):
        queue = TaskQueue()
        for name in WORKERS:
            queue.register(name)
        made = results(np.random.default_rng(seed), 12)
        monitor = HealthMonitor(queue, alpha=0.2)
        wrong += any(monitor.look(made[:many]) for many in range(36, len(made) + 1, 36))
    # A true 20 % gives more than 5 of 12 in 1.9 % of cases.
    assert wrong <= 5


def test_a_look_is_taken_only_when_there_is_much_more_to_see(queue: TaskQueue) -> None:
    monitor = HealthMonitor(queue)
    made = results(np.random.default_rng(3), 8, {"w02": 1.3})
    assert monitor.look(made[:19]) == []
    fine = [record for record in made if record["worker_id"] != "w02"]
    assert monitor.look(fine) == []
    assert monitor.look(fine + [record for record in made if record["worker_id"] == "w02"][:10]) == []
    assert monitor.look(made + results(np.random.default_rng(4), 4, {"w02": 1.3})) == ["w02"]


def test_the_last_worker_for_a_kind_of_work_is_kept(queue: TaskQueue) -> None:
    queue.register("w05", ["cpu", "cuda"])
    made = results(np.random.default_rng(1), 6, {"w05": 1.3})
    assert HealthMonitor(queue).look(made) == []
    assert queue.worker("w05").quarantined is None
    assert any("w05 is kept" in event.words for event in queue.log.since())
    queue.register("w06", ["cuda", "cpu"])
    assert HealthMonitor(queue).look(made) == ["w05"]


def test_results_that_tell_nothing_of_workers_do_no_harm(queue: TaskQueue) -> None:
    assert HealthMonitor(queue).look([]) == []
    assert HealthMonitor(queue).look([{"model": "a", "latency_ms": 1.0}] * 50) == []
    assert HealthMonitor(queue).look([{"worker": "w01", "note": "x"}] * 50) == []
    unknown = [{**record, "worker_id": f"x{record['worker_id']}"} for record in results(np.random.default_rng(1), 6)]
    assert HealthMonitor(queue).look(unknown) == []
