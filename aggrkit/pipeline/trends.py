"""What drifts over time: one value per run, each brought to the level of its like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from aggrkit.errors import number_between
from aggrkit.model.answer import COLUMNS, Answer
from aggrkit.pipeline.over_time import OverTime, binned
from aggrkit.statistics.multiplicity import adjust_pvalues
from aggrkit.statistics.trends import mann_kendall, theil_sen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrkit.pipeline.prepared import Prepared

__all__ = ["VERDICTS", "FindTrends"]

VERDICTS: Final = ("worsening", "trending", "improving", "none", "too_few")

_FEWEST_TIMES: Final = 4
_MOST_UNITS: Final = 2000
_DAY: Final = 86_400e9


@dataclass(frozen=True)
class FindTrends:
    """Look for a trend of each metric over time, in each group.

    Parameters
    ----------
    alpha : float, optional
        Level at which an adjusted p-value gives a verdict.
    adjust : str or None, optional
        How p-values are adjusted over the whole table.
    """

    alpha: float = 0.05
    adjust: str | None = "fdr_bh"
    name: str = "trends"

    def __post_init__(self) -> None:
        number_between(self.alpha, 0, 1, "alpha is a chance between 0 and 1")
        adjust_pvalues([], self.adjust)

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with the frame "trends".

        Raises
        ------
        UnknownNameError
            If there is no time column.
        EmptySelectionError
            If no value of it can be read as a time.
        """
        data = OverTime.of(prepared, 0 if answer.rows is None else answer.rows.used, "a trend")
        lines = [_line(data, k, group) for group in range(len(data.labels)) for k in range(len(prepared.metrics))]
        found = pd.DataFrame(lines, columns=[*_Line.__annotations__])
        frame = data.labels.loc[np.repeat(np.arange(len(data.labels)), len(prepared.metrics))].reset_index(drop=True)
        frame["metric"] = pd.array([m.name for m in prepared.metrics] * len(data.labels), dtype="str")
        frame["unit"] = pd.array([m.unit for m in prepared.metrics] * len(data.labels), dtype="str")
        for name in ("start", "end"):
            frame[name] = pd.to_datetime(found[name]).astype("datetime64[us]")
        for name in ("n", "slope_per_day", "slope_pct_per_day", "ci_lower", "ci_upper", "tau", "pvalue"):
            frame[name] = found[name]
        frame["pvalue_adjusted"] = adjust_pvalues(frame["pvalue"].to_numpy(), self.adjust)
        signs = np.array([m.sign for m in prepared.metrics] * len(data.labels), dtype=np.int64)
        frame["verdict"] = _verdicts(frame, signs, found["too_few"].to_numpy(dtype=bool), self.alpha)
        names = list(data.labels.columns)
        why = {
            ", ".join(map(str, (line[-1], *line[:-1]))): "all values are equal"
            for line in frame.loc[frame["pvalue"].isna() & ~found["too_few"], [*names, "metric"]].itertuples(
                index=False, name=None
            )
        }
        return answer.with_frame(
            "trends",
            frame[[*names, *COLUMNS["trends"]]],
            alpha=self.alpha,
            adjust=self.adjust or "none",
            unit=data.unit_is,
            adjusted_for=[column.name for column in data.held],
            binned=int(found["binned"].sum()),
            untimed=data.untimed,
            undefined=why,
        )


@dataclass(frozen=True)
class _Line:
    """What is known of one metric of one group."""

    n: int
    start: pd.Timestamp | None = None
    end: pd.Timestamp | None = None
    slope_per_day: float = float("nan")
    slope_pct_per_day: float = float("nan")
    ci_lower: float = float("nan")
    ci_upper: float = float("nan")
    tau: float = float("nan")
    pvalue: float = float("nan")
    too_few: bool = True
    binned: bool = False


def _line(data: OverTime, k: int, group: int) -> _Line:
    """Return what is known of a metric of a group."""
    rows = data.rows(k, group)
    if not len(rows):
        return _Line(0)
    start, end = (pd.Timestamp(int(t), unit="ns") for t in (data.time[rows].min(), data.time[rows].max()))
    units = len(np.unique(data.unit[rows]))
    series = data.series(k, rows)
    time, off = series.time, series.distances(series.cell_levels())
    most = series.most(_MOST_UNITS)
    many = len(time) > most
    if many:
        time, off, _ = binned(time, off, series.weight, most, rate=series.is_rate)
    if len(np.unique(time)) < _FEWEST_TIMES:
        return _Line(units, start, end)
    if series.logarithmic:
        off = np.expm1(off)
    days = (time - time.min()) / _DAY
    slopes = np.array(theil_sen(days, off))
    tau, pvalue = mann_kendall(days, off)
    middle = float(np.median(data.value[k][series.rows]))
    if series.logarithmic:
        plain, percent = slopes[0] * middle, 100 * slopes
    else:
        scale = 1.0 if series.is_rate else abs(middle) or float("nan")
        plain, percent = slopes[0], 100 * slopes / scale
    low, high = float(percent[1]), float(percent[2])
    return _Line(len(time), start, end, float(plain), float(percent[0]), low, high, tau, pvalue, False, many)


def _verdicts(frame: pd.DataFrame, sign: NDArray[np.int64], too_few: NDArray[np.bool_], alpha: float) -> pd.Categorical:
    moves = frame["pvalue_adjusted"].lt(alpha).to_numpy()
    good = np.sign(frame["tau"].fillna(0).to_numpy()) * sign
    words = np.select(
        [too_few, moves & (sign == 0), moves & (good < 0), moves & (good > 0)],
        ["too_few", "trending", "worsening", "improving"],
        "none",
    )
    return pd.Categorical(words, categories=list(VERDICTS), ordered=True)
