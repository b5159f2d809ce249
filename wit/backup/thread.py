"""Long blocking work in a thread that ends when the coroutine that waits for it is cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from wit.backup.archive import Stopped
from wit.latch import Latch
from wit.runtime import Runtime

P = ParamSpec("P")
T = TypeVar("T")


async def stoppable(
    runtime: Runtime,
    work: Callable[Concatenate[threading.Event, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """``work(stop, ...)`` in a thread. Cancelling sets ``stop`` and waits for it to clean up."""
    stop = threading.Event()
    ended = Latch()
    outcome: Deferred[Any] = Deferred()

    def done(result: T | Failure) -> None:
        ended.open()
        if not outcome.called:
            outcome.callback(result)
        elif isinstance(result, Failure):
            result.trap(Stopped)

    runtime.in_thread(work, stop, *args, **kwargs).addBoth(done)
    try:
        result: T = await outcome
        return result
    except CancelledError:
        stop.set()
        await ended.wait()
        raise
