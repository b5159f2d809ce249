"""What a team of an organization gives its members."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import bindparam, delete, insert, update

from tests.access.conftest import MISSING, World, ask
from wit.access.actor import Level
from wit.accounts.organizations import Organizations
from wit.accounts.teams import Teams
from wit.db.tables import repositories, team_members, team_repositories
from wit.errors import NotFound
from wit.git.names import RepoName
from wit.runtime import Runtime, utc_now

CLOSED = RepoName("Acme", "Closed")


@pytest.fixture
def teams(world: World, runtime: Runtime, run) -> dict[str, Any]:
    """Ids of Acme's teams, all with org-member and nothing to do yet; org-admin is in none."""

    async def make() -> dict[str, Any]:
        teams = Teams(world.db, runtime)
        org = await Organizations(world.db, runtime).get("acme")
        made = {}
        for name in ("one", "two", "three"):
            team = await teams.create(org["id"], name)
            await teams.add_member(team["id"], world.ids["org-member"])
            made[name] = team["id"]
        return made

    return run(make())


def grant(world: World, run, team_id: str, repo: str, permission: str) -> None:
    run(
        world.db.execute(
            insert(team_repositories),
            team_id=team_id,
            repo_id=world.ids[repo],
            permission=permission,
            created_at=utc_now(),
        )
    )


def level(world: World, run, person: str, scopes: set[str] | None = None) -> Level:
    row = {"id": world.ids["Acme/Closed"]}
    return run(world.gate.level(world.actor(person, scopes), row))


@pytest.mark.parametrize(
    ("permission", "gives"),
    [("read", Level.READ), ("write", Level.WRITE), ("admin", Level.ADMIN)],
)
def test_members_get_the_teams_permission(world: World, run, teams, permission, gives) -> None:
    before = ask(world, run, world.actor("org-member"), CLOSED, Level.READ)["level"]
    assert before is Level.READ
    grant(world, run, teams["one"], "Acme/Closed", permission)
    row = ask(world, run, world.actor("org-member"), CLOSED, gives)
    assert row["level"] is gives
    assert row["id"] == world.ids["Acme/Closed"]
    assert level(world, run, "org-member") is gives
    assert level(world, run, "org-admin") is Level.WRITE
    assert level(world, run, "stranger") is Level.NONE
    assert ask(world, run, world.actor("stranger"), CLOSED, Level.READ) == (NotFound, MISSING)


def test_the_highest_of_many_counts(world: World, run, teams) -> None:
    grant(world, run, teams["one"], "Acme/Closed", "write")
    grant(world, run, teams["two"], "Acme/Closed", "admin")
    grant(world, run, teams["three"], "Acme/Closed", "read")
    assert level(world, run, "org-member") is Level.ADMIN


def test_a_grant_lowers_nobody(world: World, run, teams) -> None:
    grant(world, run, teams["one"], "Acme/Closed", "read")
    for person in ("org-owner", "keeper"):
        run(
            world.db.execute(
                insert(team_members),
                team_id=teams["one"],
                user_id=world.ids[person],
                created_at=utc_now(),
            )
        )
    assert level(world, run, "org-owner") is Level.OWNER
    assert level(world, run, "keeper") is Level.ADMIN


def test_one_repository_is_not_another(world: World, run, teams) -> None:
    grant(world, run, teams["one"], "Acme/Open", "admin")
    assert level(world, run, "org-member") is Level.READ


@pytest.mark.attack(53)
def test_a_token_still_needs_its_scopes(world: World, run, teams) -> None:
    grant(world, run, teams["one"], "Acme/Closed", "write")
    assert level(world, run, "org-member", {"repo:read"}) is Level.READ
    assert level(world, run, "org-member", {"repo:write"}) is Level.WRITE
    assert level(world, run, "org-member", set()) is Level.NONE


def test_who_left_the_team_has_nothing_of_it(world: World, run, teams) -> None:
    grant(world, run, teams["one"], "Acme/Closed", "admin")
    assert level(world, run, "org-member") is Level.ADMIN
    run(world.db.execute(delete(team_members)))
    assert level(world, run, "org-member") is Level.READ


@pytest.mark.attack(28)
def test_a_repository_that_moved_away_leaves_the_teams_behind(world: World, run, teams) -> None:
    grant(world, run, teams["one"], "Acme/Closed", "admin")
    move = (
        update(repositories)
        .where(repositories.c.id == bindparam("repo"))
        .values(owner_id=bindparam("new"), owner_type="user", name="Moved", name_key="moved")
    )
    run(world.db.execute(move, repo=world.ids["Acme/Closed"], new=world.ids["owner"]))
    assert level(world, run, "org-member") is Level.NONE
    page = run(world.gate.visible_repositories(world.actor("org-member")))
    assert [row["full_name"] for row in page.rows] == ["Acme/Open", "owner/Open"]


def test_what_a_team_may_read_is_listed(world: World, run, runtime: Runtime, teams) -> None:
    """Also for a member of a team whose membership of the organization says less."""
    run(
        world.db.execute(
            insert(team_members),
            team_id=teams["one"],
            user_id=world.ids["stranger"],
            created_at=utc_now(),
        )
    )
    grant(world, run, teams["one"], "Acme/Closed", "write")
    page = run(world.gate.visible_repositories(world.actor("stranger")))
    assert [row["full_name"] for row in page.rows] == ["Acme/Closed", "Acme/Open", "owner/Open"]
    assert page.rows[0]["level"] is Level.WRITE
