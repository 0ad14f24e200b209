"""A pipeline: three tuples of stages, frozen."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from aggrkit.errors import AggrError, SourceError, StageError, UnknownNameError
from aggrkit.model.answer import Answer
from aggrkit.pipeline.aggregate import Custom, Moments, Percentiles, aggregate, statistics_columns
from aggrkit.pipeline.auditing import audit
from aggrkit.pipeline.expressions import fetch, row_hash
from aggrkit.pipeline.preprocess import Duplicates, Invalid, Normalise, as_numbers
from aggrkit.pipeline.records import RecordAggregator, RecordPostprocessor, RecordPreprocessor, RelationStage
from aggrkit.pipeline.selecting import select
from aggrkit.pipeline.settling import settled_for_now

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis

    from aggrkit.model.selection import Selection
    from aggrkit.pipeline.aggregate import Aggregator
    from aggrkit.pipeline.prepared import Prepared
    from aggrkit.pipeline.preprocess import Preprocessor
    from aggrkit.sources.observations import Observations

__all__ = ["Pipeline", "Postprocessor"]

_BUILT_IN = (Invalid, Duplicates, Normalise)


class Postprocessor(Protocol):
    """A stage of the third phase: answer in, answer with one more named frame out."""

    @property
    def name(self) -> str:
        """Name of the stage, as errors call it."""
        ...

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with what the stage found."""
        ...


