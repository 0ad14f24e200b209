"""Looking again and again for what subscribers want to know, as often as it costs little."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from aggrkit.errors import AggrError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aggrkit.coordinator.actions import Watch
    from aggrkit.coordinator.protocol import Session

__all__ = ["Watcher"]

_log = logging.getLogger(__name__)

_SHARE: Final = 4.0
"""After a look that took a second there is none for so many seconds."""


class Watcher:
    """Looks at each watch when something has changed.

    Parameters
    ----------
    look : callable
        ``(watch) -> awaitable``: looks, and tells subscribers.
    seconds : float
        How long to wait between two looks, at least.
    """

    def __init__(self, look: Callable[[Watch], Awaitable[None]], seconds: float) -> None:
        self._look = look
        self._seconds = seconds
        self._seen: dict[Watch, int] = {}

    async def run(self, version: Callable[[], int], sessions: Mapping[Any, Session]) -> None:
        """Look until cancelled.

        Parameters
        ----------
        version : callable
            Gives a number that changes with the data.
        sessions : mapping
            The connections of this moment.
        """
        pause = self._seconds
        while True:
            await asyncio.sleep(pause)
            start = time.monotonic()
            watches = {s.watch for session in sessions.values() for s in session.subscriptions.values()}
            self._seen = {watch: seen for watch, seen in self._seen.items() if watch in watches}
            for watch in watches:
                now = version()
                if self._seen.get(watch) == now:
                    continue
                try:
                    await self._look(watch)
                    self._seen[watch] = now
                except AggrError as error:
                    _log.warning("subscribers could not be told: %s", error)
                except Exception:  # noqa: BLE001  whoever watches next shall be told
                    _log.exception("subscribers could not be told")
            pause = max(self._seconds, _SHARE * (time.monotonic() - start))
