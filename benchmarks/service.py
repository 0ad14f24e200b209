"""``aggregate_results`` against the same question worked out record by record with the `statistics` module."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from aggrkit import BenchmarkDBManager, ResultAggregatorService

if TYPE_CHECKING:
    from collections.abc import Callable

METRICS = ("total_time_seconds", "average_latency_ms", "throughput_items_per_second", "memory_peak_mb")
PER_RUN = 50
DAYS = 14

Records = list[dict[str, Any]]


def results(rows: int) -> pd.DataFrame:
    """Make runs of 20 models x 4 devices x batch sizes x precisions, of 50 results each, over two weeks."""
    rng = np.random.default_rng(1)
    runs = rows // PER_RUN
    start = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, DAYS * 86_400, runs), unit="s")
    level = np.exp(rng.normal(3, 0.02, runs))
    run = np.repeat(np.arange(runs), PER_RUN)
    frame = pd.DataFrame(
        {
            "id": [f"result-{k}" for k in range(len(run))],
            "run_id": [f"run-{k}" for k in run],
            "timestamp": start[run] + pd.to_timedelta(np.tile(np.arange(PER_RUN), runs), unit="s"),
            "model_id": [f"model-{k}" for k in rng.integers(0, 20, runs)[run]],
            "hardware_id": [f"device-{k}" for k in rng.integers(0, 4, runs)[run]],
            "worker_id": [f"worker-{k}" for k in rng.integers(0, 8, runs)[run]],
            "batch_size": rng.choice([1, 8, 32], runs)[run],
            "precision": rng.choice(["fp16", "fp32"], runs)[run],
        }
    )
    for metric in METRICS:
        frame[metric] = level[run] * rng.lognormal(0, 0.05, len(run))
    return frame


class Manager:
    """Records in memory, behind the fetch methods."""

    def __init__(self, records: Records) -> None:
        self.records = records

    def get_performance_results(self, aggregation_level: Any, filter_params: Any, time_range: Any) -> Records:
        if time_range is None:
            return self.records
        start, end = time_range
        return [record for record in self.records if start <= record["timestamp"] <= end]

    def get_model_info(self, name: str) -> dict[str, Any]:
        return {"name": name, "family": "transformer"}

    def get_hardware_info(self, name: str) -> dict[str, Any]:
        return {"name": name}


def by_hand(manager: Manager, start: Any) -> dict[str, Any]:
    """Do every stage on dictionaries: invalid, normalise, duplicates, statistics, distributions, anomalies, history."""
    current = manager.get_performance_results("model", {}, (start, start + timedelta(days=DAYS)))
    history = manager.get_performance_results("model", {}, (start - timedelta(days=7), start - timedelta(seconds=1)))
    rows = [dict(record) for record in current if _valid(record)]
    references = defaultdict(list)
    for row in rows:
        for metric in METRICS:
            references[row["model_id"], row["batch_size"], row["precision"], metric].append(row[metric])
    middle = {key: statistics.median(values) for key, values in references.items()}
    for row in rows:
        for metric in METRICS:
            reference = middle[row["model_id"], row["batch_size"], row["precision"], metric]
            row[f"normalized_{metric}"] = reference / row[metric]
    seen, unique = set(), []
    for row in rows:
        key = (row["id"], row["model_id"], row["hardware_id"], row["timestamp"])
        if key not in seen:
            seen.add(key)
            unique.append(row)
    groups, before = defaultdict(list), defaultdict(list)
    for row in unique:
        groups[row["model_id"]].append(row)
    for row in history:
        before[row["model_id"]].append(row)
    return {key: _described(members, before[key]) for key, members in groups.items()}


def _valid(record: dict[str, Any]) -> bool:
    return all(isinstance(record.get(m), float) and math.isfinite(record[m]) and record[m] >= 0 for m in METRICS)


def _described(members: Records, before: Records) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for metric in (*METRICS, *(f"normalized_{name}" for name in METRICS)):
        values = [row[metric] for row in members]
        mean, std = statistics.mean(values), statistics.stdev(values)
        ordered = sorted(values)
        found[metric] = {
            "mean": mean,
            "median": statistics.median(values),
            "std": std,
            "percentiles": [_percentile(ordered, share) for share in (0.5, 0.75, 0.9, 0.95, 0.99)],
            "anomalies": [row for row in members if abs(row[metric] - mean) > 2.5 * std],
        }
        if before and not metric.startswith("normalized"):
            old = statistics.mean(row[metric] for row in before)
            found[metric]["change"] = (mean - old) / old
    for column in ("hardware_id", "worker_id", "batch_size", "precision"):
        counts = Counter(row[column] for row in members)
        found[column] = {value: (count, 100 * count / len(members)) for value, count in counts.items()}
    return found


def _percentile(ordered: list[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def service_times(rows: int, repeats: int) -> list[tuple[str, str, str, str, str, str]]:
    """Time `rows` current results with as much history, cold: nothing cached, from the store and from records."""
    frame = results(2 * rows)
    middle = frame["timestamp"].sort_values().iloc[rows]
    asked = (middle.to_pydatetime(), None)
    records = [{**record, "timestamp": record["timestamp"].to_pydatetime()} for record in frame.to_dict("records")]
    manager = Manager(records)
    current = Manager([record for record in records if record["timestamp"] >= asked[0]])
    with tempfile.TemporaryDirectory() as folder, BenchmarkDBManager(Path(folder) / "results.duckdb") as store:
        store.ingest(frame, "performance")

        def ask(source: Any) -> object:
            service = ResultAggregatorService(source)
            return service.aggregate_results("performance", "model", time_range=asked, use_cache=False)

        manager.get_performance_results = _halves(manager, current)  # type: ignore[method-assign]
        ways: dict[str, Callable[[], object]] = {
            "store": lambda: ask(store),
            "records": lambda: ask(manager),
            "by hand": lambda: by_hand(Manager(records), asked[0]),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        ask(store)
        for _ in range(repeats):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                times[name].append(time.perf_counter() - start)
    peer = median(times["by hand"])
    what = f"aggregate_results, {rows:,} results and as many before, by model"
    lines = []
    for name, goal in (("store", "<= 0.1"), ("records", "<= 0.33")):
        ours = median(times[name])
        each = f"record by record ({1e6 * peer / rows:.0f} us each)"
        lines.append((f"{what}, from {name}", f"{ours:.2f} s", each, f"{peer:.2f} s", f"{ours / peer:.2f}", goal))
    return lines


def _halves(manager: Manager, current: Manager) -> Callable[..., Records]:
    def fetch(aggregation_level: Any, filter_params: Any, time_range: Any) -> Records:
        start, end = time_range
        if end is None:
            return current.records
        return [record for record in manager.records if start <= record["timestamp"] <= end]

    return fetch


if __name__ == "__main__":
    for line in service_times(100_000, 3):
        print(*line, sep=" | ")
