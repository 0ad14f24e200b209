"""``%aggr`` in a real IPython: answers, errors in words, help and completion."""

from __future__ import annotations

import builtins
import warnings
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from pandas.testing import assert_frame_equal

import aggrkit
from aggrkit.findings import Stats
from aggrkit.panel import Panel
from tests.cli.results import frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InteractiveShell]:
    place = tmp_path_factory.mktemp("ipython")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(place))
        patch.delattr(builtins, "_", raising=False)  # doctests leave it, and IPython then keeps its hands off its own
        shell = InteractiveShell.instance()
        shell.history_manager.enabled = False
        shell.run_cell("%load_ext aggrkit")
        shell.user_ns["df"] = frame()
        shell.user_ns["runs"] = aggrkit.open(frame())
        yield shell
        shell.run_cell("%unload_ext aggrkit")
        assert "aggr" not in shell.magics_manager.magics["line"]
        InteractiveShell.clear_instance()


def answer(shell: InteractiveShell, line: str) -> Any:
    done = shell.run_cell(line)
    done.raise_error()
    return done.result


def completed(shell: InteractiveShell, line: str) -> set[str]:
    with provisionalcompleter(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {line[: one.start] + one.text for one in shell.Completer.completions(line, len(line))}


def test_answers_are_those_of_the_accessor_and_can_be_kept(shell: InteractiveShell) -> None:
    results = frame()
    found = answer(shell, "%aggr stats df --level model --metric latency_ms --where batch_size=8")
    assert isinstance(found, Stats)
    wanted = results.aggr.stats(level="model", metrics="latency_ms", where={"batch_size": 8})
    assert_frame_equal(found, wanted)
    assert answer(shell, "_.meta['rows']") == len(results)
    answer(shell, "kept = %aggr compare runs --by build --baseline a --current b --metric latency_ms")
    assert shell.user_ns["kept"].equals(results.aggr.compare("a", "b", by="build", metrics="latency_ms"))
    half = answer(shell, '%aggr stats df[df["model"] == "bert"] --level model --metric latency_ms')
    assert half["n"].tolist() == [len(results) // 2]


def test_files_and_shipped_sets_are_sources_too(shell: InteractiveShell, tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "some results.csv", index=False)
    found = answer(shell, f"%aggr stats {tmp_path}/some results.csv --level model --metric latency_ms")
    assert found["n"].tolist() == [720, 720]
    found = answer(shell, f"%aggr stats '{tmp_path}/*.csv' --level model --metric latency_ms -o {tmp_path}/out.csv")
    assert (tmp_path / "out.csv").read_text().startswith("model,metric")
    assert len(found) == 2
    assert answer(shell, "%aggr proportions demo:onnx_scoreboard --level worker")["n"].sum() == 61_809


def test_explore_is_the_panel(shell: InteractiveShell) -> None:
    panel = answer(shell, "%aggr explore df --level model --metric latency_ms")
    assert isinstance(panel, Panel)
    assert panel.state["metric"] == "latency_ms"
    panel.close()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%aggr stast df", "did you mean 'stats'?"),
        ("%aggr stats dff", "did you mean 'df'?"),
        ("%aggr stats", "variables with results: 'df'"),
        ("%aggr stats df --levl model", "did you mean '--level'?"),
        ("%aggr stats df --level 'model", "No closing quotation"),
        ("%aggr stats df --metric latency_m", "did you mean 'latency_ms'?"),
        ("%aggr anomalies df --alpha 5", "alpha is a chance between 0 and 1; got 5.0"),
        ("%aggr anomalies df --method gsed", "did you mean 'gesd'?"),
        ("%aggr stats df --table t", "--table is for databases"),
        ("%aggr stats 1/0", "1/0 fails: ZeroDivisionError"),
        ("%aggr stats 17", "aggrkit opens"),
        ("%aggr compare df --baseline a", "--by build"),
    ],
)
def test_errors_are_told_in_words_and_the_shell_lives_on(
    line: str, said: str, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.user_ns.pop("x", None)
    done = shell.run_cell(f"x = {line}")
    assert not done.success
    printed = capsys.readouterr()
    told = printed.err + printed.out
    assert said in told
    assert "UsageError" in told
    assert "Traceback" not in told
    assert "x" not in shell.user_ns


def test_help_is_printed(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    for line, said in (
        ("%aggr", "%aggr QUESTION SOURCE"),
        ("%aggr --help", "%aggr stats df --level model"),
        ("%aggr compare --help", "--baseline SIDE"),
        ("%aggr?", "%aggr stats df --level model"),
        ("%aggr stats df --level model --metric latency_ms --csv", "model,metric,unit"),
    ):
        assert answer(shell, line) is None
        assert said in capsys.readouterr().out, line


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("%aggr sta", {"%aggr stats"}),
        ("found = %aggr comp", {"found = %aggr compare"}),
        ("%aggr stats df --lev", {"%aggr stats df --level"}),
        ("%aggr stats df --level model", {"%aggr stats df --level model", "%aggr stats df --level model_hardware"}),
        ("%aggr stats df --level model,prec", {"%aggr stats df --level model,precision"}),
        ("%aggr stats runs --metric lat", {"%aggr stats runs --metric latency_ms"}),
        ("%aggr stats df --where batch", {"%aggr stats df --where batch_size="}),
        ("%aggr compare df --by bui", {"%aggr compare df --by build"}),
        ("%aggr anomalies df --method g", {"%aggr anomalies df --method gesd"}),
        ("%aggr stats demo:ci_tests --metric exec", {"%aggr stats demo:ci_tests --metric execution_time_seconds"}),
        ("%aggr stats df --role mod", {"%aggr stats df --role model="}),
        ("%aggr stats df --role model=prec", {"%aggr stats df --role model=precision"}),
    ],
)
def test_completion_offers_what_can_stand_there(line: str, offered: set[str], shell: InteractiveShell) -> None:
    assert completed(shell, line) == offered


def test_variables_are_offered_as_sources_and_other_lines_are_left_alone(shell: InteractiveShell) -> None:
    assert "%aggr stats df" in completed(shell, "%aggr stats d")
    assert "%aggr stats runs" in completed(shell, "%aggr stats ")
    assert not any("--level" in text for text in completed(shell, "df.lev"))
    # An expression isn't evaluated for the sake of a name.
    shell.user_ns["asked"] = []
    assert not any("latency" in text for text in completed(shell, "%aggr stats asked.append(1) --metric lat"))
    assert shell.user_ns["asked"] == []


def test_in_a_kernel_of_its_own() -> None:
    cells = [
        "%load_ext aggrkit\nimport aggrkit\ndf = aggrkit.datasets.load('jsfw_bench')",
        "found = %aggr stats df --level framework --metric total_time_ms\nprint(type(found).__name__, len(found))",
        "%aggr stats df --metric total",
        "%aggr stats --help",
        "print('alive')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the machinery of Jupyter
        NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True).execute()
    printed = ["".join(output.get("text", "") for output in cell["outputs"]) for cell in notebook.cells]
    assert printed[1] == "Stats 10\n"
    assert "unknown metric 'total'" in printed[2]
    assert "Traceback" not in str(notebook.cells[2]["outputs"])
    assert "--percentiles" in printed[3]
    assert printed[4] == "alive\n"
