"""What results are about: models, hardware and runs."""

# ruff: noqa: S608 - names of tables are constants, values are parameters

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.errors import SchemaError, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb

__all__ = ["HARDWARE", "MODELS", "Nouns", "runs_frame"]


class Nouns:
    """A table of things with an id: columns for what is asked often, and JSON for the rest.

    Parameters
    ----------
    table : str
        Name of the table.
    key : str
        Name of the column of ids.
    texts, numbers : tuple of str
        What has a column of its own.
    """

    def __init__(self, table: str, key: str, texts: tuple[str, ...], numbers: tuple[str, ...]) -> None:
        self.table = table
        self.key = key
        self.texts = texts
        self.numbers = numbers
        self.columns = (*texts, *numbers)

    def put(self, connection: duckdb.DuckDBPyConnection, identity: object, info: Mapping[str, Any]) -> None:
        """Add a thing, or what else is known of one; the caller holds the transaction.

        Raises
        ------
        SchemaError
            If the id is empty, or a value is of a kind that can't be kept.
        """
        name = self._id(identity)
        values = {column: self._value(column, info[column]) for column in self.columns if column in info}
        further = {str(k): v for k, v in info.items() if k not in self.columns}
        found = connection.execute(f"SELECT info FROM {self.table} WHERE {self.key} = ?", [name]).fetchall()
        kept = json.loads(found[0][0]) if found and found[0][0] else {}
        values["info"] = self._json({**kept, **further})
        if found:
            assigned = ", ".join(f"{column} = ?" for column in values)
            connection.execute(f"UPDATE {self.table} SET {assigned} WHERE {self.key} = ?", [*values.values(), name])
            return
        places = ", ".join("?" for _ in values)
        connection.execute(
            f"INSERT INTO {self.table} ({self.key}, {', '.join(values)}) VALUES (?, {places})", [name, *values.values()]
        )

    def get(self, connection: duckdb.DuckDBPyConnection, identity: object) -> dict[str, Any] | None:
        """Return what is known of a thing, or None where the store doesn't know it."""
        query = f"SELECT {', '.join(self.columns)}, info FROM {self.table} WHERE {self.key} = ?"
        found = connection.execute(query, [str(identity)]).fetchall()
        if not found:
            return None
        *values, further = found[0]
        known = dict(zip(self.columns, values, strict=True))
        known["name"] = known["name"] or str(identity)
        for column in self.numbers:
            if known[column] is not None and known[column].is_integer():
                known[column] = int(known[column])
        return {**known, **json.loads(further or "{}")}

    def frame(self, connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
        """Return all of them, with a column for each thing that is known of any."""
        columns = (self.key, *self.columns)
        rows = connection.execute(f"SELECT {', '.join(columns)}, info FROM {self.table} ORDER BY {self.key}").fetchall()
        frame = pd.DataFrame([row[:-1] for row in rows], columns=list(columns))
        frame = frame.astype(
            {self.key: "str", **dict.fromkeys(self.texts, "str"), **dict.fromkeys(self.numbers, float)}
        )
        frame["name"] = frame["name"].fillna(frame[self.key])
        further = pd.DataFrame([json.loads(row[-1] or "{}") for row in rows], index=frame.index)
        return frame.join(further[[name for name in further.columns if name not in frame]])

    def _id(self, identity: object) -> str:
        if isinstance(identity, bool) or not isinstance(identity, (str, int)) or not str(identity).strip():
            raise SchemaError(f"{self.key} is a text that isn't empty; got {quoted(identity)}")
        return str(identity)

    def _value(self, column: str, value: Any) -> Any:
        if value is None or (column in self.texts and isinstance(value, str)):
            return value
        try:
            return str(value) if column in self.texts else float(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise SchemaError(f"{column} of {self.table} is a number; got {quoted(value)}") from error

    def _json(self, further: Mapping[str, Any]) -> str:
        try:
            return json.dumps(further, default=_plain, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise SchemaError(f"what is known of {self.table} must fit into JSON: {error}") from error


MODELS: Final = Nouns("models", "model_id", ("name", "family", "modality"), ("parameters_million",))
HARDWARE: Final = Nouns("hardware", "hardware_id", ("name", "vendor", "type"), ("memory_gb",))


def runs_frame(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Return the runs, the earliest first."""
    names = ["run_id", "first_timestamp", "last_timestamp", "worker_id", "rows"]
    rows = connection.execute(
        f"SELECT {', '.join(names)} FROM runs ORDER BY first_timestamp NULLS LAST, run_id"
    ).fetchall()
    frame = pd.DataFrame(rows, columns=names)
    frame = frame.astype({"run_id": "str", "worker_id": "str", "rows": "int64"})
    for name in ("first_timestamp", "last_timestamp"):
        frame[name] = pd.to_datetime(frame[name]).astype("datetime64[us]").dt.tz_localize("UTC")
    return frame


def _plain(value: Any) -> Any:
    """Return a value of numpy or pandas, or a time, as JSON has it."""
    if hasattr(value, "item"):
        return value.item()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
