"""Creating, moving, deleting, importing and forking repositories, on both databases."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import insert, select
from twisted.internet.defer import Deferred, DeferredList

from tests.repositories.world import World, git, make_source, name
from wit.access.actor import Actor, Level, Origin
from wit.access.gate import Gate
from wit.accounts.organizations import Organizations
from wit.accounts.teams import Teams
from wit.db.tables import collaborators, events, repositories, team_repositories
from wit.errors import Conflict, Invalid, NotFound, Unavailable
from wit.repositories import rows
from wit.runtime import utc_now


def journal(world: World, run) -> list[tuple]:
    return [
        (event.type, event.actor_id, event.repo_id, dict(event.payload))
        for event in run(world.journal.list())
    ]


def test_create(world: World, run) -> None:
    row = run(world.manager.create(name("ADA/Hello"), private=True, description="x", actor_id="me"))
    assert row["full_name"] == "Ada/Hello"
    assert row["name_key"] == "hello"
    assert (row["owner_id"], row["owner_type"]) == (world.ids["Ada"], "user")
    assert row["is_private"] is True and row["description"] == "x"
    assert (row["default_branch"], row["object_format"]) == ("main", "sha1")
    assert row["disk_path"] == "/repos/Ada/Hello.git"
    assert world.on_disk() == {"Ada/Hello.git"}
    assert git("-C", world.path("Ada/Hello"), "symbolic-ref", "HEAD") == "refs/heads/main"
    assert run(world.manager.get(name("ada/hELLO"))) == row
    assert run(world.manager.by_id(row["id"])) == row
    assert run(world.manager.exists(name("ada/hello")))
    bare = world.manager.bare(row)
    assert (bare.key, bare.path) == (row["id"], str(world.path("Ada/Hello")))
    payload = {
        "repoId": row["id"],
        "repoName": "Hello",
        "ownerId": world.ids["Ada"],
        "ownerType": "user",
        "isPrivate": True,
    }
    assert journal(world, run) == [("repo.created", "me", row["id"], payload)]


def test_create_in_an_organization_and_sha256(world: World, run) -> None:
    row = run(world.manager.create(name("acme/x"), object_format="sha256", default_branch="trunk"))
    assert row["full_name"] == "Acme/x"
    assert (row["owner_id"], row["owner_type"]) == (world.ids["Acme"], "organization")
    assert (row["default_branch"], row["object_format"]) == ("trunk", "sha256")
    assert row["is_private"] is False


@pytest.mark.parametrize(
    ("full_name", "options", "error"),
    [
        ("nobody/x", {}, NotFound),
        ("Ada/.x", {}, Invalid),
        ("Ada/x.git", {}, Invalid),
        ("Ada/x", {"description": "x" * 1001}, Invalid),
        ("Ada/x", {"object_format": "md5"}, Invalid),
        ("Ada/x", {"default_branch": "-x"}, Invalid),
        ("Ada/x", {"default_branch": "a..b"}, Invalid),
    ],
)
def test_what_cannot_be_created_leaves_nothing(world: World, run, full_name, options, error):
    with pytest.raises(error):
        run(world.manager.create(name(full_name), **options))
    assert world.on_disk() == set()
    assert run(world.in_rows()) == set()
    assert journal(world, run) == []


def test_names_that_differ_by_case_only_are_taken(world: World, run) -> None:
    run(world.manager.create(name("Ada/Hello")))
    for taken in ("Ada/Hello", "ada/hello", "ADA/HELLO"):
        with pytest.raises(Conflict, match="already"):
            run(world.manager.create(name(taken)))
    run(world.manager.create(name("bob/hello")))
    assert world.on_disk() == {"Ada/Hello.git", "bob/hello.git"}


def test_of_two_who_create_at_once_one_wins(world: World, run) -> None:
    async def both():
        return await DeferredList(
            [
                Deferred.fromCoroutine(world.manager.create(name(text)))
                for text in ("Ada/x", "ada/X", "Ada/x")
            ],
            consumeErrors=True,
        )

    results = run(both())
    assert [success for success, _ in results].count(True) == 1
    assert all(f.type is Conflict for success, f in results if not success)
    assert len(world.on_disk()) == 1
    assert len(run(world.in_rows())) == 1


def test_a_folder_without_a_row_is_not_overwritten(world: World, run) -> None:
    make_source(world.path("Ada/x"))
    with pytest.raises(Conflict, match="on disk already but not registered"):
        run(world.manager.create(name("Ada/x")))
    assert git("-C", world.path("Ada/x"), "symbolic-ref", "HEAD") == "refs/heads/trunk"
    assert world.on_disk() == {"Ada/x.git"}
    assert run(world.in_rows()) == set()


def test_list_in_pages(world: World, run) -> None:
    for text in ("bob/b", "Ada/Z", "Ada/a", "acme/m"):
        run(world.manager.create(name(text)))
    first = run(world.manager.list(limit=3))
    assert [row["full_name"] for row in first] == ["Acme/m", "Ada/a", "Ada/Z"]
    second = run(world.manager.list(after=first[-1]["full_name"], limit=3))
    assert [row["full_name"] for row in second] == ["bob/b"]
    assert [r["full_name"] for r in run(world.manager.list(owner="ADA"))] == ["Ada/a", "Ada/Z"]


def test_rename(world: World, run) -> None:
    row = run(world.manager.create(name("Ada/old")))
    run(world.manager.create(name("Ada/taken")))
    renamed = run(world.manager.rename(name("ada/OLD"), "new"))
    assert renamed["id"] == row["id"]
    assert (renamed["full_name"], renamed["disk_path"]) == ("Ada/new", "/repos/Ada/new.git")
    assert world.path("Ada/new").is_dir()
    assert not run(world.manager.exists(name("Ada/old")))
    for wrong, error in [("TAKEN", Conflict), ("..", Invalid)]:
        with pytest.raises(error):
            run(world.manager.rename(name("Ada/new"), wrong))
    with pytest.raises(NotFound):
        run(world.manager.rename(name("Ada/old"), "other"))
    assert run(world.manager.get(name("Ada/new"))) == renamed
    again = run(world.manager.rename(name("Ada/new"), "NEW"))
    assert again["full_name"] == "Ada/NEW" and world.path("Ada/NEW").is_dir()
    assert run(world.manager.rename(name("Ada/NEW"), "NEW")) == again


def test_what_runs_during_a_move_finds_the_repository_by_its_old_path(world: World, run) -> None:
    run(world.manager.create(name("Ada/old")))
    run(world.manager.rename(name("Ada/old"), "new"))
    old = world.path("Ada/old")
    assert old.is_symlink() and os.readlink(old) == "new.git"
    run(world.manager.transfer(name("Ada/new"), "bob"))
    assert git("-C", old, "rev-parse", "--is-bare-repository") == "true"
    run(world.manager.sweep())
    assert old.is_symlink(), "not yet: something may still run"
    run(world.manager.create(name("Ada/old")))
    assert not old.is_symlink() and old.is_dir(), "a new repository takes the place"
    for note in (world.root / ".wit" / "aliases").iterdir():
        os.utime(note, (0, 0))
    run(world.manager.sweep())
    assert world.on_disk() == {"Ada/old.git", "bob/new.git"}


def test_transfer(world: World, run) -> None:
    row = run(world.manager.create(name("Ada/x"), private=True))
    run(
        world.db.execute(
            insert(collaborators),
            repo_id=row["id"],
            user_id=world.ids["bob"],
            permission="read",
            created_at=utc_now(),
        )
    )
    moved = run(world.manager.transfer(name("ada/x"), "BOB", actor_id="me"))
    assert (moved["full_name"], moved["owner_id"]) == ("bob/x", world.ids["bob"])
    assert moved["disk_path"] == "/repos/bob/x.git" and moved["is_private"] is True
    assert world.path("bob/x").is_dir()
    assert run(world.db.fetch_all(select(collaborators))) == []
    payload = {
        "repoId": row["id"],
        "repoName": "x",
        "previousOwnerId": world.ids["Ada"],
        "previousOwnerName": "Ada",
        "newOwnerId": world.ids["bob"],
        "newOwnerName": "bob",
        "newOwnerType": "user",
    }
    assert journal(world, run)[1:] == [("repo.transferred", "me", row["id"], payload)]
    run(world.manager.create(name("Acme/X")))
    with pytest.raises(Conflict):
        run(world.manager.transfer(name("bob/x"), "acme"))
    with pytest.raises(NotFound):
        run(world.manager.transfer(name("bob/x"), "nobody"))
    assert run(world.manager.get(name("bob/x"))) == moved
    assert world.path("bob/x").is_dir()
    assert len(journal(world, run)) == 3


def test_what_an_organization_lent_ends_with_a_transfer(world: World, run) -> None:
    """Teams are the organization's; people whom somebody added stay, as on other hosts."""
    row = run(world.manager.create(name("Acme/x"), private=True))
    eve = run(world.users.create("eve", "eve@example.org"))["id"]
    bob = world.ids["bob"]
    organizations, teams = Organizations(world.db, world.runtime), Teams(world.db, world.runtime)
    run(organizations.add_member(world.ids["Acme"], bob, "member"))
    team = run(teams.create(world.ids["Acme"], "builders"))
    run(teams.add_member(team["id"], bob))
    run(teams.grant(team, row | {"level": Level.ADMIN}, "write"))
    run(world.rights.set_collaborator(row["id"], "eve", "read"))
    gate = Gate(world.db)

    def level(user_id: str, user_name: str) -> Level:
        actor = Actor(user_id, user_name, Origin.SESSION)
        return run(gate.level(actor, row))

    assert level(bob, "bob") == Level.WRITE
    run(world.manager.rename(name("Acme/x"), "y"))
    assert level(bob, "bob") == Level.WRITE, "it is still the organization's"
    run(world.manager.transfer(name("Acme/y"), "Ada"))
    assert level(bob, "bob") == Level.NONE
    assert run(world.db.fetch_all(select(team_repositories))) == []
    run(world.manager.transfer(name("Ada/y"), "Acme"))
    assert level(bob, "bob") == Level.READ, "as a member; the team has nothing of it any more"
    assert level(eve, "eve") == Level.READ


