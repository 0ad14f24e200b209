"""The gate: whether a comparison lets a release pass, and what it says of that."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from aggrkit.errors import EmptySelectionError
from aggrkit.findings.gate.incidents import Incident, incidents_of
from aggrkit.findings.gate.judging import OUTCOMES, judged
from aggrkit.findings.gate.rules import Rules
from aggrkit.findings.gate.saying import missing_words, moved_words, notes_of, undecided_words
from aggrkit.findings.gate.wording import clean
from aggrkit.findings.words import group_names, verdict_counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aggrkit.findings.comparison import Comparison

__all__ = ["Gate", "gate_of", "gate_without_data"]

_OPEN: Final = 0
_REGRESSED: Final = 1
_NO_DATA: Final = 3


@dataclass(frozen=True, eq=False, repr=False)
class Gate:
    """Whether a comparison lets a release pass; true if it does.

    Made by `Comparison.gate`. It can't be changed.

    Attributes
    ----------
    passed : bool
        Whether it is open.
    exit_code : int
        For the shell: 0 open, 1 closed by changes, 3 closed as there are no data to tell.
    headline : str
        The answer in a line.
    reasons : tuple of str
        Why it is closed; empty if it is open.
    incidents : tuple of Incident
        What stands in the way, one line each as text.
    notes : tuple of str
        What else to know: what was let pass, what is undecided or missing, and how small a change can be seen.
    counts : mapping of str to int
        How many lines had each outcome, see `lines`.
    rules : Rules
        What was asked for.
    meta : mapping
        That of the comparison.
    method : tuple of str
        The comparison in words, line by line.
    """

    passed: bool
    exit_code: int
    headline: str
    reasons: tuple[str, ...]
    incidents: tuple[Incident, ...]
    notes: tuple[str, ...]
    counts: Mapping[str, int]
    rules: Rules
    meta: Mapping[str, Any]
    method: tuple[str, ...]
    groups: tuple[str, ...]
    _lines: pd.DataFrame = field(repr=False)

    @property
    def lines(self) -> pd.DataFrame:
        """The lines of the comparison with ``outcome`` and ``why``, a copy.

        Outcomes: "fails" (counts against the gate), "missing" (the current side has no data), "permitted" (would fail,
        and so many may), "expected" (on the allow list), "tolerated" (by its metric), "small" (below the smallest
        effect), "open" (undecided, or changed where no direction is better), "new" (the baseline has no data), "empty"
        (neither has), "passes" (improved or equivalent).
        """
        return self._lines.copy()

    def explain(self) -> str:
        """Return the answer in words: why, what stands in the way, what else to know, and how it was reached.

        Returns
        -------
        str
            A sentence or an incident per line.
        """
        told = [f"  {incident}" for incident in self.incidents]
        return "\n".join([self.headline, *self.reasons, *told, *self.notes, *self.method])

    def to_markdown(self) -> str:
        """Return a summary for a pull request, in GitHub's Markdown and short enough for a comment there.

        Returns
        -------
        str
            Less than 60,000 characters; names can't break out of it, nor mention anybody.
        """
        from aggrkit.findings.gate.markdown import markdown

        return markdown(self)

    def to_junit(self) -> str:
        """Return a JUnit report: a test case for each line.

        Returns
        -------
        str
            XML that Jenkins' and Maven Surefire's schemas accept. What fails is a failure, what is missing an error
            (skipped, where that is a warning only), and what could not be told or was let pass is skipped.
        """
        from aggrkit.findings.gate.junit import junit

        return junit(self)

    def to_json(self, indent: int | None = 2) -> str:
        """Return everything as JSON, for which `aggrkit.findings.gate.gate_schema` is the schema.

        Parameters
        ----------
        indent : int or None, optional
            By how much lines are indented; None for a single line.
        """
        from aggrkit.findings.gate.record import as_json

        return as_json(self, indent)

    def __post_init__(self) -> None:
        for name in ("counts", "meta"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __reduce__(self) -> tuple[Any, ...]:
        values = (getattr(self, each.name) for each in fields(self))
        return Gate, tuple(dict(value) if isinstance(value, MappingProxyType) else value for value in values)

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        told = [*self.reasons, *(f"  {incident}" for incident in self.incidents[:_SHOWN])]
        more = len(self.incidents) - _SHOWN
        return "\n".join([self.headline, *told, *([f"  and {more:,} more"] if more > 0 else []), *self.notes])

    def _repr_html_(self) -> str:
        from aggrkit.findings.gate.page import html_of

        return html_of(self)

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


_SHOWN: Final = 20


def gate_of(comparison: Comparison, rules: Rules) -> Gate:
    """Judge a comparison.

    Parameters
    ----------
    comparison : Comparison
        All of its lines, or those that are to be judged.
    rules : Rules
        What closes the gate.

    Raises
    ------
    EmptySelectionError
        If there is no line to judge.
    UnknownNameError
        If a rule names a metric or column that isn't there.
    """
    details, meta, groups = comparison.details, comparison.meta, tuple(group_names(comparison))
    lines = pd.DataFrame(comparison)
    if not len(lines):
        raise EmptySelectionError("there is no line to judge: the comparison is empty, and an empty gate stays closed")
    named = [*groups, "metric", *(["statistic"] if "statistic" in lines else [])]
    rules.check_names(named, list(dict.fromkeys(str(name) for name in lines["metric"])))
    found = judged(lines, rules)
    nothing = _nothing_compared(found.lines)
    missing = missing_words(found.lines, meta) if rules.missing == "fail" else ""
    moved = [told for told in (moved_words(found.lines, rules), undecided_words(found.lines)) if told]
    reasons = (*moved, *(told for told in (nothing, missing) if told))
    code = _REGRESSED if moved else _NO_DATA if reasons else _OPEN
    blocking = ["fails", *(["missing"] if rules.missing == "fail" else [])]
    counts = found.lines["outcome"].value_counts()
    none = "" if comparison["verdict"].eq("regressed").any() else "none regressed, "
    verdicts = f"{none}{verdict_counts(comparison['verdict'])}"
    sides = f"{clean(meta['current'])} against {clean(meta['baseline'])}"
    return Gate(
        passed=code == _OPEN,
        exit_code=code,
        headline=f"Gate {'closed' if code else 'open'}: {sides}, {verdicts}.",
        reasons=reasons,
        incidents=incidents_of(found.lines, groups, blocking),
        notes=tuple(notes_of(found, details, meta, rules)),
        counts={name: int(counts[name]) for name in OUTCOMES if counts.get(name)},
        rules=rules,
        meta=meta,
        method=tuple(clean(line, longest=1000) for line in comparison.explain().split("\n")[1:]),
        groups=groups,
        _lines=found.lines,
    )


def gate_without_data(error: str) -> Gate:
    """Return the closed gate of a comparison that couldn't be made, so that reports can say it.

    Parameters
    ----------
    error : str
        Why it couldn't be made.
    """
    return Gate(
        passed=False,
        exit_code=_NO_DATA,
        headline="Gate closed: the results can't tell.",
        reasons=(clean(error, longest=2000),),
        incidents=(),
        notes=(),
        counts={},
        rules=Rules(),
        meta={},
        method=(),
        groups=(),
        _lines=pd.DataFrame(),
    )


def _nothing_compared(lines: pd.DataFrame) -> str:
    if lines["verdict"].ne("no_data").any():
        return ""
    return "Nothing could be compared: no line has data on both sides."
