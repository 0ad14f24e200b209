"""Results with what reports are about planted in them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

__all__ = ["REAL", "SIDES", "results"]

SIDES: Final = {"by": "build", "baseline": "a", "current": "b"}

REAL: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "performance": (
        "mlperf_training/results.csv",
        {"where": {"model": ["bert", "resnet"], "round": ["v3.0", "v3.1"]}, "metrics": ["total_time_seconds"]},
    ),
    "compatibility": ("torch_xpu_compat/results.csv", {"level": "model", "where": {"suite": "timm_models"}}),
    "integration": ("ci_tests/results.csv", {}),
    "web_platform": (
        "jsfw_bench/run_medians.parquet",
        {"where": {"framework": ["vue-keyed", "solid-keyed"]}, "level": ["framework", "hardware"]},
    ),
    "health": (
        "gpu_cnn_iter/results.parquet",
        {"metrics": "average_latency_ms", "where": {"model": ["resnet18", "resnet50", "vgg16"]}},
    ),
    "regression": (
        "mlperf_training/results.csv",
        {"by": "round", "baseline": "v3.0", "current": "v3.1", "metrics": "total_time_seconds"},
    ),
}
"""For each template a file of the large result sets, and what is asked of it."""


def results(rows: int = 240) -> pd.DataFrame:
    """Return results of every type, of two builds on three machines; bert is 10 % slower in the second one."""
    rng = np.random.default_rng(20260301)
    place = np.arange(rows)
    build = np.where(place < rows // 2, "a", "b")
    model = np.where(place % 2 == 0, "bert", "resnet")
    slow = np.where((build == "b") & (model == "bert"), 1.1, 1.0)
    time = 100 * slow * rng.normal(1, 0.01, rows)
    return pd.DataFrame(
        {
            "run_id": [f"r{k // 4}" for k in place],
            "timestamp": pd.Timestamp("2026-03-01") + pd.to_timedelta(place // 4, unit="h"),
            "model": model,
            "hardware": np.where(place % 3 == 0, "a100", "h100"),
            "worker": [f"w{k // 4 % 5}" for k in place],
            "task_type": "train",
            "build": build,
            "total_time_seconds": time,
            "compatibility_score": np.clip(rng.normal(0.9, 0.02, rows), 0, 1),
            "load_time_ms": time * 2,
            "passed": rng.random(rows) < 0.9,
        }
    )
