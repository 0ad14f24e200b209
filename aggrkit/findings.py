"""The result frames: tidy pandas frames that can explain themselves."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd

from aggrkit.errors import AggrError, SchemaError, listed
from aggrkit.model.answer import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable

    from aggrkit.model.answer import Answer, RowsReport

__all__ = [
    "Anomalies",
    "Comparison",
    "Correlations",
    "Differences",
    "Distributions",
    "Finding",
    "Proportions",
    "Stats",
    "Trends",
]

_SHOWN = 20
_MANY = 5


class Finding(pd.DataFrame):
    """A tidy frame that knows what was asked, and what it rests on.

    It is a pandas DataFrame: filter, sort and save it as one. `meta` and the methods below survive filtering, sorting
    and copying; after an operation that drops the columns they need (a merge, a transposition) they say so.

    Attributes
    ----------
    meta : dict
        Selection, source, engine, method and its parameters, and rows in and out by reason.
    """

    _metadata: ClassVar[list[str]] = ["_answer", "_origin"]
    _name: ClassVar[str] = ""
    _answer: Answer | None
    _origin: _Origin | None

    @property
    def _constructor(self) -> Callable[..., Finding]:
        return type(self)

    @classmethod
    def _made(cls, answer: Answer, origin: Callable[[pd.Series[Any]], pd.DataFrame]) -> Self:
        finding = cls(answer.frames[cls._name])
        object.__setattr__(finding, "_answer", answer)
        object.__setattr__(finding, "_origin", _Origin(origin))
        return finding

    @property
    def meta(self) -> dict[str, Any]:
        """What was asked and how it was answered, as a dictionary of plain values."""
        answer = self._known()
        rows = answer.rows
        counted = {} if rows is None else _rows_meta(rows)
        return {"selection": answer.selection, **counted, **answer.meta}

    def explain(self) -> str:
        """Return the finding in words: the numbers, what they rest on, and what to do next.

        Returns
        -------
        str
            A few sentences, one per line.
        """
        self._require()
        return "\n".join((*self._sentences(), *_row_sentences(self._known().rows)))

    def rows(self, i: int) -> pd.DataFrame:
        """Return the observations behind a line.

        Parameters
        ----------
        i : int
            Position of the line, from 0; negative from the end.

        Returns
        -------
        pandas.DataFrame
            The rows of the source as they are, invalid values and second copies included.

        Raises
        ------
        IndexError
            If there is no such line.
        """
        self._known()
        self._require()
        if not -len(self) <= i < len(self):
            raise IndexError(f"there is no line {i}: the frame has {len(self)}")
        if self._origin is None:
            raise AggrError("the observations behind this frame are not at hand; ask the source again")
        line = pd.DataFrame(self).iloc[i]
        return self._origin(line.rename(self.iloc[[i]]._made_at()[0]))

    def _made_at(self) -> list[Any]:
        """Return the label that each line had when it was made, however it was sorted and numbered since; or None."""
        made = self._known().frames[self._name]
        keys = _contents(pd.DataFrame(self)[list(made.columns)])
        if keys == _contents(made.reindex(self.index)):
            return list(self.index)
        found: dict[Any, list[Any]] = {}
        for label, key in zip(made.index, _contents(made), strict=True):
            found.setdefault(key, []).append(label)
        places = []
        for label, key in zip(self.index, keys, strict=True):
            candidates = found.get(key, [None])
            places.append(label if label in candidates else candidates[0])
        return places

    def _sentences(self) -> list[str]:
        return []

    def _headline(self) -> str:
        return next(iter(self._sentences()), "")

    def _known(self) -> Answer:
        answer: Answer | None = getattr(self, "_answer", None)
        if answer is None:
            raise AggrError(
                "this frame was put together from others and no longer knows what was asked; use the original"
            )
        return answer

    def _require(self) -> None:
        needed = [*self._known().frames[self._name].columns]
        missing = [column for column in needed if column not in self.columns]
        if missing:
            raise SchemaError(f"this frame lacks columns of {type(self).__name__}: {listed(missing)}; use the original")

    def _is_whole(self) -> bool:
        answer = getattr(self, "_answer", None)
        return answer is not None and set(answer.frames[self._name].columns) <= set(self.columns)

    def __repr__(self) -> str:
        body = pd.DataFrame(self).to_string(
            max_rows=_SHOWN, min_rows=_SHOWN, float_format=_number, na_rep="-", line_width=_width()
        )
        if not self._is_whole():
            return body
        head = self._headline()
        return f"{head}\n{body}" if len(self) else f"{head}\n(no lines)"

    def _repr_html_(self) -> str:
        shown = pd.DataFrame(self).head(_SHOWN)
        table = shown.to_html(float_format=_number, na_rep="-", border=0, index=False, escape=True)
        more = f"<p>{len(self) - _SHOWN:,} more lines</p>" if len(self) > _SHOWN else ""
        if not self._is_whole():
            return table + more
        head, *others = self.explain().split("\n")
        said = "".join(f"<li>{html.escape(line)}</li>" for line in others if line)
        asked = "".join(
            f"<tr><th>{html.escape(str(key))}</th><td>{html.escape(_plain(value))}</td></tr>"
            for key, value in self.meta.items()
        )
        style = "color:var(--jp-ui-font-color1,inherit);overflow-x:auto"
        return (
            f'<div class="aggrkit-finding" style="{style}"><p><strong>{html.escape(head)}</strong></p>{table}{more}'
            f"{f'<ul>{said}</ul>' if said else ''}"
            f"<details><summary>What was asked, and how</summary><table>{asked}</table></details></div>"
        )


class Stats(Finding):
    """Descriptive statistics, a row per group and metric."""

    _name = "stats"

    def _sentences(self) -> list[str]:
        if not len(self):
            return ["No statistics."]
        groups = _group_names(self)
        count = self[groups].drop_duplicates().shape[0] if groups else 1
        metrics = list(dict.fromkeys(self["metric"]))
        lines = [f"{_count(count, 'group')} by {_by(groups)}, {_count(len(metrics), 'metric')}: {_some(metrics)}."]
        thin = self[self["n"].between(1, _MANY - 1)]
        if len(thin):
            lines.append(
                f"{len(thin)} of {len(self)} lines rest on fewer than {_MANY} values; their percentiles say little."
            )
        empty = int((self["n"] == 0).sum())
        if empty:
            lines.append(f"{_count(empty, 'line')} without any value: the metric isn't recorded there.")
        return lines


class Proportions(Finding):
    """Pass rates with Wilson intervals, a row per group and metric."""

    _name = "proportions"

    def _sentences(self) -> list[str]:
        told = self[self["n"] > 0]
        if not len(told):
            return ["No observation passed or failed."]
        failing = told[told["failures"] > 0]
        total = int(told["n"].sum())
        lines = [
            (
                f"{total:,} results, {100 * told['successes'].sum() / total:.1f} % passed; "
                f"{len(failing)} of {len(told)} lines have failures."
            )
        ]
        if len(failing):
            worst = failing.sort_values("ci_upper").iloc[0]
            lines.append(
                f"Surely worst: {_line_name(self, worst)}, {100 * worst['rate']:.1f} % of {worst['n']:,} "
                f"(95 % interval {100 * worst['ci_lower']:.1f} to {100 * worst['ci_upper']:.1f} %)."
            )
        return lines


class Distributions(Finding):
    """How often each value of a describing column occurs, a row per group, column and value."""

    _name = "distributions"

    def _sentences(self) -> list[str]:
        columns = list(dict.fromkeys(self["column"]))
        lines = [f"{_count(len(columns), 'column')} described: {_some(columns)}."]
        skipped = self.meta.get("skipped", {})
        if skipped:
            lines.append("Left out: " + "; ".join(f"{name} ({why})" for name, why in skipped.items()) + ".")
        return lines


class Anomalies(Finding):
    """Observations that don't belong to their cell, a row each."""

    _name = "anomalies"

    def _sentences(self) -> list[str]:
        meta = self.meta
        cells = meta["cells_tested"]
        if not meta["too_few"]:
            return ["No metric that is a number: a single failure is no anomaly; compare() finds changed pass rates."]
        lines = [
            (
                f"{_count(len(self), 'anomaly', 'anomalies')} in {_count(cells, 'cell')} "
                f"tested by method {meta['method']!r}."
            )
        ]
        if len(self):
            sized = pd.DataFrame(self).assign(__size=-self["score"].abs())
            worst = sized.sort_values(["pvalue_adjusted", "__size"], kind="stable").iloc[0]
            lines.append(
                f"Most certain: {worst['metric']} = {_number(worst['value'])} of {_line_name(self, worst)} "
                f"(observation {worst['observation']}), "
                f"expected {_number(worst['lower'])} to {_number(worst['upper'])}."
            )
        if meta["method"] in ("robust", "gesd") and meta["threshold"] is None:
            lines.append(f"In clean data the chance of any false flag over all cells is {100 * meta['alpha']:g} %.")
        elif meta["method"] != "gesd":
            lines.append(
                f"The threshold {meta['threshold']:g} holds no false-alarm rate: the more cells, the more flags."
            )
        if meta["pooled_over"]:
            lines.append(f"Cells were thin: pooled over {_some(meta['pooled_over'])}, by which no metric differs.")
        for metric, (count, largest) in meta["too_few"].items():
            if count:
                example = (
                    f"too few observations (n={largest}, needs {meta['needs']})"
                    if largest < meta["needs"]
                    else f"fewer than {meta['needs']} values"
                )
                lines.append(f"{metric}: {_count(count, 'cell')} not tested, {example}.")
        return lines


