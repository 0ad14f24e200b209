"""What a file holds: unpacked, and as text, with errors that say where it is broken and what to do."""

from __future__ import annotations

import bz2
import codecs
import hashlib
import json
import lzma
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aggrkit.errors import SourceError, quoted

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Content", "first_bytes", "whole"]

_CHUNK: Final = 1 << 24
_LARGEST: Final = 1 << 31
_PACKED: Final[dict[bytes, Callable[[], Any]]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31),
    b"BZh": bz2.BZ2Decompressor,
    b"\xfd7zXZ\x00": lzma.LZMADecompressor,
}
_REFUSALS: Final = (OSError, EOFError, zlib.error, lzma.LZMAError)
_BOMS: Final = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


@dataclass(frozen=True)
class Content:
    """A file that is read as what a tool writes.

    Parameters
    ----------
    path : str
        Where it is, as the user knows it.
    data : bytes
        What it holds, unpacked; in UTF-8 where it began with the mark of another encoding.
    title : str
        What it is read as, e.g. "JSON of hyperfine".
    remedy : str
        How such a file is written.
    """

    path: str
    data: bytes
    title: str
    remedy: str

    @cached_property
    def text(self) -> str:
        """The text.

        Raises
        ------
        SourceError
            If it isn't in UTF-8.
        """
        try:
            return self.data.decode()
        except UnicodeDecodeError as error:
            line = self.data.count(b"\n", 0, error.start) + 1
            what = f"the byte 0x{self.data[error.start]:02x} is no text in UTF-8"
            raise self.broken(what, line, remedy="save the file in UTF-8") from error

    @cached_property
    def digest(self) -> str:
        """A hash of what it says: the same for a copy of other line ends or another packing."""
        return hashlib.sha256(self.data.replace(b"\r\n", b"\n").strip()).hexdigest()

    @cached_property
    def document(self) -> dict[str, Any]:
        """The one object of a JSON file.

        Raises
        ------
        SourceError
            If it isn't JSON, or not an object.
        """
        try:
            found = json.loads(self.text)
        except json.JSONDecodeError as error:
            cut = error.msg.startswith("Unterminated") or error.pos >= len(self.text.rstrip())
            what = "it ends in the middle: it was cut off" if cut else f"column {error.colno}: {error.msg}"
            raise self.broken(what, error.lineno) from error
        except RecursionError as error:
            raise self.broken("its lists and objects are nested too deeply") from error
        except ValueError as error:  # an integer of thousands of digits
            raise self.broken(f"it holds a number that can't be read ({error})") from error
        return self.mapping(found, "the file")

    def mapping(self, value: object, name: str) -> dict[str, Any]:
        """Return what must be an object of JSON."""
        if not isinstance(value, dict):
            raise self.broken(f"{name} is no object but {quoted(value)}")
        return value

    def sequence(self, value: object, name: str) -> list[Any]:
        """Return what must be a list of JSON."""
        if not isinstance(value, list):
            raise self.broken(f"{name} is no list but {quoted(value)}")
        return value

    def broken(self, what: str, line: int | None = None, remedy: str | None = None) -> SourceError:
        """Make the error for a file that can't be used, saying where and what to do."""
        where = "" if line is None else f"line {line}: "
        return SourceError(f"{self.path} can't be read as {self.title}: {where}{what}; {remedy or self.remedy}")


def first_bytes(path: str, size: int) -> bytes:
    """Return the beginning of a file, unpacked as far as it can be, in UTF-8.

    Raises
    ------
    SourceError
        If it can't be opened.
    """
    with _opened(path) as file:
        start = file.read(size)
    if _unpacker(start) is not None:
        try:
            start, _ = _unpacked(start, size)
        except _REFUSALS:
            return b""
    return _in_utf8(start, errors="replace")


def whole(path: str) -> bytes:
    """Return all of a file, unpacked, in UTF-8 where it has the mark of another encoding.

    Raises
    ------
    SourceError
        If it can't be read, is damaged, or holds more than 2 GiB.
    """
    with _opened(path) as file:
        try:
            data = file.read(_LARGEST + 1)
        except OSError as error:
            raise SourceError(f"{path} can't be read: {error.strerror or error}") from error
    if _unpacker(data) is not None:
        try:
            data, ended = _unpacked(data, _LARGEST)
        except _REFUSALS as error:
            raise _damaged(path, f" ({error})") from error
        if not ended:
            raise _damaged(path)
    if len(data) > _LARGEST:
        raise SourceError(f"{path} holds more than 2 GiB, which is not read into memory; split it")
    return _in_utf8(data, errors="strict", path=path)


def _opened(path: str) -> Any:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise SourceError(f"{path} can't be opened: {error.strerror or error}") from error


def _unpacker(start: bytes) -> Any:
    make = next((make for mark, make in _PACKED.items() if start.startswith(mark)), None)
    return None if make is None else make()


def _unpacked(data: bytes, most: int) -> tuple[bytes, bool]:
    """Unpack all members of packed data, up to little more than so many bytes; say whether that came to an end."""
    unpacker = _unpacker(data)
    parts: list[bytes] = []
    while sum(map(len, parts)) <= most:
        parts.append(unpacker.decompress(data, _CHUNK))
        if unpacker.eof:
            data = unpacker.unused_data
            following = _unpacker(data)
            if type(following) is not type(unpacker):
                return b"".join(parts), True
            unpacker = following
        else:
            data = getattr(unpacker, "unconsumed_tail", b"")
            if not (parts[-1] or data):
                return b"".join(parts), False
    return b"".join(parts), True


def _damaged(path: str, said: str = "") -> SourceError:
    return SourceError(f"{path} can't be unpacked: it is damaged or was cut off{said}; pack it again, or copy it again")


def _in_utf8(data: bytes, errors: str, path: str = "") -> bytes:
    for mark, encoding in _BOMS.items():
        if data.startswith(mark):
            rest = data[len(mark) :]
            if encoding == "utf-8":
                return rest
            try:
                return rest.decode(encoding, errors).encode()
            except UnicodeDecodeError as error:
                message = f"{path} begins like text in UTF-16 but isn't at byte {error.start}; save it in UTF-8"
                raise SourceError(message) from error
    return data
