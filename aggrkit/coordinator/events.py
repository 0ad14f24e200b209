"""What happened in the queue, for people and for whoever watches."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Event", "EventLog"]

_KEPT: Final = 10_000
_UNPLANNED: Final = frozenset(
    {"lost", "again", "late", "duplicate", "failed", "abandoned", "returned", "replaced", "clock"}
    | {"quarantined", "kept", "released"}
)


@dataclass(frozen=True)
class Event:
    """Something that happened in the queue.

    Parameters
    ----------
    number : int
        Counts up from 1.
    at : float
        When, in seconds since 1970, for people; nothing is decided by it.
    kind : str
        "registered", "replaced", "left", "lost", "returned", "quarantined", "kept", "released", "clock" of workers;
        "added", "taken", "done", "failed", "again", "late", "duplicate", "cancelled", "abandoned" of tasks.
    words : str
        A sentence.
    worker_id, task_id : str or None
        Who and what.
    details : mapping
        Numbers that belong to it: "seconds" of "done" and "failed".
    """

    number: int
    at: float
    kind: str
    words: str
    worker_id: str | None = None
    task_id: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def unplanned(self) -> bool:
        """Whether nobody planned it: a lost worker, a task that is run again, a late result."""
        return self.kind in _UNPLANNED


class EventLog:
    """The latest 10,000 events, and those who are told of each.

    Examples
    --------
    >>> from aggrkit.coordinator.events import EventLog
    >>> log = EventLog()
    >>> log.tell("lost", "worker w1 is silent for 31 s", "w1")
    >>> log.report()
    ['worker w1 is silent for 31 s']
    """

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=_KEPT)
        self._listeners: list[Callable[[Event], object]] = []
        self._count = 0
        self._lock = threading.RLock()

    def tell(
        self, kind: str, words: str, worker_id: str | None = None, task_id: str | None = None, **details: Any
    ) -> None:
        """Add an event, and call the listeners."""
        with self._lock:
            self._count += 1
            event = Event(self._count, time.time(), kind, words, worker_id, task_id, details)
            self._events.append(event)
            listeners = list(self._listeners)
        for listener in listeners:
            listener(event)

    def since(self, number: int = 0) -> list[Event]:
        """Return what happened after the event of this number."""
        with self._lock:
            return [event for event in self._events if event.number > number]

    def report(self) -> list[str]:
        """Return what happened that nobody planned, a sentence each: lost workers, tasks run again, late results."""
        return [event.words for event in self.since() if event.unplanned]

    def listen(self, listener: Callable[[Event], object]) -> Callable[[], None]:
        """Call a function at each event; returns what ends it."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end
