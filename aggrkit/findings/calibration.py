"""How far a comparison can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggrkit.findings.base import Finding
from aggrkit.findings.words import counted, margin_words

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Calibration"]


class Calibration(Finding):
    """How often a comparison finds a change where none is, a row per kind of alarm.

    Charts: "rates".
    """

    _name = "calibration"

    def _sentences(self) -> list[str]:
        meta = self.meta
        any_, each, raw = (row for _, row in self._known().frames[self._name].iterrows())
        lines = []
        lines.append(
            f"Sides exchanged {counted(meta['repeats'], 'time')}: {_rate(any_)} of tables without any true change "
            f"show a verdict all the same; {100 * meta['alpha']:g} % is stated."
        )
        lines.append(f"Of their lines {_rate(each)} get a verdict; of their p-values {_rate(raw)} are below alpha.")
        if any_["ci_lower"] > any_["stated"]:
            lines.append(
                "That is more than stated: trust a verdict less than it says; a smaller alpha or a wider margin helps."
            )
        elif raw["ci_upper"] < raw["stated"] / 2:
            lines.append("That is far less than stated: the test is careful here, and small changes need more runs.")
        if meta["aligned"]:
            some = f"{counted(meta['aligned'], 'line')} with a verdict {'was' if meta['aligned'] == 1 else 'were'}"
            lines.append(f"{some} set back to no change first, so that a true change is no noise.")
        lines.append(
            f"Exchanged were {meta['exchanged']}, in a table of {counted(meta['lines'], 'line')}; "
            f"design {meta['design']!r}, margin {margin_words(meta['margin'])}, alpha {meta['alpha']:g}, "
            f"adjusted by {meta['adjust']!r}; it took {meta['seconds']:g} s."
        )
        if meta["design"] == "observations":
            lines.append(
                "No run ids: observations were exchanged as if independent; "
                "if several come from one run, alarms are more frequent than this shows."
            )
        lines.append("Exchanging hides what drifts over time: where sides were run on different days, see changes().")
        return lines


def _rate(row: pd.Series[Any]) -> str:
    if row["trials"] == 0:
        return "none"
    return f"{100 * row['rate']:.2g} % ({100 * row['ci_lower']:.2g} to {100 * row['ci_upper']:.2g})"
