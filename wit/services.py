"""A service tree whose starts and stops are awaited, one after the other.

Twisted's MultiService starts all children at once and does not wait. wit's parts depend on each
other (no door opens before the database is there), so the tree starts them in order, and stops
them in reverse order, waiting for each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from twisted.application.service import MultiService, Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed
from twisted.logger import Logger

from wit.latch import Latch
from wit.runtime import Runtime


class Part(Protocol):
    """What a branch of the tree is made of. A start that fails, or is cancelled, leaves nothing
    that runs."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class PartService(Service):
    """One named part in the tree; ``running`` is true between its start and its stop."""

    def __init__(self, name: str, part: Part) -> None:
        self.name = name
        self.part = part


class Tree(MultiService):
    """The root; it is started and stopped once.

    ``started`` fires when every part runs, or with the failure of the first that could not (with
    CancelledError if the tree was stopped before); the parts before it have been stopped then.
    """

    log = Logger()

    def __init__(self, parts: list[tuple[str, Part]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.started: Deferred[None] = Deferred()
        self._starting: Deferred[None] = succeed(None)
        self._stopped: Latch | None = None
        for name, part in parts:
            PartService(name, part).setServiceParent(self)  # type: ignore[no-untyped-call]

    @property
    def up(self) -> bool:
        """Whether every part runs."""
        return all(service.running for service in self._branches()) and not self.stopping

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopped is not None

    def startService(self) -> None:
        # Not MultiService's: that would start all children at once.
        Service.startService(self)
        self._starting = Deferred.fromCoroutine(self._start_all())
        self._starting.addCallbacks(self.started.callback, self.started.errback)

    def stopService(self) -> Deferred[None]:
        """Fires when every part has stopped, however often it is called. A start that is still
        going on is cancelled; the stop itself cannot be."""
        if self._stopped is None:
            self._stopped = Latch()
            Service.stopService(self)
            Deferred.fromCoroutine(self._stop(self._stopped))
        return Deferred.fromCoroutine(self._stopped.wait())

    async def _start_all(self) -> None:
        for service in self._branches():
            try:
                await service.part.start()
            except Exception:
                await self._stop_all()
                raise
            service.startService()  # type: ignore[no-untyped-call]

    async def _stop(self, stopped: Latch) -> None:
        self._starting.cancel()
        await self._starting  # what it came to, ``started`` has told
        await self._stop_all()
        stopped.open()

    async def _stop_all(self) -> None:
        for service in reversed(self._branches()):
            if service.running:
                service.stopService()  # type: ignore[no-untyped-call]
                try:
                    await service.part.stop()
                except Exception:
                    self.log.failure("{name} did not stop cleanly", name=service.name)

    def _branches(self) -> list[PartService]:
        return [service for service in self if isinstance(service, PartService)]


class Together:
    """Several parts that start one after the other and stop side by side."""

    log = Logger()

    def __init__(self, *parts: Part) -> None:
        self._parts = parts

    async def start(self) -> None:
        for number, part in enumerate(self._parts):
            try:
                await part.start()
            except Exception:
                await self._stop(self._parts[:number])
                raise

    async def stop(self) -> None:
        await self._stop(self._parts)

    async def _stop(self, parts: Sequence[Part]) -> None:
        stops = [Deferred.fromCoroutine(part.stop()) for part in parts]
        for part, (stopped, outcome) in zip(
            parts, await DeferredList(stops, consumeErrors=True), strict=True
        ):
            if not stopped:
                name = type(part).__name__
                self.log.failure("{name} did not stop cleanly", outcome, name=name)


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


class Again:
    """A part that does something when it starts, and again every so many seconds. What goes wrong
    is logged.

    With ``first`` the first pause has that many seconds; each is twice as long as the one before,
    up to ``seconds``.
    """

    log = Logger()

    def __init__(
        self,
        work: Callable[[], Awaitable[object]],
        runtime: Runtime,
        seconds: float,
        name: str,
        first: float | None = None,
    ) -> None:
        self._work = work
        self._runtime = runtime
        self._seconds = seconds
        self._first = seconds if first is None else first
        self._name = name
        self._loop: Deferred[None] | None = None

    async def start(self) -> None:
        await self._once()
        self._loop = Deferred.fromCoroutine(self._forever())

    async def stop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.cancel()
            with suppress(CancelledError):
                await loop

    async def _forever(self) -> None:
        pause = self._first
        while True:
            await self._runtime.sleep(pause)
            await self._once()
            pause = min(2 * pause, self._seconds)

    async def _once(self) -> None:
        try:
            await self._work()
        except CancelledError:
            raise
        except Exception:
            self.log.failure("{name} failed; it is tried again", name=self._name)
