"""The real files of tools that the tests of importers share."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "data" / "importers"
_LOADGEN = "mlperf_inference/example_system/resnet50"

FILES = {
    "pytest_benchmark/rounds.json": "pytest-benchmark",
    "pytest_benchmark/statistics.json": "pytest-benchmark",
    "google_benchmark/repeated.json": "google-benchmark",
    "google_benchmark/single.json": "google-benchmark",
    "go/benchmem.txt": "go",
    "go/failing.txt": "go",
    "go/stream.json": "go",
    "hyperfine/params.json": "hyperfine",
    "hyperfine/failing.json": "hyperfine",
    "asv/results/machine/12d404ce-existing-py_usr_bin_python3.11.json": "asv",
    "asv/results/machine/15592591-existing-py_usr_bin_python3.11.json": "asv",
    "junit/pytest.xml": "junit",
    "junit/gtest.xml": "junit",
    "junit/surefire.xml": "junit",
    "mlperf_training/result_0.txt": "mlperf-training",
    "mlperf_training/result_2.txt": "mlperf-training",
    **{
        f"{_LOADGEN}/{scenario}/performance/run_1/mlperf_log_{name}.txt": "mlperf-inference"
        for scenario in ("Offline", "SingleStream", "Server")
        for name in ("summary", "detail")
    },
}
"""Each file, with its format."""
