"""The first phase: which rows and values count. Each stage says what it took out, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

import ibis

from aggrkit.errors import UnknownNameError
from aggrkit.model.metric import NORMALIZED, Metric
from aggrkit.model.schema import Column, Kind, Role
from aggrkit.pipeline.auditing import NOTHING_LEFT
from aggrkit.pipeline.expressions import all_of, any_of, as_number, fetch, label_of, row_hash, valid
from aggrkit.sources.observations import ROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aggrkit.model.schema import Schema
    from aggrkit.pipeline.prepared import Prepared

__all__ = ["Duplicates", "Invalid", "Normalise", "Preprocessor", "as_numbers"]

_VALID: Final = "__valid"
_AUDIT: Final = "__audit"
_HARDWARE_INDEPENDENT: Final = frozenset(
    {"batch_size", "precision", "dtype", "test_case", "test_name", "test", "benchmark"}
)


class Preprocessor(Protocol):
    """A stage of the first phase: rows in, rows out."""

    @property
    def name(self) -> str:
        """Name of the stage, as errors and reports call it."""
        ...

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the rows with the stage applied; nothing is changed in place."""
        ...


@dataclass(frozen=True)
class Invalid:
    """Take out values that can't be: text, infinities, negative times, scores outside 0 to 1.

    A value that is not possible is treated as missing and costs its cell, not its row; a row in which no metric is left
    no longer counts as an observation of anything, and is reported.
    """

    name: str = "invalid"

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the rows with impossible values made null."""
        table = prepared.table
        schema = prepared.schema
        needed = dict.fromkeys(
            _source_of(metric, schema) if metric.name.startswith(NORMALIZED) else metric for metric in prepared.metrics
        )
        cleaned: dict[str, ibis.Value] = {}
        impossible: dict[str, tuple[str, Column]] = {}
        audits = dict(prepared.audits)
        for metric in needed:
            column = _column_of(metric, schema)
            raw = table[column.field]
            number = as_number(raw, column)
            possible = valid(number, metric, in_memory=prepared.observations.take is not None)
            target = f"{_VALID}{len(cleaned)}"  # beside the raw values, by which duplicates are told
            cleaned[target] = ibis.ifelse(possible, number, ibis.null("float64"))
            audit_column = f"{_AUDIT}{len(audits)}"
            impossible[audit_column] = target, column
            audits[f"{metric.name}: {_impossible(metric)}"] = audit_column
            schema = _moved(schema, metric, target)
        table = table.mutate(**cleaned)
        told = {
            name: _was_impossible(table[column.field], as_number(table[column.field], column), table[target])
            for name, (target, column) in impossible.items()
        }
        audits[NOTHING_LEFT] = f"{_AUDIT}_none"
        nothing_left = all_of([table[_column_of(metric, schema).field].isnull() for metric in needed])
        table = table.mutate(**told, **{f"{_AUDIT}_none": nothing_left})
        return replace(prepared, table=table, schema=schema, audits=MappingProxyType(audits))


@dataclass(frozen=True)
class Duplicates:
    """Take out observations that are there twice; repeats are data and stay.

    Two rows are the same observation if they have the same result id, or if they are equal in every column, the
    time included. Where there is neither an id nor a time nothing tells a repeat from a duplicate: rows without them
    stay, and where no row has them a note says so.
    """

    name: str = "duplicates"

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the rows without second copies."""
        schema, table = prepared.schema, prepared.table
        identity = schema.role(Role.RESULT_ID)
        if identity is None and schema.role(Role.TIMESTAMP) is None:
            note = (
                "duplicates were not looked for: without a time or a result id a repeat can't be told from a duplicate"
            )
            return replace(prepared, notes=(*prepared.notes, note))
        if prepared.observations.unique:
            return prepared
        usable = [column for column in table.columns if column != ROW and not column.startswith((_VALID, _AUDIT))]
        rows_out = dict(prepared.rows_out)
        tellers = [column.field for column in schema.playing(Role.RESULT_ID, Role.TIMESTAMP)]
        tellable = any_of(label_of(table[field]).notnull() for field in tellers)
        key = ibis.ifelse(tellable, row_hash(table, usable), ibis.null())
        table, rows_out["the same in every column"] = _first_of_each(table, key, prepared.label)
        if identity is not None:
            key = label_of(table[identity.field]).cast("string")
            table, rows_out[f"the same {identity.name}"] = _first_of_each(table, key, prepared.label)
        found = {reason: count for reason, count in rows_out.items() if count}
        return replace(prepared, table=table, rows_out=MappingProxyType(found))


