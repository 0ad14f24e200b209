"""Results as programs hand them over, dictionaries of one test each, as a frame with one spelling per column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pandas as pd

from aggrkit.errors import SchemaError, quoted
from aggrkit.model.metric import METRIC_SPELLINGS, RESULT_TYPES
from aggrkit.model.schema import SPELLINGS, Role

__all__ = ["IDENTIFIERS", "STORE_MARK", "as_frame", "one_spelling"]

IDENTIFIERS: Final[dict[Role, str]] = {
    Role.RESULT_ID: "result_id",
    Role.RUN: "run_id",
    Role.TIMESTAMP: "timestamp",
    Role.MODEL: "model_id",
    Role.HARDWARE: "hardware_id",
    Role.WORKER: "worker_id",
    Role.TASK_TYPE: "task_type",
    Role.RESULT_TYPE: "result_type",
}
"""The name under which each role is looked for first, and kept."""

STORE_MARK: Final = "aggrkit_meta"
"""The table by which a store of aggrkit is known."""

_NESTED: Final = ("metrics", "result", "results", "parameters", "config", "environment", "details")


def as_frame(results: object, *, spread: bool = True) -> pd.DataFrame:
    """Return results as a frame, a row each.

    Parameters
    ----------
    results : pandas.DataFrame or iterable of mappings
        Results; dictionaries within one (under "metrics", "parameters", ...) are spread out, keys that some results
        lack are missing there.
    spread : bool, optional
        Whether they are spread out.

    Returns
    -------
    pandas.DataFrame
        A frame of its own; that of the caller is never changed.

    Raises
    ------
    SchemaError
        If something is no mapping.
    """
    if isinstance(results, pd.DataFrame):
        return results.copy(deep=False)
    if isinstance(results, (str, bytes, Mapping)) or not isinstance(results, Iterable):
        raise SchemaError(f"results are a DataFrame or a list of dictionaries; got {quoted(results)}")
    rows = list(results)
    if not set(map(type, rows)) <= {dict}:
        for place, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise SchemaError(f"a result is a dictionary; result {place} is {quoted(row)}")
    frame = pd.DataFrame(rows)
    nested = [
        name
        for name in _NESTED
        if spread and name in frame and any(isinstance(value, Mapping) for value in frame[name])
    ]
    return pd.DataFrame([_spread(row, nested) for row in rows]) if nested else frame


def one_spelling(frame: pd.DataFrame, *, rename: bool = False, result_type: str | None = None) -> pd.DataFrame:
    """Bring together what is spelt in several ways within one set of results.

    Parameters
    ----------
    frame : pandas.DataFrame
        Results, as `as_frame` returns them.
    rename : bool, optional
        Whether columns get the one name of their role or metric (`IDENTIFIERS`, `RESULT_TYPES`) in any case; otherwise
        they keep the name that they have where there is only one.
    result_type : str, optional
        The type of the results, which tells what "success" means.

    Returns
    -------
    pandas.DataFrame
        The frame with one column per role and metric: the first spelling, its gaps (None, NaN, "") filled from the
        others. The other spellings of a role stay beside it where they say something else.
    """
    columns = {str(name).casefold(): name for name in reversed(frame.columns)}
    for role, wanted in IDENTIFIERS.items():
        spellings = dict.fromkeys((wanted, *SPELLINGS[role]))
        there = [columns[name] for name in spellings if name in columns]
        frame = _together(frame, there, wanted, rename=rename, keep=True)
    for wanted, spellings_of_metric in _metric_spellings(result_type).items():
        there = [columns[name] for name in spellings_of_metric if name in columns]
        frame = _together(frame, there, wanted, rename=rename, keep=False)
    return frame


def _metric_spellings(result_type: str | None) -> dict[str, list[str]]:
    known = [metric.name for metrics in RESULT_TYPES.values() for metric in metrics]
    found = {name: [name] for name in known}
    for spelling, wanted in METRIC_SPELLINGS.items():
        found[wanted].append(spelling)
    if result_type == "web_platform":
        found["success_value"] += found.pop("passed")
    return found


def _together(frame: pd.DataFrame, there: list[Any], wanted: str, *, rename: bool, keep: bool) -> pd.DataFrame:
    if not there:
        return frame
    first = there[0]
    name = wanted if rename or len(there) > 1 else first
    if len(there) == 1:
        return frame if first == name else frame.rename(columns={first: name})
    values = frame[first]
    for other in there[1:]:
        gaps = _is_gap(values)
        if not gaps.any():
            break
        values = values.astype(object).where(~gaps, frame[other].astype(object))
    repeated = [other for other in there if not keep or (frame[other].eq(values) | _is_gap(frame[other])).all()]
    place = list(frame.columns).index(first)
    frame = frame.drop(columns=[other for other in repeated if other in frame])
    if name in frame:
        frame = frame.drop(columns=name)
    frame.insert(min(place, len(frame.columns)), name, values)
    return frame


def _is_gap(values: pd.Series[Any]) -> pd.Series[bool]:
    gaps: pd.Series[bool] = values.isna()
    return gaps | values.eq("") if values.dtype == object or pd.api.types.is_string_dtype(values) else gaps


def _spread(row: Mapping[str, Any], nested: list[str]) -> dict[str, Any]:
    flat = {key: value for key, value in row.items() if not (key in nested and isinstance(value, Mapping))}
    for name in nested:
        inner = row.get(name)
        if isinstance(inner, Mapping):
            flat.update((key, value) for key, value in inner.items() if key not in flat)
    return flat
