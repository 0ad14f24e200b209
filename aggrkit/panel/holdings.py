"""What a panel holds of its source: the observations, a sample of them, and cubes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from aggrkit.analysis import Analysis
from aggrkit.errors import AggrError, Cancelled
from aggrkit.model.selection import LEVELS, Selection, TimeRange
from aggrkit.panel.offer import Offer
from aggrkit.pipeline.cube import Cube, cube
from aggrkit.pipeline.expressions import fetch
from aggrkit.pipeline.pipeline import Pipeline
from aggrkit.sources.engine import connect
from aggrkit.sources.opened import Opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrkit.panel.state import State
    from aggrkit.sources.observations import Observations

__all__ = ["Holdings"]

_LARGE: Final = 1_000_000
_SAMPLE: Final = 200_000
_SEED: Final = 1


class Holdings:
    """What a panel holds of its source.

    Parameters
    ----------
    analysis : Analysis
        The questions to the source, with what the user said about its columns.
    large : int, optional
        From so many rows on, pictures are drawn from a sample until the cubes are there.
    """

    def __init__(self, analysis: Analysis, large: int = _LARGE) -> None:
        self._asked = analysis
        self._pipeline = analysis.pipeline
        self._held: Observations | None = None
        observations = self._observations
        table, label = observations.table, observations.label
        rows = int(fetch(table.aggregate(rows=table.count()), label)["rows"][0].as_py())
        self.is_large = rows > large
        self._is_proven = observations.unique
        self._is_unique = observations.unique
        self._sample = _sample_of(observations, rows) if self.is_large else None
        self.offer = Offer.of(observations, self._sample)
        self._cubes: dict[tuple[Any, ...], Cube | None] = {}

    @property
    def _observations(self) -> Observations:
        """The source; opened again where it was let go."""
        held = self._held
        if held is None:
            held = self._held = self._asked.source(self._asked.given)
        return held

    @property
    def _all(self) -> Observations:
        """The source, with what is known of its rows."""
        return replace(self._observations, unique=self._is_unique)

    def let_go(self) -> None:
        """Close the source as soon as nothing reads it, where it can be opened again."""
        if isinstance(self._asked.source, Opened):
            self._held = None
            self._asked.source.let_go()

    @property
    def analysis(self) -> Analysis:
        """Questions to all observations."""
        observations = self._all
        return Analysis(lambda _: observations, {}, self._pipeline)

    @property
    def sampled(self) -> Analysis:
        """Questions to a sample; of a source that isn't large, to all of it."""
        sample = self._sample or self._all
        return Analysis(lambda _: sample, {}, self._pipeline)

    def prove_unique(self) -> None:
        """Look once whether a row is there twice, so that no later question has to."""
        if self._is_proven:
            return
        prepared = (self._pipeline or Pipeline()).prepare(self._observations, Selection(level=()))
        self._is_proven = True
        self._is_unique = not prepared.rows_out

    def cube_of(self, state: State) -> Cube | None:
        """Return the cube that can show a state, if it is there."""
        found = self._cubes.get(self._key(state))
        if found is None:
            return None
        span = TimeRange.of(state.time_range)
        return found if span is None or found.fits(span.start, span.end) else None

    def wanted(self, state: State) -> Iterator[tuple[Any, ...]]:
        """Yield the cubes that are missing, those that are most likely to be asked for first."""
        if not self.is_large:
            return
        metrics = dict.fromkeys([str(state.metric), *(metric.name for metric in self.offer.schema.metrics)])
        for metric in metrics:
            key = self._key(replace(state, metric=metric))
            if key not in self._cubes:
                yield key

    def is_wanting(self, state: State) -> bool:
        """Say whether the cube of what is shown is still to be built."""
        return self.is_large and self._key(state) not in self._cubes

    def build_for(self, state: State) -> None:
        """Build the cube of what is shown, which a picture from it would wait for."""
        if self.is_wanting(state):
            self.prove_unique()
            self.build(self._key(state))

    def build(self, key: tuple[Any, ...]) -> None:
        """Build a cube, or find out that it would be too large."""
        result_type, level, metric = key
        where = tuple(self.offer.filter_of(result_type).items())
        selection = Selection(level=level, metrics=(metric,), where=where)
        prepared = (self._pipeline or Pipeline()).prepare(self._all, selection)
        try:
            made = cube(prepared, prepared.metrics[0])
            if made is not None:
                made.part()  # of all groups, as it will be asked first; what it calls is compiled for it
            self._cubes[key] = made
        except Cancelled:
            raise
        except AggrError:
            self._cubes[key] = None  # asked without a cube, the source says what is wrong

    def _key(self, state: State) -> tuple[Any, ...]:
        """Return by what a cube is known: models and hardware are in one, whichever of them is the level."""
        level = state.level
        if level in LEVELS["model_hardware"] and "model_hardware" in self.offer.levels:
            level = "model_hardware"
        return state.result_type, level, state.metric


def _sample_of(observations: Observations, rows: int) -> Observations:
    """Draw a sample of the rows, each with the same chance, into memory."""
    drawn = fetch(observations.table.sample(min(1.0, _SAMPLE / rows), seed=_SEED), observations.label)
    backend = connect()
    backend.con.register("sample", drawn)
    return replace(observations, table=backend.table("sample"), unique=True, take=None, label="the sample")
