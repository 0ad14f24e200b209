"""What makes a difference: each describing column against each metric, like with like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from aggrkit.errors import SchemaError, listed, number_between
from aggrkit.model.answer import COLUMNS, Answer
from aggrkit.model.schema import HELD_FIXED, Kind, Role
from aggrkit.pipeline.coding import codes_of, numbered
from aggrkit.pipeline.expressions import fetch, label_of, mean, text_of
from aggrkit.statistics.differences import (
    chi_squared,
    cramers_v,
    epsilon_squared,
    group_effects,
    kruskal_wallis,
    magnitude,
)
from aggrkit.statistics.groups import grouped_medians
from aggrkit.statistics.multiplicity import adjust_pvalues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric
    from aggrkit.model.schema import Column
    from aggrkit.pipeline.prepared import Prepared

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["FindDifferences"]

_DIMENSIONS: Final = (Role.MODEL, Role.HARDWARE, Role.WORKER, Role.TASK_TYPE, Role.CONDITION, Role.VERSION)
_MOST_VALUES: Final = 200
_MOST_HELD: Final = 2000
_ENOUGH_LEFT: Final = 0.5


@dataclass(frozen=True)
class FindDifferences:
    """Test each describing column against each metric.

    Parameters
    ----------
    dimensions : tuple of str or None, optional
        Which columns; by default all that describe the test and have 2 to 200 values.
    alpha : float, optional
        Level at which an adjusted p-value is significant.
    adjust : str or None, optional
        How p-values are adjusted over the whole table.
    """

    dimensions: tuple[str, ...] | None = None
    alpha: float = 0.05
    adjust: str | None = "fdr_bh"
    name: str = "differences"

    def __post_init__(self) -> None:
        number_between(self.alpha, 0, 1, "alpha is a chance between 0 and 1")
        adjust_pvalues([], self.adjust)

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with the frame "differences".

        Raises
        ------
        SchemaError
            If no column describes the observations.
        """
        chosen = _chosen(prepared, self.dimensions)
        data, skipped = _Described.of(prepared, chosen)
        lines = [line for column in data.dimensions for line in data.lines(column)]
        frame = pd.DataFrame(lines, columns=[*_TEXTS, *_NUMBERS, "n", "groups", "reason"])
        frame = frame.astype(dict.fromkeys(_TEXTS, "str") | dict.fromkeys(_NUMBERS, "float64"))
        frame = frame.astype({"n": "int64", "groups": "int64"})
        frame["pvalue_adjusted"] = adjust_pvalues(frame["pvalue"].to_numpy(), self.adjust)
        frame["significant"] = frame["pvalue_adjusted"].lt(self.alpha)
        reasons = zip(frame["dimension"], frame["metric"], frame["reason"], strict=True)
        return answer.with_frame(
            "differences",
            frame[list(COLUMNS["differences"])],
            alpha=self.alpha,
            adjust=self.adjust or "none",
            counted="runs" if data.run is not None else "observations",
            skipped=skipped,
            undefined={f"{metric} by {dimension}": reason for dimension, metric, reason in reasons if reason},
        )


_TEXTS: Final = ("dimension", "metric", "unit", "magnitude", "best", "worst", "lowest", "highest", "adjusted_for")
_NUMBERS: Final = ("effect_size", "pvalue", "spread_pct")


