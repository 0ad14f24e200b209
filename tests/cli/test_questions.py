"""The questions of the command line: arguments, tables, JSON, CSV, and what is said of bad input."""

from __future__ import annotations

import inspect
import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import aggrkit
from aggrkit import cli
from aggrkit.analysis import Analysis
from aggrkit.cli import asking, questions
from aggrkit.cli.tables import as_text
from aggrkit.cli.telling import as_csv, as_json
from tests.cli.results import frame, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aggrkit.findings import Finding

SIDES = {"baseline": "a", "current": "b", "by": "build"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def findings() -> dict[str, Finding]:
    """Return an answer to every question that is a command."""
    found = {}
    for name in questions.EXAMPLES:
        sides = SIDES if name in ("compare", "calibrate") else {}
        found[name] = getattr(frame().aggr, name)(**sides, **({"repeats": 10} if name == "calibrate" else {}))
    return found


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command in the folder of results, and return what it prints."""

    def run(*argv: str, width: int = 80) -> str:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("COLUMNS", str(width))
        for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        assert cli.main(argv) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out

    return run


def returned_by(*argv: str) -> object:
    try:
        return cli.main(argv)
    except SystemExit as left:
        return left.code


def as_numbers(text: str) -> list[float]:
    return [float(word.replace(",", "")) for word in text.split() if word.replace(",", "").replace(".", "").isdigit()]


def test_every_method_that_gives_a_finding_is_a_command() -> None:
    answers = {
        name
        for name, method in inspect.getmembers(Analysis, inspect.isfunction)
        if not name.startswith("_") and name != "head"
    }
    assert set(questions.EXAMPLES) == answers


@pytest.mark.parametrize("name", questions.EXAMPLES)
def test_options_are_the_parameters_of_the_method(name: str) -> None:
    parser = cli.Parser()
    questions.add_options(parser, name)
    given = vars(parser.parse_args(["--baseline", "a"] if name == "compare" else []))
    parameters = inspect.signature(getattr(Analysis, name)).parameters
    selected = {"where", "since", "until"}
    assert set(given) == (set(parameters) - {"self", "time_range", "progress"}) | selected
    if "level" in given:
        assert asking.level_in(given["level"]) == (parameters["level"].default or [])
    options = {action.dest: action for action in parser._actions}
    for parameter in parameters.values():
        if parameter.name in questions.options_of(name) and parameter.default not in (None, inspect.Parameter.empty):
            shown = ",".join(map(str, parameter.default)) if isinstance(parameter.default, tuple) else parameter.default
            assert f"(default: {shown})" in str(options[parameter.name].help)


def test_values_of_options_arrive_at_the_method(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def compare(self: Analysis, **options: Any) -> None:
        asked.update(options)

    parser = cli.new_parser()
    line = (
        "compare - --level model,precision --metric latency_ms --metric passed --where batch_size=8,16 --where model= "
        "--since 2026-01-01 --by build --baseline a,b --margin latency_ms=0.05,passed=0.1 --alpha 0.1 "
        "--adjust holm --statistic p50,p99"
    )
    given = parser.parse_args(line.split())
    results = aggrkit.open(frame())
    monkeypatch.setattr(type(results), "compare", compare)
    questions.answer(results, "compare", given)
    assert asked == {
        "level": ["model", "precision"],
        "metrics": ["latency_ms", "passed"],
        "where": {"batch_size": ["8", "16"], "model": [None]},
        "time_range": ("2026-01-01", None),
        "by": "build",
        "baseline": ["a", "b"],
        "margin": {"latency_ms": 0.05, "passed": 0.1},
        "alpha": 0.1,
        "adjust": "holm",
        "statistic": ["p50", "p99"],
    }


def test_statistics_are_those_of_pandas_in_every_form(run: Callable[..., str]) -> None:
    results = frame()
    wanted = results[results["precision"].eq("fp16")].groupby("model")["latency_ms"].agg(["count", "mean", "median"])
    line = ["stats", "results.csv", "--level", "model", "--metric", "latency_ms", "--where", "precision=fp16"]
    table = run(*line)
    (bert,) = (text for text in table.splitlines() if text.startswith(" bert"))
    assert as_numbers(bert)[:2] == [wanted.at["bert", "count"], pytest.approx(wanted.at["bert", "mean"], rel=1e-3)]
    told = json.loads(run(*line, "--json"), parse_constant=pytest.fail)
    assert [record["n"] for record in told["records"]] == wanted["count"].tolist()
    assert [record["p50"] for record in told["records"]] == pytest.approx(wanted["median"].tolist())
    assert told["meta"]["rows"] == 720
    read = pd.read_csv(io.StringIO(run(*line, "--csv")))
    assert read["mean"].tolist() == pytest.approx(wanted["mean"].tolist())


@pytest.mark.parametrize("source", ["results.csv", "results.parquet", "results.duckdb", "*.parquet", "-"])
def test_every_kind_of_source_gives_the_same(
    source: str, run: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (folder / "results.csv").open("rb") as file:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        printed = run("stats", source, "--level", "model", "--where", "batch_size=8", "--csv")
    results = frame()
    wanted = results.groupby("model")["latency_ms"].mean()
    read = pd.read_csv(io.StringIO(printed)).query("metric == 'latency_ms'").set_index("model")
    assert read["mean"].to_dict() == pytest.approx(wanted.to_dict())


def test_json_lines_come_in_by_a_pipe_with_roles(run: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = '\n{"net": "x", "score": 1.0}\n{"net": "x", "score": 3.0}\n'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    told = json.loads(
        run("stats", "-", "--role", "model=net", "--role", "metrics=score:higher", "--level", "model", "--json")
    )
    assert [(record["model"], record["mean"]) for record in told["records"]] == [("x", 2.0)]
    assert told["meta"]["source"] == "standard input"
    assert told["meta"]["better"] == {"score": "higher"}


def test_verdicts_stand_in_order_with_what_was_planted_first(run: Callable[..., str]) -> None:
    printed = run("compare", "results.csv", "--by", "build", "--baseline", "a", "--current", "b", "--level", "model")
    places = [printed.index(word) for word in ("regressed: ", "equivalent: ")]
    assert places == sorted(places)
    assert printed.index("bert, latency_ms") < printed.index("resnet, latency_ms")
    same = frame().aggr.compare("a", "b", by="build", level="model")
    for sentence in same.explain().splitlines():
        assert sentence in " ".join(printed.replace("\n- ", " ").split())


@pytest.mark.parametrize(
    ("sides", "python"),
    [
        (["--baseline", "..2026-01-10", "--current", "2026-01-20.."], ((None, "2026-01-10"), ("2026-01-20", None))),
        (["--baseline", "7d"], (pd.Timedelta(days=7),)),
    ],
)
def test_sides_may_be_times(sides: list[str], python: tuple[Any, ...], run: Callable[..., str]) -> None:
    told = json.loads(run("compare", "results.csv", "--metric", "latency_ms", "--json", *sides))
    wanted = frame().aggr.compare(*python, metrics="latency_ms")
    assert [record["verdict"] for record in told["records"]] == wanted["verdict"].tolist()
    assert told["meta"]["baseline"] == wanted.meta["baseline"]


@pytest.mark.parametrize("width", [60, 80, 160])
def test_tables_fit_the_terminal(findings: dict[str, Finding], width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for name, finding in findings.items():
        printed = as_text(finding, 5)
        assert max(map(len, printed.splitlines())) <= width, name
        assert "\x1b" not in printed
        assert "…" not in printed, name
        assert finding.explain().splitlines()[0].split()[0] in printed.splitlines()[0]
        assert ("more line" in printed) == (len(finding) > 5), name
        lines = {finding[column].astype(str).iloc[0] for column in finding.columns[:1]}
        assert any(text in printed for text in lines) or len(finding) == 0


def test_what_has_no_room_is_named_and_all_lines_can_be_had(
    findings: dict[str, Finding], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    narrow = as_text(findings["stats"], 3)
    assert f"{len(findings['stats']) - 3} more lines: --lines 0 shows all" in narrow
    (left_out,) = (line for line in narrow.splitlines() if line.startswith("no room for"))
    monkeypatch.setenv("COLUMNS", "200")
    wide = as_text(findings["stats"], 0)
    assert "more line" not in wide
    assert "no room" not in wide
    header = next(line for line in wide.splitlines() if " p50 " in line).split()
    assert set(left_out.removeprefix("no room for ").split(", ")) < set(header)


def test_json_and_csv_hold_every_line_and_column(findings: dict[str, Finding]) -> None:
    for name, finding in findings.items():
        told = json.loads(as_json(finding), parse_constant=pytest.fail)
        assert len(told["records"]) == len(finding), name
        if len(finding):
            assert list(told["records"][0]) == list(finding.columns), name
        assert told["words"] == finding.explain()
        read = pd.read_csv(io.StringIO(as_csv(finding)))
        assert (list(read.columns), len(read)) == (list(finding.columns), len(finding))


@pytest.mark.parametrize("name", ["out.json", "out.csv", "out.txt"])
def test_a_file_is_written_whole_in_the_form_of_its_name(name: str, run: Callable[..., str], tmp_path: Path) -> None:
    assert run("stats", "results.csv", "--level", "model", "-o", str(tmp_path / name)) == ""
    (made,) = tmp_path.iterdir()
    text = made.read_text("utf-8")
    if name == "out.json":
        assert len(json.loads(text)["records"]) == 6
    elif name == "out.csv":
        assert text.startswith("model,metric,unit,n,")
    else:
        assert "bert" in text
        assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("stats nowhere.csv", 3, "nowhere.csv is not there"),
        ("stats tables.duckdb", 2, "say which: --table nightly; there are 'nightly', 'weekly'"),
        ("stats results.csv --metric latency_m", 2, "did you mean 'latency_ms'?"),
        ("stats results.csv --level modle", 2, "did you mean 'model'?"),
        ("stats results.csv --where modle=bert", 2, "did you mean 'model'?"),
        ("stats results.csv --where batch_size=many", 2, "'many' can't be one of them"),
        ("stats results.csv --where model=brt", 3, "did you mean 'bert'?"),
        ("stats results.csv --where model", 2, "write NAME=VALUE; got 'model'"),
        ("stats results.csv --since yesterweek", 2, "can't be read as a time"),
        ("stats results.csv --json --csv", 2, "not allowed with argument"),
        ("stats results.csv --lines -1", 2, "a number of lines"),
        ("stats results.csv --levl model", 2, "did you mean '--level'?"),
        ("stats results.csv results.parquet", 2, "put a pattern for many files in quotes"),
        ("stats results.csv --table results", 3, "--table is for databases"),
        ("stats demo:mlperf_training --table results", 3, "--table is for databases"),
        ("stats demo:mlperf_trainig", 2, "did you mean 'mlperf_training'?"),
        ("stats results.csv --role modle=model", 2, "did you mean 'model'?"),
        ("stats results.csv --role model=model --role model=build", 2, "is given twice"),
        ("stats results.csv -o nowhere/out.csv", 3, "can't be written"),
        ("anomalies results.csv --alpha 5", 2, "alpha is a chance between 0 and 1; got 5.0"),
        ("anomalies results.csv --alpha much", 2, "invalid float value: 'much'"),
        ("anomalies results.csv --method gsed", 2, "did you mean 'gesd'?"),
        ("compare results.csv", 2, "--baseline"),
        ("compare results.csv --baseline a", 2, "--by build"),
        ("compare results.csv --by build --baseline c", 3, "it holds: 'a', 'b'"),
        ("compare results.csv --by build --baseline a --margin wide", 2, "invalid margin value"),
        ("stast results.csv", 2, "did you mean 'stats'?"),
        ("stats", 2, "SOURCE"),
    ],
)
def test_bad_input_is_told_in_words(
    line: str, code: int, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert returned_by(*line.split()) == code
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(("content", "said"), [(b"", "standard input is empty"), (b"model\nbert\n", "metric")])
def test_bad_standard_input_is_told_in_words(
    content: bytes, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert returned_by("stats", "-", "--level", "model") == 3
    assert said in capsys.readouterr().err


def test_what_came_in_by_a_pipe_is_removed(
    run: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"model,latency_ms\na,1\n")))
    run("stats", "-", "--level", "model")
    import gc

    gc.collect()
    assert list(tmp_path.iterdir()) == []
