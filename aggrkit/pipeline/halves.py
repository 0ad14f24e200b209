"""Two sides that don't differ: the same observations, their runs dealt out to either side by turns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import ibis
import numpy as np
import pyarrow as pa

from aggrkit.errors import TooFewObservationsError
from aggrkit.model.schema import Role
from aggrkit.pipeline.expressions import fetch, label_of, text_of
from aggrkit.pipeline.marked import SIDE, Marked

if TYPE_CHECKING:
    from aggrkit.model.schema import Column
    from aggrkit.pipeline.prepared import Prepared

__all__ = ["Halves"]


@dataclass(frozen=True)
class Halves:
    """Every other run against the rest, or every other observation where there are no runs."""

    by: str | None = None

    def column(self, prepared: Prepared) -> Column | None:
        """Return None: no column tells the halves apart."""
        return None

    def mark(self, prepared: Prepared) -> tuple[Marked, tuple[str, str]]:
        """Return the rows of either half, marked 0 and 1, and what the halves are called.

        Raises
        ------
        TooFewObservationsError
            If there is only one run, or one observation.
        """
        table, run = prepared.table, prepared.schema.role(Role.RUN)
        if run is None or run.name in {column.name for column in prepared.groups.values() if column is not None}:
            marked = table.mutate(**{SIDE: (ibis.row_number() % 2).cast("int8")})
            units = fetch(marked.select(SIDE).distinct(), prepared.label).num_rows
        else:
            label = text_of(label_of(table[run.field]))
            names = fetch(table.select(run=label).distinct().order_by("run"), prepared.label)["run"]
            units = len(names)
            halves = ibis.memtable(pa.table({"__half_of": names, SIDE: pa.array(np.arange(units) % 2, pa.int8())}))
            keyed = table.mutate(__run=label)
            joined = keyed.join(halves, keyed["__run"].identical_to(halves["__half_of"]))
            marked = joined.select(*table.columns, SIDE)
        if units < 2:
            noun = "observation" if run is None else "run"
            raise TooFewObservationsError(f"one {noun} can't be split into two sides; calibrating takes several")
        return Marked(replace(prepared, table=marked)), ("one half", "the other half")
