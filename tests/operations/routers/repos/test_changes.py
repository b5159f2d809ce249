"""Branches and files that are changed through the API: what comes of it, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from tests.operations.routers.repos.conftest import People
from wit.db.tables import branch_protection_rules, users
from wit.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized
from wit.git.push_directory import find

X = {"owner": "alice", "repo": "x"}


def edit(path: str = "a.txt", content: str = "text\n", **more: Any) -> dict[str, Any]:
    return {**X, "path": path, "content": content, "message": f"change {path}", **more}


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_the_first_and_later_commits(people: People, object_format: str) -> None:
    repo = people.new("alice/x", object_format=object_format)
    first = people.call("repos.updateFile", "alice", **edit("docs/a/deep.md", "one\n"))
    assert (first["path"], first["branch"]) == ("docs/a/deep.md", "main")
    contents = {"docs/b": "b", "docs.txt": "d", "docs-x/y": "é\r\n", "a": "", "docs/a/deep.md": "2"}
    shas = [first["sha"]]
    for path, content in contents.items():
        shas.append(people.call("repos.updateFile", "alice", **edit(path, content))["sha"])
    assert people.refs(repo) == {"refs/heads/main": shas[-1]}
    log = people.git(repo, "log", "--format=%H %an <%ae> %cn %s", "main").splitlines()
    assert [line.split()[0] for line in log] == shas[::-1]
    address = f"{people.id('alice')}+alice@users.noreply.localhost"
    assert log[-1].endswith(f" Alice <{address}> Alice change docs/a/deep.md")
    for path, content in contents.items():
        blob = people.git(repo, "rev-parse", f"main:{path}")
        assert int(people.git(repo, "cat-file", "-s", blob)) == len(content.encode())
    listed = people.git(repo, "ls-tree", "-r", "--name-only", "main").splitlines()
    assert sorted(listed) == sorted(contents)
    people.git(repo, "fsck", "--strict", "--no-dangling")
    assert find(people.core.config.repos_dir) == []


def test_whose_a_commit_is(people: People) -> None:
    """An address that nobody has proved is neither written into commits nor looked up."""
    repo = people.new("alice/x")
    people.call("repos.updateFile", "alice", **edit("a", "1"))
    proof = update(users).where(users.c.username == "alice").values(email_verified=True)
    people.run(people.core.db.execute(proof))
    people.call("repos.updateFile", "alice", **edit("a", "2"))
    written = people.git(repo, "log", "--format=%ae", "main").splitlines()
    assert written == ["alice@example.org", f"{people.id('alice')}+alice@users.noreply.localhost"]
    log = people.call("repos.getCommits", "alice", **X, ref="main")
    assert [commit["authorUsername"] for commit in log["commits"]] == ["alice", "alice"]
    people.run(people.core.db.execute(proof.values(email_verified=False)))
    log = people.call("repos.getCommits", "alice", **X, ref="main")
    assert [commit["authorUsername"] for commit in log["commits"]] == [None, "alice"]


def test_an_edit_is_a_push(people: People) -> None:
    repo = people.new("alice/x")
    sha = people.call("repos.updateFile", "alice", **edit())["sha"]
    push, created, pushed = people.events("push", "branch.created", "repo.pushed", repo_id=repo)
    assert push.actor_id == pushed.actor_id == people.id("alice")
    assert push.payload["updates"] == [{"ref": "refs/heads/main", "before": None, "after": sha}]
    assert created.payload["name"] == "main" and created.payload["sha"] == sha
    assert pushed.payload["afterSha"] == sha and pushed.payload["beforeSha"] is None
    assert pushed.payload["commits"] == [{"sha": sha, "message": "change a.txt", "author": "Alice"}]
    assert people.row(repo)["pushed_at"] is not None


def test_the_default_branch_counts_if_none_is_named(people: People) -> None:
    people.new("alice/x", default_branch="trunk")
    assert people.call("repos.updateFile", "alice", **edit())["branch"] == "trunk"
    assert people.call("repos.updateFile", "alice", **edit(ref="main"))["branch"] == "main"


def test_files_that_cannot_be(people: People) -> None:
    people.filled("alice/x")
    people.call("repos.updateFile", "alice", **edit("docs/index.md"))
    before = people.call("repos.get", "alice", **X)
    paths = (
        "/a", "a/", "a//b", ".", "..", "a/../b", "./a", ".git", ".git/config", "a/.GIT/config",
        "a/git~1", ".git .", "a\nb", "a\tb", "a\\b", "x" * 256, "a/" * 70 + "b",
        "README.md/inside", "docs", "\u200c.git/x", ".g\u200dit/config",
    )  # fmt: skip
    for path in paths:
        people.refused(Invalid, "repos.updateFile", "alice", **edit(path))
    people.refused(Invalid, "repos.updateFile", "alice", **edit() | {"message": " \n"})
    people.refused(Invalid, "repos.updateFile", "alice", **edit() | {"message": "a\0b"})
    for branch in ("a..b", "-x", "x.lock", "HEAD", "a b"):
        people.refused(Invalid, "repos.updateFile", "alice", **edit(ref=branch))
    people.refused(Invalid, "repos.updateFile", "alice", **edit("README.md", "hello\n"))
    assert people.call("repos.get", "alice", **X) == before


@pytest.mark.attack(18)
def test_what_fsck_refuses_in_a_push_it_refuses_here(people: People) -> None:
    repo = people.filled("alice/x")
    before = people.refs(repo)
    modules = '[submodule "x"]\n\tpath = x\n\turl = -uevil\n'
    message = people.refused(Invalid, "repos.updateFile", "alice", **edit(".gitmodules", modules))
    assert "gitmodules" in message and str(people.core.config.repos_dir) not in message
    assert people.refs(repo) == before
    assert list((people.disk(repo) / "objects").glob("tmp_objdir*")) == []
    assert people.events("push", repo_id=repo)[1:] == []
    harmless = '[submodule "x"]\n\tpath = x\n\turl = https://example.org/x\n'
    people.call("repos.updateFile", "alice", **edit(".gitmodules", harmless))


def test_who_may_edit(people: People) -> None:
    repo = people.filled("alice/x", private=True)
    people.refused(NotFound, "repos.updateFile", "bob", **edit())
    people.refused(Unauthorized, "repos.updateFile", None, **edit())
    people.collaborator(repo, "bob", "read")
    for name, values in (
        ("updateFile", edit()),
        ("createBranch", {**X, "name": "n"}),
        ("deleteBranch", {**X, "name": "main"}),
    ):
        people.refused(Forbidden, f"repos.{name}", "bob", **values)
        people.refused(Forbidden, f"repos.{name}", people.token("alice", "repo:read"), **values)
    people.collaborator(repo, "bob", "write")
    sha = people.call("repos.updateFile", people.token("bob", "repo:read", "repo:write"), **edit())
    assert people.git(repo, "log", "-1", "--format=%an", sha["sha"]) == "Bob"


@pytest.mark.attack(21)
def test_of_two_edits_at_once_one_wins(people: People) -> None:
    repo = people.filled("alice/x")
    people.collaborator(repo, "bob", "write")
    for number in range(4):
        before = people.refs(repo)["refs/heads/main"]
        answers = people.together(
            ("repos.updateFile", "alice", edit(f"alice{number}")),
            ("repos.updateFile", "bob", edit(f"bob{number}")),
        )
        won = [answer for answer in answers if isinstance(answer, dict)]
        lost = [answer for answer in answers if not isinstance(answer, dict)]
        # Who begins when the other one has ended loses nothing.
        assert won and all(isinstance(answer, Conflict) for answer in lost), answers
        count = people.git(repo, "rev-list", "--count", f"{before}..main")
        assert int(count) == len(won)
        assert people.refs(repo)["refs/heads/main"] in {answer["sha"] for answer in won}
    people.git(repo, "fsck", "--strict", "--no-dangling")


@pytest.mark.attack(21)
def test_an_edit_of_what_was_changed_meanwhile_is_a_conflict(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have read the same commit."""
    repo = people.filled("alice/x")
    own_pushes = people.core.committing._own_pushes
    plain = own_pushes.push
    edits: list[Any] = []

    async def together(*arguments: Any) -> None:
        edits.append(arguments)
        if len(edits) == 1:
            await people.calling("repos.updateFile", "alice", **edit("second"))
        await plain(*arguments)

    monkeypatch.setattr(type(own_pushes), "push", lambda self, *arguments: together(*arguments))
    message = people.refused(Conflict, "repos.updateFile", "alice", **edit("first"))
    assert "changed by somebody else" in message
    listed = people.git(repo, "ls-tree", "--name-only", "main").splitlines()
    assert listed == ["README.md", "second"]


