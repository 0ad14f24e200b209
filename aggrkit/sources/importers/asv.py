"""Results of asv (airspeed velocity): a file for each machine, environment and commit.

The file is the run: all that was measured of one commit. Its time is that of the commit, as in the charts of asv; when
the benchmark was executed is ``measured_at``. Where samples were kept (``asv run --record-samples``), a sample is an
observation, else the median that asv keeps. Parameters and units are named in ``benchmarks.json``, which asv writes
into the folder above; without it parameters are numbered, and the unit follows from the name of the benchmark.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from aggrkit.errors import SourceError
from aggrkit.sources.importers.content import Content, whole
from aggrkit.sources.importers.format import Format
from aggrkit.sources.importers.rows import arguments, column_name, from_epoch_ms, identity, numeric, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrkit.sources.importers.head import Head
    from aggrkit.sources.importers.rows import Row

__all__ = ["FORMAT"]

_METRICS: Final = {
    "time": "time_seconds",
    "timeraw": "time_seconds",
    "mem": "memory_bytes",
    "memory": "memory_bytes",
    "peakmem": "peak_memory_bytes",
    "peakmemory": "peak_memory_bytes",
}
_KIND: Final = re.compile(r"(timeraw|time|peakmem|mem|track)(_|[A-Z])")
_NAMES: Final = "benchmarks.json"
_MACHINE: Final = ("arch", "cpu", "machine", "num_cpu", "os", "ram")


def _suits(head: Head) -> bool:
    return head.has("commit_hash") and (head.has("env_name") or head.has("result_columns") or head.has("results"))


def _is_beside(head: Head) -> bool:
    if head.has(*_MACHINE) and not head.has("results"):
        return True
    return head.name == _NAMES and (not head.keys or any(path[-1] == "param_names" for path in head.keys))


def _read(content: Content) -> Iterator[Row]:
    document = content.document
    commit = plain_text(document.get("commit_hash"))
    if commit is None:
        raise content.broken("it doesn't say of which commit it is ('commit_hash')")
    if document.get("version") != 2:
        raise content.broken(
            f"it is of version {document.get('version')!r} of asv's results, and version 2 is read",
            remedy="bring it up to date: asv update",
        )
    columns = content.sequence(document.get("result_columns"), "'result_columns'")
    results = content.mapping(document.get("results"), "'results'")
    known = _named_benchmarks(content.path)
    about = _about(document, commit)
    for name, values in results.items():
        found = dict(zip(map(str, columns), content.sequence(values, f"the result of {name}"), strict=False))
        yield from _benchmark(content, about, name, found, known.get(name, {}))


def _about(document: dict[str, Any], commit: str) -> Row:
    machine = document.get("params")
    machine = machine if isinstance(machine, dict) else {}
    environment = plain_text(document.get("env_name"))
    requirements = document.get("requirements")
    versions = {
        f"{column_name(name)}_version": plain_text(version)
        for name, version in (requirements.items() if isinstance(requirements, dict) else ())
    }
    system = (plain_text(machine.get("os")) or "").split(" ")[0]
    return {
        "run_id": "-".join(filter(None, (commit[:8], plain_text(machine.get("machine")), environment))),
        "timestamp": from_epoch_ms(document.get("date")),
        "commit": commit,
        "config": environment,
        "python_version": plain_text(document.get("python")),
        "hardware": plain_text(machine.get("cpu")),
        "worker": plain_text(machine.get("machine")),
        "platform": f"{system} {machine.get('arch', '')}".strip() or None,
        **versions,
    }


def _benchmark(content: Content, about: Row, name: str, found: dict[str, Any], known: dict[str, Any]) -> Iterator[Row]:
    axes = [content.sequence(axis, f"a parameter of {name}") for axis in found.get("params") or []]
    combinations = list(itertools.product(*axes))
    result = found.get("result")
    values = [None] * len(combinations) if result is None else content.sequence(result, f"the result of {name}")
    if len(values) != len(combinations):
        raise content.broken(f"{name} has {len(values)} results for {len(combinations)} combinations of parameters")
    samples = found.get("samples")
    samples = samples if isinstance(samples, list) and len(samples) == len(values) else [None] * len(values)
    names = known.get("param_names") or [str(place + 1) for place in range(len(axes))]
    metric = _metric(name, known)
    for combination, value, kept in zip(combinations, values, samples, strict=True):
        test = f"{name}({', '.join(map(str, combination))})" if combination else name
        row = {
            **about,
            "model": test,
            "test_case": test,
            "measured_at": from_epoch_ms(found.get("started_at")),
            "status": _status(value),
            **arguments(dict(zip(map(str, names), combination, strict=False))),
        }
        # A sample keeps its identity when further ones are appended; a median is another once it is measured again.
        told = (about["run_id"], about["commit"], test, found.get("version"))
        if isinstance(kept, list) and kept:
            for repeat, sample in enumerate(kept):
                yield {**row, "result_id": identity(*told, repeat, sample), "repeat": repeat, metric: numeric(sample)}
        else:
            yield {**row, "result_id": identity(*told, found.get("started_at"), str(value)), metric: numeric(value)}


def _status(value: object) -> str:
    """Return how a benchmark ended: asv writes null where it failed, and NaN where it was skipped."""
    if value is None:
        return "failed"
    return "skipped" if np.isnan(numeric(value)) else "passed"


def _metric(name: str, known: dict[str, Any]) -> str:
    told = _KIND.match(name.rsplit(".", 1)[-1])
    kind = str(known.get("type") or (told.group(1) if told else "track"))
    unit = plain_text(known.get("unit"))
    if kind in _METRICS:
        return _METRICS[kind]
    return f"track_{column_name(unit)}" if unit and unit != "unit" else "track_value"


def _named_benchmarks(path: str) -> dict[str, dict[str, Any]]:
    """Return what asv knows of its benchmarks, nothing where its list isn't there or can't be read."""
    for folder in Path(path).absolute().parents[:2]:
        try:
            found = json.loads(whole(str(folder / _NAMES)))
        except (SourceError, ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return {name: known for name, known in found.items() if isinstance(known, dict)}
    return {}


FORMAT: Final = Format(
    name="asv",
    title="a result of asv",
    remedy="write it again: asv run",
    result_type="performance",
    suits=_suits,
    read=_read,
    is_beside=_is_beside,
)
