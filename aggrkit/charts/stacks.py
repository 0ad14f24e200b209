"""Bars of shares that sum to 100 %, a line each: what distributions and sources of noise have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import altair as alt
import numpy as np

from aggrkit.charts.parts import data, rows_axis, side_text
from aggrkit.charts.theme import GREY, PALETTE, PLOT_WIDTH

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

__all__ = ["MOST_PARTS", "MOST_SEGMENTS", "Stacks"]

MOST_PARTS: Final = len(PALETTE)
MOST_SEGMENTS: Final = 140
_COLOURS: Final = tuple(PALETTE.values())
_DARK: Final = (PALETTE["blue"],)
_LETTER: Final = 5.8
_FEWEST_LETTERS: Final = 4
_INSET: Final = 6


@dataclass(frozen=True)
class Stacks:
    """What bars of shares show.

    Parameters
    ----------
    names : sequence of str
        Name of each line, from the top.
    said : sequence of str
        What is written to the right of each line.
    parts : sequence of str
        The parts, from the left.
    shares : pandas.DataFrame
        In percent: a row for each line, and a column for each part.
    rest : str
        The part that is what is left, drawn in grey.
    title : str
        Of the axis.
    """

    names: Sequence[str]
    said: Sequence[str]
    parts: Sequence[str]
    shares: pd.DataFrame
    rest: str
    title: str

    def layers(self) -> list[alt.Chart]:
        """Return the layers: bars, what is written in them where there is room, and numbers beside them."""
        colour = alt.Color(
            "part:N",
            scale=alt.Scale(domain=list(self.parts), range=[self._colour(part) for part in self.parts]),
            legend=alt.Legend(title=None, orient="top", symbolType="square", columns=4, labelLimit=150),
        )
        tips = [
            alt.Tooltip("label:N", title="line"),
            alt.Tooltip("part:N"),
            alt.Tooltip("share:Q", title="%", format=".3~g"),
        ]
        axis = alt.Axis(title=self.title, tickCount=5)
        x = alt.X("low:Q", scale=alt.Scale(domain=[0, 100], nice=False), axis=axis)
        base = alt.Chart(self._segments()).encode(y=rows_axis(), tooltip=tips)
        bars = base.mark_bar(height={"band": 0.78}).encode(
            x=x, x2=alt.X2("high"), y=rows_axis(self.names), color=colour
        )
        text = base.transform_filter("datum.said").mark_text(align="left", baseline="middle", dx=4, fontSize=10)
        against = alt.ColorValue("black", condition={"test": "datum.dark", "value": "white"})
        beside = alt.Chart(data({"label": self.names, "said": self.said}))
        return [
            bars,
            text.encode(x=x, text=alt.Text("said:N"), color=against),
            side_text().properties(data=beside.data),
        ]

    def _segments(self) -> alt.InlineData:
        shares = self.shares[list(self.parts)].to_numpy(dtype=float)
        ends = np.cumsum(np.nan_to_num(shares), axis=1)
        lines, places = (found.tolist() for found in np.nonzero(shares > 0))
        parts = [self.parts[place] for place in places]
        return data(
            {
                "label": [self.names[line] for line in lines],
                "part": parts,
                "share": shares[lines, places],
                "low": ends[lines, places] - shares[lines, places],
                "high": ends[lines, places],
                "said": [_fitting(part, share) for part, share in zip(parts, shares[lines, places], strict=True)],
                "dark": [self._colour(part) in _DARK or None for part in parts],
            }
        )

    def _colour(self, part: str) -> str:
        return GREY if part == self.rest else _COLOURS[list(self.parts).index(part) % len(_COLOURS)]


def _fitting(part: str, share: float) -> str | None:
    """Return what has room in a bar: the name and its share, a beginning of the name, or only the share."""
    room = int((share / 100 * PLOT_WIDTH - _INSET) / _LETTER)
    number = f"{share:.0f} %"
    if room >= len(part) + 1 + len(number):
        return f"{part} {number}"
    if room >= _FEWEST_LETTERS + 2 + len(number):
        return f"{part[: room - 2 - len(number)]}… {number}"
    return number if room >= len(number) else None
