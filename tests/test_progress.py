"""How far something is: shown where somebody looks, and nowhere else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aggrkit import Pipeline, progress
from aggrkit.model.selection import Selection
from aggrkit.pipeline.calibrate import Calibrate
from aggrkit.pipeline.comparison import Compare
from aggrkit.pipeline.sides import Sides
from aggrkit.progress import shown_progress


def test_a_terminal_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with shown_progress("Run r1", "tests", "A note.") as advance:
        advance(3, 8)
    out, err = capsys.readouterr()
    assert out == ""
    assert all(words in err for words in ("A note.", "Run r1", "3/8 tests"))


def test_nothing_is_shown_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress("Run r1", "tests") as advance:
        advance(3, 8)
    out, err = capsys.readouterr()
    assert out + err.strip() == ""


def test_what_is_soon_over_shows_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with shown_progress("Calibration", "exchanges", patience=2.0) as advance:
        advance(1, 400)
    assert capsys.readouterr().err == ""
    with shown_progress("Calibration", "exchanges", patience=2.0) as advance:
        advance(1, 400)
        now[0] += 2.5
        advance(9, 400)
    assert "9/400 exchanges" in capsys.readouterr().err


def test_a_calibration_tells_how_far_it_is() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"build": ["a", "b"] * 20, "model": "bert", "latency_ms": rng.lognormal(1, 0.1, 40)})
    told: list[tuple[int, int]] = []
    source = frame.aggr
    stage = Calibrate(Compare(Sides("a", "b", "build")), 5, advance=lambda done, of: told.append((done, of)))
    Pipeline(aggregate=(), postprocess=(stage,)).run(source.source(source.given), Selection(level="model"))
    assert told == [(k, 5) for k in range(1, 6)]


def test_an_error_passes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), shown_progress("Run", "tests"):
        1 / 0  # noqa: B018
