from __future__ import annotations

from typing import Any

import attrs
import pytest
from sqlalchemy import insert, update

from tests.accounts.conftest import Accounts
from wit.access.actor import ANONYMOUS, Level, OrgRole
from wit.access.gate import Gate
from wit.accounts.credentials import cli_actor
from wit.accounts.teams import Teams
from wit.db.port import Row
from wit.db.tables import repositories
from wit.errors import Conflict, Forbidden, Invalid, NotFound


@attrs.frozen
class Acme:
    accounts: Accounts
    teams: Teams
    gate: Gate
    ada: Row
    bob: Row
    eve: Row
    org: Row
    team: Row

    async def repository(self, name: str, owner_id: str | None = None, private: bool = True) -> Row:
        """As the gate gives it to the operator."""
        repo_id = self.accounts.runtime.new_id()
        now = self.accounts.runtime.now()
        await self.accounts.db.execute(
            insert(repositories),
            id=repo_id,
            owner_id=owner_id or self.org["id"],
            owner_type="organization" if owner_id is None else "user",
            name=name,
            name_key=name.lower(),
            is_private=private,
            disk_path=f"x/{name}.git",
            created_at=now,
            updated_at=now,
        )
        return await self.gate.repository_by_id(cli_actor(), repo_id, Level.OWNER)


async def make_acme(accounts: Accounts) -> Acme:
    """ada owns acme, bob is a member, eve is not; the team core is empty."""
    ada, bob, eve = [await accounts.user(name) for name in ("ada", "bob", "eve")]
    org = await accounts.organizations.create("acme", ada["id"])
    await accounts.organizations.add_member(org["id"], bob["id"])
    teams = Teams(accounts.db, accounts.runtime)
    team = await teams.create(org["id"], " core ", "the core")
    return Acme(accounts, teams, Gate(accounts.db), ada, bob, eve, org, team)


@pytest.fixture
def acme(accounts: Accounts, run) -> Acme:
    return run(make_acme(accounts))


def names(rows: list[Row], column: str = "username") -> list[Any]:
    return [row[column] for row in rows]


def test_making_changing_removing(acme: Acme, run) -> None:
    teams, org = acme.teams, acme.org
    assert (acme.team["name"], acme.team["description"]) == ("core", "the core")
    with pytest.raises(Conflict, match="'core' already"):
        run(teams.create(org["id"], "core"))
    for wrong in ("", "two\nlines", "x" * 101):
        with pytest.raises(Invalid):
            run(teams.create(org["id"], wrong))
    with pytest.raises(NotFound):
        run(teams.create("none", "core"))
    other = run(teams.create(org["id"], "apex"))
    assert names(run(teams.of_organization(org["id"])), "name") == ["apex", "core"]
    assert names(run(teams.of_organization(org["id"], 1, 1)), "name") == ["core"]
    with pytest.raises(Conflict):
        run(teams.update(other["id"], {"name": "core"}))
    changed = run(teams.update(other["id"], {"name": "top", "description": "x"}))
    assert (changed["name"], changed["description"]) == ("top", "x")
    assert run(teams.update(other["id"], {})) == changed
    assert run(teams.update(other["id"], {"description": None}))["description"] is None
    run(teams.delete(other["id"]))
    for gone in (
        teams.get(other["id"]),
        teams.delete(other["id"]),
        teams.update(other["id"], {"name": "x"}),
        teams.add_member(other["id"], acme.bob["id"]),
        teams.remove_member(other["id"], acme.bob["id"]),
    ):
        with pytest.raises(NotFound):
            run(gone)


def test_members(acme: Acme, run) -> None:
    teams, team_id = acme.teams, acme.team["id"]
    row = run(teams.add_member(team_id, acme.bob["id"]))
    assert (row["team_id"], row["user_id"]) == (team_id, acme.bob["id"])
    with pytest.raises(Conflict, match="already"):
        run(teams.add_member(team_id, acme.bob["id"]))
    for stranger in (acme.eve["id"], "nobody"):
        with pytest.raises(Invalid, match="only members"):
            run(teams.add_member(team_id, stranger))
    run(teams.add_member(team_id, acme.ada["id"]))
    assert names(run(teams.members(team_id))) == ["ada", "bob"]
    assert names(run(teams.members(team_id, 1, 1))) == ["bob"]
    run(acme.accounts.organizations.remove_member(acme.org["id"], acme.bob["id"]))
    assert names(run(teams.members(team_id))) == ["ada"]
    run(teams.remove_member(team_id, acme.ada["id"]))
    assert run(teams.members(team_id)) == []
    with pytest.raises(NotFound):
        run(teams.remove_member(team_id, acme.ada["id"]))


def test_grants(acme: Acme, run) -> None:
    teams, team = acme.teams, acme.team
    tools, docs = run(acme.repository("tools")), run(acme.repository("docs", private=False))
    run(teams.grant(team, tools, "read"))
    run(teams.grant(team, docs, "admin"))
    run(teams.grant(team, tools, "write"))

    def granted(actor: Any, **page: int) -> list[tuple[str, str]]:
        rows = run(teams.repositories(actor, team["id"], **page))
        assert all(row["owner_name"] == "acme" for row in rows)
        return [(row["name"], row["permission"]) for row in rows]

    assert granted(cli_actor()) == [("docs", "admin"), ("tools", "write")]
    assert granted(cli_actor(), limit=1, offset=1) == [("tools", "write")]
    assert granted(ANONYMOUS) == [("docs", "admin")]
    run(teams.revoke(team["id"], tools["id"]))
    assert granted(cli_actor()) == [("docs", "admin")]
    with pytest.raises(NotFound):
        run(teams.revoke(team["id"], tools["id"]))
    with pytest.raises(Invalid):
        run(teams.grant(team, tools, "own"))


@pytest.mark.attack(52)
def test_nobody_grants_above_their_own_level(acme: Acme, run) -> None:
    tools = run(acme.repository("tools"))
    for level, permission in [(Level.READ, "write"), (Level.WRITE, "admin")]:
        with pytest.raises(Forbidden):
            run(acme.teams.grant(acme.team, {**tools, "level": level}, permission))
    assert run(acme.teams.repositories(cli_actor(), acme.team["id"])) == []
    run(acme.teams.grant(acme.team, {**tools, "level": Level.WRITE}, "write"))
    run(acme.teams.add_member(acme.team["id"], acme.bob["id"], by=OrgRole.ADMIN))
    run(acme.teams.grant(acme.team, tools, "admin"))
    with pytest.raises(Forbidden, match="only an owner"):
        run(acme.teams.add_member(acme.team["id"], acme.ada["id"], by=OrgRole.ADMIN))
    run(acme.teams.add_member(acme.team["id"], acme.ada["id"], by=OrgRole.OWNER))
    assert names(run(acme.teams.members(acme.team["id"]))) == ["ada", "bob"]


@pytest.mark.attack(52)
def test_only_repositories_of_the_organization(acme: Acme, run) -> None:
    own = run(acme.repository("own", owner_id=acme.ada["id"]))
    with pytest.raises(Invalid, match="its own organization"):
        run(acme.teams.grant(acme.team, own, "read"))
    tools = run(acme.repository("tools"))
    run(acme.teams.grant(acme.team, tools, "read"))
    moved = update(repositories).where(repositories.c.id == tools["id"])
    run(acme.accounts.db.execute(moved.values(owner_id=acme.ada["id"], owner_type="user")))
    assert run(acme.teams.repositories(cli_actor(), acme.team["id"])) == []
