"""The gate of organizations: roles, and who is told what."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from tests.access.conftest import World
from wit.access.actor import ANONYMOUS, Actor, OrgRole
from wit.access.organizations import OrgGate
from wit.accounts.credentials import cli_actor
from wit.accounts.organizations import Organizations
from wit.accounts.teams import Teams
from wit.db.port import Row
from wit.errors import Forbidden, NotFound, Unauthorized
from wit.runtime import Runtime

NOWHERE = "00000000-0000-4000-8000-000000000000"
ROLES = {
    "org-owner": OrgRole.OWNER,
    "org-admin": OrgRole.ADMIN,
    "org-member": OrgRole.MEMBER,
    "stranger": None,
    "keeper": None,
}


@attrs.frozen
class Orgs:
    gate: OrgGate
    acme: Row
    team: Row

    def ways(self, actor: Actor, needed: OrgRole | None) -> list[Any]:
        return [
            self.gate.by_id(actor, self.acme["id"], needed),
            self.gate.by_name(actor, "ACME", needed),
            self.gate.of_team(actor, self.team["id"], needed),
        ]


@pytest.fixture
def orgs(world: World, runtime: Runtime, run) -> Orgs:
    async def make() -> Orgs:
        acme = await Organizations(world.db, runtime).get("acme")
        team = await Teams(world.db, runtime).create(acme["id"], "core")
        return Orgs(OrgGate(world.db), acme, team)

    return run(make())


def answer(run, way: Any) -> Any:
    try:
        found = run(way)
    except (Unauthorized, Forbidden, NotFound) as error:
        return type(error)
    return found


@pytest.mark.parametrize("needed", [None, *OrgRole])
def test_roles(world: World, orgs: Orgs, run, needed: OrgRole | None) -> None:
    for person, role in ROLES.items():
        for number, way in enumerate(orgs.ways(world.actor(person), needed)):
            found = answer(run, way)
            if needed is not None and (role is None or role < needed):
                assert found is Forbidden, (person, number)
                continue
            if number == 2:
                found, team = found
                assert team == orgs.team
            assert found == {**orgs.acme, "role": role}, person


def test_the_operator_is_an_owner_everywhere(orgs: Orgs, run) -> None:
    by_id, by_name, of_team = orgs.ways(cli_actor(), OrgRole.OWNER)
    for way in (by_id, by_name):
        assert run(way)["role"] is OrgRole.OWNER
    assert run(of_team)[0]["role"] is OrgRole.OWNER


def test_site_administrators_have_no_role(world: World, orgs: Orgs, run) -> None:
    actor = attrs.evolve(world.actor("stranger"), is_admin=True, is_superadmin=True)
    for way in orgs.ways(actor, OrgRole.MEMBER):
        assert answer(run, way) is Forbidden


def test_the_anonymous_are_asked_to_sign_in(orgs: Orgs, run) -> None:
    for way in orgs.ways(ANONYMOUS, OrgRole.MEMBER):
        assert answer(run, way) is Unauthorized
    assert answer(run, orgs.gate.by_id(ANONYMOUS, NOWHERE, None)) is Unauthorized


def test_what_is_not_there(world: World, orgs: Orgs, run) -> None:
    for actor in (world.actor("org-owner"), cli_actor()):
        assert answer(run, orgs.gate.by_id(actor, NOWHERE, None)) is NotFound
        assert answer(run, orgs.gate.by_name(actor, "nobody", None)) is NotFound
        assert answer(run, orgs.gate.by_name(actor, "owner", None)) is NotFound  # a user's name
        assert answer(run, orgs.gate.of_team(actor, NOWHERE, None)) is NotFound
        assert answer(run, orgs.gate.of_team(actor, orgs.acme["id"], None)) is NotFound
