"""Real result sets go in and come back equal to pandas."""

from __future__ import annotations

import pandas as pd
import pytest

from aggrkit.sources.results import IDENTIFIERS
from aggrkit.store import BenchmarkDBManager

pytestmark = [pytest.mark.data, pytest.mark.slow]

FILES = [
    "mlperf_training/results.csv",
    "mlperf_inference/results.csv",
    "liger_kernel/results.csv",
    "ci_tests/results.csv",
    "torch_xpu_compat/results.csv",
    "flakeflagger/results.csv",
    "dbbench/performance.parquet",
    "timm_bench/results.parquet",
]
FETCH = {
    "performance": "get_performance_results",
    "compatibility": "get_compatibility_results",
    "integration": "get_integration_test_results",
    "web_platform": "get_web_platform_results",
}
SPELT = {"model": "model_id", "hardware": "hardware_id", "worker": "worker_id"}


def as_text(values: pd.Series) -> pd.Series:
    """Return values as text that is the same for what pandas read and what the store keeps."""

    def one(value: object) -> str:
        if value is None or value is pd.NA or value is pd.NaT or value != value or value == "":
            return ""
        if isinstance(value, pd.Timestamp):
            return value.floor("us").tz_convert("UTC").isoformat()
        if isinstance(value, (bool, int, float)) or hasattr(value, "dtype"):
            return repr(float(value))
        return str(value)

    return values.map(one)


@pytest.mark.parametrize("name", FILES)
def test_real_results_come_back(data_folder, name):
    path = data_folder / name
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, low_memory=False)
    with BenchmarkDBManager(":memory:") as store:
        done = store.ingest(frame)
        assert store.ingest(frame.sample(frac=1, random_state=1)).rows_new == 0
        (kind,) = frame.pop("result_type").unique()
        found = pd.DataFrame(getattr(store, FETCH[kind])())
        with store._reading() as connection:
            rows, keys = connection.execute(
                f"SELECT count(*), count(DISTINCT result_key) FROM {kind}_results"
            ).fetchall()[0]
    assert done.cells_unreadable == {}
    assert rows == keys == done.rows_new == len(found)
    wanted = frame.rename(columns=SPELT)
    if "timestamp" in wanted:
        wanted["timestamp"] = pd.to_datetime(wanted["timestamp"], utc=True, format="mixed")
        found["timestamp"] = pd.to_datetime(found["timestamp"], utc=True)
    text = {}
    for side, table in (("wanted", wanted), ("found", found)):
        columns = {}
        for column in wanted.columns:
            values = table[column] if column in table else pd.Series([None] * len(table), dtype=object)
            if column in (*IDENTIFIERS.values(), "precision", "status") and column != "timestamp":
                values = values.astype(object).map(lambda v: f"{v:g}" if isinstance(v, float) and v == v else v)
            columns[column] = as_text(values.astype(object)).to_numpy()
        text[side] = pd.DataFrame(columns)
    if "timestamp" in wanted:
        told = wanted["timestamp"].notna().to_numpy()
        text["wanted"] = pd.concat([text["wanted"][told].drop_duplicates(), text["wanted"][~told]])
    order = list(wanted.columns)
    pd.testing.assert_frame_equal(
        text["found"].sort_values(order, ignore_index=True), text["wanted"].sort_values(order, ignore_index=True)
    )
