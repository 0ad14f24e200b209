"""What changed over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from aggrkit.errors import AggrError
from aggrkit.findings.base import Finding
from aggrkit.findings.words import (
    counted,
    group_names,
    line_name,
    listing,
    margin_words,
    short_number,
    signed,
    verdict_counts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Changes"]

_TOLD = 3


class Changes(Finding):
    """The shifts of level over time, a row each.

    Charts: "timeline", and "series" (option `i`, the position of a line).
    """

    _name = "changes"

    @property
    def series(self) -> pd.DataFrame:
        """The series that were looked at: units, time, changes, noise (standard deviation, and lag-one correlation)."""
        return self._known().frames["changes_series"].copy()

    @property
    def details(self) -> pd.DataFrame:
        """For the same lines: the last time before the change could be (`since`), and the units of both segments."""
        self._require()
        frame = self._known().frames["changes_details"].drop(columns="series")
        return frame.reindex(self._made_at()).set_axis(self.index)

    def points(self, i: int) -> pd.DataFrame:
        """Return the series behind a line, point by point.

        Parameters
        ----------
        i : int
            Position of the line, from 0; negative from the end.

        Returns
        -------
        pandas.DataFrame
            ``time, value, level``: the value of each unit relative to its like, at the scale of the group, and the
            level of its segment.

        Raises
        ------
        IndexError
            If there is no such line.
        """
        frames = self._known().frames
        place = self._series_of(i)
        points = frames["changes_points"]
        return points[points["series"].eq(place)].drop(columns="series").reset_index(drop=True)

    def _steps(self, i: int) -> pd.DataFrame:
        """Return all changes of the series behind a line that are steps."""
        frames = self._known().frames
        made = frames["changes"][frames["changes_details"]["series"].eq(self._series_of(i))]
        return made[made["status"].ne("trend")]

    def _series_of(self, i: int) -> int:
        label = self._label_of(i)
        if label is None:
            raise AggrError(f"line {i} was altered since it was found, and its series isn't known; use the original")
        return int(self._known().frames["changes_details"]["series"][label])

    def incidents(self) -> pd.DataFrame:
        """Gather the changes that may be one event: at a time that suits all of them, and in the same sense.

        Returns
        -------
        pandas.DataFrame
            ``at, since, until, verdict, slice, series, of, change_pct, coincides_with``, in the order of time:
            `series` of the `of` series that went over this time shifted between `since` and `until`, by the median of
            `change_pct`. `slice` says what they have in common and the others have not.
        """
        from aggrkit.pipeline.incidents import incidents_by_time

        self._require()
        frames = self._known().frames
        made = self._made_at()
        lines = pd.DataFrame(self).reset_index(drop=True)
        since = frames["changes_details"]["since"].reindex(made).reset_index(drop=True)
        steps = lines["status"].ne("trend")
        tested = frames["changes_series"]
        tested = tested[tested["tested"]].reset_index(drop=True)
        columns = [*group_names(self), "metric"]
        return incidents_by_time(lines[steps], since[steps], tested, columns)

    def _sentences(self) -> list[str]:
        meta = self.meta
        if not meta["series"]:
            return [f"No series could be looked at: {_short_series(meta)}."]
        lines = [f"{self._counts()} in {counted(meta['series'], 'series', 'series')}."]
        lines += [f"{sentence}." for sentence in self._largest()]
        together = self.incidents() if len(self) > 1 else pd.DataFrame()
        lines += [f"{sentence}." for sentence in _together(together)]
        suspects = int(self["status"].eq("suspect").sum())
        if suspects:
            lines.append("A suspect rests on the last one or two units only: run once or twice more to confirm it.")
        if meta["too_few"]:
            lines.append(f"Not looked at: {_short_series(meta)}.")
        if meta["not_surviving"]:
            said = counted(meta["not_surviving"], "change")
            lines.append(f"{said} would count in a series alone, but not among {meta['series']:,} (adjust=None).")
        lines += self._basis()
        return lines

    def _counts(self) -> str:
        parts = []
        for status, one, many in (
            ("confirmed", "confirmed change", "confirmed changes"),
            ("trend", "trend", "trends"),
            ("suspect", "suspect", "suspects"),
        ):
            some = self[self["status"].eq(status)]
            if len(some):
                parts.append(f"{counted(len(some), one, many)} ({verdict_counts(some['verdict'])})")
        return ", ".join(parts) or "No change"

    def _largest(self) -> Iterator[str]:
        for _, line in pd.DataFrame(self).head(_TOLD).iterrows():
            size = _size(line)
            name = f"{line['metric']} of {line_name(self, line)}"
            values = f"{short_number(line['before'])} to {short_number(line['after'])}"
            if line["status"] == "trend":
                span = f"from {_day(line['at_lower'])} to {_day(line['at_upper'])}"
                yield f"{name} drifts rather than shifts: {size}, {values}, {span}"
                continue
            certain = "" if line["at_lower"] == line["at_upper"] else f", within {_span(line)}"
            beside = f"; at the same place: {line['coincides_with']}" if line["coincides_with"] else ""
            verb = "may have" if line["status"] == "suspect" else "has"
            yield f"{name} {verb} {line['verdict']}: {size}, {values}, at {_day(line['at'])}{certain}{beside}"

    def _basis(self) -> Iterator[str]:
        meta = self.meta
        yield (
            f"Compared like with like on {listing(meta['adjusted_for'])}: each value is taken relative to its like."
            if meta["adjusted_for"]
            else "Nothing to hold fixed: a change of what is run would look like a change of level."
        )
        share = f"{100 * meta['false_alarm']:g} %"
        rate = (
            f"In {share} of series without changes there is one all the same"
            if meta["adjust"] == "none"
            else f"The share of false ones among those reported is held at {share} by {meta['adjust']!r}"
        )
        yield f"The unit is the {meta['unit']}; margin {margin_words(meta['margin'])}. {rate}."
        if meta["common_mode"] == "remove":
            yield "What all series of a run share was taken off first; variance() shows it, run by run."
        if meta["binned"]:
            some = counted(meta["binned"], "series", "series")
            yield f"{some} by bins of time: too many values, or passes and failures."
        if meta["untimed"]:
            yield f"{counted(meta['untimed'], 'observation')} without a time left out."
        if "note" in meta:
            yield str(meta["note"])


def _short_series(meta: dict[str, Any]) -> str:
    some = counted(meta["too_few"], "series", "series")
    return f"{some} with fewer than {meta['needs']} units at which like can be compared"


def _together(incidents: pd.DataFrame) -> Iterator[str]:
    several = incidents[incidents["series"].gt(1)] if len(incidents) else incidents
    if not len(several):
        return
    for _, one in several.sort_values("series", ascending=False, kind="stable").head(_TOLD).iterrows():
        where = "" if one["slice"] in ("all", "scattered") else f", {one['slice']}"
        beside = f"; at the same place: {one['coincides_with']}" if one["coincides_with"] else ""
        yield (
            f"{one['series']} of {one['of']} series {one['verdict']} at once, between {_day(one['since'])} and "
            f"{_day(one['until'])}{where}: by {signed(one['change_pct'])} % in the median{beside}"
        )


def _size(line: pd.Series[Any]) -> str:
    if pd.isna(line["change_pct"]):
        return "by an amount that has no percentage"
    return f"{signed(line['change_pct'])} % ({signed(line['ci_lower'])} to {signed(line['ci_upper'])})"


def _day(time: pd.Timestamp) -> str:
    return f"{time:%Y-%m-%d}" if time == time.normalize() else f"{time:%Y-%m-%d %H:%M}"


def _span(line: pd.Series[Any]) -> str:
    return f"{_day(line['at_lower'])} and {_day(line['at_upper'])}"
