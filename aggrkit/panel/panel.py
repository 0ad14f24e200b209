"""The explore panel: choose, click, and take the question away as code."""

from __future__ import annotations

import html
import threading
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from aggrkit.errors import AggrError, SourceError, UnknownNameError
from aggrkit.output import write_whole
from aggrkit.panel.controls import Controls
from aggrkit.panel.following import Following, seconds_of
from aggrkit.panel.front_end import FrontEnd
from aggrkit.panel.holdings import Holdings
from aggrkit.panel.jobs import Latest
from aggrkit.panel.pictures import cell_of
from aggrkit.panel.questions import as_python, question
from aggrkit.panel.showing import Showing
from aggrkit.panel.state import State
from aggrkit.panel.still import Still, page, still_table
from aggrkit.sources.opened import Opened

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from aggrkit.analysis import Analysis

__all__ = ["Panel"]


class Panel(widgets.VBox):  # type: ignore[misc]
    """Results to look at: choose, click, and take the question away as code.

    Parameters
    ----------
    analysis : Analysis
        The questions to the source.
    spelled : str, optional
        How the source is written in code.
    follow : bool or float, optional
        Whether to follow the source, or every how many seconds; see `follow`.
    **state
        What is shown first, see `aggrkit.panel.State`.
    """

    def __init__(
        self, analysis: Analysis, spelled: str = "df.aggr", *, follow: bool | float = False, **state: Any
    ) -> None:
        every = seconds_of(follow)
        if isinstance(analysis.source, Opened):
            source = analysis.source.apart()
            analysis = replace(analysis, source=source)
            if every is not None:
                source.watch()
        self._analysis = analysis
        self._lock = threading.RLock()  # both the user and the source change what is shown
        holdings = Holdings(analysis)
        self._offer = holdings.offer
        self._spelled = spelled
        self._state = self._offer.fitted(State.of(state))
        self._past: list[State] = []
        self._exact: State | None = None
        self._front = FrontEnd(tab=self._state.tab)
        self._front.on_msg(self._heard)
        self._showing = Showing(holdings, self._front, spelled)
        self._controls = Controls(self._offer, self._state, self._try)
        self._following = Following(analysis.source, self._front, self._take, lambda: self._show(quiet=True))
        self._following.turn(every)
        self._jobs = Latest(self._work, self._idle)
        super().__init__([self._controls.box, self._front])
        self._jobs.ask()

    @property
    def state(self) -> dict[str, Any]:
        """What is shown, as keyword arguments: ``explore(**panel.state)`` shows it again."""
        return self._state.as_dict()

    @property
    def result(self) -> Any:
        """The answer of the open tab, over all observations; computed when it is asked for."""
        return self._showing.answer(question(self._state, self._offer))

    @property
    def code(self) -> str:
        """Python that computes `result`."""
        return as_python(question(self._state, self._offer), self._spelled)

    @property
    def sql(self) -> str:
        """The statistics of what is shown, as SQL of the source's engine."""
        return self._showing.sql(self._state)

    def show(self, **changes: Any) -> Panel:
        """Show something else.

        Parameters
        ----------
        **changes
            Parts of the state, see `aggrkit.panel.State`.

        Returns
        -------
        Panel
            This panel.

        Raises
        ------
        UnknownNameError
            For what the source doesn't have; the panel stays as it is.
        """
        State.of(changes)
        with self._lock:
            wanted = self._offer.fitted(self._state.changed(**changes))
            if wanted != self._state:
                self._past.append(self._state)
                self._go(wanted)
        return self

    def follow(self, every: bool | float = True) -> Panel:
        """Follow the source: look whether it has changed, and show what has come, with everything chosen as it is.

        It ends with ``follow(False)``, when the panel is closed, and with the kernel; it rests while no page shows the
        panel any more. It is no part of `state`: the question is the same.

        Parameters
        ----------
        every : bool or float, optional
            Every how many seconds to look, 2 by default; False ends it.

        Returns
        -------
        Panel
            This panel.

        Raises
        ------
        SourceError
            If the source can't grow, as a DataFrame.

        Notes
        -----
        A look reads no results. Of a store it sees each change that this process makes; of files their names, sizes and
        times; of tables of a connection, and of Ibis tables, the number of rows and the columns, so that values changed
        in place aren't seen. A DuckDB file is let go after each answer, so that other processes can write to it; what
        `aggrkit.open` returned, or an answer that is kept, keeps it open.

        Examples
        --------
        >>> import aggrkit
        >>> store = aggrkit.BenchmarkDBManager(":memory:")
        >>> _ = store.ingest([{"id": 1, "model": "bert", "hardware": "a100", "latency": 3.5}])
        >>> panel = aggrkit.open(store).explore().follow()
        >>> panel.is_following
        True
        >>> panel.close()
        >>> store.close()
        """
        self._following.turn(seconds_of(every))
        self._jobs.remind()
        return self

    @property
    def is_following(self) -> bool:
        """Whether the panel follows its source."""
        return self._following.is_on

    def undo(self) -> Panel:
        """Go back to what was shown before."""
        with self._lock:
            if self._past:
                self._go(self._past.pop())
        return self

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save what is shown.

        Parameters
        ----------
        path : path
            Its suffix says the kind: ".html" is a page with charts and table that needs no network, ".csv" the answer
            of the open tab.

        Returns
        -------
        pathlib.Path
            The path.

        Raises
        ------
        UnknownNameError
            If the suffix is another one.
        SourceError
            If the file can't be written.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in (".html", ".csv"):
            raise UnknownNameError.of("kind of file", suffix or str(path), (".html", ".csv"))
        self.wait()
        return write_whole(path, self._file(suffix[1:]))

    def wait(self, timeout: float = 60.0) -> Panel:
        """Wait until everything is shown.

        Raises
        ------
        TimeoutError
            If it takes longer than `timeout` seconds.
        """
        if not self._jobs.wait(timeout):
            raise TimeoutError(f"the panel is still computing after {timeout:g} s")
        return self

    def close(self) -> None:
        """Stop computing, and take the panel off the page."""
        if hasattr(self, "_jobs"):  # else it was never opened
            self._jobs.close()
            self._following.turn(None)
            self._showing.let_go()
            self._front.close()
        super().close()

    def _work(self) -> None:
        self._show(quiet=False)
        self._rest()

    def _show(self, *, quiet: bool) -> None:
        state = self._state
        self._showing.show(state, exact=self._exact == state, quiet=quiet)
        self._following.is_unread = self._showing.is_unread

    def _idle(self) -> float | None:
        """Look whether the source has changed, or do a piece of what can wait; say when there is more to do."""
        following, state = self._following, self._state
        try:
            if following.due_in() == 0 and (following.is_unread or not self._showing.is_provisional(state)):
                following.look()
            more = self._showing.prepare(self._state, ahead=not following.is_on)
        except SourceError:
            if not following.is_on:
                raise
            more, following.is_unread = None, True  # it is tried again at the next look, which tells of it
        self._rest()
        due = [seconds for seconds in (more, following.due_in()) if seconds is not None]
        return min(due, default=None)

    def _rest(self) -> None:
        if self._following.is_letting_go:
            self._showing.let_go()

    def _take(self, source: Opened) -> None:
        """Take the source, opened anew, in place of the former one; what is chosen stays."""
        analysis = replace(self._analysis, source=source)
        holdings = Holdings(analysis)
        if self._showing.is_cached():
            holdings.build_for(holdings.offer.kept(self._state))
        with self._lock:
            self._state = holdings.offer.kept(self._state)
            self._offer, self._analysis = holdings.offer, analysis
            self._showing.take(holdings)
            self._controls.renew(self._offer, self._state)

    def _go(self, state: State) -> None:
        self._state = state
        self._front.tab = state.tab
        self._controls.tell(state)
        self._jobs.ask()

    def _try(self, changes: Mapping[str, Any]) -> None:
        """Show something else; where that can't be, say so in the panel."""
        try:
            self.show(**changes)
        except (AggrError, ValueError, TypeError) as error:
            self._front.error = str(error)
            self._controls.tell(self._state)

    def _heard(self, _: object, content: Mapping[str, Any], buffers: object) -> None:
        """Do what was clicked; what makes no sense is said in the panel."""
        if not isinstance(content, dict):
            return
        try:
            self._do(content)
        except (AggrError, ValueError, TypeError, OverflowError) as error:
            self._front.error = str(error)

    def _do(self, content: Mapping[str, Any]) -> None:
        kind = content.get("kind")
        if kind == "set" and isinstance(content.get("changes"), dict):
            self._try(content["changes"])
        elif kind == "click" and self._showing.seen is not None:
            state, seen = self._showing.seen
            cell = cell_of(seen.stats, state, dict(content.get("datum") or {}))
            self._try({"cell": {} if cell == self._state.cells else cell})
        elif kind == "brush":
            self._try({name: _moment(content.get(name)) for name in ("start", "end")})
        elif kind == "undo":
            self.undo()
        elif kind == "reset":
            plain = self._offer.fitted(State(tab=self._state.tab))
            self._try({field.name: getattr(plain, field.name) for field in fields(plain)})
        elif kind == "exact":
            self._exact = self._state
            self._jobs.ask()
        elif kind == "follow":
            self.follow(bool(content.get("on")))
        elif kind == "view":
            self._following.seen_by(str(content.get("id")), is_open=bool(content.get("open")))
            self._jobs.remind()
        elif kind == "save":
            self._send_file(str(content.get("what")))

    def _send_file(self, what: str) -> None:
        """Send a file to the browser, which saves it."""
        if what not in ("csv", "html"):
            raise UnknownNameError.of("kind of file", what, ("csv", "html"))
        try:
            content = self._file(what)
        except AggrError as error:
            self._front.error = str(error)
            return
        told = {"kind": "file", "name": f"{self._state.tab}.{what}", "mime": f"text/{what};charset=utf-8"}
        self._front.send(told, [content.encode()])

    def _file(self, what: str) -> str:
        found = self.result
        if what == "csv":
            return str(pd.DataFrame(found).to_csv(index=False))
        words = found.explain().split("\n") if hasattr(found, "explain") else []
        said = str(self._front.figures.get("status", ""))
        body = f"{still_table(found, [said, *words], most=None)}<pre>{html.escape(self.code)}</pre>"
        return page(f"{self._state.metric}: {self._state.tab}", self._front.charts, body)

    def _ipython_display_(self, **_: Any) -> None:
        """Show the panel, and below it what is for a page without a kernel."""
        from IPython.display import display

        display(super()._repr_mimebundle_(), raw=True)  # type: ignore[no-untyped-call]
        self._showing.still = Still()
        self._jobs.ask()


def _moment(milliseconds: Any) -> str | None:
    if milliseconds is None:
        return None
    return pd.Timestamp(int(milliseconds), unit="ms").isoformat(timespec="seconds")
