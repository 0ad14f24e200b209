"""Workers: ask a coordinator for tasks, run each in a process of its own, and bring back what it found."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from aggrkit.coordinator.client import AsyncClient
from aggrkit.coordinator.execution import Ran, execute
from aggrkit.errors import AggrError, ProtocolError, quoted

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping, Sequence

__all__ = ["Worker"]

_log = logging.getLogger(__name__)

_REPLACED: Final = "another process took the place"


class Worker:
    """Runs tasks of a coordinator, one at a time or several, until it is told to stop.

    Parameters
    ----------
    url, api_key, tls
        As in `AsyncClient`; the key needs the role "submit".
    hardware : sequence of str
        What it can run tasks on.
    name : str, optional
        Its name; that of the machine with something random by default, so that several can run on one.
    capabilities : mapping, optional
        What else it has, e.g. ``{"memory_gb": 16}``.
    slots : int, optional
        How many tasks it runs at once.
    execute : callable, optional
        ``async (task) -> Ran``: how a task is run; see `aggrkit.coordinator.execution.execute`.
    wall_clock : callable, optional
        Gives the seconds since 1970, by which the coordinator tells whether this machine's clock is right.

    Examples
    --------
    ::

        asyncio.run(Worker("ws://127.0.0.1:8080", "your key", hardware=["cpu"]).run())
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        hardware: Sequence[str] = (),
        name: str | None = None,
        capabilities: Mapping[str, Any] | None = None,
        slots: int = 1,
        tls: ssl.SSLContext | None = None,
        execute: Callable[[Mapping[str, Any]], Awaitable[Ran]] = execute,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name or f"{platform.node() or 'worker'}-{uuid.uuid4().hex[:6]}"
        self.finished = 0
        self._hardware = list(hardware)
        self._capabilities = {"hostname": platform.node(), "platform": platform.platform(), **(capabilities or {})}
        self._slots = slots
        self._execute = execute
        self._wall_clock = wall_clock
        self._instance = uuid.uuid4().hex
        self._running: dict[str, asyncio.Task[None]] = {}
        self._client = AsyncClient(url, api_key, tls=tls, timeout=None)
        self._stopping = asyncio.Event()
        self._registered_at = -1

    def stop(self) -> None:
        """Take no more tasks, and end when those that run have ended."""
        self._stopping.set()

    async def run(self, most: int | None = None) -> None:
        """Run tasks until stopped.

        Parameters
        ----------
        most : int, optional
            End after so many tasks.

        Raises
        ------
        ProtocolError
            If the key is refused, or another process took this name.
        SourceError
            If the address is wrong.
        """
        async with self._client:
            beat = await self._register()
            beating = asyncio.create_task(self._beat(beat))
            try:
                await self._work(most)
                if self._running:
                    await asyncio.wait(list(self._running.values()))
            finally:
                beating.cancel()
                for task in self._running.values():
                    task.cancel()
                await asyncio.gather(beating, *self._running.values(), return_exceptions=True)
            with contextlib.suppress(AggrError):
                await self._ask("leave")

    async def _work(self, most: int | None) -> None:
        given = 0
        while not self._stopping.is_set() and (most is None or given < most):
            if len(self._running) >= self._slots:
                await asyncio.wait(self._running.values(), return_when=asyncio.FIRST_COMPLETED)
                continue
            reply = await self._ask("get_task", running=list(self._running))
            task = reply["task"]
            if task is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), reply["retry_after"])
                continue
            given += 1
            name = task["task_id"]
            self._running[name] = asyncio.create_task(self._one(task))

    async def _one(self, task: Mapping[str, Any]) -> None:
        """Run a task, and bring what it found."""
        try:
            await self._run_and_bring(task)
        except AggrError as error:
            _log.error("the results of task %s could not be brought: %s", task["task_id"], error)
        finally:
            del self._running[task["task_id"]]

    async def _run_and_bring(self, task: Mapping[str, Any]) -> None:
        _log.info("task %s begins", task["task_id"])
        ran = await self._execute(task)
        ended = time.monotonic()
        _log.info("task %s %s after %.1f s", task["task_id"], "is done" if ran.success else "failed", ran.seconds)
        try:
            await self._bring(task, ran, ended)
        except ProtocolError as error:  # e.g. a field that can't be stored: the task failed then
            words = f"its results were refused: {error}"
            await self._bring(task, Ran(success=False, seconds=ran.seconds, error=words), ended)
        self.finished += 1

    async def _bring(self, task: Mapping[str, Any], ran: Ran, ended: float) -> None:
        await self._client.request(
            "task_result",
            worker_id=self.name,
            instance=self._instance,
            task_id=task["task_id"],
            success=ran.success,
            results=list(ran.results) or None,
            error=ran.error,
            execution_time_seconds=ran.seconds,
            age_seconds=time.monotonic() - ended,
        )

    async def _beat(self, seconds: float) -> None:
        """Show that it lives, and stop what the coordinator no longer needs."""
        while True:
            await asyncio.sleep(seconds)
            reply = await self._ask("heartbeat", running=list(self._running))
            for name in reply["ended"]:
                if name in self._running:
                    _log.info("task %s was ended by the coordinator", name)
                    self._running[name].cancel()

    async def _ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a message, and register again if the coordinator doesn't know this worker any more."""
        while True:
            try:
                return await self._client.request(
                    kind, worker_id=self.name, instance=self._instance, sent_at=self._wall_clock(), **fields
                )
            except ProtocolError as error:
                if error.code != "unknown_name" or _REPLACED in str(error):
                    raise
                await self._register()

    async def _register(self) -> float:
        reply = await self._client.request(
            "register",
            worker_id=self.name,
            instance=self._instance,
            sent_at=self._wall_clock(),
            hardware=self._hardware,
            capabilities=self._capabilities,
            running=list(self._running),
        )
        if reply["quarantined"]:
            _log.warning("this worker gets no tasks: %s", quoted(reply["quarantined"]))
        return float(reply["heartbeat_seconds"])
