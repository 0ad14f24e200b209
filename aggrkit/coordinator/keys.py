"""API keys: kept as hashes, compared in constant time, each with a role."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aggrkit.coordinator.messages import ROLES
from aggrkit.errors import SourceError, UnknownNameError, quoted

__all__ = ["VARIABLE", "Identity", "Keys"]

VARIABLE: Final = "AGGRKIT_KEYS"
"""The environment variable that keys are read from: ``name:role:key``, several separated by spaces."""

_EXAMPLE: Final = 'name = { key = "...", role = "read" }'
_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Identity:
    """Who somebody is: the name of their key, and what it may do."""

    name: str
    role: str

    def may(self, role: str) -> bool:
        """Say whether they may do what a role may."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Keys:
    """The keys that a server knows.

    Parameters
    ----------
    entries : mapping of str to (str, str)
        Name to the SHA-256 of the key, in hexadecimal digits, and its role.

    Examples
    --------
    >>> from aggrkit.coordinator.keys import Keys
    >>> keys = Keys.of({"ci": {"key": "a long random text", "role": "submit"}})
    >>> keys.check("a long random text")
    Identity(name='ci', role='submit')
    >>> keys.check("another") is None
    True
    """

    def __init__(self, entries: Mapping[str, tuple[str, str]]) -> None:
        self._entries = {name: (bytes.fromhex(digest), role) for name, (digest, role) in entries.items()}

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Keys({', '.join(f'{name}: {role}' for name, (_, role) in self._entries.items())})"

    def check(self, key: str) -> Identity | None:
        """Return whose key it is, or None; it takes as long for every key."""
        given = _digest(key)
        found = None
        for name, (digest, role) in self._entries.items():
            if hmac.compare_digest(given, digest):
                found = Identity(name, role)
        return found

    @classmethod
    def of(cls, table: Mapping[str, Any], where: str = "the keys") -> Keys:
        """Read a mapping of names to ``{"key" or "sha256": ..., "role": ...}``.

        Raises
        ------
        SourceError
            If it is none; the message never holds a key.
        UnknownNameError
            For a role that doesn't exist.
        """
        entries = {}
        for name, entry in table.items():
            if not isinstance(entry, Mapping) or not set(entry) <= {"key", "sha256", "role"}:
                raise SourceError(f"{where}: {quoted(name)} isn't of the form {_EXAMPLE}")
            role = entry.get("role")
            if role not in ROLES:
                raise UnknownNameError.of("role", role, ROLES, f"It is that of {quoted(name)} in {where}.")
            entries[str(name)] = _digest_of(name, entry, where), str(role)
        if not entries:
            raise SourceError(f"{where}: there is no key; add one to [keys], as {_EXAMPLE}")
        return cls(entries)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Keys:
        """Read a TOML file with the table ``[keys]``; warn if others than its owner may read it.

        Raises
        ------
        SourceError
            If it can't be read, or holds no such table.
        """
        place = Path(path).expanduser()
        try:
            mode = place.stat().st_mode
            table = tomllib.loads(place.read_text("utf-8"))
        except OSError as error:
            raise SourceError(f"the keys in {place} can't be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise SourceError(f"the keys in {place} can't be read: it is no text in UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            raise SourceError(f"the keys in {place} can't be read: {_without_content(str(error))}") from None
        if os.name == "posix" and mode & (stat.S_IRGRP | stat.S_IROTH):
            words = f"{place} can be read by others (mode {stat.S_IMODE(mode):o}): chmod 600 {place}"
            warnings.warn(words, UserWarning, stacklevel=2)
        keys = table.get("keys")
        if not isinstance(keys, dict):
            raise SourceError(f"{place} has no table [keys]; write one, with lines such as {_EXAMPLE}")
        return cls.of(keys, str(place))

    @classmethod
    def from_environment(cls, variable: str = VARIABLE) -> Keys | None:
        """Read keys from an environment variable, ``name:role:key name:role:key``; None where it isn't set.

        Raises
        ------
        SourceError
            If it is of another form.
        """
        text = os.environ.get(variable, "").strip()
        if not text:
            return None
        table = {}
        for place, item in enumerate(text.split(), start=1):
            parts = item.split(":", 2)
            if len(parts) < 3 or not all(parts):
                raise SourceError(f"key {place} in {variable} isn't of the form name:role:key")
            table[parts[0]] = {"role": parts[1], "key": parts[2]}
        return cls.of(table, variable)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _digest_of(name: object, entry: Mapping[str, Any], where: str) -> str:
    if ("key" in entry) == ("sha256" in entry):
        raise SourceError(f"{where}: {quoted(name)} has either a key or its sha256: {_EXAMPLE}")
    said = entry.get("key", entry.get("sha256"))
    if not isinstance(said, str) or not said:
        raise SourceError(f"{where}: the key of {quoted(name)} is a text that isn't empty")
    if "key" in entry:
        return _digest(said).hex()
    if not _HEX.fullmatch(said):
        raise SourceError(f"{where}: the sha256 of {quoted(name)} is 64 hexadecimal digits")
    return said


def _without_content(said: str) -> str:
    """Return what TOML says of an error, with the place and without what stands there: it may be a key."""
    place = re.search(r"\(at .*\)$", said)
    return f"it is no TOML {place.group(0) if place else ''}".rstrip()
