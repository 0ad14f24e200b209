"""Tests that are run by tests: in a module that costs little to import, as each worker process does."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

LATENCY = {"bert": 9.0, "vit": 2.0}


def latency(model, batch_size=1):
    return {"latency_ms": LATENCY[model] * batch_size, "memory_peak_mb": 100.0 + batch_size, "pid": os.getpid()}


def killed_once(model, mark):
    """Kill the process that runs it, the first time."""
    if model == "bert" and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"latency_ms": LATENCY[model]}


def killed_always():
    os.kill(os.getpid(), signal.SIGKILL)


def endless():
    while True:
        time.sleep(0.01)


def failing(model, mark):
    if model == "vit":
        raise ValueError("no such\nlayer")
    if not Path(mark).exists():
        Path(mark).touch()
        raise OSError("not now")
    return {"latency_ms": 1.0}


def asserting():
    assert 1 + 1 == 3, "one and one"
