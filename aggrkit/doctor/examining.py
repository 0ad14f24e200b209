"""All examinations, in the order in which their results are read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aggrkit.doctor import engine, files, jupyter, packages
from aggrkit.doctor.diagnosis import Diagnosis, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["EXAMINATIONS", "examine"]

EXAMINATIONS: Final[dict[str, Callable[[], Diagnosis]]] = {
    "packages": packages.versions,
    "DuckDB": engine.duckdb_answers,
    "space to spill": engine.spill_folder,
    "numba": engine.numba_compiles,
    "charts": engine.charts_draw,
    "no network needed": engine.works_offline,
    "Altair renderer": engine.altair_renderer,
    "JupyterLab": jupyter.lab,
    "widgets in JupyterLab": jupyter.widgets,
    "kernel": jupyter.kernel,
    "trust of notebooks": jupyter.signatures,
    "browser for PDF": packages.browser,
}
"""What is examined, by name."""


def examine(paths: Sequence[str] = ()) -> Iterator[Diagnosis]:
    """Examine this installation, and files.

    Parameters
    ----------
    paths : sequence of str, optional
        Results files and notebooks that are examined as well.

    Yields
    ------
    Diagnosis
        As soon as it is known.

    Examples
    --------
    >>> from aggrkit.doctor import examine
    >>> next(iter(examine())).name
    'packages'
    """
    for name, check in EXAMINATIONS.items():
        yield _examined(name, check)
    for path in paths:
        yield _examined(path, lambda path=path: _of_file(path))  # type: ignore[misc]


def _of_file(path: str) -> Diagnosis:
    return jupyter.notebook(path) if Path(path).suffix.casefold() == ".ipynb" else files.results(path)


def _examined(name: str, check: Callable[[], Diagnosis]) -> Diagnosis:
    try:
        found = check()
    except Exception as error:  # noqa: BLE001 - whatever is sick, the others are examined all the same
        said = " ".join(str(error).split()) or "no message"
        found = failed(f"{type(error).__name__}: {said}", "install aggrkit again in a new virtual environment")
    return replace(found, name=name)
