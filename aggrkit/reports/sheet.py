"""What the notebooks of reports are written with: a source, a selection, and what is asked of them."""

from __future__ import annotations

import inspect
import platform
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.errors import EmptySelectionError, SchemaError, TooFewObservationsError, UnknownNameError
from aggrkit.findings import Calibration, Comparison, Finding
from aggrkit.findings.words import plain_text, signed
from aggrkit.model.schema import Role
from aggrkit.reports.pieces import Piece, Table, figures, paragraphs, stacked, verdict
from aggrkit.reports.tables import TITLES, table_of
from aggrkit.reports.verdicts import said_of, worst

if TYPE_CHECKING:
    from collections.abc import Mapping

    import altair as alt

    from aggrkit.analysis import Analysis
    from aggrkit.model.selection import Selection
    from aggrkit.panel.offer import Offer

__all__ = ["Sheet", "Unanswered"]

_NO_ANSWER: Final = (SchemaError, UnknownNameError, EmptySelectionError, TooFewObservationsError)
_TOLD: Final = 4
_MOST_CHARTS: Final = 3
_COUNTED: Final = {Role.MODEL: "models", Role.HARDWARE: "devices", Role.WORKER: "workers", Role.RUN: "runs"}
_PARAMETERS: Final = (
    *("method", "alpha", "threshold", "margin", "adjust", "false_alarm", "confidence", "statistic", "unit"),
)
_SIZES: Final = ("change_pct", "smallest_pct", "largest_pct")
_MOST_INCIDENTS: Final = 10
_LIBRARIES: Final = ("aggrkit", "pandas", "numpy", "duckdb", "ibis-framework", "scipy", "statsmodels", "altair")


@dataclass(frozen=True)
class Unanswered:
    """A question that these results have no answer to.

    Parameters
    ----------
    question : str
        What was asked.
    reason : str
        Why there is none.
    """

    question: str
    reason: str

    def chart(self, kind: str | None = None, **options: Any) -> Piece:
        """Return what is said in place of a chart."""
        return Table(_title(self.question), (), (), note=f"Not answered: {self.reason}").piece()


