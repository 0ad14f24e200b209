"""The first phase: which rows and values count. Each stage says what it took out, and why."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

import ibis

from aggrkit.errors import EmptySelectionError, SchemaError, UnknownNameError, did_you_mean, listed
from aggrkit.model.answer import RowsReport
from aggrkit.model.metric import NORMALIZED, Metric
from aggrkit.model.schema import Column, Kind, Role
from aggrkit.model.selection import LEVELS
from aggrkit.pipeline.expressions import all_of, any_of, as_number, as_time, fetch, is_among, label_of, row_hash, valid
from aggrkit.sources.engine import reading
from aggrkit.sources.observations import ROW, Observations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from aggrkit.model.schema import Schema
    from aggrkit.model.selection import Selection

__all__ = [
    "UNKNOWN",
    "Duplicates",
    "Invalid",
    "Normalise",
    "Prepared",
    "Preprocessor",
    "as_numbers",
    "audit",
    "counted",
    "group_key",
    "nothing_selected",
    "rows_report",
    "select",
    "settled",
    "times_of",
]

UNKNOWN: Final = "unknown"
_VALID: Final = "__valid"
_AUDIT: Final = "__audit"
_SMALL: Final = 500_000
_EMPTY: Final = "no metric has a value"
_HARDWARE_INDEPENDENT: Final = frozenset(
    {"batch_size", "precision", "dtype", "test_case", "test_name", "test", "benchmark"}
)


@dataclass(frozen=True)
class Prepared:
    """The rows that passed a selection, between two stages.

    Parameters
    ----------
    table : ibis.Table
        The rows.
    schema : Schema
        The roles of their columns.
    selection : Selection
        What was asked.
    groups : mapping of str to Column or None
        Name in the answer to the column that is grouped by; None where no column plays that role.
    metrics : tuple of Metric
        What is measured, as asked for.
    label : str
        What the source is called in messages.
    observations : Observations
        Where the rows come from.
    selected : ibis.Table
        The rows that passed the filters, before any stage.
    audits : mapping of str to str
        Reason to the column that says whether a row (or one of its values) was taken out for it; counted in the scan
        of the aggregates.
    rows_out : mapping of str to int
        Reason to rows that were taken out, where that is known already.
    cells_out : mapping of str to int
        Reason to single values that were taken out, where that is known already.
    notes : tuple of str
        What else a reader should know.
    size : int, optional
        Number of rows, or more than that, where it is known.
    """

    table: ibis.Table
    schema: Schema
    selection: Selection
    groups: Mapping[str, Column | None]
    metrics: tuple[Metric, ...]
    label: str
    observations: Observations
    selected: ibis.Table
    audits: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    rows_out: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    cells_out: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()
    size: int | None = None

    @property
    def is_small(self) -> bool:
        """Whether it is known that looking at all values costs less than finding out which to look at."""
        return self.size is not None and self.size <= _SMALL

    def values(self, metric: Metric) -> ibis.Column:
        """Return the values of a metric: numbers, null where missing or invalid."""
        return self.table[self.field(metric)]

    def field(self, metric: Metric) -> str:
        """Return the name under which the table has a metric."""
        return next(column.field for column in self.schema.columns if column.name == metric.name)

    def group_expressions(self) -> dict[str, ibis.Value]:
        """Return what rows are grouped by, under the names of the answer."""
        return {name: group_key(self.table, column) for name, column in self.groups.items()}


def group_key(table: ibis.Table, column: Column | None) -> ibis.Value:
    """Return what rows are grouped by: text that is missing goes with that which says "unknown"."""
    if column is None:
        return ibis.literal(UNKNOWN)
    label = label_of(table[column.field])
    return label.fill_null(UNKNOWN) if label.type().is_string() else label


class Preprocessor(Protocol):
    """A stage of the first phase: rows in, rows out."""

    @property
    def name(self) -> str:
        """Name of the stage, as errors and reports call it."""
        ...

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the rows with the stage applied; nothing is changed in place."""
        ...


