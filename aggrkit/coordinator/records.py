"""Results as they come over the wire: checked, each with an id, and known by their shape."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aggrkit.errors import ProtocolError, quoted
from aggrkit.model.metric import METRIC_SPELLINGS, RESULT_TYPES
from aggrkit.model.schema import SPELLINGS, Role
from aggrkit.sources.results import IDENTIFIERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MOST_RESULTS", "Batch", "Result", "Shape", "batch_of", "role_of"]

MOST_RESULTS: Final = 1000
"""Most results that one message may bring."""

_MOST_FIELDS: Final = 200
_LONGEST_NAME: Final = 200
_LONGEST_VALUE: Final = 10_000
_LARGEST: Final = 2**63
_TYPE: Final = "result_type"

Shape = tuple[tuple[str, str], ...]
"""The fields of a result with the kind of each: results of one shape fit into the same columns."""


@dataclass(frozen=True)
class Result:
    """A result that is fit to be stored.

    Parameters
    ----------
    record : dict
        Its fields, "result_id" among them, without missing ones.
    result_type : str or None
        Its type; None where its fields have to tell.
    shape : tuple
        Its fields with their kinds.
    """

    record: dict[str, Any]
    result_type: str | None
    shape: Shape

    @property
    def result_id(self) -> str:
        """The id under which it counts once."""
        return str(self.record["result_id"])


@dataclass(frozen=True)
class Batch:
    """Results that are acknowledged together, or not at all."""

    results: tuple[Result, ...]

    @property
    def result_ids(self) -> list[str]:
        """The ids under which they count once."""
        return [result.result_id for result in self.results]


def batch_of(
    records: Iterable[Mapping[str, Any]], result_type: str | None = None, labels: Mapping[str, Any] | None = None
) -> Batch:
    """Check results.

    Parameters
    ----------
    records : iterable of mapping
        The results as they were sent.
    result_type : str, optional
        Their type, where they don't say it themselves.
    labels : mapping, optional
        Fields that are added where a result lacks them, in any spelling.

    Raises
    ------
    ProtocolError
        "bad_result", which names the result and the field.

    Examples
    --------
    >>> from aggrkit.coordinator.records import batch_of
    >>> batch_of([{"id": 7, "model": "bert", "latency_ms": 3.5}]).results[0].record
    {'result_id': '7', 'model': 'bert', 'latency_ms': 3.5}
    """
    every = list(records)
    if len(every) > MOST_RESULTS:
        raise _bad(f"a message brings at most {MOST_RESULTS} results; got {len(every)}")
    return Batch(tuple(_result(record, place, result_type, labels or {}) for place, record in enumerate(every)))


def role_of(name: str) -> str | None:
    """Return the role or the metric that a field is a spelling of, or None for a field of somebody's own."""
    return _SPELT.get(name.casefold())


def _result(record: Mapping[str, Any], place: int, result_type: str | None, labels: Mapping[str, Any]) -> Result:
    kept = {name: value for name, value in record.items() if value is not None}
    roles = {role_of(name) for name in kept} - {None}
    kept |= {k: v for k, v in labels.items() if v is not None and k not in kept and role_of(k) not in roles}
    if not kept:
        raise _bad(f"result {place} is empty")
    if len(kept) > _MOST_FIELDS:
        raise _bad(f"result {place} has {len(kept)} fields; at most {_MOST_FIELDS} can be stored")
    kind = kept.pop(_TYPE, None)
    if kind is not None and kind not in RESULT_TYPES:
        raise _bad(f"result {place}: unknown result_type {quoted(kind)}; it is one of {', '.join(RESULT_TYPES)}")
    if kind is not None and result_type is not None and kind != result_type:
        raise _bad(f"result {place} says result_type {kind!r}, and the message {result_type!r}")
    kept = {"result_id": _id_of(kept, place), **{k: v for k, v in kept.items() if role_of(k) != Role.RESULT_ID.value}}
    shape = tuple(sorted(_fields(kept, place, "")))
    return Result(kept, kind or result_type, shape)


def _fields(record: Mapping[str, Any], place: int, prefix: str) -> Iterable[tuple[str, str]]:
    for name, value in record.items():
        where = f"result {place}, field {quoted(name)}"
        if not name.strip() or "\0" in name or len(name) > _LONGEST_NAME:
            raise _bad(f"{where}: a name has 1 to {_LONGEST_NAME} characters, and no zero byte")
        if value is None:
            continue
        if isinstance(value, bool):
            yield prefix + name, "flag"
        elif isinstance(value, (int, float)):
            if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
                raise _bad(f"{where}: the number is too large")
            if isinstance(value, float) and value - value != 0:
                raise _bad(f"{where}: the number isn't finite; leave it out, or send null")
            yield prefix + name, "number"
        elif isinstance(value, str):
            if len(value) > _LONGEST_VALUE:
                raise _bad(f"{where}: a text has at most {_LONGEST_VALUE} characters; got {len(value)}")
            if "\0" in value:
                raise _bad(f"{where}: a text can't hold a zero byte")
            yield prefix + name, "text"
        elif len(json.dumps(value)) > _LONGEST_VALUE:
            raise _bad(f"{where}: lists and objects have at most {_LONGEST_VALUE} characters as JSON")
        elif isinstance(value, dict) and not prefix:
            yield from _fields(value, place, f"{name}.")
        else:
            yield prefix + name, "json"


def _id_of(record: Mapping[str, Any], place: int) -> str:
    """Return the id that a result says; else one of its content if it says its time, else a new one."""
    given = next((v for k, v in record.items() if role_of(k) == Role.RESULT_ID.value and v != ""), None)
    if given is not None:
        if isinstance(given, bool) or not isinstance(given, (str, int)) or len(str(given)) > _LONGEST_NAME:
            raise _bad(f"result {place}: the result_id is a text or a whole number of at most {_LONGEST_NAME} digits")
        return str(given)
    if any(role_of(name) == Role.TIMESTAMP.value for name in record):
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:32]
    return uuid.uuid4().hex


def _bad(words: str) -> ProtocolError:
    return ProtocolError("bad_result", words)


def _spellings() -> dict[str, str]:
    found = {metric.name: metric.name for metrics in RESULT_TYPES.values() for metric in metrics}
    found |= {spelling.casefold(): wanted for spelling, wanted in METRIC_SPELLINGS.items()}
    for role, name in IDENTIFIERS.items():
        found |= {spelling.casefold(): role.value for spelling in (name, *SPELLINGS.get(role, ()))}
    return found


_SPELT: Final = _spellings()
