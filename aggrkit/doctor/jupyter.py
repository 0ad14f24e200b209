"""Examinations of JupyterLab, its extensions, kernels and notebooks."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from aggrkit.doctor.diagnosis import Diagnosis, failed, fine, install, warned

__all__ = ["kernel", "lab", "notebook", "signatures", "widgets"]

_EXTENSIONS: Final = {"anywidget": "anywidget", "@jupyter-widgets/jupyterlab-manager": "jupyterlab_widgets"}
"""The extensions that the panel needs, each with the package that brings it."""

_VEGA: Final = "@jupyterlab/vega5-extension"
_OF_CHARTS: Final = "5"
"""The version of Vega-Lite in which charts are written for notebooks."""


def lab() -> Diagnosis:
    """Look for JupyterLab, and whether it draws Vega-Lite of the version of the charts."""
    if importlib.util.find_spec("jupyterlab") is None:
        return warned("JupyterLab isn't installed in this environment", install("aggrkit[lab]"))
    from jupyter_core.paths import ENV_JUPYTER_PATH

    version = metadata.version("jupyterlab")
    if reason := _disabled(_VEGA):
        return failed(f"JupyterLab {version} draws no charts: {reason}", f"jupyter labextension enable {_VEGA}")
    drawn = {}
    for folder in ENV_JUPYTER_PATH:
        place = Path(folder) / "lab" / "static" / "third-party-licenses.json"
        if place.is_file():
            packages = json.loads(place.read_text("utf-8"))["packages"]
            drawn = {one["name"]: one["versionInfo"] for one in packages if str(one["name"]).startswith("vega")}
    vega_lite = str(drawn.get("vega-lite", ""))
    if vega_lite and vega_lite.partition(".")[0] != _OF_CHARTS:
        return failed(
            f"JupyterLab {version} draws Vega-Lite {vega_lite}, and charts are written in version {_OF_CHARTS}",
            install("--upgrade", "aggrkit", "jupyterlab>=4.4"),
        )
    return fine(f"JupyterLab {version}{f', draws Vega-Lite {vega_lite}' if vega_lite else ''}")


def widgets() -> Diagnosis:
    """Look whether JupyterLab has what shows the panel, and whether it is switched on."""
    if importlib.util.find_spec("jupyterlab") is None:
        return warned("not examined: JupyterLab isn't installed in this environment", install("aggrkit[lab]"))
    from jupyter_core.paths import jupyter_path

    versions = []
    for name, package in _EXTENSIONS.items():
        place = next((at for folder in jupyter_path("labextensions") if (at := Path(folder) / name).is_dir()), None)
        if place is None:
            return failed(f"JupyterLab lacks the extension {name}", install("--force-reinstall", "--no-deps", package))
        if reason := _disabled(name):
            return failed(f"the extension {name} is switched off: {reason}", f"jupyter labextension enable {name}")
        versions.append(f"{name} {json.loads((place / 'package.json').read_text('utf-8'))['version']}")
    return fine(", ".join(versions))


def kernel() -> Diagnosis:
    """Look whether notebooks can be run by this Python."""
    if importlib.util.find_spec("ipykernel") is None or importlib.util.find_spec("jupyter_client") is None:
        return warned("ipykernel isn't installed: notebooks can't be run by this Python", install("ipykernel"))
    from jupyter_client.kernelspec import KernelSpecManager

    specs = KernelSpecManager().get_all_specs()
    ours = [name for name, found in specs.items() if _is_ours(found["spec"]["argv"][:1], found["resource_dir"])]
    if not ours:
        there = ", ".join(specs) or "none"
        return failed(
            f"no kernel runs {sys.executable}, so that notebooks don't find aggrkit; kernels: {there}",
            f"{sys.executable} -m ipykernel install --user --name aggrkit --display-name aggrkit",
        )
    return fine(f"{', '.join(ours)} runs {sys.executable}")


def signatures() -> Diagnosis:
    """Look whether Jupyter can remember which notebooks are trusted."""
    if importlib.util.find_spec("nbformat") is None:
        return warned("not examined: nbformat isn't installed", install("nbformat"))
    from nbformat.sign import NotebookNotary

    notary = NotebookNotary()  # type: ignore[no-untyped-call]
    place = Path(notary.db_file)
    notary.store.close()
    if type(notary.store).__name__ != "SQLiteSignatureStore":
        return warned(
            f"trust isn't remembered: {place} can't be used", f"see to it that {place.parent} can be written by you"
        )
    return fine(f"remembered in {place}; charts of aggrkit also show where a notebook isn't trusted")


def notebook(path: str) -> Diagnosis:
    """Look whether a notebook can be read, is trusted, and has a kernel that is there."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from nbformat.sign import NotebookNotary

    place = Path(path)
    if not place.is_file():
        return failed(f"{path} is not there", "give the path of a notebook, or of a results file")
    try:
        found: Any = nbformat.read(place, as_version=4)  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001 - nbformat lets whatever a damaged file causes through
        said = " ".join(str(error).split())[:100]
        return failed(f"it is no notebook: {said}", "save it again in JupyterLab, or take an older copy")
    name = found.metadata.get("kernelspec", {}).get("name", "")
    if name and name not in KernelSpecManager().find_kernel_specs():
        return failed(
            f"its kernel {name!r} is not installed here",
            f"choose another kernel in JupyterLab, or {sys.executable} -m ipykernel install --user --name {name}",
        )
    notary = NotebookNotary()  # type: ignore[no-untyped-call]
    trusted = notary.check_signature(found)  # type: ignore[no-untyped-call]
    notary.store.close()
    if not trusted:
        return warned("it isn't trusted: the explore panel stays empty until it is run", f"jupyter trust {path}")
    return fine("it can be read, and is trusted")


def _is_ours(command: list[str], folder: str) -> bool:
    """Say whether a kernel runs this Python; one of an environment is called "python" and nothing more."""
    if not command:
        return False
    if Path(command[0]).name == command[0]:
        return Path(folder).is_relative_to(sys.prefix) or shutil.which(command[0]) == sys.executable
    return Path(command[0]).absolute() == Path(sys.executable).absolute()


def _disabled(name: str) -> str:
    """Return where an extension of JupyterLab is switched off, or an empty string."""
    from jupyter_core.paths import jupyter_config_path

    for folder in jupyter_config_path():
        place = Path(folder) / "labconfig" / "page_config.json"
        if place.is_file():
            said = json.loads(place.read_text("utf-8")).get("disabledExtensions", {})
            off = said if isinstance(said, list) else [key for key, value in said.items() if value]
            if name in off:
                return f"so says {place}"
    return ""
