from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import func, select
from twisted.internet.defer import CancelledError, Deferred

from tests.repositories.world import World, make_source, name
from wit.db.tables import account_credentials, repositories
from wit.repositories import sync as sync_module
from wit.repositories.sync import SyncResult


def outcome(results: list[SyncResult]) -> dict[str, str]:
    return {f"{r.owner}/{r.name}": r.action for r in results}


def test_folders_become_rows(world: World, run) -> None:
    run(world.manager.create(name("Ada/known")))
    make_source(world.path("Ada/found"), "trunk")
    make_source(world.path("stranger/x"), "main", "sha256")
    make_source(world.path("stranger/y"))
    told: list[SyncResult] = []
    results = run(world.sync.run(progress=told.append))
    assert told == results
    assert outcome(results) == {
        "Ada/found": "created",
        "Ada/known": "skipped",
        "stranger/x": "created",
        "stranger/y": "created",
    }
    row = run(world.manager.get(name("ada/FOUND")))
    assert (row["owner_id"], row["default_branch"]) == (world.ids["Ada"], "trunk")
    assert (row["is_private"], row["object_format"]) == (False, "sha1")
    assert row["disk_path"] == "/repos/Ada/found.git"
    assert run(world.manager.get(name("stranger/x")))["object_format"] == "sha256"
    user = run(world.users.by_username("stranger"))
    assert user["email"] == "stranger@placeholder.local"
    assert run(world.db.fetch_all(select(account_credentials))) == []
    events = [event.type for event in run(world.journal.list())]
    assert events == ["repo.created"] * 4
    assert set(outcome(run(world.sync.run())).values()) == {"skipped"}


def test_private_on_wish(world: World, run) -> None:
    make_source(world.path("Ada/found"))
    run(world.sync.run(private=True))
    assert run(world.manager.get(name("Ada/found")))["is_private"] is True


def test_what_is_no_repository_is_left_alone(world: World, run) -> None:
    make_source(world.root / ".hidden" / "x.git")
    make_source(world.root / "Ada" / ".hidden.git")
    make_source(world.root / "Ada" / "no-ending")
    (world.root / "Ada" / "file.git").write_text("x")
    (world.root / "file").write_text("x")
    (world.root / "Ada" / "empty.git").mkdir()
    make_source(world.root / "login" / "x.git")
    make_source(world.root / "-owner" / "x.git")
    make_source(world.root / "Ada" / "a..b.git")
    worktree = world.root / "Ada" / "work.git"
    make_source(worktree / ".git")
    results = run(world.sync.run())
    assert outcome(results) == {
        "-owner/x": "error",
        "Ada/a..b": "error",
        "Ada/empty": "error",
        "Ada/work": "error",
        "login/x": "error",
    }
    assert all(result.message for result in results)
    assert run(world.in_rows()) == set()


@pytest.mark.attack(30)
def test_links_out_of_the_folder_are_refused(world: World, run, tmp_path: Path) -> None:
    evil = tmp_path / "repos-evil"
    make_source(evil / "x.git")
    (world.root / "Ada").mkdir()
    (world.root / "Ada" / "out.git").symlink_to(evil / "x.git")
    (world.root / "linked").symlink_to(evil)
    (world.root / "Ada" / "nowhere.git").symlink_to(tmp_path / "missing")
    make_source(world.path("Ada/real"))
    (world.root / "Ada" / "alias.git").symlink_to("real.git")
    results = run(world.sync.run())
    assert outcome(results) == {
        "Ada/nowhere": "error",
        "Ada/out": "error",
        "Ada/real": "created",
        "linked/x": "error",
    }
    assert "symbolic link" in (results[0].message or "")
    assert run(world.in_rows()) == {"/repos/Ada/real.git"}


def test_names_that_differ_by_case_only(world: World, run) -> None:
    make_source(world.path("Ada/x"))
    make_source(world.path("Ada/X"))
    make_source(world.path("ADA/y"))
    results = run(world.sync.run())
    assert outcome(results) == {"ADA/y": "created", "Ada/X": "created", "Ada/x": "error"}
    assert "upper and lower case" in (results[-1].message or "")
    row = run(world.manager.get(name("ada/y")))
    assert (row["full_name"], row["disk_path"]) == ("Ada/y", "/repos/ADA/y.git")
    assert set(outcome(run(world.sync.run())).values()) == {"skipped", "error"}


def test_missing_and_damaged_folders_are_reported(world: World, run, monkeypatch) -> None:
    monkeypatch.setattr(sync_module, "PAGE", 2)
    for text in ("Ada/a", "Ada/b", "Ada/c", "bob/d", "bob/e"):
        run(world.manager.create(name(text)))
    shutil.rmtree(world.path("Ada/b"))
    shutil.rmtree(world.path("bob/e") / "objects")
    results = run(world.sync.run())
    errors = [(f"{r.owner}/{r.name}", r.message) for r in results if r.action == "error"]
    assert ("Ada/b", "the folder /repos/Ada/b.git is missing or damaged") in errors
    assert ("bob/e", "the folder /repos/bob/e.git is missing or damaged") in errors
    assert outcome(results)["Ada/a"] == "skipped"
    assert len(run(world.in_rows())) == 5


def test_a_private_repository_whose_move_was_cut_off_is_not_published(
    world: World, run, monkeypatch
) -> None:
    run(world.manager.create(name("Ada/x"), private=True))
    folders = world.manager.folders

    async def killed_while_moving() -> None:
        note = await world.manager._placing.open()
        row = await world.manager.get(name("Ada/x"))
        folders.move(note, row["id"], world.path("Ada/x"), world.path("bob/x"), alias=True)
        note.close()

    run(killed_while_moving())
    assert outcome(run(world.sync.run())) == {"Ada/x": "skipped"}
    assert run(world.in_rows()) == {"/repos/Ada/x.git"}


def test_an_empty_folder_and_a_missing_one(world: World, run) -> None:
    assert run(world.sync.run()) == []
    world.root.rename(world.root.parent / "gone")
    assert run(world.sync.run()) == []


def test_cancelled_between_two_repositories(world: World, run) -> None:
    for number in range(3):
        make_source(world.path(f"Ada/r{number}"))

    async def scenario() -> None:
        def stop(result: SyncResult) -> None:
            world.runtime.reactor.callLater(0, work.cancel)

        work = Deferred.fromCoroutine(world.sync.run(progress=stop))
        with pytest.raises(CancelledError):
            await work

    run(scenario())
    assert run(world.db.fetch_value(select(func.count()).select_from(repositories))) < 3
    assert "error" not in outcome(run(world.sync.run())).values()
    assert len(run(world.in_rows())) == 3
