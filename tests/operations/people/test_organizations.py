from __future__ import annotations

from typing import Any

import attrs
import pytest

from tests.operations.people.conftest import NOWHERE, Api, with_token
from wit.access.actor import ANONYMOUS, Actor
from wit.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from wit.operations.api import BadInput


@attrs.frozen
class Acme:
    """ada owns it, bob is admin, cyd a member; eve has nothing to do with it."""

    api: Api
    ada: Actor
    bob: Actor
    cyd: Actor
    eve: Actor
    id: str

    def __call__(self, name: str, actor: Actor = ANONYMOUS, /, **values: Any) -> Any:
        return self.api(f"organizations.{name}", actor, **values)

    def level(self, actor: Actor, repo_id: str) -> str:
        found = self.api.run(self.api.core.gate.level(actor, {"id": repo_id}))
        return str(found.name.lower())


@pytest.fixture
def acme(api: Api) -> Acme:
    ada, bob, cyd, eve = (api.user(name) for name in ("ada", "bob", "cyd", "eve"))
    org_id = api("organizations.create", ada, name="Acme")["id"]
    for person, role in [(bob, "admin"), (cyd, "member")]:
        api("organizations.addMember", ada, orgId=org_id, userId=person.user_id, role=role)
    return Acme(api, ada, bob, cyd, eve, org_id)


def test_making_and_finding(api: Api) -> None:
    ada = api.user("ada")
    made = api(
        "organizations.create", ada,
        name="Acme", displayName="Acme Inc.", description="Things", location="Here",
        website="https://acme.example", avatarUrl="https://acme.example/logo.png",
    )  # fmt: skip
    assert (made["name"], made["displayName"], made["location"]) == ("Acme", "Acme Inc.", "Here")
    assert api("organizations.get", name="aCME") == made
    assert api("organizations.getById", id=made["id"]) == made
    assert api("organizations.search", query="CM") == [made]
    assert api("organizations.search", query="%") == []
    assert api("organizations.create", ada, name="beta")["displayName"] == "beta"
    (first, _) = api("organizations.listForUser", ada)
    assert (first["orgId"], first["role"], first["org"]) == (made["id"], "owner", made)
    for name, values in [("get", {"name": "nobody"}), ("getById", {"id": NOWHERE})]:
        with pytest.raises(NotFound):
            api(f"organizations.{name}", **values)
    with pytest.raises(Unauthorized):
        api("organizations.create", name="other")


def test_names(api: Api) -> None:
    ada = api.user("ada")
    api("organizations.create", ada, name="Acme")
    for name, free in [("acme", False), ("ada", False), ("login", False), ("beta", True)]:
        assert api("organizations.checkName", name=name) == {"available": free}
        if not free:
            with pytest.raises((Conflict, Invalid)):
                api("organizations.create", ada, name=name)
    for wrong in ("a", "-a", "a-", "a_b", "a.b", "x" * 40, "a/b"):
        for procedure in ("create", "checkName"):
            with pytest.raises(BadInput):
                api(f"organizations.{procedure}", ada, name=wrong)
    with pytest.raises(Invalid, match="https"):
        api("organizations.create", ada, name="gamma", website="javascript:alert(1)")


def test_changing(acme: Acme) -> None:
    changed = acme(
        "update", acme.bob, orgId=acme.id, displayName="ACME", website="https://a.example"
    )
    assert (changed["displayName"], changed["website"]) == ("ACME", "https://a.example")
    changed = acme("update", acme.ada, orgId=acme.id, website=None)
    assert (changed["displayName"], changed["website"]) == ("ACME", None)
    for actor in (acme.cyd, acme.eve):
        with pytest.raises(Forbidden):
            acme("update", actor, orgId=acme.id, displayName="Mine")
    with pytest.raises(NotFound):
        acme("update", acme.ada, orgId=NOWHERE, displayName="x")


def test_deleting(acme: Acme) -> None:
    with pytest.raises(Forbidden):
        acme("delete", acme.bob, orgId=acme.id)
    acme.api.repository("acme/tools", private=True)
    with pytest.raises(Conflict, match="repositories"):
        acme("delete", acme.ada, orgId=acme.id)
    beta = acme("create", acme.ada, name="beta")
    assert acme("delete", acme.ada, orgId=beta["id"]) == {"success": True}
    with pytest.raises(NotFound):
        acme("get", name="beta")
    assert acme("checkName", name="beta") == {"available": True}


