"""One file or many: splitting observations over files changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import aggrkit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aggrkit import Analysis


def results(n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {
            "model": rng.choice(["bert", "gpt", "t5"], n),
            "hardware": rng.choice(["a100", "h100"], n),
            "run_id": [f"r{k % 6}" for k in range(n)],
            "timestamp": pd.Timestamp("2025-01-01") + pd.to_timedelta(np.arange(n), unit="h"),
            "batch_size": rng.choice([8, 16], n),
            "round": np.where(np.arange(n) % 6 < 3, "v1", "v2"),
            "latency_ms": rng.lognormal(3, 0.05, n),
            "memory_mb": rng.normal(500, 5, n),
            "passed": rng.random(n) < 0.8,
        }
    )
    frame.loc[[3, 50], "latency_ms"] = [90.0, np.nan]
    # The same observation once more: in another file, where the rows are split.
    return pd.concat([frame, frame.iloc[[0, 60]]], ignore_index=True)


QUESTIONS: dict[str, Callable[[Analysis], pd.DataFrame]] = {
    "stats": lambda a: a.stats(level=["model", "batch_size"]),
    "proportions": lambda a: a.proportions(),
    "distributions": lambda a: a.distributions(level="model"),
    "anomalies": lambda a: a.anomalies(level="model").drop(columns="observation"),
    "compare": lambda a: a.compare("v1", by="round"),
    "correlations": lambda a: a.correlations(level="model"),
}


def write(frame: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        rows = json.loads(frame.astype({"timestamp": str}).to_json(orient="records", double_precision=15))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def assert_same_answers(
    analysis: Analysis, frame: pd.DataFrame, questions: tuple[str, ...] = tuple(QUESTIONS), rtol: float = 1e-11
) -> None:
    for name in questions:
        found, wanted = QUESTIONS[name](analysis), QUESTIONS[name](frame.aggr)
        assert found.meta["rows_out"] == wanted.meta["rows_out"] == {"the same in every column": 2}
        parts = [pd.DataFrame(part) for part in (found, wanted)]
        if name in ("distributions", "anomalies"):  # columns come in the order of the source, partitions last
            parts = [part[sorted(part.columns)] for part in parts]
            parts = [part.sort_values(list(part.columns), ignore_index=True) for part in parts]
        pd.testing.assert_frame_equal(*parts, rtol=rtol, atol=1e-11)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_glob_of_files_is_one_source(suffix: str, tmp_path: Path) -> None:
    frame = results()
    for part in range(4):
        write(frame.iloc[part::4], tmp_path / f"part-{part}.{suffix}")
    if suffix == "parquet":
        assert_same_answers(aggrkit.open(str(tmp_path / f"*.{suffix}")), frame)
    rtol = 1e-9 if suffix == "jsonl" else 1e-11  # pandas writes JSON with 15 digits
    assert_same_answers(aggrkit.open(tmp_path), frame, ("stats", "compare"), rtol)


def test_hive_partitions_are_columns(tmp_path: Path) -> None:
    frame = results()
    for (model, size), part in frame.groupby(["model", "batch_size"]):
        write(
            part.drop(columns=["model", "batch_size"]), tmp_path / f"model={model}" / f"batch_size={size}" / "0.parquet"
        )
    for place in (tmp_path, tmp_path / "**" / "*.parquet"):
        assert_same_answers(aggrkit.open(str(place)), frame, ("stats",))
    analysis = aggrkit.open(str(tmp_path / "*" / "*" / "*.parquet"))
    assert_same_answers(analysis, frame)
    found = analysis.stats(level="model", where={"model": "bert", "batch_size": 8})
    wanted = frame.aggr.stats(level="model", where={"model": "bert", "batch_size": 8})
    pd.testing.assert_frame_equal(pd.DataFrame(found), pd.DataFrame(wanted))


def test_an_empty_file_among_others_changes_nothing(tmp_path: Path) -> None:
    frame = results()
    write(frame, tmp_path / "all.parquet")
    write(frame.iloc[:0], tmp_path / "none.parquet")
    assert_same_answers(aggrkit.open(str(tmp_path / "*.parquet")), frame, ("stats", "compare"))


def test_columns_are_matched_by_name_and_may_be_missing_in_a_file(tmp_path: Path) -> None:
    frame = results()
    write(frame.iloc[:60], tmp_path / "a.parquet")
    write(frame.iloc[60:][frame.columns[::-1]].drop(columns="memory_mb"), tmp_path / "b.parquet")
    wanted = frame.copy()
    wanted.loc[60:, "memory_mb"] = np.nan
    found = aggrkit.open(str(tmp_path / "*.parquet")).stats()
    pd.testing.assert_frame_equal(pd.DataFrame(found), pd.DataFrame(wanted.aggr.stats()), rtol=1e-11)


def test_files_whose_numbers_have_other_types(tmp_path: Path) -> None:
    frame = results()
    write(frame.iloc[:60].astype({"batch_size": "int8", "latency_ms": "float64"}), tmp_path / "a.parquet")
    write(frame.iloc[60:].astype({"batch_size": "float64"}), tmp_path / "b.parquet")
    found = aggrkit.open(str(tmp_path / "*.parquet")).stats(level=["batch_size"])
    pd.testing.assert_frame_equal(
        pd.DataFrame(found), pd.DataFrame(frame.aggr.stats(level=["batch_size"])), rtol=1e-11, check_dtype=False
    )
