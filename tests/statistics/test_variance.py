"""Variance components and offsets against statsmodels and the analysis of variance; what runs have in common."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aggrkit.statistics import variance as module
from aggrkit.statistics.common_mode import common_mode, noise_of_groups
from aggrkit.statistics.groups import distinct
from aggrkit.statistics.variance import (
    Components,
    Offsets,
    shrunken_offsets,
    variance_components,
)

NUMBERS = st.integers(0, 2**32 - 1)
TRUE = {"worker": 4e-4, "run": 2.25e-4, "day": 1e-4, "residual": 4e-4}


def fleet(
    number: int, *, workers: int = 8, runs: int = 6, cells: int = 4, repeats: int = 3, even: bool
) -> pd.DataFrame:
    """Return values of runs on workers; uneven ones lack values, and workers prefer some of the cells."""
    rng = np.random.default_rng(number)
    index = pd.MultiIndex.from_product([range(workers), range(runs), range(cells), range(repeats)])
    frame = index.to_frame(index=False, name=["worker", "night", "cell", "repeat"])
    frame["run"] = frame["worker"] * runs + frame["night"]
    frame["day"] = frame["night"] if even else rng.integers(0, 12, workers * runs)[frame["run"]]
    if not even:
        kept = rng.random(len(frame)) < np.where((frame["cell"] + frame["worker"]) % 3 == 0, 0.3, 0.8)
        frame = frame[kept].reset_index(drop=True)
    frame["y"] = rng.normal(0, 0.5, cells)[frame["cell"]] + rng.normal(0, np.sqrt(TRUE["residual"]), len(frame))
    for name, levels in (("worker", workers), ("run", workers * runs), ("day", 12)):
        frame["y"] += rng.normal(0, np.sqrt(TRUE[name]), levels)[frame[name]]
    return frame


def asked(frame: pd.DataFrame, factors: tuple[str, ...] = ("worker", "run", "day")) -> tuple[Components, Offsets]:
    """Collapse values as an engine would, and ask."""
    rows = frame.groupby(["cell", "worker", "run", "day"])["y"].agg(["mean", "size", "var"]).reset_index()
    squares = rows["var"].fillna(0) * (rows["size"] - 1)
    codes = [rows[name].to_numpy() for name in factors]
    found = variance_components(rows["mean"], rows["size"], squares, rows["cell"], codes)
    return found, shrunken_offsets(rows["mean"], rows["size"], rows["cell"], codes, found, unit=1)


def mixed_model(
    frame: pd.DataFrame, factors: tuple[str, ...] = ("worker", "run", "day")
) -> tuple[dict[str, float], list]:
    """Return variances and predicted workers by restricted likelihood."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = {name: f"0 + C({name})" for name in factors}
        fit = smf.mixedlm("y ~ C(cell)", frame, groups=np.ones(len(frame)), vc_formula=parts).fit(reml=True)
    effects = fit.random_effects[1.0]
    offsets = [effects[name] for name in effects.index if name.startswith("worker[")]
    return dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True)) | {"residual": fit.scale}, offsets


def test_balanced_data_give_restricted_likelihood() -> None:
    frame = fleet(1, even=True)
    found, offsets = asked(frame)
    wanted, predicted = mixed_model(frame)
    assert found.confounded == (None, None, None)
    # the likelihood is found by steps, to about three digits
    assert found.factors == pytest.approx([wanted["worker"], wanted["run"], wanted["day"]], rel=5e-3)
    assert found.residual == pytest.approx(wanted["residual"], rel=1e-3)
    assert offsets.estimate == pytest.approx(predicted, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, 4])
def test_unbalanced_data_agree_with_restricted_likelihood(number: int) -> None:
    frame = fleet(number, workers=15, runs=8, even=False)
    found, offsets = asked(frame)
    wanted, predicted = mixed_model(frame)
    # standard errors of restricted likelihood in such data, as shares of the truth, from 14 simulated sets
    for name, mine, error in zip(("worker", "run", "day"), found.factors, (0.38, 0.22, 0.6), strict=True):
        assert abs(mine - wanted[name]) < 1.5 * error * TRUE[name], name
    assert found.residual == pytest.approx(wanted["residual"], rel=0.05)
    # the estimates' difference may draw the offsets a little further or less far
    assert np.corrcoef(offsets.estimate, predicted)[0, 1] > 0.995
    assert offsets.estimate == pytest.approx(predicted, abs=0.25 * offsets.se.max())


