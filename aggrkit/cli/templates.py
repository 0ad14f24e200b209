"""``aggrkit templates``: which reports there are, and what can be said to them."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from aggrkit.cli.codes import DONE

if TYPE_CHECKING:
    import argparse

    from aggrkit.reports import Template

__all__ = ["add_to"]


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    import argparse

    parser = commands.add_parser(
        "templates",
        help="list the templates of reports, or copy one to edit it",
        description="List the templates of reports with their parameters, or copy one to edit it.",
        epilog="examples:\n  aggrkit templates\n  aggrkit templates performance\n"
        "  aggrkit templates --copy performance mine.ipynb && aggrkit report mine.ipynb runs.parquet -o mine.html",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", help="show the parameters of this one: a name, or the path of a notebook")
    parser.add_argument(
        "--copy", nargs=2, metavar=("NAME", "FILE"), help="write a copy, for 'aggrkit report FILE' to use"
    )
    parser.add_argument("--json", action="store_true", help="the list for programs")
    parser.set_defaults(parser=parser, run=_templates)


def _templates(given: argparse.Namespace) -> int:
    """List them, show one, or copy one."""
    from aggrkit.reports.templates import template_of, templates

    if given.copy:
        _copy(template_of(given.copy[0]), Path(given.copy[1]).expanduser(), given.parser)
        return DONE
    found = [template_of(given.name)] if given.name else list(templates().values())
    if given.json:
        print(_json(found))
    elif given.name:
        print("\n".join(_described(found[0])))
    else:
        width = max(len(template.name) for template in found)
        for template in found:
            print(f"{template.name.ljust(width)}  {template.words}")
        print("\nIts parameters: aggrkit templates NAME. To change one: aggrkit templates --copy NAME FILE.ipynb")
    return DONE


def _described(template: Template) -> list[str]:
    """Return a template and its parameters, a parameter in two lines."""
    lines = [f"{template.name}: {template.words}" if template.words else template.name, ""]
    for parameter in template.parameters:
        lines.append(f"  {parameter}{'  (must be given)' if parameter.required else ''}")
        lines += textwrap.wrap(parameter.words, 100, initial_indent="      ", subsequent_indent="      ")
    return lines


def _json(found: list[Template]) -> str:
    import json

    said = [
        {
            "name": template.name,
            "words": template.words,
            "parameters": [
                {
                    "name": parameter.name,
                    "types": list(parameter.types),
                    "required": parameter.required,
                    "default": None if parameter.required else parameter.default,
                    "words": parameter.words,
                }
                for parameter in template.parameters
            ],
        }
        for template in found
    ]
    return json.dumps(said, indent=2)


def _copy(template: Template, target: Path, parser: argparse.ArgumentParser) -> None:
    """Write a copy of a template; what is there already stays."""
    from aggrkit.output import write_whole

    if target.suffix != ".ipynb":
        parser.error(f"a template is a notebook: {target} must end with .ipynb")
    if target.exists():
        parser.error(f"{target} is there already; choose another name, or remove it")
    write_whole(target, template.path.read_bytes())
    print(f"{target} was written; edit it, then: aggrkit report {target} SOURCE -o report.html")
