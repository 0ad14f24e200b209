"""The gate: what a comparison says to whoever releases, in words, Markdown, JUnit and JSON."""

from aggrkit.findings.gate.gate import Gate, gate_of, gate_without_data
from aggrkit.findings.gate.incidents import Incident
from aggrkit.findings.gate.record import gate_schema
from aggrkit.findings.gate.rules import Expected, Rules

__all__ = ["Expected", "Gate", "Incident", "Rules", "gate_of", "gate_schema", "gate_without_data"]
