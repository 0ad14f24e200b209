"""The queue of tasks, without sockets and with a clock of its own."""

from __future__ import annotations

import threading

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aggrkit.coordinator.queue import TaskQueue
from aggrkit.coordinator.tasks import Task
from aggrkit.errors import UnknownNameError


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(clock):
    queue = TaskQueue(lease_seconds=10, attempts=3, clock=clock)
    queue.register("w1", ["cpu"])
    queue.register("w2", ["cuda"], {"memory_gb": 16, "os": "linux"})
    return queue


def names(leases):
    return [lease.task.task_id for lease in leases]


def test_tasks_go_to_whoever_has_the_hardware_the_oldest_first(queue):
    queue.add([Task("a", hardware=("cuda",)), Task("b"), Task("c", hardware=("cpu", "mps")), Task("d", priority=1)])
    assert queue.take("w1").task.task_id == "d"
    assert queue.take("w1").task.task_id == "b"
    assert queue.take("w1").task.task_id == "c"
    assert queue.take("w1") is None
    assert queue.take("w2").task.task_id == "a"
    assert queue.counts() == {"waiting": 0, "running": 4, "done": 0, "failed": 0, "cancelled": 0}


@pytest.mark.parametrize(
    ("needs", "able"),
    [
        ({"memory_gb": 16}, True),
        ({"memory_gb": 17}, False),
        ({"os": "linux"}, True),
        ({"os": "mac"}, False),
        ({"disk_gb": 1}, False),
        ({"os": 1}, False),
    ],
)
def test_capabilities_decide(queue, needs, able):
    queue.add([Task("a", needs=needs)])
    assert (queue.take("w2") is not None) is able


def test_the_order_can_be_chosen(queue):
    queue.choose = lambda tasks, worker: max(tasks, key=lambda task: task.labels["expected"])
    queue.add([Task(name, labels={"expected": seconds}) for name, seconds in (("a", 1), ("b", 9), ("c", 5))])
    assert [queue.take("w1").task.task_id for _ in range(3)] == ["b", "c", "a"]


def test_a_task_that_is_added_twice_runs_once(queue):
    assert queue.add([Task("a"), Task("a")]) == 1
    assert queue.add([Task("a")]) == 0


def test_a_lost_workers_task_is_run_again_by_another(queue, clock):
    queue.add([Task("a")])
    queue.take("w1")
    clock.now = 9
    assert queue.take("w2") is None
    clock.now = 10.5
    lease = queue.take("w2")
    assert (lease.task.task_id, lease.attempt) == ("a", 2)
    assert (
        queue.log.report()
        == [
            "worker w1 is silent for 10 s",
            "worker w2 is silent for 10 s",
            "task a will be run again: worker w1 was silent for more than 10 s",
            "worker w2 is back",
        ]
        or queue.log.report()[-1] == "task a will be run again: worker w1 was silent for more than 10 s"
    )
    assert queue.worker("w1").lost
    assert not queue.worker("w2").lost


def test_heartbeats_keep_a_lease(queue, clock):
    queue.add([Task("a")])
    queue.take("w1")
    for clock.now in range(0, 100, 9):
        queue.heartbeat("w1")
        assert queue.expire() == []
    assert names(queue.leases()) == ["a"]


def test_the_first_result_counts_and_the_second_is_a_duplicate(queue, clock):
    queue.add([Task("a")])
    queue.take("w1")
    clock.now = 11
    queue.take("w2")
    assert queue.finish("a", "w1", seconds=2.0) == "done"
    assert queue.finish("a", "w2") == "duplicate"
    assert queue.outcomes()["a"].worker_id == "w1"
    assert queue.counts()["done"] == 1
    said = queue.log.report()
    assert "task a came late from worker w1, when it was with worker w2: counted" in said
    assert "task a came from worker w2 after it had ended (done): not counted" in said
    assert queue.finish("nonesuch", "w1") == "unknown"


def test_a_task_that_loses_its_workers_fails_in_the_end(queue, clock):
    queue.add([Task("poison")])
    for attempt in range(3):
        assert queue.take("w1").attempt == attempt + 1
        clock.now += 11
        queue.expire()
    assert queue.take("w1") is None
    outcome = queue.outcomes()["poison"]
    assert (outcome.status, outcome.attempts) == ("failed", 3)
    assert outcome.error.startswith("it was given out 3 times in vain")


def test_a_failed_test_is_a_result_and_is_not_repeated(queue):
    queue.add([Task("a")])
    queue.take("w1")
    assert queue.finish("a", "w1", success=False, error="assertion") == "failed"
    assert queue.counts()["failed"] == 1
    assert queue.take("w2") is None
    assert (queue.worker("w1").finished, queue.worker("w1").failed) == (1, 1)


