"""`aggrkit.open` stays lazy: what comes back from the engine is answers, never the rows."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import duckdb
import ibis
import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

import aggrkit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aggrkit import Analysis

ROWS = 20_000
GROUPS = 12
RUNS = 20


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(9)
    frame = pd.DataFrame(
        {
            "model": rng.choice(["bert", "gpt", "t5", "vit"], ROWS),
            "hardware": rng.choice(["a100", "h100", "l4"], ROWS),
            "run_id": rng.integers(0, RUNS, ROWS).astype(str),
            "timestamp": pd.Timestamp("2025-01-01") + pd.to_timedelta(np.arange(ROWS), unit="min"),
            "round": np.where(np.arange(ROWS) < ROWS // 2, "v1", "v2"),
            "latency_ms": rng.lognormal(3, 0.1, ROWS),
            "throughput": rng.normal(100, 4, ROWS),
            "passed": rng.random(ROWS) < 0.9,
        }
    )
    folder = tmp_path_factory.mktemp("lazy")
    frame.to_parquet(folder / "results.parquet")
    frame.to_csv(folder / "results.csv", index=False)
    with duckdb.connect(str(folder / "results.duckdb")) as connection:
        connection.execute("CREATE TABLE results AS SELECT * FROM frame")
    return folder


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the rows of every result that leaves the engine, by whichever door of Ibis; forbid reading by pandas."""
    sizes: list[int] = []

    def counting(method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = method(self, *args, **kwargs)
            sizes.append(len(result) if hasattr(result, "__len__") else 1)
            return result

        return counted

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the file was loaded")

    backend = type(ibis.duckdb.connect())
    for name in ("to_pyarrow", "execute", "to_pandas", "to_polars"):
        monkeypatch.setattr(backend, name, counting(getattr(backend, name)))
    monkeypatch.setattr(backend, "to_pyarrow_batches", refuse)
    monkeypatch.setattr(backend, "to_pandas_batches", refuse)
    for name in ("read_parquet", "read_csv", "read_json"):
        monkeypatch.setattr(pd, name, refuse)
    monkeypatch.setattr(pyarrow.parquet, "read_table", refuse)
    return sizes


# Correlations alone fetch the numbers of their metrics, as they need ranks.
QUESTIONS: dict[str, tuple[Callable[[Analysis], Any], int]] = {
    "open": (lambda a: a, 1),
    "schema": (lambda a: a.schema, 1),
    "stats": (lambda a: a.stats(), GROUPS),
    "proportions": (lambda a: a.proportions(), GROUPS),
    "distributions": (lambda a: a.distributions(level="model"), 200),
    "compare": (lambda a: a.compare("v1", "v2", by="round"), GROUPS * 20 * 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["results.parquet", "results.csv", "results.duckdb"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_no_more_rows_leave_the_engine_than_the_answer_needs(
    name: str, question: str, big: Path, fetched: list[int]
) -> None:
    ask, most = QUESTIONS[question]
    ask(aggrkit.open(big / name))
    assert max(fetched, default=0) <= most


@pytest.mark.parametrize("method", ["robust", "zscore", "iqr"])
def test_anomalies_fetch_cells_and_what_was_flagged(method: str, big: Path, fetched: list[int]) -> None:
    """Nothing else but a row for each cell and run, to see whether its level shifted over time."""
    found = aggrkit.open(big / "results.parquet").anomalies(method=method)
    assert max(fetched) <= max(GROUPS * RUNS, len(found))


def test_rows_fetches_the_rows_of_its_line_only(big: Path, fetched: list[int]) -> None:
    found = aggrkit.open(big / "results.parquet").stats()
    fetched.clear()
    rows = found.rows(0)
    assert fetched == [len(rows)]
    assert len(rows) == found["n"].iloc[0]


def test_the_spy_sees_a_whole_table(big: Path, fetched: list[int]) -> None:
    aggrkit.open(big / "results.parquet").table.to_pyarrow()
    assert max(fetched) == ROWS


MEMORY = """
import resource, sys
import aggrkit
analysis = aggrkit.open(sys.argv[1], memory_limit="200MB", threads=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = analysis.stats(level="model", metrics="latency_ms")
assert found["n"].sum() == 1_000_000, found
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_columns_that_are_not_asked_for_are_not_read(tmp_path: Path) -> None:
    """Sixty columns of a million numbers are 480 MB; the one that is asked for, 8 MB."""
    backend = duckdb.connect()
    others = ", ".join(f"(i % 100)::DOUBLE AS other_{k}" for k in range(60))
    backend.execute(
        f"COPY (SELECT 'm' || (i % 3) AS model, (i % 1000)::DOUBLE AS latency_ms, {others} FROM range(1000000) t(i)) "
        f"TO '{tmp_path / 'wide.parquet'}'"
    )
    ran = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "wide.parquet")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) < 240
