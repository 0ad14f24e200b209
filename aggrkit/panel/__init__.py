"""The explore panel: results to look at, click into, and take away as code."""

from __future__ import annotations

from aggrkit.panel.panel import Panel
from aggrkit.panel.state import State

__all__ = ["Panel", "State"]
