"""The work of a panel: compute what a state shows, and let the front end show it, the quickest parts first."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from aggrkit.charts.display import unchecked
from aggrkit.errors import AggrError, Cancelled, SourceError, quoted
from aggrkit.model.schema import Role
from aggrkit.model.selection import level_columns
from aggrkit.panel.answers import answer_of, sides_of, statistics_of
from aggrkit.panel.glance import glance
from aggrkit.panel.pictures import drawn, figures, groups_chart, histogram_of, marked, over_time, overview
from aggrkit.panel.questions import as_python, as_sql, question

if TYPE_CHECKING:
    from aggrkit.panel.front_end import FrontEnd
    from aggrkit.panel.glance import Glance
    from aggrkit.panel.holdings import Holdings
    from aggrkit.panel.questions import Question
    from aggrkit.panel.state import State
    from aggrkit.panel.still import Still

__all__ = ["Showing"]

_MOST_ANSWERS: Final = 16
_QUIET_BEFORE_STILL: Final = 3.0
_HOW: Final = {"sampled": "sampled, until all is counted"}
_logger = logging.getLogger(__name__)


class Showing:
    """What a panel computes of its source, and what its front end shows of that.

    Parameters
    ----------
    holdings : Holdings
        The source.
    front : FrontEnd
        Where it is shown.
    spelled : str
        How the source is written in code.

    Attributes
    ----------
    seen : tuple of State and Glance, or None
        What the charts show.
    still : Still or None
        The picture for when there is no kernel, where the panel is displayed.
    is_unread : bool
        Whether the source could not be read when something was last shown.
    """

    def __init__(self, holdings: Holdings, front: FrontEnd, spelled: str) -> None:
        self._holdings = holdings
        self._offer = holdings.offer
        self._front = front
        self._spelled = spelled
        self._answers: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._shown_at = float("-inf")
        self._figures: dict[str, Any] = {}
        self._is_stale = False
        self.is_unread = False
        self.seen: tuple[State, Glance] | None = None
        self.still: Still | None = None

    def show(self, state: State, *, exact: bool = False, quiet: bool = False) -> None:
        """Compute what a state shows, and show it; what is wrong is said in words.

        Parameters
        ----------
        state : State
            What is shown; it fits the source.
        exact : bool, optional
            Whether all observations are to be read.
        quiet : bool, optional
            Whether nobody asked for it: then what is seen stays until all of the new is there.

        Raises
        ------
        Cancelled
            If the state is no longer wanted.
        """
        front = self._front
        self.is_unread = False
        if not quiet:
            front.busy = True
        try:
            with unchecked(), front.at_once() if quiet else contextlib.nullcontext():
                self._show(state, exact, quiet)
            self._is_stale = False
        except Cancelled:
            raise
        except AggrError as error:
            self.is_unread = isinstance(error, SourceError)
            front.error = str(error)
        except Exception as error:
            _logger.exception("the panel could not show %s", state)
            front.error = f"something went wrong that should not have: {type(error).__name__}: {quoted(str(error))}"
        front.busy = False
        self._shown_at = time.monotonic()

    def take(self, holdings: Holdings) -> None:
        """Take a source in place of the former one; what is seen stays until something is shown."""
        with self._lock:
            self._holdings = holdings
            self._offer = holdings.offer
            self._answers.clear()
        self._is_stale = True

    def let_go(self) -> None:
        """Close the source until the next question, with the answers that would keep it open."""
        with self._lock:
            self._answers.clear()
        self._holdings.let_go()

    def is_provisional(self, state: State) -> bool:
        """Say whether a better picture of a state is about to be made."""
        return self._holdings.is_wanting(state)

    def is_cached(self) -> bool:
        """Say whether the picture that is seen is from a cube."""
        return self.seen is not None and self.seen[1].mode == "cached"

    def prepare(self, state: State, *, ahead: bool = True) -> float | None:
        """Do a piece of what can wait, a cube or the still picture; say in how many seconds there is more to do.

        Parameters
        ----------
        state : State
            What is shown.
        ahead : bool, optional
            Whether to build also the cubes of what may be asked for next.
        """
        if self._holdings.is_large:
            self._holdings.prove_unique()
            key = next(iter(self._holdings.wanted(state)), None)
            if key is not None and (ahead or self._holdings.is_wanting(state)):
                self._holdings.build(key)
                if self.seen is not None and self.seen[1].mode == "sampled":
                    self.show(state, quiet=not ahead)
                return 0.0
        if self.seen is None or self.still is None or self.still.shows is self.seen:
            return None
        quiet = time.monotonic() - self._shown_at
        if quiet < _QUIET_BEFORE_STILL:
            return _QUIET_BEFORE_STILL - quiet
        before, seen = self.seen
        self.still.update(self.seen, groups_chart(seen, before, self._offer.statistic_of(before)), seen.stats)
        return None

    def answer(self, asked: Question) -> Any:
        """Return the answer to a question; the latest ones are kept."""
        key = repr(asked)
        with self._lock:  # both the panel's thread and the user's ask
            holdings = self._holdings
            if key in self._answers:
                return self._answers[key]
        found = asked.ask(holdings.analysis)
        with self._lock:
            if holdings is not self._holdings:
                return found  # the source was renewed meanwhile
            while len(self._answers) >= _MOST_ANSWERS:
                self._answers.pop(next(iter(self._answers)))
            self._answers[key] = found
        return found

    def sql(self, state: State) -> str:
        """Return the statistics of a state as SQL of the source's engine."""
        return as_sql(state, self._offer, self._holdings.analysis.source({}))

    def _show(self, state: State, exact: bool, quiet: bool) -> None:
        front, begun = self._front, time.perf_counter()
        asked = question(state, self._offer)
        front.show("code", {"python": as_python(asked, self._spelled), "sql": "-- not written yet"})
        seen = None if exact else self._seen_already(state)
        if seen is None:
            seen = glance(self._holdings, state, exact=exact)
            self.seen = state, seen
            self._show_pictures(state, seen, time.perf_counter() - begun, quiet)
            self._is_stale = quiet  # what is shown at once may still be given up
        front.put("error", "")
        self._show_answer(state, seen, exact)

    def _seen_already(self, state: State) -> Glance | None:
        """Return the numbers of the charts, where a state differs only in what is made of them."""
        if self.seen is None or self._is_stale:
            return None
        before, seen = self.seen
        further = {name: getattr(state, name) for name in ("tab", "statistic", "by", "baseline", "current")}
        better = seen.mode == "sampled" and self._holdings.cube_of(state) is not None
        if better or before.changed(**further) != state:
            return None
        if before.statistic != state.statistic:
            self._show_groups(state, seen)
        self.seen = state, seen
        return seen

    def _show_groups(self, state: State, seen: Glance) -> None:
        chart = groups_chart(seen, state, self._offer.statistic_of(state))
        self._front.show("groups", marked(drawn(chart), state))

    def _show_pictures(self, state: State, seen: Glance, seconds: float, quiet: bool) -> None:
        front, offer = self._front, self._offer
        told = figures(seen, state)
        how, took = _HOW.get(seen.mode, seen.mode), f"{1000 * seconds:,.0f} ms"
        counts = ", ".join(
            f"{one['value']} {one['label'].removesuffix('s' * (one['value'] == '1'))}" for one in told[:2]
        )
        self._figures = {
            "items": [*told, {"label": how, "value": took}],
            "status": f"{seen.metric.name}: {counts}; {how}, {took}.",
            "mode": seen.mode,
            "quiet": quiet,
        }
        front.put("figures", self._figures)
        self._show_groups(state, seen)
        front.show("spread", histogram_of(seen))
        front.show("over_time", over_time(seen, _chosen(state)))
        if seen.bands is not None and offer.first is not None and offer.last is not None:
            front.show("overview", overview(seen, (offer.first, offer.last), state))

    def _show_answer(self, state: State, seen: Glance, exact: bool) -> None:
        """Show what was found in the selection, and the answer of the tab."""
        front, asked = self._front, question(state, self._offer)
        if state.tab == "statistics":
            front.show("answer", statistics_of(seen, state))
        if exact or state.cell or not self._holdings.is_large:
            self._show_found(state, seen)
        front.show("code", {"python": as_python(asked, self._spelled), "sql": self.sql(state)})
        if state.tab == "statistics":
            return
        try:
            shown = answer_of(self.answer(asked), state)
        except Cancelled:
            raise
        except AggrError as error:
            shown = {"tab": state.tab, "words": [str(error)], "charts": []}
        sides = {"sides": sides_of(state, self._offer)} if state.tab == "compare" else {}
        front.show("answer", {**shown, **sides})

    def _show_found(self, state: State, seen: Glance) -> None:
        """Add anomalies and changes to the chart over time, and to the key figures."""
        front, clock = self._front, self._offer.schema.role(Role.TIMESTAMP)
        found = {label: self._found(state, label) for label in ("anomalies", "changes")}
        # the changes of many series are at the levels of none of them
        is_one = len(seen.stats) == 1 or len(state.cell) == len(level_columns(state.level))
        moved = found["changes"] if is_one else None
        if clock is not None:
            front.show("over_time", over_time(seen, _chosen(state), found["anomalies"], moved, clock.name))
        kept = [one for one in self._figures["items"] if one["label"] not in found]
        counts = [{"label": label, "value": f"{len(some):,}"} for label, some in found.items() if some is not None]
        self._figures = {**self._figures, "items": [*kept[:4], *counts, *kept[4:]]}
        front.put("figures", self._figures)

    def _found(self, state: State, tab: str) -> Any:
        """Return what a tab would find in the selection; None where it can't look."""
        try:
            return self.answer(question(state.changed(tab=tab), self._offer))
        except Cancelled:
            raise
        except AggrError:
            return None  # there is no time, or too little: the tab says so in words


def _chosen(state: State) -> str:
    return ", ".join(f"{name}: {label}" for name, label in state.cells.items())
