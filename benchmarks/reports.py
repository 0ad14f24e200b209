"""How long a report of a million results takes, template by template: ``python -m benchmarks.reports``.

The wanted limit is 60 seconds from the frame to the page. The peer, in the same run, is an empty notebook: what
papermill, a kernel and the import of aggrkit take by themselves.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import numpy as np
import pandas as pd

import aggrkit

WANTED = 60


def results(rows: int) -> pd.DataFrame:
    """Make results of 20 models on 10 devices by 12 workers: 2,000 runs of two builds over 60 days."""
    rng = np.random.default_rng(7)
    run = rng.integers(0, 2000, rows)
    model = rng.integers(0, 20, rows)
    noise = rng.normal(0, 0.02, rows) + rng.normal(0, 0.005, 2000)[run]
    build = (run >= 1000).astype(int)
    slower = np.where((model == 3) & (build == 1), 0.1, 0.0)
    seconds = np.exp(3 + model / 10 + noise + slower)
    return pd.DataFrame(
        {
            "run_id": pd.Categorical.from_codes(run, [f"run-{k:04d}" for k in range(2000)]),
            "timestamp": pd.Timestamp("2026-01-01")
            + pd.to_timedelta(run * 43 * 60 + rng.integers(0, 60, rows), unit="s"),
            "model": pd.Categorical.from_codes(model, [f"model-{k:02d}" for k in range(20)]),
            "hardware": pd.Categorical.from_codes(rng.integers(0, 10, rows), [f"device-{k}" for k in range(10)]),
            "worker": pd.Categorical.from_codes(run % 12, [f"worker-{k:02d}" for k in range(12)]),
            "task_type": "inference",
            "build": np.where(build, "b", "a"),
            "total_time_seconds": seconds,
            "memory_peak_mb": rng.lognormal(6, 0.05, rows),
            "compatibility_score": rng.beta(50, 3, rows),
            "load_time_ms": seconds * 10,
            "passed": rng.random(rows) < 0.97,
        }
    )


def empty(folder: Path) -> Path:
    """Write a template that only imports aggrkit."""
    cells = [nbformat.v4.new_code_cell("source: str = ...  # where"), nbformat.v4.new_code_cell("import aggrkit")]
    cells[0].metadata["tags"] = ["parameters"]
    path = folder / "empty.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def report_times(rows: int, names: list[str]) -> list[tuple[str, str, str, str, str, str]]:
    """Make each report once, and return a line per template."""
    frame = results(rows)
    lines = []
    with TemporaryDirectory() as folder:
        source = Path(folder) / "results.parquet"
        frame.to_parquet(source, index=False)
        start = time.perf_counter()
        aggrkit.open(source).report(Path(folder) / "empty.html", str(empty(Path(folder))), progress=False)
        least = time.perf_counter() - start
        for name in names:
            sides = {"by": "build", "baseline": "a", "current": "b"} if name == "regression" else {}
            start = time.perf_counter()
            made = frame.aggr.report(Path(folder) / f"{name}.html", name, progress=False, **sides)
            spent = time.perf_counter() - start
            size = made.path.stat().st_size / 2**20
            what = f"report {name}, {rows / 1e6:g} M rows ({size:.1f} MB)"
            ratio = f"{spent / least:.1f}"
            lines.append((what, f"{spent:.1f} s", "empty notebook", f"{least:.1f} s", ratio, f"{WANTED} s"))
            print(" | ".join(lines[-1]), flush=True)
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reports", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("names", nargs="*", default=sorted(aggrkit.reports.templates()))
    asked = parser.parse_args()
    report_times(asked.rows, asked.names)
