"""Ref names against git itself, patterns against a plain regular expression."""

from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wit.errors import Invalid
from wit.git.refname import (
    check_oid,
    check_pattern,
    check_refname,
    is_refname,
    is_zero,
    matches,
    zero_oid,
)

AWKWARD = st.lists(
    st.sampled_from(
        [*"ab./@{~^:?*[\\- \x01\x7fé", "..", "//", "@{", ".lock", "lock", "HEAD", "refs"]
    ),
    max_size=7,
).map("".join)


@settings(max_examples=150)
@given(AWKWARD)
def test_is_refname_agrees_with_git(tail: str) -> None:
    name = "refs/heads/" + tail
    theirs = subprocess.run(["git", "check-ref-format", name]).returncode == 0
    assert is_refname(name.encode()) == theirs


@pytest.mark.parametrize(
    "name",
    [
        b"refs/heads/main",
        b"refs/heads/feature/a.b-c_d@e",
        b"refs/tags/v1.0",
        b"refs/notes/commits",
        b"refs/heads/@",
        "refs/heads/Übung".encode(),
        b"refs/heads/" + b"x" * 250,
    ],
)
def test_good_names_come_back(name: bytes) -> None:
    assert check_refname(name) is name


@pytest.mark.attack(3, 19)
@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"HEAD",
        b"refs",
        b"refs/",
        b"main",
        b"/refs/heads/main",
        b"refs/heads/../../x",
        b"refs/heads/x.lock",
        b"refs/heads/x.lock/y",
        b"refs/heads/-x",
        b"refs/heads/--exec=x",
        b"refs/tags/-x",
        b"refs/heads/HEAD",
        b"refs/heads/",
        b"refs/heads/.x",
        b"refs/heads/x.",
        b"refs/heads/x\n",
        b"refs/heads/x\0",
        b"refs/heads/x y",
        b"refs/heads/\xff\xfe",
        b"refs/heads/" + b"x" * 5000,
        b"refs/heads/" + b"x" * 251,
        b"refs/heads/" + b"x/" * 600 + b"x",
    ],
)
def test_bad_names_are_refused(name: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        check_refname(name)
    assert len(caught.value.message) < 400


def test_head_is_taken_only_where_it_is_meant() -> None:
    assert check_refname(b"HEAD", head=True) == b"HEAD"
    with pytest.raises(Invalid):
        check_refname(b"ORIG_HEAD", head=True)


def test_oids() -> None:
    assert check_oid("0a" * 20) == "0a" * 20
    assert check_oid("0a" * 32) == "0a" * 32
    for bad in ("", "0a" * 19, "0A" * 20, "0a" * 20 + "\n", "-" + "a" * 39, "0g" * 20, "0a" * 26):
        with pytest.raises(Invalid):
            check_oid(bad)
    assert is_zero(zero_oid("sha1")) and is_zero(zero_oid("sha256"))
    assert len(zero_oid("sha256")) == 64
    assert not is_zero("0" * 39 + "1") and not is_zero("0" * 41)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("main", ["main"], ["mainx", "xmain", "Main", "a/main"]),
        ("release/*", ["release/1", "release/"], ["release/1/2", "release"]),
        ("release/**", ["release/1", "release/1/2"], ["released"]),
        ("*", ["a", "a.b"], ["a/b"]),
        ("**", ["a", "a/b", "a/b/c"], []),
        ("v?.*", ["v1.0", "v2.x.y"], ["v10.0", "v/.0", "v1"]),
        ("a**z", ["az", "a/z", "a/b/z"], ["a/b"]),
        ("**a*b", ["a/ab", "ab", "x/y/axb"], ["a/b/c", "xa/b"]),
        ("a.b", ["a.b"], ["axb"]),
        ("***", ["a/b"], []),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    check_pattern(pattern)
    assert [name for name in yes if not matches(pattern, name)] == []
    assert [name for name in no if matches(pattern.encode(), name.encode())] == []


@given(
    st.text("ab/*?.", min_size=1, max_size=8),
    st.text("ab/.", max_size=8),
)
def test_matching_agrees_with_a_regular_expression(pattern: str, name: str) -> None:
    kinds = {"*": "[^/]*", "?": "[^/]"}
    expression = "".join(
        ".*" if part.startswith("**") else kinds.get(part, re.escape(part))
        for part in re.findall(r"\*+|[^*]", pattern)
    )
    assert matches(pattern, name) == (re.fullmatch(expression, name) is not None)


@pytest.mark.attack(58)
def test_a_pattern_made_to_be_slow_is_not() -> None:
    pattern = check_pattern("*a" * 120 + "b")
    assert not matches(pattern, "a" * 1000)


@pytest.mark.parametrize(
    "pattern",
    ["", "-x", "*.lock", "a//b", "/a", "a b", "a[b]", "a..b", "x" * 300, b"\xff", "\ud800", "a\n"],
)
def test_patterns_that_can_match_nothing_are_refused(pattern: str | bytes) -> None:
    with pytest.raises(Invalid):
        check_pattern(pattern)
