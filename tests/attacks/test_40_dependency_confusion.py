"""Names that are ours are never taken from an uplink, and names of the uplink not by chance."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.npm import digests, document, escaped, tarball
from tests.support.package_site import PackageSite, new_package, package_site
from tests.support.wire import basic

pytestmark = pytest.mark.attack(40)


class Elsewhere(ThreadingHTTPServer):
    """A registry that has whatever is put into ``packages``, in a version that wins."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.packages: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.bodies: list[bytes] = []
        self.down = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, name: str) -> bytes:
        manifest = {"name": name, "version": "99.0.0"}
        self.packages[name] = tarball(manifest, {"evil.js": b"evil"})
        return self.packages[name]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Elsewhere)
        server.asked.append(unquote(self.path.lstrip("/")))
        server.bodies.append(self.rfile.read(int(self.headers.get("content-length", 0))))
        name, _, file = server.asked[-1].partition("/-/")
        status, body = 200, b"{}"
        if server.down:
            status = 503
        elif self.command == "GET" and name not in server.packages:
            status = 404
        elif self.command == "GET":
            body = server.packages[name] if file else packument(server, name)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def packument(server: Elsewhere, name: str) -> bytes:
    file = f"{name.rpartition('/')[2]}-99.0.0.tgz"
    dist = {**digests(server.packages[name]), "tarball": f"{server.url}/{name}/-/{file}"}
    version = {"name": name, "version": "99.0.0", "dist": dist}
    tags = {"latest": "99.0.0"}
    return json.dumps({"name": name, "dist-tags": tags, "versions": {"99.0.0": version}}).encode()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    server = Elsewhere()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def linked(
    run: Any,
    plain_git_environment: None,
    tmp_path_factory: pytest.TempPathFactory,
    elsewhere: Elsewhere,
) -> Iterator[PackageSite]:
    """A site that takes unscoped packages and those of one scope from there."""
    uplink = {"name": "elsewhere", "url": elsewhere.url, "names": ["attacked-*", "@theirs/*"]}
    settings = {"WIT_PACKAGES_UPLINKS": json.dumps([uplink])}
    with package_site(run, tmp_path_factory.mktemp("linked"), settings) as found:
        yield found


@pytest.fixture(autouse=True)
def quiet(elsewhere: Elsewhere) -> Iterator[None]:
    """Every test begins with an uplink that works and has been asked nothing."""
    elsewhere.down = False
    elsewhere.asked.clear()
    elsewhere.bodies.clear()
    elsewhere.packages.clear()
    yield


@pytest.mark.parametrize("repository", ["bob/open", "bob/closed"])
def test_a_name_of_ours_is_not_theirs(
    linked: PackageSite, elsewhere: Elsewhere, repository: str
) -> None:
    """A higher version under the same name elsewhere changes nothing, even for who sees nothing."""
    manifest = new_package(repository=repository)
    name = manifest["name"]
    linked.publish(manifest)
    elsewhere.add(name)
    elsewhere.asked.clear()
    shown = linked.bob.get(name).json
    assert (shown["versions"].keys(), shown["dist-tags"]) == ({"1.0.0"}, {"latest": "1.0.0"})
    assert linked.bob.get(f"{name}/-/{name}-99.0.0.tgz").status == 404
    for client in (linked.carol, linked.nobody):
        status = 200 if repository == "bob/open" else 404
        assert client.get(name).status == status
        assert client.get(f"{name}/99.0.0").status == 404
        assert client.get(f"{name}/-/{name}-99.0.0.tgz").status == 404
    assert elsewhere.asked == []


def test_a_name_whose_versions_are_gone_is_still_ours(
    linked: PackageSite, elsewhere: Elsewhere
) -> None:
    """Else whoever registers the name elsewhere would be installed by all who had ours."""
    manifest = new_package()
    name = manifest["name"]
    linked.publish(manifest)
    rev = linked.bob.get(name).json["_rev"]
    gone = linked.bob.ask("DELETE", f"{name}/-/{name}-1.0.0.tgz/-rev/{rev}")
    assert gone.status == 200, gone
    elsewhere.add(name)
    elsewhere.asked.clear()
    assert b"99.0.0" not in linked.nobody.get(name).body
    assert linked.nobody.get(f"{name}/-/{name}-99.0.0.tgz").status == 404
    assert elsewhere.asked == []


