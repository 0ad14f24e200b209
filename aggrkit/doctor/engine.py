"""Examinations of what computes and draws."""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, Final

from aggrkit.doctor.diagnosis import Diagnosis, failed, fine, install, warned

__all__ = [
    "altair_renderer",
    "charts_draw",
    "duckdb_answers",
    "numba_compiles",
    "spill_folder",
    "works_offline",
]

_SPACE_WANTED: Final = 1_000_000_000
_LOCAL: Final = ("127.", "::1", "localhost")


def duckdb_answers() -> Diagnosis:
    """Ask the embedded engine a question by the way that all questions take."""
    import duckdb
    import pandas as pd

    import aggrkit

    frame = pd.DataFrame({"model": ["a", "a", "b"], "latency_ms": [1.0, 3.0, 5.0]})
    means = aggrkit.stats(frame, level="model")["mean"].tolist()
    if means != [2.0, 5.0]:
        return failed(
            f"DuckDB {duckdb.__version__} means of 1, 3 and 5 as {means}", install("--force-reinstall", "duckdb")
        )
    return fine(f"DuckDB {duckdb.__version__} answers")


def spill_folder() -> Diagnosis:
    """Look whether there is room for what doesn't fit into memory."""
    place = Path(tempfile.gettempdir())
    for folder in (place, Path.cwd()):
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            if folder == place:
                return failed(
                    f"{place} can't be written: {error.strerror}", "set TMPDIR to a folder that can be written"
                )
            return warned(
                f"{folder} can't be written: {error.strerror}; DuckDB lays aside there what doesn't fit into memory",
                "work in a folder that can be written",
            )
    free = shutil.disk_usage(place).free
    if free < _SPACE_WANTED:
        return warned(f"{place} has only {free / 1e9:.1f} GB free", "make room, or set TMPDIR to another folder")
    return fine(f"{place}, {free / 1e9:,.0f} GB free")


def numba_compiles() -> Diagnosis:
    """Compile a function, and look whether compiled ones can be kept."""
    import numba

    compiled: Any = numba.njit(_twice)
    if compiled(21) != 42:
        return failed(f"numba {numba.__version__} compiles wrongly", install("--force-reinstall", "numba"))
    try:
        _ = numba.njit(cache=True)(_twice)
    except RuntimeError:  # "cannot cache function: no locator available"
        return warned(
            "numba has no folder where it can keep compiled functions: changes() compiles at each start",
            "set NUMBA_CACHE_DIR to a folder that can be written",
        )
    return fine(f"numba {numba.__version__} compiles, and keeps what it compiled")


def _twice(number: int) -> int:
    return 2 * number


def charts_draw() -> Diagnosis:
    """Draw a chart, and look for the script with which charts live in reports and in the panel."""
    from aggrkit.panel.still import bundled_vega

    bundle = _small_chart()
    if not bundle["image/png"].startswith(b"\x89PNG"):
        return failed("charts have no picture", install("--force-reinstall", "vl-convert-python"))
    return fine(f"a chart was drawn; the script of Vega is there ({len(bundled_vega()) / 1e6:.1f} MB)")


def works_offline() -> Diagnosis:
    """Ask and draw while no connection can leave this machine."""
    tried: list[str] = []
    _REFUSED.append(tried)
    sys.addaudithook(_no_network)
    bundle: dict[str, Any] = {}
    try:
        bundle = _small_chart()
    except OSError:
        if not tried:
            raise
    finally:
        _REFUSED.remove(tried)
    if tried or any("cdn." in str(content) for content in bundle.values()):
        wanted = ", ".join(dict.fromkeys(tried)) or "a script from the network"
        return failed(f"a question or a chart wants {wanted}", install("--force-reinstall", "aggrkit"))
    return fine("a question was answered and a chart drawn without any connection")


_REFUSED: Final[list[list[str]]] = []
"""What was tried while the network was shut; empty while it is open, for an audit hook can't be taken away."""


def _no_network(event: str, arguments: tuple[Any, ...]) -> None:
    if not _REFUSED or event not in ("socket.connect", "socket.getaddrinfo"):
        return
    target = arguments[1] if event == "socket.connect" else arguments[0]
    host = str(target[0] if isinstance(target, tuple) else target)
    if isinstance(target, (str, bytes)) and event == "socket.connect":  # a socket of this machine
        return
    if not host.startswith(_LOCAL):
        _REFUSED[-1].append(host)
        raise OSError(f"the network is shut: {host}")


def _small_chart() -> dict[str, Any]:
    import pandas as pd

    import aggrkit
    from aggrkit.charts.display import mime_bundle

    frame = pd.DataFrame({"model": ["a", "a", "b"], "latency_ms": [1.0, 3.0, 5.0]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mime_bundle(aggrkit.stats(frame, level="model").chart())


def altair_renderer() -> Diagnosis:
    """Look with which renderer Altair shows charts that aren't aggrkit's."""
    import altair as alt

    active = alt.renderers.active
    offline = alt.renderers.options.get("offline") or alt.renderers.options.get("template") == "inline"
    said = f"Altair {alt.__version__}, renderer {active!r}"
    if active in ("default", "html", "jupyter") and not offline:
        return fine(
            f"{said}: charts of aggrkit don't use it; charts of your own need the network in a notebook, unless you "
            "call alt.renderers.enable('jupyter', offline=True)"
        )
    return fine(said)
