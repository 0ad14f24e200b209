"""The command line ``aggrkit``: a module for each command, with ``add_to(commands)``."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from aggrkit import __version__
from aggrkit.cli import demo, explore, serve, worker
from aggrkit.cli.codes import DATA_TROUBLE, INTERRUPTED, USAGE
from aggrkit.errors import AggrError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["main"]

_COMMANDS: Final = (demo, explore, serve, worker)
_DESCRIPTION: Final = """\
Understand the results of the same tests on many models, devices and workers.

examples:
  aggrkit demo                        statistics, anomalies and changes of real MLPerf results
  aggrkit demo --dataset jsfw_bench   the same of web frameworks on Chrome releases
  aggrkit demo --lab                  open the quickstart notebook in JupyterLab
  aggrkit explore results.duckdb      look at your own results in the browser
  aggrkit serve results.duckdb        take results in, and give answers out, over a WebSocket
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``aggrkit``.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        0 when it is done, 1 when the answer is no, 2 for wrong usage, 3 for trouble with the data, 130 when
        interrupted.
    """
    parser = _parser()
    given = parser.parse_args(argv)
    if given.command is None:
        parser.print_help(sys.stderr)
        return USAGE
    try:
        return int(given.run(given))
    except UnknownNameError as error:
        return int(given.parser.error(str(error)))
    except AggrError as error:
        print(f"aggrkit: {error}", file=sys.stderr)
        return DATA_TROUBLE
    except KeyboardInterrupt:
        print("\naggrkit: interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("aggrkit", description=_DESCRIPTION, formatter_class=plain)
    parser.add_argument("--version", action="version", version=f"aggrkit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    for command in _COMMANDS:
        command.add_to(commands)
    return parser
