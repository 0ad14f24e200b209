"""When levels shifted: the change points of every series, each once, with what changed beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from aggrkit.errors import UnknownNameError, number_between
from aggrkit.model.answer import COLUMNS, Answer
from aggrkit.pipeline.grouping import like_columns
from aggrkit.pipeline.margins import DEFAULT_MARGIN, check_margin, margins_of
from aggrkit.pipeline.over_time import OverTime
from aggrkit.pipeline.segments import FEWEST, Segmented
from aggrkit.statistics.changepoints import COMPILED, NOTE
from aggrkit.statistics.multiplicity import adjust_pvalues

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from aggrkit.pipeline.prepared import Prepared
    from aggrkit.statistics.changepoints import Trend

    Floats = NDArray[np.float64]

__all__ = ["COMMON_MODES", "STATUSES", "VERDICTS", "FindChanges"]

COMMON_MODES: Final = ("keep", "remove")
STATUSES: Final = ("confirmed", "trend", "suspect")
VERDICTS: Final = ("regressed", "changed", "improved")
"""In the order in which a reader wants to see them."""

_NEAR: Final = 3
_TIMES: Final = ("at", "at_lower", "at_upper", "since")
_NUMBERS: Final = ("before", "after", "change_pct", "ci_lower", "ci_upper", "pvalue")
_TEXTS: Final = ("metric", "direction", "status", "verdict", "coincides_with")
_COUNTS: Final = ("series", "n_before", "n_after")


@dataclass(frozen=True)
class FindChanges:
    """Find where the level of each metric shifts over time, in each group.

    Parameters
    ----------
    false_alarm : float, optional
        Share of series without changes in which one may be reported all the same; with `adjust`, over all series.
    margin : float or mapping, optional
        Smallest change that matters, 0.02 for 2 %; by metric, where they differ.
    adjust : str or None, optional
        How p-values are adjusted over series; changes that don't survive are left out, and counted.
    across : tuple of str, optional
        Columns that are not held fixed: a series goes on when they change.
    common_mode : {"keep", "remove"}, optional
        Whether what all series of a run share is taken off first.
    """

    false_alarm: float = 0.05
    margin: float | Mapping[str, float] = DEFAULT_MARGIN
    adjust: str | None = "fdr_bh"
    across: tuple[str, ...] = ()
    common_mode: str = "keep"
    name: str = "changes"

    def __post_init__(self) -> None:
        number_between(self.false_alarm, 0, 1, "false_alarm is a share between 0 and 1, e.g. 0.05")
        check_margin(self.margin, zero=True)
        adjust_pvalues([], self.adjust)
        if self.common_mode not in COMMON_MODES:
            raise UnknownNameError.of("common_mode", self.common_mode, COMMON_MODES)

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with the frames "changes", "changes_details", "changes_series" and "changes_points".

        Raises
        ------
        UnknownNameError
            If there is no time column, or a column of `across` or a metric of `margin` isn't there.
        EmptySelectionError
            If no value of the time can be read as one.
        """
        margins = margins_of(self.margin, prepared)
        across = {prepared.schema.column(name).name for name in self.across}
        held = [column for column in like_columns(prepared) if column.name not in across]
        size = 0 if answer.rows is None else answer.rows.used
        data = OverTime.of(prepared, size, "finding changes", held, beside=True)
        if self.common_mode == "remove":
            data = data.without_common_mode()
        found = [
            Segmented.of(data, k, group, self.false_alarm, margins[metric.name])
            for group in range(len(data.labels))
            for k, metric in enumerate(prepared.metrics)
        ]
        tested = [one for one in found if one is not None]
        lines = _table([line for place, one in enumerate(tested) for line in _lines(data, one, place)])
        lines["pvalue_adjusted"] = _adjusted(lines, len(tested), self.adjust)
        surviving = lines["pvalue_adjusted"].lt(self.false_alarm) | (self.adjust in (None, "none"))
        kept = _ordered(lines[surviving])
        labels = data.labels.loc[[tested[place].group for place in kept["series"]]].reset_index(drop=True)
        return (
            answer.with_frame("changes_series", _series(data, found))
            .with_frame("changes_points", _points(tested, kept["series"].unique().tolist()))
            .with_frame("changes_details", kept[["series", "since", "n_before", "n_after"]])
            .with_frame(
                "changes",
                pd.concat([labels, kept[[*COLUMNS["changes"]]]], axis=1),
                false_alarm=self.false_alarm,
                margin=self.margin,
                adjust=self.adjust or "none",
                across=sorted(across),
                common_mode=self.common_mode,
                unit=data.unit_is,
                adjusted_for=[column.name for column in data.held],
                series=len(tested),
                too_few=len(found) - len(tested),
                needs=FEWEST,
                not_surviving=len(lines) - len(kept),
                untimed=data.untimed,
                binned=sum(one.is_binned for one in tested),
                **({} if COMPILED else {"note": NOTE}),
            )
        )


def _lines(data: OverTime, one: Segmented, series: int) -> Iterator[dict[str, Any]]:
    """Give a line per change of a series, or one for its trend."""
    if one.changes.trend is not None:
        yield _trend(one, series, one.changes.trend)
        return
    starts = [0, *one.changes.confirmed.tolist(), len(one.off)]
    for i in range(len(one.changes)):
        yield _change(data, one, series, i, starts)


