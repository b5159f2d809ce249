"""Pipes to and from child processes, on the reactor.

Reading is by demand: a pipe is only watched while somebody waits for its data, so that what
nobody takes stays in the kernel and stops the child by itself.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from wit.streams import CHUNK, StreamClosed

READ_BYTES = 2 * CHUNK
"""Bytes that one read of a pipe takes, at most."""

TAIL_BYTES = 8 * 1024
"""Bytes of a child's standard error that are kept."""


class Descriptor:
    """One file descriptor on the reactor; closed exactly once."""

    def __init__(self, reactor: Any, fd: int) -> None:
        self._reactor = reactor
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def logPrefix(self) -> str:
        return "git"

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def _close(self) -> None:
        if self._fd >= 0:
            self._reactor.removeReader(self)
            self._reactor.removeWriter(self)
            fd, self._fd = self._fd, -1
            os.close(fd)


@implementer(IReadDescriptor)
class PipeSource(Descriptor):
    """The reading end of a pipe, as a ByteSource for one reader."""

    def __init__(self, reactor: Any, fd: int) -> None:
        super().__init__(reactor, fd)
        self._waiting: Deferred[bytes] | None = None

    async def read(self) -> bytes:
        if self.closed:
            return b""
        waiting: Deferred[bytes] = Deferred()
        self._waiting = waiting
        self._reactor.addReader(self)
        try:
            return await waiting
        finally:
            if self._waiting is waiting:
                self._waiting = None

    def doRead(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            self._reactor.removeReader(self)
            return
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            self._waiting = waiting
            return
        if not data:
            self._close()
        waiting.callback(data)
        if self._waiting is None and not self.closed:
            self._reactor.removeReader(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw that the writer is gone and the pipe empty."""
        self.close()

    def close(self) -> None:
        self._close()
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(b"")


@implementer(IWriteDescriptor)
class PipeSink(Descriptor):
    """The writing end of a pipe, as a ByteSink for one writer."""

    def __init__(self, reactor: Any, fd: int) -> None:
        super().__init__(reactor, fd)
        self._rest = memoryview(b"")
        self._waiting: Deferred[None] | None = None

    async def write(self, data: bytes) -> None:
        if self.closed:
            raise StreamClosed("the process reads no more")
        self._rest = memoryview(data)
        self._write_some()
        if self._rest and not self.closed:
            waiting: Deferred[None] = Deferred()
            self._waiting = waiting
            self._reactor.addWriter(self)
            try:
                await waiting
            finally:
                if self._waiting is waiting:
                    self._waiting = None
        if self._rest:
            raise StreamClosed("the process reads no more")

    def doWrite(self) -> None:
        self._write_some()
        if not self._rest or self.closed:
            if not self.closed:
                self._reactor.removeWriter(self)
            self._wake()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor saw that the reader is gone."""
        self.close()

    def close(self) -> None:
        self._close()
        self._wake()

    def _write_some(self) -> None:
        try:
            while self._rest:
                self._rest = self._rest[os.write(self._fd, self._rest) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._close()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


@implementer(IReadDescriptor)
class TailKeeper(Descriptor):
    """Reads a child's standard error all the time and keeps its end."""

    def __init__(self, reactor: Any, fd: int) -> None:
        super().__init__(reactor, fd)
        self.tail = b""
        reactor.addReader(self)

    def doRead(self) -> None:
        try:
            data = os.read(self._fd, TAIL_BYTES)
        except BlockingIOError:
            return
        if data:
            self.tail = (self.tail + data)[-TAIL_BYTES:]
        else:
            self._close()

    def connectionLost(self, reason: Failure) -> None:
        self._close()

    def finish(self) -> None:
        """Take what the ended child left in the pipe, a pipe's capacity at most."""
        for _ in range(64 * 1024 // TAIL_BYTES):
            if self.closed:
                break
            self.doRead()
        self._close()
