"""How far something is: shown where somebody looks, and nowhere else."""

from __future__ import annotations

import pytest

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


def test_an_error_passes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), shown_progress("Run", "tests"):
        1 / 0  # noqa: B018
