"""What lists show is exactly what the gate lets one read, for every kind of caller."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from sqlalchemy import insert, select

from tests.repositories.world import World, make_world, name
from wit.access.actor import ANONYMOUS, Actor, Level, Origin, token_scopes
from wit.access.gate import Gate
from wit.access.visibility import Seen
from wit.accounts.organizations import Organizations
from wit.db.tables import repositories, team_members, team_repositories, teams

ALL = Seen(select(repositories.c.id, repositories.c.name).where)


@pytest.fixture
def world(database: Any, runtime: Any, run: Any, tmp_path: Any) -> World:
    made: World = run(make_world(database, runtime, tmp_path))
    return made


async def fill(world: World) -> dict[str, Actor]:
    """Repositories of all kinds, and people with every kind of right to some of them."""
    for full_name in ("Ada/open", "Ada/closed", "Ada/shared", "Acme/open", "Acme/vault", "Acme/t"):
        await world.manager.create(name(full_name), private=not full_name.endswith("open"))
    people = {}
    for username in ("member", "teammate", "collaborator", "stranger"):
        row = await world.users.create(username, f"{username}@example.org")
        people[username] = Actor(row["id"], username, Origin.SESSION)
    people["owner"] = Actor(world.ids["Ada"], "ada", Origin.SESSION)
    shared = await world.manager.get(name("Ada/shared"))
    await world.rights.set_collaborator(shared["id"], "collaborator", "read")
    organizations = Organizations(world.db, world.runtime)
    await organizations.add_member(world.ids["Acme"], people["member"].user_id or "")
    other = await organizations.create("Other", world.ids["bob"])
    now = world.runtime.now()
    for org_id, repo in ((world.ids["Acme"], "Acme/t"), (other["id"], "Acme/vault")):
        team_id = world.runtime.new_id()
        repo_id = (await world.manager.get(name(repo)))["id"]
        in_team = {"team_id": team_id, "created_at": now}
        await world.db.execute(insert(teams), id=team_id, org_id=org_id, name="t", created_at=now)
        await world.db.execute(insert(team_members), user_id=people["teammate"].user_id, **in_team)
        await world.db.execute(
            insert(team_repositories), repo_id=repo_id, permission="write", **in_team
        )
    reading = token_scopes(frozenset(("repo:read",)))
    people["token"] = attrs.evolve(people["owner"], origin=Origin.TOKEN, scopes=reading)
    people["blind token"] = attrs.evolve(
        people["owner"], origin=Origin.TOKEN, scopes=frozenset(("user:read",))
    )
    people["command line"] = Actor(None, "wit", Origin.CLI)
    people["anonymous"] = ANONYMOUS
    return people


def test_lists_and_gate_agree(world: World, run: Any) -> None:
    async def compare() -> dict[str, int]:
        people = await fill(world)
        gate = Gate(world.db)
        rows = await world.db.fetch_all(select(repositories))
        sizes = {}
        for kind, actor in people.items():
            statement, reader = ALL.by(actor)
            listed = {row["id"] for row in await world.db.fetch_all(statement, **reader)}
            readable = {row["id"] for row in rows if await gate.level(actor, row) >= Level.READ}
            assert listed == readable, kind
            sizes[kind] = len(listed)
        return sizes

    assert run(compare()) == {
        "stranger": 2,
        "anonymous": 2,
        "blind token": 2,
        "collaborator": 3,
        "teammate": 3,
        "member": 4,
        "owner": 6,
        "token": 6,
        "command line": 6,
    }
