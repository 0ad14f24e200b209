"""Workers that the results say are sick get no more tasks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from aggrkit.coordinator.records import role_of
from aggrkit.errors import AggrError, number_between
from aggrkit.model.schema import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aggrkit.coordinator.queue import TaskQueue
    from aggrkit.coordinator.tasks import Worker

__all__ = ["HealthMonitor"]

_log = logging.getLogger(__name__)

_GROWTH: Final = 1.25
_LEAST: Final = 20


class HealthMonitor:
    """Looks at the results of a queue's workers now and then, and quarantines those that are sick.

    What is sick is said by `aggrkit.health`: slower, noisier, failing more often or drifting, with model, hardware and
    conditions held fixed. A look is taken when the results have grown by a quarter since the last one, so that looking
    often costs nothing; the k-th look gets ``alpha / (k (k + 1))``, so that the chance that a healthy worker is ever
    quarantined stays below `alpha`. The last worker that can do a kind of work is never quarantined.

    Parameters
    ----------
    queue : TaskQueue
        Whose workers.
    alpha : float, optional
        Chance that any healthy worker is quarantined, over all looks.
    margin : float, optional
        The smallest offset that matters: 0.05 is 5 %.
    metrics : str or list of str, optional
        What is looked at; all metrics by default.

    Examples
    --------
    >>> import numpy as np
    >>> from aggrkit.coordinator.quarantine import HealthMonitor
    >>> from aggrkit.coordinator.queue import TaskQueue
    >>> queue, rng = TaskQueue(), np.random.default_rng(0)
    >>> for k in range(6):
    ...     _ = queue.register(f"w{k}")
    >>> results = [
    ...     {"worker_id": f"w{k % 6}", "run_id": k, "latency_ms": (13 if k % 6 == 2 else 10) + rng.normal(0, 0.1)}
    ...     for k in range(120)
    ... ]
    >>> HealthMonitor(queue, metrics="latency_ms").look(results)
    ['w2']
    >>> queue.worker("w2").quarantined[:23]
    'latency_ms 30.2 % highe'
    """

    def __init__(
        self, queue: TaskQueue, *, alpha: float = 0.01, margin: float = 0.05, metrics: str | list[str] | None = None
    ) -> None:
        self._queue = queue
        self._alpha = number_between(alpha, 0, 1, "alpha is a chance between 0 and 1")
        self._margin = margin
        self._metrics = metrics
        self._looks = 0
        self._seen = 0

    def is_due(self, count: int) -> bool:
        """Say whether there are so many more results than at the last look that it is time for one."""
        return count >= max(_LEAST, _GROWTH * self._seen)

    def look(self, results: Iterable[Mapping[str, Any]], count: int | None = None) -> list[str]:
        """Look at results if it is time, and return the names of the workers that are quarantined for them.

        Parameters
        ----------
        results : iterable of mapping
            As the store has them, with the worker of each.
        count : int, optional
            How many there are, if these are only the latest.
        """
        import pandas as pd

        import aggrkit

        records = list(results)
        count = len(records) if count is None else count
        if not self.is_due(count):
            return []
        self._seen = count
        self._looks += 1
        frame = pd.DataFrame(records)
        if not any(role_of(name) == Role.WORKER.value for name in frame.columns):
            return []
        alpha = self._alpha / (self._looks * (self._looks + 1))
        try:
            found = aggrkit.health(frame, metrics=self._metrics, alpha=alpha, margin=self._margin)
        except AggrError as error:
            _log.info("the health of workers can't be told yet: %s", error)
            return []
        sick = pd.DataFrame(found)[found["verdict"].eq("sick")]
        return [
            name
            for name, reason in zip(sick["worker"].astype(str), sick["reason"], strict=True)
            if self._quarantined(name, str(reason))
        ]

    def _quarantined(self, name: str, reason: str) -> bool:
        worker = self._queue.worker(name)
        if worker is None or worker.quarantined is not None:
            return False
        if not self._can_be_spared(worker):
            self._queue.log.tell("kept", f"worker {name} is kept, as no other can do its work: {reason}", name)
            return False
        self._queue.quarantine(name, reason)
        return True

    def _can_be_spared(self, worker: Worker) -> bool:
        """Say whether another worker that is there can do all that this one can."""
        others = [w for w in self._queue.workers() if w is not worker and w.quarantined is None and not w.lost]
        return any(set(worker.hardware) <= set(other.hardware) for other in others)
