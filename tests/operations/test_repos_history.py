"""repos: commits, tags, ranges, and the last commit of each entry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.git.reading import commit, git
from tests.operations.reading import Home, home
from wit.errors import NotFound
from wit.operations.api import BadInput
from wit.repositories import browsing
from wit.runtime import Runtime

START = 1_600_000_000
CAROL = "Carol C <CAROL@example.org>"


@pytest.fixture
def place(runtime: Runtime, run: Any, tmp_path: Path, database_url: str) -> Iterator[Home]:
    with home(runtime, run, tmp_path / "data", database_url) as made:
        yield made


@pytest.fixture
def path(place: Home) -> Path:
    """main: 1, 2, a merge (4) of side (3), 5."""
    place.run(place.core.users.create("carol", "carol@example.org", verified=True))
    stream = commit("main", "first\n\nwith a body\n", {"a": "1\n", "d/x": "1"}, mark=1, at=START)
    stream += commit("main", "second", {"a": "2\n"}, mark=2, at=START + 10, author=CAROL)
    stream += commit("side", "third", {"d/y": "1"}, parents=(":1",), mark=3, at=START + 20)
    stream += commit("main", "merge", {"d/y": "1"}, parents=(":2", ":3"), mark=4, at=START + 30)
    stream += commit("main", "fifth", {"d/x": None, "e": "1"}, mark=5, at=START + 40)
    return place.make("alice/r", stream)


def test_the_log(place: Home, path: Path) -> None:
    log = place.call("getCommits", repo="alice/r")
    chain = git(path, "rev-list", "--first-parent", "main").split()
    assert [one["sha"] for one in log["commits"]] == chain
    assert log["totalCount"] == len(chain) == 4
    assert log["commits"][2] == {
        "sha": chain[2], "message": "second", "author": "Carol C",
        "authorEmail": "CAROL@example.org", "authorUsername": "carol", "authorAvatarUrl": None,
        "date": datetime.fromtimestamp(START + 10, UTC), "pr": None, "commentCount": 0,
        "ciStatus": None,
    }  # fmt: skip
    assert log["commits"][3]["message"] == "first\n\nwith a body"
    assert log["commits"][3]["authorUsername"] is None
    page = place.call("getCommits", repo="alice/r", limit=2)
    assert [one["sha"] for one in page["commits"]] == chain[:2] and page["totalCount"] == 4
    rest = place.call("getCommits", repo="alice/r", ref=chain[2])
    assert [one["sha"] for one in rest["commits"]] == chain[2:] and rest["totalCount"] == 2
    assert place.call("getCommits", repo="alice/r", ref="side")["totalCount"] == 2
    with pytest.raises(BadInput):
        place.call("getCommits", repo="alice/r", limit=101)


@pytest.mark.attack(3)
def test_refs_that_are_none(place: Home, path: Path, tmp_path: Path) -> None:
    marker = tmp_path / "pwned"
    git(path, "update-ref", "refs/wit/secret", "main")
    for ref in (
        "nothing", "main~1", f"--output={marker}", f"--exec={marker}", "-n1", "--all",
        "main..side", "^main", "", "refs/wit/secret", "f" * 40,
    ):  # fmt: skip
        empty = {"commits": [], "totalCount": 0}
        assert place.call("getCommits", repo="alice/r", ref=ref) == empty
        for procedure, more in (
            ("getCommit", {"sha": ref[:64]}),
            ("getCommitsBetween", {"toRef": ref}),
            ("getCommitsBetween", {"fromRef": ref}),
            ("getTreeCommits", {"ref": ref}),
            ("getTreeCommits", {"path": ref or "nothing"}),
        ):
            with pytest.raises(NotFound):
                place.call(procedure, repo="alice/r", **more)
        assert place.call("listFiles", repo="alice/r", ref=ref) == {"files": []}
        assert place.call("getLanguages", repo="alice/r", ref=ref) == []
    assert not marker.exists()


@pytest.mark.attack(3)
def test_branches_tags_and_files_that_are_called_like_options(place: Home, tmp_path: Path) -> None:
    """git itself makes no such refs; a folder that was dropped in may have them."""
    marker = tmp_path / "pwned"
    name = f"--output={str(marker).replace('/', '%')}"
    stream = commit("main", "one", {name: "1", f"{name}.d/--exec=x": "1"}, at=START)
    path = place.make("alice/r", stream)
    main = git(path, "rev-parse", "main")
    for folder in ("heads", "tags"):
        (path / "refs" / folder / name).write_text(f"{main}\n")
    for ref in (name, f"refs/heads/{name}", f"refs/tags/{name}"):
        assert place.call("getCommits", repo="alice/r", ref=ref)["totalCount"] == 1
        assert place.call("getTree", repo="alice/r", ref=ref, path=f"{name}.d")["entries"]
        assert place.call("getFile", repo="alice/r", ref=ref, path=name)["content"] == "1"
        last = place.call("getTreeCommits", repo="alice/r", ref=ref, path=f"{name}.d")
        assert [one["commit"]["sha"] for one in last["entries"]] == [main]
    between = place.call("getCommitsBetween", repo="alice/r", fromRef=name, toRef=name)
    assert between["stats"] == {"totalCommits": 0}
    assert [tag["name"] for tag in place.call("getTags", repo="alice/r")] == [name]
    assert list(tmp_path.glob("*pwned*")) == []


def test_one_commit(place: Home, path: Path) -> None:
    merge, second, third = git(path, "rev-parse", "main~1", "main~2", "side").split()
    found = place.call("getCommit", repo="alice/r", sha=merge)
    assert found["parents"] == [second, third]
    assert found["tree"] == git(path, "rev-parse", f"{merge}^{{tree}}")
    assert found["message"] == "merge"
    when = datetime.fromtimestamp(START + 30, UTC)
    assert found["author"] == {"name": "Ann", "email": "ann@example.org", "date": when}
    assert found["committer"] == found["author"]
    assert found["diff"] == (
        "diff --wit a/d/y b/d/y\nnew file mode 100644\n--- /dev/null\n+++ b/d/y\n"
        "@@ -0,0 +1 @@\n+1\n\\ No newline at end of file"
    )
    first = git(path, "rev-parse", "main~3")
    assert place.call("getCommit", repo="alice/r", sha=first)["diff"].count("new file") == 2


def test_commits_that_are_not_shown(place: Home, path: Path) -> None:
    fifth = git(path, "rev-parse", "main")
    git(path, "tag", "-a", "-m", "x", "x", "main")
    others = [fifth[:12], fifth.upper(), "main", "HEAD", "f" * 40, git(path, "rev-parse", "x"),
              git(path, "rev-parse", "main^{tree}")]  # fmt: skip
    git(path, "tag", "-d", "x")
    git(path, "update-ref", "refs/heads/main", f"{fifth}~1")
    for sha in [*others, fifth]:
        with pytest.raises(NotFound):
            place.call("getCommit", repo="alice/r", sha=sha)


def test_between(place: Home, path: Path) -> None:
    everything = git(path, "rev-list", "main").split()
    found = place.call("getCommitsBetween", repo="alice/r")
    assert [one["sha"] for one in found["commits"]] == everything
    assert found["stats"] == {"totalCommits": 5}
    assert found["commits"][-1] == {
        "sha": everything[-1], "shortSha": everything[-1][:7],
        "message": "first\n\nwith a body", "author": "Ann", "email": "ann@example.org",
        "date": "2020-09-13T12:26:40.000Z",
    }  # fmt: skip
    found = place.call("getCommitsBetween", repo="alice/r", fromRef="side", toRef="main", limit=2)
    newer = git(path, "rev-list", "main", "^side").split()
    assert [one["sha"] for one in found["commits"]] == newer[:2]
    assert found["stats"] == {"totalCommits": 3}
    git(path, "tag", "-a", "-m", "x", "v1", "main")
    found = place.call("getCommitsBetween", repo="alice/r", fromRef="v1", toRef="side")
    assert found == {"commits": [], "stats": {"totalCommits": 0}}


def test_tags(place: Home, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(path, "tag", "v1.9", "main~1")
    git(path, "tag", "v1.10", "main~2")
    git(path, "-c", "user.name=Tess", "tag", "-a", "-m", "the\n\nsecond", "v2.0-rc1", "main")
    git(path, "tag", "nightly", "main~3")
    git(path, "tag", "latest", "main")
    git(path, "tag", "-a", "-m", "a blob", "blob", "main:a")
    found = place.call("getTags", repo="alice/r")
    assert [tag["name"] for tag in found] == [
        "v2.0-rc1", "v1.10", "v1.9", "blob", "latest", "nightly",
    ]  # fmt: skip
    tags = {tag["name"]: tag for tag in found}
    annotated = tags["v2.0-rc1"]
    assert annotated["sha"] == git(path, "rev-parse", "v2.0-rc1")
    assert annotated["targetSha"] == git(path, "rev-parse", "main")
    assert annotated["isAnnotated"] is True and annotated["message"] == "the\n\nsecond"
    assert annotated["tagger"] == {"name": "Test", "email": "test@example.org"}
    assert tags["v1.9"] == {
        "name": "v1.9", "sha": git(path, "rev-parse", "main~1"),
        "targetSha": git(path, "rev-parse", "main~1"), "isAnnotated": False,
        "date": datetime.fromtimestamp(START + 30, UTC),
    }  # fmt: skip
    monkeypatch.setattr(browsing, "MAX_TAGS", 2)
    assert [tag["name"] for tag in place.call("getTags", repo="alice/r")] == ["v2.0-rc1", "v1.10"]


def test_the_last_commit_of_each_entry(place: Home, path: Path) -> None:
    for ref in ("main", "side", git(path, "rev-parse", "main~1")):
        for folder in ("", "d"):
            tree = place.call("getTree", repo="alice/r", ref=ref, path=folder)["entries"]
            found = place.call("getTreeCommits", repo="alice/r", ref=ref, path=folder)
            assert found["complete"] is True
            assert [(one["name"], one["path"], one["type"]) for one in found["entries"]] == [
                (entry["name"], entry["path"], entry["type"]) for entry in tree
            ]
            for one in found["entries"]:
                logged = git(path, "log", "-1", "--format=%H %an %ae %at", ref, "--", one["path"])
                last = one["commit"]
                when = int(last["date"].timestamp())
                shown = f"{last['sha']} {last['author']} {last['authorEmail']} {when}"
                assert shown == logged
    with pytest.raises(NotFound):
        place.call("getTreeCommits", repo="alice/r", path="a")


def test_an_empty_repository(place: Home) -> None:
    place.make("alice/empty")
    assert place.call("getCommits", repo="alice/empty") == {"commits": [], "totalCount": 0}
    assert place.call("getTags", repo="alice/empty") == []
    for procedure in ("getCommitsBetween", "getTreeCommits"):
        with pytest.raises(NotFound, match="no commits yet"):
            place.call(procedure, repo="alice/empty")
