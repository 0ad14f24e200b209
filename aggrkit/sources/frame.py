"""A pandas DataFrame as a relation: its own buffers, handed to DuckDB without a copy wherever they allow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa

from aggrkit.errors import EmptySelectionError, SchemaError, listed
from aggrkit.model.metric import metric_by_name
from aggrkit.model.schema import Field, Kind, Role, recognise
from aggrkit.sources.engine import connect, reading
from aggrkit.sources.observations import ROW, Observations, Relation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibis.backends.duckdb import Backend
    from numpy.typing import NDArray

    from aggrkit.model.schema import Column, Schema

__all__ = ["both_sides", "frame_observations", "frame_relation"]

_SAMPLE = 100_000
_MIX = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)
_READABLE_SHARE = 0.5
_SPANS = {"ns": 1e9, "us": 1e6, "ms": 1e3, "s": 1.0, "min": 1 / 60, "h": 1 / 3600}


def frame_relation(frame: pd.DataFrame, backend: Backend | None = None, name: str = "observations") -> Relation:
    """Hand a frame to DuckDB.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row per observation; it is read, never changed. Named levels of the index count as columns.
    backend : ibis backend, optional
        Where to register it; a new database in memory by default.
    name : str, optional
        Name of the table there.

    Returns
    -------
    Relation

    Raises
    ------
    SchemaError
        If there are no columns, or two of the same name.
    EmptySelectionError
        If there are no rows.
    """
    columns = _named_columns(frame)
    if not len(frame):
        raise EmptySelectionError("the DataFrame has no rows")
    fields, arrays = [], {}
    taken: set[str] = {ROW}
    for label, series in columns.items():
        converted = _convert(series)
        if converted is None:
            note = f"of type {series.dtype}, which can't be analysed"
            fields.append(Field(label, Kind.OTHER, note=note))
            continue
        array, kind, text = converted
        physical = _free_name(label, taken)
        fields.append(Field(label, kind, physical, text))
        arrays[physical] = array
    arrays[ROW] = pa.array(np.arange(len(frame), dtype=np.int64))
    backend = backend or connect()
    with reading("DataFrame"):
        backend.con.register(name, pa.table(arrays))
        table = backend.table(name)
    return Relation(table, fields, "DataFrame", take=lambda rows: _rows_of(frame, rows))


def _rows_of(frame: pd.DataFrame, rows: Any) -> pd.DataFrame:
    foreign = {
        name: dtype.newbyteorder("=")
        for name, dtype in frame.dtypes.items()
        if isinstance(dtype, np.dtype) and dtype.byteorder == ">"  # pandas can't take rows of these
    }
    return (frame.astype(foreign) if foreign else frame).iloc[np.asarray(rows, dtype=np.int64)]


def frame_observations(
    frame: pd.DataFrame, given: Mapping[str, object], config: dict[str, str] | None = None
) -> Observations:
    """Return a frame's observations: its relation, with the roles of its columns.

    Parameters
    ----------
    frame : pandas.DataFrame
        One row per observation.
    given : mapping
        What the user said about the columns.
    config : dict, optional
        Settings of DuckDB.
    """
    relation = frame_relation(frame, connect(config=config))
    schema = recognise(relation.fields, given)
    identity = schema.role(Role.RESULT_ID)
    if identity is not None:
        unique = _has_unique_ids(_named_columns(frame)[identity.name])
    else:
        unique = schema.role(Role.TIMESTAMP) is not None and _surely_unique(frame, schema)
    return Observations(relation.table, schema, relation.label, unique, relation.take)


def both_sides(baseline: pd.DataFrame, current: Observations, given: Mapping[str, object], side: str) -> Observations:
    """Put a frame beside other observations, with a column that says which side a row is of.

    Parameters
    ----------
    baseline : pandas.DataFrame
        The other side.
    current : Observations
        This side; its engine must be DuckDB.
    given : mapping
        What the user said about the columns.
    side : str
        Name of the new column, which holds "baseline" or "current".

    Returns
    -------
    Observations
        With the columns that both sides have.
    """
    name = ibis.util.gen_name("aggrkit_baseline")  # an earlier answer may still need its own baseline
    relation = frame_relation(baseline, current.table.get_backend(), name)
    schema = recognise(relation.fields, given)
    mine, theirs = ({column.name: column for column in part.columns} for part in (current.schema, schema))
    fields: list[Field] = []
    columns: tuple[dict[str, ibis.Column], dict[str, ibis.Column]] = ({}, {})
    for name in mine:
        if name in theirs and Kind.OTHER not in (mine[name].kind, theirs[name].kind):
            pair = (relation.table[theirs[name].field], current.table[mine[name].field])
            field = _common(mine[name], theirs[name], any(column.type().is_string() for column in pair))
            fields.append(field)
            for side_columns, column in zip(columns, pair, strict=True):
                side_columns[name] = _plain(column, text=field.text or field.kind is Kind.TEXT)
    if not fields:
        names = f"here {listed(mine)}, in the baseline {listed(theirs)}"
        raise SchemaError(f"the two have no column in common that can be used: {names}")
    tables = [
        table.select(**selected, **{side: ibis.literal(label)})
        for table, selected, label in zip(
            (relation.table, current.table), columns, ("baseline", "current"), strict=True
        )
    ]
    merged = recognise([*fields, Field(side, Kind.TEXT)], dict(given))
    return Observations(ibis.union(*tables), merged, f"{current.label} against a DataFrame")


def _common(mine: Column, theirs: Column, text: bool) -> Field:
    """Return a field that holds the values of both sides, as text where their types differ."""
    kinds = {mine.kind, theirs.kind}
    if len(kinds) == 1:
        return Field(mine.name, mine.kind, text=text and mine.kind is not Kind.TEXT)
    if Kind.TIME in kinds and Kind.TEXT not in kinds:
        raise SchemaError(
            f"the column {mine.name!r} holds times on one side and {min(kinds - {Kind.TIME})}s on the other"
        )
    if Role.METRIC in (mine.role, theirs.role):
        return Field(mine.name, Kind.BOOLEAN if Kind.BOOLEAN in kinds else Kind.NUMBER, text=True)
    return Field(mine.name, Kind.TEXT)


def _plain(column: ibis.Column, *, text: bool) -> ibis.Column:
    """Widen a column to the common type of its kind, or to text, so that two sources fit together."""
    dtype = column.type()
    if text and dtype.is_floating():
        whole = column.try_cast("int64")
        return ibis.ifelse(column == whole, whole.cast("string"), column.cast("string"))
    if text or not (dtype.is_boolean() or dtype.is_numeric() or dtype.is_temporal()):
        return column.cast("string")
    if dtype.is_boolean():
        return column
    return column.cast("float64" if dtype.is_numeric() else "timestamp")


def _has_unique_ids(ids: pd.Series[Any]) -> bool:
    """Say whether every row has an id, as text or as a whole number, that no other row has."""
    known = pd.api.types.is_string_dtype(ids.dtype) or pd.api.types.is_integer_dtype(ids.dtype)
    if not known or ids.hasnans or (ids.dtype == object and pd.api.types.infer_dtype(ids) != "string"):
        return False
    return ids.is_unique


def _surely_unique(frame: pd.DataFrame, schema: Schema) -> bool:
    """Say whether it is certain that no two rows of a frame are equal in all their numbers and times.

    A hash of the two columns that vary most, and of two more where that doesn't suffice, is spread over a table; rows
    that share a place there and the whole hash may be equal, all others can't. Linear in time, and no sorting.

    Parameters
    ----------
    frame : pandas.DataFrame
        The observations.
    schema : Schema
        Its columns.

    Returns
    -------
    bool
        False means "perhaps not": an exact look is needed.
    """
    columns = _named_columns(frame)
    words = [
        _words(columns[c.name]) for c in schema.columns if c.kind in (Kind.NUMBER, Kind.TIME) and c.name in columns
    ]
    usable = [word for word in words if word is not None]
    if not usable:
        return False
    ranked = sorted(usable, key=lambda word: -len(np.unique(word[:_SAMPLE])))
    widths = sorted({min(2, len(ranked)), min(4, len(ranked))})
    return any(_no_two_equal(ranked[:width]) for width in widths)


def _named_columns(frame: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    if isinstance(frame.columns, pd.MultiIndex):
        names = ["_".join(str(part) for part in label if str(part)) for label in frame.columns]
    else:
        names = [str(label) for label in frame.columns]
    if not names:
        raise SchemaError("the DataFrame has no columns")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise SchemaError(
            f"column names must be unique, but these are there more than once: {listed(doubled)}; rename or drop them"
        )
    columns: dict[str, pd.Series[Any]] = {}
    for place, level in enumerate(frame.index.names):
        if level is not None and str(level) not in names:
            columns[str(level)] = pd.Series(frame.index.get_level_values(place), index=range(len(frame)))
    columns.update((name, frame.iloc[:, place]) for place, name in enumerate(names))
    return columns


def _free_name(label: str, taken: set[str]) -> str:
    """Return a name that no other column has, nor the pipeline's own; DuckDB doesn't tell letter case apart."""
    plain = label.replace("\0", "") or "column"
    name, count = f"column{plain}" if plain.startswith("__") else plain, 1
    while name.casefold() in taken:
        count += 1
        name = f"{plain}__{count}"
    taken.add(name.casefold())
    return name


def _convert(series: pd.Series[Any]) -> tuple[Any, Kind, bool] | None:
    """Return a column as Arrow, its kind, and whether it is text to be read as numbers; None if it can't be used."""
    dtype = series.dtype
    for matches, convert in _CONVERTERS:
        if matches(dtype):
            return convert(series)
    return None


