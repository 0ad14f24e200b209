"""The notebooks that come with the package, in JupyterLab."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.browser.lab import Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def test_they_run_and_ask_nobody_for_anything(lab, watched):
    books = [Notebook(lab, watched, Path(shutil.copy(path, lab.root))) for path in NOTEBOOKS]
    assert len(books) >= 3
    books[0].open()
    for book in books[1:]:
        book.open_beside()
    # They calculate a lot, so they do it at the same time.
    for book in books:
        book.start()
    for book in books:
        book.finish()
    for book in books:
        book.activate()
        shown = [number for number in range(book.length()) if book.outputs(number)]
        assert len(shown) >= 5
        for number in shown:
            assert book.output(number).is_visible()
        watched.screenshot(book.path)
    watched.assert_clean()
