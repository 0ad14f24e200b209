"""The queue of tasks: who runs what, for how long, and what becomes of it. It knows no socket and no store."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Literal

from aggrkit.coordinator.events import EventLog
from aggrkit.coordinator.tasks import Lease, Outcome, Task, Worker, first_come, has_what_it_needs
from aggrkit.errors import UnknownNameError, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aggrkit.coordinator.tasks import Choose, Eligible

__all__ = ["Finish", "TaskQueue"]

Finish = Literal["done", "failed", "duplicate", "unknown"]
"""What a result did: it ended its task, well or badly; the task had ended before; or there is no such task."""


class TaskQueue:
    """Tasks that wait, that are leased to workers, and that have ended.

    A task is leased to one worker at a time. Each sign of life of a worker (`heartbeat`, `take`) renews its leases;
    when one runs out the task waits again, and is given to whoever asks next. The first result of a task counts, from
    whomever it comes; a second one is a duplicate. All methods may be called from several threads.

    Parameters
    ----------
    choose : callable, optional
        ``(tasks, worker) -> task or None``: which of the waiting tasks that the worker may run it gets; they are
        offered in the order in which they were added. By default the highest priority, then the oldest.
    eligible : callable, optional
        ``(task, worker) -> bool``: whether a worker can run a task. By default its hardware and capabilities decide.
    lease_seconds : float, optional
        How long a worker may be silent before its tasks are given to others.
    attempts : int, optional
        How many times a task is given to a worker before it counts as failed because it loses them.
    clock : callable, optional
        Gives seconds that never run backwards; no other clock decides anything.

    Attributes
    ----------
    log : EventLog
        What happened: ``log.report()`` in sentences, ``log.listen(function)`` as it happens, within the queue's lock.

    Examples
    --------
    >>> from aggrkit.coordinator.queue import TaskQueue
    >>> from aggrkit.coordinator.tasks import Task
    >>> queue = TaskQueue()
    >>> queue.add([Task("bert-1", hardware=("cuda",)), Task("bert-2", hardware=("cpu",))])
    2
    >>> _ = queue.register("w1", hardware=("cpu",))
    >>> queue.take("w1").task.task_id
    'bert-2'
    >>> queue.finish("bert-2", "w1", seconds=1.5)
    'done'
    >>> queue.counts()
    {'waiting': 1, 'running': 0, 'done': 1, 'failed': 0, 'cancelled': 0}
    """

    def __init__(
        self,
        *,
        choose: Choose = first_come,
        eligible: Eligible = has_what_it_needs,
        lease_seconds: float = 30.0,
        attempts: int = 3,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.choose = choose
        self.eligible = eligible
        self.lease_seconds = lease_seconds
        self.attempts = attempts
        self._clock = clock
        self._changed = threading.Condition(threading.RLock())
        self._tasks: dict[str, Task] = {}
        self._waiting: dict[str, Task] = {}
        self._leases: dict[str, Lease] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._given: dict[str, int] = {}
        self._workers: dict[str, Worker] = {}
        self.log = EventLog()

    def add(self, tasks: Iterable[Task]) -> int:
        """Add tasks, and return how many were new; one whose id is known already is left out."""
        with self._changed:
            new = [task for task in {task.task_id: task for task in tasks}.values() if task.task_id not in self._tasks]
            for task in new:
                self._tasks[task.task_id] = self._waiting[task.task_id] = task
                self.log.tell("added", f"task {task.task_id} waits", None, task.task_id)
            return len(new)

    def cancel(self, task_ids: Iterable[str]) -> list[str]:
        """End tasks that have not ended, and return their ids; what a worker still runs of them will not count."""
        with self._changed:
            ended = [name for name in task_ids if name in self._tasks and name not in self._outcomes]
            for name in ended:
                self._end(Outcome(name, "cancelled", attempts=self._given.get(name, 0)))
                self.log.tell("cancelled", f"task {name} was cancelled", None, name)
            return ended

    def forget(self, run_id: str) -> None:
        """Forget the tasks of a run that has ended, so that a long-lived queue doesn't grow."""
        with self._changed:
            for name in [name for name, task in self._tasks.items() if task.run_id == run_id]:
                if name in self._outcomes:
                    del self._tasks[name], self._outcomes[name]
                    self._given.pop(name, None)

    def register(
        self,
        worker_id: str,
        hardware: Iterable[str] = (),
        capabilities: Mapping[str, Any] | None = None,
        *,
        instance: str = "",
        running: Iterable[str] = (),
    ) -> Worker:
        """Take a worker in, or again after it was away.

        Parameters
        ----------
        worker_id : str
            Its name. A new process of this name takes the place of the one before.
        hardware : iterable of str, optional
            What it can run tasks on.
        capabilities : mapping, optional
            What else it has: memory_gb, hostname, ...
        instance : str, optional
            Tells one process from another of the same name.
        running : iterable of str, optional
            Tasks that it is running: it keeps them. What was leased to it and it doesn't run is given to others.
        """
        with self._changed:
            before = self._workers.get(worker_id)
            worker = Worker(worker_id, tuple(hardware), dict(capabilities or {}), instance, self._clock())
            if before is not None:
                worker.quarantined, worker.finished, worker.failed = before.quarantined, before.finished, before.failed
                worker.clock_offset = before.clock_offset
            self._workers[worker_id] = worker
            if before is not None and before.instance != instance:
                self.log.tell("replaced", f"a new process took the place of worker {worker_id}", worker_id)
            elif before is not None and before.lost:
                self.log.tell("returned", f"worker {worker_id} is back", worker_id)
            elif before is None:
                self.log.tell("registered", f"worker {worker_id} came: {', '.join(worker.hardware)}", worker_id)
            kept = set(running)
            for lease in self._held_by(worker_id):
                if lease.task.task_id not in kept:
                    self._again(lease, f"worker {worker_id} no longer runs it")
            for name in kept & self._waiting.keys():  # its lease ran out while it was away, and nobody has it yet
                self._lease(self._waiting[name], worker_id, self._given.get(name, 1))
            self._renew(worker_id)
            return worker

    def heartbeat(self, worker_id: str, instance: str | None = None) -> Worker:
        """Note a sign of life of a worker, and renew its leases.

        Raises
        ------
        UnknownNameError
            If it isn't registered, or another process took its place.
        """
        with self._changed:
            worker = self._worker(worker_id, instance)
            worker.last_seen = self._clock()
            if worker.lost:
                worker.lost = False
                self.log.tell("returned", f"worker {worker_id} is back", worker_id)
            self._renew(worker_id)
            return worker

    def leave(self, worker_id: str, why: str = "it said goodbye") -> None:
        """Take a worker out; its tasks are given to others at once."""
        with self._changed:
            if self._workers.pop(worker_id, None) is None:
                return
            self.log.tell("left", f"worker {worker_id} left: {why}", worker_id)
            for lease in self._held_by(worker_id):
                self._again(lease, f"worker {worker_id} left")

    def quarantine(self, worker_id: str, reason: str) -> None:
        """Give a worker no more tasks, for a reason that it is told; what it runs may end."""
        with self._changed:
            self._worker(worker_id).quarantined = reason
            self.log.tell("quarantined", f"worker {worker_id} gets no more tasks: {reason}", worker_id)

    def release(self, worker_id: str) -> None:
        """Give a worker tasks again."""
        with self._changed:
            self._worker(worker_id).quarantined = None
            self.log.tell("released", f"worker {worker_id} gets tasks again", worker_id)

    def take(self, worker_id: str, instance: str | None = None, running: Iterable[str] | None = None) -> Lease | None:
        """Lease a task to a worker; None where there is none for it.

        Parameters
        ----------
        worker_id, instance
            As in `heartbeat`; asking is a sign of life.
        running : iterable of str, optional
            What it is running already. A task that was leased to it before, and whose reply was lost, it gets again.

        Raises
        ------
        UnknownNameError
            If it isn't registered, or another process took its place.
        """
        with self._changed:
            self.expire()
            worker = self.heartbeat(worker_id, instance)
            if running is not None:
                known = set(running)
                lost = next((lease for lease in self._held_by(worker_id) if lease.task.task_id not in known), None)
                if lost is not None:
                    return lost
            if worker.quarantined is not None:
                return None
            able = [task for task in self._waiting.values() if self.eligible(task, worker)]
            task = self.choose(able, worker) if able else None
            if task is None:
                return None
            self.log.tell("taken", f"worker {worker_id} runs task {task.task_id}", worker_id, task.task_id)
            return self._lease(task, worker_id, self._given.get(task.task_id, 0) + 1)

    def finish(
        self,
        task_id: str,
        worker_id: str,
        *,
        success: bool = True,
        seconds: float | None = None,
        error: str | None = None,
    ) -> Finish:
        """Note that a task was run; the first time counts, whoever it was.

        Parameters
        ----------
        task_id, worker_id : str
            Which task, by whom.
        success : bool, optional
            Whether it could be run to its end.
        seconds : float, optional
            How long it took.
        error : str, optional
            Why it failed.
        """
        with self._changed:
            if task_id not in self._tasks:
                return "unknown"
            ended = self._outcomes.get(task_id)
            if ended is not None:
                words = f"task {task_id} came from worker {worker_id} after it had ended ({ended.status}): not counted"
                self.log.tell("duplicate", words, worker_id, task_id)
                return "duplicate"
            lease = self._leases.get(task_id)
            if lease is None or lease.worker_id != worker_id:
                whose = "nobody" if lease is None else f"worker {lease.worker_id}"
                words = f"task {task_id} came late from worker {worker_id}, when it was with {whose}: counted"
                self.log.tell("late", words, worker_id, task_id)
            status: Literal["done", "failed"] = "done" if success else "failed"
            self._end(Outcome(task_id, status, worker_id, seconds, error, self._given.get(task_id, 0)))
            worker = self._workers.get(worker_id)
            if worker is not None:
                worker.finished += 1
                worker.failed += not success
            words = f"task {task_id} is done" if success else f"task {task_id} failed: {error or 'no reason given'}"
            self.log.tell(status, words, worker_id, task_id, seconds=seconds)
            return status

    def give_back(self, task_id: str, worker_id: str, why: str) -> bool:
        """Let a task that a worker holds wait again, or end it if it was given out too often; say if it held it."""
        with self._changed:
            lease = self._leases.get(task_id)
            if lease is None or lease.worker_id != worker_id:
                return False
            self._again(lease, why)
            return True

    def expire(self) -> list[str]:
        """Take tasks back from workers that were silent for too long, and return the ids of these tasks."""
        with self._changed:
            now = self._clock()
            for worker in self._workers.values():
                silent = now - worker.last_seen
                if not worker.lost and silent > self.lease_seconds:
                    worker.lost = True
                    self.log.tell("lost", f"worker {worker.worker_id} is silent for {silent:.0f} s", worker.worker_id)
            over = [lease for lease in self._leases.values() if now > lease.expires]
            for lease in over:
                self._again(lease, f"worker {lease.worker_id} was silent for more than {self.lease_seconds:g} s")
            return [lease.task.task_id for lease in over]

    def has_ended(self, task_id: str) -> bool:
        """Say whether a task has ended, in whatever way."""
        return task_id in self._outcomes

    def task(self, task_id: str) -> Task | None:
        """Return a task, or None where there is none of this id."""
        return self._tasks.get(task_id)

    def worker(self, worker_id: str) -> Worker | None:
        """Return a worker, or None where there is none of this name."""
        return self._workers.get(worker_id)

    def counts(self, run_id: str | None = None) -> dict[str, int]:
        """Return how many tasks wait, run, and ended in each way; of a run, or of all."""
        with self._changed:
            found = dict.fromkeys(("waiting", "running", "done", "failed", "cancelled"), 0)
            for name, task in self._tasks.items():
                if run_id is None or task.run_id == run_id:
                    outcome = self._outcomes.get(name)
                    state = outcome.status if outcome else "running" if name in self._leases else "waiting"
                    found[state] += 1
            return found

    def waiting(self) -> list[Task]:
        """Return the tasks that wait, in the order in which they came."""
        with self._changed:
            return list(self._waiting.values())

    def leases(self) -> list[Lease]:
        """Return who runs what."""
        with self._changed:
            return list(self._leases.values())

    def outcomes(self, run_id: str | None = None) -> dict[str, Outcome]:
        """Return how tasks ended, by their id; of a run, or of all."""
        with self._changed:
            return {k: v for k, v in self._outcomes.items() if run_id is None or self._tasks[k].run_id == run_id}

    def workers(self) -> list[Worker]:
        """Return the workers, in the order in which they came."""
        with self._changed:
            return list(self._workers.values())

    def wait(self, run_id: str | None = None, timeout: float | None = None) -> bool:
        """Wait until all tasks (of a run) have ended; say whether they have.

        Leases that run out meanwhile are noticed, so that nothing waits for a worker that is gone.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                self.expire()
                if not self._unfinished(run_id):
                    return True
                left = 0.2 if until is None else min(0.2, until - time.monotonic())
                if left <= 0:
                    return False
                self._changed.wait(left)

    def _worker(self, worker_id: str, instance: str | None = None) -> Worker:
        worker = self._workers.get(worker_id)
        if worker is None:
            raise UnknownNameError(f"no worker {quoted(worker_id)} is registered; register first", name=worker_id)
        if instance is not None and instance != worker.instance:
            raise UnknownNameError(
                f"another process took the place of worker {quoted(worker_id)}; register under another name",
                name=worker_id,
            )
        return worker

    def _unfinished(self, run_id: str | None) -> bool:
        tasks = (*self._waiting.values(), *(lease.task for lease in self._leases.values()))
        return any(run_id is None or task.run_id == run_id for task in tasks)

    def _held_by(self, worker_id: str) -> list[Lease]:
        return [lease for lease in self._leases.values() if lease.worker_id == worker_id]

    def _lease(self, task: Task, worker_id: str, attempt: int) -> Lease:
        now = self._clock()
        del self._waiting[task.task_id]
        self._given[task.task_id] = attempt
        lease = self._leases[task.task_id] = Lease(task, worker_id, attempt, now, now + self.lease_seconds)
        return lease

    def _renew(self, worker_id: str) -> None:
        until = self._clock() + self.lease_seconds
        for lease in self._held_by(worker_id):
            name = lease.task.task_id
            self._leases[name] = Lease(lease.task, lease.worker_id, lease.attempt, lease.started, until)

    def _again(self, lease: Lease, why: str) -> None:
        """Let a task wait again, before all others; or end it, if it was given out too often."""
        name = lease.task.task_id
        if lease.attempt >= self.attempts:
            error = f"it was given out {lease.attempt} times in vain; the last time {why}"
            self._end(Outcome(name, "failed", lease.worker_id, None, error, lease.attempt))
            self.log.tell("failed", f"task {name} failed: {error}", lease.worker_id, name)
            return
        del self._leases[name]
        self._waiting = {name: lease.task, **self._waiting}
        self.log.tell("again", f"task {name} will be run again: {why}", lease.worker_id, name)

    def _end(self, outcome: Outcome) -> None:
        self._waiting.pop(outcome.task_id, None)
        self._leases.pop(outcome.task_id, None)
        self._outcomes[outcome.task_id] = outcome
        self._changed.notify_all()
