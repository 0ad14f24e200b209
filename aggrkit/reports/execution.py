"""Notebooks that are run with parameters, by papermill."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, Final

from aggrkit.errors import AggrError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nbformat import NotebookNode

__all__ = ["executed", "failure_of", "require"]

_NEEDED: Final = ("papermill", "nbconvert", "ipykernel")
_START: Final = 120
_QUIET: Final = {name: {"transport_encryption": "auto"} for name in ("KernelManager", "_OwnKernel")}
"""Kernels warn at each start that they don't encrypt what stays on this machine, unless they may choose."""


def require() -> None:
    """Make sure that what runs and converts notebooks is installed.

    Raises
    ------
    AggrError
        If it isn't; with the command that installs it.
    """
    from importlib.util import find_spec

    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise AggrError(
            f"reports need {', '.join(missing)}, which this environment lacks. Install it, then try again:\n"
            f"    {sys.executable} -m pip install 'aggrkit[reports]'"
        )


def executed(
    template: Path, output: Path, parameters: Mapping[str, Any], advance: Callable[[int, int], None] | None = None
) -> NotebookNode:
    """Run a notebook in a kernel of this very environment, and save it after each cell.

    Parameters
    ----------
    template : pathlib.Path
        The notebook; it isn't changed.
    output : pathlib.Path
        Where the executed one is written.
    parameters : mapping
        What is set after its cell with the tag "parameters".
    advance : callable, optional
        Called with the number of cells that are done, and of all, as they are.

    Returns
    -------
    nbformat.NotebookNode
        The notebook with its outputs; where a cell failed, those up to it: see `failure_of`.
    """
    import nbformat
    from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
    from papermill.exceptions import PapermillExecutionError
    from papermill.execute import execute_notebook
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook
    from traitlets.config import Config

    class Counting(NBClientEngine):  # type: ignore[misc]  # papermill has no types
        """Papermill's engine, which says how far it is."""

        @classmethod
        def execute_managed_notebook(cls, nb_man: NotebookExecutionManager, kernel_name: str, **options: Any) -> None:
            complete = nb_man.cell_complete

            def cell_complete(cell: NotebookNode, cell_index: int = 0, **said: Any) -> None:
                complete(cell, cell_index=cell_index, **said)
                if advance is not None:
                    advance(cell_index + 1, len(nb_man.nb.cells))

            nb_man.cell_complete = cell_complete
            super().execute_managed_notebook(nb_man, kernel_name, **options)

    papermill_engines.register("aggrkit", Counting)
    # Given parameterized, since papermill can't read types such as "str | None", and would warn.
    # A notebook of somebody's own need not say its kernel: there is only one.
    kernel = {"kernel_name": "python3", "language": "python"}
    notebook = parameterize_notebook(
        load_notebook_node(str(template)), dict(parameters), engine_name="aggrkit", **kernel
    )
    with contextlib.suppress(PapermillExecutionError):  # the notebook is saved with the error in it
        execute_notebook(
            notebook,
            str(output),
            engine_name="aggrkit",
            **kernel,
            progress_bar=False,
            start_timeout=_START,
            # the invisible state of a widget would be shown instead of its picture
            store_widget_state=False,
            kernel_manager_class=_own_kernel(),
            config=Config(_QUIET),
        )
    made: NotebookNode = nbformat.read(output, as_version=4)  # type: ignore[no-untyped-call]
    return made


def failure_of(notebook: NotebookNode) -> tuple[str, str] | None:
    """Return the name of the error that a notebook ended with, and its message; None where it ended well."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return str(output.ename), str(output.evalue)
        if cell.get("metadata", {}).get("papermill", {}).get("exception") is True:
            return "DeadKernelError", "the kernel died, perhaps for want of memory"
    return None


def _own_kernel() -> type:
    """Return a manager that starts IPython with the interpreter that runs now, whatever kernels are installed."""
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class _OwnKernel(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return KernelSpec(**get_kernel_dict())

    return _OwnKernel
