"""Parsing of commits, tags and trees, with dulwich as the second opinion."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from dulwich.objects import Commit as DulwichCommit
from dulwich.objects import ObjectID
from dulwich.objects import Tag as DulwichTag
from dulwich.objects import Tree as DulwichTree
from dulwich.repo import Repo
from hypothesis import given
from hypothesis import strategies as st

from tests.git.reading import commit, git, imported
from wit.git.objects import (
    Entry,
    moment,
    parse_commit,
    parse_person,
    parse_tag,
    parse_tree,
    shown,
)


def test_as_dulwich_reads_them(tmp_path: Path) -> None:
    stream = commit("main", "one\n\nmore\n", {"a": "1", "dir/b": "2", "100755 x": "3"})
    stream += commit("main", "Grüße", {"120000 l": "a", "nam\udcffe": "4"}, at=1_700_000_001)
    repo = imported(tmp_path / "r.git", stream)
    git(repo.path, "tag", "-a", "-m", "first\n\nrelease", "v1", "main")
    read = 0
    with Repo(repo.path) as second:
        for oid in second.object_store:
            theirs = second[oid]
            if isinstance(theirs, DulwichCommit):
                ours = parse_commit(oid.decode(), theirs.as_raw_string())
                assert ours.message.encode() == theirs.message
                assert ours.tree.encode() == theirs.tree
                assert [parent.encode() for parent in ours.parents] == theirs.parents
                author = f"{ours.author.name} <{ours.author.email}>"
                assert author.encode() == theirs.author
                assert ours.author.date.timestamp() == theirs.author_time
                assert ours.committer.date.timestamp() == theirs.commit_time
            elif isinstance(theirs, DulwichTag):
                tag = parse_tag(oid.decode(), theirs.as_raw_string())
                assert tag.message.encode() == theirs.message
                assert tag.target.encode() == theirs.object[1]
                assert tag.tagger is not None
                assert tag.tagger.date.timestamp() == theirs.tag_time
            elif isinstance(theirs, DulwichTree):
                entries = parse_tree(theirs.as_raw_string())
                assert [(e.name, e.mode, e.oid.encode()) for e in entries] == [
                    tuple(item) for item in theirs.items()
                ]
            else:
                continue
            read += 1
    assert read == 6


@pytest.mark.parametrize(
    ("line", "name", "email", "seconds"),
    [
        (b"Ann <ann@example.org> 1600000000 +0200", "Ann", "ann@example.org", 1_600_000_000),
        (b"<> 1 +0000", "", "", 1),
        (b" <ann> 5", "", "ann", 5),
        (b"Ann <ann@example.org>", "Ann", "ann@example.org", 0),
        (b"Ann <a> -5 +0000", "Ann", "a", 0),
        (b"Ann <a> 99999999999999 +0000", "Ann", "a", 253_402_300_799),
        (b"no address", "no address", "", 0),
        (b"", "", "", 0),
        (b"\xff <\xfe> 7 +0000", "\ufffd", "\ufffd", 7),
    ],
)
def test_people(line: bytes, name: str, email: str, seconds: int) -> None:
    person = parse_person(line)
    assert (person.name, person.email, person.date) == (name, email, moment(seconds))
    assert person.date.tzinfo is UTC


def test_a_time_is_utc() -> None:
    assert moment(1_600_000_000) == datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)


@pytest.mark.parametrize(
    ("encoding", "shown_as"),
    [(b"ISO-8859-1", "Grüße"), (b"windows-1252", "Grüße"), (b"punycode", "Gr\ufffd\ufffde"),
     (b"iso-8859-99", "Gr\ufffd\ufffde"), (b"unicode_escape", "Gr\ufffd\ufffde")],
)  # fmt: skip
def test_encodings_of_messages(encoding: bytes, shown_as: str) -> None:
    data = b"tree " + b"1" * 40 + b"\nencoding " + encoding + b"\n\nGr\xfc\xdfe"
    assert parse_commit("2" * 40, data).message == shown_as


def test_a_signature_is_no_part_of_a_tags_message_and_no_header_of_a_commit() -> None:
    signature = b"-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n"
    head = b"object " + b"1" * 40 + b"\ntype commit\ntag v1\ntagger A <a> 1 +0000\n\n"
    assert parse_tag("2" * 40, head + b"hello\n" + signature).message == "hello\n"
    signed = b"tree " + b"1" * 40 + b"\ngpgsig -----BEGIN\n parent " + b"2" * 40 + b"\n \n\nhi"
    assert parse_commit("3" * 40, signed).parents == ()
    assert parse_commit("3" * 40, signed).message == "hi"


def test_trees_of_sha256(tmp_path: Path) -> None:
    repo = imported(tmp_path / "r.git", commit("main", "x", {"a": "1", "d/b": "2"}), "sha256")
    with Repo(repo.path) as second:
        tree = second[ObjectID(git(repo.path, "rev-parse", "main^{tree}").encode())]
        ours = parse_tree(tree.as_raw_string(), "sha256")
    names = [(entry.name, entry.is_directory, len(entry.oid)) for entry in ours]
    assert names == [(b"a", False, 64), (b"d", True, 64)]


def test_kinds_of_entries() -> None:
    assert Entry(0o160000, b"s", "1" * 40).is_submodule
    assert not Entry(0o120000, b"l", "1" * 40).is_directory
    assert Entry(0o40000, b"d", "1" * 40).is_directory
    assert shown(b"\xc3\xa4\xff") == "ä\ufffd"


@given(st.binary(max_size=400))
def test_no_bytes_are_too_odd(data: bytes) -> None:
    parse_commit("1" * 40, data)
    parse_tag("1" * 40, data)
    parse_person(data)
    assert all(entry.name for entry in parse_tree(data))
