import base64
import hashlib
import json
from datetime import UTC, datetime

import pytest

from wit.packages.names import parse_name
from wit.packages.upstream.documents import Dist, find_dist, make_document, sha512_of

SHA512 = hashlib.sha512(b"tarball")
INTEGRITY = "sha512-" + base64.b64encode(SHA512.digest()).decode()
SHA1 = hashlib.sha1(b"tarball").hexdigest()
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def manifest(version="1.0.0", name="left", **dist):
    dist = {
        "tarball": f"https://up.example/left/-/left-{version}.tgz",
        "integrity": INTEGRITY,
    } | dist
    return {"name": name, "version": version, "dist": dist, "scripts": {"test": "x"}}


def packument(name="left", **versions):
    return {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": versions, "readme": "R"}


def made(document, name="left", abbreviated=False):
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return make_document(
        raw,
        parse_name(name),
        abbreviated=abbreviated,
        registry="https://wit.example/api/packages",
        may_ask=lambda url: url.startswith("https://up.example/"),
        now=NOW,
    )


def body(document, **options):
    return json.loads(made(document, **options).body)


def test_tarballs_lie_here_and_the_rest_is_handed_on():
    full = body(packument(**{"1.0.0": manifest()}) | {"modified": "2020-02-03T04:05:06.789Z"})
    assert full["versions"]["1.0.0"] == manifest(
        tarball="https://wit.example/api/packages/left/-/left-1.0.0.tgz"
    )
    assert full["readme"] == "R"
    assert full["dist-tags"] == {"latest": "1.0.0"}


def test_the_abbreviated_form_has_what_installing_needs():
    document = packument(**{"1.0.0": manifest() | {"bin": {"a": "b"}, "hasInstallScript": True}})
    short = body(document, abbreviated=True)
    assert set(short) == {"name", "modified", "dist-tags", "versions"}
    assert set(short["versions"]["1.0.0"]) == {"name", "version", "dist", "bin", "hasInstallScript"}
    assert short["modified"] == "2030-01-01T00:00:00.000Z"


def test_a_scoped_tarball_has_the_scope_in_its_folder_only():
    document = packument("@s/n", **{"1.0.0-beta.1": manifest("1.0.0-beta.1", "@s/n")})
    found = body(document, name="@s/n")["versions"]["1.0.0-beta.1"]["dist"]["tarball"]
    assert found == "https://wit.example/api/packages/@s/n/-/n-1.0.0-beta.1.tgz"


def test_attestations_are_asked_of_us():
    document = packument(
        **{"1.0.0": manifest(attestations={"url": "https://up.example/x", "p": 1})}
    )
    assert body(document)["versions"]["1.0.0"]["dist"]["attestations"] == {
        "url": "https://wit.example/api/packages/-/npm/v1/attestations/left@1.0.0", "p": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("1.0.0", manifest("1.0.1")),
        ("1.0.0", manifest(name="right")),
        ("1.0", manifest("1.0")),
        ("v1.0.0", manifest("v1.0.0")),
        ("../1.0.0", manifest("../1.0.0")),
        ("__proto__", manifest("__proto__")),
        ("1.0.0", manifest(tarball="https://elsewhere.example/left-1.0.0.tgz")),
        ("1.0.0", manifest(tarball=["https://up.example/"])),
        ("1.0.0", manifest(integrity="md5-abc")),
        ("1.0.0", manifest(integrity="sha512-" + base64.b64encode(b"short").decode())),
        ("1.0.0", {"name": "left", "version": "1.0.0"}),
        ("1.0.0", "1.0.0"),
    ],
)
def test_versions_that_cannot_be_had_are_left_out(version, said):
    document = made(packument(**{"2.0.0": manifest("2.0.0"), version: said}))
    assert document.left_out == 1
    ours = json.loads(document.body)
    assert set(ours["versions"]) == {"2.0.0"}
    assert ours["dist-tags"] == {}, "a tag points to a version that is left out"


@pytest.mark.parametrize(
    "document",
    [
        packument("right"),
        {"versions": {}},
        b"[]",
        b"<html>",
        b"\xff",
        b'{"name":"left","versions":{},"versions":{}}',
        b'{"name":"left","versions":[]}',
        b'{"name":"left","name":"right"}',
    ],
)
def test_what_is_no_packument_of_this_name_is_refused(document):
    with pytest.raises(ValueError):
        made(document)


def test_prototype_keys_are_not_handed_on():
    evil = packument(**{"1.0.0": manifest() | {"dependencies": {"__proto__": "1"}}})
    evil |= {
        "__proto__": {"x": 1},
        "constructor": 1,
        "dist-tags": {"__proto__": "1.0.0", "a": "1.0.0"},
    }
    full = made(evil)
    assert b"__proto__" not in full.body
    assert "constructor" not in json.loads(full.body)
    assert json.loads(full.body)["dist-tags"] == {"a": "1.0.0"}


def test_dists_are_found_by_their_version():
    versions = {v: manifest(v) for v in ("1.0.0", "11.0.0", "1.0.0-rc.1")}
    versions["2.0.0"] = manifest("2.0.0", integrity=None, shasum=SHA1)
    dists = made(packument(**versions)).dists
    for version in versions:
        url = f"https://up.example/left/-/left-{version}.tgz"
        old = version == "2.0.0"
        assert find_dist(dists, version) == Dist(
            url, "" if old else SHA512.hexdigest(), SHA1 if old else ""
        )
    assert find_dist(dists, "0.0") is None
    assert find_dist(dists, "1.0.0-rc") is None


def test_the_sha512_of_several_digests():
    assert sha512_of(f"sha1-AAAA {INTEGRITY}?x") == SHA512.hexdigest()
    assert sha512_of("sha1-AAAA") == ""
    assert sha512_of(None) == ""