def test_delete(world: World, run) -> None:
    run(world.manager.create(name("Ada/x")))
    run(world.manager.delete(name("ADA/X")))
    assert world.on_disk() == set()
    assert run(world.in_rows()) == set()
    with pytest.raises(NotFound):
        run(world.manager.delete(name("Ada/x")))
    run(world.manager.create(name("Ada/x")))
    world.path("Ada/x").rename(world.root.parent / "gone")
    run(world.manager.delete(name("Ada/x")))
    assert run(world.in_rows()) == set(), "also without its folder"


def test_a_missing_folder_cannot_be_moved(world: World, run) -> None:
    row = run(world.manager.create(name("Ada/x")))
    world.path("Ada/x").rename(world.root.parent / "gone")
    with pytest.raises(Unavailable, match="missing"):
        run(world.manager.rename(name("Ada/x"), "y"))
    assert run(world.manager.get(name("Ada/x"))) == row
    assert world.on_disk() == set()


def test_import(world: World, run, tmp_path: Path) -> None:
    commit = make_source(tmp_path / "source", "trunk")
    said: list[str] = []
    row = run(
        world.manager.import_(
            name("ada/x"), str(tmp_path / "source"), private=True, allow_local=True,
            progress=said.append, actor_id="me",
        )
    )  # fmt: skip
    assert (row["full_name"], row["default_branch"], row["is_private"]) == ("Ada/x", "trunk", True)
    assert git("-C", world.path("Ada/x"), "rev-parse", "HEAD") == commit
    assert world.on_disk() == {"Ada/x.git"}
    assert [entry[0] for entry in journal(world, run)] == ["repo.created"]


