"""What a panel shows, as one frozen object: the state of a screen is a question."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.errors import UnknownNameError, quoted
from aggrkit.model.selection import TimeRange, level_columns, names_of, values_of
from aggrkit.pipeline.prepared import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["STATISTICS", "TABS", "State"]

STATISTICS: Final = ("p50", "p75", "p90", "p95", "p99", "mean", "std", "min", "max", "n")
"""The statistics that can be shown of each group."""

TABS: Final = ("statistics", "anomalies", "changes", "compare", "correlations", "rows")
"""The answers that a panel can have below its charts."""

_TIME_OF_DAY: Final = re.compile(r":|\d[Tt]\d")
_A_DAY: Final = pd.Timedelta(days=1)
_A_MICROSECOND: Final = pd.Timedelta(microseconds=1)


@dataclass(frozen=True)
class State:
    """What a panel shows.

    Parameters
    ----------
    result_type : str, optional
        Which type of results, where the source holds several.
    level : str or tuple of str, optional
        By what observations are grouped, as in ``df.aggr.stats``.
    metric : str, optional
        Which metric; the first one by default.
    statistic : str, optional
        Which statistic of each group is shown: "p50", "p75", ..., "mean", "std", "min", "max" or "n".
    start, end : str, optional
        First and last day or moment. A day without a time of day is taken as a whole.
    cell : mapping, optional
        The group that was clicked: column of the level to label.
    tab : str, optional
        Which answer is shown below the charts: "statistics", "anomalies", "changes", "compare", "correlations", "rows".
    by, baseline, current : str, optional
        What the tab "compare" compares: values of a column; all other values are current by default. With
        ``by="time"`` the baseline is a span such as "7D": the latest such span against all before it.

    Examples
    --------
    >>> from aggrkit.panel import State
    >>> State(metric="latency_ms", end="2026-03-01").time_range
    (None, '2026-03-01T23:59:59.999999')
    """

    result_type: str | None = None
    level: str | tuple[str, ...] = "model_hardware"
    metric: str | None = None
    statistic: str = "p50"
    start: str | None = None
    end: str | None = None
    cell: tuple[tuple[str, Any], ...] = ()
    tab: str = "statistics"
    by: str | None = None
    baseline: Any = None
    current: Any = None

    def __post_init__(self) -> None:
        level: Any = self.level
        if not isinstance(level, str):
            made = () if level is None else names_of(level, "a level is a name or a list of columns")
            object.__setattr__(self, "level", made)
        for name in ("result_type", "metric", "by"):
            if not isinstance(getattr(self, name), str | None):
                raise TypeError(f"{name!r} is a name; got {quoted(getattr(self, name))}")
        for name in ("baseline", "current"):
            values = values_of(getattr(self, name))
            object.__setattr__(self, name, values[0] if len(values) == 1 else list(values))
        for name in ("start", "end"):
            object.__setattr__(self, name, _written(getattr(self, name)))
        object.__setattr__(self, "cell", _cell(self.cell))
        for name, choices in (("statistic", STATISTICS), ("tab", TABS)):
            if getattr(self, name) not in choices:
                raise UnknownNameError.of(name, getattr(self, name), choices)
        TimeRange.of(self.time_range)  # raises where it can't be read

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> State:
        """Make a state of keyword arguments.

        Raises
        ------
        UnknownNameError
            For a name that a state doesn't have, or a statistic or tab that there isn't.
        """
        known = [field.name for field in fields(cls)]
        for name in given:
            if name not in known:
                raise UnknownNameError.of("part of a panel's state", name, known)
        return cls(**given)

    @property
    def time_range(self) -> tuple[str | None, str | None] | None:
        """First and last moment, as ``df.aggr.stats`` takes them."""
        if not self.start and not self.end:
            return None
        return _first(self.start), _last(self.end)

    @property
    def cells(self) -> dict[str, Any]:
        """The group that was clicked, its columns in the order of the level."""
        given = dict(self.cell)
        known = [name for name in level_columns(self.level) if name in given]
        return {name: given[name] for name in dict.fromkeys([*known, *given])}

    def changed(self, **changes: Any) -> State:
        """Return the state with changes; what no longer fits them is forgotten."""
        made = replace(self, **changes)
        if "level" in changes and made.level != self.level and "cell" not in changes:
            made = replace(made, cell=())
        if "by" in changes and made.by != self.by:
            made = replace(made, baseline=changes.get("baseline"), current=changes.get("current"))
        return made

    def as_dict(self) -> dict[str, Any]:
        """Return what differs from the defaults, as JSON has it."""
        plain = State()
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        found = {name: value for name, value in found.items() if value != getattr(plain, name)}
        if "cell" in found:
            found["cell"] = self.cells
        if isinstance(found.get("level"), tuple):
            found["level"] = list(found["level"])
        return found


def _cell(given: Any) -> tuple[tuple[str, Any], ...]:
    """Return the labels of a group by column; those that are missing as the answers call them."""
    try:
        labels = dict(given or {})
    except (TypeError, ValueError) as error:
        raise TypeError(f"a cell is a mapping of column to label, {{'model': 'bert'}}; got {quoted(given)}") from error
    found = {str(name): values_of(label) for name, label in labels.items()}
    several = next((label for label in found.values() if len(label) != 1), None)
    if several is not None:
        raise TypeError(f"a cell has one label for each column; got {quoted(several)}")
    plain = {name: UNKNOWN if label is None else label for name, (label,) in found.items()}
    return tuple(sorted(plain.items()))


def _written(moment: Any) -> str | None:
    """Return a day or a moment as text; text stays as it is."""
    if isinstance(moment, str):
        return moment if moment.strip() else None
    if isinstance(moment, datetime.date) and not isinstance(moment, datetime.datetime):
        return moment.isoformat()
    found = TimeRange.of((moment, None))
    return None if found is None or found.start is None else found.start.isoformat()


def _first(text: str | None) -> str | None:
    return None if not text else _moment(text).isoformat()


def _last(text: str | None) -> str | None:
    """Return the last moment of a day, or the moment itself where a time of day is given."""
    if not text:
        return None
    moment = _moment(text)
    is_day = moment == moment.normalize() and not _TIME_OF_DAY.search(text)
    return (moment + _A_DAY - _A_MICROSECOND if is_day else moment).isoformat()


def _moment(text: str) -> pd.Timestamp:
    found = TimeRange.of((text, None))
    if found is None or found.start is None:
        raise UnknownNameError(f"a day is written as '2026-03-01'; got {quoted(text)}", name=str(text))
    return found.start
