"""What each format becomes, from files that the tools themselves wrote; expected values are read from them by hand."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import re
import shutil
from collections import Counter
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit.sources.importers import FORMATS, import_file, recognised
from tests.sources.importers.files import FILES, FOLDER

if TYPE_CHECKING:
    from pathlib import Path

ROLES = {
    "run_id": "run_id",
    "result_id": "result_id",
    "timestamp": "timestamp",
    "model": "model",
    "hardware": "hardware",
    "worker": "worker",
    "result_type": "result_type",
    "test_case": "condition",
    "suite": "condition",
    "platform": "condition",
    "threads": "condition",
    "config": "condition",
    "repeat": "repeat",
    "attempt": "repeat",
    "commit": "version",
    "branch": "version",
    "python_version": "version",
    "loadgen_version": "version",
    "status": "outcome",
    "reason": "outcome",
    "return_code": "outcome",
    "loops": "ignored",
    "seed": "ignored",
    "source_file": "ignored",
    "file_modified": "attribute",
}


def read(name: str) -> pd.DataFrame:
    return import_file(str(FOLDER / name))


def document(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


def directions(frame: pd.DataFrame) -> dict[str, tuple[str, str]]:
    return {metric.name: (metric.unit, metric.direction.value) for metric in frame.aggr.schema.metrics}


@pytest.mark.parametrize(("name", "wanted"), FILES.items())
def test_a_file_is_told_by_what_it_holds(name: str, wanted: str, tmp_path: Path) -> None:
    shutil.copy(FOLDER / name, tmp_path / "no_name_at_all")
    known = recognised(str(tmp_path / "no_name_at_all"))
    assert known is not None
    assert known.name == wanted
    assert FORMATS[wanted] is known


@pytest.mark.parametrize("name", FILES)
def test_columns_play_the_roles_that_they_are_meant_for(name: str) -> None:
    frame = read(name)
    played = {column.name: column.role.value for column in frame.aggr.schema.columns}
    assert {key: played[key] for key in ROLES if key in frame} == {key: r for key, r in ROLES.items() if key in frame}
    assert all(played[key] == "condition" for key in frame.columns if key.startswith("arg_"))
    assert {"run_id", "result_id", "model", "test_case", "source_file"} <= set(frame.columns)
    assert frame["result_id"].is_unique
    assert not frame.isna().all().any()
    if "timestamp" in frame:
        assert str(frame["timestamp"].dtype) == "datetime64[us, UTC]"


@pytest.mark.parametrize("name", FILES)
def test_the_same_results_are_the_same_however_the_file_is_kept(name: str, tmp_path: Path) -> None:
    wanted = read(name)
    data = (FOLDER / name).read_bytes()
    folder = (tmp_path / name).parent  # MLPerf's folders say which model it is
    folder.mkdir(parents=True)
    variants = {"crlf": data.replace(b"\n", b"\r\n"), "gz": gzip.compress(data), "bz2": bz2.compress(data)}
    variants["xz"] = lzma.compress(data)
    variants["members"] = gzip.compress(data[:100]) + gzip.compress(data[100:])
    if not name.startswith("junit/pytest"):  # it says itself that it is in UTF-8
        variants["bom"] = b"\xef\xbb\xbf" + data
    if not name.startswith("junit"):
        variants["utf16"] = data.decode().encode("utf-16")
    for kept in variants.values():
        path = folder / "copy"
        path.write_bytes(kept)
        found = import_file(str(path))
        assert found["result_id"].tolist() == wanted["result_id"].tolist()
        assert found["run_id"].tolist() == wanted["run_id"].tolist()


def test_pytest_benchmark_has_an_observation_for_each_round() -> None:
    frame, raw = read("pytest_benchmark/rounds.json"), document("pytest_benchmark/rounds.json")
    assert frame["run_id"].nunique() == 1
    for benchmark in raw["benchmarks"]:
        rows = frame[frame["test_case"] == benchmark["fullname"]]
        assert rows["time_seconds"].tolist() == benchmark["stats"]["data"]
        assert rows["repeat"].tolist() == list(range(len(rows)))
        assert rows["time_seconds"].mean() == pytest.approx(benchmark["stats"]["mean"])
        assert set(rows["loops"]) == {benchmark["stats"]["iterations"]}
    first = frame.iloc[0]
    assert first["commit"] == raw["commit_info"]["id"] + ("+dirty" if raw["commit_info"]["dirty"] else "")
    assert first["hardware"] == raw["machine_info"]["cpu"]["brand_raw"]
    assert (first["arg_kind"], first["arg_size"]) == ("list", "10")
    assert first["timestamp"] == pd.Timestamp(raw["datetime"])
    assert frame.loc[frame["test_case"].str.endswith("test_join"), "joined_bytes"].eq(200).all()
    assert directions(frame)["time_seconds"] == ("s", "lower")


def test_pytest_benchmark_without_rounds_has_the_means() -> None:
    frame, raw = read("pytest_benchmark/statistics.json"), document("pytest_benchmark/statistics.json")
    assert frame["time_seconds"].tolist() == [benchmark["stats"]["mean"] for benchmark in raw["benchmarks"]]


def test_google_benchmark_leaves_out_what_is_computed_of_repetitions() -> None:
    frame, raw = read("google_benchmark/repeated.json"), document("google_benchmark/repeated.json")
    measured = [b for b in raw["benchmarks"] if b["run_type"] == "iteration"]
    assert len(frame) == len(measured) < len(raw["benchmarks"])
    factor = {"ns": 1, "us": 1000}
    wanted = [np.nan if "error_occurred" in b else b["real_time"] * factor[b["time_unit"]] for b in measured]
    np.testing.assert_allclose(frame["real_time_ns"], wanted)
    assert frame["repeat"].tolist() == [b["repetition_index"] for b in measured]
    named = frame[frame["test_case"].str.startswith("BM_Named/size:32")].iloc[0]
    assert (named["arg_size"], named["arg_2"], named["threads"]) == ("32", "1", 2)
    failed = frame[frame["test_case"] == "BM_Fails"]
    assert set(failed["status"]) == {"error"}
    assert set(failed["reason"]) == {"no data"}
    wanted_directions = {"real_time_ns": ("ns", "lower"), "items_per_second": ("items/s", "higher")}
    assert wanted_directions.items() <= directions(frame).items()
    assert directions(frame)["Foo"][1] == "unknown"


def test_google_benchmark_of_old_versions_tells_aggregates_by_their_names(tmp_path: Path) -> None:
    raw = document("google_benchmark/repeated.json")
    for benchmark in raw["benchmarks"]:
        for key in ("run_type", "run_name", "aggregate_name", "repetition_index", "threads"):
            benchmark.pop(key, None)
    (tmp_path / "old.json").write_text(json.dumps(raw))
    assert len(import_file(str(tmp_path / "old.json"))) == len(read("google_benchmark/repeated.json"))


def test_google_benchmark_with_nothing_but_aggregates_says_what_to_do() -> None:
    with pytest.raises(aggrkit.errors.SourceError, match="without --benchmark_report_aggregates_only"):
        aggrkit.open(FOLDER / "google_benchmark/aggregates.json")


def test_go_has_an_observation_for_each_line() -> None:
    frame = read("go/benchmem.txt")
    text = (FOLDER / "go/benchmem.txt").read_text()
    lines = re.findall(r"^Benchmark(\S+)\s+(\d+)\s+([\d.]+) ns/op", text, re.MULTILINE)
    assert frame["test_case"].tolist() == [name for name, _, _ in lines]
    assert frame["ns_per_op"].tolist() == [float(value) for _, _, value in lines]
    assert frame["loops"].tolist() == [float(count) for _, count, _ in lines]
    assert frame["run_id"].nunique() == 1
    assert frame["repeat"].tolist() == [0, 1, 2] * 6
    assert Counter(frame["threads"]) == {1.0: 9, 2.0: 9}
    assert set(frame["arg_size"].dropna()) == {"100", "10000"}
    assert set(frame["suite"]) == {"example.org/sums"}
    assert set(frame["platform"]) == {"linux/amd64"}
    assert directions(frame) | {"passed": 0} == {
        "ns_per_op": ("ns/op", "lower"),
        "mb_per_s": ("mb/s", "higher"),
        "bytes_per_op": ("B/op", "lower"),
        "allocs_per_op": ("allocs/op", "lower"),
        "swaps_per_op": ("swaps/op", "unknown"),
        "passed": 0,
    }


def test_go_calls_that_were_appended_to_a_file_are_runs_of_their_own(tmp_path: Path) -> None:
    once = (FOLDER / "go/benchmem.txt").read_text()
    later = once.replace("70.84 ns/op", "70.85 ns/op")
    path = tmp_path / "runs.txt"
    path.write_text(once)
    before = import_file(str(path))
    path.write_text(once + later)
    after = import_file(str(path))
    assert after["run_id"].nunique() == 2
    assert after["result_id"].tolist()[: len(before)] == before["result_id"].tolist()
    assert after["repeat"].max() == 2
    path.write_text(once + once)  # the same output twice is one run
    assert import_file(str(path))["result_id"].nunique() == len(before)


def test_go_benchmarks_that_fail_are_there_without_values() -> None:
    frame = read("go/failing.txt")
    assert frame.loc[frame["status"] == "failed", "test_case"].tolist() == ["Broken"]
    assert frame.loc[frame["status"] == "failed", "ns_per_op"].isna().all()
    assert (frame["status"] == "passed").sum() == 4


def test_go_stream_has_the_time_of_each_result() -> None:
    frame = read("go/stream.json")
    events = [json.loads(line) for line in (FOLDER / "go/stream.json").read_text().splitlines()]
    (result,) = (event for event in events if "ns/op" in event.get("Output", ""))
    assert frame["timestamp"].tolist() == [pd.Timestamp(result["Time"]).floor("us")]


def test_hyperfine_has_an_observation_for_each_execution() -> None:
    frame, raw = read("hyperfine/params.json"), document("hyperfine/params.json")
    assert frame["time_seconds"].tolist() == [value for result in raw["results"] for value in result["times"]]
    assert frame["arg_n"].tolist() == [r["parameters"]["n"] for r in raw["results"] for _ in r["times"]]
    assert "user_time_seconds" not in frame  # means over executions are no observations
    failing = read("hyperfine/failing.json")
    assert failing.groupby("test_case")["status"].unique().map(list).to_dict() == {
        "false": ["failed"],
        "true": ["passed"],
    }
    assert set(failing.loc[failing["status"] == "failed", "return_code"]) == {1.0}


def test_hyperfine_with_one_execution_has_its_user_time_and_memory(tmp_path: Path) -> None:
    raw = {
        "results": [{"command": "ls", "mean": 0.2, "user": 0.1, "system": 0.05, "times": [0.2], "exit_codes": [None]}]
    }
    raw["results"][0]["memory_usage_byte"] = [4096]
    (tmp_path / "one.json").write_text(json.dumps(raw))
    (row,) = import_file(str(tmp_path / "one.json")).to_dict("records")
    assert (row["user_time_seconds"], row["system_time_seconds"], row["peak_memory_bytes"]) == (0.1, 0.05, 4096)
    assert row["status"] == "failed"  # what a signal ended has no exit code


@pytest.mark.parametrize("commit", ["12d404ce", "15592591"])
def test_asv_has_samples_or_else_medians(commit: str) -> None:
    name = f"asv/results/machine/{commit}-existing-py_usr_bin_python3.11.json"
    frame, raw = read(name), document(name)
    columns = raw["result_columns"]
    for benchmark, values in raw["results"].items():
        found = dict(zip(columns, values, strict=False))
        rows = frame[frame["test_case"].str.split("(").str[0] == benchmark]
        metric = "time_seconds" if ".time_" in benchmark else None
        if metric and "samples" in found:
            wanted = [sample for kept in found["samples"] for sample in (kept or [np.nan])]
            np.testing.assert_array_equal(rows[metric], wanted)
        elif metric:
            np.testing.assert_array_equal(rows[metric], [np.nan if v is None else v for v in found["result"]])
        assert set(rows["measured_at"]) == {pd.Timestamp(found["started_at"], unit="ms", tz="UTC")}
    assert set(frame["timestamp"]) == {pd.Timestamp(raw["date"], unit="ms", tz="UTC")}
    assert frame.loc[frame["test_case"].str.contains("mem_list"), "memory_bytes"].dropna().tolist() == [8056]
    grid = frame[frame["test_case"].str.contains("time_sum")].drop_duplicates("test_case")
    assert grid[["arg_n", "arg_kind", "status"]].to_numpy().tolist() == [
        ["100", "'plain'", "passed"],
        ["100", "'broken'", "failed"],
        ["2000", "'plain'", "passed"],
        ["2000", "'broken'", "skipped"],
    ]
    assert frame.loc[frame["test_case"] == "benches.track_length", "track_items"].tolist() == [42]
    assert directions(frame)["peak_memory_bytes"] == ("B", "lower")


def test_asv_keeps_the_identity_of_samples_when_others_are_appended(tmp_path: Path) -> None:
    name = "asv/results/machine/15592591-existing-py_usr_bin_python3.11.json"
    raw = document(name)
    place = raw["result_columns"].index("samples")
    plain = raw["results"]["benches.time_plain"]
    plain[place][0] = [*plain[place][0], 9.9e-6]
    plain[raw["result_columns"].index("started_at")] += 5000
    (tmp_path / "more.json").write_text(json.dumps(raw))
    before, after = set(read(name)["result_id"]), set(import_file(str(tmp_path / "more.json"))["result_id"])
    assert before < after
    assert len(after - before) == 1


def test_asv_without_its_list_of_benchmarks_numbers_the_parameters(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "asv/results/machine/12d404ce-existing-py_usr_bin_python3.11.json", tmp_path / "a.json")
    frame = import_file(str(tmp_path / "a.json"))
    assert {"arg_1", "arg_2", "time_seconds", "peak_memory_bytes", "track_value"} <= set(frame.columns)


def test_asv_of_an_old_version_says_what_to_do(tmp_path: Path) -> None:
    raw = document("asv/results/machine/12d404ce-existing-py_usr_bin_python3.11.json") | {"version": 1}
    (tmp_path / "old.json").write_text(json.dumps(raw))
    with pytest.raises(aggrkit.errors.SourceError, match=r"version 1 .* asv update"):
        import_file(str(tmp_path / "old.json"))


def test_junit_of_pytest() -> None:
    frame = read("junit/pytest.xml")
    assert Counter(frame["status"]) == {"passed": 5, "failed": 1}
    assert frame["execution_time_seconds"].tolist() == [0.002, 0.007, 0.012, 0.011, 0.001, 0.001]
    assert frame.loc[5, ["test_case", "suite", "worker", "reason"]].tolist() == [
        "test_sorting.test_fails",
        "test_sorting",
        "machine",
        "assert False",
    ]
    rates = frame.aggr.proportions(level=[])
    assert rates["rate"].tolist() == [5 / 6]


def test_junit_of_surefire_has_an_observation_for_each_try() -> None:
    frame = read("junit/surefire.xml")
    tries = frame.groupby(frame["test_case"].str.removeprefix("org.example.SumTest."), sort=False)["status"].agg(list)
    assert tries.to_dict() == {
        "breaks": ["error", "error"],
        "adds": ["passed"],
        "fails": ["failed", "failed"],
        "flaky": ["failed", "passed"],
        "later": ["skipped"],
    }
    assert frame["attempt"].tolist() == [0, 1, 0, 0, 1, 0, 1, 0]
    assert frame.loc[frame["status"] == "skipped", "execution_time_seconds"].isna().all()
    assert set(frame["platform"]) == {"Linux amd64"}
    assert "timestamp" not in frame  # surefire doesn't say when


def test_junit_of_googletest() -> None:
    frame = read("junit/gtest.xml")
    assert frame.set_index("test_case")["status"].to_dict() == {
        "Sum.Adds": "passed",
        "Sum.Fails": "failed",
        "Sum.DISABLED_Later": "skipped",
        "Sum.Skips": "skipped",
        "All/Sizes.Positive/0": "passed",
        "All/Sizes.Positive/1": "passed",
    }
    assert frame["arg_value"].dropna().tolist() == ["1", "20"]
    assert frame["elapsed"].dropna().tolist() == [3.0, 3.0]
    assert (frame["timestamp"].dt.year > 2000).all()  # not the 1970 of what was not executed


def test_junit_reads_thousands_with_commas_and_suites_within_suites(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(
        '<testsuites><testsuite name="outer" timestamp="2026-03-01T10:00:00" hostname="h">'
        '<testsuite name="inner"><testcase name="a" time="1,234.5"/><testcase name="a" time="x"/></testsuite>'
        "</testsuite></testsuites>"
    )
    frame = import_file(str(tmp_path / "a.xml"))
    assert frame["test_case"].tolist() == ["inner.a", "inner.a"]
    assert frame["attempt"].tolist() == [0, 1]
    np.testing.assert_array_equal(frame["execution_time_seconds"], [1234.5, np.nan])
    assert set(frame["worker"]) == {"h"}


def test_mlperf_training_is_one_observation_a_run() -> None:
    lines = (FOLDER / "mlperf_training/result_0.txt").read_text().splitlines()
    events = [json.loads(line.removeprefix(":::MLLOG ")) for line in lines]
    times = {event["key"]: event["time_ms"] for event in events}
    (row,) = read("mlperf_training/result_0.txt").to_dict("records")
    assert row["total_time_seconds"] == (times["run_stop"] - times["run_start"]) / 1000
    assert row["init_time_seconds"] == (times["init_stop"] - times["init_start"]) / 1000
    assert row["throughput_items_per_second"] == 1002.0
    assert (row["final_accuracy"], row["n_eval"], row["batch_size"]) == (0.74, 3, 448)
    assert (row["model"], row["hardware"], row["status"]) == ("bert", "1xExampleAccelerator", "success")
    assert row["timestamp"] == pd.Timestamp(times["run_start"], unit="ms", tz="UTC")
    assert read("mlperf_training/result_2.txt")["status"].tolist() == ["aborted"]


def test_mlperf_training_runs_in_one_file_are_told_apart(tmp_path: Path) -> None:
    texts = [(FOLDER / f"mlperf_training/result_{k}.txt").read_text() for k in range(2)]
    noise = "loading data ...\n"
    (tmp_path / "both.txt").write_text(noise + texts[0] + noise + texts[1])
    both = import_file(str(tmp_path / "both.txt"))
    alone = [read(f"mlperf_training/result_{k}.txt") for k in range(2)]
    assert both["result_id"].tolist() == [frame.at[0, "result_id"] for frame in alone]
    assert both["total_time_seconds"].tolist() == [frame.at[0, "total_time_seconds"] for frame in alone]


def test_mlperf_training_without_a_stop_has_no_time_and_an_unknown_status(tmp_path: Path) -> None:
    lines = (FOLDER / "mlperf_training/result_0.txt").read_text().splitlines()
    (tmp_path / "a.txt").write_text("\n".join(lines[:-1]) + "\n")
    frame = import_file(str(tmp_path / "a.txt"))
    assert frame["status"].tolist() == ["unknown"]
    assert "total_time_seconds" not in frame


@pytest.mark.parametrize(("scenario", "rate"), [("Offline", 248908), ("SingleStream", 168790), ("Server", 97.4929)])
def test_mlperf_inference_says_the_same_in_both_files(scenario: str, rate: float) -> None:
    folder = f"mlperf_inference/example_system/resnet50/{scenario}/performance/run_1"
    detail, summary = (read(f"{folder}/mlperf_log_{name}.txt") for name in ("detail", "summary"))
    text = (FOLDER / folder / "mlperf_log_summary.txt").read_text()
    assert detail["result_id"].tolist() == summary["result_id"].tolist()
    assert detail.at[0, "throughput_items_per_second"] == rate
    assert summary.at[0, "throughput_items_per_second"] == pytest.approx(rate, rel=1e-4)
    for label, column in (("Mean", "average_latency_ms"), ("99.90 percentile", "latency_p99_9_ms")):
        (value,) = re.findall(rf"^{label} latency \(ns\)\s*: (\d+)", text, re.MULTILINE)
        assert detail.at[0, column] == summary.at[0, column] == int(value) / 1e6
    for frame in (detail, summary):
        assert frame.loc[0, ["model", "worker", "scenario", "status"]].tolist() == [
            "resnet50",
            "example_system",
            scenario,
            "failed",
        ]
        assert frame.at[0, "task_type"] == f"inference-{scenario.lower()}"
        assert frame.at[0, "timestamp"].date().isoformat() == "2026-11-28"


def test_mlperf_inference_of_language_models_has_token_metrics(tmp_path: Path) -> None:
    text = (
        FOLDER / "mlperf_inference/example_system/resnet50/Offline/performance/run_1/mlperf_log_summary.txt"
    ).read_text()
    tokens = (
        "Tokens per second: 1234.5\n"
        "99.00 percentile first token latency (ns) : 2000000\n"
        "99.00 percentile time to output token (ns) : 3000000\n"
    )
    (tmp_path / "mlperf_log_summary.txt").write_text(text.replace("Max latency", tokens + "Max latency", 1))
    frame = import_file(str(tmp_path / "mlperf_log_summary.txt"))
    assert frame.loc[0, ["tokens_per_second", "ttft_p99_ms", "tpot_p99_ms"]].tolist() == [1234.5, 2.0, 3.0]
    assert directions(frame)["ttft_p99_ms"] == ("ms", "lower")
    assert directions(frame)["tokens_per_second"] == ("tokens/s", "higher")
    assert frame.at[0, "model"] == "PySUT"  # nothing else names it


def test_a_mean_of_means_is_what_a_run_is_compared_by() -> None:
    frame = read("pytest_benchmark/rounds.json")
    test = frame["test_case"].iloc[0]
    values = document("pytest_benchmark/rounds.json")["benchmarks"][0]["stats"]["data"]
    stats = frame.aggr.stats(level="model", metrics="time_seconds")
    assert stats.set_index("model").at[test, "mean"] == pytest.approx(fmean(values))
