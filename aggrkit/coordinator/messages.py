"""Messages: what may be sent, by whom, with which fields; and how a message is read that nobody can be trusted with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NoReturn

import pandas as pd

from aggrkit.errors import ProtocolError, UnknownNameError, did_you_mean, listed, quoted
from aggrkit.model.metric import RESULT_TYPES
from aggrkit.model.selection import LEVELS

__all__ = ["CODES", "REQUESTS", "ROLES", "Request", "checked", "error_reply", "parsed", "reply_type", "request_id_of"]

ROLES: Final = ("read", "submit", "admin")
"""What a key may do; each may do what those before it may."""

CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bad_json": "the message can't be read as JSON",
        "bad_message": "the message isn't an object with a type, or not text",
        "unknown_type": "there is no such type of message",
        "bad_field": "a field is missing, unknown, or of the wrong kind",
        "unknown_name": "a result type, level, filter, worker or other name doesn't exist",
        "bad_time_range": "a time range lacks an end, or isn't one",
        "bad_result": "a result can't be stored",
        "no_results": "nothing is left to answer from",
        "auth_required": "the first message must bring a key",
        "auth_failed": "the key isn't known",
        "forbidden": "the role of the key doesn't allow it",
        "rate_limited": "too many messages in too short a time",
        "busy": "too much is being worked on, or too many are connected",
        "storage_failed": "results can't be read or written at the moment",
        "shutting_down": "the server is about to end",
        "internal_error": "the server failed; its log says how",
    }
)
"""Every code of an error reply, with what it means."""

_DEEPEST: Final = 32
_LONGEST_NAME: Final = 200
_LONGEST_KEY: Final = 1000
_EVENTS: Final = ("anomalies", "changes", "verdicts")

Check = Callable[[str, Any], Any]


@dataclass(frozen=True)
class Request:
    """A type of message.

    Parameters
    ----------
    role : str or None
        The least role that may send it; None before anybody has said who they are.
    required, optional : mapping of str to callable
        Field to its check, which returns what it is read as.
    strict : bool
        Whether other fields are refused.
    """

    role: str | None
    required: Mapping[str, Check]
    optional: Mapping[str, Check]
    strict: bool = False


def parsed(message: str | bytes) -> dict[str, Any]:
    """Read a message as an object with a type.

    Raises
    ------
    ProtocolError
        "bad_json" or "bad_message".

    Examples
    --------
    >>> from aggrkit.coordinator.messages import parsed
    >>> parsed('{"type": "ping"}')
    {'type': 'ping'}
    """
    if not isinstance(message, str):
        raise ProtocolError("bad_message", "messages are JSON text, not binary")
    try:
        found = json.loads(message, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        # a number of thousands of digits, and brackets a thousand deep, are refused by Python itself
        said = f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise ProtocolError("bad_json", f"the message can't be read as JSON: {said[:200]}") from None
    if not isinstance(found, dict):
        raise ProtocolError("bad_message", f"a message is an object with a type; got {_kind(found)}")
    _check_depth(found)
    try:
        message.encode()
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ProtocolError("bad_message", "the message holds half a character (a lone surrogate)") from None
    if not isinstance(found.get("type"), str):
        raise ProtocolError("bad_message", f"a message has a type, one of {listed(REQUESTS)}")
    return found


def checked(message: Mapping[str, Any]) -> tuple[Request, dict[str, Any]]:
    """Return what type of message it is, and its fields as they are read; optional ones are None where they lack.

    Raises
    ------
    ProtocolError
        "unknown_type", "bad_field", "unknown_name" or "bad_time_range".
    """
    name = str(message["type"])
    request = REQUESTS.get(name)
    if request is None:
        raise ProtocolError("unknown_type", str(UnknownNameError.of("type", name[:_LONGEST_NAME], REQUESTS)))
    known = {**request.required, **request.optional}
    if request.strict:
        for field in message:
            if field not in known and field not in _ALWAYS:
                hint = did_you_mean(field[:_LONGEST_NAME], known)
                words = [f"{name} has no field {quoted(field)}", hint, f"its fields are {listed(known)}"]
                raise ProtocolError("bad_field", "; ".join(filter(None, words)))
    for field in request.required:
        if message.get(field) is None:
            raise ProtocolError("bad_field", f"{name} needs the field {field!r}")
    return request, {
        field: None if message.get(field) is None else check(field, message[field]) for field, check in known.items()
    }


def request_id_of(message: Mapping[str, Any]) -> Any:
    """Return the id by which the sender will know the reply, or None.

    Raises
    ------
    ProtocolError
        "bad_field", if it is neither a text nor a number.
    """
    found = message.get("request_id")
    if found is None or (isinstance(found, (str, int)) and len(str(found)) <= _LONGEST_NAME):
        return found
    raise ProtocolError("bad_field", f"request_id is a text or a whole number of at most {_LONGEST_NAME} characters")


def reply_type(message_type: str) -> str:
    """Return the type of the reply to a message."""
    return "auth_result" if message_type == "auth_response" else f"{message_type}_result"


def error_reply(code: str, words: str, *, to: str | None = None) -> dict[str, Any]:
    """Return a reply that says what is wrong: of the type that the sender waits for, where it is known."""
    kind = reply_type(to) if to is not None and to in REQUESTS else "error"
    return {"type": kind, "success": False, "code": code, "error": words}


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON; leave out what is missing, or send null")


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise ProtocolError("bad_message", f"the message is nested more than {_DEEPEST} deep")
        inner = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list)))
        level = [value for values in inner for value in values if isinstance(value, (dict, list))]


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _wrong(field: str, wanted: str, value: Any) -> ProtocolError:
    return ProtocolError("bad_field", f"{field} is {wanted}; got {_kind(value)}")


def _text(field: str, value: Any, most: int = _LONGEST_NAME) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(field, "a text that isn't empty", value)
    if len(value) > most:
        raise ProtocolError("bad_field", f"{field} has at most {most} characters; got {len(value)}")
    return value


def _key(field: str, value: Any) -> str:
    return _text(field, value, _LONGEST_KEY)


def _words(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(field, "a text", value)
    return value[:_LONGEST_KEY]


def _flag(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(field, "true or false", value)
    return value


def _seconds(field: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1e12:
        raise _wrong(field, "a number of seconds, 0 or more", value)
    return float(value)


def _mapping(field: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(field, "an object", value)
    return value


def _texts(field: str, value: Any) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list):
        raise _wrong(field, "a list of texts", value)
    return tuple(_text(field, item) for item in values)


def _mappings(field: str, value: Any) -> list[dict[str, Any]]:
    values = [value] if isinstance(value, dict) else value
    if not isinstance(values, list) or not values:
        raise _wrong(field, "an object, or a list of them that isn't empty", value)
    return [_mapping(field, item) for item in values]


def _one_of(kind: str, choices: tuple[str, ...]) -> Check:
    def check(field: str, value: Any) -> str:
        said = _text(field, value)
        if said not in choices:
            raise ProtocolError("unknown_name", str(UnknownNameError.of(kind, said, choices)))
        return said

    return check


def _event_kinds(field: str, value: Any) -> tuple[str, ...]:
    check = _one_of("event", _EVENTS)
    return tuple(dict.fromkeys(check(field, item) for item in _texts(field, value)))


def _filters(field: str, value: Any) -> dict[str, Any]:
    for name, wanted in _mapping(field, value).items():
        if any(isinstance(item, (dict, list)) for item in (wanted if isinstance(wanted, list) else [wanted])):
            raise ProtocolError("bad_field", f"{field} has a value, or a list of values, for {quoted(name)}")
        if wanted == []:
            raise ProtocolError("bad_field", f"{field} has no value for {quoted(name)}; leave it out to let in all")
    return dict(value)


def _time_range(field: str, value: Any) -> tuple[str, str] | None:
    if not isinstance(value, dict):
        raise ProtocolError("bad_time_range", f'{field} is {{"start": ..., "end": ...}}; got {_kind(value)}')
    if not value:
        return None
    moments = []
    for name in ("start", "end"):
        said = value.get(name)
        if not isinstance(said, str) or not said.strip():
            raise ProtocolError("bad_time_range", f"{field} needs {name!r}, a time such as '2026-01-31T12:00:00Z'")
        try:
            moment = pd.to_datetime(said, utc=True)
        except (ValueError, OverflowError):
            moment = None
        if moment is None or pd.isna(moment):
            raise ProtocolError("bad_time_range", f"the {name} of {field} can't be read as a time: {quoted(said)}")
        moments.append(moment)
    if moments[0] > moments[1]:
        raise ProtocolError("bad_time_range", f"the start of {field} is after its end")
    return moments[0].isoformat(), moments[1].isoformat()


_result_type: Final = _one_of("result type", tuple(RESULT_TYPES))
_question: Final[Mapping[str, Check]] = {"filter_params": _filters, "time_range": _time_range}
_by: Final[Mapping[str, Check]] = {
    "result_type": _result_type,
    "aggregation_level": _one_of("aggregation level", tuple(LEVELS)),
}
_worker: Final[Mapping[str, Check]] = {"worker_id": _text}
_of_worker: Final[Mapping[str, Check]] = {"instance": _text, "running": _texts, "sent_at": _seconds}

_ALWAYS: Final = frozenset({"type", "request_id"})

REQUESTS: Final[Mapping[str, Request]] = MappingProxyType(
    {
        "auth_request": Request(None, {}, {}),
        "auth_response": Request(None, {}, {"api_key": _key}),
        "ping": Request("read", {}, {}),
        "get_aggregated_results": Request(
            "read", _by, {**_question, "use_detailed": _flag, "max_age": _seconds}, strict=True
        ),
        "subscribe": Request(
            "read",
            _by,
            {**_question, "events": _event_kinds, "replay": _flag, "subscription_id": _text},
            strict=True,
        ),
        "unsubscribe": Request("read", {"subscription_id": _text}, {}),
        "submit_results": Request("submit", {"results": _mappings}, {"result_type": _result_type, "run_id": _text}),
        "register": Request(
            "submit", _worker, {**_of_worker, "hardware": _texts, "capabilities": _mapping, "hostname": _text}
        ),
        "heartbeat": Request("submit", _worker, _of_worker),
        "get_task": Request("submit", _worker, _of_worker),
        "task_result": Request(
            "submit",
            {**_worker, "task_id": _text},
            {
                **_of_worker,
                "success": _flag,
                "result": _mappings,
                "results": _mappings,
                "result_type": _result_type,
                "error": _words,
                "execution_time_seconds": _seconds,
                "age_seconds": _seconds,
            },
        ),
        "leave": Request("submit", _worker, _of_worker),
        "status": Request("read", {}, {}),
        "add_tasks": Request("admin", {"tasks": _mappings}, {}),
        "cancel_tasks": Request("admin", {"task_ids": _texts}, {}),
    }
)
"""Every type of message that is understood."""
