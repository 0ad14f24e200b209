"""Rows that the engine has collapsed, by group; and by what like is compared with like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aggrkit.model.schema import HELD_FIXED
from aggrkit.pipeline.aggregate import group_labels
from aggrkit.pipeline.coding import codes_of, numbered

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from aggrkit.model.schema import Column
    from aggrkit.pipeline.prepared import Prepared

    Ints = NDArray[np.intp]

__all__ = ["Groups", "like_columns", "taken_columns"]


@dataclass(frozen=True)
class Groups:
    """The groups of collapsed rows, in the order of their labels.

    Attributes
    ----------
    keys : pyarrow.Table
        What the engine grouped by, a row for each group.
    labels : pandas.DataFrame
        The same as an answer shows it.
    members : list of numpy.ndarray of int
        The rows of each group.
    """

    keys: pa.Table
    labels: pd.DataFrame
    members: list[Ints]

    @classmethod
    def of(cls, found: pa.Table, prepared: Prepared) -> Groups:
        """Return the groups of rows that have the keys ``g0, g1, ...``."""
        names = [f"g{k}" for k in range(len(prepared.groups))]
        group = numbered([codes_of(found[name])[0] for name in names], found.num_rows)
        firsts = found.take(np.unique(group, return_index=True)[1])
        labels = group_labels(firsts, list(prepared.groups))
        order = labels.sort_values(list(labels.columns)).index.to_numpy() if names else np.arange(len(labels))
        by_group = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
        return cls(
            keys=firsts.select(names).take(order),
            labels=labels.loc[order].reset_index(drop=True),
            members=[by_group[place] for place in order],
        )


def taken_columns(prepared: Prepared) -> set[str]:
    """Return the columns that are grouped by or measured."""
    grouped = {column.name for column in prepared.groups.values() if column is not None}
    return grouped | {metric.name for metric in prepared.metrics}


def like_columns(prepared: Prepared) -> list[Column]:
    """Return by what like is compared with like, beside what is grouped by."""
    taken = taken_columns(prepared)
    return [column for column in prepared.schema.playing(*HELD_FIXED) if column.name not in taken]
