"""The command ``aggrkit``: what it prints at any width, what it returns, and what it opens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import aggrkit
from aggrkit import cli, demo
from aggrkit.cli import demo as demo_command
from aggrkit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

COPIES = ["model", "timestamp", "total_time_seconds"]
COLOURING = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
PRINTED: dict[tuple[tuple[str, ...], int], str] = {}
ALIKE = ["model", "hardware", "batch_size", "division", "n_accelerators", "nodes", "platform"]
NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "quickstart.ipynb"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command at a width, once for the same arguments, and return what it prints."""

    def run(*argv: str, width: int = 80) -> str:
        if (argv, width) not in PRINTED:
            monkeypatch.setenv("COLUMNS", str(width))
            for name in COLOURING:
                monkeypatch.delenv(name, raising=False)
            assert cli.main(argv) == 0
            printed = capsys.readouterr()
            assert printed.err == ""
            PRINTED[argv, width] = printed.out
        return PRINTED[argv, width]

    return run


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    """Return the runs that the demo looks at, told apart without the package's help."""
    frame = aggrkit.datasets.load("mlperf_training")
    return frame[~frame.duplicated(COPIES)]


def code_in(printed: str) -> list[str]:
    return [line.strip() for line in printed.splitlines() if line.startswith("    df")]


def words_of(printed: str) -> str:
    return " ".join(printed.split())


def test_demo_shows_statistics_that_pandas_finds_too(run: Callable[..., str], runs: pd.DataFrame) -> None:
    printed = run("demo")
    copies = len(aggrkit.datasets.load("mlperf_training")) - len(runs)
    assert f"{copies} of them were handed in again in a later round" in printed
    for model, times in runs.groupby("model")["total_time_seconds"]:
        (line,) = re.findall(rf"^ {model} .*$", printed, re.MULTILINE)[:1]
        n, _, _, least, median, _, most = (float(cell.replace(",", "")) for cell in line.split()[1:])
        assert n == times.count()
        assert (least, median, most) == pytest.approx((times.min(), times.median(), times.max()), rel=1e-3)


def test_demo_shows_anomalies_that_are_out_of_the_ordinary(run: Callable[..., str], runs: pd.DataFrame) -> None:
    printed = run("demo", width=160)
    section = printed[printed.index("3. Anomalies") : printed.index("4. Changes")]
    lines = re.findall(r"([\d,.]+) +([\d,.]+) to ([\d,.]+) +(good|minor|major|critical) +(v\S+)", section)
    assert len(lines) == 8
    for *numbers, severity, run_id in lines:
        value, lower, upper = (float(number.replace(",", "")) for number in numbers)
        seen = runs.set_index("run_id").loc[run_id]
        assert value == pytest.approx(seen["total_time_seconds"], rel=1e-3)
        assert not lower <= value <= upper
        assert (severity == "good") == (value < lower)
        alike = runs.loc[(runs[ALIKE] == seen[ALIKE]).all(axis=1), "total_time_seconds"]
        spread = 1.4826 * (alike - alike.median()).abs().median()
        assert lower < alike.median() < upper
        assert abs(value - alike.median()) > 5 * spread


def test_demo_shows_the_verdicts_of_the_core(run: Callable[..., str], runs: pd.DataFrame) -> None:
    printed = run("demo")
    changes = runs.aggr.compare("v3.0", "v3.1", by="round", level="model_hardware", metrics="total_time_seconds")
    section = printed[printed.index("4. Changes") :]
    for verdict, count in changes["verdict"].value_counts().items():
        assert (f"{str(verdict).replace('_', ' ')}: {count}" in section) == (count > 0)
    for sentence in changes.explain().splitlines():
        assert sentence in words_of(printed)
    clearest = changes[changes["verdict"] == "regressed"].sort_values("pvalue_adjusted").iloc[0]
    (line,) = re.findall(rf"^ {clearest['model']}, {clearest['hardware']}.*$", section, re.MULTILINE)[:1]
    assert f" {clearest['change_pct']:+.1f} " in line
    assert f"{clearest['ci_lower']:+.1f} to {clearest['ci_upper']:+.1f}" in line
    soonest = changes["runs_needed"].min()
    assert f"needs about {soonest:,} runs a side" in words_of(section)


def test_the_calls_that_demo_prints_can_be_copied(run: Callable[..., str]) -> None:
    printed = run("demo")
    names: dict[str, Any] = {"aggrkit": aggrkit}
    for line in code_in(printed)[:2]:
        exec(line, names)
    answers = [eval(line, names) for line in code_in(printed)[2:]]
    assert [type(answer).__name__ for answer in answers] == ["Schema", "Stats", "Anomalies", "Comparison"]
    for answer in answers[1:]:
        assert answer.explain().splitlines()[0] in words_of(printed)


@pytest.mark.parametrize("name", aggrkit.datasets.names())
def test_demo_shows_every_set_within_80_columns_and_without_colour(run: Callable[..., str], name: str) -> None:
    printed = run("demo", "--dataset", name)
    assert "\x1b" not in printed
    assert not [line for line in printed.splitlines() if len(line) > 80 and line.strip() not in code_in(printed)]
    assert f"{len(aggrkit.datasets.load(name)):,} " in printed.splitlines()[0]
    assert "undecided" in printed or "equivalent" in printed
    assert "nan" not in printed
    assert "quickstart.ipynb" in printed
    assert "demo --lab" in printed.splitlines()[-1]


