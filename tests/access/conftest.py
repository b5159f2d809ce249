"""Ada's and Acme's repositories, and people around them, on each engine."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import attrs
import pytest
from sqlalchemy import insert

from wit.access.actor import Actor, Level, Origin
from wit.access.gate import Gate
from wit.accounts.organizations import Organizations
from wit.accounts.passwords import Passwords
from wit.accounts.users import Users
from wit.db.port import Database
from wit.db.tables import collaborators, repositories
from wit.errors import Forbidden, NotFound, Unauthorized
from wit.git.names import RepoName
from wit.runtime import Runtime, utc_now

MISSING = "repository not found"

PEOPLE = ("owner", "reader", "writer", "keeper", "stranger")
MEMBERS = ("owner", "admin", "member")


@attrs.frozen
class World:
    db: Database
    gate: Gate
    ids: dict[str, str]

    def actor(self, name: str, scopes: Collection[str] | None = None) -> Actor:
        return Actor(
            user_id=self.ids[name],
            username=name,
            origin=Origin.PASSWORD if scopes is None else Origin.TOKEN,
            scopes=None if scopes is None else frozenset(scopes),
        )


async def make_world(db: Database, runtime: Runtime) -> World:
    """Ada's and Acme's repositories, a public and a private one each, and people around them."""
    users = Users(db, runtime, Passwords(runtime))
    ids = {}
    for name in (*PEOPLE, *(f"org-{role}" for role in MEMBERS)):
        ids[name] = (await users.create(name, f"{name}@example.org"))["id"]
    organizations = Organizations(db, runtime)
    org = await organizations.create("Acme", ids["org-owner"])
    await organizations.add_member(org["id"], ids["org-admin"], "admin")
    await organizations.add_member(org["id"], ids["org-member"], "member")
    for owner_id, owner_type, owner in [
        (ids["owner"], "user", "owner"),
        (org["id"], "organization", "Acme"),
    ]:
        for name, private in [("Open", False), ("Closed", True)]:
            repo_id = runtime.new_id()
            ids[f"{owner}/{name}"] = repo_id
            await add_repository(db, repo_id, owner_id, owner_type, owner, name, private)
            for person, level in [("reader", "read"), ("writer", "write"), ("keeper", "admin")]:
                await db.execute(
                    insert(collaborators),
                    repo_id=repo_id,
                    user_id=ids[person],
                    permission=level,
                    created_at=utc_now(),
                )
    return World(db, Gate(db), ids)


async def add_repository(
    db: Database,
    repo_id: str,
    owner_id: str,
    owner_type: str,
    owner: str,
    name: str,
    private: bool,
) -> None:
    await db.execute(
        insert(repositories),
        id=repo_id,
        owner_id=owner_id,
        owner_type=owner_type,
        name=name,
        name_key=name.lower(),
        is_private=private,
        disk_path=f"/repos/{owner}/{name}.git",
        created_at=utc_now(),
        updated_at=utc_now(),
    )


@pytest.fixture
def world(database: Database, runtime: Runtime, run) -> World:
    return run(make_world(database, runtime))


def ask(world: World, run, actor: Actor, name: RepoName | str, needed: Level) -> Any:
    """The row, or the error as (type, sentence); ``name`` may be an id."""
    gate = world.gate
    try:
        if isinstance(name, str):
            return run(gate.repository_by_id(actor, name, needed))
        return run(gate.repository(actor, name, needed))
    except (Unauthorized, Forbidden, NotFound) as error:
        return type(error), error.message
