"""Statistics against numpy, exact fractions and certified values, over every kind of column that pandas has."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aggrkit
from aggrkit.errors import AggrError, EmptySelectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

POINTS = (0, 1, 25, 50, 75, 90, 95, 99, 99.9, 100)
EPS = np.finfo(float).eps


# The oracle: plain Python over the values of a group.


def present(values: Sequence[Any]) -> np.ndarray:
    """Return what is not missing, as float64."""
    return np.array([float(value) for value in values if not pd.isna(value)], dtype=np.float64)


def exact_moments(values: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation (ddof 1), computed in fractions and rounded once."""
    parts = [Fraction(value) for value in values.tolist()]
    if not parts:
        return math.nan, math.nan
    mean = sum(parts) / len(parts)
    if len(parts) == 1:
        return float(mean), math.nan
    variance = sum((part - mean) ** 2 for part in parts) / (len(parts) - 1)
    return float(mean), math.sqrt(variance)


def assert_line(line: pd.Series, raw: Sequence[Any], points: Sequence[float] = POINTS) -> None:
    """Check a line of the statistics against the oracle."""
    values = present(raw)
    assert line["n"] == len(values)
    assert line["missing"] == len(raw) - len(values)
    names = [f"p{point:g}" for point in points]
    if not len(values):
        assert line[["mean", "std", "min", "max", *names]].isna().all()
        return
    assert line["min"] == values.min()
    assert line["max"] == values.max()
    mean, std = exact_moments(values)
    largest = np.abs(values).max()
    np.testing.assert_allclose(line["mean"], mean, rtol=4 * EPS, atol=4 * EPS * largest)
    np.testing.assert_allclose(line["mean"], values.mean(), rtol=4 * EPS, atol=8 * EPS * largest)
    if len(values) == 1:
        assert math.isnan(line["std"])
    else:
        # Welford loses a few units in the last place of the values, which matter where the spread is small beside them.
        np.testing.assert_allclose(line["std"], std, rtol=1e-12, atol=8 * EPS * largest)
        np.testing.assert_allclose(line["std"], pd.Series(values).std(), rtol=1e-12, atol=16 * EPS * largest)
    for name, point in zip(names, points, strict=True):
        wanted = np.percentile(values, point, method="linear")
        # numpy and the engine may round the interpolation differently, by a unit in the last place of its ends.
        lower, upper = np.percentile(values, point, method="lower"), np.percentile(values, point, method="higher")
        np.testing.assert_allclose(line[name], wanted, rtol=0, atol=2 * EPS * max(abs(lower), abs(upper)))


def by_label(found: pd.DataFrame, *names: str) -> dict[Any, pd.Series]:
    """Return the lines of a finding by label of the group and metric."""
    keys = list(names) + ["metric"]
    assert not found.duplicated(keys).any()
    lines = pd.DataFrame(found)
    return {tuple(line[key] for key in keys): line for _, line in lines.iterrows()}


# Columns of every kind, as a function of plain values with None for what is missing.


def _floats(values: list[Any]) -> Any:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def _object(values: list[Any]) -> Any:
    return np.array(values, dtype=object)


