"""How metrics go together: pairwise, pooled and within groups."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from aggrkit.errors import UnknownNameError, number_between
from aggrkit.model.answer import COLUMNS, Answer
from aggrkit.model.schema import Role
from aggrkit.pipeline.aggregate import group_labels
from aggrkit.pipeline.expressions import fetch, label_of
from aggrkit.statistics.correlation import (
    correlation_pvalue,
    grouped_correlation,
    grouped_ranks,
    strength,
    within_groups,
)
from aggrkit.statistics.multiplicity import adjust_pvalues

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrkit.model.schema import Column
    from aggrkit.pipeline.prepared import Prepared

__all__ = ["METHODS", "Correlate"]

METHODS: Final = ("pearson", "spearman", "kendall")
_FEWEST_PAIRS: Final = 3
_WITHIN: Final = (Role.MODEL, Role.HARDWARE, Role.TASK_TYPE, Role.CONDITION)


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
        if not self.methods:
            raise UnknownNameError.of("method", "", METHODS)
        number_between(self.alpha, 0, 1, "alpha is a chance between 0 and 1")
        adjust_pvalues([], self.adjust)

    def __call__(self, answer: Answer, prepared: Prepared) -> Answer:
        """Return the answer with the frame "correlations"; without lines where there is only one metric."""
        inner = _parts_of_groups(prepared)
        data = _Paired.of(prepared, inner)
        lines = [
            data.lines(method, i, j)
            for method in self.methods
            for i, j in combinations(range(len(prepared.metrics)), 2)
        ]
        frame = pd.concat(lines, ignore_index=True) if lines else data.no_lines()
        frame["pvalue_adjusted"] = adjust_pvalues(frame["pvalue"].to_numpy(), self.adjust)
        frame["significant"] = frame["pvalue_adjusted"].lt(self.alpha)
        frame["strength"] = pd.array(strength(frame["correlation"]), dtype="str")
        signs = np.sign(frame["correlation"].fillna(0)).to_numpy().astype(int)
        frame["direction"] = pd.array([{1: "positive", -1: "negative", 0: "none"}[sign] for sign in signs], dtype="str")
        turned = (signs * np.sign(frame["__within"].fillna(0)) < 0) & frame["__within_pvalue"].lt(self.alpha)
        frame["reversed_within_groups"] = turned & frame["pvalue"].lt(self.alpha) & frame["__against"].gt(0.5)
        reasons = zip(frame["metric1"], frame["metric2"], frame["__reason"], strict=True)
        return answer.with_frame(
            "correlations",
            frame[[*prepared.groups, *COLUMNS["correlations"]]],
            methods=self.methods,
            alpha=self.alpha,
            adjust=self.adjust or "none",
            undefined={f"{first} and {second}": reason for first, second, reason in reasons if reason},
            within=[column.name for column in inner],
        )


@dataclass(frozen=True)
class _Paired:
    """The values of all metrics, observation by observation, with the group of each and the part of the group.

    Unlike the other questions this one fetches its metrics, 8 bytes a value: ranks need all of them.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    group: NDArray[np.intp]
    part: NDArray[np.intp] | None
    owner: NDArray[np.intp]
    labels: pd.DataFrame

    @classmethod
    def of(cls, prepared: Prepared, inner: list[Column]) -> _Paired:
        """Fetch the metrics, and number the groups and their parts."""
        outer = {f"g{k}": key for k, key in enumerate(prepared.group_expressions().values())}
        parts = {f"p{k}": label_of(prepared.table[column.field]) for k, column in enumerate(inner)}
        wanted = {f"x{k}": prepared.values(metric) for k, metric in enumerate(prepared.metrics)}
        found = fetch(prepared.table.select(**outer, **parts, **wanted), prepared.label)
        values = np.array([found[name].to_numpy() for name in wanted], dtype=np.float64)
        keys = pd.DataFrame({name: _codes(found[name]) for name in (*outer, *parts)}, index=range(found.num_rows))
        group = _numbers(keys[list(outer)])
        first = np.unique(group, return_index=True)[1]
        labels = group_labels(found.take(first), list(prepared.groups))
        order = (
            labels.sort_values(list(labels.columns)).index.to_numpy() if len(labels.columns) else np.arange(len(labels))
        )
        place = np.empty(len(order), dtype=np.intp)
        place[order] = np.arange(len(order))
        group, labels = place[group], labels.loc[order].reset_index(drop=True)
        part = _numbers(keys) if parts else None
        owner = np.zeros(0 if part is None else int(part.max(initial=-1)) + 1, dtype=np.intp)
        if part is not None:
            owner[part] = group
        return cls(tuple(metric.name for metric in prepared.metrics), values, group, part, owner, labels)

    def lines(self, method: str, i: int, j: int) -> pd.DataFrame:
        """Return a line per group for two metrics."""
        both = np.isfinite(self.values[i]) & np.isfinite(self.values[j])
        x, y, group = self.values[i][both], self.values[j][both], self.group[both]
        n = np.bincount(group, minlength=len(self.labels))
        r, pvalue = _correlated(method, x, y, group, len(self.labels))
        inside, certainty = np.full((2, len(self.labels)), np.nan)
        against = np.zeros(len(self.labels))
        if self.part is not None:
            part = self.part[both]
            within, _ = _correlated(method, x, y, part, len(self.owner))
            size = np.bincount(part, minlength=len(self.owner))
            inside, certainty = within_groups(within, size, self.owner, len(self.labels))
            told = np.isfinite(within) & (size > _FEWEST_PAIRS)
            opposed = told & (within * r[self.owner] < 0)
            with np.errstate(invalid="ignore", divide="ignore"):
                against = np.bincount(self.owner, opposed, len(n)) / np.bincount(self.owner, told, len(n))
        return self.labels.assign(
            metric1=pd.array([self.names[i]] * len(n), dtype="str"),
            metric2=pd.array([self.names[j]] * len(n), dtype="str"),
            method=pd.array([method] * len(n), dtype="str"),
            correlation=r,
            pvalue=pvalue,
            n=n,
            __within=inside,
            __within_pvalue=certainty,
            __against=against,
            __reason=np.where(np.isfinite(r), "", np.where(n < 3, "fewer than 3 pairs", "a metric is constant")),
        )

    def no_lines(self) -> pd.DataFrame:
        """Return a frame without lines, for a single metric."""
        texts = dict.fromkeys(("metric1", "metric2", "method", "__reason"), "str")
        numbers = dict.fromkeys(("correlation", "pvalue", "__within", "__within_pvalue", "__against"), "float64") | {
            "n": "int64"
        }
        empty = pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in (texts | numbers).items()})
        return pd.concat([self.labels.head(0), empty], axis=1)


