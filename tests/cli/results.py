"""A folder with results of two builds, in which every example of the help works."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pandas as pd

from tests.sources.importers.files import FOLDER

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["frame", "write"]


def frame() -> pd.DataFrame:
    """Return 1,440 observations: two models, two workers, builds a and b; bert is 20 % slower in build b."""
    rng = np.random.default_rng(7)
    lines = pd.MultiIndex.from_product(
        [["a", "b"], range(12), ["bert", "resnet"], ["fp16", "fp32"], ["w1", "w2", "w3"], range(5)],
        names=["build", "run", "model", "precision", "worker", "repeat"],
    ).to_frame(index=False)
    days = lines["run"] + 12 * lines["build"].eq("b")
    slower = 1 + 0.2 * (lines["build"].eq("b") & lines["model"].eq("bert"))
    latency = 10 * slower * np.exp(rng.normal(0, 0.02, len(lines)))
    latency[100] *= 3
    return pd.DataFrame(
        {
            "run_id": lines["build"] + lines["run"].astype(str) + lines["worker"],
            "timestamp": pd.Timestamp("2026-01-05") + pd.to_timedelta(days, unit="D"),
            "build": lines["build"],
            "model": lines["model"],
            "hardware": "a100",
            "worker": lines["worker"],
            "precision": lines["precision"],
            "batch_size": 8,
            "repeat": lines["repeat"],
            "latency_ms": latency,
            "throughput_items_per_second": 1000 / latency * np.exp(rng.normal(0, 0.01, len(lines))),
            "passed": rng.random(len(lines)) < 0.9,
        }
    )


def write(folder: Path) -> Path:
    """Write the results as CSV, Parquet and DuckDB, also in two tables, and a file of another tool."""
    results = frame()
    results.to_csv(folder / "results.csv", index=False)
    results.to_parquet(folder / "results.parquet", index=False)
    with duckdb.connect(str(folder / "results.duckdb")) as connection:
        connection.execute("CREATE TABLE results AS FROM results")
    with duckdb.connect(str(folder / "tables.duckdb")) as connection:
        connection.execute("CREATE TABLE nightly AS FROM results; CREATE TABLE weekly AS FROM results")
    shutil.copy(FOLDER / "pytest_benchmark" / "rounds.json", folder / "bench.json")
    return folder
