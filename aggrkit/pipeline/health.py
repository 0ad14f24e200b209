"""Which workers are sick: four kinds of evidence, each a test against the other workers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from aggrkit.errors import number_between
from aggrkit.model.answer import COLUMNS, Answer
from aggrkit.pipeline.coding import numbered
from aggrkit.pipeline.prepared import UNKNOWN
from aggrkit.pipeline.runs_of_cells import RunsOfCells, worker_column
from aggrkit.statistics.groups import distinct
from aggrkit.statistics.multiplicity import adjust_pvalues
from aggrkit.statistics.worker_failures import failures_of_workers
from aggrkit.statistics.workers import (
    WorkerTests,
    drift_of_workers,
    offset_of_workers,
    spread_of_workers,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric
    from aggrkit.pipeline.prepared import Prepared
    from aggrkit.statistics.workers import Runs

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["EVIDENCE", "VERDICTS", "FindHealth"]

VERDICTS: Final = ("sick", "suspect", "fine", "too_few")
EVIDENCE: Final = ("offset", "spread", "failures", "drift")

_TIMES_MORE: Final = 1.5
_COLUMNS: Final = {
    "offset": "offset_pct",
    "spread": "spread_ratio",
    "failures": "failure_rate",
    "drift": "drift_pct_per_day",
}


@dataclass(frozen=True)
class FindHealth:
    """Rank workers by the evidence that they are sick.

    Parameters
    ----------
    alpha : float, optional
        Chance that any worker is named sick where none is.
    margin : float, optional
        Smallest offset, and smallest drift over the whole time, that matters: 0.02 is 2 %.
    """

    alpha: float = 0.05
    margin: float = 0.02
    name: str = "health"

    def __post_init__(self) -> None:
        number_between(self.alpha, 0, 1, "alpha is a chance between 0 and 1")
        if self.margin != 0:
            number_between(self.margin, 0, float("inf"), "the margin is a share that isn't negative, such as 0.02")

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with the frames "health" and "health_tests".

        Raises
        ------
        UnknownNameError
            If there is neither a worker nor a hardware column.
        """
        column = worker_column(prepared.schema)
        data = RunsOfCells.of(replace(prepared, groups=MappingProxyType({})), column)
        metrics, left_out = _judged(prepared)
        examined = _Examined(data, self.alpha, self.margin)
        for k, metric in enumerate(data.metrics):
            if metric in metrics:
                examined.add(k)
        return answer.with_frame(
            "health",
            examined.ranked(),
            alpha=self.alpha,
            margin=self.margin,
            adjust="holm",
            workers=column.name,
            unit=data.repeats()[1],
            adjusted_for=[held.name for held in data.held],
            left_out=left_out,
        ).with_frame("health_tests", examined.tests())


def _judged(prepared: Prepared) -> tuple[tuple[Metric, ...], dict[str, str]]:
    """Return the metrics that tell a sick worker; those of unknown direction only where there is nothing else."""
    known = tuple(metric for metric in prepared.metrics if metric.sign)
    if prepared.selection.metrics is not None or not known:
        known = prepared.metrics
    why = "which way is better isn't known"
    unclear = {metric.name: why for metric in prepared.metrics if metric.is_proportion and not metric.sign}
    kept = tuple(metric for metric in known if metric.name not in unclear)
    return kept, unclear | {metric.name: why for metric in prepared.metrics if metric not in kept}


@dataclass(frozen=True)
class _Test:
    """One kind of evidence in one metric, of all workers."""

    kind: str
    metric: Metric
    found: WorkerTests
    effect: Floats
    lower: Floats
    upper: Floats
    matters: NDArray[np.bool_]