FLOAT_COLUMNS: dict[str, Callable[[list[Any]], Any]] = {
    "float64": _floats,
    "float64 backwards": lambda values: _floats(values[::-1])[::-1],
    "float64 strided": lambda values: np.repeat(_floats(values), 3)[::3],
    "big-endian": lambda values: _floats(values).astype(">f8"),
    "Float64": lambda values: pd.array(values, dtype="Float64"),
    "Arrow double": lambda values: pd.array(values, dtype=pd.ArrowDtype(pa.float64())),
    "object": _object,
    "category": lambda values: pd.Categorical(_floats(values)),
    "Sparse": lambda values: pd.arrays.SparseArray(_floats(values)),
    "object of Decimal": lambda values: _object([None if value is None else Decimal(value) for value in values]),
}
WHOLE_COLUMNS: dict[str, Callable[[list[Any]], Any]] = {
    "float32": lambda values: _floats(values).astype(np.float32),
    "float16": lambda values: _floats(values).astype(np.float16),
    "Int64": lambda values: pd.array(values, dtype="Int64"),
    "Int8": lambda values: pd.array(values, dtype="Int8"),
    "Float32": lambda values: pd.array(values, dtype="Float32"),
    "Arrow int64": lambda values: pd.array(values, dtype=pd.ArrowDtype(pa.int64())),
    "Arrow float": lambda values: pd.array(values, dtype=pd.ArrowDtype(pa.float32())),
    "Arrow decimal": lambda values: pd.array(values, dtype=pd.ArrowDtype(pa.decimal128(12, 2))),
    "object of int": _object,
    "category of int": lambda values: pd.Categorical(_object(values), categories=sorted({*values, 77} - {None})),
}
NO_MISSING: dict[str, Callable[[list[Any]], Any]] = {
    "int64": lambda values: np.array(values, dtype=np.int64),
    "int8": lambda values: np.array(values, dtype=np.int8),
    "uint16": lambda values: np.array([abs(value) for value in values], dtype=np.uint16),
}
GROUP_COLUMNS: dict[str, Callable[[list[Any]], Any]] = {
    "str": lambda values: pd.array(values, dtype="str"),
    "string": lambda values: pd.array(values, dtype="string"),
    "object": _object,
    "category": lambda values: pd.Categorical(values, categories=["never", "c", "b", "a", ""]),
    "Arrow string": lambda values: pd.array(values, dtype=pd.ArrowDtype(pa.string())),
    "Arrow large string": lambda values: pd.array(values, dtype=pd.ArrowDtype(pa.large_string())),
    "Arrow dictionary": lambda values: pd.array(
        pa.array(values, pa.string()).dictionary_encode(), dtype=pd.ArrowDtype(pa.dictionary(pa.int32(), pa.string()))
    ),
}

labels = st.lists(st.sampled_from(["a", "b", "c", "", None]), min_size=1, max_size=30)
# Squares must be numbers too, neither infinite nor rounded to nothing.
any_float = st.floats(-1e100, 1e100).filter(lambda value: value == 0 or abs(value) > 1e-100)
near_offset = st.integers(-8, 8).map(lambda k: 1e9 + k / 4)
number = st.sampled_from([any_float, near_offset, st.just(3.25), st.integers(-3, 3).map(float)])


@st.composite
def cases(draw: Any, columns: dict[str, Callable[[list[Any]], Any]], values: Any, missing: bool = True) -> Any:
    """Return labels, values and a column made of them."""
    groups = draw(labels)
    one = draw(values)
    chosen = st.none() | one if missing else one
    raw = draw(st.lists(chosen, min_size=len(groups), max_size=len(groups)))
    kind = draw(st.sampled_from(sorted(columns)))
    group_kind = draw(st.sampled_from(sorted(GROUP_COLUMNS)))
    return groups, raw, columns[kind](raw), GROUP_COLUMNS[group_kind](groups)


def check(groups: list[Any], raw: list[Any], column: Any, group_column: Any) -> None:
    frame = pd.DataFrame({"model": group_column, "value_of_it": column})
    before = frame.copy(deep=True)
    found = frame.aggr(metrics=["value_of_it"]).stats(level="model", percentiles=POINTS)
    pd.testing.assert_frame_equal(frame, before, check_exact=True, check_freq=True, check_flags=True)
    lines = by_label(found, "model")
    named = [label or "unknown" for label in groups]
    assert {key[0] for key in lines} == set(named)
    for label in set(named):
        mine = [value for value, name in zip(raw, named, strict=True) if name == label]
        assert_line(lines[label, "value_of_it"], mine)


@given(cases(FLOAT_COLUMNS, number))
def test_floats_of_every_type_equal_numpy(case: Any) -> None:
    check(*case)


@given(cases(WHOLE_COLUMNS, st.just(st.integers(-100, 100))))
def test_whole_numbers_of_every_type_equal_numpy(case: Any) -> None:
    check(*case)


