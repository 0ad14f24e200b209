"""A metric over time, in bins that a picture can show: middle, band and extremes of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import ibis
import numpy as np
import pandas as pd
import pyarrow.compute as pc

from aggrkit.pipeline.expressions import fetch, mean, quantiles
from aggrkit.pipeline.selecting import nothing_selected
from aggrkit.statistics.proportions import wilson_interval

if TYPE_CHECKING:
    from aggrkit.model.metric import Metric
    from aggrkit.pipeline.prepared import Prepared

__all__ = ["TimeBins", "bands", "rate_bands"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_WIDTHS: Final = (
    *(1, 5, 15, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR),
    *(_DAY, 2 * _DAY, 7 * _DAY, 14 * _DAY, 28 * _DAY, 91 * _DAY, 365 * _DAY, 3650 * _DAY),
)
_BAND: Final = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class TimeBins:
    """Bins of time of equal width, counted from 1970.

    Parameters
    ----------
    width : int
        In seconds.
    first, last : pandas.Timestamp
        First and last moment that there are values of.
    """

    width: int
    first: pd.Timestamp
    last: pd.Timestamp

    @classmethod
    def over(cls, first: pd.Timestamp, last: pd.Timestamp, most: int, *, finest: int = 1) -> TimeBins:
        """Return the finest bins of a usual width, at most so many of them."""
        span = (last - first).total_seconds()
        fitting = [width for width in _WIDTHS if width >= finest and span / width < most - 1]
        return cls(fitting[0] if fitting else int(span / (most - 1)) + 1, first, last)

    def number(self, time: ibis.Column) -> ibis.Column:
        """Return the number of the bin of each moment."""
        return (time.epoch_seconds().cast("float64") / self.width).floor().cast("int64")

    def start(self, numbers: Any) -> pd.DatetimeIndex:
        """Return the first moment of bins."""
        seconds = np.asarray(numbers, dtype="int64") * self.width
        return pd.DatetimeIndex(seconds.astype("datetime64[s]")).as_unit("us")


def bands(prepared: Prepared, metric: Metric, most: int = 120) -> pd.DataFrame:
    """Return a metric over time in at most `most` bins, in two scans.

    Parameters
    ----------
    prepared : Prepared
        The selection; its groups are not looked at.
    metric : Metric
        Which metric.
    most : int, optional
        Most bins.

    Returns
    -------
    pandas.DataFrame
        ``time, n, mean, p05, p50, p95, low, high, low_at, high_at``: a row for each bin that has values, with the
        lowest and the highest value and when they were, so that a picture of them has the outline of one of all values.
        Of a pass/fail metric the rate is in `p50`, with Wilson's interval in `p05` and `p95`, and there are no
        extremes. Rows without a time are left out.

    Raises
    ------
    UnknownNameError
        If there is no time column.
    EmptySelectionError
        If no row passes the filters.
    """
    moment = prepared.schema.moment("a picture over time").field
    table = prepared.table
    value, time = prepared.values(metric), table[moment]
    there = table.filter(value.notnull() & time.notnull())
    value, time = there[prepared.field(metric)], there[moment]
    span = fetch(
        table.aggregate(
            rows=table.count(),
            first=ibis.ifelse(prepared.values(metric).notnull(), table[moment], ibis.null()).min(),
            last=ibis.ifelse(prepared.values(metric).notnull(), table[moment], ibis.null()).max(),
        ),
        prepared.label,
    ).to_pandas()
    if not span.at[0, "rows"]:
        raise nothing_selected(prepared)
    if span.isna().any(axis=None):
        return pd.DataFrame(columns=["time", "n", "mean", "p05", "p50", "p95", "low", "high", "low_at", "high_at"])
    bins = TimeBins.over(span.at[0, "first"], span.at[0, "last"], most)
    wanted: dict[str, ibis.Value] = {"n": value.count(), "mean": mean(value)}
    if not metric.is_proportion:
        wanted |= {"points": quantiles(value, _BAND), "low": value.min(), "high": value.max()}
        wanted |= {"low_at": time.argmin(value), "high_at": time.argmax(value)}
    found = fetch(there.group_by(bin=bins.number(time)).aggregate(**wanted).order_by("bin"), prepared.label)
    frame = pd.DataFrame({"time": bins.start(found["bin"].to_numpy()), "n": found["n"].to_numpy()})
    frame["mean"] = found["mean"].to_numpy()
    if metric.is_proportion:
        return rate_bands(frame)
    for place, name in enumerate(("p05", "p50", "p95")):
        frame[name] = pc.list_element(found["points"], place).to_numpy()
    for name in ("low", "high", "low_at", "high_at"):
        frame[name] = found[name].to_pandas()
    return frame


def rate_bands(frame: pd.DataFrame) -> pd.DataFrame:
    """Return bins of a pass/fail metric with the rate in the middle, and Wilson's interval as its band."""
    lower, upper = wilson_interval((frame["mean"] * frame["n"]).round().to_numpy(), frame["n"].to_numpy(), 0.95)
    made = frame.assign(p05=lower, p50=frame["mean"], p95=upper, low=np.nan, high=np.nan)
    made[["low_at", "high_at"]] = pd.NaT
    return made
