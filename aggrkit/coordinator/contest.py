"""Comparisons that get the runs they need: more while they are undecided, none once they are decided."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aggrkit.coordinator.noise import log_of
from aggrkit.coordinator.records import role_of
from aggrkit.statistics.sequential import SequentialTest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aggrkit.coordinator.plan import Plan
    from aggrkit.coordinator.sides import Sides
    from aggrkit.coordinator.tasks import Task
    from aggrkit.statistics.sequential import Decision

__all__ = ["Contest", "Contests"]

_FIRST: Final = 2


@dataclass
class Contest:
    """One comparison: a test with a combination of the grid, run on two sides.

    Parameters
    ----------
    test : str
        Which test.
    cell : mapping
        The combination of the grid.
    decision : {"changed", "same", "undecided"}
        What is decided so far.
    change : float or None
        By how much the current side differs, as a fraction of the baseline, of the geometric means.
    runs : tuple of int
        How many runs each side had when it ended: the baseline, the current side.
    """

    test: str
    cell: Mapping[str, Any]
    decision: Decision = "undecided"
    change: float | None = None
    runs: tuple[int, int] = (0, 0)
    given: int = 0
    ended: bool = False
    values: tuple[dict[int, float], dict[int, float]] = field(default_factory=lambda: ({}, {}))

    def __str__(self) -> str:
        where = ", ".join(map(str, (self.test, *self.cell.values())))
        if not any(self.runs):
            return f"{where}: undecided, as no run brought a value"
        by = "" if self.change is None else f" by {100 * self.change:+.1f} %"
        words = {"changed": f"changed{by}", "same": f"the same{by and f' (differs{by})'}", "undecided": "undecided"}
        return f"{where}: {words[self.decision]} after {self.runs[0]} and {self.runs[1]} runs"

    def in_order(self) -> tuple[list[float], list[float]]:
        """Return the values up to the first repeat that one of the sides lacks.

        What came out of order is left aside: tests that end early may be those that are fast, and must not be looked
        at before the others.
        """
        many = 0
        while all(many in side for side in self.values):
            many += 1
        first, second = ([side[repeat] for repeat in range(many)] for side in self.values)
        return first, second


class Contests:
    """All comparisons of a run.

    Parameters
    ----------
    sides : Sides
        What is compared.
    plan : Plan
        Makes the tasks.
    repeats : int
        Runs a side before the first decision.
    noise : float or None
        Standard deviation of the logarithms between runs; None where it isn't known.
    """

    def __init__(self, sides: Sides, plan: Plan, repeats: int, noise: float | None) -> None:
        self._sides = sides
        self._plan = plan
        self._first = max(_FIRST, repeats)
        effect = 1.0 if noise is None else math.log1p(sides.margin) / noise
        self._test = SequentialTest(effect, sides.alpha, sides.beta, self._first)
        self._of: dict[str, tuple[Contest, int, int]] = {}
        self.contests = [Contest(test, cell) for test, cell in plan.cells()]

    def begin(self) -> list[Task]:
        """Return the tasks to begin with."""
        return [task for _ in range(self._first) for contest in self.contests for task in self._pair(contest)]

    def note(self, task: Task, results: Sequence[Mapping[str, Any]]) -> list[str]:
        """Take in what a task found, nothing if it failed; return the ids of tasks that are no longer needed."""
        contest, side, repeat = self._of.pop(task.task_id)
        contest.values[side][repeat] = self._value(results)
        if contest.ended:
            return []
        baseline, current = contest.in_order()
        contest.decision = self._test.decide(baseline, current)
        found = [[value for value in values if math.isfinite(value)] for values in (baseline, current)]
        contest.runs = len(found[0]), len(found[1])
        if all(found):
            contest.change = math.expm1(math.fsum(found[1]) / len(found[1]) - math.fsum(found[0]) / len(found[0]))
        hopeless = len(baseline) >= self._first and not any(found)
        contest.ended = contest.decision != "undecided" or len(baseline) >= self._sides.most or hopeless
        return [name for name, (other, _, _) in self._of.items() if other is contest] if contest.ended else []

    def settle(self, has_ended: Callable[[str], bool]) -> None:
        """Take in that tasks have ended without a word: cancelled, or given up."""
        for name in [name for name in self._of if has_ended(name)]:
            contest, side, repeat = self._of.pop(name)
            contest.values[side][repeat] = math.nan

    def more(self, free: int) -> list[Task]:
        """Return tasks for undecided comparisons: a pair for each that has none, and more for workers that are free."""
        tasks: list[Task] = []
        while True:
            open_ = [contest for contest in self.contests if not contest.ended and contest.given < self._sides.most]
            busy = {id(contest) for contest, _, _ in self._of.values()}
            due = [contest for contest in open_ if id(contest) not in busy]
            if not due and open_ and len(tasks) < free:
                due = [min(open_, key=lambda contest: contest.given)]
            if not due:
                return tasks
            tasks += [task for contest in due for task in self._pair(contest)]

    def _pair(self, contest: Contest) -> list[Task]:
        """Return the next run of both sides: in turn, and each time the other one first.

        So neither drift nor a worker that is always the first to ask meets one side more than the other.
        """
        repeat = contest.given
        contest.given += 1
        tasks = []
        sides = tuple(enumerate(self._sides.values))
        for place, (side, value) in enumerate(sides if repeat % 2 == 0 else reversed(sides)):
            cell = {**contest.cell, self._sides.by: value}
            task = self._plan.task(contest.test, cell, repeat, priority=-2 * repeat - place)
            self._of[task.task_id] = (contest, side, repeat)
            tasks.append(task)
        return tasks

    def _value(self, results: Sequence[Mapping[str, Any]]) -> float:
        """Return the mean of the logarithms of a run's values; NaN where it has none."""
        wanted = role_of(self._sides.metric) or self._sides.metric
        found = [value for result in results for name, value in result.items() if (role_of(name) or name) == wanted]
        logs = [value for value in map(log_of, found) if math.isfinite(value)]
        return math.fsum(logs) / len(logs) if logs else math.nan
