"""A bounded, thread-safe cache of answers, which no caller can corrupt."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AnswerCache", "cache_key"]

_MOST: Final = 256
_MOST_BYTES: Final = 256 * 2**20


def cache_key(*parts: object) -> str:
    """Return a key of the whole of what was asked: different parts never share one.

    Parameters
    ----------
    *parts : JSON values
        What was asked, by which pipeline, of which version of the data.

    Examples
    --------
    >>> from aggrkit.cache import cache_key
    >>> cache_key({"a": "1_b:2"}) == cache_key({"a": "1", "b": "2"})
    False
    """
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class AnswerCache:
    """Answers by key, each for a limited time; the least recently used go first.

    An answer is kept as JSON text: whoever asks gets one of their own.

    Parameters
    ----------
    clock : callable, optional
        Gives seconds that never run backwards.
    most : int, optional
        Most answers that are kept.
    most_bytes : int, optional
        Most bytes that they may take together.

    Examples
    --------
    >>> from aggrkit.cache import AnswerCache
    >>> cache = AnswerCache()
    >>> cache.put("key", {"n": [1]}, ttl=60)
    >>> cache.get("key")["n"].append(2)
    >>> cache.get("key")
    {'n': [1]}
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, most: int = _MOST, most_bytes: int = _MOST_BYTES
    ) -> None:
        self._clock = clock
        self._most = most
        self._most_bytes = most_bytes
        self._entries: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> Any:
        """Return a copy of the answer, or None where there is none or its time is over."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            expires, text = entry
            if self._clock() >= expires:
                self._drop(key)
                return None
            self._entries.move_to_end(key)
        return json.loads(text)

    def put(self, key: str, answer: Any, ttl: float) -> None:
        """Keep an answer for `ttl` seconds; one that is larger than the whole cache isn't kept."""
        text = json.dumps(answer, allow_nan=False)
        with self._lock:
            self._drop(key)
            if ttl <= 0 or len(text) > self._most_bytes:
                return
            self._entries[key] = self._clock() + ttl, text
            self._bytes += len(text)
            while len(self._entries) > self._most or self._bytes > self._most_bytes:
                self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= len(entry[1])
