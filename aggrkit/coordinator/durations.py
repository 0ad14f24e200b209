"""How long tasks are expected to take, from how long tasks like them took."""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from aggrkit.coordinator.records import role_of
from aggrkit.model.schema import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["SECONDS", "Durations", "Kind", "kind_of"]

SECONDS: Final = "execution_time_seconds"
"""The field of a stored result that tells how long its task took."""

_KEPT: Final = 25
_REMEMBERED: Final = 50_000
_FIRST: Final = ("test_case", Role.MODEL.value, Role.HARDWARE.value, Role.TASK_TYPE.value)
_NOT_TELLING: Final = frozenset(
    {role.value for role in (Role.RUN, Role.WORKER, Role.TIMESTAMP, Role.RESULT_ID, Role.REPEAT)}
)

Kind = frozenset[tuple[str, str]]
"""The labels that tell a kind of task, with their values."""

_Names = tuple[str, ...]
_Values = tuple[str, ...]


class Durations:
    """The latest durations of each kind of task.

    Tasks are of one kind if they have the same labels, those that name a run or a worker left out. Where no task of a
    kind was seen, those that share its test, model, hardware and task type tell, then those that share fewer of these.
    A task of which nothing is known has no expected duration.

    Parameters
    ----------
    history : iterable of mapping, optional
        Results of earlier runs, the oldest first, with `SECONDS`.

    Examples
    --------
    >>> from aggrkit.coordinator.durations import Durations
    >>> durations = Durations()
    >>> durations.learn({"model": "bert", "batch_size": 8}, 3.0)
    >>> durations.learn({"model": "bert", "batch_size": 16}, 5.0)
    >>> durations.expected({"model": "bert", "batch_size": 16}), durations.expected({"model": "bert", "batch_size": 32})
    (5.0, 4.0)
    >>> durations.expected({"model": "vit"}) is None
    True
    """

    def __init__(self, history: Iterable[Mapping[str, Any]] = ()) -> None:
        self._seen: deque[tuple[dict[str, str], float]] = deque(maxlen=_REMEMBERED)
        self._by: dict[_Names, dict[_Values, deque[float]]] = {}
        for record in history:
            self.learn(record, record.get(SECONDS))

    def learn(self, labels: Mapping[str, Any], seconds: Any) -> None:
        """Note how long a task took; what is no duration is left out.

        Parameters
        ----------
        labels : mapping
            Of the task, or a whole result of it: what isn't a label of later tasks does no harm.
        seconds : float
            How long it took.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf:
            return
        told = _told(labels)
        self._seen.append((told, float(seconds)))
        for names, found in self._by.items():
            _add(found, names, told, float(seconds))

    def expected(self, labels: Mapping[str, Any]) -> float | None:
        """Return the median of the tasks that are most like one with these labels; None where nothing is known."""
        return self.expected_of(kind_of(labels))[0]

    def expected_of(self, kind: Kind) -> tuple[float | None, bool]:
        """Return what is expected of a kind of task, and whether tasks of this very kind tell."""
        told = dict(kind)
        for place, names in enumerate(_ever_fewer(told)):
            seconds = self._by_names(names).get(tuple(told[name] for name in names))
            if seconds:
                return statistics.median(seconds), place == 0
        return None, False

    def _by_names(self, names: _Names) -> dict[_Values, deque[float]]:
        """Return the durations by the values of some labels; made when they are first asked for."""
        if names not in self._by:
            found: dict[_Values, deque[float]] = {}
            for told, seconds in self._seen:
                _add(found, names, told, seconds)
            self._by[names] = found
        return self._by[names]


def kind_of(labels: Mapping[str, Any]) -> Kind:
    """Return what tells the kind of a task among its labels."""
    return frozenset(_told(labels).items())


def _add(found: dict[_Values, deque[float]], names: _Names, told: Mapping[str, str], seconds: float) -> None:
    if all(name in told for name in names):
        found.setdefault(tuple(told[name] for name in names), deque(maxlen=_KEPT)).append(seconds)


def _ever_fewer(told: Mapping[str, str]) -> list[_Names]:
    """Return the labels that tell a kind of task, then ever fewer of them."""
    shared = [name for name in _FIRST if name in told]
    every = [tuple(sorted(told)), *(tuple(shared[:most]) for most in range(len(shared), 0, -1))]
    return [names for names in dict.fromkeys(every) if names]


def _told(labels: Mapping[str, Any]) -> dict[str, str]:
    known = {role_of(name) or name: value for name, value in labels.items()}
    return {
        name: _text(value)
        for name, value in known.items()
        if name not in _NOT_TELLING and isinstance(value, (str, int, float))
    }


def _text(value: Any) -> str:
    """Return a label as text: 8 and 8.0 are one batch size."""
    return f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
