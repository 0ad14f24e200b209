"""Answers that are kept: aggregates and anomalies, by the selection that asked for them."""

# ruff: noqa: S608 - names go through `identifier`, values are parameters

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.errors import SchemaError, listed
from aggrkit.model.answer import COLUMNS
from aggrkit.model.selection import Selection
from aggrkit.store.layout import columns_of, identifier

if TYPE_CHECKING:
    import duckdb

__all__ = ["AGGREGATES", "ANOMALIES", "StoredAnswers"]

_STORED: Final = "__aggrkit_answer"


class StoredAnswers:
    """A table of tidy frames, one per selection.

    Parameters
    ----------
    table : str
        Name of the table.
    fixed : tuple of str
        The columns that each frame has after those of its level.
    """

    def __init__(self, table: str, fixed: tuple[str, ...]) -> None:
        self.table = table
        self.fixed = fixed

    def put(
        self,
        connection: duckdb.DuckDBPyConnection,
        frame: pd.DataFrame,
        selection: Selection | None,
        result_type: str | None,
    ) -> int:
        """Replace what was kept for a selection; the caller holds the transaction.

        Returns
        -------
        int
            How many rows are kept now.

        Raises
        ------
        SchemaError
            If it is no such frame.
        """
        if not isinstance(frame, pd.DataFrame) or "metric" not in frame.columns or not frame.columns.is_unique:
            raise SchemaError(f"a tidy frame with the columns {listed(self.fixed)} is kept, after those of its level")
        asked = selection or Selection()
        kind = result_type or asked.result_type
        text = asked.to_json()
        connection.execute(
            f"DELETE FROM {self.table} WHERE selection = ? AND result_type IS NOT DISTINCT FROM ?", [text, kind]
        )
        if frame.empty:
            return 0
        names = [str(name) for name in frame.columns]
        first = names.index("metric")
        level = asked.level if isinstance(asked.level, str) else json.dumps(list(asked.level))
        own = [name for name in names[first:] if name in self.fixed]
        further = [name for name in names[first:] if name not in self.fixed]
        kept = pd.DataFrame(
            {
                "selection": text,
                "result_type": pd.Series([kind] * len(frame), dtype="str"),
                "level": level,
                "group": _as_json(frame.iloc[:, :first]),
                "further": _as_json(frame[further]),
            }
        )
        types = columns_of(connection, self.table)
        for name in own:
            values = frame[name].reset_index(drop=True)
            if types[name] == "DOUBLE":
                kept[name] = pd.to_numeric(values, errors="coerce").astype(float)
            else:
                kept[name] = values.map(lambda value: None if pd.isna(value) else str(value)).astype("str")
        columns = ", ".join(identifier(name) for name in kept.columns)
        connection.register(_STORED, kept)
        connection.execute(f"INSERT INTO {self.table} ({columns}, computed_at) SELECT {columns}, now() FROM {_STORED}")
        connection.unregister(_STORED)
        return len(kept)

    def get(
        self, connection: duckdb.DuckDBPyConnection, selection: Selection | None, result_type: str | None
    ) -> pd.DataFrame:
        """Return what is kept, as it was given: the columns of the level first; all selections if none is named."""
        tests, values = ["true"], []
        if selection is not None:
            tests, values = [*tests, "selection = ?"], [selection.to_json()]
        kind = result_type or (selection.result_type if selection is not None else None)
        if kind is not None:
            tests, values = [*tests, "result_type = ?"], [*values, kind]
        names = ["selection", "result_type", "group", *self.fixed, "further", "computed_at"]
        query = (
            f"SELECT {', '.join(map(identifier, names))} FROM {self.table} WHERE {' AND '.join(tests)} ORDER BY rowid"
        )
        rows = connection.execute(query, values).fetchall()
        frame = pd.DataFrame(rows, columns=names)
        types = columns_of(connection, self.table)
        frame = frame.astype({name: float if types[name] == "DOUBLE" else "str" for name in self.fixed})
        for name in ("n", "missing"):
            if name in frame and frame[name].notna().all():
                frame[name] = frame[name].astype("int64")
        group = pd.DataFrame([json.loads(text) for text in frame["group"]], index=frame.index)
        more = pd.DataFrame([json.loads(text) for text in frame["further"]], index=frame.index)
        moments = pd.to_datetime(frame["computed_at"]).astype("datetime64[us]").dt.tz_localize("UTC")
        said = {} if selection is not None else {"selection": frame["selection"], "result_type": frame["result_type"]}
        parts = [pd.DataFrame(said, index=frame.index), group, frame[list(self.fixed)], more]
        return pd.concat([*parts, moments.rename("computed_at")], axis=1)


def _as_json(frame: pd.DataFrame) -> pd.Series[Any]:
    """Return each row as JSON text, missing values as null."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return pd.Series([json.dumps({str(k): _plain(v) for k, v in row.items()}) for row in rows], dtype="str")


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value


AGGREGATES: Final = StoredAnswers("aggregates", COLUMNS["stats"])
ANOMALIES: Final = StoredAnswers("anomalies", COLUMNS["anomalies"])
