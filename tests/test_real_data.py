"""Every real set opens, is recognised, and answers every question; a table shows what came in and out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pandas as pd
import pytest

import aggrkit

if TYPE_CHECKING:
    from pathlib import Path

# file, what the user says of its columns, and which sides are compared
SETS = [
    ("mlperf_training/results.csv", {}, {"baseline": "v3.0", "current": "v3.1", "by": "round"}),
    ("mlperf_inference/results.csv", {}, {"baseline": "closed", "current": "open", "by": "division"}),
    ("dbbench/performance.parquet", {}, {"baseline": (None, "2020-12-31"), "current": ("2021-01-01", None)}),
    ("dbbench/integration.csv", {}, {"baseline": (None, "2020-01-01"), "current": ("2020-01-02", None)}),
    ("timm_bench/results.parquet", {}, {"baseline": "2.1.0", "current": "2.4.0", "by": "pytorch"}),
    ("gpu_cnn_iter/results.parquet", {}, {"baseline": "fp32", "current": "fp16", "by": "precision"}),
    ("liger_kernel/results.csv", {}, {"baseline": "huggingface", "current": "liger", "by": "provider"}),
    ("sap_hana_cpd/raw_repeats.parquet", {"metrics": {"value": "lower"}}, {"baseline": pd.Timedelta(days=30)}),
    ("onnx_scoreboard/daily.csv", {}, {"baseline": "stable", "current": "development", "by": "channel"}),
    ("onnx_scoreboard/monthly_tests.parquet", {}, {"baseline": "stable", "current": "development", "by": "worker"}),
    ("torch_xpu_compat/results.csv", {}, {"baseline": "bfloat16", "current": "float16", "by": "precision"}),
    ("ci_tests/results.csv", {}, {"baseline": (None, "2014-12-31"), "current": ("2015-01-01", None)}),
    ("flakeflagger/results.csv", {}, {"baseline": 0, "current": 1, "by": "label_flaky"}),
    ("jsfw_bench/run_medians.parquet", {}, {"baseline": 140, "current": 141, "by": "browser_version"}),
    ("jsfw_bench/samples.parquet", {}, {"baseline": "chrome140", "current": "chrome141", "by": "run_id"}),
    ("web_conformance/wpt_bsf_daily.csv", {}, {"baseline": "stable", "current": "experimental", "by": "worker"}),
    ("nab/series.parquet", {"model": "file", "metrics": ["value"]}, {"baseline": pd.Timedelta(days=7)}),
]
LINES: list[dict[str, object]] = []


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("file", "roles", "sides"), SETS, ids=[file for file, _, _ in SETS])
def test_every_question_is_answered(
    data_folder: Path, file: str, roles: dict[str, object], sides: dict[str, object]
) -> None:
    results = aggrkit.open(data_folder / file, **roles)
    questions = {
        "stats": results.stats,
        "anomalies": results.anomalies,
        "compare": lambda: results.compare(**sides),
        "correlations": results.correlations,
    }
    answers, line = {}, {"set": file}
    for name, ask in questions.items():
        start = time.perf_counter()
        answers[name] = ask()
        line[name] = f"{time.perf_counter() - start:.1f} s"
    meta = answers["stats"].meta
    out = {**meta["rows_out"], **{f"{reason} (values)": count for reason, count in meta["cells_out"].items()}}
    LINES.append({**line, "rows in": meta["rows"], "out": "; ".join(f"{n} {why}" for why, n in out.items()) or "none"})
    rows = pd.read_parquet(data_folder / file) if file.endswith("parquet") else pd.read_csv(data_folder / file)
    assert meta["rows"] == len(rows)
    assert meta["rows_used"] == len(rows) - sum(meta["rows_out"].values())
    assert answers["stats"]["n"].sum() > 0
    assert answers["compare"]["verdict"].notna().all()
    assert all(answer.explain() for answer in answers.values())


@pytest.mark.data
@pytest.mark.slow
def test_table_of_all_sets(capsys: pytest.CaptureFixture[str]) -> None:
    if not LINES:
        pytest.skip("the table is printed after the tests of the sets, which were not selected")
    with capsys.disabled():
        print("\n" + pd.DataFrame(LINES).to_string(index=False))
    assert len({line["set"] for line in LINES}) == len(LINES)


@pytest.mark.data
def test_halves_of_identical_runs_do_not_alarm(data_folder: Path) -> None:
    """Iterations of one run, split at random: whatever is flagged is false, and hardly anything may be."""
    frame = pd.read_parquet(data_folder / "gpu_cnn_iter/results.parquet")
    half = pd.Series(range(len(frame))).sample(frac=1.0, random_state=11).to_numpy() % 2
    found = frame.assign(half=half).aggr.compare(0, 1, by="half", metrics="average_latency_ms")
    assert len(found) > 100
    assert found["verdict"].isin(["regressed", "improved", "changed"]).mean() <= 0.05
