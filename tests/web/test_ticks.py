from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.web.ticks import Ticks


class Poller:
    """Waits for ten seconds each time it is asked."""

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock

    def poll(self, timeout: float, maximum: int) -> list[Any]:
        self.clock[0] += 10
        return [(1, 1)]

    def register(self, *arguments: Any) -> None: ...
    def modify(self, *arguments: Any) -> None: ...
    def unregister(self, *arguments: Any) -> None: ...


class Reactor:
    def __init__(self, clock: list[float]) -> None:
        self._poller: Any = Poller(clock)


def test_only_our_own_time_counts(run: Callable[[Any], Any]) -> None:
    clock = [0.0]
    reactor, metrics = Reactor(clock), Metrics()
    ticks = Ticks(reactor, metrics, lambda: clock[0])
    plain = reactor._poller
    run(ticks.start())
    value = metrics.registry.get_sample_value
    reactor._poller.poll(1, 1)
    for work in (0.25, 0.5):
        clock[0] += work
        assert reactor._poller.poll(1, 1) == [(1, 1)]
    assert value("wit_reactor_tick_seconds_sum") == pytest.approx(0.75)
    assert value("wit_reactor_tick_seconds_count") == 3
    run(ticks.stop())
    assert reactor._poller is plain


def test_a_blocked_turn_of_the_real_reactor_shows(
    run: Callable[[Any], Any], runtime: Runtime
) -> None:
    async def block() -> None:
        time.sleep(0.12)  # noqa: ASYNC251
        await runtime.sleep(0)
        await runtime.sleep(0)

    metrics = Metrics()
    ticks = Ticks(runtime.reactor, metrics)
    run(ticks.start())
    try:
        run(block())
    finally:
        run(ticks.stop())
    value = metrics.registry.get_sample_value
    total = value("wit_reactor_tick_seconds_count") or 0
    short = value("wit_reactor_tick_seconds_bucket", {"le": "0.1"}) or 0
    assert total > short
