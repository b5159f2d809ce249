"""Activities: made of the journal, shown to those who may see."""

from __future__ import annotations

import json
from typing import Any

from tests.operations.routers.repos.conftest import People
from wit.errors import NotFound, Unauthorized


def test_every_kind_is_written_once(people: People) -> None:
    repo = people.filled("alice/x")
    people.deliver()
    people.call("repos.star", "bob", repoId=repo)
    fork = people.call("repos.fork", "bob", repoId=repo)["id"]
    people.call(
        "repos.transfer", "alice", owner="alice", repo="x", newOwner="carol", newOwnerType="user"
    )
    people.call("repos.createBranch", "carol", owner="carol", repo="x", name="same")
    people.deliver()
    shown = people.call("activity.forRepo", None, repoId=repo)
    assert [(a["type"], a["actor"]["username"]) for a in shown] == [
        ("repo_transferred", "alice"),
        ("repo_starred", "bob"),
        ("push", "alice"),
    ], "made by the system, a repository has no maker to show; a branch without news is no push"
    assert {a["actor"]["email"] for a in shown} == {""}
    (pushed,) = (json.loads(a["payload"]) for a in shown if a["type"] == "push")
    sha = people.refs(repo)["refs/heads/main"]
    assert pushed == {"branch": "main", "commits": [{"sha": sha, "message": "first"}]}
    (forked,) = people.call("activity.forRepo", None, repoId=fork)
    assert forked["type"] == "repo_forked" and json.loads(forked["payload"])["forkedFrom"] == repo
    made = people.call("repos.create", "bob", name="own")["id"]
    people.deliver()
    (created,) = people.call("activity.forRepo", None, repoId=made)
    assert (created["type"], created["actorId"]) == ("repo_created", people.id("bob"))


def test_what_is_private_is_for_those_who_may_read(people: People) -> None:
    for name, private in (("open", False), ("closed", True)):
        people.call("repos.create", "alice", name=name, isPrivate=private)
    closed = people.call("repos.get", "alice", owner="alice", repo="closed")["repo"]["id"]
    people.deliver()

    def names(procedure: str, who: Any, **values: Any) -> list[str]:
        return [a["repo"]["name"] for a in people.call(f"activity.{procedure}", who, **values)]

    alice = {"userId": people.id("alice")}
    assert names("forUser", "alice", **alice) == ["closed", "open"]
    assert names("forUser", "bob", **alice) == names("forUser", None, **alice) == ["open"]
    assert names("forUser", people.token("alice", "user:read"), **alice) == ["open"]
    assert names("publicFeed", "alice") == names("publicFeed", None) == ["open"]
    people.refused(NotFound, "activity.forRepo", "bob", repoId=closed)
    people.refused(Unauthorized, "activity.forRepo", None, repoId=closed)
    (secret,) = people.call("activity.forRepo", "alice", repoId=closed)
    assert people.call("activity.get", "bob", id=secret["id"]) is None
    assert people.call("activity.get", None, id=secret["id"]) is None
    assert people.call("activity.get", "alice", id=secret["id"])["type"] == "repo_created"
    missing = "00000000-0000-4000-8000-000000000000"
    assert people.call("activity.get", "alice", id=missing) is None
    people.collaborator(closed, "bob", "read")
    assert names("forUser", "bob", **alice) == ["closed", "open"]
    assert names("forUser", "bob", **alice, limit=1, offset=1) == ["open"]
    people.call("repos.watch", "bob", repoId=closed)
    people.refused(Unauthorized, "activity.feed", None)
    assert names("feed", "bob") == ["closed"] and names("feed", "alice") == []
    people.run(people.core.rights.remove_collaborator(closed, "bob"))
    assert names("feed", "bob") == [], "watching gives no right"


def test_what_became_of_a_deleted_repository(people: People) -> None:
    repo = people.call("repos.create", "alice", name="x")["id"]
    people.call("repos.delete", "alice", repoId=repo)
    people.deliver()
    assert people.call("activity.forUser", "alice", userId=people.id("alice")) == []
    assert people.run(people.core.journal.list()) != []
