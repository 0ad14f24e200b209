"""Coordinators that are killed: a program that forks one for each line that it reads, once it has imported everything.

Each serves the store in the folder, on the port, that were given, and writes its process id when it listens.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from aggrkit.coordinator.server import Server
from aggrkit.store import BenchmarkDBManager


async def serve(path: str, port: int) -> None:
    """Serve until SIGTERM."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    with BenchmarkDBManager(path, config={"threads": "1"}) as store:
        server = Server(store, port=port, settle_seconds=0.2)
        await server.start()
        print(os.getpid(), flush=True)
        await told.wait()
        await server.stop()


def warm_up(path: str) -> None:
    """Do once what imports modules late, so that no child has to."""
    with BenchmarkDBManager(path, config={"threads": "1"}) as store:
        store.ingest([{"result_id": "0", "model": "bert", "latency_ms": 1.0, "status": "ok"}], "performance")
        store.get_test_results()


def main(folder: str, port: int) -> None:
    """Fork a server for each line."""
    warm_up(f"{folder}/warm.duckdb")
    print("warm", flush=True)
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            code = 1
            try:
                asyncio.run(serve(f"{folder}/results.duckdb", port))
                code = 0
            finally:
                os._exit(code)
        _, ended = os.waitpid(child, 0)
        print(f"ended {ended}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
