"""The forest plot that comparisons, trends and pass rates share: a line each, with its interval and its verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import altair as alt
import numpy as np
import pandas as pd

from aggrkit.charts.parts import data, looks, numbers, rows_axis, side_text, signed
from aggrkit.charts.theme import GREY, PALETTE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["CHANGE", "Forest", "changes_of", "counted", "forest_of_changes", "limits", "ranked", "said", "unit_of"]

CHANGE: Final = "__change"
"""Column of the change of each line, see `changes_of`; no group has this name."""

_LOW: Final = "__low"
_HIGH: Final = "__high"

_FAR: Final = 4.0
_WORTH_CUTTING: Final = 1.6


@dataclass(frozen=True)
class Forest:
    """What a forest plot shows.

    Parameters
    ----------
    names : sequence of str
        Name of each line, from the top.
    x, low, high : pandas.Series
        Point and interval of each line; an interval may be missing.
    verdicts : sequence of str
        Decides colour and shape.
    said : sequence of str
        The numbers, written to the right of each line.
    tips : mapping of str to sequence
        What the tooltip says besides, by title.
    title : str
        Of the axis.
    domain : tuple of float, optional
        Ends of the axis; what goes beyond gets an arrow.
    band : float, optional
        Half the width of the band around `rule` in which a difference doesn't matter.
    rule : float or None, optional
        Where "no difference" is.
    """

    names: Sequence[str]
    x: pd.Series[float]
    low: pd.Series[float]
    high: pd.Series[float]
    verdicts: Sequence[str]
    said: Sequence[str]
    tips: Mapping[str, Sequence[Any]]
    title: str
    domain: tuple[float, float]
    band: float = 0.0
    rule: float | None = 0.0

    def values(self) -> alt.InlineData:
        """Return the records of the lines."""
        tips = {f"t{place}": values for place, values in enumerate(self.tips.values())}
        columns: dict[str, Any] = {
            "label": self.names,
            "verdict": self.verdicts,
            "x": self.x,
            "low": self.low,
            "high": self.high,
            "said": self.said,
            **self._beyond(),
        }
        return data({**columns, **tips})

    def cut(self) -> str:
        """Return what the subtitle says of lines that go beyond the frame."""
        beyond = any(np.isfinite(ends).any() for ends in self._beyond().values())
        return "arrows: goes on beyond the frame, see the numbers" if beyond else ""

    def layers(self) -> list[alt.Chart]:
        """Return the layers, from the back."""
        colour, shape = looks(self.verdicts)
        tips = [alt.Tooltip("label:N", title="line"), alt.Tooltip("verdict:N"), alt.Tooltip("said:N", title="value")]
        tips += [alt.Tooltip(f"t{place}:N", title=title) for place, title in enumerate(self.tips)]
        base = alt.Chart().encode(y=rows_axis(), tooltip=tips)
        line = base.transform_filter("isValid(datum.low) && isValid(datum.high)").mark_rule(strokeWidth=2.5)
        points = base.mark_point(filled=True, size=75, opacity=1)
        ends = [
            base.transform_filter(f"isValid(datum.{name})")
            .mark_point(shape=f"triangle-{side}", filled=True, size=45, opacity=1, color=GREY, xOffset=shift)
            .encode(x=self._x(name))
            for name, side, shift in (("over", "right", 9), ("under", "left", -9))
            if np.isfinite(self._beyond()[name]).any()  # a layer without marks would be a picture without words
        ]
        known = (np.isfinite(self.low) & np.isfinite(self.high)).any()
        return [
            *self._behind(),
            *([line.encode(x=self._x("low"), x2=alt.X2("high"), color=colour)] if known else []),
            *ends,
            points.encode(x=self._x("x"), y=rows_axis(self.names), color=colour, shape=shape),
            side_text(),
        ]

    def _beyond(self) -> dict[str, NDArray[np.float64]]:
        """Return the end of the axis for each line that goes beyond it, else NaN."""
        least, most = self.domain
        return {
            "over": np.where(np.fmax(self.high, self.x) > most, most, np.nan),
            "under": np.where(np.fmin(self.low, self.x) < least, least, np.nan),
        }

    def _behind(self) -> list[alt.Chart]:
        if self.rule is None:
            return []
        least, most = self.domain
        edges = {"low": max(self.rule - self.band, least), "high": min(self.rule + self.band, most)}
        behind = alt.Chart(data({name: [end] for name, end in {**edges, "x": self.rule}.items()}))
        zero = behind.mark_rule(color=GREY, strokeWidth=1.5).encode(x=self._x("x"))
        if not self.band:
            return [zero]
        band = behind.mark_rect(color=PALETTE["sky"], opacity=0.18)
        return [band.encode(x=self._x("low"), x2=alt.X2("high")), zero]

    def _x(self, name: str) -> alt.X:
        scale = alt.Scale(domain=list(self.domain), clamp=True, nice=False, zero=False)
        return alt.X(f"{name}:Q", scale=scale, axis=alt.Axis(title=self.title, tickCount=7))


def limits(
    x: pd.Series[float], low: pd.Series[float], high: pd.Series[float], least: float, *, share: float = 0.75
) -> tuple[float, float]:
    """Return the ends of an axis that shows most lines well; a few far ones don't squeeze all others.

    Parameters
    ----------
    x, low, high : pandas.Series
        Points and intervals.
    least : float
        At least so much is seen on both sides of 0.
    share : float, optional
        The share of ends that is seen for sure.

    Returns
    -------
    tuple of float
        Both finite, the first one smaller.

    Examples
    --------
    >>> import pandas as pd
    >>> from aggrkit.charts.forest import limits
    >>> x = pd.Series([1.0, 2.0, -2.0, 3.0, 1.0, 900.0])
    >>> limits(x, x - 1, x + 1, 1.0)[1] < 50
    True
    """
    ends = np.concatenate([np.asarray(values, dtype=float) for values in (x, low, high)])
    ends = ends[np.isfinite(ends)]
    if not ends.size:
        return -least, least
    usual = max(_FAR * float(np.quantile(np.abs(ends), share)), _FAR * least)
    lowest, highest = min(float(ends.min()), -least), max(float(ends.max()), least)
    if highest > _WORTH_CUTTING * usual:
        highest = usual
    if -lowest > _WORTH_CUTTING * usual:
        lowest = -usual
    pad = 0.04 * (highest - lowest)
    return lowest - pad, highest + pad


def changes_of(frame: pd.DataFrame, source: str, verdict: str) -> tuple[pd.DataFrame, int]:
    """Return the lines that have a change, and how many have none.

    Parameters
    ----------
    frame : pandas.DataFrame
        Lines with "ci_lower", "ci_upper" and "verdict".
    source : str
        The column that holds the change, in percent, or in points where the unit is "proportion".
    verdict : str
        The verdict of lines without one.

    Returns
    -------
    told : pandas.DataFrame
        The lines with the column `CHANGE` and its interval, as finite numbers.
    without : int
        Number of the other lines.
    """
    lines = pd.DataFrame(frame).reset_index(drop=True)
    for name, column in ((CHANGE, source), (_LOW, "ci_lower"), (_HIGH, "ci_upper")):
        lines[name] = numbers(lines, column)
    lines["verdict"] = lines["verdict"].astype(object).where(lines["verdict"].notna(), verdict).map(str)
    told = lines[lines[CHANGE].notna()].copy()
    return told, len(lines) - len(told)


def ranked(told: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Return lines by the order of their verdicts, and the largest changes first within each."""
    rank = told["verdict"].map({name: place for place, name in enumerate(order)}).fillna(len(order))
    return told.iloc[np.lexsort((-told[CHANGE].abs(), rank))]


