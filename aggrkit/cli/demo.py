"""``aggrkit demo``: what the package says of real results, in the terminal or in JupyterLab."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aggrkit import datasets
from aggrkit.cli.codes import DONE
from aggrkit.errors import AggrError
from aggrkit.shipped import shipped_notebooks

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["add_to"]

_NOTEBOOK: Final = "quickstart.ipynb"


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "demo",
        help="analyse real results that ship with the package, and print what was found",
        description="Analyse real results that ship with the package, and print what was found.",
        epilog="example: aggrkit demo --dataset jsfw_bench",
    )
    parser.add_argument(
        "--dataset",
        default="mlperf_training",
        metavar="NAME",
        help=f"one of {', '.join(datasets.names())} (default: %(default)s)",
    )
    parser.add_argument(
        "--lab", action="store_true", help=f"open the notebook {_NOTEBOOK} in JupyterLab instead; it is copied here"
    )
    parser.add_argument(
        "jupyter", nargs="*", help="with --lab, after --: arguments for jupyter lab, e.g. -- --port 9000"
    )
    parser.set_defaults(parser=parser, run=_demo)


def _demo(given: argparse.Namespace) -> int:
    if given.lab:
        return _open_lab(given.jupyter)
    if given.jupyter:
        given.parser.error(f"unrecognized arguments: {' '.join(given.jupyter)} (only --lab takes arguments after --)")
    _show_demo(given.dataset)
    return DONE


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
    source = shipped_notebooks()[_NOTEBOOK.removesuffix(".ipynb")]
    try:
        here.write_bytes(source.read_bytes())
    except OSError as error:
        raise AggrError(f"the notebook can't be copied to {here}: {error.strerror}; try another directory") from error
    print(f"{_NOTEBOOK} was copied here.")
    return here
