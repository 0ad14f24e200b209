"""What a panel offers is what the source holds; what isn't there is refused in words."""

from __future__ import annotations

import decimal
import uuid
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit.errors import AggrError, EmptySelectionError, SchemaError, UnknownNameError
from aggrkit.panel import State
from aggrkit.panel.offer import Offer


def offered(source: Any) -> Offer:
    analysis = source.aggr if isinstance(source, pd.DataFrame) else source
    return Offer.of(analysis.source(analysis.given))


def results(n: int = 60, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame(
        {
            "model": np.resize(["bert", "gpt"], n),
            "hardware": np.resize(["a100", "h100", "t4"], n),
            "driver": np.resize(["v2", "v10", "v9"], n),
            "timestamp": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(n), unit="h"),
            "latency_ms": rng.lognormal(3, 0.3, n),
        }
    )
    return frame.assign(**columns)


def test_it_says_what_is_there() -> None:
    frame = results(result_type=np.resize(["b", "a"], 60))
    found = offered(frame)
    assert found.rows == len(frame)
    assert found.levels == ["model", "hardware", "model_hardware"]
    assert found.result_types == ("a", "b")
    assert (found.first, found.last) == (frame["timestamp"].min(), frame["timestamp"].max())
    assert found.sides["driver"] == ("v2", "v9", "v10")
    assert next(iter(found.sides)) == "driver"


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (["v10", "v2", "v1"], ("v1", "v2", "v10")),
        (["1.10.0", "1.9.3", "1.9.12"], ("1.9.3", "1.9.12", "1.10.0")),
        ([10, 9, 100], (9, 10, 100)),
        ([True, False, True], (False, True)),
        (["5²", "a", "5"], ("5", "5²", "a")),
        (["9" * 5000, "a", "10"], ("10", "9" * 5000, "a")),
        (["b", None, "a"], ("a", "b")),
        (["b", "", "a"], ("a", "b")),
        ([2.0, float("nan"), 1.0], (1.0, 2.0)),
    ],
)
def test_sides_are_in_natural_order_without_what_is_missing(values: list[Any], wanted: tuple[Any, ...]) -> None:
    found = offered(pd.DataFrame({"driver": values * 2, "latency_ms": np.arange(6.0)})).sides["driver"]
    assert found == wanted


def test_sides_of_a_database_are_plain_values() -> None:
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE results AS SELECT uuid() AS build, (range / 2)::DECIMAL(10, 2) AS batch_size, "
        "(range % 2 = 0) AS cuda, range::DOUBLE AS latency_ms FROM range(6)"
    )
    found = offered(aggrkit.open(connection, table="results"))
    for values in found.sides.values():
        assert not any(isinstance(value, (decimal.Decimal, uuid.UUID)) for value in values)
    assert [float(value) for value in found.sides["batch_size"]] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert len(found.sides["build"]) == 6


def test_columns_of_one_value_or_of_many_are_no_sides() -> None:
    frame = results(n=200, cuda="12", build=[f"b{k}" for k in range(200)])
    assert set(offered(frame).sides) == {"driver", "hardware"}


def test_missing_roles_are_not_offered() -> None:
    found = offered(pd.DataFrame({"hardware": ["a", "b"], "latency_ms": [1.0, 2.0]}))
    assert found.levels == ["hardware"]
    assert found.fitted(State()).level == "hardware"
    bare = offered(pd.DataFrame({"latency_ms": [1.0, 2.0]}))
    assert (bare.levels, bare.result_types, dict(bare.sides), bare.first) == ([], (), {}, None)
    assert bare.fitted(State()) == State(level=(), metric="latency_ms")


def test_without_a_metric_it_says_so() -> None:
    with pytest.raises(SchemaError, match=r"no column was recognised as a metric.*metrics="):
        offered(pd.DataFrame({"model": ["a"], "hardware": ["b"]}))
    with pytest.raises(EmptySelectionError, match="no rows"):
        offered(results().head(0))


def test_a_metric_without_a_value_and_times_that_are_missing() -> None:
    found = offered(results(latency_ms=np.nan, timestamp=pd.NaT))
    assert (found.rows, found.first, found.last) == (60, None, None)
    assert found.fitted(State()).metric == "latency_ms"


def test_one_row() -> None:
    found = offered(results(n=1))
    assert found.rows == 1
    assert not found.sides
    assert found.fitted(State()).by == "time"
    assert found.first == found.last == pd.Timestamp("2026-01-01")


