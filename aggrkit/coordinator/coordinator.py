"""`TestCoordinator`: runs tests on many workers, and puts what they find where it belongs."""

from __future__ import annotations

import logging
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd

from aggrkit.accessor import stats
from aggrkit.coordinator.config import RunConfig
from aggrkit.coordinator.dask_crew import DaskCrew
from aggrkit.coordinator.local import ProcessCrew, ThreadCrew
from aggrkit.coordinator.running import Run
from aggrkit.detailed import ResultAggregator
from aggrkit.errors import AggrError, SchemaError, quoted
from aggrkit.model.selection import Selection
from aggrkit.service import ResultAggregatorService
from aggrkit.store import BenchmarkDBManager

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrkit.coordinator.crew import Crew
    from aggrkit.coordinator.run_report import RunReport

__all__ = ["TestCoordinator"]

_log = logging.getLogger(__name__)


class TestCoordinator:
    """Runs tests over a grid of models, hardware and conditions on many workers.

    Those that are expected to take longest come first, by what they took before; a test that failed, or whose worker
    was lost, is run again; a worker that the results show to be sick gets no more. What is found goes into the store,
    with run, worker and environment, and into both layers.

    Parameters
    ----------
    result_aggregator : ResultAggregatorService or ResultAggregator, optional
        A layer over the store; the other one is made.
    db_manager : BenchmarkDBManager, optional
        The store; that of `result_aggregator` by default.
    detailed_aggregator : ResultAggregator, optional
        The detailed layer, where `result_aggregator` is the other one.

    Raises
    ------
    TypeError, SchemaError
        If there is no store, or the layers read another one.

    Attributes
    ----------
    db_manager : BenchmarkDBManager
        The store.
    result_aggregator : ResultAggregatorService
        The summary layer.
    detailed_aggregator : ResultAggregator
        The detailed layer; it is told of every result.
    current_run_id : str or None
        The run that is running, or was the last.
    report : RunReport or None
        What became of the last run.

    Notes
    -----
    A store takes results from one coordinator at a time.

    Examples
    --------
    >>> from aggrkit import BenchmarkDBManager
    >>> from aggrkit.coordinator import TestCoordinator
    >>> def latency(model, batch_size):
    ...     return {"latency_ms": {"bert": 9.0, "vit": 2.0}[model] * batch_size}
    >>> coordinator = TestCoordinator(db_manager=BenchmarkDBManager(":memory:"))
    >>> report = coordinator.run_distributed_tests(
    ...     {
    ...         "tests": latency,
    ...         "grid": {"model": ["bert", "vit"], "batch_size": [1, 2]},
    ...         "repeats": 2,
    ...         "executor": "threads",
    ...         "workers": 2,
    ...     }
    ... )
    >>> report.counts["done"]
    8
    >>> coordinator.process_results("model")["results"]["basic_statistics"]["bert"]["average_latency_ms"]["mean"]
    13.5
    """

    __test__ = False  # for pytest, which takes classes of this name for tests

    def __init__(
        self,
        result_aggregator: ResultAggregatorService | ResultAggregator | None = None,
        db_manager: BenchmarkDBManager | None = None,
        *,
        detailed_aggregator: ResultAggregator | None = None,
    ) -> None:
        if isinstance(result_aggregator, ResultAggregator):
            result_aggregator, detailed_aggregator = None, result_aggregator
        layers = [layer for layer in (result_aggregator, detailed_aggregator) if layer is not None]
        stores = [db_manager, *(layer.db_manager for layer in layers)]
        store = next((store for store in stores if store is not None), None)
        if not isinstance(store, BenchmarkDBManager):
            words = "a coordinator needs a store to write to: db_manager=aggrkit.BenchmarkDBManager('results.duckdb')"
            raise TypeError(f"{words}; got {quoted(store)}")
        if any(layer.db_manager is not store for layer in layers):
            raise SchemaError("result_aggregator reads another store than db_manager; give both the same one")
        self.db_manager = store
        self.result_aggregator = result_aggregator or ResultAggregatorService(db_manager=store)
        self.detailed_aggregator = detailed_aggregator or ResultAggregator(db_manager=store)
        self.current_run_id: str | None = None
        self.report: RunReport | None = None
        self._result_type = ""

    def run_distributed_tests(self, config: Mapping[str, Any] | RunConfig) -> RunReport:
        """Run tests, and wait until they have ended.

        Parameters
        ----------
        config : mapping or RunConfig
            What is run, and where: see `aggrkit.coordinator.RunConfig` for its settings.

        Returns
        -------
        RunReport
            What became of it; a test that failed is no error.

        Raises
        ------
        SchemaError, UnknownNameError, TypeError, ValueError
            If something is wrong with the configuration; nothing was run then.
        AggrError
            If workers can't be had.
        SourceError
            If the store can't be written.
        KeyboardInterrupt
            If it was interrupted; what was found until then is in the store, and `report` tells of it.
        """
        config = RunConfig.of(config)
        run_id = self._new_run(config.run_id)
        crew = _crew(config)
        try:
            self.current_run_id, self._result_type = run_id, config.result_type
            run = Run(config, run_id, crew, self.db_manager, self.detailed_aggregator)
            try:
                run.go()
            finally:
                self.report = run.report()
        finally:
            crew.close()
        return self.report

    def process_results(self, aggregation_level: str = "model_hardware") -> dict[str, Any]:
        """Return the aggregates of the current run, and keep its statistics in the store (`get_aggregates`).

        Parameters
        ----------
        aggregation_level : str, optional
            "test_run", "model", "hardware", "model_hardware", "task_type" or "worker".

        Returns
        -------
        dict
            As that of `ResultAggregatorService.aggregate_results`.

        Raises
        ------
        AggrError
            If nothing was run yet.
        UnknownNameError
            For an unknown level.
        """
        if self.current_run_id is None:
            raise AggrError("nothing was run yet; call run_distributed_tests first")
        run: Any = {"run_id": self.current_run_id}
        answer = self.result_aggregator.aggregate_results(self._result_type, aggregation_level, filter_params=run)
        self._keep(Selection(aggregation_level, where=run, result_type=self._result_type))
        return answer

    def _keep(self, selection: Selection) -> None:
        """Keep the statistics of the current run for later, where it measured something."""
        filters = {"result_type": self._result_type, "run_id": self.current_run_id}
        records = self.db_manager.get_test_results(filter_params=filters)
        try:
            statistics = stats(pd.DataFrame(records), level=selection.level)
        except AggrError as error:
            _log.info("the statistics of run %s were not kept: %s", self.current_run_id, error)
            return
        self.db_manager.store_aggregates(pd.DataFrame(statistics), selection, self._result_type)

    def _new_run(self, run_id: str | None) -> str:
        if run_id is None:
            return f"run-{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        if run_id in set(self.db_manager.runs()["run_id"]):
            raise SchemaError(f"the store has a run {run_id!r} already; choose another run_id, or leave it out")
        return run_id


def _crew(config: RunConfig) -> Crew:
    """Return who runs the tests of a configuration."""
    if config.executor == "threads":
        return ThreadCrew(config.crew())
    if config.executor == "processes":
        return ProcessCrew(config.crew(), config.functions())
    return DaskCrew(config.executor)
