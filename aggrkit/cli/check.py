"""``aggrkit check``: whether a build may be released, for the shell and for whoever reviews it."""

from __future__ import annotations

import argparse
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aggrkit.cli.asking import add_selection, add_source, opened, selected, values_in
from aggrkit.cli.rules import add_rules, rules_in, shares_in
from aggrkit.cli.sides import add_sides, frame_of, sides_in
from aggrkit.errors import AggrError, UnknownNameError, number_between
from aggrkit.model.selection import TimeRange
from aggrkit.pipeline.margins import DEFAULT_MARGIN, check_margin

if TYPE_CHECKING:
    from aggrkit.findings.gate import Gate

__all__ = ["add_to"]

_STANDARD_OUTPUT: Final = "-"
_REPORTS: Final = ("markdown", "junit", "json")
_ADJUST: Final = ("fdr_bh", "fdr_by", "holm", "bonferroni", "hierarchical", "none")
_DESCRIPTION: Final = """\
Compare two sides of your results, and say whether the current one may be released.

returns 0 if it may, 1 if something regressed, 2 for wrong usage, and 3 if the results can't tell: a file is missing or
damaged, nothing is selected, or tests of the baseline didn't run.
"""
_EXAMPLES: Final = """\
examples:
  aggrkit check results.duckdb --by build --baseline 1.4 --current 1.5
  aggrkit check results.parquet --lookback 7d --metric latency_ms --explain
  aggrkit check new.csv --against old.csv --junit gate.xml --markdown - >> "$GITHUB_STEP_SUMMARY"
  aggrkit check demo:mlperf_training --by round --baseline v3.0 --current v3.1 --missing warn
  aggrkit check --print-workflow > .github/workflows/benchmarks.yml
"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "check",
        help="say whether a build may be released: an exit code, and reports for pull request and CI",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        usage="aggrkit check SOURCE (--by COLUMN --baseline VALUE | --lookback SPAN | --against FILE) [options]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser)
    add_sides(parser)
    add_selection(parser)
    _add_method(parser)
    add_rules(parser)
    _add_reports(parser)
    parser.set_defaults(parser=parser, run=_check)


def _add_method(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it is compared")
    group.add_argument(
        "--margin",
        action="append",
        metavar="[METRIC=]SHARE",
        help=f"the smallest change that matters (repeatable; default: {100 * DEFAULT_MARGIN:g}%%)",
    )
    group.add_argument("--alpha", type=float, default=0.05, help="level of the tests (default: %(default)s)")
    group.add_argument(
        "--adjust", choices=_ADJUST, default=_ADJUST[0], help="how p-values are adjusted (default: %(default)s)"
    )
    group.add_argument(
        "--statistic",
        default="mean",
        metavar="NAME,...",
        help="what is compared: mean, p50, p95, p99, spread, or several of them (default: %(default)s)",
    )


def _add_reports(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is said", "One of the reports may go to standard output, by the name -.")
    group.add_argument("--explain", action="store_true", help="say how the answer was reached, too")
    group.add_argument("--markdown", metavar="FILE", help="write a summary for a pull request")
    group.add_argument("--junit", metavar="FILE", help="write a JUnit report: a test case for each line")
    group.add_argument("--json", nargs="?", const=_STANDARD_OUTPUT, metavar="FILE", help="write everything as JSON")
    group.add_argument(
        "--print-workflow",
        action=_PrintWorkflow,
        nargs=0,
        help="print a GitHub Actions workflow and a cron line, and end",
    )


class _PrintWorkflow(argparse.Action):
    """Print the workflow that ships with the package, whatever else is given."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        sys.stdout.write(files("aggrkit.cli").joinpath("workflow.yml").read_text("utf-8"))
        parser.exit()


def _check(given: argparse.Namespace) -> int:
    places = _places(given)
    try:
        gate = _gate(given)
    except UnknownNameError:
        raise
    except AggrError as error:
        from aggrkit.findings.gate import gate_without_data

        _write(gate_without_data(str(error)), places)  # or else the report of an earlier build would stand
        raise
    taken = _STANDARD_OUTPUT in places.values()
    said = gate.explain() if given.explain else repr(gate)
    stream = sys.stderr if taken else sys.stdout
    coding = stream.encoding or "utf-8"
    print(said.encode(coding, "backslashreplace").decode(coding), file=stream, flush=True)
    _write(gate, places)
    return gate.exit_code


def _gate(given: argparse.Namespace) -> Gate:
    try:
        sides, rules, chosen = sides_in(given), rules_in(given), selected(given)
        margin = shares_in("--margin", given.margin, DEFAULT_MARGIN)
        check_margin(margin)
        TimeRange.of(chosen["time_range"])
        number_between(given.alpha, 0, 0.5, "--alpha is a chance between 0 and 0.5")
    except (TypeError, ValueError) as error:
        if isinstance(error, AggrError):
            raise
        given.parser.error(str(error))
    results = opened(given)
    if given.against is not None:
        sides = {"baseline": frame_of(sides["baseline"], results, chosen["metrics"])}
    statistics = values_in(given.statistic)
    method: dict[str, Any] = {"margin": margin, "alpha": given.alpha, "adjust": given.adjust}
    method["statistic"] = statistics[0] if len(statistics) == 1 else statistics
    return results.compare(**sides, **chosen, **method).gate(**rules)


def _places(given: argparse.Namespace) -> dict[str, str]:
    """Return where each report goes, once it is known that none is in the way of another, or of the results."""
    places = {name: str(getattr(given, name)) for name in _REPORTS if getattr(given, name) is not None}
    paths = [place for place in places.values() if place != _STANDARD_OUTPUT]
    if len(places) - len(paths) > 1:
        given.parser.error("only one report can go to standard output; name files for the others")
    known = [Path(path).expanduser().resolve() for path in paths]
    if len(set(known)) < len(known):
        given.parser.error("two reports can't go to one file")
    for source in (given.source, given.against):
        if source is not None and Path(source).expanduser().resolve() in known:
            given.parser.error(f"a report would be written over the results in {source}")
    return places


def _write(gate: Gate, places: dict[str, str]) -> None:
    from aggrkit.output import write_whole

    for name, place in places.items():
        text = getattr(gate, f"to_{name}")()
        if place == _STANDARD_OUTPUT:
            sys.stdout.flush()
            sys.stdout.buffer.write(text.rstrip("\n").encode("utf-8") + b"\n")  # whatever the locale: XML and JSON are
            sys.stdout.buffer.flush()
        else:
            write_whole(place, text)
