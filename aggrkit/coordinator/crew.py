"""Those who run the tests of a run, whatever engine they are of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from aggrkit.coordinator.execution import Ran

__all__ = ["Crew", "Member"]


@dataclass(frozen=True)
class Member:
    """A worker of a crew; it runs one test at a time, so that tests don't disturb each other.

    Parameters
    ----------
    name : str
        Its name, which results are stored with.
    hardware : tuple of str
        What it can run tests on.
    capabilities : mapping, optional
        What else it has.
    instance : str, optional
        Tells one process from the next of the same name.
    environment : mapping, optional
        What is noted with its results: hostname, os, python.
    """

    name: str
    hardware: tuple[str, ...]
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    instance: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


class Crew(Protocol):
    """An engine that runs tests."""

    def members(self) -> Sequence[Member]:
        """Return who is there at this moment."""

    def start(self, member: Member, task: Mapping[str, Any], function: Callable[..., Any] | None) -> Future[Ran]:
        """Let a member run a test; the future fails with `concurrent.futures.BrokenExecutor` if the member is lost."""

    def can_stop(self) -> bool:
        """Say whether a function that is being run can be stopped."""

    def stop(self, member: Member, *, at_once: bool) -> None:
        """Stop what a member runs: as it likes to end, or at once."""

    def renew(self, name: str) -> None:
        """Put a new worker in the place of one that was lost, if that is this crew's business."""

    def close(self) -> None:
        """Stop what is still run, and let all go."""
