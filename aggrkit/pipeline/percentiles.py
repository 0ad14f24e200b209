"""Percentiles and spread compared in all cells: of runs, or as estimated from single observations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from aggrkit.pipeline.means import LONE, Measured, by_pairs, mixed
from aggrkit.pipeline.units import Sample, padded
from aggrkit.statistics.comparison import (
    Units,
    compare_estimates,
    compare_means,
)
from aggrkit.statistics.quantiles import (
    Estimates,
    Grouped,
    Statistic,
    brown_forsythe,
    harrell_davis,
    relative_spread,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

__all__ = ["Values", "by_statistic"]

_LENGTHS_DIFFER: Final = {True: 0.02, False: 0.1}
_BIASED: Final = 0.05
_OF_ONE: Final = "runs of one value"


@dataclass(frozen=True)
class Values:
    """The single values of a metric, in runs and in strata."""

    sample: Sample

    @cached_property
    def cell_of(self) -> NDArray[np.int64]:
        """The cell of each stratum; an empty one for the last cell comes at the end."""
        return padded(self.sample.owners()[1], self.sample.data.cells)

    @cached_property
    def place(self) -> NDArray[np.int64]:
        """Twice the stratum, plus the side, of each unit."""
        return self.sample.owners()[0] * 2 + self.sample.side

    @cached_property
    def _observed(self) -> tuple[Floats, NDArray[np.int64]]:
        """Values, and the unit of each."""
        observed = self.sample.data.observed[self.sample.k]
        unit = np.zeros(len(self.sample.data.units), dtype=np.int64)
        unit[self.sample.rows] = np.arange(len(self.sample.rows))
        return observed.value, unit[observed.row]

    @cached_property
    def runs(self) -> tuple[Grouped, NDArray[np.int64], NDArray[np.int64]]:
        """The values by run, stratum and side; the place of each such group, and its run."""
        run = self.sample.runs()
        many = int(run.max(initial=0)) + 1
        key, group = np.unique(self.place * many + run, return_inverse=True)
        value, unit = self._observed
        return Grouped.of(value, group.ravel()[unit].astype(np.int64), len(key)), key // many, key % many

    @property
    def held(self) -> bool:
        """Whether the single values are at hand; where not, the engine has computed the statistics of the units."""
        return bool(self.sample.data.observed)

    def per_run(self, statistic: Statistic) -> _PerRun:
        """Return a statistic of each run: of spreads a share of the run's median where all values are positive."""
        if self.held:
            grouped, place, run = self.runs
            found = grouped.spread() if statistic.is_spread else grouped.percentile(statistic.q)
            centre, size = grouped.percentile(0.5) if statistic.is_spread else found, grouped.size
        else:
            place, run, size = self.place, self.sample.runs(), self.sample.column("n").astype(np.int64)
            found = np.where(~statistic.is_spread | (size > 1), self._computed(statistic.name), np.nan)
            centre = self._computed("p50") if statistic.is_spread else found
        cell = self.cell_of[place // 2]
        if statistic.is_spread:
            found = found / np.where(self.sample.log[cell], centre, 1.0)
        return _PerRun(found, size, place, run, cell)

    def _computed(self, name: str) -> Floats:
        return self.sample.data.units[f"{name}_{self.sample.k}"].to_numpy(dtype=np.float64)[self.sample.rows]

    @cached_property
    def sides(self) -> Grouped:
        """The values by stratum and side."""
        return self.sides_of(np.ones(self.sample.data.cells, dtype=bool))

    def sides_of(self, wanted: Flags) -> Grouped:
        """Return the values by stratum and side, those of some cells only."""
        value, unit = self._observed
        mine = wanted[self.sample.cell[unit]]
        return Grouped.of(value[mine], self.place[unit[mine]], 2 * len(self.cell_of))


@dataclass(frozen=True)
class _PerRun:
    """A statistic of each run of a stratum: its value, of how many, twice the stratum plus the side, run and cell."""

    value: Floats
    size: NDArray[np.int64]
    place: NDArray[np.int64]
    run: NDArray[np.int64]
    cell: NDArray[np.int64]


def by_statistic(values: Values, statistic: Statistic) -> Measured:
    """Compare percentiles or spread: of runs where they repeat, else as estimated from the observations."""
    sample = values.sample
    data = sample.data
    if data.design == "observations" and not values.held:
        return _unheld(_by_runs(values, statistic), np.ones(data.cells, dtype=bool))
    if data.design == "observations":
        everywhere = np.ones(data.cells, dtype=bool)
        return _by_observations(values, statistic, everywhere, np.full(data.cells, "observations", dtype=object))
    by_runs = _by_runs(values, statistic)
    counted = np.stack([sample.per_cell(sample.column("n"), side) for side in (0, 1)])
    single = _single_values(values)
    by_values = np.isnan(by_runs.found.se) & (counted > 0).all(axis=0) | single
    if not by_values.any():
        return by_runs
    names = np.where(single, _OF_ONE, LONE[data.design]).astype(object)
    if not values.held:
        return _unheld(replace(by_runs, design=np.where(by_values, names, by_runs.design)), by_values)
    lone = _apart(values, _by_observations(values, statistic, by_values, names), single)
    return Measured(
        statistic,
        _joined(by_runs.units, lone.units, by_values),
        mixed(~by_values, by_runs.found, lone.found),
        np.where(by_values, lone.design, by_runs.design),
        np.where(by_values, lone.log, by_runs.log),
        np.where(by_values, lone.told, by_runs.told),
        np.where(by_values, lone.needed, np.nan),
        {
            **{cell: said for cell, said in by_runs.remarks.items() if not by_values[cell]},
            **{cell: said for cell, said in lone.remarks.items() if by_values[cell]},
        },
    )


def _unheld(measured: Measured, where: Flags) -> Measured:
    """Return a comparison without certainty where it would need more single values than can be held."""
    unsure = np.where(where, np.nan, 0.0)
    found = replace(measured.found, se=measured.found.se + unsure, pvalue=measured.found.pvalue + unsure)
    said = f"too many observations to say how sure their {measured.statistic.name} is: select fewer"
    remarks = {**measured.remarks, **{cell: [said] for cell in np.flatnonzero(where).tolist()}}
    return replace(measured, found=found, remarks=remarks)


def _apart(values: Values, measured: Measured, single: Flags) -> Measured:
    """Withhold verdicts where runs of one value share their luck between strata, which no single value can tell."""
    _, place, run = values.runs
    cell = values.cell_of[place // 2]
    of_cell = np.unique(np.stack([cell, place % 2, run]), axis=1)[0]
    cells = len(single)
    spans = single & (np.bincount(cell, minlength=cells) > np.bincount(of_cell, minlength=cells))
    said = f"runs with one value in each of several strata: group by what differs to compare {measured.statistic.name}"
    remarks = {**measured.remarks, **{k: [said] for k in np.flatnonzero(spans).tolist()}}
    return replace(measured, told=measured.told & ~spans, remarks=remarks)


def _single_values(values: Values) -> Flags:
    """Say in which cells no run has more than one value, so that each value is a unit."""
    if not values.held:
        return np.zeros(values.sample.data.cells, dtype=bool)
    grouped, place, _ = values.runs
    largest = np.zeros(values.sample.data.cells, dtype=np.int64)
    np.maximum.at(largest, values.cell_of[place // 2], grouped.size)
    single: Flags = np.logical_and(largest == 1, values.sample.data.design == "runs")
    return single


def _joined(first: Units, other: Units, by_other: Flags) -> Units:
    """Take the units of some cells from one comparison, those of the others from another."""
    parts = [(first, ~by_other[first.cell_of[first.stratum]]), (other, by_other[other.cell_of[other.stratum]])]
    value, side, stratum = (
        np.concatenate([getattr(units, name)[kept] for units, kept in parts]) for name in ("value", "side", "stratum")
    )
    return Units(value, side, stratum, first.cell_of)


def _by_runs(values: Values, statistic: Statistic) -> Measured:
    """Compare the statistics of runs by the machinery of means."""
    sample, per_run = values.sample, values.per_run(statistic)
    cells, place, cell = sample.data.cells, per_run.place, per_run.cell
    log = _positive(per_run.value, cell, cells) if statistic.is_spread else sample.log
    there = np.isfinite(per_run.value)
    scaled = _on_scale(per_run.value, log[cell])[there]
    units = Units(scaled, place[there] % 2, place[there] // 2, values.cell_of, per_run.run[there])
    design = np.full(cells, sample.data.design, dtype=object)
    if sample.data.design == "within runs":
        found = by_pairs(sample, _by_place(scaled, place[there], len(values.cell_of))[:-1])
        design[:] = "pairs of runs"
    else:
        found = compare_means(units)
    used = there & _matched(place, there)[place // 2]
    told, remarks = _lengths(statistic, per_run.size[used], cell[used], place[used] % 2, cells, "runs")
    return Measured(statistic, units, found, design, log, sample.like & told, np.full(cells, np.nan), remarks)


def _by_place(value: Floats, place: NDArray[np.int64], strata: int) -> Floats:
    """Return the mean value by stratum and side; NaN where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.bincount(place, value, 2 * strata) / np.bincount(place, minlength=2 * strata)
    return found.reshape(-1, 2)


def _by_observations(values: Values, statistic: Statistic, wanted: Flags, design: NDArray[np.object_]) -> Measured:
    """Compare statistics that are estimated from single values, which are taken as independent."""
    sample, cell_of = values.sample, values.cell_of
    cells = sample.data.cells
    grouped = values.sides if wanted.all() else values.sides_of(wanted)
    n = grouped.size.reshape(-1, 2)
    enough = (n >= statistic.values_needed).all(axis=1)
    known = np.bincount(cell_of[enough], minlength=cells) > 0
    used = np.where(known[cell_of], enough, (n > 0).all(axis=1))
    relative = np.repeat(sample.log[cell_of], 2)
    if statistic.is_spread:
        estimates = relative_spread(grouped, relative)
        log = _positive(estimates.value, np.repeat(cell_of, 2), cells)
        estimates = _logarithmic(estimates, np.repeat(log[cell_of], 2))
    else:
        log = sample.log
        estimates = harrell_davis(grouped.scaled(_on_scale(grouped.value, relative[grouped.group])), statistic.q)
    value, se, df = (getattr(estimates, name).reshape(-1, 2) for name in ("value", "se", "df"))
    found = compare_estimates(value, se, df, np.where(used[:, None], n, 0), cell_of)
    unsure = np.where(known, 0.0, np.nan)
    pvalue = found.pvalue + unsure
    if statistic.is_spread:
        by_anova = brown_forsythe(grouped, relative, np.where(used, cell_of, -1), cells)
        pvalue = np.where(np.isnan(by_anova), pvalue, np.maximum(pvalue, by_anova))
    found = replace(found, se=found.se + unsure, pvalue=pvalue, heterogeneity=found.heterogeneity + unsure)
    there = np.flatnonzero(np.isfinite(estimates.value))
    units = Units(estimates.value[there], there % 2, there // 2, cell_of)
    told, remarks = np.ones(cells, dtype=bool), _too_few(statistic, n, cell_of, known, wanted)
    if statistic.is_spread:
        both = np.repeat(used, 2)
        size, cell = grouped.size[both], np.repeat(cell_of, 2)[both]
        told, said = _lengths(statistic, size, cell, np.arange(2 * len(cell_of))[both] % 2, cells, "strata")
        remarks = {**said, **remarks}
    strata = np.maximum(np.bincount(cell_of[(n > 0).all(axis=1)], minlength=cells), 1)
    countable = np.isin(design, ["observations", _OF_ONE])
    needed = np.where(known | ~countable, np.nan, statistic.values_needed * strata)
    return Measured(statistic, units, found, design, log, sample.like & told, needed, remarks)


def _matched(place: NDArray[np.int64], there: Flags) -> Flags:
    """Say which strata have both sides."""
    sides = np.bincount(place[there], minlength=2 * (int(place.max(initial=-1)) // 2 + 1)).reshape(-1, 2)
    return np.logical_and(sides[:, 0] > 0, sides[:, 1] > 0)


def _positive(value: Floats, cell: NDArray[np.int64], cells: int) -> Flags:
    """Say in which cells all values that there are are positive."""
    positive: Flags = np.bincount(cell[value <= 0], minlength=cells) == 0
    return positive


def _on_scale(value: Floats, log: Flags) -> Floats:
    return np.where(log, np.log(np.where(log & (value > 0), value, 1.0)), value)


def _logarithmic(estimates: Estimates, log: Flags) -> Estimates:
    """Return estimates as logarithms where that is asked for; errors become shares."""
    with np.errstate(divide="ignore", invalid="ignore"):
        se = np.where(log, estimates.se / estimates.value, estimates.se)
        value = np.where(log, np.log(np.where(log, estimates.value, 1.0)), estimates.value)
    return Estimates(value, se, estimates.df)


def _lengths(
    statistic: Statistic, size: NDArray[np.int64], cell: NDArray[np.int64], side: NDArray[np.int64], cells: int, of: str
) -> tuple[Flags, dict[int, list[str]]]:
    """Say where both sides are of one length, or long enough for it not to matter, and what to remark on it.

    A percentile, or a spread, of few values is off by what depends on their number: alike on both sides if that is.
    """
    place = cell * 2 + side
    with np.errstate(divide="ignore", invalid="ignore"):
        usual = (np.bincount(place, minlength=2 * cells) / np.bincount(place, 1 / size, 2 * cells)).reshape(-1, 2)
        bias = statistic.bias(usual)
        gap: Floats = bias[:, 0] - bias[:, 1]
        unlike = np.abs(gap) > _LENGTHS_DIFFER[statistic.is_spread]
        short = (usual.min(axis=1) < statistic.values_needed) & (np.abs(bias) > _BIASED).any(axis=1) & (of == "runs")
    remarks: dict[int, list[str]] = {}
    for k in np.flatnonzero(unlike | short).tolist():
        before, after = (f"{number:,.0f}" for number in usual[k])
        remarks[k] = (
            [f"short runs of {before} values: their {statistic.name} is biased, alike on both sides"]
            if not unlike[k]
            else [f"{of} of {before} and {after} values: their {statistic.name} differs for that alone"]
        )
    return ~unlike, remarks


def _too_few(
    statistic: Statistic, n: NDArray[np.int64], cell_of: NDArray[np.int64], known: Flags, wanted: Flags
) -> dict[int, list[str]]:
    """Say where there are too few values, or where strata were left out for that."""
    cells, least = len(known), n.min(axis=1)
    most = np.zeros(cells, dtype=np.int64)
    np.maximum.at(most, cell_of, least)
    strata = np.bincount(cell_of[least > 0], minlength=cells)
    total = np.bincount(cell_of[least > 0], n[least > 0].sum(axis=1), cells)
    few = (least > 0) & (least < statistic.values_needed)
    left_out = np.bincount(cell_of[few], n[few].sum(axis=1), cells)
    remarks = {}
    needs = f"{statistic.name} needs {statistic.values_needed:,} values a side"
    for k in np.flatnonzero(wanted & (strata > 0) & (left_out > 0)).tolist():
        if known[k]:
            share = f"{100 * left_out[k] / total[k]:.0f} % of the observations left out"
            remarks[k] = [f"{share}: {needs} of a stratum"]
        else:
            there = f"the smaller one has {most[k]:,}" if strata[k] == 1 else f"no stratum has more than {most[k]:,}"
            remarks[k] = [f"{needs}, {there}"]
    return remarks
