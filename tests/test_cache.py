"""The cache: keys that never collide, values that nobody can corrupt, time, bounds."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggrkit.cache import AnswerCache, cache_key

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(JSON, JSON)
def test_equal_keys_mean_equal_parts(first: object, second: object) -> None:
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (cache_key(first) == cache_key(second)) == same


def test_keys_that_once_collided() -> None:
    assert cache_key({"a": "1_b:2"}) != cache_key({"a": "1", "b": "2"})
    assert cache_key("a", "b") != cache_key("ab")
    assert cache_key(1) != cache_key("1")
    assert cache_key(1) != cache_key(True)


def test_values_are_copies() -> None:
    cache = AnswerCache()
    value = {"a": [1]}
    cache.put("k", value, 10)
    value["a"].append(2)
    first = cache.get("k")
    first["a"].append(3)
    assert cache.get("k") == {"a": [1]}


def test_answers_expire_by_the_given_clock() -> None:
    now = [0.0]
    cache = AnswerCache(clock=lambda: now[0])
    cache.put("k", 1, ttl=10)
    now[0] = 9.99
    assert cache.get("k") == 1
    now[0] = 10.0
    assert cache.get("k") is None
    assert len(cache) == 0
    cache.put("k", 1, ttl=0)
    assert cache.get("k") is None


def test_the_least_recently_used_goes_first_and_sizes_are_bounded() -> None:
    cache = AnswerCache(most=2)
    cache.put("a", 1, 10)
    cache.put("b", 2, 10)
    assert cache.get("a") == 1
    cache.put("c", 3, 10)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    cache = AnswerCache(most_bytes=100)
    cache.put("large", "x" * 200, 10)
    assert len(cache) == 0
    for k in range(20):
        cache.put(str(k), "x" * 20, 10)
    assert len(cache) == 4
    cache.clear()
    assert len(cache) == 0


def test_what_json_has_no_form_for_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        AnswerCache().put("k", float("nan"), 10)


def test_threads_see_whole_answers() -> None:
    cache = AnswerCache(most=4)
    wrong = []

    def work(seed: int) -> None:
        for k in range(500):
            key = str((seed + k) % 8)
            cache.put(key, [key] * 50, 10)
            found = cache.get(key)
            if found is not None and found != [key] * 50:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
