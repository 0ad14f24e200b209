"""How a worker runs a task: in a process of its own, which can crash, hang or be killed without harm to the worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Ran", "execute", "said"]

_CALLER: Final = Path(__file__).with_name("call.py")
_LAST: Final = 500
_LIMIT: Final = 2**24


@dataclass(frozen=True)
class Ran:
    """How a task went.

    Parameters
    ----------
    success : bool
        Whether it ran to its end.
    seconds : float
        How long it took, by a clock that never runs backwards.
    results : sequence of dict
        What it found.
    error : str or None
        Why it failed: the last words that it wrote.
    """

    success: bool
    seconds: float
    results: Sequence[dict[str, Any]] = ()
    error: str | None = None


async def execute(task: Mapping[str, Any]) -> Ran:
    """Run a task.

    Parameters
    ----------
    task : mapping
        With ``command``, a list of texts, or ``callable``, ``"module:function"``; and with ``parameters``, a
        dictionary, and ``timeout_seconds``. A command gets the parameters as JSON in the environment variable
        AGGRKIT_PARAMETERS, and says its results in the last line that it writes: an object of JSON, or a list of them.
        A function gets the parameters as arguments, and returns a dictionary, a list of them, a number or None.

    Returns
    -------
    Ran
        It never raises for what a task does.
    """
    parameters = task.get("parameters") or {}
    command = _command(task.get("command"))
    if not command:
        name = task.get("callable")
        if not isinstance(name, str) or name.count(":") != 1:
            return Ran(
                False, 0.0, error="the task has neither a command (a list of texts) nor a callable (module:function)"
            )
        command = [sys.executable, str(_CALLER), name]
    environment = {**os.environ, "AGGRKIT_PARAMETERS": json.dumps(parameters)}
    start = time.monotonic()
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            limit=_LIMIT,
            start_new_session=os.name == "posix",
        )
    except (OSError, ValueError) as error:
        return Ran(False, time.monotonic() - start, error=f"{command[0]} can't be run: {error}")
    timeout = task.get("timeout_seconds")
    try:
        async with asyncio.timeout(timeout if isinstance(timeout, (int, float)) else None):
            out, err = await process.communicate()
    except TimeoutError:
        return Ran(False, time.monotonic() - start, error=f"it took longer than {timeout:g} s, and was stopped")
    finally:
        if process.returncode is None:
            _kill(process)
            await process.wait()
    seconds = time.monotonic() - start
    if process.returncode:
        lines = err.decode("utf-8", "replace").strip().splitlines()
        words = lines[-1][-_LAST:] if lines else "it wrote nothing"
        return Ran(False, seconds, error=f"it ended with {process.returncode}: {words}")
    found, wrong = said(out)
    return Ran(wrong is None, found[0].pop("_seconds", seconds) if found else seconds, tuple(found), wrong)


def said(out: bytes) -> tuple[list[dict[str, Any]], str | None]:
    """Return what a process said in its last line."""
    lines = out.decode("utf-8", "replace").strip().splitlines()
    if not lines:
        return [], None
    try:
        found = json.loads(lines[-1])
    except (ValueError, RecursionError):
        return [], None  # it wrote something for people, and nothing for programs
    found = [found] if isinstance(found, dict) else found
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        return [], "the last line that it wrote is JSON, but neither an object nor a list of objects"
    return found, None


def _command(said: Any) -> list[str]:
    """Return a command, empty where it is none."""
    return said if isinstance(said, list) and all(isinstance(part, str) for part in said) else []


def _kill(process: asyncio.subprocess.Process) -> None:
    """End a process, and what it started."""
    with contextlib.suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
