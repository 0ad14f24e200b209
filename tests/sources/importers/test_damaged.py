"""Files that were cut off, broken or made to do harm: an error in words, or what can be said for certain."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aggrkit
from aggrkit.errors import AggrError, SourceError
from aggrkit.sources.importers import FORMATS, import_file
from tests.sources.importers.files import FILES, FOLDER

if TYPE_CHECKING:
    from aggrkit.sources.importers.format import Format

WHOLE = {name: (FOLDER / name).read_bytes() for name in FILES}
_SUMMARY = next(name for name in FILES if name.endswith("mlperf_log_summary.txt"))
ONE_EACH = [*{known: name for name, known in FILES.items()}.values(), "go/benchmem.txt", _SUMMARY]
IN_LINES = {"go", "mlperf-training", "mlperf-inference"}
"""Formats of lines, of which a beginning may say something."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cut") / "example_system" / "resnet50" / "Server" / "performance" / "run_1"


@pytest.fixture(scope="module")
def said() -> dict[str, set[tuple[str, str, float]]]:
    """Return every value that the whole files give: test, metric and value."""
    return {name: values(import_file(str(FOLDER / name))) for name in ONE_EACH}


def values(frame: pd.DataFrame) -> set[tuple[str, str, float]]:
    metrics = [
        column.name for column in frame.aggr.schema.columns if column.metric is not None and column.name in frame
    ]
    tests = frame["test_case"].fillna("") if "test_case" in frame else pd.Series("", frame.index)
    return {
        (test, name, float(value))
        for name in metrics
        for test, value in zip(tests, pd.to_numeric(frame[name]), strict=True)
        if np.isfinite(value)
    }


def attempted(path: str, known: Format) -> tuple[pd.DataFrame | None, str]:
    """Return what a file gives, or what the error says."""
    try:
        return import_file(path, known), ""
    except SourceError as error:
        return None, str(error)


@pytest.mark.parametrize("name", ONE_EACH)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_is_cut_off_says_so_or_gives_only_what_is_whole(
    name: str, share: float, place: Path, said: dict[str, set[tuple[str, str, float]]]
) -> None:
    place.mkdir(parents=True, exist_ok=True)
    path = place / Path(name).name
    cut = WHOLE[name][: int(share * len(WHOLE[name]))]
    path.write_bytes(cut)
    known = FORMATS[FILES[name]]
    frame, error = attempted(str(path), known)
    if frame is None:
        assert str(path) in error
        assert len(error) < 600
    else:
        assert known.name in IN_LINES or cut.strip() == WHOLE[name].strip()
        if known.name == "go":
            assert values(frame) <= said[name]
        elif "total_time_seconds" in frame:
            assert values(frame) == said[name]


