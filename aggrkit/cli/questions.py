"""``aggrkit stats`` and its like: a command for each question, with the parameters of the method as options.

Name, type, default and words of an option come from the method, so that they can't differ. What is written here is
which methods are commands, in which order, and an example of each.
"""

from __future__ import annotations

import inspect
import re
from argparse import RawDescriptionHelpFormatter
from typing import TYPE_CHECKING, Any, Final, get_args

from aggrkit import analysis
from aggrkit.cli import asking
from aggrkit.cli.codes import DONE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping

    from aggrkit.accessor import Results
    from aggrkit.findings import Finding

__all__ = ["EXAMPLES", "add_to", "answer", "options_of"]

EXAMPLES: Final = {
    "stats": "aggrkit stats demo:mlperf_training --level model --metric total_time_seconds",
    "proportions": "aggrkit proportions demo:onnx_scoreboard --level worker",
    "distributions": "aggrkit distributions results.csv --level model --columns precision",
    "anomalies": "aggrkit anomalies results.csv --metric latency_ms --lines 5",
    "compare": "aggrkit compare results.csv --by build --baseline a --current b --metric latency_ms",
    "changes": "aggrkit changes results.csv --metric latency_ms --since 2026-01-01",
    "trends": "aggrkit trends results.csv --level model --csv",
    "differences": "aggrkit differences results.csv --metric latency_ms",
    "variance": "aggrkit variance results.csv --metric latency_ms",
    "correlations": "aggrkit correlations results.csv --level model --method spearman",
    "health": "aggrkit health results.csv --where model=bert,resnet",
    "calibrate": "aggrkit calibrate results.csv --by build --baseline a --current b --repeats 50",
}
"""The questions that are commands, in the order of the help, with an example each."""

_SHARED: Final = ("self", "level", "metrics", "where", "time_range")
"""The parameters that `aggrkit.cli.asking.add_selection` stands for."""

_PROGRESS: Final = "progress"
"""The parameter that isn't an option: a command says itself that it takes its time."""

_SIDES: Final = {
    "baseline": "with --by: a value of that column, or several with commas. Without: two times, "
    "2026-01-01..2026-02-01, either of which may be left out; or 7d, the latest such span against all before it",
    "current": "the other side, in the same way; by default all that isn't baseline",
}


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    for name in EXAMPLES:
        add_question(commands, name)


