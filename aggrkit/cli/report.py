"""``aggrkit report``: a page about results that can be sent to anybody."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from aggrkit.cli import asking
from aggrkit.cli.codes import DONE, FAILED
from aggrkit.errors import ReportError

if TYPE_CHECKING:
    import argparse

__all__ = ["add_to"]

_DESCRIPTION = """\
Run a template on results, and write a page of what was found: in words, pictures and tables.

The suffix of the output says what is written: .html (one file that needs no network), .pdf, .md (with its pictures in a
folder) or .ipynb. 'aggrkit templates' lists the templates and their parameters.
"""
_EXAMPLES = """\
examples:
  aggrkit report auto demo:onnx_scoreboard -o scores.html --level hardware
  aggrkit report performance results.duckdb -o nightly.pdf --level model --where model=bert,resnet --since 2026-03-01
  aggrkit report regression demo:mlperf_training -o rounds.html -p by round -p baseline v3.0 -p current v3.1

returns 0 when the report was written (whatever it says), 1 when the notebook failed (the page shows the error, and the
notebook as far as it was run is kept beside it), 2 for wrong usage, 3 when the results can't be read
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    import argparse

    parser = commands.add_parser(
        "report",
        help="write a page about results: HTML, PDF, Markdown or a notebook",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "template", help="name of a template, path of a notebook, or auto: the one that fits the results"
    )
    asking.add_source(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="where to write: .html, .pdf, .md or .ipynb"
    )
    parser.add_argument(
        *("-p", "--parameter"),
        action="append",
        default=[],
        nargs=2,
        metavar=("NAME", "VALUE"),
        help="a parameter of the template; given again for each value of a list; JSON where it is no plain text",
    )
    parser.add_argument(
        "--level",
        dest="grouped",  # it has no default of its own
        metavar="NAME",
        help="by what results are grouped, as for 'aggrkit stats'; by default what fits them",
    )
    asking.add_selection(parser, level=None)
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.set_defaults(parser=parser, run=_report)


def _report(given: argparse.Namespace) -> int:
    """Make the report, and say in a line what it says."""
    from aggrkit.reports.choosing import chosen_template
    from aggrkit.reports.templates import template_of

    results = asking.opened(given)
    said = asking.selected(given) | {"level": None if given.grouped is None else asking.level_in(given.grouped)}
    said = {key: value for key, value in said.items() if value is not None}
    texts: dict[str, list[str]] = {}
    for name, value in given.parameter:
        texts.setdefault(name, []).append(value)
    name = given.template
    if name == "auto":
        name, why = chosen_template(results, {**said, **texts})
        print(f"Template {name!r}, since {why}.", file=sys.stderr)
    template = template_of(name)
    parameters: dict[str, Any] = said | {key: template.parameter(key).read(values) for key, values in texts.items()}
    try:
        made = results.report(given.output, name, progress=not given.quiet, **parameters)
    except ReportError as error:
        print(f"aggrkit: {error}", file=sys.stderr)
        return FAILED
    print(made)
    return DONE
