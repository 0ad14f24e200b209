"""Charts on a screen, in a file and in a report."""

from __future__ import annotations

import json
import struct
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import altair as alt
import vl_convert
from altair.utils import schemapi

from aggrkit.charts.theme import config, merged
from aggrkit.errors import UnknownNameError
from aggrkit.output import write_whole

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

__all__ = ["MIME_TYPE", "PPI", "Shown", "mime_bundle", "save", "specification", "static_svg", "unchecked"]

MIME_TYPE: Final = "application/vnd.vegalite.v5+json"
PPI: Final = 144
_SCHEMA_V5: Final = "https://vega.github.io/schema/vega-lite/v5.json"
_EMBEDDED: Final = {"embedOptions": {"renderer": "svg", "actions": False}}
"""As SVG, text follows the theme of the page at once, and not only when it is drawn."""

_SUFFIXES: Final = (".png", ".svg", ".html", ".json")
_PPI_OF_SCREENS: Final = 72


class Shown(alt.LayerChart):
    """A layered chart that shows itself at the end of a notebook's cell, as `mime_bundle` has it.

    It needs no network and no renderer, and neither reads nor changes those that Altair has been set to. All else is
    as for any other `altair.LayerChart`.
    """

    def _repr_mimebundle_(self, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle = mime_bundle(self)
        width, height = (side * _PPI_OF_SCREENS // PPI for side in struct.unpack(">II", bundle["image/png"][16:24]))
        return bundle, {"image/png": {"width": width, "height": height}}


@contextmanager
def unchecked() -> Iterator[None]:
    """Make and write charts without Altair's validation of each of their parts, which takes most of their time.

    For charts of this package alone, which its tests hold against the schema. While any thread is within such a block,
    no chart of any thread is validated when it is made.

    Examples
    --------
    >>> import altair as alt
    >>> from aggrkit.charts.display import specification, unchecked
    >>> with unchecked():
    ...     specification(alt.Chart(alt.Data(values=[])).mark_point())["mark"]
    {'type': 'point'}
    """
    token = _is_unchecked.set(True)
    _QUICKLY.enter()
    try:
        yield
    finally:
        _QUICKLY.leave()
        _is_unchecked.reset(token)


class _Quickly:
    """Altair's switch for validation, which is one for all threads: off while at least one of them is in a hurry."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within = 0
        self._before = True

    def enter(self) -> None:
        with self._lock:
            if not self._within:
                self._before = schemapi.DEBUG_MODE
                schemapi.DEBUG_MODE = False
            self._within += 1

    def leave(self) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                schemapi.DEBUG_MODE = self._before


_QUICKLY: Final = _Quickly()
_is_unchecked: ContextVar[bool] = ContextVar("aggrkit_unchecked", default=False)


def specification(chart: alt.TopLevelMixin, **look: Any) -> dict[str, Any]:
    """Return the Vega-Lite of a chart with the shared configuration; what the chart itself configures holds.

    Parameters
    ----------
    chart : altair chart
        The chart.
    **look
        As for `aggrkit.charts.theme.config`.

    Returns
    -------
    dict
        Vega-Lite, of the version of the Altair that is installed.

    Examples
    --------
    >>> import altair as alt
    >>> from aggrkit.charts.display import specification
    >>> specification(alt.Chart(alt.Data(values=[])).mark_point())["config"]["background"]
    'transparent'
    """
    made = chart.to_dict(validate=not _is_unchecked.get(), context={"pre_transform": False})
    return {**made, "config": merged(config(**look), made.get("config", {}))}


def mime_bundle(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """Return a chart for a notebook's cell: live where it is run, a picture where it is only read.

    Parameters
    ----------
    chart : altair chart
        The chart.

    Returns
    -------
    dict
        Vega-Lite 5, which JupyterLab renders offline and in its theme; a PNG on white, for GitHub and nbviewer; and the
        alternative text.

    Examples
    --------
    >>> import altair as alt
    >>> from aggrkit.charts.display import mime_bundle
    >>> chart = alt.Chart(alt.Data(values=[{"a": 1}])).mark_point().properties(description="One point.")
    >>> bundle = mime_bundle(chart)
    >>> list(bundle), bundle["text/plain"]
    (['application/vnd.vegalite.v5+json', 'image/png', 'text/plain'], 'One point.')
    """
    live = {**specification(chart, text="currentColor"), "$schema": _SCHEMA_V5, "usermeta": _EMBEDDED}
    return {MIME_TYPE: live, "image/png": _png(chart), "text/plain": str(live.get("description", "A chart."))}


def save(chart: alt.TopLevelMixin, path: str | os.PathLike[str]) -> Path:
    """Write a chart to a file, as a whole or not at all.

    Parameters
    ----------
    chart : altair chart
        The chart.
    path : path
        Its suffix says the kind: ".png" and ".svg" are pictures on white, ".html" is a page that needs no network,
        ".json" is Vega-Lite.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    UnknownNameError
        If the suffix is another one.
    SourceError
        If the file can't be written.

    Examples
    --------
    >>> import altair as alt, pathlib, tempfile
    >>> from aggrkit.charts.display import save
    >>> chart = alt.Chart(alt.Data(values=[{"a": 1}])).mark_point()
    >>> save(chart, pathlib.Path(tempfile.mkdtemp()) / "point.svg").name
    'point.svg'
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise UnknownNameError.of("kind of picture", suffix or str(path), _SUFFIXES)
    content: str | bytes
    if suffix == ".png":
        content = _png(chart)
    elif suffix == ".svg":
        content = vl_convert.vegalite_to_svg(specification(chart, background="white"))
    elif suffix == ".html":
        content = vl_convert.vegalite_to_html(specification(chart, background="white"), bundle=True)
    else:
        content = json.dumps(specification(chart), allow_nan=False)
    return write_whole(path, content)


def static_svg(chart: alt.TopLevelMixin) -> str:
    """Return a chart as SVG to be put into a page; its text takes the colour of the text around it.

    Parameters
    ----------
    chart : altair chart
        The chart.

    Returns
    -------
    str
        An ``<svg>`` element.

    Examples
    --------
    >>> import altair as alt
    >>> from aggrkit.charts.display import static_svg
    >>> static_svg(alt.Chart(alt.Data(values=[{"a": 1}])).mark_point())[:4]
    '<svg'
    """
    return str(vl_convert.vegalite_to_svg(specification(chart, text="currentColor")))


def _png(chart: alt.TopLevelMixin) -> bytes:
    return vl_convert.vegalite_to_png(specification(chart, background="white"), ppi=PPI)