def add_question(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str) -> argparse.ArgumentParser:
    """Add one command, and return its parser."""
    words = summary_of(name)
    parser = commands.add_parser(
        name,
        help=f"{words[0].lower()}{words[1:]}".rstrip("."),
        description=words,
        epilog=f"example:\n  {EXAMPLES[name]}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    asking.add_source(parser)
    add_options(parser, name)
    asking.add_output(parser)
    parser.set_defaults(parser=parser, run=_run)
    return parser


def add_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the parameters of a method, those that all share first."""
    parameters = inspect.signature(getattr(analysis.Analysis, name)).parameters
    level = parameters["level"].default if "level" in parameters else None
    asking.add_selection(parser, level="" if level == () else level, metrics="metrics" in parameters)
    group = parser.add_argument_group(f"as in df.aggr.{name}(...)")
    for option, settings in options_of(name).items():
        group.add_argument(f"--{option.replace('_', '-')}", dest=option, **settings)


def options_of(name: str) -> dict[str, dict[str, Any]]:
    """Return the options of a method's own: parameter to the arguments of `argparse.ArgumentParser.add_argument`.

    An option that isn't given is None, and left to the default of the method.

    Raises
    ------
    KeyError
        If a parameter is of a type for which there is no option.
    """
    method = getattr(analysis.Analysis, name)
    words = _words_of(method)
    found = {}
    for parameter in inspect.signature(method).parameters.values():
        if parameter.name in (*_SHARED, _PROGRESS):
            continue
        settings = _settings(str(parameter.annotation))
        said = _SIDES.get(parameter.name) or words.get(parameter.name, "")
        default = (
            "" if parameter.default in (None, inspect.Parameter.empty) else f" (default: {_text(parameter.default)})"
        )
        settings["help"] = f"{said}{default}".replace("%", "%%")
        if parameter.default is inspect.Parameter.empty:
            settings["required"] = True
        found[parameter.name] = settings
    return found


def answer(results: Results, name: str, given: argparse.Namespace, **further: Any) -> Finding:
    """Ask results the question of a command, with the arguments that were given, and further ones.

    Raises
    ------
    AggrError, ValueError, TypeError
        As the method does.
    """
    own = asking.named(given, *options_of(name))
    for side in ("baseline", "current"):
        if side in own:
            own[side] = asking.side_in(own[side], own.get("by"))
    found: Finding = getattr(results, name)(**asking.selected(given), **own, **further)
    return found


def summary_of(name: str) -> str:
    """Return the first line of what is said of a method."""
    return (inspect.getdoc(getattr(analysis.Analysis, name)) or f"Ask {name}.").splitlines()[0]


def _run(given: argparse.Namespace) -> int:
    from aggrkit.cli.telling import tell
    from aggrkit.cli.waiting import waiting

    method = getattr(analysis.Analysis, given.command)
    quiet = {_PROGRESS: False} if _PROGRESS in inspect.signature(method).parameters else {}
    with waiting(f"{given.command} of {given.source}"):
        found = answer(asking.opened(given), given.command, given, **quiet)
    tell(found, given)
    return DONE


def _settings(annotation: str) -> dict[str, Any]:
    """Return how an option of a type is read."""
    if annotation in _READ:
        return dict(_READ[annotation])
    alias = annotation.removesuffix(" | None")
    literal = getattr(analysis, alias, None)
    choices = re.findall(r'"(\w+)"', alias) or re.findall(r"'(\w+)'", alias)
    choices = list(get_args(literal)) if literal is not None else choices
    if not choices:
        raise KeyError(f"there is no option for a parameter of type {annotation!r}")
    return {"choices": choices}


def _words_of(method: Callable[..., Any]) -> dict[str, str]:
    """Return what is said of each parameter in the docstring of a method."""
    text = inspect.getdoc(method) or ""
    section = re.search(r"^Parameters\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)", text, re.DOTALL | re.MULTILINE)
    found: dict[str, str] = {}
    for names, body in re.findall(
        r"^(\w[\w, ]*?)(?: : [^\n]*)?\n((?:    [^\n]*\n|\n)+)", section[1] if section else "", re.MULTILINE
    ):
        said = " ".join(body.split())
        if not said.startswith("As in `"):
            found |= dict.fromkeys(names.split(", "), said.replace("`", "").rstrip("."))
    return found


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _numbers(text: str) -> list[float]:
    return [float(value) for value in asking.values_in(text)]


def _one_or_several(text: str) -> str | list[str]:
    values = asking.values_in(text)
    return values[0] if len(values) == 1 else values


def _margin(text: str) -> float | Mapping[str, float]:
    if "=" not in text:
        return float(text)
    return {name: float(value) for name, _, value in (part.rpartition("=") for part in asking.values_in(text))}


_numbers.__name__, _margin.__name__ = "list of numbers", "margin"

_READ: Final[dict[str, dict[str, Any]]] = {
    "Any": {"metavar": "SIDE"},
    "str | None": {"metavar": "COLUMN"},
    "float": {"type": float, "metavar": "NUMBER"},
    "float | None": {"type": float, "metavar": "NUMBER"},
    "int": {"type": int, "metavar": "N"},
    "int | None": {"type": int, "metavar": "N"},
    "int | np.random.Generator": {"type": int, "metavar": "N"},
    "Names": {"type": asking.values_in, "metavar": "NAME,..."},
    "Sequence[float]": {"type": _numbers, "metavar": "NUMBER,..."},
    "str | Sequence[str]": {"type": _one_or_several, "metavar": "NAME,..."},
    "float | Mapping[str, float]": {"type": _margin, "metavar": "NUMBER|METRIC=NUMBER,..."},
}
"""How an option is read, by the type of the parameter."""
