"""How often a comparison cries wolf on these very data: the sides are exchanged, so that no change is true."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from aggrkit.errors import TooFewObservationsError
from aggrkit.model.answer import COLUMNS, Answer
from aggrkit.pipeline.marked import SIDE
from aggrkit.pipeline.units import Observed, SideUnits
from aggrkit.statistics.proportions import wilson_interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from aggrkit.pipeline.comparison import Compare
    from aggrkit.pipeline.prepared import Prepared

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

__all__ = ["Calibrate"]

_CALLS: Final = ("regressed", "improved", "changed")
_LINES: Final = 200_000
_MOST: Final = 400
_FEWEST: Final = 40
_SECONDS: Final = 60.0
_ENOUGH: Final = 0.8


@dataclass(frozen=True)
class Calibrate:
    """Exchange the sides of a comparison many times, and count its verdicts.

    Parameters
    ----------
    compare : Compare
        The comparison, as it is asked.
    repeats : int or None, optional
        How many times; by default 400, and fewer for tables of more than 500 lines, or once a minute has passed, but
        40 at least.
    rng : int or numpy.random.Generator, optional
        Where the random numbers come from.
    advance : callable, optional
        ``(done, of) -> None``: is told how far it is.
    """

    compare: Compare
    repeats: int | None = None
    rng: int | np.random.Generator = 0
    advance: Callable[[int, int], None] | None = None
    name: str = "calibrate"

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with the frame "calibration".

        Raises
        ------
        TooFewObservationsError
            If there is nothing that could be exchanged.
        """
        began = time.perf_counter()
        data = self.compare.units(prepared, None if answer.rows is None else answer.rows.used)
        real = self.compare.lines(data)
        exchange = _Exchange.of(data)
        aligned = _without_changes(data, real)
        rng = np.random.default_rng(self.rng)
        most = self.repeats or int(np.clip(_LINES // max(len(real), 1), _FEWEST, _MOST))
        counts: list[dict[str, int]] = []
        while len(counts) < most and not self._is_late(len(counts), time.perf_counter() - began):
            counts.append(self._counted(exchange.exchanged(aligned, rng)))
            if self.advance is not None:
                self.advance(len(counts), most)
        return answer.with_frame(
            "calibration",
            self._frame(pd.DataFrame(counts)),
            baseline=data.names[0],
            current=data.names[1],
            by=self.compare.sides.by,
            margin=self.compare.margin,
            alpha=self.compare.alpha,
            adjust=self.compare.adjust or "none",
            design=data.design,
            exchanged=exchange.what,
            repeats=len(counts),
            lines=len(real),
            aligned=int(real["verdict"].isin(_CALLS).sum()),
            seconds=round(time.perf_counter() - began, 2),
        )

    def _is_late(self, done: int, seconds: float) -> bool:
        """Say whether enough was done for the time that it took; never where it was said how often."""
        return self.repeats is None and done >= _FEWEST and seconds > _SECONDS

    def _counted(self, data: SideUnits) -> dict[str, int]:
        """Count the verdicts and the small p-values of a table in which no change is true."""
        lines = self.compare.lines(data)
        lines = lines[lines["__like"]]  # others can't get a verdict
        calls = lines["verdict"].isin(_CALLS)
        known = lines["pvalue"].notna()
        return {
            "tables": 1,
            "alarming": int(calls.any()),
            "lines": int(lines["verdict"].ne("no_data").sum()),
            "called": int(calls.sum()),
            "tests": int(known.sum()),
            "small": int((lines["pvalue"] < self.compare.alpha)[known].sum()),
        }

    def _frame(self, counts: pd.DataFrame) -> pd.DataFrame:
        total = counts.sum()
        rows = [
            ("tables with any verdict", total["alarming"], total["tables"]),
            ("lines with a verdict", total["called"], total["lines"]),
            ("p-values below alpha, not adjusted", total["small"], total["tests"]),
        ]
        frame = pd.DataFrame(rows, columns=["what", "alarms", "trials"]).astype(
            {"what": "str", "alarms": "int64", "trials": "int64"}
        )
        trials = frame["trials"].where(frame["trials"] > 0)
        frame["rate"] = frame["alarms"] / trials
        low, high = wilson_interval(frame["alarms"].to_numpy(), frame["trials"].to_numpy())
        # lines of a table share their runs: their interval is that of the means of whole tables
        for place, (few, many) in ((1, ("called", "lines")), (2, ("small", "tests"))):
            low[place], high[place] = _by_tables(counts[few].to_numpy(), counts[many].to_numpy())
        frame["ci_lower"], frame["ci_upper"] = low, high
        frame["stated"] = self.compare.alpha
        return frame[[*COLUMNS["calibration"]]]


def _by_tables(some: Ints, of: Ints) -> tuple[float, float]:
    """Return the 95 % interval of a rate over tables, by the spread between tables; at least as wide as Wilson's."""
    low, high = wilson_interval(np.array([some.sum()]), np.array([of.sum()]))
    total = of.sum()
    if not total:
        return float("nan"), float("nan")
    rate = some.sum() / total
    error = np.sqrt(((some - rate * of) ** 2).sum()) / total
    return min(float(low[0]), max(rate - 1.96 * error, 0.0)), max(float(high[0]), min(rate + 1.96 * error, 1.0))


@dataclass(frozen=True)
class _Exchange:
    """What is exchanged: members of the same pool swap their sides.

    Attributes
    ----------
    member : numpy.ndarray of int
        The member (a run, or an observation of a stratum) that each row of the units belongs to.
    pool : numpy.ndarray of int
        The pool of each member.
    side : numpy.ndarray of int
        The side of each member; of pairs 0.
    pairs : bool
        Whether members hold both sides, and swap them within.
    what : str
        In words.
    """

    member: Ints
    pool: Ints
    side: Ints
    pairs: bool
    what: str

    @classmethod
    def of(cls, data: SideUnits) -> _Exchange:
        """Find out what can be exchanged."""
        side = data.units[SIDE].to_numpy().astype(np.int64)
        if data.design == "within runs":
            run = _numbers(data.units["run"])
            zeros = np.zeros(int(run.max(initial=-1)) + 1, dtype=np.int64)
            return cls(run, zeros, zeros, True, "the sides of whole runs")
        if data.design == "runs":
            found = cls._of_runs(data, side)
            if found is not None:
                return found
        rows = np.arange(len(side), dtype=np.int64)
        if not _mixed(data.stratum, side).any():
            raise TooFewObservationsError(
                "nothing can be exchanged: there is no group in which both sides were seen under the same conditions"
            )
        noun = "observations" if data.design == "observations" else "runs"
        return cls(rows, data.stratum, side, False, f"{noun} of the same conditions")

    @classmethod
    def _of_runs(cls, data: SideUnits, side: Ints) -> _Exchange | None:
        """Exchange whole runs of the same make-up, or return None if too few have their like on the other side."""
        run = _numbers(data.units["run"])
        of_run = pd.Series(data.stratum).groupby(run).agg(lambda strata: str(np.unique(strata).tolist()))
        pool = pd.factorize(of_run)[0].astype(np.int64)
        sides = np.zeros(len(of_run), dtype=np.int64)
        sides[run] = side
        if _mixed(pool, sides)[run].mean() < _ENOUGH:
            return None
        return cls(run, pool, sides, False, "whole runs")

    def exchanged(self, data: SideUnits, rng: np.random.Generator) -> SideUnits:
        """Return the units with their sides exchanged at random."""
        before = data.units[SIDE].to_numpy()
        if self.pairs:
            swapped = rng.random(len(self.pool)) < 0.5
            after = np.where(swapped[self.member], 1 - before, before)
        else:
            dealt = np.empty_like(self.side)
            dealt[np.lexsort((rng.random(len(self.pool)), self.pool))] = self.side[np.argsort(self.pool, kind="stable")]
            after = dealt[self.member]
        return replace(data, units=data.units.assign(**{SIDE: after.astype(before.dtype)}))


def _numbers(column: pd.Series[str]) -> Ints:
    return pd.factorize(column.to_numpy(), use_na_sentinel=False)[0].astype(np.int64)


def _mixed(pool: Ints, side: Ints) -> NDArray[np.bool_]:
    """Say of each member whether its pool has both sides."""
    there = np.zeros((int(pool.max(initial=-1)) + 1, 2), dtype=bool)
    there[pool, side] = True
    mixed: NDArray[np.bool_] = np.logical_and(there[:, 0], there[:, 1])[pool]
    return mixed


def _without_changes(data: SideUnits, real: pd.DataFrame) -> SideUnits:
    """Take what was found to have changed off the current side, so that a true change isn't mistaken for noise."""
    moved = real[real["verdict"].isin(_CALLS) & real["change_pct"].gt(-100) & real["baseline"].gt(0)]
    moved = moved[moved["statistic"].eq("mean")] if "statistic" in moved else moved
    units, observed = data.units.copy(), list(data.observed)
    current = units[SIDE].to_numpy() == 1
    for k, metric in enumerate(data.prepared.metrics):
        lines = moved[moved["metric"].eq(metric.name)]
        if metric.is_proportion or not len(lines):
            continue
        ratio = np.ones(data.cells)
        ratio[lines["__cell"].to_numpy()] = 1 + lines["change_pct"].to_numpy() / 100
        divisor = np.where(current, ratio[data.cell], 1.0)
        for name, power in ((f"mean{k}", 1), (f"low{k}", 1), (f"var{k}", 2)):
            units[name] = units[name] / divisor**power
        units[f"lmean{k}"] = units[f"lmean{k}"] - np.log(divisor)
        if len(observed) > k:
            observed[k] = Observed(observed[k].value / divisor[observed[k].row], observed[k].row)
    return replace(data, units=units, observed=tuple(observed))
