"""The ends of a command's pipes, or of its terminal, that are the daemon's."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from wit.git.pipes import Descriptor, PipeSink
from wit.sandboxes.provider import Channel, Output

OUTPUT_BYTES = 64 * 1024


@implementer(IReadDescriptor)
class _Stream(Descriptor):
    def __init__(self, reactor: Any, fd: int, channel: Channel, owner: Outputs) -> None:
        super().__init__(reactor, fd)
        self.channel = channel
        self._owner = owner

    def watch(self, watched: bool) -> None:
        if not self.closed:
            (self._reactor.addReader if watched else self._reactor.removeReader)(self)

    def doRead(self) -> None:
        if not self._owner.waiting:
            self.watch(False)
            return
        if (data := self._read()) is not None:
            self._owner.take(self, data)

    def _read(self) -> bytes | None:
        """All that is there, in reason; empty at the end, None if it was a false alarm.

        A terminal gives at most 4 KiB at a time, and there is often more."""
        pieces: list[bytes] = []
        size = 0
        while size < OUTPUT_BYTES:
            try:
                piece = os.read(self._fd, OUTPUT_BYTES - size)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EIO:  # the other side of a terminal is gone
                    raise
                piece = b""
            if not piece:
                self.close()
                return b"".join(pieces)
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces) if pieces else None

    def connectionLost(self, reason: Failure) -> None:
        self.close()
        self._owner.take(self, b"")

    def close(self) -> None:
        self._close()


class Outputs:
    """What a command says, on one or two channels; looked at only while somebody waits for it."""

    def __init__(self, reactor: Any, fds: dict[Channel, int]) -> None:
        self._streams = [_Stream(reactor, fd, channel, self) for channel, fd in fds.items()]
        self._waiting: Deferred[Output | None] | None = None

    @property
    def waiting(self) -> bool:
        return self._waiting is not None

    async def read(self) -> Output | None:
        """The next output; None at the end of all channels. For one reader at a time."""
        if self._ended:
            return None
        waiting: Deferred[Output | None] = Deferred()
        self._waiting = waiting
        self._watch(True)
        try:
            return await waiting
        finally:
            if self._waiting is waiting:
                self._waiting = None
                self._watch(False)

    def take(self, stream: _Stream, data: bytes) -> None:
        """Called by a channel: data, or its end.

        It stays watched: whoever takes all that comes asks again before the reactor looks.
        """
        if data or self._ended:
            waiting, self._waiting = self._waiting, None
            if waiting is not None:
                waiting.callback(Output(stream.channel, data) if data else None)

    def close(self) -> None:
        for stream in self._streams:
            stream.close()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    @property
    def _ended(self) -> bool:
        return all(stream.closed for stream in self._streams)

    def _watch(self, watched: bool) -> None:
        for stream in self._streams:
            stream.watch(watched)


class TerminalSink(PipeSink):
    """Input of a terminal."""

    def _write_some(self) -> None:
        try:
            super()._write_some()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            self._close()
