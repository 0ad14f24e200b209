"""Which observations don't belong to their cell: every one of them, with score, expected range and probability."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa

from aggrkit.errors import TooFewObservationsError, UnknownNameError, number_between
from aggrkit.model.answer import COLUMNS, Answer
from aggrkit.model.schema import DIMENSIONS, Column, Role
from aggrkit.pipeline.aggregate import group_labels
from aggrkit.pipeline.expressions import any_of, fetch, mean, quantiles
from aggrkit.pipeline.pooling import are_thin, without_poolable
from aggrkit.pipeline.prepared import group_key
from aggrkit.sources.observations import ROW
from aggrkit.statistics.multiplicity import any_of_many
from aggrkit.statistics.outliers import (
    FEWEST,
    MAD_TO_STD,
    choose_scale,
    far_out,
    gesd,
    max_zscore_pvalue,
    moderated_std,
    robust_cut,
    robust_pvalue,
    robust_std,
    zscore_needs,
)

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
_CELL_ROLES: Final = (Role.MODEL, Role.HARDWARE, Role.TASK_TYPE, Role.CONDITION)
_MOST: Final = 100_000
_QUANTILES: Final = {"p10": 0.1, "q1": 0.25, "p50": 0.5, "q3": 0.75, "p90": 0.9}
_MIDDLE: Final = ("p10", "p50", "p90")
_FEWEST_TRIMMED: Final = 10
_Z_SCORE: Final = "__z_score"
_SIZE: Final = "__size_of_cell"


@dataclass(frozen=True)
class DetectAnomalies:
    """Flag the observations that don't belong to their cell.

    A cell is a group and everything that like is compared with like by: model, hardware, task type and conditions.
    Where cells are thin, they are pooled over what makes no difference to any metric.

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
        cells = _Cells.of(prepared, metrics)
        tested = int(sum((cells.n(metric) >= self._fewest).sum() for metric in metrics))
        if self.method in ("robust", "gesd"):
            cells.measure_middles(metrics)
        if self.method == "robust":
            cells.measure_spread(metrics)
        flagged = [self._flag(cells, metric, max(tested, 1)) for metric in metrics]
        frame = cells.collect([bounds for bounds in flagged if bounds is not None], self.method == "gesd")
        details = pd.DataFrame({"row": frame.pop(ROW), "z_score": frame.pop(_Z_SCORE), "n": frame.pop(_SIZE)})
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

    def _flag(self, cells: _Cells, metric: Metric, tested: int) -> _Bounds | None:
        n = cells.n(metric)
        usable = n >= self._fewest
        if not usable.any():
            return None
        if self.method == "zscore":
            cut = np.full(len(n), self.threshold or _DEFAULT_CUT["zscore"])
            return _Bounds.around(
                metric, cells.of_metric(metric, "mean"), cells.of_metric(metric, "std"), cut, n, usable, tested
            )
        if self.method == "iqr":
            return _tukey(cells, metric, self.threshold or _DEFAULT_CUT["iqr"], usable, tested)
        if self.method == "gesd":
            return _rosner(cells, metric, self.alpha, usable, tested)
        chance = -np.expm1(np.log1p(-self.alpha) / tested)
        parts = []
        for scale in cells.scales(metric):
            centre, width, worth = _moderated(*cells.robust(metric, scale), n, usable, log=scale == "log")
            cut = np.full(len(n), self.threshold) if self.threshold is not None else robust_cut(n, chance, worth)
            bounds = _Bounds.around(metric, centre, width, cut, n, usable, tested, log=scale == "log", worth=worth)
            parts.append(bounds)
        return parts[0] if len(parts) == 1 else parts[0].and_also(parts[1])


def _moderated(
    centre: Floats, width: Floats, n: Floats, usable: NDArray[np.bool_], *, log: bool
) -> tuple[Floats, Floats, Floats]:
    """Return centre, width and what the width is worth; cells borrow from each other what they know of the spread.

    Spreads of positive values are compared in shares of the centre, on the logarithmic scale as they are.
    """
    told = usable & np.isfinite(centre) & np.isfinite(width) & (width > 0)
    unit = centre if not log and (centre[told] > 0).all() else np.ones(len(centre))
    moderated, worth = width.copy(), n.copy()
    share, worth[told] = moderated_std(width[told] / unit[told], n[told])
    moderated[told] = share * unit[told]
    return centre, moderated, worth


