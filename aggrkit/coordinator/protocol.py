"""The protocol without input and output: messages in, actions out. Nothing that is sent makes it raise."""

from __future__ import annotations

import json
import logging
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aggrkit.coordinator import desk
from aggrkit.coordinator.actions import Action, Close, Question, Send, Watch, Work
from aggrkit.coordinator.keys import Identity
from aggrkit.coordinator.messages import checked, error_reply, parsed, reply_type, request_id_of
from aggrkit.coordinator.records import Batch, batch_of
from aggrkit.coordinator.subscriptions import Subscription
from aggrkit.errors import (
    AggrError,
    EmptySelectionError,
    ProtocolError,
    SourceError,
    StageError,
    TooFewObservationsError,
    UnknownNameError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from aggrkit.coordinator.keys import Keys
    from aggrkit.coordinator.queue import TaskQueue
    from aggrkit.coordinator.subscriptions import News

__all__ = ["Limits", "Protocol", "Session"]

_log = logging.getLogger(__name__)

_POLICY: Final = 1008
_REFUSALS: Final = 100
_ALL: Final = ("anomalies", "changes", "verdicts")
_LOCAL: Final = Identity("local", "admin")


@dataclass(frozen=True)
class Limits:
    """How much one connection may ask.

    Parameters
    ----------
    messages_per_second : float
        How many messages it may send in the long run.
    burst : int
        How many at once.
    subscriptions : int
        How many it may have.
    """

    messages_per_second: float = 200.0
    burst: int = 400
    subscriptions: int = 20


class Protocol:
    """What all connections of a coordinator share.

    Parameters
    ----------
    queue : TaskQueue
        The tasks.
    keys : Keys, optional
        Who may do what; without keys everybody may do everything.
    limits : Limits, optional
        How much a connection may ask.
    status : callable, optional
        What "status" says beside the queue's.
    clock : callable, optional
        Gives seconds that never run backwards.
    hide : mapping of str to str, optional
        Texts that no message may hold, with what is said instead: the path of the store.

    Examples
    --------
    >>> from aggrkit.coordinator.protocol import Protocol
    >>> from aggrkit.coordinator.queue import TaskQueue
    >>> session = Protocol(TaskQueue()).connect()
    >>> session.receive('{"type": "ping"}')[0].text
    '{"type": "ping_result", "success": true}'
    """

    def __init__(
        self,
        queue: TaskQueue,
        *,
        keys: Keys | None = None,
        limits: Limits | None = None,
        status: Callable[[], Mapping[str, Any]] = dict,
        clock: Callable[[], float] = time.monotonic,
        hide: Mapping[str, str] | None = None,
    ) -> None:
        self.queue = queue
        self.keys = keys
        self.limits = limits or Limits()
        self.status = status
        self.clock = clock
        self.hide = dict(hide or {})

    def connect(self) -> Session:
        """Return the protocol of a new connection."""
        return Session(self)

    def without_secrets(self, text: str) -> str:
        """Return a text without what is nobody's business."""
        for secret, said in self.hide.items():
            text = text.replace(secret, said)
        return text


class Session:
    """The protocol of one connection.

    Attributes
    ----------
    identity : Identity or None
        Who it is, once they have said it.
    subscriptions : dict of str to Subscription
        What it is told of.
    """

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self.identity = None if protocol.keys is not None else _LOCAL
        self.subscriptions: dict[str, Subscription] = {}
        self._tokens = float(protocol.limits.burst)
        self._filled = protocol.clock()
        self._refusals = 0
        self._closed = False

    def receive(self, message: str | bytes) -> list[Action]:
        """Take in a message, and return what is to be done: replies, work, or the end.

        Parameters
        ----------
        message : str or bytes
            Whatever came.
        """
        if self._closed:
            return []
        if not self._may_speak():
            return self._refused()
        kind: str | None = None
        request_id: Any = None
        try:
            found = parsed(message)
            kind = found["type"]
            request_id = request_id_of(found)
            if self.identity is None and kind not in ("auth_response", "auth_request", "auth_challenge"):
                return self._ended("auth_required", "the first message is an auth_response with an api_key", request_id)
            return self._handled(found, kind, request_id)
        except Exception as error:  # noqa: BLE001  no message may end the server
            if self.identity is None:
                return self._ended(*_told(error), request_id)
            return [self._error(error, kind, request_id)]

    def news(self, watch: Watch, found: Iterable[News]) -> list[Action]:
        """Return what of the news of a watch this connection is to be told: each once."""
        return [
            Send.of(news.message(subscription.name))
            for subscription in self.subscriptions.values()
            if subscription.watch == watch
            for news in subscription.fresh(found)
        ]

    def _handled(self, message: dict[str, Any], kind: str, request_id: Any) -> list[Action]:
        if kind in ("auth_request", "auth_challenge"):
            return [self._reply({"type": "auth_challenge", "challenge_id": uuid.uuid4().hex}, request_id)]
        request, given = checked(message)
        if kind == "auth_response":
            return self._authenticated(given["api_key"], request_id)
        if request.role is not None and self.identity is not None and not self.identity.may(request.role):
            words = f"{kind} needs the role {request.role!r}; this key has {self.identity.role!r}"
            raise ProtocolError("forbidden", words)
        queue = self._protocol.queue
        if kind == "get_aggregated_results":
            return [self._work(_question(given), lambda text: ({}, {"results": text}), kind, request_id)]
        if kind == "subscribe":
            return self._subscribed(given, request_id)
        if kind == "submit_results":
            labels = {"run_id": given["run_id"]}
            batch = batch_of(given["results"], given["result_type"], labels)
            said = {"accepted": len(batch.results), "result_ids": batch.result_ids}
            return [self._work(batch, lambda _: (said, {}), kind, request_id)]
        if kind == "task_result":
            return self._task_result(given, request_id)
        if kind == "unsubscribe":
            if self.subscriptions.pop(given["subscription_id"], None) is None:
                raise UnknownNameError.of("subscription", given["subscription_id"], self.subscriptions)
            found: dict[str, Any] = {}
        elif kind == "status":
            found = {**desk.status(queue), **self._protocol.status()}
        else:
            found = desk.ANSWERS[kind](queue, given)
        return [self._reply({"type": reply_type(kind), "success": True, **found}, request_id)]

    def _authenticated(self, key: str | None, request_id: Any) -> list[Action]:
        keys = self._protocol.keys
        if keys is not None:
            if key is None:
                return self._ended("auth_required", "auth_response needs an api_key", request_id)
            self.identity = keys.check(key)
            if self.identity is None:
                return self._ended("auth_failed", "the key isn't known", request_id)
        identity = self.identity or _LOCAL
        said = {"type": "auth_result", "success": True, "name": identity.name, "role": identity.role}
        return [self._reply(said, request_id)]

    def _subscribed(self, given: dict[str, Any], request_id: Any) -> list[Action]:
        watch = Watch(_question(given), given["events"] or _ALL)
        name = given["subscription_id"] or uuid.uuid4().hex
        most = self._protocol.limits.subscriptions
        if name not in self.subscriptions and len(self.subscriptions) >= most:
            raise ProtocolError("busy", f"a connection has at most {most} subscriptions; end one first")
        subscription = Subscription(name, watch)

        def done(found: list[News]) -> list[Action]:
            self.subscriptions[name] = subscription
            known = [news.event_id for news in subscription.fresh(found)]
            said = {"type": "subscribe_result", "success": True, "subscription_id": name, "known": known}
            replayed = [Send.of(news.message(name)) for news in found] if given["replay"] else []
            return [self._reply(said, request_id), *replayed]

        return [Work(watch, done, lambda e: [self._error(e, "subscribe", request_id)], request_id is None)]

    def _task_result(self, given: dict[str, Any], request_id: Any) -> list[Action]:
        queue = self._protocol.queue
        records = desk.records_of(queue, given)

        def done(_: Any) -> list[Action]:
            said = desk.finished(queue, given)
            return [self._reply({"type": reply_type("task_result"), "success": True, **said}, request_id)]

        if not records or queue.has_ended(given["task_id"]):
            return done(None)
        batch = batch_of(records, given["result_type"])
        return [Work(batch, done, lambda e: [self._error(e, "task_result", request_id)], request_id is None)]

    def _work(
        self,
        job: Question | Batch,
        said: Callable[[Any], tuple[dict[str, Any], dict[str, str]]],
        kind: str,
        request_id: Any,
    ) -> Work:
        def done(outcome: Any) -> list[Action]:
            fields, parts = said(outcome)
            message = {"type": reply_type(kind), "success": True, **fields}
            return [Send.of(_with_id(message, request_id), **parts)]

        return Work(job, done, lambda error: [self._error(error, kind, request_id)], request_id is None)

    def _reply(self, message: dict[str, Any], request_id: Any) -> Send:
        return Send.of(_with_id(message, request_id))

    def _error(self, error: BaseException, kind: str | None, request_id: Any) -> Send:
        """Return the reply to something that went wrong, with nothing in it that is nobody's business."""
        code, words = _told(error)
        words = self._protocol.without_secrets(words)
        return self._reply(error_reply(code, words, to=kind), request_id)

    def _ended(self, code: str, words: str, request_id: Any) -> list[Action]:
        self._closed = True
        reply = error_reply(code, words, to="auth_response")
        return [self._reply(reply, request_id), Close(_POLICY, words)]

    def _may_speak(self) -> bool:
        limits, now = self._protocol.limits, self._protocol.clock()
        self._tokens = min(limits.burst, self._tokens + (now - self._filled) * limits.messages_per_second)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        self._refusals = 0
        return True

    def _refused(self) -> list[Action]:
        self._refusals += 1
        words = f"more than {self._protocol.limits.messages_per_second:g} messages a second; wait a moment"
        reply: list[Action] = [self._reply(error_reply("rate_limited", words), None)]
        if self._refusals >= _REFUSALS:
            self._closed = True
            reply.append(Close(_POLICY, "too many messages"))
        return reply


def _question(given: Mapping[str, Any]) -> Question:
    return Question(
        given["result_type"],
        given["aggregation_level"],
        json.dumps(given["filter_params"] or {}, sort_keys=True),
        given["time_range"],
        bool(given.get("use_detailed")),
        float(given.get("max_age") or 0.0),
    )


def _with_id(message: dict[str, Any], request_id: Any) -> dict[str, Any]:
    return message if request_id is None else {**message, "request_id": request_id}


def _told(error: BaseException) -> tuple[str, str]:
    """Return the code of an error, and what may be said of it; the log has the rest."""
    if isinstance(error, ProtocolError):
        return error.code, str(error)
    if isinstance(error, UnknownNameError):
        return "unknown_name", str(error)
    if isinstance(error, (EmptySelectionError, TooFewObservationsError)):
        return "no_results", str(error)
    if isinstance(error, StageError):
        _log.error("a question failed: %s", error)
        return "internal_error", f"the {error.phase} stage {error.stage!r} failed; the log of the server says how"
    if isinstance(error, SourceError):
        _log.error("the store failed: %s", error)
        return "storage_failed", "results can't be read or written at the moment; the log of the server says why"
    if isinstance(error, AggrError):
        return "bad_field", str(error)
    _log.error("a message could not be handled", exc_info=error)
    return "internal_error", "the server failed at this message; its log says how"
