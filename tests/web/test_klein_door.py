"""Klein's routes decide before they read: no byte of a body is asked for until they want it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from klein import Klein
from twisted.internet.defer import CancelledError, Deferred

from tests.support.daemon import wait_until
from tests.web.harness import Online, online, read_to_end, read_until
from wit.config import Server
from wit.errors import Unauthorized
from wit.runtime import Runtime
from wit.streams import StreamClosed
from wit.web.channel import MAX_DRAIN
from wit.web.klein_door import KleinDoor
from wit.web.middleware.bodies import read_body
from wit.web.streaming import Request

LIMIT = 100_000


@attrs.define
class App:
    """What the routes of the test saw."""

    received: list[int] = attrs.field(factory=list)
    """Bytes of body that were there when a route had decided."""
    ended: list[str] = attrs.field(factory=list)


@pytest.fixture
def seen() -> App:
    return App()


@pytest.fixture
def site(run: Callable[[Any], Any], runtime: Runtime, seen: App) -> Iterator[Online]:
    app = Klein()

    async def decide(request: Request) -> None:
        """Authorisation that takes its time, while the client could send."""
        await runtime.sleep(0.05)
        seen.received.append(request.body.received)
        if request.header(b"Authorization") is None:
            raise Unauthorized("sign in")

    @app.route("/echo", methods=["POST"])
    async def echo(request: Request) -> None:
        await decide(request)
        try:
            body = await read_body(request, LIMIT)
        except (CancelledError, StreamClosed) as error:
            seen.ended.append(type(error).__name__)
            raise
        request.answer(200, "application/octet-stream", body)

    @app.route("/ignore", methods=["POST"])
    async def ignore(request: Request) -> None:
        await decide(request)
        request.answer(200, "text/plain", b"done")

    limits = Server(idle_seconds=1.0)
    with online(run, runtime, [KleinDoor(app).route], limits) as served:
        yield served


def head(path: bytes, *headers: bytes, sign_in: bool = True) -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: h", *headers]
    if sign_in:
        lines.append(b"Authorization: Bearer x")
    return b"\r\n".join([*lines, b"", b""])


def parts(answer: bytes) -> tuple[int, bytes, bytes]:
    """Status, head, body."""
    start, _, body = answer.partition(b"\r\n\r\n")
    return int(start.split()[1]), start, body


def test_who_may_not_ask_is_refused_before_the_body(site: Online, seen: App) -> None:
    """Even if the body is there already: no more is read than came along with the head."""
    data = b"x" * 200_000
    request = head(b"/echo", b"Content-Length: 200000", b"Connection: close", sign_in=False)
    status, _, body = parts(site.exchange(request + data))
    assert (status, json.loads(body)["code"]) == (401, "unauthorized")
    assert seen.received[0] <= 65536


def test_100_continue_comes_after_the_decision(site: Online, seen: App) -> None:
    wanted = (b"Content-Length: 5", b"Expect: 100-continue")
    with site.connect() as connection:
        connection.sendall(head(b"/echo", *wanted, sign_in=False))
        status, start, _ = parts(read_to_end(connection))
        assert status == 401 and b"Connection: close" in start
    with site.connect() as connection:
        connection.sendall(head(b"/echo", *wanted, b"Connection: close"))
        assert read_until(connection, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"hello")
        assert parts(read_to_end(connection))[2] == b"hello"
    assert seen.received == [0, 0]


def test_a_body_within_the_limit_comes_whole(site: Online) -> None:
    close = b"Connection: close"
    data = bytes(range(256)) * 390
    size = b"Content-Length: %d" % len(data)
    assert parts(site.exchange(head(b"/echo", size, close) + data))[2] == data
    chunked = b"".join(b"3e8\r\n%b\r\n" % (b"y" * 1000) for _ in range(100)) + b"0\r\n\r\n"
    sent = head(b"/echo", b"Transfer-Encoding: chunked", close) + chunked
    assert parts(site.exchange(sent))[2] == b"y" * LIMIT
    packed = gzip.compress(data)
    size = b"Content-Length: %d" % len(packed)
    sent = head(b"/echo", size, b"Content-Encoding: gzip", close) + packed
    assert parts(site.exchange(sent))[2] == data


def test_a_body_beyond_the_limit_is_refused(site: Online, seen: App) -> None:
    """One that says so is not read at all, the others up to the limit, also what they unpack to."""
    status, start, body = parts(site.exchange(head(b"/echo", b"Content-Length: 1000000")))
    assert (status, json.loads(body)["code"]) == (413, "too_large")
    assert b"Connection: close" in start
    chunk = b"%x\r\n%b\r\n" % (LIMIT // 2, b"x" * (LIMIT // 2))
    sent = head(b"/echo", b"Transfer-Encoding: chunked") + chunk * 3
    assert parts(site.exchange(sent))[0] == 413
    bomb = gzip.compress(b"\0" * (LIMIT + 1))
    sent = head(b"/echo", b"Content-Length: %d" % len(bomb), b"Content-Encoding: gzip") + bomb
    assert parts(site.exchange(sent + head(b"/echo", b"Connection: close")))[0] == 413
    sent = head(b"/echo", b"Content-Length: 1", b"Content-Encoding: br", b"Connection: close")
    assert parts(site.exchange(sent + b"x"))[0] == 415
    assert seen.received[0] == 0


def test_a_short_body_that_nobody_wants_is_drained(site: Online) -> None:
    """The connection goes on, and the next request begins where the body ended."""
    first = head(b"/ignore", b"Content-Length: 50000") + b"z" * 50_000
    second = head(b"/ignore", b"Content-Length: 0", b"Connection: close")
    answer = site.exchange(first + second)
    assert answer.count(b"HTTP/1.1 200 ") == 2 and answer.count(b"done") == 2


@pytest.mark.parametrize(
    "framing", [b"Content-Length: %d" % (MAX_DRAIN + 1), b"Transfer-Encoding: chunked"]
)
def test_a_long_body_that_nobody_wants_ends_the_connection(site: Online, framing: bytes) -> None:
    with site.connect() as connection:
        connection.sendall(head(b"/ignore", framing))
        status, start, body = parts(read_to_end(connection))
    assert (status, body) == (200, b"done")
    assert b"Connection: close" in start


def test_a_body_that_does_not_come_is_a_time_out(site: Online) -> None:
    status, _, body = parts(site.exchange(head(b"/echo", b"Content-Length: 10") + b"123"))
    assert (status, json.loads(body)["code"]) == (408, "timeout")


def test_a_client_that_leaves_in_the_middle_ends_the_route(site: Online, seen: App) -> None:
    with site.connect() as connection:
        connection.sendall(head(b"/echo", b"Content-Length: 10", b"Expect: 100-continue"))
        read_until(connection, b"\r\n\r\n")
        connection.sendall(b"123")
    wait_until(lambda: seen.ended, what="the end of the route")
    assert len(seen.ended) == 1
    wait_until(lambda: not site.site.connections, what="the end of the connection")


def test_read_body_waits_for_nothing_it_will_not_take(run: Any) -> None:
    """A length beyond the limit is refused without touching the source."""

    class Untouchable:
        length = 11

        def read(self) -> Deferred[bytes]:
            raise AssertionError("the body was read")

    class Stub:
        body = Untouchable()

        def header(self, name: bytes) -> None:
            return None

    with pytest.raises(Exception, match="larger than 10 bytes"):
        run(read_body(Stub(), 10))  # type: ignore[arg-type]
