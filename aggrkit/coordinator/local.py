"""Workers on this machine: an executor of `concurrent.futures` each, so that one can be lost without the others."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import uuid
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Final

from aggrkit.coordinator.crew import Member
from aggrkit.coordinator.performing import begin, environment, perform, perform_sent
from aggrkit.errors import AggrError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aggrkit.coordinator.execution import Ran

__all__ = ["ProcessCrew", "ThreadCrew"]

_GRACE_SECONDS: Final = 2.0
_AT_ONCE: Final = getattr(signal, "SIGKILL", signal.SIGTERM)


class ThreadCrew:
    """Workers that are threads of this process, named as the workers are.

    Parameters
    ----------
    members : iterable of Member
        Who there is.

    Examples
    --------
    >>> from aggrkit.coordinator.crew import Member
    >>> from aggrkit.coordinator.local import ThreadCrew
    >>> crew = ThreadCrew([Member("w1", ("cpu",))])
    >>> crew.start(crew.members()[0], {"parameters": {}}, lambda: 7).result().results
    ({'value': 7},)
    >>> crew.close()
    """

    def __init__(self, members: Iterable[Member]) -> None:
        self._members = [_at_home(member) for member in members]
        self._pools = {member.name: ThreadPoolExecutor(1, member.name) for member in self._members}

    def members(self) -> list[Member]:
        """Return who there is; threads don't get lost."""
        return self._members

    def start(self, member: Member, task: Mapping[str, Any], function: Callable[..., Any] | None) -> Future[Ran]:
        """Let a thread run a test."""
        return self._pools[member.name].submit(perform, task, function)

    def can_stop(self) -> bool:
        """Say that a function that is run by a thread can't be stopped."""
        return False

    def stop(self, member: Member, *, at_once: bool) -> None:
        """Do nothing: a thread can't be stopped."""

    def renew(self, name: str) -> None:
        """Do nothing: a thread isn't lost."""

    def close(self) -> None:
        """Begin nothing more; a test that still runs is not waited for."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


class ProcessCrew:
    """Workers that are processes of this machine.

    Parameters
    ----------
    members : iterable of Member
        Who there is.
    functions : iterable of callable
        The tests that are functions; they are made ready to be sent.

    Raises
    ------
    AggrError
        If a function can't be sent to another process, or processes can't be started.
    """

    def __init__(self, members: Iterable[Member], functions: Iterable[Callable[..., Any]] = ()) -> None:
        self._sent = {function: _portable(function) for function in functions}
        self._members = {member.name: _at_home(member) for member in members}
        self._pools: dict[str, ProcessPoolExecutor] = {}
        self._pids: dict[str, Future[int]] = {}
        self._running: dict[str, Future[Ran]] = {}
        for name in self._members:
            self.renew(name)
        try:
            for pid in self._pids.values():
                pid.result()
        except BrokenExecutor as error:
            self.close()
            words = "worker processes can't be started; a script keeps what it runs under `if __name__ == '__main__':`"
            raise AggrError(f"{words}, or say executor='threads'") from error
        except BaseException:
            self.close()
            raise

    def members(self) -> list[Member]:
        """Return who there is; one whose process was lost has a new instance."""
        return list(self._members.values())

    def start(self, member: Member, task: Mapping[str, Any], function: Callable[..., Any] | None) -> Future[Ran]:
        """Let a process run a test; the future breaks with the process."""
        try:
            pool = self._pools[member.name]
            future = (
                pool.submit(perform, task)
                if function is None
                else pool.submit(perform_sent, task, self._sent[function])
            )
        except BrokenExecutor as error:  # it was lost while it had nothing to do
            future = Future()
            future.set_exception(error)
        self._running[member.name] = future
        return future

    def can_stop(self) -> bool:
        """Say that a function can be stopped with its process."""
        return True

    def stop(self, member: Member, *, at_once: bool) -> None:
        """Stop what a process runs; a function that won't end goes with its process."""
        self._signal(member.name, _AT_ONCE if at_once else signal.SIGTERM)

    def renew(self, name: str) -> None:
        """Start another process in the place of one that was lost."""
        if name in self._pools:
            self._pools[name].shutdown(wait=False, cancel_futures=True)
        context = multiprocessing.get_context("spawn")  # forking a process that has threads is unsafe
        self._pools[name] = ProcessPoolExecutor(1, mp_context=context, initializer=begin)
        self._pids[name] = self._pools[name].submit(os.getpid)
        self._members[name] = _at_home(self._members[name], uuid.uuid4().hex)

    def close(self) -> None:
        """Stop what is still run, and end the processes."""
        running = {name: future for name, future in self._running.items() if not future.done()}
        for name in running:
            self._signal(name, signal.SIGTERM)
        wait(running.values(), timeout=_GRACE_SECONDS if running else 0)
        for name, future in running.items():
            if not future.done():
                self._signal(name, _AT_ONCE)
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)

    def _signal(self, name: str, number: int) -> None:
        pid = self._pids[name]
        if pid.done() and pid.exception() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid.result(), number)


def _at_home(member: Member, instance: str = "") -> Member:
    return Member(member.name, member.hardware, member.capabilities, instance, environment())


def _portable(function: Callable[..., Any]) -> bytes:
    """Return a function as bytes; what another process can't import is sent as a whole, where cloudpickle can."""
    name = getattr(function, "__qualname__", repr(function))
    if getattr(function, "__module__", None) != "__main__":
        with contextlib.suppress(pickle.PicklingError, AttributeError, TypeError):
            return pickle.dumps(function)
    try:
        import cloudpickle
    except ImportError as error:
        words = f"{name} can't be sent to another process: put it into a module that can be imported"
        words = f"{words}, install cloudpickle (pip install 'aggrkit[dask]'), or say executor='threads'"
        raise AggrError(words) from error
    try:
        return bytes(cloudpickle.dumps(function))
    except Exception as error:
        words = f"{name} can't be sent to another process: {type(error).__name__}: {error}"
        raise AggrError(f"{words}; say executor='threads', or keep out of it what can't be sent") from error
