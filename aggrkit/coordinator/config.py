"""What a run of tests is: checked before anything is started, with what to write instead."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aggrkit.coordinator.checking import (
    HARDWARE,
    check_parameters,
    grid_of,
    made_of,
    named,
    scalars,
    tests_of,
    whole,
    workers_of,
)
from aggrkit.coordinator.crew import Member
from aggrkit.coordinator.dask_crew import is_client
from aggrkit.coordinator.records import role_of
from aggrkit.coordinator.sides import Sides
from aggrkit.errors import SchemaError, UnknownNameError, listed, number_between, quoted
from aggrkit.model.metric import RESULT_TYPES
from aggrkit.model.schema import Role

__all__ = ["ENGINES", "RunConfig"]

ENGINES: Final = ("processes", "threads")

_SET_BY_THE_RUN: Final = frozenset(
    role.value for role in (Role.RUN, Role.WORKER, Role.TIMESTAMP, Role.RESULT_ID, Role.REPEAT, Role.RESULT_TYPE)
)
_LONGEST_ID: Final = 150


@dataclass(frozen=True)
class RunConfig:
    """What a run of tests is.

    Parameters
    ----------
    tests : callable, str, list of str, or mapping of str to these
        What is run: a function, the name of one that workers import ("module:function"), or a command; several by their
        names. A function gets those values of the grid that are among its parameters, a command and a function by name
        all of them; see `aggrkit.coordinator.execution.execute` for what they return.
    grid : mapping of str to list, optional
        Condition to its values: model, hardware, batch_size, or any other. Each combination is run. The hardware
        decides which workers can run a test.
    repeats : int, optional
        How many times each combination is run; with `compare`, how many times before the first decision (at least 2).
    result_type : str, optional
        "performance", "compatibility", "integration" or "web_platform".
    executor : {"processes", "threads"}, distributed.Client or str, optional
        Where: processes or threads of this machine, or a Dask cluster, by a client or the address of its scheduler.
    workers : int or mapping, optional
        Workers of this machine: how many, or name to hardware (a text, a list of them). As many as it has processors by
        default. A number of them can run all hardware of the grid.
    timeout_seconds : float, optional
        After how long a test is stopped, and has failed.
    retries : int, optional
        How many times a test that fails is run again. One whose worker was lost is run again anyway, up to twice.
    labels : mapping, optional
        What all results are labelled with, e.g. the commit.
    run_id : str, optional
        Name of the run; one of the time by default.
    compare : Sides or mapping, optional
        Two sides to be compared with as few runs as it needs.
    progress : bool, optional
        Whether to show how far it is.

    Raises
    ------
    SchemaError, UnknownNameError, TypeError, ValueError
        If something is wrong with it; says what to write instead.

    Examples
    --------
    >>> from aggrkit.coordinator.config import RunConfig
    >>> config = RunConfig.of({"tests": "bench:latency", "grid": {"model": ["bert", "vit"], "batch_size": 8}})
    >>> config.cells()
    [{'model': 'bert', 'batch_size': 8}, {'model': 'vit', 'batch_size': 8}]
    >>> RunConfig.of({"tests": "bench:latency", "repeat": 3})
    Traceback (most recent call last):
    aggrkit.errors.UnknownNameError: unknown run setting 'repeat'; did you mean 'repeats'?; run settings...
    """

    tests: Any
    grid: Any = field(default_factory=dict)
    repeats: int = 1
    result_type: str = "performance"
    executor: Any = "processes"
    workers: Any = None
    timeout_seconds: float | None = None
    retries: int = 1
    labels: Mapping[str, Any] = field(default_factory=dict)
    run_id: str | None = None
    compare: Any = None
    progress: bool = True

    def __post_init__(self) -> None:
        checked = {
            "tests": tests_of(self.tests),
            "grid": grid_of(self.grid),
            "workers": None if self.workers is None else workers_of(self.workers),
            "compare": Sides.of(self.compare),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        self._check_numbers()
        self._check_names()
        self._check_executor()
        for name, test in self.tests.items():
            check_parameters(name, test, (*self.grid, *self._compared()))

    @classmethod
    def of(cls, config: Mapping[str, Any] | RunConfig) -> RunConfig:
        """Return a configuration that was given as a mapping, or as it is."""
        return config if isinstance(config, cls) else made_of(cls, config, "run setting", "the configuration")

    def cells(self) -> list[dict[str, Any]]:
        """Return the combinations of the grid."""
        cells: list[dict[str, Any]] = [{}]
        for name, values in self.grid.items():
            cells = [{**cell, name: value} for cell in cells for value in values]
        return cells

    def functions(self) -> list[Callable[..., Any]]:
        """Return the tests that are functions."""
        return [test for test in self.tests.values() if callable(test)]

    def crew(self) -> list[Member]:
        """Return the workers of this machine."""
        if isinstance(self.workers, Mapping):
            return [Member(name, hardware) for name, hardware in self.workers.items()]
        many = self.workers or os.cpu_count() or 1
        return [Member(f"w{place}", self._hardware() or ("cpu",)) for place in range(1, many + 1)]

    def _check_numbers(self) -> None:
        whole("repeats", self.repeats, 1)
        whole("retries", self.retries, 0)
        if self.timeout_seconds is not None:
            number_between(self.timeout_seconds, 0, 1e9, "timeout_seconds is a positive number of seconds")
        if self.compare is not None and self.compare.most < self.repeats:
            raise SchemaError(
                f"compare: most is {self.compare.most}, fewer than the {self.repeats} repeats to begin with"
            )

    def _check_names(self) -> None:
        if self.result_type not in RESULT_TYPES:
            raise UnknownNameError.of("result type", self.result_type, RESULT_TYPES)
        if not isinstance(self.labels, Mapping):
            raise TypeError(f"labels are a dictionary; got {quoted(self.labels)}")
        for name, value in self.labels.items():
            named("a name of labels", name)
            scalars(f"labels[{name!r}]", (value,))
        seen: dict[str, str] = {}
        for name in (*self.grid, *self.labels, *self._compared()):
            role = role_of(name) or name
            if role in _SET_BY_THE_RUN:
                raise SchemaError(f"{name!r} can't be a condition: the run itself says it; leave it out")
            if role in seen:
                raise SchemaError(f"{name!r} is said twice, as {seen[role]!r} too; leave one of them out")
            seen[role] = name
        if self.run_id is not None and (named("run_id", self.run_id) and len(self.run_id) > _LONGEST_ID):
            raise SchemaError(f"run_id has at most {_LONGEST_ID} characters; got {len(self.run_id)}")

    def _check_executor(self) -> None:
        executor = self.executor
        if not is_client(executor):
            if not isinstance(executor, str):
                words = "executor is 'processes', 'threads', a dask.distributed.Client or the address of a scheduler"
                raise TypeError(f"{words}; got {quoted(executor)}")
            if executor not in ENGINES and ":" not in executor:
                hint = "An address of a Dask scheduler is like 'tcp://10.0.0.1:8786'."
                raise UnknownNameError.of("executor", executor, ENGINES, hint)
        if executor not in ENGINES and self.workers is not None:
            raise SchemaError("workers are those of this machine; a Dask cluster has its own: leave them out")
        if isinstance(self.workers, Mapping):
            there = {name for hardware in self.workers.values() for name in hardware}
            lacking = [name for name in self._hardware() if name not in there]
            if lacking:
                raise SchemaError(
                    f"no worker has {listed(lacking)}, which the grid asks for; they have {listed(sorted(there))}"
                )
        if self.timeout_seconds is not None and executor != "processes" and self.functions():
            words = "a function that runs in a thread or on Dask can't be stopped after timeout_seconds"
            raise SchemaError(f"{words}; say executor='processes', or give the test as 'module:function'")

    def _hardware(self) -> tuple[str, ...]:
        return tuple(value for name, values in self.grid.items() if role_of(name) == HARDWARE for value in values)

    def _compared(self) -> tuple[str, ...]:
        return () if self.compare is None else (self.compare.by,)
