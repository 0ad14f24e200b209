"""Rows worked out once, in a table of the engine's own, for several questions to them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from aggrkit.pipeline.expressions import fetch
from aggrkit.pipeline.plans import PLANS, SETTLED, anonymous, is_settled, planned_sql
from aggrkit.pipeline.prepared import Prepared
from aggrkit.pipeline.preprocess import Duplicates, Invalid, Normalise
from aggrkit.sources.cancelling import one_at_a_time
from aggrkit.sources.engine import is_ours, reading
from aggrkit.sources.observations import ROW

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    import ibis
    import pyarrow as pa

    from aggrkit.model.selection import Selection
    from aggrkit.pipeline.preprocess import Preprocessor
    from aggrkit.sources.observations import Observations

__all__ = ["settled", "settled_again", "settled_for_now", "settled_once"]

_FEW: Final = 300_000
"""Rows of which a copy is small beside the engine itself."""
_KEPT = ("schema", "groups", "metrics", "audits", "rows_out", "cells_out", "notes")


@dataclass(frozen=True)
class _Way:
    """How rows are prepared: the query, and what is known of its result."""

    sql: str
    known: dict[str, Any]


def settled(prepared: Prepared) -> Prepared:
    """Return the same rows worked out once, in a table of the engine's own, for several questions to them."""
    table, size = _made(prepared.table.get_backend(), _sql_of(prepared), prepared.label)
    return replace(prepared, table=table, size=size)


@contextmanager
def settled_for_now(prepared: Prepared) -> Iterator[Prepared]:
    """Give the same rows worked out in a table, where they are few and on a cursor of our own; dropped at the end.

    To write a query of the source costs more than to run it on few rows, and its answer is then there for all that
    follows. Many rows are left where they are: a copy of them would take memory that nobody asked for.
    """
    if is_settled(prepared.table) or not is_ours(prepared.table.get_backend()) or not _are_few(prepared):
        yield prepared
        return
    rows = settled(prepared)
    try:
        yield rows
    finally:
        connection = rows.table.get_backend().con
        with connection.lock:  # also where the work was cancelled
            connection.execute(f'DROP TABLE IF EXISTS "{rows.table.get_name()}"')


def _are_few(prepared: Prepared) -> bool:
    first = prepared.observations.table.limit(_FEW + 1)
    found = fetch(first.aggregate(rows=first.count()), prepared.label)
    return int(found["rows"][0].as_py()) <= _FEW


def settled_once(
    observations: Observations,
    selection: Selection,
    stages: Sequence[Preprocessor],
    prepare: Callable[[Observations, Selection], Prepared],
) -> Prepared:
    """Prepare rows, and work them out in a table of the engine's own.

    How it is done is found out once for observations of the same columns, where stages don't go by what they find.

    Parameters
    ----------
    observations : Observations
        The rows.
    selection : Selection
        What is asked of them.
    stages : sequence of Preprocessor
        The stages that prepare them.
    prepare : callable
        Runs the stages; it goes by its arguments and the stages alone.

    Returns
    -------
    Prepared
        In a table of their own.
    """
    source = anonymous(observations.table) if _go_by_columns(stages, observations) else None
    if source is None:
        return settled(prepare(observations, selection))
    key = (source, observations.schema, observations.unique, observations.take is None, selection.to_json(), *stages)
    way: _Way | None = PLANS.get(key)
    if way is None:
        way = _way_of(prepare(observations, selection))
        PLANS.put(key, way)
    table, size = _made(observations.table.get_backend(), way.sql, observations.label)
    label = observations.label
    return Prepared(
        table=table,
        selected=table,
        selection=selection,
        label=label,
        observations=observations,
        size=size,
        **way.known,
    )


def settled_again(
    build: Callable[..., tuple[ibis.Table, Any]], prepared: Prepared, *about: Hashable, beside: pa.Table | None = None
) -> Prepared:
    """Return settled rows as a query changes them, in a table of their own; see `aggrkit.pipeline.plans.planned`."""
    with planned_sql(build, prepared, *about, beside=beside) as (sql, _):
        table, size = _made(prepared.table.get_backend(), sql, prepared.label)
    return replace(prepared, table=table, selected=table, size=size)


def _way_of(prepared: Prepared) -> _Way:
    return _Way(_sql_of(prepared), {name: getattr(prepared, name) for name in _KEPT})


def _sql_of(prepared: Prepared) -> str:
    """Return the query of the columns that are worked out; it is written once for the same expression."""
    wanted = {ROW, *(column.field for column in prepared.schema.columns), *prepared.audits.values()}
    table = prepared.table.select([column for column in prepared.table.columns if column in wanted])
    key = anonymous(table)
    sql: str | None = None if key is None else PLANS.get((_sql_of, key))
    if sql is None:
        sql = str(prepared.table.get_backend().compile(table))
        if key is not None:
            PLANS.put((_sql_of, key), sql)
    return sql


def _made(backend: Any, sql: str, label: str) -> tuple[ibis.Table, int]:
    name = f"{SETTLED}_{uuid4().hex}"
    with one_at_a_time(backend.con), reading(label):
        made = backend.con.execute(f'CREATE TEMP TABLE "{name}" AS {sql}').fetchone()
        return backend.table(name), int(made[0])


def _go_by_columns(stages: Sequence[Preprocessor], observations: Observations) -> bool:
    """Say whether what stages do depends on the columns alone, and not on what is found in them."""
    kinds = (Invalid, Normalise, Duplicates) if observations.unique else (Invalid, Normalise)
    return all(isinstance(stage, kinds) for stage in stages)
