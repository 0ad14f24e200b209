"""The client for programs without an event loop: the same calls, which wait."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from aggrkit.coordinator.client import AsyncClient
from aggrkit.errors import SourceError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import TypeVar

    Found = TypeVar("Found")

__all__ = ["Client"]


class Client:
    """A connection to a coordinator that mends itself, for use without an event loop; from several threads, too.

    Parameters
    ----------
    url, api_key, tls, timeout
        As in `AsyncClient`.

    Raises
    ------
    ProtocolError
        If the key is refused.
    SourceError
        If no coordinator answers.

    Examples
    --------
    ::

        with Client("ws://127.0.0.1:8080", "your key") as client:
            client.submit([{"model": "bert", "latency_ms": 3.5}], "performance")
            client.aggregated_results("performance", "model")
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        timeout: float | None = 60.0,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="aggrkit-client", daemon=True)
        self._thread.start()
        self._client = AsyncClient(url, api_key, tls=tls, timeout=timeout)
        try:
            self._wait(self._client.__aenter__())
        except BaseException:
            self._end()
            raise

    @property
    def url(self) -> str:
        """Where the coordinator is."""
        return self._client.url

    @property
    def reconnects(self) -> int:
        """How many times the connection was made anew."""
        return self._client.reconnects

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; closing twice is once."""
        if not self._loop.is_closed():
            self._wait(self._client.close())
            self._end()

    def request(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Send a message, and return its reply; see `AsyncClient.request`."""
        return self._wait(self._client.request(kind, **fields))

    def aggregated_results(
        self,
        result_type: str,
        aggregation_level: str,
        filter_params: Mapping[str, Any] | None = None,
        time_range: Sequence[Any] | None = None,
        *,
        use_detailed: bool = False,
        max_age: float | None = None,
    ) -> dict[str, Any]:
        """Return the answer of one of the layers; see `AsyncClient.aggregated_results`."""
        return self._wait(
            self._client.aggregated_results(
                result_type,
                aggregation_level,
                filter_params,
                time_range,
                use_detailed=use_detailed,
                max_age=max_age,
            )
        )

    def submit(
        self, results: Iterable[Mapping[str, Any]], result_type: str | None = None, run_id: str | None = None
    ) -> dict[str, Any]:
        """Bring results; see `AsyncClient.submit`."""
        return self._wait(self._client.submit(results, result_type, run_id))

    def subscribe(
        self,
        result_type: str,
        aggregation_level: str,
        filter_params: Mapping[str, Any] | None = None,
        *,
        events: Sequence[str] | None = None,
        replay: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """Give what is found from now on, each once; see `AsyncClient.subscribe`."""
        news = self._client.subscribe(result_type, aggregation_level, filter_params, events=events, replay=replay)
        try:
            while True:
                yield self._wait(anext(news))  # type: ignore[arg-type, unused-ignore]
        finally:
            if not self._loop.is_closed():
                self._wait(news.aclose())  # type: ignore[attr-defined]

    def _wait(self, work: Coroutine[Any, Any, Found]) -> Found:
        if self._loop.is_closed():
            work.close()
            raise SourceError("the client was closed; make another one")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