def test_members(acme: Acme) -> None:
    listed = acme("listMembers", orgId=acme.id)
    assert [(row["user"]["username"], row["role"]) for row in listed] == [
        ("ada", "owner"), ("bob", "admin"), ("cyd", "member"),
    ]  # fmt: skip
    (second,) = acme("listMembers", orgId=acme.id, limit=1, offset=1)
    assert second["userId"] == acme.bob.user_id
    assert acme("checkMembership", orgId=acme.id, userId=acme.cyd.user_id) == {
        "isMember": True,
        "role": "member",
    }
    assert acme("checkMembership", orgId=acme.id, userId=acme.eve.user_id) == {
        "isMember": False,
        "role": None,
    }
    row = acme("addMember", acme.bob, orgId=acme.id, userId=acme.eve.user_id)
    assert (row["orgId"], row["userId"], row["role"]) == (acme.id, acme.eve.user_id, "member")
    with pytest.raises(Conflict):
        acme("addMember", acme.bob, orgId=acme.id, userId=acme.eve.user_id)
    with pytest.raises(NotFound):
        acme("addMember", acme.bob, orgId=acme.id, userId="nobody")
    row = acme("updateMemberRole", acme.ada, orgId=acme.id, userId=acme.eve.user_id, role="admin")
    assert row["role"] == "admin"
    assert acme("removeMember", acme.eve, orgId=acme.id, userId=acme.eve.user_id) == {
        "success": True
    }
    with pytest.raises(NotFound):
        acme("removeMember", acme.bob, orgId=acme.id, userId=acme.eve.user_id)


@pytest.mark.attack(52)
def test_powers_of_members(acme: Acme) -> None:
    of = {"orgId": acme.id}
    tried: list[tuple[str, Actor, dict[str, Any]]] = [
        ("addMember", acme.cyd, {"userId": acme.eve.user_id}),
        ("addMember", acme.eve, {"userId": acme.eve.user_id}),
        ("addMember", acme.bob, {"userId": acme.eve.user_id, "role": "owner"}),
        ("updateMemberRole", acme.bob, {"userId": acme.bob.user_id, "role": "owner"}),
        ("updateMemberRole", acme.cyd, {"userId": acme.cyd.user_id, "role": "admin"}),
        ("removeMember", acme.cyd, {"userId": acme.bob.user_id}),
        ("createTeam", acme.cyd, {"name": "x"}),
        ("addMember", with_token(acme.ada, "repo:admin"), {"userId": acme.eve.user_id}),
    ]
    for name, actor, values in tried:
        with pytest.raises(Forbidden):
            acme(name, actor, **of, **values)
    acme("addMember", acme.ada, **of, userId=acme.eve.user_id, role="owner")
    with pytest.raises(Forbidden, match="remove an owner"):
        acme("removeMember", acme.bob, **of, userId=acme.eve.user_id)


def test_the_last_owner_stays(acme: Acme) -> None:
    of = {"orgId": acme.id, "userId": acme.ada.user_id}
    with pytest.raises(Invalid, match="last owner"):
        acme("removeMember", acme.ada, **of)
    with pytest.raises(Invalid, match="last owner"):
        acme("updateMemberRole", acme.ada, **of, role="member")
    acme("updateMemberRole", acme.ada, orgId=acme.id, userId=acme.bob.user_id, role="owner")
    acme("removeMember", acme.ada, **of)
    assert acme("checkMembership", **of)["isMember"] is False