def test_a_failed_import_leaves_nothing(world: World, run, tmp_path: Path) -> None:
    for source, allow_local in [(tmp_path / "nothing", True), (tmp_path, False)]:
        with pytest.raises(Invalid):
            run(world.manager.import_(name("Ada/x"), str(source), allow_local=allow_local))
        assert world.on_disk() == set()
        assert run(world.in_rows()) == set()


@pytest.mark.attack(15)
def test_fork_takes_only_what_can_be_seen(world: World, run) -> None:
    origin = run(world.manager.create(name("Ada/x"), private=True, description="about x"))
    source = world.path("Ada/x")
    tree = git("-C", source, "hash-object", "-t", "tree", "-w", "/dev/null")

    def commit(message: str, ref: str | None) -> str:
        made = git("-C", source, "commit-tree", "-m", message, tree)
        if ref is not None:
            git("-C", source, "update-ref", ref, made)
        return made

    visible = commit("visible", "refs/heads/main")
    hidden = [commit("hidden", "refs/wit/secret"), commit("queue", "refs/merge-queue/1")]
    loose = commit("unreachable", None)
    fork = run(world.manager.fork(name("ada/x"), name("bob/mine"), actor_id="bob"))
    assert (fork["full_name"], fork["is_fork"], fork["is_private"]) == ("bob/mine", True, True)
    assert fork["forked_from_id"] == origin["id"]
    assert fork["description"] == "about x"
    assert run(world.manager.get(name("Ada/x")))["forks_count"] == 1
    copy = world.path("bob/mine")
    assert git("-C", copy, "rev-parse", "main") == visible
    assert not (copy / "objects" / "info" / "alternates").exists()
    there = git("-C", copy, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    for secret in (*hidden, loose):
        assert secret not in there.split()
    assert git("-C", copy, "for-each-ref", "--format=%(refname)") == "refs/heads/main"
    created, forked = journal(world, run)[1:]
    assert (created[0], created[2]) == ("repo.created", fork["id"])
    assert forked == (
        "repo.forked",
        "bob",
        fork["id"],
        {
            "repoId": fork["id"],
            "repoFullName": "bob/mine",
            "forkedFromId": origin["id"],
            "forkedFromFullName": "Ada/x",
            "ownerId": world.ids["Ada"],
        },
    )


def test_fork_of_an_empty_repository(world: World, run) -> None:
    run(world.manager.create(name("Ada/x")))
    fork = run(world.manager.fork(name("Ada/x"), name("bob/x")))
    assert fork["is_private"] is False
    assert git("-C", world.path("bob/x"), "rev-parse", "--is-bare-repository") == "true"


def test_read_only(world: World, run) -> None:
    row = run(world.manager.create(name("Ada/x")))
    run(world.manager.set_read_only(row["id"], "a pack is missing"))
    assert run(world.manager.by_id(row["id"]))["read_only_reason"] == "a pack is missing"
    run(world.manager.set_read_only(row["id"], None))
    assert run(world.manager.by_id(row["id"]))["read_only_reason"] is None
    with pytest.raises(NotFound):
        run(world.manager.set_read_only("gone", "x"))


def test_statements_for_others_stay(world: World, run) -> None:
    row = run(world.manager.create(name("Ada/x")))
    assert run(world.db.fetch_one(rows.BY_ID, id=row["id"])) == row
    assert run(world.db.fetch_value(select(events.c.type))) == "repo.created"
    assert run(world.db.fetch_value(select(repositories.c.id))) == row["id"]