@given(cases(NO_MISSING, st.just(st.integers(-100, 100)), missing=False))
def test_integers_equal_numpy(case: Any) -> None:
    groups, _, column, group_column = case
    check(groups, column.tolist(), column, group_column)


BOOLEANS: dict[str, Callable[[list[Any]], Any]] = {
    "boolean": lambda values: pd.array(values, dtype="boolean"),
    "object": _object,
    "Arrow bool": lambda values: pd.array(values, dtype=pd.ArrowDtype(pa.bool_())),
    "Int64 of 0 and 1": lambda values: pd.array(values, dtype="Int64"),
    "text": lambda values: pd.array([None if v is None else "Passed " if v else "FAIL" for v in values], dtype="str"),
}


@settings(max_examples=15)
@given(
    st.sampled_from(sorted(BOOLEANS)), st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.booleans()), min_size=1)
)
def test_outcomes_have_a_rate_and_no_percentiles(kind: str, pairs: list[tuple[str, bool | None]]) -> None:
    raw = [value for _, value in pairs]
    frame = pd.DataFrame({"model": [label for label, _ in pairs], "passed": BOOLEANS[kind](raw)})
    if all(value is None for value in raw) and kind == "object":
        frame["passed"] = frame["passed"].astype("boolean")
    stats = by_label(frame.aggr.stats(level="model"), "model")
    rates = by_label(frame.aggr.proportions(level="model"), "model")
    for label in {label for label, _ in pairs}:
        told = [value for name, value in pairs if name == label and value is not None]
        missing = sum(1 for name, value in pairs if name == label and value is None)
        line, rate = stats[label, "passed"], rates[label, "passed"]
        assert (line["n"], line["missing"]) == (len(told), missing) == (rate["n"], rate["missing"])
        assert (rate["successes"], rate["failures"]) == (sum(told), len(told) - sum(told))
        assert line[["std", "min", "p50", "p99", "max"]].isna().all()
        if told:
            assert line["mean"] == rate["rate"] == pytest.approx(np.mean(told), rel=1e-15)
        else:
            assert math.isnan(line["mean"])
            assert math.isnan(rate["rate"])


def test_wilson_interval_equals_statsmodels() -> None:
    from statsmodels.stats.proportion import proportion_confint

    sizes = [(0, 5), (5, 5), (3, 10), (1, 1), (499, 1000)]
    frame = pd.concat(
        pd.DataFrame({"model": f"m{k}", "passed": [True] * good + [False] * (n - good)})
        for k, (good, n) in enumerate(sizes)
    )
    for confidence in (0.9, 0.95):
        found = frame.aggr.proportions(level="model", confidence=confidence)
        wanted = [proportion_confint(good, n, 1 - confidence, method="wilson") for good, n in sizes]
        np.testing.assert_allclose(found[["ci_lower", "ci_upper"]].to_numpy(), np.array(wanted), rtol=1e-9, atol=1e-12)


INDEXES: dict[str, Callable[[int], pd.Index]] = {
    "range": lambda n: pd.RangeIndex(n),
    "range with a step": lambda n: pd.RangeIndex(10 * n, 0, -10),
    "all the same": lambda n: pd.Index([7] * n),
    "text with a gap": lambda n: pd.Index([None, *(f"r{k % 3}" for k in range(n - 1))]),
    "times with a zone": lambda n: pd.date_range("2025-03-29", periods=n, freq="h", tz="Europe/Berlin"),
    "floats with NaN": lambda n: pd.Index([math.nan] * n),
    "category": lambda n: pd.CategoricalIndex(["x"] * n),
    "interval": lambda n: pd.interval_range(0, n),
    "no names": lambda n: pd.MultiIndex.from_arrays([[1] * n, range(n)]),
}


