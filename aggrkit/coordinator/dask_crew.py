"""Workers of a Dask cluster; which of them runs what is decided here, and Dask brings it there and back."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import BrokenExecutor, Future
from typing import TYPE_CHECKING, Any, Final

from aggrkit.coordinator.crew import Member
from aggrkit.coordinator.performing import environment, perform
from aggrkit.errors import AggrError, SourceError, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distributed import Client

    from aggrkit.coordinator.execution import Ran

__all__ = ["DaskCrew", "is_client"]

_ROLL_SECONDS: Final = 0.5
_CONNECT_SECONDS: Final = 15
_PLAIN: Final = ("cpu",)


class DaskCrew:
    """The workers of a Dask cluster.

    A worker has the hardware that its resources name: ``dask worker ADDRESS --resources "cuda=1"`` has "cuda"; one
    without resources has "cpu". It is asked for one unit of the resource, so that other users of the cluster are
    respected. Workers may come and go; aggrkit must be installed where they run.

    Parameters
    ----------
    cluster : distributed.Client or str
        A client, which stays the caller's to close, or the address of a scheduler, e.g. "tcp://10.0.0.1:8786".

    Raises
    ------
    AggrError
        If `distributed` isn't installed.
    SourceError
        If nobody answers at the address.
    """

    def __init__(self, cluster: Client | str) -> None:
        self._own = isinstance(cluster, str)
        self._client: Any = _connected(cluster) if isinstance(cluster, str) else cluster
        self._running: dict[Future[Ran], tuple[str, Any]] = {}
        self._environments: dict[str, dict[str, str]] = {}
        self._members: list[Member] = []
        self._seen = float("-inf")

    def members(self) -> list[Member]:
        """Return who is there; tests of workers that have gone are broken."""
        if time.monotonic() - self._seen < _ROLL_SECONDS:
            return self._members
        there = self._client.scheduler_info(n_workers=-1)["workers"]
        new = [address for address in there if address not in self._environments]
        if new:
            self._environments |= self._client.run(environment, workers=new, on_error="ignore")
        self._members = [_member(address, info, self._environments.get(address, {})) for address, info in there.items()]
        for future, (address, sent) in list(self._running.items()):
            if address not in there and self._running.pop(future, None) is not None:
                future.set_exception(BrokenExecutor(f"the worker at {address} has gone"))
                sent.cancel()
        self._seen = time.monotonic()
        return self._members

    def start(self, member: Member, task: Mapping[str, Any], function: Callable[..., Any] | None) -> Future[Ran]:
        """Let a worker run a test."""
        asked = next((name for name in task.get("hardware") or member.hardware if name in member.capabilities), None)
        sent = self._client.submit(
            perform,
            dict(task),
            function,
            key=f"aggrkit-{uuid.uuid4().hex}",
            workers=[member.instance],
            allow_other_workers=False,
            resources=None if asked is None else {asked: min(1, member.capabilities[asked])},
            pure=False,
            retries=0,
        )
        future: Future[Ran] = Future()
        future.set_running_or_notify_cancel()
        self._running[future] = (member.instance, sent)
        sent.add_done_callback(lambda done: self._ended(future, done))
        return future

    def can_stop(self) -> bool:
        """Say that Dask can't stop a function that is being run."""
        return False

    def stop(self, member: Member, *, at_once: bool) -> None:
        """Do nothing: what a worker of Dask runs can't be stopped."""

    def renew(self, name: str) -> None:
        """Look who is there; new workers are the cluster's business."""
        self._seen = float("-inf")

    def close(self) -> None:
        """Take back what has not begun, and part from the cluster."""
        for _, sent in self._running.values():
            sent.cancel()
        if self._own:
            self._client.close()

    def _ended(self, future: Future[Ran], sent: Any) -> None:
        if self._running.pop(future, None) is None:
            return  # its worker has gone, and that was told
        error = BrokenExecutor("Dask took it back") if sent.cancelled() else sent.exception()
        if error is None:
            future.set_result(sent.result())
        else:
            future.set_exception(BrokenExecutor(str(error)) if _is_loss(error) else error)


def is_client(executor: object) -> bool:
    """Say whether an executor is a client of Dask, without importing Dask."""
    return any(
        kind.__module__.startswith("distributed.") and kind.__name__ == "Client" for kind in type(executor).__mro__
    )


def _member(address: str, info: Mapping[str, Any], place: Mapping[str, str]) -> Member:
    resources = dict(info.get("resources") or {})
    capabilities = {"memory_gb": (info.get("memory_limit") or 0) / 1e9, **resources}
    return Member(str(info.get("name", address)), tuple(resources) or _PLAIN, capabilities, address, place)


def _is_loss(error: BaseException) -> bool:
    from distributed import KilledWorker

    return isinstance(error, KilledWorker)


def _connected(address: str) -> Client:
    """Return a client of the scheduler at an address."""
    try:
        from distributed import Client
    except ImportError as error:
        words = "a Dask cluster needs the package distributed; install it with: pip install 'aggrkit[dask]'"
        raise AggrError(words) from error
    try:
        return Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SourceError(f"no Dask scheduler answers at {quoted(address)}: {error}") from error
