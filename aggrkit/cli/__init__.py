"""The command line ``aggrkit``: a module for each command, with ``add_to(commands)``."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final

from aggrkit import __version__
from aggrkit.cli import check, completion, demo, doctor, explore, ingest, questions, report, serve, templates, worker
from aggrkit.cli.codes import DATA_TROUBLE, INTERRUPTED, PIPE_CLOSED, USAGE
from aggrkit.cli.parser import Parser
from aggrkit.cli.wording import in_options
from aggrkit.errors import AggrError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["Parser", "main", "new_parser"]

_COMMANDS: Final = (demo, questions, explore, report, templates, check, ingest, serve, worker, doctor, completion)
"""The modules of the commands, in the order of the help."""

_DESCRIPTION: Final = """\
Understand the results of the same tests on many models, devices and workers.

examples:
  aggrkit demo                        statistics, anomalies and changes of real MLPerf results
  aggrkit stats results.csv           what is normal, in your own results
  aggrkit compare results.csv --by build --baseline a --current b
                                      what regressed, improved or stayed the same
  aggrkit explore results.duckdb      look at your own results in the browser
  aggrkit report auto results.csv -o results.html
                                      write a page about them that can be sent to anybody
  aggrkit ingest bench.json --into results.duckdb
                                      take results of other tools into a store
  aggrkit check results.duckdb --by build --baseline 1.4 --current 1.5
                                      say whether a build may be released
  aggrkit serve results.duckdb        take results in, and give answers out, over a WebSocket
  aggrkit COMMAND --help              what a command takes, with an example
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
        interrupted, 141 when the output was no longer wanted.
    """
    parser = new_parser()
    given = parser.parse_args(argv)
    if given.command is None:
        parser.print_help(sys.stderr)
        return USAGE
    try:
        returned = int(given.run(given))
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still to be written at the end of the process has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except UnknownNameError as error:
        return int(given.parser.error(in_options(str(error))))
    except AggrError as error:
        print(f"aggrkit: {in_options(str(error))}", file=sys.stderr)
        return DATA_TROUBLE
    except (ValueError, TypeError) as error:  # a value that the question can't take, such as an alpha of 5
        return int(given.parser.error(in_options(str(error))))
    except KeyboardInterrupt:
        print("\naggrkit: interrupted", file=sys.stderr)
        return INTERRUPTED
    return returned


def new_parser() -> Parser:
    """Return the parser of the command, with all that it can do."""
    plain = argparse.RawDescriptionHelpFormatter
    parser = Parser("aggrkit", description=_DESCRIPTION, formatter_class=plain)
    parser.add_argument("--version", action="version", version=f"aggrkit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for command in _COMMANDS:
        command.add_to(commands)
    return parser
