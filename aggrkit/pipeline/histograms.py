"""Histograms of a metric by group, counted where the observations are."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import ibis
import numpy as np
import pyarrow.compute as pc

from aggrkit.errors import SchemaError, UnknownNameError, listed, number_between
from aggrkit.model.schema import Column, Kind, Role
from aggrkit.pipeline.aggregate import group_labels
from aggrkit.pipeline.expressions import LARGEST, all_of, fetch, quantiles
from aggrkit.pipeline.rows import is_group

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from aggrkit.pipeline.prepared import Prepared

__all__ = ["LINE", "histograms", "histograms_of_lines"]

LINE: Final = "line"
"""Name of the column that says which line of a frame a bin belongs to, see `histograms_of_lines`."""

_COLUMNS: Final = ("low", "high", "count")
_FEWEST: Final = 5
_FAR_APART: Final = 100
_TAILS: Final = (0.01, 0.99)
_REACH: Final = Decimal("0.5")
_SAME: Final = Decimal("1e-12")
_ROUND: Final = (1, 2, 5, 10)
_NONE: Final = Decimal(0)


def histograms(prepared: Prepared, metric: str, bins: int = 40) -> pd.DataFrame:
    """Count the values of a metric in bins that all groups share, in two scans.

    Parameters
    ----------
    prepared : Prepared
        The selection, with its groups.
    metric : str
        Which metric.
    bins : int, optional
        About so many bins; fewer where there are few values (the square root of their number).

    Returns
    -------
    pandas.DataFrame
        The columns of the groups, then ``low, high, count``: a row for each group that has values and each bin, empty
        ones too, in order. Bins hold ``low <= value < high``, and every value is in one: the counts of a group sum to
        its `n`. Edges are round numbers; powers of ten and their equal parts, where all values are positive and lie two
        decades or more apart. What lies far beyond the usual values of every group is counted in a first bin from
        minus infinity, and a last one to infinity, which are there only if they are needed.

    Raises
    ------
    UnknownNameError
        If the metric isn't one of the selection.
    SchemaError
        If a group has the name of a column of the result.

    Notes
    -----
    The range is that from the 1st to the 99th percentile, taken group by group, and half of it more on either side, as
    far as there are values.
    """
    found = next((known for known in prepared.metrics if known.name == metric), None)
    if found is None:
        raise UnknownNameError.of("metric", metric, [known.name for known in prepared.metrics])
    number_between(bins, 0, 1001, "bins is a whole number from 1 to 1,000")
    taken = [name for name in prepared.groups if name in _COLUMNS]
    if taken:
        raise SchemaError(f"groups can't be called {listed(taken)} in a histogram; rename these columns")
    table = prepared.table
    keys = {f"g{place}": key for place, key in enumerate(prepared.group_expressions().values())}
    rows = table.select(value=prepared.values(found), **keys)
    rows = rows.filter(rows["value"].notnull())
    ends = np.array([-np.inf, *_Range.of(rows, list(keys), prepared.label).edges(int(bins)), np.inf])
    placed = rows.select(*keys, bin=_place(rows["value"], ends, 0, len(ends) - 1))
    counted = fetch(placed.group_by([*keys, "bin"]).aggregate(count=placed.count()), prepared.label)
    return _tidy(counted, list(prepared.groups), ends)


def histograms_of_lines(prepared: Prepared, lines: pd.DataFrame, metric: str, bins: int = 40) -> pd.DataFrame:
    """Count the values of a metric in some groups only, in bins that these share.

    Parameters
    ----------
    prepared : Prepared
        The selection, with its groups.
    lines : pandas.DataFrame
        A group each, by the columns of the groups.
    metric, bins
        As of `histograms`.

    Returns
    -------
    pandas.DataFrame
        As `histograms` returns it, with the column ``line`` in place of the groups': the position of the line, from 0.
    """
    table, column = prepared.table, Column(LINE, "__line", Role.ATTRIBUTE, Kind.NUMBER, "tells the lines apart")
    places = [
        (all_of(is_group(table, prepared.groups[name], line[name]) for name in prepared.groups), place)
        for place, (_, line) in enumerate(lines.iterrows())
    ]
    marked = table.mutate(__line=ibis.cases(*places)) if places else table.mutate(__line=ibis.null("int8"))
    chosen = marked.filter(marked["__line"].notnull())
    return histograms(replace(prepared, table=chosen, groups=MappingProxyType({LINE: column})), metric, bins)


@dataclass(frozen=True)
class _Range:
    """Where the values lie: all of them, and the usual ones of each group."""

    n: int
    lowest: float
    low: float
    high: float
    highest: float
    whole: bool

    @classmethod
    def of(cls, rows: ibis.Table, keys: Sequence[str], label: str) -> _Range:
        """Return the range of all groups, in one scan."""
        values = ibis.cases((rows["value"].abs() <= LARGEST, rows["value"]))
        measured = {
            "n": values.count(),
            "lowest": values.min(),
            "tails": quantiles(values, _TAILS),
            "highest": values.max(),
            "whole": (values % 1 == 0).all(),
        }
        found = fetch((rows.group_by(keys) if keys else rows).aggregate(**measured), label)
        told = found.filter(pc.greater(found["n"], 0)).to_pylist()
        if not told:
            return cls(0, 0.0, 0.0, 0.0, 0.0, whole=False)
        return cls(
            n=sum(group["n"] for group in told),
            lowest=min(group["lowest"] for group in told),
            low=min(group["tails"][0] for group in told),
            high=max(group["tails"][1] for group in told),
            highest=max(group["highest"] for group in told),
            whole=all(group["whole"] for group in told),
        )

    def edges(self, bins: int) -> list[float]:
        """Return round edges around the usual values, the last one above the greatest of them."""
        most = min(bins, max(_FEWEST, math.isqrt(self.n)))
        ends = (self.lowest, self.low, self.high, self.highest)
        if self.lowest > 0 and self.high / self.low >= _FAR_APART:
            made = [10**power for power in _multiples([math.log10(end) for end in ends], most)]
        else:
            made = _multiples(ends, most, Decimal(1) if self.whole else Decimal(0))
        return sorted({float(edge) for edge in made})


def _multiples(ends: Sequence[float], most: int, least: Decimal = _NONE) -> list[Decimal]:
    """Return the multiples of a round step of at least `least` that lie around numbers, as exact decimals."""
    lowest, low, high, highest = map(Decimal, ends)
    reach = _REACH * (high - low) if high > low else highest - lowest
    start, end = max(lowest, low - reach), min(highest, high + reach)
    width = end - start if end - start > _SAME * abs(start) else Decimal(0)  # quantiles of one value differ by rounding
    rough = (width or abs(start) or Decimal(1)) / most
    unit = Decimal(1).scaleb(rough.adjusted())
    step = max(least, next(times * unit for times in _ROUND if times * unit >= rough))
    first, last = (int((number / step).to_integral_value(ROUND_FLOOR)) for number in (start, end))
    return [place * step for place in range(first, last + 2)]


def _place(values: ibis.Column, ends: NDArray[np.float64], first: int, last: int) -> ibis.Value:
    """Return the place of the bin of each value, found by halving: exact at edges, and few comparisons a value."""
    if last - first == 1:
        return ibis.literal(first)
    middle = (first + last) // 2
    below, above = _place(values, ends, first, middle), _place(values, ends, middle, last)
    return ibis.ifelse(values < float(ends[middle]), below, above)


def _tidy(counted: pa.Table, names: list[str], ends: NDArray[np.float64]) -> pd.DataFrame:
    """Return a row for each group and bin, in order; bins without an end only where values are in them."""
    labels = group_labels(counted, names)
    places = labels.groupby(names).ngroup().to_numpy() if names else np.zeros(len(labels), dtype=np.int64)
    groups = labels.iloc[np.unique(places, return_index=True)[1]]
    counts = np.zeros((len(groups), len(ends) - 1), dtype=np.int64)
    counts[places, counted["bin"].to_numpy()] = counted["count"].to_numpy()
    shown = np.flatnonzero(np.isfinite(ends[:-1]) & np.isfinite(ends[1:]) | counts.any(axis=0))
    made = groups.loc[groups.index.repeat(len(shown))].reset_index(drop=True)
    made["low"], made["high"] = np.tile(ends[shown], len(groups)), np.tile(ends[shown + 1], len(groups))
    made["count"] = counts[:, shown].ravel()
    return made
