"""Things that are named like other things, and rights that are given above one's own.

No name leads to anything but what has that name, no id to anything but what has that id; nobody
gives, takes or changes what is above their own level.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.attacks.crowd import Crowd
from tests.operations.world import CLOSED, OPEN, VAULT
from tests.support.wire import basic

pytestmark = pytest.mark.attack(52)


def made(answer: Any) -> Any:
    """What an answer that is no error code says."""
    assert isinstance(answer, dict), answer
    return answer


@pytest.fixture(scope="module")
def guild(crowd: Crowd) -> dict[str, str]:
    """An organization: reader is its only owner, writer an admin, stranger a member."""
    ids = crowd.world.user_ids
    org = made(crowd.as_("reader", "organizations.create", name="guild"))["id"]
    for person, role in (("writer", "admin"), ("stranger", "member")):
        member = {"orgId": org, "userId": ids[person], "role": role}
        made(crowd.as_("reader", "organizations.addMember", **member))
    safe = {"orgId": org, "name": "safe", "isPrivate": True}
    repo = made(crowd.as_("reader", "repos.createForOrg", **safe))["id"]
    return {"org": org, "repo": repo}


# names that are something else's


def test_a_user_called_like_another_users_id(crowd: Crowd) -> None:
    ids, closed = crowd.world.user_ids, crowd.world.repo_ids[CLOSED]
    victim = ids["alice"]
    token = crowd.daemon.user(victim)
    found = crowd.ask("GET", f"/api/v1/users/{victim}")
    assert found.json["login"] == victim and found.json["id"] != victim
    by_id = crowd.ask("GET", f'/trpc/users.getById?input={{"json":{{"id":"{victim}"}}}}')
    assert by_id.json["result"]["data"]["json"]["username"] == "alice"
    # neither has what is the other's
    for target in (f"/{CLOSED}", f"/{victim}/closed"):
        answer = crowd.ask(
            "GET", f"{target}/info/refs?service=git-upload-pack", Authorization=basic(victim, token)
        )
        assert answer.status == 404, target
    assert crowd.ask("GET", f"/api/v1/repos/{victim}/closed", token).status == 404
    given = {"repoId": closed, "userId": ids["stranger"], "permission": "admin"}
    assert crowd.call("collaborators.add", token, **given) in ("NOT_FOUND", "FORBIDDEN")
    # a right given to a name goes to the name, one given to an id to the id
    mine = made(crowd.as_("stranger", "repos.create", name="shared", isPrivate=True))["id"]
    place = "/api/v1/repos/stranger/shared"
    session = crowd.sessions["stranger"]
    assert crowd.ask("PUT", f"{place}/collaborators/{victim}", session, {}).status == 201
    assert crowd.ask("GET", place, token).status == 200
    assert crowd.ask("GET", place, crowd.sessions["alice"]).status == 404
    given = {"repoId": mine, "userId": victim, "permission": "read"}
    made(crowd.as_("stranger", "collaborators.add", **given))
    assert crowd.ask("GET", place, crowd.sessions["alice"]).status == 200


def test_a_repository_called_like_another_ones_id(crowd: Crowd) -> None:
    closed = crowd.world.repo_ids[CLOSED]
    made(crowd.as_("stranger", "repos.create", name=closed, isPrivate=False))
    session = crowd.sessions["stranger"]
    shown = crowd.ask("GET", f"/api/v1/repos/stranger/{closed}", session).json
    assert shown["name"] == closed and shown["id"] != closed
    place = {"repoId": closed}
    for name, values in (
        ("repos.delete", place),
        ("repos.update", {**place, "isPrivate": False}),
        ("repos.star", place),
        ("branchProtection.create", {**place, "pattern": "main"}),
        ("collaborators.add", {**place, "userId": "x", "permission": "admin"}),
    ):
        assert crowd.call(name, session, **values) == "NOT_FOUND", name
    assert crowd.ask("DELETE", f"/api/v1/repos/alice/{closed}", session).status == 404
    assert crowd.ask("GET", f"/api/v1/repos/{CLOSED}", crowd.sessions["alice"]).status == 200


@pytest.mark.parametrize("write", [str.upper, "{{{}}}".format, "urn:uuid:{}".format])
def test_other_ways_to_write_an_id(crowd: Crowd, write: Any) -> None:
    """None of them leads past the gate."""
    repo = write(crowd.world.repo_ids[CLOSED])
    refused = crowd.as_("stranger", "repos.delete", repoId=repo)
    assert refused == ("NOT_FOUND" if repo.isupper() else "BAD_REQUEST")


def test_an_organization_called_like_another_ones_id(crowd: Crowd) -> None:
    acme = crowd.world.org_id
    session = crowd.sessions["stranger"]
    impostor = made(crowd.as_("stranger", "organizations.create", name=acme))
    assert impostor["id"] != acme
    changed = crowd.ask("PATCH", f"/api/v1/orgs/{acme}", session, {"description": "mine"})
    assert (changed.status, changed.json["id"]) == (200, impostor["id"])
    place = {"orgId": acme}
    user = {"userId": crowd.world.user_ids["stranger"], "role": "member"}
    for name, values in (
        ("organizations.update", {**place, "description": "mine"}),
        ("organizations.delete", place),
        ("organizations.addMember", {**place, **user}),
        ("organizations.createTeam", {**place, "name": "x"}),
        ("repos.createForOrg", {**place, "name": "x"}),
    ):
        assert crowd.call(name, session, **values) == "FORBIDDEN", name
    assert crowd.ask("PATCH", "/api/v1/orgs/acme", session, {"description": "mine"}).status == 403
    to = {"owner": "stranger", "repo": "gift", "newOwner": acme, "newOwnerType": "organization"}
    made(crowd.as_("stranger", "repos.create", name="gift"))
    made(crowd.as_("stranger", "repos.transfer", **to))
    gift = crowd.ask("GET", f"/api/v1/repos/{acme}/gift", session)
    assert gift.json["owner"]["id"] == impostor["id"]


def test_a_team_called_like_another_one(crowd: Crowd) -> None:
    """``keepers`` of acme administers the vault; the name of a team is nothing but a name."""
    world, session = crowd.world, crowd.sessions["stranger"]
    own = made(crowd.as_("stranger", "organizations.create", name="fakers"))["id"]
    for name in ("keepers", world.team_id, "acme"):
        team = made(crowd.as_("stranger", "organizations.createTeam", orgId=own, name=name))["id"]
        me = {"teamId": team, "userId": world.user_ids["stranger"]}
        made(crowd.as_("stranger", "organizations.addTeamMember", **me))
        for target, refusal in ((VAULT, "NOT_FOUND"), (CLOSED, "NOT_FOUND"), (OPEN, "FORBIDDEN")):
            grant = {"teamId": team, "repoId": world.repo_ids[target], "permission": "admin"}
            assert crowd.call("organizations.addTeamRepository", session, **grant) == refusal
    for name, values in (
        ("organizations.addTeamMember", {"userId": world.user_ids["stranger"]}),
        ("organizations.updateTeam", {"name": "mine"}),
        ("organizations.deleteTeam", {}),
    ):
        assert crowd.call(name, session, teamId=world.team_id, **values) == "FORBIDDEN", name
    assert crowd.ask("GET", f"/api/v1/repos/{VAULT}", session).status == 404


def test_a_rule_of_another_repository(crowd: Crowd) -> None:
    """The id of a rule counts only with the repository that it belongs to."""
    closed = {"repoId": crowd.world.repo_ids[CLOSED]}
    rule = made(crowd.as_("alice", "branchProtection.create", **closed, pattern="release/*"))["id"]
    mine = made(crowd.as_("stranger", "repos.create", name="rules"))["id"]
    for name, values in (("update", {"allowForcePush": True}), ("delete", {})):
        full = f"branchProtection.{name}"
        assert crowd.as_("stranger", full, repoId=mine, id=rule, **values) == "NOT_FOUND"
        assert crowd.as_("stranger", full, **closed, id=rule, **values) == "NOT_FOUND"


def test_names_are_taken_in_every_spelling(crowd: Crowd) -> None:
    for name in ("Alice", "ALICE", "Acme"):
        assert crowd.as_("stranger", "organizations.create", name=name) == "CONFLICT"
    new = crowd.daemon.wit("user", "create", "ACME", "--email", "a@b.example", check=False)
    assert new.returncode != 0 and "taken" in new.stderr, new.stderr
    for name in ("Closed", "CLOSED"):
        assert crowd.as_("alice", "repos.create", name=name) == "CONFLICT"
    for name in ("api", "oauth", "trpc", "Repos", "-x", "a/b", "..", "x.git"):
        assert crowd.as_("stranger", "organizations.create", name=name) == "BAD_REQUEST", name


# rights above one's own


def test_an_organizations_admin_is_not_above_its_owners(
    crowd: Crowd, guild: dict[str, str]
) -> None:
    ids, org = crowd.world.user_ids, {"orgId": guild["org"]}
    session = crowd.sessions["writer"]
    for name, values in (
        ("addMember", {"userId": ids["admin"], "role": "owner"}),
        ("updateMemberRole", {"userId": ids["writer"], "role": "owner"}),
        ("updateMemberRole", {"userId": ids["reader"], "role": "member"}),
        ("removeMember", {"userId": ids["reader"]}),
        ("delete", {}),
    ):
        refused = crowd.call(f"organizations.{name}", session, **org, **values)
        assert refused == "FORBIDDEN", (name, values)
    owner = "/api/v1/orgs/guild/memberships/reader"
    assert crowd.ask("PUT", owner, session, {"role": "member"}).status == 403
    assert crowd.ask("PUT", owner, session, {"role": "owner"}).status == 422
    assert crowd.ask("DELETE", owner, session).status == 403
    member = "/api/v1/orgs/guild/memberships/stranger"
    assert crowd.ask("PUT", member, crowd.sessions["stranger"], {"role": "admin"}).status == 403
    # nor by way of a team: an admin writes to the organization's repositories, and no more
    team = {"teamId": made(crowd.as_("writer", "organizations.createTeam", **org, name="t"))["id"]}
    grant = {**team, "repoId": guild["repo"]}
    add = "organizations.addTeamRepository"
    assert crowd.call(add, session, **grant, permission="admin") == "FORBIDDEN"
    made(crowd.call(add, session, **grant, permission="write"))
    made(crowd.as_("reader", add, **grant, permission="admin"))
    me = {**team, "userId": ids["writer"]}
    assert crowd.call("organizations.addTeamMember", session, **me) == "FORBIDDEN"
    given = {"repoId": guild["repo"], "userId": ids["writer"], "permission": "admin"}
    assert crowd.call("collaborators.add", session, **given) == "FORBIDDEN"
    assert crowd.call("repos.delete", session, repoId=guild["repo"]) == "FORBIDDEN"


def test_the_last_owner_stays_one(crowd: Crowd, guild: dict[str, str]) -> None:
    ids, org = crowd.world.user_ids, {"orgId": guild["org"]}
    me = {**org, "userId": ids["reader"]}
    assert (
        crowd.as_("reader", "organizations.updateMemberRole", **me, role="admin") == "BAD_REQUEST"
    )
    assert crowd.as_("reader", "organizations.removeMember", **me) == "BAD_REQUEST"
    owner = "/api/v1/orgs/guild/memberships/reader"
    for method, body in (("PUT", {"role": "member"}), ("DELETE", None)):
        assert crowd.ask(method, owner, crowd.sessions["reader"], body).status == 400
    refused = crowd.daemon.wit("user", "delete", "reader", "--yes", check=False)
    assert refused.returncode != 0 and "last owner" in refused.stderr
    members = crowd.ask("GET", "/api/v1/orgs/guild/members", crowd.sessions["reader"]).json
    roles = {one["login"]: one["role"] for one in members}
    assert roles == {"reader": "owner", "writer": "admin", "stranger": "member"}


def test_a_repositorys_admin_is_not_its_owner(crowd: Crowd) -> None:
    """``admin`` is a collaborator of alice's with that permission, ``writer`` one below it."""
    ids, closed = crowd.world.user_ids, crowd.world.repo_ids[CLOSED]
    session, place = crowd.sessions["admin"], {"repoId": closed}
    alice = {**place, "userId": ids["alice"]}
    for name, values, refusal in (
        ("collaborators.add", {**place, "userId": ids["member"], "permission": "owner"}, "BAD_REQUEST"),
        ("collaborators.add", {**alice, "permission": "read"}, "BAD_REQUEST"),
        ("collaborators.updatePermission", {**alice, "permission": "read"}, "NOT_FOUND"),
        ("collaborators.remove", alice, "NOT_FOUND"),
        ("repos.delete", place, "FORBIDDEN"),
    ):  # fmt: skip
        assert crowd.call(name, session, **values) == refusal, name
    to = {"newOwner": "admin", "newOwnerType": "user"}
    assert crowd.ask("POST", f"/api/repos/{CLOSED}/transfer", session, to).status == 403
    assert crowd.ask("DELETE", f"/api/v1/repos/{CLOSED}", session).status == 403
    me = {**place, "userId": ids["writer"], "permission": "admin"}
    for name in ("collaborators.updatePermission", "collaborators.add"):
        assert crowd.as_("writer", name, **me) == "FORBIDDEN"
    mine = f"/api/v1/repos/{CLOSED}/collaborators/writer"
    raised = crowd.ask("PUT", mine, crowd.sessions["writer"], {"permission": "admin"})
    assert raised.status == 403


