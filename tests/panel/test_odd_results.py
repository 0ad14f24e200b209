"""A panel of results that are few, constant, without times, or of passes and failures."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import aggrkit  # noqa: F401 (adds df.aggr)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aggrkit.panel import Panel


@pytest.fixture
def opened() -> Iterator[Callable[..., Panel]]:
    panels: list[Panel] = []

    def of(frame: pd.DataFrame, **state: Any) -> Panel:
        panels.append(frame.aggr.explore(**state))
        return panels[-1].wait()

    yield of
    for panel in panels:
        panel.close()


def part(panel: Panel, name: str) -> Any:
    return json.loads(gzip.decompress(getattr(panel._front, name)))


def records(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [line for lines in spec["datasets"].values() for line in lines]


def results(n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "model": rng.choice(["bert", "gpt"], n),
            "hardware": rng.choice(["a100", "h100"], n),
            "timestamp": pd.date_range("2026-01-01", periods=n, freq="D"),
            "latency_ms": rng.lognormal(3, 0.05, n) * np.where(np.arange(n) < n // 2, 1, 1.4),
            "passed": rng.random(n) < 0.9,
        }
    )


def test_passes_and_failures_are_counted_and_their_rate_is_in_percent(opened: Callable[..., Panel]) -> None:
    frame = results()
    panel = opened(frame, metric="passed")
    spread = part(panel, "spread")
    passed = int(frame["passed"].sum())
    assert {line["label"]: line["count"] for line in records(spread)} == {"passed": passed, "failed": 120 - passed}
    trend = part(panel, "over_time")
    assert "line: pass rate, band: 95 % interval" in json.dumps(trend["title"])
    assert {layer["encoding"]["y"]["axis"]["format"] for layer in trend["layer"]} == {"~%"}
    assert panel._front.error == ""


def test_one_result_is_drawn_and_counted_in_words(opened: Callable[..., Panel]) -> None:
    panel = opened(results().head(1).assign(latency_ms=19.7923))
    assert panel._front.figures["status"].startswith("latency_ms: 1 result, 1 group;")
    (bar,) = records(part(panel, "spread"))
    assert bar["count"] == 1
    assert bar["low"] <= 19.7923 < bar["high"]
    first, last = part(panel, "overview")["encoding"]["x"]["scale"]["domain"]
    assert last - first >= 60_000


def test_changes_have_a_picture(opened: Callable[..., Panel]) -> None:
    panel = opened(results(), metric="latency_ms", tab="changes")
    answer = part(panel, "answer")
    (chart,) = answer["charts"]
    assert len(answer["table"]["rows"]) == len(panel.result) > 0
    assert chart["description"].startswith(f"{len(panel.result)} changes in")


ODD = {
    "without times": lambda frame: frame.drop(columns="timestamp"),
    "without models and hardware": lambda frame: frame[["timestamp", "latency_ms"]],
    "with a metric that has no value": lambda frame: frame.assign(latency_ms=np.nan),
    "with infinite values": lambda frame: frame.assign(
        latency_ms=frame["latency_ms"].where(frame.index % 3 > 0, np.inf)
    ),
    "with one value": lambda frame: frame.assign(latency_ms=5.25),
    "in zones": lambda frame: frame.assign(timestamp=frame["timestamp"].dt.tz_localize("Asia/Kolkata")),
    "of categories": lambda frame: frame.assign(
        model=frame["model"].astype("category"), hardware=pd.Categorical(frame["hardware"])
    ),
    "of other dtypes": lambda frame: frame.astype({"latency_ms": "Float32", "passed": "boolean", "model": object}),
    "of many models": lambda frame: frame.assign(model=[f"model {k} " + "é" * 90 for k in range(len(frame))]),
    "with half of the names missing": lambda frame: frame.assign(model=frame["model"].where(frame.index % 2 > 0)),
}


@pytest.mark.parametrize("which", ODD)
def test_odd_results_are_shown_without_an_error(which: str, opened: Callable[..., Panel]) -> None:
    frame = ODD[which](results())
    panel = opened(frame)
    assert panel._front.error == ""
    assert part(panel, "groups")["description"].endswith(".")
    known = pd.to_numeric(frame["latency_ms"], errors="coerce").astype("float64")
    told = next(one["value"] for one in panel._front.figures["items"] if one["label"] == "results")
    assert int(told) == np.isfinite(known).sum()


NAMES = ["a.b", "x[0]", "it's", 'say "so"', "a/b:c", "back\\slash", "datum.x", "größe µs", "$ref"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_columns_of_any_name_are_drawn_and_clicked(name: str, opened: Callable[..., Panel]) -> None:
    renamed = results().rename(columns={"model": name, "latency_ms": f"{name} value"})
    asked = renamed.aggr(metrics={f"{name} value": "lower"})
    panel = asked.explore(level=[name, "hardware"], metric=f"{name} value").wait()
    try:
        assert panel._front.error == ""
        cells = [line for line in records(part(panel, "groups")) if "row" in line]
        assert {(line["row"], line["column"]) for line in cells} == {
            (m, h) for m in ("bert", "gpt") for h in ("a100", "h100")
        }
        panel._heard(None, {"kind": "click", "datum": {"row": "gpt", "column": "h100"}}, [])
        panel.wait()
        assert panel.state["cell"] == {name: "gpt", "hardware": "h100"}
        assert panel._front.error == ""
        wanted = renamed[(renamed[name] == "gpt") & (renamed["hardware"] == "h100")]
        assert panel.result["n"].tolist() == [len(wanted)]
        space: dict[str, Any] = {"df": renamed}
        exec(panel.code, space)
        pd.testing.assert_frame_equal(pd.DataFrame(space["result"]), pd.DataFrame(panel.result))
    finally:
        panel.close()
