"""Files that tools write, as a relation: read into memory once, and then as good as a frame."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aggrkit.sources.engine import connect
from aggrkit.sources.frame import frame_relation
from aggrkit.sources.importers import import_files, importable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from aggrkit.sources.observations import Relation

__all__ = ["imported_relation"]


def imported_relation(
    source: str | Path | Sequence[str | Path], label: str, config: dict[str, str] | None = None
) -> Relation | None:
    """Open files that a tool wrote, or return None if there are none among those that are meant.

    Parameters
    ----------
    source : str, path or list of paths
        A file, a glob, a folder, or several files.
    label : str
        What the source is called in messages.
    config : dict, optional
        Settings of DuckDB.

    Raises
    ------
    SourceError
        If one of them is damaged or cut off.
    """
    files = importable(source)
    if files is None:
        return None
    return replace(frame_relation(_shown(import_files(files)), connect(config=config)), label=label)


def _shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out the status of benchmarks where none failed: a pass rate of one in every line would say nothing."""
    measured = "status" in frame and (frame["result_type"] == "performance").all()
    return frame.drop(columns="status") if measured and (frame["status"] == "passed").all() else frame
