"""A source that is open, and that can grow: whether it has changed, and how it is opened anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aggrkit.errors import SourceError
from aggrkit.model.schema import recognise
from aggrkit.sources.observations import Observations

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from aggrkit.sources.observations import Relation

__all__ = ["Opened"]


class Opened:
    r"""A source that is open. It stays as it was opened; `renewed` gives another one, with what has come since.

    Parameters
    ----------
    opening : callable
        Opens it, and gives its relation.
    mark : callable
        Gives something that is another thing when the source has changed, at little cost; see `aggrkit.sources.marks`.
    is_exclusive : bool, optional
        Whether nobody else can write while it is open, as with a DuckDB file.
    is_late : bool, optional
        Whether the mark asks the source, and is only taken when it is to be watched.

    Raises
    ------
    SourceError
        If it can't be opened.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from aggrkit.sources.opening import open_source
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "results.csv"
    >>> _ = path.write_text("model,latency_ms\nbert,3\n")
    >>> opened = open_source(path, None, None, None)
    >>> opened.has_changed()
    False
    >>> _ = path.write_text("model,latency_ms\nbert,3\nbert,5\n")
    >>> opened.has_changed()
    True
    """

    def __init__(
        self,
        opening: Callable[[], Relation],
        mark: Callable[[], Hashable],
        *,
        is_exclusive: bool = False,
        is_late: bool = False,
    ) -> None:
        self._opening = opening
        self._mark = mark
        self.is_exclusive = is_exclusive
        self._seen: Hashable = None
        if not is_late:
            try:
                self._seen = mark()  # before it is opened: what comes meanwhile is seen later, and not missed
            except SourceError:
                opening()  # which says better what is wrong
                raise
        self._relation: Relation | None = opening()

    def __call__(self, given: Mapping[str, Any]) -> Observations:
        """Return its observations, with what the user said about the columns."""
        relation = self._relation
        if relation is None:
            relation = self._relation = self._opening()
        return Observations(
            relation.table, recognise(relation.fields, given), relation.label, relation.unique, relation.take
        )

    def watch(self) -> None:
        """Remember how it is, unless that is known already."""
        if self._seen is None:
            self._seen = self._mark()

    def has_changed(self) -> bool:
        """Say whether it has changed since it was opened, or since it is watched.

        Raises
        ------
        SourceError
            If that can't be told at the moment.
        """
        return self._mark() != self._seen

    def renewed(self) -> Opened:
        """Open it anew."""
        return Opened(self._opening, self._mark, is_exclusive=self.is_exclusive)

    def apart(self) -> Opened:
        """Return the same, as it is open, to be let go by itself."""
        made = Opened.__new__(Opened)
        made.__dict__.update(self.__dict__)
        return made

    def let_go(self) -> None:
        """Close it, as soon as nobody uses what it gave any more; the next question opens it again."""
        self._relation = None
