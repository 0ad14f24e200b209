"""`ResultAggregatorService`: the summary layer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from aggrkit import wire
from aggrkit.cache import AnswerCache, cache_key
from aggrkit.errors import EmptySelectionError, UnknownNameError, quoted
from aggrkit.model.metric import RESULT_TYPES
from aggrkit.model.selection import LEVELS, Selection, names_of
from aggrkit.output import write_whole
from aggrkit.service.answers import Settings, answered, counts, new_context, now
from aggrkit.service.config import updated
from aggrkit.service.inquiry import Inquiry
from aggrkit.service.sessions import ManagerSession, StoreSession
from aggrkit.service.trends import TrendAnalyzer
from aggrkit.store import BenchmarkDBManager

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from aggrkit.service.sessions import Session

__all__ = ["ResultAggregatorService"]

RecordFunction = Callable[..., Any]
Answer = dict[str, Any]
TimePair = tuple[Any, Any] | Sequence[Any] | None

_FORMATS: Final = ("json", "csv")
_NO_MANAGER: Final = "there is no db_manager to ask"
_BUILT_IN: Final[Mapping[str, Mapping[str, str | None]]] = {
    "preprocess": {
        "filter_invalid_results": "filter_invalid_enabled",
        "deduplicate_results": "deduplication_enabled",
        "normalize_metrics": "normalize_metrics",
    },
    "aggregate": {
        "aggregate_basic_statistics": None,
        "aggregate_percentiles": "percentiles_enabled",
        "aggregate_distributions": "distributions_enabled",
    },
    "postprocess": {
        "detect_anomalies": "anomaly_detection_enabled",
        "comparative_analysis": "comparative_analysis_enabled",
        "add_context_metadata": "context_metadata_enabled",
    },
}
"""The built-in stages of each phase in their order, with the setting that turns each off."""


class ResultAggregatorService:
    """Statistics, anomalies and comparisons of test results as nested dictionaries, cached.

    Parameters
    ----------
    db_manager : BenchmarkDBManager or object, optional
        The store; or any object with the methods ``get_performance_results``, ``get_compatibility_results``,
        ``get_integration_test_results`` and ``get_web_platform_results``, each ``(aggregation_level=, filter_params=,
        time_range=) -> list of dict``, and ``get_model_info(id)``, ``get_hardware_info(id)``. Without one every answer
        is empty.
    clock : callable, optional
        Gives the seconds by which the cache tells age.

    Notes
    -----
    A manager may ignore filters and time range: its results are selected and grouped here. It is asked for current
    results once per question, and for history once. All methods may be called from several threads.

    Examples
    --------
    >>> from aggrkit import RESULT_TYPE_PERFORMANCE, AGGREGATION_LEVEL_MODEL, ResultAggregatorService
    >>> from aggrkit.store import BenchmarkDBManager
    >>> store = BenchmarkDBManager(":memory:")
    >>> _ = store.ingest([{"model_id": "bert", "average_latency_ms": x} for x in (9.0, 11.0)], "performance")
    >>> service = ResultAggregatorService(db_manager=store)
    >>> answer = service.aggregate_results(RESULT_TYPE_PERFORMANCE, AGGREGATION_LEVEL_MODEL)
    >>> answer["results"]["basic_statistics"]["bert"]["average_latency_ms"]["mean"]
    10.0
    """

    def __init__(self, db_manager: Any = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.db_manager = db_manager
        self._settings = Settings()
        self._changing = threading.Lock()
        self._cache = AnswerCache(clock)

    @property
    def trend_analyzer(self) -> TrendAnalyzer:
        """What drifts over time: ``trend_analyzer.analyze_trends(result_type, aggregation_level)``."""
        return TrendAnalyzer(self)

    @property
    def config(self) -> dict[str, Any]:
        """The configuration, as a copy; `configure` changes it."""
        return dict(self._settings.config)

    @property
    def preprocessing_pipeline(self) -> tuple[Any, ...]:
        """The stages of the first phase: names of the built-in ones that are on, then the registered functions."""
        return self._stages("preprocess")

    @property
    def aggregation_pipeline(self) -> tuple[Any, ...]:
        """The stages of the second phase."""
        return self._stages("aggregate")

    @property
    def postprocessing_pipeline(self) -> tuple[Any, ...]:
        """The stages of the third phase."""
        return self._stages("postprocess")

    def aggregate_results(
        self,
        result_type: str,
        aggregation_level: str,
        filter_params: Mapping[str, Any] | None = None,
        time_range: TimePair = None,
        use_cache: bool = True,
    ) -> Answer:
        """Aggregate results through the whole pipeline.

        Parameters
        ----------
        result_type : str
            "performance", "compatibility", "integration" or "web_platform".
        aggregation_level : str
            "test_run", "model", "hardware", "model_hardware", "task_type" or "worker".
        filter_params : mapping, optional
            Column to the value, or the list of values, that is let in; None stands for missing.
        time_range : pair, optional
            First and last moment, either of them None; times without a zone are UTC.
        use_cache : bool, optional
            Whether an answer that is still fresh may be given again.

        Returns
        -------
        dict
            ``aggregation_level, result_type, results, metadata, processed_at, raw_result_count,
            processed_result_count, context``, of JSON values only; see `aggrkit.wire.answer_schema`. ``results`` holds
            ``basic_statistics, percentiles, distributions, anomalies, comparisons``, and what registered functions
            added. Where nothing is selected all of it is empty, and ``metadata["notes"]`` says why.

        Raises
        ------
        UnknownNameError
            For a result type, level or filter that doesn't exist; lists those that do.
        StageError
            If a registered function fails; names it and its phase.
        SourceError
            If the store or the manager can't be read.
        """
        return self._asked(
            "aggregate", result_type, aggregation_level, filter_params, time_range, use_cache, wire.PARTS
        )

    def get_result_anomalies(
        self,
        result_type: str,
        aggregation_level: str,
        filter_params: Mapping[str, Any] | None = None,
        time_range: TimePair = None,
        use_cache: bool = True,
    ) -> Answer:
        """Return every observation that doesn't belong to its group.

        Parameters
        ----------
        result_type, aggregation_level, filter_params, time_range, use_cache
            As in `aggregate_results`.

        Returns
        -------
        dict
            As that of `aggregate_results`, with ``anomalies`` (group -> metric -> observations), ``anomaly_count`` and
            ``explanation`` instead of ``results``.
        """
        answer = self._asked(
            "anomalies", result_type, aggregation_level, filter_params, time_range, use_cache, ("anomalies",)
        )
        found = answer.pop("results")["anomalies"]
        count = sum(len(entry["anomalies"]) for metrics in found.values() for entry in metrics.values())
        return answer | {"anomalies": found, "anomaly_count": count}

    def get_comparison_report(
        self,
        result_type: str,
        aggregation_level: str,
        filter_params: Mapping[str, Any] | None = None,
        time_range: TimePair = None,
        use_cache: bool = True,
    ) -> Answer:
        """Compare current results with those before them.

        Parameters
        ----------
        result_type, aggregation_level, filter_params, time_range, use_cache
            As in `aggregate_results`.

        Returns
        -------
        dict
            As that of `aggregate_results`, with ``comparisons`` (group -> metric -> comparison), ``summary`` (verdict
            -> how many) and ``explanation`` instead of ``results``.
        """
        answer = self._asked(
            "comparisons", result_type, aggregation_level, filter_params, time_range, use_cache, ("comparisons",)
        )
        found = answer.pop("results")["comparisons"]
        summary: dict[str, int] = {}
        for metrics in found.values():
            for entry in metrics.values():
                summary[entry["verdict"]] = summary.get(entry["verdict"], 0) + 1
        return answer | {"comparisons": found, "summary": summary}

    def analyze_correlations(
        self,
        result_type: str,
        metrics: Sequence[str] | str | None = None,
        filter_params: Mapping[str, Any] | None = None,
        time_range: TimePair = None,
    ) -> Answer:
        """Correlate metrics, paired by observation, pooled and within model, hardware and conditions.

        Parameters
        ----------
        result_type : str
            As in `aggregate_results`.
        metrics : sequence of str, optional
            Which metrics; all by default.
        filter_params, time_range
            As in `aggregate_results`.

        Returns
        -------
        dict
            ``correlations``: a list of ``metric1, metric2, method ("pearson", "spearman"), correlation, pvalue,
            pvalue_adjusted, n, strength, direction, significant, reversed_within_groups``; beside it ``result_type,
            metrics, explanation, metadata, raw_result_count``.

        Raises
        ------
        UnknownNameError
            For a metric that the results don't have.
        """
        settings = self._settings
        config = {**settings.config, "normalize_metrics": False}
        names = None if metrics is None else names_of(metrics, "metrics are a name or a list of names")
        selection = _selection(result_type, (), filter_params, time_range, names)
        context = new_context(selection, "", filter_params)
        answer: dict[str, Any] = {
            "result_type": result_type,
            "metrics": list(names or ()),
            "correlations": [],
            "explanation": "",
            "metadata": {},
            "raw_result_count": 0,
            "processed_result_count": 0,
            "processed_at": now(),
        }
        with self._session(selection, "", filter_params, time_range) as session:
            if session is None:
                return answer | {"explanation": _NO_MANAGER}
            inquiry = Inquiry(session, selection, config, settings.preprocess, context)
            try:
                found = inquiry.correlations
            except EmptySelectionError as error:
                return answer | {"explanation": str(error)}
            answer["metrics"] = [metric.name for metric in inquiry.measured.metrics]
            answer["correlations"] = wire.correlations_response(found.frames["correlations"])
            answer["explanation"] = inquiry.explanation("correlations")
            return dict(wire.plain(answer | counts(inquiry)))

    def export_results(
        self,
        result_type: str,
        aggregation_level: str,
        filter_params: Mapping[str, Any] | None = None,
        time_range: TimePair = None,
        format: str = "json",
        file_path: str | os.PathLike[str] | None = None,
    ) -> str:
        """Return the aggregated results as text, and write them to a file.

        Parameters
        ----------
        result_type, aggregation_level, filter_params, time_range
            As in `aggregate_results`.
        format : {"json", "csv"}, optional
            "json": the whole answer. "csv": ``group, metric, count, mean, median, min, max, std, p50, ..., p99``.
        file_path : path, optional
            Where to write it; the file is replaced as a whole, or left as it was.

        Returns
        -------
        str
            The text.

        Raises
        ------
        UnknownNameError
            For an unknown format.
        """
        if format not in _FORMATS:
            raise UnknownNameError.of("format", format, _FORMATS)
        answer = self.aggregate_results(result_type, aggregation_level, filter_params, time_range)
        text = wire.as_csv(answer) if format == "csv" else json.dumps(answer, indent=2, allow_nan=False)
        if file_path is not None:
            write_whole(file_path, text)
        return text

    def configure(self, config_updates: Mapping[str, Any]) -> None:
        """Change the configuration; see `aggrkit.service.config.DEFAULTS`.

        Parameters
        ----------
        config_updates : mapping
            Setting to its new value. Unknown settings are kept, with a warning. Setting ``anomaly_threshold`` chooses
            the method "zscore", unless ``anomaly_method`` is given.

        Raises
        ------
        TypeError, ValueError
            If a value is impossible; nothing is changed then.
        """
        with self._changing:
            config = updated(self._settings.config, config_updates)
            self._settings = replace(self._settings, config=config, revision=self._settings.revision + 1)

    def register_preprocessor(self, func: RecordFunction) -> None:
        """Add a function ``(results, context) -> results`` after the built-in stages of the first phase."""
        self._register("preprocess", func)

    def register_aggregator(self, func: RecordFunction) -> None:
        """Add a function ``(results, context) -> dict``; it finds ``context["grouped_results"]``.

        What it returns is added to the ``results`` of the answer.
        """
        self._register("aggregate", func)

    def register_postprocessor(self, func: RecordFunction) -> None:
        """Add a function ``(aggregated_results, context)`` that changes ``aggregated_results["results"]`` in place."""
        self._register("postprocess", func)

    def clear_cache(self) -> None:
        """Forget all cached answers."""
        self._cache.clear()

    def _register(self, phase: str, func: RecordFunction) -> None:
        if not callable(func):
            raise TypeError(f"a stage is a function; got {quoted(func)}")
        with self._changing:
            stages = (*getattr(self._settings, phase), func)
            changed: dict[str, Any] = {phase: stages, "revision": self._settings.revision + 1}
            self._settings = replace(self._settings, **changed)

    def _asked(
        self,
        kind: str,
        result_type: str,
        level: str,
        filter_params: Mapping[str, Any] | None,
        time_range: TimePair,
        use_cache: bool,
        parts: Sequence[str],
    ) -> Answer:
        if not isinstance(level, str) or level not in LEVELS:
            raise UnknownNameError.of("aggregation level", level, LEVELS)
        settings = self._settings
        selection = _selection(result_type, level, filter_params, time_range)
        version = self.db_manager.data_version if isinstance(self.db_manager, BenchmarkDBManager) else 0
        key = cache_key(kind, selection.to_json(), settings.revision, version)
        if use_cache:
            cached = self._cache.get(key)
            if cached is not None:
                return dict(cached)
        context = new_context(selection, level, filter_params)
        with self._session(selection, level, filter_params, time_range) as session:
            answer = wire.plain(answered(settings, session, selection, context, parts))
        self._cache.put(key, answer, settings.config["cache_ttl_seconds"])
        return dict(answer)

    @contextmanager
    def _session(
        self, selection: Selection, level: str, filter_params: Mapping[str, Any] | None, time_range: TimePair
    ) -> Iterator[Session | None]:
        manager, result_type = self.db_manager, str(selection.result_type)
        if manager is None:
            yield None
        elif isinstance(manager, BenchmarkDBManager):
            with StoreSession.opened(manager, result_type) as session:
                yield session
        else:
            pair = None if selection.time_range is None or time_range is None else (time_range[0], time_range[1])
            yield ManagerSession(manager, result_type, level, dict(filter_params or {}), pair)

    def _stages(self, phase: str) -> tuple[Any, ...]:
        settings = self._settings
        on = (name for name, switch in _BUILT_IN[phase].items() if switch is None or settings.config[switch])
        return (*on, *getattr(settings, phase))


def _selection(
    result_type: str,
    level: str | Sequence[str],
    filters: Mapping[str, Any] | None,
    time_range: TimePair,
    metrics: Sequence[str] | None = None,
) -> Selection:
    if result_type not in RESULT_TYPES:
        raise UnknownNameError.of("result type", result_type, RESULT_TYPES)
    chosen: Any = {"level": level, "where": dict(filters or {}), "time_range": time_range, "metrics": metrics}
    return Selection(result_type=result_type, **chosen)