@dataclass(frozen=True)
class Pipeline:
    """Preprocess -> aggregate -> postprocess.

    Parameters
    ----------
    preprocess : tuple of Preprocessor, optional
        Which rows and values count. By default impossible values and second copies are taken out, and the normalised
        metrics that are asked for are added.
    aggregate : tuple of Aggregator, optional
        What is computed of each group, all in one scan; moments and percentiles by default.
    postprocess : tuple of Postprocessor, optional
        What is made of the answer.

    Examples
    --------
    >>> from aggrkit import Pipeline
    >>> pipeline = Pipeline().without("duplicates").with_aggregator(lambda values: values.sum(), name="sum")
    >>> [stage.name for stage in pipeline.preprocess], [stage.name for stage in pipeline.aggregate]
    (['invalid', 'normalise'], ['moments', 'percentiles', 'sum'])
    """

    preprocess: tuple[Preprocessor, ...] = (Invalid(), Duplicates(), Normalise())
    aggregate: tuple[Aggregator, ...] = (Moments(), Percentiles())
    postprocess: tuple[Postprocessor, ...] = ()

    def with_preprocessor(self, stage: Preprocessor | Callable[..., Any], name: str | None = None) -> Pipeline:
        """Return the pipeline with one more stage before the built-in ones, after those that were added already.

        Parameters
        ----------
        stage : Preprocessor or callable
            A stage; a function of the relation ``(table) -> table``, both Ibis tables under the names of the source; or
            a function of records ``(results, context) -> results``.
        name : str, optional
            Name of the stage, that of the function by default.
        """
        made: Any = stage
        if not hasattr(stage, "name"):
            made = (RecordPreprocessor if _takes_two(stage) else RelationStage)(_name(stage, name), stage)
        built_in = [place for place, existing in enumerate(self.preprocess) if isinstance(existing, _BUILT_IN)]
        place = built_in[0] if built_in else len(self.preprocess)
        return replace(self, preprocess=(*self.preprocess[:place], made, *self.preprocess[place:]))

    def with_aggregator(self, stage: Aggregator | Callable[..., Any], name: str | None = None) -> Pipeline:
        """Return the pipeline with one more stage of aggregation.

        Parameters
        ----------
        stage : Aggregator or callable
            A stage; a function that reduces the values of a metric, ``(values: ibis column) -> ibis scalar``, which
            becomes a column of the statistics; or a function of records ``(results, context) -> dict``, which finds
            ``context["grouped_results"]`` and whose dictionary is in the answer's ``meta["custom"]``.
        name : str, optional
            Name of the stage, that of the function by default.
        """
        made: Any = stage
        if hasattr(stage, "expressions"):
            return replace(self, aggregate=(*self.aggregate, made))
        if _takes_two(stage):
            return replace(self, postprocess=(RecordAggregator(_name(stage, name), stage), *self.postprocess))
        return replace(self, aggregate=(*self.aggregate, Custom(_name(stage, name), stage)))

    def with_postprocessor(self, stage: Postprocessor | Callable[..., Any], name: str | None = None) -> Pipeline:
        """Return the pipeline with one more stage after all others.

        Parameters
        ----------
        stage : Postprocessor or callable
            A stage ``(answer, prepared) -> answer`` that has a name; or a function of records
            ``(aggregated_results, context)``, which changes ``aggregated_results["results"]`` in place.
        name : str, optional
            Name of the stage, that of the function by default.
        """
        made: Any = stage if hasattr(stage, "name") else RecordPostprocessor(_name(stage, name), stage)
        return replace(self, postprocess=(*self.postprocess, made))

    def without(self, *names: str) -> Pipeline:
        """Return the pipeline without the stages of these names."""
        stages: tuple[Any, ...] = (*self.preprocess, *self.aggregate, *self.postprocess)
        known = [stage.name for stage in stages]
        for name in names:
            if name not in known:
                raise UnknownNameError.of("stage", name, known)
        return Pipeline(
            tuple(stage for stage in self.preprocess if stage.name not in names),
            tuple(stage for stage in self.aggregate if stage.name not in names),
            tuple(stage for stage in self.postprocess if stage.name not in names),
        )

    def prepare(self, observations: Observations, selection: Selection, condition: object = None) -> Prepared:
        """Run the first phase: lazily, but for the counts that a stage needs."""
        prepared = select(observations, selection, condition)
        for stage in self.preprocess:
            prepared = _guarded("preprocess", stage.name, stage, prepared)
        return as_numbers(prepared)

    def run(self, observations: Observations, selection: Selection, condition: object = None) -> Answer:
        """Run all phases.

        Parameters
        ----------
        observations : Observations
            The rows, with their schema.
        selection : Selection
            What is asked of them.
        condition : Ibis expression, optional
            A further filter.

        Returns
        -------
        Answer
            With the frame "stats" if anything is aggregated, and those of the postprocessors.

        Raises
        ------
        StageError
            If a stage fails; its cause is chained.
        EmptySelectionError
            If no observation passes the filters.
        """
        return self.answer(self.prepare(observations, selection, condition))

    def answer(self, prepared: Prepared) -> Answer:
        """Run the second and third phase."""
        try:
            if not self.postprocess:
                return self._answer(prepared)
            with settled_for_now(prepared) as rows:
                return self._answer(rows)
        except SourceError as error:
            phase, name = self._culprit(prepared)
            if not name:
                raise
            raise StageError(phase, name, error) from error

    def _culprit(self, prepared: Prepared) -> tuple[str, str]:
        """Return phase and name of the stage whose expressions the engine can't compute, or nothing."""
        mine = [stage.name for stage in self.preprocess if isinstance(stage, RelationStage)]
        if mine and _computes(prepared.observations.table) and not _computes(prepared.selected):
            return "preprocess", ", ".join(mine)
        for stage in self.aggregate:
            try:
                aggregate(prepared, [stage])
            except SourceError:
                if isinstance(stage, Custom):
                    return "aggregate", stage.name
        return "", ""

    def _answer(self, prepared: Prepared) -> Answer:
        observations = prepared.observations
        meta = MappingProxyType({"source": observations.label, "engine": observations.engine})
        answer = Answer(prepared.selection, meta=meta)
        if self.aggregate:
            frame, rows = _guarded(
                "aggregate", ", ".join(stage.name for stage in self.aggregate), aggregate, prepared, self.aggregate
            )
            columns = [*prepared.groups, *statistics_columns(self.aggregate)]
            for missing in set(columns) - set(frame.columns):
                frame[missing] = float("nan")
            answer = replace(answer, rows=rows).with_frame("stats", frame[columns])
        else:
            answer = replace(answer, rows=audit(prepared))
        for stage in self.postprocess:
            answer = _guarded("postprocess", stage.name, stage, answer, prepared)
        return answer


def _guarded(phase: str, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a stage; what it raises of its own names it, the package's own errors pass as they are.

    Numbers near the largest float overflow to infinity without a warning: what follows from them is missing.
    """
    try:
        with np.errstate(over="ignore"):
            return function(*arguments)
    except AggrError:
        raise
    except Exception as error:
        raise StageError(phase, name, error) from error


def _computes(table: ibis.Table) -> bool:
    """Say whether every value of a table can be computed."""
    try:
        fetch(table.aggregate(hashes=row_hash(table, table.columns).max()), "the table")
    except SourceError:
        return False
    return True


def _takes_two(function: Any) -> bool:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in inspect.signature(function).parameters.values() if p.kind in kinds and p.default is p.empty]
    return len(required) == 2


def _name(function: Any, name: str | None) -> str:
    return name or str(getattr(function, "__name__", type(function).__name__))
