"""Which pushes are refused: protected branches, names, sizes, races."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests.git.pushing import Gate, commit, git, in_background, ok
from tests.repositories.pushes.world import ADA, BOB, NAME, PushWorld, Request
from wit.db.tables import repositories
from wit.runtime import Runtime


@pytest.mark.attack(20)
def test_protected_branches(world: PushWorld, work: Path) -> None:
    first = ok("rev-parse", "HEAD", cwd=work)
    second = commit(work, "two")
    ok("push", world.address, "main", "main:free", cwd=work)
    world.run(world.protect("main"))
    world.run(world.protect("refs/tags/v*", allowed_pushers=[BOB.user_id]))
    done = git("push", "--force", world.address, f"{first}:refs/heads/main", cwd=work)
    assert "remote: main is protected: force-push is not allowed" in done.err
    done = git("push", world.address, ":free", f"+{first}:refs/heads/main", cwd=work)
    assert done.code != 0 and "remote: main is protected" in done.err
    done = git("push", world.address, ":main", cwd=work)
    assert "remote: main is the default branch" in done.err
    done = git("push", world.address, "main:refs/tags/v1", cwd=work)
    assert "not among those who may push" in done.err
    world.actor = BOB
    ok("push", world.address, "main:refs/tags/v1", cwd=work)
    third = commit(work, "three")
    ok("push", world.address, "main", cwd=work)
    refs = ok("for-each-ref", "--format=%(refname) %(objectname)", cwd=world.bare_path)
    assert refs.splitlines() == [f"refs/heads/main {third}", f"refs/tags/v1 {second}"]
    world.idle()
    assert [u["ref"] for p in world.pushed() for u in p["updates"]] == [
        "refs/heads/main",
        "refs/heads/free",
        "refs/heads/free",
        "refs/tags/v1",
        "refs/heads/main",
    ]


def test_a_read_only_repository(world: PushWorld, work: Path) -> None:
    world.run(
        world.db.execute(
            update(repositories).values(read_only_reason="it is damaged; repair it first")
        )
    )
    done = git("push", world.address, "main", cwd=work)
    assert "remote: this repository is read-only: it is damaged" in done.err
    assert world.intents() == 0


@pytest.mark.attack(17)
@pytest.mark.parametrize("files", [1, 30])
def test_a_file_that_is_too_large(world: PushWorld, work: Path, files: int) -> None:
    """Loose and packed; a file of zeros, which weighs nothing on the way."""
    (work / "zeros").write_bytes(bytes(2_000_000))
    commit(work, "zeros", files=files)
    done = git("push", world.address, "main", cwd=work)
    assert done.code != 0
    assert "has 2000000 bytes; a file may have 1000000 here" in done.err
    world.idle()
    assert world.leftovers(NAME) == []
    assert world.intents() == 0
    ok("push", world.address, "HEAD~1:refs/heads/main", cwd=work)


@pytest.mark.attack(19)
def test_names_are_judged_against_what_is_there(world: PushWorld, work: Path) -> None:
    ok("push", world.address, "main", cwd=work)
    done = git("push", world.address, "main:refs/heads/Main", cwd=work)
    assert "main differs from it by upper and lower case alone" in done.err
    ok("symbolic-ref", "refs/heads/alias", "refs/heads/main", cwd=world.bare_path)
    commit(work, "two")
    done = git("push", world.address, "main:refs/heads/alias", cwd=work)
    assert "alias is another name of main; push to that" in done.err
    done = git("push", world.address, "main:refs/replace/" + "1" * 40, cwd=work)
    assert "only branches" in done.err


@pytest.mark.attack(21)
def test_of_two_racing_pushes_one_is_told_to_fetch(
    world: PushWorld, work: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """Both have read the same advertisement; the second is decided after the first was made."""
    ok("push", world.address, "main", cwd=work)
    ok("clone", "-q", world.bare_path, tmp_path / "other")
    gates = [Gate(runtime), Gate(runtime)]
    waiting = iter(gates)
    world.make_push = lambda repo: _Gated(
        world.service.begin(ADA, world.row, Request()), next(waiting)
    )
    tips, clients = [], []
    for clone, gate in zip((work, tmp_path / "other"), gates, strict=True):
        tips.append(commit(clone, f"from {clone.name}"))
        clients.append(in_background("push", world.address, "main", cwd=clone))
        assert gate.reached.wait(20)
    gates[0].open()
    assert clients[0].wait(20) == 0
    gates[1].open()
    _, error = clients[1].communicate(timeout=20)
    assert clients[1].returncode != 0
    assert b"main was changed by somebody else meanwhile; fetch first" in error
    clients[0].communicate()
    assert ok("rev-parse", "main", cwd=world.bare_path) == tips[0]
    world.idle()
    assert len(world.pushed()) == 2


class _Gated:
    """A push that is decided when the test says so."""

    def __init__(self, push: Any, gate: Gate) -> None:
        self._push = push
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._push, name)

    async def decide(self, *args: Any) -> Any:
        await self._gate.wait()
        return await self._push.decide(*args)


def test_too_many_push_options(world: PushWorld, work: Path) -> None:
    options = [f"--push-option={n}" for n in range(101)]
    done = git("push", *options, world.address, "main", cwd=work)
    assert "a push may have 100 options" in done.err
    assert world.intents() == 0
