"""Between the queue and a crew: every free worker gets a task, and what it found is brought back."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aggrkit.coordinator.execution import Ran

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aggrkit.coordinator.crew import Crew, Member
    from aggrkit.coordinator.queue import TaskQueue
    from aggrkit.coordinator.tasks import Lease, Task

__all__ = ["Dispatch"]

_TICK_SECONDS: Final = 0.2
_PATIENCE_SECONDS: Final = 30.0
_GRACE_SECONDS: Final = 2.0
_ON_THE_WAY: Final = 2


@dataclass
class _Running:
    """A test that is being run."""

    lease: Lease
    member: Member
    since: float
    deadline: float
    stopped: bool = False


class Dispatch:
    """Runs the tasks of a queue on a crew until none is left.

    Parameters
    ----------
    queue : TaskQueue
        The tasks.
    crew : Crew
        Who runs them.
    tests : mapping
        Name to the test: a function is handed to the crew, all else is said by the task.
    bring : callable
        ``(task, member, ran) -> future``: takes in what a task found, and ends it.
    retries : int, optional
        How many times a task that fails is run again.
    """

    def __init__(
        self,
        queue: TaskQueue,
        crew: Crew,
        tests: Mapping[str, Any],
        bring: Callable[[Task, Member, Ran], Future[None]],
        *,
        retries: int = 0,
    ) -> None:
        self._queue = queue
        self._crew = crew
        self._tests = tests
        self._bring = bring
        self._retries = retries
        self._failures: dict[str, int] = {}
        self._running: dict[Future[Ran], _Running] = {}
        self._bringing: dict[Future[None], _Running] = {}
        self._instances: dict[str, str] = {}
        self._idle_since: float | None = None

    @property
    def free(self) -> int:
        """How many workers are there that have nothing to do, though all that was found is known."""
        return max(0, len(self._instances) - len(self._running) - len(self._bringing))

    def step(self) -> bool:
        """Give out tasks, and take in what has been found in the next moment; say whether there is more to do."""
        members = self._call_the_roll()
        self._give(members)
        self._stop_overdue()
        futures: list[Future[Any]] = [*self._running, *self._bringing]
        wait(futures, timeout=_TICK_SECONDS, return_when=FIRST_COMPLETED)
        ended = [future for future in self._running if future.done()]
        if self._running or self._bringing:
            self._idle_since = None
        else:
            self._wait_for_workers()
        collected = [(self._running.pop(future), future) for future in ended]
        lost = {running.member.name for running, future in collected if isinstance(future.exception(), BrokenExecutor)}
        self._give([member for member in members if member.name not in lost])
        for running, future in collected:
            self._collect(running, future)
        for brought in [future for future in self._bringing if future.done()]:
            del self._bringing[brought]
            brought.result()
        return bool(self._running or self._bringing or self._queue.waiting())

    def _call_the_roll(self) -> list[Member]:
        """Tell the queue who is there, who has gone, and who has come back as another process."""
        members = list(self._crew.members())
        for name in self._instances.keys() - {member.name for member in members}:
            del self._instances[name]
            self._queue.leave(name, "its process has gone")
        for member in members:
            if self._instances.get(member.name) == member.instance:
                self._queue.heartbeat(member.name)
                continue
            self._instances[member.name] = member.instance
            held = (*self._running.values(), *self._bringing.values())
            running = [each.lease.task.task_id for each in held if each.member.name == member.name]
            self._queue.register(
                member.name, member.hardware, member.capabilities, instance=member.instance, running=running
            )
        return members

    def _give(self, members: list[Member]) -> None:
        if len(self._bringing) > _ON_THE_WAY * len(members):
            return  # what is found must not pile up, nor be known too late
        busy = {running.member.name for running in self._running.values()}
        for member in members:
            if member.name in busy or self._instances.get(member.name) != member.instance:
                continue
            lease = self._queue.take(member.name)
            if lease is None:
                continue
            task = {"task_id": lease.task.task_id, **lease.task.payload}
            test = self._tests[task["test"]]
            function = test if callable(test) else None
            limit = task["timeout_seconds"] if function is not None and self._crew.can_stop() else None
            now = time.monotonic()
            deadline = float("inf") if limit is None else now + limit
            self._running[self._crew.start(member, task, function)] = _Running(lease, member, now, deadline)

    def _stop_overdue(self) -> None:
        """Stop functions that take too long; commands end themselves."""
        now = time.monotonic()
        for future, running in self._running.items():
            if now > running.deadline and not future.done():
                self._crew.stop(running.member, at_once=now > running.deadline + _GRACE_SECONDS)
                running.stopped = True

    def _collect(self, running: _Running, future: Future[Ran]) -> None:
        """Take in what a test found, let one that failed be run again, and replace a worker that was lost."""
        task, error = running.lease.task, future.exception()
        if isinstance(error, BrokenExecutor):
            self._crew.renew(running.member.name)
        if running.stopped:
            limit = running.deadline - running.since
            ran = Ran(False, limit, error=f"it took longer than {limit:g} s, and was stopped")
        elif isinstance(error, BrokenExecutor):
            words = f"worker {running.member.name} was lost while it ran it"
            self._queue.give_back(task.task_id, running.member.name, words)
            return
        else:
            ran = future.result() if error is None else Ran(False, 0.0, error=f"{type(error).__name__}: {error}")
        failed = self._failures[task.task_id] = self._failures.get(task.task_id, 0) + (not ran.success)
        if not ran.success and failed <= self._retries:
            self._queue.give_back(task.task_id, running.member.name, f"it failed: {ran.error}")
        else:
            self._bringing[self._bring(task, running.member, ran)] = running

    def _wait_for_workers(self) -> None:
        """Give up tasks that nobody has been there to run for too long."""
        waiting = self._queue.waiting()
        if not waiting:
            return
        now = time.monotonic()
        self._idle_since = now if self._idle_since is None else self._idle_since
        if now - self._idle_since <= _PATIENCE_SECONDS:
            time.sleep(_TICK_SECONDS)
            return
        self._queue.cancel([task.task_id for task in waiting])
        words = f"nobody who could run them was there for {_PATIENCE_SECONDS:g} s"
        self._queue.log.tell("abandoned", f"{len(waiting)} tasks were given up: {words}")