def _correlated(
    method: str, x: NDArray[np.float64], y: NDArray[np.float64], group: NDArray[np.intp], groups: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return correlation and p-value of complete pairs, by group."""
    n = np.bincount(group, minlength=groups)
    if method == "kendall":
        return _kendall(x, y, group, groups)
    if method == "spearman":
        x, y = grouped_ranks(x, group), grouped_ranks(y, group)
    r = grouped_correlation(x, y, group, groups)
    return r, correlation_pvalue(r, n)


def _kendall(
    x: NDArray[np.float64], y: NDArray[np.float64], group: NDArray[np.intp], groups: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    from scipy.stats import kendalltau

    r, pvalue = np.full((2, groups), np.nan)
    order = np.argsort(group, kind="stable")
    numbers, starts = np.unique(group[order], return_index=True)
    for number, members in zip(numbers, np.split(order, starts[1:]) if len(order) else [], strict=True):
        if len(members) > 1 and np.ptp(x[members]) > 0 and np.ptp(y[members]) > 0:
            found = kendalltau(x[members], y[members])
            r[number], pvalue[number] = found.statistic, found.pvalue
    return r, pvalue


def _parts_of_groups(prepared: Prepared) -> list[Column]:
    """Return the columns that split a group into parts that are alike."""
    taken = {c.name for c in prepared.groups.values() if c is not None} | {metric.name for metric in prepared.metrics}
    return [column for column in prepared.schema.playing(*_WITHIN) if column.name not in taken]


def _codes(column: Any) -> NDArray[np.int64]:
    """Return a number for each value of a column; missing ones have one of their own."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _numbers(keys: pd.DataFrame) -> NDArray[np.intp]:
    """Return a number for each combination of codes."""
    if not len(keys.columns):
        return np.zeros(len(keys), dtype=np.intp)
    grouped = keys.groupby(list(keys.columns), sort=False, observed=True)
    return grouped.ngroup().to_numpy().astype(np.intp)
