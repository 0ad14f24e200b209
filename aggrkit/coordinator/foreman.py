"""Who looks after the tasks of a server: the longest first, and none for workers that are sick."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aggrkit.coordinator.durations import Durations
from aggrkit.coordinator.quarantine import HealthMonitor
from aggrkit.coordinator.queue import TaskQueue
from aggrkit.coordinator.records import role_of
from aggrkit.coordinator.scheduling import LongestFirst
from aggrkit.model.schema import Role

if TYPE_CHECKING:
    from aggrkit.store import BenchmarkDBManager

__all__ = ["Foreman"]

_LATEST: Final = 20_000
_RESULT_ID: Final = Role.RESULT_ID.value
_RUN: Final = Role.RUN.value


class Foreman:
    """Orders tasks by how long they took before, and quarantines workers by what they brought.

    Parameters
    ----------
    store : BenchmarkDBManager
        The results of earlier runs, and where new ones go.
    queue : TaskQueue, optional
        The tasks; one of its own by default. A given queue keeps the order that it has.

    Attributes
    ----------
    queue : TaskQueue
        The tasks.
    """

    def __init__(self, store: BenchmarkDBManager, queue: TaskQueue | None = None) -> None:
        self._store = store
        self._order = LongestFirst(Durations())
        self.queue = TaskQueue(choose=self._order) if queue is None else queue
        self._order.learn_from(self.queue)
        self._health = HealthMonitor(self.queue)

    def remember(self) -> None:
        """Learn from the store how long tasks took."""
        for record in self._store.get_test_results(limit=_LATEST):
            self._order.learn(record)

    def is_due(self, count: int) -> bool:
        """Say whether there are so many more results that it is time to look at them."""
        return self._health.is_due(count)

    def look(self, count: int) -> list[str]:
        """Look at what workers brought, if there is much more of it; return the names of those quarantined for it.

        Parameters
        ----------
        count : int
            How many results came in since the server was started.
        """
        if not self._health.is_due(count):
            return []
        known = {worker.worker_id for worker in self.queue.workers()}
        latest = self._store.get_test_results(limit=min(count, _LATEST))
        return self._health.look([self._by_task(record) for record in latest if _worker_of(record) in known], count)

    def _by_task(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return a result with its task for a run: the tasks of one run are run one by one, by whoever is free."""
        task_id = str(record.get(_RESULT_ID, "")).partition("#")[0]
        return record if self.queue.task(task_id) is None else {**record, _RUN: task_id}


def _worker_of(record: dict[str, Any]) -> Any:
    return next((value for name, value in record.items() if role_of(name) == Role.WORKER.value), None)
