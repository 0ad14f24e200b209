"""Where noise comes from: shares of crossed factors, and shrunken offsets of their levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from scipy.special import stdtr

from aggrkit.statistics.groups import distinct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["Components", "Offsets", "shrunken_offsets", "variance_components"]

_TOLD_APART: Final = 1e-3
_DENSE: Final = 4_000_000
_MOST_DENSE: Final = 3000


class Components(NamedTuple):
    """Variances of crossed factors.

    Parameters
    ----------
    factors : numpy.ndarray, shape (f,)
        Variance that goes with each factor; NaN where the design can't tell it.
    cell : float
        Variance of the cells' levels; NaN for a single cell.
    residual : float
        Variance of single values that is left; NaN where no cell has two values.
    confounded : tuple of str or int or None
        Of each factor why it can't be told: "single" (it has one level), "cell" (each cell has one level), "residual"
        (each level has one value), the number of an earlier factor that it goes with, "others"; None where it can.
    """

    factors: Floats
    cell: float
    residual: float
    confounded: tuple[str | int | None, ...]


class Offsets(NamedTuple):
    """By how much the levels of a factor are off.

    Parameters
    ----------
    estimate, se : numpy.ndarray, shape (levels,)
        Offset, drawn towards 0 by as much as it is uncertain, and the standard error of prediction.
    pvalue : numpy.ndarray, shape (levels,)
        Two-sided, that the level is not off at all.
    df : float
        Degrees of freedom of the noise that the levels are judged against.
    """

    estimate: Floats
    se: Floats
    pvalue: Floats
    df: float


def variance_components(
    mean: ArrayLike, n: ArrayLike, squares: ArrayLike, cell: ArrayLike, factors: Sequence[ArrayLike]
) -> Components:
    """Split the variance of single values into those of crossed factors, of the cells, and the rest.

    Parameters
    ----------
    mean, n, squares : array_like, shape (rows,)
        Mean, number and sum of squares about the mean of the values of each row. All values of a row are of one cell
        and one level of each factor.
    cell : array_like of int, shape (rows,)
        Number of the cell of each row, from 0.
    factors : sequence of array_like of int, shape (rows,)
        Numbers of the levels of each factor, from 0; what is nested must be numbered so that its levels differ.

    Returns
    -------
    Components

    See Also
    --------
    statsmodels.regression.mixed_linear_model.MixedLM : the same model by restricted likelihood, for small data.

    Notes
    -----
    The model is ``y = cell + sum_f b_f + e`` with independent effects of mean 0. With the values r about the mean of
    their cell, the quadratic forms ``Q_f = sum_l (sum_{i in l} r_i)^2 / n_l`` over the levels of each factor, and
    ``Q_e = sum r_i^2``, are set equal to what is expected of them, which is linear in the variances: their coefficients
    are ``|D_f^{-1/2} Z_f' M Z_g|^2`` with the projection M off the cells (Henderson's first method, within cells, so
    that cells need not be random and may be spread unevenly). The cells' variance follows from the sum of squares
    between cells. A negative variance is set to 0 and the others are solved for again. In balanced designs this is the
    analysis of variance, and restricted likelihood where no variance is 0. No distribution is assumed; heavy tails
    make the estimates less sure.

    References
    ----------
    Henderson (1953), Biometrics 9, 226-252. Searle, Casella and McCulloch (1992), Variance Components, chapter 5.

    Examples
    --------
    >>> found = variance_components([1.0, 3.0, 5.0, 7.0], [2] * 4, [1.0] * 4, [0] * 4, [[0, 0, 1, 1]])
    >>> found.factors.round(3), round(found.residual, 3)
    (array([7.5]), 2.0)
    """
    y, size = np.asarray(mean, dtype=np.float64), np.asarray(n, dtype=np.float64)
    codes = [distinct(factor)[1] for factor in factors]
    place = distinct(cell)[1]
    cells = int(place.max(initial=-1)) + 1
    of_cell = np.bincount(place, size, cells)
    total = float(size.sum())
    off = y - (np.bincount(place, size * y, cells) / of_cell)[place]
    left = float((size * off**2).sum() + np.asarray(squares, dtype=np.float64).sum())
    shared = _Coefficients(codes, place, size)
    told, confounded = _told_apart(shared, codes, place, size)
    kept = list(told)
    found: Floats = np.full(len(codes), np.nan)
    residual = float("nan")
    if total > cells:
        sums = [float((np.bincount(codes[f], size * off) ** 2 / np.bincount(codes[f], size)).sum()) for f in told] + [
            left
        ]
        solved = _not_negative(shared.matrix(told), np.array(sums))
        found[kept], residual = solved[:-1], float(solved[-1])
    between = float("nan")
    if cells > 1:
        level = np.bincount(place, size * y, cells) / of_cell
        sum_between = float((of_cell * (level - np.average(level, weights=of_cell)) ** 2).sum())
        explained = np.nan_to_num(residual) * (cells - 1)
        explained += sum(found[f] * shared.between_cells(f) for f in told if np.isfinite(found[f]))
        between = max((sum_between - explained) / (total - float((of_cell**2).sum()) / total), 0.0)
    return Components(found, between, residual, tuple(confounded))


def shrunken_offsets(
    mean: ArrayLike,
    n: ArrayLike,
    cell: ArrayLike,
    factors: Sequence[ArrayLike],
    components: Components,
    *,
    unit: int | None = None,
) -> Offsets:
    """Predict the offsets of the levels of the first factor, like with like.

    Parameters
    ----------
    mean, n, cell, factors
        As in `variance_components`.
    components : Components
        What that found. The first factor must have been told.
    unit : int, optional
        Number of the factor that is the unit of repetition, as the run is of a worker; it is nested in the first factor
        at least mostly. Without it, single values are.

    Returns
    -------
    Offsets
        In units of the means.

    Notes
    -----
    Best linear unbiased prediction: Henderson's mixed model equations with the cells as fixed effects, and all factors
    whose variance isn't 0. A level with few or noisy units is drawn towards 0, one that was seen only in cells of its
    own all the way. Where the first factor's variance was estimated as less than one standard error above 0 (of what
    would be found if it were 0), that standard error is taken in its place, so that intervals don't collapse.

    The test is of the offset that wasn't drawn: ``t^2 = b^2 s^2 / ((s^2 - se^2) se^2)`` with the factor's variance
    ``s^2``, which is (offset / standard error)^2 in a one-way layout. Its degrees of freedom are those of the units
    within levels. That the variances are estimates is not accounted for beyond that.

    References
    ----------
    Henderson (1975), Biometrics 31, 423-447. Robinson (1991), Statistical Science 6, 15-51.

    Examples
    --------
    >>> data = [1.0, 3.0, 5.0, 7.0], [2] * 4, [0] * 4, [[0, 0, 1, 1]]
    >>> found = variance_components(data[0], data[1], [1.0] * 4, data[2], data[3])
    >>> shrunken_offsets(*data, found).estimate.round(2)
    array([-1.88,  1.88])
    """
    y, size = np.asarray(mean, dtype=np.float64), np.asarray(n, dtype=np.float64)
    codes = [distinct(factor)[1] for factor in factors]
    place = distinct(cell)[1]
    levels = int(codes[0].max(initial=-1)) + 1
    noise = max(components.residual, float(np.finfo(float).eps) * max(float(np.abs(y).max(initial=0.0)), 1e-30) ** 2)
    if unit is None:
        df = size.sum() - levels - place.max()
    else:
        df = len(distinct(codes[0] * (int(codes[unit].max()) + 1) + codes[unit])[0]) - levels
    df = max(float(df), 1.0)
    used = [f for f in range(1, len(codes)) if components.factors[f] > 0]
    error = noise / np.bincount(codes[0], size)
    for f in used:
        pair = distinct(codes[0] * (int(codes[f].max()) + 1) + codes[f])[0]
        error = error + components.factors[f] / np.bincount(pair // (int(codes[f].max()) + 1), minlength=levels)
    least = float(np.median(error)) * np.sqrt(2 / max(levels - 1, 1))
    own = max(float(components.factors[0]), least)
    variances = [own, *(float(components.factors[f]) for f in used)]
    estimate, spread = _mixed_model(y, size, place, [codes[0], *(codes[f] for f in used)], variances, noise)
    spread = np.clip(spread, 0.0, own)
    below = (own - spread) * spread / own
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(below > 1e-12 * own, np.abs(estimate) / np.sqrt(below), 0.0)
    pvalue = np.minimum(2 * stdtr(df, -t), 1.0)
    return Offsets(estimate, np.sqrt(spread), np.asarray(pvalue, dtype=np.float64), df)


class _Coefficients:
    """What the quadratic forms are expected to be, per unit of each variance."""

    def __init__(self, codes: Sequence[Ints], cell: Ints, n: Floats) -> None:
        self._codes, self._cell, self._n = codes, cell, n
        self._of_cell = np.bincount(cell, n)
        self._total = float(n.sum())
        self._by_cell: dict[int, Any] = {}
        self._known: dict[tuple[int, int], float] = {}

    def matrix(self, chosen: Sequence[int]) -> Floats:
        """Return a row for each form and a column for each variance; the last are those of the residual."""
        found = np.empty((len(chosen) + 1,) * 2)
        for i, f in enumerate(chosen):
            for j, g in enumerate(chosen):
                found[i, j] = self._shared(f, g)
            table = self._table(f)
            level = np.bincount(self._codes[f], self._n)
            squared = table.multiply(table)
            per_level = np.asarray(squared @ (1 / self._of_cell)).ravel()
            found[i, -1] = len(level) - float((per_level / level).sum())
            found[-1, i] = self._total - float(per_level.sum())
        found[-1, -1] = self._total - len(self._of_cell)
        return found

    def between_cells(self, f: int) -> float:
        """Return by how much the sum of squares between cells grows with the variance of a factor."""
        table = self._table(f)
        per_cell = np.asarray(table.multiply(table).sum(axis=0)).ravel()
        level = np.bincount(self._codes[f], self._n)
        return float((per_cell / self._of_cell).sum() - (level**2).sum() / self._total)

    def _table(self, f: int) -> Any:
        if f not in self._by_cell:
            self._by_cell[f] = _crossed(self._codes[f], self._cell, self._n)
        return self._by_cell[f]

    def _shared(self, f: int, g: int) -> float:
        if (f, g) not in self._known:
            self._known[f, g] = self._squared(f, g)
        return self._known[f, g]

    def _squared(self, f: int, g: int) -> float:
        """Return ``|D_f^{-1/2} (N_fg - N_fc D_c^{-1} N_cg)|^2``, term by term where the matrix would be large."""
        from scipy.sparse import diags_array

        root = diags_array(1 / np.sqrt(np.bincount(self._codes[f], self._n)))
        scaled = diags_array(1 / np.sqrt(self._of_cell))
        both = root @ _crossed(self._codes[f], self._codes[g], self._n)
        first, second = root @ self._table(f) @ scaled, self._table(g) @ scaled
        if both.shape[0] * both.shape[1] <= _DENSE:
            return float(((both - first @ second.T).toarray() ** 2).sum())
        if first.nnz * second.shape[0] < second.nnz * first.shape[0]:
            cross = (both.T @ first).multiply(second).sum()
        else:
            cross = (both @ second).multiply(first).sum()
        cheap, dear = sorted((first, second), key=lambda table: float((np.diff(table.indptr) ** 2.0).sum()))
        squared = (dear @ (cheap.T @ cheap)).multiply(dear).sum()
        return float(both.multiply(both).sum() - 2 * cross + squared)


def _crossed(first: Ints, second: Ints, n: Floats) -> Any:
    from scipy.sparse import coo_array

    shape = (int(first.max()) + 1, int(second.max()) + 1)
    return coo_array((n, (first, second)), shape=shape).tocsr()


def _told_apart(
    shared: _Coefficients, codes: Sequence[Ints], cell: Ints, n: Floats
) -> tuple[list[int], list[str | int | None]]:
    """Return the factors whose variances the design can tell, and of the others why it can't."""
    told: list[int] = []
    why: list[str | int | None] = []
    if n.sum() <= int(cell.max(initial=-1)) + 1:
        return told, ["residual"] * len(codes)
    for f, code in enumerate(codes):
        levels = int(code.max()) + 1
        if levels < 2:
            why.append("single")
            continue
        if levels == n.sum():  # each value is a level of its own; there is nothing to compute
            why.append("residual")
            continue
        if shared.matrix([f])[0, 0] <= 1e-9 * n.sum():
            why.append("cell")
            continue
        same = [g for g in told if levels == int(codes[g].max()) + 1 == _crossed(code, codes[g], n).nnz]
        if same:
            why.append(same[0])
        elif _smallest(shared.matrix([*told, f])) < _TOLD_APART:
            alone = _smallest(shared.matrix([f])) < _TOLD_APART
            why.append("residual" if alone else "others")
        else:
            told.append(f)
            why.append(None)
    return told, why


