"""A client that always moves something, but too little: the minimum rate ends it.

The daemon takes a minute's average. Here the same site, on a real port, averages over one second.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

from tests.support.daemon import wait_until
from tests.web.harness import Online, online
from wit.config import Server
from wit.errors import TimedOut
from wit.runtime import Runtime
from wit.streams import StreamClosed
from wit.web import pace
from wit.web.streaming import Request

pytestmark = pytest.mark.attack(33)

RATE = 20_000
"""Bytes per second that a client must reach."""

LIMITS = Server(idle_seconds=60.0, header_seconds=60.0, min_bytes_per_second=RATE)
ANSWER = b"y" * 65536
ANSWERS = 1000


@attrs.define
class Seen:
    received: int = 0
    ended: list[str] = attrs.field(factory=list)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def site(
    run: Callable[[Any], Any], runtime: Runtime, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Online]:
    monkeypatch.setattr(pace, "AVERAGE_SECONDS", 1.0)

    async def take(request: Request) -> None:
        try:
            while data := await request.body.read():
                seen.received += len(data)
        except (TimedOut, StreamClosed) as error:
            seen.ended.append(type(error).__name__)
            raise
        request.answer(200, "text/plain", b"thanks")

    async def give(request: Request) -> None:
        request.prepare(200, "application/octet-stream")
        try:
            for _ in range(ANSWERS):
                await request.sink().write(ANSWER)
        except BaseException as error:
            seen.ended.append(type(error).__name__)
            raise

    def route(request: Request) -> Any:
        return take if request.method == b"POST" else give

    with online(run, runtime, [route], LIMITS) as served:
        yield served


def drip(connection: socket.socket, pieces: Iterator[bytes], over: threading.Event) -> None:
    """Send a piece ten times a second until the server has had enough."""
    try:
        for piece in pieces:
            if over.wait(0.1):
                return
            connection.sendall(piece)
    except OSError:
        return


def send_slowly(site: Online, head: bytes, piece: bytes, count: int) -> tuple[bytes, float]:
    """What the server said to a body of ``count`` pieces, and after how many seconds."""
    over = threading.Event()
    with site.connect() as connection:
        connection.sendall(head)
        began = time.monotonic()
        feeder = threading.Thread(
            target=drip, args=(connection, iter([piece] * count), over), daemon=True
        )
        feeder.start()
        said = b""
        try:
            while part := connection.recv(65536):
                said += part
        except ConnectionResetError:
            pass
        took = time.monotonic() - began
        over.set()
        feeder.join(10)
    return said, took


def head(*framing: bytes) -> bytes:
    return b"\r\n".join([b"POST / HTTP/1.1", b"Host: h", b"Connection: close", *framing, b"", b""])


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_below_the_rate_is_cut(site: Online, seen: Seen, chunked: bool) -> None:
    """A tenth of the rate, without a pause that any idle limit would notice."""
    data = b"x" * (RATE // 100)
    if chunked:
        start, piece = head(b"Transfer-Encoding: chunked"), b"%x\r\n%b\r\n" % (len(data), data)
    else:
        start, piece = head(b"Content-Length: 1000000"), data
    said, took = send_slowly(site, start, piece, 600)
    assert said.startswith(b"HTTP/1.1 408 "), said[:200]
    assert b"too slowly" in said
    assert seen.ended == ["TimedOut"]
    assert 0 < seen.received < RATE * took / 2
    wait_until(lambda: not site.site.connections, what="the end of the connection")


def test_a_body_above_the_rate_is_not(site: Online, seen: Seen) -> None:
    """For several of the times over which the average is taken."""
    piece = b"x" * RATE
    start = head(b"Content-Length: %d" % (35 * len(piece)))
    said, _ = send_slowly(site, start, piece, 35)
    assert said.startswith(b"HTTP/1.1 200 ") and said.endswith(b"thanks")
    assert seen.received == 35 * len(piece) and seen.ended == []


def test_a_reader_below_the_rate_is_cut(site: Online, seen: Seen) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", site.port))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        taken = 0
        deadline = time.monotonic() + 30
        while not seen.ended:
            assert time.monotonic() < deadline, "it was let go on"
            taken += len(connection.recv(RATE // 200))
            time.sleep(0.05)
    assert taken < len(ANSWER) * ANSWERS
    wait_until(lambda: not site.site.connections, what="the end of the connection")
