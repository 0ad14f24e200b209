"""Standard deviations in two passes, where a single pass would lose digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import ibis
import numpy as np
import pyarrow as pa

from aggrkit.pipeline.expressions import fetch, mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["inexact", "two_pass_std"]

_FEW: Final = 200_000
_LOST: Final = {True: 1e-12, False: 1e-9}


def inexact(found: pa.Table, means: Mapping[str, str]) -> list[str]:
    """Return the standard deviations of a first scan that lost digits; given the column of the mean of each."""
    rows = found["rows"].to_numpy()
    lossy = []
    for place, centre in means.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.abs(found[centre].to_numpy()) / found[place].to_numpy()
            lost = np.finfo(float).eps * ratio * np.sqrt(rows)
        if (lost > _LOST[bool(rows.sum() <= _FEW)]).any():
            lossy.append(place)
    return lossy


def two_pass_std(
    table: ibis.Table, keys: Mapping[str, ibis.Value], found: pa.Table, places: Mapping[str, tuple[ibis.Column, str]]
) -> dict[str, Floats]:
    """Return standard deviations (ddof 1) about the means that a first scan has found.

    Engines compute variances by a recurrence in one pass, whose error grows with the mean in standard deviations and
    the number of values. A second scan about the known means is as exact as numpy. It is made for the metrics in which
    more than the twelfth digit would be lost, or in a large table more than the ninth.

    Parameters
    ----------
    table : ibis.Table
        The rows.
    keys : mapping of str to expression
        What they were grouped by, under the names of the first result.
    found : pyarrow.Table
        The first result, with ``rows``.
    places : mapping of str to (values, str)
        Column of the standard deviation in the first result to the values of its metric, and the column of their mean.

    Returns
    -------
    dict of str to numpy.ndarray
        Column of the standard deviation to its better values; columns that were good enough are left out.
    """
    rows = found["rows"].to_numpy()
    lossy = inexact(found, {place: centre for place, (_, centre) in places.items()})
    chosen = {place: places[place] for place in lossy}
    if not chosen:
        return {}
    cells = {f"__{name}": found[name] for name in keys} | {
        f"__{centre}": found[centre] for _, centre in chosen.values()
    }
    beside = ibis.memtable(pa.table(cells | {"__cell": pa.array(np.arange(len(rows)))}))
    keyed = table.select(**keys, **{f"x{place}": values for place, (values, _) in chosen.items()})
    same = [keyed[name].identical_to(beside[f"__{name}"]) for name in keys]
    joined = keyed.join(beside, same) if same else keyed.cross_join(beside)
    measures: dict[str, ibis.Value] = {}
    for place, (_, centre) in chosen.items():
        gap = joined[f"x{place}"] - joined[f"__{centre}"]
        measures |= {f"n{place}": gap.count(), f"a{place}": mean(gap), f"s{place}": mean(gap * gap)}
    second = fetch(joined.group_by("__cell").aggregate(**measures), "the means")
    better = {}
    for place in chosen:
        n, average, square = (second[f"{name}{place}"].to_numpy() for name in "nas")
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = np.where(n > 1, np.maximum(square - average**2, 0.0) * n / (n - 1), np.nan)
        better[place] = np.full(len(rows), np.nan)
        better[place][second["__cell"].to_numpy()] = np.sqrt(variance)
    return better
