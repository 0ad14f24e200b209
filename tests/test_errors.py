"""The tree of errors, and the words that they are made of."""

from __future__ import annotations

import copy
import inspect
import pickle
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aggrkit
from aggrkit import errors
from aggrkit.errors import (
    AggrError,
    Cancelled,
    EmptySelectionError,
    ProtocolError,
    ReportError,
    SchemaError,
    SourceError,
    StageError,
    TooFewObservationsError,
    UnknownNameError,
    did_you_mean,
    listed,
    nearest,
    number_between,
    quoted,
)

TREE = {
    SchemaError: ValueError,
    UnknownNameError: ValueError,
    EmptySelectionError: LookupError,
    TooFewObservationsError: ValueError,
    StageError: AggrError,
    SourceError: AggrError,
    ProtocolError: AggrError,
    ReportError: AggrError,
    Cancelled: AggrError,
}


@pytest.mark.parametrize(("error", "base"), TREE.items())
def test_the_tree(error: type[Exception], base: type[Exception]) -> None:
    assert issubclass(error, AggrError)
    assert issubclass(error, base)
    assert error.__name__ in errors.__doc__
    assert getattr(aggrkit.errors, error.__name__) is error


def test_every_error_is_in_the_tree_and_described() -> None:
    found = {thing for _, thing in inspect.getmembers(errors, inspect.isclass) if issubclass(thing, Exception)}
    assert found == {AggrError, *TREE}
    assert set(errors.__all__) == {error.__name__ for error in found}
    assert all(error.__doc__ for error in found)


def test_an_unknown_name_lists_the_choices_and_the_nearest() -> None:
    error = UnknownNameError.of("metric", "latenzy", ["throughput", "latency_ms", "latency_ms"], "A hint.")
    assert str(error) == (
        "unknown metric 'latenzy'; did you mean 'latency_ms'?; "
        "metrics to choose from: 'throughput', 'latency_ms'. A hint."
    )
    assert error.name == "latenzy"
    assert error.choices == ("throughput", "latency_ms")


def test_an_unknown_name_where_nothing_is_near_or_nothing_is_there() -> None:
    assert "did you mean" not in str(UnknownNameError.of("level", "qqqq", ["model", "hardware"]))
    assert str(UnknownNameError.of("metric", "x", [])) == "unknown metric 'x'; there is no metric to choose from."


def test_names_that_are_no_text_are_said_as_they_are_and_on_one_line() -> None:
    error = UnknownNameError.of("column", pd.Series(range(100)), ["a"])
    assert "\n" not in str(error)
    assert len(str(error)) < 300
    assert "unknown column 3;" in str(UnknownNameError.of("column", 3, ["a"]))


def test_a_stage_error_names_phase_stage_and_cause() -> None:
    error = StageError("postprocess", "my_stage", KeyError("x"))
    assert (error.phase, error.stage) == ("postprocess", "my_stage")
    assert str(error) == "the postprocess stage 'my_stage' failed: KeyError: 'x'"


@pytest.mark.parametrize(
    "error",
    [
        UnknownNameError.of("level", "modl", ["model"]),
        StageError("aggregate", "mine", ValueError("no {}")),
        EmptySelectionError("nothing"),
        SourceError("gone"),
    ],
)
def test_errors_come_back_from_other_processes(error: AggrError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("modl", "model"),
        ("MODEL", "model"),
        ("hardwre", "Hardware"),
        ("zzz", None),
        ("", None),
        ("latency", "latency_ms"),
    ],
)
def test_nearest(name: str, found: str | None) -> None:
    choices = ["model", "Hardware", "latency_ms"]
    assert nearest(name, choices) == found
    assert did_you_mean(name, choices) == (f"did you mean {found!r}?" if found else "")


@given(st.text(max_size=8), st.lists(st.text(max_size=8), max_size=5))
def test_nearest_is_one_of_the_choices_or_none(name: str, choices: list[str]) -> None:
    found = nearest(name, choices)
    assert found is None or found in choices
    if name and name in choices:
        assert found is not None
        assert found.casefold() == name.casefold()


def test_long_lists_are_cut_off() -> None:
    assert listed(["a", 1, None]) == "'a', '1', 'None'"
    assert listed([]) == ""
    many = listed(range(1000))
    assert many.endswith("... (1000 in all)")
    assert many.count(",") == 30


@pytest.mark.parametrize(
    ("value", "said"),
    [("a  b", "'a  b'"), ("a\nb", r"'a\nb'"), (3, "3"), (None, "None"), (np.array([1, 2]), "array([1, 2])")],
)
def test_what_was_given_is_quoted(value: object, said: str) -> None:
    assert quoted(value) == said


def test_what_was_given_is_quoted_on_one_short_line() -> None:
    for value in ("x" * 10_000, pd.DataFrame({"a": range(100)}), np.arange(1000), 10**300):
        assert "\n" not in quoted(value)
        assert len(quoted(value)) < 120


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.25), np.int64(1), Decimal("0.5")])
def test_numbers_between(value: object) -> None:
    assert number_between(value, 0, 2, "a share") == float(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, 2, -1, 3.5, float("nan"), float("inf"), np.nan])
def test_numbers_outside(value: object) -> None:
    with pytest.raises(ValueError, match=r"^a share; got "):
        number_between(value, 0, 2, "a share")


@pytest.mark.parametrize("value", ["1", b"1", None, True, [1], object(), pd.Series([1, 2])])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(TypeError, match=r"^a share; got "):
        number_between(value, 0, 2, "a share")