@dataclass(frozen=True)
class _Described:
    """A row per observation, or per run of each combination of what describes it."""

    metrics: tuple[Metric, ...]
    dimensions: list[Column]
    held: list[Column]
    codes: dict[str, Ints]
    names: dict[str, list[Any]]
    run: Ints | None
    count: NDArray[np.int64]
    value: Floats

    @classmethod
    def of(cls, prepared: Prepared, chosen: Sequence[Column]) -> tuple[_Described, dict[str, str]]:
        """Fetch metrics and describing columns; say which of these are left out, and why."""
        table, metrics = prepared.table, prepared.metrics
        measured = {metric.name for metric in metrics}
        held = sorted(
            (c for c in prepared.schema.playing(*HELD_FIXED) if c.name not in measured),
            key=lambda c: HELD_FIXED.index(c.role),
        )
        columns = list({c.name: c for c in (*chosen, *held)}.values())
        texts = {f"c{k}": text_of(label_of(table[c.field])) for k, c in enumerate(columns)}
        sizes = {f"s{key}": text.nunique() for key, text in texts.items()}
        gaps = {f"m{key}": text.isnull().any() for key, text in texts.items()}
        found = fetch(table.aggregate(**sizes, **gaps), prepared.label).to_pylist()[0]
        size = {c.name: found[f"sc{k}"] for k, c in enumerate(columns)}
        gap = {c.name: bool(found[f"mc{k}"]) for k, c in enumerate(columns)}
        skipped = {c.name: why for c in chosen if (why := _too_many_or_few(size[c.name]))}
        dimensions = [c for c in chosen if c.name not in skipped]
        held = [c for c in held if size[c.name] + gap[c.name] > 1 and size[c.name] <= _MOST_HELD]
        kept = {f"c{k}": c for k, c in enumerate(columns) if c in dimensions or c in held}
        keys: dict[str, Any] = {key: texts[key] for key in kept}
        values = [prepared.values(metric) for metric in metrics]
        run = prepared.schema.role(Role.RUN)
        if run is not None and run.name not in {c.name for c in dimensions}:
            keys["run"] = text_of(label_of(table[run.field]))
            measures: dict[str, Any] = {}
            for k, metric in enumerate(metrics):
                level = mean(values[k]) if metric.is_proportion else values[k].median()
                measures |= {f"n{k}": values[k].count(), f"x{k}": level}
            rows = fetch(table.group_by(**keys).aggregate(**measures), prepared.label)
        else:
            run = None
            rows = fetch(table.select(**keys, **{f"x{k}": value for k, value in enumerate(values)}), prepared.label)
        value = np.array([rows[f"x{k}"].to_numpy() for k in range(len(metrics))], dtype=np.float64)
        count = (
            np.isfinite(value).astype(np.int64)
            if run is None
            else np.array([rows[f"n{k}"].to_numpy() for k in range(len(metrics))], dtype=np.int64)
        )
        coded = {column.name: codes_of(rows[key]) for key, column in kept.items()}
        made = cls(
            metrics=metrics,
            dimensions=dimensions,
            held=held,
            codes={name: codes for name, (codes, _) in coded.items()},
            names={name: names for name, (_, names) in coded.items()},
            run=None if run is None else codes_of(rows["run"])[0],
            count=count,
            value=value,
        )
        return made, skipped

    def lines(self, column: Column) -> list[dict[str, Any]]:
        """Return a line per metric for one describing column."""
        cell, fixed = self._cells(column)
        adjusted_for = ", ".join(c.name for c in fixed) or "nothing"
        found = []
        for k, metric in enumerate(self.metrics):
            if metric.name != column.name:
                line = {"dimension": column.name, "metric": metric.name, "unit": metric.unit}
                found.append(line | self._tested(k, column, cell) | {"adjusted_for": adjusted_for})
        return found

    def _cells(self, column: Column) -> tuple[Ints, list[Column]]:
        """Hold fixed what can be: every further column that leaves half of the rows beside another value."""
        group = self.codes[column.name]
        known = group >= 0
        cell, fixed = np.zeros(len(group), dtype=np.intp), []
        for other in self.held:
            if other.name == column.name:
                continue
            finer = numbered([cell, self.codes[other.name]], len(group))
            if _beside_another(finer[known], group[known]).mean() >= _ENOUGH_LEFT:
                cell = finer
                fixed.append(other)
        return cell, fixed

    def _tested(self, k: int, column: Column, cell: Ints) -> dict[str, Any]:
        metric, group, value = self.metrics[k], self.codes[column.name], self.value[k]
        there = np.flatnonzero((group >= 0) & (self.count[k] > 0) & np.isfinite(value))
        there = there[_beside_another(cell[there], group[there])]
        nothing = dict.fromkeys(("best", "worst", "lowest", "highest")) | dict.fromkeys(_NUMBERS, float("nan"))
        if not len(there):
            reason = "fewer than two values of it have the metric side by side"
            return nothing | {"n": 0, "groups": 0, "magnitude": "undefined", "reason": reason}
        value = value[there]
        label, group = np.unique(group[there], return_inverse=True)
        cell = np.unique(cell[there], return_inverse=True)[1].ravel()
        names = [self.names[column.name][place] for place in label]
        if metric.is_proportion:
            count = self.count[k][there]
            passes = np.rint(value * count).astype(np.int64)
            twice = np.concatenate([np.arange(len(there))] * 2)
            times = np.concatenate([passes, count - passes])
            passed = np.repeat(np.repeat([1.0, 0.0], len(there)), times)
            group, cell = (np.repeat(codes[twice], times) for codes in (group, cell))
            test = chi_squared(passed, group, cell)
            effect, word = cramers_v(test.statistic, test.n), "cramers_v"
            levels = group_effects(passed, group, cell, means=True)
            spread = 100 * float(np.ptp(levels))
        else:
            positive, alone = bool((value > 0).all()), int(cell.max()) == 0
            # a single cell needs no common level: its values are compared as they are
            scaled = np.log(value) if positive and not alone else value
            unit, stratum, off = self._units(scaled, group, cell, there)
            test = kruskal_wallis(off, unit, stratum)
            effect, word = epsilon_squared(test.statistic, test.n, test.strata), "epsilon_squared"
            levels = group_effects(scaled, group, cell)
            with np.errstate(over="ignore", invalid="ignore"):
                apart = float(np.ptp(levels))
                if positive:
                    spread = 100 * (apart / float(levels.min()) if alone else float(np.expm1(apart)))
                else:
                    spread = 100 * apart / (abs(float(np.median(value))) or float("nan"))
        found = nothing | {
            "n": test.n,
            "groups": len(label),
            "magnitude": "undefined",
            "reason": "all values are equal",
        }
        if not np.isfinite(test.pvalue):
            return found
        # of equal levels the first name, whatever the order of the rows
        lowest, highest = (min(zip(sign * levels, names, strict=True))[1] for sign in (1.0, -1.0))
        best, worst = {1: (highest, lowest), -1: (lowest, highest), 0: (None, None)}[metric.sign]
        return found | {
            "effect_size": effect,
            "magnitude": magnitude(effect, word),
            "pvalue": test.pvalue,
            "best": best,
            "worst": worst,
            "lowest": lowest,
            "highest": highest,
            "spread_pct": float(spread),
            "reason": "",
        }

    def _units(self, scaled: Floats, group: Ints, cell: Ints, there: Ints) -> tuple[Ints, Ints, Floats]:
        """Return group, stratum and distance from its cell of each run, or of each observation."""
        cells = int(cell.max()) + 1
        off = scaled - grouped_medians(scaled, cell, cells)[cell] if cells > 1 else scaled
        if self.run is None:
            return group, cell, off
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        unit = numbered([group, self.run[there]], len(there))
        units = int(unit.max()) + 1
        of_unit = np.zeros(units, dtype=np.intp)
        of_unit[unit] = group
        # cells that share runs were levelled by the same runs, which costs them one degree of freedom together
        links = coo_array((np.ones(len(unit)), (unit, units + cell)), shape=(units + cells, units + cells))
        stratum = connected_components(links, directed=False)[1][:units].astype(np.intp)
        return of_unit, stratum, grouped_medians(off, unit, units)


