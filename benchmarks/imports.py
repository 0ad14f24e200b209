"""What ``import aggrkit`` costs on top of ``import pandas``, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

_MEASURE = "import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"


def import_costs(repeats: int) -> list[tuple[str, str, str, str, str, str]]:
    """Time both imports in turn, and return a line."""
    times: dict[str, list[float]] = {"aggrkit": [], "pandas": []}
    for _ in range(repeats + 1):
        for module, spent in times.items():
            command = [sys.executable, "-c", _MEASURE.format(module=module)]
            spent.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    ours, theirs = (median(spent[1:]) for spent in times.values())
    extra = ours - theirs
    return [
        ("import", f"{ours:.2f} s", "pandas", f"{theirs:.2f} s", f"{ours / theirs:.2f}", f"+{extra:.2f} s (<= +0.25 s)")
    ]
