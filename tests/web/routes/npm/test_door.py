"""What the npm door answers, asked by hand; what the clients make of it is in tests/real/npm."""

from __future__ import annotations

import gzip
import itertools
import json
from base64 import b64encode
from collections.abc import Sequence

import attrs
import brotli
import pytest

from tests.support import npm
from tests.support.npm import ABBREVIATED
from tests.support.site import Person, Site, new_name
from wit.core import Core

NPM_ACCEPT = f"{ABBREVIATED}; q=1.0, application/json; q=0.8, */*"
READ_WRITE = ("packages:read", "packages:write")
_numbers = itertools.count(1)


@attrs.frozen
class Scene:
    """A package that alice has published, in a repository of its own."""

    site: Site
    alice: npm.Registry
    bob: npm.Registry
    nobody: npm.Registry
    name: str
    packed: bytes


def token(site: Site, person: Person, scopes: Sequence[str] = READ_WRITE) -> str:
    async def make(core: Core) -> str:
        user = await core.users.by_username(person.name)
        _, secret = await core.tokens.create(user["id"], "npm", scopes)
        return secret

    return str(site.do(make))


def registry(site: Site, secret: str = "") -> npm.Registry:
    return npm.Registry(site.daemon.url("api/packages"), secret)


def publish(site: Site, alice: npm.Registry, *, private: bool = False) -> tuple[str, bytes]:
    repository = site.create(new_name(), private=private)
    name = f"@alice/door-{next(_numbers)}"
    manifest = {
        "name": name,
        "version": "1.0.0-beta.1",
        "repository": f"http://localhost:{site.daemon.http_port}/{repository}.git",
    }
    packed = npm.tarball(manifest, {"big": bytes(300_000)})
    answer = alice.publish(npm.document(manifest, packed))
    assert answer.status == 200, answer.body
    assert answer.json["versions"] == ["1.0.0-beta.1"]
    return name, packed


_made: dict[str, tuple[npm.Registry, npm.Registry]] = {}


@pytest.fixture
def people(site: Site) -> tuple[npm.Registry, npm.Registry]:
    """alice and bob with tokens; a user has few, so that they are made once."""
    key = site.daemon.url()
    if key not in _made:
        alice, bob = (registry(site, token(site, person)) for person in (site.alice, site.bob))
        _made[key] = alice, bob
    return _made[key]


@pytest.fixture
def scene(site: Site, people: tuple[npm.Registry, npm.Registry]) -> Scene:
    name, packed = publish(site, people[0])
    return Scene(site, *people, registry(site), name, packed)


def tarball_path(name: str) -> str:
    return f"{name}/-/{name.rpartition('/')[2]}-1.0.0-beta.1.tgz"


def test_forms_encodings_and_conditions(scene: Scene) -> None:
    path = npm.escaped(scene.name)
    full = scene.nobody.get(path)
    assert full.headers["Content-Type"] == "application/json"
    assert full.headers["Vary"] == "Accept, Accept-Encoding"
    assert full.headers["Cache-Control"] == "public, no-cache"
    assert full.json["time"]["1.0.0-beta.1"]
    short = scene.nobody.get(path, Accept=NPM_ACCEPT)
    assert short.headers["Content-Type"] == ABBREVIATED
    assert "time" not in short.json
    zipped = scene.nobody.get(path, **{"Accept-Encoding": "gzip"})
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(zipped.body) == full.body
    pressed = scene.nobody.get(path, **{"Accept-Encoding": "gzip, br"})
    assert pressed.headers["Content-Encoding"] == "br"
    assert brotli.decompress(pressed.body) == full.body
    tags = {answer.headers["ETag"] for answer in (full, short, zipped, pressed)}
    assert len(tags) == 4
    same = scene.nobody.get(path, **{"If-None-Match": f'"other", W/{full.headers["ETag"]}'})
    assert (same.status, same.body) == (304, b"")
    assert same.headers["ETag"] == full.headers["ETag"]
    other = scene.nobody.get(path, **{"If-None-Match": zipped.headers["ETag"]})
    assert other.status == 200


def test_all_ways_to_write_a_name(scene: Scene) -> None:
    answers = {
        scene.nobody.get(path).body
        for path in (scene.name, scene.name.replace("/", "%2f"), scene.name.replace("/", "%2F"))
    }
    assert len(answers) == 1
    version = scene.nobody.get(f"{scene.name}/latest").json
    assert version["_id"] == f"{scene.name}@1.0.0-beta.1"


