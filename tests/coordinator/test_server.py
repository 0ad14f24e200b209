"""The server with real sockets on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import socket
import ssl
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import trustme
import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from aggrkit import coordinator
from aggrkit.coordinator import Client, Keys, Server
from aggrkit.coordinator.binding import check_binding, is_loopback, tls_context
from aggrkit.coordinator.protocol import Limits
from aggrkit.errors import AggrError, ProtocolError, SourceError
from aggrkit.model.metric import RESULT_TYPES
from aggrkit.store import BenchmarkDBManager

KEYS = {"reader": {"key": "reader-key", "role": "read"}, "ci": {"key": "submit-key", "role": "submit"}}
METRIC = {
    "performance": "average_latency_ms",
    "compatibility": "compatibility_score",
    "integration": "execution_time_seconds",
    "web_platform": "load_time_ms",
}


def results(kind: str, count: int = 48) -> pd.DataFrame:
    rng = np.random.default_rng(len(kind))
    return pd.DataFrame(
        {
            "result_id": [f"{kind}-{k}" for k in range(count)],
            "run_id": [f"run-{k // 8}" for k in range(count)],
            "timestamp": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(count) // 8, unit="D"),
            "model": np.resize(["bert", "resnet"], count),
            "hardware": np.resize(["cpu", "cpu", "cuda", "cuda"], count),
            "worker": np.resize(["w1", "w2", "w2"], count),
            "task_type": np.resize(["train", "infer"], count),
            METRIC[kind]: rng.uniform(0.5, 0.6, count),
        }
    )


async def get_aggregated_results(coordinator_url, api_key, result_type, aggregation_level, use_detailed=False):
    """The client of the documentation that programs in use are made from."""
    async with websockets.connect(coordinator_url) as websocket:
        await websocket.send(json.dumps({"type": "auth_response", "api_key": api_key}))

        auth_result = json.loads(await websocket.recv())
        if not auth_result.get("success"):
            raise Exception("Authentication failed")

        await websocket.send(
            json.dumps(
                {
                    "type": "get_aggregated_results",
                    "result_type": result_type,
                    "aggregation_level": aggregation_level,
                    "use_detailed": use_detailed,
                }
            )
        )

        result = json.loads(await websocket.recv())
        return result["results"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with BenchmarkDBManager(tmp_path_factory.mktemp("secret") / "results.duckdb") as store:
        for kind in RESULT_TYPES:
            store.ingest(results(kind), kind)
        yield store


@pytest.fixture(scope="module")
def served(store):
    with Server(store, port=0, keys=Keys.of(KEYS)).running() as server:
        yield server


@pytest.fixture
def local():
    """A server of an empty store, without keys."""
    with BenchmarkDBManager(":memory:") as store, Server(store, port=0, watch_seconds=0.05).running() as server:
        yield server


def said(connection, message=None):
    if message is not None:
        connection.send(message if isinstance(message, (str, bytes)) else json.dumps(message))
    return json.loads(connection.recv(timeout=60))


DETAILED = {"dimension_analysis", "overall_status", "regressions", "anomalies", "visualizations", "metadata"}


def test_the_documented_client_gets_both_kinds_of_answer(served):
    answer = asyncio.run(get_aggregated_results(served.url, "reader-key", "performance", "model"))
    assert answer["results"] == served.service.aggregate_results("performance", "model")["results"]
    assert answer["metadata"]["aggregator"] == "high_level"
    detailed = asyncio.run(get_aggregated_results(served.url, "reader-key", "performance", "model", use_detailed=True))
    assert (detailed["aggregation_level"], detailed["result_type"]) == ("model", "performance")
    assert set(detailed["results"]) == DETAILED
    assert detailed["results"]["metadata"]["aggregator"] == "detailed"
    frame = results("performance")
    expected = frame.groupby("model")["average_latency_ms"].median()
    found = detailed["results"]["dimension_analysis"]["model"]
    assert {name: found[name]["average_latency_ms_median"] for name in found} == pytest.approx(expected.to_dict())


def test_a_wrong_key_is_told_so_and_the_connection_is_closed(served):
    with pytest.raises(Exception, match="Authentication failed"):
        asyncio.run(get_aggregated_results(served.url, "wrong", "performance", "model"))
    for first in ({"type": "auth_response", "api_key": "wrong"}, {"type": "auth_response"}, {"type": "ping"}, "{"):
        with connect(served.url) as connection:
            reply = said(connection, first)
            assert (reply["type"], reply["success"]) == ("auth_result", False)
            assert reply["error"]
            with pytest.raises(ConnectionClosed):
                connection.recv(timeout=20)
            assert connection.close_code == 1008


@pytest.mark.data
@pytest.mark.slow
def test_the_documented_client_on_real_results(tmp_path, data_folder):
    frame = pd.read_csv(data_folder / "mlperf_training" / "results.csv")
    with BenchmarkDBManager(tmp_path / "r.duckdb") as store:
        store.ingest(frame, "performance")
        with Server(store, port=0, keys=Keys.of(KEYS)).running() as server:
            answer = asyncio.run(get_aggregated_results(server.url, "reader-key", "performance", "model"))
            assert answer["raw_result_count"] == len(frame)
            detailed = asyncio.run(get_aggregated_results(server.url, "reader-key", "performance", "model", True))
            found = detailed["results"]["dimension_analysis"]["model"]
            assert {name: found[name]["count"] for name in found} == frame["model"].value_counts().to_dict()


LEVEL = {
    "performance": "model_hardware",
    "compatibility": "worker",
    "integration": "test_run",
    "web_platform": "task_type",
}
DIMENSION = {"worker": "worker", "test_run": "run_id", "task_type": "task_type", "hardware": "hardware"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(RESULT_TYPES))
def test_every_type_with_filter_and_time_range_from_both_layers(served, kind):
    frame = results(kind)
    chosen = frame[(frame["model"] == "bert") & frame["timestamp"].between("2026-01-02", "2026-01-04")]
    asked = (kind, LEVEL[kind], {"model": "bert"}, ("2026-01-02T00:00:00Z", "2026-01-04T00:00:00Z"))
    with Client(served.url, "reader-key") as client:
        answer = client.aggregated_results(*asked)
        assert answer["raw_result_count"] == len(chosen)
        assert answer["results"] == served.service.aggregate_results(*asked)["results"]
        detailed = client.aggregated_results(*asked, use_detailed=True)["results"]["dimension_analysis"]
    if kind == "performance":
        assert set(detailed) == {"model", "hardware"}
        assert detailed["model"]["bert"]["average_latency_ms_mean"] == pytest.approx(chosen[METRIC[kind]].mean())
    column = DIMENSION["hardware" if kind == "performance" else LEVEL[kind]]
    found = detailed["hardware" if kind == "performance" else LEVEL[kind]]
    assert {name: each["count"] for name, each in found.items()} == chosen[column].value_counts().to_dict()


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ({"filter_params": {"colour": "red"}}, "unknown_name", "colour"),
        ({"filter_params": {"colour": "red"}, "use_detailed": True}, "unknown_name", "colour"),
        ({"time_range": {"start": "2026-01-01"}}, "bad_time_range", "end"),
        ({"aggregation_level": "modl"}, "unknown_name", "did you mean 'model'"),
    ],
)
def test_a_wrong_question_is_an_error_and_the_connection_lives_on(served, more, code, words):
    question = {"type": "get_aggregated_results", "result_type": "performance", "aggregation_level": "model"}
    with connect(served.url) as connection:
        assert said(connection, {"type": "auth_response", "api_key": "reader-key"})["success"]
        reply = said(connection, {**question, **more, "request_id": "q"})
        assert (reply["success"], reply["code"], reply["request_id"]) == (False, code, "q")
        assert words in reply["error"]
        assert "secret" not in json.dumps(reply)
        assert said(connection, {"type": "ping"})["success"]


def test_nothing_says_where_the_store_is(served):
    with connect(served.url, max_size=None) as connection:
        said(connection, {"type": "auth_response", "api_key": "reader-key"})
        for detailed in (False, True):
            ask = {"type": "get_aggregated_results", "result_type": "performance", "aggregation_level": "model"}
            connection.send(json.dumps({**ask, "use_detailed": detailed, "filter_params": {"hardware": "cpu"}}))
            assert "secret" not in connection.recv(timeout=60)


def test_what_is_acknowledged_is_in_the_next_answer_and_in_both_layers(tmp_path):
    with BenchmarkDBManager(tmp_path / "r.duckdb") as store:  # noqa: SIM117
        with Server(store, port=0).running() as server, Client(server.url) as client:
            for count in range(1, 4):
                client.submit([{"model": "bert", "latency_ms": float(count)}], "performance", run_id="r")
                answer = client.aggregated_results("performance", "model")
                found = answer["results"]["basic_statistics"]["bert"]["average_latency_ms"]
                assert (found["count"], found["max"]) == (count, count)
            (detailed,) = client.aggregated_results("performance", "model", use_detailed=True)["results"][
                "dimension_analysis"
            ].values()
            assert detailed["bert"]["count"] == 3
            assert len(server.aggregator.test_results) == 3


def test_an_answer_may_be_old_if_whoever_asks_says_so(local):
    with Client(local.url) as client:

        def count(**more):
            answer = client.aggregated_results("performance", "model", **more)
            return answer["raw_result_count"]

        client.submit([{"model": "bert", "latency_ms": 1.0}], "performance")
        assert count() == 1
        client.submit([{"model": "bert", "latency_ms": 2.0}], "performance")
        assert count(max_age=1000) == 1
        assert count() == 2
        assert count(max_age=1000) == 2


def test_who_asks_while_the_same_is_worked_out_gets_one_that_knows_it_all(local, monkeypatch):
    worked = []
    answers = local._answers
    original = answers.answer

    def slow(question):
        worked.append(question)
        time.sleep(0.3)
        return original(question)

    monkeypatch.setattr(answers, "answer", slow)
    with Client(local.url) as client:
        client.submit([{"model": "bert", "latency_ms": 1.0}], "performance")
        counts = []

        def ask():
            counts.append(client.aggregated_results("performance", "model")["raw_result_count"])

        first = threading.Thread(target=ask)
        first.start()
        while not worked:
            time.sleep(0.01)
        client.submit([{"model": "bert", "latency_ms": 2.0}], "performance")
        others = [threading.Thread(target=ask) for _ in range(10)]
        for thread in others:
            thread.start()
        for thread in (first, *others):
            thread.join()
    assert counts.count(2) >= 10
    assert len(worked) <= 3


def test_results_that_are_sent_twice_count_once(local):
    with Client(local.url) as client:
        for _ in range(3):
            client.submit([{"result_id": "a", "model": "bert", "latency_ms": 1.0}], "performance")
        assert client.aggregated_results("performance", "model")["raw_result_count"] == 1
        with pytest.raises(ProtocolError) as caught:
            client.submit([{"result_id": "b", "model": "bert", "mine": 1.0}])
        assert caught.value.code == "bad_result"
        assert "result_type" in str(caught.value)
        client.submit([{"model": "x", "extra": 1.0, "latency_ms": 1}], "performance")
        with pytest.raises(ProtocolError, match="holds number in the store"):
            client.submit([{"model": "x", "extra": "words", "latency_ms": 1}], "performance")
        assert client.aggregated_results("performance", "model")["raw_result_count"] == 2


def test_subscribers_are_told_once(local):
    def result(name, value):
        return {"result_id": name, "model": "bert", "hardware": "cpu", "latency_ms": value}

    heard = []
    with Client(local.url, timeout=None) as client, Client(local.url, timeout=None) as other:
        client.submit([result(f"usual-{k}", 10 + k % 10 / 10) for k in range(40)], "performance")
        news = client.subscribe("performance", "model", events=["anomalies"])
        thread = threading.Thread(target=lambda: heard.extend(itertools.islice(news, 2)))
        thread.start()
        while not any(s.subscriptions for s in list(local._sessions.values())):
            time.sleep(0.02)
        for name, value in (("odd", 30.0), ("usual-40", 10.5), ("odder", 60.0)):
            other.submit([result(name, value)], "performance")
            time.sleep(1)
        thread.join(200)
        news.close()
        assert [(event["event"], event["group"], event["metric"]) for event in heard] == [
            ("anomaly", "bert", "average_latency_ms")
        ] * 2
        assert {(e["details"]["observation_id"], e["details"]["value"]) for e in heard} == {("odd", 30), ("odder", 60)}
        while any(s.subscriptions for s in list(local._sessions.values())):
            time.sleep(0.02)  # closing ends the subscription at the server, too


def test_subscribers_are_told_of_confirmed_changes_and_verdicts(local):
    def day(k, level):
        stamp = (pd.Timestamp.now("UTC") - pd.Timedelta(40 - k, "D")).isoformat()
        values = level + np.random.default_rng(k).normal(0, 0.05, 3)
        return [
            {"result_id": f"{k}-{i}", "run_id": f"r{k}", "timestamp": stamp, "model": "bert", "latency_ms": value}
            for i, value in enumerate(values)
        ]

    with Client(local.url, timeout=None) as client:
        client.submit([result for k in range(20) for result in day(k, 10.0)], "performance")
        news = client.subscribe("performance", "model", events=["changes"])
        heard = []
        thread = threading.Thread(target=lambda: heard.append(next(news)))
        thread.start()
        while not any(s.subscriptions for s in list(local._sessions.values())):
            time.sleep(0.02)
        client.submit([result for k in range(20, 40) for result in day(k, 12.0)], "performance")
        thread.join(200)
        (event,) = heard
        assert (event["event"], event["group"]) == ("change", "bert")
        assert event["details"]["change_pct"] == pytest.approx(20, abs=1)
        news.close()


HOSTILE = ["", "{", "[]", "null", "[" * 50_000, "9" * 10_000, b"\0\1\2", '{"type": {}}', '{"type": "\\ud800"}', "\0"]


def test_hostile_messages_end_neither_the_server_nor_the_connection(local):
    with connect(local.url) as connection:
        for message in HOSTILE:
            reply = said(connection, message)
            assert reply["code"] in ("bad_json", "bad_message")
        assert said(connection, {"type": "ping"})["success"]
    with connect(local.url) as connection:
        connection.send("x" * (2**20 + 1))
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=20)
        assert connection.close_code == 1009


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b"\x00\xff\xfe",
        b"GET / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n",
    ],
)
def test_half_of_a_handshake(local, half):
    with socket.create_connection(("127.0.0.1", local.port)) as raw:
        raw.sendall(half)
    with Client(local.url) as client:
        assert client.request("ping")["success"]


@pytest.mark.parametrize("frame", [b"\x81", b"\x81\xfe\xff", b"\xff\xff\xff\xff", b"\x01\x85abcd", b"\x81\x05hello"])
def test_half_of_a_frame(local, frame):
    with connect(local.url) as connection, connection.socket.dup() as raw:
        raw.sendall(frame)
        with contextlib.suppress(OSError):  # the server may have hung up already
            raw.shutdown(socket.SHUT_WR)
    with Client(local.url) as client:
        assert client.request("ping")["success"]


def test_the_program_of_the_readme():
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    programs = re.findall(r"^```py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (code,) = (program for program in programs if "Client(" in program)
    keys = Keys.of({"ci": {"key": "your key", "role": "submit"}})
    with BenchmarkDBManager(":memory:") as store, Server(store, port=0, keys=keys).running() as server:
        exec(code.replace("ws://127.0.0.1:8080", server.url), {})
        assert [row["average_latency_ms"] for row in store.get_performance_results()] == [3.5]


def test_limits_of_connections_and_messages():
    with (
        BenchmarkDBManager(":memory:") as store,
        Server(store, port=0, max_connections=2, limits=Limits(10, 20)).running() as server,
        connect(server.url) as first,
    ):
        with connect(server.url), pytest.raises(InvalidStatus, match="503"):
            connect(server.url)
        replies = [said(first, {"type": "ping"}) for _ in range(40)]
        assert {reply.get("code") for reply in replies} == {None, "rate_limited"}
        time.sleep(0.3)
        assert said(first, {"type": "ping"})["success"]


def test_web_pages_can_not_connect_unless_they_are_named():
    with (
        BenchmarkDBManager(":memory:") as store,
        Server(store, port=0, origins=["https://ours.example"]).running() as server,
    ):
        with pytest.raises(InvalidStatus, match="403"):
            connect(server.url, origin="https://evil.example")
        with connect(server.url, origin="https://ours.example") as connection:
            assert said(connection, {"type": "ping"})["success"]


def test_replies_with_an_id_come_in_any_order_and_others_in_theirs(local):
    ask = {"type": "get_aggregated_results", "result_type": "performance", "aggregation_level": "model"}
    with connect(local.url) as connection:
        connection.send(json.dumps(ask))
        connection.send(json.dumps({"type": "ping"}))
        assert [said(connection)["type"] for _ in range(2)] == ["get_aggregated_results_result", "ping_result"]
        for number in range(20):
            connection.send(json.dumps({**ask, "request_id": number}))
        assert sorted(said(connection)["request_id"] for _ in range(20)) == list(range(20))


def test_tls(tmp_path):
    authority = trustme.CA()
    certificate = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    tls = tls_context(certificate)
    with BenchmarkDBManager(":memory:") as store, Server(store, port=0, tls=tls).running() as server:
        assert server.url.startswith("wss://")
        with Client(server.url, tls=trusted) as client:
            assert client.request("ping")["success"]
        with pytest.raises(SourceError, match="certificate"):
            Client(server.url, timeout=5)
    with pytest.raises(SourceError, match="can't be used"):
        tls_context(tmp_path / "nonesuch.pem")
    certificate.write_text("nothing of the kind")
    with pytest.raises(SourceError, match="can't be used"):
        tls_context(certificate)


@pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.168.1.7", "example.org"])
def test_elsewhere_only_with_keys_and_tls(host):
    keys = Keys.of(KEYS)
    with pytest.raises(AggrError, match="without keys: anybody could"):
        check_binding(host, keys=None, tls=True)
    with pytest.raises(AggrError, match="without TLS: keys and results could be read"):
        check_binding(host, keys=keys, tls=False)
    check_binding(host, keys=keys, tls=True)
    check_binding(host, keys=keys, tls=False, plain=True)
    with BenchmarkDBManager(":memory:") as store, pytest.raises(AggrError, match="won't listen"):
        Server(store, host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"])
def test_this_machine_needs_neither(host):
    assert is_loopback(host)
    check_binding(host, keys=None, tls=False)


def test_a_port_that_is_taken(local):
    with (
        BenchmarkDBManager(":memory:") as store,
        pytest.raises(SourceError, match=f"port {local.port}.*choose another"),
        Server(store, port=local.port).running(),
    ):
        pass


def test_the_end_answers_what_was_asked_and_keeps_everything(tmp_path):
    acknowledged = []
    with BenchmarkDBManager(tmp_path / "r.duckdb") as store:
        with Server(store, port=0, settle_seconds=60).running() as server:

            def submit(number):
                try:
                    with Client(server.url, timeout=3) as client:
                        for k in range(1000):
                            result = {"result_id": f"{number}-{k}", "model": "bert", "latency_ms": 1.0}
                            acknowledged.extend(client.submit([result], "performance")["result_ids"])
                except AggrError:
                    return  # the server has ended

            threads = [threading.Thread(target=submit, args=(number,)) for number in range(3)]
            for thread in threads:
                thread.start()
            while len(acknowledged) < 50:
                time.sleep(0.01)
        for thread in threads:
            thread.join()
        there = [result["result_id"] for result in store.get_performance_results()]
    assert len(there) == len(set(there))
    assert set(acknowledged) <= set(there)
    assert not list((tmp_path / "r.duckdb.journal").iterdir())


def test_clients_come_back_when_the_server_does(tmp_path):
    with BenchmarkDBManager(tmp_path / "r.duckdb") as store:
        first = Server(store, port=0)
        with first.running():
            client = Client(first.url)
            client.submit([{"model": "bert", "latency_ms": 1.0}], "performance")
        try:
            waiting = threading.Thread(
                target=client.submit, args=([{"model": "bert", "latency_ms": 2.0}], "performance")
            )
            waiting.start()
            time.sleep(0.2)
            with Server(store, port=first.port).running():
                waiting.join(30)
                assert not waiting.is_alive()
                assert client.aggregated_results("performance", "model")["raw_result_count"] == 2
                assert client.reconnects > 0
        finally:
            client.close()


def test_clients_say_what_is_wrong(local):
    with pytest.raises(SourceError, match="no coordinator answers"):
        Client("ws://127.0.0.1:1", timeout=0.5)
    with pytest.raises(SourceError, match="can't be connected to"):
        Client("http://127.0.0.1:1", timeout=5)
    with Client(local.url) as client, pytest.raises(ProtocolError, match="unknown type") as caught:
        client.request("nonesuch")
    assert caught.value.code == "unknown_type"
    client.close()
    with pytest.raises(SourceError, match="was closed"):
        client.request("ping")


def test_a_status_says_where_things_stand(local):
    with Client(local.url) as client:
        client.request("register", worker_id="w1", hardware=["cpu"])
        client.request("add_tasks", tasks=[{"task_id": "t1"}])
        found = client.request("status")
    assert found["tasks"]["waiting"] == 1
    assert [worker["worker_id"] for worker in found["workers"]] == ["w1"]
    assert found["connections"] == 1


def test_the_public_names_are_there():
    for name in coordinator.__all__:
        assert getattr(coordinator, name).__name__ in (name, "Worker")
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        coordinator.nonesuch  # noqa: B018
