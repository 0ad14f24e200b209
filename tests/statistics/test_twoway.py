"""Levels of cells that were not all seen together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from statsmodels.formula.api import ols

from aggrkit.statistics.twoway import linked_levels


def unbalanced(seed: int = 0, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    cell, unit = (axis.ravel() for axis in np.meshgrid(np.arange(6), np.arange(40)))
    kept = rng.random(240) < 0.5
    cell, unit = cell[kept], unit[kept]
    value = np.arange(6.0)[cell] ** 2 + rng.normal(0, 3, 40)[unit] + rng.normal(0, noise, len(cell))
    return value, cell, unit


def test_differences_of_linked_cells_are_those_of_the_two_way_model() -> None:
    value, cell, unit = unbalanced(noise=0.0)
    found = linked_levels(value, cell, unit)
    np.testing.assert_allclose(np.diff(found), np.diff(np.arange(6.0) ** 2), atol=1e-6)
    value, cell, unit = unbalanced(noise=0.1)
    fit = ols("value ~ C(cell) + C(unit)", pd.DataFrame({"value": value, "cell": cell, "unit": unit})).fit()
    wanted = fit.params.filter(like="C(cell)").to_numpy()
    found = linked_levels(value, cell, unit)
    # Huber's weights move the estimate by less than its standard error
    np.testing.assert_allclose(found[1:] - found[0], wanted, atol=fit.bse.filter(like="C(cell)").max())


def test_an_outlier_does_not_move_a_level() -> None:
    value, cell, unit = unbalanced()
    spoilt = value.copy()
    spoilt[::17] += 1000
    np.testing.assert_allclose(
        np.diff(linked_levels(spoilt, cell, unit)), np.diff(linked_levels(value, cell, unit)), atol=0.3
    )


def test_cells_without_a_link_keep_their_medians() -> None:
    value, cell, unit = np.array([1.0, 2, 6, 10, 20, 60]), np.array([0, 0, 0, 1, 1, 1]), np.arange(6)
    np.testing.assert_allclose(linked_levels(value, cell, unit), [2, 20])
    balanced = linked_levels(np.arange(6.0), np.array([0, 1] * 3), np.repeat([0, 1, 2], 2))
    np.testing.assert_allclose(balanced, [2, 3])
    assert len(linked_levels([], [], [])) == 0
    np.testing.assert_allclose(linked_levels([3.0], [0], [0]), [3])
