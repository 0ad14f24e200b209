"""Every type of message, right and wrong, without a socket."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggrkit.coordinator.actions import Close, Question, Send, Work
from aggrkit.coordinator.keys import Keys
from aggrkit.coordinator.messages import CODES, REQUESTS
from aggrkit.coordinator.protocol import Limits, Protocol
from aggrkit.coordinator.queue import TaskQueue
from aggrkit.coordinator.records import Batch
from aggrkit.coordinator.subscriptions import News
from aggrkit.coordinator.tasks import Task
from aggrkit.errors import EmptySelectionError, SchemaError, SourceError, StageError, UnknownNameError

PATH = "/var/lib/secret place/results.duckdb"
KEYS = Keys.of({name: {"key": f"the key of {name}", "role": name} for name in ("read", "submit", "admin")})
NEWS = [News("anomaly", ("bert", "latency_ms", "r1"), {"value": 9.0})]
ASK = {"type": "get_aggregated_results", "result_type": "performance", "aggregation_level": "model"}
SUBSCRIBE = {"type": "subscribe", "result_type": "performance", "aggregation_level": "model"}
RESULT = {"result_id": "r1", "model": "bert", "latency_ms": 3.5}


class Face:
    """What a server would do with the actions, without sockets and threads."""

    def __init__(self, role: str | None = "admin", *, keys: Keys | None = None, **more):
        self.queue = more.pop("queue", None) or TaskQueue()
        self.protocol = Protocol(self.queue, keys=keys, hide={PATH: "the store"}, **more)
        self.session = self.protocol.connect()
        self.jobs, self.closed = [], False
        self.outcome = {Question: '{"answer": 42}', Batch: None}
        if keys is not None and role is not None:
            assert self.say({"type": "auth_response", "api_key": f"the key of {role}"})[0]["success"]

    def say(self, message):
        text = message if isinstance(message, (str, bytes)) else json.dumps(message)
        return self.do(self.session.receive(text))

    def do(self, actions):
        replies = []
        for action in actions:
            if isinstance(action, Send):
                replies.append(json.loads(action.text))
            elif isinstance(action, Close):
                self.closed = True
            else:
                assert isinstance(action, Work)
                self.jobs.append(action.job)
                outcome = self.outcome.get(type(action.job), NEWS)
                failed = isinstance(outcome, Exception)
                replies += self.do(action.failed(outcome) if failed else action.done(outcome))
        return replies


def with_worker(face):
    face.queue.add([Task("t1", {"command": ["true"]}, labels={"model": "bert", "result_type": "performance"})])
    face.queue.register("w1", ["cpu"])
    face.queue.take("w1")
    face.queue.add([Task("t2", {"callable": "m:f"}, run_id="run-7")])


RIGHT = [
    ({"type": "ping"}, {"type": "ping_result"}),
    ({"type": "auth_response", "api_key": "x"}, {"type": "auth_result", "role": "admin"}),
    ({"type": "auth_response"}, {"type": "auth_result"}),
    (ASK, {"type": "get_aggregated_results_result", "results": {"answer": 42}}),
    ({**ASK, "use_detailed": True, "max_age": 5}, {"results": {"answer": 42}}),
    ({**ASK, "filter_params": {"model": ["a", "b"], "batch_size": 4, "x": None}}, {"results": {"answer": 42}}),
    ({**ASK, "filter_params": None, "time_range": None, "use_detailed": None}, {"results": {"answer": 42}}),
    ({**ASK, "time_range": {"start": "2026-01-01", "end": "2026-01-02T00:00:00+01:00"}}, {"results": {"answer": 42}}),
    ({**ASK, "time_range": {}}, {"results": {"answer": 42}}),
    (SUBSCRIBE, {"type": "subscribe_result", "known": [NEWS[0].event_id]}),
    ({**SUBSCRIBE, "subscription_id": "s", "events": ["changes"]}, {"subscription_id": "s"}),
    ({"type": "submit_results", "results": [RESULT]}, {"accepted": 1, "result_ids": ["r1"]}),
    ({"type": "submit_results", "results": RESULT, "result_type": "performance"}, {"accepted": 1}),
    ({"type": "register", "worker_id": "w9", "hardware": ["cuda"]}, {"type": "register_result", "worker_id": "w9"}),
    ({"type": "register", "worker_id": "w9", "capabilities": {"hardware": "cpu"}}, {"worker_id": "w9"}),
    ({"type": "heartbeat", "worker_id": "w1", "running": ["t1"]}, {"type": "heartbeat_result", "ended": []}),
    ({"type": "get_task", "worker_id": "w1"}, {"type": "get_task_result"}),
    ({"type": "task_result", "worker_id": "w1", "task_id": "t1", "result": RESULT}, {"counted": "done"}),
    ({"type": "task_result", "worker_id": "w1", "task_id": "t1", "success": False}, {"counted": "failed"}),
    ({"type": "task_result", "worker_id": "w1", "task_id": "of an earlier server"}, {"counted": "unknown"}),
    ({"type": "leave", "worker_id": "w1"}, {"type": "leave_result"}),
    ({"type": "status"}, {"type": "status_result", "tasks": {**dict.fromkeys(("done", "failed", "cancelled"), 0),
                                                              "waiting": 1, "running": 1}}),
    ({"type": "add_tasks", "tasks": [{"task_id": "n", "payload": {"command": ["true"]}}]}, {"added": 1}),
    ({"type": "cancel_tasks", "task_ids": ["t1", "nonesuch"]}, {"cancelled": ["t1"]}),
]  # fmt: skip


@pytest.mark.parametrize(("message", "expected"), RIGHT, ids=lambda value: json.dumps(value)[:70])
def test_right_messages(message, expected):
    face = Face()
    with_worker(face)
    (reply,) = face.say({**message, "request_id": 7})
    assert reply["success"] is True
    assert reply["request_id"] == 7
    assert {name: reply[name] for name in expected} == expected
    assert not face.closed


def test_every_type_is_in_the_tables():
    in_tables = {message["type"] for message, _ in RIGHT}
    assert in_tables | {"auth_request", "unsubscribe"} == set(REQUESTS)


WRONG = [
    ("", "bad_json"),
    ("{", "bad_json"),
    ('{"type": "ping"', "bad_json"),
    ('{"type": NaN}', "bad_json"),
    ('{"type": "ping", "n": ' + "9" * 5000 + "}", "bad_json"),
    ("[" * 100_000, "bad_json"),
    (b"\x00\xff", "bad_message"),
    ("[]", "bad_message"),
    ("null", "bad_message"),
    ('"ping"', "bad_message"),
    ("{}", "bad_message"),
    ({"type": 3}, "bad_message"),
    ('{"type": "ping", "x": "\\ud800"}', "bad_message"),
    ('{"type": "ping", "x": ' + "[" * 40 + "]" * 40 + "}", "bad_message"),
    ({"type": "nonesuch"}, "unknown_type"),
    ({"type": "x" * 10_000}, "unknown_type"),
    ({"type": "ping", "request_id": {}}, "bad_field"),
    ({"type": "ping", "request_id": "x" * 1000}, "bad_field"),
    ({"type": "auth_response", "api_key": 3}, "bad_field"),
    ({"type": "get_aggregated_results"}, "bad_field"),
    ({**ASK, "result_type": "speed"}, "unknown_name"),
    ({**ASK, "result_type": 3}, "bad_field"),
    ({**ASK, "aggregation_level": "modle"}, "unknown_name"),
    ({**ASK, "aggregation_level": ["model"]}, "bad_field"),
    ({**ASK, "filter_param": {"model": "bert"}}, "bad_field"),
    ({**ASK, "filter_params": ["model"]}, "bad_field"),
    ({**ASK, "filter_params": {"model": {"a": 1}}}, "bad_field"),
    ({**ASK, "filter_params": {"model": []}}, "bad_field"),
    ({**ASK, "use_detailed": "yes"}, "bad_field"),
    ({**ASK, "max_age": -1}, "bad_field"),
    ({**ASK, "max_age": True}, "bad_field"),
    ({**ASK, "time_range": {"start": "2026-01-01"}}, "bad_time_range"),
    ({**ASK, "time_range": {"end": "2026-01-01"}}, "bad_time_range"),
    ({**ASK, "time_range": {"start": "2026-01-01", "end": None}}, "bad_time_range"),
    ({**ASK, "time_range": ["2026-01-01", "2026-01-02"]}, "bad_time_range"),
    ({**ASK, "time_range": {"start": "yesterdayish", "end": "2026-01-02"}}, "bad_time_range"),
    ({**ASK, "time_range": {"start": "2026-01-02", "end": "2026-01-01"}}, "bad_time_range"),
    ({**ASK, "time_range": {"start": "NaT", "end": "2026-01-01"}}, "bad_time_range"),
    ({**ASK, "time_range": {"start": "99999999-01-01", "end": "2026-01-01"}}, "bad_time_range"),
    ({**SUBSCRIBE, "events": ["weather"]}, "unknown_name"),
    ({**SUBSCRIBE, "events": 3}, "bad_field"),
    ({"type": "subscribe"}, "bad_field"),
    ({"type": "unsubscribe"}, "bad_field"),
    ({"type": "unsubscribe", "subscription_id": "nonesuch"}, "unknown_name"),
    ({"type": "submit_results"}, "bad_field"),
    ({"type": "submit_results", "results": []}, "bad_field"),
    ({"type": "submit_results", "results": [3]}, "bad_field"),
    ({"type": "submit_results", "results": [{}]}, "bad_result"),
    ({"type": "submit_results", "results": [{"x": None}]}, "bad_result"),
    ({"type": "submit_results", "results": [RESULT] * 1001}, "bad_result"),
    ({"type": "submit_results", "results": [{str(k): 1 for k in range(300)}]}, "bad_result"),
    ({"type": "submit_results", "results": [{**RESULT, "": 1}]}, "bad_result"),
    ({"type": "submit_results", "results": [{**RESULT, "x\0y": 1}]}, "bad_result"),
    ({"type": "submit_results", "results": [{**RESULT, "x": "\0"}]}, "bad_result"),
    ({"type": "submit_results", "results": [{**RESULT, "x": 2**70}]}, "bad_result"),
    ({"type": "submit_results", "results": [{**RESULT, "x": "y" * 20_000}]}, "bad_result"),
    ({"type": "submit_results", "results": [{**RESULT, "x": list(range(9000))}]}, "bad_result"),
    ('{"type": "submit_results", "results": [{"result_id": "r", "x": 1e999}]}', "bad_result"),
    ({"type": "submit_results", "results": [{**RESULT, "result_id": [1]}]}, "bad_result"),
    ({"type": "submit_results", "results": [{**RESULT, "result_type": "speed"}]}, "bad_result"),
    (
        {"type": "submit_results", "results": [{**RESULT, "result_type": "integration"}], "result_type": "performance"},
        "bad_result",
    ),
    ({"type": "submit_results", "results": [RESULT], "result_type": "speed"}, "unknown_name"),
    ({"type": "register"}, "bad_field"),
    ({"type": "register", "worker_id": ""}, "bad_field"),
    ({"type": "register", "worker_id": "w", "hardware": [3]}, "bad_field"),
    ({"type": "register", "worker_id": "w", "capabilities": []}, "bad_field"),
    ({"type": "heartbeat"}, "bad_field"),
    ({"type": "heartbeat", "worker_id": "nobody"}, "unknown_name"),
    ({"type": "heartbeat", "worker_id": "w1", "instance": "another"}, "unknown_name"),
    ({"type": "heartbeat", "worker_id": "w1", "sent_at": "now"}, "bad_field"),
    ({"type": "get_task"}, "bad_field"),
    ({"type": "get_task", "worker_id": "nobody"}, "unknown_name"),
    ({"type": "get_task", "worker_id": "w1", "running": ["t1", "t2"] + [3]}, "bad_field"),
    ({"type": "task_result", "worker_id": "w1"}, "bad_field"),
    ({"type": "task_result", "worker_id": "w1", "task_id": "t1", "result": 3}, "bad_field"),
    ({"type": "task_result", "worker_id": "w1", "task_id": "t1", "result": {"": 3}}, "bad_result"),
    ({"type": "task_result", "worker_id": "w1", "task_id": "t1", "execution_time_seconds": -3}, "bad_field"),
    ({"type": "leave", "worker_id": "nobody"}, "unknown_name"),
    ({"type": "add_tasks"}, "bad_field"),
    ({"type": "add_tasks", "tasks": [{"payload": {}}]}, "bad_field"),
    ({"type": "add_tasks", "tasks": [{"task_id": "x", "colour": "red"}]}, "bad_field"),
    ({"type": "add_tasks", "tasks": [{"task_id": "x", "hardware": [{}]}]}, "bad_field"),
    ({"type": "add_tasks", "tasks": [{"task_id": "x", "priority": True}]}, "bad_field"),
    ({"type": "cancel_tasks", "task_ids": 3}, "bad_field"),
]


@pytest.mark.parametrize(("message", "code"), WRONG, ids=lambda value: str(value)[:70])
def test_wrong_messages_get_a_code_and_the_connection_lives_on(message, code):
    face = Face()
    with_worker(face)
    (reply,) = face.say(message)
    assert (reply["success"], reply["code"]) == (False, code)
    assert reply["error"]
    assert len(reply["error"]) < 3000
    assert face.jobs == []
    assert not face.closed
    assert face.say({"type": "ping"})[0]["success"]


def test_every_wrong_type_is_in_the_table_too():
    wrong = {message.get("type") for message, _ in WRONG if isinstance(message, dict)}
    assert set(REQUESTS) - wrong == {"auth_request", "status"}  # these have no field that could be wrong


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UnknownNameError.of("filter", "modle", ["model"]), "unknown_name", "did you mean 'model'"),
        (UnknownNameError(f"{PATH} has no column x"), "unknown_name", "the store has no column x"),
        (EmptySelectionError("no observation has model 'x'"), "no_results", "no observation has model 'x'"),
        (SourceError(f"{PATH} is locked"), "storage_failed", "the log of the server says why"),
        (StageError("preprocess", "mine", KeyError(PATH)), "internal_error", "the preprocess stage 'mine' failed"),
        (SchemaError("no column"), "bad_field", "no column"),
        (ZeroDivisionError(f"SELECT * FROM x in {PATH}"), "internal_error", "its log says how"),
    ],
)
def test_what_goes_wrong_inside_has_a_code_and_leaks_nothing(error, code, said):
    face = Face()
    face.outcome[Question] = error
    (reply,) = face.say({**ASK, "request_id": "q"})
    assert (reply["type"], reply["success"], reply["code"]) == ("get_aggregated_results_result", False, code)
    assert reply["request_id"] == "q"
    assert said in reply["error"]
    assert "secret" not in json.dumps(reply)
    assert "SELECT" not in json.dumps(reply)


def test_a_question_is_passed_on_as_it_was_asked():
    face = Face()
    face.say({**ASK, "filter_params": {"b": 1, "a": [2]}, "time_range": {"start": "2026-01-01", "end": "2026-01-02"},
              "use_detailed": True, "max_age": 3})  # fmt: skip
    (question,) = face.jobs
    moments = ("2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00")
    assert question == Question("performance", "model", '{"a": [2], "b": 1}', moments, True, 3.0)


@pytest.mark.parametrize("key", ["wrong", "", None, "the key of read "])
def test_a_wrong_or_missing_key_is_refused_and_the_connection_ends(key):
    face = Face(None, keys=KEYS)
    (reply,) = face.say({"type": "auth_response", "api_key": key} if key is not None else {"type": "auth_response"})
    assert (reply["type"], reply["success"]) == ("auth_result", False)
    assert reply["code"] in CODES
    assert reply["error"]
    assert face.closed
    assert face.say({"type": "ping"}) == []


@pytest.mark.parametrize("message", ["{", b"\0", ASK, {"type": "nonesuch"}, {"type": "register", "worker_id": "w"}])
def test_without_a_key_nothing_is_done(message):
    face = Face(None, keys=KEYS)
    (reply,) = face.say(message)
    assert (reply["type"], reply["success"]) == ("auth_result", False)
    assert face.closed
    assert face.jobs == []
    assert face.queue.workers() == []


def test_a_challenge_is_sent_only_when_asked_for():
    face = Face(None, keys=KEYS)
    assert face.session.receive('{"type": "auth_request"}')
    (reply,) = face.say({"type": "auth_challenge"})
    assert reply["type"] == "auth_challenge"
    assert reply["challenge_id"]
    assert face.say({"type": "auth_response", "api_key": "the key of read"})[0]["role"] == "read"


@pytest.mark.parametrize("kind", sorted(REQUESTS))
@pytest.mark.parametrize("role", ["read", "submit", "admin"])
def test_roles(role, kind):
    face = Face(role, keys=KEYS)
    with_worker(face)
    message = next((m for m, _ in RIGHT if m["type"] == kind and kind != "auth_response"), None)
    if message is None:
        return
    needs = REQUESTS[kind].role
    allowed = ("read", "submit", "admin").index(role) >= ("read", "submit", "admin").index(needs)
    (reply,) = face.say(message)
    assert reply["success"] is allowed
    assert allowed or reply["code"] == "forbidden"
    assert not face.closed


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_too_many_messages_are_refused_and_in_the_end_the_connection():
    clock = Clock()
    face = Face(clock=clock, limits=Limits(messages_per_second=10, burst=5))
    said = [face.say({"type": "ping"})[0] for _ in range(6)]
    assert [reply["success"] for reply in said] == [True] * 5 + [False]
    assert said[-1]["code"] == "rate_limited"
    clock.now += 0.1
    assert face.say({"type": "ping"})[0]["success"]
    for _ in range(100):
        assert not face.closed
        face.say({"type": "ping"})
    assert face.closed


def test_subscriptions_are_limited_and_end():
    face = Face(limits=Limits(subscriptions=2))
    for name in ("a", "b", "a"):
        assert face.say({**SUBSCRIBE, "subscription_id": name})[0]["success"]
    assert face.say(SUBSCRIBE)[0]["code"] == "busy"
    assert face.say({"type": "unsubscribe", "subscription_id": "a"})[0]["success"]
    assert face.say(SUBSCRIBE)[0]["success"]


def test_news_come_once():
    face = Face()
    face.say({**SUBSCRIBE, "subscription_id": "s"})
    (watch,) = face.jobs
    later = [*NEWS, News("verdict", ("bert", "latency_ms", "regressed"), {"change_pct": 7.0})]
    said = face.do(face.session.news(watch, later))
    assert [(m["type"], m["subscription_id"], m["event"], m["group"], m["metric"]) for m in said] == [
        ("subscription_event", "s", "verdict", "bert", "latency_ms")
    ]
    assert said[0]["details"] == {"change_pct": 7.0}
    assert face.do(face.session.news(watch, later)) == []


def test_a_subscription_can_be_replayed():
    face = Face()
    reply, *news = face.say({**SUBSCRIBE, "replay": True})
    assert reply["known"] == [message["event_id"] for message in news] == [NEWS[0].event_id]


def test_the_results_of_a_task_are_labelled_and_stored_under_its_id():
    face = Face()
    with_worker(face)
    own = {"id": "made up", "latency_ms": 3.0, "hardware": "mine"}
    message = {"type": "task_result", "worker_id": "w1", "task_id": "t1", "results": [own, {"latency_ms": 4.0}]}
    face.say({**message, "execution_time_seconds": 2.5})
    (batch,) = face.jobs
    first, second = (result.record for result in batch.results)
    assert batch.result_ids == ["t1", "t1#1"]
    assert first["reported_id"] == "made up"
    assert (first["model"], first["worker_id"], first["hardware"]) == ("bert", "w1", "mine")
    assert (second["hardware"], second["execution_time_seconds"]) == ("cpu", 2.5)
    assert {result.result_type for result in batch.results} == {"performance"}
    assert face.say(message)[0]["counted"] == "duplicate"
    assert len(face.jobs) == 1


def test_results_are_labelled_with_all_of_their_task_whatever_else_they_say():
    face = Face()
    with_worker(face)
    labels = {"model": "bert", "batch_size": 8, "note": "nightly", "result_type": "performance"}
    face.queue.add([Task("labelled", labels=labels)])
    result = {"latency_ms": 3.0, "pid": 7, "note": "mine"}
    face.say({"type": "task_result", "worker_id": "w1", "task_id": "labelled", "result": result})
    record = face.jobs[0].results[0].record
    assert (record["batch_size"], record["pid"], record["note"]) == (8, 7, "mine")


def test_a_failed_test_is_an_observation_where_its_type_is_known():
    face = Face()
    with_worker(face)
    face.say({"type": "task_result", "worker_id": "w1", "task_id": "t1", "success": False, "error": "no memory"})
    (batch,) = face.jobs
    assert batch.results[0].record["status"] == "error"
    assert batch.results[0].record["error"] == "no memory"


def test_a_task_has_not_ended_before_its_results_are_on_disk():
    face = Face()
    with_worker(face)
    face.outcome[Batch] = SourceError("the disk is full")
    message = {"type": "task_result", "worker_id": "w1", "task_id": "t1", "result": RESULT}
    assert face.say(message)[0]["code"] == "storage_failed"
    assert face.queue.counts()["running"] == 1
    face.outcome[Batch] = None
    assert face.say(message)[0]["counted"] == "done"


@pytest.mark.parametrize(("ahead", "way"), [(3600.0, "ahead of"), (-3600.0, "behind")])
def test_a_clock_that_is_wrong_is_told_once_and_not_believed(ahead, way):
    import time

    face = Face()
    with_worker(face)
    for kind in ("register", "heartbeat", "heartbeat"):
        face.say({"type": kind, "worker_id": "w1", "sent_at": time.time() + ahead, "running": ["t1"]})
    told = [words for words in face.queue.log.report() if "clock" in words]
    assert len(told) == 1
    assert told[0].startswith(f"the clock of worker w1 is {abs(ahead):.0f} s {way} this one")
    result = {"latency_ms": 3.0, "timestamp": "2026-01-01T00:00:00Z"}
    face.say({"type": "task_result", "worker_id": "w1", "task_id": "t1", "result": result, "age_seconds": 5})
    record = face.jobs[-1].results[0].record
    assert record["reported_timestamp"] == "2026-01-01T00:00:00Z"
    import pandas as pd

    assert abs((pd.Timestamp.now("UTC") - pd.Timestamp(record["timestamp"])).total_seconds() - 5) < 60


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
FIELDS = sorted({field for r in REQUESTS.values() for field in (*r.required, *r.optional)} | {"request_id"})
VALUES = JSON | st.sampled_from(["performance", "model", "w1", "t1", "t2", [RESULT], ["t1"], {"start": "2026-01-01"}])
NEAR = st.builds(
    lambda kind, fields: {"type": kind, **fields},
    st.sampled_from(sorted(REQUESTS)),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=8),
)
HALVES = NEAR.flatmap(lambda m: st.integers(0, len(json.dumps(m))).map(lambda cut: json.dumps(m)[:cut]))
HOSTILE = NEAR.map(json.dumps) | HALVES | JSON.map(json.dumps) | st.text() | st.binary()


@settings(max_examples=400)
@given(messages=st.lists(HOSTILE, max_size=5), keyed=st.booleans())
def test_whatever_is_sent_gets_a_reply_with_a_code_or_an_end(messages, keyed):
    face = Face(keys=KEYS if keyed else None)
    with_worker(face)
    for message in messages:
        ended = face.closed
        replies = face.say(message)
        assert bool(replies) is not ended
        for reply in replies:
            assert (
                reply["type"] in ("subscription_event", "auth_challenge") or reply["success"] or reply["code"] in CODES
            )
            assert reply.get("code") != "internal_error", reply
            assert "Traceback" not in json.dumps(reply)
