"""The journal: results on disk before they are in the store, one flush for many."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aggrkit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Journal"]

_log = logging.getLogger(__name__)

_PREFIX: Final = "journal-"
_REJECTED: Final = "rejected.jsonl"
_CHECK_DIGITS: Final = 8


class Journal:
    """Entries that are on disk when `append` returns, in files that are dropped once the store has them.

    An entry is a line: a checksum, a space, JSON. A line that was cut off by the end of a process was not acknowledged,
    and is left out when the journal is read.

    Parameters
    ----------
    folder : path
        Where the files are; it is made where there is none, for its owner alone.

    Raises
    ------
    SourceError
        If the folder can't be made or read.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            self._files = sorted(self.folder.glob(f"{_PREFIX}*"))
        except OSError as error:
            raise SourceError(f"the journal {self.folder} can't be opened: {error.strerror}") from error
        self._number = int(self._files[-1].name.removeprefix(_PREFIX)) if self._files else 0
        self._current: int | None = None
        self._end = 0

    def append(self, entries: Iterable[Any]) -> None:
        """Write entries, and return when they are on disk: all of them, or an error and none.

        Raises
        ------
        SourceError
            If they can't be written.
        """
        data = b"".join(_line(entry) for entry in entries)
        try:
            file = self._current = self._opened() if self._current is None else self._current
            written = 0
            while written < len(data):
                written += os.write(file, data[written:])
            os.fdatasync(file) if hasattr(os, "fdatasync") else os.fsync(file)
        except OSError as error:
            if self._current is not None:
                with contextlib.suppress(OSError):  # what stays is left out by its checksum, and nothing comes after it
                    os.ftruncate(self._current, self._end)
                self.close()
            raise SourceError(f"the journal {self.folder} can't be written: {error.strerror}") from error
        self._end += len(data)

    def rotate(self) -> list[Path]:
        """Begin a new file at the next entry, and return those before it."""
        self.close()
        return list(self._files)

    def drop(self, files: Iterable[Path]) -> None:
        """Delete files whose entries are in the store."""
        for file in files:
            file.unlink(missing_ok=True)
            self._files.remove(file)

    def read(self) -> Iterator[Any]:
        """Give the entries that are on disk, in their order."""
        for file in self._files:
            lines = file.read_bytes().split(b"\n")
            whole, rest = lines[:-1], lines[-1]
            bad = bool(rest)
            for line in whole:
                entry = _entry(line)
                if entry is None:
                    bad = True
                else:
                    yield entry
            if bad:
                _log.warning("the journal %s holds a part of an entry, which was never acknowledged", file.name)

    def reject(self, entry: Any, why: str) -> None:
        """Keep an entry that the store refused beside the journal, for people."""
        with (self.folder / _REJECTED).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"why": why, "entry": entry}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the file that is written to; nothing is lost by not doing so."""
        if self._current is not None:
            os.close(self._current)
            self._current = None

    def _opened(self) -> int:
        self._number += 1
        path = self.folder / f"{_PREFIX}{self._number:012d}"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._files.append(path)
        self._end = 0
        _sync_folder(self.folder)
        return file


def _line(entry: Any) -> bytes:
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _entry(line: bytes) -> Any:
    """Return what a line holds, or None where it isn't whole."""
    check, text = line[:_CHECK_DIGITS], line[_CHECK_DIGITS + 1 :]
    if check != b"%08x" % zlib.crc32(text):
        return None
    return json.loads(text)


def _sync_folder(folder: Path) -> None:
    """Make sure that the name of a new file is on disk too, where folders can be opened."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
