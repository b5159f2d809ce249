"""Whose packages there are, and who may do what, on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.packages.publishing_support import HOME, Registry, make_registry
from tests.repositories.world import name
from wit.access.actor import ANONYMOUS, Actor, Level, Origin
from wit.access.gate import Gate
from wit.accounts.organizations import Organizations
from wit.accounts.teams import Teams
from wit.db.port import Database, Row
from wit.errors import Forbidden, NotFound, Unauthorized
from wit.packages.lists import Lists
from wit.packages.names import parse_name
from wit.runtime import Runtime

KIT, OPEN, HIDDEN, SECRET = "@acme/kit", "open", "hidden", "secret"


@attrs.frozen
class Scene:
    registry: Registry
    teams: Teams
    team: Row
    carol: Actor
    """In a team that may read Acme/kit."""

    @property
    def lists(self) -> Lists:
        return self.registry.packages.lists


@pytest.fixture
def scene(database: Database, runtime: Runtime, run: Any, tmp_path: Path) -> Scene:
    async def make() -> Scene:
        registry = await make_registry(database, runtime, tmp_path)
        world, ada = registry.world, registry.ada
        await registry.release(KIT, "1.0.0", repository=f"{HOME}/Acme/kit")
        await registry.release(OPEN, "1.0.0")
        await registry.release(HIDDEN, "1.0.0", access="restricted")
        await registry.release(SECRET, "1.0.0", repository=f"{HOME}/ada/secret")
        carol = (await world.users.create("carol", "carol@example.org"))["id"]
        await Organizations(database, runtime).add_member(world.ids["Acme"], carol)
        teams = Teams(database, runtime)
        team = await teams.create(world.ids["Acme"], "Builders")
        await teams.add_member(team["id"], carol)
        repo = await Gate(database).repository(ada, name("Acme/kit"), Level.OWNER)
        await teams.grant(team, repo, "read")
        return Scene(registry, teams, team, Actor(carol, "carol", Origin.PASSWORD))

    made: Scene = run(make())
    return made


def test_packages_of_a_user(scene: Scene, run: Any) -> None:
    lists, registry = scene.lists, scene.registry
    mine = run(lists.of_user(registry.ada, "Ada"))
    assert mine == dict.fromkeys((KIT, HIDDEN, OPEN, SECRET), "write")
    for other in (registry.bob, ANONYMOUS):
        assert run(lists.of_user(other, "ada")) == dict.fromkeys((KIT, OPEN), "write")
    assert run(lists.of_user(registry.ada, "bob")) == {}
    run(registry.packages.changes.add_maintainer(registry.ada, parse_name(HIDDEN), "bob", "r"))
    assert run(lists.of_user(registry.bob, "bob")) == {HIDDEN: "write"}
    assert run(lists.of_user(ANONYMOUS, "bob")) == {}
    with pytest.raises(NotFound):
        run(lists.of_user(registry.ada, "nobody"))


def test_packages_of_organizations_and_teams(scene: Scene, run: Any) -> None:
    lists = scene.lists
    assert run(lists.of_organization(ANONYMOUS, "ACME")) == {KIT: "write"}
    assert run(lists.of_team(ANONYMOUS, "Acme", "builders")) == {KIT: "read"}
    with pytest.raises(NotFound):
        run(lists.of_organization(ANONYMOUS, "ada"))
    with pytest.raises(NotFound):
        run(lists.of_team(ANONYMOUS, "Acme", "nobody"))


def test_collaborators(scene: Scene, run: Any) -> None:
    lists, registry, kit = scene.lists, scene.registry, parse_name(KIT)
    assert run(lists.collaborators(registry.ada, kit)) == {"ada": "write", "carol": "read"}

    async def more() -> None:
        gate = Gate(registry.world.db)
        repo = await gate.repository(registry.ada, name("Acme/kit"), Level.OWNER)
        await scene.teams.grant(scene.team, repo, "write")

    run(more())
    assert run(lists.collaborators(scene.carol, kit)) == {"ada": "write", "carol": "write"}
    with pytest.raises(Forbidden):
        run(lists.collaborators(registry.bob, kit))
    with pytest.raises(Unauthorized):
        run(lists.collaborators(ANONYMOUS, kit))
    with pytest.raises(NotFound):
        run(lists.collaborators(registry.bob, parse_name(SECRET)))


def test_stars(scene: Scene, run: Any) -> None:
    lists, registry = scene.lists, scene.registry
    for full_name in (OPEN, SECRET):
        run(registry.packages.changes.star(registry.ada, parse_name(full_name), True, "r"))
    assert run(lists.starred(registry.ada, "ada")) == [OPEN, SECRET]
    assert run(lists.starred(registry.bob, "ada")) == [OPEN]
    assert run(lists.starred(registry.ada, "bob")) == []


def test_who_sees_a_package(scene: Scene, run: Any) -> None:
    lists, ada = scene.lists, scene.registry.ada
    assert run(lists.is_public(ANONYMOUS, parse_name(OPEN))) is True
    assert run(lists.is_public(ada, parse_name(HIDDEN))) is False
    assert run(lists.is_public(ada, parse_name(SECRET))) is False
    with pytest.raises(NotFound):
        run(lists.is_public(ANONYMOUS, parse_name(SECRET)))
