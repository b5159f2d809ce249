"""Disk and row agree, whatever happens in between."""

from __future__ import annotations

import os

import pytest
from twisted.internet.defer import CancelledError, Deferred

from tests.repositories.world import World, git, name
from wit.db.port import Database, DatabaseUnavailable
from wit.repositories import manager as manager_module
from wit.repositories.folders import Move


class Broken:
    """A database whose transactions fail to commit."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def __getattr__(self, attribute: str):
        return getattr(self._db, attribute)

    def transaction(self):
        return _Doomed(self._db.transaction())


class _Doomed:
    def __init__(self, transaction) -> None:
        self._transaction = transaction
        self._used = False

    async def __aenter__(self):
        return await self._transaction.__aenter__()

    async def __aexit__(self, *error):
        if error[0] is None:
            lost = DatabaseUnavailable("connection lost while committing")
            await self._transaction.__aexit__(type(lost), lost, None)
            raise lost
        return await self._transaction.__aexit__(*error)


def test_a_commit_that_fails_puts_the_folder_back(world: World, run, monkeypatch) -> None:
    row = run(world.manager.create(name("Ada/x")))
    monkeypatch.setattr(world.manager, "_db", Broken(world.db))
    for attempt in (
        world.manager.rename(name("Ada/x"), "y"),
        world.manager.transfer(name("Ada/x"), "bob"),
        world.manager.delete(name("Ada/x")),
        world.manager.create(name("Ada/other")),
    ):
        with pytest.raises(DatabaseUnavailable):
            run(attempt)
        assert world.on_disk() == {"Ada/x.git"}
        assert not world.path("Ada/x").is_symlink()
        assert run(world.in_rows()) == {"/repos/Ada/x.git"}
    assert run(world.manager.get(name("Ada/x"))) == row


@pytest.mark.attack(26)
@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("change", ["create", "rename", "transfer", "delete"])
def test_a_kill_between_rename_and_commit_is_repaired(
    world: World, run, monkeypatch, change: str, committed: bool
) -> None:
    """Killed: neither settled nor finished, and the lock of the note is free again."""

    async def killed(note) -> None:
        note.close()

    manager = world.manager
    if change != "create":
        run(manager.create(name("Ada/x")))
    with monkeypatch.context() as patch:
        if not committed:
            patch.setattr(manager, "_db", Broken(world.db))
        patch.setattr(manager._placing, "abandon", killed)
        patch.setattr(manager.folders, "finish", lambda note: note.close())
        patch.setattr(manager.folders, "remove", lambda folder: None)
        attempt = {
            "create": lambda: manager.create(name("Ada/x")),
            "rename": lambda: manager.rename(name("Ada/x"), "y"),
            "transfer": lambda: manager.transfer(name("Ada/x"), "bob"),
            "delete": lambda: manager.delete(name("Ada/x")),
        }[change]
        if committed:
            run(attempt())
        else:
            with pytest.raises(DatabaseUnavailable):
                run(attempt())
    assert any(path.startswith(".wit/moves/") for path in world.on_disk())
    run(manager.sweep())
    rows_now = run(world.in_rows())
    folders = {p for p in world.on_disk() if not (world.root / p).is_symlink()}
    left = {p for p in folders if p.startswith(".wit/")}
    assert {p.removeprefix("/repos/") for p in rows_now} == folders - left
    if change in ("rename", "transfer") and committed:
        assert len(left) == 1 and left.pop().startswith(".wit/aliases/")
    else:
        assert left == set()
    expected = {
        ("create", True): {"/repos/Ada/x.git"},
        ("rename", True): {"/repos/Ada/y.git"},
        ("transfer", True): {"/repos/bob/x.git"},
        ("delete", False): {"/repos/Ada/x.git"},
        ("rename", False): {"/repos/Ada/x.git"},
        ("transfer", False): {"/repos/Ada/x.git"},
    }
    assert rows_now == expected.get((change, committed), set())
    for path in rows_now:
        assert git("-C", manager.folders.path(path), "rev-parse", "--is-bare-repository") == "true"


def test_the_sweep_leaves_moves_of_living_processes_alone(world: World, run) -> None:
    async def scenario() -> None:
        placing = world.manager._placing
        note = await placing.open()
        world.manager.folders.stage(note, "some-id").parent.mkdir(parents=True)
        await world.manager.sweep()
        assert world.manager.folders.staging("some-id").parent.exists()
        note.close()
        await world.manager.sweep()
        assert not world.manager.folders.staging("some-id").parent.exists()
        assert world.on_disk() == set()

    run(scenario())


def test_a_repository_that_took_the_place_meanwhile_is_left_alone(world: World, run) -> None:
    """A note is old, and another repository is at one of its places now."""

    async def scenario() -> None:
        folders = world.manager.folders
        await world.manager.create(name("Ada/x"))
        note = await world.manager._placing.open()
        folders.stage(note, "some-id")
        note.write(Move("some-id", ".wit/new/some-id/repo.git", "Ada/x.git", inode=1))
        note.close()
        await world.manager.sweep()

    run(scenario())
    assert world.on_disk() == {"Ada/x.git"}


def test_cancelled_while_it_is_made(world: World, run, monkeypatch) -> None:
    async def scenario() -> None:
        never: Deferred[None] = Deferred()
        reached: Deferred[None] = Deferred()

        async def stuck(git, runtime, path, *args) -> None:
            os.makedirs(path)
            runtime.reactor.callLater(0, reached.callback, None)
            await never

        monkeypatch.setattr(manager_module, "create_bare", stuck)
        work = Deferred.fromCoroutine(world.manager.create(name("Ada/x")))
        await reached
        work.cancel()
        with pytest.raises(CancelledError):
            await work

    run(scenario())
    assert world.on_disk() == set()
    assert run(world.in_rows()) == set()


def test_cancelled_while_it_is_registered_it_is_whole(world: World, run, monkeypatch) -> None:
    async def scenario() -> None:
        insert_row = world.manager.insert
        reached: Deferred[None] = Deferred()
        go_on: Deferred[None] = Deferred()

        async def slow(*args) -> None:
            await insert_row(*args)
            reached.callback(None)
            await go_on

        monkeypatch.setattr(world.manager, "insert", slow)
        done: Deferred[None] = Deferred()
        announce = world.journal.announce

        async def announced() -> None:
            await announce()
            done.callback(None)

        monkeypatch.setattr(world.journal, "announce", announced)
        work = Deferred.fromCoroutine(world.manager.create(name("Ada/x")))
        await reached
        work.cancel()
        with pytest.raises(CancelledError):
            await work
        go_on.callback(None)
        await done

    run(scenario())
    assert run(world.in_rows()) == {"/repos/Ada/x.git"}
    assert world.path("Ada/x").is_dir()
