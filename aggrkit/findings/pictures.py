"""The charts of each finding: what `Finding.chart` chooses from."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit import charts
from aggrkit.charts.parts import labels
from aggrkit.charts.rates import rates_of
from aggrkit.errors import SchemaError, UnknownNameError, did_you_mean, listed
from aggrkit.findings.words import counted, group_names, line_name

if TYPE_CHECKING:
    from collections.abc import Callable

    import altair as alt

    from aggrkit.findings.anomalies import Anomalies
    from aggrkit.findings.base import Finding
    from aggrkit.findings.calibration import Calibration
    from aggrkit.findings.causes import Health, Variance
    from aggrkit.findings.changes import Changes
    from aggrkit.findings.comparison import Comparison
    from aggrkit.findings.descriptive import Distributions, Proportions, Stats
    from aggrkit.findings.relations import Correlations, Differences, Trends

__all__ = ["KINDS", "drawn"]

_MOST_GROUPS: Final = 6


def drawn(finding: Finding, kind: str | None, options: dict[str, Any]) -> alt.LayerChart:
    """Return a chart of a finding.

    Parameters
    ----------
    finding : Finding
        With all of its columns.
    kind : str or None
        Which of its kinds of chart; the first one by default.
    options : dict
        What is said to the chart.

    Raises
    ------
    UnknownNameError
        If there is no such kind.
    TypeError
        If the chart has no such option.
    """
    kinds = KINDS[finding._name]
    chosen = next(iter(kinds)) if kind is None else kind
    if chosen not in kinds:
        raise UnknownNameError.of("kind of chart", kind, kinds)
    known = [*inspect.signature(kinds[chosen]).parameters][1:]
    for name in options:
        if name not in known:
            said = f"options: {listed(known)}" if known else "it has none"
            hint = did_you_mean(name, known)
            raise TypeError(
                f"the chart {chosen!r} has no option {name!r}; " + "; ".join(part for part in (hint, said) if part)
            )
    made: alt.LayerChart = kinds[chosen](finding, **options)
    return made


def _levels(finding: Stats, metric: str | None = None, direction: str | None = None) -> alt.LayerChart:
    name = _metric(finding, metric)
    if _is_pass_fail(finding, name):
        return charts.rates_chart(rates_of(_lines_of(finding, name)), group_names(finding), name)
    better = finding.meta.get("better", {}).get(name) if direction is None else direction
    return charts.statistics_chart(pd.DataFrame(finding), group_names(finding), name, direction=better)


def _heatmap(
    finding: Stats,
    metric: str | None = None,
    statistic: str | None = None,
    rows: str | None = None,
    columns: str | None = None,
) -> alt.LayerChart:
    groups = group_names(finding)
    usual = sorted(groups, key=lambda name: (name != "model", name != "hardware"))
    for name in (rows, columns):
        if name is not None and name not in groups:
            raise UnknownNameError.of("group column", name, groups)
    if len(groups) < 2:
        said = f"only {groups[0]!r}" if groups else "none"
        raise SchemaError(
            f"a heatmap needs two group columns, and this frame has {said}: ask with two, such as "
            "level=['model', 'hardware']"
        )
    rows = rows or next(name for name in usual if name != columns)
    columns = columns or next(name for name in usual if name != rows)
    name = _metric(finding, metric)
    lines = pd.DataFrame(finding)
    if statistic is None:
        middle = lines.loc[lines["metric"].eq(name), "p50"] if "p50" in lines else pd.Series(dtype=float)
        statistic = "p50" if middle.notna().any() else "mean"
    return charts.percentile_heatmap(lines, name, statistic, rows=rows, columns=columns)


def _distribution(finding: Stats, metric: str | None = None, bins: int = 40) -> alt.LayerChart:
    lines, groups = pd.DataFrame(finding), group_names(finding)
    numbers = finding[finding["unit"].ne("proportion")]
    name = _metric(numbers if metric is None and len(numbers) else finding, metric)
    if _is_pass_fail(finding, name):
        return charts.shares_chart(_passed_and_failed(_lines_of(finding, name)), groups)
    lines = lines[lines["metric"].eq(name) & lines["n"].gt(0)]
    lines = lines.sort_values("n", ascending=False, kind="stable").reset_index(drop=True)
    shown = lines.head(_MOST_GROUPS)
    counted_bins = finding._source().histograms(shown[groups], name, bins)
    said = dict(enumerate(labels(shown, groups)))
    more = len(lines) - len(shown)
    return charts.distribution_chart(
        counted_bins.assign(line=counted_bins["line"].map(said)),
        ["line"],
        metric=name,
        unit=str(next(iter(shown["unit"].dropna()), "")),
        subtitle=f"{counted(more, 'smaller group')} not shown" if more else "",
    )


def _rates(finding: Proportions, metric: str | None = None) -> alt.LayerChart:
    return charts.rates_chart(pd.DataFrame(finding), group_names(finding), _metric(finding, metric))


def _shares(finding: Distributions, column: str | None = None) -> alt.LayerChart:
    return charts.shares_chart(pd.DataFrame(finding), group_names(finding), column=column)


def _anomalies(finding: Anomalies) -> alt.LayerChart:
    return charts.anomalies_chart(pd.DataFrame(finding), group_names(finding))


def _forest(finding: Comparison, margin: float | None = None) -> alt.LayerChart:
    return charts.compare_chart(pd.DataFrame(finding), group_names(finding), margin=_margin(finding, margin))


def _volcano(finding: Comparison, margin: float | None = None, alpha: float | None = None) -> alt.LayerChart:
    level = finding.meta["alpha"] if alpha is None else alpha
    return charts.volcano_chart(pd.DataFrame(finding), margin=_margin(finding, margin), alpha=level)


def _correlations(finding: Correlations, method: str | None = None) -> alt.LayerChart:
    return charts.correlation_heatmap(pd.DataFrame(finding), method=method)


def _slopes(finding: Trends) -> alt.LayerChart:
    return charts.slopes_chart(pd.DataFrame(finding), group_names(finding))


def _differences(finding: Differences) -> alt.LayerChart:
    return charts.differences_chart(pd.DataFrame(finding))


def _timeline(finding: Changes) -> alt.LayerChart:
    return charts.changes_chart(pd.DataFrame(finding), group_names(finding))


def _series(finding: Changes, i: int = 0) -> alt.LayerChart:
    if not len(finding):
        return _timeline(finding)
    points, line = finding.points(i), finding.iloc[i]
    metric = str(line["metric"])
    return charts.trend_chart(
        points,
        metric,
        unit=finding.meta.get("units", {}).get(metric, ""),
        changes=finding._steps(i).rename(columns={"at": "time"}),
        levels=points.drop(columns="value").rename(columns={"level": "value"}),
        subtitle=line_name(finding, line),
    )


def _noise(finding: Variance) -> alt.LayerChart:
    return charts.variance_chart(pd.DataFrame(finding), group_names(finding))


def _workers(finding: Variance, alpha: float | None = None) -> alt.LayerChart:
    level = finding.meta["alpha"] if alpha is None else alpha
    return charts.workers_chart(pd.DataFrame(finding), group_names(finding), alpha=level)


def _health(finding: Health) -> alt.LayerChart:
    return charts.health_chart(pd.DataFrame(finding))


def _calibration(finding: Calibration) -> alt.LayerChart:
    return charts.calibration_chart(pd.DataFrame(finding))


KINDS: Final[dict[str, dict[str, Callable[..., alt.LayerChart]]]] = {
    "stats": {"levels": _levels, "heatmap": _heatmap, "distribution": _distribution},
    "proportions": {"rates": _rates},
    "distributions": {"shares": _shares},
    "anomalies": {"anomalies": _anomalies},
    "compare": {"forest": _forest, "volcano": _volcano},
    "correlations": {"heatmap": _correlations},
    "trends": {"slopes": _slopes},
    "changes": {"timeline": _timeline, "series": _series},
    "calibration": {"rates": _calibration},
    "differences": {"differences": _differences},
    "variance": {"shares": _noise, "workers": _workers},
    "health": {"workers": _health},
}
"""The kinds of chart of each finding, the default first."""


def _metric(finding: Stats | Proportions, given: str | None) -> str:
    """Return the metric that was asked for, or the first one with values."""
    lines = pd.DataFrame(finding)
    known = lines["metric"] if len(lines) else finding._known().frames[finding._name]["metric"]
    if given is not None and given not in set(known):
        raise UnknownNameError.of("metric", given, known)
    names = [*lines.loc[lines["n"].gt(0), "metric"], *known, "metric"]
    return names[0] if given is None else given


def _lines_of(finding: Stats, metric: str) -> pd.DataFrame:
    lines = pd.DataFrame(finding)
    return lines[lines["metric"].eq(metric)]


def _is_pass_fail(finding: Stats, metric: str) -> bool:
    lines = _lines_of(finding, metric)
    return bool(len(lines)) and bool(lines["unit"].eq("proportion").all())


def _passed_and_failed(lines: pd.DataFrame) -> pd.DataFrame:
    """Return how often a pass/fail metric was which, as the frame "distributions" has it."""
    told = rates_of(lines).assign(column=lines["metric"])
    passed, failed = (
        told.assign(value=name, count=told[of]) for name, of in (("passed", "successes"), ("failed", "failures"))
    )
    return pd.concat([passed, failed], ignore_index=True)


def _margin(finding: Comparison, given: float | None) -> float:
    """Return the margin to draw: where each metric has its own, the widest of them."""
    margin = finding.meta["margin"] if given is None else given
    return max(margin.values(), default=0.0) if isinstance(margin, dict) else margin
