"""The journal and its bus, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import pytest
from sqlalchemy import func, select
from twisted.internet.defer import Deferred

from wit.db.port import Connection, Database
from wit.db.tables import event_deliveries, events
from wit.events.bus import LEASE_SECONDS, EventBus, backoff
from wit.events.journal import Journal
from wit.events.types import Event, NewEvent
from wit.metrics import Metrics
from wit.runtime import Runtime, utc_now

_UNPROCESSED = select(func.count()).select_from(events).where(events.c.processed_at.is_(None))
_DELIVERIES = select(event_deliveries.c.handler)


@attrs.define
class Clock:
    """The wall clock of a test; the reactor's own goes on."""

    offset: timedelta = timedelta()

    def now(self) -> Any:
        return utc_now() + self.offset

    def forward(self, seconds: float) -> None:
        self.offset += timedelta(seconds=seconds)


class World:
    def __init__(self, database: Database, runtime: Runtime, run: Any) -> None:
        self.clock = Clock()
        self.runtime = attrs.evolve(runtime, now=self.clock.now)
        self.db = database
        self.run = run
        self.journal = Journal(database, self.runtime)
        self.metrics = Metrics()

    def bus(self) -> EventBus:
        return EventBus(self.db, self.journal, self.runtime, self.metrics)

    async def append(self, *new: NewEvent) -> None:
        async with self.db.transaction() as tx:
            await self.journal.append(tx, *new)
        await self.journal.announce()

    def add(self, *new: NewEvent) -> None:
        self.run(self.append(*new))

    def settle(self, bus: EventBus) -> None:
        """Deliver until nothing is due."""

        async def deliver() -> None:
            while await bus.deliver_due():
                pass

        self.run(deliver())

    def unprocessed(self) -> int:
        count: int = self.run(self.db.fetch_value(_UNPROCESSED))
        return count


@pytest.fixture
def world(database: Database, runtime: Runtime, run: Any) -> World:
    return World(database, runtime, run)


def event(number: int, repo: str | None = "repo", type: str = "tick") -> NewEvent:
    return NewEvent(type, "ada", {"number": number}, repo)


def recorder(seen: list[Any], fail: Callable[[Event], bool] = lambda e: False) -> Any:
    async def handler(event: Event, tx: Connection) -> None:
        if fail(event):
            raise RuntimeError("poisoned")
        seen.append(event.payload["number"])

    return handler


def test_the_journal_reads_in_pages(world: World) -> None:
    world.add(event(1), event(2, "other"), event(3))
    world.add(event(4, None))
    everything = world.run(world.journal.list())
    assert [e.payload["number"] for e in everything] == [1, 2, 3, 4]
    assert len({e.id for e in everything}) == 4
    assert everything[0].actor_id == "ada" and everything[3].repo_id is None
    first, second = world.run(world.journal.list(limit=2))
    rest = world.run(world.journal.list(after_seq=second.seq))
    assert [e.payload["number"] for e in rest] == [3, 4]
    of_repo = world.run(world.journal.list(repo_id="repo"))
    assert [e.payload["number"] for e in of_repo] == [1, 3]
    assert first.created_at.tzinfo is not None


def test_what_is_rolled_back_never_happened(world: World) -> None:
    async def fail() -> None:
        async with world.db.transaction() as tx:
            await world.journal.append(tx, event(1))
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        world.run(fail())
    assert world.run(world.journal.list()) == []


def test_each_handler_gets_its_types_in_order(world: World) -> None:
    bus, ticks, everything = world.bus(), list[int](), list[int]()
    bus.register("ticks", ["tick"], recorder(ticks))
    bus.register("all", ["*"], recorder(everything))
    world.add(*(event(n, type="tick" if n % 2 else "tock") for n in range(120)))
    world.settle(bus)
    assert ticks == list(range(1, 120, 2))
    assert everything == list(range(120))
    assert world.unprocessed() == 0
    assert world.metrics.event_lag._value.get() == 0
    with pytest.raises(ValueError, match="two handlers"):
        bus.register("all", ["x"], recorder([]))


def test_events_that_nobody_wants_are_done_with(world: World) -> None:
    world.add(event(1))
    world.settle(world.bus())
    assert world.unprocessed() == 0


@pytest.mark.attack(24)
def test_effects_are_there_exactly_once(world: World) -> None:
    """The handler fails after it has written; then it is tried again and succeeds."""
    bus, attempts = world.bus(), list[int]()

    async def handler(event: Event, tx: Connection) -> None:
        await world.journal.append(tx, NewEvent("effect", "ada", {"number": 0}, event.repo_id))
        attempts.append(1)
        if len(attempts) < 3:
            raise RuntimeError("not yet")

    steady: list[int] = []
    bus.register("steady", ["tick"], recorder(steady))
    bus.register("shaky", ["tick"], handler)
    world.add(event(7))
    for _ in range(4):
        world.settle(bus)
        world.clock.forward(10)
    assert len(attempts) == 3
    assert steady == [7], "the other handler had it in the first round"
    assert [e.type for e in world.run(world.journal.list())] == ["tick", "effect"]
    assert world.unprocessed() == 0