class _Examined:
    """All tests of all workers."""

    def __init__(self, data: RunsOfCells, alpha: float, margin: float) -> None:
        self.data, self.alpha, self.margin = data, alpha, margin
        self.done: list[_Test] = []
        unit, self.unit = data.repeats()
        # without a worker column there would have been an error
        self.worker = np.zeros(len(data.rows), dtype=np.intp) if data.worker is None else data.worker
        self.run = unit
        self.workers = len(data.workers)
        self.rates = np.full(self.workers, np.nan)

    def add(self, k: int) -> None:
        """Make the tests of a metric."""
        metric = self.data.metrics[k]
        known = np.array([name != UNKNOWN for name in self.data.workers], dtype=bool)
        rows = np.flatnonzero(known[self.worker]) if len(known) else np.empty(0, dtype=np.intp)
        values = self.data.values(k, rows)
        if not len(values.rows):
            return
        worker, cell, run = (part[values.rows] for part in (self.worker, self.data.cell, self.run))
        if metric.is_proportion:
            bad = values.n * (1 - values.mean if metric.sign > 0 else values.mean)
            self._failures(metric, bad, values.n, worker, cell, run)
            return
        worse = -metric.sign
        # of a run that went on after midnight there is one value for each cell
        place = numbered([worker, cell, run], len(worker))
        first = np.zeros(int(place.max()) + 1, dtype=np.intp)
        first[place] = np.arange(len(place))
        value = np.bincount(place, values.n * self.data.relative(values)) / np.bincount(place, values.n)
        offsets, runs = offset_of_workers(value, worker[first], cell[first], run[first], worse, self.alpha)
        size = _percent(offsets.effect, values.log)
        with np.errstate(invalid="ignore"):
            wrong = np.sign(offsets.effect) == worse if worse else np.ones(len(size), dtype=bool)
            enough = np.abs(size) >= 100 * self.margin
        self._keep(
            "offset",
            metric,
            offsets,
            size,
            _percent(offsets.ci_lower, values.log),
            _percent(offsets.ci_upper, values.log),
            wrong & enough,
        )
        spread = spread_of_workers(runs, len(size))
        with np.errstate(invalid="ignore"):
            more = spread.effect >= _TIMES_MORE
        self._keep("spread", metric, spread, spread.effect, spread.ci_lower, spread.ci_upper, more)
        if np.isfinite(self.data.time).any():
            self._drift(metric, runs, values.rows, worse, values.log)

    def _failures(self, metric: Metric, bad: Floats, n: Floats, worker: Ints, cell: Ints, run: Ints) -> None:
        found = failures_of_workers(bad, n, worker, cell, run, self.alpha)
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = np.bincount(worker, bad) / np.bincount(worker, n)
            more = found.effect >= _TIMES_MORE
        self._keep("failures", metric, found, 100 * rate, found.ci_lower, found.ci_upper, more)

    def _drift(self, metric: Metric, runs: Runs, rows: Ints, worse: int, log: bool) -> None:
        size = int(self.run.max()) + 1
        key = self.worker[rows] * size + self.run[rows]
        present, place = distinct(key)
        first = np.full(len(present), np.inf)
        moment = np.where(np.isfinite(self.data.time[rows]), self.data.time[rows], np.inf)
        np.minimum.at(first, place, moment)
        time = first[np.searchsorted(present, runs.worker * size + runs.run)]
        time = np.where(np.isfinite(time), time, np.nan)
        workers = int(self.worker[rows].max()) + 1
        found = drift_of_workers(runs, time, workers, worse)
        span = np.zeros(workers)
        for worker in np.flatnonzero(np.isfinite(found.pvalue)):
            mine = time[runs.worker == worker]
            span[worker] = np.nanmax(mine) - np.nanmin(mine)
        with np.errstate(invalid="ignore"):
            enough = np.abs(_percent(found.effect * span, log)) >= 100 * self.margin
            wrong = np.sign(found.effect) == worse if worse else np.ones(workers, dtype=bool)
        slope, low, high = (_percent(part, log) for part in (found.effect, found.ci_lower, found.ci_upper))
        self._keep("drift", metric, found, slope, low, high, enough & wrong)

    def _keep(
        self,
        kind: str,
        metric: Metric,
        found: WorkerTests,
        effect: Floats,
        lower: Floats,
        upper: Floats,
        matters: NDArray[np.bool_],
    ) -> None:
        """Keep a test, with a place for workers that have no value of the metric."""
        padded = [_padded(part, self.workers) for part in (*found, effect, lower, upper)]
        n = np.nan_to_num(padded[4]).astype(np.intp)
        tests = WorkerTests(padded[0], padded[1], padded[2], padded[3], n)
        there = np.zeros(self.workers, dtype=bool)
        there[: len(matters)] = matters
        self.done.append(_Test(kind, metric, tests, padded[5], padded[6], padded[7], there & np.isfinite(tests.pvalue)))

    def tests(self) -> pd.DataFrame:
        """Return a line for each worker, metric and kind of evidence."""
        parts = [
            pd.DataFrame(
                {
                    "worker": pd.array(self.data.workers, dtype="str"),
                    "metric": pd.array([test.metric.name] * self.workers, dtype="str"),
                    "evidence": pd.array([test.kind] * self.workers, dtype="str"),
                    "effect": test.effect,
                    "ci_lower": test.lower,
                    "ci_upper": test.upper,
                    "pvalue": test.found.pvalue,
                    "beyond_margin": test.matters,
                    "n_runs": test.found.n,
                }
            )
            for test in self.done
        ]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"worker": pd.array([], dtype="str")})

    def ranked(self) -> pd.DataFrame:
        """Return the workers, the most surely sick first."""
        known = [place for place, name in enumerate(self.data.workers) if name != UNKNOWN]
        raw = np.array([test.found.pvalue for test in self.done]).reshape(len(self.done), self.workers)
        matters = np.array([test.matters for test in self.done], dtype=bool).reshape(len(self.done), self.workers)
        made = np.isfinite(raw).sum(axis=0)
        weighed = np.where(matters, np.nan_to_num(raw, nan=1.0), np.where(np.isfinite(raw), 1.0, np.nan))
        own = np.minimum(np.nan_to_num(weighed, nan=1.0).min(axis=0, initial=1.0) * made, 1.0)
        pvalue = np.where(made > 0, own, np.nan)
        adjusted = np.full(self.workers, np.nan)
        adjusted[known] = adjust_pvalues(pvalue[known], "holm")
        words = np.select(
            [made == 0, adjusted < self.alpha, pvalue < self.alpha], ["too_few", "sick", "suspect"], "fine"
        )
        size = int(self.run.max()) + 1
        runs = distinct(self.worker * size + self.run)[0] // size
        frame = pd.DataFrame(
            {
                "worker": pd.array(self.data.workers, dtype="str"),
                "verdict": pd.Categorical(words.tolist(), categories=list(VERDICTS), ordered=True),
                "pvalue": pvalue,
                "pvalue_adjusted": adjusted,
                "n_runs": np.bincount(runs, minlength=self.workers),
                "n": np.bincount(self.worker, self.data.rows, self.workers).astype(np.int64),
            }
        )
        told = pvalue < self.alpha
        best = [self._best(raw[:, worker], matters[:, worker] & told[worker]) for worker in range(self.workers)]
        frame["evidence"] = pd.array([self.done[at].kind if at >= 0 else "none" for at in best], dtype="str")
        for kind, column in _COLUMNS.items():
            frame[column] = self._of_kind(kind, raw, matters)
        frame["reason"] = pd.array([self._reason(worker, best[worker]) for worker in range(self.workers)], dtype="str")
        away = frame["offset_pct"].abs().fillna(0)
        frame = frame.assign(__away=-away).iloc[known]
        frame = frame.sort_values(["verdict", "pvalue", "__away", "worker"], kind="stable").reset_index(drop=True)
        frame["rank"] = np.arange(1, len(frame) + 1)
        return frame[list(COLUMNS["health"])]

    def _best(self, pvalue: Floats, matters: NDArray[np.bool_]) -> int:
        """Return the number of the test that says most against a worker, or -1."""
        if not matters.any():
            return -1
        return int(np.argmin(np.where(matters, pvalue, np.inf)))

    def _of_kind(self, kind: str, raw: Floats, matters: NDArray[np.bool_]) -> Floats:
        """Return the effect of a kind of evidence, of the metric in which it is surest."""
        chosen = [place for place, test in enumerate(self.done) if test.kind == kind]
        found = np.full(self.workers, np.nan)
        if chosen:
            order = np.where(np.isfinite(raw[chosen]), raw[chosen] + ~matters[chosen], np.inf)
            surest = order.argmin(axis=0)
            effects = np.array([self.done[place].effect for place in chosen])
            found = effects[surest, np.arange(self.workers)]
        return found

    def _reason(self, worker: int, best: int) -> str:
        counted = max((int(test.found.n[worker]) for test in self.done), default=0)
        if all(np.isnan(test.found.pvalue[worker]) for test in self.done):
            if not counted:
                return "no other worker ran the same tests"
            runs = f"{counted} {self.unit}{'' if counted == 1 else 's'}"
            return f"only {runs} that can be compared; 3 are needed"
        if best < 0:
            return "as the other workers, or not far enough from them to matter"
        return _in_words(self.done[best], worker, self.unit)


