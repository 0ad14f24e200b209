"""Tests of workers against scipy and statsmodels, by enumeration, and on data in which nobody is sick."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aggrkit.statistics.worker_failures import failures_of_workers
from aggrkit.statistics.workers import (
    Runs,
    drift_of_workers,
    offset_of_workers,
    spread_of_workers,
)

NUMBERS = st.integers(0, 2**32 - 1)


def fleet(
    number: int, workers: int = 12, runs: int = 10, cells: int = 5, noise: float = 0.02
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return value, worker, cell and run of runs of one cell each."""
    rng = np.random.default_rng(number)
    run = np.arange(workers * runs)
    cell = rng.integers(0, cells, len(run))
    return rng.normal(0, 1, cells)[cell] + rng.normal(0, noise, len(run)), run // runs, cell, run


def test_offsets_are_those_of_least_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    # no cell counts as noisier than another, no value as an outlier
    monkeypatch.setattr("aggrkit.statistics.workers.noise_of_groups", lambda off, cell, df: np.ones(cell.max() + 1))
    y, worker, cell, run = fleet(1)
    y[worker == 3] += 0.05
    tests, runs = offset_of_workers(y, worker, cell, run)
    fit = smf.ols("y ~ C(worker) + C(cell)", pd.DataFrame({"y": y, "worker": worker, "cell": cell})).fit()
    level = np.array([0.0, *fit.params[[name for name in fit.params.index if "worker" in name]]])
    names = list(fit.params.index)
    for one in range(12):
        others = np.delete(level, one)
        assert tests.effect[one] == pytest.approx(level[one] - np.median(others))
        contrast = np.zeros(len(names))
        for place, name in enumerate(names):
            if "worker" in name:
                contrast[place] = 1.0 if int(name[12:-1]) == one else -1 / 11
        if one == 0:
            contrast[[place for place, name in enumerate(names) if "worker" in name]] = -1 / 11
        # a median of others costs at most pi / 2 times the variance of their mean
        se = float(fit.t_test(contrast).sd.squeeze()) * np.sqrt(1 + (np.pi / 2 - 1) / 12)
        chance = 2 * stats.t.sf(abs(tests.effect[one]) / se, fit.df_resid)
        assert tests.pvalue[one] == pytest.approx(chance, rel=1e-6)
        reach = stats.t.isf(0.025, fit.df_resid) * se
        assert (tests.effect[one] - tests.ci_lower[one]) == pytest.approx(reach, rel=1e-6)
    assert len(runs.off) == 120
    assert tests.n.tolist() == [10] * 12


def test_two_workers_are_welchs_test_with_fewer_degrees_of_freedom() -> None:
    rng = np.random.default_rng(7)
    first, second = rng.normal(0, 1, 8), rng.normal(1, 2, 8)
    tests, _ = offset_of_workers([*first, *second], [0] * 8 + [1] * 8, [0] * 16, range(16), -1)
    welch = stats.ttest_ind(first, second, equal_var=False)
    assert tests.effect == pytest.approx([first.mean() - second.mean(), second.mean() - first.mean()])
    assert tests.pvalue[0] == pytest.approx(stats.t.cdf(welch.statistic, 7))
    assert tests.pvalue[1] == pytest.approx(stats.t.cdf(-welch.statistic, 7))


