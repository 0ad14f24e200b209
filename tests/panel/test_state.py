"""The state of a panel: plain values that travel as JSON, and are checked where they arrive."""

from __future__ import annotations

import datetime
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggrkit.errors import UnknownNameError
from aggrkit.panel import State
from aggrkit.panel.state import STATISTICS, TABS

NAMES = st.text(min_size=1, max_size=12)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=12)
)
MOMENTS = st.datetimes(datetime.datetime(1971, 1, 1), datetime.datetime(2100, 1, 1)).map(datetime.datetime.isoformat)
SPANS = st.lists(st.one_of(st.none(), MOMENTS, MOMENTS.map(lambda moment: moment[:10])), min_size=2, max_size=2).map(
    lambda pair: pair if None in pair else sorted(pair)
)
STATES = st.fixed_dictionaries(
    {},
    optional={
        "result_type": st.none() | NAMES,
        "level": st.sampled_from(["model", "hardware", "model_hardware"]) | st.lists(NAMES, max_size=3),
        "metric": st.none() | NAMES,
        "statistic": st.sampled_from(STATISTICS),
        "cell": st.dictionaries(NAMES, VALUES, max_size=3),
        "tab": st.sampled_from(TABS),
        "by": st.none() | NAMES,
        "baseline": VALUES,
        "current": VALUES,
    },
)


def through_json(state: State) -> State:
    return State.of(json.loads(json.dumps(state.as_dict(), allow_nan=False)))


@given(STATES, SPANS)
def test_a_state_comes_back_from_json(parts: dict[str, Any], span: list[str | None]) -> None:
    try:
        state = State.of({**parts, "start": span[0], "end": span[1]})
    except ValueError:  # a moment may follow the end of the day that sorts before it as text
        return
    assert through_json(state) == state


def test_only_what_differs_from_the_defaults_is_told() -> None:
    assert State().as_dict() == {}
    assert State(level=["model"], cell={"model": "a"}, statistic="p50").as_dict() == {
        "level": ["model"],
        "cell": {"model": "a"},
    }
    assert State(level=[]).as_dict() == {"level": []}


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ({"cell": {"batch_size": np.int64(8)}}, {"cell": {"batch_size": 8}}),
        ({"cell": {"batch_size": np.float64(0.5)}}, {"cell": {"batch_size": 0.5}}),
        ({"cell": {"on_disk": np.True_}}, {"cell": {"on_disk": True}}),
        ({"cell": {"model": None}}, {"cell": {"model": "unknown"}}),
        ({"cell": {"model": float("nan")}}, {"cell": {"model": "unknown"}}),
        ({"start": pd.Timestamp("2026-03-01 10:00")}, {"start": "2026-03-01T10:00:00"}),
        ({"end": datetime.date(2026, 3, 1)}, {"end": "2026-03-01"}),
        ({"end": 1767571200}, {"end": "2026-01-05T00:00:00"}),
        ({"start": pd.NaT, "end": "  "}, {}),
        ({"baseline": pd.Timedelta("7D")}, {"baseline": "7 days 00:00:00"}),
        ({"baseline": np.array(["a", "b"])}, {"baseline": ["a", "b"]}),
        ({"level": None}, {"level": []}),
        ({"level": ("model", "model")}, {"level": ["model"]}),
    ],
)
def test_values_of_pandas_and_numpy_are_kept_as_json_has_them(given_: dict[str, Any], kept: dict[str, Any]) -> None:
    state = State.of(given_)
    assert state.as_dict() == kept
    assert through_json(state) == state


@pytest.mark.parametrize(
    ("end", "last"),
    [
        ("2026-03-01", "2026-03-01T23:59:59.999999"),
        ("20260301", "2026-03-01T23:59:59.999999"),
        (" 1 March 2026 ", "2026-03-01T23:59:59.999999"),
        (datetime.date(2026, 3, 1), "2026-03-01T23:59:59.999999"),
        ("2026-03-01 00:00", "2026-03-01T00:00:00"),
        ("20260301T000000", "2026-03-01T00:00:00"),
        ("2026-03-01T12:30", "2026-03-01T12:30:00"),
        ("2026-03-01T00:00:00+02:00", "2026-02-28T22:00:00"),
        (pd.Timestamp("2026-03-01"), "2026-03-01T00:00:00"),
        (1772323200, "2026-03-01T00:00:00"),
        ("9999-12-31", "9999-12-31T23:59:59.999999"),
    ],
)
def test_a_last_day_is_taken_as_a_whole_and_a_last_moment_as_it_is(end: Any, last: str) -> None:
    assert State(end=end).time_range == (None, last)


def test_a_first_day_begins_at_midnight_and_zones_are_heeded() -> None:
    assert State(start="2026-03-01").time_range == ("2026-03-01T00:00:00", None)
    assert State(start="2026-03-01T01:00:00+02:00").time_range == ("2026-02-28T23:00:00", None)
    assert State(start="2026-03-01", end="2026-03-01").time_range == (
        "2026-03-01T00:00:00",
        "2026-03-01T23:59:59.999999",
    )
    assert State().time_range is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"statistic": "p42"}, "unknown statistic 'p42'.*'p50', 'p75'"),
        ({"tab": "anomaly"}, "did you mean 'anomalies'"),
        ({"metrics": "latency_ms"}, "did you mean 'metric'"),
        ({"start": "soon"}, "start of the time range can't be read as a time: 'soon'"),
        ({"start": "2026-03-02", "end": "2026-03-01"}, "ends before it starts"),
        ({"start": {"year": 2026}}, "can't be read as a time"),
        ({"statistic": ["p50"]}, "unknown statistic"),
        ({"metric": 3}, "'metric' is a name; got 3"),
        ({"result_type": ["a"]}, "'result_type' is a name"),
        ({"by": 7}, "'by' is a name"),
        ({"level": 3}, "a level is a name or a list of columns; got 3"),
        ({"cell": "model"}, "a cell is a mapping of column to label"),
        ({"cell": [1, 2]}, "a cell is a mapping of column to label"),
        ({"cell": {"model": ["a", "b"]}}, "one label for each column"),
        ({"cell": {"model": []}}, "one label for each column"),
    ],
)
def test_what_is_wrong_is_said(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises((UnknownNameError, ValueError, TypeError), match=words):
        State.of(wrong)


def test_another_level_forgets_the_cell() -> None:
    state = State(level="model", cell={"model": "a"})
    assert state.changed(level="hardware").cells == {}
    assert state.changed(level="model", metric="x").cells == {"model": "a"}
    assert state.changed(level="hardware", cell={"hardware": "h"}).cells == {"hardware": "h"}
    assert state.changed(metric="x").cells == {"model": "a"}


def test_another_column_to_compare_by_forgets_the_sides() -> None:
    state = State(by="driver", baseline="v1", current="v2")
    changed = state.changed(by="cuda")
    assert (changed.baseline, changed.current) == (None, None)
    changed = state.changed(by="cuda", baseline="11")
    assert (changed.baseline, changed.current) == ("11", None)
    changed = state.changed(by="driver", tab="compare")
    assert (changed.baseline, changed.current) == ("v1", "v2")


def test_a_state_is_frozen() -> None:
    with pytest.raises(AttributeError):
        State().metric = "x"  # type: ignore[misc]
