"""``aggrkit doctor``: what it finds where something is wrong, and what it says to do."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

import duckdb
import nbformat
import numba.core.caching
import pytest

import aggrkit
from aggrkit import cli
from aggrkit.doctor import Diagnosis, engine, examining, files, jupyter, packages
from tests.cli.results import frame

if TYPE_CHECKING:
    from pathlib import Path


def told(found: Diagnosis) -> str:
    return f"{found.state}: {found.found} -> {found.fix}"


def test_old_and_missing_packages_are_named_with_the_command_that_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages.versions().state == "ok"
    wanted = ["numpy>=999", "no-such-package-here>=1", "pandas>=2", "neither-this; extra == 'lab'"]
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    found = packages.versions()
    assert found.state == "fail"
    assert f"numpy {metadata.version('numpy')} (>=999 is needed)" in found.found
    assert "missing: no-such-package-here" in found.found
    assert found.fix == f"{sys.executable} -m pip install 'numpy>=999' 'no-such-package-here>=1'"


def test_what_computes_and_draws_is_well_here() -> None:
    for check in (engine.duckdb_answers, engine.numba_compiles, engine.charts_draw, engine.works_offline):
        assert check().state == "ok", told(check())


def test_no_folder_to_spill_to_or_keep_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert "set TMPDIR" in told(engine.spill_folder())
    assert engine.spill_folder().state == "fail"
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert engine.spill_folder().state == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda place: type("Usage", (), {"free": 10**8}))
    assert "only 0.1 GB free" in told(engine.spill_folder())
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    assert "NUMBA_CACHE_DIR" in told(engine.numba_compiles())


def test_what_wants_the_network_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def chart() -> dict[str, Any]:
        socket.create_connection(("192.0.2.1", 443), timeout=0.1).close()
        return {}

    monkeypatch.setattr(engine, "_small_chart", chart)
    found = engine.works_offline()
    assert found.state == "fail"
    assert "192.0.2.1" in found.found
    with pytest.raises(OSError, match=r"timed out|unreachable|refused|network"):
        chart()  # afterwards the network is as it was: it is the connection that fails


def test_no_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert packages.browser().state == "warning"
    (tmp_path / "chromium").touch(mode=0o755)
    assert packages.browser().found == str(tmp_path / "chromium")


def test_extensions_that_are_switched_off_or_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("jupyterlab")
    assert (jupyter.lab().state, jupyter.widgets().state) == ("ok", "ok")
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    (tmp_path / "labconfig").mkdir()
    config = tmp_path / "labconfig" / "page_config.json"
    config.write_text(json.dumps({"disabledExtensions": {"anywidget": True, "@jupyterlab/vega5-extension": True}}))
    assert jupyter.widgets().fix == "jupyter labextension enable anywidget"
    assert str(config) in jupyter.widgets().found
    assert jupyter.lab().fix == "jupyter labextension enable @jupyterlab/vega5-extension"
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda *parts: [])
    assert "lacks the extension anywidget" in jupyter.widgets().found
    monkeypatch.setattr(jupyter.importlib.util, "find_spec", lambda name: None)
    for check in (jupyter.lab, jupyter.widgets, jupyter.kernel, jupyter.signatures):
        assert check().state == "warning"
        assert "pip install" in check().fix


def test_no_kernel_of_this_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert jupyter.kernel().state == "ok"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    found = jupyter.kernel()
    assert found.state == "fail"
    assert found.fix.startswith(f"{tmp_path / 'python'} -m ipykernel install")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_notebooks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    place = tmp_path / "x.ipynb"
    assert "is not there" in jupyter.notebook(str(place)).found
    place.write_text("{")
    assert "it is no notebook" in jupyter.notebook(str(place)).found
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    nbformat.write(made, place)
    assert jupyter.notebook(str(place)).fix == f"jupyter trust {place}"
    notary = nbformat.sign.NotebookNotary()
    notary.sign(nbformat.read(place, as_version=4))
    notary.store.close()
    assert jupyter.notebook(str(place)).state == "ok"
    made.metadata["kernelspec"] = {"name": "gone", "display_name": "Gone", "language": "python"}
    nbformat.write(made, place)
    assert "its kernel 'gone' is not installed" in jupyter.notebook(str(place)).found


def test_results_files(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "results.csv", index=False)
    assert told(files.results(str(tmp_path / "results.csv"))).startswith("ok: 1,440 rows, metrics 'latency_ms'")
    (tmp_path / "names.csv").write_text("model,hardware\nbert,a100\n")
    assert files.results(str(tmp_path / "names.csv")).fix == "name one: --role metrics=COLUMN"
    (tmp_path / "empty.csv").touch()
    assert told(files.results(str(tmp_path / "empty.csv"))).startswith("fail")
    assert "is not there" in told(files.results(str(tmp_path / "gone.parquet")))


def test_a_store_of_a_later_version_and_one_that_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    with aggrkit.BenchmarkDBManager(path) as store:
        store.ingest(frame().head(50), "performance")
    assert told(files.results(str(path))).startswith("ok: 50 rows")
    hold = f"import duckdb; c = duckdb.connect({str(path)!r}); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert "end the process that writes to it" in told(files.results(str(path)))
        process.communicate(b"\n")
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE aggrkit_meta SET value = '999' WHERE key = 'schema_version'")
    assert "a store of version 999" in told(files.results(str(path)))


def test_the_command_says_the_fix_and_returns_1_if_something_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken() -> Diagnosis:
        raise RuntimeError("all\nin pieces")

    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(examining, "EXAMINATIONS", {"browser for PDF": packages.browser, "engine": broken})
    assert cli.main(["doctor", str(tmp_path / "gone.csv")]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "RuntimeError: all in pieces" in printed
    assert "-> give the path of a file that exists" in printed
    assert "3 examined: 2 failed" in printed
    assert cli.main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["healthy"] is False
    assert [one["name"] for one in found["examined"]] == ["browser for PDF", "engine"]
    monkeypatch.setattr(examining, "EXAMINATIONS", {})
    assert cli.main(["doctor"]) == 0
    assert "all is well" in capsys.readouterr().out
