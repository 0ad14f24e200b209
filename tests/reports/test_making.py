"""Whole reports, each run in a kernel of its own: by ``df.aggr.report`` and by the command as it was installed."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pandas as pd
import pytest

import aggrkit
from aggrkit import cli
from aggrkit.errors import AggrError, ReportError, SourceError, UnknownNameError
from aggrkit.reports import Report, execution
from tests.reports.results import SIDES, results

pytestmark = pytest.mark.slow

COMMAND = str(Path(sys.executable).with_name("aggrkit"))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, list[str]]:
    """Compare the builds of a frame once, and return the report, and what was left of its copy."""
    before = set(Path(tempfile.gettempdir()).glob("aggrkit-*"))
    path = tmp_path_factory.mktemp("report") / "builds.html"
    made = aggrkit.report(results(), path, progress=False, repeats=3, **SIDES)
    left = set(Path(tempfile.gettempdir()).glob("aggrkit-*")) - before
    return made, [str(each) for each in left]


def test_a_frame_is_compared_and_the_page_says_what_regressed(compared: tuple[Report, list[str]]) -> None:
    made, left = compared
    assert left == []
    assert made.template == "regression"
    assert made.verdict is not None
    assert made.verdict["tone"] == "bad"
    assert "bert" in made.verdict["said"][0]
    page = made.path.read_text(encoding="utf-8")
    assert "chosen since by is given" in page
    assert "<figure" in page
    assert made.verdict["said"][0] in str(made)
    assert str(made.path) in made._repr_html_()
    assert [each.name for each in made.path.parent.iterdir()] == ["builds.html"]


def test_the_installed_command_writes_a_notebook(tmp_path: Path) -> None:
    results().to_csv(tmp_path / "runs.csv", index=False)
    told = [COMMAND, "report", "auto", "runs.csv", "-o", "out.ipynb", "--level", "model", "--where", "hardware=h100"]
    told += ["-p", "repeats", "0", "-p", "metrics", "total_time_seconds"]
    done = subprocess.run(told, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "since the metric" in done.stderr
    assert "out.ipynb" in done.stdout
    notebook = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    nbformat.validate(notebook)
    (injected,) = [cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert 'where = {"hardware": ["h100"]}' in injected.source
    assert "widgets" not in notebook.metadata
    assert not [
        output for cell in notebook.cells for output in cell.get("outputs", []) if output.get("name") == "stderr"
    ]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.ipynb", "runs.csv"]


def test_a_cell_that_fails_leaves_the_notebook_and_a_page_and_returns_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [nbformat.v4.new_code_cell(code) for code in ("source: str = ...  # where", "print(source)", "1 / 0", "2")]
    cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "mine.ipynb")
    results().head(4).to_csv(tmp_path / "runs.csv", index=False)
    told = [
        "report",
        str(tmp_path / "mine.ipynb"),
        str(tmp_path / "runs.csv"),
        "-o",
        str(tmp_path / "out.html"),
        "--quiet",
    ]
    assert cli.main(told) == 1
    said = capsys.readouterr()
    assert "ZeroDivisionError: division by zero" in said.err
    assert "out.failed.ipynb" in said.err
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "The report failed" in page
    assert page.count("division by zero") >= 2
    partial = nbformat.read(tmp_path / "out.failed.ipynb", as_version=4)
    printed = [output.text for cell in partial.cells for output in cell.get("outputs", []) if "text" in output]
    assert str(tmp_path / "runs.csv") in "".join(printed)


def test_what_is_wrong_is_said_before_a_kernel_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggrkit.reports.making.executed", lambda *args: pytest.fail("a kernel was started"))
    frame = results().head(8)
    with pytest.raises(UnknownNameError, match=r"unknown kind of report .\.doc."):
        frame.aggr.report(tmp_path / "x.doc")
    with pytest.raises(SourceError, match="there is no folder"):
        frame.aggr.report(tmp_path / "no" / "x.html")
    with pytest.raises(UnknownNameError, match="did you mean 'performance'"):
        frame.aggr.report(tmp_path / "x.html", "perfomance")
    with pytest.raises(UnknownNameError, match="did you mean 'metrics'"):
        frame.aggr.report(tmp_path / "x.html", metric="x")
    with pytest.raises(TypeError, match="'margin' is float; got 'much'"):
        frame.aggr.report(tmp_path / "x.html", margin="much")
    with pytest.raises(UnknownNameError, match="needs to be told baseline"):
        frame.aggr.report(tmp_path / "x.html", "regression")
    with pytest.raises(TypeError, match="ask a DataFrame"):
        aggrkit.report("x", tmp_path / "x.html")  # type: ignore[arg-type]
    monkeypatch.setenv("AGGRKIT_CHROMIUM", "no-such-program")
    with pytest.raises(AggrError, match="printed by Chromium"):
        frame.aggr.report(tmp_path / "x.pdf")
    assert list(tmp_path.iterdir()) == []


def test_without_papermill_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_NEEDED", ("papermill_that_is_missing",))
    with pytest.raises(AggrError, match=r"pip install 'aggrkit\[reports\]'"):
        results().aggr.report(tmp_path / "x.html")


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        (["report", "performance", "missing.csv", "-o", "x.html"], 3, "missing.csv is not there"),
        (["report", "performanc", "{}", "-o", "x.html"], 2, "did you mean 'performance'"),
        (["report", "performance", "{}", "-o", "x.txt"], 2, "'.html'"),
        (["report", "performance", "{}", "-o", "x.html", "-p", "margin", "much"], 2, "'margin' is float"),
        (["report", "performance", "{}", "-o", "x.html", "-p", "margn", "1"], 2, "did you mean 'margin'"),
        (["report", "regression", "{}", "-o", "x.html"], 2, "needs to be told baseline"),
        (["templates", "--copy", "health", "x.txt"], 2, "must end with .ipynb"),
        (["templates", "nothing"], 2, "templates to choose from"),
    ],
)
def test_wrong_usage_returns_2_and_trouble_with_data_3(
    told: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    results().head(8).to_csv("runs.csv", index=False)
    try:
        returned = cli.main([each.format("runs.csv") for each in told])
    except SystemExit as stop:
        returned = int(stop.code or 0)
    assert returned == code
    assert words in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["runs.csv"]


def test_templates_are_listed_described_and_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["templates"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in aggrkit.reports.templates())
    assert cli.main(["templates", "regression"]) == 0
    described = capsys.readouterr().out
    assert "baseline: str | float | int | list  (must be given)" in described
    assert "margin: float = 0.02" in described
    assert cli.main(["templates", "--json"]) == 0
    (regression,) = [each for each in json.loads(capsys.readouterr().out) if each["name"] == "regression"]
    assert {"name", "types", "required", "default", "words"} == set(regression["parameters"][0])
    assert cli.main(["templates", "--copy", "health", "mine.ipynb"]) == 0
    copy = Path("mine.ipynb").read_bytes()
    assert copy == aggrkit.reports.templates()["health"].path.read_bytes()
    with pytest.raises(SystemExit):
        cli.main(["templates", "--copy", "health", "mine.ipynb"])
    assert "is there already" in capsys.readouterr().err
    assert Path("mine.ipynb").read_bytes() == copy


def test_a_report_error_knows_both_files() -> None:
    error = ReportError("it failed", "out.html", "out.failed.ipynb")
    assert (str(error), error.path, error.notebook) == ("it failed", "out.html", "out.failed.ipynb")


def test_a_report_can_be_opened_as_a_path(compared: tuple[Report, list[str]]) -> None:
    assert Path(compared[0]).is_file()
    assert pd.notna(compared[0].seconds)