def test_one_way_is_the_analysis_of_variance() -> None:
    rng = np.random.default_rng(2)
    groups = rng.normal(0, 2, (6, 1)) + rng.normal(0, 1, (6, 5))
    between, within = 5 * groups.mean(axis=1).var(ddof=1), groups.var(axis=1, ddof=1).mean()
    assert between / within == pytest.approx(stats.f_oneway(*groups).statistic)
    code = np.repeat(np.arange(6), 5)
    found = variance_components(groups.ravel(), np.ones(30), np.zeros(30), np.zeros(30), [code])
    assert found.factors == pytest.approx([(between - within) / 5])
    assert found.residual == pytest.approx(within)
    assert np.isnan(found.cell)
    offsets = shrunken_offsets(groups.ravel(), np.ones(30), np.zeros(30), [code], found)
    off = groups.mean(axis=1) - groups.mean()
    shrunk = found.factors[0] / (found.factors[0] + within / 5)
    assert offsets.estimate == pytest.approx(shrunk * off)
    assert offsets.df == 24


def test_the_cells_variance_is_that_between_their_levels() -> None:
    rng = np.random.default_rng(5)
    cells = rng.normal(0, 3, (7, 1)) + rng.normal(0, 1, (7, 4))
    code = np.repeat(np.arange(7), 4)
    found = variance_components(cells.ravel(), np.ones(28), np.zeros(28), code, [])
    within = cells.var(axis=1, ddof=1).mean()
    assert found.cell == pytest.approx(cells.mean(axis=1).var(ddof=1) - within / 4)
    assert found.residual == pytest.approx(within)


def test_estimates_are_unbiased_however_values_are_spread() -> None:
    found = np.array([asked(fleet(number, even=False))[0].factors for number in range(150)])
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    # negative estimates become 0, by which the smallest part is a little too large on average
    assert (found.mean(axis=0) > np.array([TRUE[name] for name in ("worker", "run", "day")]) - 4 * error).all()
    assert (found.mean(axis=0) < np.array([1.0, 1.0, 1.2]) * [4e-4, 2.25e-4, 1e-4] + 4 * error).all()


def test_what_cannot_be_told_apart_is_said() -> None:
    y, n, none = np.arange(12.0) % 5, np.ones(12), np.zeros(12)
    half, pairs, each = np.arange(12) // 6, np.arange(12) // 2, np.arange(12)

    def why(*factors: np.ndarray, cell: np.ndarray = none) -> tuple[str | int | None, ...]:
        return variance_components(y, n, none, cell, list(factors)).confounded

    assert why(none) == ("single",)
    assert why(half, cell=half) == ("cell",)
    assert why(half, each) == (None, "residual")
    assert why(half, pairs, 5 - pairs) == (None, None, 1)
    assert why(half, cell=each) == ("residual",)
    lonely = variance_components(y, n, none, each, [half])
    assert np.isnan([lonely.residual, *lonely.factors]).all()


@given(NUMBERS)
def test_laws(number: int) -> None:
    frame = fleet(number, workers=4, runs=3, cells=3, even=False)
    found, offsets = asked(frame)
    assert (found.factors >= 0).all()
    single = variance_components(
        frame["y"],
        np.ones(len(frame)),
        np.zeros(len(frame)),
        frame["cell"],
        [frame[k] for k in ("worker", "run", "day")],
    )
    assert single.factors == pytest.approx(found.factors, rel=1e-6, abs=1e-12)
    assert single.residual == pytest.approx(found.residual, rel=1e-6)
    scaled, larger = asked(frame.assign(y=100 * frame["y"] + 7))
    assert scaled.factors == pytest.approx(1e4 * found.factors, rel=1e-6, abs=1e-9)
    assert larger.estimate == pytest.approx(100 * offsets.estimate, rel=1e-5, abs=1e-7)
    assert larger.pvalue == pytest.approx(offsets.pvalue, rel=1e-4)
    moved = asked(frame.assign(y=frame["y"] + 3.0 * frame["cell"]))[1]
    assert moved.estimate == pytest.approx(offsets.estimate, abs=1e-9)


