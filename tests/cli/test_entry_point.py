"""The installed command: examples of the help, pipes, terminals, completion, and what its start costs."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aggrkit import cli
from aggrkit.cli import waiting
from tests.cli.results import write

if TYPE_CHECKING:
    from collections.abc import Sequence

BIN = Path(sys.executable).parent
SERVE = ("explore", "serve", "worker")
ELSEWHERE = ("check",)  # its examples return what they find, see tests/gate
"""Commands that go on until they are stopped; they are run by tests of their own."""

posix = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a thing of POSIX systems")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("results"))


def environment() -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "TTY_COMPATIBLE")}
    return {**given, "PATH": f"{BIN}{os.pathsep}{given['PATH']}", "COLUMNS": "80"}


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    # A kernel doesn't come up where every warning of its own libraries is an error.
    strict = {} if line.startswith("aggrkit report") else {"PYTHONWARNINGS": "error"}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        env={**environment(), **strict},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def examples() -> dict[str, str]:
    """Return the example in the help of each command."""
    (commands,) = (action for action in cli.new_parser()._actions if action.dest == "command")
    found = {}
    for name, parser in commands.choices.items():
        lines = re.findall(rf"aggrkit {name}\b[^\n]*", parser.epilog or "")
        assert lines, f"the help of {name} has no example"
        found[name] = lines[0]
    return found


@pytest.mark.slow
@posix
def test_every_example_of_the_help_works_as_printed(folder: Path) -> None:
    lines = {name: line for name, line in examples().items() if name not in (*SERVE, *ELSEWHERE)}
    with ThreadPoolExecutor(2) as pool:
        done = dict(zip(lines, pool.map(lambda line: shell(line, folder), lines.values()), strict=True))
    for name, process in done.items():
        said = "Template" if name == "report" else ""  # which one it chose, and why
        assert (name, process.returncode, process.stderr[: len(said) or None]) == (name, 0, said)
        assert len(process.stdout.splitlines()) >= 1 + (name != "report"), name
        assert "\x1b" not in process.stdout


@pytest.mark.slow
@posix
def test_pipes_are_read_and_may_be_closed(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # as `head` does when it has enough
    line = [str(BIN / "aggrkit"), "stats", "results.csv", "--level", "model", "--csv"]
    closed = subprocess.run(
        line,
        cwd=folder,
        env={**environment(), "PYTHONWARNINGS": "error"},
        stdout=writing,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    os.close(writing)
    assert (closed.returncode, closed.stderr) == (141, "")
    piped = shell("cat results.csv | aggrkit stats - --level model --json | python -m json.tool --compact", folder)
    assert (piped.returncode, piped.stderr) == (0, "")
    assert {record["n"] for record in json.loads(piped.stdout)["records"]} == {720}


def test_without_arguments_there_is_help_and_nothing_heavy_is_imported() -> None:
    heavy = {"duckdb", "ibis", "altair", "scipy", "statsmodels", "numba", "rich", "IPython", "jupyter_core", "shtab"}
    code = f"import sys; from aggrkit.cli import main; print(main([]), sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False)
    assert done.stdout == "2 []\n"
    assert "usage: aggrkit" in done.stderr
    for name in examples():
        assert re.search(rf"^    {name}\b", done.stderr, re.MULTILINE)


TYPED = {
    "aggrkit sta": "aggrkit stats ",
    "aggrkit stats --lev": "aggrkit stats --level ",
    "aggrkit stats res": "aggrkit stats results.parquet ",
    "aggrkit anomalies --method g": "aggrkit anomalies --method gesd ",
    "aggrkit stats results.parquet --level model_": "aggrkit stats results.parquet --level model_hardware ",
}


@pytest.mark.slow
@posix
@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("bash", ["bash", "--norc", "--noprofile", "-i"]),
        pytest.param(
            "zsh",
            ["zsh", "-f", "-i"],
            marks=pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh; apt-get install zsh"),
        ),
    ],
)
def test_a_shell_completes_what_is_typed(name: str, start: Sequence[str], tmp_path: Path) -> None:
    (tmp_path / "results.parquet").touch()
    script = shell(f"aggrkit completion {name}", tmp_path).stdout
    (tmp_path / ".script").write_text(script, "utf-8")
    setup = 'eval "$(cat .script)"; echo rea""dy\n'
    if name == "zsh":
        setup = f"autoload -U compinit; compinit -u -D; {setup}"
    for typed, wanted in TYPED.items():
        assert wanted in screen(start, tmp_path, setup, f"{typed}\t"), typed


def screen(start: Sequence[str], folder: Path, setup: str, typed: str) -> str:
    """Type into a shell on a terminal, and return what is to be seen of it then."""
    import pty

    ours, theirs = pty.openpty()
    settings = {**environment(), "TERM": "dumb", "PS1": "> ", "COLUMNS": "200"}
    with subprocess.Popen(
        start, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=settings, start_new_session=True
    ) as process:
        os.close(theirs)
        os.write(ours, setup.encode())
        read_until(ours, "ready\r\n")
        os.write(ours, typed.encode())
        seen = read_until(ours, None)
        process.kill()
    os.close(ours)
    while "\b" in seen:  # what was taken back
        seen = re.sub("[^\b]?\b", "", seen, count=1)
    return re.sub(" +", " ", seen.replace("\a", ""))


def read_until(descriptor: int, wanted: str | None) -> str:
    """Read from a terminal until something is there, or else until it has been still for a while."""
    seen, end = b"", time.monotonic() + 60
    while time.monotonic() < end:
        if select.select([descriptor], [], [], 0.7 if wanted is None and seen else 20)[0]:
            seen += os.read(descriptor, 65_536)
        elif wanted is None:
            break
        if wanted is not None and wanted in seen.decode(errors="replace"):
            break
    return seen.decode(errors="replace")


class Terminal(StringIO):
    """Stands in for a terminal: remembers what is shown on it."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_that_something_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_PATIENCE", 0.05)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with waiting.waiting("stats of [results].csv"):
        time.sleep(0.5)
    shown = terminal.getvalue()
    assert "stats of [results].csv" in shown
    assert "0:00:00" in shown
    assert shown.endswith("\x1b[2K")
    quick = Terminal()
    monkeypatch.setattr(sys, "stderr", quick)
    with waiting.waiting("nothing"):
        pass
    assert quick.getvalue() == ""
    pipe = StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with waiting.waiting("nothing"):
        time.sleep(0.1)
    assert pipe.getvalue() == ""
