"""The same observations give the same answers, wherever they are kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import duckdb
import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import aggrkit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aggrkit import Analysis

TEXTS = ["model", "hardware", "task_type", "worker", "run_id", "precision", "round"]
CONDITIONS = {"v1": 1.0, "v2": 1.06}


def observations() -> pd.DataFrame:
    """Return results with runs, gaps, impossible values, second copies, outliers, and a change from v1 to v2."""
    rng = np.random.default_rng(20250301)
    rows: list[dict[str, Any]] = []
    for release, factor in CONDITIONS.items():
        for model, level in (("bert", 12.0), ("resnet", 30.0), ("gpt", 80.0)):
            for hardware in ("a100", None):
                for run in range(4):
                    luck = rng.normal(1, 0.005)
                    for repeat in range(5):
                        latency = level * luck * rng.normal(1, 0.01) * (factor if model != "resnet" else 1.0)
                        rows.append(
                            {
                                "model": model,
                                "hardware": hardware,
                                "task_type": "train" if model == "gpt" else "infer",
                                "worker": f"w{run % 2}",
                                "run_id": f"{release}-{run}",
                                "timestamp": pd.Timestamp("2025-01-01")
                                + pd.Timedelta(days=40 * (release == "v2") + run, minutes=len(rows)),
                                "round": release,
                                "precision": "fp16" if repeat % 2 else "fp32",
                                "batch_size": [8.0, 16.0, None][repeat % 3],
                                "average_latency_ms": latency,
                                "throughput_items_per_second": 1000 / latency * rng.normal(1, 0.02),
                                "memory_peak_mb": float(rng.integers(900, 1100)),
                                "passed": None if repeat == 4 else bool(rng.random() < 0.9),
                            }
                        )
    frame = pd.DataFrame(rows)
    frame.loc[[5, 100], "average_latency_ms"] = [frame.at[5, "average_latency_ms"] * 3, -1.0]
    frame.loc[[17, 130], "throughput_items_per_second"] = [np.nan, 1.0]
    frame.loc[7, "model"] = None
    return pd.concat([frame, frame.iloc[[20, 150]]], ignore_index=True)


def with_categories(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its text as categories in another order and with unused ones, and times in a zone."""
    made = frame.assign(timestamp=frame["timestamp"].dt.tz_localize("UTC").dt.tz_convert("Asia/Kolkata"))
    for name in TEXTS:
        made[name] = pd.Categorical(frame[name], categories=["unused", *sorted(frame[name].dropna().unique())[::-1]])
    return made


def arrow_types(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its text as Arrow dictionaries and everything else as Arrow columns."""
    made = pa.Table.from_pandas(frame, preserve_index=False).to_pandas(types_mapper=pd.ArrowDtype)
    for name in TEXTS:
        made[name] = made[name].astype(pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string())))
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in made.dtypes)
    return made


def as_text(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return None if pd.isna(value) else value


def several(frame: pd.DataFrame, folder: Path) -> str:
    for part, start in enumerate(range(0, len(frame), 90)):
        frame.iloc[start : start + 90].to_parquet(folder / f"part{part}.parquet")
    return str(folder / "part*.parquet")


def json_lines(frame: pd.DataFrame, folder: Path) -> Path:
    lines = (json.dumps({k: as_text(v) for k, v in row.items()}) for row in frame.to_dict("records"))
    (folder / "results.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "results.jsonl"


def duckdb_file(frame: pd.DataFrame, folder: Path) -> Path:
    with duckdb.connect(str(folder / "results.duckdb")) as connection:
        connection.execute("CREATE TABLE results AS SELECT * FROM frame")
    return folder / "results.duckdb"


def connection_of(frame: pd.DataFrame) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("CREATE TABLE results AS SELECT * FROM frame")
    return connection


def ibis_table(frame: pd.DataFrame) -> ibis.Table:
    return ibis.duckdb.from_connection(connection_of(frame)).table("results")


def csv(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


def parquet(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_parquet(path)
    return path


SOURCES: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "DataFrame": lambda frame, _: frame,
    "DataFrame of Arrow": lambda frame, _: arrow_types(frame),
    "DataFrame of categories": lambda frame, _: with_categories(frame),
    "Parquet": lambda frame, folder: parquet(frame, folder / "results.parquet"),
    "several Parquet files": several,
    "CSV": lambda frame, folder: csv(frame, folder / "results.csv.gz"),
    "JSON lines": json_lines,
    "DuckDB file": duckdb_file,
    "DuckDB connection": lambda frame, _: connection_of(frame),
    "Ibis table": lambda frame, _: ibis_table(frame),
}
QUESTIONS: dict[str, Callable[[Analysis], pd.DataFrame]] = {
    "stats": lambda a: a.stats(level=["run_id", "batch_size"], percentiles=[5, 50, 99.9]),
    "stats of some": lambda a: a.stats(
        level="worker",
        metrics=["normalized_average_latency_ms", "latency"],
        where={"batch_size": [8, None], "model": ["bert", "gpt"]},
        time_range=("2025-01-02", None),
    ),
    "proportions": lambda a: a.proportions(level="task_type"),
    "distributions": lambda a: a.distributions(level="model"),
    "robust": lambda a: a.anomalies(),
    "zscore": lambda a: a.anomalies(level="model", method="zscore", threshold=2.0),
    "iqr": lambda a: a.anomalies(method="iqr"),
    "gesd": lambda a: a.anomalies(method="gesd"),
    "compare by column": lambda a: a.compare("v1", "v2", by="round"),
    "compare details": lambda a: a.compare("v1", by="round", level="model").details,
    "compare time ranges": lambda a: a.compare(("2025-01-01", "2025-01-31"), ("2025-02-01", None), level="model"),
    "compare timedelta": lambda a: a.compare(pd.Timedelta("10D"), level="hardware"),
    "correlations": lambda a: a.correlations(level="model", method=["pearson", "spearman", "kendall"]),
}


# These go through every kind of stage; the other questions differ from them after the engine has answered.
CORE = ["stats", "stats of some", "distributions", "robust", "compare by column", "compare timedelta", "correlations"]
FULLY = ["DataFrame of Arrow", "Parquet", "CSV", "DuckDB file"]


@pytest.fixture(scope="module")
def expected() -> dict[str, pd.DataFrame]:
    """Return the answers for a plain frame, asked once."""
    frame = observations()
    return {name: question(frame.aggr) for name, question in QUESTIONS.items()}


@pytest.fixture(scope="module")
def expected_rows(expected: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the observations behind the last line of each answer."""
    return {name: found.rows(-1) for name, found in expected.items() if name in CORE}


# Ibis itself, on a connection that it opened, calls a method that DuckDB 2 deprecates.
IBIS_WARNS = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Analysis]:
    """Return what opens a source by its name, once."""
    made: dict[str, Analysis] = {}

    def open_once(name: str) -> Analysis:
        if name not in made:
            made[name] = aggrkit.open(SOURCES[name](observations(), tmp_path_factory.mktemp("parity")))
        return made[name]

    return open_once