@pytest.mark.parametrize("kind", INDEXES)
def test_any_index_is_the_same(kind: str) -> None:
    frame = pd.DataFrame({"model": list("abcab"), "latency_ms": [1.0, 2.0, 4.0, 8.0, np.nan]})
    wanted = frame.aggr.stats(level="model")
    turned = frame.set_axis(INDEXES[kind](5))
    before = turned.copy(deep=True)
    pd.testing.assert_frame_equal(pd.DataFrame(turned.aggr.stats(level="model")), pd.DataFrame(wanted))
    pd.testing.assert_frame_equal(turned, before, check_exact=True, check_flags=True)


def test_named_levels_of_the_index_count_as_columns() -> None:
    index = pd.MultiIndex.from_tuples([("a", 1), ("a", 1), ("b", 2), (None, 2)], names=["model", "batch_size"])
    frame = pd.DataFrame({"latency_ms": [1.0, 3.0, 5.0, 7.0]}, index=index)
    lines = by_label(frame.aggr.stats(level=["model", "batch_size"]), "model", "batch_size")
    assert {key[:2]: line["mean"] for key, line in lines.items()} == {("a", 1): 2.0, ("b", 2): 5.0, ("unknown", 2): 7.0}
    found = frame.aggr.stats(level="model")
    pd.testing.assert_frame_equal(found.rows(0), frame.iloc[:2])
    # A column of the same name wins over the level of the index.
    doubled = frame.assign(model=["x", "x", "y", "y"])
    assert doubled.aggr.stats(level="model")["model"].tolist() == ["x", "y"]


def test_columns_of_two_levels_are_joined_by_an_underscore() -> None:
    columns = pd.MultiIndex.from_tuples([("model", ""), ("latency", "ms"), ("memory_peak", "mb")])
    frame = pd.DataFrame([["a", 1.0, 10.0], ["a", 3.0, 20.0], ["b", 5.0, None]], columns=columns)
    before = frame.copy(deep=True)
    lines = by_label(frame.aggr.stats(level="model"), "model")
    assert_line(lines["a", "latency_ms"], [1.0, 3.0], (50, 75, 90, 95, 99))
    assert_line(lines["b", "memory_peak_mb"], [None], (50, 75, 90, 95, 99))
    pd.testing.assert_frame_equal(frame, before, check_exact=True)


def test_names_that_differ_only_in_case_are_two_columns() -> None:
    frame = pd.DataFrame({"model": ["a", "a"], "X": [1.0, 2.0], "x": [10.0, 20.0], 7: [100.0, 200.0]})
    found = frame.aggr.stats(level="model")
    assert dict(zip(found["metric"], found["mean"], strict=True)) == {"X": 1.5, "x": 15.0, "7": 150.0}


def test_backwards_frame_with_categories_and_times() -> None:
    frame = pd.DataFrame(
        {
            "model": pd.Categorical(list("abab"), categories=["z", "b", "a"]),
            "timestamp": pd.date_range("2025-01-01", periods=4, tz="Asia/Tokyo"),
            "latency_ms": [1.0, 2.0, 3.0, 4.0],
        }
    )
    turned = frame[::-1]
    pd.testing.assert_frame_equal(turned.aggr.stats(level="model"), frame.aggr.stats(level="model"))
    # Groups are in the order of their text, and text: how the source stores it doesn't show.
    assert frame.aggr.stats(level="model")["model"].tolist() == ["a", "b"]
    assert frame.aggr.stats(level="model")["model"].dtype == "str"


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_time_ranges_are_utc_whatever_unit_and_zone(unit: str, zone: str | None) -> None:
    utc = pd.date_range("2025-03-09 04:00", periods=10, freq="h", unit=unit, tz="UTC")
    times = utc.tz_localize(None) if zone is None else utc.tz_convert(zone)
    frame = pd.DataFrame({"model": "a", "timestamp": times, "latency_ms": np.arange(10.0)})
    before = frame.copy(deep=True)
    # 02:00 in New York on the day when clocks go forward: one of the hours in this range doesn't exist there.
    for span in (("2025-03-09 06:00", "2025-03-09 08:00"), ("2025-03-09T07:00+01:00", "2025-03-09T03:00-05:00")):
        found = frame.aggr.stats(level="model", time_range=span)
        assert_line(found.iloc[0], [2.0, 3.0, 4.0], (50, 75, 90, 95, 99))
    assert frame.aggr.stats(level="model", time_range=(None, "2025-03-09 05:00"))["n"].tolist() == [2]
    assert frame.aggr.stats(level="model", time_range=(pd.Timestamp("2025-03-09 12:00"), None))["n"].tolist() == [2]
    pd.testing.assert_frame_equal(frame, before, check_exact=True)


