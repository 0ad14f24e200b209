"""How metrics go together: pairwise, pooled and within groups."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa

from aggrkit.errors import SchemaError, UnknownNameError
from aggrkit.model.answer import COLUMNS, Answer
from aggrkit.model.schema import Role
from aggrkit.pipeline.aggregate import group_labels
from aggrkit.pipeline.expressions import fetch, label_of
from aggrkit.statistics.correlation import correlation_pvalue, strength, within_groups
from aggrkit.statistics.multiplicity import adjust_pvalues

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aggrkit.model.metric import Metric
    from aggrkit.pipeline.preprocess import Prepared

__all__ = ["METHODS", "Correlate"]

METHODS: Final = ("pearson", "spearman", "kendall")
_WITHIN: Final = (Role.MODEL, Role.HARDWARE, Role.TASK_TYPE, Role.CONDITION)
_PAIRS_AT_ONCE: Final = 24

Pair = tuple[int, int]


@dataclass(frozen=True)
class Correlate:
    """Correlate every two metrics, observation by observation.

    Parameters
    ----------
    methods : tuple of {"pearson", "spearman", "kendall"}, optional
        Which correlations.
    alpha : float, optional
        Level at which an adjusted p-value is significant.
    adjust : str or None, optional
        How p-values are adjusted over the whole table.
    """

    methods: tuple[str, ...] = ("pearson", "spearman")
    alpha: float = 0.05
    adjust: str | None = "fdr_bh"
    name: str = "correlations"

    def __post_init__(self) -> None:
        for method in self.methods:
            if method not in METHODS:
                raise UnknownNameError.of("method", method, METHODS)
        object.__setattr__(self, "methods", tuple(dict.fromkeys(self.methods)))
        adjust_pvalues([], self.adjust)

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with the frame "correlations"."""
        metrics = list(prepared.metrics)
        if len(metrics) < 2:
            names = [metric.name for metric in prepared.schema.metrics]
            raise SchemaError(
                f"a correlation needs two metrics; selected: {[m.name for m in metrics]}, there are: {names}"
            )
        pairs = list(combinations(range(len(metrics)), 2))
        outer, inner = _keyed(prepared, metrics)
        rows = []
        for method in self.methods:
            pooled = _correlations(prepared, outer, metrics, pairs, method)
            within = _correlations(prepared, outer + inner, metrics, pairs, method) if inner else None
            rows.append(self._tidy(prepared, metrics, pairs, method, pooled, within, len(outer)))
        frame = pd.concat(rows, ignore_index=True)
        frame["pvalue_adjusted"] = adjust_pvalues(frame["pvalue"].to_numpy(), self.adjust)
        frame["significant"] = frame["pvalue_adjusted"].lt(self.alpha)
        frame["strength"] = pd.array(strength(frame["correlation"]), dtype="str")
        signs = np.sign(frame["correlation"].fillna(0)).to_numpy().astype(int)
        frame["direction"] = pd.array([{1: "positive", -1: "negative", 0: "none"}[sign] for sign in signs], dtype="str")
        turned = (signs * np.sign(frame["__within"].fillna(0)) < 0) & frame["__within_pvalue"].lt(self.alpha)
        frame["reversed_within_groups"] = turned & frame["pvalue"].lt(self.alpha)
        undefined: dict[str, str] = {}
        for first, second, reason in zip(frame["metric1"], frame["metric2"], frame["__reason"], strict=True):
            if reason:
                undefined[f"{first} and {second}"] = reason
        names = [*prepared.groups, *COLUMNS["correlations"]]
        meta = {"methods": self.methods, "alpha": self.alpha, "adjust": self.adjust or "none", "undefined": undefined}
        return answer.with_frame(
            "correlations", frame[names], **meta, within=[c.name for c in _inner_columns(prepared, metrics)]
        )

    def _tidy(
        self,
        prepared: Prepared,
        metrics: Sequence[Metric],
        pairs: Sequence[Pair],
        method: str,
        pooled: pd.DataFrame,
        within: pd.DataFrame | None,
        outer: int,
    ) -> pd.DataFrame:
        labels = group_labels_of(pooled, list(prepared.groups), outer)
        parts = []
        for i, j in pairs:
            r, n = pooled[f"r{i}_{j}"].to_numpy(float), pooled[f"n{i}_{j}"].to_numpy(float)
            r = np.where(np.isfinite(r), np.clip(r, -1, 1), np.nan)
            inside = _combined(pooled, within, outer, i, j)
            part = labels.copy()
            part["metric1"], part["metric2"], part["method"] = metrics[i].name, metrics[j].name, method
            part["correlation"], part["n"] = r, n.astype(np.int64)
            part["pvalue"] = pooled[f"p{i}_{j}"].to_numpy(float) if method == "kendall" else correlation_pvalue(r, n)
            part["__within"], part["__within_pvalue"] = inside[:, 0], inside[:, 1]
            part["__reason"] = np.where(
                np.isfinite(r), "", np.where(n < 3, "fewer than 3 pairs", "a metric is constant")
            )
            parts.append(part)
        frame = pd.concat(parts, ignore_index=True)
        return frame.astype({"metric1": "str", "metric2": "str", "method": "str"})


def group_labels_of(pooled: pd.DataFrame, names: list[str], outer: int) -> pd.DataFrame:
    """Return the grouping columns of a frame of results."""
    columns = {f"g{k}": pa.array(pooled[f"k{k}"], from_pandas=True) for k in range(outer)}
    if not columns:
        return pd.DataFrame(index=range(len(pooled)))
    return group_labels(pa.table(columns), names)


