"""One answer of the service, from an open session: run every stage, put the parts together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aggrkit import wire
from aggrkit.errors import AggrError, EmptySelectionError, StageError
from aggrkit.model.answer import RowsReport
from aggrkit.service.config import DEFAULTS
from aggrkit.service.inquiry import Inquiry
from aggrkit.service.parts import part

if TYPE_CHECKING:
    from aggrkit.model.selection import Selection
    from aggrkit.service.sessions import Session

__all__ = ["Settings", "answered", "counts", "new_context", "now"]

RecordFunction = Callable[..., Any]

SWITCHES: Mapping[str, str] = {
    "percentiles": "percentiles_enabled",
    "distributions": "distributions_enabled",
    "anomalies": "anomaly_detection_enabled",
    "comparisons": "comparative_analysis_enabled",
}
"""The setting that turns a part of the results off."""

_EXPLAINED: Mapping[str, str] = {"anomalies": "anomalies", "comparisons": "comparison", "trends": "trends"}


@dataclass(frozen=True)
class Settings:
    """What the service was told so far; a new one for every change, so that no answer sees half of one.

    Parameters
    ----------
    config : mapping
        The configuration.
    preprocess, aggregate, postprocess : tuple of callable
        The registered functions of each phase.
    revision : int
        Number of changes.
    """

    config: Mapping[str, Any] = field(default_factory=lambda: DEFAULTS)
    preprocess: tuple[RecordFunction, ...] = ()
    aggregate: tuple[RecordFunction, ...] = ()
    postprocess: tuple[RecordFunction, ...] = ()
    revision: int = 0


def now() -> str:
    """Return this moment as answers write it."""
    return str(wire.plain(datetime.now(UTC)))


def new_context(selection: Selection, level: str, filters: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the functions of one question share."""
    time_range = selection.time_range
    return {
        "result_type": selection.result_type,
        "aggregation_level": level,
        "filter_params": dict(filters or {}),
        "time_range": None if time_range is None else [time_range.start, time_range.end],
        "current_time": now(),
        "metadata": {},
    }


def answered(
    settings: Settings, session: Session | None, selection: Selection, context: dict[str, Any], parts: Sequence[str]
) -> dict[str, Any]:
    """Return the answer to one question.

    Parameters
    ----------
    settings : Settings
        What the service was told.
    session : Session or None
        Where the observations come from; None where there is no source.
    selection : Selection
        What is asked.
    context : dict
        What `new_context` returned.
    parts : sequence of str
        Which of `aggrkit.wire.PARTS`; with all of them, the registered functions are run as well.

    Returns
    -------
    dict
        Not yet plain JSON values.
    """
    start = time.perf_counter()
    explained = {"explanation": ""} if tuple(parts) != wire.PARTS else {}
    answer: dict[str, Any] = {
        "aggregation_level": context["aggregation_level"],
        "result_type": selection.result_type,
        "results": {name: {} for name in parts},
        "metadata": context["metadata"],
        "processed_at": now(),
        "raw_result_count": 0,
        "processed_result_count": 0,
        "context": context,
        **explained,
    }
    if session is None:
        context["metadata"]["notes"] = ["there is no db_manager to ask"]
    else:
        inquiry = Inquiry(session, selection, settings.config, settings.preprocess, context)
        try:
            _fill(answer, inquiry, settings, parts)
        except EmptySelectionError as error:
            context["metadata"]["notes"] = [str(error)]
    context.pop("grouped_results", None)
    context["processing_time_ms"] = round(1000 * (time.perf_counter() - start), 2)
    answer["context"] = {key: value for key, value in context.items() if key != "metadata"}
    return answer


def counts(inquiry: Inquiry) -> dict[str, Any]:
    """Return what went into an answer: rows, what was taken out, notes."""
    rows = inquiry.statistics.rows or RowsReport(0)
    notes = list(dict.fromkeys([*rows.notes, *inquiry.notes]))
    return {
        "raw_result_count": rows.selected,
        "processed_result_count": rows.used,
        "metadata": {
            "source": inquiry.prepared.observations.label,
            "rows_out": dict(rows.rows_out),
            "cells_out": dict(rows.cells_out),
            "notes": notes,
        },
    }


def _fill(answer: dict[str, Any], inquiry: Inquiry, settings: Settings, parts: Sequence[str]) -> None:
    context, whole = answer["context"], tuple(parts) == wire.PARTS
    results = answer["results"]
    for name in parts:
        if settings.config[SWITCHES[name]] if name in SWITCHES else True:
            results[name] = part(inquiry, name)
    if whole:
        for function in settings.aggregate:
            records, context["grouped_results"] = inquiry.records()
            found = called("aggregate", function, records, context)
            if not isinstance(found, Mapping):
                message = f"it must return a dictionary, not {type(found).__name__}"
                raise StageError("aggregate", name_of(function), TypeError(message))
            results.update(found)
    if settings.config["context_metadata_enabled"] and whole:
        context |= inquiry.metadata()
    found = counts(inquiry)
    metadata = found.pop("metadata") | inquiry.told()
    answer |= found
    for name, finding in _EXPLAINED.items():
        if tuple(parts) == (name,):
            answer["explanation"] = inquiry.explanation(finding)
    context["metadata"].update({key: value for key, value in metadata.items() if key not in context["metadata"]})
    if whole:
        for function in settings.postprocess:
            called("postprocess", function, answer, context)


def called(phase: str, function: RecordFunction, *arguments: Any) -> Any:
    """Call a registered function; what it raises names it."""
    try:
        return function(*arguments)
    except AggrError:
        raise
    except Exception as error:
        raise StageError(phase, name_of(function), error) from error


def name_of(function: RecordFunction) -> str:
    """Return what a function is called in messages."""
    return str(getattr(function, "__name__", type(function).__name__))
