"""The coordinator on the network: the protocol over WebSockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from aggrkit.coordinator.actions import Close, Question, Send, Watch, Work
from aggrkit.coordinator.answers import Answers
from aggrkit.coordinator.asking import Asking
from aggrkit.coordinator.binding import check_binding
from aggrkit.coordinator.intake import Intake
from aggrkit.coordinator.protocol import Protocol
from aggrkit.coordinator.queue import TaskQueue
from aggrkit.coordinator.watching import Watcher
from aggrkit.detailed import ResultAggregator
from aggrkit.errors import AggrError, SourceError
from aggrkit.service import ResultAggregatorService
from aggrkit.store.files import MEMORY

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Sequence

    from websockets.asyncio.server import Server as WebSocketServer
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

    from aggrkit.coordinator.actions import Action
    from aggrkit.coordinator.keys import Keys
    from aggrkit.coordinator.protocol import Limits, Session
    from aggrkit.store import BenchmarkDBManager

__all__ = ["Server"]

_log = logging.getLogger(__name__)

_AT_ONCE: Final = 32
_ANSWERING: Final = 2
_AUTH_SECONDS: Final = 10.0
_DRAIN_SECONDS: Final = 10.0
_EXPIRE_SECONDS: Final = 0.5
_LONGEST_REASON: Final = 120
_GOING_AWAY: Final = 1001
_POLICY: Final = 1008


class Server:
    """A coordinator: takes results in, gives answers out, and hands tasks to workers.

    Parameters
    ----------
    store : BenchmarkDBManager
        Where results go; it stays the caller's to close.
    service, aggregator : ResultAggregatorService, ResultAggregator, optional
        The two layers; of the store by default.
    queue : TaskQueue, optional
        The tasks.
    keys : Keys, optional
        Who may do what. Without keys everybody on this machine may do everything.
    host : str, optional
        Where to listen; elsewhere than on this machine only with keys and TLS.
    port : int, optional
        The port; 0 for one that is free.
    tls : ssl.SSLContext, optional
        See `aggrkit.coordinator.binding.tls_context`.
    plain : bool, optional
        Whether a proxy in front of the server encrypts, so that it may do without.
    origins : sequence of str, optional
        Web pages that may connect; browsers send theirs, and all others are refused.
    limits : Limits, optional
        How much a connection may ask.
    max_size : int, optional
        Bytes of the largest message that is taken.
    max_connections : int, optional
        How many may be connected.
    settle_seconds, watch_seconds : float, optional
        How often results go into the store, and how often subscribers are told, at least and at most.
    ping_seconds : float, optional
        How often a connection is asked whether it is alive; silence for as long ends it.

    Raises
    ------
    AggrError
        If it may not listen there.

    Examples
    --------
    >>> from aggrkit import BenchmarkDBManager
    >>> from aggrkit.coordinator import Client, Server
    >>> with Server(BenchmarkDBManager(":memory:"), port=0).running() as server, Client(server.url) as client:
    ...     client.submit([{"model": "bert", "latency_ms": x} for x in (9.0, 11.0)], "performance")["accepted"]
    2
    """

    def __init__(
        self,
        store: BenchmarkDBManager,
        *,
        service: ResultAggregatorService | None = None,
        aggregator: ResultAggregator | None = None,
        queue: TaskQueue | None = None,
        keys: Keys | None = None,
        host: str = "127.0.0.1",
        port: int = 8080,
        tls: ssl.SSLContext | None = None,
        plain: bool = False,
        origins: Sequence[str] = (),
        limits: Limits | None = None,
        max_size: int = 2**20,
        max_connections: int = 1000,
        settle_seconds: float = 1.0,
        watch_seconds: float = 2.0,
        ping_seconds: float = 20.0,
    ) -> None:
        check_binding(host, keys=keys, tls=tls is not None, plain=plain)
        self.store = store
        self.service = service or ResultAggregatorService(db_manager=store)
        self.aggregator = aggregator or ResultAggregator(db_manager=store)
        self.queue = queue or TaskQueue()
        self.host, self.port = host, port
        self._tls = tls
        self._settle_seconds, self._watch_seconds = settle_seconds, watch_seconds
        hide = {} if store.path == MEMORY else {str(Path(store.path).resolve()): "the store", store.path: "the store"}
        self._hide = hide
        self._protocol = Protocol(self.queue, keys=keys, limits=limits, status=self._status, hide=hide)
        self._settings: dict[str, Any] = {
            "max_size": max_size,
            "compression": None,
            "server_header": None,
            "ping_interval": ping_seconds,
            "ping_timeout": ping_seconds,
            "origins": [None, *origins],
            "process_request": self._admit,
            "ssl": tls,
        }
        self._max_connections = max_connections
        self._sessions: dict[ServerConnection, Session] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._chores: list[asyncio.Task[None]] = []
        self._draining = False
        self._listening: WebSocketServer | None = None
        self._intake: Intake | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'ws' if self._tls is None else 'wss'}://{host}:{self.port}"

    async def start(self) -> None:
        """Take in what an earlier process left, and listen; the detailed layer loads its history meanwhile.

        Raises
        ------
        SourceError
            If the store can't be used, or the port is taken.
        """
        self._draining = False
        self._executor = ThreadPoolExecutor(_ANSWERING, "aggrkit-answer")
        try:
            await self._in_thread(self._open)
            self._listening = await serve(self._serve, self.host, self.port, **self._settings)
        except BaseException as error:
            await self._in_thread(self._close_layers)
            self._executor.shutdown()
            if isinstance(error, OSError):
                words = f"the server can't listen on {self.host}, port {self.port}: {error.strerror or error}"
                raise SourceError(f"{words}; choose another port") from error
            raise
        self.port = next(iter(self._listening.sockets)).getsockname()[1]
        self._asking = Asking(self._answers, self._executor)
        self._loading = asyncio.create_task(self._load())
        watcher = Watcher(self._look, self._watch_seconds)
        self._chores = [
            asyncio.create_task(self._expire()),
            asyncio.create_task(watcher.run(lambda: self.store.data_version, self._sessions)),
        ]

    async def stop(self) -> None:
        """Listen no more, answer what was asked, put all results into the store, and end."""
        self._draining = True
        if self._listening is not None:
            self._listening.close(close_connections=False)
        if self._working:
            await asyncio.wait(self._working, timeout=_DRAIN_SECONDS)
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        closing = [connection.close(_GOING_AWAY, "the server is about to end") for connection in self._sessions]
        await asyncio.gather(*closing, return_exceptions=True)
        await asyncio.wait([self._loading])
        await self._in_thread(self._close_layers)
        self._executor.shutdown()

    @contextlib.contextmanager
    def running(self) -> Iterator[Server]:
        """Run in a thread of its own for as long as the block takes."""
        ready: threading.Event = threading.Event()
        failed: list[BaseException] = []
        ended: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

        async def run() -> None:
            try:
                await self.start()
            except BaseException as error:  # noqa: BLE001  it is raised in the thread of the caller
                failed.append(error)
                return
            finally:
                ended.append((asyncio.get_running_loop(), asyncio.Event()))
                ready.set()
            await ended[0][1].wait()
            await self.stop()

        thread = threading.Thread(target=lambda: asyncio.run(run()), name="aggrkit-server", daemon=True)
        thread.start()
        ready.wait()
        if failed:
            thread.join()
            raise failed[0]
        try:
            yield self
        finally:
            loop, event = ended[0]
            loop.call_soon_threadsafe(event.set)
            thread.join()

    def _open(self) -> None:
        self._intake = Intake(self.store, self.aggregator, settle_seconds=self._settle_seconds)
        self._answers = Answers(self.store, self.service, self.aggregator, self._intake, self._hide)

    def _close_layers(self) -> None:
        if self._intake is not None:
            self._intake.stop()
            self._intake = None
        self.aggregator.stop()

    def _status(self) -> dict[str, Any]:
        accepted = 0 if self._intake is None else self._intake.accepted
        return {"connections": len(self._sessions), "accepted": accepted}

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse a connection beyond the most that there may be."""
        if len(self._sessions) >= self._max_connections or self._draining:
            return connection.respond(503, "too many are connected; try again in a moment\n")
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        """Speak with one connection until it ends."""
        session = self._sessions[connection] = self._protocol.connect()
        slots = asyncio.Semaphore(_AT_ONCE)
        try:
            with contextlib.suppress(ConnectionClosed):
                if session.identity is None:
                    async with asyncio.timeout(_AUTH_SECONDS):
                        await self._do(connection, session.receive(await connection.recv()), slots)
                async for message in connection:
                    if self._draining:
                        break
                    await self._do(connection, session.receive(message), slots)
        except TimeoutError:
            await connection.close(_POLICY, "no key came in time")
        finally:
            del self._sessions[connection]

    async def _do(self, connection: ServerConnection, actions: Sequence[Action], slots: asyncio.Semaphore) -> None:
        for action in actions:
            if isinstance(action, Send):
                await connection.send(action.text)
            elif isinstance(action, Close):
                await connection.close(action.code, action.reason[:_LONGEST_REASON])
            else:
                await slots.acquire()
                task = asyncio.create_task(self._work(connection, action, slots))
                self._working.add(task)
                task.add_done_callback(self._working.discard)
                if action.in_order:
                    await asyncio.wait([task])

    async def _work(self, connection: ServerConnection, work: Work, slots: asyncio.Semaphore) -> None:
        """Do what takes time, and say how it went."""
        try:
            try:
                actions = work.done(await self._outcome(work.job))
            except Exception as error:  # noqa: BLE001  the protocol turns it into a reply
                actions = work.failed(error)
            for action in actions:
                if isinstance(action, Send):
                    await connection.send(action.text)
        except ConnectionClosed:
            pass  # they will ask again when they are back
        finally:
            slots.release()

    async def _outcome(self, job: Any) -> Any:
        if isinstance(job, Question):
            return await self._asking.ask(job)
        if isinstance(job, Watch):
            return await self._in_thread(self._answers.watch, job)
        intake = self._intake
        if intake is None:
            raise SourceError("the server is about to end")
        return await asyncio.wrap_future(intake.keep(job))

    async def _look(self, watch: Watch) -> None:
        """Tell the subscribers of a watch what is new."""
        found = await self._in_thread(self._answers.watch, watch)
        telling = [
            self._tell(connection, actions)
            for connection, session in list(self._sessions.items())
            if (actions := session.news(watch, found))
        ]
        await asyncio.gather(*telling)

    async def _tell(self, connection: ServerConnection, actions: Sequence[Action]) -> None:
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                for action in actions:
                    if isinstance(action, Send):
                        await connection.send(action.text)
        except ConnectionClosed:
            pass
        except TimeoutError:
            await connection.close(_POLICY, "news are not read")

    async def _load(self) -> None:
        """Let the detailed layer load history; questions to it wait until it has."""
        try:
            await asyncio.to_thread(self.aggregator.start)
        except AggrError as error:
            _log.error("the history of the detailed layer could not be loaded: %s", error)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(_EXPIRE_SECONDS)
            self.queue.expire()

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
