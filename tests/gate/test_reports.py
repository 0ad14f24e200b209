"""What a gate writes for machines and for a pull request, whatever the names are."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import jsonschema
import junitparser
import pandas as pd
import pytest
import xmlschema
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from aggrkit.findings.gate import gate_schema, gate_without_data
from aggrkit.findings.gate.markdown import code, escaped
from aggrkit.findings.gate.wording import clean
from tests.gate.planted import HOSTILE, builds, compared

if TYPE_CHECKING:
    from pathlib import Path

GITHUB = MarkdownIt("gfm-like", {"html": True, "linkify": False})


@pytest.fixture(scope="module")
def hostile() -> Any:
    """Return a comparison of names that try to break out, of which some regressed and one is missing."""
    frame = builds({HOSTILE[0]: 0.1, HOSTILE[3]: 0.2, HOSTILE[5]: 0.3}, names=HOSTILE)
    frame["hardware"] = HOSTILE[4]
    frame["build"] = frame["build"].map({"1.4": HOSTILE[0], "1.5": HOSTILE[2]})
    frame = frame[~(frame["build"].eq(HOSTILE[2]) & frame["model"].eq(HOSTILE[1]))]
    frame = frame.rename(columns={"latency_ms": "latency|`<b>`_ms"})
    schema = frame.aggr(metrics={"latency|`<b>`_ms": "lower"}, hardware="hardware")
    return schema.compare(HOSTILE[0], HOSTILE[2], by="build")


def gates() -> dict[str, Any]:
    """Return gates of every kind."""
    frame = builds({"m0": 0.1, "m1": -0.1})
    lost = frame[~(frame["build"].eq("1.5") & frame["model"].eq("m2"))]
    noisy = builds(runs=2, noise=0.2)
    return {
        "regressed": compared(frame).gate(),
        "clean": compared(builds()).gate(),
        "missing": compared(lost).gate(max_regressions=None),
        "warned": compared(lost).gate(1, missing="warn", tolerate="latency_ms"),
        "expected": compared(frame).gate(allow=[{"model": "m0", "up_to": 0.5, "reason": "why"}], min_effect=0.01),
        "undecided": compared(noisy).gate(fail_on="undecided"),
        "strict": compared(lost).gate(fail_on="improved", min_effect={"latency_ms": 0.02}),
        "one line": compared(builds(cells=1), level=[]).gate(),
        "spans": builds().aggr.compare(pd.Timedelta(days=3)).gate(),
        "frames": builds().aggr.compare(builds(seed=1)).gate(),
        "statistics": compared(builds(), statistic=("p50", "spread")).gate(),
        "no data": gate_without_data("results.csv is not there"),
    }


@pytest.fixture(scope="module", params=list(gates()))
def gate(request: pytest.FixtureRequest, every: dict[str, Any]) -> Any:
    """Return one gate of each kind."""
    return every[request.param]


@pytest.fixture(scope="module")
def every(hostile: Any) -> dict[str, Any]:
    """Return all of them."""
    return gates()


@pytest.fixture(scope="module")
def junit_schema(small_data: Path) -> xmlschema.XMLSchema:
    """Return the schema of JUnit reports."""
    return xmlschema.XMLSchema(str(small_data / "junit.xsd"))


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(gate_schema())


def test_json_fits_its_schema(gate: Any) -> None:
    record = json.loads(gate.to_json())
    jsonschema.Draft202012Validator(gate_schema()).validate(record)
    assert record["passed"] is gate.passed
    assert record["exit_code"] == gate.exit_code
    assert sum(record["counts"].values()) == len(record["lines"])
    assert json.loads(gate.to_json(indent=None)) == record
    assert "\n" not in gate.to_json(indent=None)


def test_junit_fits_its_schema(gate: Any, junit_schema: xmlschema.XMLSchema) -> None:
    junit_schema.validate(gate.to_junit())


def test_the_schemas_refuse_what_is_wrong(every: dict[str, Any], junit_schema: xmlschema.XMLSchema) -> None:
    record = json.loads(every["regressed"].to_json())
    for wrong in ({**record, "passed": "no"}, {**record, "more": 1}, {k: v for k, v in record.items() if k != "lines"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.Draft202012Validator(gate_schema()).validate(wrong)
    for old, new in (('tests="', 'test="'), ("<failure ", "<fail "), ('classname="', 'class="')):
        with pytest.raises((xmlschema.XMLSchemaException, ElementTree.ParseError)):
            junit_schema.validate(every["regressed"].to_junit().replace(old, new))


def test_junit_counts_what_it_holds(gate: Any) -> None:
    suite = ElementTree.fromstring(gate.to_junit())
    cases = suite.findall("testcase")
    assert int(suite.get("tests", -1)) == len(cases) == len(gate.lines) + 1
    for name, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.get(name, -1)) == len(suite.findall(f"testcase/{kind}"))
    whole = cases[0]
    assert [child.tag for child in whole] == {0: [], 1: ["failure"], 3: ["error"]}[gate.exit_code]
    lines = suite.findall("testcase")[1:]
    kinds = [next((child.tag for child in case), "") for case in lines]
    if len(lines):
        failing = gate.lines["outcome"].eq("fails").tolist()
        assert [kind == "failure" for kind in kinds] == failing
        missing = gate.lines["outcome"].eq("missing") & (gate.rules.missing == "fail")
        assert [kind == "error" for kind in kinds] == missing.tolist()
        assert [kind == "" for kind in kinds] == gate.lines["outcome"].eq("passes").tolist()


def test_a_gate_is_read_by_junitparser(every: dict[str, Any]) -> None:
    cases = [case for suite in junitparser.JUnitXml.fromstring(every["regressed"].to_junit()) for case in suite]
    failed = [case.name for case in cases if any(isinstance(one, junitparser.Failure) for one in case.result)]
    assert failed == ["gate", "m0, gpu"]


def test_hostile_names_stay_names_in_xml(hostile: Any, junit_schema: xmlschema.XMLSchema) -> None:
    text = hostile.gate().to_junit()
    text.encode("utf-8")
    junit_schema.validate(text)
    suite = ElementTree.fromstring(text)
    names = {case.get("name") for case in suite.findall("testcase")}
    assert "a<b>&\"c\"'d', " + HOSTILE[4] in names
    assert "右から左 \\u202egnp.exe \\u200b \\ufeff, " + HOSTILE[4] in names
    assert any("bell\\x07 escape\\x1b[31m nul\\x00 end" in str(name) for name in names)
    assert len(names) == len(HOSTILE) + 1
    assert {case.get("classname") for case in suite.findall("testcase")} == {"aggrkit check", "latency|`<b>`_ms"}


def test_hostile_names_stay_names_in_json(hostile: Any) -> None:
    record = json.loads(hostile.gate().to_json())
    jsonschema.Draft202012Validator(gate_schema()).validate(record)
    assert {line["group"]["model"] for line in record["lines"]} == set(HOSTILE)


def test_hostile_names_stay_on_their_line_of_text(hostile: Any) -> None:
    gate = hostile.gate()
    for line in (gate.headline, *gate.reasons, *gate.notes, *gate.method, *map(str, gate.incidents)):
        assert line.isprintable()
    for text in (repr(gate), gate.explain()):
        assert text.replace("\n", "").isprintable()


def test_hostile_names_stay_in_their_cell_of_markdown(hostile: Any) -> None:
    text = hostile.gate().to_markdown()
    tokens = GITHUB.parse(text)
    raw = [
        part.content
        for token in tokens
        for part in [token, *(token.children or ())]
        if part.type in ("html_inline", "html_block")
    ]
    tags = {re.sub(r"\s+", "", tag) for piece in raw for tag in re.findall(r"</?[a-z]+", piece)}
    assert tags <= {"<details", "</details", "<summary", "</summary", "<code", "</code"}
    kinds = {part.type for token in tokens for part in token.children or ()}
    assert not kinds & {"link_open", "image", "em_open", "s_open"}
    width = 0
    for token in tokens:
        if token.type == "tr_open":
            width = 0
        width += token.type in ("td_open", "th_open")
        if token.type == "tr_close":
            assert width == 3 + 6
    assert not re.search(r"[@#]\w", html.unescape(text))
    shown = html.unescape(re.sub(r"</?code>", "", text))
    assert "a<b>&\"c\"'d'" in shown
    assert "two lines and tabs" in shown


@given(st.text(max_size=40))
def test_any_name_is_shown_as_it_is_and_nothing_else(name: str) -> None:
    said = clean(name)
    assert said.isprintable()
    for written in (code(said), f"x {escaped(said)}"):
        rendered = GITHUB.render(f"| a |\n|---|\n| {written} |\n")
        (cell,) = re.findall(r"<td>(.*?)</td>", rendered, re.DOTALL)
        shown = html.unescape(re.sub(r"</?code>", "", cell)).replace("\u200b", "")
        assert shown.removeprefix("x").strip() == said.removeprefix("x").strip()
        assert set(re.findall(r"<[^>]*>", cell)) <= {"<code>", "</code>"}


def test_markdown_says_what_a_reviewer_asks_first(every: dict[str, Any]) -> None:
    text = every["regressed"].to_markdown()
    assert text.startswith("### \N{CROSS MARK} Gate closed: 1.5 against 1.4, 1 regressed, 1 improved, ")
    assert "\n**1 regressed of 6 lines, and none may.**\n" in text
    row = r"^\| `m0` \| `gpu` \| `latency_ms` \| [\d.]+ ms \| [\d.]+ ms \| \+[\d.]+ % \|"
    assert re.search(row, text, re.MULTILINE)
    assert every["clean"].to_markdown().startswith("### \N{WHITE HEAVY CHECK MARK} Gate open: ")
    assert "results.csv is not there" in every["no data"].to_markdown()


@pytest.mark.slow
def test_thousands_of_hostile_lines_fit_everywhere(junit_schema: xmlschema.XMLSchema) -> None:
    names = [f"{HOSTILE[k % 10][:400]} {k}" for k in range(4000)]
    frame = builds(dict.fromkeys(names[::3], 0.5), names=names, runs=4, noise=0.001)
    gate = compared(frame, adjust=None).gate(fail_on="undecided")
    assert gate.counts["fails"] > 1000
    assert sum(incident.lines for incident in gate.incidents) == gate.counts["fails"]
    for allow in ([], [{"model": "*"}]):
        shown = compared(frame, adjust=None).gate(allow=allow)
        text = shown.to_markdown()
        assert 1000 < len(text) < 65_536
        assert GITHUB.render(text).count("<tr>") == text.count("\n| ")
        assert len(shown._repr_html_()) < 200_000
    suite = ElementTree.fromstring(gate.to_junit())
    assert len(suite.findall("testcase")) == 4001
    junit_schema.validate(gate.to_junit())
    assert len(json.loads(gate.to_json())["lines"]) == 4000


def test_in_a_notebook_it_is_html_in_which_nothing_is_markup(hostile: Any, every: dict[str, Any]) -> None:
    page = hostile.gate()._repr_html_()
    assert set(re.findall(r"</?([a-z0-9]+)", page)) <= {
        *("div", "p", "strong", "ul", "li", "h4", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"),
    }
    assert html.escape(HOSTILE[0]) in page
    ElementTree.fromstring(page)
    assert every["regressed"]._repr_markdown_() == every["regressed"].to_markdown()
    assert "1 regressed of 6 lines, and none may." in every["regressed"]._repr_html_()
