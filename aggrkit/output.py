"""Files that are written as a whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from aggrkit.errors import SourceError

__all__ = ["write_whole"]


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Write a file so that whoever reads it finds the old content or the new one, never a part.

    Parameters
    ----------
    path : path
        Where to write; its folder must exist.
    content : str or bytes
        What to write; text in UTF-8.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    SourceError
        If it can't be written; what was there stays.
    """
    place = Path(path).expanduser()
    data = content.encode("utf-8") if isinstance(content, str) else content
    part = None
    try:
        handle, part = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(part).chmod(0o666 & ~_umask())
        Path(part).replace(place)
    except OSError as error:
        if part is not None:
            Path(part).unlink(missing_ok=True)
        raise SourceError(f"{place} can't be written: {error.strerror or error}") from error
    return place


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