def _chosen(prepared: Prepared, names: Sequence[str] | None) -> list[Column]:
    schema = prepared.schema
    if names is not None:
        found = list({column.name: column for column in map(schema.column, names)}.values())
    else:
        measured = {metric.name for metric in prepared.metrics}
        kinds = (Kind.TEXT, Kind.NUMBER, Kind.BOOLEAN)
        found = [c for c in schema.playing(*_DIMENSIONS) if c.kind in kinds and c.name not in measured]
        found.sort(key=lambda c: _DIMENSIONS.index(c.role))
    if not found:
        raise SchemaError(
            "no column describes the observations by categories; name one: differences(dimensions=['...']). "
            f"Columns: {listed(schema.names)}"
        )
    return found


def _too_many_or_few(size: int) -> str:
    if size < 2:
        return "one value" if size else "no value"
    return f"{size:,} different values" if size > _MOST_VALUES else ""


def _beside_another(cell: Ints, group: Ints) -> NDArray[np.bool_]:
    """Say which rows share their cell with a row of another group."""
    size = int(cell.max(initial=-1)) + 1
    first = np.zeros(size, dtype=np.intp)
    first[cell] = group
    mixed = np.zeros(size, dtype=bool)
    np.logical_or.at(mixed, cell, group != first[cell])
    return mixed[cell]
