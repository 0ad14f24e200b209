"""The arguments that say what closes a gate."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aggrkit.cli.asking import values_in
from aggrkit.errors import SourceError
from aggrkit.findings.gate.rules import FAIL_ON, MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["add_rules", "rules_in", "share", "shares_in"]

_UP_TO: Final = "up_to"


def add_rules(parser: argparse.ArgumentParser) -> None:
    """Add the options of a gate, as `aggrkit.findings.Comparison.gate` has them."""
    group = parser.add_argument_group("what closes the gate")
    group.add_argument(
        "--max-regressions",
        type=_count,
        default=0,
        metavar="N",
        help="so many lines may regress (default: %(default)s)",
    )
    group.add_argument(
        "--fail-on",
        choices=FAIL_ON,
        default=FAIL_ON[0],
        help="closed by this, and by all before it: regressed; changed, where no direction is known to be better; "
        "undecided, so that each line must be decided; improved (default: %(default)s)",
    )
    group.add_argument(
        "--missing",
        choices=MISSING,
        default=MISSING[0],
        help="lines that only the baseline has, as their tests didn't run: fail returns 3, warn says so "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--tolerate", action="append", default=[], metavar="METRIC", help="a metric that never closes it (repeatable)"
    )
    group.add_argument(
        "--min-effect",
        action="append",
        metavar="[METRIC=]SHARE",
        help="the smallest change that closes it, such as 5%% or latency_ms=5%% (repeatable; default: any verdict)",
    )
    group.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="COLUMN=VALUE,...",
        help="a change that is expected: model=resnet*,metric=memory_mb,up_to=10%%,reason=... (repeatable)",
    )
    group.add_argument(
        "--allow-file",
        metavar="FILE",
        help='the same in a TOML file: tables [[allow]] with the columns, e.g. model = "resnet*", up_to and reason',
    )


def rules_in(given: argparse.Namespace) -> dict[str, Any]:
    """Return what the arguments of `add_rules` say, as ``gate`` takes it.

    Raises
    ------
    ValueError
        If a share or an entry can't be read.
    SourceError
        If the file can't be read.
    """
    allow = [_entry(text) for text in given.allow]
    if given.allow_file is not None:
        allow += _entries_of(given.allow_file)
    return {
        "max_regressions": given.max_regressions,
        "fail_on": given.fail_on,
        "missing": given.missing,
        "tolerate": given.tolerate,
        "allow": allow,
        "min_effect": shares_in("--min-effect", given.min_effect, 0.0),
    }


def share(text: str) -> float:
    """Return a share: "5%" or "0.05".

    Raises
    ------
    ValueError
        If it can't be read, or is a number without % of 1 or more.

    Examples
    --------
    >>> from aggrkit.cli.rules import share
    >>> share("5 %"), share("0.05")
    (0.05, 0.05)
    """
    number, percent, rest = text.partition("%")
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if rest.strip() or not value >= 0 or (not percent and value >= 1):
        raise ValueError(f"a share is written like 5% or 0.05; got {text!r}")
    return value / 100 if percent else value


def shares_in(option: str, texts: Sequence[str] | None, default: float) -> float | dict[str, float]:
    """Return one share, or one by metric.

    Raises
    ------
    ValueError
        If they can't be read, or both forms are given.
    """
    if not texts:
        return default
    pairs = [text.rpartition("=") for text in texts]
    try:
        named = {metric: share(value) for metric, equals, value in pairs if equals}
        plain = [share(value) for _, equals, value in pairs if not equals]
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error
    if named and not plain:
        return named
    if len(plain) == 1 and not named:
        return plain[0]
    raise ValueError(f"{option} is one share for all metrics, or METRIC=SHARE for each; got {' '.join(texts)}")


def _entry(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in values_in(text):
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise ValueError(
                f"--allow is COLUMN=VALUE, several with commas, such as model=resnet*,up_to=10%; got {text!r}"
            )
        found[name.strip()] = value
    return _read(found, "--allow")


def _entries_of(path: str) -> list[dict[str, Any]]:
    try:
        content = tomllib.loads(Path(path).expanduser().read_text("utf-8"))
    except OSError as error:
        raise SourceError(f"the allow list {path} can't be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"the allow list {path} is no TOML: {error}") from error
    entries = content.pop("allow", [])
    if content or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SourceError(f"the allow list {path} holds tables [[allow]] and nothing else; see --help")
    return [_read(entry, path) for entry in entries]


def _read(entry: dict[str, Any], where: str) -> dict[str, Any]:
    limit = entry.get(_UP_TO)
    if isinstance(limit, str):
        try:
            return {**entry, _UP_TO: share(limit)}
        except ValueError as error:
            raise ValueError(f"{where}: {_UP_TO}: {error}") from error
    return entry


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"a whole number from 0; got {text!r}")
    return int(text)
