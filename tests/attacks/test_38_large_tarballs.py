"""A tarball streams through: the daemon does not grow with it, and does not wait for whoever stops."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator

import pytest

from tests.support.daemon import wait_until
from tests.support.npm import document, tarball
from tests.support.package_site import MIB, PackageSite, new_package
from tests.support.quarry import Quarry
from tests.support.wire import Http, request

pytestmark = pytest.mark.attack(38)

SIZE = 72 * MIB
"""Over all the marks at which something is held up, and under the limit of the fixture's daemon."""

GROWTH = 32 * MIB
PIECE = MIB


def opening(registry: PackageSite, name: str, length: int) -> bytes:
    headers = {
        "Authorization": f"Bearer {registry.bob.token}",
        "Content-Type": "application/json",
        "Content-Length": str(length),
    }
    return request("PUT", f"/api/packages/{name}", headers)


def pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]


def test_memory_stays_flat(registry: PackageSite) -> None:
    manifest = new_package()
    name = manifest["name"]
    packed = tarball(manifest, {"noise": os.urandom(SIZE)})
    body = json.dumps(document(manifest, packed)).encode()
    quarry = Quarry(registry.daemon)
    before = most = quarry.rss()
    with Http(registry.daemon.http_port, seconds=60) as http:
        http.send(opening(registry, name, len(body)))
        for piece in pieces(body):
            http.send(piece)
            most = max(most, quarry.rss())
        answer = http.answer()
    assert answer.status == 200, answer
    most = max(most, quarry.rss())
    got = registry.nobody.get(f"{name}/-/{name}-1.0.0.tgz")
    assert got.body == packed
    most = max(most, quarry.rss())
    assert most - before <= GROWTH


def test_more_than_may_be(registry: PackageSite) -> None:
    """The limit counts what comes, not what was announced; nothing stays behind."""
    manifest = new_package()
    before = registry.blobs()
    body = document(manifest)
    data = next(iter(body["_attachments"].values()))["data"]
    head = json.dumps(body).partition(data)[0]
    length = len(head) + 82 * MIB * 4 // 3
    noise = base64.b64encode(os.urandom(3 * PIECE // 4))
    with Http(registry.daemon.http_port, seconds=60) as http:
        http.send(opening(registry, manifest["name"], length) + head.encode())
        try:
            for _ in range(length // len(noise)):
                http.send(noise)
            status = http.head()[0]
        except (ConnectionError, EOFError):
            status = 413  # it was cut off before its answer could be read
    assert status == 413
    assert registry.bob.get(manifest["name"]).status == 404
    wait_until(lambda: registry.blobs() == before, what="the end of the upload")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_publisher_who_vanishes(registry: PackageSite, share: float) -> None:
    manifest = new_package()
    before = registry.blobs()
    body = json.dumps(document(manifest, tarball(manifest, {"noise": os.urandom(MIB)}))).encode()
    with Http(registry.daemon.http_port) as http:
        http.send(opening(registry, manifest["name"], len(body)))
        http.send(body[: int(len(body) * share)])
        if share:
            wait_until(lambda: registry.blobs() != before, what="the beginning of the upload")
        http.reset()
    wait_until(lambda: registry.blobs() == before, what="the end of the upload")
    assert registry.bob.get(manifest["name"]).status == 404
    registry.publish(manifest)
