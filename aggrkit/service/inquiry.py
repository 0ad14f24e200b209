"""One question to one source, worked through the pipeline to the parts of an answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import ibis
import pandas as pd
import pyarrow as pa

from aggrkit.errors import EmptySelectionError, SchemaError
from aggrkit.findings import Anomalies, Comparison, Correlations, Trends
from aggrkit.model.answer import Answer
from aggrkit.model.metric import NORMALIZED
from aggrkit.model.schema import Role
from aggrkit.model.selection import LEVELS, Selection, TimeRange
from aggrkit.pipeline.aggregate import Means, Moments, Percentiles, aggregate, proportions
from aggrkit.pipeline.anomalies import DetectAnomalies
from aggrkit.pipeline.beside import beside, with_side
from aggrkit.pipeline.comparison import Compare
from aggrkit.pipeline.correlations import Correlate
from aggrkit.pipeline.distributions import distributions
from aggrkit.pipeline.expressions import fetch, label_of
from aggrkit.pipeline.pipeline import Pipeline
from aggrkit.pipeline.preprocess import Duplicates, Invalid, Normalise
from aggrkit.pipeline.records import RecordPreprocessor, grouped_records, records_of
from aggrkit.pipeline.rows import numbered_rows
from aggrkit.pipeline.selecting import times_of
from aggrkit.pipeline.settling import settled, settled_again, settled_once
from aggrkit.pipeline.sides import Sides
from aggrkit.pipeline.trends import FindTrends

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aggrkit.findings import Finding
    from aggrkit.model.metric import Metric
    from aggrkit.pipeline.prepared import Prepared
    from aggrkit.pipeline.preprocess import Preprocessor
    from aggrkit.service.sessions import Session
    from aggrkit.sources.observations import Observations

__all__ = ["Inquiry"]

_SIDE = "aggrkit_side"
_MOST_VALUES = 50
_FAMILY = "family"


@dataclass
class Inquiry:
    """What is asked of one session, each part worked out at most once.

    Parameters
    ----------
    session : Session
        Where the observations come from.
    selection : Selection
        What is asked.
    config : mapping
        The configuration of the service.
    preprocessors : sequence of callable
        Functions of records that come after the built-in stages.
    context : dict
        What those functions share.
    """

    session: Session
    selection: Selection
    config: Mapping[str, Any]
    preprocessors: Sequence[Callable[..., Any]]
    context: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    @cached_property
    def prepared(self) -> Prepared:
        """The current rows, with the normalised metrics, in a table of their own."""
        observations = numbered_rows(self.session.current(self.selection))
        observations = self._with_families(observations)
        selection = replace(self.selection, level=self._level(observations))
        if self.config["normalize_metrics"]:
            selection = replace(selection, metrics=_with_normalised(observations, selection))
        stages = self._stages(self.context)
        pipeline = Pipeline(preprocess=stages)
        return settled_once(
            observations, selection, stages, lambda rows, asked: self._grouped(pipeline.prepare(rows, asked))
        )

    @cached_property
    def measured(self) -> Prepared:
        """The current rows with the metrics as they were measured."""
        return _only(self.prepared, lambda metric: not metric.name.startswith(NORMALIZED))

    @property
    def groups(self) -> list[str]:
        """Names of the columns that are grouped by."""
        return list(self.prepared.groups)

    @cached_property
    def statistics(self) -> Answer:
        """Frames "stats" and "proportions", with what was taken out."""
        prepared = self.prepared
        answer = Pipeline(aggregate=(Moments(), Percentiles())).answer(_only(prepared, lambda m: not m.is_proportion))
        outcomes = _only(prepared, lambda metric: metric.is_proportion)
        return answer.with_frame("proportions", proportions(outcomes)[0]) if outcomes.metrics else answer

    @cached_property
    def distributions(self) -> pd.DataFrame | None:
        """Frame "distributions", or None where no column describes the results."""
        try:
            frame, _ = distributions(self.measured, None, _MOST_VALUES)
        except (SchemaError, EmptySelectionError) as error:
            self.notes.append(f"no distributions: {error}")
            return None
        return frame

    @cached_property
    def anomalies(self) -> Answer:
        """Every offending observation, in the frame "anomalies" and those beside it."""
        method = self.config["anomaly_method"]
        threshold = self.config["anomaly_threshold"] if method == "zscore" else None
        stage = DetectAnomalies(
            method, self.config["anomaly_alpha"], threshold, fewest=int(self.config["min_data_points"])
        )
        numbers = _only(self.measured, lambda metric: not metric.is_proportion)
        return stage(self._bare(), numbers)

    @cached_property
    def comparison(self) -> tuple[Answer, pd.DataFrame] | None:
        """Current against historical, and the plain means of both; None where there is no history."""
        if self.selection.level == "test_run":
            self.notes.append("no comparison by test run: every run is new; compare at another level")
            return None
        found = self._both()
        if found is None:
            return None
        stage = Compare(
            Sides("historical", "current", by=_SIDE),
            self.config["comparison_margin"],
            self.config["significance_level"],
        )
        return stage(self._bare(), found), _plain_means(found)

    @cached_property
    def correlations(self) -> Answer:
        """Correlations of every two metrics, in the frame "correlations"."""
        stage = Correlate(alpha=self.config["significance_level"])
        return stage(self._bare(), self.measured)

    @cached_property
    def trends(self) -> Answer:
        """Trends of each metric over time, in the frame "trends"."""
        return FindTrends(alpha=self.config["significance_level"])(self._bare(), self.measured)

    def records(self) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
        """Return the rows as records, and grouped."""
        records = records_of(self.prepared)
        return records, grouped_records(records, self.prepared)

    def metric(self, name: str) -> Metric:
        """Return a metric by its name."""
        return self.prepared.schema.metric(name)

    def metadata(self) -> dict[str, dict[str, Any]]:
        """Return what is known of the models and the hardware that are grouped by."""
        found = {}
        for kind in ("model", "hardware"):
            if kind in self.prepared.groups:
                names = self.statistics.frames["stats"][kind].drop_duplicates()
                found[f"{kind}_metadata"] = self.session.info(kind, [str(name) for name in names])
        return found

    def told(self) -> dict[str, Any]:
        """Return how the answer was found: the methods with their parameters, as far as they were used."""
        found: dict[str, Any] = {}
        if "anomalies" in self.__dict__:
            used = ("method", "alpha", "threshold", "cells_tested", "cells_by", "pooled_over", "needs")
            found["anomaly_detection"] = {name: self.anomalies.meta[name] for name in used}
        if self.__dict__.get("comparison") is not None:
            names = ("margin", "alpha", "adjust", "design", "matched_on", "differing")
            found["comparison"] = {name: self.comparison[0].meta[name] for name in names}  # type: ignore[index]
        return found

    def explanation(self, name: str) -> str:
        """Return a finding in words: that of "anomalies", "comparison", "correlations" or "trends"."""
        if name == "comparison":
            found = self.comparison
            return (
                "There is no history to compare with."
                if found is None
                else Comparison._made(found[0], _stays).explain()
            )
        made: type[Finding] = {"anomalies": Anomalies, "correlations": Correlations, "trends": Trends}[name]
        return made._made(getattr(self, name), _stays).explain()

    def _bare(self) -> Answer:
        observations = self.prepared.observations
        meta = MappingProxyType({"source": observations.label, "engine": observations.engine})
        return Answer(self.prepared.selection, rows=self.statistics.rows, meta=meta)

    def _stages(self, context: dict[str, Any]) -> tuple[Preprocessor, ...]:
        chosen: list[Preprocessor] = []
        if self.config["filter_invalid_enabled"]:
            chosen.append(Invalid())
        if self.config["deduplication_enabled"]:
            chosen.append(Duplicates())
        if self.config["normalize_metrics"]:
            chosen.append(Normalise())
        chosen += [RecordPreprocessor(_name(function), function, context) for function in self.preprocessors]
        return tuple(chosen)

    def _level(self, observations: Observations) -> str | tuple[str, ...]:
        """Return what to group by: results without a task type are of platform and browser."""
        names = {column.name for column in observations.schema.columns}
        if (
            self.selection.level == "task_type"
            and observations.schema.role(Role.TASK_TYPE) is None
            and {"platform", "browser"} <= names
        ):
            return ("platform", "browser")
        roles = LEVELS.get(str(self.selection.level), ())
        return self.selection.level if not roles or any(map(observations.schema.role, roles)) else ()

    def _grouped(self, prepared: Prepared) -> Prepared:
        """Return the rows in one group "unknown", where nothing says what they are grouped by."""
        if prepared.groups or not self.selection.columns:
            return prepared
        return replace(prepared, groups=MappingProxyType(dict.fromkeys(self.selection.columns)))

    def _with_families(self, observations: Observations) -> Observations:
        """Call each model by its family, where that is asked for and known."""
        column = observations.schema.role(Role.MODEL)
        if not self.config["model_family_grouping"] or column is None or "model" not in self.selection.columns:
            return observations
        values = observations.table[column.field].cast("string")
        names = fetch(observations.table.select(name=values).distinct(), observations.label)["name"].to_pylist()
        known = self.session.info("model", [name for name in names if name])
        families = {name: str(info[_FAMILY]) for name, info in known.items() if info.get(_FAMILY)}
        if not families:
            return observations
        grouped = observations.table.mutate(**{column.field: values.substitute(families)})
        return replace(observations, table=grouped)

    def _both(self) -> Prepared | None:
        """Return current and historical rows together, marked; None where there is no history."""
        history = self._history()
        if history is not None:
            return settled(beside(self.measured, history, _SIDE))
        if self.selection.time_range is not None or self.measured.schema.role(Role.TIMESTAMP) is None:
            return None
        return self._split()

    def _history(self) -> Prepared | None:
        window = self._window()
        found = self.session.history(self.selection, window)
        if found is None:
            self.notes.append(f"no history {window}")
            return None
        observations, note = found
        observations = self._with_families(observations)
        if note:
            self.notes.append(note)
        # what a manager gave has been looked through already, its results without a time let in
        timed = observations.schema.role(Role.TIMESTAMP) is not None and observations.take is None
        columns = {column.name for column in observations.schema.columns if column.metric is not None}
        shared = [metric.name for metric in self.measured.metrics if metric.name in columns]
        if not shared:
            self.notes.append("the history has none of the current metrics")
            return None
        selection = replace(
            self.selection,
            level=self.prepared.selection.level,
            metrics=tuple(shared),
            time_range=window if timed else None,
        )
        scratch = {**self.context, "metadata": {}}
        stages = tuple(stage for stage in self._stages(scratch) if not isinstance(stage, Normalise))
        try:
            prepared = self._grouped(Pipeline(preprocess=stages).prepare(observations, selection))
        except EmptySelectionError as error:
            self.notes.append(f"no history {window}: {error}")
            return None
        if not fetch(prepared.selected.limit(1), prepared.label).num_rows:
            self.notes.append(f"no history {window}")
            return None
        return self._of_busiest_workers(prepared)

    def _window(self) -> TimeRange:
        """Return where history is looked for: it ends where the current results start."""
        asked = self.selection.time_range
        start = None if asked is None else asked.start
        if start is None and self.measured.schema.role(Role.TIMESTAMP) is not None:
            try:
                start, _ = self._times
            except EmptySelectionError as error:
                self.notes.append(f"history ends now: {error}")
        end = pd.Timestamp(datetime.now(UTC)).tz_localize(None) if start is None else start - pd.Timedelta(1, "us")
        return TimeRange(end - self._lookback, end)

    @cached_property
    def _times(self) -> tuple[pd.Timestamp, pd.Timestamp]:
        """The first and the last time of the current rows."""
        return times_of(self.measured)

    @property
    def _lookback(self) -> pd.Timedelta:
        return pd.Timedelta(self.config["comparative_lookback_days"], "D")

    def _split(self) -> Prepared | None:
        """Compare the latest results with those before, where all that there is was asked for."""
        measured = self.measured
        try:
            first, last = self._times
        except EmptySelectionError:
            return None
        start = last - self._lookback
        if first > start:
            return None
        days = f"{self.config['comparative_lookback_days']:g} days"
        self.notes.append(f"nothing lies before the results: those of the latest {days} are compared with those before")
        marked = settled_again(_latest, measured, beside=pa.table({"start": [start]}))
        return with_side(replace(marked, audits=MappingProxyType({})), _SIDE)

    def _of_busiest_workers(self, prepared: Prepared) -> Prepared:
        column = prepared.schema.role(Role.WORKER)
        limit = int(self.config["workers_historical_limit"])
        if column is None:
            return prepared
        worker = label_of(prepared.table[column.field])
        counts = prepared.table.group_by(worker=worker).aggregate(n=prepared.table.count())
        busiest = fetch(counts.order_by([ibis.desc("n"), "worker"]).limit(limit + 1), prepared.label)[
            "worker"
        ].to_pylist()
        if len(busiest) <= limit:
            return prepared
        self.notes.append(f"history is that of the {limit} workers with most results")
        kept = worker.isin([name for name in busiest[:limit] if name is not None])
        return replace(
            prepared, table=prepared.table.filter(kept | worker.isnull() if None in busiest[:limit] else kept)
        )


def _latest(prepared: Prepared, beside: ibis.Table) -> tuple[ibis.Table, None]:
    """Build the query that tells the rows after a start as current from those before, without what isn't compared."""
    unasked = {metric.name for metric in prepared.schema.metrics} - {metric.name for metric in prepared.metrics}
    kept = {column.field for column in prepared.schema.columns if column.name not in unasked}
    table = prepared.table
    time = table[prepared.schema.moment("a comparison").field]
    rows = table.cross_join(beside)
    side = ibis.cases((time > rows["start"], "current"), (time <= rows["start"], "historical"))
    return rows.select([name for name in table.columns if name in kept], **{_SIDE: side}), None