@dataclass(frozen=True)
class Normalise:
    """Add ``normalized_<metric>``: how many times better than the reference, whatever the direction.

    The reference is the median over the selection of the same model under the same conditions, on all hardware. A
    missing or zero reference gives null for the rows that have it. Only what the selection asks for is computed.
    """

    name: str = "normalise"

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the rows with the normalised metrics that were asked for."""
        wanted = [metric for metric in prepared.metrics if metric.name.startswith(NORMALIZED)]
        schema = prepared.schema
        keys = [column.field for column in _same_test(schema)]
        sources: dict[str, Metric] = {}
        for metric in wanted:
            source = _source_of(metric, schema)
            if source.sign == 0:
                raise UnknownNameError.of(
                    "metric",
                    metric.name,
                    [m.name for m in schema.metrics if m.sign],
                    f"{source.name} can't be normalised, for it isn't known which way is better: "
                    f"df.aggr(metrics={{{source.name!r}: 'lower'}}).",
                )
            sources[metric.name] = source
        if not wanted:
            return prepared
        table, medians = _beside_medians(prepared.table, keys, [_column_of(m, schema).field for m in sources.values()])
        ratios: dict[str, ibis.Value] = {}
        for metric, median in zip(wanted, medians, strict=True):
            source = sources[metric.name]
            value, reference = table[_column_of(source, schema).field], table[median].nullif(0.0)
            ratios[metric.name] = reference / value.nullif(0.0) if source.sign < 0 else value / reference
        for metric in wanted:
            schema = schema.with_metric(metric, metric.name)
        return replace(prepared, table=table.mutate(**ratios).drop(*medians), schema=schema)


def as_numbers(prepared: Prepared) -> Prepared:
    """Return the rows with metrics that are numbers, whether or not their values were looked at."""
    table, schema = prepared.table, prepared.schema
    for place, metric in enumerate(prepared.metrics):
        column = _column_of(metric, schema)
        if not table[column.field].type().is_float64():
            target = f"{_VALID}_number{place}"
            table = table.mutate(**{target: as_number(table[column.field], column)})
            schema = _moved(schema, metric, target)
    return replace(prepared, table=table, schema=schema)


def _column_of(metric: Metric, schema: Schema) -> Column:
    return next(column for column in schema.columns if column.name == metric.name)


def _source_of(metric: Metric, schema: Schema) -> Metric:
    return schema.metric(metric.name.removeprefix(NORMALIZED))


def _same_test(schema: Schema) -> Sequence[Column]:
    return [
        column
        for column in schema.columns
        if column.role in (Role.MODEL, Role.TASK_TYPE)
        or (column.role is Role.CONDITION and column.name.casefold() in _HARDWARE_INDEPENDENT)
    ]


def _beside_medians(table: ibis.Table, keys: list[str], fields: Sequence[str]) -> tuple[ibis.Table, list[str]]:
    """Return the rows with the medians of some columns over the rows of the same keys beside them."""
    names = [f"__median{place}" for place in range(len(fields))]
    labels = {f"__key{place}": label_of(table[key]) for place, key in enumerate(keys)}
    keyed = table.mutate(**labels)
    medians = {name: keyed[field].median() for name, field in zip(names, fields, strict=True)}
    if not labels:
        return table.cross_join(keyed.aggregate(**medians)), names
    references = keyed.group_by(list(labels)).aggregate(**medians).rename({f"{name}_of": name for name in labels})
    same = [keyed[name].identical_to(references[f"{name}_of"]) for name in labels]
    joined = keyed.left_join(references, same)
    return joined.drop(*labels, *(f"{name}_of" for name in labels)), names


def _moved(schema: Schema, metric: Metric, target: str) -> Schema:
    columns = tuple(
        replace(column, field=target, metric=metric, role=Role.METRIC, text=False, kind=Kind.NUMBER)
        if column.name == metric.name
        else column
        for column in schema.columns
    )
    return replace(schema, columns=columns)


def _impossible(metric: Metric) -> str:
    if metric.is_proportion:
        return "neither passed nor failed"
    if metric.minimum is not None and metric.maximum is not None:
        return f"not a number from {metric.minimum:g} to {metric.maximum:g}"
    return "not a finite number" if metric.minimum is None else "negative, or not a finite number"


def _was_impossible(raw: ibis.Column, number: ibis.Column, valid_value: ibis.Column) -> ibis.Value:
    """Say where a value was there and can't be; NaN and empty text are missing, not impossible.

    Only rows without a valid value are looked at: that leaves the engine little to do.
    """
    there = label_of(raw).notnull()
    if number.type().is_floating():
        there = there & ~number.isnan().fill_null(False)
    return ibis.ifelse(valid_value.isnull(), there, False)


def _first_of_each(table: ibis.Table, key: ibis.Column, label: str) -> tuple[ibis.Table, int]:
    """Keep the first row of each key, and all without one; where none is there twice the table is returned as it is."""
    keyed = table.mutate(__key=key)
    present = keyed.filter(keyed["__key"].notnull())
    counts = present.group_by("__key").aggregate(copies=present.count()).filter(ibis._.copies > 1)
    doubled = int(fetch(counts.aggregate(extra=(counts.copies - 1).sum()), label)["extra"][0].as_py() or 0)
    if not doubled:
        return table, 0
    numbered = keyed.mutate(
        __copy=ibis.row_number().over(group_by="__key", order_by=[ROW] if ROW in table.columns else None)
    )
    kept = (numbered["__copy"] == 0) | numbered["__key"].isnull()
    return numbered.filter(kept).drop("__key", "__copy"), doubled
