"""What the protocol wants done: say something, end the connection, or work on something and then go on."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aggrkit.coordinator.records import Batch

__all__ = ["Action", "Close", "Question", "Send", "Watch", "Work"]


@dataclass(frozen=True)
class Question:
    """A question to one of the layers.

    Parameters
    ----------
    result_type, level : str
        As in `ResultAggregatorService.aggregate_results`.
    filters : str
        The filters as JSON text, so that equal questions are equal.
    time_range : tuple of str or None
        First and last moment, in ISO 8601.
    detailed : bool
        Which layer is asked.
    max_age : float
        How many seconds old the answer may be; 0 for one that knows all that was acknowledged before.
    """

    result_type: str
    level: str
    filters: str = "{}"
    time_range: tuple[str, str] | None = None
    detailed: bool = False
    max_age: float = 0.0

    @property
    def filter_params(self) -> dict[str, Any]:
        """The filters."""
        return dict(json.loads(self.filters))


@dataclass(frozen=True)
class Watch:
    """A question for all that is confirmed at this moment: anomalies, changes, verdicts."""

    question: Question
    events: tuple[str, ...]


@dataclass(frozen=True)
class Send:
    """A message to the other side, as text."""

    text: str

    @classmethod
    def of(cls, message: Mapping[str, Any], **parts: str) -> Send:
        """Make one of a message, and of fields that are JSON text already."""
        text = json.dumps(message, allow_nan=False)
        for name, part in parts.items():
            text = f"{text[:-1]}, {json.dumps(name)}: {part}}}"
        return cls(text)


@dataclass(frozen=True)
class Close:
    """The end of the connection, with a code of RFC 6455."""

    code: int
    reason: str


@dataclass(frozen=True)
class Work:
    """Something that takes time, and what comes after it.

    Parameters
    ----------
    job : Question, Watch or Batch
        What to do: the JSON text of an answer, a list of events, or that results are on disk.
    done : callable
        ``(outcome) -> actions``.
    failed : callable
        ``(exception) -> actions``.
    in_order : bool
        Whether the next message of the connection waits for it: the sender knows replies by their order.
    """

    job: Question | Watch | Batch
    done: Callable[[Any], list[Action]]
    failed: Callable[[BaseException], list[Action]]
    in_order: bool = True


Action = Send | Close | Work
