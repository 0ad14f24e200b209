"""``aggrkit ingest``: files into a store, each result once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pytest

import aggrkit
from aggrkit import cli
from aggrkit.sources.importers import FORMATS
from aggrkit.store import BenchmarkDBManager
from tests.sources.importers.files import FILES, FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = str(FOLDER / "pytest_benchmark" / "rounds.json")
BENCHMEM = str(FOLDER / "go" / "benchmem.txt")
JUNIT = str(FOLDER / "junit" / "pytest.xml")


@pytest.fixture
def ingest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Return what takes files into a store: the code that is returned, what was done, and what was said of trouble."""

    def run(*arguments: str) -> tuple[int, dict[str, Any], str]:
        code = cli.main(["ingest", *arguments, "--into", str(tmp_path / "s.duckdb"), "--json"])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if printed.out else {}, printed.err

    return run


def stored(tmp_path: Path, kind: str = "performance") -> list[dict[str, Any]]:
    with BenchmarkDBManager(tmp_path / "s.duckdb", read_only=True) as store:
        return getattr(store, f"get_{kind}_results")()


def test_every_format_is_taken_in_once_however_often_it_is_given(
    ingest: Callable[..., tuple[int, dict[str, Any], str]], tmp_path: Path
) -> None:
    paths = [str(FOLDER / name) for name in FILES]
    code, first, said = ingest(*paths)
    assert (code, said) == (0, "")
    assert first["refused"] == 0
    assert len(first["files"]) == len(paths)
    assert first["known"] == 3  # LoadGen's summaries tell what its details tell
    code, again, _ = ingest(*reversed(paths))
    assert (code, again["new"], again["known"]) == (0, 0, first["rows"])
    assert len(stored(tmp_path)) + len(stored(tmp_path, "integration_test")) == first["new"]


def test_a_copy_under_another_name_is_known(
    ingest: Callable[..., tuple[int, dict[str, Any], str]], tmp_path: Path
) -> None:
    ingest(ROUNDS)
    shutil.copy(ROUNDS, tmp_path / "renamed")
    assert ingest(str(tmp_path / "renamed"))[1]["new"] == 0


def test_the_store_answers_as_the_file_does(
    ingest: Callable[..., tuple[int, dict[str, Any], str]], tmp_path: Path
) -> None:
    ingest(ROUNDS, BENCHMEM)
    mine = aggrkit.open(ROUNDS).stats(metrics="time_seconds")
    theirs = aggrkit.open(tmp_path / "s.duckdb").stats(metrics="time_seconds").dropna(subset="mean")
    pd.testing.assert_frame_equal(pd.DataFrame(mine), pd.DataFrame(theirs).reset_index(drop=True), check_dtype=False)


def test_one_broken_file_leaves_the_others_alone(
    ingest: Callable[..., tuple[int, dict[str, Any], str]], tmp_path: Path
) -> None:
    (tmp_path / "half.json").write_text(Path(ROUNDS).read_text()[:5000])
    code, done, _ = ingest(str(tmp_path / "half.json"), JUNIT)
    assert code == 3
    assert (done["refused"], done["new"]) == (1, 6)
    assert "it was cut off; write it again: pytest --benchmark-json=FILE" in done["files"][0]["refused"]


def test_together_means_all_or_none(ingest: Callable[..., tuple[int, dict[str, Any], str]], tmp_path: Path) -> None:
    (tmp_path / "half.json").write_text(Path(ROUNDS).read_text()[:5000])
    code, done, said = ingest(JUNIT, str(tmp_path / "half.json"), "--together")
    assert (code, done) == (3, {})
    assert "half.json can't be read as JSON of pytest-benchmark" in said
    assert not (tmp_path / "s.duckdb").exists()
    code, done, _ = ingest(JUNIT, BENCHMEM, "--together")
    assert (code, done["new"]) == (0, 24)
    assert (len(stored(tmp_path)), len(stored(tmp_path, "integration_test"))) == (18, 6)


