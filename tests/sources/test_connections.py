"""Databases that are the user's: read, and left as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import ibis
import pandas as pd
import pyarrow as pa
import pytest

import aggrkit
from aggrkit.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FRAME = pd.DataFrame(
    {"model": ["a", "a", "b"], "latency_ms": [1.0, 3.0, 5.0], "timestamp": pd.date_range("2025-01-01", periods=3)}
)
SETTINGS = "SELECT current_setting('TimeZone'), current_setting('python_enable_replacements')"


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    made = duckdb.connect()
    made.execute("SET TimeZone = 'Asia/Tokyo'")
    made.execute("CREATE TABLE results AS SELECT * FROM FRAME")
    yield made
    made.close()


def test_the_users_connection_keeps_its_settings_and_tables(connection: duckdb.DuckDBPyConnection) -> None:
    before = connection.sql(SETTINGS).fetchall()
    analysis = aggrkit.open(connection)
    assert analysis.stats(level="model")["mean"].tolist() == [2.0, 5.0]
    analysis.anomalies(level="model")
    analysis.compare("a", by="model", level=[])
    assert connection.sql(SETTINGS).fetchall() == before == [("Asia/Tokyo", True)]
    assert connection.sql("SHOW TABLES").fetchall() == [("results",)]
    assert connection.sql("SELECT count(*) FROM FRAME").fetchall() == [(3,)]


def test_an_open_result_of_the_user_goes_on(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("SELECT * FROM range(5000)")
    first = connection.fetchmany(2)
    aggrkit.open(connection).stats(level="model")
    assert first + connection.fetchall() == [(k,) for k in range(5000)]


def test_new_rows_are_seen(connection: duckdb.DuckDBPyConnection) -> None:
    analysis = aggrkit.open(connection)
    assert analysis.stats(level=[])["n"].tolist() == [3]
    connection.execute("INSERT INTO results VALUES ('c', 7.0, '2025-02-01')")
    assert analysis.stats(level=[])["n"].tolist() == [4]


def test_views_and_the_choice_of_a_table(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("CREATE VIEW fast AS SELECT * FROM results WHERE latency_ms < 4")
    assert aggrkit.open(connection, table="fast").stats(level="model")["n"].tolist() == [2]
    with pytest.raises(UnknownNameError, match="several tables") as raised:
        aggrkit.open(connection)
    assert set(raised.value.choices) == {"fast", "results"}
    with pytest.raises(UnknownNameError, match="did you mean 'results'"):
        aggrkit.open(connection, table="result")


def test_a_file_is_read_only_and_may_be_read_twice(tmp_path: Path) -> None:
    path = tmp_path / "results.duckdb"
    with duckdb.connect(str(path)) as made:
        made.execute("CREATE TABLE results AS SELECT * FROM FRAME")
    before = path.read_bytes()
    one, other = aggrkit.open(path), aggrkit.open(str(path))
    assert one.stats(level="model").equals(other.stats(level="model"))
    one.anomalies(level="model")
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["results.duckdb"]


@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
def test_ibis_expressions_of_any_kind(connection: duckdb.DuckDBPyConnection) -> None:
    backend = ibis.duckdb.from_connection(connection)
    table = backend.table("results")
    assert aggrkit.open(backend).stats(level="model")["n"].tolist() == [2, 1]
    made = table.filter(table.latency_ms > 1).mutate(latency_ms=table.latency_ms * 2)
    assert aggrkit.open(made).stats(level="model")["mean"].tolist() == [6.0, 10.0]
    assert aggrkit.open(ibis.memtable(pa.Table.from_pandas(FRAME))).stats(level="model")["mean"].tolist() == [2.0, 5.0]
    asked = aggrkit.open(table)
    assert asked.stats(level="model", where=asked.table.latency_ms > 4)["model"].tolist() == ["b"]
    assert asked.stats(level="model", where=ibis._.latency_ms > 4)["model"].tolist() == ["b"]
