"""Where the flagged ones are: planted slices are found, scattered flags give none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggrkit.statistics.slices import Slice, slices

GRID = np.stack(np.meshgrid(np.arange(10), np.arange(6), np.arange(4), indexing="ij"), -1).reshape(-1, 3)


def test_one_value_two_values_and_everything() -> None:
    assert slices(GRID, GRID[:, 1] == 2) == [Slice(((1, 2),), 40, 40)]
    both = (GRID[:, 1] == 2) & (GRID[:, 2] == 3)
    assert slices(GRID, both) == [Slice(((1, 2), (2, 3)), 10, 10)]
    assert slices(GRID, np.ones(len(GRID), bool)) == [Slice((), 240, 240)]
    assert slices(GRID, np.zeros(len(GRID), bool)) == []


def test_two_slices_the_larger_first_each_member_once() -> None:
    found = slices(GRID, (GRID[:, 1] == 2) | (GRID[:, 0] == 7))
    assert [one.values for one in found] == [((1, 2),), ((0, 7),)]
    assert [one.flagged for one in found] == [40, 20]


def test_a_few_flags_elsewhere_do_not_hide_a_slice() -> None:
    rng = np.random.default_rng(0)
    found = slices(GRID, (GRID[:, 1] == 2) | (rng.random(len(GRID)) < 0.02))
    assert found[0].values == ((1, 2),)


def test_scattered_flags_are_in_no_slice() -> None:
    rng = np.random.default_rng(1)
    seen = sum(bool(slices(GRID, rng.random(len(GRID)) < 0.1)) for _ in range(200))
    # at most 5 % are asked for; 200 * .05 + 3 standard deviations
    assert seen <= 19


def test_a_missing_value_is_no_slice() -> None:
    codes = np.array([[-1]] * 10 + [[0]] * 10)
    assert slices(codes, np.arange(20) < 10) == []


def test_members_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="of the same members"):
        slices([[0], [1]], [True])
    assert slices(np.empty((0, 2)), np.empty(0)) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=60))
def test_flagged_members_are_counted_once(rows: list[tuple[int, int, bool]]) -> None:
    codes = np.array([row[:2] for row in rows], dtype=int).reshape(-1, 2)
    flags = np.array([row[2] for row in rows], dtype=bool)
    found = slices(codes, flags)
    assert sum(one.flagged for one in found) <= flags.sum()
    assert sum(one.members for one in found) <= len(flags)
    assert all(one.flagged * 2 >= one.members for one in found)
