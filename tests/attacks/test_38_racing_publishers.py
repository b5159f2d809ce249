"""Several publish one version at once, or the daemon is killed while somebody publishes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.daemon import wait_until
from tests.support.npm import digests, document, tarball
from tests.support.package_site import PackageSite, new_package, package_site
from tests.support.wire import Answer, Http, request

pytestmark = pytest.mark.attack(38)

RACERS = 5


@pytest.fixture(scope="module")
def mortal(
    run: Any, plain_git_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PackageSite]:
    """A daemon that is killed."""
    with package_site(run, tmp_path_factory.mktemp("mortal")) as found:
        yield found


def publishing(registry: PackageSite, manifest: dict[str, Any], packed: bytes) -> bytes:
    """The whole request."""
    headers = {
        "Authorization": f"Bearer {registry.bob.token}",
        "Content-Type": "application/json",
    }
    body = json.dumps(document(manifest, packed)).encode()
    return request("PUT", f"/api/packages/{manifest['name']}", headers, body)


@pytest.mark.parametrize("first", [True, False], ids=["first version", "another version"])
def test_one_wins(registry: PackageSite, first: bool) -> None:
    """The others get 409, and what is there is all of the winner's."""
    manifest = new_package()
    name = manifest["name"]
    if not first:
        registry.publish({**manifest, "version": "0.9.0"})
    rivals = [
        tarball(manifest, {"who": b"%d" % number, "noise": os.urandom(1000)})
        for number in range(RACERS)
    ]
    waiting = []
    for packed in rivals:
        whole = publishing(registry, manifest, packed)
        waiting.append((Http(registry.daemon.http_port).send(whole[:-1]), whole[-1:]))

    def finish(one: tuple[Http, bytes]) -> Answer:
        http, last = one
        with http:
            return http.send(last).answer()

    with ThreadPoolExecutor(RACERS) as pool:
        answers = list(pool.map(finish, waiting))
    assert sorted(answer.status for answer in answers) == [200] + [409] * (RACERS - 1), answers
    winner = rivals[[answer.status for answer in answers].index(200)]
    shown = registry.nobody.get(name).json
    assert shown["versions"]["1.0.0"]["dist"]["integrity"] == digests(winner)["integrity"]
    assert registry.nobody.get(f"{name}/-/{name}-1.0.0.tgz").body == winner
    told = [event for event in registry.events("package.published") if event["packageName"] == name]
    assert [event["version"] for event in told] == (["1.0.0"] if first else ["0.9.0", "1.0.0"])


def whole_or_absent(registry: PackageSite, manifest: dict[str, Any], packed: bytes) -> bool:
    """Whether the version is there; and if it is, all of it is."""
    name = manifest["name"]
    shown = registry.nobody.get(name)
    file = registry.nobody.get(f"{name}/-/{name}-1.0.0.tgz")
    told = [event for event in registry.events("package.published") if event["packageName"] == name]
    if shown.status == 404:
        assert (file.status, told) == (404, [])
        return False
    assert shown.json["dist-tags"] == {"latest": "1.0.0"}
    assert shown.json["versions"]["1.0.0"]["dist"]["integrity"] == digests(packed)["integrity"]
    assert file.body == packed
    assert len(told) == 1
    return True


@pytest.mark.parametrize("point", ["half of it", "a blob", "the end"])
def test_killed(mortal: PackageSite, point: str) -> None:
    """kill -9 at some point of the request; a publisher who tries again gets through."""
    manifest = new_package()
    packed = tarball(manifest, {"noise": os.urandom(500_000)})
    whole = publishing(mortal, manifest, packed)
    before = mortal.blobs()
    with Http(mortal.daemon.http_port) as http:
        if point == "half of it":
            http.send(whole[: len(whole) // 2])
            wait_until(lambda: mortal.blobs() != before, what="the upload")
        else:
            http.send(whole)
            if point == "a blob":
                wait_until(lambda: finished(mortal) - before, what="the blob")
            if point == "the end":
                assert http.answer().status == 200
        mortal.daemon.kill()
    mortal.daemon.start()
    there = whole_or_absent(mortal, manifest, packed)
    if point != "a blob":
        assert there == (point == "the end")
    again = mortal.bob.publish(document(manifest, packed))
    assert again.status == (409 if there else 200), again
    assert whole_or_absent(mortal, manifest, packed)


def finished(registry: PackageSite) -> set[str]:
    return {name for name in registry.blobs() if len(name) == 128}
