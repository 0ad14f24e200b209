"""Results for the tests of the layers, and managers that hold them."""

from __future__ import annotations

import datetime as dt
from typing import Any
from unittest.mock import MagicMock

import numpy as np

Records = list[dict[str, Any]]

NOW = dt.datetime(2026, 3, 8)
BEFORE = dt.datetime(2026, 3, 4)


def latencies(
    number: int,
    *,
    seed: int = 1,
    start: dt.datetime = NOW,
    models: int = 20,
    noise: float = 0.02,
    slower: dict[int, float] | None = None,
) -> Records:
    """Make performance results of `models` models on three devices, a minute apart; some models slower by a factor."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(number):
        model = k % models
        latency = 10.0 * (slower or {}).get(model, 1.0) * rng.lognormal(0, noise)
        found.append(
            {
                "id": k,
                "timestamp": start + dt.timedelta(minutes=k),
                "model_id": f"m{model:02d}",
                "hardware_id": f"h{(k // models) % 3}",
                "batch_size": 8,
                "average_latency_ms": float(latency),
                "throughput_items_per_second": float(rng.lognormal(4, noise)),
            }
        )
    return found


def manager_of(current: Any, history: Any = (), **others: Any) -> MagicMock:
    """Return a manager on which every attribute exists, with results now and, where a time is asked for, before."""

    def fetch(aggregation_level: Any = None, filter_params: Any = None, time_range: Any = None) -> Any:
        return list(history if time_range else current)

    manager = MagicMock()
    for name in (
        "get_performance_results",
        "get_compatibility_results",
        "get_integration_test_results",
        "get_web_platform_results",
    ):
        getattr(manager, name).side_effect = fetch
    manager.get_test_results.side_effect = lambda **asked: list(current)
    manager.get_model_info.side_effect = lambda name: {"name": f"Model {name}", "family": "transformer"}
    manager.get_hardware_info.side_effect = lambda name: None
    for name, function in others.items():
        getattr(manager, name).side_effect = function
    return manager


def anomalies_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all anomalies of an answer."""
    groups = answer["results"]["anomalies"] if "results" in answer else answer["anomalies"]
    return [found for metrics in groups.values() for entry in metrics.values() for found in entry["anomalies"]]