def test_large_data_go_other_ways_to_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = fleet(8, even=False)
    found, offsets = asked(frame)
    monkeypatch.setattr(module, "_DENSE", 0)
    monkeypatch.setattr(module, "_MOST_DENSE", 0)
    sparse, solved = asked(frame)
    assert sparse.factors == pytest.approx(found.factors, rel=1e-9)
    assert solved.estimate == pytest.approx(offsets.estimate, rel=1e-9)
    assert solved.se == pytest.approx(offsets.se, rel=1e-9)


def test_workers_are_judged_against_the_noise_between_runs() -> None:
    # 50 values a run share the run's luck: with no difference between workers, p-values must be uniform all the same
    pvalues = []
    for number in range(150):
        rng = np.random.default_rng(number)
        run = np.arange(60)
        mean = rng.normal(0, 0.02, 60) + rng.normal(0, 0.01 / np.sqrt(50), 60)
        squares = 0.01**2 * rng.chisquare(49, 60)
        data = mean, np.full(60, 50), rng.integers(0, 3, 60), [run // 10, run]
        found = variance_components(data[0], data[1], squares, data[2], data[3])
        pvalues.append(shrunken_offsets(*data, found, unit=1).pvalue)
    # of 900 tests, of which the 6 of a set go together a little
    assert np.mean(np.array(pvalues) < 0.05) < 0.05 + 3.1 * np.sqrt(0.05 * 0.95 / 900) * 1.2
    assert np.mean(np.array(pvalues) < 0.5) == pytest.approx(0.5, abs=0.08)


def test_a_slow_worker_is_off_by_as_much_even_if_it_had_the_slow_tests() -> None:
    rng = np.random.default_rng(3)
    worker = np.repeat(np.arange(10), 12)
    cell = np.where(worker == 4, rng.integers(2, 4, 120), rng.integers(0, 4, 120))
    y = np.array([0.0, 1, 5, 9])[cell] + rng.normal(0, 0.02, 120) + 0.05 * (worker == 4)
    run = np.arange(120)
    found = variance_components(y, np.ones(120), np.zeros(120), cell, [worker, run])
    offsets = shrunken_offsets(y, np.ones(120), cell, [worker, run], found)
    assert np.argmax(np.abs(offsets.estimate)) == 4
    assert offsets.estimate[4] == pytest.approx(0.045, abs=2 * offsets.se[4])
    assert offsets.pvalue[4] < 1e-4


def test_without_differences_intervals_do_not_collapse() -> None:
    y = np.tile([1.0, -1.0, 0.5, -0.5], 6)
    worker = np.repeat(np.arange(6), 4)
    found = variance_components(y, np.ones(24), np.zeros(24), np.zeros(24), [worker])
    offsets = shrunken_offsets(y, np.ones(24), np.zeros(24), [worker], found)
    assert found.factors[0] == 0
    assert (offsets.se > 0.1).all()
    assert offsets.estimate == pytest.approx(np.zeros(6), abs=1e-12)
    assert offsets.pvalue == pytest.approx(np.ones(6))
    same = variance_components(np.ones(24), np.ones(24), np.zeros(24), np.zeros(24), [worker])
    assert (same.residual, same.factors[0]) == (0, 0)
    nothing = shrunken_offsets(np.ones(24), np.ones(24), np.zeros(24), [worker], same)
    assert nothing.pvalue == pytest.approx(np.ones(6))


def series_of_runs(number: int, series: int = 20, runs: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(number)
    s, r = np.divmod(np.arange(series * runs), runs)
    return rng.normal(0, 2, series)[s] + rng.normal(0, 0.02, len(s)), s, r


def test_a_machine_that_moved_is_taken_out_and_code_that_moved_is_not() -> None:
    y, s, r = series_of_runs(1)
    y[r == 7] += np.log(1.2)
    y[(s == 3) & (r >= 15)] += 0.3
    found = common_mode(y, s, r)
    assert found.ci_lower[7] < np.log(1.2) < found.ci_upper[7]
    assert np.abs(np.delete(found.factor, 7)).max() < 0.02
    assert found.pvalue[7] < 1e-20
    assert found.n.tolist() == [20] * 30
    cleaned = found.residual[s == 3]
    assert np.median(cleaned[15:]) - np.median(cleaned[:15]) == pytest.approx(0.3, abs=0.02)
    assert found.residual[(s == 5) & (r == 7)][0] == pytest.approx(np.median(found.residual[s == 5]), abs=0.06)
    assert found.residual == pytest.approx(y - found.factor[r])


def test_an_exact_table_is_taken_apart_exactly() -> None:
    s, r = np.divmod(np.arange(35), 7)
    off = np.array([0.0, 0.1, -0.1, 0.0, 0.2, 0.0, -0.2])
    found = common_mode(np.arange(5.0)[s] + off[r], s, r)
    assert found.factor == pytest.approx(off, abs=1e-12)
    assert (found.pvalue[off != 0] < 1e-6).all()
    assert found.pvalue[off == 0] == pytest.approx(np.ones(3))


@pytest.mark.parametrize(("series", "runs"), [(20, 30), (5, 12), (3, 40), (1, 30)])
def test_clean_runs_rarely_have_something_in_common(series: int, runs: int) -> None:
    sets = 4000 // runs
    found = [common_mode(*series_of_runs(number, series, runs)) for number in range(sets)]
    # medians of few values have tails that are a little heavier than Student's
    assert np.mean([np.mean(one.pvalue < 0.05) for one in found]) < 0.065
    covered = [np.mean((one.ci_lower < 0) & (one.ci_upper > 0)) for one in found]
    assert np.mean(covered) > 0.93


def test_runs_with_few_series_keep_what_is_theirs() -> None:
    y, s, r = series_of_runs(2, series=4, runs=20)
    kept = (r != 5) | (s < 2)
    y[(r == 5) & (s == 0)] += 0.5
    found = common_mode(y[kept], s[kept], r[kept])
    assert found.n[5] == 2
    assert found.residual[r[kept] == 5] == pytest.approx(y[kept][r[kept] == 5])
    single = common_mode([1.0, 1.1, 0.9, 5.0], [0, 0, 0, 0], [0, 1, 2, 3])
    assert single.residual.tolist() == [1.0, 1.1, 0.9, 5.0]
    assert single.pvalue[3] < single.pvalue[:3].min()


def test_where_there_is_nothing_in_common_to_see() -> None:
    empty = common_mode([], [], [])
    assert len(empty.factor) == 0
    assert common_mode([2.0], [0], [0]).pvalue.tolist() == [1.0]
    with pytest.raises(ValueError, match="confidence"):
        common_mode([1.0], [0], [0], 2)


def test_noise_of_alike_groups_is_pooled_and_of_others_their_own() -> None:
    rng = np.random.default_rng(6)
    group = np.repeat(np.arange(8), 40)
    alike = rng.normal(0, 1, 320)
    assert noise_of_groups(alike, group, 320) == pytest.approx(np.full(8, np.sqrt(np.mean(alike**2))))
    unlike = alike * np.where(group < 4, 1, 10)
    own = np.sqrt(np.bincount(group, unlike**2) / 40)
    assert noise_of_groups(unlike, group, 320) == pytest.approx(own, rel=0.4)
    wild = alike.copy()
    wild[0] = 1e6
    assert noise_of_groups(wild, group, 320).max() < 2
    assert len(noise_of_groups([], [], 0)) == 0


@given(st.lists(st.integers(0, 60), max_size=30), st.sampled_from([1, 10**9]))
def test_distinct_is_numpys_unique(codes: list[int], scale: int) -> None:
    values, place = distinct(np.array(codes, dtype=np.intp) * scale)
    wanted = np.unique(np.array(codes, dtype=np.intp) * scale, return_inverse=True)
    assert values.tolist() == wanted[0].tolist()
    assert place.tolist() == wanted[1].ravel().tolist()
