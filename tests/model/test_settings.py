"""Settings: which values are possible, and how changes are taken in."""

from __future__ import annotations

import warnings
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import aggrkit.detailed.aggregator as detailed
import aggrkit.service.config as service
from aggrkit import ResultAggregator, ResultAggregatorService
from aggrkit.errors import UnknownNameError
from aggrkit.model.settings import Setting, defaults, updated

NAMES = ("robust", "zscore")
KNOWN = {
    "enabled": Setting(True, "a switch"),
    "days": Setting(7, "any positive number"),
    "seconds": Setting(300, "0 is possible", least=0),
    "alpha": Setting(0.05, "a share", below=0.5),
    "method": Setting("robust", "one of several", choices=NAMES),
}
START = {"enabled": True, "days": 7, "seconds": 300, "alpha": 0.05, "method": "robust"}


def test_kinds_and_defaults() -> None:
    assert {name: setting.kind for name, setting in KNOWN.items()} == {
        "enabled": "flag",
        "days": "number",
        "seconds": "number",
        "alpha": "number",
        "method": "choice",
    }
    assert defaults(KNOWN) == START
    with pytest.raises(TypeError):
        defaults(KNOWN)["days"] = 3  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enabled", False),
        ("days", 0.001),
        ("days", 10**300),
        ("seconds", 0),
        ("seconds", 0.0),
        ("alpha", 0.49),
        ("alpha", 1e-300),
        ("method", "zscore"),
        ("method", "robust"),
    ],
)
def test_what_is_possible_is_taken(name: str, value: Any) -> None:
    config = dict(START)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert updated(KNOWN, config, {name: value}) == START | {name: value}
    assert config == START


@pytest.mark.parametrize("value", [np.int64(3), np.float32(3), np.uint8(3), Fraction(3)])
def test_numbers_of_other_types_become_those_of_python(value: Any) -> None:
    taken = updated(KNOWN, START, {"days": value})["days"]
    assert taken == 3
    assert type(taken) in (int, float)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("enabled", 1, "enabled is True or False; got 1"),
        ("enabled", None, "enabled is True or False; got None"),
        ("enabled", "yes", "enabled is True or False; got 'yes'"),
        ("days", True, "days is a number above 0; got True"),
        ("days", "7", "days is a number above 0; got '7'"),
        ("days", None, "days is a number above 0; got None"),
        ("days", 1j, "days is a number above 0; got 1j"),
        ("days", Decimal(3), "days is a number above 0; got Decimal"),
        ("days", np.bool_(True), "days is a number above 0; got np.True_"),
        ("days", np.array([3]), r"days is a number above 0; got array\(\[3\]\)"),
        ("method", None, "method is one of robust, zscore; got None"),
        ("method", ["robust"], r"method is one of robust, zscore; got \['robust'\]"),
        ("method", np.array(["robust"]), "method is one of robust, zscore; got array"),
    ],
)
def test_another_type_is_refused(name: str, value: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        updated(KNOWN, START, {name: value})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("days", 0, "days is a number above 0; got 0"),
        ("days", -1, "days is a number above 0; got -1"),
        ("days", float("inf"), "days is a number above 0; got inf"),
        ("days", float("nan"), "days is a number above 0; got nan"),
        ("days", 10**400, "days is a number above 0; got 1000"),
        ("seconds", -1e-9, "seconds is a number of at least 0; got -1e-09"),
        ("seconds", float("nan"), "seconds is a number of at least 0; got nan"),
        ("alpha", 0.5, "alpha is a number above 0 and below 0.5; got 0.5"),
        ("alpha", 0, "alpha is a number above 0 and below 0.5; got 0"),
    ],
)
def test_a_number_out_of_bounds_is_refused(name: str, value: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        updated(KNOWN, START, {name: value})


def test_another_name_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown method 'robst'; did you mean 'robust'") as raised:
        updated(KNOWN, START, {"method": "robst"})
    assert raised.value.choices == NAMES


@pytest.mark.parametrize("changes", [None, 7, "days", ["days"], [("days", 3)]])
def test_changes_are_a_mapping(changes: Any) -> None:
    with pytest.raises(TypeError, match="the configuration is a dictionary of changes; got"):
        updated(KNOWN, START, changes)


def test_nothing_changes_where_one_value_is_impossible() -> None:
    config = dict(START)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the error comes before any warning
        with pytest.raises(ValueError, match="alpha"):
            updated(KNOWN, config, {"days": 3, "colour": "red", "alpha": 3})
    assert config == START


def test_unknown_settings_are_kept_and_warned_about() -> None:
    said = r"kept but not used: 3, colour, dais \(did you mean 'days'\?\); those in use: enabled, days, seconds, "
    with pytest.warns(UserWarning, match=said):
        found = updated(KNOWN, START, {"dais": 3, "days": 4, "colour": "red", 3: None})
    assert found == START | {"dais": 3, "days": 4, "colour": "red", 3: None}


@pytest.mark.parametrize("wrong", [{"default": -1}, {"default": "text"}, {"default": "x", "choices": NAMES}])
def test_a_default_must_be_possible(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match="the default"):
        Setting(**wrong)


@pytest.mark.parametrize("known", [service.SETTINGS, detailed.SETTINGS], ids=["service", "detailed"])
def test_every_setting_says_what_it_is_for(known: dict[str, Setting]) -> None:
    assert all(setting.doc for setting in known.values())


@pytest.mark.parametrize("name", sorted({*service.SETTINGS} & {*detailed.SETTINGS}))
def test_both_layers_refuse_the_same(name: str) -> None:
    assert service.SETTINGS[name].choices == detailed.SETTINGS[name].choices
    bounds = [
        (known[name].above, known[name].below, known[name].least) for known in (service.SETTINGS, detailed.SETTINGS)
    ]
    assert bounds[0] == bounds[1]


@pytest.mark.parametrize("made", [ResultAggregatorService, ResultAggregator])
def test_the_warning_names_the_line_that_configures(made: Any) -> None:
    with pytest.warns(UserWarning, match="colour") as told:
        made().configure({"colour": "red"})
    assert [warning.filename for warning in told] == [__file__]


def test_a_threshold_alone_chooses_the_method_that_has_one() -> None:
    assert service.updated(service.DEFAULTS, {"anomaly_threshold": 3})["anomaly_method"] == "zscore"
    both = {"anomaly_threshold": 3, "anomaly_method": "iqr"}
    assert service.updated(service.DEFAULTS, both)["anomaly_method"] == "iqr"
    assert service.updated(service.DEFAULTS, {"anomaly_alpha": 0.01})["anomaly_method"] == "robust"
