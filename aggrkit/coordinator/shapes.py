"""Which results the store will take without a word: those of a shape that it has taken before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aggrkit.coordinator.records import role_of
from aggrkit.errors import ProtocolError
from aggrkit.model.schema import Role
from aggrkit.store.results import by_result_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggrkit.coordinator.records import Result, Shape
    from aggrkit.store import BenchmarkDBManager

__all__ = ["Shapes"]

_MOST_SHAPES: Final = 10_000
_MOST_COLUMNS: Final = 2000


class Shapes:
    """Shapes of results that the store has taken.

    Whether a number or a truth value fits into a column is a question of its kind alone. A text may be one that looks
    like a number in one result and doesn't in the next, so a shape with texts is only known if each of them goes into a
    column of texts, or into one where what can't be read is missing.

    Parameters
    ----------
    store : BenchmarkDBManager
        The store.
    """

    def __init__(self, store: BenchmarkDBManager) -> None:
        self._store = store
        self._types: dict[tuple[str | None, Shape], str] = {}

    def known(self, results: Iterable[Result]) -> bool:
        """Say whether the store will take all of these results."""
        return all((result.result_type, result.shape) in self._types for result in results)

    def type_of(self, result: Result) -> str | None:
        """Return the type of a result; None where neither it nor one of its shape has said it."""
        return result.result_type or self._types.get((result.result_type, result.shape))

    def learn(self, results: Iterable[Result]) -> None:
        """Put results into the store, all of them or none, and remember their shapes.

        Raises
        ------
        SchemaError, UnknownNameError
            If the store refuses them.
        ProtocolError
            "bad_result", if the store would get too many columns.
        SourceError
            If it can't be written.
        """
        every = list(results)
        kinds: dict[int, str] = {}
        for place, result in enumerate(every):
            kinds[place] = self.type_of(result) or next(iter(by_result_type([result.record], None)))
        for kind in set(kinds.values()):
            names = {name for place, result in enumerate(every) if kinds[place] == kind for name in result.record}
            self._room_for(kind, names)
        self._store.ingest([{**result.record, "result_type": kinds[place]} for place, result in enumerate(every)])
        columns = {kind: self._store.columns(kind) for kind in set(kinds.values())}
        for place, result in enumerate(every):
            folded = {name.casefold(): dtype for name, dtype in columns[kinds[place]].items()}
            if len(self._types) < _MOST_SHAPES and _settled(result.shape, folded):
                self._types[result.result_type, result.shape] = kinds[place]

    def _room_for(self, kind: str, names: set[str]) -> None:
        there = {name.casefold() for name in self._store.columns(kind)}
        new = {name.casefold() for name in names if role_of(name) is None} - there
        if len(there) + len(new) > _MOST_COLUMNS:
            raise ProtocolError(
                "bad_result",
                f"the results bring {len(new)} fields that the store doesn't have, beyond the {_MOST_COLUMNS} that it"
                " can have; name fields alike in all results",
            )


def _settled(shape: Shape, columns: dict[str, str]) -> bool:
    """Say whether no value of this shape can be refused."""
    roles = [role_of(_last(name)) for name, _ in shape]
    for (name, kind), role in zip(shape, roles, strict=True):
        if kind in ("flag", "number"):
            continue
        held = columns.get(_last(name).casefold())
        alone = role is not None and roles.count(role) == 1
        lenient = alone and (kind == "text" or role != Role.TIMESTAMP.value)
        if held != "VARCHAR" and not lenient:
            return False
    return True


def _last(name: str) -> str:
    return name.rpartition(".")[2]
