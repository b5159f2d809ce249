"""The latch: everybody waits for the same thing, and nobody is left behind."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from wit.latch import Latch


def test_opens_for_all_who_wait_and_stays_open() -> None:
    latch = Latch()
    waiting = [Deferred.fromCoroutine(latch.wait()) for _ in range(3)]
    assert not any(each.called for each in waiting)
    latch.open()
    assert all(each.called for each in waiting)
    assert latch.opened and Deferred.fromCoroutine(latch.wait()).called
    latch.open()


def test_who_is_cancelled_waits_no_more() -> None:
    latch = Latch()
    first, second = (Deferred.fromCoroutine(latch.wait()) for _ in range(2))
    first.cancel()
    first.addErrback(lambda failure: failure.trap(CancelledError))
    latch.open()
    assert first.called and second.called


@pytest.mark.parametrize("opens", [True, False])
def test_waiting_at_most_so_long(opens: bool) -> None:
    clock = Clock()
    latch = Latch()
    waiting = Deferred.fromCoroutine(latch.wait_at_most(5.0, clock))
    clock.advance(4.9)
    assert not waiting.called
    if opens:
        latch.open()
    clock.advance(0.2)
    results: list[bool] = []
    waiting.addCallback(results.append)
    assert results == [opens]
    assert clock.getDelayedCalls() == []
    if opens:
        assert Deferred.fromCoroutine(latch.wait_at_most(5.0, clock)).called


def test_one_who_opens_for_another_in_the_same_moment() -> None:
    """A waiter that goes on may cancel the next one before its turn."""
    latch = Latch()
    waiting: list[Deferred[None]] = []

    async def wait_and_cancel_the_others() -> None:
        await latch.wait()
        for other in waiting:
            other.cancel()

    waiting += [Deferred.fromCoroutine(wait_and_cancel_the_others()) for _ in range(3)]
    for each in waiting:
        each.addErrback(lambda failure: failure.trap(CancelledError))
    latch.open()
    assert all(each.called for each in waiting)