def test_times_in_text_with_zones() -> None:
    frame = results()
    written = frame["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S+02:00")
    assert offered(frame.assign(timestamp=written)).first == frame["timestamp"].min() - pd.Timedelta(hours=2)


def test_a_state_is_fitted_to_the_source() -> None:
    fitted = offered(results()).fitted(State())
    assert fitted.metric == "latency_ms"
    assert (fitted.by, fitted.baseline, fitted.current) == ("driver", "v9", "v10")
    timed = offered(results()).fitted(State(by="time"))
    assert (timed.baseline, timed.current) == ("7D", None)
    assert offered(results()).fitted(fitted) == fitted
    assert offered(results()).fitted(State(by="driver", baseline="v2")).current is None


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"level": "hardwear"}, "unknown level 'hardwear'; did you mean 'hardware'"),
        ({"level": "worker"}, "unknown level 'worker'.*'model', 'hardware', 'model_hardware'"),
        ({"level": ["model", "drivr"]}, "did you mean 'driver'"),
        ({"metric": "latncy_ms"}, "unknown metric 'latncy_ms'; did you mean 'latency_ms'"),
        ({"metric": "driver"}, "holds text"),
        ({"result_type": "c"}, "unknown result type 'c'; result types to choose from: 'a', 'b'"),
        ({"cell": {"drivr": "v2"}}, "did you mean 'driver'"),
        ({"level": "model", "cell": {"hardware": "t4"}}, "unknown column of the level 'hardware'"),
        ({"by": "drvier"}, "did you mean 'driver'"),
        ({"by": "time", "baseline": "a week"}, "unknown span of time 'a week'.*'7D'"),
        ({"by": "time", "baseline": "NaT"}, "unknown span"),
    ],
)
def test_misspelt_names_are_told(wrong: dict[str, Any], words: str) -> None:
    found = offered(results(result_type=np.resize(["b", "a"], 60)))
    with pytest.raises(AggrError, match=words) as caught:
        found.fitted(State.of(wrong))
    assert isinstance(caught.value, UnknownNameError)


def test_a_result_type_without_such_a_column_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="there is no result type"):
        offered(results()).fitted(State(result_type="a"))


def test_filters_name_the_column_that_the_level_means() -> None:
    frame = results().rename(columns={"model": "model_name"}).assign(version=np.resize(["x", "y"], 60))
    found = offered(frame)
    assert found.where_of(State(level="model", cell={"model": "bert"})) == {"model_name": "bert"}
    # "version" is a role too, which "driver" plays before the column of that name
    assert found.where_of(State(level=["version"], cell={"version": "x"})) == {"version": "x"}
    said = results().assign(net=np.resize(["n1", "n2"], 60))
    other = Offer.of(said.aggr(model="net").source({"model": "net"}))
    assert other.where_of(State(level="model", cell={"model": "n1"})) == {"net": "n1"}
    assert other.where_of(State(level=["model"], cell={"model": "bert"})) == {"model": "bert"}


def test_the_group_of_missing_labels_is_all_that_is_called_so() -> None:
    frame = results(n=6, model=["a", "a", None, "", "unknown", "unknown"], batch_size=[1, 2, None, 1, 2, 2])
    found = offered(frame)
    for level, cell in (("model", {"model": "unknown"}), (["batch_size"], {"batch_size": "unknown"})):
        where = found.where_of(State(level=level, cell=cell))
        stats = frame.aggr.stats(level=level)
        name = next(iter(cell))
        counted = stats.set_index(stats[name].astype(str)).at["unknown", "n"]
        assert frame.aggr.stats(level=[], where=where)["n"].tolist() == [counted]
    assert (
        frame.aggr.stats(level=[], where=found.where_of(State(level="model", cell={"model": "unknown"}))).at[0, "n"]
        == 4
    )


def test_the_type_of_results_is_a_filter() -> None:
    found = offered(results(result_type=np.resize(["b", "a"], 60)))
    assert found.where_of(State(result_type="a", level="model", cell={"model": "gpt"})) == {
        "result_type": "a",
        "model": "gpt",
    }
    assert found.where_of(State(result_type="a", level="model", cell={"model": "gpt"}), cell=False) == {
        "result_type": "a"
    }
    assert found.filter_of(None) == {}


def test_a_pass_fail_metric_has_its_rate_or_its_number() -> None:
    found = offered(pd.DataFrame({"model": ["a", "b"], "passed": [True, False]}))
    assert found.statistic_of(State(statistic="p99")) == "mean"
    assert found.statistic_of(State(statistic="n")) == "n"
    assert offered(results()).statistic_of(State(statistic="p99")) == "p99"
