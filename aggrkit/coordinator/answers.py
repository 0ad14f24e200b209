"""Answers of both layers as the wire has them: JSON text, kept for as long as it is true."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from aggrkit.analysis import Analysis
from aggrkit.cache import AnswerCache, cache_key
from aggrkit.coordinator.subscriptions import News
from aggrkit.detailed import ResultAggregator
from aggrkit.errors import AggrError, UnknownNameError
from aggrkit.model.selection import Selection
from aggrkit.service.answers import now
from aggrkit.service.sessions import known_filters
from aggrkit.wire import group_keys, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aggrkit.coordinator.actions import Question, Watch
    from aggrkit.coordinator.intake import Intake
    from aggrkit.service import ResultAggregatorService
    from aggrkit.sources.observations import Observations
    from aggrkit.store import BenchmarkDBManager

__all__ = ["Answers"]

_DIMENSIONS: Final[Mapping[str, tuple[str, ...]]] = {"model_hardware": ("model", "hardware")}
_DECIDED: Final = ("regressed", "improved", "changed", "equivalent")
_ALL_DAYS: Final = 99_999


class Answers:
    """What the layers say, each question worked out again only when something has changed.

    Parameters
    ----------
    store : BenchmarkDBManager
        The results.
    service : ResultAggregatorService
        The summary layer, over this store.
    aggregator : ResultAggregator
        The detailed layer, which is told of each result as it comes.
    intake : Intake
        Where results come in; what it has acknowledged is part of every answer.
    hide : mapping of str to str
        Texts that no answer may hold, with what is said instead.
    """

    def __init__(
        self,
        store: BenchmarkDBManager,
        service: ResultAggregatorService,
        aggregator: ResultAggregator,
        intake: Intake,
        hide: Mapping[str, str],
    ) -> None:
        self._store = store
        self._service = service
        self._aggregator = aggregator
        self._intake = intake
        self._hide = {json.dumps(secret)[1:-1]: said for secret, said in hide.items()}
        self._cache = AnswerCache()

    def ready(self, question: Question) -> tuple[str, bool] | None:
        """Return an answer that is at hand and new enough, and whether it is time for a newer one; else None.

        It takes no time: nothing is asked of the store.
        """
        kept = self._cache.get(_key(question))
        if kept is None:
            return None
        if not self._intake.unsettled and kept["of"] == self._state(question):
            return kept["text"], False
        age = time.monotonic() - kept["at"]
        return (kept["text"], age > question.max_age / 2) if age <= question.max_age else None

    def answer(self, question: Question) -> str:
        """Work out an answer from all that was acknowledged so far, and keep it.

        Raises
        ------
        AggrError
            As the layers do.
        """
        self._intake.settle()
        state, at = self._state(question), time.monotonic()
        found = self._detailed(question) if question.detailed else self._summary(question)
        text = json.dumps(plain(found), allow_nan=False)
        for secret, said in self._hide.items():
            text = text.replace(secret, said)
        ttl = self._service.config["cache_ttl_seconds"]
        self._cache.put(_key(question), {"text": text, "of": state, "at": at}, ttl)
        return text

    def watch(self, watch: Watch) -> list[News]:
        """Return all anomalies, confirmed changes and verdicts that there are at this moment."""
        self._intake.settle()
        question, found = watch.question, []
        asked = (question.result_type, question.level, question.filter_params, question.time_range)
        if "anomalies" in watch.events:
            groups = self._service.get_result_anomalies(*asked)["anomalies"]
            for group, metrics in groups.items():
                for metric, entry in metrics.items():
                    found += [
                        News("anomaly", (group, metric, str(each["observation_id"])), each)
                        for each in entry["anomalies"]
                    ]
        if "verdicts" in watch.events:
            for group, metrics in self._service.get_comparison_report(*asked)["comparisons"].items():
                for metric, entry in metrics.items():
                    if entry["verdict"] in _DECIDED:
                        found.append(News("verdict", (group, metric, entry["verdict"]), entry))
        if "changes" in watch.events:
            found += self._changes(question)
        return found

    def _state(self, question: Question) -> str:
        """Return what tells the data and the settings that an answer was made of from all others."""
        service, aggregator = self._service, self._aggregator
        if question.detailed:
            return cache_key(self._store.data_version, len(aggregator.test_results), repr(aggregator.config))
        stages = (service.preprocessing_pipeline, service.aggregation_pipeline, service.postprocessing_pipeline)
        return cache_key(self._store.data_version, repr(service.config), repr(stages))

    def _summary(self, question: Question) -> dict[str, Any]:
        found = self._service.aggregate_results(
            question.result_type, question.level, question.filter_params, question.time_range
        )
        found["metadata"] |= {"aggregator": "high_level", "timestamp": now()}
        return found

    def _detailed(self, question: Question) -> dict[str, Any]:
        dimensions, notes = {}, []
        with self._aggregator_of(question) as aggregator:
            names = _DIMENSIONS.get(question.level, (question.level,))
            pictures: dict[str, Any] = {}
            for name in names:
                try:
                    dimensions[name] = aggregator.get_dimension_analysis(name)
                    pictures |= aggregator.get_visualizations(name)
                except UnknownNameError as error:
                    notes.append(str(error))
            results = {
                "dimension_analysis": dimensions,
                "overall_status": aggregator.get_overall_status(),
                "regressions": aggregator.get_regressions(),
                "anomalies": aggregator.get_anomalies(),
                "visualizations": pictures,
                "metadata": {"aggregator": "detailed", "timestamp": now(), "notes": notes},
            }
        return {"aggregation_level": question.level, "result_type": question.result_type, "results": results}

    @contextmanager
    def _aggregator_of(self, question: Question) -> Iterator[ResultAggregator]:
        """Give the detailed layer itself, if it holds what the question selects; else one that does."""
        counts = self._store.counts()
        all_of_it = sum(counts.values()) == counts[question.result_type] == len(self._aggregator.test_results)
        if all_of_it and not (question.filter_params or question.time_range):
            yield self._aggregator
            return
        with self._store.observations(question.result_type) as observations:
            chosen: dict[str, Any] = {"where": question.filter_params}
            known_filters(observations, Selection((), **chosen))
        aggregator = ResultAggregator(db_manager=_Selected(self._store, question))
        settings = {name: value for name, value in self._aggregator.config.items() if name != "history_days"}
        aggregator.configure(settings | {"history_days": _ALL_DAYS})
        aggregator.start()
        try:
            yield aggregator
        finally:
            aggregator.stop()

    def _changes(self, question: Question) -> list[News]:
        with self._store.observations(question.result_type) as observations:

            def source(_: Mapping[str, Any]) -> Observations:
                return observations

            try:
                frame = Analysis(source, {}).changes(
                    question.level, where=question.filter_params, time_range=question.time_range
                )
            except AggrError:  # no times, or too few of them: nothing can have changed
                return []
            lines = frame[frame["status"].eq("confirmed")]
            groups = list(frame.columns[: list(frame.columns).index("metric")])
            keys = group_keys(lines, groups)
            records = plain(lines.to_dict("records"))
        return [
            News("change", (key, line["metric"], str(line["at"]), str(line["direction"])), line)
            for key, line in zip(keys, records, strict=True)
        ]


class _Selected:
    """The results that a question selects, behind the method by which the detailed layer loads history."""

    def __init__(self, store: BenchmarkDBManager, question: Question) -> None:
        self._store = store
        self._question = question

    def get_test_results(self) -> list[dict[str, Any]]:
        """Return them."""
        filters = {**self._question.filter_params, "result_type": self._question.result_type}
        return self._store.get_test_results(filters, self._question.time_range)


def _key(question: Question) -> str:
    return cache_key(
        question.result_type, question.level, question.filters, question.time_range or (), question.detailed
    )