@dataclass(frozen=True)
class _Bounds:
    """Where the values of a metric are expected, per cell, and how to score one that lies outside."""

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
    other: _Bounds | None = None
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
    ) -> _Bounds:
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

    def and_also(self, other: _Bounds) -> _Bounds:
        """Flag only what both flag."""
        return _Bounds(
            self.metric,
            np.minimum(self.lower, other.lower),
            np.maximum(self.upper, other.upper),
            self.centre,
            self.width,
            self.cut,
            self.n,
            self.tested,
            self.log,
            self.worth,
            other,
        )

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


@dataclass(frozen=True)
class _Cells:
    """The cells of a selection, with what was measured of each."""

    prepared: Prepared
    keys: Sequence[Column]
    table: ibis.Table
    found: pa.Table
    places: dict[str, int]
    memo: dict[str, Any] = field(default_factory=dict)
    pooled: Sequence[str] = ()

    @classmethod
    def of(cls, prepared: Prepared, metrics: Sequence[Metric]) -> _Cells:
        """Measure all cells and metrics in one scan; thin cells are pooled over what makes no difference."""
        schema = prepared.schema
        grouped = [column for column in prepared.groups.values() if column is not None]
        names = {column.name for column in grouped} | {metric.name for metric in metrics}
        others = [column for column in schema.playing(*_CELL_ROLES) if column.name not in names]
        cells = cls._scanned(prepared, metrics, [*grouped, *others])
        if metrics and others and are_thin([cells.n(metric) for metric in metrics]):
            kept = without_poolable(prepared, metrics, grouped, others)
            if len(kept) < len(others):
                pooled = [column.name for column in others if column not in kept]
                return replace(cls._scanned(prepared, metrics, [*grouped, *kept]), pooled=pooled)
        return cells

    @classmethod
    def _scanned(cls, prepared: Prepared, metrics: Sequence[Metric], keys: Sequence[Column]) -> _Cells:
        table = prepared.table
        keyed = table.mutate(**{f"__k{place}": group_key(table, column) for place, column in enumerate(keys)})
        expressions: dict[str, ibis.Value] = {}
        for place, metric in enumerate(metrics):
            values = keyed[prepared.field(metric)]
            expressions |= {
                f"n{place}": values.count(),
                f"mean{place}": mean(values),
                f"std{place}": values.std(how="sample"),
                f"min{place}": values.min(),
                f"max{place}": values.max(),
                f"q{place}": quantiles(values, list(_QUANTILES.values())),
            }
        by = [f"__k{place}" for place in range(len(keys))]
        cells = keyed.group_by(by).aggregate(**expressions) if by else keyed.aggregate(**expressions)
        found = fetch(cells, prepared.label)
        return cls(prepared, keys, keyed, found, {metric.name: place for place, metric in enumerate(metrics)})

    def n(self, metric: Metric) -> Floats:
        """Return the number of values of each cell."""
        return self.of_metric(metric, "n")

    def of_metric(self, metric: Metric, name: str) -> Floats:
        """Return one measure of each cell."""
        place = self.places[metric.name]
        if name in _QUANTILES:
            column = pa.compute.list_element(self.found[f"q{place}"], list(_QUANTILES).index(name))
        else:
            column = self.found[f"{name}{place}"]
        return np.asarray(column.to_numpy(), dtype=np.float64)

    def sizes(self, metrics: Sequence[Metric], fewest: int) -> pd.DataFrame:
        """Return a row per group and metric: how many cells were tested, and the size of the largest."""
        groups = self._groups_of(np.arange(self.found.num_rows))
        parts = [
            groups.assign(metric=metric.name, tested=self.n(metric) >= fewest, largest=self.n(metric))
            for metric in metrics
        ]
        if not parts:
            return groups.iloc[:0].assign(metric="", tested=0, largest=0)
        keys = [*self.prepared.groups, "metric"]
        measured = pd.concat(parts, ignore_index=True).groupby(keys, sort=False, observed=True)
        return measured.agg(tested=("tested", "sum"), largest=("largest", "max")).astype("int64").reset_index()

    def scale(self, metric: Metric) -> str:
        """Return the scale on which the clean values of a metric look symmetric."""
        key = f"scale of {metric.name}"
        if key not in self.memo:
            low, middle, high = self.memo[f"middles of {metric.name}"]
            self.memo[key] = choose_scale(low, middle, high, self.n(metric), self._positive(metric))
        return str(self.memo[key])

    def _positive(self, metric: Metric) -> bool:
        smallest = self.of_metric(metric, "min")
        return bool((smallest[np.isfinite(smallest)] > 0).all())

    def measure_middles(self, metrics: Sequence[Metric]) -> None:
        """Find the percentiles that tell the scale of each metric; outliers left out, in one scan if there are any."""
        cuts: dict[str, Any] = {}
        trimmed = []
        for place, metric in enumerate(metrics):
            middles = [self.of_metric(metric, name).copy() for name in _MIDDLE]
            self.memo[f"middles of {metric.name}"] = middles
            if not self._positive(metric):
                continue
            lower, upper = far_out(*(self.of_metric(metric, name) for name in ("q1", "p50", "q3")))
            small = self.n(metric) < _FEWEST_TRIMMED
            lower, upper = np.where(small, -np.inf, lower), np.where(small, np.inf, upper)
            if ((self.of_metric(metric, "min") < lower) | (self.of_metric(metric, "max") > upper)).any():
                trimmed.append((place, metric))
                cuts |= {f"lower{place}": lower, f"upper{place}": upper}
        if not trimmed:
            return
        joined = self._beside(cuts)
        levels: dict[str, ibis.Value] = {}
        for place, metric in trimmed:
            values = joined[self.prepared.field(metric)]
            inside = ibis.cases((values.between(joined[f"__lower{place}"], joined[f"__upper{place}"]), values))
            levels[f"q{place}"] = quantiles(inside, [_QUANTILES[name] for name in _MIDDLE])
        found = fetch(joined.group_by(cell=joined["__cell"]).aggregate(**levels), self.prepared.label)
        cell = found["cell"].to_numpy()
        for place, metric in trimmed:
            for rank, column in enumerate(self.memo[f"middles of {metric.name}"]):
                column[cell] = pa.compute.list_element(found[f"q{place}"], rank).to_numpy()

    def scales(self, metric: Metric) -> tuple[str, ...]:
        """Return the scales on which a metric is scored."""
        scale = self.scale(metric)
        return ("raw", "log") if scale == "both" else (scale,)

    def measure_spread(self, metrics: Sequence[Metric]) -> None:
        """Find the robust standard deviation of each cell, metric and scale, all in one scan.

        See `aggrkit.statistics.outliers.robust_std`.
        """
        centres: dict[str, tuple[Metric, str, Floats]] = {}
        for metric in metrics:
            for scale in self.scales(metric):
                median = self.of_metric(metric, "p50")
                with np.errstate(divide="ignore"):  # a median too small for its logarithm
                    centres[f"c{len(centres)}"] = metric, scale, np.log(median) if scale == "log" else median
        joined = self._beside({key: centre for key, (_, _, centre) in centres.items()})
        expressions: dict[str, ibis.Value] = {}
        for key, (metric, scale, _) in centres.items():
            values = joined[self.prepared.field(metric)]
            deviation = ((values.ln() if scale == "log" else values) - joined[f"__{key}"]).abs()
            expressions |= {
                f"mad_{key}": deviation.quantile(0.5),
                f"average_{key}": deviation.mean(),
                f"step_{key}": deviation.nullif(0.0).quantile(0.5),
                f"off_{key}": deviation.nullif(0.0).count(),
            }
        spread = fetch(joined.group_by(cell=joined["__cell"]).aggregate(**expressions), self.prepared.label)
        for key, (metric, scale, centre) in centres.items():
            measured = np.full((4, self.found.num_rows), np.nan)
            for row, name in enumerate(("mad", "average", "step", "off")):
                measured[row, spread["cell"].to_numpy()] = spread[f"{name}_{key}"].to_numpy()
            rounding = 8 * np.finfo(float).eps * np.maximum(np.abs(centre), 1e-300)
            mad, average, step, off = measured
            width = robust_std(mad, average, step, off, self.n(metric), rounding)
            self.memo[f"{metric.name}:{scale}"] = centre, width

    def robust(self, metric: Metric, scale: str) -> tuple[Floats, Floats]:
        """Return median and robust standard deviation of each cell, as `measure_spread` found them."""
        centre, width = self.memo[f"{metric.name}:{scale}"]
        return centre, width

    def values(self, metric: Metric, usable: NDArray[np.bool_]) -> tuple[NDArray[np.intp], Floats, NDArray[np.int64]]:
        """Return cell, value and row number of every value in the cells that can be tested."""
        joined = self._beside({"usable": usable})
        column = joined[self.prepared.field(metric)]
        rows = fetch(
            joined.filter(joined["__usable"], column.notnull()).select(
                cell=joined["__cell"], value=column, row=joined[ROW]
            ),
            self.prepared.label,
        )
        return rows["cell"].to_numpy(), rows["value"].to_numpy(), rows["row"].to_numpy()

    def collect(self, flagged: Sequence[_Bounds], by_row: bool) -> pd.DataFrame:
        """Fetch what lies outside, and describe each observation."""
        schema = self.prepared.schema
        shown = self._described()
        bounds = {f"lower{k}": b.lower for k, b in enumerate(flagged)} | {
            f"upper{k}": b.upper for k, b in enumerate(flagged)
        }
        identity = schema.role(Role.RESULT_ID)
        parts = []
        if flagged:
            joined = self._beside(bounds)
            outside = [
                (joined[self.prepared.field(b.metric)] < joined[f"__lower{k}"])
                | (joined[self.prepared.field(b.metric)] > joined[f"__upper{k}"])
                for k, b in enumerate(flagged)
            ]
            chosen = {f"v{k}": joined[self.prepared.field(b.metric)] for k, b in enumerate(flagged)}
            described = {f"d{k}": joined[column.field] for k, column in enumerate(shown)}
            number = {"identity": joined[identity.field]} if identity is not None else {}
            test = any_of(outside)
            if by_row:
                wanted = sorted({row for b in flagged for row in b.rows or {}})
                test = joined[ROW].isin(wanted) if wanted else ibis.literal(False)
            rows = fetch(
                joined.filter(test)
                .select(cell=joined["__cell"], row=joined[ROW], **chosen, **described, **number)
                .limit(_MOST),
                self.prepared.label,
            )
            parts = [self._lines(b, k, rows, shown) for k, b in enumerate(flagged)]
        names = [
            *self.prepared.groups,
            *COLUMNS["anomalies"],
            *(column.name for column in shown if column.name not in self.prepared.groups),
            ROW,
            _Z_SCORE,
            _SIZE,
        ]
        filled = [part for part in parts if len(part)]
        if not filled:
            return _no_lines(names)
        frame = pd.concat(filled, ignore_index=True)
        order = (
            frame.assign(__size=frame["score"].abs())
            .sort_values(["pvalue_adjusted", "__size"], ascending=[True, False])
            .index
        )
        return frame.loc[order, names].reset_index(drop=True)

    def _described(self) -> list[Column]:
        """Return the columns that describe an observation: dimensions, time and conditions that have a value."""
        wanted = (*DIMENSIONS, Role.TIMESTAMP, Role.CONDITION, Role.REPEAT)
        taken = {c.name for c in self.prepared.groups.values() if c is not None} & set(self.prepared.groups)
        taken |= {*COLUMNS["anomalies"]}
        return [column for column in self.prepared.schema.playing(*wanted) if column.name not in taken]

    def _lines(self, bounds: _Bounds, place: int, rows: pa.Table, shown: Sequence[Column]) -> pd.DataFrame:
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
        frame = self._groups_of(cell)
        frame["metric"] = bounds.metric.name
        frame["observation"] = self._labels(taken, number)
        frame["value"], frame["score"] = value, score
        frame["lower"] = np.maximum(
            bounds.lower[cell], -np.inf if bounds.metric.minimum is None else bounds.metric.minimum
        )
        frame["upper"] = np.minimum(
            bounds.upper[cell], np.inf if bounds.metric.maximum is None else bounds.metric.maximum
        )
        high = value > bounds.upper[cell] if bounds.rows is None else score > 0
        frame["direction"] = np.where(high, "high", "low")
        frame["severity"] = _severity(np.abs(score), bounds.cut[cell], np.where(high, 1, -1) * bounds.metric.sign)
        frame["pvalue"], frame["pvalue_adjusted"] = pvalue, any_of_many(pvalue, bounds.tested)
        for k, column in enumerate(shown):
            frame[column.name] = taken[f"d{k}"].to_pandas().to_numpy()
        frame[ROW] = number
        mean_of, std_of = (self.of_metric(bounds.metric, name)[cell] for name in ("mean", "std"))
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            frame[_Z_SCORE] = (value - mean_of) / std_of
        frame[_SIZE] = self.n(bounds.metric)[cell].astype(np.int64)
        return frame.astype({"metric": "str", "direction": "str"})

    def _labels(self, taken: pa.Table, number: NDArray[np.int64]) -> Any:
        take = self.prepared.observations.take
        labels: Any = number if take is None else take(number).index.to_flat_index().to_numpy()
        if "identity" not in taken.column_names:
            return labels
        names = taken["identity"].to_pandas(integer_object_nulls=True)
        return names.astype(object).where(names.notna(), labels).to_numpy() if names.isna().any() else names.to_numpy()

    def _groups_of(self, cell: NDArray[np.intp]) -> pd.DataFrame:
        renamed = {}
        for place, column in enumerate(self.prepared.groups.values()):
            source = None if column is None else next(k for k, key in enumerate(self.keys) if key.name == column.name)
            renamed[f"g{place}"] = (
                pa.nulls(self.found.num_rows, pa.string()) if source is None else self.found[f"__k{source}"]
            )
        labels = group_labels(pa.table(renamed) if renamed else self.found, list(self.prepared.groups))
        return labels.iloc[cell].reset_index(drop=True)

    def _beside(self, columns: dict[str, Any]) -> ibis.Table:
        """Return the rows with their cell and something of it beside them; two underscores tell these from the rest."""
        by = [name for name in self.found.column_names if name.startswith("__k")]
        data = {f"{name}_of_cell": self.found[name] for name in by}
        data |= {"__cell": pa.array(np.arange(self.found.num_rows, dtype=np.int64))}
        data |= {f"__{name}": pa.array(values) for name, values in columns.items()}
        cells = ibis.memtable(pa.table(data))
        if not by:
            return self.table.cross_join(cells)
        return self.table.join(cells, [self.table[name].identical_to(cells[f"{name}_of_cell"]) for name in by])


