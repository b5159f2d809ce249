from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from wit.errors import Invalid, TooLarge, UnsupportedMediaType, WitError
from wit.streams import CHUNK, BytesSource
from wit.web.middleware.bodies import FREE_OUTPUT, decoded, read_all


def now(work: Any) -> Any:
    """The result of a coroutine that waits for nothing."""
    results: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(results.append)
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


def pieces(data: bytes, size: int) -> BytesSource:
    return BytesSource(*(data[start : start + size] for start in range(0, len(data), size)))


@given(st.binary(max_size=3000), st.integers(1, 500), st.sampled_from(["gzip", "X-GZIP"]))
def test_gzip_comes_through(data: bytes, size: int, encoding: str) -> None:
    source = decoded(pieces(gzip.compress(data), size), encoding, 10_000)
    assert now(read_all(source)) == data


@pytest.mark.parametrize("level", [0, 1, 9])
def test_output_is_handed_on_in_chunks(level: int) -> None:
    data = bytes(range(256)) * 1024 + random.Random(1).randbytes(1_500_000)
    source = decoded(pieces(gzip.compress(data, level), 1_000_000), "gzip", len(data))
    sizes = []
    out = b""
    while part := now(source.read()):
        sizes.append(len(part))
        out += part
    assert out == data
    assert max(sizes) <= CHUNK
    assert now(source.read()) == b""


@pytest.mark.attack(17, 32)
@pytest.mark.parametrize(
    ("body", "encoding", "limit", "error"),
    [
        (gzip.compress(b"\0" * 40 * FREE_OUTPUT, mtime=0), "gzip", 10**12, TooLarge),
        (gzip.compress(b"12345", mtime=0), "gzip", 4, TooLarge),
        (b"12345", None, 4, TooLarge),
        (gzip.compress(b"12345", mtime=0)[:-1], "gzip", 10, Invalid),
        (gzip.compress(b"12345", mtime=0) + b"x", "gzip", 10, Invalid),
        (gzip.compress(b"12345", mtime=0)[2:], "gzip", 10, Invalid),
        (b"", "gzip", 10, Invalid),
        (b"x", "br", 10, UnsupportedMediaType),
        (b"x", "gzip, gzip", 10, UnsupportedMediaType),
    ],
)
def test_refusals(body: bytes, encoding: str | None, limit: int, error: type[WitError]) -> None:
    with pytest.raises(error):
        now(read_all(decoded(pieces(body, 65536), encoding, limit)))


def test_a_body_of_exactly_the_limit(run: Callable[[Any], Any]) -> None:
    assert run(read_all(decoded(BytesSource(b"123", b"45"), "identity", 5))) == b"12345"
