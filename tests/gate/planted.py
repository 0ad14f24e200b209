"""Builds to compare, of which it is known what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

START = pd.Timestamp("2026-03-01")


def builds(
    change: Mapping[str, float] | None = None,
    *,
    cells: int = 6,
    runs: int = 10,
    noise: float = 0.01,
    seed: int = 7,
    names: Any = None,
    metric: str = "latency_ms",
) -> pd.DataFrame:
    """Return two builds, a week apart, with so many runs of each model; `change` is by model, 0.1 for 10 % more."""
    rng = np.random.default_rng(seed)
    models = [f"m{k}" for k in range(cells)] if names is None else list(names)
    rows = [
        {
            "build": build,
            "run_id": f"{build}-{k}-{run}",
            "timestamp": START + pd.Timedelta(days=7 * side, hours=run),
            "model": model,
            "hardware": "gpu",
            metric: 100.0 * (1 + side * (change or {}).get(model, 0.0)) * np.exp(rng.normal(0, noise)),
        }
        for side, build in enumerate(("1.4", "1.5"))
        for k, model in enumerate(models)
        for run in range(runs)
    ]
    return pd.DataFrame(rows)


def compared(frame: pd.DataFrame, **options: Any) -> Any:
    """Compare the two builds."""
    return frame.aggr.compare("1.4", "1.5", by="build", **options)


HOSTILE = (
    "a<b>&\"c\"'d'",
    "]]><!--&amp;",
    "two\nlines\r\nand\ttabs",
    "bell\x07 escape\x1b[31m nul\x00 end",
    "pipe | and ` tick `` and \\| both",
    "@everyone #1 [link](http://x.test) **bold** _it_ <img src=x onerror=alert(1)>",
    "右から左 \u202egnp.exe \u200b \ufeff",
    "Größe µs 模型 🚀",
    "  spaces  ",
    "x" * 5000,
)
"""Names that try to break out of a report."""
