"""Runs of tests on a Dask cluster: as on this machine, with its own workers, whatever becomes of them."""

from __future__ import annotations

import subprocess
import sys

import distributed
import pytest

from aggrkit import BenchmarkDBManager
from aggrkit.coordinator import TestCoordinator
from aggrkit.coordinator.dask_crew import DaskCrew
from aggrkit.errors import AggrError, SourceError
from tests.coordinator.measured import failing, killed_once, latency

pytestmark = pytest.mark.slow  # a cluster takes seconds to start, and so does each worker that is lost


@pytest.fixture(scope="module")
def client():
    cluster = distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        resources={"cuda": 1},
        memory_limit="1GB",
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def coordinator(tmp_path):
    with BenchmarkDBManager(tmp_path / "r.duckdb") as store:
        yield TestCoordinator(db_manager=store)


def stored(coordinator):
    return coordinator.db_manager.get_performance_results(filter_params={"run_id": coordinator.current_run_id})


def measured(coordinator):
    """Return the aggregates of what the tests measured; how long they took differs from run to run."""
    results = coordinator.process_results()["results"]
    return {
        (part, group, metric, name): value
        for part in ("basic_statistics", "percentiles")
        for group, metrics in results[part].items()
        for metric, found in metrics.items()
        if "latency" in metric or "memory" in metric
        for name, value in found.items()
    }


def test_the_same_run_on_dask_and_on_processes_gives_the_same_aggregates(client, coordinator):
    grid = {"model": ["bert", "vit"], "hardware": ["cuda"], "batch_size": [1, 4, 8]}
    config = {"tests": latency, "grid": grid, "repeats": 3}
    found = []
    for where in ({"executor": client}, {"executor": "processes", "workers": 2}):
        report = coordinator.run_distributed_tests({**config, **where})
        assert (report.counts["done"], report.counts["failed"], report.events) == (18, 0, ())
        assert len({r["worker_id"] for r in stored(coordinator)}) == 2
        assert all(r["python"] and r["hostname"] for r in stored(coordinator))
        found.append(measured(coordinator))
    assert found[0] == pytest.approx(found[1], rel=1e-12)  # sums depend on the order in which results came
    assert {group for _, group, _, _ in found[0]} == {"bert:cuda", "vit:cuda"}
    assert found[0]["basic_statistics", "bert:cuda", "average_latency_ms", "mean"] == pytest.approx(9 * 13 / 3)


def test_a_killed_worker_of_a_cluster_is_made_good(client, coordinator, tmp_path):
    config = {"tests": killed_once, "grid": {"model": ["bert", "vit"], "mark": str(tmp_path / "mark")}, "repeats": 3}
    report = coordinator.run_distributed_tests({**config, "executor": client, "retries": 0})
    assert report.counts["done"] == 6
    assert len(stored(coordinator)) == 6
    assert "will be run again" in report.explain()


def test_functions_that_raise_and_commands_do_as_elsewhere(client, coordinator):
    tests = {"failing": failing, "command": [sys.executable, "-c", "print('{\"latency_ms\": 7}')"]}
    report = coordinator.run_distributed_tests(
        {"tests": tests, "grid": {"model": "vit", "mark": ""}, "executor": client}
    )
    assert (report.counts["done"], report.counts["failed"]) == (1, 1)
    found = {r["test_case"]: r for r in stored(coordinator)}
    assert found["failing"]["error"] == "ValueError: no such\nlayer"
    assert found["command"]["average_latency_ms"] == 7


def test_hardware_is_what_the_resources_of_workers_name(client, coordinator, monkeypatch):
    monkeypatch.setattr("aggrkit.coordinator.dispatch._PATIENCE_SECONDS", 0.1)
    grid = {"model": "bert", "batch_size": 1, "hardware": ["cuda", "tpu"]}
    report = coordinator.run_distributed_tests({"tests": latency, "grid": grid, "executor": client})
    assert (report.counts["done"], report.counts["cancelled"]) == (1, 1)
    assert any("nobody who could run them was there" in words for words in report.events)
    assert [r["hardware_id"] for r in stored(coordinator)] == ["cuda"]


def test_an_address_will_do(client, coordinator):
    address = client.scheduler.address
    grid = {"model": "bert", "batch_size": [1, 2]}
    report = coordinator.run_distributed_tests({"tests": latency, "grid": grid, "executor": address})
    assert report.counts["done"] == 2
    assert client.status == "running"


def test_an_address_where_nobody_answers(monkeypatch):
    monkeypatch.setattr("aggrkit.coordinator.dask_crew._CONNECT_SECONDS", 0.5)
    with pytest.raises(SourceError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:1'"):
        DaskCrew("tcp://127.0.0.1:1")


def test_without_distributed_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(AggrError, match=r"pip install 'aggrkit\[dask\]'"):
        DaskCrew("tcp://127.0.0.1:8786")


def test_dask_is_imported_only_where_it_is_used():
    program = "import sys; from aggrkit.coordinator import TestCoordinator; print('distributed' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
