"""From files of tools to answers, with nothing said but where they are."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit.errors import SchemaError, SourceError, UnknownNameError
from tests.sources.importers.files import FOLDER
from tests.unprivileged import unprivileged_folder

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = FOLDER / "pytest_benchmark" / "rounds.json"


def session(path: Path, seconds: float, day: int, rng: np.random.Generator, commit: str = "a") -> None:
    """Write a session of pytest-benchmark: that of a real one, with other times of its first benchmark."""
    raw = json.loads(ROUNDS.read_text())
    raw["datetime"] = f"2026-03-{day:02d}T12:00:00+00:00"
    raw["commit_info"]["id"] = commit
    raw["benchmarks"] = raw["benchmarks"][:1]
    run = seconds * np.exp(rng.normal(0, 0.003))
    raw["benchmarks"][0]["stats"]["data"] = (run * np.exp(rng.normal(0, 0.01, 8))).tolist()
    path.write_text(json.dumps(raw))


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of thirty sessions, in which times go up by 10 % on the sixteenth day."""
    folder = tmp_path_factory.mktemp("sessions")
    rng = np.random.default_rng(7)
    for day in range(1, 31):
        slow = day >= 16
        session(folder / f"{day:04d}_run.json", 1e-3 * (1.1 if slow else 1), day, rng, "new" if slow else "old")
    return folder


def test_a_folder_of_sessions_tells_when_it_became_slower(sessions: Path) -> None:
    changes = aggrkit.open(sessions).changes()
    (line,) = changes.to_dict("records")
    assert line["model"] == "test_sorting.py::test_sort[list-10]"
    assert pd.Timestamp(line["at"]).date().isoformat() == "2026-03-16"
    assert 8 < line["change_pct"] < 12


def test_a_glob_of_sessions_compares_builds_by_their_runs(sessions: Path) -> None:
    runs = aggrkit.open(str(sessions / "*_run.json"))
    found = runs.compare("old", "new", by="commit")
    (line,) = found.to_dict("records")
    assert (line["verdict"], line["runs_baseline"], line["runs_current"]) == ("regressed", 15, 15)
    assert 9 < line["change_pct"] < 11
    assert line["n_baseline"] == 15 * 8
    assert len(found.rows(0)) == 30 * 8
    same = runs.compare(
        ("old",), "new", by="commit", where={"source_file": [f"{day:04d}_run.json" for day in (14, 16)]}
    )
    assert same.at[0, "runs_current"] == 1


def test_two_files_are_compared_each_in_its_own_way(sessions: Path) -> None:
    old, new = sessions / "0001_run.json", sessions / "0030_run.json"
    beside = aggrkit.open([old, new]).compare(old.name, new.name, by="source_file")
    against = aggrkit.open(new).compare(aggrkit.open(old))
    assert beside.at[0, "verdict"] == against.at[0, "verdict"] == "regressed"
    assert beside.at[0, "change_pct"] == pytest.approx(against.at[0, "change_pct"])
    assert "a single run on a side" in beside.at[0, "note"]
    with pytest.raises(UnknownNameError, match="by='source_file'"):
        aggrkit.open([old, new]).compare(old.name, new.name)


