"""Who may deliver an event: whoever claimed it, as long as he lives."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from twisted.internet.defer import Deferred

from tests.events.test_bus import World, event, recorder
from wit.db.port import Database, DatabaseUnavailable
from wit.db.tables import event_deliveries, events
from wit.events import bus as bus_module
from wit.events.bus import LEASE_SECONDS, RENEW_SECONDS
from wit.events.types import Event, NewEvent
from wit.runtime import Runtime

_ENDS = select(events.c.next_attempt_at).order_by(events.c.seq)


@pytest.fixture
def world(database: Database, runtime: Runtime, run: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    """Renewals come quickly; the clock by which leases end is the test's."""
    monkeypatch.setattr(bus_module, "RENEW_SECONDS", 0.02)
    return World(database, runtime, run)


class Slow:
    """An expander that waits until it is told to go on. It runs outside any transaction."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.entered: Deferred[None] = Deferred()
        self.go_on: Deferred[None] = Deferred()

    async def __call__(self, event: Event) -> list[NewEvent]:
        if not self.entered.called:
            self.entered.callback(None)
            await self.go_on
        self.seen.append(event.payload["number"])
        return []


async def ends(world: World) -> list[Any]:
    return [row["next_attempt_at"] for row in await world.db.fetch_all(_ENDS)]


def test_a_dead_daemon_is_followed_within_a_minute(world: World) -> None:
    assert RENEW_SECONDS * 3 < LEASE_SECONDS < 60
    seen: list[int] = []
    dead, alive = world.bus(), world.bus()
    dead.register("h", ["tick"], recorder([]))
    alive.register("h", ["tick"], recorder(seen))
    world.add(event(1))
    world.run(dead._claim())
    world.clock.forward(LEASE_SECONDS / 2)
    world.settle(alive)
    assert seen == []
    world.clock.forward(LEASE_SECONDS / 2)
    world.settle(alive)
    assert seen == [1]


def test_a_daemon_at_work_keeps_what_it_claimed(world: World) -> None:
    """However long it takes: longer than any lease here."""
    slow, seen = Slow(), list[int]()
    busy, other = world.bus(), world.bus()
    busy.expand("h", ["tick"], slow)
    other.register("h", ["tick"], recorder(seen))
    world.add(event(1), event(2), event(3, "elsewhere"))

    async def work() -> None:
        delivering = Deferred.fromCoroutine(busy.deliver_due())
        await slow.entered
        for _ in range(4):
            world.clock.forward(LEASE_SECONDS * 0.6)
            renewed = world.clock.now() + timedelta(seconds=LEASE_SECONDS)
            while min(await ends(world)) < renewed:
                await world.runtime.sleep(0.01)
            assert not await other.deliver_due()
        slow.go_on.callback(None)
        assert await delivering

    world.run(work())
    assert slow.seen == [1, 2, 3] and seen == []
    assert world.unprocessed() == 0


def test_a_daemon_that_was_out_for_too_long_leaves_the_rest_to_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot renew (the database is away), somebody else takes over, and it comes back."""
    slow, seen = Slow(), list[int]()
    lame, other = world.bus(), world.bus()
    lame.expand("h", ["tick"], slow)
    other.register("h", ["tick"], recorder(seen))
    world.add(event(1), event(2), event(3, "elsewhere"))
    fetch_all = world.db.fetch_all
    away, renewal = [True], Deferred[None]()

    async def sometimes(statement: Any, /, **parameters: Any) -> Any:
        if "seqs" not in parameters:
            return await fetch_all(statement, **parameters)
        if away[0]:
            raise DatabaseUnavailable("away")
        found = await fetch_all(statement, **parameters)
        if not renewal.called:
            renewal.callback(None)
        return found

    monkeypatch.setattr(world.db, "fetch_all", sometimes)

    async def work() -> None:
        delivering = Deferred.fromCoroutine(lame.deliver_due())
        await slow.entered
        world.clock.forward(LEASE_SECONDS + 1)
        while await other.deliver_due():
            pass
        away[0] = False
        await renewal  # it finds nothing
        slow.go_on.callback(None)
        await delivering

    world.run(work())
    assert slow.seen == [1], "what it was at when the lease ended"
    assert seen == [1, 2, 3]
    assert world.unprocessed() == 0
    deliveries = world.run(fetch_all(select(event_deliveries.c.event_id)))
    assert len(deliveries) == 3, "each once"


def test_a_bus_that_stops_gives_back_what_it_renewed(world: World) -> None:
    slow, seen = Slow(), list[int]()
    busy, other = world.bus(), world.bus()
    busy.expand("h", ["tick"], slow)
    other.register("h", ["tick"], recorder(seen))
    world.add(event(1), event(2), event(3, "elsewhere"))

    async def work() -> None:
        await busy.start()
        await slow.entered
        before = await ends(world)
        while await ends(world) == before:
            await world.runtime.sleep(0.01)
        stopping = Deferred.fromCoroutine(busy.stop())
        slow.go_on.callback(None)
        await stopping
        while await other.deliver_due():
            pass

    world.run(work())
    assert slow.seen == [1]
    assert seen == [2, 3], "at once, not when a lease has ended"
