"""What a magic is asked about: a variable, an expression, a file, or a set that ships with the package."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

import aggrkit
from aggrkit.accessor import AggrAccessor, Results
from aggrkit.cli.asking import SHIPPED
from aggrkit.errors import SourceError, UnknownNameError, did_you_mean, listed

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["results_of", "sources_in"]


def results_of(text: str, table: str | None, roles: Mapping[str, Any], variables: Mapping[str, Any]) -> Results:
    """Return the results that are meant by what stands in a line.

    Parameters
    ----------
    text : str
        Name of a variable, path or glob of files, name of a shipped set, or a Python expression.
    table : str or None
        Which table of a database.
    roles : mapping
        What columns mean.
    variables : mapping
        The variables of the user.

    Raises
    ------
    UnknownNameError
        If it is none of them; the error lists the variables that hold results.
    SourceError
        If it is something of another kind.
    """
    value = variables[text] if text in variables else _file_or_value(text, variables)
    if isinstance(value, (Results, pd.DataFrame)):
        if table is not None:
            raise SourceError(f"--table is for databases, and {text} is none; leave it out")
        return (value if isinstance(value, Results) else AggrAccessor(value))(**roles)
    return aggrkit.open(value, table=table, **roles)


def sources_in(variables: Mapping[str, Any]) -> list[str]:
    """Return the names of the variables that hold results, the hidden ones left out."""
    return sorted(
        name
        for name, value in variables.items()
        if isinstance(value, (pd.DataFrame, Results)) and not name.startswith("_")
    )


def _file_or_value(text: str, variables: Mapping[str, Any]) -> Any:
    if text.startswith(SHIPPED):
        return aggrkit.datasets.load(text.removeprefix(SHIPPED))
    if Path(text).expanduser().exists() or glob.glob(text):  # noqa: PTH207 - the pattern may be absolute
        return text
    try:
        return eval(compile(text, "<%aggr>", "eval"), dict(variables))  # noqa: S307 - what the user wrote to be run
    except (SyntaxError, NameError) as error:
        there = sources_in(variables)
        said = [
            f"{text!r} is neither a variable, nor a file, nor an expression",
            did_you_mean(text, there),
            f"variables with results: {listed(there)}" if there else "no variable holds a DataFrame",
        ]
        raise UnknownNameError("; ".join(filter(None, said)), name=text, choices=there) from error
    except Exception as error:
        raise SourceError(f"{text} fails: {type(error).__name__}: {error}") from error
