"""A report from beginning to end: choose a template, hand the results over, run it, write the page."""

from __future__ import annotations

import contextlib
import html
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aggrkit.errors import ReportError, SourceError, UnknownNameError
from aggrkit.progress import shown_progress
from aggrkit.reports.choosing import chosen_template
from aggrkit.reports.execution import executed, failure_of, require
from aggrkit.reports.export import FORMATS, About, verdict_of, written
from aggrkit.reports.handing_over import handed_over
from aggrkit.reports.printing import chromium
from aggrkit.reports.templates import template_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from aggrkit.analysis import Analysis

__all__ = ["Report", "report"]


@dataclass(frozen=True)
class Report:
    """A report that was made.

    Parameters
    ----------
    path : pathlib.Path
        Where it is.
    template : str
        What it was made from.
    verdict : mapping or None
        ``title``, ``tone`` ("bad", "warn", "open", "good", "info" or "none") and ``said``, the sentences of its head;
        None for a notebook of one's own that has none.
    seconds : float
        How long it took.
    """

    path: Path
    template: str
    verdict: Mapping[str, Any] | None
    seconds: float

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        said = f"{self.verdict['said'][0]} " if self.verdict else ""
        return f"{said}-> {self.path} (template {self.template}, {self.seconds:.0f} s)"

    def _repr_html_(self) -> str:
        said = f"<p><strong>{html.escape(str(self.verdict['said'][0]))}</strong></p>" if self.verdict else ""
        path = html.escape(str(self.path))
        return f'{said}<p><a href="{path}" target="_blank">{path}</a> (template {html.escape(self.template)})</p>'


def report(
    results: Analysis,
    path: str | os.PathLike[str],
    template: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    opened: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Report:
    """Run a template on results, and write the page.

    Parameters
    ----------
    results : Analysis
        What ``df.aggr`` or `aggrkit.open` gives.
    path : path
        Where to write; the suffix says what: ".html", ".pdf", ".md" or ".ipynb".
    template : str, optional
        One of `aggrkit.reports.templates`, or the path of a notebook; by default the one that fits the results.
    parameters : mapping, optional
        What is said to the template.
    opened : mapping, optional
        From which path the results were opened, and how.
    progress : bool, optional
        Whether to show how far it is.

    Returns
    -------
    Report

    Raises
    ------
    ReportError
        If a cell failed. The page shows the error, and the notebook as far as it was run is kept beside it.
    UnknownNameError, TypeError
        For an unknown format, template or parameter, or a value of another type.
    AggrError
        If papermill or, for a PDF, Chromium is missing.
    """
    start = time.perf_counter()
    target = Path(path).expanduser()
    suffix = target.suffix.lower()
    if suffix not in FORMATS:
        raise UnknownNameError.of("kind of report", suffix or str(path), FORMATS)
    if not target.absolute().parent.is_dir():
        raise SourceError(f"{target} can't be written: there is no folder {target.absolute().parent}")
    require()
    if suffix == ".pdf":
        chromium()
    given = dict(parameters or {})
    name, why = chosen_template(results, given) if template is None else (str(template), "")
    notebook = template_of(name)
    known = {parameter.name for parameter in notebook.parameters}
    notebook.filled({**given, "source": ""})  # what is wrong with them is said before anything is run
    with tempfile.TemporaryDirectory(prefix="aggrkit-") as folder, _shown(name, why, progress) as advance:
        handed = handed_over(results, opened, Path(folder))
        values = notebook.filled({**{key: value for key, value in handed.items() if key in known}, **given})
        made = executed(notebook.path, Path(folder) / "report.ipynb", values, advance)
    failure = failure_of(made)
    about = f"{version('aggrkit')} from the template {name}{f' (chosen since {why})' if why else ''}"
    if failure is None:
        written(made, target, About(about))
        return Report(target, name, verdict_of(made), time.perf_counter() - start)
    kept = target if suffix == ".ipynb" else target.with_suffix(".failed.ipynb")
    written(made, kept, About(about))
    if kept != target:
        written(made, target, About(about, failure, str(kept)))
    raise ReportError(
        f"the report failed with {failure[0]}: {failure[1]}; {target} shows it, and the notebook as far as it was run "
        f"is {kept}",
        str(target),
        str(kept),
    )


def _shown(name: str, why: str, progress: bool) -> contextlib.AbstractContextManager[Callable[[int, int], None] | None]:
    """Show how far a report is, and what it is made from."""
    if not progress:
        return contextlib.nullcontext()
    return shown_progress(f"Report {name}", "cells", f"Template {name!r}, since {why}." if why else "")
