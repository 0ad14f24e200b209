"""Every template on results that are hardly any: a page that says so, and no traceback."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from aggrkit.charts.display import MIME_TYPE
from aggrkit.reports.pieces import TONES, VERDICT
from aggrkit.reports.templates import templates
from tests.reports.cells import run_cells
from tests.reports.results import SIDES, results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = sorted(templates())


def no_value(frame: pd.DataFrame) -> pd.DataFrame:
    metrics = ["total_time_seconds", "compatibility_score", "load_time_ms", "passed"]
    return frame.assign(**{name: pd.Series(np.nan, index=frame.index) for name in metrics})


VARIANTS: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "empty": lambda frame: frame.head(0),
    "one row": lambda frame: frame.head(1),
    "one group": lambda frame: frame[(frame["model"] == "bert") & (frame["hardware"] == "h100")].assign(build="a"),
    "no value": no_value,
    "nothing at all": lambda frame: pd.DataFrame({name: [None] * 8 for name in frame.columns}),
    "only a number": lambda frame: frame[["total_time_seconds"]],
    "no metric": lambda frame: frame[["model", "hardware", "build"]],
}


def said(shown: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    (head,) = shown["head"]
    return head[VERDICT]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_it_says_what_there_is(name: str, variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.parquet"
    VARIANTS[variant](results()).to_parquet(path)
    sides = SIDES if name == "regression" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shown = run_cells(name, monkeypatch, source=str(path), repeats=3, **sides)
    verdict = said(shown)
    assert verdict["tone"] in TONES
    assert all(verdict["said"])
    if variant in ("empty", "no value", "nothing at all", "no metric"):
        assert verdict["tone"] == "none"
    if variant == "one row":
        assert verdict["tone"] in ("none", "info", "good", "warn")
        assert verdict["tone"] != "good" or "All 1 results pass" in verdict["said"][0]
    if variant == "empty":
        assert not any(MIME_TYPE in output for cell in shown for output in shown[cell])
    if variant == "one group" and name == "regression":
        assert "No observation is current: build b" in shown["findings"][0]["text/plain"]
    for cell in ("findings", "provenance", "calibration"):
        assert shown[cell][0]["text/html"]
        assert shown[cell][0]["text/markdown"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_draws_and_lists_what_was_planted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.parquet"
    results().to_parquet(path)
    sides = SIDES if name == "regression" else {}
    shown = run_cells(name, monkeypatch, source=str(path), repeats=3, **sides)
    charts = [output for cell in shown for output in shown[cell] if MIME_TYPE in output]
    assert len(charts) >= 3
    assert all(chart["image/png"].startswith(b"\x89PNG") for chart in charts)
    assert any(shown[cell] and "<table>" in shown[cell][0]["text/html"] for cell in shown if cell.startswith("table-"))
    (provenance,) = shown["provenance"]
    assert "observations used | 240" in provenance["text/markdown"]
    if name in ("performance", "regression", "web_platform"):
        assert said(shown)["tone"] == "bad"
        assert "bert" in said(shown)["said"][0]
