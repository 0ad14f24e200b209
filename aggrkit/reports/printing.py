"""Pages on paper: an HTML file as PDF, by the Chromium that is on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from aggrkit.errors import AggrError

__all__ = ["chromium", "printed"]

_NAMES: Final = (
    *("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome", "chrome-headless-shell"),
    *("microsoft-edge-stable", "microsoft-edge", "msedge", "brave-browser"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
_FLAGS: Final = (
    *("--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-extensions"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--no-pdf-header-footer"),
    "--virtual-time-budget=30000",  # until all charts are drawn
    "--host-resolver-rules=MAP * ~NOTFOUND",  # a page is printed from what is in it
)
_PATIENCE: Final = 120


def chromium() -> str:
    """Return the path of Chromium, or of a browser made from it.

    Raises
    ------
    AggrError
        If there is none; with what to do.
    """
    own = os.environ.get("AGGRKIT_CHROMIUM")
    names = (own,) if own else _NAMES
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        where = f"AGGRKIT_CHROMIUM names {own!r}, which is no program" if own else "there is none on this machine"
        raise AggrError(
            f"a PDF is printed by Chromium or Chrome, and {where}. Install one (such as: apt-get install chromium), or "
            "set AGGRKIT_CHROMIUM to its path; or write .html, which any browser prints"
        )
    return found


def printed(page: str) -> bytes:
    """Return a page as PDF.

    Parameters
    ----------
    page : str
        HTML that needs nothing from elsewhere.

    Raises
    ------
    AggrError
        If there is no Chromium, or it fails.
    """
    program = chromium()
    with tempfile.TemporaryDirectory(prefix="aggrkit-", ignore_cleanup_errors=True) as folder:
        source, target = Path(folder) / "page.html", Path(folder) / "page.pdf"
        source.write_text(page, encoding="utf-8")
        command = [program, *_FLAGS, f"--user-data-dir={folder}/profile", f"--print-to-pdf={target}", source.as_uri()]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # which Chromium refuses to start with as root
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AggrError(f"{program} didn't print the page: {error}; write .html, and print that") from error
        if not target.is_file() or not target.stat().st_size:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise AggrError(f"{program} didn't print the page ({said}); write .html, and print that")
        return target.read_bytes()
