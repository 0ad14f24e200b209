"""The README tells the truth: its code runs, its methods exist, its commands are complete, its output is real."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

import aggrkit
from aggrkit import cli

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    assert len(blocks("python")) == 3
    for block in blocks("python"):
        exec(block, names)
    names["panel"].wait().close()
    assert type(names["changes"]).__name__ == "Comparison"


def test_the_two_commands_are_there_and_complete() -> None:
    assert [block.strip() for block in blocks("sh")] == [
        "python3 -m venv .venv && .venv/bin/pip install -q '.[lab]' && .venv/bin/aggrkit demo",
        "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/pytest -m 'not slow'",
    ]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {"lab", "dev"} <= set(extras)


def test_the_commands_exist_with_their_options() -> None:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    lines += re.findall(r"`(aggrkit (?:serve|worker) [^`]+)`", README)
    assert len(lines) >= 9
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "aggrkit"
        assert cli.new_parser().parse_args(arguments).command == arguments[0]


def test_the_methods_exist() -> None:
    named = set(re.findall(r"df\.aggr\.(\w+)", README))
    assert named >= {"schema", "stats", "proportions", "distributions", "anomalies", "compare", "correlations"}
    assert {name for name in named if not hasattr(pd.DataFrame.aggr, name)} == set()
    assert set(re.findall(r"aggrkit\.(\w+)\(", README)) <= set(aggrkit.__all__)


def test_the_output_is_what_the_demo_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["demo"]) == 0
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    # The headings carry the time that a step took.
    printed = [re.sub(r" \([\d.]+ s\).*", "", line) for line in printed]
    shown = [" ".join(line.split()) for line in blocks("text")[0].splitlines() if line.strip()]
    assert [line for line in shown if line not in printed] == []


def test_the_links_lead_somewhere() -> None:
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)]+)\)", README)]
    local = [target for target in targets if "://" not in target]
    assert local
    assert [target for target in local if not (ROOT / target).exists()] == []
