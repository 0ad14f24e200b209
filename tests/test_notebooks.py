"""The notebooks run from top to bottom without a warning, and are saved without what they printed."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

import aggrkit

if TYPE_CHECKING:
    from nbformat import NotebookNode

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# Kernels warn at each start that they don't encrypt what stays on this machine, unless they may choose.
QUIET = {name: {"transport_encryption": "auto"} for name in ("KernelManager", "AsyncKernelManager")}


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NotebookNode]:
    """Run each notebook once, in a directory of its own, with every warning an error."""
    done = {}
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.casefold())))
        for path in NOTEBOOKS:
            notebook = nbformat.read(path, as_version=4)
            strict = nbformat.v4.new_code_cell("import warnings\nwarnings.simplefilter('error')")
            notebook.cells.insert(0, strict)
            here = {"metadata": {"path": str(tmp_path_factory.mktemp(path.stem))}}
            NotebookClient(notebook, timeout=120, kernel_name="python3", config=Config(QUIET), resources=here).execute()
            notebook.cells.pop(0)
            done[path.stem] = notebook
    return done


def test_there_is_a_quickstart() -> None:
    assert "quickstart" in [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_saved_clean(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(notebook))
    assert not re.search(r"/home/|/Users/|C:\\|/tmp/", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_cell_shows_something_and_nothing_on_stderr(path: Path, executed: dict[str, NotebookNode]) -> None:
    for cell in code_cells(executed[path.stem]):
        kinds = [output.output_type for output in cell.outputs]
        assert {"execute_result", "display_data"} & set(kinds), cell.source
        assert [output.text for output in cell.outputs if output.get("name") == "stderr"] == []


def test_quickstart_gets_to_a_verdict_in_ten_cells(executed: dict[str, NotebookNode]) -> None:
    notebook = executed["quickstart"]
    assert len(code_cells(notebook)) == 10
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", *["markdown", "code"] * 10]

    runs = aggrkit.datasets.load("mlperf_training").drop_duplicates(["model", "timestamp", "total_time_seconds"])
    for model, times in runs.groupby("model")["total_time_seconds"]:
        assert re.search(rf"\b{model}\b.* {times.count()} ", text_of(notebook, "stats"))

    assert "v3.1 against v3.0" in text_of(notebook, "compare")
    assert {"regressed", "improved"} <= set(text_of(notebook, "compare").split())
    needed = [int(cell) for cell in re.findall(r"(\d+) *$", text_of(notebook, "undecided"), re.MULTILINE)]
    assert len(needed) >= 8
    assert needed == sorted(needed)
    resnet = runs.loc[runs["model"] == "resnet", "passed"]
    counts = f"{resnet.size} 0 {resnet.sum()} {(~resnet).sum()} "
    assert f"resnet passed {counts}" in " ".join(text_of(notebook, "proportions").split())


def test_what_quickstart_says_of_evaluations_is_true(executed: dict[str, NotebookNode]) -> None:
    alike = ["model", "hardware", "batch_size", "division", "n_accelerators", "nodes", "platform"]
    runs = aggrkit.datasets.load("mlperf_training").dropna(subset=["total_time_seconds", "n_eval"])
    varied = [
        group[["total_time_seconds", "n_eval"]]
        for _, group in runs.groupby(alike, dropna=False)
        if len(group) > 3 and group["n_eval"].nunique() > 1
    ]
    rising = sum(group.corr().iloc[0, 1] > 0 for group in varied)
    assert rising / len(varied) > 0.95
    assert runs[["total_time_seconds", "n_eval"]].corr().iloc[0, 1] < 0
    assert "turn round within groups" in text_of(executed["quickstart"], "correlations")


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(notebook: NotebookNode, name: str) -> str:
    """Return what a cell shows as text, a line for each row of a table."""
    (cell,) = [cell for cell in notebook.cells if cell.id == name]
    parts = []
    for output in cell.outputs:
        page = output.get("text") or output.data["text/html"]
        rows = re.sub(r"</(tr|p|li)>", "\n", re.sub(r"\s*</t[dh]>\s*", " ", page))
        parts.append(unescape(re.sub(r"<[^>]+>", "", rows)))
    return "\n".join(parts)