_NUMBERS: Final = ("value", "score", "lower", "upper", "pvalue", "pvalue_adjusted")


def _tukey(cells: _Cells, metric: Metric, fences: float, usable: NDArray[np.bool_], tested: int) -> _Bounds:
    """Expect values within `fences` interquartile ranges of the quartiles."""
    q1, q3, median = (cells.of_metric(metric, name) for name in ("q1", "q3", "p50"))
    width = (q3 - q1) / 2 * MAD_TO_STD
    known = usable & (width > 0)
    lower, upper = np.where(known, q1 - fences * (q3 - q1), -np.inf), np.where(known, q3 + fences * (q3 - q1), np.inf)
    cut = np.full(len(q1), (0.5 + fences) * 2 / MAD_TO_STD)
    return _Bounds(metric, lower, upper, median, width, cut, cells.n(metric), tested, worth=cells.n(metric))


def _rosner(cells: _Cells, metric: Metric, alpha: float, usable: NDArray[np.bool_], tested: int) -> _Bounds:
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
    return _Bounds(metric, lower, upper, lower, lower, cut, n, tested, rows=rows)


def _no_lines(names: Sequence[str]) -> pd.DataFrame:
    dtypes = dict.fromkeys((*_NUMBERS, _Z_SCORE), "float64") | {ROW: "int64", _SIZE: "int64"}
    empty = pd.DataFrame({name: pd.Series(dtype=dtypes.get(name, "str")) for name in names})
    empty["severity"] = pd.Categorical([], categories=list(SEVERITIES), ordered=True)
    return empty


def _severity(score: Floats, cut: Floats, sense: NDArray[np.int_]) -> pd.Categorical:
    with np.errstate(invalid="ignore", divide="ignore"):
        level = 1 + np.digitize(score / cut, [1.5, 3.0])
    words = np.array(SEVERITIES, dtype=object)[np.where(sense > 0, 0, level)]
    return pd.Categorical(words, categories=list(SEVERITIES), ordered=True)
