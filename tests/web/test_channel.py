"""The connection's behaviour that depends on time, in memory; the rest is in test_streaming."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from tests.web.harness import Offline, lose, say_hello
from wit.config import Server
from wit.web.channel import MAX_PIPELINED
from wit.web.http1 import MAX_HEAD
from wit.web.streaming import Request

GET = b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n"


def test_a_clock_jump_makes_nobody_overdue() -> None:
    offline = Offline(say_hello)
    _, wire = offline.connect()
    offline.clock.advance(1_000_000)
    assert wire.connected
    assert not wire.disconnecting


@pytest.mark.attack(6, 33)
def test_a_connection_that_says_nothing_is_closed() -> None:
    offline = Offline(say_hello, Server(header_seconds=15))
    _, wire = offline.connect()
    offline.advance(14)
    assert not wire.disconnecting
    offline.advance(2)
    assert wire.disconnecting
    assert wire.value() == b""


@pytest.mark.attack(33)
def test_slow_headers_get_a_408() -> None:
    offline = Offline(say_hello, Server(header_seconds=15))
    channel, wire = offline.connect()
    for byte in b"GET / HTTP/1.1\r\nHo":
        if wire.half_closed:
            break
        channel.dataReceived(bytes([byte]))
        offline.advance(1)
    assert wire.value().startswith(b"HTTP/1.1 408 ")
    assert wire.half_closed
    assert not wire.aborted
    offline.advance(6)
    assert wire.aborted


def test_a_kept_connection_ends_after_idle_seconds() -> None:
    offline = Offline(say_hello, Server(idle_seconds=60, header_seconds=15))
    channel, wire = offline.connect()
    channel.dataReceived(GET % 1)
    assert b"hello /1\n" in wire.value()
    offline.advance(59)
    assert not wire.disconnecting
    offline.advance(2)
    assert wire.disconnecting


def test_a_slow_handler_is_not_the_clients_fault() -> None:
    async def think(request: Request) -> None:
        await wait
        request.answer(200, "text/plain", b"done\n")

    wait: Deferred[None] = Deferred()
    offline = Offline(think)
    channel, wire = offline.connect()
    channel.dataReceived(GET % 1)
    offline.advance(10_000)
    assert not wire.disconnecting
    wait.callback(None)
    assert b"done\n" in wire.value()


@pytest.mark.attack(33)
@pytest.mark.parametrize("per_second", [b"", b"x"])
def test_a_slow_body_gets_a_408(per_second: bytes) -> None:
    async def take(request: Request) -> None:
        while await request.body.read():
            pass

    offline = Offline(take)
    channel, wire = offline.connect()
    channel.dataReceived(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n")
    for _ in range(130):
        if wire.value():
            break
        if per_second:
            channel.dataReceived(per_second)
        offline.advance(1)
    assert wire.value().startswith(b"HTTP/1.1 408 ")
    assert b"too slowly" in wire.value()
    assert wire.half_closed
    offline.advance(6)
    assert wire.aborted


@pytest.mark.attack(8, 33)
def test_a_client_that_does_not_read_is_cut_off_and_its_handler_cancelled() -> None:
    async def flood(request: Request) -> None:
        try:
            while True:
                await request.sink().write(b"x" * 1000)
                written.append(1000)
        finally:
            ended.append(True)

    written: list[int] = []
    ended: list[bool] = []
    offline = Offline(flood)
    channel, wire = offline.connect()
    stuck_after = 5
    original = wire.write

    def write(data: bytes) -> None:
        original(data)
        if len(written) == stuck_after:
            channel.pauseProducing()

    wire.write = write  # type: ignore[method-assign]
    wire.writeSequence = lambda data: write(b"".join(data))  # type: ignore[method-assign, assignment]
    channel.dataReceived(GET % 1)
    assert len(written) == stuck_after
    offline.advance(58)
    assert not wire.aborted
    offline.advance(4)
    assert wire.aborted
    lose(channel)
    assert ended == [True]
    assert not offline.site.connections


@pytest.mark.attack(32)
def test_pipelined_requests_are_answered_in_order() -> None:
    """Also when the first answer comes last (CVE-2024-41671)."""

    async def wait_for_turn(request: Request) -> None:
        started.append(request.path)
        await turns[request.path]
        request.answer(200, "text/plain", request.path)

    started: list[bytes] = []
    turns: dict[bytes, Deferred[None]] = {b"/1": Deferred(), b"/2": Deferred(), b"/3": Deferred()}
    offline = Offline(wait_for_turn)
    channel, wire = offline.connect()
    post = b"POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"
    channel.dataReceived(GET % 1 + post + GET % 3)
    assert started == [b"/1"]
    turns[b"/3"].callback(None)
    turns[b"/2"].callback(None)
    assert wire.value() == b""
    turns[b"/1"].callback(None)
    assert started == [b"/1", b"/2", b"/3"]
    answers = wire.value().split(b"HTTP/1.1 200 OK\r\n")
    assert [answer[-2:] for answer in answers[1:]] == [b"/1", b"/2", b"/3"]


def test_a_thousand_pipelined_requests_do_not_recurse() -> None:
    offline = Offline(say_hello)
    channel, wire = offline.connect()
    channel.dataReceived(b"".join(GET % number for number in range(1000)))
    assert wire.value().count(b"HTTP/1.1 200 OK") == 1000
    assert wire.value().endswith(b"hello /999\n")


def test_pipelining_stops_reading_at_a_limit() -> None:
    async def wait_for_turn(request: Request) -> None:
        await turn
        request.answer(200, "text/plain", b"")

    turn: Deferred[None] = Deferred()
    offline = Offline(wait_for_turn)
    channel, wire = offline.connect()
    channel.dataReceived(GET % 1)
    while wire.producerState == "producing":
        channel.dataReceived(GET % 2 * 40)
        assert len(channel._input) < 2 * MAX_PIPELINED
    channel.pauseProducing()  # even while the client does not read (stock twisted.web forgets it)
    assert wire.producerState == "paused"
    channel.resumeProducing()
    assert wire.producerState == "paused"
    turn.callback(None)
    assert wire.producerState == "producing"


def test_who_does_not_read_answers_may_not_ask_for_more() -> None:
    offline = Offline(say_hello)
    channel, wire = offline.connect()
    channel.pauseProducing()
    assert wire.producerState == "paused"
    channel.resumeProducing()
    assert wire.producerState == "producing"


@pytest.mark.attack(32)
@pytest.mark.parametrize("pieces", [1, 7])
def test_headers_without_end_get_a_431(pieces: int) -> None:
    offline = Offline(say_hello)
    channel, wire = offline.connect()
    data = b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * MAX_HEAD
    step = len(data) // pieces + 1
    for start in range(0, len(data), step):
        channel.dataReceived(data[start : start + step])
    assert wire.value().startswith(b"HTTP/1.1 431 ")
    assert wire.half_closed
    channel.dataReceived(b"\r\n\r\n" + GET % 2)
    assert b"hello" not in wire.value()


def test_connections_above_the_limit_are_not_taken() -> None:
    offline = Offline(say_hello, Server(max_connections=2))
    channel, _ = offline.connect()
    offline.connect()
    assert offline.site.buildProtocol(None) is None
    lose(channel)
    assert offline.site.buildProtocol(None) is not None


def test_stopping_closes_idle_connections_and_lets_running_requests_end() -> None:
    async def wait_for_turn(request: Request) -> None:
        await turn
        request.answer(200, "text/plain", b"done\n")

    turn: Deferred[None] = Deferred()
    offline = Offline(wait_for_turn)
    _, idle_wire = offline.connect()
    busy, busy_wire = offline.connect()
    busy.dataReceived(GET % 1)
    offline.site.finish_up()
    assert idle_wire.disconnecting
    assert not busy_wire.disconnecting
    turn.callback(None)
    assert b"Connection: close\r\n" in busy_wire.value()
    assert busy_wire.value().endswith(b"done\n")
    assert busy_wire.disconnecting
    assert offline.site.buildProtocol(None) is None


def test_the_clock_stops_with_the_last_connection() -> None:
    offline = Offline(say_hello)
    channel, _ = offline.connect()
    offline.site.doStop()
    offline.advance(2)
    assert offline.clock.getDelayedCalls()
    lose(channel)
    offline.advance(2)
    assert not offline.clock.getDelayedCalls()
