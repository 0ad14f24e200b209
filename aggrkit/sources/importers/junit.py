"""JUnit XML, as pytest, Maven's surefire, GoogleTest and many others write it: a session of tests in a file.

The file is the run, and each execution of a test an observation: where a failed test was tried again (surefire's
reruns) each try is one. What was skipped has no time, for nothing was executed.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from aggrkit.sources.importers.format import Format
from aggrkit.sources.importers.rows import extras, identity, numbered, numeric, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

    from aggrkit.sources.importers.content import Content
    from aggrkit.sources.importers.head import Head
    from aggrkit.sources.importers.rows import Row

__all__ = ["FORMAT"]

_ROOTS: Final = ("testsuites", "testsuite")
_ENDS: Final = {"failure": "failed", "error": "error", "skipped": "skipped"}
_TRIES: Final = {
    "flakyFailure": "failed",
    "flakyError": "error",
    "rerunFailure": "failed",
    "rerunError": "error",
}
_NOT_RUN: Final = frozenset({"notrun", "disabled"})
_LONGEST: Final = 200
_NO_TIME: Final = "1970-01-01"  # GoogleTest's, of what was not executed


@dataclass(frozen=True)
class _Suite:
    """What holds for the tests of a suite, and for those of the suites within it."""

    name: str | None = None
    timestamp: str | None = None
    host: str | None = None
    platform: str | None = None
    java: str | None = None


def _suits(head: Head) -> bool:
    start = head.text.lstrip()
    if not start.startswith("<"):
        return False
    while start.startswith(("<?", "<!--")):
        end = "?>" if start.startswith("<?") else "-->"
        start = start.partition(end)[2].lstrip()
    if start.startswith("<!DOCTYPE"):
        start = start[start.find("<testsuite") :]
    return start.startswith("<testsuite")


def _read(content: Content) -> Iterator[Row]:
    root = _parsed(content)
    run = identity("junit", content.digest)
    if _tag(root) not in _ROOTS:
        raise content.broken(f"its outermost element is {_tag(root)!r}, and not 'testsuites' or 'testsuite'")
    rows = list(_of_suites(root))
    if not rows:
        raise content.broken("it holds no test", remedy="see whether any test was selected")
    _read_properties(rows)
    for place, row in enumerate(numbered(rows, "attempt")):
        yield {"run_id": run, "result_id": identity(run, place), **row}


def _parsed(content: Content) -> Element:
    try:
        found: Element = fromstring(content.data, forbid_dtd=True)
    except ParseError as error:
        line, column = error.position
        said = str(error).partition(":")[0]
        if "no element found" in said or "unclosed" in said:
            said = "it ends in the middle: it was cut off"
        raise content.broken(f"column {column + 1}: {said}", line) from error
    except DefusedXmlException as error:
        what = "it defines a document type or entities, which no tool for tests does and which can do harm"
        raise content.broken(what, remedy="don't trust the file; ask whoever made it") from error
    except (ValueError, LookupError) as error:  # an encoding that doesn't exist, or isn't what it says
        raise content.broken(f"its encoding can't be read ({error})", remedy="save it in UTF-8") from error
    return found


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _of_suites(root: Element) -> Iterator[Row]:
    """Return the observations of all suites, in their order; without recursion, however deep they are nested."""
    waiting = [(root, _Suite())]
    while waiting:
        element, above = waiting.pop()
        suite = _suite(element, above)
        for child in element:
            if _tag(child) == "testcase":
                yield from _executions(child, suite)
        waiting += [(child, suite) for child in reversed(element) if _tag(child) in _ROOTS]


def _suite(element: Element, above: _Suite) -> _Suite:
    known = {name: value for name, value in _properties(element) if "." in name}
    system = " ".join(filter(None, (known.get("os.name"), known.get("os.arch"))))
    return _Suite(
        plain_text(element.get("name")) if _tag(element) == "testsuite" else above.name,
        plain_text(element.get("timestamp")) or above.timestamp,
        plain_text(element.get("hostname")) or above.host,
        system or above.platform,
        known.get("java.version") or above.java,
    )


def _properties(element: Element) -> Iterator[tuple[str, str]]:
    for child in element:
        if _tag(child) == "properties":
            for found in child:
                if (name := plain_text(found.get("name"))) is not None:
                    yield name, found.get("value") or (found.text or "").strip()


def _executions(case: Element, suite: _Suite) -> Iterator[Row]:
    """Return an observation for each time that a test was executed."""
    ends = {_tag(child): child for child in reversed(case)}
    tries = [child for child in case if _tag(child) in _TRIES]
    ended = next((tag for tag in _ENDS if tag in ends), None)
    status = "skipped" if _was_not_run(case) else _ENDS.get(ended or "", "passed")
    row = _about(case, suite)
    last = {
        **row,
        "status": status,
        "reason": _reason(ends.get(ended)) if ended else None,
        "execution_time_seconds": None if status == "skipped" else _seconds(case.get("time")),
    }
    # What comes after a failure was tried after it; what a passed test had to go through was tried before it.
    again = [
        {
            **row,
            "status": _TRIES[_tag(child)],
            "reason": _reason(child),
            "execution_time_seconds": _seconds(child.get("time")),
        }
        for child in tries
    ]
    yield from [*again, last] if status == "passed" else [last, *again]


def _about(case: Element, suite: _Suite) -> Row:
    name = plain_text(case.get("name")) or "unnamed"
    where = plain_text(case.get("classname")) or suite.name
    test = name if where is None or name.startswith(where) else f"{where}.{name}"
    timestamp = plain_text(case.get("timestamp"))
    parameters = {"arg_value": case.get("value_param"), "arg_type": case.get("type_param")}
    return {
        "timestamp": suite.timestamp if timestamp is None or timestamp.startswith(_NO_TIME) else timestamp,
        "model": test,
        "test_case": test,
        "suite": where,
        "worker": suite.host,
        "platform": suite.platform,
        "java_version": suite.java,
        **{key: value for key, value in parameters.items() if value is not None},
        "properties": dict(_properties(case)),
    }


def _was_not_run(case: Element) -> bool:
    return case.get("status") in _NOT_RUN or case.get("result") in ("suppressed", "skipped")


def _reason(element: Element | None) -> str | None:
    if element is None:
        return None
    said = plain_text(element.get("message")) or plain_text(element.text) or plain_text(element.get("type"))
    return said[:_LONGEST] if said else None


def _seconds(text: str | None) -> float | None:
    """Read a number of seconds, in which old versions of surefire put commas between thousands."""
    try:
        return None if text is None else float(text.replace(",", ""))
    except ValueError:
        return None


def _read_properties(rows: list[Row]) -> None:
    """Make columns of what tests noted of themselves: numbers where all values of that name are."""
    values: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for name, value in row["properties"].items():
            values[name].append(value)
    numbers = {name for name, said in values.items() if all(_seconds(value) is not None for value in said)}
    for row in rows:
        noted: dict[str, Any] = row.pop("properties")
        read = {name: numeric(_seconds(value)) if name in numbers else value for name, value in noted.items()}
        row.update({name: value for name, value in extras(read, "property").items() if name not in row})


FORMAT: Final = Format(
    name="junit",
    title="JUnit XML",
    remedy="write it again, e.g.: pytest --junitxml=FILE",
    result_type="integration",
    suits=_suits,
    read=_read,
)
