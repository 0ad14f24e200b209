"""Where one question gets its observations: from the store in one snapshot, or from a manager's records."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from aggrkit.errors import EmptySelectionError, UnknownNameError
from aggrkit.model.schema import SPELLINGS
from aggrkit.sources.manager import fetch_info, fetch_results, history_within, results_observations
from aggrkit.sources.results import IDENTIFIERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pandas as pd

    from aggrkit.model.selection import Selection, TimeRange
    from aggrkit.sources.observations import Observations
    from aggrkit.store import BenchmarkDBManager

__all__ = ["ManagerSession", "Session", "StoreSession", "known_filters"]

_CONDITIONS = ("batch_size", "precision", "test_case", "browser", "platform", "status")
_COMMON = frozenset({*(name for names in SPELLINGS.values() for name in names), *IDENTIFIERS.values(), *_CONDITIONS})


class Session(Protocol):
    """Where the observations of one question come from."""

    def current(self, selection: Selection) -> Observations:
        """Return the observations of a selection, or more of them."""
        ...

    def history(self, selection: Selection, window: TimeRange) -> tuple[Observations, str] | None:
        """Return observations of a window before the current ones, on the same engine, with a note; or None."""
        ...

    def info(self, kind: str, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return what is known of models or hardware."""
        ...


class StoreSession:
    """One snapshot of a store.

    Parameters
    ----------
    store : BenchmarkDBManager
        The store.
    observations : Observations
        Its results of one type.
    """

    def __init__(self, store: BenchmarkDBManager, observations: Observations) -> None:
        self._store = store
        self._observations = observations

    @classmethod
    @contextmanager
    def opened(cls, store: BenchmarkDBManager, result_type: str) -> Iterator[StoreSession]:
        """Open a snapshot for as long as a question takes."""
        with store.observations(result_type) as observations:
            yield cls(store, observations)

    def current(self, selection: Selection) -> Observations:
        """Return all observations of the type; what is selected is left to the engine."""
        known_filters(self._observations, selection)
        return self._observations

    def history(self, selection: Selection, window: TimeRange) -> tuple[Observations, str] | None:
        """Return the same observations, whose time tells history; None where all of them are current."""
        started = selection.time_range is not None and selection.time_range.start is not None
        return (self._observations, "") if started else None

    def info(self, kind: str, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return what the store knows of models or hardware."""
        return fetch_info(self._store, kind, names)


class ManagerSession:
    """The records of a manager, fetched once for now and once for history.

    Parameters
    ----------
    manager : object
        Has the fetch methods.
    result_type, level : str
        What is asked for.
    filters : dict
        The filters as the caller gave them.
    time_range : pair or None
        The time range as the caller gave it.
    """

    def __init__(
        self, manager: Any, result_type: str, level: str, filters: dict[str, Any], time_range: tuple[Any, Any] | None
    ) -> None:
        self._manager = manager
        self._asked = (result_type, level, filters)
        self._time_range = time_range
        self._frame: pd.DataFrame | None = None
        self._observations: Observations | None = None

    def current(self, selection: Selection) -> Observations:
        """Fetch the current results."""
        result_type, level, filters = self._asked
        self._frame = fetch_results(self._manager, result_type, level, filters, self._time_range)
        if not len(self._frame):
            raise EmptySelectionError(f"the manager has no {result_type} results for what was asked")
        self._observations = results_observations(self._frame, result_type, f"the manager's {result_type} results")
        known_filters(self._observations, selection)
        return self._observations

    def history(self, selection: Selection, window: TimeRange) -> tuple[Observations, str] | None:
        """Fetch the results of a window before the current ones."""
        result_type, level, filters = self._asked
        if self._frame is None or self._observations is None:
            raise RuntimeError("history is fetched after the current results")
        asked = tuple(None if moment is None else moment.to_pydatetime() for moment in (window.start, window.end))
        fetched = fetch_results(self._manager, result_type, level, filters, (asked[0], asked[1]))
        if not len(fetched):
            return None
        frame, note = history_within(fetched, self._frame, window)
        if not len(frame):
            return None
        label = f"the manager's {result_type} history"
        backend = self._observations.table.get_backend()
        return results_observations(frame.reset_index(drop=True), result_type, label, backend, "history"), note

    def info(self, kind: str, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Ask the manager for what is known of models or hardware."""
        return fetch_info(self._manager, kind, names)


def known_filters(observations: Observations, selection: Selection) -> None:
    """Refuse a filter that isn't a column; one that could be, but that no result has, lets nothing pass.

    Raises
    ------
    UnknownNameError
        If the name is neither a column nor a name that results often have.
    EmptySelectionError
        If no result has it, and a value is asked for.
    """
    schema = observations.schema
    for name, values in selection.where:
        try:
            schema.column(name, "filter")
        except UnknownNameError:
            if name.casefold() not in _COMMON:
                raise
            wanted = ", ".join(repr(value) for value in values)
            raise EmptySelectionError(f"no observation has {name} {wanted}: none says its {name}") from None