def test_tables_are_taken_in_too(ingest: Callable[..., tuple[int, dict[str, Any], str]], tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"id": ["1", "2"], "model": ["a", "b"], "latency_ms": [1.5, 2.5], "timestamp": ["2026-03-01", "2026-03-02"]}
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.assign(id=["3", "4"]).to_parquet(tmp_path / "b.parquet")
    frame.assign(id=["5", "6"]).to_json(tmp_path / "c.jsonl", orient="records", lines=True)
    with duckdb.connect(str(tmp_path / "d.duckdb")) as connection:
        connection.execute("CREATE TABLE runs AS SELECT '7' AS id, 'a' AS model, 1.5 AS latency_ms")
        connection.execute("CREATE TABLE other AS SELECT 1 AS x")
    names = [str(tmp_path / name) for name in ("a.csv", "b.parquet", "c.jsonl", "a.csv")]
    code, done, _ = ingest(*names)
    assert (code, done["new"], done["known"]) == (0, 6, 2)
    code, done, _ = ingest(str(tmp_path / "d.duckdb"), "--table", "runs", "--result-type", "performance")
    assert (code, done["new"]) == (0, 1)
    assert sorted(row["average_latency_ms"] for row in stored(tmp_path)) == [1.5, 1.5, 1.5, 1.5, 2.5, 2.5, 2.5]


def test_what_the_files_do_not_say_can_be_said(
    ingest: Callable[..., tuple[int, dict[str, Any], str]], tmp_path: Path
) -> None:
    said = ["--set", "commit=4f2a1c0", "--set", "timestamp=2026-03-01T12:00:00+01:00"]
    assert ingest(BENCHMEM, *said)[0] == 0
    rows = stored(tmp_path)
    assert {(row["commit"], row["timestamp"]) for row in rows} == {("4f2a1c0", rows[0]["timestamp"])}
    assert rows[0]["timestamp"] == pd.Timestamp("2026-03-01T11:00Z")


def test_a_format_can_be_said_where_the_file_does_not_tell_it(
    ingest: Callable[..., tuple[int, dict[str, Any], str]], tmp_path: Path
) -> None:
    noise = "building ...\n" * 30_000
    (tmp_path / "ci.log").write_text(noise + Path(BENCHMEM).read_text())
    assert ingest(str(tmp_path / "ci.log"))[0] == 3
    assert ingest(str(tmp_path / "ci.log"), "--format", "go")[1]["new"] == 18


def test_standard_input_is_read_as_what_it_holds(tmp_path: Path) -> None:
    arguments = [sys.executable, "-W", "error", "-m", "aggrkit", "ingest", "-", "--into", str(tmp_path / "s.duckdb")]
    done = subprocess.run(arguments, input=Path(BENCHMEM).read_bytes(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[0] == b"standard input: 18 results, 18 new, 0 known already, performance"
    assert {row["source_file"] for row in stored(tmp_path)} == {"standard input"}
    done = subprocess.run(arguments, input=b"", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (3, b"aggrkit: standard input is empty; pipe results into it\n")
    done = subprocess.run(arguments, input=Path(ROUNDS).read_bytes()[:4000], capture_output=True, check=False)
    assert done.returncode == 3
    assert b"standard input can't be read as JSON of pytest-benchmark" in done.stderr


def test_people_read_a_line_for_each_file_and_one_for_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(tmp_path / "s.duckdb")
    assert cli.main(["ingest", JUNIT, "--into", store]) == 0
    assert cli.main(["ingest", JUNIT, BENCHMEM, "--into", store]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == [
        f"{JUNIT}: 6 results, 0 new, 6 known already, integration",
        f"{BENCHMEM}: 18 results, 18 new, 0 known already, performance",
        f"{store}: 24 results, 18 new, 6 known already",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere.json"], 3, "nowhere.json is not there"),
        (["*.nothing"], 3, "is not there"),
        ([ROUNDS, "--format", "pytest"], 2, "invalid choice: 'pytest'"),
        ([ROUNDS, "--result-type", "speed"], 2, "invalid choice: 'speed'"),
        ([ROUNDS, "--set", "commit"], 2, "write NAME=VALUE"),
        ([], 2, "the following arguments are required: FILE"),
    ],
)
def test_wrong_usage_and_missing_files(
    arguments: list[str], code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        found: object = cli.main(["ingest", *arguments, "--into", str(tmp_path / "s.duckdb")])
    except SystemExit as left:
        found = left.code
    printed = capsys.readouterr()
    assert found == code
    assert words in printed.err
    assert not (tmp_path / "s.duckdb").exists()


def test_the_store_itself_and_what_is_no_store_are_refused(
    ingest: Callable[..., tuple[int, dict[str, Any], str]], tmp_path: Path
) -> None:
    ingest(JUNIT)
    code, _, said = ingest(str(tmp_path / "s.duckdb"))
    assert code == 3
    assert "is the store itself" in said
    (tmp_path / "s.duckdb").write_text("no database")
    code, done, _ = ingest(JUNIT)
    assert code == 3
    assert "no DuckDB file" in done["files"][0]["refused"]


def test_the_formats_of_the_command_are_those_that_there_are() -> None:
    from aggrkit.cli import ingest as command

    assert (*FORMATS, "table") == command._FORMATS
