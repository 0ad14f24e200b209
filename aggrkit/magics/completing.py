"""What IPython completes after ``%aggr``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher
from IPython.core.error import UsageError

from aggrkit.cli.asking import MANY, ROLES, SHIPPED
from aggrkit.errors import AggrError
from aggrkit.magics.magic import COMMANDS, parser_of, split
from aggrkit.magics.source import results_of, sources_in
from aggrkit.model.selection import LEVELS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from IPython.core.completer import SimpleMatcherResult
    from IPython.core.interactiveshell import InteractiveShell

    from aggrkit.model.schema import Schema

__all__ = ["IDENTIFIER", "new_matcher"]

IDENTIFIER: Final = "aggrkit.aggr"

_LINE: Final = re.compile(r"^(?:[^%]*=)?\s*%aggr\s+(.*)$", re.DOTALL)
_SMALL: Final = 20_000_000
"""Bytes up to which a file is opened to complete the names of its columns."""

_OF_COLUMNS: Final = ("by", "across", "columns", "dimensions")


def new_matcher(shell: InteractiveShell) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """Return a matcher of IPython for the questions, sources, options and values of ``%aggr``.

    Parameters
    ----------
    shell : InteractiveShell
        The shell whose variables are offered.
    """
    completions = _Completions(shell)

    def matcher(context: CompletionContext) -> SimpleMatcherResult:
        return completions.at(context)

    marked: Callable[[CompletionContext], SimpleMatcherResult] = context_matcher(identifier=IDENTIFIER, priority=10)(
        matcher
    )
    return marked


class _Completions:
    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell

    def at(self, context: CompletionContext) -> SimpleMatcherResult:
        """Return what can stand at the cursor."""
        before = context.full_text.split("\n")[context.cursor_line][: context.cursor_position]
        found = _LINE.match(before)
        if found is None:
            return {"completions": []}
        words = re.split(r"\s+", found[1])
        fragment = words[-1] if words[-1].startswith("-") else re.split(r"[,=]", words[-1])[-1]
        offered, alone = self._offered(found[1], words)
        return {
            "completions": [SimpleCompletion(text, type="aggr") for text in offered if text.startswith(fragment)],
            "matched_fragment": fragment,
            "suppress": alone,
        }

    def _offered(self, text: str, words: list[str]) -> tuple[Iterable[str], bool]:
        """Return what can stand there, and whether nothing else can."""
        if len(words) == 1:
            return (*COMMANDS, "--help"), True
        command, last = words[0], words[-1]
        if command not in COMMANDS:
            return (), False
        parser = parser_of(command)
        options = {name: action for action in parser._actions for name in action.option_strings}
        before = words[-2]
        if before in options and options[before].nargs != 0:
            return self._values(options[before], text, last), True
        if last.startswith("-"):
            return options, True
        if len(words) == 2:
            return sources_in(self._shell.user_ns), False
        return (), False

    def _values(self, action: argparse.Action, text: str, last: str) -> Iterable[str]:
        if action.choices is not None:
            return map(str, action.choices)
        if action.dest == "where" and "=" in last:
            return ()
        if action.dest == "roles" and "=" not in last:
            return (f"{role}=" for role in (*ROLES, *MANY))
        schema = self._schema(text)
        if schema is None:
            return LEVELS if action.dest == "level" else ()
        if action.dest in ("metrics", "metric"):
            return (metric.name for metric in schema.metrics)
        if action.dest == "where":
            return (f"{name}=" for name in schema.names)
        if action.dest == "level":
            return (*LEVELS, *schema.names)
        return schema.names if action.dest in (*_OF_COLUMNS, "roles") else ()

    def _schema(self, text: str) -> Schema | None:
        """Return what is known of the columns of the source in a line, where that costs next to nothing.

        Expressions are not evaluated, for that may take long, or change something.
        """
        variables = self._shell.user_ns
        try:
            source = split(text.partition(" ")[2])[0]
            place = Path(source).expanduser()
            if source in variables or source.startswith(SHIPPED) or (place.is_file() and place.stat().st_size < _SMALL):
                return results_of(source, None, {}, variables).schema
        except (AggrError, UsageError, OSError):
            return None
        return None
