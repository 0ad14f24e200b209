"""The workflow that people copy: it is what GitHub reads, and every step of it does what it says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from aggrkit import cli

BENCHMARK = """\
import argparse, random, time
parser = argparse.ArgumentParser()
parser.add_argument("--run-id")
run = parser.parse_args().run_id
random.seed(run)
slower = float(open("slower").read())
print("run_id,timestamp,test_case,latency_ms")
for test in ("parse", "render"):
    for _ in range(3):
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        print(f"{run},{now},{test},{10 * slower * random.gauss(1, 0.005)}")
"""

FIVE_RUNS = """\
#!/bin/sh
for run in 1 2 3 4 5; do python benchmarks/run.py --run-id "$$-$run"; done | awk 'NR == 1 || !/^run_id/'
"""


@pytest.fixture(scope="module")
def workflow() -> dict[str, Any]:
    """Return the workflow as it is read."""
    read: dict[str, Any] = yaml.safe_load(files("aggrkit.cli").joinpath("workflow.yml").read_text("utf-8"))
    return read


def steps_of(workflow: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step.get("name", step.get("uses")): step for step in workflow["jobs"]["gate"]["steps"]}


def test_it_is_printed(capsys: pytest.CaptureFixture[str], workflow: dict[str, Any]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["check", "--print-workflow"])
    assert end.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out) == workflow


def test_it_runs_each_night_on_pull_requests_and_by_hand(workflow: dict[str, Any]) -> None:
    when = workflow[True]  # YAML 1.1 reads "on" so
    assert set(when) == {"schedule", "pull_request", "workflow_dispatch"}
    minute, hour, *days = when["schedule"][0]["cron"].split()
    assert 0 <= int(minute) < 60
    assert 0 <= int(hour) < 24
    assert days == ["*"] * 3
    assert workflow["permissions"] == {"contents": "read"}


def test_each_step_runs_or_uses_one_thing(workflow: dict[str, Any]) -> None:
    for step in workflow["jobs"]["gate"]["steps"]:
        assert ("run" in step) is not ("uses" in step)
        assert "uses" not in step or "@v" in step["uses"]


class Runner:
    """Runs the steps of the job as the runner does: with ``bash -e``, in one folder."""

    def __init__(self, folder: Path, steps: dict[str, dict[str, Any]]) -> None:
        self.folder, self.steps, self.number = folder, steps, 0
        commands = folder / "bin"
        commands.mkdir()
        (commands / "python").symlink_to(sys.executable)
        (commands / "aggrkit").symlink_to(Path(sys.executable).with_name("aggrkit"))
        (folder / "benchmarks").mkdir()
        (folder / "benchmarks" / "run.py").write_text(BENCHMARK)

    def step(self, name: str) -> int:
        """Run a step, and return its exit code."""
        summary = self.folder / "summary.md"
        env = os.environ | {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "GITHUB_RUN_ID": str(1000 + self.number),
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_STEP_SUMMARY": str(summary),
        }
        script = self.steps[name]["run"]
        assert "${{" not in script
        return subprocess.run(["bash", "-e", "-c", script], cwd=self.folder, env=env, check=False).returncode

    def night(self, slower: float) -> int:
        """Measure, and ask the gate where there is a baseline; a night that passes is taken into it."""
        self.number += 1
        for old in (*self.folder.glob("part-*.csv"), *self.folder.glob("gate.*")):
            old.unlink()
        (self.folder / "slower").write_text(str(slower))
        assert self.step("Measure") == 0
        code = self.step("Gate") if list(self.folder.glob("results/*.csv")) else 0
        if (self.folder / "gate.md").exists():
            assert self.step("Show the answer") == 0
        if code == 0:
            assert self.step("Take this night into the baseline") == 0
        return code


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_its_steps_stop_a_regression_and_nothing_else(tmp_path: Path, workflow: dict[str, Any]) -> None:
    runner = Runner(tmp_path, steps_of(workflow))
    assert [runner.night(1.0) for _ in range(2)] == [0, 0]
    assert runner.night(1.1) == 1
    assert len(list(tmp_path.glob("results/*.csv"))) == 2
    summary = (tmp_path / "summary.md").read_text("utf-8")
    assert summary.count("Gate open") == 1
    assert summary.count("Gate closed: current against baseline, 2 regressed") == 1
    assert {path.name for path in tmp_path.glob("gate.*")} == {"gate.md", "gate.xml", "gate.json"}
    assert runner.step("Start the baseline anew") == 0
    assert runner.night(1.1) == 0


@pytest.mark.slow
def test_its_line_for_cron_stops_a_regression(tmp_path: Path) -> None:
    text = files("aggrkit.cli").joinpath("workflow.yml").read_text("utf-8")
    (line,) = [line.removeprefix("#").strip() for line in text.splitlines() if "* * * cd" in line]
    schedule, command = line.split(" cd ", 1)
    assert len(schedule.split()) == 5
    command = command.replace(r"\%", "%").replace("/srv/bench", str(tmp_path))
    runner = Runner(tmp_path, {})
    (tmp_path / "run.sh").write_text(FIVE_RUNS)
    (tmp_path / "run.sh").chmod(0o755)
    mail = runner.folder / "bin" / "mail"
    mail.write_text("#!/bin/sh\ncat > mailed\n")
    mail.chmod(0o755)
    env = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    (tmp_path / "results").mkdir()
    (tmp_path / "slower").write_text("1")
    subprocess.run("./run.sh > results/first.csv", shell=True, cwd=tmp_path, env=env, check=True)
    for slower, mailed in (("1", False), ("1.1", True)):
        (tmp_path / "slower").write_text(slower)
        subprocess.run(["sh", "-c", f"cd {command}"], env=env, check=True)
        assert (tmp_path / "mailed").exists() is mailed
    assert "2 regressed" in (tmp_path / "mailed").read_text("utf-8")
    assert len(list(tmp_path.glob("results/*.csv"))) == 2
