"""Selections: equal, hashable, readable as JSON and as Python, whatever they are made from."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aggrkit import Selection, TimeRange
from aggrkit.errors import UnknownNameError
from aggrkit.model.selection import LEVELS, level_columns

NAMES = st.text(max_size=12)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 1),
    st.floats(),
    st.sampled_from([0.0, 1.0, -0.0]),
    st.text(max_size=12),
)
MOMENTS = st.one_of(
    st.none(), st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.none() | st.timezones())
)


@st.composite
def time_ranges(draw: st.DrawFn) -> tuple[Any, Any]:
    pair = [draw(MOMENTS), draw(MOMENTS)]
    read = [None if moment is None else TimeRange(moment, None).start for moment in pair]
    return tuple(pair) if None in read or read[0] <= read[1] else tuple(reversed(pair))  # type: ignore[return-value, operator]


ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "level": st.one_of(st.sampled_from(list(LEVELS)), st.lists(NAMES, max_size=3)),
        "metrics": st.one_of(st.none(), NAMES, st.lists(NAMES, min_size=1, max_size=3)),
        "where": st.one_of(
            st.none(), st.dictionaries(NAMES, st.one_of(SCALARS, st.lists(SCALARS, max_size=4)), max_size=3)
        ),
        "time_range": st.one_of(st.none(), time_ranges()),
        "result_type": st.sampled_from([None, "performance", "compatibility", "integration", "web_platform"]),
    },
)


@given(ARGUMENTS)
@example({"where": {"a": [1, True, 1.0, "1", None]}})
@example({"where": {"a": float("inf"), "b": float("nan")}, "time_range": (None, None)})
@example({"level": [], "metrics": "", "where": {"": []}})
def test_a_selection_survives_json_and_repr(arguments: dict[str, Any]) -> None:
    selection = Selection(**arguments)
    text = selection.to_json()
    assert json.loads(text) is not None
    again = Selection.from_json(text)
    assert again == selection
    assert hash(again) == hash(selection)
    assert again.to_json() == text
    printed = eval(repr(selection), {"Selection": Selection})
    assert printed == selection
    assert repr(printed) == repr(selection)
    assert {selection: "one"}[again] == "one"


@given(ARGUMENTS, ARGUMENTS)
def test_selections_are_equal_only_if_their_json_is(first: dict[str, Any], second: dict[str, Any]) -> None:
    one, other = Selection(**first), Selection(**second)
    assert (one == other) == (one.to_json() == other.to_json())
    if one == other:
        assert hash(one) == hash(other)


@given(st.dictionaries(NAMES, st.lists(SCALARS, max_size=3), max_size=5), st.randoms())
def test_the_order_of_filters_does_not_matter(where: dict[str, Any], random: Any) -> None:
    items = list(where.items())
    random.shuffle(items)
    one, other = Selection(where=where), Selection(where=dict(items))
    assert one == other
    assert hash(one) == hash(other)
    assert repr(one) == repr(other)
    assert one.to_json() == other.to_json()


# A number, a truth and a text are different filters, even where Python calls them equal.
@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), (1, "1"), (0, False), (0, None), ("", None)])
def test_values_of_different_types_are_different(one: object, other: object) -> None:
    assert Selection(where={"a": one}) != Selection(where={"a": other})
    assert Selection(where={"a": [one, other, one]}).where == (("a", (one, other)),)


def test_filters_that_could_run_together_are_different() -> None:
    assert Selection(where={"a": "1_b:2"}) != Selection(where={"a": "1", "b": "2"})
    assert Selection(where={"a": ["1", "2"]}) != Selection(where={"a": "1,2"})
    assert Selection(level=["a,b"]) != Selection(level=["a", "b"])


def test_a_selection_is_not_equal_to_something_else() -> None:
    assert Selection() != "Selection()"
    assert Selection() != None  # noqa: E711 - the comparison itself is tested


def test_a_selection_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Selection().level = "model"  # type: ignore[misc]
    assert dataclasses.replace(Selection("model"), metrics="x") == Selection("model", metrics=["x"])


@pytest.mark.parametrize(
    ("selection", "printed"),
    [
        (Selection(), "Selection()"),
        (Selection("model"), "Selection(level='model')"),
        (Selection([]), "Selection(level=[])"),
        (Selection(None), "Selection(level=[])"),
        (Selection(("a", "b", "a")), "Selection(level=['a', 'b'])"),
        (Selection(metrics="x"), "Selection(metrics=['x'])"),
        (Selection(where={"b": [1, 2], "a": "x"}), "Selection(where={'a': 'x', 'b': [1, 2]})"),
        (Selection(where={}), "Selection()"),
        (
            Selection(time_range=("2025-01-01", None)),
            "Selection(time_range=['2025-01-01T00:00:00', None])",
        ),
        (Selection(time_range=(None, None)), "Selection()"),
        (Selection(result_type="performance"), "Selection(result_type='performance')"),
    ],
)
def test_repr_is_the_call_that_makes_it(selection: Selection, printed: str) -> None:
    assert repr(selection) == printed
    assert str(selection) == printed


@pytest.mark.parametrize(
    ("given_values", "plain"),
    [
        (np.int64(8), (8,)),
        (np.float32(0.5), (0.5,)),
        (np.bool_(True), (True,)),
        (np.str_("a"), ("a",)),
        (np.array(["a", "b"]), ("a", "b")),
        (np.array([1, 2], dtype=np.uint8), (1, 2)),
        (pd.Series(["a", None]), ("a", None)),
        (pd.Series([1, None]), (1.0, None)),
        (pd.Series(["a", "b"], dtype="category"), ("a", "b")),
        (pd.Index([1, 2]), (1, 2)),
        (pd.array([1, None], dtype="Int64"), (1, None)),
        ({"b", "a"}, ("a", "b")),
        (frozenset({2, 1}), (1, 2)),
        (range(3), (0, 1, 2)),
        ((x for x in "ab"), ("a", "b")),
        ({"a": 1, "b": 2}.keys(), ("a", "b")),
        ([], ()),
        (None, (None,)),
        (pd.NA, (None,)),
        (pd.NaT, (None,)),
        (float("nan"), (None,)),
        (np.datetime64("NaT"), (None,)),
        (float("inf"), ("inf",)),
        (Decimal("1.50"), ("1.50",)),
        (dt.date(2025, 1, 2), ("2025-01-02",)),
        (pd.Timestamp("2025-01-02 03:04"), ("2025-01-02 03:04:00",)),
        (np.datetime64("2025-01-02T03:04", "ns"), ("2025-01-02 03:04:00",)),
    ],
)
def test_values_of_numpy_and_pandas_become_plain(given_values: object, plain: tuple[object, ...]) -> None:
    (_, values), *_ = Selection(where={"a": given_values}).where
    assert values == plain
    assert [type(value) for value in values] == [type(value) for value in plain]
    assert Selection.from_json(Selection(where={"a": plain}).to_json()) == Selection(where={"a": plain})


def test_names_need_not_be_text() -> None:
    assert Selection(where={3: 1}) == Selection(where={"3": 1})
    assert Selection(level=[3]).level == ("3",)
    assert Selection(metrics=(name for name in ("a", "b"))).metrics == ("a", "b")


@pytest.mark.parametrize(
    ("level", "near"),
    [("modl", "model"), ("Model_Hardware", "model_hardware"), ("workers", "worker"), ("everything", None)],
)
def test_an_unknown_level(level: str, near: str | None) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown level '{level}'") as caught:
        Selection(level)
    assert caught.value.choices == ("test_run", "model", "hardware", "model_hardware", "task_type", "worker")
    assert caught.value.name == level
    assert "give a list of their names" in str(caught.value)
    assert (f"did you mean '{near}'?" in str(caught.value)) == (near is not None)


def test_an_unknown_result_type() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'performance'") as caught:
        Selection(result_type="performence")
    assert caught.value.choices == ("performance", "compatibility", "integration", "web_platform")


def test_an_unknown_key_in_json() -> None:
    with pytest.raises(UnknownNameError, match="unknown key 'levl'; did you mean 'level'"):
        Selection.from_json('{"levl": "model"}')


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"level": 3}, TypeError, "a level is a name or a list of columns; got 3"),
        ({"level": b"model"}, TypeError, "a level is a name or a list of columns"),
        ({"metrics": 3}, TypeError, "metrics are a name or a list of names; got 3"),
        ({"metrics": []}, ValueError, "asks for nothing"),
        ({"where": "model == 'a'"}, TypeError, "'where' is a mapping"),
        ({"where": ["model"]}, TypeError, "'where' is a mapping"),
        ({"time_range": "2025"}, TypeError, "a pair (start, end)"),
        ({"time_range": ("2025", "2026", "2027")}, TypeError, "got 3 values"),
        ({"time_range": pd.Timedelta("1D")}, TypeError, "a pair (start, end)"),
    ],
)
def test_what_a_selection_cannot_be_made_of(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        Selection(**arguments)


def test_levels_name_the_roles_that_they_group_by() -> None:
    assert Selection().columns == ("model", "hardware")
    assert Selection("test_run").columns == ("run_id",)
    assert Selection(["a", "b"]).columns == ("a", "b")
    assert Selection(None).columns == ()
    assert level_columns("worker") == ("worker",)


class TestTimeRange:
    """Both ends included, in UTC, either open; what can't be read is refused."""

    @pytest.mark.parametrize(
        ("moment", "utc"),
        [
            ("2025-03-01", "2025-03-01T00:00:00"),
            ("2025-03-01T12:00:00Z", "2025-03-01T12:00:00"),
            ("2025-03-01T12:00:00+02:00", "2025-03-01T10:00:00"),
            ("2025-03-01 23:30-05:00", "2025-03-02T04:30:00"),
            (pd.Timestamp("2025-07-01", tz="Europe/Berlin"), "2025-06-30T22:00:00"),
            (dt.datetime(2025, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=9))), "2024-12-31T15:00:00"),
            (dt.datetime(2025, 1, 1, 1), "2025-01-01T01:00:00"),
            (dt.date(2025, 1, 1), "2025-01-01T00:00:00"),
            (np.datetime64("2025-01-01"), "2025-01-01T00:00:00"),
            (1735689600, "2025-01-01T00:00:00"),
            (1735689600.5, "2025-01-01T00:00:00.500000"),
            (np.int64(1735689600000), "2025-01-01T00:00:00"),
            (1735689600000000, "2025-01-01T00:00:00"),
            (1735689600000000000, "2025-01-01T00:00:00"),
            (-86400, "1969-12-31T00:00:00"),
            ("0001-01-01", "0001-01-01T00:00:00"),
            ("9999-12-31", "9999-12-31T00:00:00"),
            (pd.Timestamp("2025-01-01 00:00:00.123456789"), "2025-01-01T00:00:00.123456"),
        ],
    )
    def test_moments_are_read_as_utc(self, moment: object, utc: str) -> None:
        assert TimeRange(moment, None).as_json() == [utc, None]  # type: ignore[arg-type]
        assert TimeRange(None, moment).as_json() == [None, utc]  # type: ignore[arg-type]

    def test_ends_in_different_zones(self) -> None:
        span = TimeRange("2025-01-01T00:00+09:00", pd.Timestamp("2025-01-01T00:00", tz="America/New_York"))  # type: ignore[arg-type]
        assert span.as_json() == ["2024-12-31T15:00:00", "2025-01-01T05:00:00"]
        assert span == TimeRange("2024-12-31T15:00Z", "2025-01-01T05:00")  # type: ignore[arg-type]
        assert hash(span) == hash(TimeRange("2024-12-31T15:00Z", "2025-01-01T05:00"))  # type: ignore[arg-type]

    @pytest.mark.parametrize("nothing", [None, pd.NaT, float("nan"), "", "  ", np.datetime64("NaT")])
    def test_open_ends(self, nothing: object) -> None:
        span = TimeRange(nothing, "2025-01-01")  # type: ignore[arg-type]
        assert span.start is None
        assert span.as_json() == [None, "2025-01-01T00:00:00"]
        assert "2025-01-01" in str(span)
        assert TimeRange.of((nothing, nothing)) is None
        assert TimeRange.of((nothing, "2025-01-01")) == span

    def test_a_moment_is_a_range_of_its_own(self) -> None:
        assert TimeRange("2025-01-01", "2025-01-01").start == pd.Timestamp("2025-01-01")  # type: ignore[arg-type]

    def test_a_range_that_ends_before_it_starts(self) -> None:
        with pytest.raises(ValueError, match="ends before it starts: 2025-02-01 00:00:00 to 2025-01-01 00:00:00"):
            TimeRange("2025-02-01", "2025-01-01")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="ends before it starts"):  # five hours later in New York
            TimeRange("2025-01-01T12:00-05:00", "2025-01-01T12:00Z")  # type: ignore[arg-type]

    @pytest.mark.parametrize("garbage", ["soon", "2025-13-45", object(), True, [1], {}, b"2025", 1e30, float("inf")])
    @pytest.mark.parametrize("side", ["start", "end"])
    def test_what_is_no_time(self, garbage: object, side: str) -> None:
        with pytest.raises(ValueError, match=f"the {side} of the time range can't be read as a time"):
            TimeRange(**{side: garbage})  # type: ignore[arg-type]

    def test_of_takes_pairs_only(self) -> None:
        span = TimeRange("2025-01-01", None)  # type: ignore[arg-type]
        assert TimeRange.of(span) is span
        assert TimeRange.of(None) is None
        assert TimeRange.of(["2025-01-01", None]) == span
        assert TimeRange.of(np.array(["2025-01-01", "2025-01-02"], dtype="datetime64[D]")) is not None
        for wrong in ("2025", 3, ["2025"], slice("2025", "2026"), {"start": "2025"}):
            with pytest.raises(TypeError, match="a time range is a pair"):
                TimeRange.of(wrong)