@dataclass
class Sheet:
    """A report that is being written: answers to questions, in the order in which they were asked.

    Parameters
    ----------
    title : str
        Heading of the page.
    results : Analysis or Unanswered
        The results; or why there are none to be asked.
    selection : Selection
        What is asked of them.
    asked : mapping
        The selection as the arguments of a question.
    source : mapping
        Where the results are, and how they are called.
    """

    title: str
    results: Analysis | Unanswered
    selection: Selection
    asked: Mapping[str, Any]
    source: Mapping[str, Any]
    offer: Offer | None = None
    answers: list[Finding | Unanswered] = field(default_factory=list)

    def ask(self, question: str, **arguments: Any) -> Finding | Unanswered:
        """Ask a question of the results: a method of ``df.aggr`` by its name, of the selection of the report.

        Parameters
        ----------
        question : str
            "stats", "compare", "changes", ...
        **arguments
            What else the method is told; arguments that are None are left to the method.

        Returns
        -------
        Finding or Unanswered
            The answer; where the results have none, such as changes over time of results without times, the reason.
        """
        answer: Finding | Unanswered
        if isinstance(self.results, Unanswered):
            answer = Unanswered(question, self.results.reason)
        else:
            method = getattr(self.results, question)
            takes = inspect.signature(method).parameters
            said = {name: value for name, value in self.asked.items() if name in takes}
            said |= {name: value for name, value in arguments.items() if value is not None}
            if question == "proportions":
                said["metrics"] = self._pass_fail(said["metrics"])
            try:
                answer = method(**said)
            except _NO_ANSWER as error:
                answer = Unanswered(question, str(error))
        self.answers.append(answer)
        return answer

    def _pass_fail(self, metrics: Any) -> Any:
        """Return those of the metrics that pass or fail; all of them where there is none, for the reason to be said."""
        named = [metrics] if isinstance(metrics, str) else metrics
        rates = [metric.name for metric in self.offer.schema.metrics if metric.is_proportion] if self.offer else []
        return [name for name in named if name in rates] or metrics if named else metrics

    def compare(
        self, baseline: Any, current: Any = None, by: str | None = None, **arguments: Any
    ) -> Finding | Unanswered:
        """Compare two sides, as ``df.aggr.compare``; without `by`, a text is a span such as "7D"."""
        return self.ask("compare", **_sides(baseline, current, by), **arguments)

    def calibrate(self, repeats: int, **arguments: Any) -> Finding | Unanswered:
        """Say how often a comparison on these results cries wolf, of their first metric; `repeats` 0: don't."""
        if repeats < 1:
            answer = Unanswered("calibration", "it wasn't asked for (repeats is 0)")
            self.answers.append(answer)
            return answer
        sides = {name: arguments.pop(name, None) for name in ("baseline", "current", "by")}
        first = self.asked["metrics"] or [metric.name for metric in self.offer.schema.metrics] if self.offer else None
        names = [first] if isinstance(first, str) else list(first or [])[:1] or None
        return self.ask("calibrate", **_sides(**sides), **arguments, metrics=names, repeats=repeats, progress=False)

    def headline(self, *answers: Finding | Unanswered) -> Piece:
        """Return the head of the page: the verdict of the answers that matter most, and the key figures."""
        if isinstance(self.results, Unanswered):
            return _head(verdict(self.title, "none", [_sentence(self.results.reason)]), self.figures())
        said = [(*said_of(answer), answer) for answer in answers if isinstance(answer, Finding)]
        tone = worst(tone for tone, *_ in said)
        order = sorted(range(len(said)), key=lambda place: (said[place][0] != tone, place))
        lines = [said[place][1] for place in order] or ["These results answer none of the questions of this report."]
        return _head(verdict(self.title, tone, lines), self.figures())

    def figures(self) -> Piece:
        """Return the key figures: how much of what was looked at, and from when."""
        found: dict[str, str] = {}
        rows = next((meta["rows"] for answer in self.answers if (meta := _counted(answer)) is not None), None)
        found["observations"] = (
            f"{rows:,}" if rows is not None else "0" if self.offer is None else f"{self.offer.rows:,}"
        )
        if self.offer is not None and not isinstance(self.results, Unanswered):
            known = [column for role in _COUNTED if (column := self.offer.schema.role(role)) is not None]
            found |= self._counts(
                self.results, [column.name for column in known], [_COUNTED[column.role] for column in known]
            )
            asked = self.asked["metrics"]
            found["metrics"] = str(1 if isinstance(asked, str) else len(asked or self.offer.schema.metrics))
            if self.offer.first is not None and self.offer.last is not None:
                found["from"], found["to"] = (f"{end:%Y-%m-%d}" for end in (self.offer.first, self.offer.last))
        return figures(found)

    def _counts(self, results: Analysis, columns: list[str], labels: list[str]) -> dict[str, str]:
        try:
            found = results.distributions(
                columns, level=(), where=self.asked["where"], time_range=self.asked["time_range"], max_values=1_000_000
            )
        except _NO_ANSWER:
            return {}
        many = pd.DataFrame(found).groupby("column", observed=True)["unique_values"].first()
        return {label: f"{int(many[name]):,}" for name, label in zip(columns, labels, strict=True) if name in many}

    def findings(self) -> Piece:
        """Return all findings in words, the first sentences of each."""
        said: dict[str, list[str]] = {}
        for answer in self.answers:
            if isinstance(answer, Finding) and not isinstance(answer, Calibration):
                said[TITLES[answer._name]] = answer._sentences()[:_TOLD]
        silent = [
            a for a in self.answers if isinstance(a, Unanswered) and a.question not in ("calibrate", "calibration")
        ]
        if silent:
            reasons: dict[str, list[str]] = {}
            for answer in silent:
                reasons.setdefault(_sentence(answer.reason), []).append(_title(answer.question).lower())
            said["Not answered"] = [f"{', '.join(names).capitalize()}: {why}" for why, names in reasons.items()]
        return paragraphs(said)

    def charts(self, answer: Finding | Unanswered, kind: str | None = None, most: int = _MOST_CHARTS) -> None:
        """Show a kind of chart of an answer, one for each of its first metrics."""
        from IPython.display import display

        if isinstance(answer, Unanswered) or not len(answer):
            return
        counted_lines = pd.DataFrame(answer)
        shown = counted_lines[counted_lines["n"].gt(0)]["metric"]
        numbers = counted_lines[counted_lines["unit"].ne("proportion")]["metric"] if "unit" in answer else shown
        for metric in [name for name in dict.fromkeys(shown) if name in set(numbers)][:most]:
            try:
                display(answer.chart(kind, metric=metric))  # type: ignore[no-untyped-call]
            except (SchemaError, UnknownNameError):
                return  # this kind needs columns that the level doesn't have

    def chart(self, answer: Finding | Unanswered, kind: str | None = None, **options: Any) -> alt.LayerChart | None:
        """Return a chart of an answer; none where it has nothing to show."""
        if isinstance(answer, Unanswered) or not len(answer):
            return None
        try:
            return answer.chart(kind, **options)
        except (SchemaError, UnknownNameError):
            return None

    def table(self, answer: Finding | Unanswered, most: int = 20) -> Piece | None:
        """Return the first lines of an answer as a table."""
        if isinstance(answer, Unanswered):
            return None
        return table_of(answer, most).piece()

    def incidents(self, answer: Finding | Unanswered) -> Piece | None:
        """Return what the changed lines of a comparison have in common."""
        if not isinstance(answer, Comparison) or not len(found := answer.incidents()):
            return None
        columns = ("verdict", "what", "lines", "of", "median, %", "from", "to")
        rows = [
            (str(line["verdict"]), str(line["slice"]), f"{line['lines']:,}", f"{line['of']:,}")
            + tuple("" if pd.isna(line[name]) else signed(line[name]) for name in _SIZES)
            for _, line in found.head(_MOST_INCIDENTS).iterrows()
        ]
        return Table("What the changes have in common", columns, rows, frozenset(range(2, 7))).piece()

    def undecided(self, answer: Finding | Unanswered) -> Piece | None:
        """Return the lines of a comparison that can't be told yet, those that need the fewest runs first."""
        if not isinstance(answer, Comparison):
            return None
        open_lines = answer[answer["verdict"].eq("undecided") & answer["runs_needed"].notna()]
        if not len(open_lines):
            return None
        made = table_of(open_lines.sort_values("runs_needed", kind="stable"))
        return replace(made, title="Not decided yet: how many runs a side would settle it").piece()

    def trust(self, answer: Finding | Unanswered) -> Piece:
        """Return how far a comparison on these results can be trusted, in words and numbers."""
        if isinstance(answer, Unanswered):
            return paragraphs({TITLES["calibration"]: [f"Not tried: {answer.reason}"]})
        return stacked([paragraphs({TITLES["calibration"]: answer.explain().split("\n")}), table_of(answer).piece()])

    def method(self) -> Piece:
        """Return how each answer was reached: all that it says of itself, with its parameters."""
        said = {}
        for answer in self.answers:
            if isinstance(answer, Finding):
                lines = [] if isinstance(answer, Calibration) else answer._sentences()[_TOLD:]
                used = {name: value for name, value in answer.meta.items() if _is_parameter(name, value)}
                parameters = ", ".join(f"{name} {plain_text(value)}" for name, value in used.items())
                said[TITLES[answer._name]] = [*lines, *([f"Parameters: {parameters}."] if parameters else [])]
        return paragraphs({title: lines for title, lines in said.items() if lines})

    def provenance(self) -> Piece:
        """Return where the results come from: source, rows in and out by reason, versions, hash of the input."""
        lines = [("source", str(self.source["label"]))]
        if self.source.get("table"):
            lines.append(("table", str(self.source["table"])))
        lines.append(("SHA-256 of the source", str(self.source["hash"])))
        if self.source.get("options"):
            lines.append(("roles and options", plain_text(dict(self.source["options"]))))
        lines.append(("selection", repr(self.selection)))
        meta = next((meta for answer in self.answers if (meta := _counted(answer)) is not None), None)
        if meta is not None:
            lines += [("observations selected", f"{meta['rows']:,}"), ("observations used", f"{meta['rows_used']:,}")]
            lines += [(f"rows taken out: {why}", f"{count:,}") for why, count in meta["rows_out"].items()]
            lines += [(f"values taken out: {why}", f"{count:,}") for why, count in meta["cells_out"].items()]
            lines += [("note", note) for note in meta["notes"]]
        lines += [("Python", platform.python_version()), ("made", f"{pd.Timestamp.now('UTC'):%Y-%m-%d %H:%M} UTC")]
        lines += [(name, metadata.version(name)) for name in _LIBRARIES]
        return Table("", ("", ""), lines).piece()

    def recognised(self) -> Piece | None:
        """Return which column was taken for what, and why."""
        if self.offer is None:
            return None
        rows = [(column.name, column.role.value, column.reason) for column in self.offer.schema.columns]
        return Table("What the columns were taken for", ("column", "role", "why"), rows).piece()


