"""The arguments that say what is compared with what."""

from __future__ import annotations

import argparse
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from aggrkit.cli.asking import opened, values_in
from aggrkit.errors import SchemaError, listed
from aggrkit.model.schema import Role
from aggrkit.model.selection import TimeRange

if TYPE_CHECKING:
    import pandas as pd

    from aggrkit.accessor import Results

__all__ = ["add_sides", "frame_of", "sides_in"]

_BETWEEN: Final = ".."
_LENGTH: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(min|h|d|w)", re.IGNORECASE)
_UNITS: Final = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_USAGE: Final = (
    "say what is compared: --by COLUMN --baseline VALUE [--current VALUE], "
    "--baseline START..END [--current START..END], --lookback 7d, or --against FILE"
)


def add_sides(parser: argparse.ArgumentParser) -> None:
    """Add ``--by``, ``--baseline``, ``--current``, ``--lookback`` and ``--against``."""
    group = parser.add_argument_group("what is compared with what")
    group.add_argument("--by", metavar="COLUMN", help="the column that tells the sides apart, e.g. build")
    group.add_argument(
        "--baseline",
        metavar="VALUE",
        help="values of that column, separated by commas; without --by a span of time, START..END, either end open",
    )
    group.add_argument("--current", metavar="VALUE", help="the same for the current side (default: all others)")
    group.add_argument(
        "--lookback", metavar="SPAN", help="the latest such span of time against all before it: 7d, 24h, 2w"
    )
    group.add_argument(
        "--against", metavar="FILE", help="the baseline is in another source of the same kinds as SOURCE"
    )


def sides_in(given: argparse.Namespace) -> dict[str, Any]:
    """Return `baseline`, `current` and `by`, as ``compare`` takes them; with ``--against`` the other source's results.

    Raises
    ------
    ValueError
        If the arguments don't say what is compared, or contradict each other.
    SourceError
        If the other source can't be read.
    """
    said = [name for name in ("baseline", "lookback", "against") if getattr(given, name) is not None]
    if len(said) != 1 or (said[0] != "baseline" and (given.by is not None or given.current is not None)):
        raise ValueError(_USAGE)
    if given.lookback is not None:
        return {"baseline": _span(given.lookback)}
    if given.against is not None:
        return {"baseline": opened(argparse.Namespace(**{**vars(given), "source": given.against}))}
    if given.by is not None:
        current = None if given.current is None else _values("--current", given.current)
        return {"baseline": _values("--baseline", given.baseline), "current": current, "by": given.by}
    span = None if given.current is None else _times("--current", given.current)
    return {"baseline": _times("--baseline", given.baseline), "current": span}


def frame_of(other: Results, current: Results, metrics: list[str] | None) -> pd.DataFrame:
    """Return the results of a baseline in memory, once it is known that the current side can answer for them.

    Raises
    ------
    SchemaError
        If the baseline has metrics that the current side lacks, unless the metrics were named.
    """
    from aggrkit.pipeline.expressions import fetch

    theirs, mine = ([column.name for column in each.schema.playing(Role.METRIC)] for each in (other, current))
    lost = [name for name in theirs if name not in mine]
    if lost and metrics is None:
        raise SchemaError(
            f"the baseline has metrics that the current results lack: {listed(lost)}; "
            "did their tests run? To leave them out, name the metrics to check: --metric NAME"
        )
    table = other.table
    columns = {column.name: table[column.field] for column in other.schema.columns}
    frame: pd.DataFrame = fetch(table.select(**columns), other.opened).to_pandas()
    return frame


def _values(option: str, text: str) -> list[str]:
    values = values_in(text)
    if not values:
        raise ValueError(f"{option} names no value")
    return values


def _times(option: str, text: str) -> TimeRange:
    start, between, end = text.partition(_BETWEEN)
    if not between:
        raise ValueError(
            f"{option} {text!r} is no span of time, which is START..END with either end open; "
            "to compare values of a column, say which: --by COLUMN"
        )
    span = TimeRange.of((start.strip() or None, end.strip() or None))
    if span is None:
        raise ValueError(f"{option} {text!r} has no end; write START..END, START.. or ..END")
    return span


def _span(text: str) -> timedelta:
    found = _LENGTH.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"--lookback is a number with min, h, d or w, such as 7d or 24h; got {text!r}")
    try:
        span = timedelta(**{_UNITS[found[2].lower()]: float(found[1])})
    except OverflowError as error:
        raise ValueError(f"--lookback is a span that there is; got {text!r}") from error
    if not span:
        raise ValueError(f"--lookback is a span above zero; got {text!r}")
    return span
