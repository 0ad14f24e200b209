"""What is behind differences that no change of code explains: where noise comes from, and which workers are sick."""

from __future__ import annotations

from typing import Any

import pandas as pd

from aggrkit.findings.base import Finding
from aggrkit.findings.words import counted, group_names, line_name, listing, verdict_counts

__all__ = ["Health", "Variance"]

_TOLD = 3
_SERIES_TO_SHARE = 3
_MANY_SICK = 0.25
_MATTERS = 2.0
_KNOWN_FACTORS = ("worker", "run", "day", "residual")


class Variance(Finding):
    """Where the noise of each metric comes from: a row for each factor, and for each worker.

    Charts: "shares", and "workers" (option `alpha`).
    """

    _name = "variance"

    @property
    def runs(self) -> pd.DataFrame:
        """What all series of a run have in common, for each metric and run; the surest first."""
        return self._known().frames["variance_runs"].copy()

    def _sentences(self) -> list[str]:
        meta = self.meta
        shares = self[self["level"].isna()]
        if not shares["share"].notna().any():
            return ["Nothing varies, or nothing repeats, so there is no noise to split.", *self._why()]
        keys = [*group_names(self), "metric"]
        lines = []
        for _, part in shares.groupby(keys, sort=False, observed=True):
            lines += _noise(self, part)
        more = len(lines) - _TOLD
        lines = [
            *lines[:_TOLD],
            *([f"{counted(more, 'other metric or group', 'other metrics or groups')}."] * (more > 0)),
        ]
        lines += self._workers()
        lines += self._runs_off()
        lines += self._why()
        fixed = listing(meta["adjusted_for"])
        lines.append(
            f"Compared like with like on {fixed}." if fixed else "Nothing to hold fixed: all rows were taken as alike."
        )
        lines.append(
            f"Workers are judged against the noise between their {meta['unit']}s; shares are estimates, "
            "and those of factors with few levels are rough."
        )
        lines.append(f"Alpha {meta['alpha']:g}, p-values adjusted by {meta['adjust']!r}.")
        return lines

    def _workers(self) -> list[str]:
        """Say which workers are surely off."""
        judged = self[self["level"].notna()]
        if not len(judged):
            return []
        off = judged[judged["pvalue_adjusted"] < self.meta["alpha"]]
        off = off.reindex(off["effect_pct"].abs().sort_values(ascending=False, kind="stable").index)
        if not len(off):
            return ["No worker is surely off the others."]
        told = [f"{line['level']}, {_where(self, line)} {_effect(line)}" for _, line in off.head(_TOLD).iterrows()]
        said = f"{counted(len(off), 'offset')} of workers that are surely not 0, the largest: {'; '.join(told)}"
        return [f"{said}. Ask health() which of them are sick."]

    def _runs_off(self) -> list[str]:
        """Say which runs are surely off in all of their series."""
        runs = self._known().frames["variance_runs"]
        sure = (runs["pvalue_adjusted"] < self.meta["alpha"]) & (runs["n"] >= _SERIES_TO_SHARE)
        told = runs[sure & (runs["effect_pct"].abs() >= _MATTERS)]
        told = told.reindex(told["effect_pct"].abs().sort_values(ascending=False, kind="stable").index)
        lines = [
            f"Run {line['run']}: {_where(self, line)} {_effect(line)} in all of its {line['n']} series alike: "
            "the machine moved, not the code, unless the code changed for all of them."
            for _, line in told.head(_TOLD).iterrows()
        ]
        more = len(told) - _TOLD
        return [*lines, *([f"{more} more of 2 % or more: see .runs."] if more > 0 else [])]

    def _why(self) -> list[str]:
        untold = list(self.meta["untold"].items())
        return [f"{name}: not told, {why}." for name, why in untold[:_TOLD]]


class Health(Finding):
    """Workers by the evidence that they are sick, a row each.

    Charts: "workers".
    """

    _name = "health"

    @property
    def tests(self) -> pd.DataFrame:
        """Every test that was made: worker, metric, kind of evidence, effect and p-value."""
        return self._known().frames["health_tests"].copy()

    def _sentences(self) -> list[str]:
        meta = self.meta
        if not len(self):
            return ["No workers."]
        named = "" if meta["workers"] == "worker" else f" by {meta['workers']}"
        lines = [f"{counted(len(self), 'worker')}{named}: {verdict_counts(self['verdict'])}."]
        for verdict in ("sick", "suspect"):
            some = self[self["verdict"] == verdict]
            lines += [f"{line['worker']} is {verdict}: {line['reason']}." for _, line in some.head(_TOLD).iterrows()]
        judged, sick = int((self["verdict"] != "too_few").sum()), int((self["verdict"] == "sick").sum())
        if sick > max(_MANY_SICK * judged, 1):
            lines.append(
                f"{sick} of {judged} is too many for a fleet of one kind: perhaps they differ by what no column says, "
                "such as their set-up."
            )
        if sick:
            lines.append(
                "Next: run the same tests on the sick and on a fine worker, and leave the sick out of comparisons."
            )
        few = int((self["verdict"] == "too_few").sum())
        if few:
            lines.append(f"{few} not judged: fewer than 3 {meta['unit']}s of what other workers ran too.")
        if judged == 2:
            lines.append("With two workers a difference is seen, but not which of them is the sick one.")
        fixed = listing(meta["adjusted_for"])
        lines.append(
            f"Compared like with like on {fixed}, by {meta['unit']}s."
            if fixed
            else f"Nothing to hold fixed: a worker with other work would look sick. By {meta['unit']}s."
        )
        if meta["left_out"]:
            lines += [f"{name} left out: {why}." for name, why in list(meta["left_out"].items())[:_TOLD]]
        lines.append(
            "What changed while only some of the workers ran looks like theirs: check with time_range or where."
        )
        lines.append(
            f"Offsets and drifts below {100 * meta['margin']:g} % don't count, nor spread and failures below 1.5 times "
            f"those of others. The chance of any worker falsely named sick is at most {100 * meta['alpha']:g} %."
        )
        return lines


def _noise(finding: Finding, part: pd.DataFrame) -> list[str]:
    """Say how the noise within cells of one metric is shared out."""
    known = part[part["factor"].isin(_KNOWN_FACTORS) & part["share"].notna()]
    total = float(known["share"].sum())
    if not total > 0:
        return []
    known = known.sort_values("share", ascending=False, kind="stable")
    parts = [
        f"{100 * line['share'] / total:.0f} % {'is not explained' if line['factor'] == 'residual' else line['factor']}"
        + ("" if pd.isna(line["effect_pct"]) else f" ({line['effect_pct']:,.1f} %)")
        for _, line in known.iterrows()
    ]
    cells = part[~part["factor"].isin(_KNOWN_FACTORS)]
    within = f" within {cells['factor'].iloc[0]}" if len(cells) else ""
    return [f"{_where(finding, part.iloc[0])}: of the noise{within}, {', '.join(parts)}."]


def _where(finding: Finding, line: pd.Series[Any]) -> str:
    groups = group_names(finding)
    return f"{line['metric']} of {line_name(finding, line)}" if groups else str(line["metric"])


def _effect(line: pd.Series[Any]) -> str:
    return f"{line['effect_pct']:+,.1f} % ({line['ci_lower']:+,.1f} to {line['ci_upper']:+,.1f})"
