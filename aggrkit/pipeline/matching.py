"""Like with like: which columns two sides are matched on, and which changed with the sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from aggrkit.model.schema import Column, Kind, Role
from aggrkit.pipeline.expressions import label_of
from aggrkit.pipeline.marked import SIDE
from aggrkit.statistics.comparison import nested_effect

if TYPE_CHECKING:
    from collections.abc import Sequence

    import ibis

    from aggrkit.pipeline.marked import Marked
    from aggrkit.pipeline.prepared import Prepared

__all__ = ["Matching", "find_matching", "information", "worth_matching"]

_ALWAYS: Final = (Role.MODEL, Role.HARDWARE, Role.TASK_TYPE, Role.RESULT_TYPE, Role.CONDITION)
_IF_IT_PAYS: Final = (Role.WORKER, Role.ATTRIBUTE)
_MOST_VALUES: Final = 2000
_SHARED_ENOUGH: Final = 0.9
_INFORMATION_KEPT: Final = 0.8
_INFORMATION_LEAST: Final = 0.2
_DEPEND: Final = 0.01


@dataclass(frozen=True)
class Matching:
    """What sides have in common.

    Parameters
    ----------
    on : sequence of Column
        Matched on: model, hardware, task type and conditions of which both sides share values.
    perhaps : sequence of Column
        Worker and attributes that both sides share, matched on if that leaves enough to compare.
    differing : sequence of Column
        What can't be matched on and differs between the sides somewhere: a hidden dimension, perhaps.
    """

    on: Sequence[Column]
    perhaps: Sequence[Column]
    differing: Sequence[Column]


def find_matching(prepared: Prepared, marked: Marked, skip: set[str], versions_differ: bool) -> Matching:
    """Look at every column that describes the test, and say how the sides share its values.

    Parameters
    ----------
    prepared : Prepared
        The selection.
    marked : Marked
        Its rows, marked by side.
    skip : set of str
        Columns that are grouped by, or tell the sides apart.
    versions_differ : bool
        Whether versions that differ are worth a warning.
    """
    roles = (*_ALWAYS, *_IF_IT_PAYS, *((Role.VERSION,) if versions_differ else ()))
    kinds = (Kind.TEXT, Kind.NUMBER, Kind.BOOLEAN)
    columns = [c for c in prepared.schema.playing(*roles) if c.name not in skip and c.kind in kinds]
    if not columns:
        return Matching((), (), ())
    usable = {f"c{k}": column for k, column in enumerate(columns)}
    if not prepared.is_small:
        sizes = marked.ask(_numbers_of_values, *usable.items())
        usable = {
            key: column
            for key, column in usable.items()
            if sizes[key][0].as_py() + _some_missing(column) > 1 and sizes[key][0].as_py() <= _MOST_VALUES
        }
    if not usable:
        return Matching((), (), ())
    counts: dict[str, dict[str, list[int]]] = {key: {} for key in usable}
    found = marked.ask(_counts_of_values, *usable.items()).select(["column", "value", SIDE, "n"])
    for key, value, side, n in zip(*(column.to_pylist() for column in found.columns), strict=True):
        counts[key].setdefault(value, [0, 0])[side] = n
    on, perhaps, differing = [], [], []
    for key, column in usable.items():
        table = np.array(list(counts[key].values()), dtype=np.float64).reshape(-1, 2)
        if not 2 <= len(table) <= _MOST_VALUES:
            continue
        shared = table[(table > 0).all(axis=1)].sum(axis=0) / table.sum(axis=0)
        if column.role in _ALWAYS and shared.max() > 0:
            on.append(column)
        elif column.role in _IF_IT_PAYS and shared.min() >= _SHARED_ENOUGH:
            perhaps.append(column)
        else:
            differing.append(column)
    return Matching(on, perhaps, differing)


def _numbers_of_values(prepared: Prepared, *columns: tuple[str, Column]) -> ibis.Table:
    """Count the different values of columns."""
    table = prepared.table
    return table.aggregate(**{key: _text(table, column).nunique() for key, column in columns})


def _counts_of_values(prepared: Prepared, *columns: tuple[str, Column]) -> ibis.Table:
    """Count how often each value of columns occurs on each side; what is missing is empty."""
    table = prepared.table
    chosen = table.select(table[SIDE], **{key: _text(table, column).fill_null("") for key, column in columns})
    long = chosen.pivot_longer([key for key, _ in columns], names_to="column", values_to="value")
    return long.group_by(["column", "value", SIDE]).aggregate(n=long.count())


def _text(table: ibis.Table, column: Column) -> ibis.Column:
    return label_of(table[column.field]).cast("string")


def information(units: pd.DataFrame, keys: list[str]) -> float:
    """Return how much a comparison within strata can tell: the sum of n1 n2 / (n1 + n2)."""
    if not keys:
        return float(np.prod(units[SIDE].value_counts()) / len(units)) if units[SIDE].nunique() > 1 else 0.0
    sizes = units.groupby([*keys, SIDE], dropna=False, observed=True).size().unstack(SIDE, fill_value=0)
    if sizes.shape[1] < 2:
        return 0.0
    baseline, current = sizes[0], sizes[1]
    return float((baseline * current / (baseline + current)).sum())


def worth_matching(units: pd.DataFrame, keys: list[str], perhaps: list[str], attributes: Sequence[str]) -> list[str]:
    """Return those of the optional columns that can be matched on without losing much of what the data tell.

    An attribute on which the values depend may cost more: without it, a change of mix would look like a change.
    """
    chosen: list[str] = []
    most = information(units, keys)
    for column in perhaps:
        kept = information(units, [*keys, *chosen, column])
        needed = column in attributes and kept >= _INFORMATION_LEAST * most
        if kept >= _INFORMATION_KEPT * most or (needed and _values_depend(units, [*keys, *chosen], column)):
            chosen.append(column)
    return chosen


def _values_depend(units: pd.DataFrame, keys: list[str], column: str) -> bool:
    """Say whether any metric differs by a column, within strata and sides."""
    outer = units.groupby([*keys, SIDE], dropna=False, observed=True).ngroup().to_numpy().astype(np.int64)
    inner = pd.factorize(units[column].to_numpy(), use_na_sentinel=False)[0].astype(np.int64)
    logarithms = [name for name in units.columns if str(name).startswith("lmean")]
    for name in logarithms:
        plain, value = (units[key].to_numpy(dtype=np.float64) for key in (name[1:], name))
        value = value if (plain[np.isfinite(plain)] > 0).all() else plain
        there = np.isfinite(value)
        zeros = np.zeros(int(there.sum()), dtype=np.int64)
        if nested_effect(value[there], outer[there], inner[there], zeros, 1)[0] < _DEPEND / len(logarithms):
            return True
    return False


def _some_missing(column: Column) -> int:
    """Count a possible group of missing values; a column with one value and gaps may still tell rows apart."""
    return 1 if column.kind is not Kind.OTHER else 0
