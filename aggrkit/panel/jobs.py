"""Work in the background of which only the latest counts."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from aggrkit.errors import Cancelled
from aggrkit.sources.cancelling import Cancellation

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Latest"]

_QUIET: Final = 0.12
_SELDOM: Final = 0.4
_logger = logging.getLogger(__name__)


class Latest:
    """One thread that does the latest of what was asked for; what it supersedes is stopped or never begun.

    What the work raises is logged, and the thread goes on; what is idle is not tried again before the next request.

    A request that comes after a pause is begun at once; of those that come fast, one after the other, the last one is
    begun when they end. What is left to do in the background is done while nothing is asked for.

    Parameters
    ----------
    work : callable
        Does what the latest request wants; it is called without arguments, in the thread.
    idle : callable, optional
        Does a piece of what is left to do, and says in how many seconds the next one is due; None if there is none.

    Attributes
    ----------
    begun : int
        How many requests were begun.
    """

    def __init__(self, work: Callable[[], None], idle: Callable[[], float | None] | None = None) -> None:
        self._work = work
        self._idle = idle
        self._changed = threading.Condition()
        self._asked_at = float("-inf")
        self._due_at: float | None = None
        self._running: Cancellation | None = None
        self._idle_at: float | None = None
        self._is_reminded = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self.begun = 0

    def ask(self) -> None:
        """Ask for the work to be done anew."""
        with self._changed:
            if self._closed:
                return
            now = time.monotonic()
            self._due_at = now if now - self._asked_at > _SELDOM else now + _QUIET
            self._asked_at = now
            self._idle_at = None if self._idle is None else now
            if self._running is not None:
                self._running.cancel()
            self._wake()

    def remind(self) -> None:
        """Say that there may be something left to do in the background; what runs goes on."""
        with self._changed:
            if not self._closed and self._idle is not None:
                self._idle_at = time.monotonic()
                self._is_reminded = True
                self._wake()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="aggrkit panel", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def wait(self, timeout: float = 60.0) -> bool:
        """Wait until everything that was asked for is done, and nothing is being prepared; say whether that is so."""

        def is_done() -> bool:
            at_once = self._idle_at is not None and self._idle_at <= time.monotonic()
            return self._due_at is None and self._running is None and (self._closed or not at_once)

        with self._changed:
            return self._changed.wait_for(is_done, timeout)

    def close(self) -> None:
        """Stop, and begin nothing more."""
        with self._changed:
            self._closed = True
            self._due_at = None
            if self._running is not None:
                self._running.cancel()
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(10)

    def _run(self) -> None:
        while True:
            with self._changed:
                task = self._next()
                if task is None:
                    return
                running = self._running = Cancellation()
                self._is_reminded = False
            try:
                with running:
                    wait = task()
                with self._changed:
                    if task is self._idle and not running.is_cancelled and not self._is_reminded:
                        self._idle_at = None if wait is None else time.monotonic() + wait
            except Cancelled:
                pass  # a later request is waiting
            except Exception:
                _logger.exception("work in the background failed")
                with self._changed:
                    if task is self._idle and not running.is_cancelled:
                        self._idle_at = None
            finally:
                with self._changed:
                    self._running = None
                    self._changed.notify_all()

    def _next(self) -> Callable[[], float | None] | None:
        """Wait for something to do; None at the end."""
        while not self._closed:
            now = time.monotonic()
            if self._due_at is not None and self._due_at <= now:
                self._due_at = None
                self.begun += 1
                return self._work
            if self._due_at is None and self._idle is not None and self._idle_at is not None and self._idle_at <= now:
                return self._idle
            due = self._idle_at if self._due_at is None else self._due_at
            self._changed.wait(None if due is None else due - now)
        return None
