"""Few rows are worked out once in a table of their own, which is gone when the question is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import aggrkit
from aggrkit.errors import Cancelled, StageError
from aggrkit.pipeline import settling
from aggrkit.pipeline.expressions import fetch
from aggrkit.pipeline.plans import is_settled
from aggrkit.sources.cancelling import Cancellation

if TYPE_CHECKING:
    from aggrkit.model.answer import Answer
    from aggrkit.pipeline.prepared import Prepared


class Look:
    """A stage that notes what it is asked to work on."""

    name = "look"

    def __init__(self, also: Any = None) -> None:
        self.seen: list[Prepared] = []
        self.also = also

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        self.seen.append(prepared)
        if self.also is not None:
            self.also()
        return answer


def results(rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(rows)
    frame = {
        "model": rng.choice(["bert", "vit"], rows),
        "latency_ms": rng.lognormal(3, 0.1, rows),
        "build": rng.choice(["a", "b"], rows),
        "timestamp": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(rows), unit="h"),
    }
    return pd.DataFrame(frame)


def tables_of(prepared: Prepared) -> list[str]:
    connection = prepared.observations.table.get_backend().con
    return [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables() WHERE temporary").fetchall()]


def test_the_table_of_few_rows_is_dropped_with_the_answer() -> None:
    look = Look()
    analysis = results().aggr(pipeline=aggrkit.Pipeline().with_postprocessor(look))
    analysis.stats()
    assert is_settled(look.seen[0].table)
    assert look.seen[0].size == 300
    assert tables_of(look.seen[0]) == []


def test_the_table_is_dropped_where_a_stage_fails_or_is_cancelled() -> None:
    def fail() -> None:
        raise ValueError("broken")

    failing = Look(fail)
    with pytest.raises(StageError, match="broken"):
        results().aggr(pipeline=aggrkit.Pipeline().with_postprocessor(failing)).stats()
    assert is_settled(failing.seen[0].table)
    assert tables_of(failing.seen[0]) == []

    with Cancellation() as work:
        cancelled = Look(lambda: (work.cancel(), fetch(cancelled.seen[0].table, "the results")))
        analysis = results().aggr(pipeline=aggrkit.Pipeline().with_postprocessor(cancelled))
        with pytest.raises(Cancelled):
            analysis.stats()
    assert tables_of(cancelled.seen[0]) == []


def test_many_rows_are_left_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "_FEW", 299)
    look = Look()
    results().aggr(pipeline=aggrkit.Pipeline().with_postprocessor(look)).stats()
    assert not is_settled(look.seen[0].table)


def test_the_answers_are_those_of_rows_that_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = results().aggr
    settled = asked.anomalies(), asked.compare("a", "b", by="build"), asked.trends(level=[]), asked.changes(level=[])
    monkeypatch.setattr(settling, "_FEW", 0)
    left = asked.anomalies(), asked.compare("a", "b", by="build"), asked.trends(level=[]), asked.changes(level=[])
    for one, other in zip(settled, left, strict=True):
        pd.testing.assert_frame_equal(pd.DataFrame(one), pd.DataFrame(other), rtol=1e-12)


def test_an_engine_of_the_user_is_only_read() -> None:
    look = Look()
    table = ibis.memtable(pa.Table.from_pandas(results()))
    aggrkit.open(table)(pipeline=aggrkit.Pipeline().with_postprocessor(look)).stats()
    assert not is_settled(look.seen[0].table)
