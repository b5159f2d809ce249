"""What a client may call a commit, and that nothing hidden can be called anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.git.reading import Parts, commit, git, imported, parts
from wit.git.repository import BareRepository
from wit.git.revisions import read_commit, unknown
from wit.runtime import Runtime


@pytest.fixture
def engine(runtime: Runtime, run: Any) -> Iterator[Parts]:
    with parts(runtime, run) as made:
        yield made


@pytest.fixture
def repo(tmp_path: Path) -> BareRepository:
    stream = commit("main", "one", {"a": "1"}, mark=1)
    stream += commit("main", "two", {"a": "2"})
    stream += commit("side", "side", {"a": "3"}, parents=(":1",))
    made = imported(tmp_path / "r.git", stream)
    git(made.path, "tag", "light", "main")
    git(made.path, "tag", "-a", "-m", "v1", "v1", "main~1")
    git(made.path, "tag", "-a", "-m", "nested", "nested", "v1")
    git(made.path, "tag", "-a", "-m", "a blob", "of-blob", "main:a")
    git(made.path, "tag", "main", "side")
    git(made.path, "update-ref", "refs/pull/1/head", "side")
    for ref in ("refs/wit/secret", "refs/merge-queue/x", "refs/heads/gone"):
        oid = git(made.path, "commit-tree", "-p", "main", "-m", ref, "main^{tree}")
        git(made.path, "update-ref", ref, oid)
    return made


def find(engine: Parts, run: Any, repo: BareRepository, name: str, default: str = "main") -> Any:
    return run(engine.revisions.find(repo, name, default, None))


def test_names(engine: Parts, run: Any, repo: BareRepository) -> None:
    main, first, side = git(repo.path, "rev-parse", "heads/main", "heads/main~1", "side").split()
    expected = {
        "HEAD": main, "main": main, "refs/heads/main": main, "refs/tags/main": side,
        "light": main, "v1": first, "nested": first, "refs/tags/nested": first,
        "refs/pull/1/head": side, main: main, first: first,
    }  # fmt: skip
    assert {name: find(engine, run, repo, name) for name in expected} == expected


@pytest.mark.attack(3, 15)
@pytest.mark.parametrize(
    "name",
    ["refs/wit/secret", "wit/secret", "refs/merge-queue/x", "merge-queue/x", "pull/1/head",
     "heads/main", "main~1", "main^", "main:a", "main^{tree}", "HEAD~1", "@", "", "-", "--all",
     "--output=/tmp/pwned", "--exec=id", "refs/heads/../tags/v1", "main..side", ":/one",
     "refs/heads/", "refs", "main\0", "main\n", "\ud800", "x" * 5000, "0" * 40, "f" * 40,
     "A" * 40, "0" * 39, "../../../etc/passwd"],
)  # fmt: skip
def test_what_is_no_name(engine: Parts, run: Any, repo: BareRepository, name: str) -> None:
    assert find(engine, run, repo, name) is None
    assert len(unknown(name).message) < 200


@pytest.mark.attack(15)
def test_ids_of_what_visible_refs_do_not_lead_to(
    engine: Parts, run: Any, repo: BareRepository
) -> None:
    refs = ("refs/wit/secret", "refs/merge-queue/x", "refs/heads/gone")
    secret, queued, gone = git(repo.path, "rev-parse", *refs).split()
    assert find(engine, run, repo, gone) == gone
    git(repo.path, "update-ref", "-d", "refs/heads/gone")
    abbreviated = git(repo.path, "rev-parse", "heads/main")[:12]
    for oid in (secret, queued, gone, abbreviated):
        assert find(engine, run, repo, oid) is None
        assert not run(engine.revisions.is_visible(repo, oid, None))
    tree = git(repo.path, "rev-parse", "heads/main~1^{tree}")
    assert run(engine.revisions.is_visible(repo, tree, None))


@pytest.mark.attack(15)
def test_a_fork_does_not_show_what_it_borrows(engine: Parts, run: Any, tmp_path: Path) -> None:
    private = imported(tmp_path / "private.git", commit("main", "private", {"a": "1"}))
    fork = imported(tmp_path / "fork.git", commit("main", "public", {"a": "2"}))
    info = Path(fork.path, "objects", "info")
    (info / "alternates").write_text(f"{private.path}/objects\n")
    oid = git(private.path, "rev-parse", "main")
    assert git(fork.path, "cat-file", "-t", oid) == "commit"
    assert find(engine, run, fork, oid) is None


def test_a_branch_that_is_called_like_an_id(engine: Parts, run: Any, repo: BareRepository) -> None:
    main, first = git(repo.path, "rev-parse", "heads/main", "heads/main~1").split()
    git(repo.path, "update-ref", f"refs/heads/{first}", main)
    git(repo.path, "update-ref", f"refs/heads/{'a' * 40}", main)
    assert find(engine, run, repo, first) == first
    assert find(engine, run, repo, "a" * 40) == main


def test_head_of_a_repository_whose_head_names_no_branch(
    engine: Parts, run: Any, tmp_path: Path
) -> None:
    stream = "".join(commit(branch, branch, {"a": branch}) for branch in ("master", "trunk"))
    repo = imported(tmp_path / "r.git", stream)
    master, trunk = git(repo.path, "rev-parse", "master", "trunk").split()
    assert find(engine, run, repo, "HEAD", "trunk") == trunk
    assert find(engine, run, repo, "HEAD", "main") == master
    git(repo.path, "branch", "main", "trunk")
    assert find(engine, run, repo, "HEAD", "other") == trunk
    empty = imported(tmp_path / "empty.git", "")
    assert find(engine, run, empty, "HEAD") is None


def test_the_commit_behind_a_tag(engine: Parts, run: Any, repo: BareRepository) -> None:
    names = ("heads/main~1", "nested", "of-blob", "main:a", "refs/heads/main^{tree}")
    first, nested, of_blob, blob, tree = git(repo.path, "rev-parse", *names).split()

    async def read(oid: str) -> Any:
        async with engine.reader.open(repo, None) as objects:
            commit = await read_commit(objects, oid)
            return None if commit is None else (commit.oid, commit.message)

    assert run(read(first)) == run(read(nested)) == (first, "one")
    assert [run(read(oid)) for oid in (of_blob, blob, tree, "1" * 40)] == [None] * 4


def test_sha256(engine: Parts, run: Any, tmp_path: Path) -> None:
    repo = imported(tmp_path / "r.git", commit("main", "x", {"a": "1"}), "sha256")
    main = git(repo.path, "rev-parse", "main")
    assert find(engine, run, repo, main) == find(engine, run, repo, "HEAD") == main
    assert find(engine, run, repo, main[:40]) is None
