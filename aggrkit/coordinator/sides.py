"""The two sides that a run compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aggrkit.coordinator.checking import made_of, named, scalars, whole
from aggrkit.errors import SchemaError, number_between, quoted

__all__ = ["Sides"]


@dataclass(frozen=True)
class Sides:
    """Two sides that a run compares, run by run, until it is decided which of them is faster or that neither is.

    Parameters
    ----------
    by : str
        The condition in which they differ, e.g. "build"; tests get it as a parameter, and results as a label.
    baseline, current : str, int, float or bool
        Its two values.
    metric : str
        What is compared; its values are positive, and their logarithms are compared.
    margin : float, optional
        The smallest change that matters: 0.02 is 2 %.
    noise : float, optional
        The standard deviation between runs of the same test, 0.01 for 1 %. By default that of earlier runs in the
        store; where there are too few of them the margin counts as one standard deviation.
    alpha : float, optional
        Chance that sides which don't differ are called changed, at whatever run it stops.
    beta : float, optional
        Chance that sides which differ by the margin are called the same.
    most : int, optional
        Most runs a side; a comparison that isn't decided by then stays undecided.
    """

    by: str
    baseline: Any
    current: Any
    metric: str
    margin: float = 0.02
    noise: float | None = None
    alpha: float = 0.05
    beta: float = 0.2
    most: int = 30

    def __post_init__(self) -> None:
        named("compare['by']", self.by)
        named("compare['metric']", self.metric)
        scalars("compare", (self.baseline, self.current))
        if self.baseline == self.current:
            raise SchemaError(f"compare: baseline and current are the same, {quoted(self.baseline)}")
        number_between(self.margin, 0, 10, "compare: the margin is a positive number, 0.02 for 2 %")
        if self.noise is not None:
            number_between(self.noise, 0, 10, "compare: the noise is a positive number, 0.01 for 1 %")
        number_between(self.alpha, 0, 1, "compare: alpha is a chance between 0 and 1")
        number_between(self.beta, 0, 1, "compare: beta is a chance between 0 and 1")
        whole("compare['most']", self.most, 2)

    @property
    def values(self) -> tuple[Any, Any]:
        """The two sides."""
        return self.baseline, self.current

    @classmethod
    def of(cls, given: object) -> Sides | None:
        """Return what was given as a mapping, as it is, or not at all."""
        if given is None or isinstance(given, cls):
            return given
        made: Sides = made_of(cls, given, "compare setting", "compare")
        return made
