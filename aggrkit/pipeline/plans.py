"""Queries whose SQL is written once: the same question to other rows of the same columns isn't compiled again.

To build an expression and compile it takes longer than to run it on a hundred thousand rows. What is asked of rows that
were worked out in a table of their own (`aggrkit.pipeline.settling`) depends on the columns of that table alone.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import ibis
import pyarrow as pa
from ibis.expr import operations as ops

from aggrkit.pipeline.expressions import fetch
from aggrkit.sources.cancelling import one_at_a_time
from aggrkit.sources.engine import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from aggrkit.pipeline.prepared import Prepared

__all__ = ["PLANS", "SETTLED", "Plan", "Plans", "anonymous", "is_settled", "planned", "planned_sql"]

SETTLED: Final = "aggrkit_settled"
"""What the names of tables begin with in which rows were worked out."""

_BESIDE: Final = "aggrkit_beside"
_OWN: Final = "\0rows\0"
_MOST: Final = 512


@dataclass(frozen=True)
class Plan:
    """A query, written once.

    Attributes
    ----------
    sql : str
        The query, without the name of the table that it is of.
    schema : pyarrow.Schema
        The columns of its result.
    told : object
        What else is known of it.
    """

    sql: str
    schema: pa.Schema
    told: Any


class Plans:
    """What was planned, by what it depends on; the least recently used go first. Safe for threads.

    Parameters
    ----------
    most : int, optional
        Most plans that are kept.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._plans: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any:
        """Return a plan, or None."""
        with self._lock:
            plan = self._plans.get(key)
            if plan is not None:
                self._plans.move_to_end(key)
            return plan

    def put(self, key: Hashable, plan: Any) -> None:
        """Keep a plan."""
        with self._lock:
            self._plans[key] = plan
            self._plans.move_to_end(key)
            while len(self._plans) > self._most:
                self._plans.popitem(last=False)

    def clear(self) -> None:
        """Forget all plans."""
        with self._lock:
            self._plans.clear()

    def __len__(self) -> int:
        return len(self._plans)


PLANS: Final = Plans()
"""The plans of this process."""


def planned(
    build: Callable[..., tuple[ibis.Table, Any]], prepared: Prepared, *about: Hashable, beside: pa.Table | None = None
) -> tuple[pa.Table, Any]:
    """Run the query that a function builds; for settled rows the function is called once for the same columns.

    Parameters
    ----------
    build : callable
        A function of a module, ``(prepared, *about) -> (query, told)``; with `beside` also a table after `prepared`. It
        may go by the table's columns, the schema, groups, metrics and audits of what it gets, and by nothing else.
    prepared : Prepared
        The rows.
    *about : hashable
        What else the query depends on.
    beside : pyarrow.Table, optional
        Values that the query needs beside the rows.

    Returns
    -------
    found : pyarrow.Table
        What the query found.
    told : object
        What the function said of it.
    """
    if not is_settled(prepared.table):
        tables = () if beside is None else (ibis.memtable(beside),)
        query, told = build(prepared, *tables, *about)
        return fetch(query, prepared.label), told
    with planned_sql(build, prepared, *about, beside=beside) as (sql, plan):
        found = prepared.table.get_backend().con.sql(sql).to_arrow_table()
    return _typed(found, plan.schema), plan.told


@contextlib.contextmanager
def planned_sql(
    build: Callable[..., tuple[ibis.Table, Any]], prepared: Prepared, *about: Hashable, beside: pa.Table | None = None
) -> Iterator[tuple[str, Plan]]:
    """Give the SQL of a query on settled rows, to be run before the block ends; see `planned`."""
    own = prepared.table.get_name()
    backend = prepared.table.get_backend()
    key = (build, _columns_of(prepared), about, None if beside is None else beside.schema)
    with one_at_a_time(backend.con), reading(prepared.label), _registered(backend.con, beside):
        plan: Plan | None = PLANS.get(key)
        if plan is None:
            tables = () if beside is None else (backend.table(_BESIDE),)
            query, told = build(prepared, *tables, *about)
            sql = str(backend.compile(query)).replace(own, _OWN)
            plan = Plan(sql, query.schema().to_pyarrow(), told)
            PLANS.put(key, plan)
        yield plan.sql.replace(_OWN, own), plan


def _typed(found: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a result with the types that its expressions have, as Ibis does."""
    if found.schema.equals(schema):
        return found
    columns = [
        pa.nulls(found.num_rows) if pa.types.is_null(field.type) else found[field.name].cast(field.type, safe=False)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


@contextlib.contextmanager
def _registered(connection: Any, beside: pa.Table | None) -> Iterator[None]:
    if beside is None:
        yield
        return
    connection.register(_BESIDE, beside)
    try:
        yield
    finally:
        connection.unregister(_BESIDE)


def anonymous(table: ibis.Table) -> Hashable:
    """Return what a table is made of, without the connection that it is on; None where it holds data of its own."""
    node = table.op()
    sources = node.find(ops.PhysicalTable)
    if not all(isinstance(source, ops.DatabaseTable) for source in sources):
        return None
    unbound = {
        source: ops.UnboundTable(name=source.name, schema=source.schema, namespace=source.namespace)
        for source in sources
    }
    made: Hashable = node.replace(unbound)
    return made


def is_settled(table: ibis.Table) -> bool:
    """Say whether a table is one in which rows were worked out."""
    node = table.op()
    return isinstance(node, ops.DatabaseTable) and node.name.startswith(SETTLED) and node.source.name == "duckdb"


def _columns_of(prepared: Prepared) -> Hashable:
    groups, audits = tuple(prepared.groups.items()), tuple(prepared.audits.items())
    return prepared.table.schema(), prepared.schema, groups, prepared.metrics, audits
