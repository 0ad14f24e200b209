"""Programs that users have, word for word but for what they import, on a store and on a manager of their own."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit import BenchmarkDBManager, ResultAggregatorService
from aggrkit.errors import UnknownNameError
from aggrkit.wire import answer_schema
from tests.service.results import Records, anomalies_of, manager_of

if TYPE_CHECKING:
    from collections.abc import Iterator

VALIDATOR = jsonschema.Draft202012Validator(answer_schema())
README = Path(__file__).parents[2] / "README.md"
PARTS = {"basic_statistics", "percentiles", "distributions", "anomalies", "comparisons"}

START = """
from aggrkit import (
    ResultAggregatorService,
    RESULT_TYPE_PERFORMANCE,
    AGGREGATION_LEVEL_MODEL,
    AGGREGATION_LEVEL_MODEL_HARDWARE,
)

# Create aggregator with database manager
aggregator = ResultAggregatorService(db_manager=db_manager)
"""

BASIC = """
# Aggregate results by model
results = aggregator.aggregate_results(
    result_type=RESULT_TYPE_PERFORMANCE,
    aggregation_level=AGGREGATION_LEVEL_MODEL
)

# Detect anomalies
anomalies = aggregator.get_result_anomalies(
    result_type=RESULT_TYPE_PERFORMANCE,
    aggregation_level=AGGREGATION_LEVEL_MODEL_HARDWARE
)

# Export results as JSON
json_output = aggregator.export_results(
    result_type=RESULT_TYPE_PERFORMANCE,
    aggregation_level=AGGREGATION_LEVEL_MODEL,
    format="json"
)
"""

BY_FILTER = """
# Filter by specific model and hardware
results = aggregator.aggregate_results(
    result_type=RESULT_TYPE_PERFORMANCE,
    aggregation_level=AGGREGATION_LEVEL_MODEL_HARDWARE,
    filter_params={
        "model_id": "bert-base-uncased",
        "hardware_id": "nvidia_a100",
        "batch_size": 4,
        "precision": "fp16"
    }
)
"""

BY_TIME = """
# Filter by time range (last 7 days)
from datetime import datetime, timedelta
end_time = datetime.now()
start_time = end_time - timedelta(days=7)
time_range = (start_time, end_time)

results = aggregator.aggregate_results(
    result_type=RESULT_TYPE_PERFORMANCE,
    aggregation_level=AGGREGATION_LEVEL_MODEL,
    time_range=time_range
)
"""

ADVANCED = """
# Get comparison report between current and historical results
comparison_report = aggregator.get_comparison_report(
    result_type=RESULT_TYPE_PERFORMANCE,
    aggregation_level=AGGREGATION_LEVEL_MODEL
)

# Analyze correlations between latency and throughput
correlation_results = aggregator.analyze_correlations(
    result_type=RESULT_TYPE_PERFORMANCE,
    metrics=["average_latency_ms", "throughput_items_per_second", "memory_peak_mb"]
)
"""

CONFIGURED = """
aggregator.configure({
    "cache_ttl_seconds": 300,       # Cache time-to-live
    "anomaly_threshold": 2.5,       # Z-score threshold for anomalies
    "min_data_points": 5,           # Minimum data points for analysis
    "model_family_grouping": False, # Whether to group by model family
    "normalize_metrics": True,      # Whether to normalize metrics
    "comparative_lookback_days": 7, # Days to look back for comparison
    "workers_historical_limit": 10, # Maximum workers to include in historical analysis
    "deduplication_enabled": True   # Whether to deduplicate similar results
})
"""

CUSTOM = """
# Add a custom preprocessor
def custom_preprocessor(results, context):
    \"\"\"Custom data preprocessing logic.\"\"\"
    # Filter results based on custom criteria
    filtered_results = [r for r in results if r.get("custom_field") == "value"]

    # Add context metadata
    context["metadata"]["custom_filter_count"] = len(results) - len(filtered_results)

    return filtered_results

aggregator.register_preprocessor(custom_preprocessor)

# Add a custom aggregator
def custom_aggregator(results, context):
    \"\"\"Custom aggregation logic.\"\"\"
    # Compute custom metric
    custom_metric = {}
    for group_key, group_results in context["grouped_results"].items():
        metric_values = [r.get("custom_metric", 0) for r in group_results]
        if metric_values:
            custom_metric[group_key] = sum(metric_values) / len(metric_values)

    return {"custom_metrics": custom_metric}

aggregator.register_aggregator(custom_aggregator)

# Add a custom postprocessor
def custom_postprocessor(aggregated_results, context):
    \"\"\"Custom postprocessing logic.\"\"\"
    # Add custom analysis results
    custom_analysis = {
        "analysis_timestamp": datetime.now().isoformat(),
        "analysis_type": "custom",
        "summary": "Custom analysis of aggregated results"
    }

    aggregated_results["results"]["custom_analysis"] = custom_analysis

