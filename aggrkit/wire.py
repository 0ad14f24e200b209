"""Answers as the JSON and CSV that programs exchange: the one place where frames become nested dictionaries.

The shape of an answer is published as a JSON schema, see `answer_schema`.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from aggrkit.model.answer import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aggrkit.model.metric import Metric

__all__ = [
    "PARTS",
    "anomalies_response",
    "answer_schema",
    "as_csv",
    "basic_statistics",
    "comparisons_response",
    "correlations_response",
    "distributions_response",
    "group_keys",
    "percentiles_response",
    "plain",
    "trends_response",
]

Nested = dict[str, Any]

PARTS: Final = ("basic_statistics", "percentiles", "distributions", "anomalies", "comparisons")
"""What the results of an answer always hold, in this order."""

_POINTS: Final = ("p50", "p75", "p90", "p95", "p99")
_CSV: Final = ("group", "metric", "count", "mean", "median", "min", "max", "std", *_POINTS)


@cache
def answer_schema() -> Mapping[str, Any]:
    """Return the JSON schema (draft 2020-12) of the answer of `aggregate_results`.

    Examples
    --------
    >>> from aggrkit.wire import answer_schema
    >>> answer_schema()["title"]
    'Answer of aggrkit'
    """
    read: Mapping[str, Any] = json.loads(files("aggrkit").joinpath("answer.schema.json").read_text("utf-8"))
    return read


def plain(value: Any) -> Any:
    """Return a value as JSON has it: no numpy scalars, NaN and infinities as null, times in ISO 8601, UTC.

    Parameters
    ----------
    value : object
        Anything; what JSON has no form for becomes its text.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from aggrkit.wire import plain
    >>> plain({"a": np.float64("nan"), 1: pd.Timestamp("2026-01-01", tz="Europe/Berlin")})
    {'a': None, '1': '2025-12-31T23:00:00Z'}
    """
    kind = type(value)  # nearly all values are of one of these, which need no further look
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is str or kind is int:
        return value
    if value is None or isinstance(value, (str, bool)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, np.generic) and not isinstance(value, (np.datetime64, np.timedelta64)):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, Mapping):
        return {key if type(key) is str else _key(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(inner) for inner in value), key=repr)
    if isinstance(value, (pd.Series, pd.Index, np.ndarray)):
        return [plain(inner) for inner in value.tolist()]
    if isinstance(value, pd.DataFrame):
        return [plain(record) for record in value.to_dict("records")]
    if isinstance(value, (list, tuple)) or (isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray))):
        return [plain(inner) for inner in value]
    return _single(value)


def _single(value: Any) -> Any:
    if value is pd.NaT or value is pd.NA or (isinstance(value, (np.datetime64, np.timedelta64)) and np.isnat(value)):
        return None
    if isinstance(value, (np.datetime64, datetime)):
        moment = pd.Timestamp(value)
        moment = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
        return moment.tz_localize(None).isoformat() + "Z"
    if isinstance(value, (np.timedelta64, timedelta)):
        return pd.Timedelta(value).total_seconds()
    if isinstance(value, (date, time)):
        return value.isoformat()
    return value.decode("utf-8", "backslashreplace") if isinstance(value, (bytes, bytearray)) else str(value)


def _key(key: Any) -> str:
    said = plain(key)
    if isinstance(said, list):
        return ":".join(map(str, said))
    return said if isinstance(said, str) else json.dumps(said)


def group_keys(frame: pd.DataFrame, groups: Sequence[str]) -> list[str]:
    """Return the key of the group of each line: the label, or several as ``a:b``; without groups it is "all"."""
    if not groups:
        return ["all"] * len(frame)
    texts = [[str(plain(value)) for value in frame[name].tolist()] for name in groups]
    return [":".join(parts) for parts in zip(*texts, strict=True)]


def basic_statistics(stats: pd.DataFrame, groups: Sequence[str], proportions: pd.DataFrame | None = None) -> Nested:
    """Return group -> metric -> count, mean, median, min, max, std, and ``result_count`` of each group.

    Parameters
    ----------
    stats : pandas.DataFrame
        Frame "stats".
    groups : sequence of str
        Its columns that are grouped by.
    proportions : pandas.DataFrame, optional
        Frame "proportions" of the pass/fail metrics, whose entries also have successes, failures, rate and interval.
    """
    found: Nested = {}
    columns = _columns(stats, ("metric", "n", "missing", "mean", "p50", "min", "max", "std"))
    for key, (metric, n, missing, mean, median, least, most, std) in zip(
        group_keys(stats, groups), zip(*columns, strict=True), strict=True
    ):
        group = found.setdefault(key, {})
        if n:
            group[metric] = {"count": n, "mean": mean, "median": median, "min": least, "max": most, "std": std}
        group["result_count"] = n + missing
    if proportions is not None:
        columns = _columns(
            proportions, ("metric", "n", "missing", "successes", "failures", "rate", "ci_lower", "ci_upper")
        )
        for key, (metric, n, missing, passed, failed, rate, low, high) in zip(
            group_keys(proportions, groups), zip(*columns, strict=True), strict=True
        ):
            group = found.setdefault(key, {})
            group.setdefault("result_count", n + missing)
            if n:
                counted = {"successes": passed, "failures": failed, "rate": rate, "ci_lower": low, "ci_upper": high}
                group[metric] = _of_outcomes(passed, failed) | counted
    return {
        key: {**{k: v for k, v in group.items() if k != "result_count"}, "result_count": group["result_count"]}
        for key, group in found.items()
    }


def percentiles_response(stats: pd.DataFrame, groups: Sequence[str], proportions: pd.DataFrame | None = None) -> Nested:
    """Return group -> metric -> p50, p75, p90, p95, p99."""
    found: Nested = {}
    columns = _columns(stats, ("metric", "n", *_POINTS))
    for key, (metric, n, *points) in zip(group_keys(stats, groups), zip(*columns, strict=True), strict=True):
        group = found.setdefault(key, {})
        if n and points[0] is not None:
            group[metric] = dict(zip(_POINTS, points, strict=True))
    if proportions is not None:
        columns = _columns(proportions, ("metric", "successes", "failures"))
        for key, (metric, passed, failed) in zip(
            group_keys(proportions, groups), zip(*columns, strict=True), strict=True
        ):
            group = found.setdefault(key, {})
            if passed + failed:
                group[metric] = {p: _outcome_quantile(passed, failed, float(p[1:]) / 100) for p in _POINTS}
    return found


def distributions_response(frame: pd.DataFrame, groups: Sequence[str]) -> Nested:
    """Return group -> column -> distribution (value -> count, percentage), total_values, unique_values."""
    found: Nested = {}
    columns = _columns(frame, ("column", "value", "count", "percentage", "total_values", "unique_values"))
    for key, (column, value, count, share, total, unique) in zip(
        group_keys(frame, groups), zip(*columns, strict=True), strict=True
    ):
        entry = found.setdefault(key, {}).setdefault(
            column, {"distribution": {}, "total_values": total, "unique_values": unique}
        )
        entry["distribution"][value] = {"count": count, "percentage": share}
    return found


def anomalies_response(
    frames: Mapping[str, pd.DataFrame], groups: Sequence[str], needs: int, metric_of: Callable[[str], Metric]
) -> Nested:
    """Return group -> metric -> every offending observation, or why nothing could be tested.

    Parameters
    ----------
    frames : mapping of str to pandas.DataFrame
        With "anomalies", "anomalies_rows" and "anomalies_cells".
    groups : sequence of str
        Columns that are grouped by.
    needs : int
        Smallest cell that could be tested.
    metric_of : callable
        Gives a metric by its name.
    """
    frame, details, cells = (frames[name] for name in ("anomalies", "anomalies_rows", "anomalies_cells"))
    found: Nested = {}
    names = ("metric", "observation", "value", "score", "lower", "upper", "direction", "severity")
    columns = _columns(frame, (*names, "pvalue", "pvalue_adjusted"))
    extra = _columns(details, ("z_score", "n"))
    described = [str(name) for name in frame.columns if name not in (*names, "pvalue", "pvalue_adjusted", "unit")]
    facts = [_values(frame[name]) for name in described]
    keys = group_keys(frame, groups)
    for place, line in enumerate(zip(*columns, *extra, strict=True)):
        metric, observation, value, score, lower, upper, direction, severity, pvalue, adjusted, z_score, n = line
        facts_of = {name: fact[place] for name, fact in zip(described, facts, strict=True) if fact[place] is not None}
        entry = {
            "value": value,
            "z_score": z_score,
            "direction": direction,
            "severity": severity,
            "sense": _sense(metric_of(metric).sign, direction),
            "score": score,
            "lower": lower,
            "upper": upper,
            "expected_range": [lower, upper],
            "probability": pvalue,
            "pvalue": pvalue,
            "pvalue_adjusted": adjusted,
            "n": n,
            "observation_id": observation,
            "timestamp": facts_of.get("timestamp"),
            "observation": {"id": observation, **facts_of},
        }
        found.setdefault(keys[place], {}).setdefault(metric, {"anomalies": []})["anomalies"].append(entry)
    for key, metric, tested, largest in zip(
        group_keys(cells, groups), *_columns(cells, ("metric", "tested", "largest")), strict=True
    ):
        if not tested and largest:
            note = f"too few observations (n={largest}, needs {needs})"
            found.setdefault(key, {})[metric] = {"anomalies": [], "note": note}
    return found


def comparisons_response(
    frame: pd.DataFrame, means: pd.DataFrame, groups: Sequence[str], metric_of: Callable[[str], Metric]
) -> Nested:
    """Return group -> metric -> current against historical.

    Statistics other than the mean have entries of their own, called ``metric:statistic``, such as "latency_ms:p99".

    Parameters
    ----------
    frame : pandas.DataFrame
        Frame "compare".
    means : pandas.DataFrame
        For each group and metric the plain means: ``metric, historical, current``.
    groups : sequence of str
        Columns that are grouped by.
    metric_of : callable
        Gives a metric by its name.
    """
    plain_means = dict(
        zip(
            zip(group_keys(means, groups), means["metric"].tolist(), strict=True),
            zip(*_columns(means, ("historical", "current")), strict=True),
            strict=True,
        )
    )
    names = [name for name in COLUMNS["compare"] if name not in ("unit", "baseline", "current")]
    several = "statistic" in frame and "statistic" not in groups
    statistics = _values(frame["statistic"]) if several else ["mean"] * len(frame)
    found: Nested = {}
    for key, statistic, line in zip(
        group_keys(frame, groups), statistics, zip(*_columns(frame, names), strict=True), strict=True
    ):
        told = dict(zip(names, line, strict=True))
        if told["verdict"] == "no_data":
            continue
        metric = told.pop("metric")
        old, new = plain_means.get((key, metric), (None, None))
        improved = _is_improvement(old, new, metric_of(metric).sign)
        if statistic != "mean":
            improved = {"improved": True, "regressed": False}.get(told["verdict"])
        found.setdefault(key, {})[metric if statistic == "mean" else f"{metric}:{statistic}"] = {
            "current_mean": new,
            "historical_mean": old,
            "pct_change_mean": None if old is None or new is None or old == 0 else 100.0 * (new - old) / abs(old),
            "is_improvement": improved,
            "significance": told["verdict"] in ("regressed", "improved", "changed"),
            "n_historical": told.pop("n_baseline"),
            "runs_historical": told.pop("runs_baseline"),
            **told,
        }
    return found


def correlations_response(frame: pd.DataFrame) -> list[Nested]:
    """Return a dictionary per pair of metrics and method."""
    names = [str(name) for name in frame.columns]
    return [dict(zip(names, line, strict=True)) for line in zip(*_columns(frame, names), strict=True)]


def trends_response(frame: pd.DataFrame, groups: Sequence[str]) -> Nested:
    """Return group -> metric -> trend."""
    names = [name for name in COLUMNS["trends"] if name not in ("metric", "unit")]
    found: Nested = {}
    for key, metric, line in zip(
        group_keys(frame, groups), _values(frame["metric"]), zip(*_columns(frame, names), strict=True), strict=True
    ):
        found.setdefault(key, {})[metric] = dict(zip(names, line, strict=True))
    return found


def as_csv(answer: Mapping[str, Any]) -> str:
    """Return the statistics of an answer as CSV: a line per group and metric."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_CSV)
    points = answer["results"]["percentiles"]
    for group, metrics in answer["results"]["basic_statistics"].items():
        for metric, found in metrics.items():
            if isinstance(found, Mapping):
                line = {**found, **points.get(group, {}).get(metric, {})}
                writer.writerow([group, metric, *("" if line.get(k) is None else line[k] for k in _CSV[2:])])
    return out.getvalue()