def _number(series: pd.Series[Any]) -> tuple[Any, Kind, bool]:
    values = series.to_numpy()
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    if values.dtype == np.longdouble:
        values = values.astype(np.float64)
    if values.dtype.byteorder == ">" or values.strides[0] < 0:
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    return pa.array(values, from_pandas=True), Kind.NUMBER, False


def _boolean(series: pd.Series[Any]) -> tuple[Any, Kind, bool]:
    return pa.array(series, from_pandas=True), Kind.BOOLEAN, False


def _nullable_number(series: pd.Series[Any]) -> tuple[Any, Kind, bool]:
    return pa.array(series, from_pandas=True), Kind.NUMBER, False


def _text(series: pd.Series[Any]) -> tuple[Any, Kind, bool]:
    return pa.array(series, from_pandas=True), Kind.TEXT, False


def _time(series: pd.Series[Any]) -> tuple[Any, Kind, bool]:
    if series.dt.tz is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    return pa.array(series.to_numpy(), from_pandas=True), Kind.TIME, False


def _span(series: pd.Series[Any]) -> tuple[Any, Kind, bool]:
    in_unit = _SPANS.get(metric_by_name(str(series.name)).unit, 1.0)  # "latency_ms" holds milliseconds
    return pa.array((series.dt.total_seconds() * in_unit).to_numpy(), from_pandas=True), Kind.NUMBER, False


