"""Laws: what must not change an answer, and what must change it in one way only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggrkit.errors import EmptySelectionError, SchemaError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable


def results(n: int = 180) -> pd.DataFrame:
    rng = np.random.default_rng(77)
    frame = pd.DataFrame(
        {
            "model": rng.choice(np.array(["bert", "gpt", None], dtype=object), n, p=[0.5, 0.4, 0.1]),
            "hardware": rng.choice(["a100", "h100"], n),
            "task_type": rng.choice(["train", "infer"], n),
            "worker": rng.choice(["w0", "w1"], n),
            "run_id": [f"r{k % 6}" for k in range(n)],
            "timestamp": pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.permutation(n), unit="h"),
            "round": np.where(np.arange(n) % 6 < 3, "v1", "v2"),
            "batch_size": rng.choice([8, 16], n),
            "quantized": rng.choice([True, False], n),
            "latency_ms": rng.lognormal(3, 0.05, n),
            "throughput": rng.normal(100, 4, n),
            "passed": rng.random(n) < 0.8,
        }
    )
    frame.loc[[3, 50], "latency_ms"] = [90.0, np.nan]
    return frame


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    """Check that two findings are equal; engines add up in another order, so the last digits may differ."""
    pd.testing.assert_frame_equal(
        pd.DataFrame(found).reset_index(drop=True), pd.DataFrame(wanted).reset_index(drop=True), rtol=1e-11, atol=1e-11
    )


QUESTIONS: dict[str, Callable[[Any], pd.DataFrame]] = {
    "stats": lambda aggr: aggr.stats(),
    "normalized": lambda aggr: aggr.stats(metrics=["normalized_latency_ms"]),
    "proportions": lambda aggr: aggr.proportions(),
    "distributions": lambda aggr: aggr.distributions(level="model"),
    "robust": lambda aggr: aggr.anomalies(level="worker"),
    "gesd": lambda aggr: aggr.anomalies(method="gesd"),
    "compare": lambda aggr: aggr.compare("v1", "v2", by="round"),
    "compare by time": lambda aggr: aggr.compare(pd.Timedelta("2D")),
    "correlations": lambda aggr: aggr.correlations(level="model"),
}


@pytest.fixture(scope="module")
def expected() -> dict[str, pd.DataFrame]:
    """Return the answers for the frame as it is, asked once."""
    return {name: pd.DataFrame(ask(results().aggr)) for name, ask in QUESTIONS.items()}


@pytest.mark.parametrize("question", QUESTIONS)
def test_row_order_never_matters(question: str, expected: dict[str, pd.DataFrame]) -> None:
    shuffled = results().sample(frac=1, random_state=1)
    same(QUESTIONS[question](shuffled.aggr), expected[question])


@pytest.mark.parametrize("question", QUESTIONS)
def test_column_order_never_matters(question: str, expected: dict[str, pd.DataFrame]) -> None:
    frame, wanted = results(), expected[question].copy()
    found = QUESTIONS[question](frame[frame.columns[::-1]].aggr)
    keys = [name for name in wanted.columns if name in ("metric", "metric1", "metric2", "column")]
    by = [*wanted.columns[: list(wanted.columns).index((keys or ["metric"])[0])], *keys]
    by += [name for name in ("method", "observation", "value") if name in wanted.columns and name not in by]
    if question == "correlations":  # pairs are told the other way round
        first, second = found["metric1"].copy(), found["metric2"].copy()
        turn = first > second
        found["metric1"], found["metric2"] = first.mask(turn, second), second.mask(turn, first)
        first, second = wanted["metric1"].copy(), wanted["metric2"].copy()
        turn = first > second
        wanted["metric1"], wanted["metric2"] = first.mask(turn, second), second.mask(turn, first)
    same(pd.DataFrame(found)[list(wanted.columns)].sort_values(by), pd.DataFrame(wanted).sort_values(by))


@pytest.mark.parametrize("question", QUESTIONS)
def test_unused_categories_never_matter(question: str, expected: dict[str, pd.DataFrame]) -> None:
    frame = results()
    made = frame.copy()
    for name in ("model", "hardware", "task_type", "worker", "run_id", "round"):
        values = sorted(set(frame[name].dropna()), reverse=True)
        made[name] = pd.Categorical(frame[name], categories=["nowhere", *values, "zzz"], ordered=True)
    same(QUESTIONS[question](made.aggr), expected[question])


# Filters.

VALUES: dict[str, list[Any]] = {
    "model": ["bert", "gpt", None],
    "hardware": ["a100", "h100"],
    "batch_size": [8, 16],
    "quantized": [True, False],
    "worker": ["w0", "w1"],
}


@st.composite
def filters(draw: Any) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3, unique=True))
    chosen: dict[str, Any] = {}
    for name in names:
        some = draw(st.lists(st.sampled_from(VALUES[name]), min_size=1, unique=True))
        chosen[name] = some[0] if len(some) == 1 and draw(st.booleans()) else some
    return chosen


def mask_of(frame: pd.DataFrame, where: dict[str, Any]) -> pd.Series:
    mask = pd.Series(True, index=frame.index)
    for name, values in where.items():
        wanted = values if isinstance(values, list) else [values]
        mask &= frame[name].isin([value for value in wanted if value is not None]) | (
            frame[name].isna() if None in wanted else False
        )
    return mask


def expression_of(where: dict[str, Any]) -> Any:
    expression: Any = None
    for name, values in where.items():
        test: Any = None
        for value in values if isinstance(values, list) else [values]:
            one = ibis._[name].isnull() if value is None else ibis._[name] == value
            test = one if test is None else test | one
        expression = test if expression is None else expression & test
    return expression


@settings(max_examples=10)
@given(filters())
def test_where_is_filtering_the_frame_first(where: dict[str, Any]) -> None:
    frame = results()
    kept = frame[mask_of(frame, where)]
    if not len(kept):
        with pytest.raises(EmptySelectionError):
            frame.aggr.stats(where=where)
        return
    wanted = kept.aggr.stats()
    found = frame.aggr.stats(where=where)
    same(found, wanted)
    same(frame.aggr.stats(where=expression_of(where)), wanted)
    pd.testing.assert_frame_equal(found.rows(0), wanted.rows(0))
    assert found.meta["rows"] == len(kept)


@pytest.mark.parametrize("question", ["robust", "compare", "correlations", "proportions"])
def test_where_filters_every_question(question: str) -> None:
    ask: dict[str, Callable[..., pd.DataFrame]] = {
        "robust": lambda aggr, **some: aggr.anomalies(level="worker", **some),
        "compare": lambda aggr, **some: aggr.compare("v1", by="round", **some),
        "correlations": lambda aggr, **some: aggr.correlations(**some),
        "proportions": lambda aggr, **some: aggr.proportions(**some),
    }
    frame = results()
    span = ("2025-01-02", "2025-01-06 12:00")
    kept = frame[frame["model"].eq("bert") & frame["timestamp"].between(*map(pd.Timestamp, span))]
    same(ask[question](frame.aggr, where={"model": "bert"}, time_range=span), ask[question](kept.aggr))
    same(ask[question](frame.aggr, where=ibis._.model == "bert", time_range=span), ask[question](kept.aggr))


@settings(max_examples=10)
@given(st.integers(-10, 200), st.integers(0, 100), st.booleans(), st.booleans())
def test_time_range_is_filtering_the_frame_first(start: int, hours: int, open_start: bool, open_end: bool) -> None:
    frame = results()
    first = None if open_start else pd.Timestamp("2025-01-01") + pd.Timedelta(hours=start)
    last = None if open_end else pd.Timestamp("2025-01-01") + pd.Timedelta(hours=start + hours)
    kept = frame[
        (frame["timestamp"] >= (first or pd.Timestamp.min)) & (frame["timestamp"] <= (last or pd.Timestamp.max))
    ]
    if not len(kept):
        with pytest.raises(EmptySelectionError):
            frame.aggr.stats(time_range=(first, last))
        return
    same(frame.aggr.stats(time_range=(first, last)), kept.aggr.stats())


def test_a_time_range_has_both_ends_and_leaves_out_missing_times() -> None:
    frame = pd.DataFrame(
        {"model": "a", "timestamp": pd.to_datetime(["2025-01-01", "2025-01-02", None]), "x": [1.0, 2.0, 4.0]}
    )
    assert frame.aggr.stats(time_range=("2025-01-01", "2025-01-02"))["n"].tolist() == [2]
    assert frame.aggr.stats(time_range=("2025-01-01", "2025-01-01"))["n"].tolist() == [1]
    assert frame.aggr.stats(time_range=(None, "2025-06-01"))["n"].tolist() == [2]
    assert frame.aggr.stats(time_range=(None, None))["n"].tolist() == [3]
    with pytest.raises(ValueError, match="ends before it starts"):
        frame.aggr.stats(time_range=("2025-01-02", "2025-01-01"))


def test_where_compares_with_the_type_of_the_column() -> None:
    frame = results()
    eight = frame.aggr.stats(where={"batch_size": 8})
    for same_value in (8.0, "8", np.int8(8), np.array([8]), pd.Series([8]), {8}, range(8, 9)):
        same(frame.aggr.stats(where={"batch_size": same_value}), eight)
    same(frame.aggr.stats(where={"quantized": "true"}), frame.aggr.stats(where={"quantized": np.bool_(True)}))
    moment = frame["timestamp"].iloc[0]
    for value in (moment, str(moment), moment.tz_localize("UTC").tz_convert("Asia/Tokyo")):
        assert frame.aggr.stats(where={"timestamp": value})["n"].eq(1).all()
    with pytest.raises(UnknownNameError, match="'many' can't be one of them"):
        frame.aggr.stats(where={"batch_size": "many"})


# Levels.

NAMED = {
    "test_run": ["run_id"],
    "model": ["model"],
    "hardware": ["hardware"],
    "model_hardware": ["model", "hardware"],
    "task_type": ["task_type"],
    "worker": ["worker"],
}


@pytest.mark.parametrize("level", [*NAMED, ["batch_size", "quantized"], ["latency_ms"], ["round", "model"], [], None])
def test_levels_are_groups(level: Any) -> None:
    frame = results()
    columns = NAMED[level] if isinstance(level, str) else list(level or [])
    found = frame.aggr.stats(level=level, metrics="throughput")
    assert list(found.columns[: len(columns) + 1]) == [*columns, "metric"]
    filled = frame.assign(model=frame["model"].fillna("unknown"))
    if columns == ["latency_ms"]:  # the one value that is missing makes a group, and all labels text
        assert len(found) == frame["latency_ms"].nunique(dropna=False)
        assert (found["n"] == 1).all()
        return
    groups = filled.groupby(columns) if columns else [((), filled)]
    wanted = {
        (key if isinstance(key, tuple) else (key,)): (part["throughput"].size, part["throughput"].mean())
        for key, part in groups
    }
    got = {tuple(line[name] for name in columns): (line["n"], line["mean"]) for _, line in found.iterrows()}
    assert got == {key: (n, pytest.approx(mean, rel=1e-14)) for key, (n, mean) in wanted.items()}


def test_a_level_of_a_role_uses_the_users_own_name_for_its_column() -> None:
    frame = results().rename(columns={"model": "net", "hardware": "device_name"})
    found = frame.aggr(model="net").stats()
    assert list(found.columns[:2]) == ["model", "hardware"]
    same(found, results().aggr.stats())
    same(frame.aggr(model="net").stats(where={"model": "bert"}), results().aggr.stats(where={"model": "bert"}))


def test_a_missing_value_is_the_group_unknown() -> None:
    labels = ["a", None, "", "unknown", np.nan]
    frame = pd.DataFrame({"model": np.array(labels, dtype=object), "latency_ms": [1.0, 2.0, 4.0, 8.0, 16.0]})
    found = frame.aggr.stats(level="model")
    assert found[["model", "n", "mean"]].to_numpy().tolist() == [["a", 1, 1.0], ["unknown", 4, 7.5]]
    for column in (frame["model"].astype("category"), frame["model"].astype("string")):
        same(frame.assign(model=column).aggr.stats(level="model"), found)


def test_where_some_roles_of_a_level_are_missing_they_are_unknown() -> None:
    frame = results().drop(columns="hardware")
    found = frame.aggr.stats(level="model_hardware")
    assert set(found["hardware"]) == {"unknown"}
    assert "hardware" in found.explain()
    without = frame.aggr.stats(level="model")
    same(pd.DataFrame(found).drop(columns="hardware"), without)
    for question in ("robust", "compare", "proportions"):
        assert set(QUESTIONS[question](frame.aggr).get("hardware", ["unknown"])) == {"unknown"}


def test_where_no_role_of_a_level_is_there_the_error_names_columns_and_levels() -> None:
    frame = results().drop(columns=["worker"])
    with pytest.raises(SchemaError, match="worker") as raised:
        frame.aggr.stats(level="worker")
    assert "'task_type'" in str(raised.value)
    with pytest.raises(UnknownNameError, match="did you mean 'model_hardware'"):
        frame.aggr.stats(level="model_hardwar")


@pytest.mark.parametrize("name", ["metric", "n", "p50", "mean"])
def test_a_level_that_would_double_a_column_of_the_answer_is_an_error(name: str) -> None:
    frame = results().assign(**{name: "x"})
    with pytest.raises(SchemaError, match=name):
        frame.aggr.stats(level=[name], metrics="throughput")
