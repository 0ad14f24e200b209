"""Every large set of results, through a store and the service: all levels, all parts, against pandas."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pandas as pd
import pytest

from aggrkit import BenchmarkDBManager, ResultAggregatorService
from aggrkit.model.selection import LEVELS
from aggrkit.wire import answer_schema

if TYPE_CHECKING:
    from pathlib import Path

VALIDATOR = jsonschema.Draft202012Validator(answer_schema())
MOST = 3_000
SETS = [
    "mlperf_training/results.csv",
    "mlperf_inference/results.csv",
    "dbbench/performance.parquet",
    "dbbench/integration.csv",
    "timm_bench/results.parquet",
    "gpu_cnn_iter/results.parquet",
    "liger_kernel/results.csv",
    "onnx_scoreboard/daily.csv",
    "onnx_scoreboard/monthly_tests.parquet",
    "torch_xpu_compat/results.csv",
    "ci_tests/results.csv",
    "flakeflagger/results.csv",
    "jsfw_bench/run_medians.parquet",
    "web_conformance/wpt_bsf_daily.csv",
]


def sample(folder: Path, file: str) -> pd.DataFrame:
    """Return the rows of whole runs, drawn at random until there are `MOST`; single rows where runs are larger."""
    path = folder / file
    rows = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, low_memory=False)
    if len(rows) <= MOST:
        return rows
    if "run_id" in rows and rows["run_id"].nunique() > 20:
        sizes = rows.groupby("run_id").size().sample(frac=1.0, random_state=5)
        chosen = sizes[sizes.cumsum() <= MOST].index
        if len(chosen) > 5:
            return rows[rows["run_id"].isin(chosen)]
    return rows.sample(MOST, random_state=5)


def wanted(rows: pd.DataFrame, level: str) -> dict[str, int]:
    """Return the number of rows of each group by pandas."""
    columns = {"test_run": ["run_id"], "model_hardware": ["model", "hardware"]}.get(level, [level])
    keys = pd.Series("", index=rows.index)
    for place, name in enumerate(columns):
        texts = rows[name].map(str).where(rows[name].notna(), "unknown") if name in rows else "unknown"
        keys = keys + (":" if place else "") + texts
    return {str(key): int(count) for key, count in keys.value_counts().items()}


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("file", SETS)
def test_every_level_is_answered(data_folder: Path, file: str) -> None:
    rows = sample(data_folder, file)
    (kind,) = rows["result_type"].unique()
    with BenchmarkDBManager(":memory:") as store:
        stored = store.ingest(rows, kind)
        assert stored.rows_new + stored.rows_known == len(rows)
        service = ResultAggregatorService(store)
        kept = rows.drop_duplicates()
        assert stored.rows_new == len(kept)
        for level in LEVELS:
            answer = service.aggregate_results(kind, level)
            VALIDATOR.validate(answer)
            json.dumps(answer, allow_nan=False)
            assert answer["raw_result_count"] == len(kept)
            assert counts_of(answer) == wanted(kept, level)
            assert_statistics(answer, kept, level)


def counts_of(answer: dict[str, Any]) -> dict[str, int]:
    return {key: found["result_count"] for key, found in answer["results"]["basic_statistics"].items()}


def assert_statistics(answer: dict[str, Any], rows: pd.DataFrame, level: str) -> None:
    """Hold the statistics of all plain metrics against pandas."""
    column = {"test_run": "run_id"}.get(level, level)
    if column not in rows:
        return
    for key, group in rows.groupby(column):
        for metric, found in answer["results"]["basic_statistics"][str(key)].items():
            if metric in rows and isinstance(found, dict) and "rate" not in found:
                values = group[metric].dropna().astype(float)
                if found["count"] == len(values):  # else some of them were invalid
                    assert found["mean"] == pytest.approx(values.mean())
                    assert found["median"] == pytest.approx(values.median())
