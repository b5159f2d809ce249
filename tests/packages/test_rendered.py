"""The cache of packuments that are ready to be sent."""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import brotli
import pytest
from twisted.internet.defer import Deferred

from wit.packages.rendered import Key, RenderedCache, render
from wit.packages.served import Rendered

THEN = datetime(2024, 5, 6, tzinfo=UTC)


def key(package: str, revision: int = 1) -> Key:
    return Key(package, revision, False, None)


def making(size: int, made: list[int]) -> Callable[[], Awaitable[Rendered]]:
    async def make() -> Rendered:
        made.append(size)
        return Rendered(b"x" * size, '"e"', None, THEN)

    return make


def test_forms_and_encodings_have_validators_of_their_own() -> None:
    parts = [b"hello ", b"world" * 100]
    made = [render(parts, encoding, THEN) for encoding in (None, "gzip", "br")]  # type: ignore[arg-type]
    plain, zipped, smaller = made
    assert plain.body == b"".join(parts)
    assert gzip.decompress(zipped.body) == plain.body == brotli.decompress(smaller.body)
    assert len({one.etag for one in made}) == 3
    assert all(one.etag.startswith('"') and one.etag.endswith('"') for one in made)
    assert render(parts, "gzip", THEN) == zipped, "the same each time"


def test_it_is_made_once(run: Any) -> None:
    made: list[int] = []
    cache = RenderedCache(1000)
    first = run(cache.get(key("a"), making(10, made)))
    assert run(cache.get(key("a"), making(10, made))) is first
    run(cache.get(key("a", revision=2), making(10, made)))
    assert made == [10, 10]


def test_memory_is_bounded_and_the_oldest_go(run: Any) -> None:
    made: list[int] = []
    cache = RenderedCache(100)
    for name in ("a", "b", "a", "c"):
        run(cache.get(key(name), making(40, made)))
    assert cache.size == 80
    run(cache.get(key("a"), making(40, made)))
    assert len(made) == 3, "a was used last, so b had to go"
    run(cache.get(key("huge"), making(1000, made)))
    assert (len(cache), cache.size) == (1, 1000), "the newest stays"
    run(cache.get(key("a"), making(40, made)))
    assert cache.size == 40


def test_many_who_ask_at_once_wait_for_one(run: Any) -> None:
    cache = RenderedCache(1000)
    started: list[Deferred[Rendered]] = []

    async def slow() -> Rendered:
        started.append(Deferred())
        return await started[-1]

    async def scene() -> None:
        asking = [Deferred.fromCoroutine(cache.get(key("a"), slow)) for _ in range(5)]
        assert len(started) == 1
        started[0].callback(Rendered(b"x", '"e"', None, THEN))
        assert {(await one).body for one in asking} == {b"x"}

    run(scene())
    assert len(started) == 1


def test_if_the_one_who_makes_goes_away_the_next_one_makes(run: Any) -> None:
    cache = RenderedCache(1000)
    started: list[Deferred[Rendered]] = []

    async def slow() -> Rendered:
        started.append(Deferred())
        return await started[-1]

    async def scene() -> None:
        first, second = (Deferred.fromCoroutine(cache.get(key("a"), slow)) for _ in range(2))
        first.addErrback(lambda failure: None)
        first.cancel()
        assert len(started) == 2
        started[1].callback(Rendered(b"x", '"e"', None, THEN))
        assert (await second).body == b"x"

    run(scene())


def test_a_failure_is_not_kept(run: Any) -> None:
    cache = RenderedCache(1000)

    async def fail() -> Rendered:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run(cache.get(key("a"), fail))
    made: list[int] = []
    run(cache.get(key("a"), making(1, made)))
    assert made == [1]
