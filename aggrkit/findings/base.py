"""The result frames: tidy pandas frames that can explain themselves."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd

from aggrkit.errors import AggrError, SchemaError, listed
from aggrkit.findings.words import console_width, plain_text, short_number

if TYPE_CHECKING:
    from collections.abc import Callable

    import altair as alt

    from aggrkit.model.answer import Answer, RowsReport

__all__ = ["Finding"]

_SHOWN = 20


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
    def _made(
        cls,
        answer: Answer,
        origin: Callable[[pd.Series[Any]], pd.DataFrame],
        histograms: Callable[[pd.DataFrame, str, int], pd.DataFrame] | None = None,
    ) -> Self:
        finding = cls(answer.frames[cls._name])
        object.__setattr__(finding, "_answer", answer)
        object.__setattr__(finding, "_origin", _Origin(origin, histograms))
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
        label = self._label_of(i)
        return self._source().rows(pd.DataFrame(self).iloc[i].rename(label))

    def chart(self, kind: str | None = None, **options: Any) -> alt.LayerChart:
        """Return a chart of the lines, which shows itself in a notebook.

        Parameters
        ----------
        kind : str, optional
            Which kind of chart, see `chart_kinds`; the first one by default.
        **options
            What the chart needs to know, where it needs to: `metric` for a chart of one metric (by default the first
            one with values), `column`, `statistic`, `method`, `i`, ...

        Returns
        -------
        altair.LayerChart
            It holds aggregated numbers only, and says so where there is nothing to show. `aggrkit.charts.save` writes
            it to a file.

        Raises
        ------
        UnknownNameError
            For a kind, metric or column that doesn't exist; the error lists those that do.
        TypeError
            For an option that this kind of chart doesn't have.

        Examples
        --------
        >>> import pandas as pd, aggrkit
        >>> df = pd.DataFrame({"model": list("aab"), "latency_ms": [1.0, 3.0, 5.0]})
        >>> df.aggr.stats(level="model").chart().description
        'latency_ms of 2 lines: p50 from 2 ms (a) to 5 ms (b).'
        """
        from aggrkit.findings.pictures import drawn

        self._require()
        return drawn(self, kind, options)

    @classmethod
    def chart_kinds(cls) -> tuple[str, ...]:
        """Return the kinds of chart that there are, the default first.

        Examples
        --------
        >>> from aggrkit.findings import Stats
        >>> Stats.chart_kinds()
        ('levels', 'heatmap', 'distribution')
        """
        from aggrkit.findings.pictures import KINDS

        return tuple(KINDS[cls._name])

    def _source(self) -> _Origin:
        if self._origin is None:
            raise AggrError("the observations behind this frame are not at hand; ask the source again")
        return self._origin

    def _label_of(self, i: int) -> Any:
        """Return the label that the line at a position had when it was made, or None."""
        self._known()
        self._require()
        if not -len(self) <= i < len(self):
            raise IndexError(f"there is no line {i}: the frame has {len(self)}")
        return self.iloc[[i]]._made_at()[0]

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
            max_rows=_SHOWN, min_rows=_SHOWN, float_format=short_number, na_rep="-", line_width=console_width()
        )
        if not self._is_whole():
            return body
        head = self._headline()
        return f"{head}\n{body}" if len(self) else f"{head}\n(no lines)"

    def _repr_html_(self) -> str:
        shown = pd.DataFrame(self).head(_SHOWN)
        table = shown.to_html(float_format=short_number, na_rep="-", border=0, index=False, escape=True)
        more = f"<p>{len(self) - _SHOWN:,} more lines</p>" if len(self) > _SHOWN else ""
        if not self._is_whole():
            return table + more
        head, *others = self.explain().split("\n")
        said = "".join(f"<li>{html.escape(line)}</li>" for line in others if line)
        asked = "".join(
            f"<tr><th>{html.escape(str(key))}</th><td>{html.escape(plain_text(value))}</td></tr>"
            for key, value in self.meta.items()
        )
        style = "color:var(--jp-ui-font-color1,inherit);overflow-x:auto"
        return (
            f'<div class="aggrkit-finding" style="{style}"><p><strong>{html.escape(head)}</strong></p>{table}{more}'
            f"{f'<ul>{said}</ul>' if said else ''}"
            f"<details><summary>What was asked, and how</summary><table>{asked}</table></details></div>"
        )


class _Origin:
    """The way back to the observations; it stays behind when a frame is pickled."""

    def __init__(
        self,
        rows: Callable[[pd.Series[Any]], pd.DataFrame] | None = None,
        histograms: Callable[[pd.DataFrame, str, int], pd.DataFrame] | None = None,
    ) -> None:
        self._rows = rows
        self._histograms = histograms

    def rows(self, line: pd.Series[Any]) -> pd.DataFrame:
        """Return the observations of a line."""
        return _there(self._rows)(line)

    def histograms(self, lines: pd.DataFrame, metric: str, bins: int) -> pd.DataFrame:
        """Return the histograms of the groups of some lines."""
        return _there(self._histograms)(lines, metric, bins)

    def __reduce__(self) -> tuple[type[_Origin], tuple[()]]:
        return _Origin, ()

    def __deepcopy__(self, memo: object) -> _Origin:
        return self


def _there(function: Callable[..., pd.DataFrame] | None) -> Callable[..., pd.DataFrame]:
    if function is None:
        raise AggrError("the observations behind this frame stayed where it was made; ask the source again")
    return function


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
