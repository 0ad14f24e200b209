"""The parts of an answer, made of what an inquiry found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggrkit import wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggrkit.service.inquiry import Inquiry

__all__ = ["part"]


def part(inquiry: Inquiry, name: str) -> dict[str, Any]:
    """Return one of the parts that `aggrkit.wire.PARTS` names, or "trends"."""
    return _MAKERS[name](inquiry)


def _basic(inquiry: Inquiry) -> dict[str, Any]:
    frames = inquiry.statistics.frames
    return wire.basic_statistics(frames["stats"], inquiry.groups, frames.get("proportions"))


def _percentiles(inquiry: Inquiry) -> dict[str, Any]:
    frames = inquiry.statistics.frames
    return wire.percentiles_response(frames["stats"], inquiry.groups, frames.get("proportions"))


def _distributions(inquiry: Inquiry) -> dict[str, Any]:
    frame = inquiry.distributions
    return {} if frame is None else wire.distributions_response(frame, inquiry.groups)


def _anomalies(inquiry: Inquiry) -> dict[str, Any]:
    answer = inquiry.anomalies
    return wire.anomalies_response(answer.frames, inquiry.groups, answer.meta["needs"], inquiry.metric)


def _comparisons(inquiry: Inquiry) -> dict[str, Any]:
    found = inquiry.comparison
    if found is None:
        return {}
    answer, means = found
    return wire.comparisons_response(answer.frames["compare"], means, inquiry.groups, inquiry.metric)


def _trends(inquiry: Inquiry) -> dict[str, Any]:
    return wire.trends_response(inquiry.trends.frames["trends"], inquiry.groups)


_MAKERS: dict[str, Callable[[Inquiry], dict[str, Any]]] = {
    "basic_statistics": _basic,
    "percentiles": _percentiles,
    "distributions": _distributions,
    "anomalies": _anomalies,
    "comparisons": _comparisons,
    "trends": _trends,
}
