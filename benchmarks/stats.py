"""``df.aggr.stats`` against pandas, polars and the same query written by hand on DuckDB: same frame, same output."""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pandas as pd
import polars as pl

import aggrkit  # noqa: F401 - registers df.aggr

if TYPE_CHECKING:
    from collections.abc import Callable

METRICS = ["a_ms", "b_ms", "c_ms", "d_ms"]
POINTS = [0.5, 0.75, 0.9, 0.95, 0.99]
KEYS = ["model", "hardware"]


def observations(rows: int, timed: bool) -> pd.DataFrame:
    """Make rows of 50 models x 10 devices, with four skewed metrics, and with a time of each where asked."""
    rng = np.random.default_rng(7)
    models = pd.array([f"model-{k:02d}" for k in range(50)], dtype="str")
    devices = pd.array([f"device-{k}" for k in range(10)], dtype="str")
    frame = pd.DataFrame(
        {"model": models.take(rng.integers(0, 50, rows)), "hardware": devices.take(rng.integers(0, 10, rows))}
    )
    for metric in METRICS:
        frame[metric] = rng.lognormal(3, 0.2, rows)
    if timed:
        moments = rng.integers(0, 30 * 86_400 * 10**6, rows)
        frame["timestamp"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(moments, unit="us")
    return frame


def by_aggrkit(frame: pd.DataFrame) -> object:
    return frame.aggr.stats(level=KEYS)


def by_pandas(frame: pd.DataFrame) -> object:
    groups = frame.groupby(KEYS, observed=True)[METRICS]
    return groups.agg(["count", "mean", "std", "min", "max"]), groups.quantile(POINTS)


def by_polars(frame: pd.DataFrame) -> object:
    columns = [pl.col(name) for name in METRICS]
    simple = [
        getattr(column, how)().name.suffix(f"_{how}")
        for column in columns
        for how in ("count", "mean", "std", "min", "max")
    ]
    points = [column.quantile(point, "linear").name.suffix(f"_{point}") for column in columns for point in POINTS]
    return pl.from_pandas(frame).group_by(KEYS).agg(pl.len(), *simple, *points)


def by_hand(frame: pd.DataFrame) -> object:
    measures = ", ".join(
        f"count({m}), count(*) - count({m}), avg({m}), stddev_samp({m}), min({m}), max({m}), "
        f"quantile_cont({m}, {POINTS})"
        for m in METRICS
    )
    with duckdb.connect() as connection:
        connection.register("observations", frame)
        return connection.execute(
            f"SELECT {', '.join(KEYS)}, {measures} FROM observations GROUP BY ALL ORDER BY ALL"
        ).df()


def stats_times(rows: int, repeats: int) -> list[tuple[str, str, str, str, str, str]]:
    """Time all ways in turn, and return a line per peer."""
    lines = []
    for timed in (False, True):
        frame = observations(rows, timed)
        ways: dict[str, Callable[[], object]] = {
            "aggrkit": partial(by_aggrkit, frame),
            "DuckDB by hand": partial(by_hand, frame),
            "pandas": partial(by_pandas, frame),
            "polars": partial(by_polars, frame),
        }
        if timed:
            del ways["pandas"], ways["polars"]
        times: dict[str, list[float]] = {name: [] for name in ways}
        frame.head(1000).aggr.stats()
        for _ in range(repeats):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                times[name].append(time.perf_counter() - start)
        ours = median(times.pop("aggrkit"))
        what = f"stats, {rows / 1e6:g} M rows x 4 metrics x 500 groups" + (
            ", with times (looks for duplicates)" if timed else ""
        )
        wanted = {"DuckDB by hand": "<= 1.25", "pandas": "<= 0.5", "polars": ""}
        for peer, spent in times.items():
            goal = "" if timed else wanted[peer]
            lines.append((what, f"{ours:.2f} s", peer, f"{median(spent):.2f} s", f"{ours / median(spent):.2f}", goal))
    return lines
