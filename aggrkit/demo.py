"""What ``aggrkit demo`` prints: the questions of this package, asked of real results that ship with it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from aggrkit import datasets
from aggrkit.accessor import AggrAccessor
from aggrkit.printing import (
    LABEL,
    STYLES,
    WIDE,
    add_line,
    at_slashes,
    change_of,
    comparison_note,
    new_console,
    new_table,
    number_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd
    from rich.console import Console

    from aggrkit.analysis import Analysis
    from aggrkit.findings import Finding
    from aggrkit.model.schema import Schema

__all__ = ["TOURS", "show"]

_LINES_SHOWN: Final = 12
_ANOMALIES_SHOWN: Final = 8


@dataclass(frozen=True)
class _Tour:
    """What the demo asks of a set."""

    holds: str
    metric: str
    what: str
    level: str | list[str]
    groups: str | list[str]
    sides: tuple[Any, Any]
    sides_named: tuple[str, str]
    by: str | None = None
    rate: bool = False
    copies: tuple[str, ...] = ()


TOURS: Final = {
    "mlperf_training": _Tour(
        "training runs that were handed in to MLPerf Training v2.1, v3.0 and v3.1",
        "total_time_seconds",
        "seconds to train",
        level="model",
        groups="model_hardware",
        sides=("v3.0", "v3.1"),
        by="round",
        sides_named=("v3.0", "v3.1"),
        copies=("model", "timestamp", "total_time_seconds"),
    ),
    "onnx_scoreboard": _Tour(
        "results of the ONNX backend tests, once a month from October 2024 to November 2025",
        "is_compatible",
        "tests passed",
        level=["hardware", "worker"],
        groups=["task_type"],
        sides=((None, "2025-04-30"), ("2025-05-01", None)),
        sides_named=("before May", "since May"),
        rate=True,
    ),
    "ci_tests": _Tour(
        "executions of 117 test classes in builds of deeplearning4j, 2014 to 2016",
        "execution_time_seconds",
        "seconds to run",
        level=["test_name"],
        groups=["test_name"],
        sides=((None, "2014-12-31"), ("2015-01-01", None)),
        sides_named=("2014", "since 2015"),
    ),
    "jsfw_bench": _Tour(
        "samples of 10 web frameworks on 10 releases of Chrome",
        "total_time_ms",
        "milliseconds to render",
        level=["framework"],
        groups=["framework", "task_type"],
        sides=([139, 140, 141, 142, 143], [144, 145, 146, 148, 150]),
        by="browser_version",
        sides_named=("139-143", "144-150"),
    ),
}

_ROLES_TOLD: Final = {
    **dict.fromkeys(("run_id", "timestamp", "model", "hardware", "task_type", "worker"), "dimension"),
    **{role: role for role in ("condition", "version", "outcome")},
    "metric": "metric",
}


def show(name: str) -> None:
    """Ask a set the questions of its tour, and print the answers as they come.

    Parameters
    ----------
    name : str
        Name of a set that ships with the package.

    Raises
    ------
    UnknownNameError
        If there is no set of that name.
    """
    start = time.perf_counter()
    frame = datasets.load(name)
    tour = TOURS[name]
    console = new_console()
    console.print(f"{len(frame):,} {tour.holds}", style="bold")
    console.print("Real results that ship with the package; sources: aggrkit/datasets/NOTICE.md.")
    _print_code(console, f"df = aggrkit.datasets.load({name!r})")
    if tour.copies:
        rows = len(frame)
        frame = frame.drop_duplicates(list(tour.copies))
        console.print(f"{rows - len(frame)} of them were handed in again in a later round; the copies are left out.")
        _print_code(console, f"df = df.drop_duplicates({list(tour.copies)})")
    told: set[str] = set()
    for number, (title, work) in enumerate(_steps(AggrAccessor(frame), tour, console.width >= WIDE), start=1):
        _run_step(console, f"{number}. {title}", work, told)
    console.print(f"\n{len(frame):,} observations, {time.perf_counter() - start:.1f} s in all.", style="bold")


@dataclass(frozen=True)
class _Shown:
    """What a step prints: the call that was made, the lines worth seeing, and the finding in words."""

    call: str
    table: Table
    sentences: list[str]


def _steps(analysis: Analysis, tour: _Tour, wide: bool) -> list[tuple[str, Callable[[], _Shown]]]:
    """Return the steps of a tour, each with its title."""
    before, after = tour.sides_named
    by_level = tour.level if isinstance(tour.level, str) else " and ".join(tour.level)

    def recognised() -> _Shown:
        return _Shown("df.aggr.schema", _schema_table(analysis.schema), [])

    def statistics() -> _Shown:
        call, found = _ask(analysis, "proportions" if tour.rate else "stats", level=tour.level, metrics=tour.metric)
        return _Shown(call, _rates_table(found) if tour.rate else _stats_table(found), found.explain().splitlines())

    def anomalies() -> _Shown:
        call, found = _ask(analysis, "anomalies", level=tour.groups, metrics=tour.metric)
        return _Shown(call, _anomalies_table(found, wide), found.explain().splitlines())

    def changes() -> _Shown:
        by = {"by": tour.by} if tour.by else {}
        call, found = _ask(analysis, "compare", *tour.sides, **by, level=tour.groups, metrics=tour.metric)
        return _Shown(call, _changes_table(found, wide, tour), found.explain().splitlines())

    steps = [
        ("What was recognised", recognised),
        (f"Statistics: {tour.what} by {by_level}", statistics),
        (f"Anomalies: {tour.what}, the most certain first", anomalies),
        (f"Changes: {tour.what}, {before} -> {after}", changes),
    ]
    # A single pass or failure is no anomaly.
    return [step for step in steps if not (tour.rate and step[1] is anomalies)]


def _ask(analysis: Analysis, method: str, *values: Any, **options: Any) -> tuple[str, Any]:
    """Ask a question; return the call, as one would write it, and the answer."""
    said = [*map(repr, values), *(f"{name}={value!r}" for name, value in options.items())]
    return f"df.aggr.{method}({', '.join(said)})", getattr(analysis, method)(*values, **options)


def _run_step(console: Console, title: str, work: Callable[[], _Shown], told: set[str]) -> None:
    """Do a step and print it; on a terminal, show meanwhile that it is being done, and for how long."""
    columns = (SpinnerColumn("line"), TextColumn("{task.description}"), TimeElapsedColumn())
    start = time.perf_counter()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(title, total=None)
        shown = work()
    seconds = time.perf_counter() - start
    console.print()
    console.print(Rule(Text(f"{title} ({seconds:.1f} s)", style="bold"), align="left", style="dim"))
    _print_code(console, shown.call)
    for sentence in shown.sentences[:1]:
        console.print(sentence, style="bold")
    console.print(shown.table)
    # How many observations were used is the same in every step, and is told once.
    rest = Table.grid(padding=(0, 1))
    for sentence in shown.sentences[1:]:
        if sentence not in told:
            rest.add_row("-", sentence)
    if rest.row_count:
        console.print(rest)
    told.update(shown.sentences)


def _print_code(console: Console, line: str) -> None:
    console.print(f"    {line}", style="cyan", soft_wrap=True)


def _schema_table(schema: Schema) -> Table:
    table = new_table("role", detail="columns")
    by_role: dict[str, list[str]] = {}
    why: dict[str, str] = {}
    for column in schema.columns:
        role = _ROLES_TOLD.get(column.role, "other")
        by_role.setdefault(role, []).append(column.name)
        why[role] = column.reason.split(": ")[-1]
    for role in ("dimension", "condition", "version", "outcome"):
        if role in by_role:
            meaning = "to group by" if role == "dimension" else why[role]
            table.add_row(f"{role}: {meaning}", ", ".join(by_role[role]))
    for metric in schema.metrics:
        better = {1: "higher is better", -1: "lower is better", 0: "better direction unknown"}[metric.sign]
        unit = "pass or fail" if metric.is_proportion else metric.unit
        table.add_row(f"metric: {', '.join(filter(None, (unit, better)))}", metric.name)
    if "other" in by_role:
        table.add_row("not used", ", ".join(by_role["other"]))
    return table


def _stats_table(found: Finding) -> Table:
    numbers = ("n", "mean", "std", "min", "p50", "p95", "max")
    table = new_table(_heading(found), *numbers)
    for _, line in _largest(found, "p50").iterrows():
        table.add_row(_label(found, line), *(number_of(line[name]) for name in numbers))
    return table


def _rates_table(found: Finding) -> Table:
    table = new_table(_heading(found), "n", "failures", "rate", "95 % interval")
    for _, line in _largest(found, "failures").iterrows():
        interval = f"{100 * line['ci_lower']:.1f} to {100 * line['ci_upper']:.1f} %"
        numbers = f"{line['n']:,}", f"{line['failures']:,}", f"{100 * line['rate']:.1f} %", interval
        table.add_row(_label(found, line), *numbers)
    return table


def _anomalies_table(found: Finding, wide: bool) -> Table:
    table = new_table(_heading(found), "value", "expected", "severity", detail="run" if wide else "", least=LABEL)
    for _, line in found.head(_ANOMALIES_SHOWN).iterrows():
        numbers = (
            number_of(line["value"]),
            f"{number_of(line['lower'])} to {number_of(line['upper'])}",
            str(line["severity"]),
        )
        run = at_slashes(str(line["run_id"]), 80 if wide else 36)
        add_line(table, wide, _label(found, line), *numbers, detail=run)
    return table


def _changes_table(found: Finding, wide: bool, tour: _Tour) -> Table:
    table = new_table(
        _heading(found),
        *tour.sides_named,
        "points" if tour.rate else "%",
        "95 % interval",
        detail="note" if wide else "",
        least=LABEL,
    )
    for verdict, lines in found.groupby("verdict", observed=True, sort=True):
        shown = _clearest(lines, str(verdict))
        more = f", {len(shown)} shown" if len(shown) < len(lines) else ""
        more = ", only on one side" if verdict == "no_data" else more
        table.add_section()
        table.add_row(f"{str(verdict).replace('_', ' ')}: {len(lines)}{more}", style=STYLES.get(str(verdict), "bold"))
        for _, line in shown.iterrows():
            values = line["baseline"], line["current"]
            sides = (f"{100 * value:.1f} %" if tour.rate else number_of(value) for value in values)
            change = change_of(line["change_pct"]), f"{change_of(line['ci_lower'])} to {change_of(line['ci_upper'])}"
            add_line(table, wide, _label(found, line), *sides, *change, detail=comparison_note(line))
    return table


def _names(found: Finding) -> list[str]:
    return list(found.columns[: list(found.columns).index("metric")])


def _heading(found: Finding) -> str:
    return ", ".join(_names(found))


def _label(found: Finding, line: pd.Series[Any]) -> str:
    return ", ".join(str(line[name]) for name in _names(found))


def _largest(found: Finding, by: str) -> pd.DataFrame:
    """Return the lines with the largest value, if there are too many for all."""
    return found if len(found) <= _LINES_SHOWN else found.nlargest(_LINES_SHOWN, by)


def _clearest(lines: pd.DataFrame, verdict: str) -> pd.DataFrame:
    """Return the lines of a verdict that say most: the surest changes, and what is settled soonest."""
    if verdict == "undecided":
        return lines[lines["runs_needed"].notna()].sort_values("runs_needed").head(3)
    if verdict == "equivalent":
        return lines.sort_values("pvalue", ascending=False).head(3)
    return lines.sort_values("pvalue_adjusted").head(0 if verdict == "no_data" else 5)
