"""Ingests, killed at any moment: a program that `test_killed` starts, which forks once it has imported everything."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time

import pandas as pd

from aggrkit.store import BenchmarkDBManager

BATCHES = 4
ROWS = 100


def batch(number: int) -> pd.DataFrame:
    """Make the results of a batch, half of them with an id, and a column of its own."""
    ids = [f"{number}-{k}" if k % 2 else None for k in range(ROWS)]
    frame = pd.DataFrame({"id": ids, "batch": float(number), "run_id": f"run-{number}", "model": f"model-{number}"})
    frame["timestamp"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(range(ROWS), unit="s")
    return frame.assign(**{"average_latency_ms": 1.0 + frame.index, f"column_{number}": 1.0})


def ingest_all(path: str) -> None:
    """Ingest all batches, a new connection each second time, and so with checkpoints between."""
    for first in range(0, BATCHES, 2):
        with BenchmarkDBManager(path, config={"threads": "1"}) as store:
            for number in (first, first + 1):
                store.ingest(batch(number), "performance")


def complete(path: str) -> dict[str, object]:
    """Ingest all batches, and say what the store holds."""
    ingest_all(path)
    return counts(path)


def counts(path: str) -> dict[str, object]:
    """Say what a store holds."""
    with BenchmarkDBManager(path, config={"threads": "1"}) as store, store._reading() as connection:
        rows = connection.execute("SELECT count(*), count(DISTINCT result_key) FROM performance_results").fetchall()[0]
        held = list(store.runs()["rows"]), sorted(store.models()["model_id"])
        by_batch: list[int] = []
        if connection.execute("SELECT 1 FROM duckdb_columns() WHERE column_name = 'batch'").fetchall():
            query = "SELECT count(*) FROM performance_results GROUP BY batch ORDER BY batch"
            by_batch = [count for (count,) in connection.execute(query).fetchall()]
        return {"rows": rows, "batches": by_batch, "runs": held[0], "models": held[1]}


def in_child(work: object, *args: object, kill_after: float | None = None) -> tuple[int, str]:
    """Call a function in a forked process; return how it ended and what it gave back."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            os.close(read)
            found = work(*args)  # type: ignore[operator]
            os.write(write, json.dumps(found, default=int).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    return os.waitpid(child, 0)[1], said


def main(folder: str, kills: int) -> None:
    """Kill, look, repeat, look again; print a line of JSON per kill."""
    ingest_all(f"{folder}/warm.duckdb")  # so that no child has to import anything; one thread, so forking is safe
    start = time.perf_counter()
    in_child(ingest_all, f"{folder}/first.duckdb")
    span = time.perf_counter() - start
    chance = random.Random(7)
    for number in range(kills):
        path = f"{folder}/{number}.duckdb"
        ended, _ = in_child(ingest_all, path, kill_after=chance.uniform(0, span))
        after_kill = in_child(counts, path)
        completed = in_child(complete, path)
        print(json.dumps({"killed": ended == signal.SIGKILL, "after": after_kill, "whole": completed}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