def _period(series: pd.Series[Any]) -> tuple[Any, Kind, bool]:
    return _time(series.dt.to_timestamp())


def _category(series: pd.Series[Any]) -> tuple[Any, Kind, bool] | None:
    categories = series.cat.categories
    inner = _convert(pd.Series(categories)) if len(categories) else None
    if inner is None:
        return _converted_text(series.astype(object))
    array, kind, text = inner
    if kind is not Kind.TEXT or text:
        return _convert(series.astype(categories.dtype if series.notna().all() else object))
    codes = series.cat.codes.to_numpy()
    indices = pa.array(codes.astype(np.int32, copy=False), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, array.cast(pa.string())), Kind.TEXT, False


def _sparse(series: pd.Series[Any]) -> tuple[Any, Kind, bool] | None:
    return _convert(pd.Series(np.asarray(series.array), index=series.index))


def _arrow(series: pd.Series[Any]) -> tuple[Any, Kind, bool] | None:
    array = pa.chunked_array(series.array.__arrow_array__())
    kind = array.type
    if pa.types.is_boolean(kind):
        return array, Kind.BOOLEAN, False
    if pa.types.is_decimal(kind):
        return array.cast(pa.float64()), Kind.NUMBER, False
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return array.cast(pa.float32()) if pa.types.is_float16(kind) else array, Kind.NUMBER, False
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        return array, Kind.TEXT, False
    if pa.types.is_timestamp(kind):
        return array.cast(pa.timestamp(kind.unit)) if kind.tz else array, Kind.TIME, False
    if pa.types.is_date(kind):
        return array.cast(pa.timestamp("us")), Kind.TIME, False
    if pa.types.is_duration(kind):
        return _span(series.astype("timedelta64[us]"))
    return None


def _object(series: pd.Series[Any]) -> tuple[Any, Kind, bool] | None:
    """Classify by looking at every value: engines that sample the first thousand go wrong on the rest."""
    inferred = pd.api.types.infer_dtype(series, skipna=True)
    if inferred == "empty":
        return pa.nulls(len(series), pa.float64()), Kind.NUMBER, False
    if inferred == "string":
        return _read_text(series)
    if inferred == "boolean":
        return pa.array(series.tolist(), pa.bool_(), from_pandas=True), Kind.BOOLEAN, False
    if inferred in ("integer", "floating", "mixed-integer-float", "decimal"):
        return pa.array(_floats(series), from_pandas=True), Kind.NUMBER, False
    if inferred in ("datetime", "datetime64", "date"):
        return _time(pd.to_datetime(series, utc=True, errors="coerce"))
    if inferred in ("timedelta", "timedelta64"):
        return _span(pd.to_timedelta(series))
    if inferred in ("mixed-integer", "mixed", "categorical"):
        return _converted_text(series)
    return None


