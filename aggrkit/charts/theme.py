"""How the charts look: colours, shapes, sizes, and the one configuration that they share."""

from __future__ import annotations

from typing import Any, Final

__all__ = [
    "GREY",
    "GREY_TEXT",
    "LOOKS",
    "PALETTE",
    "PLOT_WIDTH",
    "ROW_HEIGHT",
    "TITLE_OFFSET",
    "WITHIN",
    "config",
    "merged",
]

PALETTE: Final[dict[str, str]] = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "purple": "#CC79A7",
    "yellow": "#F0E442",
}
"""The colours of Okabe and Ito, which people of all kinds of colour vision tell apart."""

GREY: Final = "#8A8A8A"
"""For lines and frames: seen on white and on black."""

GREY_TEXT: Final = "#6A6A6A"
"""For what is written within a plot, on white."""

WITHIN: Final = "within"
"""The style of what is written within a plot: grey on white, or in the colour of the page's text."""

PLOT_WIDTH: Final = 460
ROW_HEIGHT: Final = 20
TITLE_OFFSET: Final = 10

_ARROW_UP, _ARROW_DOWN = "triangle-up", "triangle-down"

LOOKS: Final[dict[str, tuple[str, str]]] = {
    # comparisons
    "regressed": (PALETTE["vermillion"], _ARROW_DOWN),
    "changed": (PALETTE["purple"], "diamond"),
    "improved": (PALETTE["green"], _ARROW_UP),
    "undecided": (PALETTE["orange"], "square"),
    "equivalent": (PALETTE["blue"], "circle"),
    "no_data": (GREY, "cross"),
    # trends
    "worsening": (PALETTE["vermillion"], _ARROW_DOWN),
    "trending": (PALETTE["purple"], "diamond"),
    "improving": (PALETTE["green"], _ARROW_UP),
    "none": (PALETTE["blue"], "circle"),
    "too_few": (GREY, "cross"),
    # anomalies
    "critical": (PALETTE["vermillion"], _ARROW_DOWN),
    "major": (PALETTE["orange"], "diamond"),
    "minor": (PALETTE["sky"], "square"),
    "good": (PALETTE["green"], _ARROW_UP),
    # workers
    "sick": (PALETTE["vermillion"], _ARROW_DOWN),
    "suspect": (PALETTE["orange"], "diamond"),
    "fine": (PALETTE["blue"], "circle"),
    "surely off": (PALETTE["vermillion"], "diamond"),
    "within the noise": (PALETTE["blue"], "circle"),
    # false alarms
    "more than stated": (PALETTE["vermillion"], _ARROW_UP),
    "as stated": (PALETTE["blue"], "circle"),
    "less than stated": (PALETTE["sky"], _ARROW_DOWN),
    # pass rates
    "some failed": (PALETTE["vermillion"], _ARROW_DOWN),
    "none failed": (PALETTE["blue"], "circle"),
    # sizes of effects
    "large": (PALETTE["vermillion"], "square"),
    "medium": (PALETTE["orange"], "diamond"),
    "small": (PALETTE["sky"], "circle"),
    "negligible": (GREY, "cross"),
    "undefined": (GREY, "stroke"),
}
"""Colour and shape of each verdict, severity and size: nothing is told by colour alone."""


def config(*, text: str | None = None, background: str = "transparent") -> dict[str, Any]:
    """Return the configuration that all charts share.

    Text has no colour of its own, so that it takes that of the page's theme; lines are of a grey that is seen on both.

    Parameters
    ----------
    text : str, optional
        Colour of text, for a picture that can't follow a theme; "currentColor" for SVG within a page.
    background : str, optional
        Colour behind the chart.

    Returns
    -------
    dict
        A Vega-Lite configuration.

    Examples
    --------
    >>> from aggrkit.charts.theme import config
    >>> config()["background"]
    'transparent'
    """
    font = "system-ui, 'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
    made: dict[str, Any] = {
        "background": background,
        "font": font,
        "padding": 8,
        "view": {"stroke": None},
        "title": {
            "anchor": "start",
            "frame": "group",
            "fontSize": 14,
            "subtitleFontSize": 11,
            "subtitlePadding": 4,
            "offset": TITLE_OFFSET,
        },
        "axis": {
            "labelFontSize": 11,
            "titleFontSize": 11,
            "titleFontWeight": "normal",
            "labelLimit": 320,
            "gridColor": GREY,
            "gridOpacity": 0.22,
            "domainColor": GREY,
            "tickColor": GREY,
        },
        "axisX": {"labelFlush": False},
        "legend": {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "labelLimit": 240},
        "range": {"category": list(PALETTE.values())},
        "style": {WITHIN: {"color": GREY_TEXT}},
    }
    if text is not None:
        style = {"fill": text}
        coloured = {"style": {"guide-label": style, "guide-title": style, WITHIN: {"color": text, "fillOpacity": 0.8}}}
        made = merged(made, {**coloured, "title": {"color": text, "subtitleColor": text}})
    return made


def merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return two nested dictionaries as one; where both say something, the second one holds.

    Parameters
    ----------
    first, second : dict
        Neither is changed.

    Returns
    -------
    dict
        A new dictionary.

    Examples
    --------
    >>> from aggrkit.charts.theme import merged
    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    result = dict(first)
    for key, value in second.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result
