"""The procedures packages.*: what they show and what they change."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.operations.routers.repos.conftest import People, people  # noqa: F401
from tests.packages.publishing_support import document, manifest, source
from wit.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from wit.operations.api import BadInput
from wit.packages.names import parse_name


def publish(people: People, who: str, full_name: str, version: str, repo: str, **more: Any) -> None:  # noqa: F811
    site = people.core.config.public_url
    made = manifest(full_name, version, f"git+{site}/{repo}.git", **more)
    people.run(
        people.core.packages.publishing.publish(
            people.actors[who], parse_name(full_name), source(document(made)), "r"
        )
    )


@pytest.fixture
def ball(people: People) -> dict[str, Any]:  # noqa: F811
    """@alice/ball, with two versions, of alice/toys."""
    people.new("alice/toys")
    publish(people, "alice", "@alice/ball", "1.0.0", "alice/toys", dependencies={"a": "1"})
    publish(people, "alice", "@alice/ball", "1.1.0", "alice/toys")
    found: dict[str, Any] = people.call("packages.getByFullName", None, fullName="@alice/ball")
    return found


def test_a_package_by_all_its_names(people: People, ball: dict[str, Any]) -> None:  # noqa: F811
    assert ball["fullName"] == "@alice/ball"
    assert [version["version"] for version in ball["versions"]] == ["1.1.0", "1.0.0"]
    assert [(tag["tag"], tag["version"]) for tag in ball["distTags"]] == [("latest", "1.1.0")]
    assert people.call("packages.getById", None, id=ball["id"]) == ball
    assert people.call("packages.getByName", None, scope="alice", name="ball") == ball
    assert people.call("packages.getByRepoId", None, repoId=ball["repoId"]) == ball
    for scope, name in ((None, "ball"), ("bob", "ball")):
        people.refused(NotFound, "packages.getByName", None, scope=scope, name=name)
    people.refused(Invalid, "packages.getByFullName", None, fullName="../x")
    empty = people.new("alice/empty")
    assert people.call("packages.getByRepoId", None, repoId=empty) is None


def test_versions_tags_and_metadata(people: People, ball: dict[str, Any]) -> None:  # noqa: F811
    one = people.call("packages.getVersion", None, packageId=ball["id"], version="1.0.0")
    assert json.loads(one["dependencies"]) == {"a": "1"}
    assert one["tarballUrl"].endswith("/api/packages/@alice/ball/-/ball-1.0.0.tgz")
    assert one["publishedBy"] == people.id("alice")
    people.refused(NotFound, "packages.getVersion", None, packageId=ball["id"], version="9.0.0")
    every = people.call("packages.listVersions", None, packageId=ball["id"])
    assert [version["version"] for version in every] == ["1.1.0", "1.0.0"]
    page = people.call("packages.listVersions", None, packageId=ball["id"], limit=1, offset=1)
    assert page == every[1:]
    latest = people.call("packages.getLatestVersion", None, packageId=ball["id"])
    assert latest["version"] == "1.1.0"
    whole = people.call("packages.getMetadata", None, scope="alice", name="ball")
    assert list(whole["versions"]) == ["1.0.0", "1.1.0"]

    tag = people.call(
        "packages.setDistTag", "alice", packageId=ball["id"], tag="old", version="1.0.0"
    )
    assert tag["versionId"] == one["id"]
    tags = people.call("packages.listDistTags", None, packageId=ball["id"])
    assert tags == [{"tag": "latest", "version": "1.1.0"}, {"tag": "old", "version": "1.0.0"}]
    for name, error in (("latest", Invalid), ("new", NotFound)):
        people.refused(error, "packages.deleteDistTag", "alice", packageId=ball["id"], tag=name)
    people.call("packages.deleteDistTag", "alice", packageId=ball["id"], tag="old")
    for version, error in (("9.0.0", NotFound), ("nine", Invalid)):
        values = {"packageId": ball["id"], "tag": "old", "version": version}
        people.refused(error, "packages.setDistTag", "alice", **values)


def test_what_is_private_is_not_there(people: People) -> None:  # noqa: F811
    people.new("alice/cellar", private=True)
    publish(people, "alice", "hush", "1.0.0", "alice/cellar")
    hush = people.call("packages.getByFullName", "alice", fullName="hush")
    for who in (None, "bob", people.token("alice", "repo:admin")):
        people.refused(NotFound, "packages.getById", who, id=hush["id"])
        people.refused(NotFound, "packages.listVersions", who, packageId=hush["id"])
        assert people.call("packages.getByRepoId", who, repoId=hush["repoId"]) is None
        assert people.call("packages.list", who, limit=10) == []
        assert people.call("packages.search", who, query="hush") == []
    assert people.call("packages.canPublish", "bob", packageId=hush["id"]) is False
    (found,) = people.call("packages.search", "alice", query="hush")
    assert found["fullName"] == "hush"


def test_texts_and_notices(people: People, ball: dict[str, Any]) -> None:  # noqa: F811
    changed = people.call(
        "packages.update",
        "alice",
        id=ball["id"],
        description="round",
        keywords=["toy"],
        homepage="https://example.org/",
        visibility="private",
        repositoryUrl=None,
    )
    assert (changed["description"], json.loads(changed["keywords"])) == ("round", ["toy"])
    people.refused(NotFound, "packages.getById", "bob", id=ball["id"])
    same = people.call(
        "packages.update", "alice", id=ball["id"], homepage=None, visibility="public"
    )
    assert (same["homepage"], same["description"]) == (None, "round")
    people.refused(BadInput, "packages.update", "alice", id=ball["id"], homepage="javascript:x")
    people.refused(Forbidden, "packages.update", "bob", id=ball["id"], description="mine")
    people.refused(Unauthorized, "packages.update", None, id=ball["id"], description="mine")

    def notices() -> list[str | None]:
        whole = people.call("packages.getMetadata", None, scope="alice", name="ball")
        return [version.get("deprecated") for version in whole["versions"].values()]

    of_one = people.call(
        "packages.deprecateVersion", "alice", packageId=ball["id"], version="1.0.0", message="bad"
    )
    assert of_one["deprecated"] == "bad"
    assert notices() == ["bad", None]
    all_of_it = people.call("packages.deprecate", "alice", id=ball["id"], message="use cube")
    assert all_of_it["deprecated"] == "use cube"
    assert notices() == ["bad", "use cube"]
    people.call("packages.undeprecate", "alice", id=ball["id"])
    assert notices() == ["bad", None]


def test_maintainers(people: People, ball: dict[str, Any]) -> None:  # noqa: F811
    def who() -> list[str]:
        listed = people.call("packages.listMaintainers", None, packageId=ball["id"])
        return [person["username"] for person in listed]

    assert who() == ["alice"]
    assert people.call("packages.canPublish", "bob", packageId=ball["id"]) is False
    people.refused(Forbidden, "packages.addMaintainer", "bob", packageId=ball["id"], username="bob")
    people.call("packages.addMaintainer", "alice", packageId=ball["id"], username="Bob")
    assert who() == ["alice", "bob"]
    assert people.call("packages.canPublish", "bob", packageId=ball["id"]) is True
    mine = people.call("packages.myPackages", "bob")
    assert [package["fullName"] for package in mine] == ["@alice/ball"]
    people.refused(
        NotFound, "packages.addMaintainer", "alice", packageId=ball["id"], username="nobody"
    )
    for user_id in (people.id("alice"),):
        values = {"packageId": ball["id"], "userId": user_id}
        people.refused(Invalid, "packages.removeMaintainer", "alice", **values)
    people.call("packages.removeMaintainer", "alice", packageId=ball["id"], userId=people.id("bob"))
    assert who() == ["alice"]


def test_declaring_packages(people: People) -> None:  # noqa: F811
    toys = people.new("alice/toys")
    made = people.call(
        "packages.create", "alice", repoId=toys, name="ball", scope="alice", keywords=["round"]
    )
    assert (made["fullName"], made["visibility"]) == ("@alice/ball", "public")
    assert json.loads(made["keywords"]) == ["round"]
    people.refused(NotFound, "packages.getLatestVersion", None, packageId=made["id"])
    create = {"repoId": toys, "name": "ball"}
    people.refused(Conflict, "packages.create", "alice", **create, scope="alice")
    people.refused(Forbidden, "packages.create", "alice", **create, scope="bob")
    people.refused(Forbidden, "packages.create", "bob", **create)
    people.refused(Invalid, "packages.create", "alice", repoId=toys, name="Ball")
    people.refused(Invalid, "packages.create", "alice", repoId=toys, name="__proto__")
    people.refused(NotFound, "packages.create", "alice", repoId=made["id"], name="cube")

    renamed = people.call(
        "packages.enableForRepo", "alice", repoId=toys, name="cube", description="square"
    )
    assert (renamed["id"], renamed["fullName"]) == (made["id"], "cube")
    again = people.call(
        "packages.enableForRepo", "alice", repoId=toys, name="cube", publishOnRelease=True
    )
    assert (again["id"], again["description"]) == (made["id"], "square")
    assert again["publishOnRelease"] is True

    publish(people, "alice", "cube", "1.0.0", "alice/toys")
    other = people.call("packages.enableForRepo", "alice", repoId=toys, name="ball")
    assert other["id"] != made["id"], "what has versions keeps its name"
    people.call("packages.disableForRepo", "alice", repoId=toys)
    left = people.call("packages.list", "alice", ownerId=people.id("alice"))
    assert [package["fullName"] for package in left] == ["cube"]

    cellar = people.new("alice/cellar", private=True)
    hush = people.call("packages.enableForRepo", "alice", repoId=cellar, name="hush")
    assert hush["visibility"] == "private", "as its repository"


def test_deleting(people: People, ball: dict[str, Any]) -> None:  # noqa: F811
    people.call("packages.addMaintainer", "alice", packageId=ball["id"], username="bob")
    people.refused(Forbidden, "packages.delete", "bob", id=ball["id"])
    people.call("packages.delete", "alice", id=ball["id"])
    people.refused(NotFound, "packages.getById", "alice", id=ball["id"])
    people.refused(NotFound, "packages.delete", "alice", id=ball["id"])
