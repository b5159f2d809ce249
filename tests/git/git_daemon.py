"""git-daemon(1) for tests: what git sends to git:// addresses, handed to a coroutine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from wit.git.command import protocol_version
from wit.streams import ByteQueue, ByteSink, ConsumerSink, StreamClosed

Serve = Callable[[str, int, ByteQueue, ByteSink], Awaitable[None]]
"""Of the repository's name, the protocol's version, and both directions of the connection."""


class GitDaemonProtocol(Protocol):
    """One request line, then the session, which is cancelled when the client goes away.

    ``ended`` gets what the session came to: None, or a failure.
    """

    def __init__(self, serve: Serve, ended: Callable[[Failure | None], object]) -> None:
        self._serve = serve
        self._ended = ended
        self._line = b""
        self._work: Deferred[None] | None = None

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._source = ByteQueue(transport.pauseProducing, transport.resumeProducing)

    def dataReceived(self, data: bytes) -> None:
        if self._work is not None:
            self._source.feed(data)
            return
        self._line += data
        if len(self._line) < 4 or len(self._line) < (length := int(self._line[:4], 16)):
            return
        request, _, *extra = self._line[4:length].split(b"\0")
        self._source.feed(self._line[length:])
        protocol = protocol_version(extra[1].decode()) if len(extra) > 1 else 0
        _, _, name = request.decode().partition(" /")
        self._work = Deferred.fromCoroutine(self._converse(name, protocol))
        self._work.addBoth(self._ended)

    async def _converse(self, name: str, protocol: int) -> None:
        transport: Any = self.transport
        sink = ConsumerSink(transport)
        try:
            await self._serve(name, protocol, self._source, sink)
        finally:
            sink.detach()
            transport.loseConnection()

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:
        self._source.end(StreamClosed("gone"))
        if self._work is not None:
            self._work.cancel()
