"""The governor: its limits hold, its queue is fair, and nobody is forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from wit.config import Git as GitConfig
from wit.errors import Unavailable
from wit.git.governor import Governor
from wit.metrics import Metrics
from wit.runtime import Runtime


class Holder:
    """One request: waits for a slot, holds it until told, notes what became of it."""

    def __init__(self, governor: Governor, repo: str, user: str | None) -> None:
        self.repo = repo
        self.user = user
        self.state = "waiting"
        self.error: BaseException | None = None
        self._go: Deferred[None] = Deferred()
        self.work = Deferred.fromCoroutine(self._hold(governor))
        self.work.addErrback(self._failed)

    async def _hold(self, governor: Governor) -> None:
        async with governor.slot(self.repo, self.user):
            self.state = "holding"
            await self._go
        self.state = "done"

    def _failed(self, failure: Any) -> None:
        self.state = "failed"
        self.error = failure.value

    def release(self) -> None:
        self._go.callback(None)


def make(clock: Clock, **limits: Any) -> Governor:
    values = {"max_processes": 3, "max_per_repository": 2, "max_per_user": 2, "queue_length": 4}
    return Governor(GitConfig(**{**values, **limits}), Runtime(clock), Metrics())


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from("abc"), st.sampled_from(["u", "v", None])),
        st.tuples(st.just("release"), st.integers(0, 9)),
        st.tuples(st.just("cancel"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 30.0, 61.0])),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(OPERATIONS)
def test_limits_and_fairness_hold_whatever_happens(operations: list[Any]) -> None:
    clock = Clock()
    governor = make(clock)
    holders: list[Holder] = []

    def those(state: str) -> list[Holder]:
        return [holder for holder in holders if holder.state == state]

    for operation, *arguments in operations:
        if operation == "ask":
            full = governor.queued == 4
            holders.append(Holder(governor, *arguments))
            if holders[-1].state == "failed":
                assert full and isinstance(holders[-1].error, Unavailable)
        elif operation == "release":
            if held := those("holding"):
                held[arguments[0] % len(held)].release()
        elif operation == "cancel":
            if live := those("holding") + those("waiting"):
                chosen = live[arguments[0] % len(live)]
                chosen.work.cancel()
                assert isinstance(chosen.error, CancelledError)
        else:
            clock.advance(arguments[0])
        held = those("holding")
        assert governor.running == len(held) <= 3
        assert governor.queued == len(those("waiting")) <= 4
        for key in "abc":
            assert sum(holder.repo == key for holder in held) <= 2
        for user in "uv":
            assert sum(holder.user == user for holder in held) <= 2
        for waiter in those("waiting"):
            # Nobody waits who could run.
            assert (
                len(held) == 3
                or sum(holder.repo == waiter.repo for holder in held) == 2
                or (waiter.user and sum(holder.user == waiter.user for holder in held) == 2)
            )
    for holder in holders:
        while those("holding"):
            those("holding")[0].release()
        assert holder.state in ("done", "failed")
    assert governor.running == governor.queued == 0
    assert clock.getDelayedCalls() == []


def test_first_come_first_served_but_the_blocked_let_others_pass() -> None:
    governor = make(Clock(), max_processes=2, max_per_repository=1)
    a1, a2 = Holder(governor, "a", "u"), Holder(governor, "a", "v")
    b1 = Holder(governor, "b", "v")
    c1, c2 = Holder(governor, "c", "w"), Holder(governor, "d", "w")
    assert [h.state for h in (a1, a2, b1, c1, c2)] == [
        "holding",
        "waiting",
        "holding",
        "waiting",
        "waiting",
    ]
    b1.release()
    assert (a2.state, c1.state, c2.state) == ("waiting", "holding", "waiting")
    a1.release()
    assert (a2.state, c2.state) == ("holding", "waiting")


def test_a_full_queue_and_a_long_wait_are_refused_with_a_time_to_come_back() -> None:
    clock = Clock()
    governor = make(clock, max_processes=1, queue_length=1, queue_seconds=10)
    holding, waiting, refused = (Holder(governor, "a", name) for name in "uvw")
    assert isinstance(refused.error, Unavailable) and refused.error.retry_after > 0
    clock.advance(10)
    assert isinstance(waiting.error, Unavailable) and waiting.error.retry_after > 0
    assert holding.state == "holding"


def test_close_refuses_and_idle_waits_for_the_last() -> None:
    governor = make(Clock(), max_processes=1)
    holding, waiting = Holder(governor, "a", "u"), Holder(governor, "a", "v")
    governor.close()
    assert isinstance(waiting.error, Unavailable)
    assert isinstance(Holder(governor, "a", None).error, Unavailable)
    idle = Deferred.fromCoroutine(governor.idle())
    assert not idle.called
    holding.release()
    assert idle.called
    assert Deferred.fromCoroutine(governor.idle()).called


def test_waiters_that_end_at_once_do_not_deepen_the_stack() -> None:
    governor = make(Clock(), max_processes=1, queue_length=2000)
    first = Holder(governor, "a", None)

    async def at_once() -> None:
        async with governor.slot("a", None):
            pass

    rest = [Deferred.fromCoroutine(at_once()) for _ in range(2000)]
    first.release()
    assert all(each.called for each in rest)
    assert governor.running == 0


def test_who_is_cancelled_by_the_one_admitted_before_gives_the_slot_back() -> None:
    governor = make(Clock(), max_processes=2)
    first, second = Holder(governor, "a", None), Holder(governor, "a", None)
    victims: list[Holder] = []

    async def canceller() -> None:
        async with governor.slot("b", None):
            victims[0].work.cancel()

    work = Deferred.fromCoroutine(canceller())
    victims.append(Holder(governor, "c", None))
    first.release()
    second.release()
    assert work.called
    assert victims[0].state == "failed"
    assert governor.running == governor.queued == 0


def test_metrics_show_what_runs_and_waits() -> None:
    metrics = Metrics()
    governor = Governor(GitConfig(max_processes=1), Runtime(Clock()), metrics)
    holders = [Holder(governor, "a", None) for _ in range(3)]

    def value(name: str) -> float | None:
        return metrics.registry.get_sample_value(name)

    assert (value("wit_git_running"), value("wit_git_queued")) == (1, 2)
    for holder in holders:
        holder.release()
    assert (value("wit_git_running"), value("wit_git_queued")) == (0, 0)


def test_an_error_inside_gives_the_slot_back() -> None:
    governor = make(Clock())

    async def fail() -> None:
        async with governor.slot("a", "u"):
            raise ValueError("inside")

    work = Deferred.fromCoroutine(fail())
    work.addErrback(lambda failure: failure.trap(ValueError))
    assert governor.running == 0
    with pytest.raises(ValueError):
        raise ValueError(str(work.result))
