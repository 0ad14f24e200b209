"""Stages that are plain functions of records or of the relation, as users write them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pandas as pd

from aggrkit.errors import EmptySelectionError
from aggrkit.model.schema import recognise
from aggrkit.pipeline.auditing import counted
from aggrkit.pipeline.expressions import fetch
from aggrkit.pipeline.prepared import UNKNOWN, Prepared
from aggrkit.pipeline.selecting import nothing_selected
from aggrkit.sources.frame import frame_relation
from aggrkit.sources.observations import ROW, Observations

if TYPE_CHECKING:
    from collections.abc import Callable

    import ibis

    from aggrkit.model.answer import Answer

__all__ = [
    "RecordAggregator",
    "RecordPostprocessor",
    "RecordPreprocessor",
    "RelationStage",
    "grouped_records",
    "records_of",
]

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class RelationStage:
    """A function of the relation: an Ibis table in, an Ibis table with the same columns out."""

    name: str
    function: Callable[[ibis.Table], ibis.Table]

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the rows that the function gives; the columns that have roles must still be there."""
        table = self.function(prepared.table)
        gone = sorted(
            {ROW, *(column.field for column in prepared.schema.columns)}
            & set(prepared.table.columns) - set(table.columns)
        )
        if gone:
            raise ValueError(f"the stage dropped columns that are needed: {gone}")
        return replace(prepared, table=table, selected=table)


@dataclass(frozen=True)
class RecordPreprocessor:
    """A function of records, ``(results, context) -> results``; it works on copies.

    Parameters
    ----------
    name : str
        Name of the stage.
    function : callable
        Gets the records and a context, and returns those that count.
    context : dict, optional
        What the function finds as its context, where several functions share one; a new one by default.
    """

    name: str
    function: Callable[[Records, dict[str, Any]], Records]
    context: dict[str, Any] | None = field(default=None, compare=False)

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the rows of the records that the function gives back."""
        prepared = counted(prepared)
        records = records_of(prepared, numbered=True)
        if not records:
            raise nothing_selected(prepared)
        context = _context(prepared) if self.context is None else self.context
        kept = self.function(copy.deepcopy(records), context)
        if not isinstance(kept, list):
            raise TypeError(f"it must return a list of records, not {type(kept).__name__}")
        if not kept:
            raise EmptySelectionError(f"the stage {self.name!r} took out every observation")
        frame = pd.DataFrame(kept)
        grouped = {column.name for column in prepared.groups.values() if column is not None}
        measured = {metric.name for metric in prepared.metrics}
        there = {name for record in records for name in record}
        gone = sorted(grouped & there - set(frame.columns))
        gone += sorted(measured) if measured & there and not measured & set(frame.columns) else []
        if gone:
            raise ValueError(f"the records no longer have the columns that were asked for: {gone}")
        frame = frame.assign(**{c.name: None for c in prepared.schema.columns if c.name not in frame})
        take = _way_back(frame.pop(ROW) if ROW in frame else None, frame, prepared.observations.take)
        relation = frame_relation(frame)
        fields = {field.name: field for field in relation.fields}
        columns = tuple(
            replace(c, field=fields[c.name].field, kind=fields[c.name].kind, text=fields[c.name].text)
            for c in prepared.schema.columns
            if c.name in fields
        )
        known = {column.name for column in prepared.schema.columns}
        columns += recognise([field for field in relation.fields if field.name not in known]).columns
        out = {**prepared.rows_out, f"taken out by {self.name}": max(len(records) - len(kept), 0)}
        said = {} if self.context is not None else context["metadata"]
        notes = (*prepared.notes, *(f"{key}: {value}" for key, value in said.items()))
        schema = replace(prepared.schema, columns=columns)
        groups = {name: column and schema.column(column.name) for name, column in prepared.groups.items()}
        return replace(
            prepared,
            table=relation.table,
            selected=relation.table,
            observations=Observations(relation.table, schema, prepared.label, take=take),
            schema=schema,
            groups=MappingProxyType(groups),
            rows_out=MappingProxyType({reason: count for reason, count in out.items() if count}),
            notes=notes,
        )


@dataclass(frozen=True)
class RecordAggregator:
    """A function of records, ``(results, context) -> dict``; it finds ``context["grouped_results"]``."""

    name: str
    function: Callable[[Records, dict[str, Any]], dict[str, Any]]

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with the function's dictionary in ``meta["custom"]``."""
        records = records_of(prepared)
        context = _context(prepared)
        context["grouped_results"] = copy.deepcopy(grouped_records(records, prepared))
        found = self.function(copy.deepcopy(records), context)
        if not isinstance(found, dict):
            raise TypeError(f"it must return a dictionary, not {type(found).__name__}")
        custom = {**answer.meta.get("custom", {}), **found}
        return replace(answer, meta=MappingProxyType({**answer.meta, "custom": custom}))


@dataclass(frozen=True)
class RecordPostprocessor:
    """A function ``(aggregated_results, context)`` that changes ``aggregated_results["results"]`` in place."""

    name: str
    function: Callable[[dict[str, Any], dict[str, Any]], Any]

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with what the function added in ``meta["custom"]``."""
        results = {name: frame.to_dict("records") for name, frame in answer.frames.items()} | answer.meta.get(
            "custom", {}
        )
        before = set(answer.frames)
        aggregated = {"results": copy.deepcopy(results)}
        self.function(aggregated, _context(prepared))
        custom = {key: value for key, value in aggregated["results"].items() if key not in before}
        return replace(answer, meta=MappingProxyType({**answer.meta, "custom": custom}))


def grouped_records(records: Records, prepared: Prepared) -> dict[str, Records]:
    """Return records by the group that they belong to; a group of several columns is called "a:b"."""
    grouped: dict[str, Records] = {}
    for record in records:
        grouped.setdefault(_group_key(record, prepared), []).append(record)
    return grouped


def records_of(prepared: Prepared, *, numbered: bool = False) -> Records:
    """Return the rows as dictionaries under the user's names, without the values that are missing.

    Parameters
    ----------
    prepared : Prepared
        The rows.
    numbered : bool, optional
        Whether the number that a row has in its source goes with it.
    """
    table = prepared.table
    named = {column.name: table[column.field] for column in prepared.schema.columns if column.field in table.columns}
    if numbered and ROW in table.columns:
        named[ROW] = table[ROW]
    rows = fetch(table.select(**named), prepared.label)
    names, columns = rows.column_names, [column.to_pylist() for column in rows.columns]
    return [
        {name: value for name, value in zip(names, values, strict=True) if value is not None and value == value}
        for values in zip(*columns, strict=True)
    ]


def _way_back(
    numbers: pd.Series[Any] | None, frame: pd.DataFrame, take: Callable[[Any], pd.DataFrame] | None
) -> Callable[[Any], pd.DataFrame]:
    """Return what gives the user's own rows behind the records, or the records where that can't be told."""
    if numbers is None or numbers.isna().any():
        return lambda rows: frame.iloc[rows]
    own = numbers.to_numpy(dtype="int64")
    if take is None:
        return lambda rows: frame.set_axis(own).iloc[rows]
    return lambda rows: take(own[rows])


def _context(prepared: Prepared) -> dict[str, Any]:
    return {"selection": prepared.selection.as_dict(), "metadata": {}}


def _group_key(record: dict[str, Any], prepared: Prepared) -> str:
    values = [UNKNOWN if column is None else record.get(column.name) for column in prepared.groups.values()]
    return ":".join(UNKNOWN if value is None or value == "" else str(value) for value in values)
