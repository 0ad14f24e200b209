"""Queries that another thread can stop, and one query at a time on each connection."""

from __future__ import annotations

import contextlib
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from aggrkit.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Cancellation", "one_at_a_time"]

_AGAIN: Final = 0.02

_current: ContextVar[Cancellation | None] = ContextVar("aggrkit_cancellation", default=None)


class Cancellation:
    """Work that can be stopped: queries that are asked within it end early with `Cancelled`.

    Examples
    --------
    >>> from aggrkit.sources.cancelling import Cancellation
    >>> with Cancellation() as work:
    ...     work.cancel()  # from another thread, as a rule
    >>> work.is_cancelled
    True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: Any = None
        self._ended = threading.Event()
        self.is_cancelled = False

    def __enter__(self) -> Cancellation:
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)

    def cancel(self) -> None:
        """Stop the query that is running, and refuse further ones."""
        with self._lock:
            self.is_cancelled = True
            is_running = self._running is not None
        if is_running and not self._interrupted():
            threading.Thread(target=self._insist, name="aggrkit cancellation", daemon=True).start()

    def _insist(self) -> None:
        """Interrupt until the query has ended: an engine forgets what it is told before a query has begun."""
        while not self._interrupted():
            self._ended.wait(_AGAIN)

    def _interrupted(self) -> bool:
        """Interrupt what is running; say whether nothing is."""
        with self._lock:
            if self._running is not None:
                self._running.interrupt()
            return self._running is None

    def check(self) -> None:
        """Raise if the work was cancelled.

        Raises
        ------
        Cancelled
        """
        if self.is_cancelled:
            raise Cancelled("a later request made this one superfluous")

    @contextlib.contextmanager
    def running(self, connection: Any) -> Iterator[None]:
        """Let `cancel` interrupt a connection meanwhile."""
        with self._lock:
            self.check()
            self._running = connection if hasattr(connection, "interrupt") else None
            self._ended.clear()
        try:
            yield
        except Exception:
            self.check()  # what an interrupted query raises is no failure of the source
            raise
        finally:
            with self._lock:
                self._running = None
                self._ended.set()


@contextlib.contextmanager
def one_at_a_time(connection: Any) -> Iterator[None]:
    """Wait until no other thread asks the connection, and let a cancellation that is in force interrupt it."""
    work = _current.get()
    lock: Any = getattr(connection, "lock", None) or contextlib.nullcontext()
    with lock, contextlib.nullcontext() if work is None else work.running(connection):
        yield
