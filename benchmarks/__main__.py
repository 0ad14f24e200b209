"""Run the benchmarks and print one table of ratios: ``python -m benchmarks --rows 1000000 --repeats 5``."""

from __future__ import annotations

import argparse
import platform

import duckdb
import numpy as np
import pandas as pd

from benchmarks.imports import import_costs
from benchmarks.ingest import ingest_times
from benchmarks.service import service_times
from benchmarks.stats import stats_times


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    lines = [line for rows in asked.rows for line in stats_times(rows, asked.repeats)]
    lines += service_times(100_000, asked.repeats)
    lines += ingest_times(1_000_000, asked.repeats)
    lines += import_costs(asked.repeats)
    versions = {"pandas": pd.__version__, "numpy": np.__version__, "duckdb": duckdb.__version__}
    print(f"Python {platform.python_version()},", ", ".join(f"{name} {version}" for name, version in versions.items()))
    print(
        f"{asked.repeats} repeats, interleaved; the ratio is that of the medians, below 1 means that aggrkit is faster"
    )
    print(
        pd.DataFrame(lines, columns=["what", "aggrkit", "peer", "its time", "ratio", "wanted"]).to_string(index=False)
    )


if __name__ == "__main__":
    main()
