"""The report of the detailed layer, as JSON, Markdown and one HTML page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from aggrkit.markdown import escaped, grid
from aggrkit.wire import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["FORMATS", "report"]

FORMATS: Final = ("json", "markdown", "html")

_MOST_LINES: Final = 40
_REGRESSIONS: Final = ("group", "metric", "unit", "baseline", "current", "change_pct", "ci_lower", "ci_upper")
_ANOMALIES: Final = ("group", "metric", "observation", "value", "lower", "upper", "direction", "severity")
_DIFFERENCES: Final = (
    "dimension",
    "metric",
    "n",
    "groups",
    "effect_size",
    "magnitude",
    "pvalue_adjusted",
    "best",
    "worst",
)
_HEADINGS: Final = {
    "change_pct": "change, %",
    "ci_lower": "from",
    "ci_upper": "to",
    "effect_size": "effect size",
    "pvalue_adjusted": "p (adjusted)",
    "lower": "expected from",
    "upper": "to",
}
_COUNTED: Final = {
    "model_count": "models",
    "hardware_count": "devices",
    "worker_count": "workers",
    "task_type_count": "task types",
    "regression_count": "regressions",
    "anomaly_count": "anomalies",
}
_DATED: Final = {"first_result": "from", "last_result": "to"}
_STATUS: Final = {
    "healthy": "Healthy: nothing regressed, nothing is odd.",
    "degraded": "Degraded: something regressed or is odd.",
    "failing": "Failing: fewer than half of the results pass.",
    "no_data": "No results yet.",
}


@dataclass(frozen=True)
class _Table:
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class _Section:
    title: str
    words: str = ""
    table: _Table | None = None


def report(content: Mapping[str, Any], format: str, charts: Mapping[str, Any]) -> str:
    """Return the report in one of `FORMATS`.

    Parameters
    ----------
    content : mapping
        What the aggregator found: status, words, regressions, anomalies, differences, configurations, dimensions,
        tests, workers, config.
    format : str
        "json", "markdown" or "html".
    charts : mapping of str to altair.Chart
        Pictures for the page.
    """
    if format == "json":
        return json.dumps(plain(content), indent=2, allow_nan=False)
    return _markdown(content) if format == "markdown" else _page(content, charts)


def _sections(content: Mapping[str, Any]) -> list[_Section]:
    """Return the report section by section, for every format that people read."""
    sections = [
        _listed("Regressions", content["regressions"], _REGRESSIONS, "Nothing regressed."),
        _listed("Anomalies", content["anomalies"], _ANOMALIES, "No observation is odd."),
        _listed("What makes a difference", content["differences"], _DIFFERENCES, "Nothing to tell results apart by."),
    ]
    sections += [_of_configurations(name, found) for name, found in content["configurations"].items()]
    sections += [_of_dimension(name, found) for name, found in content["dimensions"].items() if found]
    settings = tuple((name, _cell(value)) for name, value in content["config"].items())
    method = (
        "Current results are compared with those before, like with like; a verdict needs a change beyond the margin "
        "and an adjusted p-value below the level. Anomalies are judged against their own kind."
    )
    sections.append(_Section("Method", method, _Table(("setting", "value"), settings)))
    return sections


def _listed(title: str, found: Sequence[Mapping[str, Any]], columns: Sequence[str], nothing: str) -> _Section:
    if not found:
        return _Section(title, nothing)
    shown = [name for name in columns if any(line.get(name) is not None for line in found)]
    rows = tuple(tuple(_cell(line.get(name)) for name in shown) for line in found[:_MOST_LINES])
    more = len(found) - len(rows)
    note = f"{more:,} more are in the JSON report." if more > 0 else ""
    return _Section(title, "", _Table(tuple(_HEADINGS.get(name, name) for name in shown), rows, note))


def _of_configurations(metric: str, found: Mapping[str, Any]) -> _Section:
    ends = [name for name in found if name != "unit"]
    keys = [key for end in ends for line in found[end] for key in line]
    columns = tuple(dict.fromkeys(keys))
    rows = tuple(
        (end, *(_cell(line.get(name)) for name in columns)) for end in ends for line in found[end][: _MOST_LINES // 8]
    )
    unit = f" ({found['unit']})" if found["unit"] else ""
    return _Section(f"{metric}{unit}: {' and '.join(ends)} configurations", "", _Table(("", *columns), rows))


def _of_dimension(dimension: str, found: Mapping[str, Mapping[str, Any]]) -> _Section:
    keys = dict.fromkeys(key for entry in found.values() for key in entry)
    shown = [key for key in keys if key in ("count", "success_rate") or key.endswith(("_median", "_p95", "_cv"))]
    rows = tuple(
        (value, *(_cell(entry.get(key)) for key in shown)) for value, entry in list(found.items())[:_MOST_LINES]
    )
    more = len(found) - len(rows)
    note = f"{more:,} more are in the JSON report." if more > 0 else ""
    headings = (dimension, *(key.replace("_", " ") for key in shown))
    return _Section(f"By {dimension.replace('_', ' ')}", "", _Table(headings, rows, note))


def _figures(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the key figures, label and value."""
    figures = [("results", _cell(status["total_results"]))]
    if status.get("success_rate") is not None:
        low, high = status["success_rate_ci"]
        share = f"{100 * status['success_rate']:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)"
        figures.append(("passed", share))
    figures += [(label, _cell(status[name])) for name, label in _COUNTED.items() if status.get(name) is not None]
    figures += [(label, str(status[name])[:10]) for name, label in _DATED.items() if status.get(name)]
    return figures


def _markdown(content: Mapping[str, Any]) -> str:
    status = content["status"]
    lines = ["# Test results", "", f"**{_STATUS[status['status']]}**", ""]
    lines += [f"- {label}: {value}" for label, value in _figures(status)]
    lines += ["", "## Findings", ""]
    lines += [f"- {escaped(words)}" for words in content["words"]] or ["- nothing yet"]
    for section in _sections(content):
        lines += ["", f"## {escaped(section.title)}", ""]
        lines += [section.words, ""] if section.words else []
        if section.table is not None:
            lines += grid(section.table.columns, section.table.rows)
            lines += ["", section.table.note] if section.table.note else []
    return "\n".join(lines).rstrip() + "\n"


def _page(content: Mapping[str, Any], charts: Mapping[str, Any]) -> str:
    from jinja2 import Environment
    from markupsafe import Markup

    from aggrkit.charts import static_svg

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("aggrkit.detailed").joinpath("report.html.jinja").read_text("utf-8"))
    status = content["status"]
    drawn = [
        {"name": name, "text": _alt_text(chart), "svg": Markup(static_svg(chart))}  # noqa: S704 - made by vl-convert
        for name, chart in charts.items()
    ]
    return template.render(
        status=status["status"],
        said=_STATUS[status["status"]],
        figures=_figures(status),
        words=content["words"],
        charts=drawn,
        sections=_sections(content),
    )


def _alt_text(chart: Any) -> str:
    text = chart.description
    return text if isinstance(text, str) else ""


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return str(value)
