"""The web's way to a ref obeys the policy that pushes obey, against a running daemon."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.attacks.test_20_protected_refs import add_writer, protect
from tests.support.site import Person, Site, new_name, refs
from tests.support.wire import ZERO, history, push, push_history
from wit.git.names import parse_full_name
from wit.repositories.settings import Changes

pytestmark = pytest.mark.attack(20)


def mutate(site: Site, person: Person, procedure: str, **values: Any) -> tuple[int, Any]:
    """The status of a tRPC mutation, and its result or its message."""
    status, _, body = site.daemon.get(
        f"trpc/{procedure}",
        {"Authorization": f"Bearer {person.token}", "Content-Type": "application/json"},
        "POST",
        json.dumps({"json": values}).encode(),
    )
    answer = json.loads(body)
    if "error" in answer:
        return status, answer["error"]["json"]["message"]
    return status, answer["result"]["data"]["json"]


def place(name: str) -> dict[str, str]:
    owner, _, repo = name.partition("/")
    return {"owner": owner, "repo": repo}


def edit(name: str, branch: str, path: str = "file") -> dict[str, str]:
    return {**place(name), "ref": branch, "path": path, "content": "edited\n", "message": "edit"}


@pytest.fixture
def protected(each_site: Site) -> str:
    """A repository of alice's in which bob may write, with protected branches."""
    name = new_name()
    made = push_history(each_site.daemon, each_site.alice, name)
    updates = [(ZERO, made.commit, f"refs/heads/{short}") for short in ("release/1", "open")]
    push(each_site.daemon, each_site.alice, name, updates, made.pack)
    protect(each_site, name, "release/*", require_pull_request=True)
    protect(each_site, name, "main", allowed_pushers=("alice",))
    add_writer(each_site, name, each_site.bob)
    return name


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_nobody_gets_past_a_protected_branch(each_site: Site, protected: str, who: str) -> None:
    site, name = each_site, protected
    person: Person = getattr(site, who)
    before = refs(site.disk(name))
    attacks = [
        ("repos.updateFile", edit(name, "release/1"), "pull requests only"),
        ("repos.updateFile", edit(name, "release/2"), "pull requests only"),
        ("repos.createBranch", {**place(name), "name": "release/2"}, "pull requests only"),
        ("repos.deleteBranch", {**place(name), "name": "release/1"}, "cannot be deleted"),
    ]
    for procedure, values, reason in attacks:
        status, message = mutate(site, person, procedure, **values)
        assert status == 403 and reason in message, (procedure, values, status, message)
        assert refs(site.disk(name)) == before
    assert mutate(site, person, "repos.deleteBranch", **place(name), name="main")[0] == 400
    for branch in ("../../wit/x", "refs/wit/x\0", "a..b", "x.lock"):
        status, _ = mutate(site, person, "repos.updateFile", **edit(name, branch))
        assert status == 400
    for branch in ("refs/wit/x", "refs/pull/1/head"):
        status, _ = mutate(site, person, "repos.updateFile", **edit(name, branch))
        assert status == 403
    assert refs(site.disk(name)) == before
    status, answer = mutate(site, person, "repos.updateFile", **edit(name, "open", who))
    assert status == 200 and refs(site.disk(name))["refs/heads/open"] == answer["sha"]


def test_only_those_named_edit_a_branch(each_site: Site, protected: str) -> None:
    status, message = mutate(
        each_site, each_site.bob, "repos.updateFile", **edit(protected, "main")
    )
    assert status == 403 and "not among those" in message
    assert (
        mutate(each_site, each_site.alice, "repos.updateFile", **edit(protected, "main"))[0] == 200
    )


def test_who_may_not_write_changes_nothing(each_site: Site) -> None:
    site, name = each_site, new_name()
    push_history(site.daemon, site.alice, name)
    before = refs(site.disk(name))
    reading = Person("alice", site.daemon.token("alice", "repo:read"), site.alice.key)
    for person, expected in ((site.bob, 404), (reading, 403)):
        for procedure, values in (
            ("repos.updateFile", edit(name, "main")),
            ("repos.createBranch", {**place(name), "name": "theirs"}),
            ("repos.deleteBranch", {**place(name), "name": "main"}),
        ):
            assert mutate(site, person, procedure, **values)[0] == expected, procedure
    assert refs(site.disk(name)) == before


def test_an_archived_repository_is_closed_on_every_door(each_site: Site) -> None:
    site, name = each_site, new_name()
    made = push_history(site.daemon, site.alice, name)
    full_name = parse_full_name(name)

    async def archive(core: Any) -> None:
        repo = await core.repos.get(full_name)
        await core.settings.change(repo, Changes(is_archived=True), repo["owner_id"])

    site.do(archive)
    before = refs(site.disk(name))
    status, message = mutate(site, site.alice, "repos.updateFile", **edit(name, "main"))
    assert status == 403 and "archived" in message
    later = history(b"later\n", made.commit)
    with pytest.raises(AssertionError, match="archived"):
        update = [(made.commit, later.commit, "refs/heads/main")]
        push(site.daemon, site.alice, name, update, later.pack)
    assert refs(site.disk(name)) == before
