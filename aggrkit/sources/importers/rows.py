"""Observations on their way from a file into a frame."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Row", "arguments", "extras", "frame_of", "from_epoch_ms", "identity", "numbered", "numeric", "plain_text"]

Row: TypeAlias = "dict[str, Any]"

_FIRST: Final = (
    *("result_id", "result_type", "run_id", "timestamp", "model", "test_case", "suite", "hardware", "worker"),
    *("platform", "commit", "branch", "repeat", "attempt", "status", "reason"),
)
_LAST: Final = ("loops", "source_file", "file_modified")
_TIMES: Final = ("timestamp", "measured_at", "file_modified")
_TAKEN: Final = frozenset({*_FIRST, *_LAST, *_TIMES, "return_code", "threads", "task_type"})
_ID_LENGTH: Final = 24


def numeric(value: object) -> float:
    """Return a number, NaN for what is none; an integer beyond all floats is infinite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return np.nan
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf


def plain_text(value: object) -> str | None:
    """Return a value as text on one line, None for what says nothing."""
    if value is None or isinstance(value, (dict, list)):
        return None
    return " ".join(str(value).split()) or None


def from_epoch_ms(value: object) -> datetime | None:
    """Return the moment that is so many milliseconds after the beginning of 1970, None where there is none."""
    try:
        return datetime.fromtimestamp(numeric(value) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def identity(*parts: object) -> str:
    """Return a short name that tells apart what differs in any part."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:_ID_LENGTH]


def arguments(given: Mapping[str, object]) -> dict[str, str | None]:
    """Return the parameters of a test as columns ``arg_<name>``.

    They are text in any case: a parameter that is 8 in one file and "all" in another has one column.
    """
    found = {}
    for name, value in given.items():
        is_nested = isinstance(value, (dict, list))
        said = json.dumps(value, sort_keys=True, default=str) if is_nested else plain_text(value)
        found[f"arg_{column_name(name)}"] = said
    return found


def column_name(name: object) -> str:
    """Return a name that can be a column's: letters, digits and underscores."""
    return re.sub(r"\W+", "_", str(name).replace("%", "percent")).strip("_") or "value"


def extras(given: Mapping[str, object], prefix: str) -> Row:
    """Return what a user noted beside a result, under its own name, or with a prefix where that has a meaning here."""
    found: Row = {}
    for name, value in given.items():
        key = column_name(name)
        if key.casefold() in _TAKEN or key.casefold().startswith("arg_"):
            key = f"{prefix}_{key}"
        if isinstance(value, bool) or (isinstance(value, str) and value.strip()):
            found[key] = value
        elif not np.isnan(number := numeric(value)):
            found[key] = number
    return found


def numbered(rows: Iterable[Row], column: str, by: Sequence[str] = ("test_case",)) -> list[Row]:
    """Return rows with a number among those of the same test, from 0, in their order."""
    seen: Counter[tuple[Any, ...]] = Counter()
    done = []
    for row in rows:
        key = tuple(row.get(name) for name in by)
        done.append({**row, column: seen[key]})
        seen[key] += 1
    return done


def frame_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as a frame: times in UTC, who and where first, and no column that holds nothing."""
    frame = pd.DataFrame(list(rows))
    for name in _TIMES:
        if name in frame:
            read = pd.to_datetime(frame[name], utc=True, errors="coerce", format="ISO8601")
            frame[name] = read.astype("datetime64[us, UTC]")
    frame = frame.dropna(axis="columns", how="all")
    order = [name for name in _FIRST if name in frame]
    order += [name for name in frame.columns if name not in {*_FIRST, *_LAST}]
    order += [name for name in _LAST if name in frame]
    return _settled(frame[order])


def _settled(frame: pd.DataFrame) -> pd.DataFrame:
    """Make text of columns that hold text in some rows and numbers in others."""
    for name in frame.columns:
        kinds = {type(value) for value in frame[name].dropna()} if frame[name].dtype == object else set()
        if str in kinds and len(kinds) > 1:
            frame[name] = frame[name].map(plain_text, na_action="ignore")
    return frame