def _smallest(matrix: Floats) -> float:
    """Return how near a system is to being singular, whatever the scale of its equations and unknowns."""
    scaled = matrix / np.abs(matrix).max(axis=0)
    scaled = scaled / np.abs(scaled).max(axis=1)[:, None]
    return float(np.linalg.svd(scaled, compute_uv=False)[-1])


def _not_negative(matrix: Floats, sums: Floats) -> Floats:
    """Solve for the variances; the most negative one becomes 0 and leaves with its equation, until none is left."""
    kept = list(range(len(sums)))
    found = np.zeros(len(sums))
    while kept:
        solved = np.linalg.solve(matrix[np.ix_(kept, kept)], sums[kept])
        if solved.min() >= 0:
            found[kept] = solved
            break
        # something is always left over: where the residual would be negative, the least of the others gives way
        at_end = kept[-1] == len(sums) - 1
        kept.pop(int(np.argmin(solved[:-1] if at_end and len(kept) > 1 else solved)))
    return found


def _mixed_model(
    y: Floats, n: Floats, cell: Ints, codes: Sequence[Ints], variances: Sequence[float], noise: float
) -> tuple[Floats, Floats]:
    """Return the predictions of the first factor's levels and their variances of prediction.

    The factor with most levels is eliminated by hand, for its block is diagonal.
    """
    from scipy.sparse import coo_array, diags_array
    from scipy.sparse import hstack as side_by_side

    rows = np.arange(len(y))
    sizes = [int(code.max()) + 1 for code in codes]
    weight = n / noise
    large = max(range(1, len(codes)), key=lambda f: sizes[f], default=0)
    design: Any = [coo_array((np.ones(len(y)), (rows, cell)))]
    ridge = [np.zeros(int(cell.max()) + 1)]
    for f, code in enumerate(codes):
        if f != large or f == 0:
            design.append(coo_array((np.ones(len(y)), (rows, code))))
            ridge.append(np.full(sizes[f], 1 / variances[f]))
    x = side_by_side(design).tocsr()
    weighted = diags_array(weight) @ x
    system = x.T @ weighted + diags_array(np.concatenate(ridge))
    right = np.asarray(weighted.T @ y)
    if large:
        diagonal = np.bincount(codes[large], weight) + 1 / variances[large]
        z = coo_array((np.ones(len(y)), (rows, codes[large]))).tocsr()
        cross = (z.T @ weighted).tocsr()
        system = system - cross.T @ diags_array(1 / diagonal) @ cross
        right = right - cross.T @ (np.bincount(codes[large], weight * y) / diagonal)
    start = int(cell.max()) + 1
    wanted = np.arange(start, start + sizes[0])
    given = np.zeros((len(right), sizes[0] + 1))
    given[wanted, np.arange(sizes[0])] = 1.0
    given[:, -1] = right
    if len(right) <= _MOST_DENSE:
        from scipy.linalg import cho_factor, cho_solve

        solved = cho_solve(cho_factor(system.toarray()), given)
    else:
        from scipy.sparse.linalg import splu

        solved = splu(system.tocsc()).solve(given)
    found = np.asarray(solved)[wanted]
    return found[:, -1], np.diagonal(found[:, :-1]).copy()
