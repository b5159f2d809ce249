"""kill -9 at every point leaves nothing for good, and what is gone is said (attack 64)."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from sqlalchemy import delete
from twisted.internet.defer import Deferred

from tests.conftest import Run
from tests.sandboxes.manager.fake import finish
from tests.sandboxes.manager.world import World
from wit.db.tables import users
from wit.sandboxes.manager import NewSandbox
from wit.sandboxes.provider import Command, State

pytestmark = pytest.mark.attack(64)


async def reach(world: World, step: str, work: Deferred[Any]) -> None:
    """Go on until ``work`` stands still at ``step``."""
    work.addErrback(lambda _: None)
    while not world.engine.stopped:
        await world.core.runtime.sleep(0.005)


@pytest.mark.parametrize("step", ["create:before", "create:after", "upload"])
def test_killed_while_making(world: World, run: Run, step: str) -> None:
    async def go() -> None:
        world.engine.stops_at = step
        work = Deferred.fromCoroutine(world.create(checkout=True))
        await reach(world, step, work)
        await world.restart()
        await world.service.leases.reap()
        assert world.engine.boxes == {}
        assert await world.states() == {"ended": 1}
        (shown,) = await world.sandboxes.list(world.ada, active_only=False)
        assert shown.reason == "the server stopped while it was being made"
        assert (await world.row(shown.id))["ref"] is None
        assert all(row["state"] == "lost" for row in await world.commands())
        await world.create()

    run(go())


@pytest.mark.parametrize("step", ["destroy:before", "destroy:after"])
def test_killed_while_destroying(world: World, run: Run, step: str) -> None:
    async def go() -> None:
        sandbox = await world.create()
        world.engine.stops_at = step
        work = Deferred.fromCoroutine(world.sandboxes.destroy(world.ada, sandbox.id))
        await reach(world, step, work)
        await world.restart()
        await world.service.leases.reap()
        assert world.engine.boxes == {}
        row = await world.row(sandbox.id)
        assert (row["state"], row["ref"]) == ("ended", None)

    run(go())


@pytest.mark.parametrize("step", ["pause:before", "pause:after"])
def test_killed_while_pausing(world: World, run: Run, step: str) -> None:
    async def go() -> None:
        sandbox = await world.create()
        world.engine.stops_at = step
        work = Deferred.fromCoroutine(world.sandboxes.pause(world.ada, sandbox.id))
        await reach(world, step, work)
        await world.restart()
        execution = await world.sandboxes.execute(world.ada, sandbox.id, Command(["echo", "on"]))
        assert await finish(world.core.runtime, execution) == (0, "on\n")

    run(go())


def test_after_a_restart_sandboxes_are_found_and_commands_are_over(world: World, run: Run) -> None:
    async def go() -> None:
        kept, gone = await world.create(), await world.create()
        await world.sandboxes.write_file(world.ada, kept.id, "work", b"hours of it")
        execution = await world.sandboxes.execute(
            world.ada, kept.id, Command(["sleep", "1000"]), kind="terminal"
        )
        repo = await world.repo()
        assert len(await world.sandboxes.sessions(world.ada, repo)) == 1
        world.engine.lose(str((await world.row(gone.id))["ref"]))
        await world.restart()
        (command,) = await world.sandboxes.commands(world.ada, kept.id)
        assert (command["state"], command["reason"]) == ("lost", "lost")
        assert await world.sandboxes.sessions(world.ada, repo) == []
        (session,) = await world.sandboxes.sessions(world.ada, repo, active_only=False)
        assert (session["state"], session["provider_id"]) == ("lost", kept.id)
        assert await world.sandboxes.read_file(world.ada, kept.id, "work") == b"hours of it"
        lost = await world.sandboxes.get(world.ada, gone.id)
        assert lost.state == "lost"
        assert lost.reason == "the server was away, and fake no longer has it"
        await execution.close()

    run(go())


def test_another_daemon_beside_us_is_left_alone(world: World, run: Run) -> None:
    async def go() -> None:
        first = world.service
        world.engine.stops_at = "upload"
        work = Deferred.fromCoroutine(world.create(checkout=True))
        await reach(world, "upload", work)
        world.engine.stops_at = ""
        await world.start()
        assert await world.states() == {"creating": 1}
        assert len(world.engine.boxes) == 1
        work.cancel()
        while world.engine.boxes:
            await world.core.runtime.sleep(0.005)
        await first.stop()

    run(go())


def test_what_is_nobodys_is_removed(world: World, run: Run) -> None:
    async def go() -> None:
        await world.create()
        (box,) = world.engine.boxes.values()
        stray = attrs.evolve(box.spec, id="f" * 32)
        await world.service.registry.get("fake").create(stray)
        assert len(world.engine.boxes) == 2
        await world.restart()
        assert [box.spec.id for box in world.engine.boxes.values()] != ["f" * 32]
        assert len(world.engine.boxes) == 1

    run(go())


def test_a_user_who_is_removed_takes_the_sandbox_along(world: World, run: Run) -> None:
    async def go() -> None:
        row = await world.core.users.create("eve", "eve@example.org")
        eve = attrs.evolve(world.admin, user_id=row["id"])
        await world.sandboxes.create(eve, NewSandbox())
        await world.core.db.execute(delete(users).where(users.c.id == eve.user_id))
        await world.service._reconcile()
        assert world.engine.boxes == {}

    run(go())


def test_the_engines_word_counts(world: World, run: Run) -> None:
    async def go() -> None:
        sandbox = await world.create()
        (box,) = world.engine.boxes.values()
        box.state = State.PAUSED
        await world.restart()
        assert (await world.row(sandbox.id))["state"] == "paused"
        execution = await world.sandboxes.execute(world.ada, sandbox.id, Command(["true"]))
        assert (await finish(world.core.runtime, execution))[0] == 0

    run(go())