def test_a_failing_event_holds_its_own_repository_back_for_a_while(world: World) -> None:
    bus, seen = world.bus(), list[int]()
    bus.register("h", ["tick"], recorder(seen, lambda e: e.payload["number"] == 1))
    world.add(event(1), event(2), event(3, "other"), event(4, None))
    world.settle(bus)
    assert seen == [3, 4]
    for _ in range(4):
        world.clock.forward(5)
        world.settle(bus)
    assert seen == [3, 4, 2], "patience is limited"
    assert world.unprocessed() == 1
    world.add(event(5))
    world.settle(bus)
    assert seen == [3, 4, 2, 5]


def test_an_event_that_is_fixed_comes_first(world: World) -> None:
    bus, seen = world.bus(), list[int]()
    broken = [True]
    bus.register("h", ["tick"], recorder(seen, lambda e: broken[0]))
    world.add(event(1), event(2))
    world.settle(bus)
    broken[0] = False
    world.clock.forward(2)
    world.settle(bus)
    assert seen == [1, 2]


def test_expanders_append_exactly_once(world: World) -> None:
    bus, seen = world.bus(), list[int]()
    runs: list[int] = []

    async def expand(event: Event) -> list[NewEvent]:
        runs.append(1)
        if len(runs) == 1:
            raise RuntimeError("the repository is busy")
        number = event.payload["number"]
        return [NewEvent("tock", "ada", {"number": number * 10 + n}, "repo") for n in (1, 2)]

    bus.expand("expander", ["tick"], expand)
    bus.register("h", ["tock"], recorder(seen))
    world.add(event(1), event(2))
    for _ in range(3):
        world.settle(bus)
        world.clock.forward(5)
    assert seen == [11, 12, 21, 22]


def test_two_daemons_share_the_work(world: World) -> None:
    seen: list[int] = []
    buses = [world.bus(), world.bus()]
    for bus in buses:
        bus.register("h", ["tick"], recorder(seen))
    world.add(*(event(n, f"repo{n % 3}") for n in range(60)))

    async def together() -> None:
        rounds = [Deferred.fromCoroutine(bus.deliver_due()) for bus in buses * 2]
        for one in rounds:
            await one

    world.run(together())
    world.settle(buses[0])
    assert sorted(seen) == list(range(60)), "each once"
    for repo in range(3):
        assert [n for n in seen if n % 3 == repo] == list(range(repo, 60, 3)), "in order"
    assert world.unprocessed() == 0


def test_what_a_dead_daemon_claimed_is_taken_over(world: World) -> None:
    seen: list[int] = []
    dead, alive = world.bus(), world.bus()
    dead.register("h", ["tick"], recorder([]))
    alive.register("h", ["tick"], recorder(seen))
    world.add(event(1), event(2))
    assert len(world.run(dead._claim())[0]) == 2
    world.add(event(3), event(4, "other"))
    world.settle(alive)
    assert seen == [4]
    world.clock.forward(LEASE_SECONDS + 1)
    world.settle(alive)
    assert seen == [4, 1, 2, 3]


def test_a_handler_that_hangs_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wit.events.bus.HANDLER_SECONDS", 0.1)
    bus = world.bus()

    async def hang(event: Event, tx: Connection) -> None:
        await Deferred()

    bus.register("h", ["tick"], hang)
    world.add(event(1))
    assert world.run(bus.deliver_due())
    assert world.unprocessed() == 1
    assert world.run(world.db.fetch_all(_DELIVERIES)) == []


def test_the_service_delivers_by_itself_and_stops(world: World) -> None:
    bus = world.bus()
    arrived: Deferred[int] = Deferred()
    calls: list[int] = []

    async def handler(event: Event, tx: Connection) -> None:
        calls.append(event.payload["number"])
        if len(calls) == 2:
            arrived.callback(event.payload["number"])

    async def story() -> int:
        await bus.start()
        await world.append(event(1))
        await world.append(event(2))
        last = await arrived
        await bus.stop()
        await world.append(event(3))
        return last

    bus.register("h", ["tick"], handler)
    assert world.run(story()) == 2
    assert calls == [1, 2]
    assert world.unprocessed() == 1


def test_backoff_grows_to_an_hour() -> None:
    pauses = [backoff(n).total_seconds() for n in range(1, 30)]
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses == sorted(pauses) and pauses[-1] == 3600
