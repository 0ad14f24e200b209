"""Calls a function for a worker: a program of its own, which imports nothing of the package and so starts at once."""

import importlib
import json
import os
import sys
import time
from pathlib import Path


def main(name: str) -> None:
    """Call ``module:function`` with the parameters of the environment, and write what it returns as a line of JSON."""
    sys.path[0] = str(Path.cwd())
    module, _, function = name.partition(":")
    called = getattr(importlib.import_module(module), function)
    parameters = json.loads(os.environ.get("AGGRKIT_PARAMETERS", "{}"))
    start = time.monotonic()
    found = called(**parameters)
    seconds = time.monotonic() - start
    if found is None:
        found = []
    elif isinstance(found, (int, float)) and not isinstance(found, bool):
        found = {"value": found}
    results = [found] if isinstance(found, dict) else list(found)
    if results:
        results[0] = {**results[0], "_seconds": seconds}
    sys.stdout.flush()
    print("\n" + json.dumps(results), flush=True)  # noqa: T201, this is how the worker gets it


if __name__ == "__main__":
    main(sys.argv[1])
