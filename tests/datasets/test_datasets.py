"""The sets that ship with the package: what they hold, and that loading is cheap, fresh and quiet."""

from __future__ import annotations

import doctest
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest

from aggrkit import datasets
from aggrkit.errors import UnknownNameError

SHAPES = {
    "mlperf_training": ("performance", (6_859, 26)),
    "onnx_scoreboard": ("compatibility", (61_809, 8)),
    "ci_tests": ("integration", (10_206, 12)),
    "jsfw_bench": ("web_platform", (15_180, 17)),
}
DIMENSIONS = ["result_type", "run_id", "timestamp", "model", "hardware", "task_type", "worker"]
PLAIN = {"str", "int64", "float64", "bool", "datetime64[us, UTC]"}
FOLDER = Path(str(resources.files("aggrkit.datasets")))


def test_names_lists_every_file_and_can_be_changed() -> None:
    assert datasets.names() == list(SHAPES)
    assert {path.stem for path in FOLDER.glob("*.parquet")} == set(SHAPES)
    datasets.names().clear()
    assert datasets.names() == list(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
def test_shape_type_and_dtypes(name: str) -> None:
    frame = datasets.load(name)
    result_type, shape = SHAPES[name]
    assert frame.shape == shape
    assert frame["result_type"].unique().tolist() == [result_type]
    assert frame.columns[:7].tolist() == DIMENSIONS
    assert {str(dtype) for dtype in frame.dtypes} <= PLAIN
    assert frame.dtypes["timestamp"] == "datetime64[us, UTC]"
    assert isinstance(frame.index, pd.RangeIndex)
    assert not frame.isna().all().any()


@pytest.mark.parametrize(
    ("name", "dtypes"),
    [
        ("mlperf_training", {"passed": "bool", "total_time_seconds": "float64", "n_eval": "int64", "seed": "float64"}),
        ("onnx_scoreboard", {"is_compatible": "bool"}),
        ("ci_tests", {"passed": "bool", "execution_time_seconds": "float64", "test_name": "str", "n_run": "int64"}),
        ("jsfw_bench", {"total_time_ms": "float64", "memory_usage_mb": "float64", "browser_version": "int64"}),
    ],
)
def test_metrics_have_their_dtypes(name: str, dtypes: dict[str, str]) -> None:
    frame = datasets.load(name)
    assert {column: str(frame[column].dtype) for column in dtypes} == dtypes


def test_mlperf_training_holds_known_runs() -> None:
    runs = datasets.load("mlperf_training")
    assert runs["run_id"].is_unique
    assert set(runs["round"]) == {"v2.1", "v3.0", "v3.1"}
    assert (runs["passed"] == (runs["status"] == "success")).all()
    first = runs.set_index("run_id").loc["v2.1/Dell/R750xax4A100-PCIE-80GB-NVBRIDGE/resnet/0"]
    assert first["timestamp"] == pd.Timestamp("2022-05-04 01:57:52.356", tz="UTC")
    assert first["total_time_seconds"] == 3676.818
    assert first["throughput_items_per_second"] == 12379.890281545931
    # One log has no start of its run: a real gap, which stays one.
    assert runs["timestamp"].isna().sum() == 1
    # The notice tells how many logs were handed in a second time.
    assert runs.duplicated(["model", "timestamp", "seed", "total_time_seconds"]).sum() == 560


def test_onnx_scoreboard_has_each_test_once_a_run() -> None:
    tests = datasets.load("onnx_scoreboard")
    assert not tests.duplicated(["run_id", "model"]).any()
    assert tests["run_id"].nunique() == 42
    assert tests["timestamp"].min() >= pd.Timestamp("2024-10-01", tz="UTC")
    assert tests.groupby(["hardware", "worker"])["run_id"].nunique().to_dict() == {
        ("jaxonnxruntime-cpu", "development"): 14,
        ("onnx-tf-cpu", "development"): 14,
        ("onnx-tf-cpu", "stable"): 14,
    }


def test_ci_tests_fail_where_there_are_errors() -> None:
    executions = datasets.load("ci_tests")
    assert (executions["passed"] == (executions["n_errors"] == 0)).all()
    assert (~executions["passed"]).sum() == 549
    assert executions["run_id"].nunique() == 341
    assert executions["test_name"].nunique() == 117


def test_jsfw_bench_has_each_framework_on_each_release() -> None:
    samples = datasets.load("jsfw_bench")
    assert sorted(samples["browser_version"].unique()) == [139, 140, 141, 142, 143, 144, 145, 146, 148, 150]
    assert samples.groupby("run_id")["framework"].nunique().eq(10).all()
    assert samples["hardware"].nunique() == 1
    assert not samples.duplicated(["run_id", "model", "task_type", "repeat"]).any()


def test_all_files_together_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.parquet")) <= 2_000_000


@pytest.mark.parametrize("name", SHAPES)
def test_each_call_returns_a_fresh_frame(name: str) -> None:
    before, changed = datasets.load(name), datasets.load(name)
    for column in changed.columns:
        changed[column] = changed[column].iloc[::-1].to_numpy()
        changed.loc[0, column] = changed[column].iloc[-1]
    del changed["model"]
    pd.testing.assert_frame_equal(datasets.load(name), before)


@pytest.mark.parametrize("name", ["mlperf_trainin", "MLPerf_Training"])
def test_unknown_name_tells_the_names_and_the_nearest(name: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        datasets.load(name)
    message = str(caught.value)
    assert f"unknown dataset {name!r}; did you mean 'mlperf_training'?" in message
    assert all(repr(known) in message for known in SHAPES)
    assert caught.value.choices == tuple(SHAPES)


@pytest.mark.parametrize("name", ["", "../datasets/ci_tests", None, ["ci_tests"]])
def test_anything_else_is_unknown_too(name: object) -> None:
    with pytest.raises(UnknownNameError, match="datasets to choose from: 'mlperf_training'"):
        datasets.load(name)  # type: ignore[arg-type]


def run(code: str, *paths: Path) -> str:
    """Run code in a new interpreter, in which every warning is an error, with paths put in front."""
    setup = f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", setup + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_module_itself_imports_nothing_heavy() -> None:
    # aggrkit/__init__.py may import pandas, so a bare package stands in for it.
    package = (
        "import types; sys.modules['aggrkit'] = package = types.ModuleType('aggrkit'); "
        f"package.__path__ = [{str(FOLDER.parent)!r}]\n"
    )
    check = "import aggrkit.datasets; print(sorted({'pandas', 'pyarrow', 'numpy', 'duckdb'} & set(sys.modules)))"
    assert run(package + check) == "[]"


def test_loads_from_a_zip_file(tmp_path: Path) -> None:
    archive = tmp_path / "aggrkit.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("aggrkit/__init__.py", "")
        for path in [FOLDER.parent / "errors.py", FOLDER / "__init__.py", *FOLDER.glob("*.parquet")]:
            packed.write(path, Path("aggrkit") / path.relative_to(FOLDER.parent))
    code = "from aggrkit import datasets; print(datasets.__file__, [len(datasets.load(n)) for n in datasets.names()])"
    printed = run(code, archive)
    assert str(archive) in printed
    assert printed.endswith(str([shape[0] for _, shape in SHAPES.values()]))


def test_notice_names_every_set_and_holds_both_licences() -> None:
    notice = (FOLDER / "NOTICE.md").read_text(encoding="utf-8")
    assert all(f"## {name}\n" in notice and f"`{name}.parquet`" in notice for name in SHAPES)
    assert "END OF TERMS AND CONDITIONS" in notice
    assert "Permission is hereby granted, free of charge" in notice


def test_examples_in_the_docstrings_are_true() -> None:
    results = doctest.testmod(datasets)
    assert results.attempted >= 4
    assert results.failed == 0
