"""A frame on its way into a table: each column as what the table holds, each row with the key that tells it."""

# ruff: noqa: S608 - names go through `identifier`, values are parameters

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import ibis

from aggrkit.errors import SchemaError
from aggrkit.model.schema import FAIL_WORDS, PASS_WORDS, Column, Kind, Role
from aggrkit.pipeline.expressions import as_number, as_time, label_of, text_of
from aggrkit.sources.frame import frame_relation
from aggrkit.sources.observations import ROW
from aggrkit.store.layout import COMMON, KEY, KINDS, METRICS, identifier
from aggrkit.store.results import as_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb
    import pandas as pd
    from ibis.backends.duckdb import Backend

    from aggrkit.model.schema import Field

__all__ = ["STAGED", "Staged", "stage"]

STAGED: Final = "__aggrkit_staged"
_SOURCE: Final = "__aggrkit_source"
_BAD: Final = "__aggrkit_bad"
_OUTCOMES: Final = {"integration": "passed", "web_platform": "success_value"}


@dataclass
class _Target:
    """What becomes of one column."""

    name: str
    dtype: str
    expression: ibis.Value
    there: ibis.Value | None = None
    lenient: bool = False
    came_as: Kind = Kind.TEXT
    new: bool = False


@dataclass(frozen=True)
class Staged:
    """A batch in a temporary table, `STAGED`.

    Parameters
    ----------
    rows : int
        How many there are.
    columns : mapping of str to str
        Name to type of the columns that hold a value.
    new : tuple of str
        Those that the table doesn't have yet.
    unreadable : mapping of str to int
        Column to the number of values that could not be read, and are missing now.
    untold : bool
        Whether some rows have neither an id nor a time, so that only their number tells repeats apart.
    """

    rows: int
    columns: Mapping[str, str] = field(default_factory=dict)
    new: tuple[str, ...] = ()
    unreadable: Mapping[str, int] = field(default_factory=dict)
    untold: bool = False


def stage(
    backend: Backend,
    connection: duckdb.DuckDBPyConnection,
    frame: pd.DataFrame,
    result_type: str,
    table: Mapping[str, str],
) -> Staged:
    """Put a frame into a temporary table, read as its table of results needs it.

    Parameters
    ----------
    backend, connection
        The store, within a transaction: the same connection twice.
    frame : pandas.DataFrame
        The results.
    result_type : str
        Their type.
    table : mapping of str to str
        Name to type of the columns that the table of results has.

    Raises
    ------
    SchemaError
        If a column holds another kind of values than the table does.
    """
    relation = frame_relation(frame, backend, _SOURCE)
    others = [f.name for f in relation.fields if f.kind is Kind.OTHER]
    if others:
        relation = frame_relation(as_text(frame, others), backend, _SOURCE)
    source = relation.table
    stored = {name.casefold(): (name, dtype) for name, dtype in table.items()}
    targets = [_target(source[f.field], f, stored) for f in relation.fields if f.kind is not Kind.OTHER]
    targets = _with_outcome(targets, result_type)
    _read(backend, connection, source, targets)
    staged = _counted(connection, targets)
    connection.execute(f"DROP VIEW IF EXISTS {identifier(_SOURCE)}")
    return staged


