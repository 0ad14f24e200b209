"""Templates: what there is, what can be said to them, and how values are read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import nbformat
import numpy as np
import pandas as pd
import pytest

import aggrkit
from aggrkit.errors import SourceError, UnknownNameError
from aggrkit.model.selection import Selection
from aggrkit.reports.choosing import chosen_template
from aggrkit.reports.templates import Parameter, template_of, templates
from aggrkit.shipped import shipped_notebooks

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["compatibility", "health", "integration", "performance", "regression", "web_platform"]


def test_there_are_six() -> None:
    assert sorted(templates()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_parameters_are_the_fields_of_a_selection_typed_and_described(name: str) -> None:
    found = {parameter.name: parameter for parameter in templates()[name].parameters}
    assert set(Selection.__dataclass_fields__) <= set(found)
    assert found["source"].required
    assert [each.name for each in found.values() if each.required] == (
        ["baseline", "source"] if name == "regression" else ["source"]
    )
    for parameter in found.values():
        assert parameter.types
        assert len(parameter.words) > 15
        if not parameter.required:
            assert parameter.checked(parameter.default) == parameter.default


@pytest.mark.parametrize("path", shipped_notebooks("templates").values(), ids=lambda path: path.stem)
def test_it_is_saved_clean_and_asks_the_core_for_everything(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    for cell in code[2:]:
        assert "import" not in cell.source
        assert cell.source.count("report.") >= 1
    headings = [cell.source.removeprefix("## ") for cell in notebook.cells if cell.cell_type == "markdown"]
    assert headings == [
        *("Findings", "Pictures", "Tables", "Method"),
        *("Where the data come from", "How far to trust it"),
    ]


@pytest.mark.parametrize(
    ("types", "texts", "value"),
    [
        (("str", "None"), ["bert"], "bert"),
        (("str", "None"), ["1.10"], "1.10"),
        (("str", "None"), ["None"], None),
        (("float",), ["0.05"], 0.05),
        (("int",), ["3"], 3),
        (("bool",), ["true"], True),
        (("str", "list", "None"), ["latency_ms"], "latency_ms"),
        (("str", "list", "None"), ["latency_ms", "memory_mb"], ["latency_ms", "memory_mb"]),
        (("str", "list", "None"), ['["a", "b"]'], ["a", "b"]),
        (("list", "None"), ['["2026-03-01", null]'], ["2026-03-01", None]),
        (("list",), ["one"], ["one"]),
        (("dict",), ['{"model": ["bert"]}'], {"model": ["bert"]}),
        ((), ["anything"], "anything"),
    ],
)
def test_words_of_a_command_line_are_read_by_type(types: tuple[str, ...], texts: list[str], value: Any) -> None:
    assert Parameter("x", types, None, "").read(texts) == value


@pytest.mark.parametrize(
    ("types", "texts", "message"),
    [
        (("float",), ["much"], "'x' is float; got 'much'"),
        (("int",), ["0.5"], "'x' is int"),
        (("dict",), ["model=bert"], 'JSON such as {"model": "bert"}'),
        (("dict",), ["[1]"], "got '[1]'"),
        (("float",), ["1", "2"], "takes one value; got 2"),
        (("list",), ["[1, "], "got '[1, '"),
    ],
)
def test_words_that_are_of_no_type_are_refused(types: tuple[str, ...], texts: list[str], message: str) -> None:
    with pytest.raises(UnknownNameError, match="parameter") as caught:
        Parameter("x", types, None, "").read(texts)
    assert message in str(caught.value)


def test_values_from_python_become_plain_ones() -> None:
    where = Parameter("where", ("dict",), {}, "")
    given = {"model": np.array(["a", "b"]), "batch_size": pd.Series([8, 16]), "precision": {"fp16"}}
    assert where.checked(given) == {"model": ["a", "b"], "batch_size": [8, 16], "precision": ["fp16"]}
    span = Parameter("time_range", ("list", "None"), None, "")
    assert span.checked((pd.Timestamp("2026-03-01"), None)) == ["2026-03-01 00:00:00", None]
    assert Parameter("baseline", ("str",), ..., "").checked(pd.Timedelta("7D")) == "7 days 00:00:00"
    assert Parameter("margin", ("float",), 0.02, "").checked(np.float32(0.5)) == 0.5
    with pytest.raises(TypeError, match="'margin' is float; got True"):
        Parameter("margin", ("float",), 0.02, "").checked(True)


def test_unknown_templates_and_parameters_say_what_there_is() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'performance'"):
        template_of("performanc")
    with pytest.raises(UnknownNameError, match=r"did you mean 'metrics'.*template 'health'"):
        templates()["health"].filled({"metric": "x", "source": "s"})
    with pytest.raises(UnknownNameError, match="needs to be told baseline: value or values of one side"):
        templates()["regression"].filled({"source": "s"})


def test_a_notebook_of_ones_own_is_a_template(tmp_path: Path) -> None:
    mine = tmp_path / "mine.ipynb"
    cell = nbformat.v4.new_code_cell(
        "source = ...  # where\nlimit: int = (\n    3\n)  # how many\nother, x = 1, 2\nz += 1"
    )
    cell.metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), mine)
    found = template_of(str(mine))
    assert [(p.name, p.types, p.default, p.words) for p in found.parameters] == [
        ("source", (), ..., "where"),
        ("limit", ("int",), 3, "how many"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no notebook"),
        ("not json", "can't be read as a notebook"),
        ("[]", "can't be read as a notebook"),
        (json.dumps({"cells": []}), "no cell with the tag 'parameters'"),
        (
            json.dumps({"cells": [{"source": "source = (", "metadata": {"tags": ["parameters"]}}]}),
            "can't be read as a notebook",
        ),
        (
            json.dumps({"cells": [{"source": "source = compute()", "metadata": {"tags": ["parameters"]}}]}),
            "can't be read as a notebook",
        ),
    ],
)
def test_what_is_no_template_is_refused(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.ipynb"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SourceError, match=message):
        template_of(str(path))


@pytest.mark.parametrize(
    ("columns", "given", "name", "why"),
    [
        ({"latency_ms": [1.0]}, {}, "performance", "average_latency_ms"),
        ({"compatibility_score": [1.0], "is_compatible": [True]}, {}, "compatibility", "compatibility_score"),
        ({"passed": [True], "duration_seconds": [1.0]}, {}, "integration", "execution_time_seconds"),
        ({"load_time_ms": [1.0], "success_value": [True]}, {}, "web_platform", "load_time_ms"),
        ({"score": [1.0]}, {}, "performance", "no metric says"),
        ({"latency_ms": [1.0], "result_type": ["integration"]}, {}, "integration", "of the type 'integration'"),
        ({"latency_ms": [1.0]}, {"by": "build"}, "regression", "by is given"),
        ({"latency_ms": [1.0]}, {"result_type": "web_platform"}, "web_platform", "asked for"),
        ({"latency_ms": []}, {}, "performance", "don't say"),
    ],
)
def test_a_template_is_chosen_with_its_reason(
    columns: dict[str, list[Any]], given: dict[str, Any], name: str, why: str
) -> None:
    chosen, reason = chosen_template(pd.DataFrame(columns).aggr, given)
    assert chosen == name
    assert why in reason


def test_the_shipped_notebooks_are_found_in_a_checkout() -> None:
    assert {"quickstart", "explore"} <= set(shipped_notebooks())
    assert sorted(shipped_notebooks("templates")) == NAMES
    with pytest.raises(aggrkit.errors.AggrError, match="missing from this installation"):
        shipped_notebooks("nowhere")