def _floats(series: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """Return Python numbers as float64; an integer beyond all floats is infinite, a signalling NaN is missing."""
    try:
        return series.astype("float64").to_numpy()
    except (OverflowError, TypeError, ValueError):
        return np.array([_float(value) for value in series], dtype=np.float64)


def _float(value: Any) -> float:
    try:
        return np.nan if pd.isna(value) else float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf
    except (ArithmeticError, TypeError, ValueError):
        return np.nan


def _read_text(series: pd.Series[Any]) -> tuple[Any, Kind, bool]:
    return _text_array(series.tolist()), Kind.TEXT, False


def _text_array(values: list[Any]) -> pa.Array:
    """Return text as Arrow; what isn't Unicode is escaped."""
    try:
        return pa.array(values, pa.string(), from_pandas=True)
    except UnicodeEncodeError:
        escaped = [
            value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else None for value in values
        ]
        return pa.array(escaped, pa.string())


def _converted_text(series: pd.Series[Any]) -> tuple[Any, Kind, bool] | None:
    """Take a column of mixed values as numbers stored as text where most can be read, else as text.

    Where most are neither numbers nor text (lists, dictionaries, ...) it can't be used.
    """
    present = [value for value, gone in zip(series.tolist(), series.isna(), strict=True) if not gone]
    plain = sum(isinstance(value, (str, int, float, bool, np.generic)) for value in present)
    if plain < _READABLE_SHARE * len(present):
        return None
    array = _text_array([None if gone else str(value) for value, gone in zip(series, series.isna(), strict=True)])
    numbers = pd.to_numeric(pd.Series([str(value) for value in present], dtype=object), errors="coerce")
    readable = numbers.notna().mean() if present else 0.0
    return (array, Kind.NUMBER, True) if readable >= _READABLE_SHARE else (array, Kind.TEXT, False)


def _words(series: pd.Series[Any]) -> NDArray[np.uint64] | None:
    """Return the bits of a numeric or time column as 64-bit words, or None where that would need a conversion."""
    dtype = series.dtype
    if not isinstance(dtype, np.dtype) or dtype.kind not in "iufMm" or dtype.itemsize not in (4, 8):
        return None
    values = series.to_numpy()
    if dtype.kind == "f":
        values = values + dtype.type(0.0)  # -0.0 and 0.0 are equal
    if dtype.itemsize == 4:
        return np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    return np.ascontiguousarray(values).view(np.uint64)


def _no_two_equal(words: list[NDArray[np.uint64]]) -> bool:
    mixed = words[0] * np.uint64(_MIX[0])
    for word in words[1:]:
        mixed ^= word
        mixed *= np.uint64(_MIX[1])
        mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(_MIX[0])
    bits = int(np.clip(np.ceil(np.log2(len(mixed) + 1)) + 3, 10, 27))
    place = (mixed >> np.uint64(64 - bits)).view(np.int64)
    last = np.empty(1 << bits, dtype=np.int64 if len(mixed) >= 2**31 else np.int32)
    rows = np.arange(len(mixed), dtype=last.dtype)
    last[place] = rows
    winner = last[place]
    losers = np.flatnonzero(winner != rows)
    if (mixed[winner[losers]] == mixed[losers]).any():
        return False
    rest = np.sort(mixed[losers])
    return not (rest[1:] == rest[:-1]).any()


def _is(kinds: str) -> Callable[[Any], bool]:
    return lambda dtype: isinstance(dtype, np.dtype) and dtype.kind in kinds


_CONVERTERS: list[tuple[Callable[[Any], bool], Callable[[Any], tuple[Any, Kind, bool] | None]]] = [
    (_is("iuf"), _number),
    (_is("b"), _boolean),
    (_is("O"), _object),
    (lambda dtype: isinstance(dtype, pd.StringDtype), _text),
    (lambda dtype: isinstance(dtype, pd.CategoricalDtype), _category),
    (lambda dtype: isinstance(dtype, pd.BooleanDtype), _boolean),
    (lambda dtype: isinstance(dtype, pd.SparseDtype), _sparse),
    (lambda dtype: isinstance(dtype, pd.ArrowDtype), _arrow),
    (lambda dtype: isinstance(dtype, pd.PeriodDtype), _period),
    (pd.api.types.is_datetime64_any_dtype, _time),
    (pd.api.types.is_timedelta64_dtype, _span),
    (lambda dtype: pd.api.types.is_numeric_dtype(dtype) and not pd.api.types.is_complex_dtype(dtype), _nullable_number),
]
