"""A panel that follows its source: looks from time to time whether it has changed, and shows what has come."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any, Final

from aggrkit.errors import AggrError, Cancelled, SourceError, number_between, quoted
from aggrkit.sources.opened import Opened

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggrkit.panel.front_end import FrontEnd

__all__ = ["Following", "seconds_of"]

_EVERY: Final = 2.0
_SHARE: Final = 20
_FIXED: Final = "a DataFrame is a snapshot and doesn't grow; open the store, database or file that it came from"
_AGAIN: Final = "It is tried again and again; until then the panel shows what it had."
_logger = logging.getLogger(__name__)


def seconds_of(follow: bool | float) -> float | None:
    """Return every how many seconds to look, or None for not at all.

    Raises
    ------
    TypeError, ValueError
        If it is neither yes nor no nor a number of seconds.
    """
    if isinstance(follow, bool):
        return _EVERY if follow else None
    return number_between(follow, 0, math.inf, "'follow' is True, False or a number of seconds above 0")


class Following:
    """Looks whether a source has changed, in the thread that computes for the panel; it has none of its own.

    A look costs what the mark of the source costs, see `aggrkit.sources.marks`. One that is slow is rare, and after an
    answer that took longer than the interval there is a pause as long: nothing ever waits in line.

    Parameters
    ----------
    source : callable
        What is followed, where it is an `Opened`; nothing else can grow.
    front : FrontEnd
        What tells that the panel follows, and since when nothing has changed.
    take : callable
        Gets the source, opened anew, and takes it in place of the former one.
    show : callable
        Shows the present state of it.
    """

    def __init__(self, source: Any, front: FrontEnd, take: Callable[[Opened], None], show: Callable[[], None]) -> None:
        self._source = source if isinstance(source, Opened) else None
        self._front = front
        self._take = take
        self._show = show
        self._every: float | None = None
        self._due_at = 0.0
        self._changed_at: float | None = None
        self._views: set[str] = set()
        self._is_hidden = False
        self.is_unread = False
        self._tell()

    @property
    def is_on(self) -> bool:
        """Whether the panel follows."""
        return self._every is not None

    @property
    def is_letting_go(self) -> bool:
        """Whether the source is to be let go after each answer, since nobody could write otherwise."""
        return self._source is not None and self._source.is_exclusive and self.is_on

    def turn(self, every: float | None) -> None:
        """Look every so many seconds from now on; None ends it.

        Raises
        ------
        SourceError
            If the source can't grow.
        """
        if every is not None and self._source is None:
            raise SourceError(f"this panel can't follow: {_FIXED}")
        self._every = every
        self._due_at = 0.0
        self._tell()

    def seen_by(self, view: str, *, is_open: bool) -> None:
        """Learn that a page shows the panel, or no longer does; with none left that did, nothing is looked for."""
        (self._views.add if is_open else self._views.discard)(view)
        self._is_hidden = not is_open and not self._views

    def due_in(self) -> float | None:
        """Say in how many seconds the next look is due; None if there is none."""
        if self._every is None or self._is_hidden:
            return None
        return max(0.0, self._due_at - time.monotonic())

    def look(self) -> None:
        """Look whether the source has changed, and if so, show what it holds now; what is wrong is told.

        Raises
        ------
        Cancelled
            If something else is wanted; it is looked for again afterwards.
        """
        source, every, begun = self._source, self._every, time.monotonic()
        if source is None or every is None:
            return
        looked = begun
        try:
            has_changed = source.has_changed()
            looked = time.monotonic()
            if has_changed or self.is_unread:
                renewed = source.renewed()
                self._take(renewed)
                self._source = renewed
                self._changed_at = time.time() if has_changed else self._changed_at
                self._show()
            self._tell()
        except Cancelled:
            raise
        except AggrError as error:
            self._tell(f"{error}. {_AGAIN}")
        except Exception as error:
            _logger.exception("the panel could not follow its source")
            self._tell(f"{type(error).__name__}: {quoted(str(error))}. {_AGAIN}")
        now = time.monotonic()
        self._due_at = now + max(every, now - begun, _SHARE * (looked - begun))

    def _tell(self, trouble: str = "") -> None:
        """Tell the reader how it stands."""
        self._front.follow = {
            "able": self._source is not None,
            "why": "" if self._source is not None else _FIXED,
            "on": self.is_on,
            "changed": None if self._changed_at is None else round(1000 * self._changed_at),
            "trouble": trouble,
        }
