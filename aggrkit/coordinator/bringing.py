"""What a worker of a run found goes the way of all results: stored first, then the task has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aggrkit.coordinator import desk
from aggrkit.coordinator.records import batch_of, role_of
from aggrkit.errors import ProtocolError
from aggrkit.model.metric import RESULT_TYPES, MetricKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrkit.coordinator.crew import Member
    from aggrkit.coordinator.execution import Ran
    from aggrkit.coordinator.intake import Intake
    from aggrkit.coordinator.queue import TaskQueue
    from aggrkit.coordinator.tasks import Task

__all__ = ["Bringing"]

_OUTCOMES: Final = frozenset(
    {"status", "outcome"}
    | {metric.name for metrics in RESULT_TYPES.values() for metric in metrics if metric.kind is MetricKind.PROPORTION}
)
_PASSED: Final = {"status": "passed"}


class Bringing:
    """Brings what workers found into the store and the layers.

    Parameters
    ----------
    queue : TaskQueue
        Where tasks end.
    intake : Intake
        Where results go.
    """

    def __init__(self, queue: TaskQueue, intake: Intake) -> None:
        self._queue = queue
        self._intake = intake

    def bring(self, task: Task, member: Member, ran: Ran) -> Ran:
        """Store what a test found, and end its task; returns how it went, which is badly if the store refuses it.

        Raises
        ------
        SourceError
            If the store can't be written.
        """
        try:
            self._brought(task, member, ran)
        except ProtocolError as error:
            ran = type(ran)(False, ran.seconds, error=f"its results were refused: {error}")
            self._brought(task, member, ran)
        return ran

    def _brought(self, task: Task, member: Member, ran: Ran) -> None:
        given: dict[str, Any] = {
            "task_id": task.task_id,
            "worker_id": member.name,
            "success": ran.success,
            "results": [_told(result) for result in ran.results] or ([_PASSED] if ran.success else []),
            "result": None,
            "result_type": None,
            "error": ran.error,
            "execution_time_seconds": ran.seconds,
            "age_seconds": 0.0,
        }
        records = desk.records_of(self._queue, given)
        placed = [{**record, "environment": dict(member.environment)} for record in records]
        self._intake.keep(batch_of(placed)).result()
        desk.finished(self._queue, given)


def _told(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result that says that its test passed, where it says nothing of that."""
    told = {role_of(name) or name for name in result}
    return dict(result) if told & _OUTCOMES else {**result, **_PASSED}
