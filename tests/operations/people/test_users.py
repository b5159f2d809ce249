from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import insert, update

from tests.operations.people.conftest import Api, with_app, with_token
from wit.db.tables import stars, users, watches
from wit.errors import Forbidden, Invalid, NotFound, Unauthorized
from wit.operations.api import BadInput


def names(rows) -> list[str]:
    return [row["name"] for row in rows]


def test_profiles(api: Api) -> None:
    ada = api.user("Ada", shown="Ada Lovelace")
    for found in (
        api("users.get", username="ADA"),
        api("users.getById", id=ada.user_id),
    ):
        assert (found["id"], found["username"], found["name"]) == (
            ada.user_id,
            "ada",
            "Ada Lovelace",
        )
        assert found.keys() == {
            "id", "username", "name", "avatarUrl", "bio", "location", "website", "createdAt",
        }  # fmt: skip
    for name, values in [("get", {"username": "nobody"}), ("getById", {"id": "nobody"})]:
        with pytest.raises(NotFound):
            api(f"users.{name}", **values)


@pytest.mark.attack(53)
def test_me(api: Api) -> None:
    ada = api.user("ada")
    assert api("users.me", ada)["email"] == "ada@example.org"
    assert api("users.me", with_token(ada, "user:read"))["email"] == "ada@example.org"
    assert api("users.me", with_app(ada, "user:read", "user:email"))["email"] == "ada@example.org"
    assert api("users.me", with_app(ada, "user:read"))["email"] == ""
    with pytest.raises(Forbidden):
        api("users.me", with_token(ada, "repo:admin"))
    with pytest.raises(Unauthorized):
        api("users.me")


def test_nobody_sees_addresses_of_others(api: Api) -> None:
    ada, eve = api.user("ada"), api.user("eve")
    repo_id = api.repository("ada/tools")
    for table in (stars, watches):
        now = api.core.runtime.now()
        api.run(api.core.db.execute(
            insert(table), repo_id=repo_id, user_id=ada.user_id, created_at=now
        ))  # fmt: skip
    org = api("organizations.create", ada, name="acme")
    team = api("organizations.createTeam", ada, orgId=org["id"], name="core")
    api("organizations.addTeamMember", ada, teamId=team["id"], userId=ada.user_id)
    questions: list[tuple[str, dict[str, Any]]] = [
        ("users.get", {"username": "ada"}),
        ("users.getById", {"id": ada.user_id}),
        ("users.search", {"query": "ada"}),
        ("users.repos", {"username": "ada"}),
        ("users.stars", {"username": "ada"}),
        ("users.watched", {"username": "ada"}),
        ("users.orgs", {"username": "ada"}),
        ("organizations.listMembers", {"orgId": org["id"]}),
        ("organizations.listTeamMembers", {"teamId": team["id"]}),
    ]
    for name, values in questions:
        answer = api(name, eve, **values)
        assert answer, name
        assert "@" not in json.dumps(answer, default=str), name


def test_search(api: Api) -> None:
    api.user("ada", shown="Ada Lovelace")
    api.user("grace", shown="Grace Hopper")
    api.user("a_b", shown="Under Score")

    def found(query: str, **values: int) -> list[str]:
        return [row["username"] for row in api("users.search", query=query, **values)]

    assert found("LOVE") == ["ada"]
    assert found("a", limit=2) == ["a_b", "ada"]
    assert found("_") == ["a_b"]
    assert found("example.org") == []
    for wrong in ({"query": ""}, {"query": "x" * 300}, {"query": "a", "limit": 101}):
        with pytest.raises(BadInput):
            api("users.search", **wrong)


@pytest.mark.attack(28)
def test_repositories_are_those_that_the_caller_may_read(api: Api) -> None:
    ada, bob, eve = api.user("ada"), api.user("bob"), api.user("eve")
    api.repository("ada/open")
    secret = api.repository("ada/secret", private=True)
    api.run(api.core.rights.set_collaborator(secret, "bob", "read"))

    def seen(actor=None) -> list[str]:
        arguments = () if actor is None else (actor,)
        return names(api("users.repos", *arguments, username="ada"))

    assert seen(ada) == ["secret", "open"]
    assert seen(bob) == ["secret", "open"]
    assert seen(with_token(ada, "repo:read")) == ["secret", "open"]
    assert seen() == seen(eve) == seen(with_token(ada, "user:read")) == ["open"]
    assert names(api("users.repos", ada, username="ada", limit=1, offset=1)) == ["open"]
    with pytest.raises(NotFound):
        api("users.repos", username="nobody")


