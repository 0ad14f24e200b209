"""What workers and administrators are told: the queue of tasks behind the messages of the protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from aggrkit.coordinator.records import role_of
from aggrkit.coordinator.tasks import Task
from aggrkit.errors import ProtocolError, quoted
from aggrkit.model.schema import Role

if TYPE_CHECKING:
    from aggrkit.coordinator.queue import TaskQueue
    from aggrkit.coordinator.tasks import Worker

__all__ = ["ANSWERS", "finished", "records_of", "status"]

_CLOCK_TOLERANCE: Final = 60.0
_RETRY_SECONDS: Final = 0.5
_REPORTED: Final = 200
_TIME: Final = Role.TIMESTAMP.value
_IDENTITY: Final = Role.RESULT_ID.value

Given = Mapping[str, Any]


def status(queue: TaskQueue) -> dict[str, Any]:
    """Return where the tasks and the workers stand, and what happened that nobody planned."""
    running: dict[str, list[str]] = {}
    for lease in queue.leases():
        running.setdefault(lease.worker_id, []).append(lease.task.task_id)
    workers = [
        {
            "worker_id": worker.worker_id,
            "hardware": list(worker.hardware),
            "running": running.get(worker.worker_id, []),
            "finished": worker.finished,
            "failed": worker.failed,
            "lost": worker.lost,
            "quarantined": worker.quarantined,
        }
        for worker in queue.workers()
    ]
    return {"tasks": queue.counts(), "workers": workers, "report": queue.log.report()[-_REPORTED:]}


def records_of(queue: TaskQueue, given: Given) -> list[dict[str, Any]]:
    """Return the results of a task as they are stored: labelled, by the server's clock, under the id of the task."""
    task, worker = queue.task(given["task_id"]), queue.worker(given["worker_id"])
    brought = [*(given["results"] or []), *(given["result"] or [])]
    labels = dict(task.labels) if task is not None else {}
    kind = given["result_type"] or labels.get("result_type")
    if not brought and given["success"] is False and kind is not None:
        brought = [{"status": "error", "error": given["error"]}]
    moment = datetime.now(UTC) - timedelta(seconds=min(given["age_seconds"] or 0.0, 1e9))
    labels |= {"worker_id": given["worker_id"], "execution_time_seconds": given["execution_time_seconds"]}
    labels |= {"timestamp": moment.isoformat(), "result_type": kind}
    if task is not None:
        labels |= {"run_id": task.run_id or labels.get("run_id")}
    if worker is not None and not any(role_of(name) == Role.HARDWARE.value for name in labels):
        labels["hardware"] = _ran_on(task, worker)
    return [_record(record, place, given["task_id"], labels, worker) for place, record in enumerate(brought)]


def finished(queue: TaskQueue, given: Given) -> dict[str, Any]:
    """Note that a task has ended, and return what its worker is told."""
    counted = queue.finish(
        given["task_id"],
        given["worker_id"],
        success=given["success"] is not False,
        seconds=given["execution_time_seconds"],
        error=given["error"],
    )
    return {"task_id": given["task_id"], "counted": counted}


def _record(
    record: Mapping[str, Any], place: int, task_id: str, labels: Mapping[str, Any], worker: Worker | None
) -> dict[str, Any]:
    own = {role: name for name, value in record.items() if value is not None and (role := role_of(name)) is not None}
    kept = dict(record)
    if _IDENTITY in own:  # a task that was run twice counts once, whatever ids its runs made up
        kept["reported_id"] = str(kept.pop(own[_IDENTITY]))
    if _TIME in own and worker is not None and worker.clock_offset:
        kept["reported_timestamp"] = str(kept.pop(own[_TIME]))
        own.pop(_TIME)
    kept["result_id"] = task_id if not place else f"{task_id}#{place}"
    return kept | {k: v for k, v in labels.items() if v is not None and k not in kept and role_of(k) not in own}


def _ran_on(task: Task | None, worker: Worker) -> str | None:
    """Return the hardware that a task ran on, where there is only one that it can be."""
    able = [name for name in worker.hardware if task is None or not task.hardware or name in task.hardware]
    return able[0] if len(able) == 1 else None


