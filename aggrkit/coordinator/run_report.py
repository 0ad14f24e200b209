"""What became of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggrkit.coordinator.contest import Contest

__all__ = ["RunReport"]

_SHOWN: Final = 20


@dataclass(frozen=True)
class RunReport:
    """What became of a run.

    Parameters
    ----------
    run_id : str
        Its name, by which its results are found in the store.
    state : {"completed", "interrupted"}
        Whether it came to its end.
    seconds : float
        How long it took.
    counts : mapping of str to int
        How many tasks are waiting, running, done, failed and cancelled.
    workers : sequence of dict
        Each worker with its hardware, how many tasks it finished, how many of them failed, and why it is quarantined if
        it is.
    events : sequence of str
        What happened that nobody planned, a sentence each: lost workers, tasks that were run again or failed, workers
        that were quarantined.
    comparisons : sequence of Contest
        What was decided of two sides, where they were compared.
    notes : sequence of str
        What else should be known.
    """

    run_id: str
    state: Literal["completed", "interrupted"]
    seconds: float
    counts: Mapping[str, int]
    workers: Sequence[Mapping[str, Any]] = ()
    events: Sequence[str] = ()
    comparisons: Sequence[Contest] = ()
    notes: Sequence[str] = ()

    def explain(self) -> str:
        """Return it in words."""
        counts = self.counts
        told = ", ".join(
            f"{counts[name]} {name}" for name in ("failed", "cancelled", "waiting", "running") if counts[name]
        )
        how = "was completed" if self.state == "completed" else "was interrupted"
        where = f"{self.seconds:.1f} s on {len(self.workers)} workers"
        lines = [f"Run {self.run_id} {how} after {where}: {counts['done']} tasks done{told and f', {told}'}."]
        lines += [str(contest) for contest in self.comparisons]
        lines += [
            f"Quarantined: {each['worker_id']}: {each['quarantined']}" for each in self.workers if each["quarantined"]
        ]
        lines += self.notes
        lines += self.events[:_SHOWN]
        if len(self.events) > _SHOWN:
            lines.append(f"... and {len(self.events) - _SHOWN} more of that kind in .events")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.explain()

    def __repr__(self) -> str:
        return f"<{self.explain()}>"