aggregator.register_postprocessor(custom_postprocessor)
"""

DETAILED = """
from aggrkit import ResultAggregator

# Create aggregator with database manager
aggregator = ResultAggregator(db_manager=db_manager)

# Configure aggregator
aggregator.configure({
    "visualization_enabled": True,
    "history_days": 30,
    "significance_level": 0.05
})

# Start the aggregator
aggregator.start()

# Get dimension analysis
dimension_analysis = aggregator.get_dimension_analysis("model")

# Get regressions
regressions = aggregator.get_regressions()

# Get anomalies
anomalies = aggregator.get_anomalies()

# Get visualizations
visualizations = aggregator.get_visualizations("hardware")

# Stop the aggregator
aggregator.stop()
"""

FASTER, SLOWER = "bert-base-uncased", "t5-small"
ODD = 5 * 100.0  # milliseconds, about


def own_results() -> Records:
    """Make 240 results of the latest 20 days: one model got 10 % faster last week, one 12 % slower; one run is odd."""
    rng = np.random.default_rng(7)
    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=20)
    found: Records = []
    for k in range(120):
        moment = start + dt.timedelta(hours=4 * k, minutes=1)
        lately = moment > start + dt.timedelta(days=13, hours=1)
        for model, factor in ((FASTER, 0.9), (SLOWER, 1.12)):
            latency = 100.0 * (factor if lately else 1.0) * rng.lognormal(0, 0.02)
            found.append(
                {
                    "run_id": f"run-{k}",
                    "timestamp": moment,
                    "model_id": model,
                    "hardware_id": "nvidia_a100",
                    "task_type": "inference",
                    "worker_id": f"w{k % 3}",
                    "batch_size": 4,
                    "precision": "fp16" if k % 2 else "fp32",
                    "average_latency_ms": latency,
                    "throughput_items_per_second": 4000.0 / latency,
                    "memory_peak_mb": 2000.0 * rng.lognormal(0, 0.05),
                    "custom_field": "value" if k % 4 else "other",
                    "custom_metric": float(k),
                }
            )
    found[3]["average_latency_ms"] = ODD
    return found


Source = tuple[Any, pd.DataFrame]


@pytest.fixture(
    scope="module", params=["shipped", pytest.param("file", marks=[pytest.mark.data, pytest.mark.slow]), "mock"]
)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """Give a manager, and the performance results that it holds."""
    mine = pd.DataFrame(own_results())
    if request.param == "mock":
        yield mock_of(own_results()), mine
        return
    if request.param == "shipped":
        runs = aggrkit.datasets.load("mlperf_training")
    else:
        runs = pd.read_csv(request.getfixturevalue("data_folder") / "mlperf_training/results.csv")
    with BenchmarkDBManager(tmp_path_factory.mktemp("store") / "results.duckdb") as store:
        assert store.ingest(runs, "performance").rows_new == len(runs)
        assert store.ingest(mine, "performance").rows_new == len(mine)
        yield store, pd.concat([runs.rename(columns={"model": "model_id", "hardware": "hardware_id"}), mine])


def mock_of(rows: Records) -> Any:
    """Return a manager that knows how to fetch, and has every other attribute without a meaning."""

    def fetch(aggregation_level: Any, filter_params: Any, time_range: Any) -> Records:
        if time_range is None:
            return list(rows)
        start, end = (pd.Timestamp(moment) for moment in time_range)
        start, end = (m.tz_localize("UTC") if m.tzinfo is None else m for m in (start, end))
        return [row for row in rows if start <= row["timestamp"] <= end]

    return manager_of(rows, get_performance_results=fetch)


def valid(answer: dict[str, Any]) -> dict[str, Any]:
    VALIDATOR.validate(answer)
    json.dumps(answer, allow_nan=False)
    return answer


def result_counts(answer: dict[str, Any]) -> dict[str, int]:
    return {key: group["result_count"] for key, group in answer["results"]["basic_statistics"].items()}


def program(manager: Any, *parts: str) -> dict[str, Any]:
    """Run a user's program; returns its names."""
    names: dict[str, Any] = {"db_manager": manager}
    for part in parts:
        exec(part, names)
    return names