def test_a_run_counts_once_however_many_cells_and_workers_it_has() -> None:
    rng = np.random.default_rng(3)
    run, cell = np.divmod(np.arange(40 * 30), 30)
    worker = run // 10
    luck = rng.normal(0, 0.02, 40)
    tests, runs = offset_of_workers(luck[run] + cell, worker, cell, run)
    level = [luck[10 * k : 10 * k + 10].mean() for k in range(4)]
    assert tests.effect == pytest.approx(
        [one - np.median(np.delete(level, k)) for k, one in enumerate(level)], abs=1e-9
    )
    assert tests.n.tolist() == [10] * 4
    assert len(runs.off) == 40
    # 30 cells with the same luck are no more evidence than one
    single, _ = offset_of_workers(luck, np.arange(40) // 10, np.zeros(40), np.arange(40))
    assert tests.pvalue == pytest.approx(single.pvalue, rel=0.2)
    nightly, _ = offset_of_workers(luck, np.arange(40) // 10, np.zeros(40), np.arange(40) % 10)
    assert nightly.pvalue == pytest.approx(single.pvalue)


def test_a_fast_worker_does_not_make_the_others_slow() -> None:
    y, worker, cell, run = fleet(4)
    clean, _ = offset_of_workers(y, worker, cell, run, 1)
    y[worker == 5] -= 0.5
    tests, _ = offset_of_workers(y, worker, cell, run, 1)
    assert tests.pvalue[5] > 0.99
    # the mean of the others would have moved by 0.045
    assert np.delete(tests.effect, 5) == pytest.approx(np.delete(clean.effect, 5), abs=0.006)


def test_one_wild_run_makes_no_worker_slow() -> None:
    y, worker, cell, run = fleet(5)
    clean, _ = offset_of_workers(y, worker, cell, run, 1)
    y[0] += 5
    wild, runs = offset_of_workers(y, worker, cell, run, 1)
    assert wild.effect[1:] == pytest.approx(clean.effect[1:], abs=0.01)
    assert wild.pvalue[0] > 1e-3
    assert runs.off.max() > 3


def test_only_workers_with_common_cells_are_compared() -> None:
    y, worker, _, run = fleet(6, workers=5, runs=6)
    cell = np.where(worker < 2, 0, np.where(worker < 4, 1, 2))
    tests, _ = offset_of_workers(y + 10.0 * cell, worker, cell, run)
    level = [y[worker == k].mean() for k in range(5)]
    assert tests.effect[:4] == pytest.approx(
        [level[0] - level[1], level[1] - level[0], level[2] - level[3], level[3] - level[2]], abs=1e-9
    )
    assert np.isnan(tests.pvalue[4])
    assert tests.n[4] == 0
    alone, none = offset_of_workers([1.0, 2, 3], [0, 0, 0], [0, 0, 0], [0, 1, 2])
    assert np.isnan(alone.pvalue).all()
    assert len(none.off) == 0
    assert np.isnan(spread_of_workers(none, 1).pvalue).all()
    assert np.isnan(drift_of_workers(none, [], 1).pvalue).all()


def test_equal_values_and_few_runs_have_answers() -> None:
    worker = np.repeat([0, 1, 2], 5)
    same, runs = offset_of_workers(np.ones(15), worker, np.zeros(15), np.arange(15))
    assert same.pvalue.tolist() == [1.0, 1.0, 1.0]
    assert same.effect == pytest.approx([0, 0, 0])
    assert np.isnan(spread_of_workers(runs, 3).pvalue).all()
    apart, _ = offset_of_workers(1.0 + worker, worker, np.zeros(15), np.arange(15))
    assert apart.pvalue[1] == 1.0
    assert apart.pvalue[[0, 2]].max() < 1e-6
    few, _ = offset_of_workers([1.0, 2, 1, 2, 1], [0, 0, 0, 1, 1], [0] * 5, range(5))
    assert np.isfinite(few.pvalue).tolist() == [True, False]
    with pytest.raises(ValueError, match="alpha"):
        offset_of_workers([1.0], [0], [0], [0], alpha=2)


def test_spread_is_welchs_test_of_distances_from_the_median() -> None:
    rng = np.random.default_rng(8)
    off = rng.normal(0, 1, 45)
    worker = np.repeat([0, 1, 2], 15)
    off[:15] *= 4
    found = spread_of_workers(Runs(off, np.ones(45), worker, np.arange(45)), 3)
    parts = [off[worker == k] for k in range(3)]
    distance = [np.abs(part - np.median(part)) for part in parts]
    for one in range(3):
        rest = np.concatenate([distance[k] for k in range(3) if k != one])
        wanted = stats.ttest_ind(distance[one], rest, equal_var=False, alternative="greater")
        assert found.pvalue[one] == pytest.approx(wanted.pvalue)
    assert found.effect[0] == pytest.approx(np.sqrt((parts[0] ** 2).sum() / 14 / ((off[15:] ** 2).sum() / 28)))
    levene = stats.levene(*parts, center="median")
    assert found.pvalue.argmin() == 0
    assert levene.pvalue < 1e-4


def test_drift_is_kendalls_test_where_the_others_stand_still() -> None:
    rng = np.random.default_rng(9)
    mine = rng.normal(0, 1, 20) + 0.1 * np.arange(20)
    level, worker = np.concatenate([mine, np.zeros(20)]), np.repeat([0, 1], 20)
    time = np.tile(np.arange(20.0), 2)
    runs = Runs(level, np.ones(40), worker, np.arange(40))
    found = drift_of_workers(runs, time, 2, 1)
    assert found.pvalue[0] == pytest.approx(stats.kendalltau(time[:20], mine, alternative="greater").pvalue)
    slope = stats.theilslopes(mine, time[:20])
    assert (found.effect[0], found.ci_lower[0]) == pytest.approx((slope.slope, slope.low_slope))
    falling = drift_of_workers(runs, time, 2, -1)
    assert falling.pvalue[0] == pytest.approx(1 - found.pvalue[0], abs=0.01)
    unknown = drift_of_workers(runs, time, 2)
    assert unknown.pvalue[0] == pytest.approx(2 * found.pvalue[0])
    untimed = drift_of_workers(runs, np.full(40, np.nan), 2)
    assert np.isnan(untimed.pvalue).all()


def test_what_moves_for_all_is_no_drift_of_one() -> None:
    rng = np.random.default_rng(10)
    time = np.tile(np.arange(60.0), 6)
    worker = np.repeat(np.arange(6), 60)
    level = 0.05 * time + rng.normal(0, 1, 360) + 0.06 * time * (worker == 2)
    found = drift_of_workers(Runs(level, np.ones(360), worker, np.arange(360)), time, 6)
    assert found.pvalue[2] < 1e-3
    assert np.delete(found.pvalue, 2).min() > 1e-3
    many = np.tile(np.arange(6000.0), 6)
    worker = np.repeat(np.arange(6), 6000)
    level = rng.normal(0, 1, 36_000) + 0.0005 * many * (worker == 2)
    found = drift_of_workers(Runs(level, np.ones(36_000), worker, np.arange(36_000)), many, 6, 1)
    assert found.effect[2] == pytest.approx(0.0005, rel=0.1)
    assert np.delete(found.pvalue, 2).min() > 1e-3


@given(st.integers(0, 12), st.integers(1, 12), st.integers(0, 20), st.integers(1, 20))
def test_failures_in_one_cell_are_fishers_test(bad: int, n: int, others_bad: int, others: int) -> None:
    bad, others_bad = min(bad, n), min(others_bad, others)
    found = failures_of_workers(
        [1] * bad + [0] * (n - bad) + [1] * others_bad + [0] * (others - others_bad),
        np.ones(n + others),
        [0] * n + [1] * others,
        [0] * (n + others),
        range(n + others),
    )
    if bad + others_bad in (0, n + others):
        assert np.isnan(found.pvalue).all()
        return
    table = [[bad, n - bad], [others_bad, others - others_bad]]
    assert found.pvalue[0] == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue, rel=1e-9)
    assert found.n.tolist() == [n, others]


def test_failures_in_several_cells_are_counted_out() -> None:
    sizes, failed, mine, bad = (9, 12, 5), (3, 6, 1), (4, 5, 2), (2, 4, 1)
    rows = []
    for cell in range(3):
        rest = sizes[cell] - mine[cell]
        rows += [(bad[cell], mine[cell], 0, cell), (failed[cell] - bad[cell], rest, 1, cell)]
    failures, n, worker, cell = (list(part) for part in zip(*rows, strict=True))
    found = failures_of_workers(failures, n, worker, cell, range(6))
    chance = sum(
        np.prod([stats.hypergeom.pmf(k, sizes[c], failed[c], mine[c]) for c, k in enumerate(counts)])
        for counts in itertools.product(range(5), range(6), range(3))
        if sum(counts) >= sum(bad)
    )
    assert found.pvalue[0] == pytest.approx(chance)
    expected = sum(mine[c] * (failed[c] - bad[c]) / (sizes[c] - mine[c]) for c in range(3))
    assert found.effect[0] == pytest.approx(sum(bad) / expected)
    assert found.ci_lower[0] < found.effect[0] < found.ci_upper[0]


def test_many_failures_by_the_normal_distribution_agree_with_counting_them() -> None:
    found = failures_of_workers([420, 380], [4000, 4000], [0, 1], [0, 0], [0, 1])
    wanted = stats.fisher_exact([[420, 3580], [380, 3620]], alternative="greater").pvalue
    assert found.pvalue[0] == pytest.approx(wanted, rel=0.03)


def test_runs_that_fail_altogether_are_no_alarm() -> None:
    alarms = 0
    for number in range(150):
        rng = np.random.default_rng(number)
        worker, fails = np.repeat(np.arange(12), 20), rng.random(240) < 0.05
        found = failures_of_workers(20.0 * fails, np.full(240, 20), worker, rng.integers(0, 3, 240), np.arange(240))
        alarms += bool((found.pvalue < 0.05 / 12).any())
    assert alarms / 150 <= 0.05
    sick = np.where(worker == 3, rng.random(240) < 0.6, fails)
    found = failures_of_workers(20.0 * sick, np.full(240, 20), worker, np.zeros(240), np.arange(240))
    assert found.pvalue.argmin() == 3
    assert found.pvalue[3] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "runs", "cells"), [(12, 10, 5), (12, 10, 40), (12, 4, 5), (12, 6, 5), (3, 10, 3), (2, 8, 2)]
)
def test_clean_workers_rarely_look_sick(workers: int, runs: int, cells: int) -> None:
    sets = 400
    found: dict[str, list[np.ndarray]] = {"offset": [], "spread": [], "drift": []}
    for number in range(sets):
        rng = np.random.default_rng(number)
        y, worker, cell, run = fleet(number + 10_000, workers, runs, cells)
        tests, mine = offset_of_workers(y, worker, cell, run, 1)
        found["offset"].append(tests.pvalue)
        found["spread"].append(spread_of_workers(mine, workers).pvalue)
        time = rng.uniform(0, 100, workers * runs)[mine.run]
        found["drift"].append(drift_of_workers(mine, time, workers, 1).pvalue)
    # the chance of any alarm in a set, three standard errors above 5 %
    bound = 0.05 + 3.1 * np.sqrt(0.05 * 0.95 / sets)
    for kind, pvalues in found.items():
        any_alarm = np.nan_to_num(np.array(pvalues), nan=1.0).min(axis=1) < 0.05 / workers
        assert any_alarm.mean() <= bound, kind


@given(NUMBERS, st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_laws(number: int, shift: float, scale: float) -> None:
    y, worker, cell, run = fleet(number, workers=5, runs=5, cells=3)
    tests, runs = offset_of_workers(y, worker, cell, run, 1)
    moved, _ = offset_of_workers(scale * y + shift * cell, worker, cell, run, 1)
    assert moved.effect == pytest.approx(scale * tests.effect, rel=1e-5, abs=1e-8 * max(abs(shift), scale))
    order = np.random.default_rng(number).permutation(len(y))
    mixed, _ = offset_of_workers(y[order], worker[order], cell[order], run[order], 1)
    assert mixed.pvalue == pytest.approx(tests.pvalue, rel=1e-6)
    better, _ = offset_of_workers(y, worker, cell, run, -1)
    assert better.pvalue + tests.pvalue == pytest.approx(np.ones(5))
    both, _ = offset_of_workers(y, worker, cell, run)
    assert both.pvalue == pytest.approx(2 * np.minimum(tests.pvalue, better.pvalue))
    assert np.bincount(runs.worker).tolist() == tests.n.tolist()
