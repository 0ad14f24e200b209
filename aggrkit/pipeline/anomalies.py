"""Which observations don't belong to their cell: every one of them, with score, expected range and probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from aggrkit.errors import AggrError, UnknownNameError, number_between
from aggrkit.model.answer import COLUMNS, Answer
from aggrkit.model.schema import DIMENSIONS, Column, Role
from aggrkit.pipeline.bounds import Bounds, moderated, rosner, tukey
from aggrkit.pipeline.cells import Cells
from aggrkit.pipeline.expressions import fetch
from aggrkit.pipeline.keyed import numbered, outside
from aggrkit.pipeline.standing import REASONS, STATUSES, Normal, status_of
from aggrkit.sources.observations import ROW
from aggrkit.statistics.multiplicity import any_of_many
from aggrkit.statistics.outliers import FEWEST, robust_cut, zscore_needs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aggrkit.model.metric import Metric
    from aggrkit.pipeline.prepared import Prepared

    Floats = NDArray[np.float64]

__all__ = ["METHODS", "SEVERITIES", "DetectAnomalies"]

METHODS: Final = ("robust", "zscore", "iqr", "gesd")
SEVERITIES: Final = ("good", "minor", "major", "critical")
"""In order: odd on the good side, then how far beyond the cut on the bad side (1.5 times, 3 times)."""

_DEFAULT_CUT: Final = {"zscore": 2.5, "iqr": 1.5}
_MOST: Final = 1_000_000
_Z_SCORE: Final = "__z_score"
_SIZE: Final = "__size_of_cell"
_REASON: Final = "__reason"
_STATUS: Final = "status"
_NUMBERS: Final = ("value", "score", "lower", "upper", "pvalue", "pvalue_adjusted")


@dataclass(frozen=True)
class DetectAnomalies:
    """Flag the observations that don't belong to their cell.

    A cell is a group and everything that like is compared with like by: model, hardware, task type and conditions.
    Where cells are thin, they are pooled over what makes no difference to any metric. Where the level of a cell shifts
    over time, its values are measured against the level of their time.

    Parameters
    ----------
    method : {"robust", "zscore", "iqr", "gesd"}, optional
        How a value is scored.
    alpha : float, optional
        Chance of any false flag over all cells, if the data are clean ("robust" and "gesd").
    threshold : float, optional
        Cut on the score instead.
    fewest : int, optional
        Smallest cell that is tested.
    """

    method: str = "robust"
    alpha: float = 0.05
    threshold: float | None = None
    fewest: int = FEWEST
    name: str = "anomalies"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UnknownNameError.of("method", self.method, METHODS)
        number_between(self.alpha, 0, 1, "alpha is a chance between 0 and 1")
        if self.threshold is not None:
            number_between(self.threshold, 0, float("inf"), "a threshold is a positive score")
            if self.method == "gesd":
                raise ValueError("method 'gesd' has no threshold; set alpha instead")

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with the frame "anomalies"."""
        metrics = [metric for metric in prepared.metrics if not metric.is_proportion]
        cells = Cells.of(prepared, metrics, 0 if answer.rows is None else answer.rows.used)
        tested = int(sum((cells.n(metric) >= self._fewest).sum() for metric in metrics))
        if self.method in ("robust", "gesd"):
            cells.measure_middles(metrics)
        if self.method == "robust":
            cells.measure_spread(metrics)
        flagged = [self._flag(cells, metric, max(tested, 1)) for metric in metrics]
        frame = _collected(cells, [bounds for bounds in flagged if bounds is not None])
        details = pd.DataFrame({"row": frame.pop(ROW), "z_score": frame.pop(_Z_SCORE), "n": frame.pop(_SIZE)})
        details["reason"] = frame.pop(_REASON).astype("str")
        too_few = {
            metric.name: (int((cells.n(metric) < self._fewest).sum()), int(cells.n(metric).max(initial=0)))
            for metric in metrics
        }
        answer = answer.with_frame("anomalies_rows", details)
        answer = answer.with_frame("anomalies_cells", cells.sizes(metrics, self._fewest))
        return answer.with_frame(
            "anomalies",
            frame,
            method=self.method,
            alpha=self.alpha,
            threshold=self.threshold or _DEFAULT_CUT.get(self.method),
            cells_tested=tested,
            cells_by=[column.name for column in cells.keys],
            pooled_over=list(cells.pooled),
            shifted=cells.shifted,
            timed=prepared.schema.role(Role.TIMESTAMP) is not None,
            suspect={reason: int(details["reason"].eq(reason).sum()) for reason in REASONS},
            needs=self._fewest,
            too_few=too_few,
            scales={metric.name: cells.scale(metric) for metric in metrics}
            if self.method in ("robust", "gesd")
            else {},
        )

    @property
    def _fewest(self) -> int:
        """Smallest cell that the method can say anything of."""
        if self.method == "zscore":
            return max(zscore_needs(self.threshold or _DEFAULT_CUT["zscore"]), self.fewest)
        return max(FEWEST, self.fewest)

    def _flag(self, cells: Cells, metric: Metric, tested: int) -> Bounds | None:
        n = cells.n(metric)
        usable = n >= self._fewest
        if not usable.any():
            return None
        if self.method == "zscore":
            cut = np.full(len(n), self.threshold or _DEFAULT_CUT["zscore"])
            return Bounds.around(
                metric, cells.of_metric(metric, "mean"), cells.of_metric(metric, "std"), cut, n, usable, tested
            )
        if self.method == "iqr":
            return tukey(cells, metric, self.threshold or _DEFAULT_CUT["iqr"], usable, tested)
        if self.method == "gesd":
            return rosner(cells, metric, self.alpha, usable, tested)
        chance = -np.expm1(np.log1p(-self.alpha) / tested)
        parts = []
        for scale in cells.scales(metric):
            centre, width, worth = moderated(*cells.robust(metric, scale), n, usable, log=scale == "log")
            cut = np.full(len(n), self.threshold) if self.threshold is not None else robust_cut(n, chance, worth)
            bounds = Bounds.around(metric, centre, width, cut, n, usable, tested, log=scale == "log", worth=worth)
            parts.append(bounds)
        return parts[0] if len(parts) == 1 else parts[0].and_also(parts[1])


