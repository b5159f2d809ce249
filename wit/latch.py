"""Waiting for something that happens once, by any number of coroutines."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime


class Latch:
    """Opens once. Whoever waits then goes on; whoever comes later does not wait at all."""

    def __init__(self) -> None:
        self._opened = False
        self._waiting: set[Deferred[None]] = set()

    @property
    def opened(self) -> bool:
        return self._opened

    def open(self) -> None:
        self._opened = True
        waiting, self._waiting = self._waiting, set()
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(None)

    async def wait(self) -> None:
        if self._opened:
            return
        waiter: Deferred[None] = Deferred()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)

    async def wait_at_most(self, seconds: float, reactor: IReactorTime) -> bool:
        """Whether it is open, after ``seconds`` at the latest."""
        if self._opened:
            return True
        waiter: Deferred[None] = Deferred()
        self._waiting.add(waiter)
        timer = reactor.callLater(seconds, waiter.callback, None)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)
            if timer.active():
                timer.cancel()
        return self._opened
