"""`ResultAggregator`: the detailed layer."""

from __future__ import annotations

import logging
import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.detailed import analyses
from aggrkit.detailed.log import ResultLog
from aggrkit.detailed.pictures import pictures, written
from aggrkit.detailed.report import FORMATS, report
from aggrkit.errors import AggrError, EmptySelectionError, SchemaError, UnknownNameError
from aggrkit.model.schema import Role
from aggrkit.model.settings import Setting, defaults, updated
from aggrkit.output import write_whole
from aggrkit.pipeline.anomalies import METHODS
from aggrkit.sources.manager import history_of
from aggrkit.store import BenchmarkDBManager
from aggrkit.wire import plain

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    from aggrkit.analysis import Analysis

__all__ = ["DEFAULTS", "SETTINGS", "ResultAggregator"]

_log = logging.getLogger(__name__)

SETTINGS: Final[Mapping[str, Setting]] = MappingProxyType(
    {
        "update_interval": Setting(60.0, "seconds between two updates", below=threading.TIMEOUT_MAX),
        "history_days": Setting(30, "how far back before the latest result history is loaded", below=100_000),
        "current_days": Setting(
            7, "the latest so many days are compared with those before, where no result came in live", below=100_000
        ),
        "significance_level": Setting(0.05, "of comparisons, trends and differences", below=0.5),
        "comparison_margin": Setting(0.02, "smallest change that matters, 0.02 for 2 %", below=0.5),
        "anomaly_method": Setting("robust", "as in `aggrkit.Analysis.anomalies`", choices=METHODS),
        "anomaly_alpha": Setting(0.05, "as in `aggrkit.Analysis.anomalies`", below=0.5),
        "visualization_enabled": Setting(True, "whether charts are made"),
        "results_kept": Setting(
            200_000, "most results that are held in memory; those that came first make room for new ones", least=1
        ),
    }
)
"""Every setting that is used, with what it is for."""

DEFAULTS: Final = defaults(SETTINGS)
"""The configuration of a new aggregator; `SETTINGS` says what each setting is for."""

_STANDARD: Final = ("model", "hardware", "worker", "task_type")
_KINDS: Final = ("test", "worker", "task_type", "hardware", "model")


