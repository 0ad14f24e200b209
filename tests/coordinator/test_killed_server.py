"""A server that is killed at any moment has every result that it acknowledged, each once, when it is started again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from pathlib import Path

import pytest

from aggrkit.coordinator import AsyncClient
from aggrkit.store import BenchmarkDBManager

KILLS, CLIENTS = 30, 8


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


async def submit_until(told: asyncio.Event, url: str, name: int, acknowledged: list[str], chance: random.Random) -> int:
    """Submit results, one to five at a time, some of a shape of their own; say how often the connection was made."""
    count = 0
    async with AsyncClient(url, timeout=60) as client:
        while not told.is_set():
            batch = []
            for _ in range(chance.randint(1, 5)):
                count += 1
                own = {f"field_{chance.randint(0, 9)}": 1.0} if chance.random() < 0.05 else {}
                batch.append(
                    {"result_id": f"{name}-{count}", "model": f"model-{name}", "latency_ms": 1.0 + count, **own}
                )
            said = await client.submit(batch, "performance")
            assert said["result_ids"] == [result["result_id"] for result in batch]
            acknowledged += said["result_ids"]
            await asyncio.sleep(0.005)
        return client.reconnects


async def kill_again_and_again(folder: Path) -> tuple[list[str], list[int]]:
    port, chance = free_port(), random.Random(11)
    program = Path(__file__).with_name("forking_server.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        str(folder),
        str(port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )

    async def said() -> str:
        return (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()

    async def started() -> int:
        process.stdin.write(b"\n")
        return int(await said())

    try:
        assert await said() == "warm"
        server = await started()
        told, acknowledged = asyncio.Event(), []
        url = f"ws://127.0.0.1:{port}"
        clients = [
            asyncio.create_task(submit_until(told, url, name, acknowledged, random.Random(name)))
            for name in range(CLIENTS)
        ]
        for _ in range(KILLS):
            before = len(acknowledged)
            while len(acknowledged) == before:  # so that each server that is killed had something to lose
                await asyncio.sleep(0.01)
            await asyncio.sleep(chance.uniform(0, 0.5))
            os.kill(server, signal.SIGKILL)
            assert await said() == f"ended {int(signal.SIGKILL)}"
            server = await started()
        told.set()
        reconnects = await asyncio.wait_for(asyncio.gather(*clients), 60)
        os.kill(server, signal.SIGTERM)
        assert await said() == "ended 0"
    finally:
        process.kill()
        await process.wait()
    return acknowledged, reconnects


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork")
def test_killed_at_thirty_moments(tmp_path):
    acknowledged, reconnects = asyncio.run(kill_again_and_again(tmp_path))
    assert all(count >= KILLS for count in reconnects)
    assert len(acknowledged) > KILLS * CLIENTS
    with BenchmarkDBManager(tmp_path / "results.duckdb") as store:
        stored = [result["result_id"] for result in store.get_performance_results()]
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored)
    # what was sent and not acknowledged was sent again, so nothing else is there
    assert set(acknowledged) == set(stored)
    assert not list((tmp_path / "results.duckdb.journal").glob("journal-*"))
    assert not (tmp_path / "results.duckdb.journal" / "rejected.jsonl").exists()
