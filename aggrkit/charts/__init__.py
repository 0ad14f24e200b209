"""Charts of the result frames: pure functions from pandas to Altair.

Each takes a tidy frame (see `aggrkit.model.answer.COLUMNS`) and returns an `altair.LayerChart` that holds aggregated
numbers only, says in words what it shows (`description`), and says so where there is nothing to show.
"""

from __future__ import annotations

from aggrkit.charts.anomalies import anomalies_chart
from aggrkit.charts.calibrations import calibration_chart
from aggrkit.charts.causes import health_chart, variance_chart, workers_chart
from aggrkit.charts.changes import changes_chart
from aggrkit.charts.comparisons import compare_chart, volcano_chart
from aggrkit.charts.differences import differences_chart
from aggrkit.charts.display import mime_bundle, save, static_svg
from aggrkit.charts.distributions import distribution_chart
from aggrkit.charts.heatmaps import correlation_heatmap, percentile_heatmap
from aggrkit.charts.rates import rates_chart
from aggrkit.charts.shares import shares_chart
from aggrkit.charts.slopes import slopes_chart
from aggrkit.charts.statistics import statistics_chart
from aggrkit.charts.trends import trend_chart

__all__ = [
    "anomalies_chart",
    "calibration_chart",
    "changes_chart",
    "compare_chart",
    "correlation_heatmap",
    "differences_chart",
    "distribution_chart",
    "health_chart",
    "mime_bundle",
    "percentile_heatmap",
    "rates_chart",
    "save",
    "shares_chart",
    "slopes_chart",
    "static_svg",
    "statistics_chart",
    "trend_chart",
    "variance_chart",
    "volcano_chart",
    "workers_chart",
]
