"""A daemon that keeps its tarballs at S3."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.npm import document, tarball
from tests.support.package_site import PackageSite, new_package, package_site
from tests.support.s3 import S3Server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def site(
    run: Any, plain_git_environment: None, tmp_path_factory: pytest.TempPathFactory, s3: S3Server
) -> Iterator[PackageSite]:
    settings = {
        "WIT_PACKAGES_STORAGE": "s3",
        "WIT_PACKAGES_S3_ENDPOINT": s3.endpoint,
        "WIT_PACKAGES_S3_REGION": s3.region,
        "WIT_PACKAGES_S3_BUCKET": s3.bucket,
        "WIT_PACKAGES_S3_PREFIX": "wit/",
        "WIT_PACKAGES_S3_ACCESS_KEY": s3.access_key,
        "WIT_PACKAGES_S3_SECRET_KEY": s3.secret_key,
    }
    with package_site(run, tmp_path_factory.mktemp("site"), settings) as found:
        yield found


def stored(s3: S3Server) -> dict[str, int]:
    found = s3.client("s3").list_objects_v2(Bucket=s3.bucket, Prefix="wit/")
    return {entry["Key"]: entry["Size"] for entry in found.get("Contents", [])}


def test_a_package(site: PackageSite, s3: S3Server) -> None:
    manifest = new_package()
    packed = tarball(manifest, {"noise": os.urandom(1_500_000)})
    site.publish(manifest, packed)
    assert list(stored(s3).values()) == [len(packed)]
    assert site.blobs() == set()
    path = f"{manifest['name']}/-/{manifest['name']}-1.0.0.tgz"
    assert site.nobody.get(path).body == packed
    part = site.nobody.get(path, Range="bytes=1000-1999")
    assert (part.status, part.body) == (206, packed[1000:2000])
    head = site.nobody.ask("HEAD", path)
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(packed)))


def test_what_is_refused_is_not_stored(site: PackageSite, s3: S3Server) -> None:
    before = stored(s3)
    manifest = new_package()
    body = document(manifest)
    body["versions"]["1.0.0"]["dist"]["shasum"] = "0" * 40
    assert site.bob.publish(body).status == 400
    assert stored(s3) == before


def test_when_it_is_down(site: PackageSite, s3: S3Server) -> None:
    """The last test of this file: the server does not come back."""
    manifest = new_package()
    site.publish(manifest)
    name = manifest["name"]
    s3.stop()
    for answer in (
        site.nobody.get(f"{name}/-/{name}-1.0.0.tgz"),
        site.bob.publish(document(new_package())),
    ):
        assert answer.status == 503, answer
        assert "try again later" in answer.json["error"]
    assert site.nobody.get(name).status == 200
