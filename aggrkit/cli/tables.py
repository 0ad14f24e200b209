"""Findings as tables for people, as wide as the terminal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from aggrkit.findings.words import counted, group_names, short_number
from aggrkit.printing import (
    LABEL,
    STYLES,
    WIDE,
    add_line,
    change_of,
    comparison_note,
    new_console,
    new_table,
    number_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from aggrkit.findings import Finding

__all__ = ["as_text"]

_FILE_WIDTH: Final = 120
_GAP: Final = 3
_LEAST: Final = 12
"""What a name gets at least where no note stands below it."""


@dataclass(frozen=True)
class _Shape:
    """How the lines of a kind of finding are shown.

    Parameters
    ----------
    numbers : tuple of str
        What is shown of a line, in this order: keys of `_CELLS`, or columns.
    drop : tuple of str
        What is left out where there is no room, the least important first.
    names : tuple of str
        Columns that say what a line is of, beside those of the level.
    section : str
        Column whose values head a part of the table each.
    detail : callable
        Gives what else is to be said of a line.
    detail_head : str
        Heading of these words.
    order : tuple of str
        What lines are sorted by; as they were found where it is empty.
    descending : tuple of str
        Those of them of which the largest comes first.
    """

    numbers: tuple[str, ...]
    drop: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    section: str = ""
    detail: Callable[[pd.Series[Any]], str] | None = None
    detail_head: str = "note"
    order: tuple[str, ...] = ()
    descending: tuple[str, ...] = ()


def _span(low: str, high: str, write: Callable[[float], str], unit: str = "") -> Callable[[pd.Series[Any]], str]:
    def text(line: pd.Series[Any]) -> str:
        if pd.isna(line[low]) and pd.isna(line[high]):
            return "-"
        return f"{write(line[low])} to {write(line[high])}{unit}"

    return text


def _percent(name: str) -> Callable[[pd.Series[Any]], str]:
    return lambda line: "-" if pd.isna(line[name]) else f"{100 * line[name]:.1f} %"


def _changed(name: str) -> Callable[[pd.Series[Any]], str]:
    return lambda line: change_of(line[name])


def _share_span(line: pd.Series[Any]) -> str:
    return _span("ci_lower", "ci_upper", lambda share: f"{100 * share:.1f}", " %")(line)


def _side(name: str) -> Callable[[pd.Series[Any]], str]:
    def text(line: pd.Series[Any]) -> str:
        return _percent(name)(line) if line["unit"] == "proportion" else number_of(line[name])

    return text


def _run(line: pd.Series[Any]) -> str:
    return str(line["run_id"] if "run_id" in line and not pd.isna(line["run_id"]) else line["observation"])


def _best_and_worst(line: pd.Series[Any]) -> str:
    if not pd.isna(line["best"]):
        return f"best {line['best']}, worst {line['worst']}"
    return f"lowest {line['lowest']}, highest {line['highest']}"


_CELLS: Final[dict[str, tuple[str, Callable[[pd.Series[Any]], str]]]] = {
    "expected": ("expected", _span("lower", "upper", number_of)),
    "interval": ("95 % interval", _span("ci_lower", "ci_upper", change_of)),
    "slope_interval": ("95 % interval", _span("ci_lower", "ci_upper", lambda value: f"{value:+.2g}")),
    "share_interval": ("95 % interval", _share_span),
    "plain_interval": ("95 % interval", _span("ci_lower", "ci_upper", number_of)),
    "baseline": ("baseline", _side("baseline")),
    "current": ("current", _side("current")),
    "change": ("%", _changed("change_pct")),
    "effect": ("effect %", _changed("effect_pct")),
    "offset": ("offset %", _changed("offset_pct")),
    "slope": (
        "% a day",
        lambda line: "-" if pd.isna(line["slope_pct_per_day"]) else f"{line['slope_pct_per_day']:+.2g}",
    ),
    "rate": ("rate", _percent("rate")),
    "stated": ("stated", _percent("stated")),
    "share": ("share", _percent("share")),
    "percentage": ("share", lambda line: f"{line['percentage']:.1f} %"),
    "n_runs": ("runs", lambda line: number_of(line["n_runs"])),
    "effect_size": ("effect", lambda line: number_of(line["effect_size"])),
    "correlation": ("r", lambda line: "-" if pd.isna(line["correlation"]) else f"{line['correlation']:+.3f}"),
    "reversed": ("within groups", lambda line: "turns round" if line["reversed_within_groups"] else ""),
    "pvalue": ("p", lambda line: "-" if pd.isna(line["pvalue_adjusted"]) else f"{line['pvalue_adjusted']:.2g}"),
}

_SHAPES: Final[dict[str, _Shape]] = {
    "stats": _Shape(
        ("n", "mean", "std", "min", "p*", "max"), ("p75", "p90", "std", "min", "p99", "max", "mean", "p95"),
        section="metric", order=("metric",),
    ),
    "proportions": _Shape(
        ("n", "failures", "rate", "share_interval"), ("n",), section="metric", order=("metric", "ci_upper"),
    ),
    "distributions": _Shape(("count", "percentage"), names=("column", "value")),
    "anomalies": _Shape(
        ("value", "expected", "severity"), names=("metric",), detail=_run, detail_head="observation",
    ),
    "compare": _Shape(
        ("baseline", "current", "change", "interval", "pvalue"), ("pvalue", "baseline", "current"),
        names=("metric", "statistic"), section="verdict", detail=comparison_note, order=("verdict", "pvalue_adjusted"),
    ),
    "correlations": _Shape(
        ("method", "correlation", "pvalue", "n", "strength", "reversed"), ("strength", "n", "pvalue"),
        names=("metric1", "metric2"), order=("|correlation|",), descending=("|correlation|",),
    ),
    "trends": _Shape(
        ("n", "slope", "slope_interval", "pvalue", "verdict"), ("n", "pvalue", "slope_interval"), names=("metric",),
        order=("verdict", "pvalue_adjusted"),
    ),
    "changes": _Shape(
        ("at", "before", "after", "change", "interval", "status", "verdict"), ("before", "after", "interval"),
        names=("metric",), detail=lambda line: str(line["coincides_with"] or ""), detail_head="changed beside it",
    ),
    "differences": _Shape(
        ("groups", "effect_size", "magnitude", "pvalue"), ("pvalue", "groups"), names=("dimension", "metric"),
        detail=_best_and_worst, detail_head="best, worst", order=("effect_size",), descending=("effect_size",),
    ),
    "variance": _Shape(
        ("share", "effect", "interval", "n"), ("n",), names=("metric", "factor", "level"),
    ),
    "health": _Shape(
        ("verdict", "offset", "n_runs"), ("n_runs",),
        detail=lambda line: str(line["reason"]), detail_head="reason", names=("worker",),
    ),
    "calibration": _Shape(("alarms", "trials", "rate", "share_interval", "stated"), ("trials",), names=("what",)),
}  # fmt: skip


def as_text(finding: Finding, lines: int = 20, *, plain: bool = False) -> str:
    """Return a finding as a table with its words.

    Parameters
    ----------
    finding : Finding
        Any of the result frames.
    lines : int, optional
        At most so many; 0 for all.
    plain : bool, optional
        For a file: 120 characters wide, and without colours.

    Returns
    -------
    str
        The headline, the table, what it leaves out, and the other sentences.
    """
    console = new_console(StringIO(), _FILE_WIDTH) if plain else new_console()
    head, *others = finding.explain().splitlines()
    with console.capture() as capture:
        console.print(Text(head), style="bold")
        if len(finding):
            _print_lines(console, finding, lines)
        told = Table.grid(padding=(0, 1))
        for sentence in others:
            told.add_row("-", sentence)
        if others:
            console.print(told)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _print_lines(console: Console, finding: Finding, most: int) -> None:
    shape = _SHAPES[finding._name]
    frame = _sorted(pd.DataFrame(finding), shape)
    shown = frame.head(most) if most else frame
    table, dropped = _table(shown, frame, group_names(finding), shape, console.width)
    console.print(table)
    notes = []
    if len(shown) < len(frame):
        notes.append(f"{counted(len(frame) - len(shown), 'more line')}: --lines 0 shows all")
    if dropped:
        notes.append(f"no room for {', '.join(dropped)}")
    for note in notes:
        console.print(note, style="dim")


def _sorted(frame: pd.DataFrame, shape: _Shape) -> pd.DataFrame:
    """Return the lines in the order in which they are read, those that are alike as they were found."""
    if not shape.order:
        return frame
    keys = frame.assign(**{"|correlation|": frame["correlation"].abs()}) if "correlation" in frame else frame
    if "metric" in shape.order:  # in the order in which metrics were found
        keys = keys.assign(metric=pd.factorize(keys["metric"])[0])
    by = list(shape.order)
    places = keys.reset_index(drop=True).sort_values(
        by, ascending=[name not in shape.descending for name in by], kind="stable", na_position="last"
    )
    return frame.iloc[places.index]


def _table(
    shown: pd.DataFrame, every: pd.DataFrame, groups: Sequence[str], shape: _Shape, width: int
) -> tuple[Table, list[str]]:
    """Return the table of some lines, and the headings that had no room."""
    names = _names(every, groups, shape)
    metrics = every["metric"].nunique() if "metric" in every else 0
    # A single section needs no heading: the words say which metric it is.
    section = "" if shape.section == "metric" and metrics < 2 else shape.section
    labels = [
        # What a line doesn't have is no part of its name; a group that is missing has a name already.
        ", ".join(str(value) for value in values if not pd.isna(value)) or "all"
        for values in shown[names].astype(object).to_numpy()
    ]
    cells = {name: [_cell(name, line) for _, line in shown.iterrows()] for name in _numbers(every, shape)}
    details = [shape.detail(line) for _, line in shown.iterrows()] if shape.detail else [""] * len(shown)
    wide = bool(shape.detail) and width >= WIDE and any(details)
    least = min(max(map(cell_len, labels), default=0), LABEL) if not any(details) else LABEL
    kept, dropped = _fitting(cells, shape.drop, width - max(least, _LEAST) - (36 if wide else 0))
    headings = [_heading(name, every) for name in kept]
    table = new_table(
        ", ".join(names) or "group", *headings, detail=shape.detail_head if wide else "", least=min(least, LABEL)
    )
    parts = every[section].value_counts() if section else None
    for place, (label, (_, line)) in enumerate(zip(labels, shown.iterrows(), strict=True)):
        if section and (place == 0 or line[section] != shown[section].iloc[place - 1]):
            table.add_section()
            title, style = _section(section, line, int(parts[line[section]]) if parts is not None else 0)
            table.add_row(Text(title, no_wrap=True), style=style)
        numbers = [_styled(cells[name][place]) for name in kept]
        add_line(table, wide, label, *numbers, detail=details[place])
    return table, [_heading(name, every) for name in dropped]


def _names(frame: pd.DataFrame, groups: Sequence[str], shape: _Shape) -> list[str]:
    """Return the columns that name a line; the metric only where there are several."""
    found = [*groups, *(name for name in shape.names if name in frame and name not in groups)]
    return [name for name in found if name not in ("metric", "statistic") or frame[name].nunique() > 1]


def _numbers(frame: pd.DataFrame, shape: _Shape) -> Iterator[str]:
    for name in shape.numbers:
        if name == "p*":
            yield from (str(column) for column in frame.columns if re.fullmatch(r"p[\d.]+", str(column)))
        else:
            yield name


def _cell(name: str, line: pd.Series[Any]) -> str:
    if name in _CELLS:
        return _CELLS[name][1](line)
    value = line[name]
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, (int, float)):
        return number_of(value)
    return "-" if pd.isna(value) else short_number(value).replace("_", " ")


def _heading(name: str, frame: pd.DataFrame) -> str:
    if name == "change" and "unit" in frame and frame["unit"].eq("proportion").all():
        return "points"
    return _CELLS[name][0] if name in _CELLS else name.replace("_", " ")


def _section(name: str, line: pd.Series[Any], count: int) -> tuple[str, str]:
    word = str(line[name])
    if name == "metric":
        unit = str(line["unit"]) if "unit" in line and not pd.isna(line["unit"]) and line["unit"] else ""
        return f"{word}, {unit}" if unit else word, "bold"
    return f"{word.replace('_', ' ')}: {count:,}", STYLES.get(word, "bold")


def _styled(text: str) -> Any:
    return Text(text, style=STYLES[text]) if text in STYLES else text


def _fitting(cells: dict[str, list[str]], drop: Sequence[str], room: int) -> tuple[list[str], list[str]]:
    """Return which columns fit into the room, and which are left out."""
    kept, dropped = list(cells), []
    for name in drop:
        if _width(kept, cells) <= room:
            break
        if name in kept:
            kept.remove(name)
            dropped.append(name)
    return kept, dropped


def _width(names: Sequence[str], cells: dict[str, list[str]]) -> int:
    headings = {name: _CELLS[name][0] if name in _CELLS else name for name in names}
    return sum(max(cell_len(headings[name]), *map(cell_len, cells[name])) + _GAP for name in names)
