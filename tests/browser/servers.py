"""JupyterLab and Voilà as processes of their own, which share nothing with what the user has set up."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import nbformat

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["JupyterLab", "Server", "Voila", "clean_environment", "write_notebook"]

START, STOP = 60, 60
SETTINGS = {
    # Asks for nothing outside, and is no toast that hides what is tested.
    "@jupyterlab/apputils-extension/notification": {
        "checkForUpdates": False,
        "doNotDisturbMode": True,
        "fetchNews": "false",
    },
}
# The server is reached on this machine only, also where the user's browser needs a proxy.
_direct = build_opener(ProxyHandler({}))


def clean_environment(folder: Path) -> dict[str, str]:
    """Return an environment in which Jupyter finds and leaves everything in a folder, and its kernel is this Python."""
    names = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JUPYTER", "IPYTHON", "VOILA", "PYTEST_")) and name not in {"PYTHONPATH", "DISPLAY"}
    }
    kernel = folder / "data" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}))
    # The kernel above goes before the one that came with ipykernel, which may name another Python.
    return {**inherited, **{name: str(folder / each) for name, each in names.items()}, "JUPYTER_PREFER_ENV_PATH": "0"}


def write_notebook(path: Path, cells: Iterable[str], outputs: Sequence[Sequence[dict[str, Any]]] | None = None) -> Path:
    """Write a notebook of code cells; with outputs, it is one that another person has run: nobody trusts it."""
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for number, source in enumerate(cells):
        cell = nbformat.v4.new_code_cell(source, id=f"cell-{number}")
        if outputs is not None and outputs[number]:
            cell.execution_count = number + 1
            cell.outputs = [nbformat.v4.new_output(**output) for output in outputs[number]]
        notebook.cells.append(cell)
    nbformat.write(notebook, path)
    return path


class Server:
    """A server on a free port of this machine: `with Server(command, ...) as server`, then `server.url`.

    Parameters
    ----------
    command : sequence of str
        After `python -m`; ``{port}`` stands for the port.
    folder : Path
        Where it runs, and leaves its log.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.log = folder / f"{command[0]}-{self.port}.log"
        self._command = [sys.executable, "-m", *(part.format(port=self.port) for part in command)]
        self._environment = clean_environment(folder)

    def __enter__(self) -> Server:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the server, which ends its kernels; then whatever is left of them."""
        self._process.terminate()
        try:
            self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def call(self, method: str, path: str) -> Any:
        """Return the JSON with which the server answers, or None if it answers with nothing."""
        with _direct.open(Request(self.url + path, method=method), timeout=START) as response:
            body = response.read()
        return json.loads(body) if body else None

    def last_words(self, lines: int = 40) -> str:
        """Return the end of the server's log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def _wait(self) -> None:
        end = time.monotonic() + START
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with _direct.open(self.url + "/api/status", timeout=START):
                    return
            except HTTPError as answer:
                answer.close()
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"{self._command[2]} did not start:\n{self.last_words()}")


class JupyterLab(Server):
    """JupyterLab with an own root, own settings, and nobody to identify."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        self._settings = folder / "settings"
        command = [
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            "--ServerApp.ip=127.0.0.1",
            "--ServerApp.port={port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.root}",
            "--IdentityProvider.token=",
            "--ServerApp.password=",
            "--ServerApp.disable_check_xsrf=True",
            "--LabApp.extension_manager=readonly",
            "--LabApp.expose_app_in_browser=True",
        ]
        super().__init__(command, folder)

    def reset(self) -> None:
        """Shut down all kernels, empty the root, and forget the settings that a test has changed, such as the theme."""
        for session in self.call("GET", "/api/sessions"):
            self.call("DELETE", f"/api/sessions/{session['id']}")
        for path in sorted(self.root.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        for path in self._settings.rglob("*.jupyterlab-settings"):
            path.unlink()
        for name, values in SETTINGS.items():
            path = self._settings / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))


class Voila(Server):
    """Voilà, which shows one notebook: a kernel for each view of the page."""

    def __init__(self, notebook: Path, folder: Path, *options: str) -> None:
        command = [
            "voila",
            str(notebook),
            "--no-browser",
            "--Voila.ip=127.0.0.1",
            "--port={port}",
            "--Voila.port_retries=0",
            "--show_tracebacks=True",
            *options,
        ]
        super().__init__(command, folder)


class Explore(Server):
    """The command ``aggrkit explore`` as it was installed."""

    def __init__(self, source: Path, folder: Path, *options: str) -> None:
        super().__init__(["aggrkit", "explore", str(source), "--port", "{port}", "--no-browser", *options], folder)
        self._command[:3] = [str(Path(sys.executable).with_name("aggrkit"))]

    def interrupt(self) -> list[str]:
        """Do what Ctrl-C does to the command alone, and return what is left running of all that it has started."""
        import psutil

        started = psutil.Process(self._process.pid).children(recursive=True)
        assert len(started) >= 2, "a server and a kernel are running"
        self._process.send_signal(signal.SIGINT)
        self._process.wait(STOP)
        _, left = psutil.wait_procs(started, timeout=STOP)
        return [" ".join(process.cmdline()) for process in left]
