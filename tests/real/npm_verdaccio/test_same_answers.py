"""The same requests to our registry and to verdaccio: status and shape of the answers.

Where the two differ on purpose, ``DIFFERENCES`` says why.
"""

from __future__ import annotations

import base64
import itertools
from typing import Any

import pytest

from tests.real.npm_verdaccio.conftest import Pair
from tests.support.npm import ABBREVIATED, Answer, digests, document, escaped, tarball

DIFFERENCES = {
    "201 for a publish": "the contract (rest.md) has 200; clients take any success",
    "_uplinks, _distfiles, _attachments, users": "verdaccio's own bookkeeping in a packument",
    "contributors, _nodeVersion": "verdaccio puts empty ones into every manifest",
    "readme of a version": "verdaccio copies the package's readme into the latest version",
    "time of the abbreviated form": "the form's specification has 'modified' alone",
    "description, hasInstallScript: false": "the abbreviated form has them only when they matter",
    "charset of a tarball": "bytes have none",
    "version of a search result": "npm shows 'version', which verdaccio leaves out",
    "errors": "both have 'error'; all of wit's doors have 'code' and 'requestId' besides",
    "who is nobody": "verdaccio says so with 200 and {}, also to a wrong password; wit with 401",
}
"""What the tests below leave out of the comparison, and why."""

_numbers = itertools.count(1)


def manifest(name: str, version: str = "1.0.0") -> dict[str, Any]:
    return {
        "name": name,
        "version": version,
        "description": "a thing that is compared",
        "repository": {"type": "git", "url": "alice/packages"},
        "keywords": ["compared"],
        "license": "MIT",
        "bin": {"thing": "cli.js"},
        "engines": {"node": ">=18"},
        "dependencies": {"other": "^1.0.0"},
        "optionalDependencies": {"maybe": "1"},
        "devDependencies": {"tool": "*"},
        "peerDependencies": {"host": ">=2"},
        "peerDependenciesMeta": {"host": {"optional": True}},
        "os": ["linux"],
        "cpu": ["x64"],
        "scripts": {"test": "true"},
        "custom": {"kept": [1, 2, {"as": "it is"}]},
    }


VERSIONS = {"1.0.0": "latest", "1.1.0": "latest", "2.0.0-beta.1": "next"}


@pytest.fixture(scope="module", params=["thing", "@alice/thing"])
def name(request: pytest.FixtureRequest, pair: Pair) -> str:
    """A package with VERSIONS in both."""
    for version, tag in VERSIONS.items():
        for registry in (pair.ours, pair.theirs):
            body = document(manifest(request.param, version), tag=tag)
            assert registry.publish(body).status in (200, 201)
    return str(request.param)


@pytest.fixture
def fresh(pair: Pair) -> str:
    """A package that a test may spoil."""
    name = f"fresh-{next(_numbers)}"
    for answer in pair.ask("PUT", name, document(manifest(name))):
        assert answer.status in (200, 201), answer
    return name


