"""Names, versions and tags by npm's rules; ``semver`` is npm's own, where node is."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.errors import Invalid
from wit.packages.names import (
    PackageName,
    check_new_name,
    check_tag,
    check_version,
    parse_name,
    tarball_file,
    version_of_file,
)
from wit.packages.versions import clean_version, newest, parse_range, parse_version

VERSIONS = """
    0.0.0 0.0.1 0.0.9 0.1.0 0.1.2 0.1.2-alpha 0.2.0 1.0.0-0 1.0.0-alpha 1.0.0-alpha.1
    1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 1.0.1-0 1.0.1 1.2.0
    1.2.3-a 1.2.3-pre.4 1.2.3 1.2.4-beta 1.2.4 1.3.0-alpha 1.3.0 1.9.9 2.0.0-0 2.0.0-rc 2.0.0 2.1.0
    2.3.4 3.0.0 10.0.0 1.0.0-x-y-z.-- 9007199254740991.0.0
""".split()
RANGES = [
    "", "*", "x", "X", "1", "1.x", "1.2", "1.2.x", "1.2.*", "1.x.x", "=1.2.3", "v1.2.3", "= 1.2.3",
    "1.2.3", "1.2.3-pre.4", "1.2.3+build", ">1", ">1.2", ">1.2.3", ">=1", ">=1.2", ">=1.2.3", "<1",
    "<1.2", "<1.2.3", "<=1", "<=1.2", "<=1.2.3", "> 1.2.3", ">= 1.0.0 < 2.0.0", ">=1.0.0 <2",
    "^1.2.3", "^1.2", "^1", "^0.2.3", "^0.0.3", "^0.0", "^0", "^0.1", "^0.0.0", "^1.2.3-a", "^ 1.2",
    "~1.2.3", "~1.2", "~1", "~0.0", "~0", "~1.2.3-a", "~> 1.2", "~>1.2.3", "~ 1.0",
    "1.2.3 - 2.3.4", "1.2 - 2.3.4", "1.2.3 - 2.3", "1.2.3 - 2", "1 - 2", "* - 2", "1 - *",
    "1.2.3-a - 2.0.0-rc", "1 || 2", "1||2", "^1.0.0 || >=3", "<1.0.0-beta || 2.x", "||", "1 ||",
    ">*", "<*", ">=*", "<=*", "^*", "~*", ">x", "^x", "1.0.0-alpha", ">1.0.0-alpha", ">=1.0.0-0",
    "<1.0.0-beta.11", ">=1.0.0-alpha <1.0.1", "latest", "next", "1.2.3.4", "a.b.c", "^a", "1.2.a",
    "git+https://example.org/x.git", "file:../x", "npm:foo@1", "01.2.3", "1.02.3", "1.2.3-01",
    "=>1.2.3", "^^1", ">=", "<", "^", "~", "=", "  1.2.3  ", "\t1.2.3", "1.2.3 1.2.4", "1.x.3",
    ">1.x.3", "x.2.3", "9007199254740992.0.0", "1.2-alpha", "1-alpha", "V1.2.3",
    "1.2.3 -2.0.0", ">=1.2.3-beta <2 || >3", ">=v1.2.3", "^v1.2.3", "^=1.2.3", "~=1.2.3", "<=v2",
    "x.2", "x.x", "1.x.3-a", "1.x-a", "*.1", "1.2.x-a", "1..2", ".1", "1.", ">= 1 <= 2", "1 - 2 || 3",
    "1 - 2 - 3", "v 1.2.3", ">1.2.3-a <1.2.3", "1.2.3-a || 2.x", "^0.1.2-alpha", "~0.1.2-alpha",
    "<1.2.3-pre.4", "<=1.2.3-pre.4", "^0.0.1-0", "^1.x-0", ">=1.x", "<x.1", "0.x.1",
]  # fmt: skip
NPM_SEMVER = """
const semver = require(process.argv[1]);
const [versions, ranges] = JSON.parse(require('fs').readFileSync(0));
const taken = ranges.map(range => semver.validRange(range) === null
    ? null : versions.map(version => semver.satisfies(version, range)));
