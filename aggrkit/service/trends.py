"""Trends of results over time, as nested dictionaries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrkit.service.service import ResultAggregatorService, TimePair

__all__ = ["TrendAnalyzer"]


class TrendAnalyzer:
    """Says what drifts over time in the results that a service answers for.

    Parameters
    ----------
    service : ResultAggregatorService
        Whose results, configuration and cache are used.

    Examples
    --------
    >>> from aggrkit import BenchmarkDBManager, ResultAggregatorService
    >>> store = BenchmarkDBManager(":memory:")
    >>> days = [f"2026-01-{day:02d}" for day in range(1, 21)]
    >>> rows = [{"model_id": "bert", "timestamp": day, "average_latency_ms": 10.0 + k} for k, day in enumerate(days)]
    >>> _ = store.ingest(rows, "performance")
    >>> analyzer = ResultAggregatorService(store).trend_analyzer
    >>> analyzer.analyze_trends("performance", "model")["trends"]["bert"]["average_latency_ms"]["verdict"]
    'worsening'
    """

    def __init__(self, service: ResultAggregatorService) -> None:
        self._service = service

    def analyze_trends(
        self,
        result_type: str,
        aggregation_level: str,
        filter_params: Mapping[str, Any] | None = None,
        time_range: TimePair = None,
        use_cache: bool = True,
    ) -> dict[str, Any]:
        """Return the trend of each group and metric over time, like with like.

        Parameters
        ----------
        result_type, aggregation_level, filter_params, time_range, use_cache
            As in `ResultAggregatorService.aggregate_results`.

        Returns
        -------
        dict
            As that of `aggregate_results`, with ``trends`` (group -> metric -> ``slope_per_day, slope_pct_per_day,
            ci_lower, ci_upper, tau, pvalue, pvalue_adjusted, verdict, n, start, end``) and ``explanation`` instead of
            ``results``. The slope is Theil and Sen's, the p-value that of Mann and Kendall.

        Raises
        ------
        UnknownNameError
            As `aggregate_results`; also where the results have no time.
        """
        answer = self._service._asked(
            "trends", result_type, aggregation_level, filter_params, time_range, use_cache, ("trends",)
        )
        return {**answer, "trends": answer.pop("results")["trends"]}
