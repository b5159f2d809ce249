"""The whole matrix of the gate's answers, on both engines."""

from __future__ import annotations

from itertools import product

import attrs
import pytest

from tests.access.conftest import MISSING, PEOPLE, World, add_repository, ask
from wit.access.actor import ANONYMOUS, TOKEN_SCOPES, Level
from wit.access.gate import SIGN_IN
from wit.accounts.credentials import cli_actor
from wit.db.tables import namespaces, repositories
from wit.errors import Forbidden, Invalid, NotFound, Unauthorized
from wit.git.names import RepoName

GRANTED = {
    "stranger": Level.NONE,
    "reader": Level.READ,
    "writer": Level.WRITE,
    "keeper": Level.ADMIN,
}
BY_OWNER = {
    "owner": {"owner": Level.OWNER, "org-owner": Level.NONE},
    "Acme": {
        "owner": Level.NONE,
        "org-owner": Level.OWNER,
        "org-admin": Level.WRITE,
        "org-member": Level.READ,
    },
}
WANTED = (Level.READ, Level.WRITE, Level.ADMIN, Level.OWNER)


@pytest.mark.parametrize("owner", ["owner", "Acme"])
@pytest.mark.parametrize("name", ["Open", "Closed"])
def test_people(world: World, run, owner: str, name: str) -> None:
    private = name == "Closed"
    repo = RepoName(owner, name)
    for person, granted in {**GRANTED, **BY_OWNER[owner]}.items():
        has = granted if private else max(granted, Level.READ)
        for needed in WANTED:
            answer = ask(world, run, world.actor(person), repo, needed)
            if has >= needed:
                assert answer["id"] == world.ids[f"{owner}/{name}"], (person, needed)
                assert answer["level"] is has
                assert answer["owner_name"] == owner
                assert answer["full_name"] == f"{owner}/{name}"
                assert set(repositories.c.keys()) <= answer.keys()
                assert not any(key.startswith("_") for key in answer)
            elif has is Level.NONE:
                assert answer == (NotFound, MISSING), (person, needed)
            else:
                assert answer == (
                    Forbidden,
                    f"you have {has.name.lower()} access to {owner}/{name}; "
                    f"this needs {needed.name.lower()} access",
                )


@pytest.mark.attack(28)
def test_anonymous(world: World, run) -> None:
    for owner in ("owner", "Acme"):
        row = ask(world, run, ANONYMOUS, RepoName(owner, "Open"), Level.READ)
        assert row["level"] is Level.READ
        for name, needed in product(("Open", "Closed", "Missing"), WANTED):
            if (name, needed) != ("Open", Level.READ):
                answer = ask(world, run, ANONYMOUS, RepoName(owner, name), needed)
                assert answer == (Unauthorized, SIGN_IN)
    assert ask(world, run, ANONYMOUS, RepoName("nobody", "x"), Level.READ) == (
        Unauthorized,
        SIGN_IN,
    )


@pytest.mark.attack(28, 53)
@pytest.mark.parametrize("scopes", [set(), {"repo:read"}, {"repo:write"}, {"repo:admin"},
                                    {"repo:read", "repo:write"}, set(TOKEN_SCOPES),
                                    set(TOKEN_SCOPES) - {"repo:read"}])  # fmt: skip
def test_tokens(world: World, run, scopes: set[str]) -> None:
    people = {"owner": Level.OWNER, **GRANTED}
    for name, (person, granted), needed in product(("Open", "Closed"), people.items(), WANTED):
        private = name == "Closed"
        has = granted if private else max(granted, Level.READ)
        answer = ask(world, run, world.actor(person, scopes), RepoName("owner", name), needed)
        in_scope = needed.scope in scopes or (needed is Level.READ and not private)
        visible = not private or (granted >= Level.READ and "repo:read" in scopes)
        if has >= needed and in_scope:
            assert answer["level"] >= needed
            assert answer["level"] <= has
            assert answer["level"].scope in scopes or answer["level"] is Level.READ
        elif not visible:
            assert answer == (NotFound, MISSING), (name, person, needed)
        elif has < needed:
            assert answer[0] is Forbidden and answer[1].startswith("you have ")
        else:
            assert answer == (Forbidden, f"this token lacks the scope {needed.scope}")


@pytest.mark.attack(28)
def test_missing_and_invisible_are_the_same(world: World, run) -> None:
    for scopes, needed in product((None, set(), {"repo:read"}, set(TOKEN_SCOPES)), WANTED):
        actor = world.actor("stranger", scopes)
        answers = {
            ask(world, run, actor, RepoName(*name), needed)
            for name in [("owner", "Closed"), ("owner", "Missing"), ("nobody", "x")]
        }
        assert answers == {(NotFound, MISSING)}


@pytest.mark.attack(28)
def test_upper_and_lower_case_are_the_same(world: World, run) -> None:
    for owner, name in [("OWNER", "open"), ("Owner", "OPEN"), ("acme", "oPen"), ("ACME", "open")]:
        row = ask(world, run, ANONYMOUS, RepoName(owner, name), Level.READ)
        assert row["name"] == "Open"
        answer = ask(
            world, run, ANONYMOUS, RepoName(owner, name.replace("open", "closed")), Level.WRITE
        )
        assert answer == (Unauthorized, SIGN_IN)