@pytest.mark.slow
def test_basic_usage(source: Source) -> None:
    manager, rows = source
    names = program(manager, START, BASIC)
    answer = valid(names["results"])
    assert set(answer["results"]) == PARTS
    assert result_counts(answer) == rows["model_id"].value_counts().to_dict()
    assert answer["raw_result_count"] == len(rows)
    metrics = {"average_latency_ms", "throughput_items_per_second", "total_time_seconds", "memory_peak_mb"}
    for model, group in rows.groupby("model_id"):
        for metric in metrics & set(rows.columns):
            values = group[metric].dropna()
            if len(values):
                found = answer["results"]["basic_statistics"][model][metric]
                wanted = [len(values), values.mean(), values.median(), values.min(), values.max()]
                assert [found[k] for k in ("count", "mean", "median", "min", "max")] == pytest.approx(wanted)
                points = answer["results"]["percentiles"][model][metric]
                assert list(points.values()) == pytest.approx(
                    np.quantile(values, [0.5, 0.75, 0.9, 0.95, 0.99]).tolist()
                )

    json.dumps(names["anomalies"], allow_nan=False)
    odd = names["anomalies"]["anomalies"][f"{SLOWER}:nvidia_a100"]["average_latency_ms"]["anomalies"]
    assert [(one["value"], one["sense"]) for one in odd] == [(ODD, "bad")]
    assert len(anomalies_of(names["anomalies"])) == names["anomalies"]["anomaly_count"]
    assert " in " in names["anomalies"]["explanation"].split("anomal")[1]
    assert names["anomalies"]["explanation"].startswith(str(names["anomalies"]["anomaly_count"]))

    exported = valid(json.loads(names["json_output"]))
    assert exported["results"] == answer["results"]


def test_filtering(source: Source) -> None:
    manager, rows = source
    names = program(manager, START, BY_FILTER)
    answer = valid(names["results"])
    chosen = rows[(rows["model_id"] == FASTER) & (rows["batch_size"] == 4) & (rows["precision"] == "fp16")]
    assert result_counts(answer) == {f"{FASTER}:nvidia_a100": len(chosen)} == {f"{FASTER}:nvidia_a100": 60}
    found = answer["results"]["basic_statistics"][f"{FASTER}:nvidia_a100"]["average_latency_ms"]
    assert found["mean"] == pytest.approx(chosen["average_latency_ms"].mean())
    assert answer["context"]["filter_params"]["precision"] == "fp16"


def test_time_range(source: Source) -> None:
    manager, rows = source
    names = program(manager, START, BY_TIME)
    answer = valid(names["results"])
    start, end = (pd.Timestamp(moment, tz="UTC") for moment in names["time_range"])  # without a zone it is UTC
    times = pd.to_datetime(rows["timestamp"], utc=True, format="ISO8601")
    chosen = rows[times.between(start, end)]
    assert result_counts(answer) == chosen["model_id"].value_counts().to_dict()
    assert set(result_counts(answer)) == {FASTER, SLOWER}
    first, last = (pd.Timestamp(text) for text in answer["context"]["time_range"])
    assert (first, last) == (start, end)


def test_advanced_analysis(source: Source) -> None:
    manager, rows = source
    names = program(manager, START, ADVANCED)
    report, found = names["comparison_report"], names["correlation_results"]
    json.dumps(report, allow_nan=False)
    verdicts = {model: report["comparisons"][model]["average_latency_ms"]["verdict"] for model in (FASTER, SLOWER)}
    assert verdicts == {FASTER: "improved", SLOWER: "regressed"}
    faster = report["comparisons"][FASTER]["average_latency_ms"]
    assert faster["is_improvement"]
    assert faster["significance"]
    assert faster["change_pct"] == pytest.approx(-10, abs=2)
    lines = [entry for metrics in report["comparisons"].values() for entry in metrics.values()]
    assert sum(report["summary"].values()) == len(lines)
    VALIDATOR.evolve(
        schema={**answer_schema(), **answer_schema()["properties"]["results"]["properties"]["comparisons"]}
    )

    json.dumps(found, allow_nan=False)
    assert {(one["metric1"], one["metric2"]) for one in found["correlations"]} == {
        ("average_latency_ms", "throughput_items_per_second"),
        ("average_latency_ms", "memory_peak_mb"),
        ("throughput_items_per_second", "memory_peak_mb"),
    }
    names_of_pairs = ["average_latency_ms", "throughput_items_per_second", "memory_peak_mb"]
    pairs = rows[names_of_pairs].dropna(subset=names_of_pairs[:1])
    for one in found["correlations"]:
        wanted = pairs[one["metric1"]].corr(pairs[one["metric2"]], method=one["method"])
        assert one["n"] == len(pairs)
        assert one["correlation"] == pytest.approx(wanted, abs=1e-9)


def test_configuration(source: Source) -> None:
    manager, rows = source
    names = program(manager, START, CONFIGURED)
    config = names["aggregator"].config
    assert (config["anomaly_threshold"], config["anomaly_method"]) == (2.5, "zscore")
    answer = valid(names["aggregator"].aggregate_results("performance", "model"))
    assert result_counts(answer) == rows["model_id"].value_counts().to_dict()
    assert (
        answer["metadata"]["anomaly_detection"] | {"method": "zscore", "threshold": 2.5}
        == (answer["metadata"]["anomaly_detection"])
    )
    found = anomalies_of(answer)
    assert ODD in [one["value"] for one in found]
    assert all(abs(one["z_score"]) >= 2.5 for one in found)