def test_times_of_mixed_zones_and_as_text_and_as_seconds() -> None:
    moments = ["2025-01-01T00:00:00+00:00", "2025-01-01T02:00:00+01:00", "2024-12-31T20:00:00-06:00"]
    values = {"model": "a", "latency_ms": [1.0, 2.0, 3.0]}
    stamps = [pd.Timestamp(moment) for moment in moments]
    columns = [
        moments,
        np.array(stamps, dtype=object),
        [stamp.timestamp() for stamp in stamps],
        [int(stamp.timestamp() * 1000) for stamp in stamps],
        pd.array(stamps, dtype=pd.ArrowDtype(pa.timestamp("us", "UTC"))),
        pd.array(stamps, dtype=pd.ArrowDtype(pa.timestamp("ns", "Europe/Paris"))),
    ]
    span = ("2025-01-01 00:30", "2025-01-01 01:30")
    for column in columns:
        found = pd.DataFrame({**values, "timestamp": column}).aggr.stats(level="model", time_range=span)
        assert (found["n"].tolist(), found["mean"].tolist()) == ([1], [2.0])


# What is there at the edges.


def test_one_row() -> None:
    line = pd.DataFrame({"model": ["a"], "latency_ms": [2.5]}).aggr.stats(level="model").iloc[0]
    assert_line(line, [2.5], (50, 75, 90, 95, 99))
    assert line[["min", "p50", "p99", "max", "mean"]].tolist() == [2.5] * 5


def test_no_rows_is_an_error() -> None:
    with pytest.raises(EmptySelectionError, match="no rows"):
        pd.DataFrame({"model": [], "latency_ms": []}).aggr.stats()


def test_a_group_without_values_has_a_line() -> None:
    frame = pd.DataFrame(
        {"model": ["a", "b", "b"], "latency_ms": [1.0, None, None], "memory_peak_mb": [None, 1.0, 3.0]}
    )
    lines = by_label(frame.aggr.stats(level="model"), "model")
    assert_line(lines["b", "latency_ms"], [None, None], (50, 75, 90, 95, 99))
    assert_line(lines["a", "memory_peak_mb"], [None], (50, 75, 90, 95, 99))


def test_all_missing_is_a_line_and_not_an_error() -> None:
    for empty in ([None, None], [np.nan, np.nan], pd.array([None, None], dtype="Int64")):
        line = pd.DataFrame({"model": ["a", "a"], "latency_ms": empty}).aggr.stats(level="model").iloc[0]
        assert_line(line, [None, None], (50, 75, 90, 95, 99))


def test_percentiles_are_named_and_ordered_as_asked() -> None:
    values = np.random.default_rng(3).lognormal(size=57)
    frame = pd.DataFrame({"model": "a", "x": values})
    asked = (99.9, 0, 50, 33.3333333, 99.99999, 100, 50.0)
    found = frame.aggr.stats(level="model", percentiles=asked)
    names = ["p99.9", "p0", "p50", "p33.3333333", "p99.99999", "p100"]
    assert [name for name in found.columns if name[0] == "p"] == names
    np.testing.assert_allclose(found[names].to_numpy()[0], np.percentile(values, asked[:-1]), rtol=4 * EPS)
    assert list(frame.aggr.stats(level="model", percentiles=[]).columns)[-3:] == ["std", "min", "max"]
    assert "p10" in frame.aggr.stats(level="model", percentiles=np.array([10.0]))
    for wrong in ([-1], [100.5], [math.nan]):
        with pytest.raises(ValueError, match="from 0 to 100"):
            frame.aggr.stats(level="model", percentiles=wrong)


