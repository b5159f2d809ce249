"""Warm sandboxes: never handed out twice, never with anybody's secrets, never too many."""

from __future__ import annotations

import attrs
import pytest
from twisted.internet.defer import Deferred

from tests.conftest import Run
from tests.sandboxes.manager.world import World
from wit.sandboxes.provider import Limits


@pytest.fixture
def slow(world: World, run: Run) -> World:
    world.engine.features = attrs.evolve(world.engine.features, slow_start=True)
    run(world.restart())
    return world


def created(world: World) -> int:
    return world.engine.steps.count("create:before")


def test_two_stand_ready_and_each_goes_to_one(slow: World, run: Run) -> None:
    async def go() -> None:
        await slow.service.pool.fill()
        await slow.service.pool.fill()
        assert await slow.states() == {"warm": 2}
        assert all(not box.spec.env for box in slow.engine.boxes.values())
        warm = {box.spec.id for box in slow.engine.boxes.values()}
        works = [Deferred.fromCoroutine(slow.create()) for _ in range(3)]
        made = [await work for work in works]
        assert len({one.id for one in made}) == 3
        assert warm < {one.id for one in made}
        assert created(slow) == 3
        assert await slow.states() == {"running": 3}
        await slow.service.pool.fill()
        assert await slow.states() == {"running": 3, "warm": 2}

    run(go())


def test_another_shape_is_made_anew(slow: World, run: Run) -> None:
    async def go() -> None:
        await slow.service.pool.fill()
        await slow.create(limits=Limits(memory_bytes=2**28))
        assert await slow.states() == {"running": 1, "warm": 2}

    run(go())


def test_one_that_died_waiting_is_replaced(slow: World, run: Run) -> None:
    async def go() -> None:
        await slow.service.pool.fill()
        for ref in list(slow.engine.boxes):
            slow.engine.lose(ref)
        sandbox = await slow.create()
        assert sandbox.state == "running"
        await slow.sandboxes.read_file(slow.ada, sandbox.id, "/dev/null")

    run(go())


def test_they_are_nobodys_and_get_old(slow: World, run: Run) -> None:
    async def go() -> None:
        await slow.service.pool.fill()
        (first, _) = slow.engine.boxes.values()
        assert await slow.sandboxes.list(slow.admin, mine=False) == []
        with pytest.raises(Exception, match="sandbox not found"):
            await slow.sandboxes.get(slow.admin, first.spec.id)
        await slow.restart()
        assert await slow.states() == {"warm": 2}
        slow.clock.turn(2 * 86400)
        await slow.service.leases.reap()
        assert slow.engine.boxes == {}

    run(go())


def test_hosted_ones_cost_money(slow: World, run: Run) -> None:
    async def go() -> None:
        slow.engine.features = attrs.evolve(slow.engine.features, hosted=True)
        await slow.restart()
        await slow.service.pool.fill()
        assert await slow.states() == {}

    run(go())
