"""The controls above the charts."""

from __future__ import annotations

import contextlib
import datetime
import threading
from typing import TYPE_CHECKING, Any, Final

import ipywidgets as widgets
import pandas as pd

from aggrkit.panel.state import STATISTICS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aggrkit.panel.offer import Offer
    from aggrkit.panel.state import State

__all__ = ["Controls"]

_TIMES: Final = ("start", "end")
_LABELS: Final = {
    "result_type": "Results",
    "level": "Level",
    "metric": "Metric",
    "statistic": "Statistic",
    "start": "From",
    "end": "To",
}


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
        self._teller: int | None = None  # the thread that tells what is shown; what others set was chosen by the user
        self._choices: dict[str, list[Any]] = {}
        self.by_name: dict[str, Any] = {}
        self.box = widgets.HBox(layout={"flex_flow": "row wrap"})
        self.renew(offer, state)

    def renew(self, offer: Offer, state: State) -> None:
        """Let there be the choices that a source has; controls that were there already stay."""
        choices, before = _choices(offer), self._choices
        self._choices = choices
        with self._telling():
            for name, options in choices.items():
                if name not in self.by_name:
                    self.by_name[name] = self._made(name, options)
                elif options != before[name]:
                    with self.by_name[name].hold_sync():  # else the first choice would be seen for a moment
                        self.by_name[name].options = options
                        self._say(name, state)
        self.tell(state)
        if choices.keys() != before.keys():
            self.box.children = tuple(self.by_name[name] for name in choices)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        before, self._teller = self._teller, threading.get_ident()
        try:
            yield
        finally:
            self._teller = before

    def tell(self, state: State) -> None:
        """Let the controls say what is shown."""
        with self._telling():
            for name in self._choices:
                self._say(name, state)

    def _say(self, name: str, state: State) -> None:
        control, value = self.by_name[name], getattr(state, name)
        if name in _TIMES:
            value = None if not value else pd.Timestamp(value).date()
        elif value not in control._options_values:  # it was asked for by name, such as further columns
            control.options = (*control._options_full, (_named(value), value))
        control.value = value

    def _made(self, name: str, options: list[Any]) -> Any:
        short = {"layout": {"width": "auto"}, "style": {"description_width": "initial"}}
        if name in _TIMES:
            control = widgets.DatePicker(description=_LABELS[name], **short)
        else:
            control = widgets.Dropdown(description=_LABELS[name], options=options, **short)
        control.observe(lambda change: self._heard(name, change["new"]), "value")
        return control

    def _heard(self, name: str, value: Any) -> None:
        if self._teller != threading.get_ident():
            self._chosen({name: value.isoformat() if isinstance(value, datetime.date) else value})


def _choices(offer: Offer) -> dict[str, list[Any]]:
    """Return what there is to choose from, by the part of the state that is chosen; any day may be."""
    made: dict[str, list[Any]] = {}
    if len(offer.result_types) > 1:
        made["result_type"] = [("all", None), *((name, name) for name in offer.result_types)]
    made["level"] = [(level, level) for level in offer.levels]
    made["metric"] = [(metric.name, metric.name) for metric in offer.schema.metrics]
    made["statistic"] = [(name, name) for name in STATISTICS]
    return made if offer.first is None else {**made, "start": [], "end": []}


def _named(value: Any) -> str:
    """Return what a choice that was asked for by name is called."""
    return value if isinstance(value, str) else ", ".join(value) or "all"
