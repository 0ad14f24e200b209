"""Questions off the event loop: one at a time of a kind, and those who ask meanwhile share the next."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from aggrkit.errors import ProtocolError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from aggrkit.coordinator.actions import Question
    from aggrkit.coordinator.answers import Answers

__all__ = ["Asking"]

_MOST: Final = 100


class Asking:
    """Asks `Answers` in threads.

    Whoever asks while the same question is being worked on gets the next answer, not this one: it knows everything that
    was acknowledged before they asked.

    Parameters
    ----------
    answers : Answers
        Works them out.
    executor : concurrent.futures.Executor
        The threads.
    """

    def __init__(self, answers: Answers, executor: Executor) -> None:
        self._answers = answers
        self._executor = executor
        self._running: dict[Question, asyncio.Task[str]] = {}
        self._next: dict[Question, asyncio.Task[str]] = {}

    async def ask(self, question: Question) -> str:
        """Return the JSON text of an answer.

        Raises
        ------
        ProtocolError
            "busy", if too many other questions wait.
        AggrError
            As `Answers.answer`.
        """
        at_hand = self._answers.ready(question)
        if at_hand is None:
            return await asyncio.shield(self._join(question))
        text, is_old = at_hand
        if is_old and len(self._next) < _MOST:
            self._join(question).add_done_callback(_seen)
        return text

    def _join(self, question: Question) -> asyncio.Task[str]:
        exact = replace(question, max_age=0.0)
        task = self._next.get(exact)
        if task is None:
            if len(self._next) >= _MOST:
                raise ProtocolError("busy", f"{_MOST} other questions wait; try again in a moment")
            task = self._next[exact] = asyncio.create_task(self._work(exact))
        return task

    async def _work(self, question: Question) -> str:
        task = asyncio.current_task()
        before = self._running.get(question)
        if before is not None:
            await asyncio.wait([before])
        del self._next[question]  # from here on a new one is begun
        if task is not None:
            self._running[question] = task
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, self._answers.answer, question)
        finally:
            if self._running.get(question) is task:
                del self._running[question]


def _seen(task: asyncio.Task[str]) -> None:
    """Let an answer that nobody waits for fail in silence: whoever asks next gets the error."""
    if not task.cancelled():
        task.exception()
