"""``aggrkit check``: what it returns and writes, run as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import jsonschema
import pytest
import xmlschema

import aggrkit
from aggrkit import cli
from aggrkit.findings.gate import gate_schema
from tests.gate.planted import HOSTILE, builds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ENTRY = Path(sys.executable).with_name("aggrkit")
SIDES = ("--by", "build", "--baseline", "1.4", "--current", "1.5")


def run(*argv: str, given: bytes | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the installed command in a process of its own."""
    env = os.environ | {"COLUMNS": "80"}
    done = subprocess.run([ENTRY, "check", *argv], input=given, capture_output=True, check=False, cwd=cwd, env=env)
    return subprocess.CompletedProcess(argv, done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with results of every kind."""
    place = tmp_path_factory.mktemp("results")
    slower, clean = builds({"m0": 0.1}, runs=5, noise=0.02), builds(runs=5, noise=0.02)
    slower.to_parquet(place / "slower.parquet")
    slower.to_csv(place / "slower.csv", index=False)
    clean.to_parquet(place / "clean.parquet")
    builds({"m0": 0.1}, runs=2, noise=0.2).to_csv(place / "open.csv", index=False)
    slower[slower["build"].eq("1.4")].drop(columns="build").to_csv(place / "old.csv", index=False)
    slower[slower["build"].eq("1.5")].drop(columns="build").to_parquet(place / "new.parquet")
    lost = slower[~(slower["build"].eq("1.5") & slower["model"].eq("m1")) & slower["model"].ne("m0")]
    lost.to_parquet(place / "lost.parquet")
    builds({HOSTILE[3]: 0.5}, names=HOSTILE, runs=5).to_parquet(place / "hostile.parquet")
    (place / "corrupt.parquet").write_bytes((place / "slower.parquet").read_bytes()[:2000])
    (place / "empty.csv").write_text(",".join(slower.columns) + "\n")
    with duckdb.connect(str(place / "slower.duckdb")) as connection:
        connection.register("frame", slower)
        connection.execute("create table results as from frame")
        connection.execute("create table other as select 1 as x")
    with aggrkit.BenchmarkDBManager(place / "store.duckdb") as store:
        store.ingest(slower, "performance")
    (place / "expected.toml").write_text('[[allow]]\nmodel = "m*"\nup_to = "20 %"\nreason = "a safer lock"\n')
    (place / "corrupt.toml").write_text("[[allow]\nmodel=")
    (place / "other.toml").write_text('[gate]\nmodel = "m0"\n')
    return place


@pytest.fixture
def check(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the command in this process, in the folder of the results, and return code, output and errors."""
    monkeypatch.chdir(folder)

    def check(*argv: str) -> tuple[int, str, str]:
        try:
            code = cli.main(["check", *argv])
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return check


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("slower.parquet", *SIDES), 1, "regressed: latency_ms of m0, gpu, +"),
        (("clean.parquet", *SIDES), 0, "Gate open: 1.5 against 1.4, none regressed"),
        (("open.csv", *SIDES), 0, "No line is decided"),
        (("lost.parquet", *SIDES), 3, "missing: latency_ms of m1, gpu"),
        (("nothing.parquet", *SIDES), 3, "nothing.parquet is not there"),
        (("corrupt.parquet", *SIDES), 3, "corrupt.parquet"),
        (("slower.parquet", *SIDES, "--metric", "latncy_ms"), 2, "did you mean 'latency_ms'?"),
        (("slower.parquet", *SIDES, "--where", "model=m99"), 3, "no observation has model 'm99'"),
    ],
)
def test_the_shell_gets_the_right_code(folder: Path, argv: Sequence[str], code: int, said: str) -> None:
    done = run(*argv, cwd=folder)
    assert done.returncode == code
    assert said in (done.stdout if code < 2 or "lost" in argv[0] else done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    assert bool(done.stderr) is (code >= 2 and "lost" not in argv[0])


@pytest.mark.parametrize(
    "source", ["slower.csv", "slower.parquet", "slow*.parquet", "slower.duckdb --table results", "store.duckdb"]
)
def test_every_kind_of_source_gives_the_same_answer(check: Callable[..., Any], source: str) -> None:
    code, out, _ = check(*source.split(), *SIDES)
    assert code == 1
    out = out.replace(" average_latency_ms", " latency_ms")  # what the store calls it
    assert out.splitlines()[:3] == check("slower.parquet", *SIDES)[1].splitlines()[:3]


@pytest.mark.parametrize(
    "sides",
    [
        ("--by", "build", "--baseline", "1.4"),
        ("--baseline", "..2026-03-02", "--current", "2026-03-07.."),
        ("--baseline", "2026-03-01..2026-03-02"),
        ("--lookback", "3d"),
        ("--lookback", "36 h"),
    ],
)
def test_sides_can_be_said_in_many_ways(check: Callable[..., Any], sides: Sequence[str]) -> None:
    code, out, _ = check("slower.parquet", *sides)
    assert code == 1
    (incident,) = [line for line in check("slower.parquet", *SIDES)[1].splitlines() if line.startswith("  ")]
    assert incident in out.splitlines()


def test_the_baseline_may_be_another_file(check: Callable[..., Any]) -> None:
    code, out, _ = check("new.parquet", "--against", "old.csv")
    assert code == 1
    assert out.startswith("Gate closed: current against baseline, 1 regressed")
    assert check("old.csv", "--against", "new.parquet")[0] == 0


def test_a_metric_that_only_the_baseline_has_is_trouble(check: Callable[..., Any], folder: Path) -> None:
    old = builds(runs=5)[lambda frame: frame["build"].eq("1.4")].drop(columns="build")
    old.assign(memory_mb=5.0).to_csv(folder / "more.csv", index=False)
    code, _, err = check("new.parquet", "--against", "more.csv")
    assert code == 3
    assert "the baseline has metrics that the current results lack: 'memory_mb'" in err
    assert check("new.parquet", "--against", "more.csv", "--metric", "latency_ms")[0] == 1


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "say what is compared"),
        (("--lookback", "7d", "--baseline", "1.4", "--by", "build"), "say what is compared"),
        (("--lookback", "7d", "--by", "build"), "say what is compared"),
        (("--lookback", "7"), "such as 7d or 24h; got '7'"),
        (("--lookback", "0d"), "a span above zero"),
        (("--lookback", "1y"), "such as 7d or 24h"),
        (("--lookback", "9999999999w"), "a span that there is"),
        (("--baseline", "1.4"), "no span of time"),
        (("--baseline", ".."), "has no end"),
        (("--baseline", "yesterdy.."), "can't be read as a time"),
        (("--by", "build", "--baseline", ","), "names no value"),
        (("--by", "bild", "--baseline", "1.4"), "did you mean 'build'?"),
        ((*SIDES, "--level", "modle"), "did you mean 'model'?"),
        ((*SIDES, "--where", "modle=m0"), "did you mean 'model'?"),
        ((*SIDES, "--since", "rubbish"), "can't be read as a time: 'rubbish'"),
        ((*SIDES, "--margin", "5"), "written like 5% or 0.05"),
        ((*SIDES, "--margin", "latncy=5%"), "unknown metric 'latncy'"),
        ((*SIDES, "--margin", "0%"), "a margin is a share"),
        ((*SIDES, "--min-effect", "5%", "--min-effect", "latency_ms=2%"), "METRIC=SHARE for each"),
        ((*SIDES, "--min-effect", "much"), "written like 5%"),
        ((*SIDES, "--alpha", "0.9"), "between 0 and 0.5"),
        ((*SIDES, "--statistic", "p5o"), "p5o"),
        ((*SIDES, "--max-regressions", "-1"), "whole number from 0"),
        ((*SIDES, "--fail-on", "all"), "invalid choice"),
        ((*SIDES, "--tolerate", "latency"), "did you mean 'latency_ms'?"),
        ((*SIDES, "--allow", "m0"), "--allow is COLUMN=VALUE"),
        ((*SIDES, "--allow", "modle=m0"), "did you mean 'model'?"),
        ((*SIDES, "--allow", "model=m0,up_to=lots"), "written like 5%"),
        ((*SIDES, "--max-regresions", "2"), "unrecognized arguments"),
        ((*SIDES, "--json", "--markdown", "-"), "only one report"),
        ((*SIDES, "--json", "x", "--junit", "./x"), "to one file"),
        ((*SIDES, "--junit", "slower.parquet"), "over the results"),
    ],
)
def test_wrong_usage_is_told_and_returns_2(check: Callable[..., Any], argv: Sequence[str], said: str) -> None:
    code, out, err = check("slower.parquet", *argv)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err) < 1500


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("empty.csv", *SIDES), ""),
        (("slower.parquet", "--by", "build", "--baseline", "1.3"), "it holds: '1.4', '1.5'"),
        (("slower.parquet", *SIDES, "--since", "2030-01-01"), "2030"),
        (("slower.parquet", *SIDES, "--allow-file", "nothing.toml"), "can't be read"),
        (("slower.parquet", *SIDES, "--allow-file", "corrupt.toml"), "is no TOML"),
        (("slower.parquet", *SIDES, "--allow-file", "other.toml"), "tables [[allow]]"),
        (("new.parquet", "--against", "nothing.csv"), "nothing.csv is not there"),
        (("slower.parquet", *SIDES, "--junit", "nowhere/gate.xml"), "can't be written"),
    ],
)
def test_trouble_with_data_is_told_and_returns_3(check: Callable[..., Any], argv: Sequence[str], said: str) -> None:
    code, _, err = check(*argv)
    assert code == 3
    assert said in err
    assert err.startswith("aggrkit: ")


