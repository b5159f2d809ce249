"""A service tree whose starts and stops are awaited, one after the other.

Twisted's MultiService starts all children at once and does not wait. wit's parts depend on each
other (no door opens before the database is there), so the tree starts them in order, and stops
them in reverse order, waiting for each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger


class Part(Protocol):
    """What a branch of the tree is made of."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class PartService(Service):
    """One named part in the tree; ``running`` is true between its start and its stop."""

    def __init__(self, name: str, part: Part) -> None:
        self.name = name
        self.part = part


class Tree(MultiService):
    """The root. ``started`` fires when every part runs, or with the failure of the first that
    could not; the parts before it have been stopped again then."""

    log = Logger()

    def __init__(self, parts: list[tuple[str, Part]]) -> None:
        super().__init__()
        self.started: Deferred[None] = Deferred()
        self._starting: Deferred[None] = succeed(None)
        for name, part in parts:
            PartService(name, part).setServiceParent(self)

    def startService(self) -> None:
        # Not MultiService's: that would start all children at once.
        Service.startService(self)
        self._starting = Deferred.fromCoroutine(self._start_all())
        self._starting.addCallbacks(self.started.callback, self.started.errback)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _start_all(self) -> None:
        for service in self._branches():
            try:
                await service.part.start()
            except BaseException:
                await self._stop_all()
                raise
            service.startService()

    async def _stop(self) -> None:
        self._starting.cancel()
        await self._stop_all()

    async def _stop_all(self) -> None:
        for service in reversed(self._branches()):
            if service.running:
                service.stopService()
                try:
                    await service.part.stop()
                except Exception:
                    self.log.failure("{name} did not stop cleanly", name=service.name)

    def _branches(self) -> list[PartService]:
        return [service for service in self if isinstance(service, PartService)]


class Hooks:
    """A part made of two functions."""

    def __init__(
        self,
        start: Callable[[], Awaitable[object]] | None = None,
        stop: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._start = start
        self._stop = stop

    async def start(self) -> None:
        if self._start is not None:
            await self._start()

    async def stop(self) -> None:
        if self._stop is not None:
            await self._stop()
