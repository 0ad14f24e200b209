"""``aggrkit doctor``: what is wrong here, and what to do about it."""

from __future__ import annotations

import json
from argparse import RawDescriptionHelpFormatter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aggrkit.cli.codes import DONE, FAILED

if TYPE_CHECKING:
    import argparse

    from aggrkit.doctor import Diagnosis

__all__ = ["add_to"]


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "doctor",
        help="find out what is wrong with the installation, a notebook or a results file",
        description="Find out what is wrong with the installation, with a notebook or with a results file, and what\n"
        "to do about it. Returns 1 if something won't work.",
        epilog="example:\n  aggrkit doctor results.csv",
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths", nargs="*", metavar="FILE", help="results files and notebooks that are examined as well"
    )
    parser.add_argument("--json", action="store_true", help="JSON, for programs")
    parser.set_defaults(parser=parser, run=_doctor)


def _doctor(given: argparse.Namespace) -> int:
    from aggrkit.cli.telling import write
    from aggrkit.cli.waiting import waiting
    from aggrkit.doctor import examine

    with waiting("examining"):
        found = list(examine(given.paths))
    healthy = all(one.state != "fail" for one in found)
    if given.json:
        told: dict[str, Any] = {"healthy": healthy, "examined": [asdict(one) for one in found]}
        write(json.dumps(told, indent=2, ensure_ascii=False) + "\n", None)
    else:
        _print(found)
    return DONE if healthy else FAILED


def _print(found: list[Diagnosis]) -> None:
    from rich.table import Table
    from rich.text import Text

    from aggrkit.printing import STYLES, new_console

    console = new_console()
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", max_width=28)
    table.add_column(overflow="fold")
    for one in found:
        table.add_row(Text(one.state, STYLES[one.state]), one.name, one.found)
        if one.fix:
            table.add_row("", "", Text(f"-> {one.fix}", "bold"))
    console.print(table)
    counts = {state: sum(one.state == state for one in found) for state in ("fail", "warning")}
    said = [f"{count} {word}" for word, count in (("failed", counts["fail"]), ("warned", counts["warning"])) if count]
    console.print(f"\n{len(found)} examined: {', '.join(said) or 'all is well'}.", style="bold")
