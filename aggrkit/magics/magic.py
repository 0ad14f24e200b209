"""The magic ``%aggr``."""

from __future__ import annotations

import re
import shlex
from functools import cache
from typing import TYPE_CHECKING, Final, NoReturn

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class

from aggrkit.cli import asking, questions
from aggrkit.cli.explore import SHOWN_FIRST
from aggrkit.cli.parser import Parser
from aggrkit.cli.telling import tell
from aggrkit.cli.wording import in_options
from aggrkit.errors import AggrError, did_you_mean, listed
from aggrkit.magics.source import results_of, sources_in

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from aggrkit.findings import Finding
    from aggrkit.panel import Panel

__all__ = ["COMMANDS", "AggrMagics", "parser_of", "split"]

COMMANDS: Final = (*questions.EXAMPLES, "explore")
"""What ``%aggr`` can be asked, as on the command line."""

_OPTION: Final = re.compile(r"(?:^|\s)(?=--[a-zA-Z]|-[oh](?:\s|$))")

_HELP: Final = f"""\
%aggr QUESTION SOURCE [options]

SOURCE is a DataFrame, what aggrkit.open(...) gave, a Python expression, a file, a glob, or demo:mlperf_training.
QUESTION is one of: {", ".join(COMMANDS)}.

  %aggr stats df --level model
  changes = %aggr compare df --by build --baseline a --current b
  %aggr explore runs/*.parquet

Options are those of the command line: %aggr compare --help"""


@magics_class
class AggrMagics(Magics):
    """``%aggr``: ask a DataFrame, or a file, what the command ``aggrkit`` is asked."""

    @line_magic
    def aggr(self, line: str) -> Finding | Panel | None:
        """Ask results a question: %aggr stats df --level model.

        The answer is that of the method of df.aggr with the same name: a DataFrame that explains itself. So it can be
        kept, as in:  changes = %aggr compare df --by build --baseline a --current b

        The source is a DataFrame, what aggrkit.open(...) gave, a Python expression, a file or glob, or
        demo:mlperf_training. Options are those of the command line; %aggr --help lists the questions, and
        %aggr compare --help what one of them takes.
        """
        command, rest = split_command(line)
        if command in ("", "--help", "-h", "help"):
            print(_HELP)  # noqa: T201 - that is what was asked for
            return None
        if command not in COMMANDS:
            hint = did_you_mean(command, COMMANDS)
            raise UsageError("; ".join(filter(None, (f"there is no %aggr {command}", hint, f"{listed(COMMANDS)}"))))
        try:
            return self._answer(command, rest)
        except _HelpShown:
            return None
        except (AggrError, ValueError, TypeError) as error:
            raise UsageError(in_options(str(error))) from error

    def _answer(self, command: str, rest: str) -> Finding | Panel | None:
        source, options = split(rest)
        given = parser_of(command).parse_args(options)
        variables = self.shell.user_ns if self.shell else {}
        source = source or given.source
        if not source:
            there = sources_in(variables)
            raise UsageError(
                f"say of what: %aggr {command} SOURCE; "
                + (f"variables with results: {listed(there)}" if there else "no variable holds a DataFrame")
            )
        results = results_of(source, given.table, asking.roles_in(given.roles), variables)
        if command == "explore":
            return results.explore(**asking.named(given, *SHOWN_FIRST))
        found = questions.answer(results, command, given)
        if given.form or given.output:
            tell(found, given)
        return None if given.form and not given.output else found


def split_command(line: str) -> tuple[str, str]:
    """Return the first word of a line, and the rest."""
    command, _, rest = line.strip().partition(" ")
    return command, rest.strip()


def split(rest: str) -> tuple[str, list[str]]:
    """Return what stands before the first option, with its quotes and spaces, and the options.

    Examples
    --------
    >>> from aggrkit.magics.magic import split
    >>> split('df[df["model"] == "bert"] --level model')
    ('df[df["model"] == "bert"]', ['--level', 'model'])
    """
    found = _OPTION.search(rest)
    source, options = (rest, "") if found is None else (rest[: found.start()], rest[found.start() :])
    try:
        return source.strip(), shlex.split(options)
    except ValueError as error:
        raise UsageError(f"{options.strip()}: {error}") from error


class _HelpShown(Exception):  # noqa: N818 - it is no error
    """The help was printed, and nothing is left to do."""


class _Parser(Parser):
    """A parser that never ends the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError("; ".join(filter(None, (message, self.hint(message)))))

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise _HelpShown

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        given, rest = self.parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return given


@cache
def parser_of(command: str) -> Parser:
    """Return the parser of the options of a question, the same as on the command line."""
    if command == "explore":
        parser: Parser = _Parser("%aggr explore", description="Look at results: choose, click, compare.")
        asking.add_source(parser, optional=True)
        for name, words in SHOWN_FIRST.items():
            parser.add_argument(f"--{name}", help=words)
        return parser
    parser = _Parser(f"%aggr {command}", description=questions.summary_of(command))
    asking.add_source(parser, optional=True)
    questions.add_options(parser, command)
    asking.add_output(parser, lines=False)
    return parser
