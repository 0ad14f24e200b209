"""A parser of arguments whose errors say what was probably meant."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from aggrkit.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Parser"]


class Parser(argparse.ArgumentParser):
    """As `argparse.ArgumentParser`; options are written out, and errors name the nearest one."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"allow_abbrev": False, **options})

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse arguments; what isn't known is told by the parser of the command that was given."""
        given, rest = self.parse_known_args(args, namespace)
        if rest:
            getattr(given, "parser", self).error(f"unrecognized arguments: {' '.join(rest)}")
        return given

    def error(self, message: str) -> NoReturn:
        """End with the usage and the message, and with what was probably meant."""
        super().error("; ".join(filter(None, (message, self.hint(message)))))

    def hint(self, message: str) -> str:
        """Return what was probably meant, or an empty string."""
        if found := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            return did_you_mean(found[1], re.findall(r"[^', ]+", found[2]))
        if found := re.search(r"unrecognized arguments: (\S+)", message):
            wrong = found[1].partition("=")[0]
            if wrong.startswith("-"):
                known = (action for action in self._actions if action.dest != "help")
                return did_you_mean(wrong, (name for action in known for name in action.option_strings))
            if Path(wrong).exists():
                return "SOURCE is a single argument: put a pattern for many files in quotes, as in 'runs/*.csv'"
        return ""