@pytest.mark.parametrize("name", ONE_EACH)
@pytest.mark.parametrize("share", [0.001, 0.01, 0.5])
def test_opening_what_was_cut_off_never_gives_a_traceback(name: str, share: float, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    path = place / Path(name).name
    path.write_bytes(WHOLE[name][: max(1, int(share * len(WHOLE[name])))])
    with contextlib.suppress(AggrError):  # what can't be told any more is a table of text, or not readable
        assert len(aggrkit.open(path).stats(level=[]))


@pytest.mark.parametrize("name", ONE_EACH)
@given(share=st.floats(0.01, 0.99))
def test_a_packed_file_that_is_cut_off_says_so(name: str, share: float, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    path = place / "packed.gz"
    packed = gzip.compress(WHOLE[name], mtime=0)
    path.write_bytes(packed[: int(share * len(packed))])
    with pytest.raises(SourceError, match=r"packed\.gz can't be unpacked|packed\.gz can't be read"):
        import_file(str(path), FORMATS[FILES[name]])


@pytest.mark.parametrize("name", ONE_EACH)
@given(place_of_byte=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255))
def test_a_damaged_byte_never_gives_a_traceback(name: str, place_of_byte: float, byte: int, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    path = place / Path(name).name
    data = bytearray(WHOLE[name])
    data[int(place_of_byte * len(data))] = byte
    path.write_bytes(bytes(data))
    frame, error = attempted(str(path), FORMATS[FILES[name]])
    if frame is None:
        assert str(path) in error
    else:
        assert len(frame)
        assert frame.aggr.schema.metrics is not None


def wrong(tmp_path: Path, name: str, data: str | bytes) -> str:
    """Open a file, and return what the error says."""
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(SourceError) as caught:
        aggrkit.open(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE testsuites [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><testsuites><testsuite name="&c;"/></testsuites>'
)
OUTSIDE = (
    '<?xml version="1.0"?><!DOCTYPE testsuite [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
    '<testsuite><testcase name="&a;"/></testsuite>'
)
ASV_START = '{"commit_hash": "a", "env_name": "b", "version": 2, '
DTD_ALONE = '<!DOCTYPE testsuite SYSTEM "http://127.0.0.1:9/x.dtd"><testsuite><testcase name="a"/></testsuite>'


@pytest.mark.parametrize("text", [BOMB, OUTSIDE, DTD_ALONE])
def test_xml_that_defines_entities_is_refused(text: str, tmp_path: Path) -> None:
    assert "can do harm; don't trust the file" in wrong(tmp_path, "a.xml", text)


def test_deep_and_huge_things_are_refused_in_words(tmp_path: Path) -> None:
    head = '{"machine_info": {"node": "n"}, "commit_info": {}, "benchmarks": '
    assert "nested too deeply" in wrong(tmp_path, "deep.json", head + "[" * 200_000)
    assert "a number that can't be read" in wrong(tmp_path, "digits.json", head + "9" * 5000 + "}")
    deep = "<testsuite>" * 50_000 + "</testsuite>" * 50_000
    assert "holds no test" in wrong(tmp_path, "deep.xml", deep)
    go = ':::MLLOG {"key": "run_start", "value": ' + "[" * 200_000
    assert "line 1: it is no whole event" in wrong(tmp_path, "result_0.txt", go)


def test_numbers_that_no_float_holds_cost_only_their_cell(tmp_path: Path) -> None:
    times = "[1e999, -1e999, NaN, Infinity, 1" + "0" * 400 + ', null, "3", true, 2.5]'
    text = f'{{"results": [{{"command": "ls", "mean": 1, "times": {times}}}]}}'
    (tmp_path / "a.json").write_text(text)
    runs = aggrkit.open(tmp_path / "a.json")
    stats = runs.stats(metrics="time_seconds")
    assert stats[["n", "mean"]].to_numpy().tolist() == [[1, 2.5]]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.json", b'{"results": [{"command": "\xff\xfe", "mean": 1}]}', "line 1: the byte 0xff is no text in UTF-8"),
        ("a.json", b'\xff\xfe{"results": [{"command": "x", "mean": 1', "nor does it begin like a file of a tool"),
        ("a.json", '{"results": [{"command": "x", "mean": 1}], "results": 3}', "'results' is no list but 3"),
        ("a.json", '{"results": [{"command": "x", "mean": 1}, 7]}', "result 2 is no object but 7"),
        ("a.json", '{"results": [{"command": null, "mean": 1}]}', "result 1 has no command"),
        ("a.json", '{"results": [{"command": "x", "mean": 1, "times": {}}]}', "'times' of 'x' is no list"),
        ("a.json", '{"machine_info": {"node": 1}, "benchmarks": []}', "it holds no result"),
        ("a.json", '{"machine_info": {"node": 1}, "benchmarks": [{"stats": {}}]}', "benchmark 1 has no name"),
        ("a.json", '{"context": {"host_name": 1}, "benchmarks": [{"name": "a", "time_unit": "y"}]}', "none of ns, us"),
        ("a.json", ASV_START + '"x": 1}', "'result_columns' is no list but None"),
        (
            "a.json",
            ASV_START + '"result_columns": ["result", "params"], "results": {"time_a": [[1, 2], [["1"]]]}}',
            "time_a has 2 results for 1 combinations",
        ),
        ("a.txt", "goos: linux\npkg: a\n", "no line has a result of a benchmark"),
        ("a.txt", "goos: linux\nBenchmarkA 1 12 ns/op 3", "line 2: the last line is incomplete"),
        ("a.txt", "goos: linux\nBenchmarkA 1 12 ns/o", "line 2: the last line is incomplete"),
        ("a.xml", "<testsuites></testsuites>", "it holds no test"),
        ("a.xml", "<testsuites><a></testsuites>", "line 1: column 18: mismatched tag"),
        ("a.xml", '<?xml version="1.0" encoding="nonsense"?><testsuites/>', "can't be read as JUnit XML"),
        ("a.log", "hello", "nor does it begin like a file of a tool"),
        ("a.json", '{"machi', "if it is one, it was cut off, so write it again"),
    ],
)
def test_what_is_wrong_is_said(name: str, data: str | bytes, words: str, tmp_path: Path) -> None:
    assert words in wrong(tmp_path, name, data)


def test_a_training_log_without_a_start_is_refused(tmp_path: Path) -> None:
    line = json.dumps({"key": "submission_org", "value": "x", "time_ms": 1, "metadata": {}})
    assert "no run is started" in wrong(tmp_path, "result_0.txt", f":::MLLOG {line}\n")


def test_a_test_of_accuracy_holds_no_result(tmp_path: Path) -> None:
    path = FOLDER / "mlperf_inference/example_system/resnet50/Server/accuracy/mlperf_log_summary.txt"
    with pytest.raises(SourceError, match="holds no result itself"):
        import_file(str(path))


def test_a_go_line_without_a_result_is_a_row_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("goos: linux\nBenchmarkA-2 \tprinted by the test\nBenchmarkB-2 \t10\t 5 ns/op\n")
    frame = import_file(str(tmp_path / "a.txt"))
    assert frame["test_case"].tolist() == ["A-2", "B-2"]
    assert frame["status"].tolist() == ["error", "passed"]
    assert frame.at[0, "reason"] == "no result in line 2: BenchmarkA-2 \tprinted by the test"
