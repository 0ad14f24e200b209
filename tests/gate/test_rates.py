"""How often the gate is right, over many builds of which it is known what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.gate.planted import builds, compared

if TYPE_CHECKING:
    import pandas as pd

pytestmark = pytest.mark.slow

TABLES = 60


def noisy_builds(seed: int, change: float) -> pd.DataFrame:
    """Return 10 models of 5 runs a side at a noise of 2 %, one of which is slower by `change` in the second build."""
    return builds({"m3": change}, cells=10, runs=5, noise=0.02, seed=seed)


def test_false_alarms_are_at_most_alpha() -> None:
    closed = [not compared(noisy_builds(seed, 0.0)).gate().passed for seed in range(TABLES)]
    # Half of alpha = 5 % is expected, 1.5 of 60: at a true 5 %, more than 7 has a chance of 1 %.
    assert sum(closed) <= 7


def test_a_regression_of_10_percent_is_found_and_named() -> None:
    named = []
    for seed in range(TABLES // 3):
        gate = compared(noisy_builds(1000 + seed, 0.1)).gate()
        named.append(gate.exit_code == 1 and any("latency_ms of m3, gpu" in str(one) for one in gate.incidents))
    # 10 % are 7.5 standard errors of a difference of means (1.26 %), so hardly one is missed; two of 20 are too many.
    assert np.mean(named) >= 0.95
