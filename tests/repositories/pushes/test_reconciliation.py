"""Intents that nobody settled: what came true of them is found out and journaled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.git.pushing import commit, eventually, in_background, ok
from tests.repositories.pushes.world import NAME, ZERO, Dead, PushWorld
from wit.git import push_directory


@pytest.mark.attack(24, 26)
def test_reconciliation_finds_what_came_true(world: PushWorld, work: Path, run: Any) -> None:
    one = ok("rev-parse", "HEAD", cwd=work)
    two = commit(work, "two")
    ok("push", world.address, f"{one}:refs/heads/main", f"{one}:refs/heads/old", cwd=work)
    ok("push", world.address, f"{one}:refs/heads/side", f"{two}:refs/heads/keep", cwd=work)
    world.idle()
    updates = [
        ("refs/heads/main", one, two),
        ("refs/heads/new", ZERO, two),
        ("refs/heads/old", one, ZERO),
        ("refs/heads/side", one, two),
    ]
    dead = Dead(world, updates)
    assert not dead.verdict.refused
    dead.update_refs(*updates[:3])
    (world.bare_path / "refs/heads/side.lock").write_text("git was killed here")
    assert world.run(world.service.reconcile()) == 0, "it still lives"
    dead.die()
    others = [world.service, world.new_pushes()]

    async def together() -> int:
        return sum([await d for d in [Deferred.fromCoroutine(o.reconcile()) for o in others]])

    assert run(together()) >= 1
    assert len(world.pushed()) == 3, "once, though two daemons found it"
    last = world.pushed()[-1]
    assert last["pushId"] == dead.push.id
    assert [(u["ref"], u["before"], u["after"]) for u in last["updates"]] == [
        ("refs/heads/main", one, two),
        ("refs/heads/new", None, two),
        ("refs/heads/old", one, None),
    ]
    assert world.intents() == 0
    assert world.leftovers(NAME) == []
    assert run(world.service.reconcile()) == 0


def test_a_push_that_changed_nothing_makes_no_event(world: PushWorld, work: Path, run: Any) -> None:
    one = ok("rev-parse", "HEAD", cwd=work)
    dead = Dead(world, [("refs/heads/main", ZERO, one)])
    dead.die()
    assert run(world.service.reconcile()) == 1
    assert world.pushed() == [] and world.intents() == 0
    assert push_directory.find(world.root) == []


def test_a_deletion_settles_the_pushes_before_it(world: PushWorld, work: Path) -> None:
    """The reflog goes with the branch, so a dead push to it is settled first, a live one waited
    for."""
    one = ok("rev-parse", "HEAD", cwd=work)
    two = commit(work, "two")
    ok("push", world.address, f"{one}:refs/heads/side", f"{two}:refs/heads/keep", cwd=work)
    dead = Dead(world, [("refs/heads/side", one, two)])
    dead.update_refs(("refs/heads/side", one, two))
    client = in_background("push", world.address, ":side", cwd=work)
    eventually(lambda: len(world.pushes) == 2 and world.pushes[1].id in world.service._live)
    assert client.poll() is None
    dead.die()
    _, error = client.communicate(timeout=20)
    assert client.returncode == 0, error
    world.idle()
    updates = [u for payload in world.pushed() for u in payload["updates"]]
    side = [(u["before"], u["after"]) for u in updates if u["ref"] == "refs/heads/side"]
    assert side == [(None, one), (one, two), (two, None)]
    assert world.intents() == 0


def test_a_deletion_of_nothing_is_no_event(world: PushWorld, work: Path) -> None:
    one = ok("rev-parse", "HEAD", cwd=work)
    ok("push", world.address, "main", cwd=work)
    world.idle()
    dead = Dead(world, [("refs/heads/none", one, ZERO)])
    assert "does not exist" in dead.verdict.refused[b"refs/heads/none"]
    dead.die()
    world.run(world.service.reconcile())
    assert len(world.pushed()) == 1


def test_drain_waits_for_decided_pushes(world: PushWorld, work: Path, run: Any) -> None:
    assert run(world.service.drain(0.01))
    dead = Dead(world, [("refs/heads/main", ZERO, ok("rev-parse", "HEAD", cwd=work))])
    assert not run(world.service.drain(0.01))

    async def finish() -> bool:
        waiting = Deferred.fromCoroutine(world.service.drain(30))
        await dead.push.finished()
        return await waiting

    assert run(finish())
    dead.die()


def test_another_daemon_settles_what_a_dead_one_left(
    world: PushWorld, work: Path, run: Any
) -> None:
    one = ok("rev-parse", "HEAD", cwd=work)
    ok("push", world.address, "main:side", cwd=work)
    world.idle()
    dead = Dead(world, [("refs/heads/main", ZERO, one)])
    dead.update_refs(("refs/heads/main", ZERO, one))
    dead.die()
    assert run(world.new_pushes().reconcile()) == 1
    assert len(world.pushed()) == 2
