"""repos: front page, directories, files, languages, search and leaderboard."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, select, update

from tests.git.reading import commit, git
from tests.operations.reading import Home, home
from wit.db.tables import repositories
from wit.errors import Invalid, NotFound, TooLarge, Unauthorized
from wit.git.history import History
from wit.repositories import browsing
from wit.runtime import Runtime

SUBMODULE = "5" * 40
FILES: dict[str, str | None] = {
    "ReadMe.MD": "# Hello\n",
    "100755 run.sh": "#!/bin/sh\n",
    "120000 link": "ReadMe.MD",
    "160000 sub": SUBMODULE,
    "src/main.py": "print()\n",
    "src/util/deep.py": "x = 1\n",
    "binary": "\udcff\udcfe\0",
    "odd\udcff": "odd",
    "a/main.py": "1",
}


@pytest.fixture
def place(runtime: Runtime, run: Any, tmp_path: Path, database_url: str) -> Iterator[Home]:
    with home(runtime, run, tmp_path / "data", database_url) as made:
        yield made


@pytest.fixture
def repo(place: Home) -> str:
    stream = commit("main", "one", FILES, mark=1)
    stream += commit("side", "two", {"only-here": "x"}, parents=(":1",))
    path = place.make("alice/r", stream)
    git(path, "tag", "-a", "-m", "v1", "v1", "main")
    return "alice/r"


def test_a_directory(place: Home, repo: str) -> None:
    path = place.core.config.repos_dir / f"{repo}.git"
    tree = place.call("getTree", repo=repo)
    assert "error" not in tree and "truncated" not in tree
    shown = [(e["name"], e["type"], e.get("size")) for e in tree["entries"]]
    assert shown == [
        ("a", "directory", None), ("src", "directory", None), ("ReadMe.MD", "file", 8),
        ("binary", "file", 3), ("link", "file", 9), ("odd\ufffd", "file", 3),
        ("run.sh", "file", 10), ("sub", "file", None),
    ]  # fmt: skip
    assert [entry["path"] for entry in tree["entries"]] == [entry[0] for entry in shown]
    shas = {entry["name"]: entry["sha"] for entry in tree["entries"]}
    assert shas["src"] == git(path, "rev-parse", "main:src")
    assert shas["sub"] == SUBMODULE
    inner = place.call("getTree", repo=repo, path="src/util", ref="v1")
    assert [(e["name"], e["path"]) for e in inner["entries"]] == [("deep.py", "src/util/deep.py")]
    first = git(path, "rev-parse", "main")
    for ref in ("main", "side", "v1", "refs/tags/v1", first):
        assert place.call("getTree", repo=repo, ref=ref, path="/src/")["entries"]


def test_a_directory_that_is_not_there(place: Home, repo: str) -> None:
    for path in ("missing", "src/missing", "ReadMe.MD", "sub", "../.."):
        with pytest.raises(NotFound):
            place.call("getTree", repo=repo, path=path)
    for ref in ("nothing", "main~1", "--output=/tmp/x", "f" * 40):
        tree = place.call("getTree", repo=repo, ref=ref)
        assert tree["entries"] == [] and repr(ref[:80]) in tree["error"]
    with pytest.raises(Invalid):
        place.call("getTree", repo=repo, path="a/" * 300)


def test_a_directory_that_is_too_large(
    place: Home, repo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "MAX_ENTRIES", 3)
    tree = place.call("getTree", repo=repo)
    assert [entry["name"] for entry in tree["entries"]] == ["a", "src", "ReadMe.MD"]
    assert tree["truncated"] is True


def test_files(place: Home, repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place.core.config.repos_dir / f"{repo}.git"
    oid = git(path, "rev-parse", "main:src/main.py")
    assert place.call("getFile", repo=repo, path="src/main.py") == {
        "content": "print()\n", "encoding": "utf-8", "sha": oid, "size": 8,
    }  # fmt: skip
    binary = place.call("getFile", repo=repo, path="binary")
    assert (binary["encoding"], binary["size"]) == ("base64", 3)
    assert base64.b64decode(binary["content"]) == b"\xff\xfe\0"
    assert place.call("getFile", repo=repo, path="link")["content"] == "ReadMe.MD"
    assert place.call("getFile", repo=repo, path="odd\ufffd")["content"] == "odd"
    assert place.call("getFile", repo=repo, path="only-here", ref="side")["content"] == "x"
    with pytest.raises(Invalid, match="directory"):
        place.call("getFile", repo=repo, path="src")
    with pytest.raises(NotFound, match="submodule"):
        place.call("getFile", repo=repo, path="sub")
    for missing in ({"path": "only-here"}, {"path": "x/y"}, {"path": "binary", "ref": "no"}):
        with pytest.raises(NotFound):
            place.call("getFile", repo=repo, **missing)
    monkeypatch.setattr(browsing, "MAX_FILE", 7)
    with pytest.raises(TooLarge, match="8 bytes"):
        place.call("getFile", repo=repo, path="src/main.py")
    assert place.call("getPageData", repo=repo)["readme"] is None


def test_lists_of_files(place: Home, repo: str) -> None:
    def found(**values: Any) -> list[str]:
        return list(place.call("listFiles", repo=repo, **values)["files"])

    assert sorted(found()) == sorted(
        ["ReadMe.MD", "run.sh", "link", "sub", "src/main.py", "src/util/deep.py", "binary",
         "odd\ufffd", "a/main.py"]
    )  # fmt: skip
    assert found(query="MAIN.py") == ["a/main.py", "src/main.py"]
    assert found(query="main", limit=1) == ["a/main.py"]
    assert found(query="u") == ["run.sh", "src/util/deep.py", "sub"]
    assert found(query="src/util") == ["src/util/deep.py"]
    assert found(query="r", limit=3) == ["ReadMe.MD", "run.sh", "binary"]
    assert found(query="nowhere") == [] and found(ref="nothing") == []
    assert found(ref="side", query="only") == ["only-here"]


def test_branches(place: Home, repo: str) -> None:
    path = place.core.config.repos_dir / f"{repo}.git"
    git(path, "update-ref", "refs/wit/hidden", "main")
    git(path, "branch", "a/b", "main")
    main, side = git(path, "rev-parse", "main", "side").split()
    assert place.call("getBranches", repo=repo) == [
        {"name": "main", "sha": main, "isDefault": True},
        {"name": "a/b", "sha": main, "isDefault": False},
        {"name": "side", "sha": side, "isDefault": False},
    ]


def test_the_front_page(place: Home, repo: str) -> None:
    page = place.call("getPageData", repo=repo)
    assert page["repo"]["name"] == "r" and page["owner"]["username"] == "alice"
    assert page["readme"] == {"content": "# Hello\n", "encoding": "utf-8"}
    assert page["tree"] == place.call("getTree", repo=repo)
    assert page["branches"] == place.call("getBranches", repo=repo)
    assert page["languages"] == place.call("getLanguages", repo=repo)
    assert (page["isStarred"], page["isWatching"]) == (False, False)
    place.call("star", repoId=page["repo"]["id"])
    assert place.call("getPageData", repo=repo)["isStarred"] is True
    anonymous = place.call("getPageData", None, repo=repo)
    assert anonymous["isStarred"] is False and anonymous["owner"]["email"] == ""


def test_an_organizations_front_page(place: Home) -> None:
    org = place.run(place.core.organizations.create("Acme", place.ids["alice"]))
    place.make("Acme/r")
    page = place.call("getPageData", None, repo="acme/r")
    assert page["owner"] == {"id": org["id"], "name": "Acme", "type": "organization"}


def test_an_empty_repository(place: Home) -> None:
    place.make("alice/empty")
    page = place.call("getPageData", repo="alice/empty")
    assert (page["readme"], page["languages"], page["branches"]) == (None, [], [])
    assert page["tree"] == {"entries": [], "error": "this repository has no commits yet"}
    assert place.call("getTree", repo="alice/empty") == page["tree"]
    assert place.call("listFiles", repo="alice/empty") == {"files": []}
    assert place.call("getLanguages", repo="alice/empty") == []
    with pytest.raises(NotFound):
        place.call("getFile", repo="alice/empty", path="x")


def test_languages_are_kept_for_their_commit(place: Home, repo: str) -> None:
    def row() -> Any:
        found = select(repositories).where(repositories.c.name_key == "r")
        return place.run(place.core.db.fetch_one(found))

    path = place.core.config.repos_dir / f"{repo}.git"
    shares = place.call("getLanguages", repo=repo)
    assert [(share["language"], share["bytes"]) for share in shares] == [
        ("Python", 15), ("Shell", 10),
    ]  # fmt: skip
    main = git(path, "rev-parse", "main")
    assert (row()["language_stats"], row()["language_stats_commit"]) == (shares, main)
    updated = row()["updated_at"]
    # What is on the row is used while it is of the right commit, and only then.
    stored = [{**shares[0], "language": "Marked"}]
    marked = (
        update(repositories)
        .where(repositories.c.name_key == "r")
        .values(language_stats=bindparam("stats"))
    )
    place.run(place.core.db.execute(marked, stats=stored))
    assert place.call("getLanguages", repo=repo) == stored
    git(
        path,
        "fast-import",
        "--quiet",
        stdin=commit("main", "go", {"x.go": "1"}, parents=("main^0",)),
    )
    later = place.call("getLanguages", repo=repo)
    assert [share["language"] for share in later] == ["Python", "Shell", "Go"]
    assert row()["language_stats"] == later and row()["updated_at"] == updated
    assert place.call("getLanguages", repo=repo, ref=main) == shares
    assert row()["language_stats"] == later


def test_private_is_invisible(place: Home) -> None:
    path = place.make("alice/private", commit("main", "one", FILES), private=True)
    git(path, "tag", "v1", "main")
    for procedure, more in {
        "getPageData": {},
        "getTree": {},
        "getFile": {"path": "ReadMe.MD"},
        "listFiles": {},
        "getBranches": {},
        "getLanguages": {},
        "getCommits": {},
        "getCommit": {"sha": git(path, "rev-parse", "main")},
        "getTags": {},
        "getCommitsBetween": {},
        "getTreeCommits": {},
    }.items():
        assert place.call(procedure, repo="alice/private", **more)
        answers = []
        for name in ("alice/private", "alice/missing"):
            with pytest.raises(NotFound) as hidden:
                place.call(procedure, "bob", repo=name, **more)
            with pytest.raises(Unauthorized) as refused:
                place.call(procedure, None, repo=name, **more)
            answers.append((hidden.value.message, refused.value.message))
        assert answers[0] == answers[1]


def test_search(place: Home) -> None:
    for name, private in (("Tool_box", False), ("toolxbox", False), ("secret-tool", True)):
        place.make(f"alice/{name}", private=private)
    describe = (
        update(repositories)
        .where(repositories.c.name_key == "toolxbox")
        .values(description="100% of it, by \\hand", stars_count=3)
    )
    place.run(place.core.db.execute(describe))

    def found(query: str, **values: Any) -> list[str]:
        return [row["name"] for row in place.call("search", query=query, **values)]

    assert found("TOOL") == ["toolxbox", "Tool_box"]
    assert found("tool", limit=1) == ["toolxbox"]
    assert found("tool_") == ["Tool_box"]
    assert found("0%") == ["toolxbox"] and found("\\hand") == ["toolxbox"]
    assert found("%") == ["toolxbox"] and found("_") == ["Tool_box"]
    assert found("secret") == [] and found("\0'--") == []


def test_the_leaderboard(place: Home, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    now = int(runtime.now().timestamp())
    day = int(timedelta(days=1).total_seconds())

    def history(days: list[int]) -> str:
        return "".join(
            commit("main", f"{age}", {"a": f"{number}"}, at=now - age * day)
            for number, age in enumerate(days)
        )

    place.make("alice/busy", history([30, 3, 2, 1]))
    place.make("bob/quiet", history([8, 6]))
    place.make("alice/old", history([9, 8]))
    place.make("alice/private", history([1, 1, 1, 1, 1, 1]), private=True)
    place.make("alice/empty")

    def board(**values: Any) -> list[tuple[str, str, int]]:
        found = place.call("leaderboard", None, **values)
        return [(one["ownerName"], one["name"], one["commitCount"]) for one in found]

    assert board() == [("alice", "busy", 3), ("bob", "quiet", 1)]
    assert board(limit=1) == [("alice", "busy", 3)]
    # Counts are remembered, who is shown is not.
    monkeypatch.setattr(History, "count_newer", None)
    hide = update(repositories).where(repositories.c.name_key == "busy").values(is_private=True)
    place.run(place.core.db.execute(hide))
    assert board() == [("bob", "quiet", 1)]