def _is_improvement(old: float | None, new: float | None, sign: int) -> bool | None:
    return None if old is None or new is None or not sign else bool((new - old) * sign > 0)


def _sense(sign: int, direction: str) -> str:
    if not sign:
        return "unknown"
    return "good" if (direction == "high") == (sign > 0) else "bad"


def _of_outcomes(passed: int, failed: int) -> Nested:
    """Return the statistics of zeros and ones, from their numbers."""
    n = passed + failed
    share = passed / n
    return {
        "count": n,
        "mean": share,
        "median": _outcome_quantile(passed, failed, 0.5),
        "min": 0.0 if failed else 1.0,
        "max": 1.0 if passed else 0.0,
        "std": math.sqrt(n / (n - 1) * share * (1 - share)) if n > 1 else None,
    }


def _outcome_quantile(passed: int, failed: int, share: float) -> float:
    """Return a quantile of zeros and ones, interpolated linearly."""
    return float(min(max(share * (passed + failed - 1) - (failed - 1), 0.0), 1.0)) if failed else 1.0


def _columns(frame: pd.DataFrame, names: Sequence[str]) -> list[list[Any]]:
    return [_values(frame[name]) if name in frame else [None] * len(frame) for name in names]


def _values(column: pd.Series[Any]) -> list[Any]:
    """Return the values of a column as JSON has them."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iub":
        return list(column.tolist())
    if isinstance(column.dtype, np.dtype) and column.dtype.kind == "f":
        finite = np.isfinite(column.to_numpy())
        return [value if there else None for value, there in zip(column.tolist(), finite.tolist(), strict=True)]
    if column.isna().any() or not pd.api.types.is_string_dtype(column.dtype):
        return [None if gone else plain(value) for value, gone in zip(column.tolist(), column.isna(), strict=True)]
    return list(column.tolist())
