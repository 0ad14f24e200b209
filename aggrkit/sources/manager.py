"""Results from any object that has the fetch methods of a database manager."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.errors import SourceError, quoted
from aggrkit.model.schema import Role, recognise
from aggrkit.model.selection import TimeRange
from aggrkit.sources.frame import frame_observations, frame_relation
from aggrkit.sources.observations import Observations
from aggrkit.sources.results import IDENTIFIERS, as_frame, one_spelling

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibis.backends.duckdb import Backend

__all__ = ["FETCHES", "fetch_info", "fetch_results", "history_of", "history_within", "results_observations"]

FETCHES: Final = {
    "performance": "get_performance_results",
    "compatibility": "get_compatibility_results",
    "integration": "get_integration_test_results",
    "web_platform": "get_web_platform_results",
}
"""The method that fetches the results of each type: ``(aggregation_level=, filter_params=, time_range=) -> list``."""

_INFOS: Final = {"model": "get_model_info", "hardware": "get_hardware_info"}


def fetch_results(
    manager: Any, result_type: str, level: str, filters: Mapping[str, Any], time_range: tuple[Any, Any] | None
) -> pd.DataFrame:
    """Ask a manager for results, once.

    Parameters
    ----------
    manager : object
        Has the methods of `FETCHES`; it is never asked for anything else.
    result_type, level : str
        What is asked for.
    filters : mapping
        Column to value; the manager may ignore them.
    time_range : pair or None
        First and last moment; the manager may ignore it.

    Returns
    -------
    pandas.DataFrame
        A row per result, each column in one spelling; empty where the manager has none.

    Raises
    ------
    SourceError
        If the manager lacks the method, or it fails.
    SchemaError
        If what it returns are no dictionaries.
    """
    name = FETCHES[result_type]
    fetch = _method(manager, name)
    try:
        found = fetch(aggregation_level=level, filter_params=dict(filters), time_range=time_range)
    except Exception as error:
        raise SourceError(f"the manager's {name} failed: {type(error).__name__}: {error}") from error
    frame = as_frame([] if found is None else found)
    return one_spelling(frame, result_type=result_type) if len(frame) else frame


def fetch_info(manager: Any, kind: str, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Ask a manager what is known of models or hardware; what it doesn't know is left out."""
    ask = _method(manager, _INFOS[kind])
    found = {}
    for name in names:
        info = ask(name)
        if isinstance(info, Mapping) and info:
            found[name] = {str(key): value for key, value in info.items()}
    return found


def history_of(manager: Any, days: float) -> list[dict[str, Any]]:
    """Ask a manager for all its results, once, and return those of the latest days before the newest.

    Parameters
    ----------
    manager : object
        Has the method ``get_test_results() -> list of dict``.
    days : float
        How far back; results without a time are kept.
    """
    fetch = _method(manager, "get_test_results")
    try:
        found = fetch()
    except Exception as error:
        raise SourceError(f"the manager's get_test_results failed: {type(error).__name__}: {error}") from error
    records = as_frame([] if found is None else found, spread=False)
    if not len(records):
        return []
    rows = [{str(k): v for k, v in row.items() if v is not None and v == v} for row in records.to_dict("records")]
    name = _time_column(records)
    if name is None:
        return rows
    times = moments(records[name])
    kept = times.isna() | times.ge(times.max() - pd.Timedelta(days, "D"))
    return [row for row, keep in zip(rows, kept.tolist(), strict=True) if keep]


def results_observations(
    frame: pd.DataFrame, result_type: str, label: str, backend: Backend | None = None, name: str = "observations"
) -> Observations:
    """Return results as observations, in a database of their own or in that of others.

    Parameters
    ----------
    frame : pandas.DataFrame
        What `fetch_results` returned, not empty.
    result_type : str
        The type of the results, whose metrics are read as such.
    label : str
        What the source is called in messages.
    backend : ibis backend, optional
        Where others are that these are compared with.
    name : str, optional
        Name of the table.
    """
    given: dict[str, Any] = {role.value: wanted for role, wanted in IDENTIFIERS.items() if wanted in frame}
    if backend is None:
        observations = frame_observations(frame, given, None)
        return Observations(observations.table, observations.schema, label, observations.unique, observations.take)
    relation = frame_relation(frame, backend, name)
    return Observations(relation.table, recognise(relation.fields, given), label, False, relation.take)


def history_within(history: pd.DataFrame, current: pd.DataFrame, window: TimeRange) -> tuple[pd.DataFrame, str]:
    """Return the results of a manager's history that lie within a window of time.

    Parameters
    ----------
    history, current : pandas.DataFrame
        What the manager returned for the window, which it may have ignored, and for now.
    window : TimeRange
        Where history is looked for.

    Returns
    -------
    frame : pandas.DataFrame
        Results within the window, and those without a time. Where no time lies within it, those of another content
        than the current ones.
    note : str
        What a reader should know of it, or nothing.
    """
    name = next((n for n in history.columns if str(n) == IDENTIFIERS[Role.TIMESTAMP]), None) or _time_column(history)
    if name is None:
        return history, ""
    times = moments(history[name])
    inside = times.isna()
    within = times.ge(window.start) & times.le(window.end)
    if (within | inside).any():
        return history[within | inside], ""
    common = [column for column in history.columns if column in current.columns]
    known = set(_contents(current[common])) if common else set()
    other = history[[content not in known for content in _contents(history[common])]]
    note = "the history that the manager gave lies outside the time that it was asked for" if len(other) else ""
    return other, note


def moments(times: pd.Series[Any]) -> pd.Series[Any]:
    """Return times of any kind as UTC without a zone; what can't be read is NaT."""
    if pd.api.types.is_numeric_dtype(times):
        read = times.map(lambda value: TimeRange(value, None).start if pd.notna(value) else pd.NaT)
        return pd.to_datetime(read)
    found = pd.to_datetime(times, utc=True, errors="coerce", format="ISO8601" if _is_text(times) else None)
    plain: pd.Series[Any] = found.dt.tz_localize(None)
    return plain


def _is_text(times: pd.Series[Any]) -> bool:
    return bool(times.map(lambda value: isinstance(value, str)).any())


def _time_column(frame: pd.DataFrame) -> str | None:
    column = recognise(frame_relation(frame.head(1000)).fields).role(Role.TIMESTAMP) if len(frame) else None
    return None if column is None else column.name


def _contents(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    return list(zip(*(frame[column].astype(str) for column in frame.columns), strict=True))


def _method(manager: Any, name: str) -> Any:
    try:
        return getattr(manager, name)
    except AttributeError as error:
        raise SourceError(f"the manager {quoted(manager)} has no method {name!r}, which this question needs") from error