def _collected(cells: Cells, flagged: Sequence[Bounds]) -> pd.DataFrame:
    """Fetch what lies outside, and describe each observation; the most certain first."""
    prepared = cells.prepared
    shown = _describing(cells)
    names = [
        *prepared.groups,
        *COLUMNS["anomalies"],
        *([_STATUS] if _STATUS not in prepared.groups else []),
        *(column.name for column in shown if column.name not in prepared.groups),
        ROW,
        _Z_SCORE,
        _SIZE,
        _REASON,
    ]
    rows = _outside(cells, flagged, shown) if flagged else None
    if rows is not None and rows.num_rows > _MOST:
        said = f"more than {_MOST:,} observations would be flagged"
        raise AggrError(f"{said}: set a higher threshold or a smaller alpha, or ask for a part of them with where=...")
    if rows is None or not rows.num_rows:
        return _no_lines(names)
    normal = Normal(cells, flagged)
    parts = [_lines(cells, bounds, k, rows, shown, normal) for k, bounds in enumerate(flagged)]
    filled = [part for part in parts if len(part)]
    if not filled:
        return _no_lines(names)
    frame = pd.concat(filled, ignore_index=True)
    sized = frame.assign(__size=frame["score"].abs())
    order = sized.sort_values(["pvalue_adjusted", "__size"], ascending=[True, False]).index
    return frame.loc[order, names].reset_index(drop=True)


def _outside(cells: Cells, flagged: Sequence[Bounds], shown: Sequence[Column]) -> pa.Table:
    """Fetch the rows in which the value of any metric is flagged, with what describes them."""
    prepared = cells.prepared
    ends = {f"lower{k}": b.lower for k, b in enumerate(flagged)} | {f"upper{k}": b.upper for k, b in enumerate(flagged)}
    identity = prepared.schema.role(Role.RESULT_ID)
    what = (
        tuple(prepared.field(bounds.metric) for bounds in flagged),
        tuple(column.field for column in shown),
        None if identity is None else identity.field,
        _MOST + 1,
    )
    if any(b.rows is not None for b in flagged):
        wanted = sorted({row for b in flagged for row in b.rows or {}})
        return fetch(numbered(cells.beside(ends), wanted, *what), prepared.label)
    return cells.ask(outside, ends, *what)


