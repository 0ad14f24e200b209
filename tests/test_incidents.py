"""Lines that belong together: what the changed lines of a comparison have in common."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import aggrkit


def builds(slow: str, models: int = 8, runs: int = 6, seed: int = 0) -> pd.DataFrame:
    """Return runs of two builds on three devices in two precisions; a slice of them is 10 % slower in the second."""
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product(
        [["v1", "v2"], range(runs), [f"m{k}" for k in range(models)], ["a100", "h100", "l40"], ["fp16", "fp32"]]
    )
    frame = index.to_frame(index=False, name=["build", "run", "model", "hardware", "precision"])
    frame["run_id"] = frame["build"] + "-" + frame.pop("run").astype(str)
    moved = frame.eval(slow) & frame["build"].eq("v2")
    frame["latency_ms"] = 10 * rng.lognormal(0, 0.01, len(frame)) * np.where(moved, 1.1, 1)
    frame["memory_mb"] = 100 * rng.lognormal(0, 0.01, len(frame))
    return frame


LEVEL = ["model", "hardware", "precision"]


@pytest.mark.parametrize(
    ("slow", "wanted"),
    [
        ("hardware == 'a100'", ["hardware a100, metric latency_ms"]),
        ("hardware == 'a100' and precision == 'fp16'", ["hardware a100, precision fp16"]),
        ("model == 'm3'", ["model m3, metric latency_ms"]),
        ("model == 'm3' and hardware == 'l40' and precision == 'fp32'", None),
    ],
)
def test_all_of_it_on_one_device(slow: str, wanted: list[str] | None) -> None:
    found = builds(slow).aggr.compare("v1", "v2", by="build", level=LEVEL)
    events = found.incidents()
    assert events["verdict"].eq("regressed").all()
    if wanted is None:  # one line has a name of its own
        assert events["slice"].tolist() == ["model m3, hardware l40, precision fp32, metric latency_ms"]
        return
    told = events["slice"].tolist()
    assert len(told) == 1
    # a slice of two conditions is told by two columns, of which the metric may be one
    assert told == wanted or told[0].endswith("metric latency_ms")
    assert events["lines"].item() == found["verdict"].eq("regressed").sum()
    assert events["change_pct"].item() == pytest.approx(10, abs=1)
    assert events["smallest_pct"].item() <= events["change_pct"].item() <= events["largest_pct"].item()
    assert told[0] in found.explain()
    assert f"by {events['change_pct'].item():+.3g} % in the median" in found.explain()


def test_nothing_moved_and_everything_moved() -> None:
    still = builds("model == 'none'").aggr.compare("v1", "v2", by="build", level=LEVEL)
    assert len(still.incidents()) == 0
    all_ = builds("model != 'none'").aggr.compare("v1", "v2", by="build", level=LEVEL, metrics="latency_ms")
    assert all_.incidents()["slice"].tolist() == ["all"]


def test_a_tree_of_tests_finds_what_is_clustered() -> None:
    frame = builds("hardware == 'a100' and model == 'm3'", models=12)
    flat = frame.aggr.compare("v1", "v2", by="build", level=LEVEL)
    tree = frame.aggr.compare("v1", "v2", by="build", level=LEVEL, adjust="hierarchical")
    assert tree.meta["adjust"] == "hierarchical"
    assert tree["verdict"].eq("regressed").sum() == 2
    assert set(tree[tree["verdict"] == "regressed"]["model"]) == {"m3"}
    assert (tree["pvalue_adjusted"] >= tree["pvalue"]).all()
    assert not np.allclose(
        flat.sort_values([*LEVEL, "metric"])["pvalue_adjusted"], tree.sort_values([*LEVEL, "metric"])["pvalue_adjusted"]
    )
    pd.testing.assert_frame_equal(
        aggrkit.compare(frame, "v1", "v2", by="build", level=LEVEL, adjust="hierarchical"), tree
    )


def test_a_change_between_units_of_the_same_time_is_an_incident() -> None:
    rng = np.random.default_rng(7)
    lines = pd.MultiIndex.from_product([range(24), ["w1", "w2", "w3"], range(5)], names=["day", "worker", "repeat"])
    frame = lines.to_frame(index=False)
    shifted = 1 + 0.2 * (frame["day"] >= 12)
    results = pd.DataFrame(
        {
            "model": "bert",
            "worker": frame["worker"],
            "run_id": frame["day"].astype(str) + frame["worker"],
            "timestamp": pd.Timestamp("2026-01-05") + pd.to_timedelta(frame["day"], unit="D"),  # all workers at once
            "latency_ms": 10 * shifted * np.exp(rng.normal(0, 0.02, len(frame))),
        }
    )
    (incident,) = results.aggr.changes(level="model").incidents().itertuples()
    assert incident.at == pd.Timestamp("2026-01-17")
    assert incident.change_pct == pytest.approx(20, abs=2)
