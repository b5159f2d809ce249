"""The documents that npm's clients read, made of rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from wit.packages import packument
from wit.packages.names import PackageName
from wit.packages.packument import Site

SITE = Site("https://wit.example.org", "wit.example.org")
NAME = PackageName("acme", "ball")
THEN = datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
PACKAGE = {
    "id": "11111111-2222-4333-8444-555555555555",
    "revision": 7,
    "description": "a ball",
    "keywords": '["round", "red"]',
    "license": "MIT",
    "homepage": None,
    "readme": "# Ball",
    "readme_filename": "README.md",
    "deprecated": None,
    "created_at": THEN,
    "updated_at": THEN,
}


def version(number: str, *, deprecated: str | None = None, **manifest: Any) -> dict[str, Any]:
    dist = {"shasum": "a" * 40, "integrity": "sha512-xyz==", "fileCount": 3, "unpackedSize": 99}
    return {
        "version": number,
        "manifest": json.dumps({"name": "x", "version": "x", "dist": dist, **manifest}),
        "deprecated": deprecated,
        "publisher": "alice",
        "published_at": THEN,
    }


def entries(*rows: dict[str, Any], abbreviated: bool) -> list[bytes]:
    return packument.version_entries(SITE, NAME, PACKAGE, rows, abbreviated=abbreviated)


def abbreviated(*rows: dict[str, Any], **tags: str) -> dict[str, Any]:
    pieces = packument.abbreviated_document(NAME, PACKAGE, entries(*rows, abbreviated=True), tags)
    document: dict[str, Any] = json.loads(b"".join(pieces))
    return document


def full(*rows: dict[str, Any], **tags: str) -> dict[str, Any]:
    pieces = packument.full_document(
        SITE,
        NAME,
        PACKAGE,
        entries(*rows, abbreviated=False),
        tags=tags,
        times={row["version"]: row["published_at"] for row in rows},
        latest=json.loads(rows[-1]["manifest"]) if rows else {},
        maintainers=["alice", "bob"],
        stars=["carol"],
    )
    document: dict[str, Any] = json.loads(b"".join(pieces))
    return document


def test_a_manifest_says_what_the_registry_knows() -> None:
    row = version(
        "1.0.0-beta.1",
        main="i.js",
        _npmUser={"name": "mallory", "email": "alice@home.example"},
        readmeFilename="A.md",
        maintainers=[{"name": "mallory"}],
        readme="long",
    )
    assert packument.manifest(SITE, NAME, PACKAGE, row) == {
        "_id": "@acme/ball@1.0.0-beta.1",
        "_npmUser": {"name": "alice", "email": "alice@users.noreply.wit.example.org"},
        "name": "@acme/ball",
        "version": "1.0.0-beta.1",
        "main": "i.js",
        "dist": {
            "shasum": "a" * 40,
            "integrity": "sha512-xyz==",
            "fileCount": 3,
            "unpackedSize": 99,
            "tarball": "https://wit.example.org/api/packages/@acme/ball/-/ball-1.0.0-beta.1.tgz",
        },
    }


def test_provenance_has_its_address() -> None:
    row = version("1.0.0")
    manifest = json.loads(row["manifest"])
    manifest["dist"]["attestations"] = {"provenance": {"predicateType": "slsa"}}
    row["manifest"] = json.dumps(manifest)
    assert packument.manifest(SITE, NAME, PACKAGE, row)["dist"]["attestations"] == {
        "provenance": {"predicateType": "slsa"},
        "url": "https://wit.example.org/api/packages/-/npm/v1/attestations/%40acme%2Fball@1.0.0",
    }


def test_whoever_published_and_is_gone_is_not_named() -> None:
    row = {**version("1.0.0"), "publisher": None}
    assert "_npmUser" not in packument.manifest(SITE, NAME, PACKAGE, row)


def test_the_notice_of_the_package_goes_for_versions_that_have_none() -> None:
    package = {**PACKAGE, "deprecated": "use @acme/cube"}
    plain, own = version("1.0.0"), version("2.0.0", deprecated="broken")
    made = [packument.manifest(SITE, NAME, package, row) for row in (plain, own)]
    assert [manifest["deprecated"] for manifest in made] == ["use @acme/cube", "broken"]


def test_the_abbreviated_form_has_what_installing_needs() -> None:
    needed: dict[str, Any] = {
        "dependencies": {"a": "1"},
        "optionalDependencies": {"b": "1"},
        "devDependencies": {"c": "1"},
        "peerDependencies": {"d": "1"},
        "peerDependenciesMeta": {"d": {"optional": True}},
        "bundleDependencies": ["a"],
        "bin": {"ball": "bin.js"},
        "directories": {"lib": "lib"},
        "engines": {"node": ">=18"},
        "os": ["linux"],
        "cpu": ["x64"],
        "libc": ["glibc"],
        "funding": {"url": "https://example.org/"},
        "_hasShrinkwrap": False,
    }
    row = version(
        "1.0.0", **needed, scripts={"test": "x"}, description="d", gitHead="g", keywords=["k"]
    )
    document = abbreviated(row, latest="1.0.0")
    manifest = document["versions"].pop("1.0.0")
    assert document == {
        "name": "@acme/ball",
        "modified": "2024-05-06T07:08:09.123Z",
        "dist-tags": {"latest": "1.0.0"},
        "versions": {},
    }
    dist = manifest.pop("dist")
    assert dist["tarball"].endswith("/ball-1.0.0.tgz")
    assert manifest == {"name": "@acme/ball", "version": "1.0.0", **needed}


def test_the_abbreviated_form_tells_of_install_scripts_and_deprecation() -> None:
    for script in ("preinstall", "install", "postinstall"):
        row = version("1.0.0", scripts={script: "node x"}, deprecated="old")
        manifest = abbreviated(row)["versions"]["1.0.0"]
        assert manifest["hasInstallScript"] is True
        assert manifest["deprecated"] == "old"
        assert "scripts" not in manifest
    odd = version("1.0.0", scripts=["postinstall"])
    assert "hasInstallScript" not in abbreviated(odd)["versions"]["1.0.0"]


def test_the_full_form() -> None:
    row = version("1.0.0", author={"name": "A"}, repository={"url": "u"}, license="ISC")
    document = full(version("0.9.0"), row, latest="1.0.0", old="0.9.0")
    assert list(document.pop("versions")) == ["0.9.0", "1.0.0"]
    email = "users.noreply.wit.example.org"
    assert document == {
        "_id": "@acme/ball",
        "_rev": "7-11111111222243338444555555555555",
        "name": "@acme/ball",
        "description": "a ball",
        "dist-tags": {"latest": "1.0.0", "old": "0.9.0"},
        "maintainers": [
            {"name": "alice", "email": f"alice@{email}"},
            {"name": "bob", "email": f"bob@{email}"},
        ],
        "time": {
            "created": "2024-05-06T07:08:09.123Z",
            "modified": "2024-05-06T07:08:09.123Z",
            "0.9.0": "2024-05-06T07:08:09.123Z",
            "1.0.0": "2024-05-06T07:08:09.123Z",
        },
        "users": {"carol": True},
        "readme": "# Ball",
        "readmeFilename": "README.md",
        "author": {"name": "A"},
        "repository": {"url": "u"},
        "license": "MIT",
        "keywords": ["round", "red"],
    }


def test_a_package_without_versions_is_a_document_too() -> None:
    assert full()["versions"] == {}
    assert abbreviated()["versions"] == {}


def test_any_text_can_be_written() -> None:
    row = version("1.0.0", author="Zoë \ud800 </script>\u2028")
    assert full(row, latest="1.0.0")["versions"]["1.0.0"]["author"] == "Zoë \ud800 </script>\u2028"
