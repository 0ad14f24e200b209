"""Clients: ask a coordinator, bring it results, be told of news. They come back by themselves when it was away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import uuid
from typing import TYPE_CHECKING, Any, Final

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from aggrkit.coordinator.records import role_of
from aggrkit.errors import ProtocolError, SourceError
from aggrkit.wire import plain

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from types import TracebackType

    from websockets.asyncio.client import ClientConnection

__all__ = ["AsyncClient"]

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 5.0
_AGAIN: Final = frozenset({"shutting_down", "busy", "rate_limited"})
_REFUSED: Final = frozenset({"auth_failed", "auth_required"})
_MOST_TOGETHER: Final = 500


class AsyncClient:
    """A connection to a coordinator that mends itself.

    What was asked and not answered when a connection broke is asked again on the next one. That is safe: questions
    change nothing, and results have ids by which they count once, however often they are sent.

    Parameters
    ----------
    url : str
        Where it is, ``ws://host:port`` or ``wss://host:port``.
    api_key : str, optional
        The key, where it needs one.
    tls : ssl.SSLContext, optional
        Whom to trust, for ``wss://``.
    timeout : float, optional
        Seconds after which a call gives up, reconnecting included; None for never.
    max_size : int, optional
        Bytes of the largest answer that is taken.

    Examples
    --------
    ::

        async with AsyncClient("ws://127.0.0.1:8080", "your key") as client:
            await client.submit([{"model": "bert", "latency_ms": 3.5}], "performance")
            answer = await client.aggregated_results("performance", "model")
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        timeout: float | None = 60.0,
        max_size: int = 2**26,
    ) -> None:
        self.url = url
        self.timeout = timeout
        self.reconnects = 0
        self._key = api_key
        self._settings: dict[str, Any] = {"max_size": max_size, "compression": None}
        if tls is not None:
            self._settings["ssl"] = tls
        self._waiting: dict[str, tuple[dict[str, Any], asyncio.Future[dict[str, Any]]]] = {}
        self._subscriptions: dict[str, _Subscription] = {}
        self._connection: ClientConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._failed: Exception | None = None

    async def __aenter__(self) -> AsyncClient:
        """Connect; wrong keys and addresses are errors at once, a server that is away is waited for."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(ready))
        try:
            async with asyncio.timeout(self.timeout):
                await asyncio.shield(ready)
        except TimeoutError:
            await self.close()
            raise SourceError(f"no coordinator answers at {self.url}; see whether it runs there") from None
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._fail(SourceError("the client was closed"))

    async def request(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a message, and return its reply.

        Parameters
        ----------
        kind : str
            The type of the message.
        **fields
            Its fields; those that are None are left out.

        Raises
        ------
        ProtocolError
            If the coordinator refuses it; `code` says why.
        SourceError
            If there is no answer in time.
        """
        given = {name: plain(value) for name, value in fields.items() if value is not None}
        pause = _FIRST_PAUSE
        try:
            async with asyncio.timeout(self.timeout):
                while True:
                    reply = await self._asked({"type": kind, **given})
                    if reply.get("success"):
                        return reply
                    code = str(reply.get("code", "internal_error"))
                    if code not in _AGAIN:
                        raise ProtocolError(code, str(reply.get("error", "refused without a reason")))
                    await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311, so that not all come at once
                    pause = min(2 * pause, _LONGEST_PAUSE)
        except TimeoutError:
            words = f"no answer from {self.url} in {self.timeout:g} s" if self.timeout else f"no answer from {self.url}"
            raise SourceError(f"{words}; what was sent may have arrived, and may be sent again") from None

    async def aggregated_results(
        self,
        result_type: str,
        aggregation_level: str,
        filter_params: Mapping[str, Any] | None = None,
        time_range: Sequence[Any] | None = None,
        *,
        use_detailed: bool = False,
        max_age: float | None = None,
    ) -> dict[str, Any]:
        """Return the answer of one of the layers.

        Parameters
        ----------
        result_type, aggregation_level, filter_params
            As in `ResultAggregatorService.aggregate_results`.
        time_range : pair, optional
            First and last moment.
        use_detailed : bool, optional
            Whether the detailed layer is asked.
        max_age : float, optional
            How many seconds old the answer may be; by default it knows every result that was acknowledged before.
        """
        moments = None if time_range is None else dict(zip(("start", "end"), time_range, strict=True))
        reply = await self.request(
            "get_aggregated_results",
            result_type=result_type,
            aggregation_level=aggregation_level,
            filter_params=filter_params,
            time_range=moments,
            use_detailed=use_detailed,
            max_age=max_age,
        )
        return dict(reply["results"])

    async def submit(
        self, results: Iterable[Mapping[str, Any]], result_type: str | None = None, run_id: str | None = None
    ) -> dict[str, Any]:
        """Bring results; when this returns they are on the disk of the coordinator, each once.

        Parameters
        ----------
        results : iterable of mapping
            Dimensions, conditions and metrics. Those without a ``result_id`` get one here, so that sending them again
            after a broken connection counts once.
        result_type : str, optional
            Their type, where they don't say it.
        run_id : str, optional
            The run that they belong to, where they don't say it.

        Returns
        -------
        dict
            ``accepted``, how many, and their ``result_ids``.
        """
        every = [_with_id(plain(result)) for result in results]
        ids: list[str] = []
        for start in range(0, len(every), _MOST_TOGETHER):
            part = every[start : start + _MOST_TOGETHER]
            reply = await self.request("submit_results", results=part, result_type=result_type, run_id=run_id)
            ids += reply["result_ids"]
        return {"accepted": len(ids), "result_ids": ids}

    async def subscribe(
        self,
        result_type: str,
        aggregation_level: str,
        filter_params: Mapping[str, Any] | None = None,
        *,
        events: Sequence[str] | None = None,
        replay: bool = False,
    ) -> AsyncIterator[dict[str, Any]]:
        """Give what is found from now on, each once, broken connections or not.

        Parameters
        ----------
        result_type, aggregation_level, filter_params
            What is looked at.
        events : sequence of str, optional
            Of "anomalies", "changes" and "verdicts"; all by default.
        replay : bool, optional
            Whether what is known already comes first.

        Yields
        ------
        dict
            ``event`` ("anomaly", "change", "verdict"), ``event_id``, ``group``, ``metric``, ``details``.
        """
        name = uuid.uuid4().hex
        fields = {
            "subscription_id": name,
            "result_type": result_type,
            "aggregation_level": aggregation_level,
            "filter_params": dict(filter_params) if filter_params else None,
            "events": list(events) if events else None,
        }
        subscription = self._subscriptions[name] = _Subscription({k: v for k, v in fields.items() if v is not None})
        try:
            reply = await self.request("subscribe", **subscription.fields, replay=replay)
            if not replay:
                subscription.seen.update(reply["known"])
            subscription.known = True
            while True:
                event = await subscription.queue.get()
                if isinstance(event, Exception):
                    raise event
                if event["event_id"] not in subscription.seen:
                    subscription.seen.add(event["event_id"])
                    yield event
        finally:
            self._subscriptions.pop(name, None)
            if self._connection is not None:
                with contextlib.suppress(ConnectionClosed):
                    await self._connection.send(json.dumps({"type": "unsubscribe", "subscription_id": name}))

    async def _asked(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._task is None or self._task.done():
            raise self._failed or SourceError("the client isn't connected; use it in a with block")
        name = uuid.uuid4().hex
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[name] = ({**message, "request_id": name}, reply)
        try:
            if self._connection is not None:
                with contextlib.suppress(ConnectionClosed):  # it will be sent again on the next connection
                    await self._connection.send(json.dumps(self._waiting[name][0], allow_nan=False))
            return await reply
        finally:
            del self._waiting[name]

    async def _run(self, ready: asyncio.Future[None]) -> None:
        """Keep a connection open until cancelled, or until the key is refused."""
        pause = _FIRST_PAUSE
        while True:
            try:
                async with connect(self.url, **self._settings) as connection:
                    await self._authenticate(connection)
                    pause = _FIRST_PAUSE
                    self._connection = connection
                    await self._resume(connection)
                    if not ready.done():
                        ready.set_result(None)
                    async for text in connection:
                        self._received(json.loads(text))
            except ProtocolError as error:
                self._failed = error
                if not ready.done():
                    ready.set_exception(error)
                self._fail(error)
                return
            except (InvalidURI, ValueError) as error:
                wrong = SourceError(f"{self.url} can't be connected to: {error}")
                if not ready.done():
                    ready.set_exception(wrong)
                self._failed = wrong
                self._fail(wrong)
                return
            except (OSError, TimeoutError, ConnectionClosed, InvalidHandshake):
                pass  # it is away: try again
            finally:
                self._connection = None
            self.reconnects += 1
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311, so that not all come at once
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _authenticate(self, connection: ClientConnection) -> None:
        await connection.send(json.dumps({"type": "auth_response", "api_key": self._key}))
        reply = json.loads(await connection.recv())
        if not reply.get("success"):
            raise ProtocolError(str(reply.get("code", "auth_failed")), str(reply.get("error", "the key was refused")))

    async def _resume(self, connection: ClientConnection) -> None:
        """Ask again what was not answered, and subscribe again to what was subscribed to."""
        for message, _ in list(self._waiting.values()):
            await connection.send(json.dumps(message, allow_nan=False))
        for subscription in self._subscriptions.values():
            if subscription.known:
                message = {"type": "subscribe", **subscription.fields, "replay": True}
                await connection.send(json.dumps(message, allow_nan=False))

    def _received(self, message: dict[str, Any]) -> None:
        if message.get("type") == "subscription_event":
            subscription = self._subscriptions.get(str(message.get("subscription_id")))
            if subscription is not None:
                subscription.queue.put_nowait(message)
            return
        _, reply = self._waiting.get(str(message.get("request_id")), (None, None))
        if reply is not None and not reply.done():
            reply.set_result(message)

    def _fail(self, error: Exception) -> None:
        """Tell everybody who waits that nothing will come."""
        for _, reply in list(self._waiting.values()):
            if not reply.done():
                reply.set_exception(error)
        for subscription in self._subscriptions.values():
            subscription.queue.put_nowait(error)


class _Subscription:
    """What was subscribed to, and what of it came already."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.known = False
        self.seen: set[str] = set()
        self.queue: asyncio.Queue[Any] = asyncio.Queue()


def _with_id(result: dict[str, Any]) -> dict[str, Any]:
    if any(role_of(name) == "result_id" and value is not None for name, value in result.items()):
        return result
    return {"result_id": uuid.uuid4().hex, **result}
