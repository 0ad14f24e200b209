"""What is odd."""

from __future__ import annotations

import pandas as pd

from aggrkit.findings.base import Finding
from aggrkit.findings.words import counted, line_name, listing, short_number

__all__ = ["Anomalies"]


class Anomalies(Finding):
    """Observations that don't belong to their cell, a row each.

    Charts: "anomalies".
    """

    _name = "anomalies"

    def _sentences(self) -> list[str]:
        meta = self.meta
        cells = meta["cells_tested"]
        if not meta["too_few"]:
            return ["No metric that is a number: a single failure is no anomaly; compare() finds changed pass rates."]
        lines = [
            (
                f"{counted(len(self), 'anomaly', 'anomalies')} in {counted(cells, 'cell')} "
                f"tested by method {meta['method']!r}."
            )
        ]
        if len(self):
            sized = pd.DataFrame(self).assign(__size=-self["score"].abs())
            worst = sized.sort_values(["pvalue_adjusted", "__size"], kind="stable").iloc[0]
            lines.append(
                f"Most certain: {worst['metric']} = {short_number(worst['value'])} of {line_name(self, worst)} "
                f"(observation {worst['observation']}), "
                f"expected {short_number(worst['lower'])} to {short_number(worst['upper'])}."
            )
        lines += self._standing()
        if meta["method"] in ("robust", "gesd") and meta["threshold"] is None:
            lines.append(f"In clean data the chance of any false flag over all cells is {100 * meta['alpha']:g} %.")
        elif meta["method"] != "gesd":
            lines.append(
                f"The threshold {meta['threshold']:g} holds no false-alarm rate: the more cells, the more flags."
            )
        if meta["pooled_over"]:
            lines.append(f"Cells were thin: pooled over {listing(meta['pooled_over'])}, by which no metric differs.")
        if meta["shifted"]:
            said = counted(meta["shifted"], "cell")
            lines.append(
                f"{said} shifted over time: values are measured against the level of their time; see changes()."
            )
        for metric, (count, largest) in meta["too_few"].items():
            if count:
                example = (
                    f"too few observations (n={largest}, needs {meta['needs']})"
                    if largest < meta["needs"]
                    else f"fewer than {meta['needs']} values"
                )
                lines.append(f"{metric}: {counted(count, 'cell')} not tested, {example}.")
        return lines

    def _standing(self) -> list[str]:
        """Say how many anomalies are suspect, why, and what settles it."""
        latest, few = (self.meta["suspect"][reason] for reason in ("latest", "few"))
        whole = len(self._known().frames[self._name])
        if not latest + few:
            since = ", and normal ones since" if self.meta["timed"] else ""
            return [f"All are confirmed: their cells have enough values{since}."] if whole else []
        said = [f"{whole - latest - few:,} confirmed, {latest + few:,} suspect."]
        if latest:
            said.append(
                f"{counted(latest, 'suspect')}: no normal value of the cell since, so this may be the start of a "
                "shift; three more runs tell."
            )
        if few:
            said.append(f"{counted(few, 'suspect')}: fewer than 10 values of the kind; repeat the test to be sure.")
        return said
