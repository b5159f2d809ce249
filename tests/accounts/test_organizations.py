from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, DeferredList

from tests.accounts.conftest import Accounts
from wit.errors import Conflict, Invalid, NotFound


def members(accounts: Accounts, run, org) -> dict[str, str]:
    rows = run(accounts.organizations.members(org["id"]))
    return {row["username"]: row["role"] for row in rows}


def test_create_and_get(accounts: Accounts, run) -> None:
    ada = run(accounts.user("ada"))
    org = run(accounts.organizations.create("Acme", ada["id"], "Acme Inc."))
    assert (org["name"], org["display_name"]) == ("Acme", "Acme Inc.")
    assert run(accounts.organizations.get("aCME")) == org
    assert members(accounts, run, org) == {"ada": "owner"}
    with pytest.raises(Conflict, match="taken"):
        run(accounts.organizations.create("acme", ada["id"]))
    with pytest.raises(Conflict, match="taken"):
        run(accounts.organizations.create("Ada", ada["id"]))
    with pytest.raises(Invalid, match="reserved"):
        run(accounts.organizations.create("login", ada["id"]))
    with pytest.raises(NotFound):
        run(accounts.organizations.create("other", "nobody"))
    with pytest.raises(NotFound):
        run(accounts.organizations.get("other"))
    with pytest.raises(NotFound):
        run(accounts.organizations.get("ada"))


def test_members_and_the_last_owner(accounts: Accounts, run) -> None:
    ada, bob = run(accounts.user("ada")), run(accounts.user("bob"))
    organizations = accounts.organizations
    org = run(organizations.create("acme", ada["id"]))
    run(organizations.add_member(org["id"], bob["id"]))
    assert members(accounts, run, org) == {"ada": "owner", "bob": "member"}
    with pytest.raises(Conflict, match="already"):
        run(organizations.add_member(org["id"], bob["id"], "admin"))
    with pytest.raises(NotFound):
        run(organizations.add_member(org["id"], "nobody"))
    with pytest.raises(Invalid):
        run(organizations.set_role(org["id"], bob["id"], "king"))
    with pytest.raises(Conflict, match="last owner"):
        run(organizations.set_role(org["id"], ada["id"], "admin"))
    with pytest.raises(Conflict, match="last owner"):
        run(organizations.remove_member(org["id"], ada["id"]))
    run(organizations.set_role(org["id"], ada["id"], "owner"))
    run(organizations.set_role(org["id"], bob["id"], "owner"))
    run(organizations.remove_member(org["id"], ada["id"]))
    assert members(accounts, run, org) == {"bob": "owner"}
    with pytest.raises(NotFound):
        run(organizations.remove_member(org["id"], ada["id"]))
    with pytest.raises(NotFound):
        run(organizations.set_role(org["id"], ada["id"], "owner"))


def test_two_owners_cannot_leave_at_once(accounts: Accounts, run) -> None:
    ada, bob = run(accounts.user("ada")), run(accounts.user("bob"))
    org = run(accounts.organizations.create("acme", ada["id"]))
    run(accounts.organizations.add_member(org["id"], bob["id"], "owner"))

    async def both():
        leave = accounts.organizations.remove_member
        return await DeferredList(
            [Deferred.fromCoroutine(leave(org["id"], user["id"])) for user in (ada, bob)],
            consumeErrors=True,
        )

    results = run(both())
    assert sorted(success for success, _ in results) == [False, True]
    assert list(members(accounts, run, org).values()) == ["owner"]


def test_teams(accounts: Accounts, run) -> None:
    ada, bob, eve = (run(accounts.user(name)) for name in ("ada", "bob", "eve"))
    organizations = accounts.organizations
    org = run(organizations.create("acme", ada["id"]))
    other = run(organizations.create("other", ada["id"]))
    run(organizations.add_member(org["id"], bob["id"]))
    team = run(organizations.create_team(org["id"], "core", "the core"))
    assert run(organizations.teams(org["id"])) == [team]
    with pytest.raises(Conflict):
        run(organizations.create_team(org["id"], "core"))
    with pytest.raises(Invalid):
        run(organizations.create_team(org["id"], "two\nlines"))
    with pytest.raises(NotFound):
        run(organizations.create_team("none", "core"))
    run(organizations.add_to_team(org["id"], team["id"], bob["id"]))
    with pytest.raises(Conflict, match="already"):
        run(organizations.add_to_team(org["id"], team["id"], bob["id"]))
    with pytest.raises(Conflict, match="only members"):
        run(organizations.add_to_team(org["id"], team["id"], eve["id"]))
    for wrong in (
        organizations.team(other["id"], team["id"]),
        organizations.delete_team(other["id"], team["id"]),
        organizations.team_members(other["id"], team["id"]),
        organizations.add_to_team(other["id"], team["id"], ada["id"]),
        organizations.remove_from_team(other["id"], team["id"], bob["id"]),
        organizations.remove_from_team(org["id"], team["id"], eve["id"]),
    ):
        with pytest.raises(NotFound):
            run(wrong)
    names = [row["username"] for row in run(organizations.team_members(org["id"], team["id"]))]
    assert names == ["bob"]
    run(organizations.remove_member(org["id"], bob["id"]))
    assert run(organizations.team_members(org["id"], team["id"])) == []
    run(organizations.add_to_team(org["id"], team["id"], ada["id"]))
    run(organizations.remove_from_team(org["id"], team["id"], ada["id"]))
    assert run(organizations.team_members(org["id"], team["id"])) == []
    run(organizations.delete_team(org["id"], team["id"]))
    assert run(organizations.teams(org["id"])) == []