def test_parts_of_tarballs(scene: Scene) -> None:
    path = tarball_path(scene.name)
    whole = scene.nobody.get(path)
    assert (whole.status, whole.body) == (200, scene.packed)
    assert whole.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert whole.headers["Accept-Ranges"] == "bytes"
    assert whole.headers["Content-Length"] == str(len(scene.packed))
    file = path.rpartition("/")[2]
    assert whole.headers["Content-Disposition"] == f'attachment; filename="{file}"'
    head = scene.nobody.ask("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(scene.packed))
    part = scene.nobody.get(path, Range="bytes=10-19")
    assert (part.status, part.body) == (206, scene.packed[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(scene.packed)}"
    tail = scene.nobody.get(path, Range="bytes=-5")
    assert (tail.status, tail.body) == (206, scene.packed[-5:])
    behind = scene.nobody.get(path, Range=f"bytes={len(scene.packed)}-")
    assert behind.status == 416
    assert behind.headers["Content-Range"] == f"bytes */{len(scene.packed)}"
    etag = whole.headers["ETag"]
    stale = scene.nobody.get(path, **{"Range": "bytes=10-19", "If-Range": '"other"'})
    assert (stale.status, stale.body) == (200, scene.packed)
    fresh = scene.nobody.get(path, **{"Range": "bytes=10-19", "If-Range": etag})
    assert fresh.status == 206
    assert scene.nobody.get(path, **{"If-None-Match": etag}).status == 304
    assert scene.nobody.get(path.replace("beta.1", "beta.2")).status == 404
    assert scene.nobody.get(f"{scene.name}/-/other-1.0.0.tgz").status == 400


def test_private_means_invisible(site: Site, people: tuple[npm.Registry, npm.Registry]) -> None:
    alice, bob = people
    name, packed = publish(site, alice, private=True)
    for path in (name, f"{name}/latest", tarball_path(name), f"-/package/{name}/dist-tags"):
        missing = path.replace(name, "@alice/not-there")
        for who in (bob, registry(site)):
            hidden, absent = who.get(path), who.get(missing)
            assert hidden.status == absent.status == 404
            assert hidden.json["error"].replace(name, "") == absent.json["error"].replace(
                "@alice/not-there", ""
            )
    seen = alice.get(tarball_path(name))
    assert seen.body == packed
    assert seen.headers["Cache-Control"].startswith("private,")
    assert alice.get(name).headers["Cache-Control"] == "private, no-cache"
    assert name not in bob.get("-/user/alice/package").json
    assert alice.get("-/user/alice/package").json[name] == "write"
    assert alice.get(f"-/package/{name}/visibility").json == {"public": False}


def test_changes_need_a_token_for_them(scene: Scene) -> None:
    reader = registry(scene.site, token(scene.site, scene.site.alice, ["packages:read"]))
    name, tags = npm.escaped(scene.name), f"-/package/{scene.name}/dist-tags/old"
    for method, path, body in (
        ("PUT", name, {"name": scene.name}),
        ("PUT", f"{name}/-rev/1", {"name": scene.name}),
        ("DELETE", f"{name}/-rev/1", None),
        ("DELETE", f"{tarball_path(scene.name)}/-rev/1", None),
        ("PUT", tags, "1.0.0-beta.1"),
        ("DELETE", tags, None),
        ("POST", f"-/package/{scene.name}/access", {"access": "public"}),
        ("PUT", "-/team/a/b/package", {"package": scene.name}),
    ):
        nobody = scene.nobody.ask(method, path, body)
        assert nobody.status == 401, path
        assert nobody.headers["WWW-Authenticate"].startswith("Bearer")
        refused = reader.ask(method, path, body)
        assert refused.status == 403, path
        assert "packages:write" in refused.json["error"]
    assert scene.nobody.get(name).status == 200


def test_a_session_cookie_is_nobody(scene: Scene) -> None:
    status, headers, _ = scene.site.daemon.get(
        "api/auth/sign-in/username",
        {"Content-Type": "application/json"},
        "POST",
        json.dumps({"username": "alice", "password": scene.site.alice.password}).encode(),
    )
    assert status == 200
    cookie = "; ".join(text.split(";")[0] for text in headers.get_all("Set-Cookie") or [])
    assert scene.nobody.get("-/whoami", Cookie=cookie).status == 401


def test_a_wrong_credential(scene: Scene) -> None:
    wrong = attrs.evolve(scene.nobody, token="wit_" + "0" * 40)
    assert wrong.get(npm.escaped(scene.name)).status == 200
    told = wrong.get("not-there")
    assert told.status == 401
    assert told.json["error"] == "this token is wrong or has expired"
    assert wrong.get("-/whoami").status == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "-/ping", 200),
        ("GET", "-/nothing", 404),
        ("GET", "-/npm/v1/nothing/of/the/kind", 404),
        ("GET", "-/all", 400),
        ("GET", "a%2fb", 404),
        ("GET", "..%2f..%2fetc", 404),
        ("GET", "-", 404),
        ("GET", "", 404),
        ("POST", "left-pad", 405),
        ("GET", "__proto__", 400),
        ("GET", "-/v1/search?text=x&size=many", 400),
        ("GET", "-/v1/search?text=%00", 400),
        ("GET", "-/v1/login/done/" + "x" * 32, 404),
        ("GET", "-/user/alice", 400),
        ("GET", "-/user/org.couchdb.user:nobody-at-all", 404),
        ("GET", "-/_view/starredByUser?key=%22nobody-at-all%22", 404),
        ("GET", "-/npm/v1/attestations/no-version", 400),
    ],
)
def test_other_paths(scene: Scene, method: str, path: str, status: int) -> None:
    answer = scene.nobody.ask(method, path)
    assert answer.status == status, answer.body
    assert "error" in answer.json or status == 200