def test_a_file_against_one_on_disk_says_what_to_do(sessions: Path, tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("model,latency_ms\na,1\n")
    with pytest.raises(SchemaError, match="is on disk"):
        aggrkit.open(sessions / "0001_run.json").compare(aggrkit.open(tmp_path / "old.csv"))


def test_the_published_answer_of_benchstat(small_data: Path, tmp_path: Path) -> None:
    samples = pd.read_csv(small_data / "importers" / "go" / "benchstat_samples.csv")
    for name, rows in samples.groupby("file"):
        lines = [f"Benchmark{r.benchmark} \t{100} \t{r.value:.0f} {r.unit}" for r in rows.itertuples()]
        (tmp_path / str(name)).write_text(
            "\n".join(["goos: linux", "pkg: encode", *lines, "PASS", "ok \tencode\t1.2s\n"])
        )
    found = aggrkit.open(str(tmp_path / "*.txt")).compare("old.txt", "new.txt", by="source_file", statistic="p50")
    found = found.set_index("model")
    # benchstat: json -17.2 % (medians 1.718 and 1.423 us, p = 0.000), gob ~ (3.066 and 3.070 us, p = 0.446)
    assert found.at["Encode/format=json-48", "verdict"] == "improved"
    assert found.at["Encode/format=json-48", "change_pct"] == pytest.approx(-17.2, abs=0.2)
    assert found.at["Encode/format=gob-48", "verdict"] in ("equivalent", "undecided")
    assert found.at["Encode/format=gob-48", "pvalue"] == pytest.approx(0.446, abs=0.1)


def test_benchmarks_that_all_passed_have_no_pass_rate() -> None:
    assert [metric.name for metric in aggrkit.open(FOLDER / "hyperfine" / "params.json").schema.metrics] == [
        "time_seconds"
    ]
    failing = aggrkit.open(FOLDER / "hyperfine" / "failing.json").stats(metrics="passed")
    assert failing.set_index("model")["mean"].to_dict() == {"false": 0.0, "true": 1.0}


def test_a_folder_of_asv_passes_over_what_lies_beside_the_results() -> None:
    runs = aggrkit.open(FOLDER / "asv" / "results")
    assert (
        runs.compare("155925914ebadceab02af94d3fe8e8b9dfffbe99", by="commit", metrics="memory_bytes").at[0, "n_current"]
        == 1
    )


def test_a_test_of_loadgen_is_there_once_though_two_files_tell_of_it() -> None:
    stats = aggrkit.open(FOLDER / "mlperf_inference").stats(level=["scenario"], metrics="average_latency_ms")
    assert stats.set_index("scenario")["n"].to_dict() == {"Offline": 1, "Server": 1, "SingleStream": 1}


def test_files_of_several_tools_go_together(tmp_path: Path) -> None:
    shutil.copy(ROUNDS, tmp_path / "a.json")
    shutil.copy(FOLDER / "hyperfine" / "params.json", tmp_path / "b.json")
    stats = aggrkit.open(tmp_path).stats(level=["source_file"], metrics="time_seconds")
    assert stats["source_file"].tolist() == ["a.json", "b.json"]


def test_folders_say_what_the_files_do_not(tmp_path: Path) -> None:
    for build, day in (("41", "2026-03-01"), ("42", "2026-03-02")):
        folder = tmp_path / f"build={build}" / f"timestamp={day}"
        folder.mkdir(parents=True)
        text = (FOLDER / "junit" / "surefire.xml").read_text()
        (folder / "TEST-a.xml").write_text(text.replace('time="0.019"', f'time="0.0{build}"'))
    runs = aggrkit.open(tmp_path)
    assert runs.schema.role("timestamp").name == "timestamp"
    assert runs.schema.column("build").role == "version"
    found = runs.compare("41", "42", by="build", metrics="execution_time_seconds").set_index("model")
    line = found.loc["org.example.SumTest.fails"]
    assert line[["baseline", "current"]].tolist() == pytest.approx([0.041, 0.042])


def test_files_of_tools_beside_others_are_an_error_that_names_them(tmp_path: Path) -> None:
    shutil.copy(ROUNDS, tmp_path / "a.json")
    (tmp_path / "README.txt").write_text("notes")
    assert len(aggrkit.open(tmp_path).stats(level=[]))  # a note is passed over
    (tmp_path / "half.json").write_text(ROUNDS.read_text()[:10])
    with pytest.raises(SourceError, match=r"others that aren't: 'half\.json'"):
        aggrkit.open(tmp_path)
    with pytest.raises(SourceError, match=r"no format that aggrkit imports: .*half\.json"):
        aggrkit.open(str(tmp_path / "*.json"))
    (tmp_path / "half.json").unlink()
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SourceError, match=r"'table\.csv'"):
        aggrkit.open(tmp_path)


def test_tables_are_opened_as_before(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"model": "m", "latency_ms": 1}\n{"model": "m", "latency_ms": 3}\n')
    (tmp_path / "b.json").write_text('[{"model": "m", "latency_ms": 5}]')
    (tmp_path / "c.txt").write_text("model,latency_ms\nm,7\n")
    for name, mean in (("a.json", 2), ("b.json", 5), ("c.txt", 7), ("[ab].json", 3)):
        assert aggrkit.open(str(tmp_path / name)).stats(level="model")["mean"].tolist() == [mean]
    with pytest.raises(SourceError, match="tables are opened by a glob"):
        aggrkit.open([tmp_path / "a.json", tmp_path / "b.json"])
    with pytest.raises(SourceError, match="'table' is for databases"):
        aggrkit.open([ROUNDS], table="a")


def test_a_file_that_may_not_be_read_says_so() -> None:
    aggrkit.open(ROUNDS)
    with unprivileged_folder() as folder:
        path = folder / "a.json"
        path.write_text("{}")
        path.chmod(0)
        with pytest.raises(SourceError, match="can't be opened: Permission denied"):
            aggrkit.open(path)


def test_arguments_are_conditions_in_any_frame() -> None:
    frame = pd.DataFrame({"model": ["a"] * 2, "arg_size": [1, 2], "latency_ms": [1.0, 2.0]})
    assert frame.aggr.schema.column("arg_size").role == "condition"
