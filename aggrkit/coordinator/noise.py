"""How much runs of the same test differ, from what the store has of earlier runs."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any, Final

from aggrkit.coordinator.records import role_of
from aggrkit.model.schema import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["log_of", "noise_of"]

_LEAST: Final = 8


def noise_of(records: Iterable[Mapping[str, Any]], names: Sequence[str], metric: str) -> float | None:
    """Return the standard deviation of the logarithms of a metric among runs of the same test.

    Parameters
    ----------
    records : iterable of mapping
        Results of earlier runs.
    names : sequence of str
        What makes a test the same; runs are not mixed.
    metric : str
        Which metric.

    Returns
    -------
    float or None
        Pooled over all tests with two results or more in one run; None where they have fewer than 8 degrees of freedom,
        or don't differ.

    Examples
    --------
    >>> from aggrkit.coordinator.noise import noise_of
    >>> records = [{"model": "bert", "run_id": "r1", "latency_ms": x} for x in (9.9, 10.0, 10.1) * 3]
    >>> round(noise_of(records, ["model"], "latency_ms"), 4)
    0.0087
    """
    keys = [role_of(name) or name for name in (*names, Role.RUN.value)]
    wanted = role_of(metric) or metric
    groups: dict[tuple[str, ...], list[float]] = {}
    for record in records:
        told = {role_of(name) or name: value for name, value in record.items()}
        value = log_of(told.get(wanted))
        if math.isfinite(value):
            groups.setdefault(tuple(_text(told.get(key)) for key in keys), []).append(value)
    several = [values for values in groups.values() if len(values) > 1]
    freedom = sum(len(values) - 1 for values in several)
    squares = sum(statistics.variance(values) * (len(values) - 1) for values in several)
    return math.sqrt(squares / freedom) if freedom >= _LEAST and squares > 0 else None


def log_of(value: Any) -> float:
    """Return the logarithm of a value; NaN for what is no positive number."""
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
    return math.log(value) if usable else math.nan


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
