"""Names of tarballs that may be read in two ways, and digests of the right kind."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from tests.support.npm import ABBREVIATED, escaped, tarball
from tests.support.package_site import PackageSite, new_package

pytestmark = pytest.mark.attack(39)

VERSIONS = (
    "1.0.0", "1.0.0-beta.1", "1.0.0-2.0.0", "2.0.0-rc-1.x-y", "0.0.0-0", "1.0.0-alpha.tgz",
    "10.20.30",
)  # fmt: skip


@pytest.fixture(scope="module", params=["plain", "dashed-1", "dotted.2.0", "@bob/scoped-3"])
def published(
    request: pytest.FixtureRequest, registry: PackageSite
) -> tuple[str, dict[str, bytes]]:
    """A package with all VERSIONS, and the tarball of each."""
    unscoped = new_package()["name"]
    name = f"{request.param}-{unscoped}"
    packed = {}
    for version in VERSIONS:
        manifest = {"name": name, "version": version, "repository": "bob/open"}
        packed[version] = tarball(manifest)
        registry.publish(manifest, packed[version])
    return name, packed


def file_of(name: str, version: str) -> str:
    return f"{name.rpartition('/')[2]}-{version}.tgz"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("accept", ["application/json", ABBREVIATED])
def test_where_a_version_is(
    registry: PackageSite, published: tuple[str, dict[str, bytes]], version: str, accept: str
) -> None:
    name, packed = published
    shown = registry.nobody.get(escaped(name), Accept=accept).json
    dist: dict[str, Any] = shown["versions"][version]["dist"]
    content = packed[version]
    assert dist["tarball"].endswith(f"/api/packages/{name}/-/{file_of(name, version)}")
    assert dist["shasum"] == hashlib.sha1(content, usedforsecurity=False).hexdigest()
    sha512 = base64.b64encode(hashlib.sha512(content).digest()).decode()
    assert dist["integrity"] == f"sha512-{sha512}"
    for spelled in (name, escaped(name)):
        got = registry.nobody.get(f"{spelled}/-/{file_of(name, version)}")
        assert (got.status, got.body) == (200, content)


def test_a_version_by_itself(
    registry: PackageSite, published: tuple[str, dict[str, bytes]]
) -> None:
    name, _ = published
    for version in VERSIONS:
        shown = registry.nobody.get(f"{escaped(name)}/{version}")
        assert (shown.status, shown.json["version"]) == (200, version)


@pytest.mark.parametrize(
    "file",
    [
        "{base}-1.0.0-beta.2.tgz", "{base}-1.0.0-beta.tgz", "{base}-beta.1.tgz", "{base}-.tgz",
        "{base}.tgz", "{base}-1.0.0", "{base}-1.0.0.tgz.tgz", "{base}-1.0.0.TGZ", "x-1.0.0.tgz",
        "{base}-1.0.0.tar.gz", "{base}-v1.0.0.tgz", "{base}-1.0.tgz", "..%2f{base}-1.0.0.tgz",
        "{base}-1.0.0%00.tgz", "{base}--1.0.0.tgz", "{base}-1.0.0+build.1.tgz.sig", "%2e%2e",
        "1.0.0.tgz",
    ],
)  # fmt: skip
def test_files_that_are_none(
    registry: PackageSite, published: tuple[str, dict[str, bytes]], file: str
) -> None:
    name, _ = published
    base = name.rpartition("/")[2]
    assert registry.nobody.get(f"{name}/-/{file.format(base=base)}").status in (400, 404)


def test_a_name_that_ends_like_a_version(registry: PackageSite) -> None:
    """``x`` in version 1.0.0-2.0.0 and ``x-1.0.0`` in version 2.0.0 have files of one name."""
    base = new_package()["name"]
    packed = {}
    for name, version in ((base, "1.0.0-2.0.0"), (f"{base}-1.0.0", "2.0.0")):
        manifest = {"name": name, "version": version, "repository": "bob/open"}
        packed[name] = tarball(manifest)
        registry.publish(manifest, packed[name])
    file = f"{base}-1.0.0-2.0.0.tgz"
    for name, content in packed.items():
        assert registry.nobody.get(f"{name}/-/{file}").body == content
