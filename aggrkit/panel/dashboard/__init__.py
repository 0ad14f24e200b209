"""The panel as a page of its own, served by Voilà."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aggrkit.errors import AggrError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["serve"]


def serve(
    source: str,
    table: str | None,
    state: Mapping[str, Any],
    *,
    follow: bool = False,
    port: int = 8866,
    browser: bool = True,
) -> int:
    """Serve a panel until Voilà ends.

    Parameters
    ----------
    source : str
        Path of a file or database, as for `aggrkit.open`.
    table : str or None
        Which table of a database.
    state : mapping
        What is shown first, as for ``df.aggr.explore``.
    follow : bool, optional
        Whether the panel follows the source.
    port : int, optional
        Where the page is served, on this machine only.
    browser : bool, optional
        Whether it is opened in the browser.

    Returns
    -------
    int
        The exit code of Voilà.

    Raises
    ------
    AggrError
        If Voilà isn't installed.
    """
    if importlib.util.find_spec("voila") is None:
        raise AggrError(
            f"Voilà isn't installed in this environment. Install it, then try again:\n"
            f"    {sys.executable} -m pip install 'aggrkit[lab]'"
        )
    with tempfile.TemporaryDirectory(prefix="aggrkit-") as folder:
        notebook = Path(folder) / "explore.ipynb"
        place = str(Path(source).expanduser().absolute())
        shown = {**state, **({"follow": True} if follow else {})}
        notebook.write_text(json.dumps(_notebook(place, table, shown)), "utf-8")
        here = str(Path(__file__).parent)
        places = [here, *os.environ.get("JUPYTER_PATH", "").split(os.pathsep)]
        environment = {**os.environ, "JUPYTER_PATH": os.pathsep.join(filter(None, places))}
        command = [sys.executable, "-m", "voila", str(notebook), "--template=aggrkit", "--Voila.ip=127.0.0.1"]
        command += [f"--port={port}", *([] if browser else ["--no-browser"])]
        with subprocess.Popen(command, env=environment) as process:  # noqa: S603
            try:
                return process.wait()
            finally:
                process.terminate()  # what ends this command ends Voilà: Ctrl-C, or an error


def _notebook(source: str, table: str | None, shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return a notebook of one cell that shows the panel."""
    opened = f"aggrkit.open({source!r}{'' if table is None else f', table={table!r}'})"
    arguments = ", ".join(f"{name}={value!r}" for name, value in shown.items())
    cell: dict[str, Any] = {
        "cell_type": "code",
        "id": "explore",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": f"import aggrkit\n{opened}.explore({arguments})",
    }
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
