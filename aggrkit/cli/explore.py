"""``aggrkit explore``: look at results in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import argparse

__all__ = ["SHOWN_FIRST", "add_to"]

SHOWN_FIRST: Final = {
    "level": "by what results are grouped, e.g. model_hardware",
    "metric": "which metric is shown first",
    "statistic": "which statistic: p50, p95, mean, ...",
}


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "explore",
        help="look at results in the browser: choose, click, compare",
        description="Look at results in the browser: choose, click, compare. Ends with Ctrl-C. With --follow the page"
        " shows by itself what other commands write to the file. What `aggrkit serve` holds can't be read meanwhile:"
        " ask the server.",
        epilog="example: aggrkit explore results.duckdb --metric latency_ms --port 9000",
    )
    parser.add_argument("source", help="a CSV, Parquet or DuckDB file, or a glob of files")
    parser.add_argument("--table", help="which table of a database")
    for name, words in SHOWN_FIRST.items():
        parser.add_argument(f"--{name}", help=words)
    parser.add_argument("--follow", action="store_true", help="show by itself what is written to the source meanwhile")
    parser.add_argument("--port", type=int, default=8866, help="where the page is served (default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="open no browser; the address is printed")
    parser.set_defaults(parser=parser, run=_explore)


def _explore(given: argparse.Namespace) -> int:
    """Serve the panel of a source, once it is known that it can be shown."""
    import aggrkit
    from aggrkit.panel.dashboard import serve

    state = {name: value for name in SHOWN_FIRST if (value := getattr(given, name)) is not None}
    aggrkit.open(given.source, table=given.table).explore(**state).close()
    return serve(given.source, given.table, state, follow=given.follow, port=given.port, browser=not given.no_browser)
