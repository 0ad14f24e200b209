"""``aggrkit completion``: a script with which a shell completes the command."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final

from aggrkit.cli.codes import DONE
from aggrkit.model.selection import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SHELLS", "add_to"]

SHELLS: Final = ("bash", "zsh")

_FILES: Final = ("source", "paths", "files", "output", "into")
"""The arguments that are files, in whatever command."""

_HOW: Final = """\
Print a script with which a shell completes commands, options and files.

  bash   echo 'eval "$(aggrkit completion bash)"' >> ~/.bashrc
  zsh    echo 'eval "$(aggrkit completion zsh)"' >> ~/.zshrc     (after compinit)

It takes effect in a new shell, and costs the start of one Python there. To save that, keep the script in a file:
  aggrkit completion bash > ~/.local/share/bash-completion/completions/aggrkit
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "completion",
        help="print a script with which bash or zsh completes the command",
        description=_HOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: aggrkit completion bash",
    )
    parser.add_argument("shell", choices=SHELLS, help="which shell")
    parser.set_defaults(parser=parser, run=_complete)


def _complete(given: argparse.Namespace) -> int:
    import shtab

    from aggrkit.cli import new_parser
    from aggrkit.cli.telling import write

    parser = new_parser()
    for action in _actions(parser):
        if action.dest in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.dest == "level":
            action.choices = tuple(LEVELS)
    write(shtab.complete(parser, given.shell), None)
    return DONE


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Return the arguments of all commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for inner in dict.fromkeys(action.choices.values()):
                yield from _actions(inner)
