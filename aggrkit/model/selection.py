"""What is asked: result type, level, metrics, filters and time range, in one frozen object."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import pandas as pd

from aggrkit.errors import UnknownNameError, quoted
from aggrkit.model.metric import RESULT_TYPES
from aggrkit.model.schema import Role

__all__ = ["LEVELS", "Selection", "TimeRange", "level_columns", "names_of", "values_of"]

LEVELS: Final[dict[str, tuple[str, ...]]] = {
    "test_run": (Role.RUN.value,),
    "model": (Role.MODEL.value,),
    "hardware": (Role.HARDWARE.value,),
    "model_hardware": (Role.MODEL.value, Role.HARDWARE.value),
    "task_type": (Role.TASK_TYPE.value,),
    "worker": (Role.WORKER.value,),
}
"""The named levels, each with the dimensions that observations are grouped by."""

EPOCH_UNITS: Final = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"))
"""From which size on a number is a time in this unit since 1970; smaller ones are in seconds."""

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A span of time, both ends included, either end open.

    Parameters
    ----------
    start, end : anything that pandas reads as a time, or None
        First and last moment, to the microsecond; None leaves that end open. Times without a zone are taken as UTC,
        numbers as seconds (or ms, us, ns, as their size tells) since 1970.

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
        if value is None:
            return None
        if isinstance(value, cls):
            return None if value.start is None and value.end is None else value
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise TypeError(f"a time range is a pair (start, end), either of them None; got {quoted(value)}")
        pair = list(value)
        if len(pair) != 2:
            raise TypeError(f"a time range is a pair (start, end), either of them None; got {len(pair)} values")
        return cls.of(cls(*pair))

    def as_json(self) -> list[str | None]:
        """Return start and end in ISO 8601, UTC."""
        return [None if moment is None else moment.isoformat() for moment in (self.start, self.end)]

    def __str__(self) -> str:
        start, end = (None if moment is None else _short(moment) for moment in (self.start, self.end))
        if start is None or end is None:
            return f"until {end}" if start is None else f"since {start}"
        return f"{start} to {end}"


@dataclass(frozen=True, slots=True, eq=False)
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
            object.__setattr__(self, "metrics", names_of(self.metrics, "metrics are a name or a list of names"))
            if not self.metrics:
                raise ValueError("an empty list of metrics asks for nothing; leave 'metrics' out to ask for all")
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

    def __eq__(self, other: object) -> bool:
        return self.to_json() == other.to_json() if isinstance(other, Selection) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.to_json())

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
    return names_of(level, "a level is a name or a list of columns")


def names_of(names: object, what: str) -> tuple[str, ...]:
    """Return names that were given as one or as several.

    Raises
    ------
    TypeError
        If they are neither; `what` says what they should be.
    """
    if isinstance(names, str):
        return (names,)
    if isinstance(names, bytes) or not isinstance(names, Iterable):
        raise TypeError(f"{what}; got {quoted(names)}")
    return tuple(dict.fromkeys(str(name) for name in names))


def _where(where: object) -> tuple[tuple[str, tuple[Scalar, ...]], ...]:
    if where is None:
        return ()
    if isinstance(where, Mapping):
        where = tuple(where.items())
    if not isinstance(where, tuple):
        raise TypeError(f"'where' is a mapping of column to values, or an Ibis expression; got {quoted(where)}")
    return tuple(sorted(((str(name), values_of(values)) for name, values in where), key=lambda pair: pair[0]))


def values_of(values: object) -> tuple[Scalar, ...]:
    """Return one or several values as plain ones: what JSON has, and text for all else."""
    if isinstance(values, (pd.Series, pd.Index, np.ndarray)):
        values = values.tolist()
    if isinstance(values, (set, frozenset)):
        values = sorted(values, key=repr)
    if isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping)):
        return tuple({(type(value), value): value for value in map(_scalar, values)}.values())
    return (_scalar(values),)


def _scalar(value: object) -> Scalar:
    if isinstance(value, (np.datetime64, np.timedelta64)):
        value = pd.Timestamp(value) if isinstance(value, np.datetime64) else pd.Timedelta(value)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


def _short(moment: pd.Timestamp) -> str:
    return str(moment.date()) if moment == moment.normalize() else moment.isoformat(" ", timespec="seconds")


def _moment(value: object, side: str) -> pd.Timestamp | None:
    if value is None or value is pd.NaT or (isinstance(value, str) and not value.strip()):
        return None
    try:
        read: Any = pd.Timestamp(value, unit=_epoch_unit(value))  # type: ignore[arg-type]
        if pd.isna(read):
            return None
        moment: pd.Timestamp = read.as_unit("us")
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"the {side} of the time range can't be read as a time: {quoted(value)}") from error
    return moment if moment.tzinfo is None else moment.tz_convert("UTC").tz_localize(None)


def _epoch_unit(value: object) -> str | None:
    """Return the unit of a number of seconds (or ms, us, ns) since 1970, which its size tells; None for others."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        return None
    size = abs(float(value))
    return next((unit for least, unit in EPOCH_UNITS if size >= least), "s")
