"""In which order tasks are run: so that the last worker is not left with the longest task."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from aggrkit.coordinator.durations import SECONDS, kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aggrkit.coordinator.durations import Durations, Kind
    from aggrkit.coordinator.events import Event
    from aggrkit.coordinator.queue import TaskQueue
    from aggrkit.coordinator.tasks import Task, Worker

__all__ = ["LongestFirst"]

_ENDED: Final = ("done", "failed", "cancelled")


class LongestFirst:
    """Chooses the task that is expected to take longest, of those of the highest priority.

    Tasks of which nothing is known come before all others, for they may be the longest; once one of a kind has ended,
    its duration tells of the rest.

    Parameters
    ----------
    durations : Durations
        What is known; it learns from each task that ends, see `learn_from`.

    References
    ----------
    R. L. Graham (1969), Bounds on multiprocessing timing anomalies, SIAM J. Appl. Math. 17, 416-429: by the longest
    processing time first, a plan is at most a third longer than the best one, and hardly so where tasks are many.

    Examples
    --------
    >>> from aggrkit.coordinator.durations import Durations
    >>> from aggrkit.coordinator.queue import TaskQueue
    >>> from aggrkit.coordinator.scheduling import LongestFirst
    >>> from aggrkit.coordinator.tasks import Task
    >>> known = Durations()
    >>> known.learn({"model": "bert"}, 9.0)
    >>> known.learn({"model": "vit"}, 2.0)
    >>> queue = TaskQueue(choose=LongestFirst(known))
    >>> _ = queue.register("w1")
    >>> _ = queue.add([Task(name, labels={"model": name}) for name in ("vit", "bert", "new")])
    >>> [queue.take("w1").task.task_id for _ in range(3)]
    ['new', 'bert', 'vit']
    """

    def __init__(self, durations: Durations) -> None:
        self.durations = durations
        self._kinds: dict[str, Kind] = {}
        self._known: dict[Kind, float] = {}
        self._guessed: dict[Kind, float] = {}
        self._lock = threading.Lock()

    def __call__(self, tasks: Sequence[Task], worker: Worker) -> Task | None:
        """Return the task that is next."""
        most = max((task.priority for task in tasks), default=0)
        with self._lock:
            return max((task for task in tasks if task.priority == most), key=self._expected, default=None)

    def learn(self, result: Mapping[str, Any]) -> None:
        """Learn from a stored result."""
        self._learn(result, result.get(SECONDS))

    def learn_from(self, queue: TaskQueue) -> Callable[[], None]:
        """Learn from every task of a queue that is done; returns what ends it."""

        def note(event: Event) -> None:
            task = queue.task(event.task_id) if event.kind in _ENDED and event.task_id is not None else None
            if task is None:
                return
            if event.kind == "done":
                self._learn(task.labels, event.details.get("seconds"))
            with self._lock:
                self._kinds.pop(task.task_id, None)

        return queue.log.listen(note)

    def _learn(self, labels: Mapping[str, Any], seconds: Any) -> None:
        with self._lock:
            self.durations.learn(labels, seconds)
            self._known.pop(kind_of(labels), None)
            self._guessed.clear()

    def _expected(self, task: Task) -> float:
        """Return how long a task is expected to take; it is worked out again only when there is something new."""
        kind = self._kinds.get(task.task_id)
        if kind is None:
            kind = self._kinds[task.task_id] = kind_of(task.labels)
        known = self._known.get(kind, self._guessed.get(kind))
        if known is None:
            found, exact = self.durations.expected_of(kind)
            known = float("inf") if found is None else found
            (self._known if exact else self._guessed)[kind] = known
        return known