def assert_same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Check that two findings are the same: counts and words exactly, numbers to nine digits."""
    assert list(found.columns) == list(wanted.columns)
    assert len(found) == len(wanted)
    for name in wanted.columns:
        one, other = found[name].reset_index(drop=True), wanted[name].reset_index(drop=True)
        if pd.api.types.is_float_dtype(other.dtype):
            assert pd.api.types.is_float_dtype(one.dtype), name
            np.testing.assert_allclose(
                one.to_numpy(float), other.to_numpy(float), rtol=1e-9, atol=1e-12, equal_nan=True, err_msg=name
            )
        elif pd.api.types.is_datetime64_any_dtype(other.dtype):
            assert one.dt.tz_localize(None).tolist() == other.dt.tz_localize(None).tolist(), name
        else:
            assert one.dtype == other.dtype, name
            assert (
                one.astype(object).where(one.notna(), None).tolist()
                == other.astype(object).where(other.notna(), None).tolist()
            ), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "question"),
    [
        pytest.param(name, question, marks=[IBIS_WARNS] if name == "Ibis table" else [])
        for name in list(SOURCES)[1:]
        for question in (QUESTIONS if name in FULLY else CORE)
    ],
)
def test_every_source_gives_the_same_answer(
    name: str,
    question: str,
    opened: Callable[[str], Analysis],
    expected: dict[str, pd.DataFrame],
    expected_rows: dict[str, pd.DataFrame],
) -> None:
    wanted = expected[question]
    found = QUESTIONS[question](opened(name))
    assert len(wanted)
    assert_same(pd.DataFrame(found), pd.DataFrame(wanted))
    if question == "compare details":
        return
    for key in ("rows", "rows_used", "rows_out", "cells_out", "notes"):
        assert found.meta[key] == wanted.meta[key], key
    assert found.explain() == wanted.explain()
    if question in expected_rows:
        mine, theirs = found.rows(-1), expected_rows[question]
        assert set(mine.columns) == set(theirs.columns)
        assert sorted(mine["memory_peak_mb"]) == sorted(theirs["memory_peak_mb"])


def test_the_fixture_asks_something(expected: dict[str, pd.DataFrame]) -> None:
    """The comparison above is worth what the fixture holds: every verdict, anomaly and reason must be there."""
    assert expected["stats"].meta["rows_out"] == {"the same in every column": 2}
    assert expected["stats"].meta["cells_out"] == {"average_latency_ms: negative, or not a finite number": 1}
    assert set(expected["stats"]["batch_size"]) == {"8", "16", "unknown"}
    assert "unknown" in set(expected["robust"]["hardware"]) | set(expected["compare by column"]["model"])
    for method in ("robust", "zscore", "iqr", "gesd"):
        assert {("average_latency_ms", 5), ("throughput_items_per_second", 130)} <= set(
            zip(expected[method]["metric"], expected[method]["observation"], strict=True)
        ), method
    compared = expected["compare by column"].set_index(["model", "hardware", "metric"])["verdict"]
    assert compared["bert", "unknown", "average_latency_ms"] == "regressed"
    assert compared["gpt", "unknown", "throughput_items_per_second"] == "regressed"
    assert compared["resnet", "a100", "average_latency_ms"] not in ("regressed", "improved")
    assert len(set(expected["compare by column"]["verdict"])) >= 3
    assert expected["correlations"]["significant"].any()
    assert not expected["correlations"]["significant"].all()