def _target(column: ibis.Column, offered: Field, stored: Mapping[str, tuple[str, str]]) -> _Target:
    folded = offered.name.casefold()
    name, dtype = stored.get(folded, (offered.name, ""))
    new = not dtype
    metric = METRICS.get(folded)
    known = metric is not None
    if metric is not None:
        name = metric.name if new else name
        dtype = dtype or ("BOOLEAN" if metric.is_proportion else "DOUBLE")
    if not dtype and offered.kind is Kind.NUMBER and offered.text:
        dtype = "MIXED"
    dtype = dtype or next(kind for kind, holds in KINDS.items() if holds is offered.kind)
    target = _Target(name, dtype, column, came_as=offered.kind, new=new, lenient=known)
    is_text = column.type().is_string()
    described = Column(name, offered.field, Role.METRIC, offered.kind, "", metric)
    if dtype == "TIMESTAMP":
        target.lenient = folded == "timestamp"
        if offered.kind is not Kind.TIME:
            if offered.kind is Kind.BOOLEAN or (offered.kind is Kind.NUMBER and not target.lenient):
                raise _other_kind(target)
            target.there = label_of(column).notnull()
        target.expression = as_time(column)
    elif dtype in ("DOUBLE", "BOOLEAN"):
        allowed = {KINDS[dtype], Kind.NUMBER, Kind.TEXT, Kind.BOOLEAN} if known else {KINDS[dtype]}
        if dtype == "DOUBLE":
            allowed |= {Kind.TEXT}
        if offered.kind not in allowed:
            raise _other_kind(target)
        number = _no_nan(as_number(column, described))
        if dtype == "BOOLEAN" and not column.type().is_boolean():
            target.expression = ibis.cases((number == 1.0, True), (number == 0.0, False))
            target.there = label_of(column).notnull() & ~_says_nan(column)
        elif dtype == "BOOLEAN":
            target.expression = column
        else:
            target.expression = number + 0.0  # -0.0 and 0.0 are one value
            target.there = label_of(column).notnull() & ~_says_nan(column) if is_text else None
    elif dtype == "VARCHAR":
        text = text_of(_no_nan(column))
        if folded in COMMON:
            target.expression = text.cast("string").nullif("")
        elif offered.kind is not Kind.TEXT and not offered.text:
            raise _other_kind(target)
    return target


def _with_outcome(targets: Sequence[_Target], result_type: str) -> list[_Target]:
    """Fill the outcome from the status, where no other column says it."""
    wanted = _OUTCOMES.get(result_type)
    status = next((t for t in targets if t.name == "status"), None)
    if wanted is None or status is None:
        return list(targets)
    word = status.expression.strip().lower()
    said = ibis.cases((word.isin(PASS_WORDS), True), (word.isin(FAIL_WORDS), False))
    outcome = next((t for t in targets if t.name == wanted), None)
    if outcome is None:
        return [*targets, _Target(wanted, "BOOLEAN", said, lenient=True)]
    gap = outcome.expression.isnull()
    if outcome.there is not None:  # what can't be read is not filled
        outcome.there, gap = outcome.there & gap, gap & ~outcome.there
        bad = outcome.there
        outcome.expression = ibis.ifelse(gap, said, outcome.expression)
        outcome.there = bad
    else:
        outcome.expression = ibis.ifelse(gap, said, outcome.expression)
    return list(targets)


def _read(
    backend: Backend, connection: duckdb.DuckDBPyConnection, source: ibis.Table, targets: Sequence[_Target]
) -> None:
    """Make the temporary table: the columns as they will be stored, and what could not be read."""
    wanted: dict[str, Any] = {}
    outer = []
    for place, target in enumerate(targets):
        wanted[f"c{place}"] = target.expression
        dtype = "VARCHAR" if target.dtype == "MIXED" else target.dtype
        outer.append(f"CAST(c{place} AS {dtype}) AS {identifier(target.name)}")
        if target.there is not None:
            wanted[f"b{place}"] = target.there & target.expression.isnull()
            outer.append(f"b{place} AS {identifier(f'{_BAD}{place}')}")
    wanted[ROW] = source[ROW]
    query = backend.compile(source.select(**wanted))
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {STAGED}_read AS SELECT {', '.join([*outer, identifier(ROW)])} FROM ({query})"
    )
    for target in targets:
        if target.dtype == "MIXED":
            _settle(connection, target)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {STAGED} AS SELECT *, {_key(targets)} AS {KEY} FROM {STAGED}_read"
    )
    connection.execute(f"DROP TABLE {STAGED}_read")


