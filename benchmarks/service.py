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
NUMBERS = (*METRICS, *(f"normalized_{name}" for name in METRICS))
REQUIRED = ("run_id", "timestamp", "model_id", "hardware_id")
DESCRIBING = ("hardware_id", "worker_id", "batch_size", "precision")
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


def by_hand(manager: Manager) -> dict[str, Any]:
    """Do every stage on dictionaries, one after the other; each groups the records for itself."""
    records = manager.get_performance_results("model", {}, None)
    rows = [dict(record) for record in records if _valid(record)]
    _normalise(rows)
    rows = _without_duplicates(rows)
    return {
        "statistics": _by_group(rows, NUMBERS, _statistics),
        "percentiles": _by_group(rows, NUMBERS, _percentiles),
        "distributions": _by_group(rows, DESCRIBING, _distribution),
        "anomalies": _anomalies(rows),
        "comparisons": _comparisons(rows),
        "metadata": {key: manager.get_model_info(key) for key in _groups(rows)},
    }


def _groups(rows: Records) -> dict[str, Records]:
    groups = defaultdict(list)
    for row in rows:
        groups[row["model_id"]].append(row)
    return groups


def _by_group(rows: Records, columns: tuple[str, ...], describe: Callable[[list[Any]], Any]) -> dict[str, Any]:
    return {
        key: {column: describe([row[column] for row in members if row.get(column) is not None]) for column in columns}
        for key, members in _groups(rows).items()
    }


def _valid(record: dict[str, Any]) -> bool:
    if any(record.get(name) in (None, "") for name in REQUIRED):
        return False
    return all(_possible(record.get(metric)) for metric in METRICS)


def _possible(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _normalise(rows: Records) -> None:
    values = defaultdict(list)
    for row in rows:
        for metric in METRICS:
            values[row["model_id"], row["batch_size"], row["precision"], metric].append(row[metric])
    references = {key: statistics.median(same) for key, same in values.items()}
    for row in rows:
        for metric in METRICS:
            row[f"normalized_{metric}"] = (
                references[row["model_id"], row["batch_size"], row["precision"], metric] / row[metric]
            )


def _without_duplicates(rows: Records) -> Records:
    seen, unique = set(), []
    for row in rows:
        key = tuple(row.values())
        if key not in seen:
            seen.add(key)
            unique.append(row)
    return unique


def _statistics(values: list[float]) -> dict[str, float]:
    return {
        "count": len(values),
        "mean": statistics.mean(values),
        "median": statistics.median(values),
        "std": statistics.stdev(values),
        "min": min(values),
        "max": max(values),
    }


def _percentiles(values: list[float]) -> list[float]:
    ordered = sorted(values)
    return [_percentile(ordered, share) for share in (0.5, 0.75, 0.9, 0.95, 0.99)]


def _distribution(values: list[Any]) -> dict[Any, tuple[int, float]]:
    return {value: (count, 100 * count / len(values)) for value, count in Counter(values).items()}


def _anomalies(rows: Records) -> dict[str, dict[str, list[tuple[Any, float]]]]:
    found: dict[str, dict[str, list[tuple[Any, float]]]] = {}
    for key, members in _groups(rows).items():
        for metric in METRICS:
            values = [row[metric] for row in members]
            mean, std = statistics.mean(values), statistics.stdev(values)
            scores = [(row["id"], (row[metric] - mean) / std) for row in members]
            found.setdefault(key, {})[metric] = [(name, score) for name, score in scores if abs(score) > 2.5]
    return found


def _comparisons(rows: Records) -> dict[str, dict[str, tuple[float, float]]]:
    split = max(row["timestamp"] for row in rows) - timedelta(days=7)
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for key, members in _groups(rows).items():
        for metric in METRICS:
            now = [row[metric] for row in members if row["timestamp"] > split]
            before = [row[metric] for row in members if row["timestamp"] <= split]
            new, old = statistics.mean(now), statistics.mean(before)
            error = math.sqrt(statistics.variance(now) / len(now) + statistics.variance(before) / len(before))
            found.setdefault(key, {})[metric] = 100 * (new - old) / old, (new - old) / error
    return found


def _percentile(ordered: list[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def service_times(rows: int, repeats: int) -> list[tuple[str, str, str, str, str, str]]:
    """Time `rows` results, nothing cached, from the store and from records; the latest week against the one before."""
    frame = results(rows)
    records = [{**record, "timestamp": record["timestamp"].to_pydatetime()} for record in frame.to_dict("records")]
    with tempfile.TemporaryDirectory() as folder, BenchmarkDBManager(Path(folder) / "results.duckdb") as store:
        store.ingest(frame, "performance")

        def ask(source: Any) -> object:
            return ResultAggregatorService(source).aggregate_results("performance", "model", use_cache=False)

        ways: dict[str, Callable[[], object]] = {
            "store": lambda: ask(store),
            "records": lambda: ask(Manager(records)),
            "by hand": lambda: by_hand(Manager(records)),
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        start = time.perf_counter()
        ask(store)
        first = time.perf_counter() - start
        for _ in range(repeats):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                times[name].append(time.perf_counter() - start)
    peer = median(times["by hand"])
    what = f"aggregate_results, {rows:,} results by model, all stages"
    each = f"record by record ({1e6 * peer / rows:.0f} us each)"
    lines = [(f"{what}, the first of a process", f"{first:.2f} s", each, f"{peer:.2f} s", f"{first / peer:.2f}", "")]
    for name, goal in (("store", "<= 0.1"), ("records", "<= 0.33")):
        ours = median(times[name])
        lines.append((f"{what}, from {name}", f"{ours:.2f} s", each, f"{peer:.2f} s", f"{ours / peer:.2f}", goal))
    return lines


if __name__ == "__main__":
    for line in service_times(100_000, 3):
        print(*line, sep=" | ")
