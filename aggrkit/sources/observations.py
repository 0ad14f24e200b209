"""Observations: a lazy relation, with what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import ibis
    import pandas as pd

    from aggrkit.model.schema import Field, Schema

__all__ = ["ROW", "Observations", "Relation"]

ROW = "__aggrkit_row"
"""Name of the column that numbers the rows of a relation, where it has one."""


@dataclass(frozen=True)
class Relation:
    """A source before its columns have been given roles.

    Parameters
    ----------
    table : ibis.Table
        The rows, lazily.
    fields : sequence of Field
        The columns that can be offered to the user.
    label : str
        What the source is called in messages: "DataFrame", a path, ...
    unique : bool, optional
        True where it is already certain that no row is there twice.
    take : callable, optional
        Gives the user's own rows of these numbers.
    """

    table: ibis.Table
    fields: Sequence[Field]
    label: str
    unique: bool = False
    take: Callable[[Any], pd.DataFrame] | None = None


@dataclass(frozen=True)
class Observations:
    """A relation whose columns have roles: what every pipeline starts from.

    Parameters
    ----------
    table : ibis.Table
        The rows, lazily, under the names of the relation (`Column.field`).
    schema : Schema
        Which column plays which role.
    label : str
        What the source is called in messages.
    unique : bool, optional
        True where it is already certain that no row is there twice.
    take : callable, optional
        Gives the user's own rows of these numbers.
    """

    table: ibis.Table
    schema: Schema
    label: str
    unique: bool = False
    take: Callable[[Any], pd.DataFrame] | None = None

    @property
    def engine(self) -> str:
        """Name of the engine that answers, e.g. "duckdb"."""
        return str(self.table.get_backend().name)
