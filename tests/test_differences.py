"""What makes a difference: a slow worker is found behind different models, and clean data stay quiet."""

from __future__ import annotations

import inspect
import math
import re
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import aggrkit
from aggrkit.errors import EmptySelectionError, SchemaError, UnknownNameError
from aggrkit.model.answer import COLUMNS

if TYPE_CHECKING:
    from pathlib import Path


def hidden_worker(n: int = 3000) -> pd.DataFrame:
    """Return results of four workers; w3 is 20 % slower, and runs the fast models mostly."""
    rng = np.random.default_rng(4)
    model = rng.integers(0, 8, n)
    worker = np.where(rng.random(n) < 0.1 + 0.7 * (model < 4), 3, rng.integers(0, 3, n))
    return pd.DataFrame(
        {
            "model": np.char.add("m", model.astype(str)),
            "worker": np.char.add("w", worker.astype(str)),
            "latency_ms": 2.0**model * np.where(worker == 3, 1.2, 1) * rng.lognormal(0, 0.05, n),
            "noise": rng.normal(0, 1, n),
            "passed": rng.random(n) < 0.9,
        }
    )


def by(found: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(found).set_index(["dimension", "metric"])


def test_a_slow_worker_is_found_behind_different_models() -> None:
    frame = hidden_worker()
    # on the face of it, the slow worker is the fastest of all
    assert frame.groupby("worker")["latency_ms"].median().idxmin() == "w3"
    found = frame.aggr.differences()
    assert list(found.columns) == list(COLUMNS["differences"])
    line = by(found).loc[("worker", "latency_ms")]
    assert (line["worst"], line["highest"], line["groups"], line["n"]) == ("w3", "w3", 4, 3000)
    assert line["spread_pct"] == pytest.approx(20, abs=2)
    assert (line["adjusted_for"], line["magnitude"], line["significant"]) == ("model", "large", True)
    model = by(found).loc[("model", "latency_ms")]
    assert (model["best"], model["worst"], model["adjusted_for"]) == ("m0", "m7", "nothing")
    others = by(found).drop(index=[("worker", "latency_ms"), ("model", "latency_ms")])
    assert not others["significant"].any()
    assert others.loc[("worker", "noise"), ["best", "worst"]].isna().all()
    assert others.loc[("worker", "noise"), ["lowest", "highest"]].notna().all()
    said = found.explain()
    assert "2 of 6 differences significant" in said
    assert "latency_ms by worker: large effect, best" in said
    assert "with model held fixed" in said
    assert len(found.rows(0)) == 3000


def test_numbers_are_scipys_where_nothing_is_held_fixed() -> None:
    frame = hidden_worker(200).drop(columns="model")
    found = by(frame.aggr.differences(adjust="none"))
    parts = [part for _, part in frame.groupby("worker")]
    for metric in ("latency_ms", "noise"):
        wanted = stats.kruskal(*(part[metric] for part in parts))
        line = found.loc[("worker", metric)]
        assert line["pvalue"] == pytest.approx(wanted.pvalue, rel=1e-9)
        assert line["effect_size"] == pytest.approx(wanted.statistic / 199, rel=1e-9)
        medians = frame.groupby("worker")[metric].median()
        assert (line["lowest"], line["highest"]) == (medians.idxmin(), medians.idxmax())
    medians = frame.groupby("worker")["latency_ms"].median()
    assert found.loc[("worker", "latency_ms"), "spread_pct"] == pytest.approx(100 * (medians.max() / medians.min() - 1))
    wanted = stats.chi2_contingency(pd.crosstab(frame["worker"], frame["passed"]), correction=False)
    line = found.loc[("worker", "passed")]
    assert line["pvalue"] == pytest.approx(wanted.pvalue)
    assert line["effect_size"] == pytest.approx(math.sqrt(wanted.statistic / 200))
    rates = frame.groupby("worker")["passed"].mean()
    assert line["spread_pct"] == pytest.approx(100 * (rates.max() - rates.min()))
    assert line["best"] == rates.idxmax()


def test_a_failing_worker_is_found() -> None:
    frame = hidden_worker()
    rng = np.random.default_rng(6)
    frame["passed"] = rng.random(len(frame)) < np.where(frame["worker"] == "w1", 0.6, 0.95)
    line = by(frame.aggr.differences("worker", "passed")).loc[("worker", "passed")]
    assert (line["worst"], line["significant"], line["unit"]) == ("w1", True, "proportion")
    assert line["spread_pct"] == pytest.approx(35, abs=6)


def test_the_unit_is_the_run() -> None:
    rng = np.random.default_rng(3)
    run = np.repeat(np.arange(12), 50)
    luck = rng.lognormal(0, 0.05, 12)
    frame = pd.DataFrame(
        {
            "run_id": np.char.add("r", run.astype(str)),
            "worker": np.where(run % 2, "w1", "w2"),
            "dataset": np.tile(["x", "y"], 300),
            "latency_ms": luck[run] * rng.lognormal(0, 0.01, 600) * np.tile([1, 5], 300),
        }
    )
    found = by(frame.aggr.differences("worker"))
    assert found["n"].tolist() == [12]
    assert found["adjusted_for"].tolist() == ["dataset"]
    assert not found["significant"].any()
    pooled = frame.drop(columns="run_id").aggr.differences("worker")
    assert pooled["n"].tolist() == [600]
    assert "observations were taken as independent" in pooled.explain()


def test_what_cannot_be_held_fixed_is_not() -> None:
    frame = hidden_worker(400)
    frame["task_type"] = np.where(frame["model"].isin(["m0", "m1"]), "vision", "text")
    found = by(frame.aggr.differences(metrics="latency_ms"))["adjusted_for"]
    # each model has one task type: task types can't be compared within models, models can within task types
    assert found.loc[("task_type", "latency_ms")] == "nothing"
    assert found.loc[("model", "latency_ms")] == "task_type"
    assert found.loc[("worker", "latency_ms")] == "model, task_type"


def test_constant_metrics_have_a_reason() -> None:
    frame = hidden_worker(100).assign(steady=5.0, passed=True)
    found = frame.aggr.differences("worker")
    told = by(found)
    for metric in ("steady", "passed"):
        line = told.loc[("worker", metric)]
        assert line[["effect_size", "pvalue", "pvalue_adjusted", "spread_pct"]].isna().all()
        assert (line["magnitude"], line["significant"]) == ("undefined", False)
        assert found.meta["undefined"][f"{metric} by worker"] == "all values are equal"
    assert "steady by worker: not tested, all values are equal" in found.explain()


def test_columns_of_one_or_too_many_values_are_left_out() -> None:
    frame = hidden_worker(400).assign(hardware="a100", precision=np.arange(400).astype(str), batch_size=None)
    found = frame.aggr.differences(metrics="latency_ms")
    assert found["dimension"].tolist() == ["model", "worker"]
    assert found.meta["skipped"]["hardware"] == "one value"
    assert found.meta["skipped"]["precision"] == "400 different values"
    assert "precision (400 different values)" in found.explain()


def test_every_source_gives_the_same(tmp_path: Path) -> None:
    frame = hidden_worker(600).assign(batch_size=np.arange(600) % 3 * 8.0, run_id=np.arange(600) // 5)
    frame.loc[3, "latency_ms"] = np.nan
    frame.loc[4, ["worker", "model"]] = None
    frame.loc[5, "batch_size"] = np.nan
    with duckdb.connect(str(tmp_path / "r.duckdb")) as connection:
        connection.execute("CREATE TABLE results AS SELECT * FROM frame")
    frame.to_parquet(tmp_path / "r.parquet")
    wanted = pd.DataFrame(frame.aggr.differences())
    assert set(wanted["dimension"]) == {"model", "worker", "batch_size"}
    for name in ("r.duckdb", "r.parquet"):
        pd.testing.assert_frame_equal(pd.DataFrame(aggrkit.open(tmp_path / name).differences()), wanted)
    shuffled = frame.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(pd.DataFrame(shuffled.aggr.differences()), wanted)
    pd.testing.assert_frame_equal(pd.DataFrame(aggrkit.differences(frame)), wanted)


def test_the_twin_has_the_methods_signature_and_words() -> None:
    mine = list(inspect.signature(aggrkit.differences).parameters.values())[1:]
    assert mine == list(inspect.signature(aggrkit.Analysis.differences).parameters.values())[1:]
    assert aggrkit.differences.__doc__ == aggrkit.Analysis.differences.__doc__


def test_bad_input() -> None:
    frame = hidden_worker(50)
    with pytest.raises(UnknownNameError, match="did you mean 'worker'"):
        frame.aggr.differences("wroker")
    with pytest.raises(SchemaError, match="differences\\(dimensions"):
        frame[["latency_ms"]].aggr.differences()
    with pytest.raises(EmptySelectionError):
        frame.head(0).aggr.differences()
    with pytest.raises(ValueError, match="alpha"):
        frame.aggr.differences(alpha=0)
    with pytest.raises(UnknownNameError, match="adjustment"):
        frame.aggr.differences(adjust="sidak")  # type: ignore[arg-type]


def test_little_and_odd_values() -> None:
    one = hidden_worker(1).aggr.differences()
    assert len(one) == 0
    assert one.meta["skipped"] == {"model": "one value", "worker": "one value"}
    assert "No difference could be tested" in one.explain()
    empty = hidden_worker(30).assign(latency_ms=np.nan).aggr(metrics=["latency_ms"])
    found = empty.differences("worker", "latency_ms")
    assert found[["n", "groups"]].to_numpy().tolist() == [[0, 0]]
    odd = pd.DataFrame(
        {
            "worker": list("aaabbbbb"),
            "latency_ms": [1.0, np.nan, 3, np.inf, 4, 5, -np.inf, 6],
            "text_ms": ["1", "x", "3", "4", "5", "inf", None, "2"],
            "other": [0.0, 0, -1, 1e308, -1e308, 3, 0, 0],
        }
    )
    told = by(odd.aggr(metrics=["latency_ms", "text_ms", "other"]).differences("worker"))
    assert told["n"].droplevel(0).to_dict() == {"latency_ms": 5, "text_ms": 5, "other": 8}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["flat", "small cells", "large cells", "runs of all", "runs of some"])
def test_clean_data_rarely_differ(kind: str) -> None:
    rng = np.random.default_rng(7)
    repetitions, metrics = 8, 75
    pvalues = []
    for _ in range(repetitions):
        run = None
        if kind == "flat":
            model, worker = np.zeros(60, dtype=int), rng.integers(0, 4, 60)
        elif kind.endswith("cells"):
            size = 2 if kind == "small cells" else 8
            model, worker = np.repeat(np.arange(30), size), np.tile(np.arange(size) % 4, 30)
        else:
            few = [rng.permutation(6)[: 6 if kind == "runs of all" else 2] for _ in range(24)]
            model = np.repeat(np.concatenate(few), 3)
            run = np.repeat(np.arange(24), 3 * len(few[0]))
            worker = run % 4
        values = (1.0 + model)[:, None] * rng.lognormal(0, 0.05, (len(model), metrics))
        names = pd.DataFrame(
            {"worker": np.char.add("w", worker.astype(str)), "model": np.char.add("m", model.astype(str))}
        )
        if run is not None:
            names["run_id"] = np.char.add("r", run.astype(str))
            values *= rng.lognormal(0, 0.05, (24, metrics))[run]
        frame = pd.concat([names, pd.DataFrame(values, columns=[f"x{k}" for k in range(metrics)])], axis=1)
        pvalues.append(frame.aggr.differences("worker", adjust="none")["pvalue"])
    found = pd.concat(pvalues)
    assert len(found) == repetitions * metrics
    # chi-squared is an approximation, and so is the level of a cell: 6 % is promised, within the simulation's error
    assert found.lt(0.05).mean() <= 0.06 + 3.1 * math.sqrt(0.06 * 0.94 / len(found))


def test_large_differences_are_told_without_exponents() -> None:
    rng = np.random.default_rng(4)
    runs = pd.DataFrame({"model": "m", "hardware": ["slow", "fast"] * 20, "run_id": range(40)})
    runs["latency_ms"] = np.where(runs["hardware"] == "slow", 300.0, 1.0) * rng.lognormal(0, 0.01, 40)
    said = "".join(runs.aggr.differences().explain())
    assert re.search(r"\b(29|30),\d{3} % apart", said), said
