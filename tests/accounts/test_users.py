from __future__ import annotations

import re

import pytest
from sqlalchemy import select

from tests.accounts.conftest import Accounts
from wit.accounts.users import check_email, random_id
from wit.db.tables import account_credentials, namespaces
from wit.errors import Conflict, Invalid, NotFound
from wit.runtime import Runtime


def test_a_new_user_has_all_its_rows(accounts: Accounts, run) -> None:
    user = run(accounts.users.create("Ada.L", " Ada@Example.ORG ", "correct horse", "admin", "Ada"))
    assert user["username"] == "ada.l"
    assert user["display_username"] == "Ada.L"
    assert user["email"] == "ada@example.org"
    assert user["role"] == "admin"
    assert user["name"] == "Ada"
    assert user["suspended"] is False
    assert re.fullmatch("[A-Za-z0-9]{32}", user["id"])
    space = run(accounts.db.fetch_one(select(namespaces)))
    assert space == {
        "name_key": "ada.l",
        "name": "Ada.L",
        "owner_type": "user",
        "owner_id": user["id"],
    }
    account = run(accounts.db.fetch_one(select(account_credentials)))
    assert account["provider_id"] == "credential"
    assert account["account_id"] == account["user_id"] == user["id"]
    assert account["password"].startswith("$argon2id$")
    assert run(accounts.users.by_username("ADA.L")) == user
    assert run(accounts.users.get(user["id"])) == user
    assert run(accounts.users.count()) == 1


def test_without_a_password_there_is_no_account_row(accounts: Accounts, run) -> None:
    run(accounts.user("ada"))
    assert run(accounts.db.fetch_all(select(account_credentials))) == []


def test_conflicts_name_what_is_taken_and_leave_nothing(accounts: Accounts, run) -> None:
    run(accounts.users.create("ada", "ada@example.org"))
    with pytest.raises(Conflict, match=r"^the name 'ADA' is taken"):
        run(accounts.users.create("ADA", "other@example.org"))
    with pytest.raises(Conflict, match=r"^the e-mail address 'ada@example.org' is taken"):
        run(accounts.users.create("bob", "Ada@example.org"))
    with pytest.raises(Conflict, match=r"the name 'Ada' and the e-mail address .* are taken"):
        run(accounts.users.create("Ada", "ada@example.org"))
    assert run(accounts.users.count()) == 1
    assert len(run(accounts.db.fetch_all(select(namespaces)))) == 1


def test_the_name_of_an_organization_is_taken_too(accounts: Accounts, run) -> None:
    user = run(accounts.user("ada"))
    run(accounts.organizations.create("Acme", user["id"]))
    with pytest.raises(Conflict, match="the name 'acme' is taken"):
        run(accounts.users.create("acme", "acme@example.org"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"username": "-x"}, "not a valid owner name"),
        ({"username": "repos"}, "reserved"),
        ({"email": "nobody"}, "not an e-mail address"),
        ({"password": "short"}, "8 to 128"),
        ({"role": "king"}, "not a role"),
        ({"name": "two\nlines"}, "one line"),
    ],
)
def test_invalid_values_are_refused(accounts: Accounts, run, changes, message) -> None:
    values = {"username": "ada", "email": "ada@example.org", "password": "long enough", **changes}
    with pytest.raises(Invalid, match=message):
        run(accounts.users.create(**values))
    assert run(accounts.users.count()) == 0


def test_pages_follow_each_other(accounts: Accounts, run) -> None:
    for name in ("dora", "Ada", "carl", "bob"):
        run(accounts.user(name))
    first = run(accounts.users.list(limit=3))
    assert [row["username"] for row in first] == ["ada", "bob", "carl"]
    second = run(accounts.users.list(after="Carl", limit=3))
    assert [row["username"] for row in second] == ["dora"]


def test_role_suspension_and_password_change(accounts: Accounts, run) -> None:
    user = run(accounts.user("ada"))
    run(accounts.users.set_role(user["id"], "superadmin"))
    for attempt in (
        accounts.users.suspend(user["id"], "unpaid bills"),
        accounts.users.set_role(user["id"], "admin"),
    ):
        with pytest.raises(Invalid, match="last superadmin"):
            run(attempt)
    run(accounts.users.set_role(run(accounts.user("bob"))["id"], "superadmin"))
    run(accounts.users.suspend(user["id"], "unpaid bills"))
    row = run(accounts.users.get(user["id"]))
    assert (row["role"], row["suspended"]) == ("superadmin", True)
    assert row["suspended_reason"] == "unpaid bills"
    assert row["suspended_at"] is not None
    run(accounts.users.resume(user["id"]))
    row = run(accounts.users.get(user["id"]))
    assert (row["suspended"], row["suspended_at"], row["suspended_reason"]) == (False, None, None)
    for password in ("first password", "second password"):
        run(accounts.users.set_password(user["id"], password))
        (account,) = run(accounts.db.fetch_all(select(account_credentials)))
        assert run(accounts.passwords.check(account["password"], password)).right


def test_missing_users_are_not_found(accounts: Accounts, run) -> None:
    users = accounts.users
    for attempt in (
        users.get("x"),
        users.by_username("x"),
        users.set_role("x", "user"),
        users.suspend("x", "because"),
        users.resume("x"),
        users.set_password("x", "long enough"),
        users.delete("x"),
    ):
        with pytest.raises(NotFound):
            run(attempt)


def test_a_user_that_owns_nothing_can_be_deleted(accounts: Accounts, run) -> None:
    user = run(accounts.user("ada", "long enough"))
    run(accounts.users.delete(user["id"]))
    assert run(accounts.users.count()) == 0
    assert run(accounts.db.fetch_all(select(namespaces))) == []
    assert run(accounts.db.fetch_all(select(account_credentials))) == []
    run(accounts.user("ada"))


def test_the_last_owner_of_an_organization_stays(accounts: Accounts, run) -> None:
    ada, bob = run(accounts.user("ada")), run(accounts.user("bob"))
    org = run(accounts.organizations.create("acme", ada["id"]))
    with pytest.raises(Conflict, match="last owner of the organization acme"):
        run(accounts.users.delete(ada["id"]))
    run(accounts.organizations.add_member(org["id"], bob["id"], "owner"))
    run(accounts.users.delete(ada["id"]))
    assert [row["username"] for row in run(accounts.organizations.members(org["id"]))] == ["bob"]


@pytest.mark.parametrize("email", ["a@b", "ä@müller.example", "a.b+c@x.org", "A@B.ORG"])
def test_email_addresses(email: str) -> None:
    assert check_email(email) == email.lower()


@pytest.mark.parametrize(
    "email",
    ["", "a", "@b", "a@", "a b@c", "a@b@c", "<a@b>", "a@b\n", "x" * 250 + "@b.org", "a@b/c"],
)
def test_what_is_no_email_address(email: str) -> None:
    if email.strip() != email:
        assert check_email(email) == email.strip()
    else:
        with pytest.raises(Invalid):
            check_email(email)


def test_ids_use_every_character_evenly_enough() -> None:
    runtime = Runtime(None)
    seen = "".join(random_id(runtime) for _ in range(300))
    assert len(seen) == 9600
    assert len(set(seen)) == 62
    assert max(seen.count(c) for c in set(seen)) < 3 * min(seen.count(c) for c in set(seen))
