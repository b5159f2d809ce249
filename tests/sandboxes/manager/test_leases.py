"""Idle, over, busy: who is put to rest when, and never too early (attack 65)."""

from __future__ import annotations

import attrs
import pytest

from tests.conftest import Run
from tests.sandboxes.manager.fake import finish
from tests.sandboxes.manager.world import World
from wit.errors import NotFound, PreconditionFailed
from wit.sandboxes.provider import Command, State
from wit.sandboxes.records import SandboxOver

pytestmark = pytest.mark.attack(65)

DAY = 86400


async def no_pause(world: World) -> None:
    world.engine.features = attrs.evolve(world.engine.features, pause=False)
    await world.restart()


def state_of(world: World) -> State:
    (box,) = world.engine.boxes.values()
    return box.state


def test_idle_ones_are_paused_and_go_on_where_they_were(world: World, run: Run) -> None:
    async def go() -> None:
        sandbox = await world.create(seconds=7200)
        await world.sandboxes.write_file(world.ada, sandbox.id, "kept", b"kept")
        world.clock.turn(1700)
        await world.service.leases.reap()
        assert state_of(world) is State.RUNNING
        world.clock.turn(200)
        await world.service.leases.reap()
        assert state_of(world) is State.PAUSED
        assert (await world.sandboxes.get(world.ada, sandbox.id)).state == "paused"
        assert await world.sandboxes.read_file(world.ada, sandbox.id, "kept") == b"kept"
        assert state_of(world) is State.RUNNING

    run(go())


def test_a_custom_timeout_is_kept_after_resuming(world: World, run: Run) -> None:
    async def go() -> None:
        sandbox = await world.create(seconds=5000)
        await world.sandboxes.extend(world.ada, sandbox.id, 9000)
        for _ in range(2):
            await world.sandboxes.pause(world.ada, sandbox.id)
            world.clock.turn(DAY)
            resumed = await world.sandboxes.resume(world.ada, sandbox.id)
            assert resumed.state == "running"
            assert (resumed.expires_at - world.clock.time).total_seconds() == 9000
            (box,) = world.engine.boxes.values()
            assert box.ends_in == 9000

    run(go())


@pytest.mark.parametrize("pausing", [True, False])
def test_a_busy_one_is_never_taken_away(world: World, run: Run, pausing: bool) -> None:
    async def go() -> None:
        if not pausing:
            await no_pause(world)
        sandbox = await world.create(seconds=600)
        execution = await world.sandboxes.execute(
            world.ada, sandbox.id, Command(["sh", "-c", "read line; echo $line"])
        )
        for _ in range(5):
            world.clock.turn(10_000)
            await world.service.leases.reap()
            await world.service.leases.beat()
            assert state_of(world) is State.RUNNING
        row = await world.row(sandbox.id)
        assert row["used_at"] == world.clock.time
        assert row["expires_at"] > world.clock.time
        await execution.write(b"still here\n")
        assert await finish(world.core.runtime, execution) == (0, "still here\n")
        world.clock.turn(10_000)
        await world.service.leases.reap()
        if pausing:
            assert state_of(world) is State.PAUSED
        else:
            assert world.engine.boxes == {}
            with pytest.raises(SandboxOver, match="its time was over"):
                await world.sandboxes.execute(world.ada, sandbox.id, Command(["true"]))

    run(go())


def test_another_daemons_reaper_sees_that_it_is_busy(world: World, run: Run) -> None:
    async def go() -> None:
        first = world.service
        sandbox = await world.create(seconds=600)
        execution = await world.sandboxes.execute(world.ada, sandbox.id, Command(["sleep", "1000"]))
        await world.start()
        second = world.service
        world.clock.turn(590)
        await first.leases.beat()
        world.clock.turn(60)
        await second.leases.reap()
        assert state_of(world) is State.RUNNING
        await execution.close()
        await first.stop()

    run(go())


def test_somebody_who_comes_while_it_is_put_to_rest_wins_or_resumes(world: World, run: Run) -> None:
    async def go() -> None:
        sandbox = await world.create()
        stale = await world.row(sandbox.id)
        world.clock.turn(4000)
        await world.service.leases.use(stale)
        changed = await world.service.records.rest(stale, world.clock.time, state="paused")
        assert not changed
        assert (await world.row(sandbox.id))["state"] == "running"

    run(go())


def test_a_pause_that_fails_is_taken_back(world: World, run: Run) -> None:
    async def go() -> None:
        sandbox = await world.create()
        world.engine.fails_at = "pause:before"
        with pytest.raises(Exception, match="pause:before"):
            await world.sandboxes.pause(world.ada, sandbox.id)
        assert (await world.row(sandbox.id))["state"] == "running"
        world.engine.fails_at = ""
        execution = await world.sandboxes.execute(world.ada, sandbox.id, Command(["sleep", "1000"]))
        with pytest.raises(PreconditionFailed, match="something runs"):
            await world.sandboxes.pause(world.ada, sandbox.id)
        await execution.close()
        assert (await world.sandboxes.pause(world.ada, sandbox.id)).state == "paused"

    run(go())


def test_paused_ones_are_kept_for_days_and_not_for_ever(world: World, run: Run) -> None:
    async def go() -> None:
        sandbox = await world.create()
        await world.sandboxes.pause(world.ada, sandbox.id)
        world.clock.turn(6 * DAY)
        await world.service.leases.reap()
        assert state_of(world) is State.PAUSED
        world.clock.turn(2 * DAY)
        await world.service.leases.reap()
        assert world.engine.boxes == {}
        shown = await world.sandboxes.get(world.ada, sandbox.id)
        assert (shown.state, shown.reason) == ("ended", "it was paused for 7 days")
        world.clock.turn(100 * DAY)
        await world.service._reconcile()
        with pytest.raises(NotFound):
            await world.sandboxes.get(world.ada, sandbox.id)

    run(go())


def test_a_command_has_an_end(world: World, run: Run) -> None:
    async def go() -> None:
        sandbox = await world.create()
        execution = await world.sandboxes.execute(
            world.ada, sandbox.id, Command(["sleep", "1000"], seconds=0.1)
        )
        assert (await execution.wait()).reason == "timeout"
        await execution.close()
        (row,) = await world.commands()
        assert (row["state"], row["reason"]) == ("done", "timeout")

    run(go())
