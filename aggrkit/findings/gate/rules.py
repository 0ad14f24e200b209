"""What a gate lets pass: its rules, checked where they are said, and the changes that are expected."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from aggrkit.errors import UnknownNameError, number_between, quoted
from aggrkit.model.selection import names_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FAIL_ON", "MISSING", "Expected", "Rules"]

FAIL_ON: Final = ("regressed", "changed", "undecided", "improved")
"""From the mildest gate to the strictest: each closes on what it names, and on all before it."""

MISSING: Final = ("fail", "warn")
"""What becomes of lines that the baseline has and the current side hasn't."""

_SAID: Final = ("up_to", "reason")


@dataclass(frozen=True, slots=True)
class Expected:
    """Lines that are known to change, and why.

    Parameters
    ----------
    where : tuple of (str, tuple of str)
        Column of the comparison, and what it may hold: values, or patterns such as ``"resnet*"``. A line is expected
        if it fits all of them.
    up_to : float or None, optional
        The largest change that is expected, 0.1 for 10 % (10 points for rates); any, and none at all, by default.
    reason : str, optional
        Why.

    Examples
    --------
    >>> from aggrkit.findings.gate import Expected
    >>> Expected.of({"model": "resnet*", "metric": "memory_mb", "up_to": 0.1, "reason": "a larger cache"})
    Expected(where=(('model', ('resnet*',)), ('metric', ('memory_mb',))), up_to=0.1, reason='a larger cache')
    """

    where: tuple[tuple[str, tuple[str, ...]], ...]
    up_to: float | None = None
    reason: str = ""

    @classmethod
    def of(cls, given: Expected | Mapping[str, Any]) -> Expected:
        """Read an entry of an allow list: columns with their values, and perhaps ``up_to`` and ``reason``.

        Raises
        ------
        TypeError
            If it is no mapping.
        ValueError
            If it names no column, or `up_to` isn't a positive number.
        """
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise TypeError(
                f"an expected change is a mapping such as {{'model': 'bert', 'reason': '...'}}; got {quoted(given)}"
            )
        where = tuple((str(name), _texts(value)) for name, value in given.items() if name not in _SAID)
        if not where:
            raise ValueError("an expected change names the lines it is of, e.g. {'model': 'bert'}; got no column")
        up_to = given.get("up_to")
        if up_to is not None:
            up_to = number_between(up_to, 0, math.inf, "'up_to' is the largest expected change, e.g. 0.1 for 10 %")
        return cls(where, up_to, str(given.get("reason") or ""))

    def fits(self, line: Mapping[str, Any]) -> bool:
        """Say whether a line is one of those that are named."""
        return all(
            any(str(line[name]) == value or fnmatchcase(str(line[name]), value) for value in values)
            for name, values in self.where
        )

    def __str__(self) -> str:
        named = ", ".join(f"{name} {' or '.join(values)}" for name, values in self.where)
        limit = "" if self.up_to is None else f", up to {100 * self.up_to:g} %"
        return f"{named}{limit}"


@dataclass(frozen=True, slots=True)
class Rules:
    """What closes a gate.

    Parameters
    ----------
    max_regressions : int or None, optional
        So many lines may regress; any number with None.
    fail_on : {"regressed", "changed", "undecided", "improved"}, optional
        What closes it, and all before it in this order. Lines that regressed, changed or improved count against
        `max_regressions`; a single undecided line closes it.
    missing : {"fail", "warn"}, optional
        What becomes of lines of which the current side has no data while the baseline has.
    tolerate : str or iterable of str, optional
        Metrics that are shown, and never close it.
    allow : iterable of Expected or mapping, optional
        Changes that are expected.
    min_effect : float or mapping, optional
        The smallest change that closes it, 0.05 for 5 % (5 points for rates), or one by metric; any that has a verdict
        by default.

    Raises
    ------
    UnknownNameError
        For a word that `fail_on` or `missing` doesn't know.
    TypeError, ValueError
        For another value that is impossible.
    """

    max_regressions: int | None = 0
    fail_on: str = "regressed"
    missing: str = "fail"
    tolerate: tuple[str, ...] = ()
    allow: tuple[Expected, ...] = ()
    min_effect: float | Mapping[str, float] = 0.0

    def __post_init__(self) -> None:
        most = self.max_regressions
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
            raise ValueError(f"max_regressions is a whole number from 0, or None for any; got {quoted(most)}")
        for name, choices in (("fail_on", FAIL_ON), ("missing", MISSING)):
            if getattr(self, name) not in choices:
                raise UnknownNameError.of(f"value of {name}", getattr(self, name), choices)
        tolerated = names_of(self.tolerate, "'tolerate' is a metric, or a list of metrics")
        object.__setattr__(self, "tolerate", tolerated)
        object.__setattr__(self, "allow", _entries(self.allow))
        for share in self.min_effect.values() if isinstance(self.min_effect, Mapping) else [self.min_effect]:
            number_between(share, math.nextafter(0, -1), math.inf, "min_effect is a share from 0, e.g. 0.05 for 5 %")

    @property
    def failing(self) -> tuple[str, ...]:
        """The verdicts that close the gate."""
        return FAIL_ON[: FAIL_ON.index(self.fail_on) + 1]

    def least(self, metric: str) -> float:
        """Return the smallest change of a metric that closes the gate, in percent or points."""
        share = self.min_effect.get(metric, 0.0) if isinstance(self.min_effect, Mapping) else self.min_effect
        return 100 * share

    def check_names(self, columns: Sequence[str], metrics: Sequence[str]) -> None:
        """Raise if a rule is of a column or metric that isn't there.

        Raises
        ------
        UnknownNameError
            With the names to choose from.
        """
        named = [*self.tolerate, *(self.min_effect if isinstance(self.min_effect, Mapping) else ())]
        for name in named:
            if name not in metrics:
                raise UnknownNameError.of("metric", name, metrics)
        for column in (name for entry in self.allow for name, _ in entry.where):
            if column not in columns:
                raise UnknownNameError.of("column", column, columns, "An expected change may also have: up_to, reason.")

    def as_dict(self) -> dict[str, Any]:
        """Return the rules as JSON has them."""
        said: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        entries = [
            {
                "where": {name: list(values) for name, values in entry.where},
                "up_to": entry.up_to,
                "reason": entry.reason,
            }
            for entry in self.allow
        ]
        least = dict(self.min_effect) if isinstance(self.min_effect, Mapping) else self.min_effect
        return said | {"tolerate": list(self.tolerate), "allow": entries, "min_effect": least}


def _entries(given: object) -> tuple[Expected, ...]:
    if isinstance(given, (Expected, Mapping)):
        return (Expected.of(given),)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"'allow' is a list of mappings such as {{'model': 'bert'}}; got {quoted(given)}")
    return tuple(Expected.of(entry) for entry in given)


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(dict.fromkeys(str(one) for one in value))
    return (str(value),)
