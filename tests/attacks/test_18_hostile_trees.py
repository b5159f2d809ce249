"""Trees and .gitmodules that would do harm where they are checked out."""

from __future__ import annotations

import pytest

from tests.support.site import Site, refs
from tests.support.wire import (
    BLOB,
    COMMIT,
    TREE,
    ZERO,
    commit,
    entry,
    oid,
    pack,
    push,
    push_history,
    tree,
)

pytestmark = pytest.mark.attack(18)

FILE, LINK, DIRECTORY, GITLINK = b"100644", b"120000", b"40000", b"160000"
CONTENT = b"content\n"
IGNORABLE = "\N{ZERO WIDTH NON-JOINER}".encode()


def named(name: bytes, mode: bytes = FILE) -> list[tuple[bytes, bytes, str]]:
    return [(mode, name, oid(BLOB, CONTENT))]


TREES = {
    "dot-git": named(b".git"),
    "dot-git folder": [(DIRECTORY, b".git", oid(TREE, b""))],
    "upper case": named(b".GIT"),
    "mixed case": named(b".giT"),
    "dot": named(b"."),
    "dot-dot": named(b".."),
    "dot-dot folder": [(DIRECTORY, b"..", oid(TREE, b""))],
    "ntfs short name": named(b"git~1"),
    "ntfs short name upper": named(b"GIT~1"),
    "ntfs trailing space": named(b".git "),
    "ntfs trailing dot": named(b".git."),
    "ntfs stream": named(b".git::$INDEX_ALLOCATION"),
    "ntfs backslash": named(b".git\\config"),
    "hfs ignorable": named(b".g" + IGNORABLE + b"it"),
    "hfs ignorable at the end": named(b".git" + IGNORABLE),
    "empty name": named(b""),
    "slash in a name": named(b"a/b"),
    "null id": [(FILE, b"file", ZERO)],
    "duplicate": named(b"twice") + named(b"twice"),
    "duplicate file and folder": [*named(b"twice"), (DIRECTORY, b"twice", oid(TREE, b""))],
    "not sorted": named(b"b") + named(b"a"),
    "linked .gitmodules": [(LINK, b".gitmodules", oid(BLOB, CONTENT))],
    "linked .gitmodules upper": [(LINK, b".GITMODULES", oid(BLOB, CONTENT))],
    "linked .gitmodules ntfs": [(LINK, b"gitmod~1", oid(BLOB, CONTENT))],
    "folder .gitmodules": [(DIRECTORY, b".gitmodules", oid(TREE, b""))],
}

MODULES = {
    "url is an option": b'[submodule "a"]\n\tpath = a\n\turl = --upload-pack=touch /tmp/pwned\n',
    "url with a newline": b'[submodule "a"]\n\tpath = a\n\turl = "https://x.example/\\nhost=evil"\n',
    "url with a carriage return": b'[submodule "a"]\n\tpath = a\n\turl = "https://x.example/%0ah"\n',
    "path is an option": b'[submodule "a"]\n\tpath = -x\n\turl = https://x.example/\n',
    "name climbs": b'[submodule "../../x"]\n\tpath = a\n\turl = https://x.example/\n',
    "update runs a command": b'[submodule "a"]\n\tpath = a\n\turl = u\n\tupdate = !touch x\n',
}


def pushed(site: Site, name: str, root: bytes, blob: bytes = CONTENT) -> str:
    """Push a commit of the tree; the answer to its ref."""
    top = commit(oid(TREE, root))
    packed = pack([entry(COMMIT, top), entry(TREE, root), entry(TREE, b""), entry(BLOB, blob)])
    ref = "refs/heads/hostile"
    report = push(site.daemon, site.alice, name, [(ZERO, oid(COMMIT, top), ref)], packed)
    return report.refs.get(ref, "refused: " + report.messages)


@pytest.mark.parametrize("kind", list(TREES))
def test_hostile_trees_are_refused(site: Site, new_name: str, kind: str) -> None:
    made = push_history(site.daemon, site.alice, new_name)
    assert pushed(site, new_name, tree(*TREES[kind])) != "ok"
    assert refs(site.disk(new_name)) == {"refs/heads/main": made.commit}


@pytest.mark.parametrize("kind", list(MODULES))
def test_hostile_modules_are_refused(site: Site, new_name: str, kind: str) -> None:
    made = push_history(site.daemon, site.alice, new_name)
    blob = MODULES[kind]
    assert pushed(site, new_name, tree((FILE, b".gitmodules", oid(BLOB, blob))), blob) != "ok"
    assert refs(site.disk(new_name)) == {"refs/heads/main": made.commit}


def test_a_hostile_tree_deep_below_an_honest_one(site: Site, new_name: str) -> None:
    push_history(site.daemon, site.alice, new_name)
    inner = tree(*named(b".git"))
    outer = tree((DIRECTORY, b"folder", oid(TREE, inner)))
    top = commit(oid(TREE, outer))
    packed = pack(
        [entry(COMMIT, top), entry(TREE, outer), entry(TREE, inner), entry(BLOB, CONTENT)]
    )
    ref = "refs/heads/deep"
    report = push(site.daemon, site.alice, new_name, [(ZERO, oid(COMMIT, top), ref)], packed)
    assert report.refs.get(ref, "refused") != "ok"


def test_malformed_objects_are_refused(site: Site, new_name: str) -> None:
    push_history(site.daemon, site.alice, new_name)
    root = tree(*named(b"file"))
    good = commit(oid(TREE, root))
    broken = [
        good.replace(b"tree ", b"eert ", 1),
        good.replace(oid(TREE, root).encode(), b"1" * 39),
        good.replace(b"author A <a@example.org>", b"author A <a@exam\0ple.org>"),
        good.replace(b"author A <a@example.org>", b"author A <a@example.org"),
        good.replace(b"committer", b"commuter", 1),
        good.split(b"\n", 1)[0] + b"\n",
        b"",
    ]
    for top in broken:
        packed = pack([entry(COMMIT, top), entry(TREE, root), entry(BLOB, CONTENT)])
        ref = "refs/heads/broken"
        report = push(site.daemon, site.alice, new_name, [(ZERO, oid(COMMIT, top), ref)], packed)
        assert report.refs.get(ref, "refused") != "ok", top


def test_an_honest_tree_goes_in(site: Site, new_name: str) -> None:
    """What the others are measured against."""
    push_history(site.daemon, site.alice, new_name)
    entries = [
        *named(b".gitattributes"), *named(b".github"), *named(b"gitignore"),
        (GITLINK, b"module", "1" * 40), (LINK, b"to", oid(BLOB, CONTENT)),
    ]  # fmt: skip
    assert pushed(site, new_name, tree(*entries)) == "ok"