def test_create_branch(people: People) -> None:
    repo = people.filled("alice/x")
    first = people.refs(repo)["refs/heads/main"]
    second = people.call("repos.updateFile", "alice", **edit())["sha"]
    people.git(repo, "tag", "-m", "annotated", "v1", first)

    def create(name: str, **values: Any) -> Any:
        return people.call("repos.createBranch", "alice", **X, name=name, **values)

    assert create("one") == {"name": "one", "sha": second, "fromRef": "HEAD"}
    assert create("two", fromRef="v1")["sha"] == first
    assert create("three/four", fromRef=first)["sha"] == first
    assert create("five", fromRef="refs/heads/two")["sha"] == first
    assert set(people.refs(repo)) >= {"refs/heads/one", "refs/heads/three/four"}
    made = [event.payload["name"] for event in people.events("branch.created", repo_id=repo)]
    assert made == ["main", "one", "two", "three/four", "five"]

    def refused(error: type[Exception], name: str, **values: Any) -> str:
        return people.refused(error, "repos.createBranch", "alice", **X, name=name, **values)

    refused(Conflict, "one")
    refused(Conflict, "one/below")
    assert "upper and lower case" in refused(Forbidden, "ONE")
    tree = people.git(repo, "rev-parse", "main^{tree}")
    for unknown in ("nothing", first[:10], "0" * 40, "main~1", "refs/wit/x", tree, "--all", "@{1}"):
        refused(Invalid, "new", fromRef=unknown)
    for wrong in ("a..b", ".x", "x.lock", "a//b", "-x"):
        refused(Invalid, wrong)
    assert "refs/heads/new" not in people.refs(repo)