def _register(queue: TaskQueue, given: Given) -> dict[str, Any]:
    capabilities = dict(given["capabilities"] or {})
    hardware = given["hardware"] or _hardware_of(capabilities)
    if given["hostname"] is not None:
        capabilities["hostname"] = given["hostname"]
    worker = queue.register(
        given["worker_id"],
        hardware,
        capabilities,
        instance=given["instance"] or "",
        running=given["running"] or (),
    )
    _note_clock(queue, worker, given["sent_at"])
    return {
        "worker_id": worker.worker_id,
        "lease_seconds": queue.lease_seconds,
        "heartbeat_seconds": queue.lease_seconds / 3,
        "quarantined": worker.quarantined,
    }


def _heartbeat(queue: TaskQueue, given: Given) -> dict[str, Any]:
    worker = queue.heartbeat(given["worker_id"], given["instance"])
    _note_clock(queue, worker, given["sent_at"])
    ended = [name for name in given["running"] or () if queue.has_ended(name)]
    return {"quarantined": worker.quarantined, "ended": ended}


def _get_task(queue: TaskQueue, given: Given) -> dict[str, Any]:
    lease = queue.take(given["worker_id"], given["instance"], given["running"])
    if lease is None:
        worker = queue.worker(given["worker_id"])
        why = None if worker is None else worker.quarantined
        return {"task": None, "retry_after": _RETRY_SECONDS, "quarantined": why}
    task = lease.task
    return {
        "task": {
            "task_id": task.task_id,
            "run_id": task.run_id,
            "attempt": lease.attempt,
            "labels": dict(task.labels),
            **task.payload,
        }
    }


def _leave(queue: TaskQueue, given: Given) -> dict[str, Any]:
    queue.heartbeat(given["worker_id"], given["instance"])
    queue.leave(given["worker_id"])
    return {}


def _add_tasks(queue: TaskQueue, given: Given) -> dict[str, Any]:
    return {"added": queue.add([_task(entry, place) for place, entry in enumerate(given["tasks"])])}


def _cancel_tasks(queue: TaskQueue, given: Given) -> dict[str, Any]:
    return {"cancelled": queue.cancel(given["task_ids"])}


def _task(entry: Mapping[str, Any], place: int) -> Task:
    kinds = {"task_id": str, "payload": dict, "hardware": list, "needs": dict, "priority": int, "labels": dict}
    kinds["run_id"] = str
    for name, value in entry.items():
        wanted = kinds.get(name)
        if wanted is None:
            raise ProtocolError("bad_field", f"task {place} has no field {quoted(name)}; fields are {', '.join(kinds)}")
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ProtocolError("bad_field", f"task {place}: {name} is of the kind {wanted.__name__}")
    if not entry.get("task_id") or len(entry["task_id"]) > 190:
        raise ProtocolError("bad_field", f"task {place} needs a task_id of at most 190 characters")
    if not all(isinstance(name, str) for name in entry.get("hardware", ())):
        raise ProtocolError("bad_field", f"task {place}: hardware is a list of texts")
    return Task(**entry)


def _hardware_of(capabilities: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the hardware that a worker names among its capabilities, as older ones do."""
    found = capabilities.get("hardware")
    if isinstance(found, list):
        return tuple(name for name in found if isinstance(name, str))
    return (found,) if isinstance(found, str) else ()


def _note_clock(queue: TaskQueue, worker: Worker, sent_at: float | None) -> None:
    """Note that a worker's clock is wrong, once; nothing depends on it."""
    if sent_at is None:
        return
    offset = sent_at - time.time()
    if abs(offset) <= _CLOCK_TOLERANCE:
        worker.clock_offset = 0.0
        return
    if not worker.clock_offset:
        way = "ahead of" if offset > 0 else "behind"
        words = f"the clock of worker {worker.worker_id} is {abs(offset):.0f} s {way} this one: its times are not used"
        queue.log.tell("clock", words, worker.worker_id, seconds=offset)
    worker.clock_offset = offset


ANSWERS: Final[Mapping[str, Callable[[TaskQueue, Given], dict[str, Any]]]] = MappingProxyType(
    {
        "ping": lambda queue, given: {},
        "register": _register,
        "heartbeat": _heartbeat,
        "get_task": _get_task,
        "leave": _leave,
        "add_tasks": _add_tasks,
        "cancel_tasks": _cancel_tasks,
    }
)
"""What each message that takes no time is answered with."""
