"""Pages, texts and PDFs of executed notebooks: whole, of a size that can be sent, and the same findings in each."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING

import nbformat
import pytest

from aggrkit.charts.display import MIME_TYPE
from aggrkit.errors import AggrError
from aggrkit.reports.export import About, verdict_of, written
from aggrkit.reports.printing import chromium, printed
from tests.reports.cells import notebook_of, page_of, run_cells
from tests.reports.results import REAL, SIDES, results

if TYPE_CHECKING:
    from pathlib import Path

    from nbformat import NotebookNode

MOST = 3 * 1024 * 1024


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> NotebookNode:
    """Return the executed notebook of a comparison of the two builds."""
    path = tmp_path_factory.mktemp("data") / "results.parquet"
    results().to_parquet(path)
    with pytest.MonkeyPatch.context() as patch:
        return notebook_of("regression", run_cells("regression", patch, source=str(path), repeats=3, **SIDES))


def text_of(page: str) -> str:
    body = re.sub(r"<(script|style|svg)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def charts_in(notebook: NotebookNode) -> int:
    return sum(MIME_TYPE in output.data for cell in notebook.cells for output in cell.get("outputs", []))


def test_a_page_is_whole_and_holds_vega_once(notebook: NotebookNode, tmp_path: Path) -> None:
    page = written(notebook, tmp_path / "a.html", About("from the template regression")).read_text(encoding="utf-8")
    assert len(page.encode()) < MOST
    assert page.count("<figure") == charts_in(notebook) >= 3
    assert page.count("<svg") >= charts_in(notebook)
    assert page.count('"$schema"') < 3
    assert "https://" not in re.sub(r"<script.*?</script>|xmlns[:\w]*=\"[^\"]*\"", "", page, flags=re.DOTALL)
    assert page.count("vegaEmbed =") <= 2
    anchors = re.findall(r"<nav .*?</nav>", page, re.DOTALL)[0]
    for anchor in re.findall(r'href="#([^"]+)"', anchors):
        assert f'id="{anchor}"' in page
    verdict = verdict_of(notebook)
    assert verdict is not None
    assert verdict["said"][0] in text_of(page)


def test_names_within_pictures_are_their_own(notebook: NotebookNode, tmp_path: Path) -> None:
    page = written(notebook, tmp_path / "a.html", About("")).read_text(encoding="utf-8")
    pictures = re.findall(r'<div class="picture".*?</svg>', page, re.DOTALL)
    names = [name for picture in pictures for name in set(re.findall(r'\bid="([^"]+)"', picture))]
    assert len(names) == len(set(names))
    for picture in pictures:
        assert set(re.findall(r"url\(#([^)]+)\)", picture)) <= set(re.findall(r'\bid="([^"]+)"', picture))


def test_the_order_is_findings_pictures_tables_method_data_trust(notebook: NotebookNode, tmp_path: Path) -> None:
    page = written(notebook, tmp_path / "a.html", About("")).read_text(encoding="utf-8")
    found = re.findall(r"<h2[^>]*>([^<]+)", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))
    assert found == ["Findings", "Pictures", "Tables", "Method", "Where the data come from", "How far to trust it"]
    text = text_of(page)
    assert "SHA-256 of the source" in text
    assert "observations used 240" in text


def test_hostile_words_are_only_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = "<img src=x onerror=alert(1)></script><script>alert(2)</script>|`[x](javascript:alert(3))"
    frame = results().replace({"model": {"bert": evil}})
    path = tmp_path / "results.parquet"
    frame.to_parquet(path)
    shown = run_cells("regression", monkeypatch, source=str(path), title=evil, label=evil, repeats=0, **SIDES)
    page = page_of("regression", shown, tmp_path / "a.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "<script>alert" not in page
    assert evil in unescape(text_of(page)) or "alert(2)" in text_of(page)
    text = page_of("regression", shown, tmp_path / "a.md").read_text(encoding="utf-8")
    assert "<img" not in re.sub(r"\\<", "", text)
    assert all(len(line.split(" | ")) < 20 for line in text.splitlines())


def test_a_text_has_its_pictures_beside_it(notebook: NotebookNode, tmp_path: Path) -> None:
    text = written(notebook, tmp_path / "my report.md", About("from the template regression")).read_text("utf-8")
    pictures = re.findall(r"!\[([^\]]+)\]\(([^)]+)\)", text)
    assert len(pictures) == charts_in(notebook)
    for words, path in pictures:
        assert len(words) > 20
        assert " " not in path
        assert (tmp_path / path.replace("%20", " ")).read_bytes().startswith(b"\x89PNG")
    assert text.startswith("# Regression\n")
    assert "import reports" not in text
    assert "<div" not in text
    assert text.count("\n## ") == 6


def test_a_failed_notebook_shows_its_error(tmp_path: Path) -> None:
    cells = [nbformat.v4.new_markdown_cell("## Before"), nbformat.v4.new_code_cell("1 / 0")]
    trace = ["\x1b[31mZeroDivisionError\x1b[0m", "division by <zero>"]
    cells[1].outputs = [nbformat.v4.new_output("error", ename="ZeroDivisionError", evalue="by <zero>", traceback=trace)]
    failed = nbformat.v4.new_notebook(cells=cells)
    about = About("", ("ZeroDivisionError", "by <zero>"), "x.failed.ipynb")
    page = written(failed, tmp_path / "a.html", about).read_text(encoding="utf-8")
    assert page.count("by &lt;zero&gt;") == 2
    assert "x.failed.ipynb" in page
    assert "\x1b" not in page
    assert "<script>" not in page
    assert "**ZeroDivisionError: by &lt;zero>**" in written(failed, tmp_path / "a.md", about).read_text(
        encoding="utf-8"
    )


def test_without_chromium_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGGRKIT_CHROMIUM", "no-such-program")
    with pytest.raises(AggrError, match=r"no-such-program.*apt-get install chromium.*write \.html"):
        printed("<p>x")
    monkeypatch.delenv("AGGRKIT_CHROMIUM")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(AggrError, match="there is none on this machine"):
        chromium()


def test_a_browser_that_prints_nothing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\necho no display >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("AGGRKIT_CHROMIUM", str(broken))
    with pytest.raises(AggrError, match="no display"):
        printed("<p>x")


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_results_make_a_page_that_can_be_sent(
    name: str, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, asked = REAL[name]
    shown = run_cells(name, monkeypatch, source=str(data_folder / file), repeats=3, **asked)
    page = page_of(name, shown, tmp_path / "page.html")
    assert page.stat().st_size < MOST
    assert page.read_text(encoding="utf-8").count("<figure") >= 4 - (name == "regression")
    (head,) = shown["head"]
    assert head["text/plain"].startswith("# ")
    if "metrics" in asked:  # a name, or several
        assert "- metrics: 1\n" in f"{head['text/plain']}\n"
    told = shown["findings"][0]["text/plain"]
    if name == "web_platform":  # these results have nothing that passes or fails, and the page says so
        assert told.count("Not answered") == 1
        assert "pass/fail metrics: none" in told
    else:
        assert "Not answered" not in told