def select(observations: Observations, selection: Selection, condition: object = None) -> Prepared:
    """Apply filters and time range, and find the columns that a selection names.

    Parameters
    ----------
    observations : Observations
        All rows.
    selection : Selection
        What is asked.
    condition : Ibis expression, optional
        A further filter, on the columns of the relation.

    Raises
    ------
    UnknownNameError
        For a column, metric or value that can't be.
    """
    table, schema = _timed(observations.table, observations.schema)
    tests = [is_among(table[column.field], column, values) for column, values in _filters(schema, selection)]
    if selection.time_range is not None:
        start, end = selection.time_range.start, selection.time_range.end
        time = table[schema.moment("a time range").field]
        tests += [time >= start] if start is not None else []
        tests += [time <= end] if end is not None else []
    if tests:
        table = table.filter(all_of(tests))
    if condition is not None:
        table = _filtered(table, condition, schema)
    prepared = Prepared(
        table=table,
        schema=schema,
        selection=selection,
        groups=MappingProxyType(_groups(schema, selection)),
        metrics=_metrics(schema, selection),
        label=observations.label,
        observations=observations,
        selected=table,
    )
    missing = [name for name, column in prepared.groups.items() if column is None]
    notes = tuple(
        f"no column was recognised as {name}: all observations are in the group {UNKNOWN!r}" for name in missing
    )
    return replace(prepared, notes=notes)


def times_of(prepared: Prepared) -> tuple[pd.Timestamp, pd.Timestamp]:
    """Return the first and the last time.

    Raises
    ------
    EmptySelectionError
        If no value can be read as a time.
    """
    column = prepared.schema.moment("a span of time")
    time = prepared.table[column.field]
    found = fetch(prepared.table.aggregate(first=time.min(), last=time.max()), prepared.label).to_pandas()
    if found.isna().any(axis=None):
        raise EmptySelectionError(f"no value of {column.name!r} can be read as a time")
    return found.at[0, "first"], found.at[0, "last"]


def nothing_selected(prepared: Prepared) -> EmptySelectionError:
    """Make the error for a selection that no row passes, saying which filter is at fault."""
    table, schema = _timed(prepared.observations.table, prepared.observations.schema)
    for column, values in _filters(schema, prepared.selection):
        if fetch(table.filter(is_among(table[column.field], column, values)).limit(1), prepared.label).num_rows:
            continue
        held = fetch(table.select(value=table[column.field]).distinct().order_by("value").limit(1000), prepared.label)
        choices = [str(value) for value in held["value"].to_pylist() if value is not None]
        wanted = ", ".join(repr(value) for value in values) or "among no values"
        hint = did_you_mean(str(values[0]), choices) if values else ""
        said = (f"no observation has {column.name} {wanted}", hint, f"it holds: {listed(choices) or 'no value'}")
        return EmptySelectionError("; ".join(filter(None, said)))
    if prepared.selection.time_range is not None:
        first, last = times_of(replace(prepared, table=table, schema=schema))
        span = f"the times of {prepared.label} go from {first} to {last}"
        return EmptySelectionError(f"no observation passes the filters within {prepared.selection.time_range}; {span}")
    return EmptySelectionError(f"{prepared.label} has no observation that passes all filters")


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
        audits[_EMPTY] = f"{_AUDIT}_none"
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


def rows_report(prepared: Prepared, selected: int, audited: Mapping[str, int]) -> RowsReport:
    """Put together what the stages took out."""
    cells = {**prepared.cells_out, **{reason: count for reason, count in audited.items() if count and reason != _EMPTY}}
    rows_out = dict(prepared.rows_out) | ({_EMPTY: audited[_EMPTY]} if audited.get(_EMPTY) else {})
    return RowsReport(selected + sum(prepared.rows_out.values()), rows_out, cells, prepared.notes)


def audit(prepared: Prepared) -> RowsReport:
    """Count what the stages took out, in a scan of its own; raise where nothing was selected."""
    rows, audited = _audited(prepared)
    if not rows:
        raise nothing_selected(prepared)
    return rows_report(prepared, rows, audited)


def counted(prepared: Prepared) -> Prepared:
    """Return the rows without those that have no value left, and with what was taken out counted once and for all."""
    if not prepared.audits:
        return prepared
    _, audited = _audited(prepared)
    found = rows_report(prepared, 0, audited)
    table = (
        prepared.table.filter(~prepared.table[prepared.audits[_EMPTY]]) if _EMPTY in prepared.audits else prepared.table
    )
    return replace(
        prepared, table=table, audits=MappingProxyType({}), rows_out=found.rows_out, cells_out=found.cells_out
    )


