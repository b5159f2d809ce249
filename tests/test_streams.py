"""ByteQueue and ConsumerSink make each side wait for the other."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from wit.streams import ByteQueue, BytesSink, BytesSource, StreamClosed, copy


def test_queue_pauses_its_producer_above_the_mark_and_resumes_it_below(run) -> None:
    calls: list[str] = []
    queue = ByteQueue(
        pause=lambda: calls.append("pause"), resume=lambda: calls.append("resume"), high_water=10
    )

    async def scenario() -> bytes:
        queue.feed(b"12345")
        assert calls == []
        queue.feed(b"67890")
        assert calls == ["pause"]
        first = await queue.read()
        assert calls == ["pause"]
        second = await queue.read()
        assert calls == ["pause", "resume"]
        queue.end()
        assert await queue.read() == b""
        return first + second

    assert run(scenario()) == b"1234567890"


def test_a_waiting_reader_gets_the_next_chunk(run) -> None:
    async def scenario() -> bytes:
        queue = ByteQueue()
        reading = Deferred.fromCoroutine(queue.read())
        queue.feed(b"late")
        return await reading

    assert run(scenario()) == b"late"


def test_a_broken_stream_gives_what_came_and_then_its_error(run) -> None:
    async def scenario() -> None:
        queue = ByteQueue()
        queue.feed(b"half")
        queue.end(StreamClosed("gone"))
        assert await queue.read() == b"half"
        with pytest.raises(StreamClosed):
            await queue.read()

    run(scenario())


def test_copy_moves_everything(run) -> None:
    sink = BytesSink()
    assert run(copy(BytesSource(b"ab", b"", b"cd"), sink)) == 4
    assert sink.value() == b"abcd"