@pytest.mark.attack(15)
def test_a_branch_brings_nothing_back(people: People) -> None:
    """Commits that visible refs do not lead to are unknown, even by their full ids."""
    repo = people.filled("alice/x")
    people.call("repos.createBranch", "alice", **X, name="gone")
    gone = people.call("repos.updateFile", "alice", **edit(ref="gone"))["sha"]
    hidden = people.call("repos.updateFile", "alice", **edit(ref="gone", content="2"))["sha"]
    people.git(repo, "update-ref", "refs/wit/kept", hidden)
    people.call("repos.deleteBranch", "alice", **X, name="gone")
    for sha in (gone, hidden):
        people.refused(Invalid, "repos.createBranch", "alice", **X, name="back", fromRef=sha)


def test_delete_branch(people: People) -> None:
    repo = people.filled("alice/x")
    sha = people.call("repos.createBranch", "alice", **X, name="side")["sha"]
    done = people.call("repos.deleteBranch", "alice", **X, name="side")
    assert done == {"success": True, "name": "side"}
    assert set(people.refs(repo)) == {"refs/heads/main"}
    (event,) = people.events("branch.deleted", repo_id=repo)
    assert event.payload["name"] == "side" and event.payload["sha"] == sha
    people.refused(NotFound, "repos.deleteBranch", "alice", **X, name="side")
    people.refused(NotFound, "repos.deleteBranch", "alice", **X, name="../../config")
    assert "default branch" in people.refused(
        Invalid, "repos.deleteBranch", "alice", **X, name="main"
    )


@pytest.mark.attack(20)
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_protected_branches(people: People, who: str) -> None:
    """Neither the owner nor a writer gets past the rules."""
    repo = people.filled("alice/x")
    people.collaborator(repo, "bob", "write")
    people.call("repos.createBranch", "alice", **X, name="release/1")
    for pattern, rule in (
        ("main", {}),
        ("release/*", {"requirePullRequest": False}),
    ):
        people.call("branchProtection.create", "alice", repoId=repo, pattern=pattern, **rule)
    before = people.refs(repo)
    reason = people.refused(Forbidden, "repos.updateFile", who, **edit())
    assert "main is protected: it changes through pull requests only" in reason
    reason = people.refused(Forbidden, "repos.deleteBranch", who, **X, name="release/1")
    assert "release/1 is protected: it cannot be deleted" in reason
    assert people.refs(repo) == before
    people.call("repos.updateFile", who, **edit(ref="release/1"))
    people.call("repos.createBranch", who, **X, name="release/2")
    people.call("repos.updateFile", who, **edit(ref="free"))
    assert people.events("push", repo_id=repo)[-1].actor_id == people.id(who)


@pytest.mark.attack(20)
def test_allowed_pushers_and_closed_repositories(people: People) -> None:
    repo = people.filled("alice/x")
    people.collaborator(repo, "bob", "write")
    people.call(
        "branchProtection.create", "alice", repoId=repo, pattern="main", requirePullRequest=False
    )
    pushers = update(branch_protection_rules).values(allowed_pushers=[people.id("alice")])
    people.run(people.core.db.execute(pushers))
    assert "not among those" in people.refused(Forbidden, "repos.updateFile", "bob", **edit())
    people.call("repos.updateFile", "alice", **edit())
    calls = (
        ("updateFile", edit("b")),
        ("createBranch", {**X, "name": "n"}),
        ("deleteBranch", {**X, "name": "free"}),
    )
    people.call("repos.createBranch", "alice", **X, name="free")
    people.run(people.core.repos.set_read_only(repo, "it is damaged"))
    for name, values in calls:
        reason = people.refused(Forbidden, f"repos.{name}", "alice", **values)
        assert reason == "this repository is read-only: it is damaged"
    people.run(people.core.repos.set_read_only(repo, None))
    people.call("repos.update", "alice", repoId=repo, isArchived=True)
    for name, values in calls:
        assert "is archived" in people.refused(Forbidden, f"repos.{name}", "alice", **values)
    people.call("repos.update", "alice", repoId=repo, isArchived=False)
    for name, values in calls:
        people.call(f"repos.{name}", "alice", **values)
