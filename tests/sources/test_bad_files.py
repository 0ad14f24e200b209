"""Files and databases that are missing, damaged, locked or of another kind: each gets an error that says what to do."""

from __future__ import annotations

import gzip
import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import duckdb
import ibis
import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit.errors import EmptySelectionError, SchemaError, SourceError, UnknownNameError
from tests.unprivileged import unprivileged_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINES = ["model,latency_ms,round", *(f"bert,{value},v{value % 2}" for value in range(50))]


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    return pd.DataFrame({"model": "bert", "latency_ms": rng.lognormal(size=50), "round": ["v1", "v2"] * 25})


def ask(source: Any, **options: Any) -> pd.DataFrame:
    found: pd.DataFrame = aggrkit.open(source, **options).stats(level=[])
    return found


def refused(error: type[Exception], source: Any, *words: str, **options: Any) -> str:
    """Ask, and return the message of the error that comes, which has these words."""
    with pytest.raises(error) as caught:
        ask(source, **options)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert "\n" not in message
    return message


class TestMissing:
    """The message names what is there instead."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "results.csv").write_text("\n".join(LINES))
        frame().to_parquet(tmp_path / "results.parquet")
        (tmp_path / "notes.md").write_text("nothing to read")
        return tmp_path

    @pytest.mark.parametrize("name", ["result.csv", "nope*.csv", "result.duckdb", "sub/*/x.csv"])
    def test_a_file(self, folder: Path, name: str) -> None:
        message = refused(SourceError, folder / name, f"{folder / name} is not there")
        if "/" not in name:
            assert "'results.csv', 'results.parquet'" in message
            assert "notes.md" not in message

    def test_its_folder(self, folder: Path) -> None:
        refused(
            SourceError, folder / "nowhere" / "x.csv", "is not there", f"neither is the folder {folder / 'nowhere'}"
        )

    def test_a_path_as_text_and_with_a_tilde(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(folder))
        assert len(ask("~/results.csv")) == 1
        refused(SourceError, "~/result.csv", "~/result.csv is not there")

    @pytest.mark.parametrize("path", ["https://example.invalid/x.csv", "s3://bucket/x.parquet"])
    def test_a_path_elsewhere(self, path: str) -> None:
        refused(SourceError, path, f"{path} is not a local file")

    @pytest.mark.parametrize("path", ["", "  "])
    def test_no_path(self, path: str) -> None:
        refused(SourceError, path, "the path is empty")

    def test_a_file_that_goes_after_it_was_opened(self, folder: Path) -> None:
        questions: list[Callable[[aggrkit.Analysis], object]] = [
            lambda results: results.stats(level="model"),
            lambda results: results.anomalies(level="model"),
            lambda results: results.distributions(level="model"),
            lambda results: results.compare("v0", "v1", by="round", level="model"),
        ]
        for name in ("results.csv", "results.parquet"):
            results = aggrkit.open(folder / name)
            (folder / name).unlink()
            for question in questions:
                with pytest.raises(SourceError, match="is not there"):
                    question(results)

    def test_a_file_that_changes_after_it_was_opened(self, folder: Path) -> None:
        results = aggrkit.open(folder / "results.csv")
        (folder / "results.csv").write_text("x,y\n1,2\n")
        with pytest.raises(SourceError, match="changed since it was opened"):
            results.stats(level="model")

    def test_the_rows_behind_a_file_that_went(self, folder: Path) -> None:
        found = aggrkit.open(folder / "results.csv").stats(level="model")
        (folder / "results.csv").unlink()
        with pytest.raises(SourceError, match="is not there"):
            found.rows(0)

    @pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
    @pytest.mark.parametrize("name", ["results.csv", "results.parquet"])
    def test_a_file_that_may_not_be_read(self, folder: Path, name: str) -> None:
        assert len(ask(folder / name)) == 1
        content = (folder / name).read_bytes()
        with unprivileged_folder() as theirs:
            (theirs / name).write_bytes(content)
            assert len(ask(theirs / name)) == 1
            (theirs / name).chmod(0)
            refused(SourceError, theirs / name, "can't be read")


@pytest.mark.parametrize("name", ["results.xlsx", "results", "results.csv.bak", "results.feather"])
def test_files_of_another_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n".join(LINES))
    refused(SourceError, tmp_path / name, "of a kind that aggrkit doesn't read", "'.parquet'", "'.csv'", "'.duckdb'")


@pytest.mark.parametrize("source", [3, None, b"results.csv", ["results.csv"], {"model": ["a"]}, object()])
def test_things_that_are_no_source(source: object) -> None:
    refused(SourceError, source, "aggrkit opens a path, a pandas DataFrame", type(source).__name__)


def test_frames_of_other_packages_are_named(tmp_path: Path) -> None:
    import polars as pl
    import pyarrow as pa

    refused(SourceError, pl.DataFrame({"latency_ms": [1.0]}), "polars")
    refused(SourceError, pa.table({"latency_ms": [1.0]}), "pyarrow")


class TestEmpty:
    """What holds nothing is said to hold nothing."""

    @pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.parquet", "x.json", "x.jsonl", "x.csv.gz"])
    def test_files(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).touch()
        refused(SourceError, tmp_path / name, f"{name} is empty")

    @pytest.mark.parametrize("end", ["", "\n", "\r\n"])
    def test_a_csv_with_only_a_header(self, tmp_path: Path, end: str) -> None:
        (tmp_path / "x.csv").write_text(LINES[0] + end)
        refused(EmptySelectionError, tmp_path / "x.csv", "has no observation")
        for ask_it in (
            lambda: aggrkit.open(tmp_path / "x.csv").anomalies(level=[]),
            lambda: aggrkit.open(tmp_path / "x.csv").compare("v1", "v2", by="round", level=[]),
            lambda: aggrkit.open(tmp_path / "x.csv", metrics=["latency_ms", "round"]).correlations(),
            lambda: aggrkit.open(tmp_path / "x.csv").distributions(level=[]),
        ):
            with pytest.raises(EmptySelectionError):
                ask_it()

    def test_a_parquet_without_rows(self, tmp_path: Path) -> None:
        frame().iloc[:0].to_parquet(tmp_path / "x.parquet")
        refused(EmptySelectionError, tmp_path / "x.parquet", "has no observation")

    def test_blank_lines(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_text("\n\n\n")
        with pytest.raises((SchemaError, SourceError)):
            ask(tmp_path / "x.csv")

    def test_a_folder(self, tmp_path: Path) -> None:
        refused(SourceError, tmp_path, "holds no file that can be read", "'.parquet'")
        (tmp_path / "readme.md").write_text("x")
        refused(SourceError, tmp_path, "holds no file that can be read")

    def test_a_folder_that_is_named_like_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv").mkdir()
        (tmp_path / "x.duckdb").mkdir()
        refused(SourceError, tmp_path / "x.csv", "holds no file that can be read")
        refused(SourceError, tmp_path / "x.duckdb", "is no file")


def test_a_folder_of_several_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n".join(LINES))
    frame().to_parquet(tmp_path / "b.parquet")
    refused(SourceError, tmp_path, "files of several kinds: '.csv', '.parquet'", "say which by a glob")
    assert ask(tmp_path / "*.parquet").at[0, "n"] == 50


class TestParquet:
    """Damaged files are named, also where they are one of many."""

    @pytest.fixture
    def whole(self, tmp_path: Path) -> bytes:
        frame().to_parquet(tmp_path / "whole.parquet")
        return (tmp_path / "whole.parquet").read_bytes()

    @pytest.mark.parametrize(
        "damage",
        [
            lambda whole: whole[: len(whole) // 2],
            lambda whole: whole[:-4] + b"XXXX",
            lambda whole: whole[:3],
            lambda whole: np.random.default_rng(1).bytes(2000),
            lambda whole: b"PAR1" + np.random.default_rng(2).bytes(500) + b"PAR1",
            lambda whole: b"model,latency_ms\nbert,1\n",
        ],
        ids=["cut in half", "no end", "three bytes", "garbage", "garbage in a frame", "a CSV"],
    )
    def test_damaged(self, tmp_path: Path, whole: bytes, damage: Callable[[bytes], bytes]) -> None:
        (tmp_path / "x.parquet").write_bytes(damage(whole))
        refused(SourceError, tmp_path / "x.parquet", "x.parquet can't be read")

    def test_damaged_inside(self, tmp_path: Path, whole: bytes) -> None:
        damaged = bytearray(whole)
        damaged[20:300] = np.random.default_rng(3).bytes(280)
        (tmp_path / "x.parquet").write_bytes(bytes(damaged))
        refused(SourceError, tmp_path / "x.parquet", "x.parquet can't be read")

    def test_one_of_several(self, tmp_path: Path, whole: bytes) -> None:
        (tmp_path / "y.parquet").write_bytes(whole[: len(whole) // 2])
        refused(SourceError, tmp_path / "*.parquet", "y.parquet")

    def test_columns_of_types_that_do_not_go_together(self, tmp_path: Path, whole: bytes) -> None:
        pd.DataFrame({"model": ["a"], "latency_ms": [[1.0]]}).to_parquet(tmp_path / "list.parquet")
        with pytest.raises((SchemaError, SourceError), match="latency_ms"):
            ask(tmp_path / "*.parquet")

    def test_a_column_of_lists_is_left_out_and_said(self, tmp_path: Path) -> None:
        frame().assign(trace=[[1, 2]] * 50).to_parquet(tmp_path / "x.parquet")
        results = aggrkit.open(tmp_path / "x.parquet")
        assert results.schema.column("latency_ms").role == "metric"
        assert "ignored" in repr(results.schema)
        with pytest.raises(SchemaError, match="'trace' can't be used"):
            results.stats(level=["trace"])

    def test_a_column_without_a_type_is_missing_everywhere(self, tmp_path: Path) -> None:
        frame().assign(batch_size=None).to_parquet(tmp_path / "x.parquet")
        found = aggrkit.open(tmp_path / "x.parquet").stats(level=["batch_size"])
        assert found["batch_size"].tolist() == ["unknown"]
        assert found["n"].tolist() == [50]


class TestCsv:
    """A line that doesn't fit is named; nothing is guessed and no line is lost."""

    @pytest.mark.parametrize("place", [1, 2, 25, 51])
    @pytest.mark.parametrize("line", ["bert", "bert,3", "bert,1,v1,extra", "bert,1,v1,,", "total: 50"])
    def test_a_line_with_too_few_or_too_many_values(self, tmp_path: Path, place: int, line: str) -> None:
        lines = [*LINES[:place], line, *LINES[place:]]
        (tmp_path / "x.csv").write_text("\n".join(lines))
        values = line.count(",") + 1
        refused(SourceError, tmp_path / "x.csv", f"line {place + 1} of ", f"has {values} value", "the header 3")

    def test_a_line_far_down(self, tmp_path: Path) -> None:
        lines = [LINES[0], *LINES[1:] * 200, "bert,3"]
        (tmp_path / "x.csv").write_text("\n".join(lines))
        refused(SourceError, tmp_path / "x.csv", "line 10002 of ", "has 2 values")

    def test_a_file_that_is_cut_off(self, tmp_path: Path) -> None:
        whole = "\n".join(LINES)
        (tmp_path / "x.csv").write_text(whole[:-4])
        refused(SourceError, tmp_path / "x.csv", "line 51 of ", "is the file cut off?")

    def test_one_of_several(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("\n".join(LINES))
        (tmp_path / "b.csv").write_text("\n".join([*LINES, "bert"]))
        refused(SourceError, tmp_path / "*.csv", "line 52 of ", "b.csv has 1 value")

    def test_lines_before_the_header_and_comments_are_no_mistake(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_text("\n".join(["# made by hand", "", *LINES[:25], "# half of it", *LINES[25:]]))
        assert ask(tmp_path / "x.csv").at[0, "n"] == 50

    def test_names_with_commas_and_quotes(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_text('model,"latency, in ""ms"""\nbert,1\nbert,2\n')
        assert ask(tmp_path / "x.csv").at[0, "n"] == 2

    @pytest.mark.parametrize(
        ("line", "n", "missing"),
        [('"bert,7,v1', 51, 0), ('b"er"t,7,v1', 51, 0), ('bert,"7,v1', 50, 1), ('bert,7,"v1', 51, 0)],
    )
    def test_broken_quotes_cost_no_other_line(self, tmp_path: Path, line: str, n: int, missing: int) -> None:
        (tmp_path / "x.csv").write_text("\n".join([*LINES[:20], line, *LINES[20:]]))
        found = ask(tmp_path / "x.csv", metrics=["latency_ms"])
        assert (found["n"].sum(), found["missing"].sum()) == (n, missing)

    @pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
    def test_another_encoding(self, tmp_path: Path, encoding: str) -> None:
        (tmp_path / "x.csv").write_bytes("\n".join([*LINES, "münchen,1,v1"]).encode(encoding))
        refused(SourceError, tmp_path / "x.csv", "can't be read", "not utf-8")

    def test_a_byte_order_mark_is_no_part_of_a_name(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_text("\n".join(LINES), encoding="utf-8-sig")
        assert aggrkit.open(tmp_path / "x.csv").schema.names == ["model", "latency_ms", "round"]

    @pytest.mark.parametrize("value", ["n/a", "fast", "1.5 ms", "--", ""])
    def test_text_in_a_metric_costs_its_cell(self, tmp_path: Path, value: str) -> None:
        (tmp_path / "x.csv").write_text("\n".join([*LINES, f"bert,{value},v1"]))
        found = ask(tmp_path / "x.csv")
        assert (found.at[0, "n"], found.at[0, "missing"], found.at[0, "max"]) == (50, 1, 49)

    def test_two_columns_of_the_same_name_are_told_apart(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_text("model,latency_ms,latency_ms\nbert,1,2\n")
        assert len(set(aggrkit.open(tmp_path / "x.csv").schema.names)) == 3

    def test_a_parquet_in_disguise(self, tmp_path: Path) -> None:
        frame().to_parquet(tmp_path / "x.parquet")
        (tmp_path / "x.parquet").rename(tmp_path / "x.csv")
        refused(SourceError, tmp_path / "x.csv", "x.csv can't be read")

    def test_files_that_say_they_are_packed(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv.gz").write_text("\n".join(LINES))
        refused(SourceError, tmp_path / "x.csv.gz", "x.csv.gz can't be read")
        (tmp_path / "x.csv.gz").write_bytes(gzip.compress("\n".join(LINES).encode())[:-20])
        with pytest.raises(SourceError):
            ask(tmp_path / "x.csv.gz")

    @pytest.mark.parametrize("name", ["x[1].csv", "y?.csv", "z*.csv", "it's.csv", "a=b.csv", "ü 日.csv", "x;y.csv"])
    def test_names_that_mean_something_to_globs_and_engines(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "x1.csv").write_text("model,latency_ms\nother,1000\n")
        (tmp_path / name).write_text("\n".join(LINES))
        assert ask(tmp_path / name).at[0, "max"] == 49


class TestJson:
    """One bad line is named."""

    def test_a_bad_line(self, tmp_path: Path) -> None:
        good = '{"model": "bert", "latency_ms": 1}\n'
        (tmp_path / "x.jsonl").write_text(good + '{"model": "bert", "latency_ms":\n' + good)
        refused(SourceError, tmp_path / "x.jsonl", "Malformed JSON", "line 3")

    def test_a_file_that_is_cut_off(self, tmp_path: Path) -> None:
        (tmp_path / "x.json").write_text('[{"model": "bert", "latency_ms": 1}, {"mod')
        refused(SourceError, tmp_path / "x.json", "Malformed JSON")


class TestDuckDb:
    """Databases are opened for reading only, and say which table is meant."""

    @pytest.fixture
    def database(self, tmp_path: Path) -> Path:
        with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
            connection.execute("CREATE TABLE results AS SELECT 'bert' AS model, 1.5 AS latency_ms")
            connection.execute("CREATE TABLE other AS SELECT 1 AS latency_ms")
        return tmp_path / "x.duckdb"

    def test_garbage(self, tmp_path: Path) -> None:
        (tmp_path / "x.duckdb").write_bytes(np.random.default_rng(4).bytes(20_000))
        refused(SourceError, tmp_path / "x.duckdb", "x.duckdb can't be read", "not a valid DuckDB")

    def test_cut_off(self, database: Path) -> None:
        database.write_bytes(database.read_bytes()[:5000])
        with pytest.raises(SourceError, match=r"x\.duckdb"):
            ask(database, table="results")

    def test_a_database_of_sqlite_is_not_touched(self, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / "x.db") as connection:
            connection.execute("CREATE TABLE results (latency_ms REAL)")
        connection.close()
        refused(SourceError, tmp_path / "x.db", "a database of SQLite", "ibis.sqlite.connect")

    def test_no_table(self, tmp_path: Path) -> None:
        duckdb.connect(str(tmp_path / "x.duckdb")).close()
        refused(SourceError, tmp_path / "x.duckdb", "holds no table")

    def test_several_tables(self, database: Path) -> None:
        with pytest.raises(UnknownNameError, match=r"holds several tables; say which.*'other', 'results'") as caught:
            ask(database)
        assert caught.value.choices == ("other", "results")
        assert ask(database, table="results").at[0, "max"] == 1.5

    @pytest.mark.parametrize("table", ["result", "Results", "results; DROP TABLE results", "", 3])
    def test_a_table_that_is_not_there(self, database: Path, table: Any) -> None:
        with pytest.raises(UnknownNameError, match="unknown table") as caught:
            ask(database, table=table)
        assert caught.value.choices == ("other", "results")
        assert ("did you mean 'results'?" in str(caught.value)) == (table in ("result", "Results"))
        assert ask(database, table="results").at[0, "n"] == 1

    def test_an_empty_table(self, tmp_path: Path) -> None:
        with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
            connection.execute("CREATE TABLE results (model TEXT, latency_ms DOUBLE)")
        refused(EmptySelectionError, tmp_path / "x.duckdb", "results has no observation")

    def test_a_view_on_what_is_gone(self, tmp_path: Path) -> None:
        with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
            connection.execute("CREATE TABLE results AS SELECT 1.5 AS latency_ms")
            connection.execute("CREATE VIEW seen AS SELECT * FROM results")
            connection.execute("DROP TABLE results")
        with pytest.raises(SourceError, match=r"x\.duckdb"):
            ask(tmp_path / "x.duckdb")

    def test_locked_by_another_process(self, database: Path) -> None:
        program = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", program, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "open\n"
            refused(SourceError, database, "is open for writing in another process", "open a copy", table="results")
            writer.communicate()
        assert ask(database, table="results").at[0, "n"] == 1

    def test_open_for_writing_in_this_process(self, database: Path) -> None:
        with duckdb.connect(str(database)) as connection:
            refused(SourceError, database, "open in this process already", "give its connection", table="results")
            assert ask(connection, table="results").at[0, "n"] == 1

    def test_other_processes_may_read_meanwhile(self, database: Path) -> None:
        results = aggrkit.open(database, table="results")
        program = "import duckdb, sys; print(len(duckdb.connect(sys.argv[1], read_only=True).table('results')))"
        done = subprocess.run(
            [sys.executable, "-c", program, str(database)], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout == "1\n"
        assert results.stats(level=[]).at[0, "n"] == 1


class TestConnections:
    """Connections and tables of other libraries that can't be asked."""

    def test_without_a_table(self) -> None:
        with duckdb.connect() as connection:
            refused(SourceError, connection, "the connection holds no table")

    def test_closed(self) -> None:
        connection = duckdb.connect()
        connection.close()
        refused(SourceError, connection, "the connection can't be read")

    def test_closed_after_it_was_opened(self) -> None:
        connection = duckdb.connect()
        connection.execute("CREATE TABLE results AS SELECT 1.5 AS latency_ms")
        results = aggrkit.open(connection)
        connection.close()
        with pytest.raises(SourceError, match="closed"):
            results.stats(level=[])

    def test_a_table_of_no_engine(self) -> None:
        refused(
            SourceError, ibis.table({"latency_ms": "float64"}, name="results"), "the Ibis table results can't be read"
        )

    def test_a_table_that_is_gone(self) -> None:
        with duckdb.connect() as connection:
            connection.execute("CREATE TABLE results AS SELECT 1.5 AS latency_ms")
            results = aggrkit.open(connection)
            connection.execute("DROP TABLE results")
            with pytest.raises(SourceError, match="results"):
                results.stats(level=[])


class TestOptions:
    """Options that can't be meant are refused, not ignored."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        frame().to_parquet(tmp_path / "x.parquet")
        return tmp_path / "x.parquet"

    @pytest.mark.parametrize(
        "options", [{"memory_limit": "lots"}, {"memory_limit": "0"}, {"threads": 0}, {"threads": -1}, {"threads": "x"}]
    )
    def test_settings_that_the_engine_refuses(self, file: Path, options: dict[str, Any]) -> None:
        with pytest.raises(SourceError):
            ask(file, **options)
        with pytest.raises(SourceError):
            ask(frame(), **options)

    def test_too_little_memory(self, file: Path, tmp_path: Path) -> None:
        refused(SourceError, file, "needs more memory than allowed", "raise memory_limit", memory_limit="1KB")
        refused(SourceError, frame(), "needs more memory than allowed", memory_limit="1KB")
        assert ask(file, memory_limit="1GB", threads=1).at[0, "n"] == 50
        assert ask(frame(), memory_limit="1GB", threads=1).at[0, "n"] == 50

    def test_too_little_memory_for_the_question(self, tmp_path: Path) -> None:
        rows = pd.DataFrame({"model": "bert", "latency_ms": np.random.default_rng(5).random(400_000)})
        rows.to_parquet(tmp_path / "x.parquet")
        refused(SourceError, tmp_path / "x.parquet", "needs more memory than allowed", memory_limit="4MB")

    def test_a_table_where_there_are_none(self, file: Path) -> None:
        refused(SourceError, file, "'table' is for databases", table="results")
        refused(SourceError, frame(), "a DataFrame has no tables", table="results")
        refused(SourceError, ibis.table({"x": "int64"}, name="x"), "a table already", table="results")

    def test_settings_of_an_engine_that_is_not_ours(self) -> None:
        with duckdb.connect() as connection:
            refused(SourceError, connection, "set them on the connection itself", memory_limit="1GB")

    def test_a_role_that_does_not_exist(self, file: Path) -> None:
        with pytest.raises(UnknownNameError, match="unknown role 'modl'; did you mean 'model'"):
            ask(file, modl="model")
        with pytest.raises(SchemaError, match="no column 'net' to be 'model'"):
            ask(file, model="net")
