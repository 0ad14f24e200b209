"""What is missing or can't be read is so in every source: null, NaN, empty text, text among numbers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

import aggrkit

if TYPE_CHECKING:
    from pathlib import Path

NAN = float("nan")


def arrow_with_nan() -> pa.Table:
    """Return a table in which NaN and null are two things, as Arrow, Parquet and SQL have them."""
    inf = float("inf")
    return pa.table(
        {
            "model": pa.array(["a"] * 6 + ["b"] * 6),
            "batch_size": pa.array([8.0, NAN, None, 8.0, NAN, 16.0] * 2),
            "latency_ms": pa.array([1.0, 2.0, NAN, None, 5.0, inf, 7.0, 8.0, NAN, NAN, 11.0, 12.0]),
            "memory_mb": pa.array([2.0, 4.5, 1.0, 3.0, 10.0, 1.0, 14.0, 16.0, 1.0, NAN, 21.0, None]),
        }
    )


@pytest.mark.parametrize("source", ["Parquet", "DuckDB", "frame of Arrow types"])
def test_nan_is_missing_in_metrics_and_groups(source: str, tmp_path: Path) -> None:
    table = arrow_with_nan()
    analysis: Any
    assert table["batch_size"].null_count == 2
    if source == "Parquet":
        # Its statistics say that memory lies between 1 and 21: nothing tells the engine that there are NaNs.
        pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
        analysis = aggrkit.open(tmp_path / "x.parquet")
    elif source == "DuckDB":
        connection = duckdb.connect()
        connection.register("given", table)
        connection.execute("CREATE TABLE x AS SELECT * FROM given")
        connection.unregister("given")
        analysis = aggrkit.open(connection)
    else:
        analysis = table.to_pandas(types_mapper=pd.ArrowDtype).aggr
    found = analysis.stats(level="model").set_index(["model", "metric"])
    assert found["n"].tolist() == [3, 6, 4, 4]
    assert found["missing"].tolist() == [3, 0, 2, 2]
    assert found.loc[("a", "latency_ms"), ["mean", "max"]].tolist() == [pytest.approx(8 / 3), 5.0]
    # Infinity was measured and can't be; NaN was not measured.
    assert analysis.stats(level="model").meta["cells_out"] == {"latency_ms: negative, or not a finite number": 1}
    groups = analysis.stats(level=["batch_size"], metrics="memory_mb").set_index("batch_size")
    assert (groups["n"] + groups["missing"]).to_dict() == {"8": 4, "16": 2, "unknown": 6}
    assert len(analysis.stats(level=["batch_size"], metrics="memory_mb").rows(2)) == 6
    paired = analysis.correlations(method="pearson")
    x, y = [1, 2, 5, 7, 8, 11], [2, 4.5, 10, 14, 16, 21]
    assert (paired["n"].item(), paired["correlation"].item()) == (6, pytest.approx(np.corrcoef(x, y)[0, 1], rel=1e-12))
    compared = analysis.compare("a", by="model", level=[])
    assert dict(zip(compared["metric"], compared["n_baseline"], strict=True)) == {"latency_ms": 3, "memory_mb": 6}
    assert compared["verdict"].notna().all()


@pytest.mark.parametrize("source", ["object column", "str column", "CSV", "JSON lines", "Parquet", "DuckDB"])
def test_text_among_numbers_costs_its_cell(source: str, tmp_path: Path) -> None:
    words: list[Any] = ["1.5", "2.5", "timeout", "", None, "-4", "1e1"]
    frame = pd.DataFrame({"model": "a", "latency_ms": pd.array(words, dtype="str"), "memory_mb": 1.0})
    analysis: Any
    if source == "object column":
        mixed = np.array([1.5, 2.5, "timeout", "", None, -4, 1e1], dtype=object)
        analysis = frame.assign(latency_ms=mixed).aggr
    elif source == "str column":
        analysis = frame.aggr
    elif source == "CSV":
        frame.to_csv(tmp_path / "x.csv", index=False)
        analysis = aggrkit.open(tmp_path / "x.csv")
    elif source == "JSON lines":
        rows = [{"model": "a", "latency_ms": word, "memory_mb": 1.0} for word in words]
        (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        analysis = aggrkit.open(tmp_path / "x.jsonl")
    elif source == "Parquet":
        frame.to_parquet(tmp_path / "x.parquet")
        analysis = aggrkit.open(tmp_path / "x.parquet")
    else:
        connection = duckdb.connect()
        connection.execute("CREATE TABLE x AS SELECT * FROM frame")
        analysis = aggrkit.open(connection)
    found = analysis.stats(level="model", metrics="latency_ms")
    assert (found["n"].item(), found["missing"].item(), found["mean"].item()) == (3, 4, pytest.approx(14 / 3))
    assert found.meta["cells_out"] == {"latency_ms: negative, or not a finite number": 2}
    assert analysis.stats(level="model", metrics="memory_mb")["n"].item() == 7


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_booleans_and_statuses_of_files(suffix: str, tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"model": "a", "passed": [True, False, None, True], "status": ["pass", "FAIL", "skip", None]}
    ).astype({"passed": "boolean"})
    path = tmp_path / f"x.{suffix}"
    for part, counts in ((frame, [3, 1, 2, 1]), (frame.drop(columns="passed"), [2, 2, 1, 1])):
        if suffix == "csv":
            part.to_csv(path, index=False)
        elif suffix == "parquet":
            part.to_parquet(path)
        else:
            path.write_text(part.to_json(orient="records", lines=True))
        found = aggrkit.open(path).proportions(level="model")
        assert found[["n", "missing", "successes", "failures"]].to_numpy().tolist() == [counts]