class ResultAggregator:
    """What can be said of each test, worker, task type, device and model, kept up to date while results come in.

    Parameters
    ----------
    db_manager : BenchmarkDBManager or object, optional
        Where history comes from, by ``get_test_results``; without one there is none.

    Attributes
    ----------
    test_results : dict
        Result id to the result.
    worker_results, task_type_results, hardware_results : dict
        Worker, task type or hardware to the list of its results.
    dimension_analysis : dict
        Dimension to value to flat statistics, see `get_dimension_analysis`.
    test_analysis, worker_analysis, task_type_analysis, hardware_analysis : dict
        Value to what is known of its results, see `get_test_analysis`.
    update_thread : threading.Thread or None
        The thread that keeps them up to date.

    Examples
    --------
    >>> from aggrkit import ResultAggregator
    >>> aggregator = ResultAggregator()
    >>> for latency in (10.0, 12.0):
    ...     aggregator.process_test_result({"model_id": "bert", "average_latency_ms": latency})
    >>> aggregator.get_dimension_analysis("model")["bert"]["average_latency_ms_mean"]
    11.0
    """

    def __init__(self, db_manager: Any = None) -> None:
        self.db_manager = db_manager
        self.config: dict[str, Any] = dict(DEFAULTS)
        self.worker_results: dict[str, list[dict[str, Any]]] = {}
        self.task_type_results: dict[str, list[dict[str, Any]]] = {}
        self.hardware_results: dict[str, list[dict[str, Any]]] = {}
        self.dimension_analysis: dict[str, dict[str, Any]] = {}
        self.test_analysis: dict[str, Any] = {}
        self.worker_analysis: dict[str, Any] = {}
        self.task_type_analysis: dict[str, Any] = {}
        self.hardware_analysis: dict[str, Any] = {}
        self.model_analysis: dict[str, Any] = {}
        self.update_thread: threading.Thread | None = None
        self.last_error: str | None = None
        self._log = ResultLog(self.config["results_kept"])
        self._analysis: Analysis | None = None
        self._findings: dict[str, Any] = {}
        self._seen = (-1, -1)  # versions of results and configuration that were analysed
        self._revision = 0
        self._lock = threading.RLock()
        self._cycle = threading.RLock()
        self._stopping = threading.Event()

    @property
    def test_results(self) -> dict[str, dict[str, Any]]:
        """Result id to the result."""
        return self._log.records

    def configure(self, config_updates: Mapping[str, Any]) -> None:
        """Change the configuration, see `SETTINGS`; unknown settings are kept, with a warning.

        Raises
        ------
        TypeError, ValueError
            If a value is impossible; nothing is changed then.
        """
        with self._lock:
            self.config = updated(SETTINGS, self.config, config_updates)
            self._log.keep(int(self.config["results_kept"]))
            self._revision += 1

    def start(self) -> None:
        """Load history, analyse it, and keep the analyses up to date in the background; starting twice is once.

        Raises
        ------
        SourceError
            If history can't be loaded.
        """
        with self._cycle:
            if self.update_thread is not None and self.update_thread.is_alive():
                return
            self._stopping.clear()
            self._load_historical_data()
            now = (self._log.version, self._revision)
            self._aggregate_results()
            self._analyze_results()
            self._seen = now
            self.update_thread = threading.Thread(target=self._keep_up, name="aggrkit-aggregator", daemon=True)
            self.update_thread.start()

    def stop(self) -> None:
        """Stop the updates; what was found stays. Stopping twice is once."""
        self._stopping.set()
        thread = self.update_thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def process_test_result(self, result: Mapping[str, Any]) -> None:
        """Take in one result; the same one (by its id, or else in everything with its time) counts once.

        Parameters
        ----------
        result : mapping
            Dimensions, conditions and metrics; metrics may be within ``metrics`` or ``result``.

        Raises
        ------
        SchemaError
            If it is no mapping, or empty.
        """
        with self._lock:
            self._log.add(result, live=True)

    def get_dimension_analysis(self, dimension: str) -> dict[str, dict[str, Any]]:
        """Return flat statistics of each value of a dimension.

        Parameters
        ----------
        dimension : str
            "model", "hardware", "worker", "task_type", "test_run", "test", or any describing column.

        Returns
        -------
        dict
            Value to ``count``, ``success_rate`` where results pass or fail, and for each metric ``<metric>_mean,
            _stdev`` (ddof 1), ``_min, _max, _median, _p95, _p99, _cv``. Empty where there are no results.

        Raises
        ------
        UnknownNameError
            For a dimension that the results don't have; lists those that they have.
        """
        self._update()
        if dimension in self.dimension_analysis:
            return dict(plain(self.dimension_analysis[dimension]))
        analysis = self._analysis
        if analysis is None:
            return {}
        return analyses.flat_statistics(analysis, analyses.dimension_column(analysis.schema, dimension))

    def get_test_analysis(self, name: str | None = None) -> dict[str, Any]:
        """Return what is known of each test (by test name, or else by model), or of one.

        Parameters
        ----------
        name : str, optional
            Which one; all by default.

        Returns
        -------
        dict
            ``count, passed, failed, success_rate, success_rate_ci`` (Wilson, 95 %), ``failure_reasons``, ``metrics``
            and ``trends`` (Theil-Sen slope per day with interval, Mann-Kendall p-value, verdict).

        Raises
        ------
        UnknownNameError
            If there is no such test.
        """
        return self._of("test", name)

    def get_worker_analysis(self, name: str | None = None) -> dict[str, Any]:
        """Return what is known of each worker, or of one; see `get_test_analysis`."""
        return self._of("worker", name)

    def get_task_type_analysis(self, name: str | None = None) -> dict[str, Any]:
        """Return what is known of each task type, or of one; see `get_test_analysis`."""
        return self._of("task_type", name)

    def get_hardware_analysis(self, name: str | None = None) -> dict[str, Any]:
        """Return what is known of each device, or of one; see `get_test_analysis`."""
        return self._of("hardware", name)

    def get_model_analysis(self, name: str | None = None) -> dict[str, Any]:
        """Return what is known of each model, or of one; see `get_test_analysis`."""
        return self._of("model", name)

    def get_configuration_analysis(self) -> dict[str, Any]:
        """Return metric -> fastest and slowest (or best and worst) configurations, by their median."""
        return dict(self._finding("configurations", {}))

    def get_differences(self) -> list[dict[str, Any]]:
        """Return which dimensions make a difference, with effect size and adjusted p-value; the largest first."""
        return list(self._finding("differences", []))

    def get_regressions(self) -> list[dict[str, Any]]:
        """Return what regressed, the largest change first.

        Returns
        -------
        list of dict
            ``group`` (``model:hardware``) with its columns, ``metric, unit, baseline, current, change_pct, ci_lower,
            ci_upper, effect_size, pvalue, pvalue_adjusted, verdict, n_baseline, n_current, note``. Compared are the
            results that came in live with history; without either, the latest days with those before.
        """
        return list(self._finding("regressions", []))

    def get_anomalies(self) -> list[dict[str, Any]]:
        """Return every observation that doesn't belong to its cell, the most certain first; see `df.aggr.anomalies`."""
        return list(self._finding("anomalies", []))

    def get_visualizations(
        self,
        dimension: str = "model",
        formats: Iterable[str] = (),
        output_dir: str | os.PathLike[str] | None = None,
    ) -> dict[str, Any]:
        """Return charts of a dimension as Vega-Lite specifications, and write them to files.

        Parameters
        ----------
        dimension : str, optional
            As in `get_dimension_analysis`.
        formats : iterable of str, optional
            "png", "svg", "html" (self-contained, works offline) and "json".
        output_dir : path, optional
            Folder for the files; needed with `formats`.

        Returns
        -------
        dict
            Name of the chart to its specification; with `formats`, ``files`` lists what was written. Empty where there
            are no results, or ``visualization_enabled`` is False.
        """
        asked = [formats] if isinstance(formats, str) else list(formats)
        if asked and output_dir is None:
            raise ValueError("say where the files go: output_dir='...'")
        self._update()
        analysis = self._analysis
        if analysis is None or not self.config["visualization_enabled"]:
            return {}
        column = analyses.dimension_column(analysis.schema, dimension)
        charts = pictures(analysis, column, self.config["significance_level"], self._findings.get("comparison"))
        found: dict[str, Any] = {name: chart.to_dict() for name, chart in charts.items()}
        if asked and output_dir is not None:
            found["files"] = written(charts, dimension, asked, output_dir)
        return found

    def get_overall_status(self) -> dict[str, Any]:
        """Return where things stand, in one dictionary.

        Returns
        -------
        dict
            ``status`` ("no_data", "healthy", "degraded": something regressed or is odd, "failing": fewer than half
            of the results pass), ``total_results, success_rate`` with interval, counts of models, devices and workers,
            ``dropped_results`` (that made room for others, see the setting ``results_kept``),
            ``regression_count, anomaly_count, compared`` (what with what), ``running, last_error``.
        """
        self._update()
        found = {"status": "no_data", "total_results": 0, "regression_count": 0, "anomaly_count": 0}
        found |= self._findings.get("overall", {})
        running = self.update_thread is not None and self.update_thread.is_alive()
        told = {"dropped_results": self._log.dropped, "running": running, "last_error": self.last_error}
        return dict(plain({**found, **told}))

    def generate_report(self, format: str = "json", file_path: str | os.PathLike[str] | None = None) -> str:
        """Return a report of everything, and write it to a file.

        Parameters
        ----------
        format : {"json", "markdown", "html"}, optional
            "html" is one page without anything from elsewhere: findings in words, pictures, tables.
        file_path : path, optional
            Where to write it, as a whole or not at all.

        Returns
        -------
        str
            The report.

        Raises
        ------
        UnknownNameError
            For an unknown format.
        """
        if format not in FORMATS:
            raise UnknownNameError.of("format", format, FORMATS)
        charts = {}
        status = self.get_overall_status()
        analysis = self._analysis
        if format == "html" and analysis is not None and self.config["visualization_enabled"]:
            column = analyses.dimension_column(analysis.schema, self._main_dimension(analysis))
            charts = pictures(analysis, column, self.config["significance_level"], self._findings.get("comparison"))
        content = {
            "status": status,
            "words": self._findings.get("words", []),
            "regressions": self.get_regressions(),
            "anomalies": self.get_anomalies(),
            "differences": self.get_differences(),
            "configurations": self.get_configuration_analysis(),
            "dimensions": plain(self.dimension_analysis),
            "tests": self.get_test_analysis(),
            "workers": self.get_worker_analysis(),
            "config": plain(self.config),
        }
        text = report(content, format, charts)
        if file_path is not None:
            write_whole(file_path, text)
        return text

    def _load_historical_data(self) -> None:
        """Load the history of the latest days from the database; it is asked once."""
        if self.db_manager is None:
            return
        days = self.config["history_days"]
        if isinstance(self.db_manager, BenchmarkDBManager):
            newest = next((result.get("timestamp") for result in self.db_manager.get_test_results(limit=1)), None)
            since = None if newest is None else (newest - pd.Timedelta(days, "D"), None)
            records = self.db_manager.get_test_results(time_range=since)
        else:
            records = history_of(self.db_manager, days)
        with self._lock:
            self._log.add_all(records, live=False)

    def _aggregate_results(self) -> None:
        """Group the results, and describe each value of the standard dimensions."""
        with self._lock:
            workers, tasks, devices = (self._log.by(role) for role in (Role.WORKER, Role.TASK_TYPE, Role.HARDWARE))
            analysis = self._log.analysis()
        found: dict[str, dict[str, Any]] = {}
        if analysis is not None:
            for dimension in _STANDARD:
                if analysis.schema.role(analyses.DIMENSIONS[dimension]) is not None:
                    column = analyses.dimension_column(analysis.schema, dimension)
                    found[dimension] = analyses.flat_statistics(analysis, column)
        self.worker_results, self.task_type_results, self.hardware_results = workers, tasks, devices
        self.dimension_analysis, self._analysis = found, analysis

    def _analyze_results(self) -> None:
        """Look for regressions, anomalies, trends and differences in what was grouped."""
        analysis, config = self._analysis, self.config
        found: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}
        if analysis is None:
            findings: dict[str, Any] = {}
        else:
            columns: dict[str, Any] = {}
            for kind in _KINDS:
                try:
                    column = analyses.dimension_column(analysis.schema, kind)
                except UnknownNameError:
                    continue
                if column not in columns:
                    columns[column] = analyses.by_value(analysis, column, config["significance_level"])
                found[kind] = columns[column]
            findings = self._found(analysis)
        self.test_analysis, self.worker_analysis, self.task_type_analysis = (
            found[kind] for kind in ("test", "worker", "task_type")
        )
        self.hardware_analysis, self.model_analysis = found["hardware"], found["model"]
        self._findings = findings

    def _found(self, analysis: Analysis) -> dict[str, Any]:
        config = self.config
        comparison, why = analyses.compared(analysis, config, live=self._log.live, total=len(self._log))
        groups = [name for name in ("model", "hardware") if analysis.schema.role(name) is not None]
        anomalies = None
        try:
            anomalies = analysis.anomalies(
                level="model_hardware" if groups else [], method=config["anomaly_method"], alpha=config["anomaly_alpha"]
            )
        except (EmptySelectionError, SchemaError) as error:
            _log.info("anomalies were not looked for: %s", error)
        regressions = []
        if comparison is not None:
            regressed = comparison[comparison["verdict"] == "regressed"]
            order = regressed["change_pct"].abs().sort_values(ascending=False).index
            shown = ["model", "hardware"] if "model" in comparison.columns else []
            regressions = analyses.lines(pd.DataFrame(regressed.loc[order]), shown)
        odd = (
            []
            if anomalies is None
            else analyses.lines(pd.DataFrame(anomalies), ["model", "hardware"] if groups else [])
        )
        overall = analyses.overall(analysis)
        bad = [line for line in odd if line["severity"] in ("major", "critical")]
        failing = overall.get("success_rate") is not None and overall["success_rate"] < 0.5
        overall["status"] = "failing" if failing else "degraded" if regressions or bad else "healthy"
        overall |= {"regression_count": len(regressions), "anomaly_count": len(odd), "compared": why}
        words = [] if comparison is None else [f"Compared: {why}.", *comparison.explain().split("\n")]
        words += [] if anomalies is None else anomalies.explain().split("\n")
        return {
            "overall": overall,
            "regressions": regressions,
            "anomalies": odd,
            "comparison": comparison,
            "configurations": analyses.configurations(analysis),
            "differences": analyses.differing(analysis, config["significance_level"]),
            "words": list(dict.fromkeys(words)) or [why],
        }

    def _keep_up(self) -> None:
        """Update after every interval, until stopped; what goes wrong is told by the status, and tried again."""
        while not self._stopping.wait(self.config["update_interval"]):
            try:
                self._update()
                self.last_error = None
            except Exception as error:  # noqa: BLE001  a thread that ends on an error would end without a word
                _log.warning("the update failed: %s", error, exc_info=not isinstance(error, AggrError))
                self.last_error = str(error) if isinstance(error, AggrError) else f"{type(error).__name__}: {error}"

    def _update(self) -> None:
        """Analyse what came in since the last time, if anything."""
        with self._cycle:
            now = (self._log.version, self._revision)
            if now == self._seen:
                return
            self._aggregate_results()
            self._analyze_results()
            self._seen = now

    def _of(self, kind: str, name: str | None) -> dict[str, Any]:
        self._update()
        found: dict[str, Any] = getattr(self, f"{kind}_analysis")
        if name is None:
            return dict(plain(found))
        if name not in found:
            raise UnknownNameError.of(kind.replace("_", " "), name, found)
        return dict(plain(found[name]))

    def _finding(self, name: str, nothing: Any) -> Any:
        self._update()
        return plain(self._findings.get(name, nothing))

    def _main_dimension(self, analysis: Analysis) -> str:
        there = [name for name in _STANDARD if analysis.schema.role(analyses.DIMENSIONS[name]) is not None]
        return there[0] if there else "test"
