"""What is there: statistics, pass rates, distributions."""

from __future__ import annotations

from aggrkit.findings.base import Finding
from aggrkit.findings.words import by_words, counted, group_names, line_name, listing

__all__ = ["Distributions", "Proportions", "Stats"]

_MANY = 5


class Stats(Finding):
    """Descriptive statistics, a row per group and metric.

    Charts: "levels" (options `metric`, `direction`), "heatmap" (`metric`, `statistic`, `rows`, `columns`), and
    "distribution" (`metric`, `bins`), for which the values of at most six groups are counted in the source.
    """

    _name = "stats"

    def _sentences(self) -> list[str]:
        if not len(self):
            return ["No statistics."]
        groups = group_names(self)
        count = self[groups].drop_duplicates().shape[0] if groups else 1
        metrics = list(dict.fromkeys(self["metric"]))
        lines = [
            f"{counted(count, 'group')} by {by_words(groups)}, {counted(len(metrics), 'metric')}: {listing(metrics)}."
        ]
        thin = self[self["n"].between(1, _MANY - 1)]
        if len(thin):
            lines.append(
                f"{len(thin)} of {len(self)} lines rest on fewer than {_MANY} values; their percentiles say little."
            )
        empty = int((self["n"] == 0).sum())
        if empty:
            lines.append(f"{counted(empty, 'line')} without any value: the metric isn't recorded there.")
        return lines


class Proportions(Finding):
    """Pass rates with Wilson intervals, a row per group and metric.

    Charts: "rates" (option `metric`).
    """

    _name = "proportions"

    def _sentences(self) -> list[str]:
        told = self[self["n"] > 0]
        if not len(told):
            return ["No observation passed or failed."]
        failing = told[told["failures"] > 0]
        total = int(told["n"].sum())
        lines = [
            (
                f"{total:,} results, {100 * told['successes'].sum() / total:.1f} % passed; "
                f"{len(failing)} of {len(told)} lines have failures."
            )
        ]
        if len(failing):
            worst = failing.sort_values("ci_upper").iloc[0]
            lines.append(
                f"Surely worst: {line_name(self, worst)}, {100 * worst['rate']:.1f} % of {worst['n']:,} "
                f"(95 % interval {100 * worst['ci_lower']:.1f} to {100 * worst['ci_upper']:.1f} %)."
            )
        return lines


class Distributions(Finding):
    """How often each value of a describing column occurs, a row per group, column and value.

    Charts: "shares" (option `column`).
    """

    _name = "distributions"

    def _sentences(self) -> list[str]:
        columns = list(dict.fromkeys(self["column"]))
        lines = [f"{counted(len(columns), 'column')} described: {listing(columns)}."]
        skipped = self.meta.get("skipped", {})
        if skipped:
            lines.append("Left out: " + "; ".join(f"{name} ({why})" for name, why in skipped.items()) + ".")
        return lines
