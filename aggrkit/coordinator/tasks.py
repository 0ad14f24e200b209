"""The nouns of the queue: tasks, workers, leases and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from aggrkit.errors import quoted

__all__ = ["Choose", "Eligible", "Lease", "Outcome", "Task", "Worker", "first_come", "has_what_it_needs"]


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Task:
    """Something that a worker shall run.

    Parameters
    ----------
    task_id : str
        Tells it from all others; results are stored under it, so that two runs of one task count once.
    payload : mapping, optional
        What to run, of JSON values. Workers of `aggrkit worker` understand ``{"command": ["python", "bench.py"]}`` and
        ``{"callable": "module:function"}``, each with ``"parameters"`` (a dictionary) and ``"timeout_seconds"``.
    hardware : tuple of str, optional
        Any of these will do; all will if it is empty.
    needs : mapping, optional
        What else the worker must have: a number is the least that its capability must be, anything else must be equal.
    priority : int, optional
        Higher ones first, in the default order.
    run_id : str, optional
        The run that it belongs to.
    labels : mapping, optional
        What the results are labelled with, unless they say it themselves: model, hardware, batch_size, ...

    Examples
    --------
    >>> from aggrkit.coordinator.tasks import Task
    >>> Task("bert-1", {"callable": "mine:latency", "parameters": {"model": "bert"}}, hardware=("cuda",)).task_id
    'bert-1'
    """

    task_id: str
    payload: Mapping[str, Any] = field(default_factory=_nothing)
    hardware: tuple[str, ...] = ()
    needs: Mapping[str, Any] = field(default_factory=_nothing)
    priority: int = 0
    run_id: str | None = None
    labels: Mapping[str, Any] = field(default_factory=_nothing)

    def __post_init__(self) -> None:
        if not isinstance(self.task_id, str) or not self.task_id:
            raise TypeError(f"task_id is a text that isn't empty; got {quoted(self.task_id)}")
        object.__setattr__(self, "hardware", tuple(self.hardware))


@dataclass
class Worker:
    """Who runs tasks.

    Parameters
    ----------
    worker_id : str
        Its name.
    hardware : tuple of str
        What it can run tasks on.
    capabilities : mapping
        What else it said of itself: memory_gb, hostname, ...
    instance : str
        Tells this process of the worker from an earlier one of the same name.
    last_seen : float
        When it gave the last sign of life, by the queue's clock.
    quarantined : str or None
        Why it gets no tasks, if it doesn't.
    lost : bool
        Whether it has been silent for longer than a lease.
    clock_offset : float
        By how many seconds its wall clock is ahead of this one, if by so much that its times are not used; else 0.
    finished, failed : int
        How many tasks it brought to an end, and how many of them failed.
    """

    worker_id: str
    hardware: tuple[str, ...] = ()
    capabilities: Mapping[str, Any] = field(default_factory=_nothing)
    instance: str = ""
    last_seen: float = 0.0
    quarantined: str | None = None
    lost: bool = False
    clock_offset: float = 0.0
    finished: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Lease:
    """A task in the hands of a worker, until `expires` by the queue's clock; every sign of life renews it."""

    task: Task
    worker_id: str
    attempt: int
    started: float
    expires: float


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Parameters
    ----------
    task_id : str
        Which task.
    status : {"done", "failed", "cancelled"}
        "failed" is what a worker said of it, or that it lost too many workers.
    worker_id : str or None
        Who ran it.
    seconds : float or None
        How long it took, by the worker's own clock that never runs backwards.
    error : str or None
        Why it failed.
    attempts : int
        How many times it was given to a worker.
    """

    task_id: str
    status: Literal["done", "failed", "cancelled"]
    worker_id: str | None = None
    seconds: float | None = None
    error: str | None = None
    attempts: int = 0


Choose = Callable[[Sequence[Task], Worker], Task | None]
"""``(tasks, worker) -> task``: which of the tasks that the worker may run is next; None lets it wait."""

Eligible = Callable[[Task, Worker], bool]
"""``(task, worker) -> bool``: whether the worker can run the task."""


def first_come(tasks: Sequence[Task], worker: Worker) -> Task | None:
    """Choose the task of the highest priority, the oldest of them."""
    return max(tasks, key=lambda task: task.priority, default=None)


def has_what_it_needs(task: Task, worker: Worker) -> bool:
    """Say whether a worker has the hardware and the capabilities that a task asks for."""
    if task.hardware and not set(task.hardware) & set(worker.hardware):
        return False
    return all(_suffices(wanted, worker.capabilities.get(name)) for name, wanted in task.needs.items())


def _suffices(wanted: Any, there: Any) -> bool:
    if isinstance(wanted, bool) or not isinstance(wanted, (int, float)):
        return bool(wanted == there)
    return isinstance(there, (int, float)) and not isinstance(there, bool) and there >= wanted
