"""What happens on the side of a worker of a run: a test is called, and all that can go wrong with it is an answer."""

from __future__ import annotations

import asyncio
import pickle
import platform
import signal
import time
from typing import TYPE_CHECKING, Any

from aggrkit.coordinator.call import as_json, results_of
from aggrkit.coordinator.execution import Ran, execute, said

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

__all__ = ["begin", "environment", "perform", "perform_sent"]


def perform(task: Mapping[str, Any], function: Callable[..., Any] | None = None) -> Ran:
    """Run a test.

    Parameters
    ----------
    task : mapping
        As in `aggrkit.coordinator.execution.execute`.
    function : callable, optional
        What to call with the parameters of the task, here and now; without one the task says what to run, in a process
        of its own.

    Returns
    -------
    Ran
        A failed assertion is a result with the status "failed"; anything else that is raised is an error.

    Examples
    --------
    >>> from aggrkit.coordinator.performing import perform
    >>> perform({"parameters": {"x": 2}}, lambda x: {"latency_ms": 1.5 * x}).results
    ({'latency_ms': 3.0},)
    """
    if function is None:
        return asyncio.run(execute(task))
    start = time.monotonic()
    try:
        found = function(**task["parameters"])
        seconds = time.monotonic() - start
        results, wrong = said(as_json(results_of(found)).encode())
    except Exception as error:  # noqa: BLE001  a test may raise whatever it likes
        words = f"{type(error).__name__}: {error}"
        failed = ({"status": "failed", "error": words},) if isinstance(error, AssertionError) else ()
        return Ran(False, time.monotonic() - start, failed, words)
    return Ran(wrong is None, seconds, tuple(results), wrong)


def perform_sent(task: Mapping[str, Any], sent: bytes) -> Ran:
    """Run a test whose function was sent as bytes by the process that started this one."""
    try:
        function = pickle.loads(sent)  # noqa: S301  our own parent made it
    except Exception as error:  # noqa: BLE001  e.g. its module can't be imported here
        return Ran(False, 0.0, error=f"the test can't be loaded in the worker: {type(error).__name__}: {error}")
    return perform(task, function)


def environment() -> dict[str, str]:
    """Return what is noted of the place where a test runs.

    Examples
    --------
    >>> from aggrkit.coordinator.performing import environment
    >>> sorted(environment())
    ['hostname', 'os', 'python']
    """
    return {"hostname": platform.node(), "os": platform.platform(), "python": platform.python_version()}


def begin() -> None:
    """Prepare a worker process: Ctrl-C is the coordinator's business, and being ended ends the test alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(number)
