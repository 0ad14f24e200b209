"""Subscriptions: what a connection was told already, and what is news to it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggrkit.coordinator.actions import Watch

__all__ = ["News", "Subscription"]


@dataclass(frozen=True)
class News:
    """An anomaly, a change or a verdict.

    Parameters
    ----------
    event : {"anomaly", "change", "verdict"}
        What it is.
    key : tuple of str
        What tells it from all others: group, metric, and the observation, the place or the verdict.
    details : dict
        All that is known of it.
    """

    event: str
    key: tuple[str, ...]
    details: dict[str, Any] = field(compare=False)

    @property
    def event_id(self) -> str:
        """An id that is the same wherever the same is found."""
        return hashlib.sha256(json.dumps([self.event, *self.key]).encode()).hexdigest()[:24]

    def message(self, subscription: str) -> dict[str, Any]:
        """Return the message that tells of it."""
        group, metric = self.key[:2]
        return {
            "type": "subscription_event",
            "subscription_id": subscription,
            "event_id": self.event_id,
            "event": self.event,
            "group": group,
            "metric": metric,
            "details": self.details,
        }


@dataclass
class Subscription:
    """What one connection wants to be told of.

    Parameters
    ----------
    name : str
        Its id.
    watch : Watch
        What is looked at.
    """

    name: str
    watch: Watch
    _seen: set[str] = field(default_factory=set)

    def fresh(self, found: Iterable[News]) -> list[News]:
        """Return what was not seen before; it is from now on."""
        new = [news for news in found if news.event_id not in self._seen]
        self._seen.update(news.event_id for news in new)
        return new
