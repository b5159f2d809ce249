"""One piece of work for everybody who wants its result at the same time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


class _Run(Generic[T]):
    def __init__(self) -> None:
        self.waiting: set[Deferred[T]] = set()
        self.work: Deferred[None] | None = None


class Sharing(Generic[T]):
    """Work by key. Who stops waiting leaves the others their result; the last one ends the work."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run[T]] = {}

    async def get(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the running work of this key results in; ``work`` if none is running."""
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = _Run()
        waiter: Deferred[T] = Deferred()
        run.waiting.add(waiter)
        if run.work is None:
            run.work = Deferred.fromCoroutine(self._finish(key, run, work()))
        try:
            return await waiter
        finally:
            run.waiting.discard(waiter)
            if not run.waiting and self._runs.get(key) is run:
                del self._runs[key]
                run.work.cancel()

    async def _finish(self, key: str, run: _Run[T], work: Coroutine[Any, Any, T]) -> None:
        outcome: T | Failure
        try:
            outcome = await work
        except BaseException:
            outcome = Failure()
        if self._runs.get(key) is run:
            del self._runs[key]
        for waiter in list(run.waiting):
            if isinstance(outcome, Failure):
                waiter.errback(outcome)
            else:
                waiter.callback(outcome)