def test_teams(acme: Acme) -> None:
    made = acme("createTeam", acme.bob, orgId=acme.id, name="core", description="the core")
    assert (made["orgId"], made["name"], made["description"]) == (acme.id, "core", "the core")
    assert acme("getTeam", teamId=made["id"]) == made
    assert acme("listTeams", orgId=acme.id) == [made]
    with pytest.raises(Conflict):
        acme("createTeam", acme.bob, orgId=acme.id, name="core")
    changed = acme("updateTeam", acme.bob, teamId=made["id"], description=None)
    assert changed == {**made, "description": None}
    row = acme("addTeamMember", acme.bob, teamId=made["id"], userId=acme.cyd.user_id)
    assert (row["teamId"], row["userId"]) == (made["id"], acme.cyd.user_id)
    with pytest.raises(Conflict):
        acme("addTeamMember", acme.bob, teamId=made["id"], userId=acme.cyd.user_id)
    with pytest.raises(Invalid, match="only members"):
        acme("addTeamMember", acme.bob, teamId=made["id"], userId=acme.eve.user_id)
    (member,) = acme("listTeamMembers", teamId=made["id"])
    assert (member["userId"], member["user"]["username"]) == (acme.cyd.user_id, "cyd")
    for actor, values in [
        (acme.cyd, {"name": "mine"}),
        (acme.eve, {"name": "mine"}),
    ]:
        with pytest.raises(Forbidden):
            acme("updateTeam", actor, teamId=made["id"], **values)
    acme("removeTeamMember", acme.cyd, teamId=made["id"], userId=acme.cyd.user_id)
    assert acme("listTeamMembers", teamId=made["id"]) == []
    with pytest.raises(Forbidden):
        acme("deleteTeam", acme.cyd, teamId=made["id"])
    assert acme("deleteTeam", acme.bob, teamId=made["id"]) == {"success": True}
    with pytest.raises(NotFound):
        acme("getTeam", teamId=made["id"])
    with pytest.raises(NotFound):
        acme("updateTeam", acme.bob, teamId=made["id"], name="x")


def test_what_a_team_may_do(acme: Acme) -> None:
    team = acme("createTeam", acme.ada, orgId=acme.id, name="core")["id"]
    acme("addTeamMember", acme.ada, teamId=team, userId=acme.cyd.user_id)
    tools = acme.api.repository("acme/tools", private=True)
    docs = acme.api.repository("acme/docs")
    assert acme.level(acme.cyd, tools) == "read"
    of = {"teamId": team, "repoId": tools}
    assert acme("addTeamRepository", acme.bob, **of, permission="write") == {"success": True}
    assert acme.level(acme.cyd, tools) == "write"
    acme("addTeamRepository", acme.ada, **of, permission="admin")
    assert acme.level(acme.cyd, tools) == "admin"
    acme("addTeamRepository", acme.bob, teamId=team, repoId=docs)

    def listed(*actor: Actor) -> list[tuple[str, str]]:
        rows = acme("listTeamRepositories", *actor, teamId=team)
        return [(row["repo"]["name"], row["permission"]) for row in rows]

    assert listed(acme.cyd) == [("docs", "read"), ("tools", "admin")]
    assert listed() == listed(acme.eve) == [("docs", "read")]
    with pytest.raises(Forbidden):
        acme("removeTeamRepository", acme.cyd, **of)
    acme("removeTeamRepository", acme.bob, **of)
    assert acme.level(acme.cyd, tools) == "read"
    with pytest.raises(NotFound):
        acme("removeTeamRepository", acme.bob, **of)


@pytest.mark.attack(52)
def test_a_team_is_no_way_up(acme: Acme) -> None:
    """An admin writes to the organization's repositories, and cannot get more through a team."""
    team = acme("createTeam", acme.bob, orgId=acme.id, name="core")["id"]
    tools = acme.api.repository("acme/tools", private=True)
    with pytest.raises(Forbidden, match="write access"):
        acme("addTeamRepository", acme.bob, teamId=team, repoId=tools, permission="admin")
    acme("addTeamRepository", acme.ada, teamId=team, repoId=tools, permission="admin")
    with pytest.raises(Forbidden, match="only an owner"):
        acme("addTeamMember", acme.bob, teamId=team, userId=acme.bob.user_id)
    assert acme.level(acme.bob, tools) == "write"
    own = acme.api.repository("bob/own", private=True)
    with pytest.raises(Invalid, match="its own organization"):
        acme("addTeamRepository", acme.bob, teamId=team, repoId=own, permission="read")
    hidden = acme.api.repository("eve/hidden", private=True)
    for repo_id in (hidden, NOWHERE):
        with pytest.raises(NotFound, match=r"^repository not found$"):
            acme("addTeamRepository", acme.bob, teamId=team, repoId=repo_id)
    with pytest.raises(Forbidden, match="repo:admin"):
        token = with_token(acme.ada, "repo:read", "user:write")
        acme("addTeamRepository", token, teamId=team, repoId=tools)