def test_a_name_of_theirs_is_not_taken_by_chance(linked: PackageSite, elsewhere: Elsewhere) -> None:
    """What everybody here installs from elsewhere, a user cannot replace."""
    manifest = new_package()
    name = manifest["name"]
    content = elsewhere.add(name)
    answer = linked.bob.publish(document(manifest))
    assert (answer.status, name in answer.json["error"]) == (403, True)
    assert linked.nobody.get(f"{name}/-/{name}-99.0.0.tgz").body == content
    assert linked.nobody.get(name).json["versions"].keys() == {"99.0.0"}
    linked.site.create("alice/own", private=False)
    powerful = {"Authorization": basic("alice", linked.site.alice.password)}
    body = document({**manifest, "repository": "alice/own"})
    taken = linked.nobody.ask("PUT", name, body, powerful)
    assert taken.status == 200, taken
    assert linked.nobody.get(name).json["versions"].keys() == {"1.0.0"}


def test_when_the_uplink_cannot_be_asked(linked: PackageSite, elsewhere: Elsewhere) -> None:
    elsewhere.down = True
    manifest = new_package()
    before = linked.blobs()
    answer = linked.bob.publish(document(manifest))
    assert answer.status == 503, answer
    assert linked.blobs() == before
    elsewhere.down = False
    assert linked.bob.publish(document(manifest)).status == 200


@pytest.mark.parametrize("name", ["other", "@ours/x", "@theirs2/x", "attacked", "@bob/attacked-1"])
def test_only_names_of_the_uplink_are_asked_there(
    linked: PackageSite, elsewhere: Elsewhere, name: str
) -> None:
    """The names of our packages are nobody's business."""
    elsewhere.add(name)
    assert linked.nobody.get(escaped(name)).status == 404
    assert linked.nobody.get(f"{name}/-/{name.rpartition('/')[2]}-99.0.0.tgz").status == 404
    assert elsewhere.asked == []


@pytest.mark.parametrize("path", ["security/advisories/bulk", "security/audits/quick"])
def test_an_audit_does_not_tell_our_names(
    linked: PackageSite, elsewhere: Elsewhere, path: str
) -> None:
    secret = new_package(repository="bob/closed")
    linked.publish(secret)
    elsewhere.asked.clear()
    elsewhere.bodies.clear()
    tree = {secret["name"]: {"version": "1.0.0"}, "attacked-known": {"version": "1.0.0"}}
    if path.endswith("bulk"):
        body: Any = {name: ["1.0.0"] for name in tree}
    else:
        requires = dict.fromkeys(tree, "1.0.0")
        body = {"name": "p", "version": "1.0.0", "requires": requires, "dependencies": tree}
    answer = linked.bob.ask("POST", f"-/npm/v1/{path}", body)
    assert answer.status == 200, answer
    assert secret["name"].encode() not in b"".join(elsewhere.bodies)


def test_an_uplink_that_lies(linked: PackageSite, elsewhere: Elsewhere) -> None:
    """Bytes that do not have their digest are never given out as if they had, nor kept."""
    name = new_package()["name"]
    content = elsewhere.add(name)
    shown = linked.nobody.get(name).json["versions"]["99.0.0"]["dist"]
    assert elsewhere.url not in shown["tarball"]
    elsewhere.packages[name] = tarball({"name": name, "version": "99.0.0"}, {"evil.js": b"worse"})
    try:
        assert linked.nobody.get(f"{name}/-/{name}-99.0.0.tgz").status >= 500
    except (OSError, http.client.HTTPException):
        pass  # cut off: the client sees that it is not whole
    elsewhere.packages[name] = content
    assert linked.nobody.get(f"{name}/-/{name}-99.0.0.tgz").body == content