def test_large_groups_are_exact_too() -> None:
    """Engines work in vectors and threads; a group of 300,000 values crosses the borders of both."""
    rng = np.random.default_rng(5)
    values = np.concatenate([rng.normal(1e6, 1.0, 200_000), rng.lognormal(0, 3, 100_000)])
    group = np.repeat(["offset", "skewed"], [200_000, 100_000])
    order = rng.permutation(len(values))
    frame = pd.DataFrame({"model": group[order], "x": values[order]})
    found = by_label(frame.aggr.stats(level="model", percentiles=POINTS), "model")
    for label in ("offset", "skewed"):
        mine, line = values[group == label], found[label, "x"]
        np.testing.assert_allclose(
            line[[f"p{p:g}" for p in POINTS]].astype(float), np.percentile(mine, POINTS), rtol=4 * EPS
        )
        assert line["mean"] == pytest.approx(math.fsum(mine) / len(mine), rel=4 * EPS)
        shifted = mine - mine[0]
        deviations = shifted - math.fsum(shifted) / len(shifted)
        std = math.sqrt(math.fsum(deviations**2) / (len(mine) - 1))
        assert line["std"] == pytest.approx(std, rel=1e-9)


# NIST's certified values.


def alternating(middle: str, low: str, high: str) -> list[str]:
    return [middle, *[low, high] * 500]


def strd(folder: Path) -> dict[str, tuple[list[str], str, str]]:
    """Return the values of each set as decimal text, with certified mean and standard deviation."""
    values = pd.read_csv(folder / "nist_strd" / "univariate.csv", dtype=str)
    certified = pd.read_csv(folder / "nist_strd" / "univariate_certified.csv", dtype=str)
    sets = {}
    for line in certified.itertuples():
        mine = values.loc[values["dataset"] == line.dataset, "y"].tolist()
        assert len(mine) == int(line.n)
        sets[line.dataset] = (mine, line.mean, line.std)
    return sets | {
        "NumAcc2": (alternating("1.2", "1.1", "1.3"), "1.2", "0.1"),
        "NumAcc3": (alternating("1000000.2", "1000000.1", "1000000.3"), "1000000.2", "0.1"),
        "NumAcc4": (alternating("10000000.2", "10000000.1", "10000000.3"), "10000000.2", "0.1"),
    }


def digits(found: float, certified: str) -> float:
    """Return the number of correct digits: the log relative error, at most the 15 digits of the certified values."""
    wanted = Fraction(certified)
    error = abs(Fraction(found) - wanted) / abs(wanted)
    return 15.0 if error < Fraction(1, 10**15) else -math.log10(error)


@pytest.mark.parametrize("source", ["DataFrame", "Parquet", "DuckDB file"])
@pytest.mark.parametrize("name", ["Lew", "Lottery", "Michelso", "NumAcc1", "NumAcc2", "NumAcc3", "NumAcc4"])
def test_nist_univariate(name: str, source: str, small_data: Path, tmp_path: Path) -> None:
    text, mean, std = strd(small_data)[name]
    values = np.array([float(value) for value in text])
    frame = pd.DataFrame({"model": name, "y": values})
    if source == "DataFrame":
        analysis = frame.aggr
    elif source == "Parquet":
        frame.to_parquet(tmp_path / "y.parquet")
        analysis = aggrkit.open(tmp_path / "y.parquet")
    else:
        with duckdb.connect(str(tmp_path / "y.duckdb")) as connection:
            connection.execute("CREATE TABLE y AS SELECT * FROM frame")
        analysis = aggrkit.open(tmp_path / "y.duckdb")
    line = analysis.stats(level="model").iloc[0]
    assert line["n"] == len(text)
    # A tenth of a digit is less than a unit in the last place.
    assert digits(line["mean"], mean) >= digits(float(np.mean(values)), mean) - 0.1
    assert digits(line["std"], std) >= digits(float(np.std(values, ddof=1)), std) - 0.1
    # The published definition, rounded to float64, can't be met better than this.
    floor = {"NumAcc3": 9.4, "NumAcc4": 8.2}.get(name, 13.0)
    assert digits(line["std"], std) >= floor
    assert digits(line["mean"], mean) >= 14.0


