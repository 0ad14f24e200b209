"""What is known of a format: how it is told, and how it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aggrkit.sources.importers.content import Content
    from aggrkit.sources.importers.head import Head
    from aggrkit.sources.importers.rows import Row

__all__ = ["Format"]


def _nothing_beside(head: Head) -> bool:
    return False


@dataclass(frozen=True)
class Format:
    """A kind of file that a tool writes.

    Parameters
    ----------
    name : str
        What it is called on the command line.
    title : str
        What it is called in messages, e.g. "JSON of hyperfine".
    remedy : str
        How such a file is written, as a sentence that begins small.
    result_type : str
        The type of its results.
    suits : callable
        Says whether the beginning of a file is of this format. Names of files don't count.
    read : callable
        Makes observations of a file.
    is_beside : callable, optional
        Says whether a file is one that the tool leaves beside its results, and that holds none.
    """

    name: str
    title: str
    remedy: str
    result_type: str
    suits: Callable[[Head], bool]
    read: Callable[[Content], Iterable[Row]]
    is_beside: Callable[[Head], bool] = _nothing_beside
