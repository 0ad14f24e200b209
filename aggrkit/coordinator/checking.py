"""Checks of what is said of a run, each with what to write instead."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Final

from aggrkit.coordinator.records import role_of
from aggrkit.errors import SchemaError, UnknownNameError, did_you_mean, listed, quoted
from aggrkit.model.schema import Role

__all__ = [
    "HARDWARE",
    "Test",
    "check_parameters",
    "grid_of",
    "made_of",
    "named",
    "scalars",
    "tests_of",
    "whole",
    "workers_of",
]

HARDWARE: Final = Role.HARDWARE.value

Test = Callable[..., Any] | str | tuple[str, ...]
"""A function, the name of one ("module:function"), or a command."""


def made_of(cls: type[Any], given: object, kind: str, what: str) -> Any:
    """Return a configuration made of a mapping, if it has no name too many and none too few."""
    names = [each.name for each in fields(cls)]
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} is a dictionary of {', '.join(names)}; got {quoted(given)}")
    for name in given:
        if name not in names:
            raise UnknownNameError.of(kind, name, names)
    without = [each.name for each in fields(cls) if each.default is MISSING and each.default_factory is MISSING]
    needed = [name for name in without if name not in given]
    if needed:
        raise SchemaError(f"{what} lacks {', '.join(needed)}; it has {', '.join(map(str, given)) or 'nothing'}")
    return cls(**given)


def tests_of(given: object) -> Mapping[str, Test]:
    """Return the tests by their names."""
    if isinstance(given, Mapping):
        if not given:
            raise SchemaError("tests is empty; give a function, 'module:function', a command, or a dictionary of them")
        for name in given:
            named("the name of a test", name)
        return MappingProxyType({name: _test(name, test) for name, test in given.items()})
    test = _test("tests", given)
    if isinstance(test, str):
        name = test.partition(":")[2]
    else:
        name = getattr(test, "__name__", "test") if callable(test) else PurePath(test[0]).name
    return MappingProxyType({name: test})


def _test(name: str, test: object) -> Test:
    if isinstance(test, str):
        module, colon, function = test.partition(":")
        if not (module and colon and function) or ":" in function:
            words = f"the test {name!r} is {quoted(test)}: a function is named 'module:function'"
            raise SchemaError(f"{words}, and a command is a list, ['python', 'bench.py']")
        return test
    if callable(test):
        return test
    if isinstance(test, (list, tuple)) and test and all(isinstance(part, str) for part in test):
        return tuple(test)
    raise TypeError(
        f"the test {name!r} is a function, 'module:function' or a command (a list of texts); got {quoted(test)}"
    )


def grid_of(given: object) -> Mapping[str, tuple[Any, ...]]:
    """Return the conditions of a grid, each with all its values."""
    if not isinstance(given, Mapping):
        raise TypeError(f"grid is a dictionary of conditions, {{'model': ['bert', 'vit']}}; got {quoted(given)}")
    found: dict[str, tuple[Any, ...]] = {}
    for name, values in given.items():
        named("a condition of the grid", name)
        several = isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping))
        every = tuple(values) if several else (values,)
        if not every:
            raise SchemaError(
                f"grid[{name!r}] is empty, so that nothing would be run; give it a value, or leave it out"
            )
        scalars(f"grid[{name!r}]", every)
        if len(set(every)) < len(every):
            raise SchemaError(f"grid[{name!r}] has a value twice: {quoted(list(every))}; say how often with repeats")
        if role_of(name) == HARDWARE and not all(isinstance(value, str) for value in every):
            raise TypeError(f"grid[{name!r}] are names of hardware, texts; got {quoted(list(every))}")
        found[name] = every
    return MappingProxyType(found)


def workers_of(given: object) -> int | Mapping[str, tuple[str, ...]]:
    """Return how many workers there are, or the hardware of each."""
    if not isinstance(given, Mapping):
        return whole("workers", given, 1)
    if not given:
        raise SchemaError("workers is empty; say how many, or leave it out")
    found = {}
    for name, hardware in given.items():
        named("the name of a worker", name)
        every = (hardware,) if isinstance(hardware, str) else hardware
        if not isinstance(every, (list, tuple)) or not all(isinstance(one, str) for one in every):
            raise TypeError(f"workers[{name!r}] is its hardware, a text or a list of them; got {quoted(hardware)}")
        found[name] = tuple(every)
    return MappingProxyType(found)


_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def check_parameters(name: str, test: Test, conditions: tuple[str, ...]) -> None:
    """Refuse a function that needs what the grid doesn't have."""
    if not callable(test):
        return
    try:
        wanted = inspect.signature(test).parameters.values()
    except (TypeError, ValueError):  # some builtins don't say what they take
        return
    for parameter in wanted:
        needed = parameter.default is parameter.empty and parameter.kind in _BY_NAME
        if needed and parameter.name not in conditions:
            raise UnknownNameError(
                f"the test {name!r} needs {parameter.name!r}, which is no condition of the grid"
                f" ({listed(conditions) or 'it has none'}); {did_you_mean(parameter.name, conditions)}"
                f" Add it to the grid, or give the parameter a default",
                name=parameter.name,
                choices=conditions,
            )


def named(what: str, given: object) -> str:
    """Return a text that isn't empty."""
    if not isinstance(given, str) or not given.strip():
        raise TypeError(f"{what} is a text that isn't empty; got {quoted(given)}")
    return given


def scalars(what: str, values: Iterable[object]) -> None:
    """Refuse values that no column of the store can hold."""
    for value in values:
        if not isinstance(value, (str, int, float, bool)):
            raise TypeError(f"{what} holds texts, numbers and truth values; got {quoted(value)}")


def whole(what: str, given: object, least: int) -> int:
    """Return a whole number that isn't too small."""
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"{what} is a whole number of at least {least}; got {quoted(given)}")
    if given < least:
        raise ValueError(f"{what} is a whole number of at least {least}; got {given}")
    return given