def _inner_columns(prepared: Prepared, metrics: Sequence[Metric]) -> list[Any]:
    taken = {c.name for c in prepared.groups.values() if c is not None} | {metric.name for metric in metrics}
    return [column for column in prepared.schema.playing(*_WITHIN) if column.name not in taken]


def _keyed(prepared: Prepared, metrics: Sequence[Metric]) -> tuple[list[ibis.Value], list[ibis.Value]]:
    """Return what is grouped by, and what splits a group into parts that are alike."""
    inner = [label_of(prepared.table[column.field]) for column in _inner_columns(prepared, metrics)]
    return list(prepared.group_expressions().values()), inner


def _correlations(
    prepared: Prepared, keys: Sequence[ibis.Value], metrics: Sequence[Metric], pairs: Sequence[Pair], method: str
) -> pd.DataFrame:
    """Return correlation and number of complete pairs of every two metrics, a row per group."""
    named = {f"k{k}": key for k, key in enumerate(keys)}
    values = {f"x{k}": prepared.values(metric) for k, metric in enumerate(metrics)}
    base = prepared.table.select(**named, **values)
    if method == "kendall":
        return _kendall(fetch(base, prepared.label).to_pandas(), list(named), pairs)
    by = list(named)
    frames = []
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = pairs[start : start + _PAIRS_AT_ONCE]
        table, columns = (
            _ranked(base, by, some) if method == "spearman" else (base, {p: (f"x{p[0]}", f"x{p[1]}") for p in some})
        )
        expressions: dict[str, ibis.Value] = {}
        for i, j in some:
            first, second = columns[i, j]
            complete = table[f"x{i}"].notnull() & table[f"x{j}"].notnull()
            left = ibis.ifelse(complete, table[first], ibis.null("float64"))
            right = ibis.ifelse(complete, table[second], ibis.null("float64"))
            expressions[f"n{i}_{j}"] = complete.cast("int64").sum()
            # A constant has no correlation; engines answer it with NaN, null or an error.
            expressions[f"r{i}_{j}"] = ibis.ifelse(
                left.min() < left.max(), left.corr(right, how="pop"), ibis.null("float64")
            )
        grouped = table.group_by(by).aggregate(**expressions) if by else table.aggregate(**expressions)
        ordered = grouped.order_by(by) if by else grouped
        frames.append(fetch(ordered, prepared.label).to_pandas())
    found: pd.DataFrame = pd.concat([frames[0], *(frame.drop(columns=by) for frame in frames[1:])], axis=1)
    return found


def _ranked(base: ibis.Table, by: list[str], pairs: Sequence[Pair]) -> tuple[ibis.Table, dict[Pair, tuple[str, str]]]:
    """Add ranks within group and among complete pairs, ties at their mean."""
    added: dict[str, ibis.Value] = {}
    columns: dict[Pair, tuple[str, str]] = {}
    for i, j in pairs:
        complete = base[f"x{i}"].notnull() & base[f"x{j}"].notnull()
        for which in (i, j):
            value = base[f"x{which}"]
            keys = [*(base[name] for name in by), complete]
            lowest = ibis.rank().over(group_by=keys, order_by=value)
            ties = value.count().over(group_by=[*keys, value])
            added[f"k{i}_{j}_{which}"] = lowest.cast("float64") + ties.cast("float64") / 2
        columns[i, j] = (f"k{i}_{j}_{i}", f"k{i}_{j}_{j}")
    return base.mutate(**added), columns


def _kendall(rows: pd.DataFrame, by: list[str], pairs: Sequence[Pair]) -> pd.DataFrame:
    from scipy.stats import kendalltau

    found = []
    groups = rows.groupby(by, dropna=False, sort=True, observed=True) if by else [((), rows)]
    for key, group in groups:
        line: dict[str, Any] = dict(zip(by, key, strict=True))
        for i, j in pairs:
            both = group[[f"x{i}", f"x{j}"]].dropna()
            line[f"n{i}_{j}"] = len(both)
            varied = len(both) > 1 and (both.nunique() > 1).all()
            result = kendalltau(both[f"x{i}"], both[f"x{j}"]) if varied else None
            line[f"r{i}_{j}"] = np.nan if result is None else float(result.statistic)
            line[f"p{i}_{j}"] = np.nan if result is None else float(result.pvalue)
        found.append(line)
    return pd.DataFrame(found)


def _combined(pooled: pd.DataFrame, within: pd.DataFrame | None, outer: int, i: int, j: int) -> np.ndarray[Any, Any]:
    """Return the correlation within the parts of each group, combined, and its p-value."""
    out = np.full((len(pooled), 2), np.nan)
    if within is None:
        return out
    keys = [f"k{k}" for k in range(outer)]
    r, n = within[f"r{i}_{j}"].to_numpy(float), within[f"n{i}_{j}"].to_numpy(float)
    if not keys:
        out[0] = within_groups(r, n)
        return out
    both = pd.concat([pooled[keys], within[keys]], ignore_index=True)
    number = both.groupby(keys, dropna=False, sort=False, observed=True).ngroup().to_numpy()
    for row in range(len(pooled)):
        mine = number[len(pooled) :] == number[row]
        out[row] = within_groups(r[mine], n[mine])
    return out
