"""Making, seeing, using and ending sandboxes: who may, how many, and what is written down."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from tests.conftest import Run
from tests.sandboxes.manager.fake import finish
from tests.sandboxes.manager.world import World
from wit.access.actor import ANONYMOUS, Actor, Origin
from wit.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized, Unavailable, WitError
from wit.sandboxes.manager import NewSandbox, Sandbox
from wit.sandboxes.provider import Command, Limits, Network
from wit.sandboxes.records import SandboxOver


def test_a_command_runs_with_the_repositorys_variables_and_is_written_down(
    world: World, run: Run
) -> None:
    async def go() -> None:
        variables = world.sandboxes.variables
        await variables.set(
            world.repo_id, "SECRET", "canary", secret=True, user_id=str(world.ada.user_id)
        )
        sandbox = await world.create()
        assert (sandbox.state, sandbox.repo_id) == ("running", world.repo_id)
        command = Command(["sh", "-c", 'echo "$SECRET $WIT_SANDBOX $WIT_REPOSITORY $MINE"; exit 3'],
                          env={"MINE": "mine"})  # fmt: skip
        execution = await world.sandboxes.execute(world.ada, sandbox.id, command)
        said = f"canary 1 ada/{world.repo_name} mine\n"
        assert await finish(world.core.runtime, execution) == (3, said)
        (row,) = await world.sandboxes.commands(world.ada, sandbox.id)
        assert (row["state"], row["exit_code"], row["kind"]) == ("done", 3, "exec")
        assert row["user_id"] == world.ada.user_id
        assert row["argv"] == list(command.argv)
        assert row["output_bytes"] == len(said)
        assert not world.service.leases.busy(sandbox.id)

    run(go())


def test_variables_and_keys_are_sealed_and_bounded(world: World, run: Run) -> None:
    async def go() -> None:
        variables, keys, who = world.sandboxes.variables, world.sandboxes.keys, "u"
        await variables.set(world.repo_id, "PLAIN", "shown", secret=False, user_id=who)
        await variables.set(world.repo_id, "HIDDEN", "canary", secret=True, user_id=who)
        listed = {one.name: one.value for one in await variables.list(world.repo_id)}
        assert listed == {"PLAIN": "shown", "HIDDEN": None}
        for bad in ("WIT_TOKEN", "wit_x", "1A", "A B", "", "A=B", "Ä"):
            with pytest.raises(Invalid):
                await variables.set(world.repo_id, bad, "x", secret=False, user_id=who)
        for value in ("a\0b", "x" * 20_000, "\ud800"):
            with pytest.raises(Invalid):
                await variables.set(world.repo_id, "A", value, secret=False, user_id=who)
        with pytest.raises(Invalid, match="begins with e2b_"):
            await keys.set(world.repo_id, "e2b", "sk-123456789", who)
        with pytest.raises(Invalid, match="takes no key"):
            await keys.set(world.repo_id, "local", "e2b_123456789", who)
        assert await keys.set(world.repo_id, "e2b", " e2b_canary123 ", who) == "...y123"
        sealed = await keys.sealed(world.repo_id, "e2b")
        assert sealed is not None and "canary" not in sealed
        assert keys.open(sealed) == "e2b_canary123"
        await keys.delete(world.repo_id, "e2b")
        with pytest.raises(NotFound):
            await keys.delete(world.repo_id, "e2b")
        await variables.delete(world.repo_id, "PLAIN")
        assert await variables.environment(world.repo_id) == {"HIDDEN": "canary"}

    run(go())


def test_to_others_a_sandbox_does_not_exist(world: World, run: Run) -> None:
    async def go() -> None:
        sandbox = await world.create()
        everything = (
            lambda actor: world.sandboxes.get(actor, sandbox.id),
            lambda actor: world.sandboxes.destroy(actor, sandbox.id),
            lambda actor: world.sandboxes.execute(actor, sandbox.id, Command(["true"])),
            lambda actor: world.sandboxes.read_file(actor, sandbox.id, "x"),
            lambda actor: world.sandboxes.usage(actor, sandbox.id),
            lambda actor: world.sandboxes.commands(actor, sandbox.id),
            lambda actor: world.sandboxes.extend(actor, sandbox.id, 600),
        )
        for ask in everything:
            with pytest.raises(NotFound, match=r"^sandbox not found$"):
                await ask(world.bob)
            with pytest.raises(Unauthorized):
                await ask(ANONYMOUS)
            own = Actor(world.ada.user_id, "ada", Origin.SANDBOX, only_repo_id=world.repo_id)
            with pytest.raises(Forbidden, match="for git alone"):
                await ask(own)
        assert (await world.sandboxes.get(world.admin, sandbox.id)).id == sandbox.id
        with pytest.raises(Forbidden, match="only its maker"):
            await world.sandboxes.execute(world.admin, sandbox.id, Command(["true"]))
        await world.sandboxes.destroy(world.admin, sandbox.id)
        ended = await world.sandboxes.get(world.ada, sandbox.id)
        assert (ended.state, ended.reason) == ("ended", "an administrator destroyed it")
        assert world.engine.boxes == {}

    run(go())


def test_whoever_loses_write_access_loses_the_use_but_may_end_it(world: World, run: Run) -> None:
    async def go() -> None:
        repo = await world.repo()
        with pytest.raises(NotFound):
            await world.sandboxes.create(world.bob, NewSandbox(repo=repo))
        rights = world.core.rights
        await rights.set_collaborator(world.repo_id, "bob", "write")
        sandbox = await world.create(world.bob)
        await rights.set_collaborator(world.repo_id, "bob", "read")
        with pytest.raises(Forbidden, match="needs write access"):
            await world.sandboxes.execute(world.bob, sandbox.id, Command(["true"]))
        await rights.remove_collaborator(world.repo_id, "bob")
        with pytest.raises(NotFound):
            await world.sandboxes.read_file(world.bob, sandbox.id, "x")
        await world.sandboxes.destroy(world.bob, sandbox.id)

    run(go())


def test_without_a_repository_only_administrators(world: World, run: Run) -> None:
    async def go() -> None:
        with pytest.raises(Forbidden, match="from a repository"):
            await world.sandboxes.create(world.ada, NewSandbox())
        sandbox = await world.sandboxes.create(world.admin, NewSandbox())
        assert sandbox.repo_id is None

    run(go())


def test_limits_and_networks_are_the_administrators(world: World, run: Run) -> None:
    async def go() -> None:
        for wishes, sentence in (
            ({"network": Network.FULL}, "does not allow"),
            ({"limits": Limits(memory_bytes=2**50)}, "memory"),
            ({"limits": Limits(cpus=0)}, "cores"),
            ({"seconds": 10}, "60 to 86400"),
            ({"provider": "vercel"}, "no provider 'vercel'"),
            ({"ref": "missing", "checkout": True}, "no branch, tag or commit 'missing'"),
        ):
            with pytest.raises(WitError, match=sentence):
                await world.create(**wishes)
        assert world.engine.boxes == {}
        assert await world.states() == {}

    run(go())


def test_a_user_has_so_many_and_racing_does_not_help(world: World, run: Run) -> None:
    async def go() -> None:
        most = world.core.config.sandboxes.max_per_user
        results: list[Sandbox | Conflict] = []

        async def one() -> None:
            try:
                results.append(await world.create())
            except Conflict as error:
                results.append(error)

        for work in [Deferred.fromCoroutine(one()) for _ in range(most + 3)]:
            await work
        refused = [one for one in results if isinstance(one, Conflict)]
        assert len(refused) == 3
        assert "destroy one that you no longer need" in refused[0].message
        made = [one for one in results if not isinstance(one, Conflict)]
        await world.sandboxes.destroy(world.ada, made[0].id)
        await world.create()
        assert len(world.engine.boxes) == most
        listed = await world.sandboxes.list(world.ada, limit=2, offset=1)
        assert len(listed) == 2
        assert len(await world.sandboxes.list(world.ada, active_only=False)) == most + 1
        assert await world.sandboxes.list(world.bob) == []
        with pytest.raises(Forbidden):
            await world.sandboxes.list(world.bob, mine=False)
        assert len(await world.sandboxes.list(world.admin, mine=False)) == most

    run(go())


@pytest.mark.parametrize("step", ["create:before", "create:after", "upload"])
def test_what_fails_leaves_nothing(world: World, run: Run, step: str) -> None:
    async def go() -> None:
        world.engine.fails_at = step
        with pytest.raises(Unavailable, match=step):
            await world.create(checkout=True)
        world.engine.fails_at = ""
        assert await world.states() == {"ended": 1}
        await world.service.recovery.reconcile(world.service.registry.get("fake"))
        assert world.engine.boxes == {}

    run(go())


def test_a_client_that_goes_away_leaves_nothing(world: World, run: Run) -> None:
    async def go() -> None:
        world.engine.stops_at = "upload"
        work = Deferred.fromCoroutine(world.create(checkout=True))
        work.addErrback(lambda _: None)
        while not world.engine.stopped:
            await world.core.runtime.sleep(0.005)
        world.engine.stops_at = ""
        work.cancel()
        while (await world.states()) != {"ended": 1} or world.engine.boxes:
            await world.core.runtime.sleep(0.005)

    run(go())


def test_the_repositorys_own_sandbox_is_one(world: World, run: Run) -> None:
    async def go() -> None:
        repo = await world.repo()
        both = [
            Deferred.fromCoroutine(world.sandboxes.for_repository(world.ada, repo))
            for _ in range(2)
        ]
        first, second = [await one for one in both]
        assert first.id == second.id
        await world.sandboxes.pause(world.ada, first.id)
        assert (await world.sandboxes.for_repository(world.ada, repo)).id == first.id
        await world.sandboxes.destroy(world.ada, first.id)
        world.clock.turn(1)
        assert (await world.sandboxes.for_repository(world.ada, repo)).id != first.id

    run(go())


def test_switched_off_means_none(world: World, run: Run) -> None:
    async def go() -> None:
        repo = await world.repo()
        assert (await world.sandboxes.status(repo)).ready
        await world.sandboxes.settings.update(
            world.repo_id, "u", {"enabled": False}, server_keys=frozenset()
        )
        status = await world.sandboxes.status(repo)
        assert (status.configured, status.enabled, status.ready) == (True, False, False)
        with pytest.raises(WitError, match="switched off"):
            await world.create()
        with pytest.raises(Invalid, match="set a key of e2b first"):
            await world.sandboxes.settings.update(
                world.repo_id, "u", {"enabled": True, "provider": "e2b"}, server_keys=frozenset()
            )
        for bad in ({"memory_mb": 1}, {"nonsense": 1}, {"network_mode": "x"}, {"cpu_cores": True}):
            with pytest.raises(Invalid):
                await world.sandboxes.settings.update(
                    world.repo_id, "u", bad, server_keys=frozenset()
                )
        await world.sandboxes.settings.update(
            world.repo_id, "u", {"provider": "vercel"}, server_keys=frozenset()
        )
        status = await world.sandboxes.status(repo)
        assert not status.ready

    run(go())


def test_an_engine_that_is_down_says_so_and_loses_nothing(world: World, run: Run) -> None:
    async def go() -> None:
        sandbox = await world.create()
        world.engine.down = "the engine does not answer"
        with pytest.raises(Unavailable, match="does not answer"):
            await world.sandboxes.execute(world.ada, sandbox.id, Command(["true"]))
        await world.restart()
        assert not (await world.sandboxes.status(await world.repo())).ready
        await world.service.leases.reap()
        assert (await world.row(sandbox.id))["state"] == "running"
        world.engine.down = ""
        world.service.registry._entries["fake"].tried_at = None
        execution = await world.sandboxes.execute(world.ada, sandbox.id, Command(["true"]))
        assert (await finish(world.core.runtime, execution))[0] == 0

    run(go())


@pytest.mark.attack(64)
def test_what_is_lost_is_said_and_never_replaced(world: World, run: Run) -> None:
    async def go() -> None:
        repo = await world.repo()
        sandbox = await world.sandboxes.for_repository(world.ada, repo)
        world.engine.lose(str((await world.row(sandbox.id))["ref"]))
        for _ in range(2):
            with pytest.raises(SandboxOver, match="lost with its files: fake no longer has it"):
                await world.sandboxes.execute(world.ada, sandbox.id, Command(["true"]))
        shown = await world.sandboxes.get(world.ada, sandbox.id)
        assert (shown.state, shown.reason) == ("lost", "fake no longer has it")
        with pytest.raises(Conflict, match="was lost with its files"):
            await world.sandboxes.for_repository(world.ada, repo)
        assert world.engine.boxes == {}
        world.clock.turn(1)
        fresh = await world.sandboxes.for_repository(world.ada, repo)
        assert fresh.id != sandbox.id
        assert (await world.sandboxes.for_repository(world.ada, repo)).id == fresh.id

    run(go())