def test_a_worker_that_starts_again_loses_what_it_ran(queue):
    queue.register("w1", ["cpu"], instance="one")
    queue.add([Task("a"), Task("b")])
    queue.take("w1")
    queue.take("w1")
    queue.register("w1", ["cpu"], instance="two", running=["b"])
    assert names(queue.leases()) == ["b"]
    assert [task.task_id for task in queue.waiting()] == ["a"]
    with pytest.raises(UnknownNameError, match="another process took the place"):
        queue.heartbeat("w1", "one")


def test_a_worker_that_comes_back_goes_on_with_what_nobody_has_taken(queue, clock):
    queue.add([Task("a"), Task("b")])
    queue.take("w1")
    queue.take("w1")
    clock.now = 11
    queue.expire()
    assert queue.take("w2").task.task_id in {"a", "b"}
    other = queue.waiting()[0].task_id
    queue.register("w1", ["cpu"], running=["a", "b"])
    assert {lease.task.task_id: lease.worker_id for lease in queue.leases()}[other] == "w1"
    assert len(queue.leases()) == 2


def test_a_lease_whose_reply_was_lost_is_given_again(queue):
    queue.add([Task("a"), Task("b")])
    first = queue.take("w1", running=())
    assert queue.take("w1", running=()).task == first.task
    assert queue.take("w1", running=["a"]).task.task_id == "b"


def test_quarantine(queue):
    queue.add([Task("a")])
    queue.quarantine("w1", "4 % slower than the others")
    assert queue.take("w1") is None
    queue.register("w1", ["cpu"])
    assert queue.take("w1") is None
    assert queue.worker("w1").quarantined == "4 % slower than the others"
    queue.release("w1")
    assert queue.take("w1").task.task_id == "a"


def test_whoever_is_unknown_is_told_so(queue):
    for call in (queue.take, queue.heartbeat, queue.release):
        with pytest.raises(UnknownNameError, match="register first"):
            call("nobody")


def test_leaving_gives_tasks_back_at_once(queue):
    queue.add([Task("a")])
    queue.take("w1")
    queue.leave("w1")
    assert queue.take("w2").task.task_id == "a"
    assert queue.worker("w1") is None


def test_cancelling_and_forgetting(queue):
    queue.add([Task("a", run_id="r"), Task("b", run_id="r"), Task("c", run_id="s")])
    queue.take("w1")
    assert queue.cancel(["a", "b", "nonesuch"]) == ["a", "b"]
    assert queue.finish("a", "w1") == "duplicate"
    assert queue.counts("r")["cancelled"] == 2
    queue.forget("r")
    assert queue.counts() == {"waiting": 1, "running": 0, "done": 0, "failed": 0, "cancelled": 0}


def test_waiting_for_a_run(queue):
    queue.add([Task("a", run_id="r"), Task("b", run_id="s")])
    assert not queue.wait("r", timeout=0.05)
    queue.take("w1")
    threading.Timer(0.05, queue.finish, ("a", "w1")).start()
    assert queue.wait("r", timeout=10)
    assert not queue.wait(timeout=0)


def test_listeners_hear_each_event_until_they_stop(queue):
    heard = []
    stop = queue.log.listen(lambda event: heard.append(event.kind))
    queue.add([Task("a")])
    queue.take("w1")
    stop()
    queue.finish("a", "w1")
    assert heard == ["added", "taken"]
    assert [event.kind for event in queue.log.since(2)] == ["added", "taken", "done"]


def test_a_task_needs_a_name():
    with pytest.raises(TypeError, match="task_id"):
        Task("")


WORKERS = st.sampled_from(["w0", "w1", "w2"])
TASKS = st.sampled_from([f"t{k}" for k in range(6)])


class Queues(RuleBasedStateMachine):
    """Whatever happens in whatever order, a task ends once, is leased to one worker at most, and is never lost."""

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.queue = TaskQueue(lease_seconds=10, attempts=1000, clock=self.clock)
        self.added, self.counted = set(), []
        for worker in ("w0", "w1", "w2"):
            self.queue.register(worker)

    @rule(task=TASKS)
    def add(self, task):
        self.queue.add([Task(task)])
        self.added.add(task)

    @rule(worker=WORKERS, running=st.lists(TASKS) | st.none())
    def take(self, worker, running):
        self.queue.take(worker, running=running)

    @rule(worker=WORKERS, running=st.lists(TASKS))
    def register(self, worker, running):
        self.queue.register(worker, running=running)

    @rule(worker=WORKERS, task=TASKS)
    def finish(self, worker, task):
        if self.queue.finish(task, worker) in ("done", "failed"):
            self.counted.append(task)

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds):
        self.clock.now += seconds
        self.queue.expire()

    @rule(worker=WORKERS)
    def heartbeat(self, worker):
        self.queue.heartbeat(worker)

    @invariant()
    def nothing_is_lost_or_counted_twice(self):
        waiting = [task.task_id for task in self.queue.waiting()]
        running = [lease.task.task_id for lease in self.queue.leases()]
        assert sorted(waiting + running + list(self.queue.outcomes())) == sorted(self.added)
        assert sorted(self.counted) == sorted(self.queue.outcomes())


TestQueues = Queues.TestCase