def _sides(baseline: Any, current: Any, by: str | None) -> dict[str, Any]:
    """Return the sides as `compare` takes them: without a column, a text is a span of time."""
    if by is None and isinstance(baseline, str):
        try:
            baseline = pd.Timedelta(baseline)
        except ValueError as error:
            raise UnknownNameError(
                f"the baseline {baseline!r} is no span of time such as '7D'; where it is a value of a column, "
                "say which: by='...'"
            ) from error
    return {"baseline": baseline, "current": current, "by": by}


def _head(*pieces: Piece) -> Piece:
    """Return the verdict with the figures below it; what programs read of the verdict stays."""
    whole = stacked(pieces)
    return Piece(whole.html, whole.markdown, pieces[0].data)


def _title(question: str) -> str:
    return TITLES.get(question, question)


def _counted(answer: Finding | Unanswered) -> dict[str, Any] | None:
    """Return what an answer says of the rows that it rests on, where it says so."""
    meta = answer.meta if isinstance(answer, Finding) else {}
    return meta if "rows" in meta else None


def _is_parameter(name: str, value: object) -> bool:
    return name in (
        "method",
        "alpha",
        "threshold",
        "margin",
        "adjust",
        "false_alarm",
        "confidence",
        "statistic",
        "unit",
    ) and (value is not None and value != "")


def _sentence(text: str) -> str:
    said = text[:1].upper() + text[1:]
    return said if said.endswith((".", "!", "?")) else f"{said}."
