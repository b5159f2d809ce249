"""A connection that an engine has turned into a command's input and output.

Engine API, "Attach to a container": the client asks for ``Upgrade: tcp``, and after the header of
the answer (101) both directions carry the command's bytes. HTTP clients have no notion of that, so
the few lines of HTTP that it takes are spoken here.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from wit.sandboxes.docker.frames import Frames
from wit.sandboxes.provider import Channel, Output
from wit.streams import HIGH_WATER, ConsumerSink, StreamClosed

MAX_HEAD = 64 * 1024
"""Bytes of an answer's header that are read."""
MAX_REFUSAL = 64 * 1024
"""Bytes of an answer that is no stream that are read."""
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]{1,9}) *(?:\r|$)", re.IGNORECASE)
MAX_DRAINED = 4 * 1024 * 1024
"""Bytes that are kept of a command's last output: pipes and the engine's own buffers hold less."""
PIECE = 64 * 1024
"""Bytes of one Output, at most."""


class Answered(Exception):
    """The engine answered, but not with a stream."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


class ExecStream(Protocol):
    """One hijacked connection. ``opened`` fires when the stream begins; it fails with
    :class:`Answered`, or with what ended the connection."""

    transport: Any

    def __init__(self, request: bytes, terminal: bool, tls: bool) -> None:
        self.opened: Deferred[None] = Deferred()
        self.ended = False
        """The engine has closed the stream: nothing comes any more but what is buffered."""
        self.closed: Deferred[None] = Deferred()
        """Fires when ``ended`` comes true; never fails."""
        self._request = request
        self._frames = None if terminal else Frames()
        self._tls = tls
        self._head: bytes | None = b""
        self._refusal: bytes | None = None
        self._status = 0
        self._length = 0
        self._outputs: deque[Output] = deque()
        self._size = 0
        self._paused = False
        self._dropping = False
        self._draining = False
        self.stalled: Callable[[], None] | None = None
        """Called when so much is buffered that the connection is not read any more."""
        self._reading: Deferred[None] | None = None
        self._sink: ConsumerSink | None = None

    # what the engine sends

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        if self._refusal is not None:
            self._refuse(data)
        elif self._head is None:
            self._take(data)
        else:
            self._read_head(self._head + data)

    def _read_head(self, data: bytes) -> None:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            self._head = data
            if len(data) > MAX_HEAD:
                self.transport.abortConnection()
            return
        self._head = None
        words = head.split(b" ", 2)
        self._status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        if self._status not in (101, 200):
            length = _LENGTH.search(head)
            self._length = int(length[1]) if length else MAX_REFUSAL
            self._refuse(rest)
            return
        self._sink = ConsumerSink(self.transport)
        self._opened(None)
        self._take(rest)

    def _refuse(self, data: bytes) -> None:
        """Part of an error's text; an engine may leave the connection open after it."""
        self._refusal = ((self._refusal or b"") + data)[: min(self._length, MAX_REFUSAL)]
        if len(self._refusal) == self._length:
            self.transport.abortConnection()

    def _take(self, data: bytes) -> None:
        if self._dropping or not data or (self._draining and self._size > MAX_DRAINED):
            return
        try:
            pieces = self._frames.feed(data) if self._frames else [(Channel.STDOUT, data)]
            for channel, piece in pieces:
                for at in range(0, len(piece), PIECE):
                    self._outputs.append(Output(channel, piece[at : at + PIECE]))
                self._size += len(piece)
        except ValueError:
            self.transport.abortConnection()
        if self._size >= HIGH_WATER and not self._paused and not self._draining:
            self._paused = True
            self.transport.pauseProducing()
            if self.stalled is not None:
                self.stalled()
        self._wake()

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.ended = True
        if self._refusal is not None:
            self._opened(Failure(Answered(self._status, self._refusal)))
        else:
            self._opened(reason)
        if self._sink is not None:
            self._sink.stopProducing()
        self._wake()
        self.closed.callback(None)

    def _opened(self, result: Any) -> None:
        if not self.opened.called:
            self.opened.callback(result)

    # what the command's owner does

    @property
    def full(self) -> bool:
        """So much is buffered that the connection is not read: its end would not be seen."""
        return self._paused

    async def read(self) -> Output | None:
        """The next output; None at the end. For one reader."""
        while not self._outputs:
            if self.ended or self._dropping:
                return None
            self._reading = Deferred()
            try:
                await self._reading
            finally:
                self._reading = None
        output = self._outputs.popleft()
        self._size -= len(output.data)
        if self._paused and self._size < HIGH_WATER // 2:
            self._resume()
        return output

    def unread(self, output: Output) -> None:
        """Put back what was read last."""
        if not output.data:
            return
        self._outputs.appendleft(output)
        self._size += len(output.data)

    async def write(self, data: bytes) -> None:
        """Raises StreamClosed when the connection has ended."""
        if self._sink is None or self.ended:
            raise StreamClosed("the command no longer reads")
        await self._sink.write(data)

    def end_input(self) -> None:
        """Close our direction: end of file on the command's standard input."""
        if self._sink is None or self.ended:
            return
        self._sink.detach()
        if self._tls:
            # TLS has no half of a connection: this sends "close notify" and goes on reading.
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def drain(self) -> None:
        """Read on, though nobody takes it: the command has ended or is about to.

        The engine tells that a command of a container has ended only when the outputs of those
        that ended before it have been taken.
        """
        self._draining = True
        self._resume()

    def drop(self) -> None:
        """Throw away what is buffered and whatever still comes; the end will be seen."""
        self._dropping = True
        self._outputs.clear()
        self._size = 0
        self._resume()
        self._wake()

    def abort(self) -> None:
        """Close the connection at once."""
        if not self.ended:
            self.transport.abortConnection()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self.ended:
                self.transport.resumeProducing()

    def _wake(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None and not reading.called:
            reading.callback(None)
