"""Messages of the core, which speak of Python, in the words of the command line."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["in_options"]

_OPTIONS: Final = (
    (r"df\.aggr\(metrics=\['\.\.\.'\]\)", "--role metrics=..."),
    (r"\bby='(.*?)'", r"--by \1"),
    (r"\blevel=\[\.\.\.\]", "--level COLUMN,..."),
    (r"\blevel=\[\]", "--level ''"),
    (r"\btable=\.\.\.", "--table NAME"),
    (r"\btable='(.*?)'", r"--table \1"),
    (r"'table'", "--table"),
)


def in_options(message: str) -> str:
    """Return a message with the options of the command line where it has arguments of Python.

    Examples
    --------
    >>> from aggrkit.cli.wording import in_options
    >>> in_options("say which it is: df.aggr(model='...', hardware='...'), or group by columns: level=[...]")
    'say which it is: --role model=... --role hardware=..., or group by columns: --level COLUMN,...'
    """
    message = re.sub(r"df\.aggr\(((?:\w+='\.\.\.'(?:, )?)+)\)", _roles, message)
    for python, option in _OPTIONS:
        message = re.sub(python, option, message)
    return message


def _roles(call: re.Match[str]) -> str:
    return " ".join(f"--role {role}=..." for role in re.findall(r"(\w+)=", call[1]))