def _only(prepared: Prepared, wanted: Callable[[Metric], bool]) -> Prepared:
    return replace(prepared, metrics=tuple(metric for metric in prepared.metrics if wanted(metric)))


def _with_normalised(observations: Observations, selection: Selection) -> tuple[str, ...]:
    """Return the metrics that are asked for, and their normalised twins."""
    schema = observations.schema
    names = selection.metrics or [m.name for m in schema.metrics if m.name not in selection.columns]
    metrics = [schema.metric(name) for name in names]
    twins = [
        NORMALIZED + m.name for m in metrics if m.sign and not m.is_proportion and not m.name.startswith(NORMALIZED)
    ]
    return (*(metric.name for metric in metrics), *twins) or None  # type: ignore[return-value]


def _plain_means(both: Prepared) -> pd.DataFrame:
    """Return the plain means of both sides, a row per group and metric."""
    column = both.schema.column(_SIDE)
    sided = replace(both, groups=MappingProxyType({**both.groups, _SIDE: column}))
    frame, _ = aggregate(sided, [Means()])
    keys = [*both.groups, "metric"]
    wide = frame.set_index([*keys, _SIDE])["mean"].unstack(_SIDE)
    return wide.reindex(columns=["historical", "current"]).reset_index()


def _stays(line: pd.Series[Any]) -> pd.DataFrame:
    raise SchemaError("the rows behind an answer of the service stay with it; ask df.aggr or aggrkit.open for them")


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))
