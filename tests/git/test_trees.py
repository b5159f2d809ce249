"""Paths, directories and lists of files, of every kind that a tree can hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.git.reading import Parts, commit, git, imported, parts
from wit.errors import Invalid, TimedOut, TooLarge, Unavailable
from wit.git import trees
from wit.git.repository import BareRepository
from wit.runtime import Runtime

SUBMODULE = "5" * 40
FILES = {
    "README.md": "hello\n",
    "100755 run": "#!/bin/sh\n",
    "120000 link": "README.md",
    "160000 sub": SUBMODULE,
    "dir/a b": "1",
    "dir/deep/er/c": "22",
    "dir/-x": "",
    "dir.txt": "333",
    "ünï": "4",
    "odd\udcff\udcfe": "5",
    'new\nline"\t': "6",
    ":(glob)*": "7",
}


@pytest.fixture
def engine(runtime: Runtime, run: Any) -> Iterator[Parts]:
    with parts(runtime, run) as made:
        yield made


@pytest.fixture
def repo(tmp_path: Path) -> BareRepository:
    return imported(tmp_path / "r.git", commit("main", "all kinds", FILES))


def at(engine: Parts, run: Any, repo: BareRepository, path: str) -> Any:
    """(mode, whole path, id) of what is at ``path``."""
    root = git(repo.path, "rev-parse", "main^{tree}")

    async def find() -> Any:
        async with engine.reader.open(repo, None) as objects:
            found = await engine.trees.find(objects, root, path)
            return None if found is None else (found.mode, found.name, found.oid)

    return run(find())


@pytest.mark.parametrize("entry", [name for name in FILES if "\n" not in name])
def test_paths_of_files(engine: Parts, run: Any, repo: BareRepository, entry: str) -> None:
    mode, space, name = entry.partition(" ")
    if not (space and mode.isdigit()):
        mode, name = "100644", entry
    name_bytes = name.encode("utf-8", "surrogateescape")
    oid = SUBMODULE if mode == "160000" else git(repo.path, "rev-parse", f"main:{name}")
    asked = name_bytes.decode("utf-8", "replace")
    assert at(engine, run, repo, asked) == (int(mode, 8), name_bytes, oid)
    assert at(engine, run, repo, f"/{asked}/") == (int(mode, 8), name_bytes, oid)


def test_paths_of_directories(engine: Parts, run: Any, repo: BareRepository) -> None:
    for path in ("", "dir", "dir/deep", "dir/deep/er"):
        oid = git(repo.path, "rev-parse", f"main:{path}")
        assert at(engine, run, repo, path) == (0o40000, path.encode(), oid)


@pytest.mark.parametrize(
    "path",
    ["missing", "dir/missing", "README.md/x", "sub/x", "link/x", "..", ".", "dir/..", "dir//-x",
     "DIR", "dir/deep/er/c/d", "--output=x", "dir\0", "\ufffd", "main:dir", "../../etc/passwd"],
)  # fmt: skip
def test_paths_that_lead_nowhere(engine: Parts, run: Any, repo: BareRepository, path: str) -> None:
    assert at(engine, run, repo, path) is None


def test_a_path_goes_only_so_deep(engine: Parts, run: Any, tmp_path: Path) -> None:
    deep = "/".join(["d"] * trees.MAX_DEPTH)
    repo = imported(tmp_path / "r.git", commit("main", "deep", {f"{deep}/f": "1"}))
    assert at(engine, run, repo, deep)[0] == 0o40000
    with pytest.raises(Invalid):
        at(engine, run, repo, f"{deep}/f")


def test_sizes_are_those_of_git(engine: Parts, run: Any, repo: BareRepository) -> None:
    root = git(repo.path, "rev-parse", "main^{tree}")

    async def sized() -> Any:
        async with engine.reader.open(repo, None) as objects:
            entries = await engine.trees.entries(objects, root)
            return await engine.trees.sized(objects, entries)

    found = {one.entry.name: one.size for one in run(sized())}
    listed = git(repo.path, "ls-tree", "-l", "-z", "main").encode("utf-8", "surrogateescape")
    expected = {}
    for line in listed.split(b"\0")[:-1]:
        facts, _, name = line.partition(b"\t")
        size = facts.split()[3]
        expected[name] = None if size == b"-" else int(size)
    assert found == expected
    assert found[b"link"] == 9 and found[b"sub"] is None and found[b"dir"] is None


def test_a_large_directory(engine: Parts, run: Any, tmp_path: Path) -> None:
    files = {f"dir/file-{number:05}": "x" * (number % 7) for number in range(3000)}
    repo = imported(tmp_path / "r.git", commit("main", "many", files))

    async def sized() -> Any:
        async with engine.reader.open(repo, None) as objects:
            entries = await engine.trees.entries(objects, git(repo.path, "rev-parse", "main:dir"))
            return await engine.trees.sized(objects, entries)

    found = run(sized())
    assert [one.entry.name for one in found] == [name[4:].encode() for name in files]
    assert [one.size for one in found] == [len(content) for content in files.values()]


def test_lists_of_all_files(engine: Parts, run: Any, repo: BareRepository) -> None:
    main = git(repo.path, "rev-parse", "main")
    raw = git(repo.path, "ls-tree", "-r", "-z", "--name-only", "main")
    assert run(engine.trees.paths(repo, main, None)) == raw.encode("utf-8", "surrogateescape")
    files = {file.path: file for file in run(engine.trees.files(repo, main, None))}
    assert len(files) == len(FILES)
    assert (files[b"run"].mode, files[b"run"].size) == (0o100755, 10)
    assert (files[b"sub"].mode, files[b"sub"].size) == (0o160000, None)
    assert files[b"odd\xff\xfe"].size == 1 and files[b'new\nline"\t'].size == 1


def test_a_list_is_remembered_for_as_long_as_there_is_room(
    engine: Parts, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repos = [imported(tmp_path / f"{n}.git", commit("main", "x", {"abcdef": "1"})) for n in "123"]
    mains = [git(repo.path, "rev-parse", "main") for repo in repos]
    monkeypatch.setattr(trees, "REMEMBERED_LISTS", 14)  # of two
    first = [run(engine.trees.paths(r, m, None)) for r, m in zip(repos, mains, strict=True)]
    assert first == [b"abcdef\0"] * 3
    for repo in repos:
        Path(repo.path, "HEAD").unlink()  # no git will answer any more
    with pytest.raises(Unavailable):
        run(engine.trees.paths(repos[0], mains[0], None))
    assert run(engine.trees.paths(repos[1], mains[1], None)) == b"abcdef\0"
    assert run(engine.trees.paths(repos[2], mains[2], None)) == b"abcdef\0"


def test_limits_of_lists(
    engine: Parts, run: Any, repo: BareRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = git(repo.path, "rev-parse", "main")
    monkeypatch.setattr(trees, "MAX_LIST", 20)
    with pytest.raises(TooLarge):
        run(engine.trees.files(repo, main, None))
    monkeypatch.setattr(trees, "LIST_SECONDS", 0.0)
    with pytest.raises(TimedOut):
        run(engine.trees.files(repo, main, None))
