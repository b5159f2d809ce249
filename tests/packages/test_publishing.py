"""Publishing: what is made of a request, and what is refused, on both databases."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from sqlalchemy import select, update
from twisted.internet.defer import Deferred, DeferredList

from tests.packages.publishing_support import (
    HOME,
    Registry,
    document,
    make_registry,
    manifest,
    package_tarball,
    source,
)
from wit.access.actor import ANONYMOUS, Actor
from wit.config import Config
from wit.db.port import Database
from wit.db.tables import (
    events,
    package_dependencies,
    package_dist_tags,
    package_numbers,
    package_versions,
    packages,
    repositories,
)
from wit.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge, Unauthorized, WitError
from wit.packages.names import parse_name
from wit.packages.publishing import _hosts
from wit.runtime import Runtime
from wit.streams import BytesSink, copy

TOOLS = f"git+{HOME}/ada/tools.git"


@pytest.fixture
def registry(database: Database, runtime: Runtime, run: Any, tmp_path: Path) -> Registry:
    made: Registry = run(make_registry(database, runtime, tmp_path))
    return made


async def tags(registry: Registry) -> dict[str, str]:
    rows = await registry.world.db.fetch_all(
        select(package_dist_tags.c.tag, package_versions.c.version).join_from(
            package_dist_tags,
            package_versions,
            package_versions.c.id == package_dist_tags.c.version_id,
        )
    )
    return {row["tag"]: row["version"] for row in rows}


async def nothing_is_there(registry: Registry) -> bool:
    """No row and no file of any package."""
    db = registry.world.db
    for table in (packages, package_versions, package_numbers):
        if await db.fetch_all(select(table)):
            return False
    folder = registry.world.config.packages_dir
    return not [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]


def test_a_first_version(run: Any, registry: Registry) -> None:
    async def work() -> None:
        made = manifest(
            "@ada/tool", "1.0.0", TOOLS, dependencies={"a": "^1.0.0"}, keywords=["x"],
            peerDependencies={"b": "npm:@s/c@2", "d": "file:../d"}, bin={"t": "t.js"},
            license="MIT", readme="# Tool", homepage="https://example.org",
        )  # fmt: skip
        body = document(made)
        done = await registry.publish(registry.ada, body)
        assert done.versions == ["1.0.0"]
        db = registry.world.db
        package = await db.fetch_one(select(packages))
        assert package is not None
        assert (package["full_name"], package["scope"], package["name"]) == (
            "@ada/tool", "ada", "tool",
        )  # fmt: skip
        assert (package["readme"], package["license"], package["visibility"]) == (
            "# Tool", "MIT", "public",
        )  # fmt: skip
        assert package["keywords"] == '["x"]'
        assert done.rev.startswith(f"{package['revision']}-")
        version = await db.fetch_one(select(package_versions))
        assert version is not None
        data = base64.b64decode(body["_attachments"]["@ada/tool-1.0.0.tgz"]["data"])
        assert version["tarball_sha1"] == hashlib.sha1(data, usedforsecurity=False).hexdigest()
        assert version["tarball_sha512"] == hashlib.sha512(data).hexdigest()
        assert version["tarball_size"] == len(data)
        assert json.loads(version["dependencies"]) == {"a": "^1.0.0"}
        kept = json.loads(version["manifest"])
        assert kept["dist"] == {
            "shasum": version["tarball_sha1"],
            "integrity": body["versions"]["1.0.0"]["dist"]["integrity"],
            "fileCount": 2,
            "unpackedSize": len(json.dumps(made)) + 3,
        }
        assert "readme" not in kept
        sink = BytesSink()
        await copy(await registry.packages.blobs.open(version["tarball_sha512"]), sink)
        assert sink.value() == data
        needed = await db.fetch_all(select(package_dependencies))
        assert {(row["depends_on"], row["range"]) for row in needed} == {
            ("a", "^1.0.0"), ("@s/c", "2"),
        }  # fmt: skip
        event = await db.fetch_one(select(events).where(events.c.type == "package.published"))
        assert event is not None
        assert event["actor_id"] == registry.ada.user_id
        assert event["payload"] == {
            "packageId": package["id"], "packageName": "@ada/tool", "version": "1.0.0",
            "repoId": package["repo_id"], "repoFullName": "Ada/tools",
        }  # fmt: skip

    run(work())


def test_tags(run: Any, registry: Registry) -> None:
    async def work() -> None:
        await registry.release("tool", "2.0.0-rc.1", tag="next")
        assert await tags(registry) == {"next": "2.0.0-rc.1", "latest": "2.0.0-rc.1"}
        await registry.release("tool", "1.0.0")
        await registry.release("tool", "1.1.0")
        assert await tags(registry) == {"next": "2.0.0-rc.1", "latest": "1.1.0"}
        await registry.release("tool", "1.0.1")
        assert (await tags(registry))["latest"] == "1.0.1"
        with pytest.raises(Invalid, match="reads as a version or range"):
            await registry.release("tool", "1.0.2", tag="v1")

    run(work())


def test_a_version_is_published_once(run: Any, registry: Registry) -> None:
    async def work() -> None:
        await registry.release("tool", "1.0.0")
        with pytest.raises(Conflict, match="cannot publish over"):
            await registry.release("tool", "1.0.0")
        with pytest.raises(Conflict, match="cannot publish over"):
            await registry.release("tool", "1.0.0+build")
        await registry.release("tool", "1.0.1")
        # npm sends all versions again, after a conflict: those without a tarball stay as they are.
        body = document(manifest("tool", "1.0.2", TOOLS))
        body["versions"] = {"1.0.0": {"name": "tool", "version": "1.0.0"}, **body["versions"]}
        body["dist-tags"]["next"] = "1.0.1"
        assert (await registry.publish(registry.ada, body)).versions == ["1.0.2"]
        assert await tags(registry) == {"latest": "1.0.2"}

    run(work())


def test_one_of_two_publishers_wins(run: Any, registry: Registry) -> None:
    async def work() -> None:
        for version in ("1.0.0", "1.0.1"):
            racing = [
                Deferred.fromCoroutine(registry.release("tool", version, mark=number))
                for number in range(4)
            ]
            outcomes = await DeferredList(racing, consumeErrors=True)
            won = [result for fine, result in outcomes if fine]
            lost: list[Any] = [failure for fine, failure in outcomes if not fine]
            assert len(won) == 1
            assert all(failure.check(Conflict) for failure in lost)
        rows = await registry.world.db.fetch_all(select(package_versions.c.version))
        assert sorted(row["version"] for row in rows) == ["1.0.0", "1.0.1"]

    run(work())


def test_who_may_publish_what(run: Any, registry: Registry) -> None:
    async def work() -> None:
        ada, bob = registry.ada, registry.bob
        read_only = attrs.evolve(ada, scopes=frozenset(("packages:read", "repo:write")))
        writing = attrs.evolve(ada, scopes=frozenset(("packages:write",)))
        secret = f"{HOME}/ada/secret"

        async def refused(
            error: type[WitError], actor: Actor, name: str, repository: str = TOOLS
        ) -> str:
            with pytest.raises(error) as caught:
                await registry.release(name, "1.0.0", actor, repository=repository)
            return caught.value.message

        await refused(Unauthorized, ANONYMOUS, "tool")
        await refused(Forbidden, read_only, "tool")
        await refused(Forbidden, bob, "tool")
        hidden = await refused(NotFound, bob, "tool", secret)
        missing = await refused(NotFound, bob, "tool", f"{HOME}/ada/absent")
        assert hidden.replace("secret", "absent") == missing
        assert "@ada/tool" in await refused(Forbidden, ada, "@bob/tool")
        await refused(Forbidden, ada, "@other/tool")
        await refused(Invalid, ada, "HTTP")
        await refused(Invalid, ada, "http")
        assert await nothing_is_there(registry)
        await registry.release("tool", "1.0.0", writing, repository=secret)
        await registry.release("@acme/kit", "1.0.0", ada, repository=f"{HOME}/Acme/kit")
        await registry.release("@ada/tool", "1.0.0", ada)
        await refused(NotFound, bob, "tool")
        await refused(Forbidden, bob, "@ada/tool")
        await refused(Forbidden, read_only, "@ada/tool")

    run(work())


def test_access_restricted(run: Any, registry: Registry) -> None:
    async def work() -> None:
        await registry.release("@ada/tool", "1.0.0", access="restricted")
        row = await registry.world.db.fetch_one(select(packages))
        assert row is not None
        assert row["visibility"] == "private"
        await registry.release("@ada/tool", "1.0.1", access="public")
        row = await registry.world.db.fetch_one(select(packages))
        assert row is not None
        assert row["visibility"] == "private"

    run(work())


def _changed(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**body, **changes}


def _dist(**changes: Any) -> dict[str, Any]:
    body = document(manifest("tool", "1.0.0", TOOLS))
    body["versions"]["1.0.0"]["dist"] |= changes
    return body


def _attachment(**changes: Any) -> dict[str, Any]:
    body = document(manifest("tool", "1.0.0", TOOLS))
    body["_attachments"]["tool-1.0.0.tgz"] |= changes
    return body


GOOD = document(manifest("tool", "1.0.0", TOOLS))
WRONG: dict[str, Any] = {
    "another name": _changed(GOOD, name="other"),
    "another id": _changed(GOOD, _id="other"),
    "no versions": _changed(GOOD, versions={}),
    "versions are a list": _changed(GOOD, versions=[]),
    "a manifest is a text": _changed(GOOD, versions={"1.0.0": "x"}),
    "manifest of another": document(
        manifest("other", "1.0.0", TOOLS) | {"name": "tool"},
        data=package_tarball({"name": "other", "version": "1.0.0"}),
    ),
    "tarball of another version": document(
        manifest("tool", "1.0.0", TOOLS), data=package_tarball({"name": "tool", "version": "1.0.1"})
    ),
    "not a tarball": document(manifest("tool", "1.0.0", TOOLS), data=b"hello"),
    "no semver": document(manifest("tool", "1.0", TOOLS)),
    "way out": document(manifest("tool", "1.0.0/../../x", TOOLS)),
    "sha1": _dist(shasum="0" * 40),
    "sha512": _dist(integrity="sha512-" + base64.b64encode(b"0" * 64).decode()),
    "other algorithm": _dist(integrity="md5-" + base64.b64encode(b"0" * 16).decode()),
    "integrity is a number": _dist(integrity=1),
    "length": _attachment(length=7),
    "cut base64": _attachment(data=GOOD["_attachments"]["tool-1.0.0.tgz"]["data"][:-3]),
    "attachment of nothing": _changed(GOOD, _attachments={"x.tgz": {"data": "AAAA"}}),
    "attachment out of place": _changed(
        GOOD, _attachments={"../tool-1.0.0.tgz": GOOD["_attachments"]["tool-1.0.0.tgz"]}
    ),
    "another attachment": _changed(
        GOOD, _attachments={**GOOD["_attachments"], "x.exe": {"data": "AAAA"}}
    ),
    "access": _changed(GOOD, access="everybody"),
    "tag": document(manifest("tool", "1.0.0", TOOLS), tag="__proto__x y"),
    "dependencies are a list": document(manifest("tool", "1.0.0", TOOLS, dependencies=["a"])),
    "a dependency is a number": document(manifest("tool", "1.0.0", TOOLS, dependencies={"a": 1})),
    "a dependency's name": document(manifest("tool", "1.0.0", TOOLS, dependencies={"../a": "1"})),
    "no repository": document(manifest("tool", "1.0.0")),
    "another site": document(manifest("tool", "1.0.0", "https://elsewhere.example/ada/tools")),
    "a shorthand of another site": document(manifest("tool", "1.0.0", "github:ada/tools")),
    "nothing to do": {"name": "tool"},
}


def test_refused_and_nothing_kept(run: Any, registry: Registry) -> None:
    async def work() -> None:
        for what, body in WRONG.items():
            try:
                await registry.publish(registry.ada, body, "tool")
            except (Invalid, NotFound):
                assert await nothing_is_there(registry), what
            else:
                pytest.fail(f"{what}: published")

    run(work())


def test_a_manifest_that_is_too_large(run: Any, registry: Registry) -> None:
    async def work() -> None:
        with pytest.raises(TooLarge):
            await registry.release("tool", "1.0.0", much="x" * 600_000)
        assert await nothing_is_there(registry)

    run(work())


WAYS = [
    "ada/tools", "ADA/Tools.git", f"{HOME}/ada/tools", f"git+{HOME}/ada/tools.git#main",
    "git+ssh://git@wit.example.org:2222/ada/tools.git", "git@WIT.example.org:ada/tools.git",
    "git://wit.example.org/ada/tools/", {"type": "git", "url": TOOLS, "directory": "packages/a"},
]  # fmt: skip


def test_ways_to_name_a_repository(run: Any, registry: Registry) -> None:
    async def work() -> None:
        for number, way in enumerate(WAYS):
            await registry.release(f"tool{number}", "1.0.0", repository=way)
        rows = await registry.world.db.fetch_all(select(packages.c.repo_id).distinct())
        assert len(rows) == 1

    run(work())


def _provenance(sha512: str) -> dict[str, Any]:
    statement = {
        "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{"name": "pkg:npm/tool@1.0.0", "digest": {"sha512": sha512}}],
    }
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    return {"mediaType": "application/x", "dsseEnvelope": {"payload": payload}}


def test_provenance(run: Any, registry: Registry) -> None:
    async def work() -> None:
        package = manifest("tool", "1.0.0", TOOLS)
        data = package_tarball(package)
        body = document(package, data=data)
        wrong = json.dumps(_provenance("0" * 128))
        body["_attachments"]["tool-1.0.0.sigstore"] = {"data": wrong}
        with pytest.raises(Invalid, match="another tarball"):
            await registry.publish(registry.ada, body)
        assert await nothing_is_there(registry)
        bundle = _provenance(hashlib.sha512(data).hexdigest())
        body["_attachments"]["tool-1.0.0.sigstore"]["data"] = json.dumps(bundle)
        await registry.publish(registry.ada, body)
        row = await registry.world.db.fetch_one(select(package_versions))
        assert row is not None
        sink = BytesSink()
        await copy(await registry.packages.blobs.open(row["attestations_sha512"]), sink)
        (attested,) = json.loads(sink.value())["attestations"]
        assert attested["bundle"] == bundle

    run(work())


class TakenAway:
    """A body of which the last piece comes when ``first`` has been done."""

    def __init__(self, body: Any, first: Any) -> None:
        self._pieces = source(body)
        self._first = first
        self._next: bytes | None = None

    async def read(self) -> bytes:
        data = await self._pieces.read() if self._next is None else self._next
        self._next = await self._pieces.read()
        if not self._next and data:
            await self._first
        return data


def test_a_right_that_is_lost_during_the_upload(run: Any, registry: Registry) -> None:
    async def work() -> None:
        changes, name = registry.packages.changes, parse_name("tool")
        await registry.release("tool", "1.0.0")
        await changes.add_maintainer(registry.ada, name, "bob", "r")
        gone = changes.remove_maintainer(registry.ada, name, "bob", "r")
        body = TakenAway(document(manifest("tool", "1.0.1", TOOLS)), gone)
        with pytest.raises(Forbidden):
            await registry.packages.publishing.publish(registry.bob, name, body, "r")
        await registry.release("tool", "1.0.1")

    run(work())


def test_an_archived_repository_gets_nothing_new(run: Any, registry: Registry) -> None:
    async def work() -> None:
        await registry.release("tool", "1.0.0")
        await registry.world.db.execute(update(repositories).values(is_archived=True))
        with pytest.raises(Forbidden, match="archived"):
            await registry.release("tool", "1.0.1")
        with pytest.raises(Forbidden, match="archived"):
            await registry.release("other", "1.0.0")

    run(work())


def test_numbers_outlive_their_repository(run: Any, registry: Registry) -> None:
    async def work() -> None:
        await registry.release("tool", "1.0.0")
        repo = await registry.world.db.fetch_one(
            select(repositories).where(repositories.c.name == "tools")
        )
        assert repo is not None
        await registry.world.manager.delete_by_id(repo["id"])
        own = f"{HOME}/bob/own"
        with pytest.raises(Conflict, match="cannot publish over"):
            await registry.release("tool", "1.0.0", registry.bob, repository=own)
        await registry.release("tool", "1.0.1", registry.bob, repository=own)

    run(work())


def test_the_names_of_a_site_on_ones_own_machine() -> None:
    config = Config(Path("/data"))
    local = attrs.evolve(config, server=attrs.evolve(config.server, public_url="http://localhost"))
    assert {"localhost", "127.0.0.1", "::1"} <= _hosts(local)
    away = attrs.evolve(
        config, server=attrs.evolve(config.server, public_url="https://wit.example:8443")
    )
    assert _hosts(away) == {"wit.example"}
