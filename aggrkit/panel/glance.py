"""The numbers of a picture: statistics by group, the metric over time, and its distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from aggrkit.errors import EmptySelectionError
from aggrkit.model.schema import Role
from aggrkit.model.selection import Selection, TimeRange, level_columns
from aggrkit.pipeline.bands import bands
from aggrkit.pipeline.histograms import histograms
from aggrkit.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    from aggrkit.analysis import Analysis
    from aggrkit.model.metric import Metric
    from aggrkit.panel.holdings import Holdings
    from aggrkit.panel.state import State
    from aggrkit.pipeline.cube import Cube

__all__ = ["Glance", "glance"]


@dataclass(frozen=True)
class Glance:
    """The numbers of a picture.

    Parameters
    ----------
    mode : {"exact", "cached", "sampled"}
        Whether all observations were read for it, a cube, or a sample.
    metric : Metric
        Which metric.
    stats : pandas.DataFrame
        The frame "stats" of all groups, whichever is clicked.
    whole : pandas.DataFrame
        The same of what is selected, in one line; none where nothing is.
    bands : pandas.DataFrame or None
        The selected over time, see `aggrkit.pipeline.bands.bands`; None where there are no times.
    histogram : pandas.DataFrame
        ``low, high, count`` of the selected.
    """

    mode: str
    metric: Metric
    stats: pd.DataFrame
    whole: pd.DataFrame
    bands: pd.DataFrame | None
    histogram: pd.DataFrame


def glance(holdings: Holdings, state: State, *, exact: bool = False) -> Glance:
    """Return the numbers of a picture: exact where that is quick or asked for, else from a cube or a sample.

    Parameters
    ----------
    holdings : Holdings
        The source.
    state : State
        The state; it fits the source.
    exact : bool, optional
        Whether all observations are to be read.
    """
    if exact or not holdings.is_large:
        return _asked(holdings, state, holdings.analysis, "exact")
    held = holdings.cube_of(state)
    if held is not None:
        return _held(holdings, state, held)
    try:
        return _asked(holdings, state, holdings.sampled, "sampled")
    except EmptySelectionError:  # what is rare may be in no sample
        return _asked(holdings, state, holdings.analysis, "exact")


def _asked(holdings: Holdings, state: State, analysis: Analysis, mode: str) -> Glance:
    """Ask the source, or a sample of it."""
    offer = holdings.offer
    metric = offer.metric_of(state)
    level = state.level if isinstance(state.level, str) else list(state.level)
    stats = analysis.stats(
        level=level,
        metrics=[metric.name],
        where=offer.where_of(state, cell=False),
        time_range=state.time_range,
    )
    selection = Selection(
        level=(),
        metrics=(metric.name,),
        where=tuple(offer.where_of(state).items()),
        time_range=state.time_range,  # type: ignore[arg-type]
    )
    prepared = (analysis.pipeline or Pipeline()).prepare(analysis.source({}), selection)
    timed = offer.schema.role(Role.TIMESTAMP) is not None
    return Glance(
        mode,
        metric,
        pd.DataFrame(stats),
        pd.DataFrame(analysis.stats([], [metric.name], offer.where_of(state), state.time_range)),
        bands(prepared, metric) if timed else None,
        histograms(prepared, metric.name),
    )


def _held(holdings: Holdings, state: State, held: Cube) -> Glance:
    """Look it up in a cube."""
    metric = holdings.offer.metric_of(state)
    span = TimeRange.of(state.time_range)
    ends = (None, None) if span is None else (span.start, span.end)
    part = held.part(state.cells, *ends)
    if not part.cells:
        raise EmptySelectionError("no observation is in this group and time")
    stats = held.stats(level_columns(state.level), held.chosen(None, *ends))
    return Glance("cached", metric, stats, part.stats, part.bands, part.histogram)
