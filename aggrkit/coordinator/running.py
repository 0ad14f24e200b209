"""A run from its first task to its report."""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

from aggrkit.coordinator import desk
from aggrkit.coordinator.bringing import Bringing
from aggrkit.coordinator.contest import Contests
from aggrkit.coordinator.dispatch import Dispatch
from aggrkit.coordinator.foreman import Foreman
from aggrkit.coordinator.intake import Intake
from aggrkit.coordinator.noise import noise_of
from aggrkit.coordinator.plan import Plan
from aggrkit.coordinator.run_report import RunReport
from aggrkit.errors import AggrError
from aggrkit.progress import shown_progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggrkit.coordinator.config import RunConfig
    from aggrkit.coordinator.crew import Crew, Member
    from aggrkit.coordinator.events import Event
    from aggrkit.coordinator.execution import Ran
    from aggrkit.coordinator.tasks import Task
    from aggrkit.detailed import ResultAggregator
    from aggrkit.store import BenchmarkDBManager

__all__ = ["Run"]

_log = logging.getLogger(__name__)


class Run:
    """One run on a crew, which stays the caller's to close.

    Parameters
    ----------
    config : RunConfig
        What is run.
    run_id : str
        Its name.
    crew : Crew
        Who runs it.
    store : BenchmarkDBManager
        The results of earlier runs, and where new ones go.
    aggregator : ResultAggregator
        The detailed layer, which is told of every result.
    """

    def __init__(
        self, config: RunConfig, run_id: str, crew: Crew, store: BenchmarkDBManager, aggregator: ResultAggregator
    ) -> None:
        self._config = config
        self._run_id = run_id
        self._crew = crew
        self._store = store
        self._aggregator = aggregator
        self._foreman = Foreman(store)
        self._queue = self._foreman.queue
        self._queue.attempts += config.retries
        self._plan = Plan(config, run_id)
        self._contests = self._compared()
        self._events: list[str] = []
        self._notes: list[str] = []
        self._silent: Counter[str] = Counter()
        self._state: Literal["completed", "interrupted"] = "interrupted"
        self._started = time.monotonic()
        self._looking: Future[None] | None = None
        self._brought: queue.SimpleQueue[tuple[Task, Ran]] = queue.SimpleQueue()

    def go(self) -> None:
        """Run all tasks; whatever ends it, what was acknowledged is in the store then.

        Raises
        ------
        SourceError
            If the store can't be written.
        """
        self._foreman.remember()
        with contextlib.ExitStack() as stack:
            intake = Intake(self._store, self._aggregator)
            stack.callback(intake.stop)
            health = stack.enter_context(ThreadPoolExecutor(1, "aggrkit-health"))
            stack.callback(self._queue.log.listen(self._note_event))
            advance = stack.enter_context(self._shown())
            bringing = Bringing(self._queue, intake)
            porter = stack.enter_context(ThreadPoolExecutor(1, "aggrkit-bring"))

            def bring(task: Task, member: Member, ran: Ran) -> Future[None]:
                return porter.submit(lambda: self._brought.put((task, bringing.bring(task, member, ran))))

            dispatch = Dispatch(self._queue, self._crew, self._config.tests, bring, retries=self._config.retries)
            self._queue.add(self._plan.tasks() if self._contests is None else self._contests.begin())
            going_on = True
            while going_on:
                going_on = dispatch.step()
                while not self._brought.empty():
                    self._note_result(*self._brought.get())
                going_on = self._more(dispatch.free) or going_on
                self._look(intake, health)
                counts = self._queue.counts()
                advance(counts["done"] + counts["failed"] + counts["cancelled"], sum(counts.values()))
        self._state = "completed"

    def report(self) -> RunReport:
        """Return what became of it."""
        notes = [f"{count} runs of {name!r} passed without saying a result." for name, count in self._silent.items()]
        return RunReport(
            self._run_id,
            self._state,
            time.monotonic() - self._started,
            self._queue.counts(),
            desk.status(self._queue)["workers"],
            tuple(self._events),
            () if self._contests is None else tuple(self._contests.contests),
            tuple(self._notes + notes),
        )

    def _compared(self) -> Contests | None:
        sides = self._config.compare
        if sides is None:
            return None
        noise = sides.noise
        if noise is None:
            names = ["test_case", *self._config.grid, sides.by]
            noise = noise_of(self._store.get_test_results(), names, sides.metric)
        return Contests(sides, self._plan, self._config.repeats, noise)

    def _shown(self) -> contextlib.AbstractContextManager[Callable[[int, int], None]]:
        if not self._config.progress:
            return contextlib.nullcontext(lambda done, total: None)
        return shown_progress(f"Run {self._run_id}", "tests")

    def _note_event(self, event: Event) -> None:
        if event.unplanned:
            self._events.append(event.words)

    def _note_result(self, task: Task, ran: Ran) -> None:
        if ran.success and not ran.results:
            self._silent[task.payload["test"]] += 1
        if self._contests is not None:
            unneeded = set(self._contests.note(task, ran.results))
            self._queue.cancel([task.task_id for task in self._queue.waiting() if task.task_id in unneeded])

    def _more(self, free: int) -> bool:
        """Give undecided comparisons the runs they need; say whether there are any."""
        if self._contests is None:
            return False
        self._contests.settle(self._queue.has_ended)
        return bool(self._queue.add(self._contests.more(free - len(self._queue.waiting()))))

    def _look(self, intake: Intake, health: ThreadPoolExecutor) -> None:
        """Look after the workers beside the run, when there is much more to see."""
        if self._looking is None or self._looking.done():
            count = intake.accepted
            if self._foreman.is_due(count):
                self._looking = health.submit(self._looked, intake, count)

    def _looked(self, intake: Intake, count: int) -> None:
        try:
            intake.settle()
            self._foreman.look(count)
        except AggrError as error:
            _log.error("the health of workers could not be looked at: %s", error)