def _describing(cells: Cells) -> list[Column]:
    """Return the columns that describe an observation: dimensions, time and conditions that have a value."""
    prepared = cells.prepared
    wanted = (*DIMENSIONS, Role.TIMESTAMP, Role.CONDITION, Role.REPEAT)
    taken = {c.name for c in prepared.groups.values() if c is not None} & set(prepared.groups)
    taken |= {*COLUMNS["anomalies"], _STATUS}
    return [column for column in prepared.schema.playing(*wanted) if column.name not in taken]


def _lines(
    cells: Cells, bounds: Bounds, place: int, rows: pa.Table, shown: Sequence[Column], normal: Normal
) -> pd.DataFrame:
    value = rows[f"v{place}"].to_numpy().astype(np.float64)
    cell = rows["cell"].to_numpy()
    number = rows["row"].to_numpy()
    if bounds.rows is not None:
        out = np.array([row in bounds.rows for row in number], dtype=bool)
    else:
        out = (value < bounds.lower[cell]) | (value > bounds.upper[cell])
    value, cell, number = value[out], cell[out], number[out]
    if bounds.rows is not None:
        pairs = [bounds.rows[row] for row in number]
        score, pvalue = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    else:
        score, pvalue = bounds.score(value, cell)
    taken = rows.filter(pa.array(out))
    metric, groups = bounds.metric, cells.groups_of(cell)
    high = value > bounds.upper[cell] if bounds.rows is None else score > 0
    size = cells.n(metric)[cell].astype(np.int64)
    time = next((taken[f"d{k}"].to_pandas() for k, c in enumerate(shown) if c.role is Role.TIMESTAMP), None)
    status, reason = status_of(normal.is_later(place, cell, time), size)
    mean_of, std_of = (cells.of_metric(metric, name)[cell] for name in ("mean", "std"))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        z_score = (value - mean_of) / std_of
    columns = {
        "metric": pd.array([metric.name] * len(value), dtype="str"),
        "observation": _labels(cells, taken, number),
        "value": value,
        "score": score,
        "lower": np.maximum(bounds.lower[cell], -np.inf if metric.minimum is None else metric.minimum),
        "upper": np.minimum(bounds.upper[cell], np.inf if metric.maximum is None else metric.maximum),
        "direction": pd.array(np.where(high, "high", "low").tolist(), dtype="str"),
        "severity": _severity(np.abs(score), bounds.cut[cell], np.where(high, 1, -1) * metric.sign),
        "pvalue": pvalue,
        "pvalue_adjusted": any_of_many(pvalue, bounds.tested),
        _REASON: reason,
        **({} if _STATUS in cells.prepared.groups else {_STATUS: status}),
        **{column.name: taken[f"d{k}"].to_pandas().to_numpy() for k, column in enumerate(shown)},
        ROW: number,
        _Z_SCORE: z_score,
        _SIZE: size,
    }
    return pd.concat([groups, pd.DataFrame(columns, index=groups.index)], axis=1)


def _labels(cells: Cells, taken: pa.Table, number: NDArray[np.int64]) -> Any:
    take = cells.prepared.observations.take
    labels: Any = number if take is None else take(number).index.to_flat_index().to_numpy()
    if "identity" not in taken.column_names:
        return labels
    names = taken["identity"].to_pandas(integer_object_nulls=True)
    return names.astype(object).where(names.notna(), labels).to_numpy() if names.isna().any() else names.to_numpy()


def _no_lines(names: Sequence[str]) -> pd.DataFrame:
    dtypes = dict.fromkeys((*_NUMBERS, _Z_SCORE), "float64") | {ROW: "int64", _SIZE: "int64"}
    empty = pd.DataFrame({name: pd.Series(dtype=dtypes.get(name, "str")) for name in names})
    empty["severity"] = pd.Categorical([], categories=list(SEVERITIES), ordered=True)
    if _STATUS in empty and names.index(_STATUS) > names.index("severity"):
        empty[_STATUS] = pd.Categorical([], categories=list(STATUSES), ordered=True)
    return empty


def _severity(score: Floats, cut: Floats, sense: NDArray[np.int_]) -> pd.Categorical:
    with np.errstate(invalid="ignore", divide="ignore"):
        level = 1 + np.digitize(score / cut, [1.5, 3.0])
    words = np.array(SEVERITIES, dtype=object)[np.where(sense > 0, 0, level)]
    return pd.Categorical(words, categories=list(SEVERITIES), ordered=True)