def test_administrators_are_not_above_superadmins(crowd: Crowd) -> None:
    ids, session = crowd.world.user_ids, crowd.sessions["siteadmin"]
    superior, own = {"userId": ids["superadmin"]}, {"userId": ids["siteadmin"]}
    for name, values, refusal in (
        ("admin.suspendUser", {**superior, "reason": "x"}, "FORBIDDEN"),
        ("admin.updateUserRole", {**superior, "role": "user"}, "FORBIDDEN"),
        ("admin.updateUserRole", {**own, "role": "superadmin"}, "FORBIDDEN"),
        ("admin.suspendUser", {**own, "reason": "x"}, "BAD_REQUEST"),
    ):
        assert crowd.call(name, session, **values) == refusal, name
    token = crowd.lacking["superadmin", "repo:admin"]
    assert crowd.call("admin.updateUserRole", token, **own, role="superadmin") == "FORBIDDEN"


def test_the_last_superadmin_stays_one(crowd: Crowd) -> None:
    me = {"userId": crowd.world.user_ids["superadmin"]}
    lowered = crowd.as_("superadmin", "admin.updateUserRole", **me, role="admin")
    assert lowered == "BAD_REQUEST"
    assert crowd.as_("superadmin", "admin.suspendUser", **me, reason="x") == "BAD_REQUEST"
    for arguments in (
        ("suspend", "superadmin"),
        ("role", "superadmin", "admin"),
        ("delete", "superadmin", "--yes"),
    ):
        refused = crowd.daemon.wit("user", *arguments, check=False)
        assert refused.returncode != 0 and "last superadmin" in refused.stderr, refused
    assert crowd.ask("GET", "/trpc/admin.getStats", crowd.sessions["superadmin"]).status == 200
