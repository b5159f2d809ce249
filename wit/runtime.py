"""Time, randomness, threads and the reactor, as one value that is passed in.

Domain code takes what it needs from a :class:`Runtime` and never imports the reactor, reads the
clock or asks for random bytes by itself, so that a test can hand it others.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")


def utc_now() -> datetime:
    return datetime.now(UTC)


@attrs.frozen
class Runtime:
    """What the world supplies.

    ``reactor`` offers IReactorCore, IReactorTime, IReactorFDSet and IReactorFromThreads; ``now``
    is the wall clock (aware, UTC), for stored times only: durations are measured with
    ``reactor.seconds()``.
    """

    reactor: Any
    now: Callable[[], datetime] = utc_now
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    pool: ThreadPool | None = None
    """Threads for short blocking work (hashing, reading objects); the reactor's own by default."""

    def new_id(self) -> str:
        """A fresh random UUID (RFC 9562, version 4) as text."""
        return str(uuid.UUID(bytes=self.random_bytes(16), version=4))

    def in_thread(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run blocking ``work`` off the reactor; fires with its result or its exception."""
        pool = self.pool or self.reactor.getThreadPool()
        return deferToThreadPool(self.reactor, pool, work, *args, **kwargs)

    def sleep(self, seconds: float) -> Deferred[None]:
        """Fires after ``seconds``; cancelling it cancels the timer."""
        done: Deferred[None] = Deferred(lambda _: timer.cancel() if timer.active() else None)
        timer = self.reactor.callLater(seconds, done.callback, None)
        return done


async def shielded(work: Coroutine[Any, Any, T]) -> T:
    """Await ``work`` so that cancelling the caller leaves ``work`` running to its end.

    For steps that must not stop half-way: a client may vanish between the rename of a folder
    and the commit of its row.
    """
    outcome: Deferred[T] = Deferred()
    Deferred.fromCoroutine(work).addBoth(outcome.callback)
    return await outcome
