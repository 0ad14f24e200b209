"""``BenchmarkDBManager.ingest`` against the same rows written by pandas as Parquet and by a hand-written INSERT."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pandas as pd

from aggrkit.store import BenchmarkDBManager

if TYPE_CHECKING:
    from collections.abc import Callable


def results(rows: int) -> pd.DataFrame:
    """Make performance results of 12 columns: 200 runs of 50 models on 10 devices."""
    rng = np.random.default_rng(7)

    def names(what: str, count: int) -> object:
        return pd.array([f"{what}-{k:03d}" for k in range(count)], dtype="str").take(rng.integers(0, count, rows))

    frame = pd.DataFrame(
        {
            "run_id": names("run", 200),
            "model_id": names("model", 50),
            "hardware_id": names("device", 10),
            "worker_id": names("worker", 10),
            "task_type": names("task", 4),
            "precision": names("precision", 3),
        }
    )
    frame["batch_size"] = rng.choice([1, 8, 32], rows)
    moments = rng.integers(0, 30 * 86_400 * 10**6, rows)
    frame["timestamp"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(moments, unit="us")
    for metric in ("total_time_seconds", "average_latency_ms", "throughput_items_per_second", "memory_peak_mb"):
        frame[metric] = rng.lognormal(3, 0.2, rows)
    return frame


def by_aggrkit(frame: pd.DataFrame, folder: Path) -> None:
    with BenchmarkDBManager(folder / "store.duckdb") as store:
        store.ingest(frame)


def by_aggrkit_again(frame: pd.DataFrame, folder: Path) -> None:
    with BenchmarkDBManager(folder / "store.duckdb") as store:
        if store.ingest(frame).rows_new:
            raise AssertionError("the same results were taken in twice")


def by_pandas(frame: pd.DataFrame, folder: Path) -> None:
    frame.to_parquet(folder / "results.parquet")


def by_hand(frame: pd.DataFrame, folder: Path) -> None:
    with duckdb.connect(str(folder / "hand.duckdb")) as connection:
        connection.register("results", frame)
        connection.execute("CREATE TABLE stored AS SELECT * FROM results LIMIT 0")
        connection.execute("INSERT INTO stored SELECT * FROM results")


def ingest_times(rows: int, repeats: int) -> list[tuple[str, str, str, str, str, str]]:
    """Time all ways in turn, each into new files, and return a line per peer."""
    frame = results(rows)
    ways: dict[str, Callable[[Path], None]] = {
        "aggrkit": partial(by_aggrkit, frame),
        "the same again": partial(by_aggrkit_again, frame),
        "pandas to_parquet": partial(by_pandas, frame),
        "DuckDB INSERT by hand": partial(by_hand, frame),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    with TemporaryDirectory() as warm:
        by_aggrkit(frame.head(1000), Path(warm))
    for _ in range(repeats):
        with TemporaryDirectory() as folder:
            for name, way in ways.items():
                start = time.perf_counter()
                way(Path(folder))
                times[name].append(time.perf_counter() - start)
    spent = {name: median(each) for name, each in times.items()}
    ours = spent.pop("aggrkit")
    what = f"ingest, {rows / 1e6:g} M rows x {frame.shape[1]} columns into a new store"
    lines = []
    for peer, theirs in spent.items():
        rates = [f"{seconds:.2f} s ({rows / seconds / 1e3:.0f} k rows/s)" for seconds in (ours, theirs)]
        lines.append((what, rates[0], peer, rates[1], f"{ours / theirs:.2f}", ""))
    return lines


if __name__ == "__main__":
    for line in ingest_times(1_000_000, 3):
        print(" | ".join(line))
