"""From a configuration to tasks: one for each test, combination of the grid, and repeat."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from aggrkit.coordinator.checking import HARDWARE
from aggrkit.coordinator.records import role_of
from aggrkit.coordinator.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrkit.coordinator.checking import Test
    from aggrkit.coordinator.config import RunConfig

__all__ = ["Plan"]


class Plan:
    """Makes the tasks of a run.

    Parameters
    ----------
    config : RunConfig
        What is run.
    run_id : str
        The run.

    Examples
    --------
    >>> from aggrkit.coordinator.config import RunConfig
    >>> from aggrkit.coordinator.plan import Plan
    >>> config = RunConfig.of({"tests": "bench:latency", "grid": {"model": ["bert", "vit"]}, "repeats": 2})
    >>> [task.task_id for task in Plan(config, "r1").tasks()]
    ['r1-00001', 'r1-00002', 'r1-00003', 'r1-00004']
    """

    def __init__(self, config: RunConfig, run_id: str) -> None:
        self._config = config
        self._run_id = run_id
        self._count = 0
        self._takes = {name: _parameters_of(test) for name, test in config.tests.items()}

    def cells(self) -> list[tuple[str, dict[str, Any]]]:
        """Return each test with each combination of the grid."""
        return [(test, cell) for test in self._config.tests for cell in self._config.cells()]

    def tasks(self) -> list[Task]:
        """Return the tasks of a run that compares nothing: all cells once, then all a second time, ..."""
        cells = self.cells()
        return [self.task(test, cell, repeat) for repeat in range(self._config.repeats) for test, cell in cells]

    def task(self, test: str, cell: Mapping[str, Any], repeat: int, priority: int = 0) -> Task:
        """Return the task of a test, a combination and a repeat."""
        self._count += 1
        hardware = tuple(value for name, value in cell.items() if role_of(name) == HARDWARE)
        takes = self._takes[test]
        return Task(
            f"{self._run_id}-{self._count:05}",
            {
                **_what(self._config.tests[test]),
                "test": test,
                "parameters": {name: value for name, value in cell.items() if takes is None or name in takes},
                "timeout_seconds": self._config.timeout_seconds,
                "hardware": list(hardware),
            },
            hardware,
            priority=priority,
            run_id=self._run_id,
            labels={
                "test_case": test,
                **self._config.labels,
                **cell,
                "repeat": repeat,
                "result_type": self._config.result_type,
            },
        )


def _what(test: Test) -> dict[str, Any]:
    if isinstance(test, str):
        return {"callable": test}
    return {"command": list(test)} if isinstance(test, tuple) else {}


def _parameters_of(test: Test) -> frozenset[str] | None:
    """Return the names of what a function takes; None where it takes everything, or doesn't say."""
    if not callable(test):
        return None
    try:
        parameters = inspect.signature(test).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(p.name for p in parameters if p.kind is not p.POSITIONAL_ONLY)
