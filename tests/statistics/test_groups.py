"""Medians by group: against pandas, whatever the sizes of groups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aggrkit.statistics.groups import grouped_medians


@pytest.mark.parametrize(
    ("groups", "sizes"),
    [
        (3000, (1, 2)),  # a run is one value
        (3000, (0, 3)),
        (400, (1, 60)),
        (5, (900, 1000)),
        (1, (1, 2)),
    ],
)
def test_medians_of_groups_of_all_sizes(groups: int, sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(groups + sizes[1])
    group = rng.permutation(np.repeat(np.arange(groups), rng.integers(*sizes, groups)))
    values = rng.normal(size=len(group)).round(1)
    expected = pd.Series(values).groupby(group).median().reindex(range(groups)).to_numpy()
    np.testing.assert_allclose(grouped_medians(values, group, groups), expected, rtol=1e-12)


def test_few_large_groups_among_many_small_ones() -> None:
    rng = np.random.default_rng(2)
    group = rng.permutation(np.concatenate([np.arange(500), np.arange(200), np.repeat([7, 300, 502], 40)]))
    values = rng.normal(size=len(group))
    expected = pd.Series(values).groupby(group).median().reindex(range(504)).to_numpy()
    np.testing.assert_allclose(grouped_medians(values, group, 504), expected, rtol=1e-12)
