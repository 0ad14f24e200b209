"""What goes with what: correlations, trends over time, differences by dimension."""

from __future__ import annotations

from typing import Any

import pandas as pd

from aggrkit.findings.base import Finding
from aggrkit.findings.words import counted, line_name, listing, short_number, signed, verdict_counts

__all__ = ["Correlations", "Differences", "Trends"]


class Correlations(Finding):
    """Correlations of every two metrics, a row per group, pair and method.

    Charts: "heatmap" (option `method`).
    """

    _name = "correlations"

    def _sentences(self) -> list[str]:
        significant = self[self["significant"]]
        if not len(self):
            return ["No correlation: there is only one metric."]
        lines = [f"{counted(len(self), 'correlation')}, {len(significant)} of them significant after adjustment."]
        if len(significant):
            best = significant.loc[significant["correlation"].abs().sort_values(ascending=False).index[0]]
            lines.append(
                f"Strongest: {best['metric1']} and {best['metric2']}, "
                f"{best['method']} {best['correlation']:.2f} (n = {best['n']:,})."
            )
        turned = self[self["reversed_within_groups"]]
        if len(turned):
            pair = turned.iloc[0]
            lines.append(
                f"{len(turned)} turn round within groups, e.g. {pair['metric1']} and {pair['metric2']}: "
                "the pooled sign comes from differences between groups, not from within them."
            )
        for pair_name, why in list(self.meta["undefined"].items())[:3]:
            lines.append(f"{pair_name}: undefined, {why}.")
        return lines


class Trends(Finding):
    """The drift of metrics over time, a row per group and metric.

    Charts: "slopes".
    """

    _name = "trends"

    def _sentences(self) -> list[str]:
        meta = self.meta
        if not len(self):
            return ["No trends."]
        lines = [f"{counted(len(self), 'line')} over time: {verdict_counts(self['verdict'])}."]
        for verdict, words in (("worsening", "Worsens"), ("trending", "Moves"), ("improving", "Improves")):
            some = self[self["verdict"] == verdict]
            if len(some):
                size = some["slope_pct_per_day"].abs().fillna(-1).to_numpy()
                lines.append(f"{words} fastest: {_slope(self, some.iloc[int(size.argmax())])}.")
        few = int((self["verdict"] == "too_few").sum())
        if few:
            lines.append(
                f"{counted(few, 'line')} not judged: fewer than 4 distinct times at which like can be compared."
            )
        if meta["untimed"]:
            lines.append(f"{counted(meta['untimed'], 'observation')} without a time left out.")
        if meta["binned"]:
            lines.append(f"{counted(meta['binned'], 'line')} by bins of time: too many values, or passes and failures.")
        lines.append(
            f"Compared like with like on {listing(meta['adjusted_for'])}: each value is taken relative to its like."
            if meta["adjusted_for"]
            else "Nothing to hold fixed: a change of what is run would look like a trend."
        )
        lines.append(
            f"The unit is the {meta['unit']}; units were taken as independent, "
            "and where neighbours go together alarms are more frequent."
        )
        lines.append(
            f"Alpha {meta['alpha']:g}, p-values adjusted by {meta['adjust']!r} "
            f"over {len(self._known().frames[self._name])} lines."
        )
        return lines


class Differences(Finding):
    """How metrics differ by what describes the observations, a row per describing column and metric.

    Charts: "differences".
    """

    _name = "differences"

    def _sentences(self) -> list[str]:
        meta = self.meta
        significant = self[self["significant"]]
        tested = int(self["pvalue"].notna().sum())
        lines = [
            f"{len(significant)} of {tested} differences significant after adjustment."
            if tested
            else "No difference could be tested."
        ]
        sized = significant.sort_values("effect_size", ascending=False, kind="stable")
        lines += [f"{_difference(line)}." for _, line in sized.head(3).iterrows()]
        if len(significant) and (significant["adjusted_for"] == "nothing").any():
            lines.append("Where nothing was held fixed, the difference may be one of something else.")
        for name, why in list(meta["undefined"].items())[:3]:
            lines.append(f"{name}: not tested, {why}.")
        if meta["skipped"]:
            lines.append("Left out: " + "; ".join(f"{name} ({why})" for name, why in meta["skipped"].items()) + ".")
        if meta["counted"] == "observations":
            lines.append(
                "No run ids: observations were taken as independent; "
                "if several come from one run, alarms are too frequent."
            )
        lines.append(
            f"Alpha {meta['alpha']:g}, p-values adjusted by {meta['adjust']!r} "
            f"over {len(self._known().frames[self._name])} lines."
        )
        return lines


def _slope(finding: Finding, line: pd.Series[Any]) -> str:
    name = f"{line['metric']} of {line_name(finding, line)}"
    span = f"from {line['start']:%Y-%m-%d} to {line['end']:%Y-%m-%d}"
    if pd.isna(line["slope_pct_per_day"]):
        return f"{name}, {short_number(line['slope_per_day'])} {line['unit']} per day, {span}"
    unit = "points" if line["unit"] == "proportion" else "%"
    return (
        f"{name}, {signed(line['slope_pct_per_day'])} {unit} per day "
        f"({signed(line['ci_lower'])} to {signed(line['ci_upper'])}), {span}"
    )


def _difference(line: pd.Series[Any]) -> str:
    said = f"{line['metric']} by {line['dimension']}: {line['magnitude']} effect"
    unit = "points" if line["unit"] == "proportion" else "%"
    known = not pd.isna(line["best"])
    first, second = ("best", "worst") if known else ("lowest", "highest")
    apart = "" if pd.isna(line["spread_pct"]) else f", {signed(line['spread_pct']).lstrip('+')} {unit} apart"
    fixed = "" if line["adjusted_for"] == "nothing" else f", with {line['adjusted_for']} held fixed"
    return f"{said}, {first} {line[first]}, {second} {line[second]}{apart}{fixed}"
