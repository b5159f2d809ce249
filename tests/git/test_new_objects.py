"""Objects made in memory are those that git makes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.git.pushing import git, ok
from wit.errors import Invalid
from wit.git.new_objects import (
    Entry,
    Folder,
    Person,
    check_path,
    folders_on_the_way,
    new_commit,
    new_object,
    pack,
    parse_tree,
    serialise_tree,
    with_file,
)

WHEN = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
NAMES = st.binary(min_size=1, max_size=4).filter(
    lambda name: not {0, 47} & set(name) and name not in (b".", b"..")
)
MODES = st.sampled_from([b"100644", b"100755", b"120000", b"40000", b"040000", b"160000"])


@given(st.dictionaries(NAMES, MODES, max_size=12), st.sampled_from([20, 32]))
def test_trees_are_read_as_they_were_written(names: dict[bytes, bytes], size: int) -> None:
    entries = {name: Entry(mode, name, b"\x17" * size) for name, mode in names.items()}
    assert parse_tree(serialise_tree(entries), size) == entries


@pytest.mark.parametrize("data", [b"100644 x", b"100644 x\0short", b"junk"])
def test_what_is_no_tree(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_tree(data, 20)


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_git_makes_the_same_objects(tmp_path: Path, run: Any, object_format: str) -> None:
    ok("init", "-q", "--bare", f"--object-format={object_format}", tmp_path)
    files = {b"a/b": b"1", b"a.txt": b"2", b"a-": b"3" * 5000, b"a/c/d": b"", b"a0": b"5"}
    objects = []
    trees: dict[str, bytes] = {}
    root = ""

    async def read(oid: str) -> bytes:
        return trees[oid]

    for path, content in files.items():
        folders: list[Folder] = (
            run(folders_on_the_way(read, root, path, object_format))
            if root
            else [{} for _ in path.split(b"/")]
        )
        made = with_file(folders, path, content, object_format)
        trees |= {new.oid: new.data for new in made if new.kind == b"tree"}
        root = made[-1].oid
        objects += made
    person = Person("Ada <script>\n", "ada@example.org")
    commit = new_commit(root, [], person, WHEN, "one\r\ntwo", object_format=object_format)
    unique = list({new.oid: new for new in [*objects, commit]}.values())
    ok("index-pack", "--stdin", "--strict", "-v", cwd=tmp_path, data=pack(unique, object_format))
    index = str(tmp_path / "index")
    for path, content in files.items():
        blob = ok("hash-object", "-w", "--stdin", cwd=tmp_path, data=content)
        ok(
            "update-index", "--add", "--cacheinfo", f"100644,{blob},{path.decode()}",
            cwd=tmp_path, GIT_INDEX_FILE=index,
        )  # fmt: skip
    assert ok("write-tree", cwd=tmp_path, GIT_INDEX_FILE=index) == root
    date = {"GIT_AUTHOR_DATE": "1714979289 +0000", "GIT_COMMITTER_DATE": "1714979289 +0000"}
    people = {
        "GIT_AUTHOR_NAME": "Ada script",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_COMMITTER_NAME": "Ada script",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
    }
    same = ok("commit-tree", root, cwd=tmp_path, data=b"one\ntwo\n", **date, **people)
    assert same == commit.oid
    ok("fsck", "--strict", cwd=tmp_path)


def test_an_empty_pack(tmp_path: Path) -> None:
    for object_format in ("sha1", "sha256"):
        place = tmp_path / object_format
        ok("init", "-q", "--bare", f"--object-format={object_format}", place)
        assert git("unpack-objects", cwd=place, data=pack([], object_format)).code == 0


@given(st.text(max_size=60))
def test_a_person_is_one_line_that_git_can_read(name: str) -> None:
    line = Person(name, name).line(WHEN)
    assert line.count(b"<") == line.count(b">") == 1 and b"\n" not in line and b"\0" not in line
    assert not line.startswith((b" ", b"<")) and line.endswith(b"> 1714979289 +0000")


def test_what_stands_in_the_way() -> None:
    blob = new_object(b"blob", b"x", "sha1")
    raw = bytes.fromhex(blob.oid)
    folder: Folder = {
        b"file": Entry(b"100755", b"file", raw),
        b"same": Entry(b"100644", b"same", raw),
        b"dir": Entry(b"40000", b"dir", raw),
        b"module": Entry(b"160000", b"module", raw),
    }
    for path, reason in ((b"dir", "folder"), (b"module", "submodule"), (b"same", "already")):
        with pytest.raises(Invalid, match=reason):
            with_file([folder], path, b"x", "sha1")
    _, tree = with_file([folder], b"file", b"y", "sha1")
    assert parse_tree(tree.data, 20)[b"file"].mode == b"100644"
    assert folder[b"file"].mode == b"100755", "what was read stays as it was"


@pytest.mark.parametrize(
    "path", ["a", "a/b.md", "..a", ".gitignore", "dir/.github/x", "ä/ö", "a b"]
)
def test_good_paths(path: str) -> None:
    assert check_path(path) == path.encode()


@given(st.text(alphabet="a./\\g~1 GIT\0\n\u200c", max_size=12))
def test_no_path_leads_out_or_into_dot_git(path: str) -> None:
    try:
        parts = check_path(path).decode().split("/")
    except Invalid:
        return
    assert all(part not in ("", ".", "..") for part in parts)
    assert all(part.lower().rstrip(". ") not in (".git", "git~1") for part in parts)
    assert "\0" not in path and "\n" not in path and "\u200c" not in path and "\\" not in path