def test_custom_pipeline_components(source: Source) -> None:
    manager, rows = source
    names = program(manager, START, BY_TIME, CONFIGURED, CUSTOM)
    service = names["aggregator"]
    assert [service.preprocessing_pipeline[-1], service.aggregation_pipeline[-1]] == [
        names["custom_preprocessor"],
        names["custom_aggregator"],
    ]
    answer = valid(service.aggregate_results("performance", "model"))
    chosen = rows[rows["custom_field"] == "value"]
    assert result_counts(answer) == chosen["model_id"].value_counts().to_dict()
    assert answer["results"]["custom_metrics"] == pytest.approx(
        chosen.groupby("model_id")["custom_metric"].mean().to_dict()
    )
    assert answer["results"]["custom_analysis"]["analysis_type"] == "custom"
    assert answer["metadata"]["custom_filter_count"] == len(rows) - len(chosen)
    assert set(answer["results"]) == PARTS | {"custom_metrics", "custom_analysis"}


def test_custom_preprocessor_that_lets_nothing_pass() -> None:
    rows = [{**row, "custom_field": "other"} for row in own_results()]
    names = program(mock_of(rows), START, BY_TIME, CUSTOM)
    answer = valid(names["aggregator"].aggregate_results("performance", "model"))
    assert result_counts(answer) == {}
    assert answer["metadata"]["custom_filter_count"] == len(rows)
    assert answer["metadata"]["notes"]


def test_anomalies_of_results_with_and_without_ids_have_ids() -> None:
    rows = [{key: value for key, value in row.items() if key != "custom_field"} for row in own_results()]
    with BenchmarkDBManager(":memory:") as store:
        store.ingest(rows, "performance")
        store.ingest([{"id": "1", "model_id": "other", "average_latency_ms": 1.0}], "performance")
        valid(ResultAggregatorService(store).aggregate_results("performance", "model"))


def test_correlations_of_metrics_that_the_results_lack_say_which_there_are(tmp_path: Path) -> None:
    with BenchmarkDBManager(tmp_path / "results.duckdb") as store:
        store.ingest(aggrkit.datasets.load("mlperf_training"), "performance")
        with pytest.raises(UnknownNameError, match=r"unknown metric 'average_latency_ms'.*'total_time_seconds'"):
            program(store, START, ADVANCED)


@pytest.mark.slow
def test_detailed_usage(source: Source) -> None:
    manager, rows = source
    names = program(manager, DETAILED)
    for name in ("dimension_analysis", "regressions", "anomalies", "visualizations"):
        json.dumps(names[name], allow_nan=False)
    times = pd.to_datetime(rows["timestamp"], utc=True, format="ISO8601")
    lately = rows[times >= times.max() - pd.Timedelta(days=30)]
    found = names["dimension_analysis"]
    assert {model: entry["count"] for model, entry in found.items()} == lately["model_id"].value_counts().to_dict()
    for model, group in lately.groupby("model_id"):
        assert found[model]["average_latency_ms_mean"] == pytest.approx(group["average_latency_ms"].mean())
        assert found[model]["average_latency_ms_stdev"] == pytest.approx(group["average_latency_ms"].std())
    regressed = {(line["model"], line["metric"]) for line in names["regressions"]}
    assert (SLOWER, "average_latency_ms") in regressed
    assert FASTER not in {model for model, _ in regressed}
    assert ODD in [line["value"] for line in names["anomalies"]]
    assert {"average_latency_ms", "anomalies", "comparison"} <= set(names["visualizations"])
    assert all("$schema" in chart for chart in names["visualizations"].values())
    assert not names["aggregator"].update_thread.is_alive()


@pytest.mark.slow
def test_all_programs_run_one_after_the_other() -> None:
    names = program(mock_of(own_results()), START, BASIC, BY_FILTER, BY_TIME, ADVANCED, CONFIGURED, CUSTOM, DETAILED)
    assert isinstance(names["aggregator"], aggrkit.ResultAggregator)
    assert ResultAggregatorService is names["ResultAggregatorService"]


@pytest.mark.slow
def test_the_program_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"^```py\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (code,) = (program for program in programs if "BenchmarkDBManager(" in program)
    names: dict[str, Any] = {}
    exec(code, names)
    valid(names["answer"])
    assert names["answer"]["raw_result_count"] == 2208
    assert (tmp_path / "report.html").stat().st_size > 10_000
    names["store"].close()
