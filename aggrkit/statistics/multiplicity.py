"""Many tests at once: p-values that keep their word over the whole table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from aggrkit.errors import UnknownNameError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["ADJUSTMENTS", "adjust_pvalues", "any_of_many"]

ADJUSTMENTS: Final = {"fdr_bh": "fdr_bh", "fdr_by": "fdr_by", "holm": "holm", "bonferroni": "bonferroni", "none": ""}


def adjust_pvalues(pvalues: ArrayLike, method: str | None = "fdr_bh") -> NDArray[np.float64]:
    """Adjust p-values for the number of tests.

    Parameters
    ----------
    pvalues : array_like, shape (m,)
        Raw p-values. NaN stands for a test that couldn't be made: it stays NaN and doesn't count.
    method : {"fdr_bh", "fdr_by", "holm", "bonferroni", "none"} or None, optional
        Benjamini-Hochberg (expected share of false flags at most alpha, for independent or positively dependent
        tests), Benjamini-Yekutieli (the same under any dependence), Holm and Bonferroni (chance of any false flag).

    Returns
    -------
    numpy.ndarray, shape (m,)
        Adjusted p-values, never below the raw ones.

    Raises
    ------
    UnknownNameError
        If there is no such method.

    See Also
    --------
    statsmodels.stats.multitest.multipletests : does the work.

    References
    ----------
    Benjamini and Hochberg (1995), J. R. Stat. Soc. B 57, 289-300.

    Examples
    --------
    >>> adjust_pvalues([0.01, 0.02, 0.9]).round(3)
    array([0.03, 0.03, 0.9 ])
    """
    chosen = "none" if method is None else method
    if chosen not in list(ADJUSTMENTS):
        raise UnknownNameError.of("adjustment", chosen, ADJUSTMENTS)
    raw = np.asarray(pvalues, dtype=np.float64)
    made = np.isfinite(raw)
    adjusted = np.full(raw.shape, np.nan)
    if chosen == "none" or not made.any():
        return np.where(made, raw, np.nan)
    from statsmodels.stats.multitest import multipletests

    adjusted[made] = multipletests(raw[made], method=ADJUSTMENTS[chosen])[1]
    return adjusted


def any_of_many(pvalues: ArrayLike, tests: int) -> NDArray[np.float64]:
    """Return the chance that any of `tests` independent tests of clean data gives a p-value as small (Sidak).

    Parameters
    ----------
    pvalues : array_like
        Raw p-values.
    tests : int
        Number of tests made.

    Returns
    -------
    numpy.ndarray
        ``1 - (1 - p) ** tests``, exact also for tiny p.

    Examples
    --------
    >>> any_of_many([0.001], 100).round(4)
    array([0.0952])
    """
    raw = np.clip(np.asarray(pvalues, dtype=np.float64), 0.0, 1.0)
    with np.errstate(divide="ignore"):
        chance: NDArray[np.float64] = -np.expm1(tests * np.log1p(-raw))
    return chance
