"""The manager of a store: what programs and the other layers call."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from aggrkit.errors import SourceError
from aggrkit.model.metric import RESULT_TYPES
from aggrkit.sources.database import connection_opened
from aggrkit.sources.engine import from_connection, reading
from aggrkit.store.answers import AGGREGATES, ANOMALIES, StoredAnswers
from aggrkit.store.fetching import as_limit, observations_of, records, records_of_all
from aggrkit.store.files import MEMORY, opened, state_of, writing
from aggrkit.store.ingest import Ingested, ingest_parts
from aggrkit.store.layout import TABLES, columns_of
from aggrkit.store.nouns import HARDWARE, MODELS, Nouns, runs_frame
from aggrkit.store.results import by_result_type, known_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    import pandas as pd
    from ibis.backends.duckdb import Backend

    from aggrkit.model.selection import Selection
    from aggrkit.sources.observations import Observations
    from aggrkit.sources.opened import Opened

__all__ = ["BenchmarkDBManager"]


class BenchmarkDBManager:
    """A store of results in one DuckDB file.

    Every call is a transaction of its own: what it writes is there as a whole or not at all, and what it reads is of
    one moment. All methods can be called from several threads. While a file is open for writing no other process can
    open it; any number can read it at once.

    Parameters
    ----------
    db_path : str or path
        The file; it is made where there is none. ":memory:" keeps all in memory.
    read_only : bool, optional
        Open for reading only.
    config : dict, optional
        Settings of DuckDB, e.g. ``{"memory_limit": "1GB", "threads": "2"}``.

    Raises
    ------
    SourceError
        If the file can't be opened, or is no store.

    Examples
    --------
    >>> from aggrkit.store import BenchmarkDBManager
    >>> store = BenchmarkDBManager(":memory:")
    >>> store.ingest([{"id": 1, "model": "bert", "hardware": "a100", "latency": 3.5}])
    <Ingested 1 performance results: 1 new, 0 known already>
    >>> store.get_performance_results(filter_params={"model": "bert"})
    [{'result_id': '1', 'model_id': 'bert', 'hardware_id': 'a100', 'average_latency_ms': 3.5}]
    >>> store.close()
    """

    def __init__(self, db_path: str | Path, *, read_only: bool = False, config: dict[str, str] | None = None) -> None:
        text = str(db_path)
        if not text.strip():
            raise SourceError("the path of the store is empty; give one, or ':memory:'")
        self.path = text if text == MEMORY else str(Path(text).expanduser())
        self.read_only = read_only
        self._state = state_of(self.path)
        with self._state.lock:
            self._backend: Backend | None = opened(self.path, self._state, read_only=read_only, config=config)
            if not self._state.users:
                self._state.version += 1  # another process may have written since
            self._state.users += 1

    # -- what it is ------------------------------------------------------------------------------------------------

    @property
    def data_version(self) -> int:
        """A number that changes whenever a manager of this process changes results, models or hardware of this file."""
        return self._state.version

    def close(self) -> None:
        """Close the store, and with it what other threads are reading through this manager."""
        with self._state.lock:
            if self._backend is not None:
                self._backend.disconnect()
                self._backend = None
                self._state.users -= 1

    def __enter__(self) -> BenchmarkDBManager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        how = "closed" if self._backend is None else "read only" if self.read_only else "open"
        return f"BenchmarkDBManager({self.path!r}, {how})"

    # -- writing ---------------------------------------------------------------------------------------------------

    def ingest(self, results: pd.DataFrame | list[dict[str, Any]], result_type: str | None = None) -> Ingested:
        """Take in results, each once however often it is given.

        Two results are the same if they have the same id; or, without an id, if they have a time and are equal in
        everything. Results with neither are told apart by their content and their number within the call: repeats
        within one call stay, and the same call again adds nothing.

        Parameters
        ----------
        results : pandas.DataFrame or list of dict
            A row or a dictionary per result. Columns that the store doesn't have are added.
        result_type : str, optional
            "performance", "compatibility", "integration" or "web_platform"; else a column of this name says it, or
            the metrics do where they belong to one type only.

        Returns
        -------
        Ingested
            What was new, known already and unreadable.

        Raises
        ------
        SchemaError
            If the results don't fit; nothing was stored.
        SourceError
            If the file can't be written; nothing was stored.
        """
        self._writable()
        parts = by_result_type(results, result_type)
        if not parts:
            return Ingested(result_type or "")
        with self._changing(ibis=True, counts=False) as (backend, connection):
            done = ingest_parts(backend, connection, parts)
        if done.rows_new:
            with self._state.lock:
                self._state.version += 1
        return done

    def add_model(self, model_id: str, **info: Any) -> None:
        """Add a model, or what else is known of it: name, family, modality, parameters_million, and anything else."""
        self._put(MODELS, model_id, info)

    def add_hardware(self, hardware_id: str, **info: Any) -> None:
        """Add hardware, or what else is known of it: name, vendor, type, memory_gb, and anything else."""
        self._put(HARDWARE, hardware_id, info)

    def store_aggregates(
        self, frame: pd.DataFrame, selection: Selection | None = None, result_type: str | None = None
    ) -> int:
        """Keep a tidy frame of statistics in place of what was kept for the same selection; returns its rows."""
        return self._keep(AGGREGATES, frame, selection, result_type)

    def store_anomalies(
        self, frame: pd.DataFrame, selection: Selection | None = None, result_type: str | None = None
    ) -> int:
        """Keep a tidy frame of anomalies in place of what was kept for the same selection; returns its rows."""
        return self._keep(ANOMALIES, frame, selection, result_type)

    # -- reading ---------------------------------------------------------------------------------------------------

    def opened(self, table: str | None = None) -> Opened:
        """Return the results as the source of ``aggrkit.open(store)``, which sees what this process writes.

        Parameters
        ----------
        table : str, optional
            Which table, such as "performance_results"; may be left out where only one of them holds results.

        Raises
        ------
        SourceError
            If the store was closed, or holds no results yet and it isn't said which table they will be in.
        UnknownNameError
            If it must be said which table.

        Examples
        --------
        >>> from aggrkit.store import BenchmarkDBManager
        >>> store = BenchmarkDBManager(":memory:")
        >>> opened = store.opened("performance_results")
        >>> opened.has_changed()
        False
        >>> _ = store.ingest([{"id": 1, "model": "bert", "hardware": "a100", "latency": 3.5}])
        >>> opened.has_changed()
        True
        >>> store.close()
        """
        return connection_opened(self._connection(), table, self.path, self._version)

    @contextlib.contextmanager
    def observations(self, result_type: str) -> Iterator[Observations]:
        """Give the results of a type to the pipeline, as they are at this moment whatever is written meanwhile.

        Parameters
        ----------
        result_type : str
            Which results.

        Yields
        ------
        Observations
            They can be used until the block ends; columns that hold nothing are left out.
        """
        kind = known_type(result_type)
        with self._snapshot() as (backend, connection):
            yield observations_of(backend, connection, self.path, kind)

    def get_performance_results(
        self,
        aggregation_level: str | None = None,
        filter_params: Mapping[str, Any] | None = None,
        time_range: Any = None,
    ) -> list[dict[str, Any]]:
        """Return performance results as dictionaries.

        Parameters
        ----------
        aggregation_level : str, optional
            A level; all levels are made of the same results.
        filter_params : mapping, optional
            Column, role or another spelling of it to the value, or the values, that are let in.
        time_range : pair, optional
            First and last moment, either of them None.

        Raises
        ------
        UnknownNameError
            For a filter that doesn't exist.
        """
        return self._records("performance", aggregation_level, filter_params, time_range)

    def get_compatibility_results(
        self,
        aggregation_level: str | None = None,
        filter_params: Mapping[str, Any] | None = None,
        time_range: Any = None,
    ) -> list[dict[str, Any]]:
        """Return compatibility results as dictionaries; see `get_performance_results`."""
        return self._records("compatibility", aggregation_level, filter_params, time_range)

    def get_integration_test_results(
        self,
        aggregation_level: str | None = None,
        filter_params: Mapping[str, Any] | None = None,
        time_range: Any = None,
    ) -> list[dict[str, Any]]:
        """Return results of integration tests as dictionaries; see `get_performance_results`."""
        return self._records("integration", aggregation_level, filter_params, time_range)

    def get_web_platform_results(
        self,
        aggregation_level: str | None = None,
        filter_params: Mapping[str, Any] | None = None,
        time_range: Any = None,
    ) -> list[dict[str, Any]]:
        """Return results of web platforms as dictionaries; see `get_performance_results`."""
        return self._records("web_platform", aggregation_level, filter_params, time_range)

    def get_test_results(
        self, filter_params: Mapping[str, Any] | None = None, time_range: Any = None, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """Return results of all types, each with its "result_type", by time; the latest `limit` of them."""
        most = as_limit(limit)
        with self._snapshot() as (backend, connection):
            every = {kind: observations_of(backend, connection, self.path, kind, every=True) for kind in RESULT_TYPES}
            return records_of_all(every, filter_params, time_range, most)

    def get_model_info(self, model_id: str) -> dict[str, Any] | None:
        """Return what is known of a model (name, family, modality, parameters_million, ...), or None."""
        with self._reading() as connection:
            return MODELS.get(connection, model_id)

    def get_hardware_info(self, hardware_id: str) -> dict[str, Any] | None:
        """Return what is known of hardware (name, vendor, type, memory_gb, ...), or None."""
        with self._reading() as connection:
            return HARDWARE.get(connection, hardware_id)

    def models(self) -> pd.DataFrame:
        """Return all models that were added, or that a result names."""
        with self._reading() as connection:
            return MODELS.frame(connection)

    def hardware(self) -> pd.DataFrame:
        """Return all hardware that was added, or that a result names."""
        with self._reading() as connection:
            return HARDWARE.frame(connection)

    def runs(self) -> pd.DataFrame:
        """Return the runs with their first and last time, worker and number of results, the earliest first."""
        with self._reading() as connection:
            return runs_frame(connection)

    def columns(self, result_type: str) -> dict[str, str]:
        """Return the columns of a type's table with what each holds: "DOUBLE", "BOOLEAN", "VARCHAR" or "TIMESTAMP"."""
        with self._reading() as connection:
            return columns_of(connection, TABLES[known_type(result_type)])

    def counts(self) -> dict[str, int]:
        """Return how many results there are of each type."""
        with self._reading() as connection:
            query = "SELECT count(*) FROM {}"
            return {kind: connection.execute(query.format(name)).fetchall()[0][0] for kind, name in TABLES.items()}

    def get_aggregates(self, selection: Selection | None = None, result_type: str | None = None) -> pd.DataFrame:
        """Return the statistics that are kept for a selection; of all, each row naming its own, if none is given."""
        with self._reading() as connection:
            return AGGREGATES.get(connection, selection, result_type)

    def get_anomalies(self, selection: Selection | None = None, result_type: str | None = None) -> pd.DataFrame:
        """Return the anomalies that are kept for a selection; of all, each row naming its own, if none is given."""
        with self._reading() as connection:
            return ANOMALIES.get(connection, selection, result_type)

    # -- within ----------------------------------------------------------------------------------------------------

    def _records(self, kind: str, level: Any, filter_params: Any, time_range: Any) -> list[dict[str, Any]]:
        with self._snapshot() as (backend, connection):
            found = observations_of(backend, connection, self.path, kind, every=True)
            return records(found, filter_params, time_range, level)

    def _put(self, nouns: Nouns, identity: str, info: Mapping[str, Any]) -> None:
        self._writable()
        with self._changing() as (_, connection):
            nouns.put(connection, identity, info)

    def _keep(
        self, answers: StoredAnswers, frame: pd.DataFrame, selection: Selection | None, result_type: str | None
    ) -> int:
        self._writable()
        kind = None if result_type is None else known_type(result_type)
        with self._changing(counts=False) as (_, connection):
            return answers.put(connection, frame, selection, kind)

    def _writable(self) -> None:
        if self.read_only:
            raise SourceError(f"{self.path} is open for reading only; open it without read_only to write")

    def _connection(self) -> duckdb.DuckDBPyConnection:
        backend = self._backend
        if backend is None:
            raise SourceError(f"{self.path} was closed; open it again: BenchmarkDBManager({self.path!r})")
        connection: duckdb.DuckDBPyConnection = backend.con
        return connection

    def _version(self) -> int:
        """Return the version of the data of a store that is open."""
        self._connection()
        return self.data_version

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        with self._state.lock:
            cursor = self._connection().cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        return cursor

    @contextlib.contextmanager
    def _reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with contextlib.closing(self._cursor()) as connection, reading(self.path):
            connection.execute("BEGIN TRANSACTION")
            yield connection

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[tuple[Backend, duckdb.DuckDBPyConnection]]:
        with contextlib.closing(self._cursor()) as first:  # DuckDB closes the cursors of what is closed
            backend = from_connection(first)
            connection: duckdb.DuckDBPyConnection = backend.con
            with reading(self.path):
                connection.execute("BEGIN TRANSACTION")
            yield backend, connection

    @contextlib.contextmanager
    def _changing(self, *, ibis: bool = False, counts: bool = True) -> Iterator[tuple[Any, duckdb.DuckDBPyConnection]]:
        """Hold the lock and a transaction, which ends with the block: stored as a whole, or not at all."""
        with self._state.lock, contextlib.closing(self._cursor()) as first, writing(self.path):
            backend = from_connection(first) if ibis else None
            connection: duckdb.DuckDBPyConnection = first if backend is None else backend.con
            connection.execute("BEGIN TRANSACTION")
            try:
                yield backend, connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(duckdb.Error):  # a transaction that failed to commit is gone already
                    connection.execute("ROLLBACK")
                raise
            if counts:
                self._state.version += 1
