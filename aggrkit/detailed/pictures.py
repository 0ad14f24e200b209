"""The charts of one dimension, and their files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aggrkit import charts
from aggrkit.errors import EmptySelectionError, SchemaError, SourceError, UnknownNameError
from aggrkit.model.schema import Role

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from aggrkit.analysis import Analysis
    from aggrkit.findings import Comparison

__all__ = ["pictures", "written"]

_FORMATS = ("png", "svg", "html", "json")


def pictures(analysis: Analysis, column: str, alpha: float, comparison: Comparison | None = None) -> dict[str, Any]:
    """Return the charts of a dimension by name.

    Parameters
    ----------
    analysis : Analysis
        The results.
    column : str
        The column of the dimension.
    alpha : float
        Level of the tests.
    comparison : Comparison, optional
        Current against history, of which a chart is made as well.

    Returns
    -------
    dict of str to altair.Chart
        ``<metric>`` (median and percentiles of each value) or, for pass/fail metrics, ``<metric>_rate``; where there
        are times ``trends``; ``anomalies``; ``differences``; ``comparison``.
    """
    found: dict[str, Any] = {}
    stats = analysis.stats(level=[column])
    outcomes = [metric.name for metric in analysis.schema.metrics if metric.is_proportion]
    for name in dict.fromkeys(stats["metric"]):
        if name not in outcomes:
            found[str(name)] = stats.chart(metric=name)
    if outcomes:
        rates = analysis.proportions(level=[column])
        for name in outcomes:
            found[f"{name}_rate"] = rates.chart(metric=name)
    further: dict[str, Callable[[], Any]] = {
        "anomalies": lambda: analysis.anomalies(level=[column]).chart(),
        "differences": lambda: analysis.differences(alpha=alpha).chart(),
    }
    if analysis.schema.role(Role.TIMESTAMP) is not None:
        further["trends"] = lambda: analysis.trends(level=[column], alpha=alpha).chart()
    if comparison is not None and len(comparison):
        further["comparison"] = comparison.chart
    for name, make in further.items():
        try:
            found[name] = make()
        except (SchemaError, UnknownNameError, EmptySelectionError):
            continue  # the results have nothing that this chart shows
    return found


def written(
    made: Mapping[str, Any], dimension: str, formats: Sequence[str], folder: str | os.PathLike[str]
) -> list[str]:
    """Write charts as ``<dimension>_<name>.<format>``, and return the paths.

    Raises
    ------
    UnknownNameError
        For an unknown format.
    SourceError
        If the folder can't be made, or a file can't be written.
    """
    for name in formats:
        if name not in _FORMATS:
            raise UnknownNameError.of("format", name, _FORMATS)
    place = Path(folder).expanduser()
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"the folder {place} can't be made: {error.strerror or error}") from error
    paths = []
    for name, chart in made.items():
        stem = re.sub(r"[^\w.-]+", "_", f"{dimension}_{name}")
        paths += [str(charts.save(chart, place / f"{stem}.{suffix}")) for suffix in formats]
    return paths
