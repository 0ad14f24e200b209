"""Calls a function for a worker: a program of its own, which imports nothing of the package and so starts at once."""

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def main(name: str) -> None:
    """Call ``module:function`` with the parameters of the environment, and write what it returns as a line of JSON."""
    sys.path[0] = str(Path.cwd())
    module, _, function = name.partition(":")
    called = getattr(importlib.import_module(module), function)
    parameters = json.loads(os.environ.get("AGGRKIT_PARAMETERS", "{}"))
    start = time.monotonic()
    found = called(**parameters)
    seconds = time.monotonic() - start
    results = results_of(found)
    if results:
        results[0] = {**results[0], "_seconds": seconds}
    sys.stdout.flush()
    print("\n" + as_json(results), flush=True)  # noqa: T201, this is how the worker gets it


def results_of(found: Any) -> list[Any]:
    """Return what a function returned as a list of results: a dictionary, a list of them, a number or None."""
    if found is None:
        return []
    if hasattr(found, "item") and getattr(found, "ndim", None) == 0:
        found = found.item()
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        found = {"value": found}
    if isinstance(found, (bool, str, bytes)):
        raise TypeError(f"a test returns a dictionary, a list of them, a number or None; got {type(found).__name__}")
    return [found] if isinstance(found, dict) else list(found)


def as_json(results: list[Any]) -> str:
    """Return results as JSON, numbers of numpy among them."""
    return json.dumps(results, default=lambda value: value.item() if hasattr(value, "item") else str(value))


if __name__ == "__main__":
    main(sys.argv[1])
