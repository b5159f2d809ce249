"""Bare repositories: made whole or not at all, recognised, and their object format read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from wit.errors import Conflict, Invalid, NotFound, Unavailable
from wit.git.command import Git
from wit.git.repository import create_bare, is_bare, object_format, open_bare
from wit.runtime import Runtime


@pytest.fixture(scope="module")
def git() -> Git:
    return Git.find()


@pytest.mark.parametrize("name", ["sha1", "sha256"])
def test_create(run: Any, runtime: Runtime, git: Git, tmp_path: Path, name: str) -> None:
    path = tmp_path / "owner" / "a.git"
    run(create_bare(git, runtime, str(path), name, "trunk/one"))
    repo = open_bare("key", str(path))
    assert (repo.key, repo.path, repo.object_format) == ("key", str(path), name)
    assert (path / "HEAD").read_text() == "ref: refs/heads/trunk/one\n"
    assert not (path / "hooks").exists() and not (path / "description").exists()
    assert os.listdir(path.parent) == ["a.git"]
    logs = subprocess.run(
        ["git", "config", "core.logAllRefUpdates"], cwd=path, capture_output=True, text=True
    )
    assert logs.stdout == "always\n"
    subprocess.run(["git", "fsck"], cwd=path, check=True, capture_output=True)


def test_two_at_once_make_one(run: Any, runtime: Runtime, git: Git, tmp_path: Path) -> None:
    from twisted.internet.defer import Deferred, DeferredList

    async def both() -> list[Any]:
        path = str(tmp_path / "a.git")
        works = [Deferred.fromCoroutine(create_bare(git, runtime, path)) for _ in range(3)]
        results: list[Any] = await DeferredList(works, consumeErrors=True)
        return results

    results = run(both())
    assert sorted(good for good, _ in results) == [False, False, True]
    assert all(isinstance(failure.value, Conflict) for good, failure in results if not good)
    assert os.listdir(tmp_path) == ["a.git"]


def test_what_is_there_already_stays(run: Any, runtime: Runtime, git: Git, tmp_path: Path) -> None:
    for name in ("folder", "file", "link"):
        path = tmp_path / name
        if name == "folder":
            path.mkdir()
        elif name == "file":
            path.touch()
        else:
            path.symlink_to("/nowhere")
        with pytest.raises(Conflict):
            run(create_bare(git, runtime, str(path)))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "link"]


def test_refusals(run: Any, runtime: Runtime, git: Git, tmp_path: Path) -> None:
    path = str(tmp_path / "a.git")
    with pytest.raises(Invalid):
        run(create_bare(git, runtime, path, "md5"))
    for branch in ("-x", "a..b", "a b", "", "--template=/x", "x.lock"):
        with pytest.raises(Invalid):
            run(create_bare(git, runtime, path, default_branch=branch))
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        run(create_bare(git, runtime, str(tmp_path / "file" / "a.git")))
    assert os.listdir(tmp_path) == ["file"]


def test_recognising(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "a.git"], check=True)
    assert is_bare(str(tmp_path / "a.git"))
    assert not is_bare(str(tmp_path))
    assert not is_bare(str(tmp_path / "none"))
    with pytest.raises(NotFound):
        open_bare("key", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[core]\n\tbare = true\n", "sha1"),
        ("[extensions]\n\tobjectFormat = sha256\n", "sha256"),
        ("[Extensions]\n\tobjectformat = SHA256\n", "sha256"),
        ("[extensions]\n\tobjectformat = sha3\n", None),
        ("[extensions\n", None),
    ],
)
def test_object_format(tmp_path: Path, text: str, expected: str | None) -> None:
    (tmp_path / "config").write_text(text)
    if expected is None:
        with pytest.raises(Invalid):
            object_format(str(tmp_path))
    else:
        assert object_format(str(tmp_path)) == expected
