"""Many tests at once: p-values that keep their word over the whole table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from aggrkit.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

__all__ = ["ADJUSTMENTS", "adjust_pvalues", "any_of_many"]


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
    scipy.stats.false_discovery_control : does the work for Benjamini-Hochberg and Benjamini-Yekutieli.
    statsmodels.stats.multitest.multipletests : the same, with a collection of garbage at every call.

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
    adjusted[made] = ADJUSTMENTS[chosen](raw[made])
    return adjusted


def _holm(pvalues: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(pvalues)
    stepped = np.maximum.accumulate(pvalues[order] * np.arange(len(pvalues), 0, -1))
    adjusted = np.empty_like(stepped)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def _bonferroni(pvalues: NDArray[np.float64]) -> NDArray[np.float64]:
    adjusted: NDArray[np.float64] = np.minimum(pvalues * len(pvalues), 1.0)
    return adjusted


def _step_up(method: Literal["bh", "by"]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    def adjusted(pvalues: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy.stats import false_discovery_control

        found: NDArray[np.float64] = false_discovery_control(pvalues, method=method)
        return found

    return adjusted


ADJUSTMENTS: Final[dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]]] = {
    "fdr_bh": _step_up("bh"),
    "fdr_by": _step_up("by"),
    "holm": _holm,
    "bonferroni": _bonferroni,
    "none": np.copy,
}


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