def _padded(values: Any, size: int) -> Floats:
    found = np.full(size, np.nan)
    found[: len(values)] = values
    return found


def _in_words(test: _Test, worker: int, unit: str) -> str:
    """Say what a test found, such as "throughput 5.1 % lower than the other workers (3.9 to 6.3 %, 10 runs)"."""
    name, effect = test.metric.name, float(test.effect[worker])
    low, high = float(test.lower[worker]), float(test.upper[worker])
    runs = f"{int(test.found.n[worker]):,} {unit}{'' if test.found.n[worker] == 1 else 's'}"
    if test.kind == "failures":
        ratio = float(test.found.effect[worker])
        span = f"{low:.2g} to {high:.2g}, {runs}"
        return f"{name}: fails {effect:.3g} % of the time, {ratio:.2g} times as often as the other workers ({span})"
    if test.kind == "spread":
        return f"{name} varies {effect:.2g} times as much from run to run as on the other workers ({runs})"
    sides = sorted((low, high)) if effect > 0 else sorted((-low, -high))
    if test.kind == "drift":
        way = "rises" if effect > 0 else "falls"
        span = f"{sides[0]:.2g} to {sides[1]:.2g} %, {runs}"
        return f"{name} {way} {abs(effect):.2g} % a day against the other workers ({span})"
    way = "higher" if effect > 0 else "lower"
    span = f"{sides[0]:.1f} to {sides[1]:.1f} %, {runs}"
    return f"{name} {abs(effect):.1f} % {way} than the other workers ({span})"


def _percent(value: Any, log: bool) -> Any:
    return 100 * np.expm1(value) if log else 100 * np.asarray(value)
