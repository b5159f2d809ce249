"""Stars, watches and forks: counters, races, visibility."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from tests.operations.routers.repos.conftest import PEOPLE, People
from wit.db.tables import repositories
from wit.errors import Conflict, Forbidden, NotFound, Unauthorized

KINDS = (
    ("star", "unstar", "isStarred", "starred", "stargazers", "stars_count"),
    ("watch", "unwatch", "isWatching", "watching", "watchers", "watchers_count"),
)


@pytest.mark.parametrize("kind", KINDS, ids=["star", "watch"])
def test_marking(people: People, kind: tuple[str, ...]) -> None:
    add, remove, has, key, who, counter = (f"repos.{name}" for name in kind)
    key, counter = kind[3], kind[5]
    repo = people.new("alice/x")
    for name in ("bob", "bob", "carol"):
        assert people.call(add, name, repoId=repo) == {"success": True}
    assert people.row(repo)[counter] == 2
    assert people.call(has, "bob", repoId=repo) == {key: True}
    assert people.call(has, "alice", repoId=repo) == {key: False}
    shown = people.call(who, None, repoId=repo)
    assert [person["username"] for person in shown] == ["carol", "bob"]
    assert {person["email"] for person in shown} == {""}
    assert len(people.call(who, None, repoId=repo, limit=1, offset=1)) == 1
    for _ in range(2):
        assert people.call(remove, "bob", repoId=repo) == {"success": True}
    assert people.row(repo)[counter] == 1
    people.refused(Unauthorized, add, None, repoId=repo)
    people.refused(NotFound, add, "bob", repoId="00000000-0000-4000-8000-000000000000")


@pytest.mark.parametrize("kind", KINDS, ids=["star", "watch"])
def test_counters_survive_races(people: People, kind: tuple[str, ...]) -> None:
    repo = people.new("alice/x")
    add, remove, counter = kind[0], kind[1], kind[5]
    calls = [(f"repos.{add}", name, {"repoId": repo}) for name in PEOPLE] * 4
    answers = people.together(*calls)
    assert answers == [{"success": True}] * len(calls)
    assert people.row(repo)[counter] == len(PEOPLE)
    people.together(
        *[(f"repos.{remove}", name, {"repoId": repo}) for name in ("bob", "carol")] * 3,
        (f"repos.{add}", "alice", {"repoId": repo}),
    )
    assert people.row(repo)[counter] == 1


def test_a_star_is_told_once(people: People) -> None:
    repo = people.new("alice/x")
    for _ in range(2):
        people.call("repos.star", "bob", repoId=repo)
    (event,) = people.events("repo.starred")
    assert event.actor_id == people.id("bob")
    assert event.payload == {
        "repoId": repo,
        "repoFullName": "alice/x",
        "ownerId": people.id("alice"),
    }


def test_what_is_invisible_cannot_be_marked(people: People) -> None:
    secret = people.new("alice/secret", private=True)
    for name in ("star", "unstar", "watch", "unwatch", "isStarred", "isWatching"):
        people.refused(NotFound, f"repos.{name}", "bob", repoId=secret)
    people.refused(NotFound, "repos.canFork", "bob", repoId=secret)
    people.refused(NotFound, "repos.fork", "bob", repoId=secret)


def test_recounting(people: People) -> None:
    repo = people.filled("alice/x")
    people.call("repos.star", "bob", repoId=repo)
    people.call("repos.fork", "bob", repoId=repo)
    wrong = update(repositories).values(stars_count=7, watchers_count=7, forks_count=7)
    people.run(people.core.db.execute(wrong))
    place = {"owner": "alice", "repo": "x"}
    people.collaborator(repo, "bob", "admin")
    people.refused(Forbidden, "repos.recalculateCounts", "bob", **place)
    counts = people.call("repos.recalculateCounts", "alice", **place)
    assert counts == {"openIssuesCount": 0, "openPrsCount": 0, "success": True}
    row = people.row(repo)
    assert (row["stars_count"], row["watchers_count"], row["forks_count"]) == (1, 0, 1)


def test_fork(people: People) -> None:
    origin = people.filled("alice/x")
    place = {"owner": "alice", "repo": "x"}
    people.call("repos.createBranch", "alice", **place, name="side")
    people.git(origin, "update-ref", "refs/wit/hidden", "refs/heads/main")
    assert people.call("repos.canFork", "bob", repoId=origin) == {"canFork": True}
    fork = people.call("repos.fork", "bob", repoId=origin)
    assert fork["isFork"] and fork["forkedFromId"] == origin and not fork["isPrivate"]
    assert fork["ownerId"] == people.id("bob") and fork["name"] == "x"
    assert fork["branches"] == ["main", "side"]
    assert fork["forkedFrom"] == {
        "id": origin,
        "name": "x",
        "ownerId": people.id("alice"),
        "owner": {"id": people.id("alice"), "username": "alice"},
    }
    assert set(people.refs(fork["id"])) == {"refs/heads/main", "refs/heads/side"}
    assert people.row(origin)["forks_count"] == 1
    (event,) = people.events("repo.forked")
    assert event.payload["forkedFromId"] == origin and event.payload["repoFullName"] == "bob/x"
    people.refused(Conflict, "repos.fork", "bob", repoId=origin)
    assert people.row(origin)["forks_count"] == 1
    can = people.call("repos.canFork", "bob", repoId=origin)
    assert can["canFork"] is False and can["suggestedName"] == "x-1" and "already" in can["reason"]
    assert people.call("repos.canFork", "bob", repoId=origin, name="x-1") == {"canFork": True}
    assert not people.call("repos.canFork", "bob", repoId=origin, name="a b")["canFork"]
    second = people.call("repos.fork", "bob", repoId=origin, name="x-1")
    assert [f["name"] for f in people.call("repos.forks", None, repoId=origin)] == ["x-1", "x"]
    people.call("repos.delete", "bob", repoId=second["id"])
    assert people.row(origin)["forks_count"] == 1
    people.call("repos.delete", "alice", repoId=origin)
    assert people.row(fork["id"])["forked_from_id"] is None


def test_forks_of_private_repositories_stay_private(people: People) -> None:
    origin = people.filled("alice/x", private=True)
    people.collaborator(origin, "bob", "read")
    people.refused(Forbidden, "repos.fork", people.token("bob", "repo:read"), repoId=origin)
    fork = people.call("repos.fork", "bob", repoId=origin)
    assert fork["isPrivate"]
    public = {"repoId": fork["id"], "isPrivate": False}
    assert "private" in people.refused(Forbidden, "repos.update", "bob", **public)
    people.collaborator(origin, "carol", "read")
    assert people.call("repos.forks", "carol", repoId=origin) == []
    assert len(people.call("repos.forks", "bob", repoId=origin)) == 1
    people.call("repos.update", "alice", repoId=origin, isPrivate=False)
    assert not people.call("repos.update", "bob", **public)["isPrivate"]
