"""The coordinator: results stream in, answers go out, and workers run tests."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aggrkit.coordinator.blocking import Client
    from aggrkit.coordinator.client import AsyncClient
    from aggrkit.coordinator.config import RunConfig
    from aggrkit.coordinator.coordinator import TestCoordinator
    from aggrkit.coordinator.keys import Keys
    from aggrkit.coordinator.queue import TaskQueue
    from aggrkit.coordinator.run_report import RunReport
    from aggrkit.coordinator.server import Server
    from aggrkit.coordinator.sides import Sides
    from aggrkit.coordinator.tasks import Task
    from aggrkit.coordinator.worker import Worker

__all__ = [
    "AsyncClient",
    "Client",
    "Keys",
    "RunConfig",
    "RunReport",
    "Server",
    "Sides",
    "Task",
    "TaskQueue",
    "TestCoordinator",
    "Worker",
]

_PLACES = {
    "AsyncClient": "client",
    "Client": "blocking",
    "Keys": "keys",
    "RunConfig": "config",
    "RunReport": "run_report",
    "Server": "server",
    "Sides": "sides",
    "Task": "tasks",
    "TaskQueue": "queue",
    "TestCoordinator": "coordinator",
    "Worker": "worker",
}


def __getattr__(name: str) -> object:
    # Each brings what it needs with it: a queue needs no socket, and a client no engine.
    if name in _PLACES:
        return getattr(import_module(f"aggrkit.coordinator.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'aggrkit.coordinator' has no attribute {name!r}")