def test_what_closes_it_can_be_said(check: Callable[..., Any]) -> None:
    assert check("slower.parquet", *SIDES, "--max-regressions", "1")[0] == 0
    assert check("slower.parquet", *SIDES, "--tolerate", "latency_ms")[0] == 0
    assert check("slower.parquet", *SIDES, "--min-effect", "30%")[0] == 0
    assert check("slower.parquet", *SIDES, "--min-effect", "latency_ms=0.3")[0] == 0
    assert check("slower.parquet", *SIDES, "--margin", "latency_ms=30%")[0] == 0
    assert check("slower.parquet", *SIDES, "--allow", "model=m0,up_to=20%,reason=a safer lock")[0] == 0
    assert check("slower.parquet", *SIDES, "--allow-file", "expected.toml")[0] == 0
    assert check("open.csv", *SIDES, "--fail-on", "undecided")[0] == 1
    assert check("lost.parquet", *SIDES, "--missing", "warn")[0] == 0
    assert check("slower.parquet", *SIDES, "--where", "model=m1,m2,m3")[0] == 0
    assert check("slower.parquet", *SIDES, "--role", "metrics=latency_ms:higher")[0] == 0


def test_reports_are_written_whole_and_agree(check: Callable[..., Any], tmp_path: Path, small_data: Path) -> None:
    places = {name: tmp_path / f"gate.{name}" for name in ("markdown", "junit", "json")}
    written = [text for name, place in places.items() for text in (f"--{name}", str(place))]
    code, out, err = check("hostile.parquet", *SIDES, *written)
    assert (code, err) == (1, "")
    record = json.loads(places["json"].read_text("utf-8"))
    jsonschema.Draft202012Validator(gate_schema()).validate(record)
    xmlschema.XMLSchema(str(small_data / "junit.xsd")).validate(str(places["junit"]))
    assert record["headline"] in out
    assert record["exit_code"] == code
    assert "Gate closed" in places["markdown"].read_text("utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gate.json", "gate.junit", "gate.markdown"]


