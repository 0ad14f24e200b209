"""The server with real sockets on loopback."""

from __future__ import annotations

import asyncio
import json

import pytest
import websockets

import aggrkit
from aggrkit.coordinator import Client, Keys, Server

KEYS = {"reader": {"key": "reader-key", "role": "read"}, "ci": {"key": "submit-key", "role": "submit"}}


async def get_aggregated_results(coordinator_url, api_key, result_type, aggregation_level, use_detailed=False):
    """The client of the seed's documentation, line by line."""
    async with websockets.connect(coordinator_url) as websocket:
        await websocket.send(json.dumps({"type": "auth_response", "api_key": api_key}))
        auth_result = json.loads(await websocket.recv())
        if not auth_result.get("success"):
            raise Exception("Authentication failed")
        await websocket.send(
            json.dumps(
                {
                    "type": "get_aggregated_results",
                    "result_type": result_type,
                    "aggregation_level": aggregation_level,
                    "use_detailed": use_detailed,
                }
            )
        )
        result = json.loads(await websocket.recv())
        return result["results"]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "results.duckdb"
    frame = aggrkit.datasets.load("mlperf_training")
    with aggrkit.BenchmarkDBManager(path) as store:
        store.ingest(frame[frame["model"].isin(["bert", "resnet"])], "performance")
        with Server(store, port=0, keys=Keys.of(KEYS)).running() as server:
            yield server


def test_the_documented_client_gets_both_kinds_of_answer(served):
    answer = asyncio.run(get_aggregated_results(served.url, "reader-key", "performance", "model"))
    expected = served.service.aggregate_results("performance", "model")
    assert answer["results"] == expected["results"]
    assert answer["metadata"]["aggregator"] == "high_level"
    detailed = asyncio.run(get_aggregated_results(served.url, "reader-key", "performance", "model", use_detailed=True))
    results = detailed["results"]
    assert set(results) == {
        "dimension_analysis",
        "overall_status",
        "regressions",
        "anomalies",
        "visualizations",
        "metadata",
    }
    assert results["metadata"]["aggregator"] == "detailed"
    frame = aggrkit.datasets.load("mlperf_training").query("model == 'bert'")
    said = results["dimension_analysis"]["model"]["bert"]["total_time_seconds_median"]
    assert said == pytest.approx(frame["total_time_seconds"].median())


def test_submit_and_ask(tmp_path):
    with aggrkit.BenchmarkDBManager(tmp_path / "r.duckdb") as store, Server(store, port=0).running() as server:
        with Client(server.url) as client:
            for value in (9.0, 11.0):
                client.submit([{"model": "bert", "latency_ms": value}], "performance")
            answer = client.aggregated_results("performance", "model")
            assert answer["results"]["basic_statistics"]["bert"]["average_latency_ms"]["mean"] == 10.0
