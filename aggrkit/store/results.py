"""Results as they come in: one frame per result type, with names that a table can have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.errors import SchemaError, UnknownNameError, listed
from aggrkit.model.metric import METRIC_SPELLINGS, RESULT_TYPES
from aggrkit.sources.results import as_frame, one_spelling
from aggrkit.store.layout import KEY

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["as_text", "by_result_type", "known_type"]

_RESULT_TYPE: Final = "result_type"
_LONGEST_NAME: Final = 1000


def by_result_type(results: object, result_type: str | None) -> dict[str, pd.DataFrame]:
    """Return results by their type, each with one spelling per column.

    Parameters
    ----------
    results : pandas.DataFrame or iterable of mappings
        Results; see `aggrkit.sources.results.as_frame`.
    result_type : str or None
        Their type; else a column "result_type" says it, or the metrics do.

    Returns
    -------
    dict of str to pandas.DataFrame
        Empty where there are no rows.

    Raises
    ------
    SchemaError
        If the type can't be told, or a column can't be stored.
    UnknownNameError
        If there is no such type.
    """
    given = None if result_type is None else known_type(result_type)
    frame = _plain(as_frame(results))
    if not len(frame):
        return {}
    column = next((name for name in frame.columns if name.casefold() == _RESULT_TYPE), None)
    if column is not None and frame[column].isna().all():
        frame, column = frame.drop(columns=column), None
    if column is None:
        found = given or _told_by_metrics(frame)
        return {found: _checked(one_spelling(frame, rename=True, result_type=found))}
    kinds = _kinds(frame[column], given)
    frame = frame.drop(columns=column)
    parts = {kind: frame[(kinds == kind).to_numpy()] for kind in RESULT_TYPES}
    return {
        kind: _checked(one_spelling(part, rename=True, result_type=kind)) for kind, part in parts.items() if len(part)
    }


def known_type(result_type: object) -> str:
    """Return a result type that exists.

    Raises
    ------
    UnknownNameError
        If there is none of this name.
    """
    if not isinstance(result_type, str) or result_type not in RESULT_TYPES:
        raise UnknownNameError.of("result type", result_type, RESULT_TYPES)
    return result_type


def as_text(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """Return a frame in which columns of lists, dictionaries and other things are JSON text."""
    changed: dict[str, Any] = {}
    for name in names:
        values = [None if _is_missing(value) else _json(value) for value in frame[name].tolist()]
        changed[name] = pd.Series(values, index=frame.index, dtype=object)
    return frame.assign(**changed)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with plain text as names, and the named levels of its index as columns."""
    levels = [(place, str(name)) for place, name in enumerate(frame.index.names) if name is not None]
    if isinstance(frame.columns, pd.MultiIndex):
        names = ["_".join(str(part) for part in label if str(part)) for label in frame.columns]
    else:
        names = [str(label) for label in frame.columns]
    columns = {name: frame.iloc[:, place].reset_index(drop=True) for place, name in enumerate(names)}
    if len(columns) < len(names):
        doubled = sorted({name for name in names if names.count(name) > 1})
        raise SchemaError(f"columns are there more than once: {listed(doubled)}; rename or drop them")
    index = {name: pd.Series(frame.index.get_level_values(place)) for place, name in levels if name not in names}
    if not columns and not index and len(frame):
        raise SchemaError("the results have no columns")
    return pd.DataFrame({**index, **columns}, index=range(len(frame)))


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    """Refuse names that no table can have."""
    seen: dict[str, str] = {}
    for name in map(str, frame.columns):
        if not name.strip():
            raise SchemaError("a column has no name; give it one, or drop it")
        if "\0" in name or len(name) > _LONGEST_NAME or not _is_unicode(name):
            raise SchemaError(f"a column can't be stored under the name {name[:50]!r}; rename it")
        folded = name.casefold()
        if folded in (KEY, "__aggrkit_row"):
            raise SchemaError(f"{name!r} is a name that the store needs for itself; rename the column")
        if folded in seen:
            raise SchemaError(
                f"the columns {seen[folded]!r} and {name!r} differ in letter case only, which a table can't tell apart;"
                " rename one of them"
            )
        seen[folded] = name
    return frame


def _kinds(values: pd.Series[Any], given: str | None) -> pd.Series[Any]:
    """Read a column of result types."""
    said = values.map(lambda value: None if _is_missing(value) else str(value).strip().casefold(), na_action=None)
    said = said.astype(object).where(said.notna(), None).replace({"": None, "web platform": "web_platform"})
    said = said.replace({"web-platform": "web_platform", "webplatform": "web_platform"})
    unknown = sorted({str(kind) for kind in said.dropna().unique()} - set(RESULT_TYPES))
    if unknown:
        raise SchemaError(
            f"the column 'result_type' says {listed(unknown)}; the result types are {listed(RESULT_TYPES)}"
        )
    if given is not None and not said.dropna().eq(given).all():
        others = sorted(set(said.dropna()) - {given})
        raise SchemaError(
            f"result_type={given!r} was given, but the column 'result_type' also says {listed(others)};"
            " leave out the argument, or drop the column"
        )
    if given is None and said.isna().any():
        raise SchemaError(
            f"{int(said.isna().sum())} of {len(said)} results don't say their result type; it is one of"
            f" {listed(RESULT_TYPES)}"
        )
    return said.fillna(given) if given is not None else said


def _told_by_metrics(frame: pd.DataFrame) -> str:
    """Return the one result type that the metrics belong to; "passed" says it only where nothing else does."""
    names = {METRIC_SPELLINGS.get(name.casefold(), name.casefold()) for name in frame.columns}
    found = {
        kind: [metric.name for metric in metrics if metric.name in names] for kind, metrics in RESULT_TYPES.items()
    }
    telling = {kind: names for kind, names in found.items() if set(names) - {"passed"}}
    telling = telling or {kind: names for kind, names in found.items() if names}
    if len(telling) == 1:
        return next(iter(telling))
    if telling:
        why = "; ".join(f"{listed(names)} is of {kind}" for kind, names in telling.items())
        why = f"their metrics are of several types: {why}"
    else:
        why = f"none of their columns is a metric of one type: {listed(frame.columns)}"
    raise SchemaError(
        f"it can't be told which type the results are, for {why}. Say it: result_type= one of {listed(RESULT_TYPES)}"
    )


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _json(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, sort_keys=not isinstance(value, dict))
    return text.encode("utf-8", "backslashreplace").decode()
