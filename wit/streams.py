"""Byte streams with back-pressure, the one shape in which bulk data moves through wit.

A request body, an SSH channel and a child's pipes all look the same to the git engine: a
:class:`ByteSource` to read from and a :class:`ByteSink` to write to. Both are awaited, and waiting
*is* the back-pressure: whoever is slow makes the other side wait, and memory stays bounded by the
high-water marks below.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

CHUNK = 128 * 1024
"""Bytes that one read hands on, at most, where we choose the size."""

HIGH_WATER = 256 * 1024
"""Bytes that a queue holds before its producer is paused."""


class StreamClosed(Exception):
    """The other side is gone: nothing more can be read or written."""


class ByteSource(Protocol):
    async def read(self) -> bytes:
        """The next chunk, never empty; ``b""`` once, and for ever after, at the end.

        Raises StreamClosed if the stream broke off before its end.
        """
        ...


class ByteSink(Protocol):
    async def write(self, data: bytes) -> None:
        """Hand ``data`` on; returns when the other side is ready for more.

        Raises StreamClosed if the other side is gone.
        """
        ...


@runtime_checkable
class SizedSink(ByteSink, Protocol):
    """A sink that can make use of knowing how much will come."""

    def announce(self, size: int) -> None:
        """Before the first write: exactly ``size`` bytes will come, or the stream breaks off."""
        ...


def _nothing() -> None:
    return None


class ByteQueue:
    """A ByteSource fed by a push producer, which is paused above the high-water mark."""

    def __init__(
        self,
        pause: Callable[[], object] = _nothing,
        resume: Callable[[], object] = _nothing,
        consumed: Callable[[int], object] | None = None,
        high_water: int = HIGH_WATER,
    ) -> None:
        self._pause = pause
        self._resume = resume
        self._consumed = consumed
        self._high_water = high_water
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._paused = False
        self._ended = False
        self._error: Exception | None = None
        self._waiting: Deferred[None] | None = None

    @property
    def buffered(self) -> int:
        """Bytes that were fed and not yet read."""
        return self._size

    def feed(self, data: bytes) -> None:
        """Called by the producer with each chunk as it comes; a chunk after the end is dropped."""
        if not data or self._ended:
            return
        self._chunks.append(data)
        self._size += len(data)
        if self._size >= self._high_water and not self._paused:
            self._paused = True
            self._pause()
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        """No more data will come; with ``error`` the stream broke off."""
        if self._ended:
            return
        self._ended = True
        self._error = error
        self._wake()

    def abort(self, error: Exception) -> None:
        """Drop what is buffered and fail the reader at once."""
        self._chunks.clear()
        self._size = 0
        self._ended = True
        self._error = error
        self._wake()

    async def read(self) -> bytes:
        while not self._chunks:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return b""
            self._waiting = Deferred()
            try:
                await self._waiting
            finally:
                self._waiting = None
        data = self._chunks.popleft()
        self._size -= len(data)
        if self._consumed is not None:
            self._consumed(len(data))
        if self._paused and self._size < self._high_water // 2:
            self._paused = False
            self._resume()
        return data

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)


@implementer(IPushProducer)
class ConsumerSink:
    """A ByteSink over anything that takes a Twisted push producer (a transport, a request)."""

    def __init__(self, consumer: IConsumer) -> None:
        self._consumer = consumer
        self._resumed: Deferred[None] | None = None
        self._paused = False
        self._closed = False
        consumer.registerProducer(self, True)

    async def write(self, data: bytes) -> None:
        if self._closed:
            raise StreamClosed("the client closed the connection")
        if data:
            self._consumer.write(data)
        if self._paused and not self._closed:
            self._resumed = Deferred()
            try:
                await self._resumed
            finally:
                self._resumed = None
        if self._closed:
            raise StreamClosed("the client closed the connection")

    def detach(self) -> None:
        """Stop being the consumer's producer: everything has been written."""
        if not self._closed:
            self._closed = True
            self._consumer.unregisterProducer()

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._wake()

    def stopProducing(self) -> None:
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not resumed.called:
            resumed.callback(None)


class BytesSource:
    """A ByteSource over bytes already in memory."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = deque(chunk for chunk in chunks if chunk)

    async def read(self) -> bytes:
        return self._chunks.popleft() if self._chunks else b""


class BytesSink:
    """A ByteSink that collects; ``limit`` bytes at most, then it raises ``ValueError``."""

    def __init__(self, limit: int | None = None) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._limit = limit

    async def write(self, data: bytes) -> None:
        self._size += len(data)
        if self._limit is not None and self._size > self._limit:
            raise ValueError(f"more than {self._limit} bytes")
        self._parts.append(data)

    def value(self) -> bytes:
        return b"".join(self._parts)


async def copy(source: ByteSource, sink: ByteSink) -> int:
    """Everything from ``source`` into ``sink``; returns the number of bytes."""
    total = 0
    while data := await source.read():
        await sink.write(data)
        total += len(data)
    return total
