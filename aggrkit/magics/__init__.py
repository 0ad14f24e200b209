"""``%load_ext aggrkit``: the questions of the command line in a notebook's cell, about variables and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aggrkit.magics.completing import IDENTIFIER, new_matcher
from aggrkit.magics.magic import AggrMagics

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["AggrMagics", "load", "unload"]


def load(shell: InteractiveShell) -> None:
    """Add ``%aggr`` to a shell, with its completion; a second time changes nothing."""
    unload(shell)
    shell.register_magics(AggrMagics(shell))
    shell.Completer.custom_matchers.append(new_matcher(shell))


def unload(shell: InteractiveShell) -> None:
    """Take ``%aggr`` away from a shell."""
    shell.magics_manager.magics["line"].pop("aggr", None)
    matchers = shell.Completer.custom_matchers
    matchers[:] = [one for one in matchers if getattr(one, "matcher_identifier", "") != IDENTIFIER]