def settled(prepared: Prepared) -> Prepared:
    """Return the same rows worked out once, in a table of the engine's own, for several questions to them."""
    backend = prepared.table.get_backend()
    name = ibis.util.gen_name("aggrkit_settled")
    wanted = {ROW, *(column.field for column in prepared.schema.columns), *prepared.audits.values()}
    table = prepared.table.select([column for column in prepared.table.columns if column in wanted])
    with reading(prepared.label):
        made = backend.con.execute(f'CREATE TEMP TABLE "{name}" AS {backend.compile(table)}').fetchone()
        return replace(prepared, table=backend.table(name), size=made[0])


def _audited(prepared: Prepared) -> tuple[int, dict[str, int]]:
    counts = {
        f"a{place}": prepared.table[column].cast("int64").sum() for place, column in enumerate(prepared.audits.values())
    }
    found = fetch(prepared.table.aggregate(rows=prepared.table.count(), **counts), prepared.label).to_pylist()[0]
    return found["rows"], {reason: int(found[f"a{place}"] or 0) for place, reason in enumerate(prepared.audits)}


def _timed(table: ibis.Table, schema: Schema) -> tuple[ibis.Table, Schema]:
    """Return the rows with their time column as timestamps, whatever it was stored as."""
    moment = schema.role(Role.TIMESTAMP)
    if moment is None:
        return table, schema
    timed = replace(moment, kind=Kind.TIME, text=False)
    schema = replace(schema, columns=tuple(timed if column is moment else column for column in schema.columns))
    return table.mutate(**{moment.field: as_time(table[moment.field])}), schema


def _filtered(table: ibis.Table, condition: Any, schema: Schema) -> ibis.Table:
    """Keep the rows that an expression of the user's lets in."""
    try:
        dtype = table.bind(condition)[0].type()
        if dtype.is_boolean():
            return table.filter(condition)
    except Exception as error:
        name = str(getattr(error, "name", "") or "")
        if isinstance(error, AttributeError) and name and name not in table.columns and not hasattr(ibis.Column, name):
            raise UnknownNameError.of("column", name, schema.names) from error
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"the expression in 'where' can't be used: {said}; columns: {listed(schema.names)}"
        raise SchemaError(message) from error
    raise SchemaError(f"the expression in 'where' gives {dtype}, and must say true or false")


def _filters(schema: Schema, selection: Selection) -> Sequence[tuple[Column, tuple[object, ...]]]:
    found = [(schema.column(name, "filter"), values) for name, values in selection.where]
    kind = schema.role(Role.RESULT_TYPE)
    if selection.result_type is not None and kind is not None:
        found.append((kind, (selection.result_type,)))
    return found


def _groups(schema: Schema, selection: Selection) -> dict[str, Column | None]:
    if isinstance(selection.level, tuple):
        own = [name for name in selection.level if name.startswith("__") and not name.endswith("__")]
        if own:
            raise SchemaError(
                f"names that begin with two underscores are aggrkit's own; rename {listed(own)} to group by it"
            )
        return {name: schema.column(name) for name in selection.level}
    found = {name: schema.role(name) for name in selection.columns}
    if not any(found.values()):
        roles = " or ".join(found)
        said = ", ".join(f"{name}='...'" for name in found)
        hints = [hint for name in found if (hint := did_you_mean(name, schema.names))]
        message = (
            f"no column was recognised as {roles}; {''.join(f'{hint} ' for hint in hints)}say which it is: "
            f"df.aggr({said}), or group by columns: level=[...] (level=[] makes one group of all)"
        )
        raise _no_such_role(message, schema)
    return found


def _no_such_role(message: str, schema: Schema) -> SchemaError:
    """Make a schema error that lists the columns and the levels that would work."""
    possible = [level for level, roles in LEVELS.items() if any(schema.role(role) for role in roles)]
    levels = f"; levels that would work: {listed(possible)}" if possible else ""
    return SchemaError(f"{message}. Columns: {listed(schema.names)}{levels}")


def _metrics(schema: Schema, selection: Selection) -> tuple[Metric, ...]:
    if selection.metrics is not None:
        return tuple(schema.metric(name) for name in selection.metrics)
    grouped = set(selection.columns)
    found = tuple(metric for metric in schema.metrics if metric.name not in grouped)
    if not found:
        message = "no column was recognised as a metric, for none holds numbers or booleans"
        raise SchemaError(f"{message}; say which are: df.aggr(metrics=['...']). Columns: {listed(schema.names)}")
    return found


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