class Comparison(Finding):
    """Current against baseline with a verdict, a row per group and metric.

    Attributes
    ----------
    details : pandas.DataFrame
        For the same lines: the design ("runs", "observations", ...), strata, p-value of the rank test (Mann-Whitney,
        or van
        Elteren's over strata), Cliff's delta, heterogeneity, the smallest change that would be found now, and what
        was left out.
    """

    _name = "compare"

    @property
    def details(self) -> pd.DataFrame:
        """What else is known of each line."""
        self._require()
        return self._known().frames["compare_details"].reindex(self._made_at()).set_axis(self.index)

    def _sentences(self) -> list[str]:
        meta = self.meta
        counts = self["verdict"].value_counts()
        told = ", ".join(
            f"{counts[verdict]} {verdict.replace('_', ' ')}"
            for verdict in self["verdict"].cat.categories
            if counts.get(verdict)
        )
        lines = [f"{meta['current']} against {meta['baseline']}: {told or 'nothing to compare'}."]
        for verdict in ("regressed", "improved"):
            some = self[self["verdict"] == verdict]
            if len(some):
                worst = some.loc[some["change_pct"].abs().sort_values(ascending=False).index[0]]
                lines.append(
                    f"Largest {'regression' if verdict == 'regressed' else 'improvement'}: {_change(self, worst)}."
                )
        undecided = self[(self["verdict"] == "undecided") & self["runs_needed"].notna()]
        if len(undecided):
            median = int(undecided["runs_needed"].median())
            lines.append(
                f"{_count(len(undecided), 'line')} can't be decided yet; "
                f"half of them need at most {median} {_unit_of(meta['design'])} a side."
            )
        matched = [name for name in meta["matched_on"] if name]
        lines.append(
            f"Compared like with like on {_some(matched)}."
            if matched
            else "Nothing to match on: sides compared as wholes."
        )
        unlike = self["note"].str.contains("not like with like", regex=False).sum()
        if unlike:
            lines.append(
                f"{_count(int(unlike), 'line')} not like with like: conditions changed with the sides, so no verdict."
            )
        if meta["design"] == "observations":
            lines.append(
                "No run ids: observations were taken as independent; "
                "if several come from one run, alarms are too frequent."
            )
        lines.append(
            f"Margin {_margin(meta['margin'])}, alpha {meta['alpha']:g}, "
            f"p-values adjusted by {meta['adjust']!r} over {len(self._known().frames[self._name])} lines."
        )
        return lines


