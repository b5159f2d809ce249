"""Protection rules, and what they say beforehand: the same as to a push."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update

from tests.operations.routers.repos.conftest import People
from wit.db.tables import branch_protection_rules
from wit.errors import Conflict, Forbidden, Invalid, NotFound
from wit.operations.api import BadInput


def test_rules(people: People) -> None:
    repo, other = people.new("alice/x"), people.new("alice/y")
    people.collaborator(repo, "bob", "write")

    def call(name: str, who: str = "alice", **values: Any) -> Any:
        return people.call(f"branchProtection.{name}", who, repoId=repo, **values)

    made = call("create", pattern="release/*", requiredStatusChecks=["ci"])
    assert (made["requirePullRequest"], made["requiredReviewers"]) == (True, 1)
    assert (made["allowForcePush"], made["requiredStatusChecks"]) == (False, ["ci"])
    main = call("create", pattern="main", requirePullRequest=False, requiredReviewers=0)
    assert main["requiredStatusChecks"] == []
    assert call("list", "bob") == [main, made]
    assert call("get", "bob", id=made["id"]) == made
    pushers = update(branch_protection_rules).values(allowed_pushers=[people.id("bob")])
    people.run(people.core.db.execute(pushers))
    changed = call("update", id=made["id"], allowDeletion=True, pattern="v*")
    assert changed | {"updatedAt": 0} == made | {
        "allowDeletion": True,
        "pattern": "v*",
        "updatedAt": 0,
    }
    (kept,) = {
        tuple(row["allowed_pushers"]) for row in people.run(people.core.protection.list(repo))
    }
    assert kept == (people.id("bob"),)

    def refused(error: type[Exception], name: str, who: str = "alice", **values: Any) -> None:
        people.refused(error, f"branchProtection.{name}", who, **{"repoId": repo, **values})

    refused(Conflict, "create", pattern="main")
    refused(Conflict, "update", id=made["id"], pattern="main")
    refused(Invalid, "create", pattern="a..b")
    refused(Invalid, "update", id=made["id"], pattern="-x")
    refused(BadInput, "create", pattern="y", requiredReviewers=11)
    for name in ("get", "update", "delete"):
        refused(NotFound, name, repoId=other, id=made["id"])
    for name, values in (
        ("create", {"pattern": "z"}),
        ("update", {"id": made["id"]}),
        ("delete", {"id": made["id"]}),
    ):
        refused(Forbidden, name, "bob", **values)
    refused(Forbidden, "list", "carol")
    assert call("delete", id=made["id"]) == {"success": True}
    assert call("list") == [main | {"updatedAt": call("list")[0]["updatedAt"]}]


def test_check(people: People) -> None:
    repo = people.new("alice/x", private=True)
    for pattern in ("**", "rel*", "release"):
        people.call("branchProtection.create", "alice", repoId=repo, pattern=pattern)
    for branch, pattern in (("release", "release"), ("relay", "rel*"), ("a/b", "**")):
        found = people.call("branchProtection.check", "alice", repoId=repo, branch=branch)
        assert found["protected"] and found["rule"]["pattern"] == pattern
    people.refused(NotFound, "branchProtection.check", "bob", repoId=repo, branch="x")
    free = people.new("alice/y")
    found = people.call("branchProtection.check", "bob", repoId=free, branch="main")
    assert found == {"protected": False, "rule": None}


def test_can_push(people: People) -> None:
    repo = people.filled("alice/x")
    people.collaborator(repo, "bob", "write")
    rules = {
        pattern: people.call(
            "branchProtection.create", "alice", repoId=repo, pattern=pattern, **values
        )["id"]
        for pattern, values in {
            "main": {},
            "open": {"requirePullRequest": False},
            "*": {"requirePullRequest": False, "allowForcePush": True, "allowDeletion": True},
        }.items()
    }
    people.call("repos.createBranch", "alice", owner="alice", repo="x", name="open")

    def asked(branch: str, who: str = "bob", **flags: bool) -> tuple[bool, str | None]:
        answer = people.call("branchProtection.canPush", who, repoId=repo, branch=branch, **flags)
        assert answer["allowed"] == (answer["reason"] is None)
        return answer["allowed"], answer["ruleId"]

    assert asked("main") == (False, rules["main"])
    assert asked("main", isPRMerge=True) == (True, None)
    assert asked("main", "alice", isDeletion=True) == (False, None), "it is the default branch"
    assert asked("open") == (True, None)
    assert asked("open", isForcePush=True) == (False, rules["open"])
    assert asked("open", isDeletion=True) == (False, rules["open"])
    assert asked("other", isForcePush=True) == (True, None)
    assert asked("a..b") == (False, None)
    assert asked("OPEN") == (False, None)
    assert asked("other", "carol") == (False, None)
    people.call("repos.update", "alice", repoId=repo, isArchived=True)
    assert asked("other") == (False, None)
    people.call("repos.update", "alice", repoId=repo, isArchived=False, isPrivate=True)
    people.refused(NotFound, "branchProtection.canPush", "carol", repoId=repo, branch="main")