def unit_of(lines: pd.DataFrame) -> str:
    """Return what the changes of some lines are in: "%", "points", or "% or points"."""
    points = lines["unit"].eq("proportion")
    if points.any() and not points.all():
        return "% or points"
    return "points" if points.all() else "%"


def said(line: pd.Series[float], per: str = "") -> str:
    """Return the change of a line with its unit and its interval, e.g. "+10 % (+8 to +12)"."""
    unit = "points" if str(line["unit"]) == "proportion" else "%"
    change = f"{signed(line[CHANGE])} {unit}{per}"
    known = pd.notna(line[_LOW]) and pd.notna(line[_HIGH])
    return f"{change} ({signed(line[_LOW])} to {signed(line[_HIGH])})" if known else change


def counted(lines: pd.DataFrame, order: Sequence[str], words: Mapping[str, str] | None = None) -> str:
    """Return how many lines have each verdict, e.g. "2 regressed, 1 undecided"; `words` are other names of verdicts."""
    found = lines["verdict"].value_counts()
    named = {name: name.replace("_", " ") for name in order} | dict(words or {})
    return ", ".join(f"{found[name]:,} {named[name]}" for name in order if found.get(name))


def forest_of_changes(
    shown: pd.DataFrame,
    names: Sequence[str],
    *,
    tips: Mapping[str, Sequence[Any]],
    title: str,
    least: float,
    per: str = "",
    band: float = 0.0,
) -> Forest:
    """Return the forest plot of some lines, see `changes_of`.

    Parameters
    ----------
    shown : pandas.DataFrame
        The lines, from the top.
    names : sequence of str
        Name of each line.
    tips, title, band
        As of `Forest`.
    least : float
        At least so much is seen on both sides of 0.
    per : str, optional
        What follows the unit, such as " per day".
    """
    return Forest(
        names=names,
        x=shown[CHANGE],
        low=shown[_LOW],
        high=shown[_HIGH],
        verdicts=list(shown["verdict"]),
        said=[said(line, per) for _, line in shown.iterrows()],
        tips=tips,
        title=title,
        domain=limits(shown[CHANGE], shown[_LOW], shown[_HIGH], least),
        band=band,
    )