def test_every_set_has_a_tour() -> None:
    assert list(demo.TOURS) == aggrkit.datasets.names()


def test_notes_have_a_column_where_there_is_room(run: Callable[..., str]) -> None:
    narrow, wide = run("demo", "--dataset", "ci_tests"), run("demo", "--dataset", "ci_tests", width=140)
    assert " note " in wide
    assert " note " not in narrow
    needed = [line for line in wide.splitlines() if "needs about" in line]
    assert needed
    assert all(re.search(r"[+-][\d.,]+ to [+-]", line) for line in needed)


def test_in_a_process_of_its_own_nothing_warns_and_nothing_is_coloured() -> None:
    done = command("demo", "--dataset", "onnx_scoreboard")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "improved" in done.stdout
    # Rates change by points, not by percent.
    assert re.search(r"Largest improvement: .*\+\d+\.\d points ", words_of(done.stdout))


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a thing of POSIX systems")
def test_on_a_terminal_there_is_colour_and_no_line_left_of_the_progress() -> None:
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    for name in ("NO_COLOR", "CI"):
        environment.pop(name, None)
    arguments = [sys.executable, "-W", "error", "-m", "aggrkit", "demo", "--dataset", "jsfw_bench"]
    with subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        while chunk := read(ours):
            seen += chunk
    os.close(ours)
    assert process.returncode == 0
    text = seen.decode()
    assert "\x1b[1m" in text
    # The time that has passed is shown, and wiped away at the end.
    assert "0:00:0" in text
    left = [line for line in text.split("\n") if re.search(r"0:00:0\d", line) and "\x1b[2K" not in line]
    assert not left


def read(descriptor: int) -> bytes:
    """Read from a terminal, whose end Linux tells by an error."""
    try:
        return os.read(descriptor, 65_536)
    except OSError:
        return b""


def test_version_and_help() -> None:
    assert command("--version").stdout == f"aggrkit {metadata.version('aggrkit')}\n"
    helped = command("--help")
    assert helped.returncode == 0
    assert "aggrkit demo" in helped.stdout


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "usage: aggrkit"),
        (["explode"], "invalid choice: 'explode'"),
        (["demo", "--dataset", "mlperf_trainin"], "did you mean 'mlperf_training'?"),
        (["demo", "now"], "unrecognized arguments: now"),
        (["demo", "--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_wrong_usage_is_told_and_returns_2(argv: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert returned_by(argv) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""


def test_an_interrupt_ends_it_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(demo, "show", raising(KeyboardInterrupt()))
    assert cli.main(["demo"]) == 130
    assert capsys.readouterr().err == "\naggrkit: interrupted\n"


def test_an_error_of_the_package_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "show", raising(SourceError("runs.parquet is not there")))
    assert cli.main(["demo"]) == 3
    assert capsys.readouterr().err == "aggrkit: runs.parquet is not there\n"


def test_the_entry_point_is_this_function() -> None:
    (entry,) = metadata.entry_points(group="console_scripts", name="aggrkit")
    assert entry.load() is cli.main


class Lab:
    """Stands in for JupyterLab: remembers how it was started, and ends at the second wait."""

    started: Sequence[str] = ()

    def __init__(self, arguments: Sequence[str]) -> None:
        Lab.started = arguments
        self.waited = 0

    def wait(self) -> int:
        self.waited += 1
        if self.waited == 1:
            raise KeyboardInterrupt
        return 0


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Pretend that JupyterLab is installed, in an empty directory."""
    monkeypatch.setattr(demo_command.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(demo_command.subprocess, "Popen", Lab)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_lab_opens_a_copy_of_the_notebook_with_this_python(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--lab"]) == 0
    assert Lab.started == [sys.executable, "-m", "jupyterlab", str(lab / "quickstart.ipynb")]
    assert (lab / "quickstart.ipynb").read_bytes() == NOTEBOOK.read_bytes()
    assert "was copied here" in capsys.readouterr().out


def test_lab_leaves_a_notebook_that_is_there_as_it_is(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lab / "quickstart.ipynb").write_text("mine")
    assert cli.main(["demo", "--lab", "--", "--port", "9000"]) == 0
    assert (lab / "quickstart.ipynb").read_text() == "mine"
    assert Lab.started[-2:] == ["--port", "9000"]
    assert "is here already" in capsys.readouterr().out


def test_without_jupyterlab_the_fix_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo_command.importlib.util, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", "--lab"]) == 3
    assert f"{sys.executable} -m pip install jupyterlab" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def command(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a new interpreter, in which every warning is an error."""
    environment = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}
    for name in COLOURING:
        environment.pop(name, None)
    arguments = [sys.executable, "-W", "error", "-m", "aggrkit", *argv]
    return subprocess.run(arguments, capture_output=True, encoding="utf-8", env=environment, check=False)


def returned_by(argv: Sequence[str]) -> object:
    """Return what the command returns, or with what it leaves."""
    try:
        return cli.main(argv)
    except SystemExit as left:
        return left.code


def raising(error: BaseException) -> Callable[[str], None]:
    def show(name: str) -> None:
        raise error

    return show
