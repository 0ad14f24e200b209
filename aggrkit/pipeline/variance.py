"""Where the noise comes from: shares of variance, workers that are off, and runs that are off in everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from aggrkit.errors import UnknownNameError, listed, number_between
from aggrkit.model.answer import COLUMNS, Answer
from aggrkit.model.schema import Role
from aggrkit.pipeline.coding import numbered
from aggrkit.pipeline.runs_of_cells import RunsOfCells
from aggrkit.statistics.common_mode import common_mode
from aggrkit.statistics.groups import distinct
from aggrkit.statistics.multiplicity import adjust_pvalues
from aggrkit.statistics.variance import shrunken_offsets, variance_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrkit.pipeline.prepared import Prepared
    from aggrkit.pipeline.runs_of_cells import Values
    from aggrkit.statistics.variance import Components

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["FindVariance"]

_CONFIDENCE: Final = 0.95
_NAMED_COLUMNS: Final = 3
_DIGITS: Final = 9


@dataclass(frozen=True)
class FindVariance:
    """Split the variance of each metric by what it goes with, and rank workers and runs by how far they are off.

    Parameters
    ----------
    alpha : float, optional
        Level at which an adjusted p-value counts as sure.
    adjust : str or None, optional
        How p-values are adjusted, over all workers and over all runs.
    """

    alpha: float = 0.05
    adjust: str | None = "fdr_bh"
    name: str = "variance"

    def __post_init__(self) -> None:
        number_between(self.alpha, 0, 1, "alpha is a chance between 0 and 1")
        adjust_pvalues([], self.adjust)

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with the frames "variance" and "variance_runs".

        Raises
        ------
        UnknownNameError
            If there is neither a worker, a run nor a time column.
        """
        schema = prepared.schema
        if not any(schema.role(role) for role in (Role.WORKER, Role.RUN, Role.TIMESTAMP)):
            message = "where noise comes from needs a worker, run or time column"
            said = f"{message}; say which it is: df.aggr(worker='...')"
            raise UnknownNameError(f"{said}; the columns are: {listed(schema.names)}", choices=schema.names)
        grouped = {column.name for column in prepared.groups.values() if column is not None}
        worker = schema.role(Role.WORKER)
        data = RunsOfCells.of(prepared, None if worker is None or worker.name in grouped else worker)
        split = _Split(data)
        for group in range(len(data.labels)):
            for k in range(len(data.metrics)):
                split.add(group, k)
        frame, runs = split.frame("variance", self.adjust), split.frame("variance_runs", self.adjust)
        return answer.with_frame(
            "variance",
            frame,
            alpha=self.alpha,
            adjust=self.adjust or "none",
            adjusted_for=[column.name for column in data.held],
            untold=split.untold,
            workers="none" if worker is None else worker.name,
            unit=split.unit,
        ).with_frame("variance_runs", runs)


