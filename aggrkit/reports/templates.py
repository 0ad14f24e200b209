"""The notebooks that reports are made from, and their parameters."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from aggrkit.errors import SourceError, UnknownNameError, quoted
from aggrkit.shipped import shipped_notebooks

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Parameter", "Template", "template_of", "templates"]

_TAG: Final = "parameters"
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "list": (list, tuple),
    "dict": (Mapping,),
    "None": (type(None),),
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a template.

    Parameters
    ----------
    name : str
        Its name in the notebook.
    types : tuple of str
        What it may be: "str", "list", "dict", "float", "int", "bool", "None"; anything where nothing is said.
    default : object
        What it is where nothing is said; `...` where it must be said.
    words : str
        What it means.
    """

    name: str
    types: tuple[str, ...]
    default: Any
    words: str

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is ...

    def __str__(self) -> str:
        kinds = " | ".join(self.types)
        default = "" if self.required else f" = {self.default!r}"
        return f"{self.name}{f': {kinds}' if kinds else ''}{default}"

    def checked(self, value: object) -> Any:
        """Return a value as a notebook can hold it.

        Raises
        ------
        TypeError
            If it is of another type.
        """
        plain = _plain(value)
        if self.types and not any(_is(plain, name) for name in self.types):
            raise TypeError(f"the parameter {self.name!r} is {' or '.join(self.types)}; got {quoted(value)}")
        return plain

    def read(self, texts: Sequence[str]) -> Any:
        """Return the value that words of a command line mean; several of them make a list.

        Raises
        ------
        UnknownNameError
            If they can't be read as any of its types.
        """
        if len(texts) > 1:
            if self.types and "list" not in self.types:
                raise UnknownNameError(f"the parameter {self.name!r} takes one value; got {len(texts)}", name=self.name)
            return list(texts)
        (text,) = texts
        for name in [name for name in ("None", "bool", "int", "float", "list", "dict") if name in self.types]:
            value = _loaded(text)
            if value is not ... and _is(value, name):
                return value
        if "str" in self.types or not self.types:
            return text
        if "list" in self.types and text[:1] not in ("[", "{"):
            return [text]
        wanted = " or ".join(
            {"dict": 'JSON such as {"model": "bert"}', "list": 'JSON such as ["a", "b"]'}.get(t, t) for t in self.types
        )
        raise UnknownNameError(f"the parameter {self.name!r} is {wanted}; got {quoted(text)}", name=self.name)


@dataclass(frozen=True)
class Template:
    """A notebook that a report is made from.

    Parameters
    ----------
    name : str
        Its name, or the path of a notebook of one's own.
    path : pathlib.Path
        Where it is.
    words : str
        What it is about.
    parameters : tuple of Parameter
        What can be said to it.
    """

    name: str
    path: Path
    words: str
    parameters: tuple[Parameter, ...]

    def parameter(self, name: str) -> Parameter:
        """Return a parameter by its name.

        Raises
        ------
        UnknownNameError
            If there is none.
        """
        found = {parameter.name: parameter for parameter in self.parameters}
        if name not in found:
            raise UnknownNameError.of("parameter", name, found, f"They are those of the template {self.name!r}.")
        return found[name]

    def filled(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values for the notebook.

        Raises
        ------
        UnknownNameError
            If a name isn't one of its parameters, or one is missing that must be given.
        TypeError
            If a value is of another type.
        """
        values = {name: self.parameter(name).checked(value) for name, value in given.items()}
        missing = [parameter for parameter in self.parameters if parameter.required and parameter.name not in values]
        if missing:
            said = "; ".join(f"{parameter.name}: {parameter.words}" for parameter in missing)
            raise UnknownNameError(f"the template {self.name!r} needs to be told {said}", name=missing[0].name)
        return values


def templates() -> dict[str, Template]:
    """Return the templates that come with the package, by name.

    Examples
    --------
    >>> from aggrkit.reports import templates
    >>> sorted(templates())
    ['compatibility', 'health', 'integration', 'performance', 'regression', 'web_platform']
    >>> print(templates()["performance"].parameter("margin"))
    margin: float = 0.02
    """
    return {name: _read(name, path) for name, path in shipped_notebooks("templates").items()}


def template_of(name: str) -> Template:
    """Return a template by its name, or by the path of a notebook.

    Raises
    ------
    UnknownNameError
        If there is no such template.
    SourceError
        If the notebook isn't there, or can't be used as a template.
    """
    if not name.endswith(".ipynb"):
        known = shipped_notebooks("templates")
        if name not in known:
            raise UnknownNameError.of("template", name, known, "Or give the path of a notebook (.ipynb).")
        return _read(name, known[name])
    path = Path(name).expanduser()
    if not path.is_file():
        raise SourceError(f"there is no notebook {path}; 'aggrkit templates' lists those that ship with the package")
    found = _read(name, path)
    if "source" not in [parameter.name for parameter in found.parameters]:
        raise SourceError(
            f"{path} can't be a template: it has no cell with the tag {_TAG!r} that sets 'source', by which a notebook "
            "learns where the results are; 'aggrkit templates --copy performance' gives one to start from"
        )
    return found


def _read(name: str, path: Path) -> Template:
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = [(cell, "".join(cell["source"])) for cell in notebook["cells"]]
        tagged = [text for cell, text in cells if _TAG in cell.get("metadata", {}).get("tags", [])]
        parameters = tuple(_declared(tagged[0])) if tagged else ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SyntaxError) as error:
        raise SourceError(f"{path} can't be read as a notebook: {error}") from error
    words = str(notebook.get("metadata", {}).get("aggrkit", {}).get("words", ""))
    return Template(name, path, words, parameters)


def _declared(code: str) -> list[Parameter]:
    """Read the parameters that a cell declares: ``name: types = default  # what it means``."""
    tree = ast.parse(code)  # first, for it says what is wrong in one way on all Pythons
    comments = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
        if token.type == tokenize.COMMENT
    }
    found = []
    for line in tree.body:
        if isinstance(line, ast.AnnAssign):
            target: ast.expr = line.target
        elif isinstance(line, ast.Assign) and len(line.targets) == 1:
            target = line.targets[0]
        else:
            continue
        if not isinstance(target, ast.Name) or line.value is None:
            continue
        kinds = ast.unparse(line.annotation).split(" | ") if isinstance(line, ast.AnnAssign) else []
        known = tuple(kind for kind in kinds if kind in _TYPES)
        default = ast.literal_eval(line.value)
        types = known if len(known) == len(kinds) else ()
        found.append(Parameter(target.id, types, default, comments.get(line.end_lineno or 0, "")))
    return found


def _is(value: object, name: str) -> bool:
    return isinstance(value, _TYPES[name]) and (name == "bool" or not isinstance(value, bool))


def _loaded(text: str) -> Any:
    """Read JSON, or return `...`; Python's words for nothing and truth are known too."""
    try:
        return json.loads({"None": "null", "none": "null", "True": "true", "False": "false"}.get(text, text))
    except ValueError:
        return ...


def _plain(value: object) -> Any:
    """Return a value as JSON has it: times and spans as text, arrays as lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (pd.Series, pd.Index, np.ndarray)):
        value = value.tolist()
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=repr)
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, np.generic) and not isinstance(value, (np.datetime64, np.timedelta64)):
        value = value.item()
    return value if isinstance(value, (str, bool, int, float)) else str(value)