def test_the_operator_may_everything(world: World, run) -> None:
    for owner, name in product(("owner", "Acme"), ("Open", "Closed")):
        row = ask(world, run, cli_actor(), RepoName(owner, name), Level.OWNER)
        assert row["level"] is Level.OWNER
    assert ask(world, run, cli_actor(), RepoName("owner", "Missing"), Level.READ) == (
        NotFound,
        MISSING,
    )


def test_site_administrators_have_no_key_to_every_repository(world: World, run) -> None:
    actor = attrs.evolve(world.actor("stranger"), is_admin=True, is_superadmin=True)
    assert ask(world, run, actor, RepoName("owner", "Closed"), Level.READ) == (NotFound, MISSING)


def test_level_of_a_row(world: World, run) -> None:
    row = {"id": world.ids["owner/Closed"]}
    for person, granted in {"owner": Level.OWNER, **GRANTED}.items():
        assert run(world.gate.level(world.actor(person), row)) is granted
    assert run(world.gate.level(ANONYMOUS, row)) is Level.NONE
    assert run(world.gate.level(ANONYMOUS, {"id": world.ids["owner/Open"]})) is Level.READ
    assert run(world.gate.level(world.actor("owner"), {"id": "gone"})) is Level.NONE
    actor = world.actor("owner", {"repo:read", "repo:write"})
    assert run(world.gate.level(actor, row)) is Level.WRITE


def names(page) -> list[str]:
    return [row["full_name"] for row in page.rows]


@pytest.mark.parametrize(
    ("person", "scopes", "seen"),
    [
        ("stranger", None, ["Acme/Open", "owner/Open"]),
        ("reader", None, ["Acme/Closed", "Acme/Open", "owner/Closed", "owner/Open"]),
        ("owner", None, ["Acme/Open", "owner/Closed", "owner/Open"]),
        ("org-member", None, ["Acme/Closed", "Acme/Open", "owner/Open"]),
        ("owner", {"repo:read"}, ["Acme/Open", "owner/Closed", "owner/Open"]),
        ("owner", {"repo:write"}, ["Acme/Open", "owner/Open"]),
    ],
)
def test_what_is_visible(world: World, run, person, scopes, seen) -> None:
    actor = world.actor(person, scopes)
    page = run(world.gate.visible_repositories(actor))
    assert names(page) == seen
    assert page.next_cursor is None
    for row in page.rows:
        again = run(
            world.gate.repository(actor, RepoName(row["owner_name"], row["name"]), Level.READ)
        )
        assert again == row
    page = run(world.gate.visible_repositories(actor, owner="ACME"))
    assert names(page) == [name for name in seen if name.startswith("Acme/")]


def test_what_the_anonymous_and_the_operator_see(world: World, run) -> None:
    visible = world.gate.visible_repositories
    assert names(run(visible(ANONYMOUS))) == ["Acme/Open", "owner/Open"]
    assert names(run(visible(ANONYMOUS, owner="owner"))) == ["owner/Open"]
    assert names(run(visible(ANONYMOUS, owner="nobody"))) == []
    assert len(names(run(visible(cli_actor())))) == 4


def test_pages(world: World, run) -> None:
    async def add(name: str) -> None:
        await add_repository(
            world.db, f"id-{name}", world.ids["owner"], "user", "owner", name, name == "b-2"
        )

    for name in ("a", "B.1", "b-2", "b_3", "Z"):
        run(add(name))
    actor = world.actor("owner")
    everything = names(run(world.gate.visible_repositories(actor)))
    assert len(everything) == 8
    seen: list[str] = []
    cursor = None
    for _ in range(10):
        page = run(world.gate.visible_repositories(actor, cursor=cursor, limit=2))
        assert len(page.rows) <= 2
        seen += names(page)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == everything
    for wrong in ("x", "../..", "a/b/c", "\0/x"):
        with pytest.raises(Invalid):
            run(world.gate.visible_repositories(actor, cursor=wrong))
    for limit in (0, 101):
        with pytest.raises(Invalid):
            run(world.gate.visible_repositories(actor, limit=limit))


def test_rows_of_a_deleted_owner_are_not_found(world: World, run) -> None:
    run(world.db.execute(namespaces.delete()))
    actor = world.actor("owner")
    assert ask(world, run, actor, RepoName("owner", "Open"), Level.READ) == (NotFound, MISSING)


@pytest.mark.attack(28)
def test_by_id_as_by_name(world: World, run) -> None:
    people = [ANONYMOUS, cli_actor(), *(world.actor(name) for name in (*PEOPLE, "org-admin"))]
    people.append(world.actor("reader", {"repo:write"}))
    for actor, owner, name in product(people, ("owner", "Acme"), ("Open", "Closed", "Missing")):
        repo_id = world.ids.get(f"{owner}/{name}", "00000000-0000-4000-8000-000000000000")
        for needed in WANTED:
            by_name = ask(world, run, actor, RepoName(owner, name), needed)
            assert ask(world, run, actor, repo_id, needed) == by_name


def test_an_id_is_only_an_id(world: World, run) -> None:
    for wrong in ("", "x" * 300, "owner/Open", "%"):
        assert ask(world, run, world.actor("owner"), wrong, Level.READ) == (NotFound, MISSING)