class _Split:
    """The lines of both frames, group by group and metric by metric."""

    def __init__(self, data: RunsOfCells) -> None:
        self.data = data
        self.lines: list[dict[str, Any]] = []
        self.off: list[pd.DataFrame] = []
        self.untold: dict[str, str] = {}
        named = (("worker", data.worker), ("run", data.run), ("day", data.day))
        self.factors = {name: code for name, code in named if code is not None}
        self.unit = next((name for name in ("run", "day") if name in self.factors), "observation")
        self.cells = _cell_name(data)

    def add(self, group: int, k: int) -> None:
        """Add the lines of a metric of a group."""
        metric = self.data.metrics[k]
        values = self.data.values(k, self.data.members[group])
        key: dict[str, Any] = {"group": group, "metric": metric.name}
        if not len(values.rows):
            self._untold(key, "", "no value")
            return
        codes = [code[values.rows] for code in self.factors.values()]
        cell = self.data.cell[values.rows]
        found = variance_components(values.mean, values.n, values.squares, cell, codes)
        middle = float(np.average(values.mean, weights=values.n))
        scale = 1.0 if metric.is_proportion else abs(middle) or float("nan")
        self._shares(key, values, found, codes, cell, scale)
        if "worker" in self.factors and len(distinct(codes[0])[0]) > 1:
            self._workers(key, values, found, codes, cell, scale)
        if self.data.run is not None and not metric.is_proportion:
            self._runs(key, values)

    def frame(self, name: str, adjust: str | None) -> pd.DataFrame:
        """Return the lines of a frame, with adjusted p-values."""
        texts = [column for column in COLUMNS[name] if column in ("metric", "factor", "level", "run")]
        numbers = [column for column in COLUMNS[name] if column not in (*texts, "n", "pvalue_adjusted")]
        columns = ["group", *texts, *numbers, "pvalue", "n"]
        parts = self.off if name == "variance_runs" else [pd.DataFrame(self.lines, columns=columns)]
        found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
        found = found.astype(dict.fromkeys(texts, "str") | dict.fromkeys((*numbers, "pvalue"), "float64"))
        frame = self.data.labels.loc[found["group"].to_numpy(dtype=np.intp)].reset_index(drop=True)
        for column in (*texts, *numbers):
            frame[column] = found[column]
        frame["n"] = found["n"].astype("int64")
        frame["pvalue_adjusted"] = adjust_pvalues(found["pvalue"].to_numpy(), adjust)
        return frame[[*self.data.labels.columns, *COLUMNS[name]]]

    def _shares(
        self, key: dict[str, Any], values: Values, found: Components, codes: list[Ints], cell: Ints, scale: float
    ) -> None:
        parts = [*zip(self.factors, found.factors, (len(distinct(code)[0]) for code in codes), strict=True)]
        cells = len(distinct(cell)[0])
        if cells > 1:
            parts.append((self.cells, found.cell, cells))
        parts.append(("residual", found.residual, int(values.n.sum())))
        total = float(np.nansum([variance for _, variance, _ in parts]))
        for name, variance, n in parts:
            share = variance / total if total > 0 else float("nan")
            spread = float(_percent(np.sqrt(variance), values.log, scale)) if total > 0 else float("nan")
            self.lines.append({**key, "factor": name, "share": share, "effect_pct": spread, "n": n})
        for name, why in zip(self.factors, found.confounded, strict=True):
            if why is not None:
                self._untold(key, name, self._reason(name, why))
        if total <= 0:
            self._untold(key, "", "all values are equal, or there is one of each kind")

    def _workers(
        self, key: dict[str, Any], values: Values, found: Components, codes: list[Ints], cell: Ints, scale: float
    ) -> None:
        names = list(self.factors)
        repeated = [place for place, name in enumerate(names) if name == self.unit and found.confounded[place] is None]
        single = any(why == 0 for why in found.confounded)
        if found.confounded[0] is not None or single or not np.isfinite(found.residual):
            return
        present, worker = distinct(codes[0])
        offsets = shrunken_offsets(
            values.mean, values.n, cell, [worker, *codes[1:]], found, unit=repeated[0] if repeated else None
        )
        from scipy.special import stdtrit

        reach = -float(stdtrit(offsets.df, (1 - _CONFIDENCE) / 2)) * offsets.se
        n = _runs_of(worker, codes[names.index(self.unit)] if self.unit in names else None, values)
        middle, low, high = (
            _percent(part, values.log, scale)
            for part in (offsets.estimate, offsets.estimate - reach, offsets.estimate + reach)
        )
        for place in np.lexsort((np.array(self.data.workers)[present], -np.abs(middle).round(_DIGITS))):
            self.lines.append(
                {
                    **key,
                    "factor": "worker",
                    "level": self.data.workers[present[place]],
                    "effect_pct": float(middle[place]),
                    "ci_lower": float(low[place]),
                    "ci_upper": float(high[place]),
                    "pvalue": float(offsets.pvalue[place]),
                    "n": int(n[place]),
                }
            )

    def _runs(self, key: dict[str, Any], values: Values) -> None:
        if self.data.run is None:
            return
        cell, run = self.data.cell[values.rows], self.data.run[values.rows]
        # of a run that went on after midnight there is one value for each series
        place = numbered([cell, run], len(run))
        first = np.zeros(int(place.max()) + 1, dtype=np.intp)
        first[place] = np.arange(len(place))
        value = np.bincount(place, values.n * self.data.relative(values)) / np.bincount(place, values.n)
        present, mine = distinct(run[first])
        found = common_mode(value, distinct(cell[first])[1], mine, _CONFIDENCE)
        effect, low, high = (_percent(part, values.log, 1.0) for part in (found.factor, found.ci_lower, found.ci_upper))
        names = np.array(self.data.runs)[present]
        order = _ordered(found.pvalue.round(_DIGITS), -np.abs(effect).round(_DIGITS), names)
        self.off.append(
            pd.DataFrame(
                {
                    **key,
                    "run": pd.array(names[order], dtype="str"),
                    "effect_pct": effect[order],
                    "ci_lower": low[order],
                    "ci_upper": high[order],
                    "pvalue": found.pvalue[order],
                    "n": found.n[order],
                },
            )
        )

    def _reason(self, name: str, why: str | int) -> str:
        if isinstance(why, int):
            return f"it goes with the {list(self.factors)[why]}: each has one {name}"
        return {
            "single": f"there is only one {name}",
            "cell": f"each {self.cells} was seen with one {name} only",
            "residual": f"there is one value for each {name}: it is in the residual",
        }.get(why, "it can't be told apart from the other factors")

    def _untold(self, key: dict[str, Any], factor: str, why: str) -> None:
        labels = [str(label) for label in self.data.labels.iloc[key["group"]]]
        self.untold[", ".join(part for part in (key["metric"], *labels, factor) if part)] = why


def _ordered(first: Floats, second: Floats, names: NDArray[np.str_]) -> Ints:
    """Return the order by two numbers and then by name; names are sorted only where the numbers are tied."""
    order = np.lexsort((second, first)).astype(np.intp)
    one, two = first[order], second[order]
    same = ((one[1:] == one[:-1]) | (np.isnan(one[1:]) & np.isnan(one[:-1]))) & (two[1:] == two[:-1])
    block = np.concatenate(([0], np.cumsum(~same)))
    tied = np.flatnonzero(np.bincount(block)[block] > 1)
    order[tied] = order[tied][np.lexsort((names[order[tied]], block[tied]))]
    return order


def _percent(value: Any, log: bool, scale: float) -> Any:
    """Return offsets (or spreads) in percent; of rates in percentage points."""
    return 100 * np.expm1(value) if log else 100 * np.asarray(value) / scale


def _runs_of(worker: Ints, unit: Ints | None, values: Values) -> Floats:
    """Return the number of runs of each worker; without runs and days, of its values."""
    if unit is None:
        return np.bincount(worker, values.n).astype(np.float64)
    size = int(unit.max()) + 1
    return np.bincount(distinct(worker * size + unit)[0] // size).astype(np.float64)


def _cell_name(data: RunsOfCells) -> str:
    """Return what cells are of, such as "model x hardware"."""
    names = [column.name for column, varies in zip(data.held, data.varies, strict=True) if varies]
    more = len(names) - _NAMED_COLUMNS
    return " x ".join([*names[:_NAMED_COLUMNS], *([f"{more} more"] if more > 0 else [])]) or "cell"
