"""Results on their way in: on disk before they are acknowledged, then into the store and both layers, each once."""

from __future__ import annotations

import logging
import queue
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from aggrkit.coordinator.journal import Journal
from aggrkit.coordinator.records import Batch, Result, batch_of
from aggrkit.coordinator.shapes import Shapes
from aggrkit.errors import AggrError, ProtocolError, SourceError
from aggrkit.store.files import MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggrkit.detailed import ResultAggregator
    from aggrkit.store import BenchmarkDBManager

__all__ = ["Intake"]

_log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 2.0
_MOST_TOGETHER: Final = 5000


class Intake:
    """Takes results in: `keep` returns when they are on disk, `settle` when they are in the store and the layers.

    Results whose shape the store has taken before go to a journal, where one flush to disk acknowledges all that came
    meanwhile; the store takes them in shortly after, many in one transaction. Results of a new shape go into the store
    at once, which says what is wrong with them. A result counts once by its id, so that what a killed process left in
    the journal is simply taken in again.

    Parameters
    ----------
    store : BenchmarkDBManager
        Where they end up. Without a file there is no journal: results are in memory then.
    aggregator : ResultAggregator, optional
        The detailed layer, which is told of every result; the summary layer reads the store.
    settle_seconds : float, optional
        How long results may wait in the journal before the store gets them, if nobody asks.

    Raises
    ------
    SourceError
        If the journal can't be read or the store not be written.

    Attributes
    ----------
    accepted : int
        How many results were acknowledged.
    """

    def __init__(
        self, store: BenchmarkDBManager, aggregator: ResultAggregator | None = None, *, settle_seconds: float = 1.0
    ) -> None:
        self.store = store
        self._aggregator = aggregator
        self._settle_seconds = settle_seconds
        self._journal = None if store.path == MEMORY else Journal(f"{store.path}.journal")
        self._shapes = Shapes(store)
        self._arrived: queue.SimpleQueue[tuple[Batch, Future[None]] | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._pending: list[Result] = []
        self._direct: list[tuple[Batch, Future[None]]] = []
        self._since = 0.0
        self._kept = self._settled = 0
        self._asked = 0
        self.accepted = 0
        self._writing = threading.Lock()
        self._stopping = False
        self._broken: SourceError | None = None
        self._recover()
        self._threads = [
            threading.Thread(target=work, name=f"aggrkit-{name}", daemon=True)
            for name, work in (("journal", self._write), ("settle", self._settle_all))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def unsettled(self) -> bool:
        """Whether there are acknowledged results that the store doesn't have yet."""
        return self._settled < self._kept

    def keep(self, batch: Batch) -> Future[None]:
        """Take in results; the future is done when all of them are on disk, and fails if none of them is.

        It fails with `ProtocolError` ("bad_result", "shutting_down") or `SourceError`.
        """
        done: Future[None] = Future()
        if self._stopping:
            done.set_exception(ProtocolError("shutting_down", "the server is about to end; try again in a moment"))
        else:
            self._arrived.put((batch, done))
        return done

    def settle(self) -> None:
        """Wait until all that was acknowledged before is in the store and in both layers.

        Raises
        ------
        SourceError
            If the store can't be written.
        """
        with self._changed:
            wanted = self._kept
            self._asked = max(self._asked, wanted)
            self._changed.notify_all()
            while self._settled < wanted:
                if self._broken is not None:
                    raise self._broken
                self._changed.wait()

    def stop(self) -> None:
        """Take in what has arrived, put all of it into the store, and end."""
        self._stopping = True
        self._arrived.put(None)
        self._threads[0].join()
        with self._changed:
            self._changed.notify_all()
        self._threads[1].join()
        if self._journal is not None:
            self._journal.close()

    def _recover(self) -> None:
        """Take in what an earlier process left in the journal."""
        if self._journal is None:
            return
        found: list[Result] = []
        for entry in self._journal.read():
            found += batch_of([entry["record"]], entry["type"]).results
        if found:
            _log.info("%d results of the journal are taken in", len(found))
            self._into_store(found)
        self._journal.drop(self._journal.rotate())

    def _write(self) -> None:
        """Write what arrived to the journal, together what came together."""
        going_on = True
        while going_on:
            items = [self._arrived.get()]
            while not self._arrived.empty():
                items.append(self._arrived.get())
            going_on = None not in items
            together = [item for item in items if item is not None]
            quick = [(b, f) for b, f in together if self._journal is not None and self._shapes.known(b.results)]
            direct = [item for item in together if item not in quick]
            if quick:
                self._acknowledge(quick)
            with self._changed:
                self._direct += direct
                self._changed.notify_all()

    def _acknowledge(self, batches: list[tuple[Batch, Future[None]]]) -> None:
        results = [result for batch, _ in batches for result in batch.results]
        kinds = [self._shapes.type_of(result) for result in results]
        try:
            with self._writing:
                if self._journal is not None:
                    pairs = zip(results, kinds, strict=True)
                    self._journal.append({"type": kind, "record": result.record} for result, kind in pairs)
                with self._changed:
                    self._since = self._since if self._pending else time.monotonic()
                    self._pending += results
                    self._kept += len(results)
                    self._changed.notify_all()
        except SourceError as error:
            _log.error("results were refused: %s", error)
            for _, done in batches:
                done.set_exception(error)
            return
        self.accepted += len(results)
        for _, done in batches:
            done.set_result(None)

    def _settle_all(self) -> None:
        """Put what is in the journal into the store, when it is time or somebody asks."""
        while True:
            with self._changed:
                while not self._is_time():
                    if self._stopping and not self._threads[0].is_alive() and not self._pending and not self._direct:
                        return
                    left = self._since + self._settle_seconds - time.monotonic() if self._pending else None
                    self._changed.wait(left)
                direct, self._direct = self._direct, []
                ending = self._stopping
            for batch, done in direct:
                self._at_once(batch, done)
            if not self._settle_once() and ending:
                return  # the journal keeps them for the next start

    def _is_time(self) -> bool:
        if self._direct:
            return True
        late = time.monotonic() - self._since >= self._settle_seconds
        return bool(self._pending) and (
            late or self._stopping or self._asked > self._settled or len(self._pending) >= _MOST_TOGETHER
        )

    def _settle_once(self) -> bool:
        """Put the results that wait into the store; say whether it could be done."""
        with self._writing:
            with self._changed:
                results, self._pending = self._pending, []
            files = [] if self._journal is None else self._journal.rotate()
        if not results:
            return True
        try:
            self._into_store(results)
        except SourceError as error:
            _log.error("the store can't be written, and will be tried again: %s", error)
            with self._changed:
                self._pending = results + self._pending
                self._broken = error
                self._changed.notify_all()
            if not self._stopping:
                time.sleep(_RETRY_SECONDS)
            return False
        with self._writing:
            if self._journal is not None:
                self._journal.drop(files)
        with self._changed:
            self._broken = None
            self._settled += len(results)
            self._changed.notify_all()
        return True

    def _at_once(self, batch: Batch, done: Future[None]) -> None:
        """Put results of a new shape into the store, which says what is wrong with them."""
        try:
            self._shapes.learn(batch.results)
            self._tell(batch.results)
        except SourceError as error:
            done.set_exception(error)
        except AggrError as error:
            done.set_exception(ProtocolError("bad_result", str(error)))
        except Exception as error:  # noqa: BLE001  whoever waits for an answer gets one, and others go on
            done.set_exception(error)
        else:
            self.accepted += len(batch.results)
            done.set_result(None)

    def _into_store(self, results: list[Result]) -> None:
        """Put results into the store, those of a shape in one transaction."""
        groups: dict[tuple[Any, ...], list[Result]] = {}
        for result in results:
            groups.setdefault((self._shapes.type_of(result), result.shape), []).append(result)
        for (kind, _), same in groups.items():
            try:
                self.store.ingest([result.record for result in same], kind)
            except SourceError:
                raise
            except Exception:  # noqa: BLE001  what is acknowledged is neither lost nor in the way of others
                same = self._one_by_one(same, kind)
            self._tell(same)

    def _one_by_one(self, results: list[Result], kind: str | None) -> list[Result]:
        """Put results in one at a time; one that the store refuses is kept beside the journal, and told of."""
        taken = []
        for result in results:
            try:
                self.store.ingest([result.record], kind)
                taken.append(result)
            except SourceError:
                raise
            except Exception as error:  # noqa: BLE001  as above
                _log.error("the result %s was refused by the store: %s", result.result_id, error)
                if self._journal is not None:
                    self._journal.reject({"type": kind, "record": result.record}, str(error))
        return taken

    def _tell(self, results: Iterable[Result]) -> None:
        if self._aggregator is None:
            return
        for result in results:
            kind = self._shapes.type_of(result)
            self._aggregator.process_test_result({**result.record, **({"result_type": kind} if kind else {})})
