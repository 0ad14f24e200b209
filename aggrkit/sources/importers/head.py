"""The beginning of a file, by which it is told what tool wrote it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Final

from aggrkit.sources.importers.content import first_bytes

__all__ = ["Head"]

_SIZE: Final = 1 << 18
_DEPTH: Final = 4
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]')
_ITEM: Final = "[]"


@dataclass(frozen=True)
class Head:
    """The beginning of a file.

    Parameters
    ----------
    name : str
        Name of the file, without its folder.
    text : str
        Its first 256 KiB, unpacked.
    """

    name: str
    text: str

    @classmethod
    def of(cls, path: str) -> Head:
        """Read the beginning of a file."""
        return cls(PurePath(path).name, first_bytes(path, _SIZE).decode(errors="replace"))

    @cached_property
    def keys(self) -> frozenset[tuple[str, ...]]:
        """The keys of the one JSON object that the file holds, with those above them; an item of a list is "[]".

        Empty where it holds no object, or several of them. Whether the JSON is whole is of no matter.

        Examples
        --------
        >>> from aggrkit.sources.importers.head import Head
        >>> sorted(Head("a.json", '{"results": [{"command": "ls"').keys)
        [('results',), ('results', '[]', 'command')]
        """
        if not self.text.lstrip().startswith("{"):
            return frozenset()
        found: set[tuple[str, ...]] = set()
        path: list[str] = []  # of each object or list that is open: the key that is read in it, or "[]"
        last = ""
        for match in _TOKEN.finditer(self.text):
            sign = match.group()
            if not path and found:
                return frozenset()  # JSON lines
            if sign in "{[":
                path.append("" if sign == "{" else _ITEM)
            elif sign in "}]":
                path = path[:-1]
            elif sign == ":":
                if path and path[-1] != _ITEM:
                    path[-1] = last
                    if len(path) <= _DEPTH:
                        found.add(tuple(path))
            elif sign[0] == '"':
                last = sign[1:-1]
        return frozenset(found)

    def has(self, *keys: str) -> bool:
        """Say whether the JSON object has all of these keys; those further down are written "results.[].command"."""
        return all(tuple(key.split(".")) in self.keys for key in keys)

    def matches(self, pattern: re.Pattern[str]) -> bool:
        """Say whether a pattern is found anywhere."""
        return pattern.search(self.text) is not None