class Correlations(Finding):
    """Correlations of every two metrics, a row per group, pair and method."""

    _name = "correlations"

    def _sentences(self) -> list[str]:
        significant = self[self["significant"]]
        if not len(self):
            return ["No correlation: there is only one metric."]
        lines = [f"{_count(len(self), 'correlation')}, {len(significant)} of them significant after adjustment."]
        if len(significant):
            best = significant.loc[significant["correlation"].abs().sort_values(ascending=False).index[0]]
            lines.append(
                f"Strongest: {best['metric1']} and {best['metric2']}, "
                f"{best['method']} {best['correlation']:.2f} (n = {best['n']:,})."
            )
        turned = self[self["reversed_within_groups"]]
        if len(turned):
            pair = turned.iloc[0]
            lines.append(
                f"{len(turned)} turn round within groups, e.g. {pair['metric1']} and {pair['metric2']}: "
                "the pooled sign comes from differences between groups, not from within them."
            )
        for pair_name, why in list(self.meta["undefined"].items())[:3]:
            lines.append(f"{pair_name}: undefined, {why}.")
        return lines


class Trends(Finding):
    """The drift of metrics over time, a row per group and metric."""

    _name = "trends"

    def _sentences(self) -> list[str]:
        meta = self.meta
        if not len(self):
            return ["No trends."]
        counts = self["verdict"].value_counts()
        told = ", ".join(
            f"{counts[verdict]} {verdict.replace('_', ' ')}"
            for verdict in self["verdict"].cat.categories
            if counts.get(verdict)
        )
        lines = [f"{_count(len(self), 'line')} over time: {told}."]
        for verdict, words in (("worsening", "Worsens"), ("trending", "Moves"), ("improving", "Improves")):
            some = self[self["verdict"] == verdict]
            if len(some):
                size = some["slope_pct_per_day"].abs().fillna(-1).to_numpy()
                lines.append(f"{words} fastest: {_slope(self, some.iloc[int(size.argmax())])}.")
        few = int(counts.get("too_few", 0))
        if few:
            lines.append(
                f"{_count(few, 'line')} not judged: fewer than 4 distinct times at which like can be compared."
            )
        if meta["untimed"]:
            lines.append(f"{_count(meta['untimed'], 'observation')} without a time left out.")
        if meta["binned"]:
            lines.append(f"{_count(meta['binned'], 'line')} by bins of time: too many values, or passes and failures.")
        lines.append(
            f"Compared like with like on {_some(meta['adjusted_for'])}: each value is taken relative to its like."
            if meta["adjusted_for"]
            else "Nothing to hold fixed: a change of what is run would look like a trend."
        )
        lines.append(
            f"The unit is the {meta['unit']}; units were taken as independent, "
            "and where neighbours go together alarms are more frequent."
        )
        lines.append(
            f"Alpha {meta['alpha']:g}, p-values adjusted by {meta['adjust']!r} "
            f"over {len(self._known().frames[self._name])} lines."
        )
        return lines


