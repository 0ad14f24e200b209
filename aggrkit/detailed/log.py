"""The results that the detailed layer holds: each once, and by what they belong to."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import pandas as pd

from aggrkit.analysis import Analysis
from aggrkit.errors import SchemaError, quoted
from aggrkit.model.schema import SPELLINGS, Role, Schema, recognise
from aggrkit.model.selection import Selection
from aggrkit.pipeline.auditing import counted
from aggrkit.pipeline.pipeline import Pipeline
from aggrkit.pipeline.preprocess import Normalise
from aggrkit.pipeline.settling import settled
from aggrkit.sources.frame import frame_relation
from aggrkit.sources.observations import Observations
from aggrkit.sources.results import IDENTIFIERS, as_frame, one_spelling
from aggrkit.wire import plain

__all__ = ["LIVE", "ResultLog"]

LIVE: Final = "aggrkit_live"
"""Column that says whether a result came in live; history came from the database."""

UNKNOWN: Final = "unknown"


class ResultLog:
    """Results by id; the same one is kept once, in its latest form, and those that came first make room for new ones.

    Parameters
    ----------
    most : int, optional
        How many are kept.

    Attributes
    ----------
    records : dict
        Result id to the result.
    dropped : int
        How many have made room.

    Examples
    --------
    >>> from aggrkit.detailed.log import ResultLog
    >>> log = ResultLog()
    >>> log.add({"id": 7, "model": "bert", "latency_ms": 3.0}, live=True)
    '7'
    >>> len(log)
    1
    """

    def __init__(self, most: int = 200_000) -> None:
        self.records: dict[str, dict[str, Any]] = {}
        self._most = most
        self.dropped = 0
        self.version = 0
        self._live: set[str] = set()
        self._taken = 0

    def __len__(self) -> int:
        return len(self.records)

    def add(self, record: Mapping[str, Any], *, live: bool, occurrence: int | None = None) -> str:
        """Keep a result, and return its id.

        Parameters
        ----------
        record : mapping
            The result; without an id it gets one of its content.
        live : bool
            Whether it came in just now; one that is known from history stays history.
        occurrence : int, optional
            How many times the same content came before, where nothing else tells a repeat from a duplicate.

        Raises
        ------
        SchemaError
            If it is no mapping, or empty.
        """
        if not isinstance(record, Mapping) or not record:
            raise SchemaError(f"a result is a dictionary that isn't empty; got {quoted(record)}")
        kept = {str(key): value for key, value in record.items()}
        name = self._id_of(kept, occurrence)
        self._taken += 1
        if live and name not in self.records:
            self._live.add(name)
        if self.records.get(name) != kept:
            self.records[name] = kept
            self.version += 1
            self._make_room()
        return name

    def add_all(self, records: Iterable[Mapping[str, Any]], *, live: bool) -> int:
        """Keep several results; return how many they were."""
        seen: Counter[str] = Counter()
        for record in records:
            content = _digest(record) if isinstance(record, Mapping) else ""
            self.add(record, live=live, occurrence=seen[content])
            seen[content] += 1
        return seen.total()

    def by(self, role: Role) -> dict[str, list[dict[str, Any]]]:
        """Return the results by the value of a role; those without one are "unknown"."""
        spellings = (IDENTIFIERS[role], *SPELLINGS[role])
        grouped: dict[str, list[dict[str, Any]]] = {}
        for record in self.records.values():
            value = _first(record, spellings)
            grouped.setdefault(UNKNOWN if value is None else str(value), []).append(record)
        return grouped

    def analysis(self) -> Analysis | None:
        """Return the results as a source of answers, impossible values taken out; None where nothing is measured."""
        if not self.records:
            return None
        frame = _one_kind_of_time(one_spelling(as_frame(list(self.records.values()))))
        sides = ["current" if name in self._live else "historical" for name in self.records]
        frame[LIVE] = pd.Series(sides, dtype="str")
        relation = frame_relation(frame)
        roles = {role.value: name for role, name in IDENTIFIERS.items() if name in frame}
        schema = recognise(relation.fields, roles)
        if not schema.metrics:
            return None
        label = "the results of the aggregator"
        raw = Observations(relation.table, schema, label, unique=True, take=relation.take)
        metrics = tuple(metric.name for metric in schema.metrics)
        prepared = settled(counted(Pipeline().prepare(raw, Selection(level=(), metrics=metrics))))
        known = Observations(prepared.table, prepared.schema, label, unique=True, take=relation.take)

        def observations(given: Mapping[str, Any]) -> Observations:
            ignored = set(given.get("ignore", ()))
            columns = (replace(c, role=Role.IGNORED) if c.name in ignored else c for c in known.schema.columns)
            return replace(known, schema=Schema(tuple(columns)))

        return Analysis(observations, {}, Pipeline(preprocess=(Normalise(),)))

    @property
    def live(self) -> int:
        """How many results came in live."""
        return len(self._live)

    def keep(self, most: int) -> None:
        """Keep so many results from now on."""
        self._most = most
        before = self.dropped
        self._make_room()
        self.version += self.dropped > before

    def _make_room(self) -> None:
        while len(self.records) > self._most:
            oldest = next(iter(self.records))
            del self.records[oldest]
            self._live.discard(oldest)
            self.dropped += 1

    def _id_of(self, record: Mapping[str, Any], occurrence: int | None) -> str:
        given = _first(record, (IDENTIFIERS[Role.RESULT_ID], *SPELLINGS[Role.RESULT_ID]))
        if given is not None:
            return str(given)
        digest = _digest(record)
        if _first(record, SPELLINGS[Role.TIMESTAMP]) is not None:
            return digest
        # Without an id and a time nothing tells a repeat from a duplicate: repeats are data, and stay.
        return f"{digest}-{self._taken if occurrence is None else f'history-{occurrence}'}"


def _one_kind_of_time(frame: pd.DataFrame) -> pd.DataFrame:
    """Return results with texts for times where some have texts: those that come in live do, and history doesn't."""
    name = IDENTIFIERS[Role.TIMESTAMP]
    if name not in frame or not any(isinstance(value, str) for value in frame[name]):
        return frame
    texts = [value.isoformat() if hasattr(value, "isoformat") else value for value in frame[name]]
    return frame.assign(**{name: pd.Series(texts, index=frame.index, dtype="object")})


def _first(record: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return the first of several values that is there."""
    return next((record[name] for name in names if record.get(name) not in (None, "")), None)


def _digest(record: Mapping[str, Any]) -> str:
    text = json.dumps(plain(record), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]
