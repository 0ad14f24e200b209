"""A gate as JSON, and the schema of that."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from aggrkit.findings.gate.judging import records_of
from aggrkit.model.selection import Selection
from aggrkit.wire import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrkit.findings.gate.gate import Gate

__all__ = ["as_json", "gate_schema"]

FORMAT: Final = "aggrkit gate 1"
_VALUES: Final = (
    *("n_baseline", "n_current", "runs_baseline", "runs_current", "baseline", "current", "change_pct", "ci_lower"),
    *("ci_upper", "effect_size", "pvalue", "pvalue_adjusted", "verdict", "runs_needed", "note", "outcome", "why"),
)


@cache
def gate_schema() -> Mapping[str, Any]:
    """Return the JSON schema (draft 2020-12) of `Gate.to_json`, which is also what `aggrkit check --json` writes.

    Examples
    --------
    >>> from aggrkit.findings.gate import gate_schema
    >>> gate_schema()["title"]
    'Gate of aggrkit'
    """
    text = files("aggrkit.findings.gate").joinpath("gate.schema.json").read_text("utf-8")
    read: Mapping[str, Any] = json.loads(text)
    return read


def as_json(gate: Gate, indent: int | None) -> str:
    """Return a gate as JSON text.

    Parameters
    ----------
    gate : Gate
        The gate.
    indent : int or None
        By how much lines are indented.
    """
    meta = {name: value for name, value in gate.meta.items() if name != "selection"}
    selection = gate.meta.get("selection")
    content = {
        "format": FORMAT,
        "passed": gate.passed,
        "exit_code": gate.exit_code,
        "headline": gate.headline,
        "reasons": gate.reasons,
        "notes": gate.notes,
        "counts": dict(gate.counts),
        "rules": gate.rules.as_dict(),
        "comparison": meta | ({"selection": selection.as_dict()} if isinstance(selection, Selection) else {}),
        "method": gate.method,
        "incidents": [_incident(incident) for incident in gate.incidents],
        "lines": [_line(line, gate) for line in records_of(gate._lines)],
    }
    return json.dumps(_encodable(plain(content)), indent=indent, allow_nan=False, ensure_ascii=False)


def _incident(incident: Any) -> dict[str, Any]:
    names = ("verdict", "where", "lines", "of", "change_pct", "smallest_pct", "largest_pct", "words")
    return {name: getattr(incident, name) for name in names}


def _line(line: dict[str, Any], gate: Gate) -> dict[str, Any]:
    names = {"group": {name: line[name] for name in gate.groups}, "metric": line["metric"]}
    return names | {"statistic": line.get("statistic", "mean"), "unit": line["unit"]} | {k: line[k] for k in _VALUES}


def _encodable(value: Any) -> Any:
    """Replace halves of surrogate pairs, which no file can hold."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(inner) for key, inner in value.items()}
    return [_encodable(inner) for inner in value] if isinstance(value, list) else value