class Differences(Finding):
    """How metrics differ by what describes the observations, a row per describing column and metric."""

    _name = "differences"

    def _sentences(self) -> list[str]:
        meta = self.meta
        significant = self[self["significant"]]
        tested = int(self["pvalue"].notna().sum())
        lines = [
            f"{len(significant)} of {tested} differences significant after adjustment."
            if tested
            else "No difference could be tested."
        ]
        sized = significant.sort_values("effect_size", ascending=False, kind="stable")
        lines += [f"{_difference(line)}." for _, line in sized.head(3).iterrows()]
        if len(significant) and (significant["adjusted_for"] == "nothing").any():
            lines.append("Where nothing was held fixed, the difference may be one of something else.")
        for name, why in list(meta["undefined"].items())[:3]:
            lines.append(f"{name}: not tested, {why}.")
        if meta["skipped"]:
            lines.append("Left out: " + "; ".join(f"{name} ({why})" for name, why in meta["skipped"].items()) + ".")
        if meta["counted"] == "observations":
            lines.append(
                "No run ids: observations were taken as independent; "
                "if several come from one run, alarms are too frequent."
            )
        lines.append(
            f"Alpha {meta['alpha']:g}, p-values adjusted by {meta['adjust']!r} "
            f"over {len(self._known().frames[self._name])} lines."
        )
        return lines


