"""The lines ``:::MLLOG {...}`` that both kinds of MLPerf logs are made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrkit.sources.importers.content import Content

__all__ = ["MARK", "Event", "events"]

MARK: Final = ":::MLLOG "


@dataclass(frozen=True)
class Event:
    """One line.

    Parameters
    ----------
    line : int
        Its number.
    key : str
        What it is about.
    value : object
        What it says.
    time_ms : object
        When: milliseconds since 1970, or since the beginning of the test.
    metadata : dict
        What else it says.
    """

    line: int
    key: str
    value: Any
    time_ms: Any
    metadata: dict[str, Any]


def events(content: Content) -> Iterator[Event]:
    """Return the events of a log; lines of other kinds, and what stands before the mark, are passed over.

    Raises
    ------
    SourceError
        If a line with the mark isn't whole.
    """
    for number, text in enumerate(content.text.splitlines(), start=1):
        place = text.find(MARK)
        if place < 0:
            continue
        try:
            found = content.mapping(json.loads(text[place + len(MARK) :]), "an event")
        except (ValueError, RecursionError) as error:
            raise content.broken("it is no whole event: the file was cut off, or edited", number) from error
        metadata = found.get("metadata")
        yield Event(
            number,
            str(found.get("key")),
            found.get("value"),
            found.get("time_ms"),
            metadata if isinstance(metadata, dict) else {},
        )
