"""The formats that are read, and which files are of them: told by what they hold, not by how they are called."""

from __future__ import annotations

import glob
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aggrkit.errors import SourceError, UnknownNameError, listed
from aggrkit.sources.importers import (
    asv,
    go_benchmark,
    google_benchmark,
    hyperfine,
    junit,
    mlperf_inference,
    mlperf_training,
    pytest_benchmark,
)
from aggrkit.sources.importers.content import Content, whole
from aggrkit.sources.importers.head import Head
from aggrkit.sources.importers.rows import frame_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd

    from aggrkit.sources.importers.format import Format

__all__ = ["FORMATS", "format_named", "import_file", "import_files", "importable", "recognised"]

_EVERY: Final = (
    *(pytest_benchmark.FORMAT, google_benchmark.FORMAT, go_benchmark.FORMAT, asv.FORMAT),
    *(hyperfine.FORMAT, junit.FORMAT, mlperf_training.FORMAT, mlperf_inference.FORMAT),
)
FORMATS: Final[Mapping[str, Format]] = {known.name: known for known in _EVERY}
"""The formats, by name."""

_PACKED: Final = (".gz", ".bz2", ".xz")
_WRITTEN_BY_TOOLS: Final = frozenset({".json", ".xml", ".txt", ".log", ".out", ".bench", ""})
_TABLES: Final = frozenset({".parquet", ".pq", ".csv", ".tsv", ".jsonl", ".ndjson"})
_MUST_BE_KNOWN: Final = frozenset({".json", ".xml"})


def format_named(name: str) -> Format:
    """Return a format by its name.

    Raises
    ------
    UnknownNameError
        If there is none.
    """
    if name not in FORMATS:
        raise UnknownNameError.of("format", name, FORMATS)
    return FORMATS[name]


def recognised(path: str) -> Format | None:
    """Return the format of a file, which its beginning tells, or None if it is of none."""
    return _suiting(Head.of(path))


def import_file(path: str, known: Format | None = None) -> pd.DataFrame:
    """Read a file that a tool wrote.

    Parameters
    ----------
    path : str
        The file, which may be packed by gzip, bzip2 or xz.
    known : Format, optional
        Its format; by default that which it begins like.

    Returns
    -------
    pandas.DataFrame
        A row per observation, its columns as the schema recognises them. ``result_id`` follows from what the file
        says, so that the same results are the same wherever the file is. Folders such as ``build=12`` on the way to
        the file say what it doesn't say itself, as with tables.

    Raises
    ------
    SourceError
        If it is of no known format, damaged, or cut off; says where, and what to do.
    """
    found = known or recognised(path)
    if found is None:
        raise _unknown(path)
    content = Content(path, whole(path), found.title, found.remedy)
    rows = list(found.read(content))
    if not rows:
        raise content.broken("it holds no result")
    changed = datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)
    marks = {"result_type": found.result_type, "source_file": Path(path).name, "file_modified": changed}
    folders = _partitions(path)
    return frame_of([{**folders, **{k: v for k, v in row.items() if v is not None}, **marks} for row in rows])


def import_files(files: Sequence[tuple[str, Format]]) -> pd.DataFrame:
    """Read files, which may be of several formats, into one frame; ``source_file`` tells them apart."""
    frames = [import_file(path, known) for path, known in files]
    paths = [str(Path(path).absolute()) for path, _ in files]
    if len(frames) == 1:
        return frames[0]
    common = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120
    for frame, path in zip(frames, paths, strict=True):
        frame["source_file"] = Path(path).relative_to(common).as_posix()
    return _together(frames)


def importable(source: str | Path | Sequence[str | Path]) -> list[tuple[str, Format]] | None:
    """Return the files that a path, a glob, a folder or a list of paths means, or None if no tool's file is among them.

    Raises
    ------
    SourceError
        If some of them are files of tools and others are not.
    """
    if isinstance(source, (str, Path)):
        place = Path(source).expanduser()
        if place.is_dir():
            return _of_folder(place, str(source))
        if place.is_file():
            known = recognised(str(place)) if _suffix(place) not in _TABLES else None
            return None if known is None else [(str(place), known)]
        paths = sorted(path for path in glob.glob(str(place), recursive=True) if os.path.isfile(path))  # noqa: PTH113, PTH207
        label = str(source)
    else:
        paths = [str(Path(path).expanduser()) for path in source]
        label = "the list"
    heads = {path: None if _suffix(Path(path)) in _TABLES else Head.of(path) for path in paths}
    found = {path: None if head is None else _suiting(head) for path, head in heads.items()}
    if not any(found.values()):
        return None
    strange = [path for path, known in found.items() if known is None and not _is_beside(heads[path])]
    if strange:
        raise SourceError(
            f"{label} means files of tools and others, of no format that aggrkit imports: {listed(strange)};"
            " leave those out, or open them by themselves"
        )
    return [(path, known) for path, known in found.items() if known is not None]


def _of_folder(place: Path, label: str) -> list[tuple[str, Format]] | None:
    """Return the files of tools in a folder; what is neither is passed over, unless it might be one that is damaged."""
    files = sorted(_files_in(place))
    heads = {path: Head.of(str(path)) for path in files if _suffix(path) in _WRITTEN_BY_TOOLS}
    found = {path: known for path, head in heads.items() if (known := _suiting(head)) is not None}
    if not found:
        return None
    tables = [path for path in files if _suffix(path) in _TABLES]
    strange = [p for p, h in heads.items() if p not in found and _suffix(p) in _MUST_BE_KNOWN and not _is_beside(h)]
    if tables or strange:
        names = listed(path.relative_to(place) for path in [*tables, *strange])
        formats = listed(dict.fromkeys(known.title for known in found.values()))
        raise SourceError(
            f"the folder {label} holds files of {formats}, and others that aren't: {names};"
            f" say which by a glob, such as {str(place / '*.json')!r}"
        )
    return [(str(path), known) for path, known in found.items()]


def _files_in(place: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(place):
        inner[:] = [name for name in inner if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if not name.startswith("."))


def _partitions(path: str) -> dict[str, str]:
    """Return what folders named like "build=12" say."""
    pairs = [part.split("=", 1) for part in Path(path).parts[:-1] if "=" in part]
    return {name: value for name, value in pairs if name.isidentifier() and value}


def _suffix(path: Path) -> str:
    suffixes = [suffix.casefold() for suffix in path.suffixes if suffix.casefold() not in _PACKED]
    return suffixes[-1] if suffixes else ""


def _unknown(path: str) -> SourceError:
    head = Head.of(path)
    if not head.text.strip():
        return SourceError(f"{path} is empty")
    beside = next((known.title for known in FORMATS.values() if known.is_beside(head)), None)
    if beside is not None:
        return SourceError(f"{path} lies beside {beside} and holds no result itself; open the file with the results")
    titles = ", ".join(known.title for known in FORMATS.values())
    return SourceError(f"{path} is none of the files that aggrkit imports: {titles}")


def _suiting(head: Head) -> Format | None:
    return next((known for known in FORMATS.values() if known.suits(head) and not known.is_beside(head)), None)


def _is_beside(head: Head | None) -> bool:
    return head is not None and any(known.is_beside(head) for known in FORMATS.values())


def _together(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [row for frame in frames for row in _records(frame)]
    return frame_of(rows)


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]
