"""What changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

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
    from collections.abc import Iterable, Mapping

    from aggrkit.findings.gate import Expected, Gate

__all__ = ["Comparison"]

_MOVED = ("regressed", "changed", "improved")
_SEVERAL = 3
_TOLD = 3


class Comparison(Finding):
    """Current against baseline with a verdict, a row per group and metric.

    Charts: "forest" (option `margin`), and "volcano" (`margin`, `alpha`).

    Attributes
    ----------
    details : pandas.DataFrame
        For the same lines: the design ("runs", "observations", ...), strata, p-value of the rank test (Mann-Whitney,
        or van
        Elteren's over strata), Cliff's delta, heterogeneity, the smallest change that would be found now, and what
        was left out.
    """

    _name = "compare"

    @property
    def details(self) -> pd.DataFrame:
        """What else is known of each line."""
        self._require()
        return self._known().frames["compare_details"].reindex(self._made_at()).set_axis(self.index)

    def incidents(self) -> pd.DataFrame:
        """Gather the lines that changed by what they have in common.

        Returns
        -------
        pandas.DataFrame
            ``verdict, slice, lines, of, change_pct, smallest_pct, largest_pct``: of the `of` lines of a slice, such as
            "hardware a100, metric latency_ms", so many have this verdict, by the median, the least and the most
            extreme change. "all" where nearly all lines have it, "scattered" where they have nothing in common.

        See Also
        --------
        aggrkit.statistics.slices.slices : how slices are found.
        """
        from aggrkit.pipeline.incidents import incidents_by_slice

        self._require()
        lines = pd.DataFrame(self).reset_index(drop=True)
        lines = lines[lines["verdict"].ne("no_data")].reset_index(drop=True)
        columns = [*group_names(self), "metric", *(["statistic"] if "statistic" in lines else [])]
        return incidents_by_slice(lines, columns, _MOVED)

    def gate(
        self,
        max_regressions: int | None = 0,
        *,
        fail_on: str = "regressed",
        missing: str = "fail",
        tolerate: str | Iterable[str] = (),
        allow: Iterable[Expected | Mapping[str, Any]] = (),
        min_effect: float | Mapping[str, float] = 0.0,
    ) -> Gate:
        """Say whether these lines let a release pass.

        Parameters
        ----------
        max_regressions : int or None, optional
            So many lines may regress; any number with None.
        fail_on : {"regressed", "changed", "undecided", "improved"}, optional
            What closes the gate, and all before it in this order. "changed": also a change of which it isn't known
            whether it is for the better. "undecided": also a line that isn't decided, so that each must be shown to be
            equivalent or improved. "improved": also a change for the better, as where results must stay as they are.
            What regressed, changed or improved counts against `max_regressions`; one undecided line closes the gate.
        missing : {"fail", "warn"}, optional
            What becomes of lines of which the current side has no data while the baseline has: a test that didn't run
            can't regress, so by default they close the gate. New lines never do.
        tolerate : str or list of str, optional
            Metrics whose lines are shown, and never close the gate.
        allow : list of mappings, optional
            Changes that are expected: each names columns of the comparison and their values or patterns, as in
            ``{"model": "resnet*", "metric": "memory_mb", "up_to": 0.1, "reason": "a larger cache"}``. Without ``up_to``
            it lets anything pass, missing lines too. Entries that are no longer needed are named in the notes.
        min_effect : float or mapping, optional
            The smallest change that closes the gate, 0.05 for 5 % (5 points for pass rates), or one by metric. The
            margin of the comparison is what a verdict needs; this is for a gate that is more patient than the table.

        Returns
        -------
        Gate
            With ``passed, exit_code, reasons, incidents, notes``, `explain`, `to_markdown`, `to_junit`, `to_json`. It
            is true if it is open. The `exit_code` is 0 if it is open, 1 if changes closed it, 3 if only missing data
            did.

        Raises
        ------
        EmptySelectionError
            If the comparison has no line: nothing was tested, and that must not pass.
        UnknownNameError
            If `tolerate`, `allow` or `min_effect` name a metric or column that isn't there.
        TypeError, ValueError
            If a value is impossible.

        Notes
        -----
        On a table without any true change, the chance that the gate is closed by a regression is at most half of the
        `alpha` of the comparison (its adjusted tests have two sides); `calibrate` tries it on your own data.

        Examples
        --------
        >>> import aggrkit
        >>> df = aggrkit.datasets.load("mlperf_training")
        >>> found = df.aggr.compare("v3.0", "v3.1", by="round", metrics="total_time_seconds")
        >>> gate = found.gate(missing="warn")
        >>> gate.passed, gate.exit_code
        (False, 1)
        >>> print(gate.incidents[0])
        regressed: 3 of the 6 lines of hardware NVIDIA H100-PCIe-80GB, by +6.69 % in the median (+4.66 to +76.8)
        """
        from aggrkit.findings.gate import Rules, gate_of

        rules = Rules(max_regressions, fail_on, missing, tolerate, allow, min_effect)  # type: ignore[arg-type]
        return gate_of(self, rules)

    def _where(self) -> list[str]:
        """Say what the changed lines have in common."""
        if self["verdict"].isin(_MOVED).sum() < _SEVERAL:
            return []
        told = self.incidents()
        common = told[told["lines"].ge(_SEVERAL) & ~told["slice"].isin(["all", "scattered"])]
        rates = self["unit"].eq("proportion")
        unit = "points" if rates.all() else "% or points" if rates.any() else "%"
        return [
            f"{one['lines']} of the {one['of']} lines of {one['slice']} {one['verdict']}, "
            f"by {signed(one['change_pct'])} {unit} in the median."
            for _, one in common.head(_TOLD).iterrows()
        ]

    def _sentences(self) -> list[str]:
        meta = self.meta
        told = verdict_counts(self["verdict"]) or "nothing to compare"
        lines = [f"{meta['current']} against {meta['baseline']}: {told}."]
        lines += self._by_statistic()
        for verdict in ("regressed", "improved"):
            some = self[self["verdict"] == verdict]
            if len(some):
                worst = some.loc[some["change_pct"].abs().sort_values(ascending=False).index[0]]
                lines.append(
                    f"Largest {'regression' if verdict == 'regressed' else 'improvement'}: {_change(self, worst)}."
                )
        lines += self._where()
        undecided = self[(self["verdict"] == "undecided") & self["runs_needed"].notna()]
        if len(undecided):
            median = int(undecided["runs_needed"].median())
            lines.append(
                f"{counted(len(undecided), 'line')} can't be decided yet; "
                f"half of them need at most {median} {unit_of_design(meta['design'])} a side."
            )
        matched = [name for name in meta["matched_on"] if name]
        lines.append(
            f"Compared like with like on {listing(matched)}."
            if matched
            else "Nothing to match on: sides compared as wholes."
        )
        unlike = self["note"].str.contains("not like with like", regex=False).sum()
        if unlike:
            lines.append(
                f"{counted(int(unlike), 'line')} not like with like: conditions changed with the sides, so no verdict."
            )
        if meta["design"] == "observations":
            lines.append(
                "No run ids: observations were taken as independent; "
                "if several come from one run, alarms are too frequent."
            )
        if meta.get("mean_only"):
            others = [name for name in meta["statistic"] if name != "mean"]
            left_out = f"{listing(meta['mean_only'])} left out of {listing(others)}"
            lines.append(f"Pass/fail metrics have only a mean: {left_out}.")
        spread = f" ({margin_words(meta['margin_spread'])} for spread)" if "margin_spread" in meta else ""
        lines.append(
            f"Margin {margin_words(meta['margin'])}{spread}, alpha {meta['alpha']:g}, "
            f"p-values adjusted by {meta['adjust']!r} over {len(self._known().frames[self._name])} lines."
        )
        return lines

    def _by_statistic(self) -> list[str]:
        """Say what each statistic tells, and where one stayed the same and another didn't."""
        if not len(self) or len(set(self.get("statistic", ()))) < 2:
            return []
        names = [name for name in self.meta["statistic"] if (self["statistic"] == name).any()]
        told = [f"{name} {verdict_counts(self.loc[self['statistic'] == name, 'verdict'])}" for name in names]
        return [f"By statistic: {'; '.join(told)}.", *self._stories()]

    def _stories(self) -> list[str]:
        """Tell of the largest change of one statistic where another of the same line stayed the same."""
        keys = [*group_names(self), "metric"]
        plain = pd.DataFrame(self)
        same = plain[plain["verdict"] == "equivalent"].groupby(keys, dropna=False)["statistic"].agg(", ".join)
        moved = plain[plain["verdict"].isin(_MOVED)].join(same.rename("same"), on=keys, how="inner")
        if not len(moved):
            return []
        groups = moved.drop_duplicates(keys)
        worst = moved.loc[moved["change_pct"].abs().sort_values(ascending=False).index[0]]
        where = f"In {counted(len(groups), 'group')} of a metric one statistic moved and another stayed"
        return [f"{where}: {_change(self, worst)}, {worst['same']} the same."]


def _change(finding: Finding, line: pd.Series[Any]) -> str:
    statistic = f" {line['statistic']}" if "statistic" in finding._known().frames[finding._name] else ""
    name = f"{line['metric']}{statistic} of {line_name(finding, line)}"
    if pd.isna(line["change_pct"]):
        return f"{name}, from {short_number(line['baseline'])} to {short_number(line['current'])}"
    unit = "points" if line["unit"] == "proportion" else "%"
    return f"{name}, {line['change_pct']:+,.1f} {unit} ({line['ci_lower']:+,.1f} to {line['ci_upper']:+,.1f})"


def unit_of_design(design: str) -> str:
    return "runs" if design != "observations" else "observations"