def _change(data: OverTime, one: Segmented, series: int, i: int, starts: list[int]) -> dict[str, Any]:
    found = one.changes
    at, lower = int(found.places[i]), int(found.lower[i])
    return {
        **_amounts(one, found.before[i], found.after[i], (found.change[i], found.ci_lower[i], found.ci_upper[i])),
        "series": series,
        "at": one.moment(at),
        "at_lower": one.moment(lower),
        "at_upper": one.moment(int(found.upper[i])),
        "since": one.moment(max(lower - 1, 0)),
        "pvalue": found.pvalue[i],
        "status": found.status[i],
        "coincides_with": _beside(data, one, at),
        "n_before": at - max(start for start in starts if start < at),
        "n_after": min(start for start in starts if start > at) - at,
    }


def _trend(one: Segmented, series: int, trend: Trend) -> dict[str, Any]:
    last = len(one.off) - 1
    gain = (last * trend.slope, last * trend.ci_lower, last * trend.ci_upper)
    return {
        **_amounts(one, trend.start, trend.end, gain),
        "series": series,
        "at": one.moment(0),
        "at_lower": one.moment(0),
        "at_upper": one.moment(last),
        "since": one.moment(0),
        "pvalue": trend.pvalue,
        "status": "trend",
        "coincides_with": "",
        "n_before": 0,
        "n_after": last + 1,
    }


def _amounts(one: Segmented, before: float, after: float, change: tuple[float, float, float]) -> dict[str, Any]:
    """Return levels, the difference in percent with its interval, and what that means for the metric."""
    start = float(one.value(before))
    percent = [one.percent(float(x), start) for x in change]
    sign = one.metric.sign
    return {
        "metric": one.metric.name,
        "before": start,
        "after": float(one.value(after)),
        **dict(zip(("change_pct", "ci_lower", "ci_upper"), percent, strict=True)),
        "direction": "up" if change[0] > 0 else "down",
        "verdict": "changed" if not sign else "improved" if sign * change[0] > 0 else "regressed",
    }


def _beside(data: OverTime, one: Segmented, at: int) -> str:
    """Return what else changed at a place: what is one thing in the units before, and another in those after."""
    before, after = one.rows_of(at - _NEAR, at), one.rows_of(at, at + _NEAR)
    said = []
    for name, (codes, values) in data.beside.items():
        old, new = np.unique(codes[before]), np.unique(codes[after])
        if len(old) == len(new) == 1 and old[0] != new[0] and min(old[0], new[0]) >= 0:
            said.append(f"{name} {values[old[0]]} -> {values[new[0]]}")
    return "; ".join(said)


def _table(lines: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(lines, columns=[*_COUNTS, *_TEXTS, *_TIMES, *_NUMBERS])
    for name in _TIMES:
        table[name] = pd.to_datetime(table[name]).astype("datetime64[us]")
    dtypes = dict.fromkeys(_COUNTS, "int64") | dict.fromkeys(_TEXTS, "str") | dict.fromkeys(_NUMBERS, "float64")
    return table.astype(dtypes)


def _adjusted(lines: pd.DataFrame, tested: int, adjust: str | None) -> Floats:
    """Adjust over series: one without a change counts as one that is as unclear as can be; suspects by themselves."""
    adjusted = np.full(len(lines), np.nan)
    suspect = lines["status"].eq("suspect").to_numpy(dtype=bool)
    for some in (suspect, ~suspect):
        pvalues = lines.loc[some, "pvalue"].to_numpy()
        silent = np.ones(tested - lines.loc[some, "series"].nunique())
        adjusted[some] = adjust_pvalues(np.append(pvalues, silent), adjust)[: len(pvalues)]
    return adjusted


def _ordered(lines: pd.DataFrame) -> pd.DataFrame:
    """Return the lines as a reader wants to see them: the sure ones first, the bad ones first, the large ones first."""
    lines = lines.assign(
        status=pd.Categorical(lines["status"], categories=list(STATUSES), ordered=True),
        verdict=pd.Categorical(lines["verdict"], categories=list(VERDICTS), ordered=True),
        __size=-lines["change_pct"].abs().fillna(0.0),
    )
    return lines.sort_values(["status", "verdict", "__size"], kind="stable").reset_index(drop=True)


def _series(data: OverTime, found: Sequence[Segmented | None]) -> pd.DataFrame:
    """Return a line per series: how long it is, how many changes were confirmed in it, and how noisy it is."""
    metrics = len(data.metrics)
    groups = [place // metrics for place in range(len(found))]
    units = [len(np.unique(data.unit[data.rows(place % metrics, group)])) for place, group in enumerate(groups)]
    known = [one is not None for one in found]
    frame = data.labels.loc[groups].reset_index(drop=True)
    frame["metric"] = pd.array([metric.name for metric in data.metrics] * len(data.labels), dtype="str")
    frame["n"] = np.array(units, dtype=np.int64)
    frame["tested"] = np.array(known, dtype=bool)
    frame["changes"] = np.array([0 if one is None else len(one.changes.confirmed) for one in found], dtype=np.int64)
    for name, place in (("start", 0), ("end", -1)):
        times = pd.Series([None if one is None else one.moment(place) for one in found], dtype="datetime64[ns]")
        frame[name] = times.astype("datetime64[us]")
    for name in ("scale", "rho"):
        frame[name] = np.array([np.nan if one is None else getattr(one.changes, name) for one in found])
    return frame


def _points(tested: Sequence[Segmented], places: list[int]) -> pd.DataFrame:
    """Return the points of some series, each with the level of its segment."""
    parts = [
        pd.DataFrame(
            {
                "series": place,
                "time": pd.to_datetime(tested[place].time.astype(np.int64)),
                "value": tested[place].value(tested[place].off),
                "level": tested[place].value(tested[place].levels),
            }
        )
        for place in places
    ]
    dtypes = {"series": "int64", "time": "datetime64[us]", "value": "float64", "level": "float64"}
    empty = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in dtypes.items()})
    return pd.concat(parts, ignore_index=True).astype(dtypes) if parts else empty
