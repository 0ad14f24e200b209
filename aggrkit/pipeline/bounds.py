"""Where the values of each cell are expected, by method, and how one that lies outside is scored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from aggrkit.errors import TooFewObservationsError
from aggrkit.statistics.outliers import (
    FEWEST,
    MAD_TO_STD,
    gesd,
    max_zscore_pvalue,
    moderated_std,
    robust_cut,
    robust_pvalue,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric
    from aggrkit.pipeline.cells import Cells

    Floats = NDArray[np.float64]

__all__ = ["Bounds", "moderated", "rosner", "tukey"]


@dataclass(frozen=True)
class Bounds:
    """Where the values of a metric are expected, per cell, and how to score one that lies outside.

    Parameters
    ----------
    metric : Metric
        Whose values are judged.
    lower, upper : numpy.ndarray
        Range of the expected values of each cell, on the scale of the metric.
    centre, width : numpy.ndarray
        What a value is scored by: its distance from the centre, in widths.
    cut : numpy.ndarray
        The score beyond which a value is flagged.
    n : numpy.ndarray
        Number of values of each cell.
    tested : int
        Number of cells that are tested, over all metrics.
    log : bool, optional
        Whether centre and width are of the logarithms.
    worth : numpy.ndarray, optional
        How many values each robust width is worth; without it, scores are z-scores by mean and standard deviation.
    other : Bounds, optional
        Bounds on another scale, beyond which a value must lie too.
    rows : dict, optional
        Row number to score and p-value, where a method flags rows and not what lies outside a range.
    """

    metric: Metric
    lower: Floats
    upper: Floats
    centre: Floats
    width: Floats
    cut: Floats
    n: Floats
    tested: int
    log: bool = False
    worth: Floats | None = None
    other: Bounds | None = None
    rows: dict[int, tuple[float, float]] | None = None

    @classmethod
    def around(
        cls,
        metric: Metric,
        centre: Floats,
        width: Floats,
        cut: Floats,
        n: Floats,
        usable: NDArray[np.bool_],
        tested: int,
        log: bool = False,
        worth: Floats | None = None,
    ) -> Bounds:
        """Expect values within `cut` widths of the centre; in cells that can't be tested, everywhere."""
        with np.errstate(over="ignore", invalid="ignore"):
            lower, upper = centre - cut * width, centre + cut * width
            if log:
                lower, upper = np.exp(lower), np.exp(upper)
        known = usable & np.isfinite(centre) & (width > 0)
        return cls(
            metric,
            np.where(known, lower, -np.inf),
            np.where(known, upper, np.inf),
            centre,
            width,
            cut,
            n,
            tested,
            log,
            worth,
        )

    def and_also(self, other: Bounds) -> Bounds:
        """Flag only what both flag."""
        lower, upper = np.minimum(self.lower, other.lower), np.maximum(self.upper, other.upper)
        return replace(self, lower=lower, upper=upper, other=other)

    def score(self, value: Floats, cell: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Return signed score and p-value of values that were flagged."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            place = np.log(np.maximum(value, 5e-324)) if self.log else value
            score = (place - self.centre[cell]) / self.width[cell]
        if self.worth is not None:
            pvalue = robust_pvalue(np.abs(score), self.n[cell], self.worth[cell])
        else:
            pvalue = np.array([max_zscore_pvalue(abs(s), int(k)) for s, k in zip(score, self.n[cell], strict=True)])
        if self.other is not None:
            second, likelier = self.other.score(value, cell)
            score = np.where(likelier > pvalue, second, score)
            pvalue = np.maximum(pvalue, likelier)
        return score, pvalue


def moderated(
    centre: Floats, width: Floats, n: Floats, usable: NDArray[np.bool_], *, log: bool
) -> tuple[Floats, Floats, Floats]:
    """Return centre, width and what the width is worth; cells borrow from each other what they know of the spread.

    Spreads of positive values are compared in shares of the centre, on the logarithmic scale as they are.
    """
    told = usable & np.isfinite(centre) & np.isfinite(width) & (width > 0)
    unit = centre if not log and (centre[told] > 0).all() else np.ones(len(centre))
    lent, worth = width.copy(), n.copy()
    share, worth[told] = moderated_std(width[told] / unit[told], n[told])
    lent[told] = share * unit[told]
    return centre, lent, worth


def tukey(cells: Cells, metric: Metric, fences: float, usable: NDArray[np.bool_], tested: int) -> Bounds:
    """Expect values within `fences` interquartile ranges of the quartiles."""
    q1, q3, median = (cells.of_metric(metric, name) for name in ("q1", "q3", "p50"))
    width = (q3 - q1) / 2 * MAD_TO_STD
    known = usable & (width > 0)
    lower, upper = np.where(known, q1 - fences * (q3 - q1), -np.inf), np.where(known, q3 + fences * (q3 - q1), np.inf)
    cut = np.full(len(q1), (0.5 + fences) * 2 / MAD_TO_STD)
    return Bounds(metric, lower, upper, median, width, cut, cells.n(metric), tested, worth=cells.n(metric))


def rosner(cells: Cells, metric: Metric, alpha: float, usable: NDArray[np.bool_], tested: int) -> Bounds:
    """Test each cell by generalized ESD, on the scale on which it is symmetric, or on both."""
    cell, value, row = cells.values(metric, usable)
    order = np.argsort(cell, kind="stable")
    edges = np.flatnonzero(np.diff(cell[order])) + 1
    scale = cells.scale(metric)
    chance = -np.expm1(np.log1p(-alpha) / tested)
    n = cells.n(metric)
    lower, upper = np.full(len(n), -np.inf), np.full(len(n), np.inf)
    rows: dict[int, tuple[float, float]] = {}
    for members in np.split(order, edges) if len(order) else []:
        where = int(cell[members[0]])
        results = []
        size = len(members)
        most = min(max(1, size // 4), 50, size - 3)
        # Rosner's levels are exact for one outlier; looking for several in few values raises false alarms, by up to
        # a half (simulated for n = 8 to 100 at levels down to 0.0005: never by more than 6 / n and 2 %).
        price = 1.0 if most == 1 else 1 + 6 / size
        for log in (True, False) if scale == "both" else (scale == "log",):
            data = np.log(value[members]) if log else value[members]
            try:
                found = gesd(data, chance / price, max_outliers=most)
            except TooFewObservationsError:
                continue
            ends = np.exp([found.lower, found.upper]) if log else np.array([found.lower, found.upper])
            pairs = zip(found.scores, found.pvalues * price, strict=True)
            results.append((dict(zip(found.places.tolist(), pairs, strict=True)), ends))
        if not results:
            continue
        lower[where] = min(ends[0] for _, ends in results)
        upper[where] = max(ends[1] for _, ends in results)
        for place in set.intersection(*(set(found) for found, _ in results)):
            score, pvalue = max((found[place] for found, _ in results), key=lambda pair: pair[1])
            rows[int(row[members[place]])] = (float(score), float(pvalue))
    cut = np.array([max(robust_cut(max(size, FEWEST), chance), 1e-9) for size in n])
    return Bounds(metric, lower, upper, lower, lower, cut, n, tested, rows=rows)
