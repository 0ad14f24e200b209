"""What the first phase took out."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from aggrkit.model.answer import RowsReport
from aggrkit.pipeline.plans import planned
from aggrkit.pipeline.selecting import nothing_selected

if TYPE_CHECKING:
    from collections.abc import Mapping

    import ibis

    from aggrkit.pipeline.prepared import Prepared

__all__ = ["NOTHING_LEFT", "audit", "counted", "rows_report"]

NOTHING_LEFT: Final = "no metric has a value"


def rows_report(prepared: Prepared, selected: int, audited: Mapping[str, int]) -> RowsReport:
    """Put together what the stages took out."""
    cells = {
        **prepared.cells_out,
        **{reason: count for reason, count in audited.items() if count and reason != NOTHING_LEFT},
    }
    rows_out = dict(prepared.rows_out) | ({NOTHING_LEFT: audited[NOTHING_LEFT]} if audited.get(NOTHING_LEFT) else {})
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
        prepared.table.filter(~prepared.table[prepared.audits[NOTHING_LEFT]])
        if NOTHING_LEFT in prepared.audits
        else prepared.table
    )
    return replace(
        prepared, table=table, audits=MappingProxyType({}), rows_out=found.rows_out, cells_out=found.cells_out
    )


def _audited(prepared: Prepared) -> tuple[int, dict[str, int]]:
    found = planned(_counts, prepared)[0].to_pylist()[0]
    return found["rows"], {reason: int(found[f"a{place}"] or 0) for place, reason in enumerate(prepared.audits)}


def _counts(prepared: Prepared) -> tuple[ibis.Table, None]:
    """Build the query that counts the rows, and those that were taken out for each reason."""
    counts = {
        f"a{place}": prepared.table[column].cast("int64").sum() for place, column in enumerate(prepared.audits.values())
    }
    return prepared.table.aggregate(rows=prepared.table.count(), **counts), None
