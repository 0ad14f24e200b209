"""The controls above the charts."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, Final

import ipywidgets as widgets
import pandas as pd

from aggrkit.panel.state import STATISTICS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aggrkit.panel.offer import Offer
    from aggrkit.panel.state import State

__all__ = ["Controls"]

_TIMES: Final = ("start", "end")


class Controls:
    """What can be chosen: result type, level, metric, statistic and time range, as far as the source has them.

    Parameters
    ----------
    offer : Offer
        What the source has.
    state : State
        What is shown first.
    chosen : callable
        Gets the changes that a user makes.

    Attributes
    ----------
    box : ipywidgets.HBox
        The controls, side by side.
    by_name : dict
        The controls by the part of the state that they choose.
    """

    def __init__(self, offer: Offer, state: State, chosen: Callable[[Mapping[str, Any]], None]) -> None:
        self._chosen = chosen
        self._is_telling = False
        self.by_name = _made(offer, state)
        self.tell(state)
        for name, control in self.by_name.items():
            control.observe(lambda change, name=name: self._heard(name, change["new"]), "value")
        self.box = widgets.HBox(list(self.by_name.values()), layout={"flex_flow": "row wrap"})

    def tell(self, state: State) -> None:
        """Let the controls say what is shown."""
        self._is_telling = True
        try:
            for name, control in self.by_name.items():
                value = getattr(state, name)
                if name in _TIMES:
                    value = None if not value else pd.Timestamp(value).date()
                elif value not in control._options_values:  # it was asked for by name, such as further columns
                    shown = value if isinstance(value, str) else ", ".join(value) or "all"
                    control.options = (*control._options_full, (shown, value))
                control.value = value
        finally:
            self._is_telling = False

    def _heard(self, name: str, value: Any) -> None:
        if not self._is_telling:
            self._chosen({name: value.isoformat() if isinstance(value, datetime.date) else value})


def _made(offer: Offer, state: State) -> dict[str, Any]:
    short = {"layout": {"width": "auto"}, "style": {"description_width": "initial"}}
    made: dict[str, Any] = {}
    if len(offer.result_types) > 1:
        choices = [("all", None), *((name, name) for name in offer.result_types)]
        made["result_type"] = widgets.Dropdown(description="Results", options=choices, **short)
    levels = list(dict.fromkeys([*offer.levels, state.level]))
    named = [(level if isinstance(level, str) else ", ".join(level) or "all", level) for level in levels]
    made["level"] = widgets.Dropdown(description="Level", options=named, **short)
    metrics = dict.fromkeys([*(metric.name for metric in offer.schema.metrics), state.metric])
    made["metric"] = widgets.Dropdown(description="Metric", options=list(metrics), **short)
    made["statistic"] = widgets.Dropdown(description="Statistic", options=list(STATISTICS), **short)
    if offer.first is not None:
        for name, label in zip(_TIMES, ("From", "To"), strict=True):
            made[name] = widgets.DatePicker(description=label, **short)
    return made
