"""Servers, browser and pages for the tests in this folder.

They need the extra `browser`, and Chromium: one that is installed, or playwright's own (`playwright install chromium`).
Where one is missing the tests are skipped, or fail if AGGRKIT_NEEDS_BROWSER is set. Pictures are left in the folder
that AGGRKIT_SCREENSHOTS names.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.lab import Notebook
from tests.browser.servers import JupyterLab, Voila, write_notebook
from tests.browser.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from playwright.sync_api import Browser, Page

NEEDED = "AGGRKIT_NEEDS_BROWSER"
SCREENSHOTS = "AGGRKIT_SCREENSHOTS"
PACKAGES = ("axe_playwright_python", "jupyterlab", "playwright", "voila")
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--no-sandbox",
    # Nothing but this machine can be reached, so that the tests are the same with a network and without.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]


@cache
def chromium() -> str | None:
    """Return the path of Chromium, or None if there is none."""
    for name in CHROMIUMS:
        if found := shutil.which(name):
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


@cache
def missing() -> str | None:
    """Return what the tests lack, or None if they can run."""
    if packages := [name for name in PACKAGES if find_spec(name) is None]:
        return f"needs {', '.join(packages)}: pip install -e '.[dev,browser]'"
    if chromium() is None:
        return "needs Chromium: apt-get install chromium, or playwright install chromium"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what can't run here, and say why."""
    assert item.get_closest_marker("browser"), "tests in this folder carry the marker browser"
    if reason := missing():
        if os.environ.get(NEEDED):
            pytest.fail(f"{reason} ({NEEDED} is set)", pytrace=False)
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Leave a picture of the page, and the end of the server's log, with each failure."""
    report = yield
    fixtures = getattr(item, "funcargs", {})
    if report.when == "call" and report.failed and "watched" in fixtures:
        watched: Watched = fixtures["watched"]
        report.sections.append(("browser", f"picture: {watched.screenshot(item.name)}\n" + "\n".join(watched.errors)))
        if "lab" in fixtures:
            report.sections.append(("log of JupyterLab", fixtures["lab"].last_words()))
    return report


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Start Chromium once for all tests of this folder."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="package")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder for pictures."""
    if SCREENSHOTS not in os.environ:
        return tmp_path_factory.mktemp("screenshots")
    folder = Path(os.environ[SCREENSHOTS])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="package")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterLab]:
    """Start JupyterLab once for all tests of this folder."""
    with JupyterLab(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def lab(lab_server: JupyterLab) -> JupyterLab:
    """Return JupyterLab as if it were new: no kernel, no file, no changed setting."""
    lab_server.reset()
    return lab_server


@pytest.fixture
def watched(browser: Browser, screenshots: Path) -> Iterator[Watched]:
    """Return a new page, without cookies or cache, that remembers what went wrong in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    try:
        yield Watched(context, screenshots)
    finally:
        context.close()


@pytest.fixture
def page(watched: Watched) -> Page:
    """Return the page of `watched`."""
    return watched.page


@pytest.fixture
def notebook(lab: JupyterLab, watched: Watched) -> Callable[..., Notebook]:
    """Return a function that opens a notebook in JupyterLab: `notebook(cells)`, or `notebook(path=...)` for a copy.

    Its cells are run unless `run` is False; with `outputs`, they are not: someone else has run them.
    """

    def opened(
        cells: Sequence[str] = (),
        *,
        path: Path | None = None,
        outputs: Sequence[Sequence[dict[str, object]]] | None = None,
        run: bool = True,
    ) -> Notebook:
        if path is not None:
            here = lab.root / path.name
            shutil.copyfile(path, here)
        else:
            here = write_notebook(lab.root / "test.ipynb", cells, outputs)
        made = Notebook(lab, watched, here).open()
        return made.run_all() if run and outputs is None else made

    return opened


@pytest.fixture
def voila(watched: Watched, tmp_path: Path) -> Iterator[Callable[..., Voila]]:
    """Return a function that serves a notebook with Voilà, and opens it in the page: `voila(cells)`."""
    # Its own template links two stylesheets with icons; without a network they are missing.
    watched.excuse(
        r"https://cdn\.jsdelivr\.net/npm/@fortawesome/fontawesome-free@(\^|%5E)5/css/(all|v4-shims)\.min\.css$"
    )
    with ExitStack() as stack:

        def opened(cells: Sequence[str], *options: str) -> Voila:
            path = write_notebook(tmp_path / "test.ipynb", cells)
            server = Voila(path, tmp_path, *options)
            stack.enter_context(server)
            watched.page.goto(server.url)
            watched.page.wait_for_selector("#rendered_cells", state="attached")
            return server

        yield opened
