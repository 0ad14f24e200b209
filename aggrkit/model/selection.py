"""What is asked: result type, level, metrics, filters and time range, in one frozen object."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import pandas as pd

from aggrkit.errors import UnknownNameError
from aggrkit.model.metric import RESULT_TYPES
from aggrkit.model.schema import Role

__all__ = ["LEVELS", "Selection", "TimeRange", "level_columns"]

LEVELS: Final[dict[str, tuple[str, ...]]] = {
    "test_run": (Role.RUN.value,),
    "model": (Role.MODEL.value,),
    "hardware": (Role.HARDWARE.value,),
    "model_hardware": (Role.MODEL.value, Role.HARDWARE.value),
    "task_type": (Role.TASK_TYPE.value,),
    "worker": (Role.WORKER.value,),
}
"""The named levels, each with the dimensions that observations are grouped by."""

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A span of time, both ends included, either end open.

    Parameters
    ----------
    start, end : anything that pandas reads as a time, or None
        First and last moment; None leaves that end open. Times without a zone are taken as UTC.

    Examples
    --------
    >>> from aggrkit.model.selection import TimeRange
    >>> TimeRange("2025-03-01", "2025-03-15T12:00:00+02:00").as_json()
    ['2025-03-01T00:00:00', '2025-03-15T10:00:00']
    """

    start: pd.Timestamp | None = None
    end: pd.Timestamp | None = None

    def __post_init__(self) -> None:
        for side in ("start", "end"):
            object.__setattr__(self, side, _moment(getattr(self, side), side))
        if self.start is not None and self.end is not None and self.start > self.end:
            raise ValueError(f"the time range ends before it starts: {self.start} to {self.end}")

    @classmethod
    def of(cls, value: object) -> TimeRange | None:
        """Read a time range from a pair, or None."""
        if value is None or isinstance(value, cls):
            return value
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise TypeError(f"a time range is a pair (start, end), either of them None; got {value!r}")
        pair = list(value)
        if len(pair) != 2:
            raise TypeError(f"a time range is a pair (start, end), either of them None; got {len(pair)} values")
        return None if pair == [None, None] else cls(*pair)

    def as_json(self) -> list[str | None]:
        """Return start and end in ISO 8601, UTC."""
        return [None if moment is None else moment.isoformat() for moment in (self.start, self.end)]

    def __str__(self) -> str:
        start, end = self.as_json()
        return f"{start or 'the beginning'} to {end or 'the end'}"


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked of the observations.

    Parameters
    ----------
    level : str or iterable of str, optional
        One of the six named levels, or the columns to group by; an empty list makes one group of all.
    metrics : str or iterable of str, optional
        Which metrics; all that were recognised by default.
    where : mapping, optional
        Column to the value, or the values, that are let in.
    time_range : pair, optional
        First and last moment, see `TimeRange`.
    result_type : str, optional
        One of the four result types, where a source holds several.

    Notes
    -----
    A selection can be hashed, and equal ones are equal in whatever order the filters were given. ``str(selection)`` is
    the call that makes it, and ``Selection.from_json(selection.to_json())`` is the same selection.

    Examples
    --------
    >>> from aggrkit import Selection
    >>> Selection("model", where={"hardware": ["a100", "h100"]})
    Selection(level='model', where={'hardware': ['a100', 'h100']})
    """

    level: str | tuple[str, ...] = "model_hardware"
    metrics: tuple[str, ...] | None = None
    where: tuple[tuple[str, tuple[Scalar, ...]], ...] = ()
    time_range: TimeRange | None = None
    result_type: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "level", _level(self.level))
        if self.metrics is not None:
            object.__setattr__(self, "metrics", _names(self.metrics))
        object.__setattr__(self, "where", _where(self.where))
        object.__setattr__(self, "time_range", TimeRange.of(self.time_range))
        if self.result_type is not None and self.result_type not in RESULT_TYPES:
            raise UnknownNameError.of("result type", self.result_type, RESULT_TYPES)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns or roles that observations are grouped by."""
        return level_columns(self.level)

    def as_dict(self) -> dict[str, Any]:
        """Return the arguments that differ from the defaults, as JSON has them."""
        out: dict[str, Any] = {}
        if self.level != "model_hardware":
            out["level"] = self.level if isinstance(self.level, str) else list(self.level)
        if self.metrics is not None:
            out["metrics"] = list(self.metrics)
        if self.where:
            out["where"] = {name: values[0] if len(values) == 1 else list(values) for name, values in self.where}
        if self.time_range is not None:
            out["time_range"] = self.time_range.as_json()
        if self.result_type is not None:
            out["result_type"] = self.result_type
        return out

    def to_json(self) -> str:
        """Return the selection as JSON text, always the same for equal selections."""
        return json.dumps(self.as_dict(), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Selection:
        """Read what `to_json` wrote.

        Raises
        ------
        UnknownNameError
            If the text has a key that a selection doesn't have.
        """
        given = json.loads(text)
        known = [field.name for field in fields(cls)]
        for key in given:
            if key not in known:
                raise UnknownNameError.of("key", key, known)
        return cls(**given)

    def __repr__(self) -> str:
        return f"Selection({', '.join(f'{key}={value!r}' for key, value in self.as_dict().items())})"


def level_columns(level: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns or roles that a level groups by."""
    return LEVELS[level] if isinstance(level, str) else level


def _level(level: object) -> str | tuple[str, ...]:
    if isinstance(level, str):
        if level not in LEVELS:
            raise UnknownNameError.of("level", level, LEVELS, "To group by columns, give a list of their names.")
        return level
    if level is None:
        return ()
    if not isinstance(level, Iterable):
        raise TypeError(f"a level is a name or a list of columns; got {level!r}")
    return tuple(dict.fromkeys(str(name) for name in level))


def _names(names: object) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        return (str(names),)
    return tuple(dict.fromkeys(str(name) for name in names))


def _where(where: object) -> tuple[tuple[str, tuple[Scalar, ...]], ...]:
    if where is None:
        return ()
    if isinstance(where, Mapping):
        where = tuple(where.items())
    if not isinstance(where, tuple):
        raise TypeError(f"'where' is a mapping of column to value or values, or an Ibis expression; got {where!r}")
    return tuple(sorted((str(name), _values(values)) for name, values in where))


def _values(values: object) -> tuple[Scalar, ...]:
    if isinstance(values, (pd.Series, pd.Index, np.ndarray)):
        values = values.tolist()
    if isinstance(values, (set, frozenset)):
        values = sorted(values, key=repr)
    if isinstance(values, (list, tuple, range)):
        return tuple(dict.fromkeys(_scalar(value) for value in values))
    return (_scalar(values),)


def _scalar(value: object) -> Scalar:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, (str, bool, int, float)):
        return value
    return str(value)


def _moment(value: object, side: str) -> pd.Timestamp | None:
    if value is None or value is pd.NaT or (isinstance(value, str) and not value.strip()):
        return None
    try:
        moment = pd.Timestamp(value)  # type: ignore[arg-type]
    except (ValueError, TypeError) as error:
        raise ValueError(f"the {side} of the time range can't be read as a time: {value!r}") from error
    return moment if moment.tzinfo is None else moment.tz_convert("UTC").tz_localize(None)