# The user's frame stays as it is.


def rich_frame() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    n = 40
    frame = pd.DataFrame(
        {
            "model": pd.Categorical(
                np.where(np.arange(n) % 2, "a", "b"), categories=["unused", "b", "a"], ordered=True
            ),
            "hardware": pd.array(["h100", None] * (n // 2), dtype="str"),
            "timestamp": pd.date_range("2025-01-01", periods=n, tz="Europe/Berlin"),
            "latency_ms": rng.lognormal(2, 0.1, n),
            "throughput": pd.array(rng.normal(100, 5, n), dtype="Float64"),
            "memory_mb": pd.array(rng.normal(10, 1, n), dtype=pd.ArrowDtype(pa.float64())),
            "passed": pd.array([True, False, None, True] * (n // 4), dtype="boolean"),
            "notes": np.array([None, "x", 3, 2.5] * (n // 4), dtype=object),
            "config": np.array([{"a": 1}, [1, 2], None, ("t",)] * (n // 4), dtype=object),
            "round": np.where(np.arange(n) < n // 2, "v1", "v2"),
            "period": pd.period_range("2025-01", periods=n, freq="D"),
            "spent": pd.to_timedelta(np.arange(n), unit="s"),
        },
        index=pd.MultiIndex.from_arrays([np.arange(n) // 2, ["x"] * n], names=["outer", None]),
    )
    frame.attrs["source"] = "a test"
    return frame.set_flags(allows_duplicate_labels=True)


QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "schema": lambda aggr: aggr.schema,
    "stats": lambda aggr: aggr.stats(),
    "proportions": lambda aggr: aggr.proportions(),
    "distributions": lambda aggr: aggr.distributions(),
    "robust": lambda aggr: aggr.anomalies(method="robust"),
    "zscore": lambda aggr: aggr.anomalies(method="zscore"),
    "iqr": lambda aggr: aggr.anomalies(method="iqr"),
    "gesd": lambda aggr: aggr.anomalies(method="gesd"),
    "compare": lambda aggr: aggr.compare("v1", by="round"),
    "compare by time": lambda aggr: aggr.compare(pd.Timedelta("10D")),
    "correlations": lambda aggr: aggr.correlations(),
    "rows": lambda aggr: aggr.stats().rows(0),
    "changed rows": lambda aggr: aggr.stats().rows(0).insert(0, "new", 1),
    "changed answer": lambda aggr: aggr.stats().__setitem__("model", "other"),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_changes_the_frame(question: str) -> None:
    frame = rich_frame()
    before = frame.copy(deep=True)
    before["config"] = [repr(value) for value in before["config"]]
    dtypes, flags, attrs, index, columns = (
        frame.dtypes.copy(),
        frame.flags.allows_duplicate_labels,
        dict(frame.attrs),
        frame.index,
        frame.columns,
    )
    QUESTIONS[question](frame.aggr)
    assert (frame.dtypes == dtypes).all()
    assert frame.flags.allows_duplicate_labels == flags
    assert frame.attrs == attrs
    assert frame.index is index
    assert frame.columns is columns
    after = frame.assign(config=[repr(value) for value in frame["config"]])
    pd.testing.assert_frame_equal(after, before, check_exact=True, check_flags=True)


def test_columns_that_cannot_be_used_are_left_out_and_named() -> None:
    schema = rich_frame().aggr.schema
    assert {column.name for column in schema.columns if column.role == "ignored"} >= {"config"}
    frame = pd.DataFrame({"model": ["a", "b"], "z": [1j, 2j], "latency_ms": [1.0, 2.0]})
    assert frame.aggr.stats(level="model")["metric"].unique().tolist() == ["latency_ms"]
    with pytest.raises(AggrError, match="z"):
        frame.aggr.stats(level="model", metrics="z")