console.log(JSON.stringify([taken, [...versions].sort(semver.compare)]));
"""


@pytest.fixture(scope="module")
def npm_semver() -> Path:
    npm = shutil.which("npm")
    assert npm is not None, "npm is needed (scripts/setup)"
    root = subprocess.run([npm, "root", "-g"], check=True, capture_output=True, text=True).stdout
    return Path(root.strip()) / "npm/node_modules/semver"


def test_ranges_take_what_npm_takes(npm_semver: Path) -> None:
    done = subprocess.run(
        ["node", "-e", NPM_SEMVER, str(npm_semver)],
        input=json.dumps([VERSIONS, RANGES]), check=True, capture_output=True, text=True,
    )  # fmt: skip
    expected, in_order = json.loads(done.stdout)
    parsed = [version for text in VERSIONS if (version := parse_version(text)) is not None]
    assert len(parsed) == len(VERSIONS)
    for text, wanted in zip(RANGES, expected, strict=True):
        found = parse_range(text)
        takes = None if found is None else [found.takes(version) for version in parsed]
        differing = [] if takes is None or wanted is None else [
            version for version, ours, theirs in zip(VERSIONS, takes, wanted, strict=True)
            if ours != theirs
        ]  # fmt: skip
        assert (takes is None) == (wanted is None), text
        assert not differing, f"{text!r}: {differing}"
    assert [str(version) for version in sorted(parsed)] == in_order


@pytest.mark.parametrize(
    "text", ["1", "1.2", "v1.0.0", "=1.0.0", " 1.0.0", "1.0.0 ", "01.0.0", "1.0.0-01", "1.0.0-",
             "1.0.0+", "1.0.0-a..b", "latest", "", "1.0.0\n", "1.0.0/..", "__proto__", "1.2.3.4",
             "9007199254740992.0.0", "1." + "0" * 300 + ".0", "١.٠.٠"],
)  # fmt: skip
def test_versions_that_are_none(text: str) -> None:
    with pytest.raises(Invalid):
        check_version(text)


def test_versions_are_known_without_their_build() -> None:
    assert check_version("1.0.0-beta.1+build.5") == "1.0.0-beta.1"
    assert clean_version(" v1.2.3+b ") == "1.2.3"
    assert clean_version("1.2") is None


def test_the_newest_is_a_release_if_there_is_one() -> None:
    assert newest(["1.0.0", "2.0.0-rc.1", "1.10.0", "1.9.0"]) == "1.10.0"
    assert newest(["1.0.0-a", "1.0.0-b"]) == "1.0.0-b"
    assert newest([]) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("left-pad", PackageName(None, "left-pad")),
        ("@s/n", PackageName("s", "n")),
        ("@s%2fn", PackageName("s", "n")),
        ("@s%2Fn", PackageName("s", "n")),
        ("JSONStream", PackageName(None, "JSONStream")),
        ("@s/_x", PackageName("s", "_x")),
        ("constructor", PackageName(None, "constructor")),
    ],
)
def test_names_to_look_up(text: str, name: PackageName) -> None:
    assert parse_name(text) == name
    assert parse_name(name.full) == name


@pytest.mark.parametrize(
    "text", ["", ".", "..", "../x", "a/b", "@", "@/", "@s/", "@/n", "@s/../n", "@s/n/m", "@../n",
             ".a", "_a", "-a", "a b", " a", "a\n", "a\0", "a%2fb", "node_modules", "Favicon.ico",
             "__proto__", "@s/__proto__", "@__proto__/n", "é", "a" * 215, "a:b", "a\\b", "@s%2f..",
             "-", "a?b", "a#b"],
)  # fmt: skip
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(Invalid):
        parse_name(text)


@pytest.mark.parametrize(
    "text", ["JSONStream", "http", "fs", "a~b", "a'b", "a!b", "a(b)", "a*b", "@s/_x", "@S/n",
             "constructor", "prototype", "@s/constructor", "@s/node_modules"],
)  # fmt: skip
def test_names_that_are_not_given_any_more(text: str) -> None:
    with pytest.raises(Invalid):
        check_new_name(parse_name(text))


@pytest.mark.parametrize("text", ["a", "left-pad", "@s/n", "@s/http", "a.b", "a_b", "0", "x" * 214])
def test_names_that_are_given(text: str) -> None:
    check_new_name(parse_name(text))


def test_prereleases_in_names_of_files() -> None:
    name = parse_name("@s/a-b")
    assert tarball_file(name, "1.0.0-beta.1") == "a-b-1.0.0-beta.1.tgz"
    assert version_of_file(name, "a-b-1.0.0-beta.1.tgz") == "1.0.0-beta.1"


@pytest.mark.parametrize(
    "file", ["a-1.0.0.tgz", "a-b-1.0.0.tar", "a-b-.tgz", "a-b-1.tgz", "a-b-../x.tgz", "", "a-b"]
)
def test_files_that_are_no_tarballs_of_a_package(file: str) -> None:
    with pytest.raises(Invalid):
        version_of_file(parse_name("@s/a-b"), file)


@pytest.mark.parametrize(
    "tag", ["", "1.0.0", "1", "v1.4", "x", "*", "^1", ">=1", "a b", "a/b", "a%", "é", "a" * 101,
            "__proto__", "constructor", "a\n", "<b>"],
)  # fmt: skip
def test_tags_that_are_none(tag: str) -> None:
    with pytest.raises(Invalid):
        check_tag(tag)


@pytest.mark.parametrize("tag", ["latest", "next", "beta.1", "v1-lts", "release-1.x", "a@b"])
def test_tags(tag: str) -> None:
    assert check_tag(tag) == tag


@given(st.text(max_size=40))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        name = parse_name(text)
    except Invalid:
        return
    assert parse_name(name.full) == name
    assert not {"..", ".", ""} & set(name.full.split("/"))
