"""The question that a state asks: as a call, as Python and as SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ibis
import pandas as pd

from aggrkit.errors import SchemaError, listed
from aggrkit.model.selection import Selection
from aggrkit.panel.offer import TIME
from aggrkit.pipeline.aggregate import Moments, Percentiles
from aggrkit.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrkit.analysis import Analysis
    from aggrkit.panel.offer import Offer
    from aggrkit.panel.state import State
    from aggrkit.sources.observations import Observations

__all__ = ["Question", "as_python", "as_sql", "question"]

_SHOWN_ROWS = 200


@dataclass(frozen=True)
class Question:
    """A call of a method of ``df.aggr``.

    Parameters
    ----------
    method : str
        Name of the method.
    arguments : mapping
        Its keyword arguments.
    """

    method: str
    arguments: Mapping[str, Any]

    def ask(self, analysis: Analysis) -> Any:
        """Return the answer."""
        return getattr(analysis, self.method)(**self.arguments)


def question(state: State, offer: Offer) -> Question:
    """Return what the tab of a state asks.

    Parameters
    ----------
    state : State
        The state; it fits the source, see `Offer.fitted`.
    offer : Offer
        What the source has.
    """
    metric = offer.metric_of(state)
    common: dict[str, Any] = {}
    where = offer.where_of(state)
    if where:
        common["where"] = where
    if state.time_range is not None:
        common["time_range"] = state.time_range
    if state.tab == "rows":
        return Question("head", {"n": _SHOWN_ROWS, **common})
    level = {"level": state.level if isinstance(state.level, str) else list(state.level)}
    if state.tab == "correlations":
        return Question("correlations", {"level": [], **common})
    asked = {**level, "metrics": [metric.name], **common}
    if state.tab == "compare":
        return Question("compare", {**_sides(state), **asked})
    return Question({"statistics": "stats"}.get(state.tab, state.tab), asked)


def _sides(state: State) -> dict[str, Any]:
    if state.by == TIME:
        return {"baseline": pd.Timedelta(state.baseline)}
    current = {} if state.current is None else {"current": state.current}
    return {"baseline": state.baseline, **current, "by": state.by}


def as_python(asked: Question, spelled: str) -> str:
    """Return a question as Python that can be pasted into a cell.

    Parameters
    ----------
    asked : Question
        The question.
    spelled : str
        How the source is written, e.g. "df.aggr".
    """
    words = {name: _literal(value) for name, value in asked.arguments.items()}
    lines = [f"    {name}={value}," for name, value in words.items()]
    imports = ["import aggrkit", *(["import pandas as pd"] if any("pd." in value for value in words.values()) else [])]
    return "\n".join([*imports, "", f"result = {spelled}.{asked.method}(", *lines, ")"])


def _literal(value: Any) -> str:
    if isinstance(value, pd.Timedelta):
        return f"pd.Timedelta({str(value)!r})"
    return repr(value)


def as_sql(state: State, offer: Offer, observations: Observations) -> str:
    """Return the statistics of a state as SQL of the engine that holds the observations.

    Parameters
    ----------
    state, offer
        As of `question`.
    observations : Observations
        The source.
    """
    selection = Selection(
        level=state.level,
        metrics=(offer.metric_of(state).name,),
        where=tuple(offer.where_of(state).items()),
        time_range=state.time_range,  # type: ignore[arg-type]
    )
    prepared = Pipeline().without("duplicates").prepare(observations, selection)
    metric = prepared.metrics[0]
    values = prepared.values(metric)
    wanted: dict[str, ibis.Value] = {}
    for stage in (Moments(), Percentiles()):
        for name, expression in stage.expressions(values, metric).items():
            wanted["percentiles" if isinstance(name, tuple) else name] = expression
    keys = prepared.group_expressions()
    taken = [name for name in keys if name in wanted]
    if taken:
        raise SchemaError(f"the statistics would have two columns called {listed(taken)}; rename what is grouped by")
    grouped = prepared.table.group_by(**keys) if keys else prepared.table
    return str(ibis.to_sql(grouped.aggregate(**wanted), dialect=observations.engine, pretty=True))
