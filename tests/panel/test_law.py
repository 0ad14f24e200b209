"""The law of the panel: what it shows, its state and its code are one and the same question."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aggrkit
from aggrkit.errors import AggrError
from aggrkit.model.selection import level_columns
from aggrkit.panel.jobs import Latest
from aggrkit.panel.state import STATISTICS, TABS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrkit.panel import Panel

SOURCES = ("mlperf_training", "jsfw_bench", "ci_tests")


@pytest.fixture(autouse=True, scope="module")
def undrawn() -> Iterator[None]:
    """Let panels answer without drawing, which is tested elsewhere and would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Latest, "ask", lambda self: None)
        yield


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return panels on a frame, a Parquet file and a DuckDB file of some rows of the shipped sets each."""
    folder = tmp_path_factory.mktemp("law")

    @cache
    def of(name: str) -> tuple[Any, Panel, pd.DataFrame]:
        frame = aggrkit.datasets.load(name).sample(120, random_state=1).sort_index().reset_index(drop=True)
        if name == "jsfw_bench":
            path = folder / f"{name}.parquet"
            frame.to_parquet(path)
            source: Any = aggrkit.open(path)
        elif name == "ci_tests":
            path = folder / f"{name}.duckdb"
            with duckdb.connect(path) as connection:
                connection.register("rows", frame)
                connection.execute("CREATE TABLE results AS SELECT * FROM rows")
            source = aggrkit.open(path, table="results")
        else:
            source = frame.aggr
        panel = source.explore()
        panel.close()
        return source, panel, frame

    return of


def answer_of(ask: Any) -> tuple[pd.DataFrame | None, tuple[type, str] | None]:
    try:
        return pd.DataFrame(ask()), None
    except AggrError as error:
        return None, (type(error), str(error))


def run(code: str, frame: pd.DataFrame) -> Any:
    names: dict[str, Any] = {"df": frame}
    exec(code, names)
    return names["result"]


def check(source: Any, panel: Panel, frame: pd.DataFrame) -> str:
    """Compare the panel's answer with those of its state and its code; say whether there was one."""
    wanted, refused = answer_of(lambda: panel.result)
    kept = json.loads(json.dumps(panel.state, allow_nan=False))
    again = source.explore(**kept)
    again.close()
    assert again.state == panel.state
    assert again.code == panel.code
    answers = [answer_of(lambda: again.result), answer_of(lambda: run(panel.code, frame))]
    for found, error in answers:
        assert error == refused
        if wanted is not None:
            pd.testing.assert_frame_equal(found, wanted, rtol=1e-9)
    return "answered" if refused is None else refused[1]


@st.composite
def questions(draw: st.DrawFn, panel: Panel, frame: pd.DataFrame) -> dict[str, Any]:
    """Draw a state from what the panel offers."""
    offer = panel._offer
    columns = [
        column.name
        for column in offer.schema.columns
        if column.name in frame and 1 < frame[column.name].nunique() <= 40 and column.metric is None
    ]
    own = st.lists(st.sampled_from(columns), max_size=2, unique=True).map(tuple) if columns else st.just(())
    level = draw(st.sampled_from(offer.levels) | own)
    names = level_columns(level)
    cell = {}
    if names and draw(st.booleans()):
        row = frame.iloc[draw(st.integers(0, len(frame) - 1))]
        cell = {name: row[offer.column_of(name, level).name] for name in names}
    asked: dict[str, Any] = {
        "level": level,
        "metric": draw(st.sampled_from([metric.name for metric in offer.schema.metrics])),
        "statistic": draw(st.sampled_from(STATISTICS)),
        "tab": draw(st.sampled_from(TABS)),
        "cell": cell,
        "start": None,
        "end": None,
        "result_type": draw(st.none() | st.sampled_from(offer.result_types)) if offer.result_types else None,
    }
    if offer.first is not None and draw(st.booleans()):
        span = (offer.last - offer.first).days
        days = sorted(draw(st.lists(st.integers(-1, span + 2), min_size=2, max_size=2)))
        asked["start"], asked["end"] = (str((offer.first + pd.Timedelta(days=day)).date()) for day in days)
    ways = [None, *offer.sides, *(["time"] if offer.first is not None else [])]
    by = draw(st.sampled_from(ways))
    if by is not None:
        asked["by"] = by
    if by is not None and by != "time":
        asked["baseline"] = draw(st.none() | st.sampled_from(offer.sides[by]))
        asked["current"] = draw(st.none() | st.sampled_from(offer.sides[by]))
    return asked


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
def test_state_and_code_reproduce_the_result(name: str, opened: Any) -> None:
    source, panel, frame = opened(name)
    outcomes: list[str] = []

    @settings(max_examples=67)
    @given(questions(panel, frame))
    def check_one(asked: dict[str, Any]) -> None:
        shown = source.explore(**asked)
        shown.close()
        outcomes.append(check(source, shown, frame))

    check_one()
    assert outcomes.count("answered") >= len(outcomes) / 2


@pytest.mark.slow
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("tab", TABS)
def test_each_tab_answers_as_its_method_does(name: str, tab: str, opened: Any) -> None:
    source, panel, frame = opened(name)
    panel.show(tab=tab)
    check(source, panel, frame)


def test_what_the_user_said_of_the_columns_is_in_the_code() -> None:
    frame = pd.DataFrame({"net": ["a", "b"] * 4, "score": np.arange(8.0)})
    said = frame.aggr(model="net", metrics={"score": "higher"})
    panel = said.explore(level="model", cell={"model": "a"})
    assert check(said, panel, frame) == "answered"
    assert panel.result["mean"].tolist() == [3.0]
    assert "df.aggr(model='net', metrics={'score': 'higher'}).stats(" in panel.code
    panel.close()


@pytest.mark.parametrize(
    ("level", "cell", "n"),
    [
        (["batch_size"], {"batch_size": np.int64(8)}, 2),
        (["share"], {"share": np.float64(0.5)}, 3),
        (["on_disk"], {"on_disk": True}, 3),
        (["model"], {"model": None}, 1),
        (["it's"], {"it's": 'say "no"'}, 3),
        (["timestamp"], {"timestamp": pd.Timestamp("2026-01-02")}, 1),
    ],
)
def test_labels_of_any_kind_can_be_clicked_and_written(level: list[str], cell: dict[str, Any], n: int) -> None:
    frame = pd.DataFrame(
        {
            "model": ["a", None, "b", "a", "b", "a"],
            "batch_size": [1, 8, 16, 8, 1, 16],
            "share": [0.5, 0.25] * 3,
            "on_disk": [True, False] * 3,
            "it's": ['say "no"', "\\n"] * 3,
            "timestamp": pd.date_range("2026-01-01", periods=6),
            "latency_ms": np.arange(6.0),
        }
    )
    panel = frame.aggr.explore(level=level, cell=cell)
    assert check(frame.aggr, panel, frame) == "answered"
    assert panel.result["n"].tolist() == [n]
    panel.close()
