"""Back-pressure on the way out: whoever has something to send on a connection takes turns.

Channels wait for a turn before they write. Answers to messages do not: what piles up of them for a
peer that does not read is counted.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

MAX_UNREAD = 1024 * 1024
"""Bytes of answers that may pile up for a peer that asks and does not read."""


class Connection(Protocol):
    """What is asked of the connection."""

    ended: bool

    def exchanges_keys(self) -> bool:
        """Whether only messages of the key exchange may be sent now."""
        ...

    def give_up(self) -> None:
        """The peer has not read for too long."""
        ...


@implementer(IPushProducer)
class Writers:
    """One for each connection; the socket, whose producer it is, says when to pause."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._unread = 0
        self._waiting: deque[Deferred[None]] = deque()
        self.congested = False
        """Whether the peer does not take what was written already."""

    async def turn(self) -> None:
        """Returns when the caller may write some more.

        The caller checks afterwards whether the connection has ended.
        """
        if self._connection.ended or (self._may_write() and not self._waiting):
            return
        mine: Deferred[None] = Deferred()
        self._waiting.append(mine)
        try:
            await mine
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)

    def wake(self) -> None:
        """Something has changed that they may have waited for."""
        while self._waiting and (self._connection.ended or self._may_write()):
            self._waiting.popleft().callback(None)

    def _may_write(self) -> bool:
        return not (self.congested or self._connection.exchanges_keys())

    def count_unread(self, size: int) -> None:
        """So many bytes are kept for a peer that does not take them now."""
        self._unread += size
        if self._unread > MAX_UNREAD and not self._connection.ended:
            self._connection.give_up()

    def pauseProducing(self) -> None:
        self.congested = True

    def resumeProducing(self) -> None:
        self.congested = False
        self._unread = 0
        self.wake()

    def stopProducing(self) -> None:
        """The socket is gone; the connection hears of it by itself."""