class _Origin:
    """The way back to the observations; it stays behind when a frame is pickled."""

    def __init__(self, function: Callable[[pd.Series[Any]], pd.DataFrame] | None) -> None:
        self._function = function

    def __call__(self, line: pd.Series[Any]) -> pd.DataFrame:
        if self._function is None:
            raise AggrError("the observations behind this frame stayed where it was made; ask the source again")
        return self._function(line)

    def __reduce__(self) -> tuple[type[_Origin], tuple[None]]:
        return _Origin, (None,)

    def __deepcopy__(self, memo: object) -> _Origin:
        return self


def _contents(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Return the values of each line, missing ones as None."""
    columns = (column.astype(object).where(column.notna(), None) for _, column in frame.items())
    return list(zip(*columns, strict=True))


def _rows_meta(rows: RowsReport) -> dict[str, Any]:
    return {
        "rows": rows.selected,
        "rows_used": rows.used,
        "rows_out": dict(rows.rows_out),
        "cells_out": dict(rows.cells_out),
        "notes": list(rows.notes),
    }


def _row_sentences(rows: RowsReport | None) -> list[str]:
    if rows is None:
        return []
    lines = [
        f"{rows.used:,} of {rows.selected:,} observations used."
        if rows.rows_out
        else f"{rows.selected:,} observations used."
    ]
    lines += [f"{count:,} rows taken out: {reason}." for reason, count in rows.rows_out.items()]
    lines += [f"{count:,} values taken out: {reason}." for reason, count in rows.cells_out.items()]
    return [*lines, *(f"{note[0].upper()}{note[1:]}." for note in rows.notes)]


def _group_names(finding: Finding) -> list[str]:
    columns = list(finding._known().frames[finding._name].columns)
    return columns[: columns.index(COLUMNS[finding._name][0])]


def _line_name(finding: Finding, line: pd.Series[Any]) -> str:
    names = _group_names(finding)
    return ", ".join(str(line[name]) for name in names) or "all"


def _change(finding: Finding, line: pd.Series[Any]) -> str:
    name = f"{line['metric']} of {_line_name(finding, line)}"
    if pd.isna(line["change_pct"]):
        return f"{name}, from {_number(line['baseline'])} to {_number(line['current'])}"
    unit = "points" if line["unit"] == "proportion" else "%"
    return f"{name}, {line['change_pct']:+,.1f} {unit} ({line['ci_lower']:+,.1f} to {line['ci_upper']:+,.1f})"


def _slope(finding: Finding, line: pd.Series[Any]) -> str:
    name = f"{line['metric']} of {_line_name(finding, line)}"
    span = f"from {line['start']:%Y-%m-%d} to {line['end']:%Y-%m-%d}"
    if pd.isna(line["slope_pct_per_day"]):
        return f"{name}, {_number(line['slope_per_day'])} {line['unit']} per day, {span}"
    unit = "points" if line["unit"] == "proportion" else "%"
    return (
        f"{name}, {line['slope_pct_per_day']:+,.3g} {unit} per day "
        f"({line['ci_lower']:+,.3g} to {line['ci_upper']:+,.3g}), {span}"
    )


def _difference(line: pd.Series[Any]) -> str:
    said = f"{line['metric']} by {line['dimension']}: {line['magnitude']} effect"
    unit = "points" if line["unit"] == "proportion" else "%"
    known = not pd.isna(line["best"])
    first, second = ("best", "worst") if known else ("lowest", "highest")
    apart = "" if pd.isna(line["spread_pct"]) else f", {line['spread_pct']:,.3g} {unit} apart"
    fixed = "" if line["adjusted_for"] == "nothing" else f", with {line['adjusted_for']} held fixed"
    return f"{said}, {first} {line[first]}, {second} {line[second]}{apart}{fixed}"


def _unit_of(design: str) -> str:
    return "runs" if design != "observations" else "observations"


def _by(groups: list[str]) -> str:
    return " and ".join(groups) if groups else "nothing"


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _margin(margin: Any) -> str:
    if isinstance(margin, Mapping):
        return ", ".join(f"{name} {_margin(share)}" for name, share in margin.items())
    return f"{100 * margin:g} %"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(_plain(inner) for inner in value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.4g}" if abs(value) < 1e4 or abs(value) >= 1e15 else f"{value:,.0f}"


def _width() -> int:
    return int(pd.get_option("display.width") or 80)
