"""Templates whose cells are run in this process: no kernel has to start."""

from __future__ import annotations

import ast
import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import nbformat

from aggrkit.reports.templates import template_of

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from nbformat import NotebookNode

__all__ = ["notebook_of", "page_of", "run_cells"]


def run_cells(name: str, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> dict[str, list[dict[str, Any]]]:
    """Run the cells of a template one by one, and return what each shows, as MIME bundles."""
    template = template_of(name)
    notebook = json.loads(template.path.read_text(encoding="utf-8"))
    scope: dict[str, Any] = {}
    shown: dict[str, list[dict[str, Any]]] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        outputs: list[dict[str, Any]] = []
        monkeypatch.setattr("IPython.display.display", lambda thing, outputs=outputs: outputs.append(bundle(thing)))
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, cell["id"], "exec"), scope)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), cell["id"], "eval"), scope)
            outputs += [bundle(value)] if value is not None else []
        if cell["id"] == "parameters":
            scope.update(template.filled(parameters))
        shown[cell["id"]] = outputs
    return shown


def bundle(thing: Any) -> dict[str, Any]:
    """Return what a thing shows in a notebook."""
    made = thing._repr_mimebundle_()
    return dict(made[0] if isinstance(made, tuple) else made)


def page_of(name: str, shown: dict[str, list[dict[str, Any]]], path: Path) -> Path:
    """Write what the cells of a template showed, as its executed notebook would be written."""
    from aggrkit.reports.export import About, written

    return written(notebook_of(name, shown), path, About(f"from the template {name}"))


def notebook_of(name: str, shown: dict[str, list[dict[str, Any]]]) -> NotebookNode:
    """Return the executed notebook of a template."""
    notebook = nbformat.read(template_of(name).path, as_version=4)
    for cell in notebook.cells:
        for data in shown.get(cell.id, []):
            encoded = {
                kind: b64encode(part).decode() if isinstance(part, bytes) else part for kind, part in data.items()
            }
            cell.outputs.append(nbformat.v4.new_output("display_data", encoded))
    nbformat.validate(notebook)
    return notebook
