"""The coordinator under load, against a bare echo server on the same library under the same load in the same run.

200 connections: 20 bring 200 results a second in all, each acknowledged when it is on disk; 20 ask 200 questions a
second in all, which are cached; 160 are only there. Both servers are processes of their own, and take turns.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pandas as pd
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

from aggrkit import BenchmarkDBManager

CONNECTIONS, SUBMITTING, ASKING = 200, 20, 20
EACH_PER_SECOND = 10.0
HELD = 1000
MAX_AGE = 30.0

Latencies = dict[str, list[float]]


async def echo(port: int) -> None:
    """Send back whatever comes."""

    async def handler(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async with serve(handler, "127.0.0.1", port, compression=None) as server:
        print(f"echo at ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]} ", flush=True)
        await server.serve_forever()


def fill(path: Path) -> None:
    """Make a store with some results."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "result_id": [f"held-{k}" for k in range(HELD)],
            "run_id": [f"run-{k // 50}" for k in range(HELD)],
            "timestamp": pd.Timestamp.now("UTC").tz_localize(None) - pd.to_timedelta(np.arange(HELD), unit="min"),
            "model": rng.choice(["bert", "resnet", "whisper", "vit"], HELD),
            "hardware": rng.choice(["cpu", "cuda"], HELD),
            "latency_ms": rng.lognormal(2, 0.1, HELD),
        }
    )
    with BenchmarkDBManager(path) as store:
        store.ingest(frame, "performance")


class Load:
    """The connections to one server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.latencies: Latencies = {"submit": [], "ask": []}
        self.refused = 0
        self._numbers = itertools.count()
        self._stack = AsyncExitStack()
        self._connections: list[ClientConnection] = []

    async def open(self) -> None:
        for _ in range(CONNECTIONS):
            connection = await self._stack.enter_async_context(connect(self.url, compression=None, max_size=None))
            self._connections.append(connection)

    async def close(self) -> None:
        await self._stack.aclose()

    def submission(self) -> str:
        number = next(self._numbers)
        result = {
            "result_id": f"new-{number}",
            "run_id": f"live-{number // 500}",
            "timestamp": pd.Timestamp.now("UTC").isoformat(),
            "model": ("bert", "resnet", "whisper", "vit")[number % 4],
            "hardware": ("cpu", "cuda")[number % 2],
            "latency_ms": 7.0 + number % 10 / 10,
        }
        return json.dumps({"type": "submit_results", "result_type": "performance", "results": [result]})

    def question(self) -> str:
        ask = {"type": "get_aggregated_results", "result_type": "performance", "aggregation_level": "model"}
        return json.dumps({**ask, "filter_params": {"model": "bert"}, "max_age": MAX_AGE})

    async def put_on(self, seconds: float, *, count: bool = True) -> None:
        """Submit and ask for some seconds, each connection at its own regular moments, late or not."""
        start = time.monotonic()
        kinds = [("submit", self.submission)] * SUBMITTING + [("ask", self.question)] * ASKING
        await asyncio.gather(
            *(
                self._one(connection, kind, make, start + place / len(kinds) / EACH_PER_SECOND, start + seconds, count)
                for place, (connection, (kind, make)) in enumerate(zip(self._connections, kinds, strict=False))
            )
        )

    async def _one(self, connection, kind, make, first, until, count) -> None:  # type: ignore[no-untyped-def]
        for number in itertools.count():
            due = first + number / EACH_PER_SECOND
            if due >= until:
                return
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            message = make()
            began = time.perf_counter()
            await connection.send(message)
            reply = await connection.recv()
            took = time.perf_counter() - began
            if '"success": false' in str(reply[:300]):
                self.refused += 1
            if count:
                self.latencies[kind].append(took)


async def started(*command: str) -> tuple[asyncio.subprocess.Process, str]:
    """Start a server, and return its address once it listens."""
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    return process, next(word for word in line.split() if word.startswith("ws://"))


def memory(pid: int) -> float:
    """Return the megabytes that a process has in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def measured(seconds: float, turns: int) -> tuple[Latencies, Latencies, list[float], int]:
    """Return the latencies of the coordinator and of the echo server, memory over time, and what was refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.duckdb"
        fill(path)
        echoing, echo_url = await started("-m", "benchmarks.coordinator", "--echo")
        serving, url = await started("-m", "aggrkit", "serve", str(path), "--port", "0")
        ours, bare = Load(url), Load(echo_url)
        used = []
        try:
            await ours.open()
            await bare.open()
            await ours.put_on(10, count=False)
            await bare.put_on(2, count=False)
            for _ in range(turns):
                await bare.put_on(seconds / turns / 3)
                for _ in range(5):
                    await ours.put_on(seconds / turns / 5)
                    used.append(memory(serving.pid))
            await ours.close()
            await bare.close()
        finally:
            serving.send_signal(signal.SIGTERM)
            echoing.kill()
            await serving.wait()
            await echoing.wait()
        with BenchmarkDBManager(path) as store:
            there = store.counts()["performance"] - HELD
        assert there == next(ours._numbers), "a result was lost"
    return ours.latencies, bare.latencies, used, ours.refused


def coordinator_times(seconds: float = 60.0, turns: int = 2) -> None:
    """Measure, and print a table."""
    ours, bare, used, refused = asyncio.run(measured(seconds, turns))
    print(f"{CONNECTIONS} connections, {SUBMITTING} submit and {ASKING} ask, {EACH_PER_SECOND:g} a second each")
    print(f"{'':24}{'n':>7}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}   p99 of echo  ratio  wanted")
    for kind, words, wanted in (("ask", "cached question", 5), ("submit", "durable submit", 15)):
        echoed = float(np.percentile(bare[kind], 99))
        line = [float(np.percentile(ours[kind], q)) for q in (50, 95, 99, 100)]
        cells = "".join(f"{1000 * value:>7.2f}ms" for value in line)
        print(f"{words:24}{len(ours[kind]):>7}{cells}   {1000 * echoed:9.2f}ms {line[2] / echoed:6.2f}  <= {wanted}")
    print(f"refused: {refused}")
    print("memory in MB over the time: " + " ".join(f"{value:.0f}" for value in used))


if __name__ == "__main__":
    if "--echo" in sys.argv:
        asyncio.run(echo(0))
    else:
        coordinator_times(*(float(said) for said in sys.argv[1:2]))
