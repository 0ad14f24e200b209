"""``aggrkit serve`` and ``aggrkit worker`` as processes."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from aggrkit.cli import main
from aggrkit.coordinator import Client
from aggrkit.store import BenchmarkDBManager


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process could answer")
def test_serve_until_sigterm_with_a_worker(tmp_path):
    keys = tmp_path / "keys.toml"
    keys.write_text('[keys]\nci = { key = "a key", role = "admin" }\n')
    keys.chmod(0o644)
    command = [sys.executable, "-m", "aggrkit"]
    serve = subprocess.Popen(
        [*command, "serve", str(tmp_path / "r.duckdb"), "--keys", str(keys), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = serve.stdout.readline()
        url = next(word for word in line.split() if word.startswith("ws://127.0.0.1:"))
        assert "1 keys" in line
        with Client(url, "a key") as client:
            program = "print('{\"latency_ms\": 4.5}')"
            labels = {"model": "bert", "result_type": "performance"}
            task = {"task_id": "t", "payload": {"command": [sys.executable, "-c", program]}, "labels": labels}
            client.request("add_tasks", tasks=[task])
            key = tmp_path / "key"
            key.write_text("a key\n")
            worker = subprocess.run(
                [*command, "worker", url, "--key-file", str(key), "--tasks", "1", "--with", "memory_gb=16"],
                capture_output=True,
                text=True,
                timeout=120,
                check=True,
            )
            assert "1 tasks were run" in worker.stdout
            assert client.request("status")["tasks"]["done"] == 1
        serve.send_signal(signal.SIGTERM)
        out, err = serve.communicate(timeout=60)
    finally:
        serve.kill()
    assert serve.returncode == 0
    assert "results are put into the store" in out
    assert "warning" in err
    assert "chmod 600" in err
    with BenchmarkDBManager(tmp_path / "r.duckdb") as store:
        (result,) = store.get_performance_results()
    assert (result["average_latency_ms"], result["model_id"], result["hardware_id"]) == (4.5, "bert", "cpu")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["serve", "STORE", "--host", "0.0.0.0"], 3, "without keys"),
        (["serve", "STORE", "--keys", "/nonesuch"], 3, "can't be read"),
        (["serve", "STORE", "--certificate", "/nonesuch"], 3, "can't be used"),
        (["serve", "/nonesuch/folder/r.duckdb"], 3, "is not there"),
        (["worker", "http://127.0.0.1:1"], 3, "can't be connected to"),
        (["worker", "ws://127.0.0.1:1", "--key-file", "/nonesuch"], 3, "can't be read"),
        (["worker", "ws://127.0.0.1:1", "--trust", "/nonesuch"], 3, "can't be used"),
    ],
)
def test_what_can_not_be_done_is_said(arguments, code, words, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("AGGRKIT_KEYS", raising=False)
    given = [str(tmp_path / "r.duckdb") if part == "STORE" else part for part in arguments]
    assert main(given) == code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve"], "required"),
        (["serve", "x", "--port", "70000"], "0 to 65535"),
        (["serve", "x", "--certificate-key", "y"], "needs --certificate"),
        (["worker"], "required"),
        (["worker", "ws://x", "--slots", "0"], "1 or more"),
        (["worker", "ws://x", "--with", "memory"], "NAME=VALUE"),
    ],
)
def test_wrong_usage(arguments, words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_nothing_is_left_running():
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