@pytest.mark.parametrize("name", ["json", "markdown", "junit"])
def test_a_report_on_standard_output_is_alone_there(check: Callable[..., Any], name: str) -> None:
    code, out, err = check("slower.parquet", *SIDES, f"--{name}", *(() if name == "json" else ("-",)))
    assert code == 1
    assert err.startswith("Gate closed: ")
    assert out.startswith({"json": "{", "markdown": "### ", "junit": "<?xml"}[name])
    assert out.endswith("\n")


def test_where_the_results_can_not_tell_the_reports_say_so(check: Callable[..., Any], tmp_path: Path) -> None:
    place = tmp_path / "gate.xml"
    place.write_text("the report of yesterday, which passed")
    code, out, _ = check("nothing.csv", *SIDES, "--junit", str(place), "--json")
    assert code == 3
    record = json.loads(out)
    jsonschema.Draft202012Validator(gate_schema()).validate(record)
    assert (record["passed"], record["exit_code"]) == (False, 3)
    assert "nothing.csv is not there" in record["reasons"][0]
    assert 'errors="1"' in place.read_text("utf-8")


def test_explain_says_how_it_was_reached(check: Callable[..., Any]) -> None:
    short, long = (check("slower.parquet", *SIDES, *more)[1] for more in ((), ("--explain",)))
    assert "p-values adjusted" in long
    assert "p-values adjusted" not in short
    assert set(short.splitlines()) <= set(long.splitlines())


def test_it_works_in_a_pipe(folder: Path) -> None:
    results = (folder / "slower.csv").read_bytes()
    done = run("-", *SIDES, "--markdown", "-", given=results)
    assert done.returncode == 1
    assert done.stdout.startswith("### ")
    shell = f'"{ENTRY}" check hostile.parquet {" ".join(SIDES)} --json | head -n 1; exit ${{PIPESTATUS[0]}}'
    piped = subprocess.run(["bash", "-c", shell], cwd=folder, capture_output=True, check=False)
    assert piped.stdout.strip() == b"{"
    assert b"Traceback" not in piped.stderr
    assert piped.returncode == 1


def test_names_of_all_alphabets_are_printed_in_a_plain_locale(folder: Path) -> None:
    plain = {k: v for k, v in os.environ.items() if k not in ("LANG", "LC_ALL", "PYTHONUTF8", "PYTHONIOENCODING")}
    for more in ({"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}):
        argv = [ENTRY, "check", "hostile.parquet", *SIDES, "--fail-on", "improved", "--markdown", "-"]
        done = subprocess.run(argv, cwd=folder, capture_output=True, check=False, env=plain | more)
        assert done.returncode == 1
        assert b"Traceback" not in done.stderr
        assert done.stdout.decode("utf-8").startswith("### \N{CROSS MARK} Gate closed")


def test_the_examples_of_its_help_work_as_printed(folder: Path, check: Callable[..., Any]) -> None:
    _, out, _ = check("--help")
    printed = [line.strip() for line in out.splitlines() if line.startswith("  aggrkit check")]
    assert len(printed) == 5
    (shown,) = [line for line in printed if "demo:" in line]
    assert check(*shown.split()[2:])[0] == 1
    for line in printed:
        words = line.split(" >")[0].split()[2:]
        if "--print-workflow" not in words:
            aggrkit.cli.new_parser().parse_args(["check", *words])