def shape(value: Any) -> Any:
    """What kind of JSON it is, down to its leaves."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [shape(inner) for inner in value[:1]]
    return type(value).__name__


def file_of(name: str, version: str) -> str:
    return f"{name.rpartition('/')[2]}-{version}.tgz"


def same_status(answers: tuple[Answer, Answer]) -> int:
    ours, theirs = answers
    assert ours.status == theirs.status, (ours, theirs)
    return ours.status


# Reading


THEIR_VERSION = {
    "contributors",
    "_nodeVersion",
    "_npmVersion",
    "_npmUser",
    "readme",
    "readmeFilename",
}
OUR_VERSION = {"_hasShrinkwrap", "_npmUser", "_npmVersion"}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_manifest(pair: Pair, name: str, version: str) -> None:
    """Of one version, by itself and within the packument."""
    for path in (f"{escaped(name)}/{version}", escaped(name)):
        ours, theirs = (answer.json for answer in pair.ask("GET", path))
        if path == escaped(name):
            ours, theirs = ours["versions"][version], theirs["versions"][version]
        assert set(theirs) - set(ours) <= THEIR_VERSION
        assert set(ours) - set(theirs) <= OUR_VERSION
        for key in set(ours) & set(theirs) - {"dist", *THEIR_VERSION}:
            assert ours[key] == theirs[key], key
        packed = tarball(manifest(name, version))
        for shown in (ours["dist"], theirs["dist"]):
            assert {key: shown[key] for key in ("shasum", "integrity")} == digests(packed)
            assert shown["tarball"].endswith(f"/{name}/-/{file_of(name, version)}")


def test_a_packument(pair: Pair, name: str) -> None:
    ours, theirs = (answer.json for answer in pair.ask("GET", escaped(name)))
    own = {"_uplinks", "_distfiles", "_attachments", "users", "_id", "_rev"}
    assert set(theirs) - own <= set(ours)
    for key in ("name", "dist-tags"):
        assert ours[key] == theirs[key]
    assert shape(ours["time"]) == shape(theirs["time"])
    assert list(ours["versions"]) == list(theirs["versions"]) == list(VERSIONS)
    assert ours["_id"] == theirs.get("_id", name) == name
    assert shape(ours["_rev"]) == shape(theirs["_rev"])


def test_an_abbreviated_packument(pair: Pair, name: str) -> None:
    answers = pair.ask("GET", escaped(name), Accept=ABBREVIATED)
    assert [answer.headers.get_content_type() for answer in answers] == [ABBREVIATED] * 2
    ours, theirs = (answer.json for answer in answers)
    # verdaccio has "time" there as well; the specification has "modified" alone.
    assert set(ours) == set(theirs) - {"time"} == {"name", "modified", "dist-tags", "versions"}
    assert ours["dist-tags"] == theirs["dist-tags"]
    for version in VERSIONS:
        mine, other = ours["versions"][version], theirs["versions"][version]
        assert set(other) - set(mine) <= {"description", "hasInstallScript"}
        for key in set(mine) & set(other) - {"dist"}:
            assert mine[key] == other[key], key
        assert {"custom", "scripts", "description", "keywords"} & set(mine) == set()


def test_tags(pair: Pair, name: str) -> None:
    path = f"-/package/{escaped(name)}/dist-tags"
    ours, theirs = (answer.json for answer in pair.ask("GET", path))
    assert ours == theirs == {"latest": "1.1.0", "next": "2.0.0-beta.1"}
    for tag, version in ours.items():
        shown = [answer.json["version"] for answer in pair.ask("GET", f"{escaped(name)}/{tag}")]
        assert shown == [version] * 2


def test_a_tarball(pair: Pair, name: str) -> None:
    path = f"{name}/-/{file_of(name, '2.0.0-beta.1')}"
    ours, theirs = pair.ask("GET", path)
    assert (ours.status, theirs.status) == (200, 200)
    assert ours.body == theirs.body == tarball(manifest(name, "2.0.0-beta.1"))
    assert ours.headers["Content-Length"] == theirs.headers["Content-Length"]
    assert ours.headers.get_content_type() == theirs.headers.get_content_type()


def test_the_same_again(pair: Pair, name: str) -> None:
    """An ETag is answered with 304."""
    for registry in (pair.ours, pair.theirs):
        etag = registry.get(escaped(name)).headers["ETag"]
        again = registry.get(escaped(name), **{"If-None-Match": etag})
        assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "missing", "@alice%2fmissing", "{name}/9.9.9", "{name}/no-such-tag",
        "{plain}/-/{file}-9.9.9.tgz", "missing/-/missing-1.0.0.tgz", "-/package/missing/dist-tags",
    ],
)  # fmt: skip
def test_what_is_not_there(pair: Pair, name: str, path: str) -> None:
    file = name.rpartition("/")[2]
    path = path.format(name=escaped(name), plain=name, file=file)
    answers = pair.ask("GET", path)
    assert same_status(answers) == 404
    for answer in answers:
        assert shape(answer.json)["error"] == "str"


def test_search(pair: Pair, name: str) -> None:
    """One result each, with everything that npm's client shows."""
    ours, theirs = (
        [entry for entry in answer.json["objects"] if entry["package"]["name"] == name]
        for answer in pair.ask("GET", "-/v1/search?text=thing&size=20")
    )
    assert (len(ours), len(theirs)) == (1, 1)
    for key in ("name", "description", "keywords"):
        assert ours[0]["package"][key] == theirs[0]["package"][key], key
    assert ours[0]["package"]["version"] == theirs[0]["package"]["dist-tags"]["latest"]
    assert {"package", "score", "searchScore"} <= set(ours[0]) & set(theirs[0])


