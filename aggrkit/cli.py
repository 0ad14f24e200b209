"""The command line: ``aggrkit demo`` shows what the package says of real results, ``aggrkit explore`` looks at any."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aggrkit import __version__, datasets
from aggrkit.errors import AggrError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["main"]

_DONE: Final = 0
_FAILED: Final = 1
_USAGE: Final = 2
_INTERRUPTED: Final = 130

_SHOWN_FIRST: Final = {
    "level": "by what results are grouped, e.g. model_hardware",
    "metric": "which metric is shown first",
    "statistic": "which statistic: p50, p95, mean, ...",
}
_NOTEBOOK: Final = "quickstart.ipynb"
_DESCRIPTION: Final = """\
Understand the results of the same tests on many models, devices and workers.

examples:
  aggrkit demo                        statistics, anomalies and changes of real MLPerf results
  aggrkit demo --dataset jsfw_bench   the same of web frameworks on Chrome releases
  aggrkit demo --lab                  open the quickstart notebook in JupyterLab
  aggrkit explore results.duckdb      look at your own results in the browser
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
        0 when it is done, 1 when it can't be done, 2 for wrong usage, 130 when interrupted.
    """
    parser = _parser()
    given = parser.parse_args(argv)
    if given.command is None:
        parser.print_help(sys.stderr)
        return _USAGE
    try:
        return int(given.run(given))
    except UnknownNameError as error:
        return int(given.parser.error(str(error)))
    except AggrError as error:
        print(f"aggrkit: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        print("\naggrkit: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("aggrkit", description=_DESCRIPTION, formatter_class=plain)
    parser.add_argument("--version", action="version", version=f"aggrkit {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command")
    demo = commands.add_parser(
        "demo",
        help="analyse real results that ship with the package, and print what was found",
        description="Analyse real results that ship with the package, and print what was found.",
        epilog="example: aggrkit demo --dataset jsfw_bench",
    )
    demo.add_argument(
        "--dataset",
        default="mlperf_training",
        metavar="NAME",
        help=f"one of {', '.join(datasets.names())} (default: %(default)s)",
    )
    demo.add_argument(
        "--lab", action="store_true", help=f"open the notebook {_NOTEBOOK} in JupyterLab instead; it is copied here"
    )
    demo.add_argument("jupyter", nargs="*", help="with --lab, after --: arguments for jupyter lab, e.g. -- --port 9000")
    demo.set_defaults(parser=demo, run=_demo)
    explore = commands.add_parser(
        "explore",
        help="look at results in the browser: choose, click, compare",
        description="Look at results in the browser: choose, click, compare. Ends with Ctrl-C.",
        epilog="example: aggrkit explore results.duckdb --metric latency_ms --port 9000",
    )
    explore.add_argument("source", help="a CSV, Parquet or DuckDB file, or a glob of files")
    explore.add_argument("--table", help="which table of a database")
    for name, words in _SHOWN_FIRST.items():
        explore.add_argument(f"--{name}", help=words)
    explore.add_argument("--port", type=int, default=8866, help="where the page is served (default: %(default)s)")
    explore.add_argument("--no-browser", action="store_true", help="open no browser; the address is printed")
    explore.set_defaults(parser=explore, run=_explore)
    return parser


def _explore(given: argparse.Namespace) -> int:
    """Serve the panel of a source, once it is known that it can be shown."""
    import aggrkit
    from aggrkit.panel.dashboard import serve

    state = {name: value for name in _SHOWN_FIRST if (value := getattr(given, name)) is not None}
    aggrkit.open(given.source, table=given.table).explore(**state).close()
    return serve(given.source, given.table, state, port=given.port, browser=not given.no_browser)


def _demo(given: argparse.Namespace) -> int:
    if given.lab:
        return _open_lab(given.jupyter)
    if given.jupyter:
        given.parser.error(f"unrecognized arguments: {' '.join(given.jupyter)} (only --lab takes arguments after --)")
    _show_demo(given.dataset)
    return _DONE


def _show_demo(name: str) -> None:
    """Print what the package says of a set, and what to do next."""
    from aggrkit.demo import show

    show(name)
    print(f"Next: the same in a notebook. To open {_NOTEBOOK} in JupyterLab:")
    print(f"    {_command()} demo --lab")


def _command() -> str:
    """Return how this command is called from here: by its name, or by a path where it isn't on the search path."""
    if shutil.which("aggrkit"):
        return "aggrkit"
    beside = Path(sys.executable).with_name("aggrkit")
    if not beside.exists():
        return f"{sys.executable} -m aggrkit"
    return str(beside.relative_to(Path.cwd())) if beside.is_relative_to(Path.cwd()) else str(beside)


def _open_lab(options: Sequence[str]) -> int:
    """Open the notebook in JupyterLab, and wait until that ends."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise AggrError(
            f"JupyterLab isn't installed in this environment. Install it, then try again:\n"
            f"    {sys.executable} -m pip install jupyterlab"
        )
    notebook = _notebook_here()
    process = subprocess.Popen([sys.executable, "-m", "jupyterlab", str(notebook), *options])  # noqa: S603
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            # Ctrl-C is for JupyterLab, which asks whether to stop.
            continue


def _notebook_here() -> Path:
    """Return the notebook in the current directory; it is copied there, unless there already is one."""
    here = Path.cwd() / _NOTEBOOK
    if here.exists():
        print(f"{_NOTEBOOK} is here already: it is opened as it is.")
        return here
    # A wheel carries the notebook inside the package; an editable install has it beside the package.
    inside = resources.files("aggrkit") / "notebooks" / _NOTEBOOK
    beside = Path(__file__).parents[1] / "notebooks" / _NOTEBOOK
    source = next((place for place in (inside, beside) if place.is_file()), None)
    if source is None:
        raise AggrError(f"the notebook {_NOTEBOOK} is missing from this installation; install aggrkit again")
    try:
        here.write_bytes(source.read_bytes())
    except OSError as error:
        raise AggrError(f"the notebook can't be copied to {here}: {error.strerror}; try another directory") from error
    print(f"{_NOTEBOOK} was copied here.")
    return here
