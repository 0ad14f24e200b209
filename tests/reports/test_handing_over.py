"""Results reach the kernel of a report as they are, or not at all."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit.errors import AggrError, SchemaError
from aggrkit.reports.handing_over import handed_over, input_hash, read_options

if TYPE_CHECKING:
    from pathlib import Path

FRAME = pd.DataFrame(
    {
        "net": pd.Categorical(["a", "b", None, "b"] * 5),
        "started": pd.date_range("2026-03-01", periods=20, freq="h", tz="Europe/Berlin"),
        "mixed": pd.Series([1, "2.5", None, "broken"] * 5, dtype=object),
        'score\'s "best"\n| value;': np.linspace(0, 1, 20),
        "größe_mb": np.arange(20, dtype="float32"),
        "passed": pd.array([True, False, None, True] * 5, dtype="boolean"),
        "span": pd.to_timedelta(np.arange(20), unit="s"),
        "month": pd.period_range("2024-01", periods=20, freq="M"),
        "status": ["pass", "fail", "skip", "pass"] * 5,
        "__hidden": range(20),
        "weird": [[1]] * 20,
    },
    index=pd.Index(np.arange(20), name="machine"),
)
ROLES: dict[str, Any] = {"model": "net", "timestamp": "started", "metrics": {'score\'s "best"\n| value;': "higher"}}


def reopened(results: Any, folder: Path) -> Any:
    given = handed_over(results, results.place, folder)
    return aggrkit.open(given["source"], table=given["table"], **read_options(given["options"]))


def test_a_hostile_frame_gives_the_same_answers_from_its_copy(tmp_path: Path) -> None:
    here = FRAME.aggr(**ROLES)
    there = reopened(here, tmp_path)
    for question in ("stats", "proportions", "distributions"):
        pd.testing.assert_frame_equal(
            pd.DataFrame(getattr(there, question)(level="model")), pd.DataFrame(getattr(here, question)(level="model"))
        )
    mine, copied = ({c.name: (c.role, c.metric) for c in each.schema.columns} for each in (here, there))
    assert copied == {name: what for name, what in mine.items() if name != "weird"}
    times = there.head(1)["started"].iloc[0]
    assert pd.Timestamp(times) == FRAME["started"].iloc[0].tz_convert("UTC").tz_localize(None)


def test_a_metric_of_ones_own_keeps_unit_direction_and_bounds(tmp_path: Path) -> None:
    metric = aggrkit.Metric("größe_mb", unit="furlongs", direction="higher", maximum=10)
    there = reopened(FRAME.aggr(metrics={"größe_mb": metric}), tmp_path)
    assert there.schema.metric("größe_mb") == metric


def test_a_path_is_handed_over_as_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    FRAME[["net", "größe_mb"]].to_csv("runs.csv", index=False)
    results = aggrkit.open("runs.csv", model="net", memory_limit="500MB", threads=1)
    given = handed_over(results, results.place, tmp_path / "unused")
    assert given["source"] == str(tmp_path / "runs.csv")
    assert given["label"] == "runs.csv"
    assert given["options"] == {"model": "net", "memory_limit": "500MB", "threads": 1}


def test_a_connection_and_a_table_are_copied(tmp_path: Path) -> None:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("create table runs as select 'a' as model, range as latency_ms from range(10)")
        there = reopened(aggrkit.open(connection), tmp_path)
        assert there.stats(level="model")[["n", "max"]].to_numpy().tolist() == [[10, 9]]


def test_the_hash_is_that_of_the_files(tmp_path: Path) -> None:
    parts = [b"model,latency_ms\na,1\n", b"model,latency_ms\nb,2\n"]
    for place, content in enumerate(parts):
        (tmp_path / f"part{place}.csv").write_bytes(content)
    wanted = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    assert input_hash(str(tmp_path / "*.csv")) == wanted
    assert input_hash(str(tmp_path)) == wanted
    (tmp_path / "part1.csv").write_bytes(parts[0])
    assert input_hash(str(tmp_path)) != wanted


def test_the_same_frame_has_the_same_hash(tmp_path: Path) -> None:
    hashes = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        hashes.append(input_hash(handed_over(FRAME.aggr, None, folder)["source"]))
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("frame", "error", "message"),
    [
        (pd.DataFrame([[1.0, 2.0]], columns=["x", "x"]), SchemaError, "more than once"),
        (pd.DataFrame({"Latency": [1.0], "latency": [2.0]}), SchemaError, "upper and lower case only"),
        (pd.DataFrame({"x": [[1]], "y": [{}]}), SchemaError, "nothing to report"),
        (pd.DataFrame(), SchemaError, "no columns"),
    ],
)
def test_what_can_not_be_copied_is_said(frame: pd.DataFrame, error: type, message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        handed_over(frame.aggr, None, tmp_path)


def test_stages_of_ones_own_stay_here_and_that_is_said(tmp_path: Path) -> None:
    mine = FRAME.aggr(pipeline=aggrkit.Pipeline())
    with pytest.raises(AggrError, match="stages of your pipeline"):
        handed_over(mine, None, tmp_path)


def test_an_empty_frame_has_a_copy_too(tmp_path: Path) -> None:
    given = handed_over(FRAME.head(0).aggr, None, tmp_path)
    with pytest.raises(aggrkit.errors.EmptySelectionError):
        aggrkit.open(given["source"]).head(1)