@pytest.mark.attack(28)
def test_stars_and_watches_are_those_that_the_caller_may_read(api: Api) -> None:
    ada, eve = api.user("ada"), api.user("eve")
    for name, private in [("one", False), ("two", True), ("three", False)]:
        repo_id = api.repository(f"ada/{name}", private=private)
        api.run(api.core.stars.add(repo_id, str(ada.user_id)))
        api.run(api.core.watches.add(repo_id, str(ada.user_id)))
    for procedure in ("users.stars", "users.watched"):
        assert names(api(procedure, ada, username="ada")) == ["three", "two", "one"]
        assert names(api(procedure, eve, username="ada")) == ["three", "one"]
        assert names(api(procedure, username="ada", limit=1, offset=1)) == ["one"]
    assert api("users.watched", eve, username="ada")[0]["ownerName"] == "ada"


def test_organizations_of_somebody(api: Api) -> None:
    ada = api.user("ada")
    for name in ("zeta", "Acme"):
        api("organizations.create", ada, name=name)
    assert names(api("users.orgs", username="ada")) == ["Acme", "zeta"]
    assert names(api("users.orgs", username="ada", limit=1, offset=1)) == ["zeta"]


def test_changing_ones_profile(api: Api) -> None:
    ada = api.user("ada", shown="Ada")
    changed = api(
        "users.update", ada,
        name="Ada L.", bio="Countess", location="London", website="https://ada.example",
        avatarUrl="https://ada.example/a.png",
    )  # fmt: skip
    assert (changed["name"], changed["bio"], changed["location"]) == (
        "Ada L.", "Countess", "London",
    )  # fmt: skip
    assert changed["email"] == "ada@example.org"
    changed = api("users.update", ada, website="", avatarUrl="", bio=None)
    assert (changed["website"], changed["avatarUrl"], changed["bio"]) == (None, None, None)
    assert (changed["name"], changed["location"]) == ("Ada L.", "London")
    assert api("users.update", ada)["name"] == "Ada L."
    for wrong in (
        {"website": "javascript:alert(1)"},
        {"avatarUrl": "data:image/svg+xml,x"},
        {"name": "two\nlines"},
        {"name": " "},
    ):
        with pytest.raises(Invalid):
            api("users.update", ada, **wrong)
    with pytest.raises(BadInput):
        api("users.update", ada, bio="x" * 501)
    with pytest.raises(Forbidden):
        api("users.update", with_token(ada, "user:read"), name="Mallory")
    row = api.run(api.core.users.get(str(ada.user_id)))
    assert (row["role"], row["username"]) == ("user", "ada")


@pytest.mark.attack(52)
def test_a_profile_has_no_other_fields(api: Api) -> None:
    ada = api.user("ada")
    api("users.update", ada, role="superadmin", suspended=True, id="x", email="x@y", name="New")
    row = api.run(api.core.users.get(str(ada.user_id)))
    assert (row["role"], row["suspended"], row["email"]) == ("user", False, "ada@example.org")
    assert row["name"] == "New"


def test_which_names_are_free(api: Api) -> None:
    ada = api.user("Ada")
    api("organizations.create", ada, name="Acme")
    for name, free in [
        ("bob", True), ("ada", False), ("ADA", False), ("acme", False), ("login", False),
        ("../x", False), ("x" * 40, False),
    ]:  # fmt: skip
        assert api("users.checkUsername", username=name) == {"available": free}, name


def test_suspended_people_are_not_found_by_search(api: Api) -> None:
    ada = api.user("ada")
    api.run(api.core.db.execute(
        update(users).where(users.c.id == ada.user_id).values(suspended=True)
    ))  # fmt: skip
    assert api("users.search", query="ada") == []
    assert api("users.get", username="ada")["id"] == ada.user_id