def _settle(connection: duckdb.DuckDBPyConnection, target: _Target) -> None:
    """Store a new column of numbers kept as text as numbers if every one can be read, else as text."""
    name = identifier(target.name)
    bad = connection.execute(
        f"SELECT count(*) FROM {STAGED}_read"
        f" WHERE nullif({name}, '') IS NOT NULL AND TRY_CAST({name} AS DOUBLE) IS NULL"
    ).fetchall()[0][0]
    target.dtype = "VARCHAR" if bad else "DOUBLE"
    if not bad:
        connection.execute(f"ALTER TABLE {STAGED}_read ALTER {name} TYPE DOUBLE USING TRY_CAST({name} AS DOUBLE)")


def _key(targets: Sequence[_Target]) -> str:
    """Return the SQL of a row's key: its id, else a hash of all that it says, in no order of columns."""
    terms = []
    for target in sorted(targets, key=lambda t: t.name.casefold()):
        folded = target.name.casefold()
        label = f";{len(folded)}:{folded}=".replace("'", "''")
        name = identifier(target.name)
        terms.append(f"CASE WHEN {name} IS NOT NULL THEN '{label}' END")  # what is null leaves no trace
        if target.dtype == "VARCHAR":  # numbers and times can't hold what ends them
            terms.append(f"length({name}), CASE WHEN {name} IS NOT NULL THEN ':' END")
        terms.append(f"CAST({name} AS VARCHAR)")
    content = f"md5(concat({', '.join(terms)}))"
    if any(target.name == "result_id" for target in targets):
        return f"CASE WHEN result_id IS NOT NULL THEN 'id:' || result_id ELSE {content} END"
    return content


def _counted(connection: duckdb.DuckDBPyConnection, targets: Sequence[_Target]) -> Staged:
    """Look at what was read: which columns hold anything, and which values could not be read."""
    names = {target.name for target in targets}
    tellers = [name for name in ("result_id", "timestamp") if name in names]
    untold = " AND ".join(f"{name} IS NULL" for name in tellers) or "true"
    counts = ["count(*)", f"count(*) FILTER (WHERE {untold})"]
    counts += [f"count({identifier(target.name)})" for target in targets]
    doubtful = [(place, target) for place, target in enumerate(targets) if target.there is not None]
    counts += [f"count(*) FILTER (WHERE {identifier(f'{_BAD}{place}')})" for place, _ in doubtful]
    found = connection.execute(f"SELECT {', '.join(counts)} FROM {STAGED}").fetchall()[0]
    unreadable = {}
    for (_, target), bad in zip(doubtful, found[2 + len(targets) :], strict=True):
        if bad and not target.lenient:
            raise _other_kind(target, int(bad))
        if bad:
            unreadable[target.name] = int(bad)
    held = [target for target, count in zip(targets, found[2:], strict=False) if count]
    return Staged(
        rows=int(found[0]),
        columns={target.name: target.dtype for target in held},
        new=tuple(target.name for target in held if target.new),
        unreadable=unreadable,
        untold=bool(found[1]),
    )


def _no_nan(column: ibis.Column) -> ibis.Column:
    return ibis.ifelse(column.isnan(), ibis.null(column.type()), column) if column.type().is_floating() else column


def _says_nan(column: ibis.Column) -> ibis.Value:
    """Say where a value, or the text of one, is NaN, which is missing rather than unreadable."""
    if column.type().is_string():
        return column.strip().lower().isin(["nan", "+nan", "-nan", "none", "null", "<na>", ""])
    return column.isnan() if column.type().is_floating() else ibis.literal(False)


def _other_kind(target: _Target, bad: int = 0) -> SchemaError:
    holds = KINDS.get(target.dtype, Kind.TEXT).value
    count = f" ({bad} values can't be read as {holds})" if bad else ""
    return SchemaError(
        f"the column {target.name!r} holds {holds} in the store, and {target.came_as.value} in these results{count};"
        " convert or rename it. Nothing was stored"
    )
