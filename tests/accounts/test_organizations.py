from __future__ import annotations

import pytest
from sqlalchemy import delete, insert
from twisted.internet.defer import Deferred, DeferredList

from tests.accounts.conftest import Accounts
from wit.access.actor import OrgRole
from wit.db.tables import repositories
from wit.errors import Conflict, Forbidden, Invalid, NotFound


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
    with pytest.raises(Invalid, match="last owner"):
        run(organizations.set_role(org["id"], ada["id"], "admin"))
    with pytest.raises(Invalid, match="last owner"):
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


@pytest.mark.attack(52)
def test_nobody_gives_or_takes_more_than_they_have(accounts: Accounts, run) -> None:
    ada, bob, eve = (run(accounts.user(name)) for name in ("ada", "bob", "eve"))
    organizations = accounts.organizations
    org = run(organizations.create("acme", ada["id"]))
    with pytest.raises(Forbidden, match="only an owner"):
        run(organizations.add_member(org["id"], bob["id"], "owner", by=OrgRole.ADMIN))
    row = run(organizations.add_member(org["id"], bob["id"], "admin", by=OrgRole.ADMIN))
    assert (row["org_id"], row["user_id"], row["role"]) == (org["id"], bob["id"], "admin")
    assert run(organizations.member(org["id"], bob["id"])) == row
    run(organizations.add_member(org["id"], eve["id"], "owner"))
    with pytest.raises(Forbidden, match="only an owner"):
        run(organizations.remove_member(org["id"], eve["id"], by=OrgRole.ADMIN))
    run(organizations.remove_member(org["id"], bob["id"], by=OrgRole.ADMIN))
    assert run(organizations.member(org["id"], bob["id"])) is None
    assert members(accounts, run, org) == {"ada": "owner", "eve": "owner"}


def test_what_it_says_about_itself(accounts: Accounts, run) -> None:
    ada = run(accounts.user("ada"))
    organizations = accounts.organizations
    about = {"description": " Makes things. ", "website": "https://acme.example", "location": ""}
    org = run(organizations.create("acme", ada["id"], "Acme Inc.", about))
    assert org["description"] == "Makes things."
    assert (org["website"], org["location"]) == ("https://acme.example", None)
    changed = run(organizations.update(org["id"], {"display_name": "Acme Ltd.", "website": None}))
    assert (changed["display_name"], changed["website"]) == ("Acme Ltd.", None)
    assert changed["description"] == "Makes things."
    assert changed["updated_at"] > org["updated_at"]
    for wrong in (
        {"display_name": ""},
        {"display_name": "two\nlines"},
        {"description": "x" * 501},
        {"description": "\0"},
        {"website": "javascript:alert(1)"},
        {"avatar_url": "https://"},
        {"avatar_url": "https://x y"},
    ):
        with pytest.raises(Invalid):
            run(organizations.update(org["id"], wrong))
    assert run(organizations.by_id(org["id"])) == changed
    with pytest.raises(NotFound):
        run(organizations.update("gone", {"location": "x"}))


def test_search_takes_text_literally(accounts: Accounts, run) -> None:
    ada = run(accounts.user("ada"))
    for name, shown in [("acme", "100% Acme"), ("beta_two", "Beta"), ("betaxtwo", "Other")]:
        run(accounts.organizations.create(name, ada["id"], shown))

    def found(text: str, limit: int = 20) -> list[str]:
        return [row["name"] for row in run(accounts.organizations.search(text, limit))]

    assert found("BETA") == ["beta_two", "betaxtwo"]
    assert found("beta", 1) == ["beta_two"]
    assert found("a_t") == ["beta_two"]
    assert found("0%") == ["acme"]
    assert found("%") == ["acme"]
    assert found("\\") == []
    assert found("nothing") == []


def test_organizations_of_a_user(accounts: Accounts, run) -> None:
    ada, bob = run(accounts.user("ada")), run(accounts.user("bob"))
    organizations = accounts.organizations
    acme = run(organizations.create("Acme", ada["id"]))
    run(organizations.create("beta", bob["id"]))
    run(organizations.add_member(acme["id"], bob["id"]))
    rows = run(organizations.of_user(bob["id"]))
    assert [(row["name"], row["role"]) for row in rows] == [("Acme", "member"), ("beta", "owner")]
    assert [row["name"] for row in run(organizations.of_user(bob["id"], 1, 1))] == ["beta"]
    assert [row["name"] for row in run(organizations.of_user(ada["id"]))] == ["Acme"]


def test_delete(accounts: Accounts, run) -> None:
    ada = run(accounts.user("ada"))
    organizations = accounts.organizations
    org = run(organizations.create("acme", ada["id"]))
    now = accounts.runtime.now()
    run(
        accounts.db.execute(
            insert(repositories),
            id="r1",
            owner_id=org["id"],
            owner_type="organization",
            name="tools",
            name_key="tools",
            disk_path="acme/tools.git",
            created_at=now,
            updated_at=now,
        )
    )
    with pytest.raises(Conflict, match="still owns repositories"):
        run(organizations.delete(org["id"]))
    assert run(organizations.get("acme")) == org
    run(accounts.db.execute(delete(repositories)))
    run(organizations.delete(org["id"]))
    with pytest.raises(NotFound):
        run(organizations.get("acme"))
    with pytest.raises(NotFound):
        run(organizations.delete(org["id"]))
    assert run(organizations.of_user(ada["id"])) == []
    run(organizations.create("ACME", ada["id"]))