# Who


def test_ping_and_whoami(pair: Pair) -> None:
    assert [answer.status for answer in pair.ask("GET", "-/ping")] == [200, 200]
    assert [answer.json for answer in pair.ask("GET", "-/whoami")] == [{"username": "alice"}] * 2


def test_nobody_publishes(pair: Pair) -> None:
    name = "by-nobody"
    answers = pair.nobody().ask("PUT", name, document(manifest(name)))
    assert same_status(answers) == 401
    assert same_status(pair.ask("GET", name)) == 404


def test_a_wrong_password(pair: Pair) -> None:
    basic = base64.b64encode(b"alice:wrong").decode()
    body = document(manifest("by-whom"))
    answers = pair.nobody().ask("PUT", "by-whom", body, Authorization=f"Basic {basic}")
    assert same_status(answers) == 401


# Changing


def test_publishing_again(pair: Pair, fresh: str) -> None:
    answers = pair.ask(
        "PUT", fresh, document(manifest(fresh), tarball(manifest(fresh), {"a": b""}))
    )
    assert same_status(answers) == 409


def test_moving_and_removing_tags(pair: Pair, fresh: str) -> None:
    path = f"-/package/{fresh}/dist-tags"
    for answer in pair.ask("PUT", f"{path}/stable", "1.0.0"):
        assert answer.status in (200, 201)
    ours, theirs = (answer.json for answer in pair.ask("GET", path))
    assert ours == theirs == {"latest": "1.0.0", "stable": "1.0.0"}
    for answer in pair.ask("DELETE", f"{path}/stable"):
        assert answer.status in (200, 201)
    ours, theirs = (answer.json for answer in pair.ask("GET", path))
    assert ours == theirs == {"latest": "1.0.0"}
    assert same_status(pair.ask("PUT", f"{path}/stable", "9.9.9")) == 404


def test_deprecating(pair: Pair, fresh: str) -> None:
    """As ``npm deprecate`` does it: the whole packument comes back with a word in it."""
    for registry in (pair.ours, pair.theirs):
        shown = registry.get(f"{fresh}?write=true").json
        shown["versions"]["1.0.0"]["deprecated"] = "use another"
        shown.pop("_attachments", None)
        assert registry.ask("PUT", fresh, shown).status in (200, 201)
        for accept in ("application/json", ABBREVIATED):
            version = registry.get(fresh, Accept=accept).json["versions"]["1.0.0"]
            assert version["deprecated"] == "use another"


def test_removing_a_version(pair: Pair, fresh: str) -> None:
    """As ``npm unpublish NAME@VERSION`` does it."""
    for registry in (pair.ours, pair.theirs):
        body = document(manifest(fresh, "1.0.1"))
        assert registry.publish(body).status in (200, 201)
        shown = registry.get(f"{fresh}?write=true").json
        del shown["versions"]["1.0.1"]
        shown["dist-tags"] = {"latest": "1.0.0"}
        shown.pop("_attachments", None)
        answer = registry.ask("PUT", f"{fresh}/-rev/{shown['_rev']}", shown)
        assert answer.status in (200, 201), answer
        rev = registry.get(f"{fresh}?write=true").json["_rev"]
        answer = registry.ask("DELETE", f"{fresh}/-/{file_of(fresh, '1.0.1')}/-rev/{rev}")
        assert answer.status in (200, 201), answer
        shown = registry.get(fresh).json
        assert (list(shown["versions"]), shown["dist-tags"]) == (["1.0.0"], {"latest": "1.0.0"})
        assert registry.get(f"{fresh}/-/{file_of(fresh, '1.0.1')}").status == 404


def test_removing_all(pair: Pair, fresh: str) -> None:
    for registry in (pair.ours, pair.theirs):
        rev = registry.get(f"{fresh}?write=true").json["_rev"]
        assert registry.ask("DELETE", f"{fresh}/-rev/{rev}").status in (200, 201)
    assert same_status(pair.ask("GET", fresh)) == 404
    assert same_status(pair.ask("GET", f"{fresh}/-/{file_of(fresh, '1.0.0')}")) == 404
