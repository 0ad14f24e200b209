"""Which column plays which role, with the reason for each."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from aggrkit.errors import SchemaError, UnknownNameError, did_you_mean, listed
from aggrkit.model.metric import (
    METRIC_SPELLINGS,
    NORMALIZED,
    RESULT_TYPES,
    Metric,
    metric_by_name,
    normalized_metric,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DIMENSIONS", "HELD_FIXED", "SPELLINGS", "Column", "Field", "Kind", "Role", "Schema", "recognise"]


class Kind(StrEnum):
    """What a column holds, as far as its type tells."""

    NUMBER = "number"
    BOOLEAN = "boolean"
    TEXT = "text"
    TIME = "time"
    OTHER = "other"


class Role(StrEnum):
    """What a column is for."""

    RUN = "run_id"
    TIMESTAMP = "timestamp"
    MODEL = "model"
    HARDWARE = "hardware"
    TASK_TYPE = "task_type"
    WORKER = "worker"
    RESULT_TYPE = "result_type"
    RESULT_ID = "result_id"
    REPEAT = "repeat"
    CONDITION = "condition"
    VERSION = "version"
    OUTCOME = "outcome"
    ATTRIBUTE = "attribute"
    METRIC = "metric"
    IGNORED = "ignored"


DIMENSIONS: Final = (Role.RUN, Role.MODEL, Role.HARDWARE, Role.TASK_TYPE, Role.WORKER)
"""The roles by which observations are grouped; a missing value becomes the group "unknown"."""

HELD_FIXED: Final = (Role.MODEL, Role.HARDWARE, Role.TASK_TYPE, Role.RESULT_TYPE, Role.CONDITION)
"""The roles by which like is compared with like."""

SPELLINGS: Final[dict[Role, tuple[str, ...]]] = {
    Role.RUN: ("run_id", "run", "test_run_id", "test_run", "run_name", "job_id", "session_id"),
    Role.TIMESTAMP: ("timestamp", "started_at", "created_at", "start_time", "executed_at", "datetime", "date"),
    Role.MODEL: ("model", "model_id", "model_name"),
    Role.HARDWARE: ("hardware", "hardware_id", "hardware_name", "hardware_type", "device_name", "device_id", "device"),
    Role.WORKER: ("worker", "worker_id", "worker_name", "hostname", "host"),
    Role.TASK_TYPE: ("task_type", "test_module"),
    Role.RESULT_TYPE: ("result_type",),
    Role.RESULT_ID: ("result_id", "observation_id", "id"),
}
"""The one table of spellings: the first that is there plays the role."""

_MANY: Final[dict[Role, frozenset[str]]] = {
    Role.REPEAT: frozenset({"repeat", "repetition", "iteration", "trial", "rep", "attempt", "sample_index"}),
    Role.CONDITION: frozenset(
        {"batch_size", "precision", "dtype", "test_case", "test_name", "test", "benchmark", "browser", "platform"}
        | {
            "sequence_length",
            "seq_len",
            "n_gpus",
            "num_gpus",
            "n_accelerators",
            "num_accelerators",
            "nodes",
            "num_nodes",
        }
        | {"n_nodes", "threads", "n_threads", "num_threads", "concurrency", "img_size", "image_size", "input_size"}
        | {"resolution", "dataset", "data", "question", "query", "scenario", "mode", "division", "layout", "compiler"}
        | {
            "backend",
            "suite",
            "x_name",
            "x_value",
            "provider",
            "quantization",
            "optimizer",
            "cache",
            "on_disk",
            "channel",
        }
        | {"unit", "metric_name", "metric_unit", "kind", "config"}
    ),
    Role.VERSION: frozenset(
        {
            "git",
            "commit",
            "sha",
            "build",
            "branch",
            "driver",
            "cuda",
            "pytorch",
            "framework",
            "round",
            "release",
            "loadgen",
        }
    ),
    Role.OUTCOME: frozenset(
        {
            "status",
            "outcome",
            "verdict",
            "result",
            "valid",
            "error",
            "error_message",
            "error_type",
            "reason",
            "return_code",
        }
    ),
    Role.IGNORED: frozenset(
        {
            "seed",
            "index",
            "level_0",
            "__index_level_0__",
            "unnamed: 0",
            "row",
            "row_number",
            "checksum",
            "loops",
            "source_file",
        }
    ),
}

ARGUMENT: Final = "arg_"
"""With what a column begins that holds a parameter of a test."""

_ARGUMENT_WHY: Final = "a parameter of the test: like is compared with like"

_WHY: Final = {
    Role.REPEAT: "numbers the repeats within a run",
    Role.CONDITION: "a condition of the test: like is compared with like",
    Role.VERSION: "what is under test: compared by, never matched on",
    Role.OUTCOME: "what came out: described, never matched on",
    Role.IGNORED: "says nothing about the result",
}

PASS_WORDS: Final = ("pass", "passed", "success", "succeeded", "ok", "true")
FAIL_WORDS: Final = ("fail", "failed", "failure", "false")
"""The words of a status that count; all others (skip, error, aborted, ...) are neither a pass nor a failure."""


@dataclass(frozen=True, slots=True)
class Field:
    """A column as a source offers it.

    Parameters
    ----------
    name : str
        Name that the user knows it by.
    kind : Kind
        What it holds.
    field : str, optional
        Name in the relation, where it differs.
    text : bool, optional
        Whether numbers are stored as text and must be read.
    note : str, optional
        Why it can't be used, or how it was converted.
    """

    name: str
    kind: Kind
    field: str = ""
    text: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        if not self.field:
            object.__setattr__(self, "field", self.name)


@dataclass(frozen=True, slots=True)
class Column:
    """A column with the role that it plays.

    Parameters
    ----------
    name, field : str
        Name that the user knows, and name in the relation.
    role : Role
        What the column is for.
    kind : Kind
        What it holds.
    reason : str
        Why it plays this role.
    metric : Metric or None, optional
        The metric that it holds, for the role "metric".
    text : bool, optional
        Whether its numbers are stored as text.
    """

    name: str
    field: str
    role: Role
    kind: Kind
    reason: str
    metric: Metric | None = None
    text: bool = False


@dataclass(frozen=True)
class Schema:
    """What was recognised in the columns of a source.

    Parameters
    ----------
    columns : tuple of Column
        Every column of the source, in its order, with role and reason.

    Examples
    --------
    >>> import pandas as pd, aggrkit
    >>> frame = pd.DataFrame({"model_name": ["bert"], "latency_ms": [3.1], "batch_size": [8]})
    >>> frame.aggr.schema.role("model").name
    'model_name'
    """

    columns: tuple[Column, ...]

    def role(self, role: Role | str) -> Column | None:
        """Return the column that plays a role, or None."""
        return next((column for column in self.columns if column.role == role), None)

    def playing(self, *roles: Role) -> tuple[Column, ...]:
        """Return the columns that play one of the roles, in the order of the source."""
        return tuple(column for column in self.columns if column.role in roles)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics: those of the result types first, in their order, then the others in the order of the source."""
        known = [metric.name for metrics in RESULT_TYPES.values() for metric in metrics]
        found = [column.metric for column in self.columns if column.metric is not None]
        rank = {name: place for place, name in enumerate(known)}
        return tuple(sorted(found, key=lambda metric: rank.get(_canonical(metric.name), len(rank))))

    @property
    def names(self) -> list[str]:
        """Names of all columns that can be used, as the user knows them."""
        return [column.name for column in self.columns]

    def metric(self, name: str) -> Metric:
        """Return a metric by the name of its column or by another spelling of it.

        Raises
        ------
        UnknownNameError
            If there is none; numeric columns of other roles are taken as metrics when asked for.
        """
        plain = name.removeprefix(NORMALIZED)
        nested = plain.startswith(NORMALIZED) and self._find(plain) is None
        if plain != name and not nested and self._find(name) is None:
            return normalized_metric(self.metric(plain))
        column = self._find(name) or self._respelt(name)
        if column is None:
            raise UnknownNameError.of("metric", name, [metric.name for metric in self.metrics])
        if column.metric is not None:
            return column.metric
        if column.kind in (Kind.NUMBER, Kind.BOOLEAN):
            return metric_by_name(column.name, boolean=column.kind is Kind.BOOLEAN)
        what = f"is {column.reason}" if column.kind is Kind.OTHER else f"holds {column.kind.value}"
        choices = [metric.name for metric in self.metrics]
        raise UnknownNameError.of("metric", name, choices, f"The column {name!r} {what}.")

    def column(self, name: str, kind: str = "column") -> Column:
        """Return a column by its name, by its role, or by another spelling of its role.

        Parameters
        ----------
        name : str
            Name, role ("model", "hardware", "run_id", ...) or another spelling of a role ("model_id").
        kind : str, optional
            What the name is called in the error.

        Raises
        ------
        UnknownNameError
            If there is no such column; lists the columns and the nearest match.
        SchemaError
            If it holds what can't be analysed.
        """
        found = self._find(name)
        if found is not None:
            return _usable(found)
        for role, spellings in SPELLINGS.items():
            if name == role or name in spellings or (role is Role.RUN and name == "run"):
                played = self.role(role)
                if played is not None:
                    return played
        raise UnknownNameError.of(kind, name, self.names)

    def moment(self, purpose: str) -> Column:
        """Return the time column, which `purpose` needs.

        Raises
        ------
        UnknownNameError
            If none was recognised.
        """
        column = self.role(Role.TIMESTAMP)
        if column is None:
            message = f"{purpose} needs a time column; say which it is: df.aggr(timestamp='...')"
            raise UnknownNameError(f"{message}; the columns are: {listed(self.names)}", choices=self.names)
        return column

    def with_metric(self, metric: Metric, field: str) -> Schema:
        """Return the schema with one more metric column."""
        column = Column(metric.name, field, Role.METRIC, Kind.NUMBER, metric.reason, metric)
        kept = tuple(existing for existing in self.columns if existing.name != metric.name)
        return replace(self, columns=(*kept, column))

    def _find(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name == name), None)

    def _respelt(self, name: str) -> Column | None:
        wanted = _canonical(name)
        return next((c for c in self.columns if c.metric is not None and _canonical(c.name) == wanted), None)

    def _lines(self) -> list[tuple[str, str, str, str]]:
        order = {role: place for place, role in enumerate(Role)}
        lines = []
        for column in sorted(self.columns, key=lambda column: order[column.role]):
            what = ""
            if column.metric is not None:
                better = {1: "higher is better", -1: "lower is better", 0: "direction unknown"}[column.metric.sign]
                what = ", ".join(part for part in (column.metric.unit, better) if part)
            lines.append((column.role.value, column.name, what, column.reason))
        return lines

    def __repr__(self) -> str:
        lines = self._lines()
        widths = [max((len(line[k]) for line in lines), default=0) for k in range(3)]
        rows = ("  ".join((*(line[k].ljust(widths[k]) for k in range(3)), line[3])).rstrip() for line in lines)
        return "\n".join((f"Schema of {len(lines)} columns (role, column, metric, why)", *rows))

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>" + "".join(f'<td style="text-align:left">{html.escape(cell)}</td>' for cell in line) + "</tr>"
            for line in self._lines()
        )
        head = "".join(f'<th style="text-align:left">{name}</th>' for name in ("role", "column", "metric", "why"))
        return (
            f"<table><caption>What was recognised</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )


def recognise(fields: Sequence[Field], given: Mapping[str, object] | None = None) -> Schema:
    """Say which column plays which role.

    Parameters
    ----------
    fields : sequence of Field
        The columns that a source offers.
    given : mapping, optional
        What the user said: a role ("model", "hardware", "run", "timestamp", "worker", "task_type", "result_id")
        to the name of a column; "metrics" to a list of names or a mapping of name to direction or `Metric`;
        "conditions", "versions" and "ignore" to a list of names.

    Returns
    -------
    Schema
        Each column with its role and the reason for it.

    Raises
    ------
    SchemaError
        If a column is there twice, or the user named one that isn't there.
    UnknownNameError
        If the user named a role that doesn't exist.
    """
    names = [field.name for field in fields]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise SchemaError(f"column names must be unique, but these are there more than once: {listed(doubled)}")
    columns = {field.name: _declared(field) for field in fields}
    said = _said(given or {}, columns)
    for role, spellings in SPELLINGS.items():
        if role in {column.role for column in said.values()}:
            continue
        match = _first_match(fields, role, spellings, said)
        if match is not None:
            why = "named like the role" if match.name == role else f"one of the spellings of {role.value}"
            columns[match.name] = Column(match.name, match.field, role, match.kind, why)
    columns.update(said)
    _derive_outcome(fields, columns)
    return Schema(tuple(columns.values()))


def _canonical(name: str) -> str:
    return METRIC_SPELLINGS.get(name.casefold(), name.casefold())


def _first_match(
    fields: Sequence[Field], role: Role, spellings: Iterable[str], said: Mapping[str, Column]
) -> Field | None:
    fit = (Kind.TIME, Kind.TEXT, Kind.NUMBER) if role is Role.TIMESTAMP else (Kind.TEXT, Kind.NUMBER, Kind.TIME)
    by_name = {
        field.name.casefold(): field for field in reversed(fields) if field.kind in fit and field.name not in said
    }
    return next((by_name[spelling] for spelling in spellings if spelling in by_name), None)


def _declared(field: Field) -> Column:
    """Return the role of a column that plays none of the single roles."""
    name = field.name.casefold()
    if field.kind is Kind.OTHER:
        return Column(field.name, field.field, Role.IGNORED, field.kind, field.note or "of a type that can't be used")
    if name.startswith(ARGUMENT):
        return Column(field.name, field.field, Role.CONDITION, field.kind, _ARGUMENT_WHY, text=field.text)
    for role, spellings in _MANY.items():
        if name in spellings or (role is Role.VERSION and name.endswith("_version")):
            return Column(field.name, field.field, role, field.kind, _WHY[role], text=field.text)
    metric = metric_by_name(field.name, boolean=field.kind is Kind.BOOLEAN)
    if field.kind in (Kind.NUMBER, Kind.BOOLEAN):
        if name.endswith("_id") and field.kind is Kind.NUMBER:
            return Column(field.name, field.field, Role.ATTRIBUTE, field.kind, "a number that names something")
        return Column(field.name, field.field, Role.METRIC, field.kind, metric.reason, metric, field.text)
    if field.kind is Kind.TEXT and metric.reason.startswith(("a metric that", "an outcome that", "another spelling")):
        reason = f"{metric.reason}; stored as text, read as numbers"
        return Column(field.name, field.field, Role.METRIC, field.kind, reason, metric, text=True)
    return Column(field.name, field.field, Role.ATTRIBUTE, field.kind, f"{field.kind.value} that describes the test")


def _derive_outcome(fields: Sequence[Field], columns: dict[str, Column]) -> None:
    """Read a status column as pass or fail where no other column says it."""
    status = next((field for field in fields if field.name.casefold() == "status" and field.kind is Kind.TEXT), None)
    outcomes = [c for c in columns.values() if c.metric is not None and c.metric.is_proportion and c.metric.sign]
    if status is None or outcomes or "passed" in columns or columns[status.name].role is not Role.OUTCOME:
        return
    reason = f"read from 'status': {PASS_WORDS[0]} is 1, {FAIL_WORDS[0]} is 0, others (skip, error, ...) are neither"
    metric = replace(metric_by_name("passed"), reason=reason)
    columns["passed"] = Column("passed", status.field, Role.METRIC, Kind.BOOLEAN, reason, metric, text=True)


def _said(given: Mapping[str, object], columns: Mapping[str, Column]) -> dict[str, Column]:
    lists = {"conditions": Role.CONDITION, "versions": Role.VERSION, "ignore": Role.IGNORED}
    singles = {"run": Role.RUN, "time": Role.TIMESTAMP} | {role.value: role for role in SPELLINGS}
    said: dict[str, Column] = {}
    for key, value in given.items():
        if value is None:
            continue
        if key == "metrics":
            named = _said_metrics(value, columns)
        elif key in lists or key in singles:
            role = lists.get(key) or singles[key]
            found = [_there(name, columns, key) for name in (_listed(value) if key in lists else [value])]
            named = {c.name: replace(c, role=role, metric=None, reason="named by you") for c in found}
        else:
            raise UnknownNameError.of("role", key, [*singles, *lists, "metrics"])
        for name in said.keys() & named.keys():
            if said[name].role is not named[name].role:
                roles = f"{said[name].role.value!r} and {named[name].role.value!r}"
                raise SchemaError(f"the column {name!r} was named as two things, {roles}; name it once")
        said.update(named)
    return said


def _said_metrics(value: object, columns: Mapping[str, Column]) -> dict[str, Column]:
    items = value.items() if isinstance(value, Mapping) else ((name, None) for name in _listed(value))
    said: dict[str, Column] = {}
    for name, meaning in items:
        column = _there(name, columns, "metrics")
        if column.kind is Kind.TIME:
            raise SchemaError(f"the column {column.name!r} holds times, which can't be a metric")
        found = metric_by_name(column.name, boolean=column.kind is Kind.BOOLEAN)
        if isinstance(meaning, Metric):
            found = replace(meaning, name=column.name)
        elif meaning is not None:
            found = replace(found, direction=meaning, reason=f"{meaning} is better, as you said")
        said[column.name] = replace(
            column, role=Role.METRIC, metric=found, reason=found.reason, text=column.kind is Kind.TEXT or column.text
        )
    return said


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _usable(column: Column) -> Column:
    if column.kind is Kind.OTHER:
        raise SchemaError(f"the column {column.name!r} can't be used, it is {column.reason}; make it numbers or text")
    return column


def _there(name: object, columns: Mapping[str, Column], key: str) -> Column:
    column = columns.get(str(name))
    if column is not None:
        if key in ("time", "timestamp") and column.kind is Kind.BOOLEAN:
            raise SchemaError(f"the column {column.name!r} holds booleans, which can't be times")
        return column if key == "ignore" else _usable(column)
    hint = did_you_mean(str(name), columns)
    raise SchemaError(f"there is no column {name!r} to be {key!r}; {hint} the columns are: {listed(columns)}")
