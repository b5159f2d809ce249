"""How many git processes run at once: in all, for one repository, for one user.

Whoever comes too late waits in one queue. Its order is first come, first served, except that a
waiter whose own repository or user is at its limit lets the others pass; so one busy repository
or one greedy user holds up nobody else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
from twisted.internet.defer import CancelledError, Deferred

from wit.config import Git as GitConfig
from wit.errors import Unavailable
from wit.latch import Latch
from wit.metrics import Metrics
from wit.runtime import Runtime


@attrs.define(eq=False)
class _Waiter:
    repo_key: str
    user_key: str | None
    granted: Deferred[None] = attrs.field(factory=Deferred)
    holds_slot: bool = False


class Governor:
    """One per daemon. Every git process that works for a client holds a slot."""

    def __init__(self, config: GitConfig, runtime: Runtime, metrics: Metrics) -> None:
        self._config = config
        self._runtime = runtime
        self._metrics = metrics
        self._running = 0
        self._per_repository: Counter[str] = Counter()
        self._per_user: Counter[str] = Counter()
        self._queue: dict[_Waiter, None] = {}
        self._admitting = False
        self._closed = False
        self._idle: Latch | None = None

    @property
    def running(self) -> int:
        return self._running

    @property
    def queued(self) -> int:
        return len(self._queue)

    def slot(self, repo_key: str, user_key: str | None) -> AbstractAsyncContextManager[None]:
        """Hold the right to run one git process; ``user_key`` None is wit itself.

        Entering raises Unavailable if the queue is full, if no slot was free within
        ``queue_seconds``, or if the daemon is stopping. Never take a second slot while holding
        one: two who do that can wait for each other.
        """
        return self._slot(repo_key, user_key)

    @asynccontextmanager
    async def _slot(self, repo_key: str, user_key: str | None) -> AsyncIterator[None]:
        if self._closed:
            raise _stopping()
        if self._has_room(repo_key, user_key):
            self._take(repo_key, user_key)
        else:
            await self._wait(_Waiter(repo_key, user_key))
        try:
            yield
        finally:
            self._give_back(repo_key, user_key)

    def reload(self, config: GitConfig) -> None:
        """Other limits, from now on."""
        self._config = config
        self._admit()
        self._count()

    def close(self) -> None:
        """From now on nobody gets a slot; who waits for one is refused. Holders go on."""
        self._closed = True
        waiters, self._queue = list(self._queue), {}
        self._count()
        for waiter in waiters:
            waiter.granted.errback(_stopping())

    async def idle(self) -> None:
        """Returns when no slot is held."""
        if self._running:
            if self._idle is None:
                self._idle = Latch()
            await self._idle.wait()

    async def _wait(self, waiter: _Waiter) -> None:
        """Returns with the slot taken for ``waiter``."""
        if len(self._queue) >= self._config.queue_length:
            raise Unavailable("the server is busy; try again in a few seconds", retry_after=5)
        self._queue[waiter] = None
        self._count()
        timer = self._runtime.reactor.callLater(self._config.queue_seconds, self._give_up, waiter)
        try:
            await waiter.granted
        except CancelledError:
            self._queue.pop(waiter, None)
            self._count()
            if waiter.holds_slot:
                self._give_back(waiter.repo_key, waiter.user_key)
            raise
        finally:
            if timer.active():
                timer.cancel()

    def _give_up(self, waiter: _Waiter) -> None:
        self._queue.pop(waiter, None)
        self._count()
        waiter.granted.errback(
            Unavailable(
                "the server was too busy to start git for this request; try again later",
                retry_after=30,
            )
        )

    def _has_room(self, repo_key: str, user_key: str | None) -> bool:
        config = self._config
        return (
            self._running < config.max_processes
            and self._per_repository[repo_key] < config.max_per_repository
            and (user_key is None or self._per_user[user_key] < config.max_per_user)
        )

    def _take(self, repo_key: str, user_key: str | None) -> None:
        self._running += 1
        self._per_repository[repo_key] += 1
        if user_key is not None:
            self._per_user[user_key] += 1
        self._count()

    def _give_back(self, repo_key: str, user_key: str | None) -> None:
        self._running -= 1
        _decrement(self._per_repository, repo_key)
        if user_key is not None:
            _decrement(self._per_user, user_key)
        self._admit()
        self._count()
        if not self._running and self._idle is not None:
            idle, self._idle = self._idle, None
            idle.open()

    def _admit(self) -> None:
        """Grant what can be granted, one waiter after the other.

        A slot is taken before the waiter's code runs. That code may give it back at once, which
        comes in here again: then only the outer call goes on, so that the stack stays flat.
        """
        if self._admitting:
            return
        self._admitting = True
        try:
            while (waiter := self._next()) is not None:
                del self._queue[waiter]
                self._take(waiter.repo_key, waiter.user_key)
                waiter.holds_slot = True
                waiter.granted.callback(None)
        finally:
            self._admitting = False

    def _next(self) -> _Waiter | None:
        if self._running >= self._config.max_processes:
            return None
        return next((w for w in self._queue if self._has_room(w.repo_key, w.user_key)), None)

    def _count(self) -> None:
        self._metrics.git_running.set(self._running)
        self._metrics.git_queued.set(len(self._queue))


def _stopping() -> Unavailable:
    return Unavailable("the server is stopping; try again in a minute", retry_after=60)


def _decrement(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
