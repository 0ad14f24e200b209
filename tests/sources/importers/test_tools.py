"""Files that the tools write now, in this environment: what is imported is what they print themselves.

A tool that isn't installed is skipped, and fails where AGGRKIT_NEEDS_TOOLS is set.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pytest

import aggrkit
from aggrkit import cli

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

BENCHMARKS = """\
import pytest

@pytest.mark.parametrize("size", [10, 500])
def test_sort(benchmark, size):
    benchmark.pedantic(sorted, args=(list(range(size, 0, -1)),), rounds=5, iterations=3)

def test_plain():
    assert 1 + 1 == 2

def test_broken():
    assert 1 + 1 == 3

@pytest.mark.skip(reason="not here")
def test_left_out():
    pass

@pytest.fixture
def missing():
    raise RuntimeError("no such thing")

def test_without(missing):
    pass
"""
ASV = {
    "version": 1,
    "project": "sums",
    "repo": ".",
    "branches": ["HEAD"],
    "environment_type": "existing",
    "benchmark_dir": "benchmarks",
    "results_dir": "results",
}
ASV_BENCHMARKS = """\
class Sums:
    params = [[10, 300], ["plain", "broken"]]
    param_names = ["n", "kind"]
    number, repeat, rounds, warmup_time = 5, 3, 1, 0

    def time_sum(self, n, kind):
        if kind == "broken":
            raise ValueError
        sum(range(n))

def track_answer():
    return 42
track_answer.unit = "items"
"""


def needs(there: bool, tool: str) -> None:
    """Skip a test of a tool that isn't installed."""
    if not there and os.environ.get("AGGRKIT_NEEDS_TOOLS"):
        pytest.fail(f"{tool} isn't installed, and AGGRKIT_NEEDS_TOOLS is set")
    if not there:
        pytest.skip(f"{tool} isn't installed")


def run(*arguments: str, folder: Path, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
    """Run a tool in a folder, with nothing of these tests' own settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "PYTHONPATH", "GIT_"))}
    done = subprocess.run(arguments, cwd=folder, env=kept, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode in codes, done.stdout + done.stderr
    return done


def test_pytest_benchmark_and_the_junit_of_pytest(tmp_path: Path) -> None:
    needs(importlib.util.find_spec("pytest_benchmark") is not None, "pytest-benchmark")
    (tmp_path / "test_it.py").write_text(BENCHMARKS)
    written = ["--benchmark-json=bench.json", "--junitxml=junit.xml", "--benchmark-autosave"]
    run(
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *written,
        "test_it.py",
        folder=tmp_path,
        codes=(1,),
    )
    raw = json.loads((tmp_path / "bench.json").read_text())
    benchmarks = aggrkit.open(tmp_path / "bench.json").stats().set_index("model")
    for benchmark in raw["benchmarks"]:
        line = benchmarks.loc[benchmark["fullname"]]
        assert line["n"] == benchmark["stats"]["rounds"] == 5
        for ours, theirs in (("mean", "mean"), ("std", "stddev"), ("p50", "median"), ("min", "min"), ("max", "max")):
            assert line[ours] == pytest.approx(benchmark["stats"][theirs])
    (saved,) = (tmp_path / ".benchmarks").rglob("*.json")
    assert aggrkit.open(tmp_path / ".benchmarks").stats()["n"].tolist() == [1, 1]
    assert aggrkit.open(saved).stats()["mean"].tolist() == pytest.approx(
        [b["stats"]["mean"] for b in json.loads(saved.read_text())["benchmarks"]]
    )
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()[0]
    rows = aggrkit.open(tmp_path / "junit.xml")
    statuses = rows.distributions("status", level=[]).set_index("value")["count"].to_dict()
    assert statuses == {"passed": 3, "failed": 1, "skipped": 1, "error": 1}
    counts = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": 6, "failures": 1, "errors": 1, "skipped": 1}
    rate = rows.proportions(level=[]).set_index("metric").loc["passed"]
    assert rate["rate"] == 3 / 4
    store = str(tmp_path / "s.duckdb")
    assert cli.main(["ingest", str(tmp_path / "bench.json"), str(tmp_path / "junit.xml"), "--into", store]) == 0


def test_hyperfine(tmp_path: Path) -> None:
    needs(shutil.which("hyperfine") is not None, "hyperfine")
    echo = "echo {what}"
    run("hyperfine", "-r", "4", "-L", "what", "a,b", echo, "--export-json", "h.json", folder=tmp_path)
    run("hyperfine", "-r", "3", "-i", "exit 3", "--export-json", "failing.json", folder=tmp_path)
    raw = json.loads((tmp_path / "h.json").read_text())
    stats = aggrkit.open(tmp_path / "h.json").stats(metrics="time_seconds").set_index("model")
    for result in raw["results"]:
        line = stats.loc[result["command"]]
        assert line["n"] == 4
        assert line[["mean", "std", "p50", "min", "max"]].tolist() == pytest.approx(
            [result[name] for name in ("mean", "stddev", "median", "min", "max")]
        )
    assert aggrkit.open(tmp_path / "h.json").schema.column("arg_what").role == "condition"
    failing = aggrkit.open(tmp_path / "failing.json")
    assert failing.proportions(level=[])["rate"].tolist() == [0.0]
    assert failing.stats(metrics="return_code")["mean"].tolist() == [3.0]


def test_asv(tmp_path: Path) -> None:
    needs(importlib.util.find_spec("asv") is not None and shutil.which("git") is not None, "asv")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").touch()
    (tmp_path / "benchmarks" / "sums.py").write_text(ASV_BENCHMARKS)
    (tmp_path / "asv.conf.json").write_text(json.dumps(ASV))
    git = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org")
    run("git", "init", "-q", ".", folder=tmp_path)
    run(*git, "add", "benchmarks", folder=tmp_path)
    run(*git, "commit", "-q", "-m", "one", folder=tmp_path)
    commit = run("git", "rev-parse", "HEAD", folder=tmp_path).stdout.strip()
    # Without a profile of the user's own: asv keeps what it knows of machines in the home directory.
    asv = (sys.executable, "-m", "asv", "run", "--python=same", "--machine", "m", "--set-commit-hash", commit)
    machine = {"m": dict.fromkeys(("arch", "cpu", "num_cpu", "os", "ram"), "x") | {"machine": "m"}, "version": 1}
    home = tmp_path / "home"
    home.mkdir()
    (home / ".asv-machine.json").write_text(json.dumps(machine))
    done = run("env", f"HOME={home}", *asv, "--record-samples", folder=tmp_path, codes=(0, 2))
    assert "time_sum" in done.stdout
    (written,) = (path for path in (tmp_path / "results" / "m").glob("*.json") if path.name != "machine.json")
    raw = json.loads(written.read_text())
    columns = raw["result_columns"]
    sums = dict(zip(columns, raw["results"]["sums.Sums.time_sum"], strict=False))
    runs = aggrkit.open(tmp_path / "results")
    stats = runs.stats(metrics="time_seconds").set_index("model")
    medians = [stats.at[f"sums.Sums.time_sum({n}, 'plain')", "p50"] for n in (10, 300)]
    np.testing.assert_allclose(medians, [value for value in sums["result"] if value is not None])
    assert stats.at["sums.Sums.time_sum(10, 'plain')", "n"] == len(sums["samples"][0])
    assert runs.stats(metrics="track_items").dropna(subset="mean")["mean"].tolist() == [42]
    assert runs.schema.column("arg_n").role == runs.schema.column("arg_kind").role == "condition"
    failed = runs.distributions("status", level=[]).set_index("value")["count"]
    assert failed["failed"] == 2