def test_tags(scene: Scene) -> None:
    tags = f"-/package/{scene.name}/dist-tags"
    assert scene.alice.ask("PUT", f"{tags}/old", "1.0.0-beta.1").json == {"ok": True}
    assert scene.nobody.get(tags).json == {"latest": "1.0.0-beta.1", "old": "1.0.0-beta.1"}
    assert scene.alice.ask("PUT", f"{tags}/old", {"version": "1.0.0"}).status == 400
    assert scene.alice.ask("DELETE", f"{tags}/old").status == 200
    assert scene.alice.ask("DELETE", f"{tags}/old").status == 404


def test_who_works_on_a_package(scene: Scene) -> None:
    path = f"-/package/{scene.name}/collaborators"
    assert scene.alice.get(path).json == {"alice": "write"}
    assert scene.bob.get(path).status == 403
    assert scene.nobody.get(path).status == 401


def test_tokens_for_other_uses_are_not_shown(scene: Scene) -> None:
    shown = scene.alice.get("-/npm/v1/tokens").json["objects"]
    assert {token["name"] for token in shown} == {"npm"}

    async def other(core: Core) -> str:
        user = await core.users.by_username("alice")
        (row,) = [row for row in await core.tokens.list(user["id"]) if row["name"] == "test"]
        return str(row["id"])

    refused = scene.alice.ask("DELETE", f"-/npm/v1/tokens/token/{scene.site.do(other)}")
    assert refused.status == 404


def test_logout_ends_ones_own_token_only(scene: Scene) -> None:
    site = scene.site
    mine, other = token(site, site.alice), token(site, site.bob)
    assert scene.alice.ask("DELETE", f"-/user/token/{other}").status == 403
    assert registry(site, other).get("-/whoami").json == {"username": "bob"}
    assert scene.alice.ask("DELETE", f"-/user/token/{mine}").status == 200
    assert registry(site, mine).get("-/whoami").status == 401
    assert scene.alice.ask("DELETE", f"-/user/token/{mine}").status == 200
    assert mine not in site.daemon.log()


def test_signed_in_without_a_password(scene: Scene) -> None:
    """The contract: who is signed in gets the same token."""
    body = {"name": "alice"}
    answer = scene.alice.ask("PUT", "-/user/org.couchdb.user:alice", body)
    assert (answer.status, answer.json["token"]) == (201, scene.alice.token)
    other = scene.bob.ask("PUT", "-/user/org.couchdb.user:alice", body)
    assert other.status == 401


def test_a_wrong_password_and_a_second_factor(site: Site) -> None:
    async def make(core: Core) -> str:
        name = f"carol{next(_numbers)}"
        user = await core.users.create(
            name, f"{name}@example.org", site.alice.password, verified=True
        )
        await core.identity.two_factor.prepare(user)
        await core.identity.two_factor.enable(user["id"])
        return str(user["username"])

    name = str(site.do(make))
    path = f"-/user/org.couchdb.user:{name}"
    wrong = registry(site).ask("PUT", path, {"name": name, "password": "wrong horse"})
    assert wrong.status == 401
    assert wrong.headers["WWW-Authenticate"].startswith("Basic")
    right = registry(site).ask("PUT", path, {"name": name, "password": site.alice.password})
    assert right.status == 401
    assert right.headers["WWW-Authenticate"] == "OTP"


def test_basic_credentials(scene: Scene) -> None:
    for secret in (scene.site.alice.password, scene.alice.token):
        pair = b64encode(f"alice:{secret}".encode()).decode()
        answer = scene.nobody.get("-/whoami", Authorization=f"Basic {pair}")
        assert answer.json == {"username": "alice"}


def test_audits_are_empty_without_an_uplink(scene: Scene) -> None:
    body = gzip.compress(json.dumps({scene.name: ["1.0.0-beta.1"]}).encode())
    answer = scene.nobody.ask(
        "POST", "-/npm/v1/security/advisories/bulk", body, {"Content-Encoding": "gzip"}
    )
    assert (answer.status, answer.json) == (200, {})
    for kind in ("quick", ""):  # older npm, pnpm and yarn
        tree = {"name": "x", "version": "1.0.0", "requires": {}, "dependencies": {}}
        old = scene.nobody.ask("POST", f"-/npm/v1/security/audits/{kind}".rstrip("/"), tree)
        assert old.status == 200, old.body
        assert old.json["advisories"] == {}
        assert old.json["metadata"]["vulnerabilities"]["critical"] == 0
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    refused = scene.nobody.ask(
        "POST", "-/npm/v1/security/advisories/bulk", bomb, {"Content-Encoding": "gzip"}
    )
    assert refused.status == 413
