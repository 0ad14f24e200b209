"""The smallest change that matters: checked where it is said, and looked up for each metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from aggrkit.errors import number_between

if TYPE_CHECKING:
    from aggrkit.pipeline.prepared import Prepared

__all__ = ["DEFAULT_MARGIN", "check_margin", "margins_of"]

DEFAULT_MARGIN: Final = 0.02
"""Smallest change that matters where nothing else is said: 2 %, and 2 points for rates."""


def check_margin(margin: float | Mapping[str, float], zero: bool = False) -> None:
    """Check that a margin is a share between 0 and 1, or that all of a mapping are.

    Parameters
    ----------
    margin : float or mapping
        One margin, or one by metric.
    zero : bool, optional
        Whether 0 will do, with which every change matters.

    Raises
    ------
    TypeError
        If a margin isn't a number.
    ValueError
        If a margin lies outside.

    Examples
    --------
    >>> check_margin({"latency_ms": 0.05})
    >>> check_margin(5)
    Traceback (most recent call last):
    ValueError: a margin is a share between 0 and 1, e.g. 0.02 for 2 %; got 5
    """
    low = math.nextafter(0, -1) if zero else 0
    for share in margin.values() if isinstance(margin, Mapping) else [margin]:
        number_between(share, low, 1, "a margin is a share between 0 and 1, e.g. 0.02 for 2 %")


def margins_of(margin: float | Mapping[str, float], prepared: Prepared) -> dict[str, float]:
    """Return the margin of each metric, by its name.

    Parameters
    ----------
    margin : float or mapping
        One margin for all metrics, or one by metric: by any name that a metric goes by.
    prepared : Prepared
        The observations, with their metrics.

    Returns
    -------
    dict of str to float
        A metric that the mapping doesn't name has the margin of 2 %.

    Raises
    ------
    UnknownNameError
        If the mapping names a metric that isn't there.
    """
    if not isinstance(margin, Mapping):
        return {metric.name: margin for metric in prepared.metrics}
    said = {prepared.schema.metric(name).name: share for name, share in margin.items()}
    return {metric.name: said.get(metric.name, DEFAULT_MARGIN) for metric in prepared.metrics}
