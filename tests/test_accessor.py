"""``df.aggr``, `aggrkit.open` and the typed twins: one core, and what importing it costs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit import Analysis, Metric
from aggrkit.errors import SchemaError, SourceError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable

TWINS = [
    "stats",
    "proportions",
    "distributions",
    "anomalies",
    "compare",
    "correlations",
    "trends",
    "changes",
    "differences",
]


def results(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "model": rng.choice(["a", "b"], n),
            "worker": rng.choice(["w1", "w2"], n),
            "round": np.where(np.arange(n) % 2, "v1", "v2"),
            "latency_ms": rng.lognormal(3, 0.05, n),
            "throughput": rng.normal(100, 2, n),
            "started_at": pd.date_range("2026-01-01", periods=n, freq="h"),
            "passed": rng.random(n) < 0.8,
        }
    )


# The accessor.


def test_every_frame_has_it_and_subclasses_too() -> None:
    class Results(pd.DataFrame):
        @property
        def _constructor(self) -> Callable[..., Results]:
            return Results

    frame = results()
    for made in (frame, Results(frame), pd.DataFrame(), frame.head(0)):
        assert hasattr(made, "aggr")
        assert isinstance(made.aggr, Analysis)
    found = Results(frame).aggr.stats(level="model")
    pd.testing.assert_frame_equal(found, frame.aggr.stats(level="model"))
    assert type(Results(frame).aggr.stats(level="model").rows(0)) is Results
    assert "aggr" in dir(frame)
    assert not hasattr(frame["model"], "aggr")


def test_a_column_called_aggr_stays_a_column() -> None:
    frame = results().assign(aggr=1.5)
    assert frame["aggr"].tolist() == [1.5] * 40
    found = frame.aggr.stats(level="model")
    assert found.loc[found["metric"].eq("aggr"), "mean"].tolist() == [1.5, 1.5]
    named = frame.aggr(metrics=["aggr"]).stats(level=["aggr"], metrics="latency_ms")
    assert named["aggr"].tolist() == [1.5]


def test_nothing_is_kept_from_one_question_to_the_next() -> None:
    frame = results()
    aggr = frame.aggr
    before = aggr.stats(level=[], metrics="latency_ms")["mean"].item()
    frame["latency_ms"] = frame["latency_ms"] * 2
    assert aggr.stats(level=[], metrics="latency_ms")["mean"].item() == pytest.approx(2 * before)
    assert frame.aggr.stats(level=[], metrics="latency_ms")["mean"].item() == pytest.approx(2 * before)
    frame["new_ms"] = 1.0
    assert "new_ms" in set(frame.aggr.stats()["metric"])
    frame.loc[0, "model"] = "c"
    assert "c" in set(frame.aggr.stats()["model"])
    frame.columns = [name.replace("latency_ms", "delay_ms") for name in frame.columns]
    assert "delay_ms" in set(frame.aggr.stats()["metric"])


def test_an_answer_is_not_changed_by_a_later_change_of_the_frame() -> None:
    frame = results()
    found = frame.aggr.stats(level="model")
    kept = pd.DataFrame(found).copy(deep=True)
    frame["latency_ms"] = -1.0
    pd.testing.assert_frame_equal(pd.DataFrame(found), kept)


# Roles that the user names.


def test_roles_can_be_named() -> None:
    frame = pd.DataFrame(
        {
            "net": ["a", "a", "b"],
            "gpu": ["x", "y", "y"],
            "job": [1, 2, 2],
            "when": pd.date_range("2025-01-01", periods=3),
            "box": ["p", "p", "q"],
            "kind_of_test": ["t", "t", "u"],
            "nr": [10, 11, 12],
            "score": [1.0, 2.0, 4.0],
            "flavour": ["m", "n", "m"],
            "tag": ["r1", "r1", "r2"],
            "junk": [5.0, 6.0, 7.0],
        }
    )
    said = frame.aggr(
        model="net",
        hardware="gpu",
        run="job",
        timestamp="when",
        worker="box",
        task_type="kind_of_test",
        result_id="nr",
        metrics={"score": "higher"},
        conditions=["flavour"],
        versions="tag",
        ignore=["junk"],
    )
    roles = {column.name: column.role.value for column in said.schema.columns}
    assert roles == {
        "net": "model",
        "gpu": "hardware",
        "job": "run_id",
        "when": "timestamp",
        "box": "worker",
        "kind_of_test": "task_type",
        "nr": "result_id",
        "score": "metric",
        "flavour": "condition",
        "tag": "version",
        "junk": "ignored",
    }
    assert all(column.reason for column in said.schema.columns)
    found = said.stats()
    assert found[["model", "hardware", "metric", "mean"]].to_numpy().tolist() == [
        ["a", "x", "score", 1.0],
        ["a", "y", "score", 2.0],
        ["b", "y", "score", 4.0],
    ]
    assert said.stats(level="test_run")["n"].tolist() == [1, 2]
    assert said.stats(level="worker")["n"].tolist() == [2, 1]
    assert said.stats(level="task_type")["n"].tolist() == [2, 1]
    assert said.stats(level=[], time_range=("2025-01-02", None))["n"].tolist() == [2]
    # More can be said later, and what was said before still holds.
    more = said(ignore=None, metrics={"junk": "lower"})
    assert {metric.name: metric.sign for metric in more.schema.metrics} == {"score": 0, "junk": -1}
    moved = said(hardware=None, worker="gpu")
    assert moved.stats(level="worker")["worker"].tolist() == ["x", "y"]
    with pytest.raises(SchemaError, match="'gpu' was named as two things"):
        said(worker="gpu").stats()


def test_metrics_can_be_named_in_three_ways() -> None:
    frame = pd.DataFrame({"model": ["a", "a"], "speed": [1.0, 3.0], "text": ["5", "x"], "other": [1.0, 2.0]})
    for metrics in ("speed", ["speed"], {"speed": "higher"}, {"speed": Metric("speed", "m/s", "higher")}):
        schema = frame.aggr(metrics=metrics).schema
        assert "speed" in [metric.name for metric in schema.metrics]
    declared = frame.aggr(metrics={"speed": Metric("whatever", "m/s", "higher")}).stats(level="model")
    assert declared.loc[declared["metric"].eq("speed"), "unit"].tolist() == ["m/s"]
    text = frame.aggr(metrics=["text"]).stats(level="model", metrics="text")
    assert (text["n"].item(), text["mean"].item()) == (1, 5.0)
    with pytest.raises(UnknownNameError, match="'higher'"):
        frame.aggr(metrics={"speed": "hihger"}).schema  # noqa: B018


def test_what_cannot_be_named_is_an_error() -> None:
    frame = results()
    with pytest.raises(SchemaError, match="did you mean 'model'"):
        frame.aggr(model="modle").stats()
    with pytest.raises(UnknownNameError, match="hardware"):
        frame.aggr(hardwaer="model").stats()
    with pytest.raises(UnknownNameError, match="did you mean 'latency_ms'"):
        frame.aggr.stats(metrics="latncy_ms")
    with pytest.raises(UnknownNameError, match="did you mean 'model'"):
        frame.aggr.stats(where={"modl": "a"})
    with pytest.raises(UnknownNameError, match="'gesd'"):
        frame.aggr.anomalies(method="grubbs")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="mapping"):
        frame.aggr.stats(where="model == 'a'")  # type: ignore[arg-type]


def test_metrics_can_be_asked_for_by_another_spelling() -> None:
    frame = results()
    found = frame.aggr.stats(level=[], metrics=["average_latency_ms", "throughput_items_per_second"])
    assert found["metric"].tolist() == ["latency_ms", "throughput"]


# The twins.

ASKED: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "stats": [((), {}), (("model", "latency_ms", {"round": "v1"}, None, (10, 90)), {}), ((), {"percentiles": [1]})],
    "proportions": [((), {}), (("model", None, None, None, 0.9), {})],
    "distributions": [((), {}), ((["round"], "model", None, None, 3), {})],
    "anomalies": [((), {}), (("model", None, None, None, "iqr", 0.05, 1.0), {})],
    "compare": [(("v1",), {"by": "round"}), (("v1", "v2", "round", "model", None, None, None, 0.01, 0.1, "holm"), {})],
    "correlations": [((), {}), (("model", None, None, None, "pearson", 0.1, "none"), {})],
    "trends": [((), {}), (("model", None, None, None, 0.1, "none"), {})],
    "calibrate": [
        (("v1",), {"by": "round", "repeats": 5}),
        (("v1", "v2", "round", "model", None, None, None, 0.01, 0.1, "holm", "mean", 4, 1), {}),
    ],
    "variance": [((), {}), (("model", None, None, None, 0.1, "none"), {})],
    "health": [((), {}), ((None, None, None, 0.1, 0.01), {})],
    "changes": [((), {}), (("model", None, None, None, 0.1, 0.01, "none", "round", "remove"), {})],
    "differences": [((), {}), (("round", None, None, None, 0.1, "none"), {})],
}


@pytest.mark.parametrize("name", TWINS)
def test_twins_equal_methods(name: str) -> None:
    frame = results()
    for positional, named in ASKED[name]:
        wanted = getattr(frame.aggr, name)(*positional, **named)
        for data in (frame, frame.aggr, aggrkit.open(frame)):
            found = getattr(aggrkit, name)(data, *positional, **named)
            pd.testing.assert_frame_equal(found, wanted)
            assert type(found) is type(wanted)
            assert {**found.meta, "margin": 0, "seconds": 0} == {**wanted.meta, "margin": 0, "seconds": 0}


@pytest.mark.parametrize("name", TWINS)
def test_twins_have_the_methods_signature_and_words(name: str) -> None:
    twin, method = getattr(aggrkit, name), getattr(Analysis, name)
    mine = list(inspect.signature(twin).parameters.values())[1:]
    theirs = list(inspect.signature(method).parameters.values())[1:]
    assert mine == theirs
    assert inspect.signature(twin).return_annotation == inspect.signature(method).return_annotation
    assert twin.__doc__ == method.__doc__
    assert twin.__doc__
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in mine)


def test_the_accessors_call_has_words() -> None:
    assert results().aggr.__call__.__doc__ == Analysis.__call__.__doc__


def test_open_takes_frames_and_refuses_what_it_does_not_know() -> None:
    frame = results()
    pd.testing.assert_frame_equal(aggrkit.open(frame).stats(), frame.aggr.stats())
    pd.testing.assert_frame_equal(
        aggrkit.open(frame.rename(columns={"model": "net"}), model="net").stats(), frame.aggr.stats()
    )
    for wrong in (3, None, [1, 2], {"a": 1}):
        with pytest.raises(SourceError, match="aggrkit opens"):
            aggrkit.open(wrong)  # type: ignore[arg-type]


# What importing costs.

HEAVY = ["altair", "scipy.stats", "statsmodels", "ipywidgets", "papermill", "ibis", "duckdb", "IPython", "matplotlib"]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_pulls_in_nothing_heavy() -> None:
    loaded = run(
        f"import sys, aggrkit\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
        f"import pandas as pd\n"
        f"frame = pd.DataFrame({{'model': ['a'], 'x': [1.0]}})\n"
        f"frame.aggr, frame.aggr(model='model'), aggrkit.Metric('x'), aggrkit.Selection()\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert loaded.split("\n")[:2] == ["[]", "[]"]


def test_the_public_names_are_there() -> None:
    for name in aggrkit.__all__:
        assert getattr(aggrkit, name) is not None
    assert isinstance(aggrkit.__version__, str)
    with pytest.raises(AttributeError, match="nothing_like_it"):
        aggrkit.nothing_like_it  # noqa: B018


# The examples of the documentation are run.

MODULES = [
    module.name for module in pkgutil.walk_packages(aggrkit.__path__, "aggrkit.") if "__main__" not in module.name
]


@pytest.mark.parametrize("name", ["aggrkit", *MODULES])
def test_examples(name: str) -> None:
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, _ = doctest.testmod(importlib.import_module(name), optionflags=flags, report=True)
    assert failed == 0
