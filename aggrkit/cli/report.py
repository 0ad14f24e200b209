"""``aggrkit report``: a page about results that can be sent to anybody."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

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
  aggrkit report performance runs.parquet -o performance.html
  aggrkit report auto results.duckdb -o nightly.pdf -p level model -p where '{"model": ["bert", "resnet"]}'
  aggrkit report regression runs.parquet -o release.html -p by build -p baseline v1.2 -p current v1.3

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
    parser.add_argument("source", help="a CSV, Parquet, JSON lines or DuckDB file, a folder, or a glob of files")
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
    parser.add_argument("--table", help="which table of a database")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.set_defaults(parser=parser, run=_report)


def _report(given: argparse.Namespace) -> int:
    """Make the report, and say in a line what it says."""
    import aggrkit
    from aggrkit.reports.choosing import chosen_template
    from aggrkit.reports.templates import template_of

    results = aggrkit.open(given.source, table=given.table)
    texts: dict[str, list[str]] = {}
    for name, value in given.parameter:
        texts.setdefault(name, []).append(value)
    name = given.template
    if name == "auto":
        name, why = chosen_template(results, texts)
        print(f"Template {name!r}, since {why}.", file=sys.stderr)
    template = template_of(name)
    parameters: dict[str, Any] = {key: template.parameter(key).read(values) for key, values in texts.items()}
    try:
        made = results.report(given.output, name, progress=not given.quiet, **parameters)
    except ReportError as error:
        print(f"aggrkit: {error}", file=sys.stderr)
        return FAILED
    print(made)
    return DONE
