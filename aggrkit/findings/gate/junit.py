"""A gate as a JUnit report: a test case for each line, for what shows test results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

from aggrkit.findings.gate.judging import records_of
from aggrkit.findings.gate.wording import clean, group, line_words

if TYPE_CHECKING:
    from aggrkit.findings.gate.gate import Gate

__all__ = ["junit"]

_SUITE: Final = "aggrkit check"
_KINDS: Final = {"fails": "failure", "passes": ""}
_NO_TIME: Final = "0"


def junit(gate: Gate) -> str:
    """Return the report of a gate.

    Parameters
    ----------
    gate : Gate
        The gate.

    Notes
    -----
    One suite as root, which both the schema of Jenkins (junit-10.xsd) and that of Maven Surefire take. The class of a
    case is its metric, and its name the group. The gate itself is the first case, for it may be closed although no line
    is, and open although some fail elsewhere.
    """
    suite = ElementTree.Element("testsuite")
    _properties(suite, gate)
    cases = [_of_gate(suite, gate)]
    cases += [_of_line(suite, gate, line) for line in records_of(gate._lines)]
    for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(cases.count(kind)))
    suite.set("tests", str(len(cases)))
    suite.set("name", _SUITE)
    suite.set("time", _NO_TIME)
    ElementTree.indent(suite)
    return f'<?xml version="1.0"?>\n{ElementTree.tostring(suite, encoding="unicode")}\n'


def _properties(suite: ElementTree.Element, gate: Gate) -> None:
    properties = ElementTree.SubElement(suite, "properties")
    for name in ("baseline", "current", "by", "source", "margin", "alpha", "adjust"):
        value = gate.meta.get(name)
        if value is not None:
            ElementTree.SubElement(properties, "property", name=name, value=clean(value))


def _case(
    suite: ElementTree.Element, kind: str, kind_of: str, classname: str, name: str, message: str, text: str
) -> str:
    case = ElementTree.SubElement(suite, "testcase", classname=classname, name=name, time=_NO_TIME)
    if kind:
        result = ElementTree.SubElement(case, kind, message=message)
        if kind != "skipped":
            result.set("type", kind_of)
        result.text = text
    return kind


def _of_gate(suite: ElementTree.Element, gate: Gate) -> str:
    kind = {0: "", 1: "failure"}.get(gate.exit_code, "error")
    text = "\n".join([*gate.reasons, *map(str, gate.incidents[:100]), *gate.notes])
    return _case(suite, kind, "closed", _SUITE, "gate", clean(gate.headline, 1000), text)


def _of_line(suite: ElementTree.Element, gate: Gate, line: dict[str, Any]) -> str:
    outcome, verdict = str(line["outcome"]), str(line["verdict"])
    kind = _KINDS.get(outcome, "skipped")
    if outcome == "missing" and gate.rules.missing == "fail":
        kind = "error"
    state = {"missing": "missing", "new": "new"}.get(outcome, verdict)
    said = state if kind in ("failure", "error") or state == outcome else f"{state}, {outcome}"
    why = clean(line["why"], 1000)
    message = f"{said}: {line_words(line, gate.groups)}{f'; {why}' if why else ''}"
    statistic = f" {line['statistic']}" if "statistic" in line else ""
    text = "\n".join(part for part in (message, clean(line["note"], 10_000)) if part)
    classname = clean(line["metric"]).replace(".", "_") + statistic
    return _case(suite, kind, state, classname, group(line, gate.groups), message, text)
