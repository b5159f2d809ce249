"""Requests and answers over real sockets."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.web.harness import Online, online, read_to_end, read_until
from wit.config import Server
from wit.errors import Forbidden, RateLimited, Unauthorized
from wit.runtime import Runtime
from wit.streams import HIGH_WATER
from wit.web.channel import MAX_DRAIN
from wit.web.streaming import Handler, Request

MIB = 1024 * 1024


class Handlers:
    """One handler per path, set by each test."""

    def __init__(self) -> None:
        self.by_path: dict[bytes, Handler] = {}

    def route(self, request: Request) -> Handler | None:
        return self.by_path.get(request.path)


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
def site(run: Callable[[Any], Any], runtime: Runtime, handlers: Handlers) -> Iterator[Online]:
    with online(run, runtime, [handlers.route], Server()) as served:
        yield served


async def digest(request: Request) -> None:
    sha = hashlib.sha256()
    while data := await request.body.read():
        sha.update(data)
    request.answer(200, "text/plain", sha.hexdigest().encode())


async def refuse(request: Request) -> None:
    raise Unauthorized("sign in first")


def post(path: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"POST " + path + b" HTTP/1.1", b"Host: h", *headers, b"", b""])


@pytest.mark.parametrize("chunked", [False, True])
def test_large_bodies_in_both_directions(site: Online, handlers: Handlers, chunked: bool) -> None:
    async def echo(request: Request) -> None:
        request.prepare(200, "application/octet-stream")
        while data := await request.body.read():
            biggest.append(request.body._queue.buffered)
            await request.sink().write(data)

    biggest: list[int] = []
    handlers.by_path[b"/echo"] = echo
    payload = hashlib.shake_128(b"seed").digest(8 * MIB)
    with site.connect() as connection:
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(read_to_end(connection)))
        reader.start()
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (8 * MIB)
        connection.sendall(post(b"/echo", framing, b"Connection: close"))
        if chunked:
            for start in range(0, len(payload), 100_000):
                part = payload[start : start + 100_000]
                connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
            connection.sendall(b"0\r\n\r\n")
        else:
            connection.sendall(payload)
        reader.join(30)
    head, _, body = received[0].partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert unchunk(body) == payload
    assert max(biggest) < HIGH_WATER + 256 * 1024


def unchunk(body: bytes) -> bytes:
    parts: list[bytes] = []
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return b"".join(parts)
        parts.append(body[:length])
        body = body[length + 2 :]


@pytest.mark.attack(9)
def test_a_body_nobody_reads_stays_with_the_client(site: Online, handlers: Handlers) -> None:
    async def decide(request: Request) -> None:
        seen.append(request.body)
        decided.set()
        await go_on
        await digest(request)

    seen: list[Any] = []
    decided = threading.Event()
    go_on: Deferred[None] = Deferred()
    handlers.by_path[b"/"] = decide
    with site.connect() as connection:
        connection.sendall(post(b"/", b"Content-Length: %d" % (64 * MIB)))
        assert decided.wait(10)
        connection.settimeout(1.0)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 64 * MIB:
                sent += connection.send(b"x" * MIB)
        assert sent < 32 * MIB
        assert seen[0].received <= 128 * 1024
        connection.settimeout(30)
        site.site._runtime.reactor.callFromThread(go_on.callback, None)
        while sent < 64 * MIB:
            sent += connection.send(b"x" * min(MIB, 64 * MIB - sent))
        answer = read_until(connection, b"\r\n\r\n")
    expected = hashlib.sha256(b"x" * 64 * MIB).hexdigest().encode()
    assert b" 200 OK" in answer
    assert expected in answer


@pytest.mark.attack(33)
def test_continue_is_sent_when_the_body_is_wanted(site: Online, handlers: Handlers) -> None:
    handlers.by_path[b"/yes"] = digest
    handlers.by_path[b"/no"] = refuse
    with site.connect() as connection:
        connection.sendall(post(b"/yes", b"Content-Length: 5", b"Expect: 100-continue"))
        assert read_until(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hello")
        assert hashlib.sha256(b"hello").hexdigest().encode() in read_until(connection, b"98")
    answer = site.exchange(post(b"/no", b"Content-Length: 5", b"Expect: 100-continue"))
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"Connection: close\r\n" in answer
    assert b"100 Continue" not in answer


def test_a_client_that_sends_at_once_gets_no_continue(site: Online, handlers: Handlers) -> None:
    handlers.by_path[b"/"] = digest
    answer = site.exchange(
        post(b"/", b"Content-Length: 5", b"Expect: 100-continue", b"Connection: close") + b"hello"
    )
    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_http_1_0_gets_neither_chunks_nor_continue(site: Online, handlers: Handlers) -> None:
    async def stream(request: Request) -> None:
        request.prepare(200, "text/plain")
        assert await request.body.read() == b"hello"
        await request.sink().write(b"one ")
        await request.sink().write(b"two")

    handlers.by_path[b"/"] = stream
    answer = site.exchange(
        b"POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"Connection: close" in head
    assert body == b"one two"


def test_a_small_unread_body_is_drained_and_the_connection_kept(
    site: Online, handlers: Handlers
) -> None:
    handlers.by_path[b"/no"] = refuse
    handlers.by_path[b"/yes"] = digest
    with site.connect() as connection:
        connection.sendall(post(b"/no", b"Content-Length: %d" % MAX_DRAIN))
        refusal = read_until(connection, b"}")
        assert refusal.startswith(b"HTTP/1.1 401 ")
        assert b"Connection: close" not in refusal
        connection.sendall(b"GET" * (MAX_DRAIN // 3) + b"G" * (MAX_DRAIN % 3))
        connection.sendall(post(b"/yes", b"Content-Length: 0", b"Connection: close"))
        assert read_to_end(connection).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("framing", [b"Content-Length: 100000000", b"Transfer-Encoding: chunked"])
def test_the_answer_to_a_large_refused_body_arrives(
    site: Online, handlers: Handlers, framing: bytes
) -> None:
    """A plain close with unread data would be a reset that destroys the answer."""
    handlers.by_path[b"/no"] = refuse
    with site.connect() as connection:
        connection.sendall(post(b"/no", framing))
        connection.sendall(b"%x\r\n" % (50 * MIB))
        sender = threading.Thread(target=send_quietly, args=(connection, 20 * MIB))
        sender.start()
        answer = read_to_end(connection)
        connection.shutdown(socket.SHUT_RDWR)
        sender.join(10)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"Connection: close\r\n" in answer
    assert b"sign in first" in answer


def send_quietly(connection: socket.socket, count: int) -> None:
    try:
        for _ in range(count // 65536):
            connection.sendall(b"x" * 65536)
    except OSError:
        pass


def test_a_client_that_goes_away_cancels_the_handler(site: Online, handlers: Handlers) -> None:
    async def wait(request: Request) -> None:
        started.set()
        try:
            await Deferred()
        finally:
            ended.set()

    async def wait_for_body(request: Request) -> None:
        started.set()
        try:
            while await request.body.read():
                pass
        finally:
            ended.set()

    started = threading.Event()
    ended = threading.Event()
    for handler, headers in ((wait, b"Content-Length: 0"), (wait_for_body, b"Content-Length: 9")):
        handlers.by_path[b"/"] = handler
        started.clear()
        ended.clear()
        with site.connect() as connection:
            connection.sendall(post(b"/", headers))
            assert started.wait(10)
            assert not ended.is_set()
        assert ended.wait(10)


def test_errors_before_the_answer(site: Online, handlers: Handlers) -> None:
    async def limited(request: Request) -> None:
        raise RateLimited("slow down", retry_after=7)

    async def forbidden(request: Request) -> None:
        request.prepare(200, "image/png")
        request.setHeader(b"Content-Length", b"4")
        raise Forbidden("not you")

    async def broken(request: Request) -> None:
        raise RuntimeError("the password is hunter2")

    for path, handler, status in (
        (b"/limited", limited, 429),
        (b"/forbidden", forbidden, 403),
        (b"/broken", broken, 500),
    ):
        handlers.by_path[path] = handler
        answer = site.exchange(post(path, b"Connection: close"))
        head, _, body = answer.partition(b"\r\n\r\n")
        said = json.loads(body)
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert f"X-Request-Id: {said['requestId']}".encode() in head
        assert b"Content-Type: application/json" in head
        if status == 500:
            assert said["error"] == f"internal error, request id {said['requestId']}"
            assert said["code"] == "internal"
            assert b"hunter2" not in answer
        if status == 429:
            assert b"Retry-After: 7\r\n" in head


@pytest.mark.parametrize("announced", [False, True])
def test_an_error_within_the_answer_leaves_it_visibly_incomplete(
    site: Online, handlers: Handlers, announced: bool
) -> None:
    async def break_down(request: Request) -> None:
        request.prepare(200, "text/plain")
        if announced:
            request.setHeader(b"Content-Length", b"100")
        await request.sink().write(b"half")
        raise RuntimeError("oh")

    handlers.by_path[b"/"] = break_down
    _, _, body = site.exchange(post(b"/")).partition(b"\r\n\r\n")
    assert body == (b"half" if announced else b"4\r\nhalf\r\n")


@pytest.mark.attack(32)
def test_a_malformed_chunk_ends_the_request(site: Online, handlers: Handlers) -> None:
    handlers.by_path[b"/"] = digest
    answer = site.exchange(
        post(b"/", b"Transfer-Encoding: chunked") + b"5\r\nhello\r\nxyz\r\n" + post(b"/")
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"chunk size" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.attack(32)
@pytest.mark.parametrize(
    "headers",
    [
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 5", b"Content-Length: 6"),
        (b"Content-Length: five",),
        (b"Transfer-Encoding: gzip, chunked",),
    ],
)
def test_unclear_lengths_close_the_connection(
    site: Online, handlers: Handlers, headers: tuple[bytes, ...]
) -> None:
    handlers.by_path[b"/"] = digest
    answer = site.exchange(post(b"/", *headers) + b"0\r\n\r\n" + post(b"/"))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_every_answer_carries_identifiers(site: Online, handlers: Handlers) -> None:
    handlers.by_path[b"/"] = digest
    sane = site.exchange(post(b"/", b"Connection: close", b"x-trace-id: abc-1.2:3_4"))
    assert b"X-Trace-Id: abc-1.2:3_4\r\n" in sane
    insane = site.exchange(post(b"/nothing", b"Connection: close", b"X-Trace-Id: a b"))
    assert insane.startswith(b"HTTP/1.1 404 ")
    assert b"X-Trace-Id: a b" not in insane
    assert b"X-Trace-Id: " in insane
    for answer in (sane, insane):
        assert b"X-Content-Type-Options: nosniff\r\n" in answer
        assert b"Referrer-Policy: no-referrer\r\n" in answer
        assert b"\r\nDate: " in answer
        assert b"\r\nServer:" not in answer
    assert insane.endswith(b'\r\n\r\n{"error":"Not found"}')


def test_head_has_no_body(site: Online, handlers: Handlers) -> None:
    async def page(request: Request) -> None:
        request.answer(200, "text/plain", b"words")

    handlers.by_path[b"/"] = page
    answer = site.exchange(b"HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 5\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_back_pressure_of_answers(site: Online, handlers: Handlers) -> None:
    async def flood(request: Request) -> None:
        request.prepare(200, "application/octet-stream")
        for _ in range(512):
            await request.sink().write(b"x" * (128 * 1024))
            written.append(1)

    written: list[int] = []
    handlers.by_path[b"/"] = flood
    with site.connect() as connection:
        connection.sendall(post(b"/", b"Connection: close"))
        read_until(connection, b"\r\n\r\n")
        count = -1
        while count != len(written):
            count = len(written)
            threading.Event().wait(0.3)
        assert count < 256
        rest = read_to_end(connection)
    assert len(written) == 512
    assert len(rest) > 60 * MIB
