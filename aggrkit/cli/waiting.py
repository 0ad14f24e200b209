"""What a terminal shows while something takes its time."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from threading import Lock, Timer
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["waiting"]

_PATIENCE: Final = 1.0
"""Seconds for which nothing is shown."""


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on standard error, where that is a terminal, that something is being done, and for how long.

    Nothing is shown in the first second, and nothing is left at the end.

    Parameters
    ----------
    what : str
        What is being done.
    """
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn("line"), TextColumn("{task.description}"), TimeElapsedColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    progress.add_task(escape(what), total=None)
    lock, over = Lock(), False

    def start() -> None:
        with lock:
            if not over:
                progress.start()

    timer = Timer(_PATIENCE, start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            over = True
        progress.stop()
