"""The errors of aggrkit.

::

    AggrError
    ├── SchemaError (ValueError)             a column is missing, doubled or of a type that can't be used
    ├── UnknownNameError (ValueError)        a level, metric, column, filter, method or stage that doesn't exist
    ├── EmptySelectionError (LookupError)    no observation is left to look at
    ├── TooFewObservationsError (ValueError) there are observations, but fewer than the question needs
    ├── StageError                           a stage of a pipeline failed; its cause is chained
    ├── SourceError                          a file or database is missing, damaged, locked or of another kind
    ├── ReportError                          the notebook of a report failed; what there is of it was kept
    ├── ProtocolError                        a message to or from a coordinator was refused; has a code
    └── Cancelled                            the work was stopped by who had asked for it

Each message says what was wrong, what there is to choose from, and what to write instead.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, SupportsFloat, SupportsIndex

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AggrError",
    "Cancelled",
    "EmptySelectionError",
    "ProtocolError",
    "ReportError",
    "SchemaError",
    "SourceError",
    "StageError",
    "TooFewObservationsError",
    "UnknownNameError",
]

_CHOICES_SHOWN = 30
_LONGEST = 100


class AggrError(Exception):
    """Base of every error that aggrkit raises on purpose."""


class SchemaError(AggrError, ValueError):
    """The columns don't fit the question: one is missing, doubled, or of a type that can't be used."""


class EmptySelectionError(AggrError, LookupError):
    """Nothing is left to look at: the source is empty, or no observation passes the filters."""


class TooFewObservationsError(AggrError, ValueError):
    """There are observations, but fewer than the question needs."""


class SourceError(AggrError):
    """A file or database can't be read: missing, damaged, locked, or not of a kind that aggrkit reads."""


class ReportError(AggrError):
    """A cell of a report's notebook failed.

    Attributes
    ----------
    path : str
        The page, which shows the error.
    notebook : str
        The notebook as far as it was run.
    """

    def __init__(self, message: str, path: str = "", notebook: str = "") -> None:
        super().__init__(message, path, notebook)
        self.path = path
        self.notebook = notebook

    def __str__(self) -> str:
        return str(self.args[0])


class ProtocolError(AggrError):
    """A message was refused.

    Attributes
    ----------
    code : str
        What is wrong with it, for programs; see `aggrkit.coordinator.messages.CODES`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)  # what it is made of again when it comes back from another process
        self.code = code

    def __str__(self) -> str:
        return str(self.args[1])


class Cancelled(AggrError):  # noqa: N818, it is no error of anybody
    """The work was stopped by who had asked for it, as it is no longer needed."""


class UnknownNameError(AggrError, ValueError):
    """A name that doesn't exist was given.

    Attributes
    ----------
    name : str
        The name that was given.
    choices : tuple of str
        The names that exist.
    """

    def __init__(self, message: str, *, name: str = "", choices: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.name = name
        self.choices = tuple(choices)

    @classmethod
    def of(cls, kind: str, name: object, choices: Iterable[str], hint: str = "") -> UnknownNameError:
        """Make the error for an unknown `name` of a `kind` ("metric", "level", ...).

        Parameters
        ----------
        kind : str
            What the name stands for, in the singular.
        name : object
            What was given.
        choices : iterable of str
            What could have been given.
        hint : str, optional
            A sentence that is added at the end.

        Returns
        -------
        UnknownNameError
            The error, to be raised.
        """
        options = list(dict.fromkeys(str(choice) for choice in choices))
        parts = [f"unknown {kind} {quoted(name)}", did_you_mean(str(name), options)]
        parts.append(f"{kind}s to choose from: {listed(options)}" if options else f"there is no {kind} to choose from")
        message = "; ".join(part for part in parts if part)
        return cls(f"{message}. {hint}".rstrip(), name=str(name), choices=options)


class StageError(AggrError):
    """A stage of a pipeline failed.

    Attributes
    ----------
    phase : str
        "preprocess", "aggregate" or "postprocess".
    stage : str
        Name of the stage.
    """

    def __init__(self, phase: str, stage: str, cause: object) -> None:
        said = cause if isinstance(cause, str) else f"{type(cause).__name__}: {cause}"
        super().__init__(phase, stage, said)  # what it is made of again when it comes back from another process
        self.phase = phase
        self.stage = stage

    def __str__(self) -> str:
        return "the {} stage {!r} failed: {}".format(*self.args)


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the one of `choices` that looks most like `name`, or None if none does.

    Parameters
    ----------
    name : str
        What was given.
    choices : iterable of str
        What exists.

    Returns
    -------
    str or None
        The nearest choice, letter case ignored.
    """
    folded = {choice.casefold(): choice for choice in choices}
    found = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return "did you mean 'x'?" for the nearest choice, or an empty string."""
    found = nearest(name, choices)
    return f"did you mean {found!r}?" if found else ""


def quoted(value: object) -> str:
    """Return what was given for a message, on one line and cut off where it is long."""
    text = repr(value) if isinstance(value, str) else " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def number_between(value: object, low: float, high: float, what: str) -> float:
    """Return `value` as a number that lies strictly between two others.

    Raises
    ------
    TypeError
        If it isn't a number.
    ValueError
        If it lies outside, or is NaN.
    """
    if isinstance(value, bool) or not isinstance(value, (SupportsFloat, SupportsIndex)):
        raise TypeError(f"{what}; got {quoted(value)}")
    number = float(value)
    if not low < number < high:
        raise ValueError(f"{what}; got {quoted(value)}")
    return number


def listed(names: Iterable[object]) -> str:
    """Return names for a message, quoted and cut off where there are too many."""
    every = [repr(str(name)) for name in names]
    shown = ", ".join(every[:_CHOICES_SHOWN])
    return f"{shown}, ... ({len(every)} in all)" if len(every) > _CHOICES_SHOWN else shown
