"""How far something is, on the screen or below a cell."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["shown_progress"]


@contextmanager
def shown_progress(
    title: str, unit: str, note: str = "", patience: float = 0.0
) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while a block runs, in a terminal or a notebook, and leave no trace of it; elsewhere nothing is shown.

    Parameters
    ----------
    title : str
        What is done.
    unit : str
        What is counted, in the plural.
    note : str, optional
        A sentence that is said before, and stays.
    patience : float, optional
        Seconds for which nothing is shown.

    Yields
    ------
    callable
        ``(done, total)``: says how far it is.

    Examples
    --------
    >>> from aggrkit.progress import shown_progress
    >>> with shown_progress("Report", "cells") as advance:
    ...     advance(1, 2)
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if note:
        console.print(note, highlight=False, markup=False)
    counted = TextColumn(f"{{task.completed}}/{{task.total}} {unit}")
    columns = (TextColumn("{task.description}"), BarColumn(), counted, TimeElapsedColumn())
    quiet = not (console.is_terminal or console.is_jupyter)
    bar = Progress(*columns, console=console, transient=True, disable=quiet)
    task = bar.add_task(title, total=None)
    shown_at = time.monotonic() + patience

    def advance(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if time.monotonic() >= shown_at and not bar.live.is_started:
            bar.start()

    if not patience:
        bar.start()
    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
