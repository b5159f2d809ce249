"""Reading packages: what is shown to whom, in which form, and what comes from elsewhere."""

from __future__ import annotations

import gzip
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import brotli
import pytest
from sqlalchemy import insert, select

from tests.packages.elsewhere import Elsewhere
from tests.packages.publishing_support import HOME, Registry, make_registry
from wit.access.actor import ANONYMOUS, Actor, Origin
from wit.access.gate import Gate
from wit.db.port import Database
from wit.db.tables import package_versions, packages
from wit.errors import Invalid, NotFound
from wit.packages.downloads import Downloads
from wit.packages.names import parse_name
from wit.packages.packument import Site
from wit.packages.reading import Reading
from wit.packages.rights import Rights
from wit.packages.served import Rendered, Tarball
from wit.runtime import Runtime
from wit.streams import BytesSink, copy

BALL = parse_name("ball")
SECRET = f"git+{HOME}/ada/secret.git"


@pytest.fixture
def registry(database: Database, runtime: Runtime, run: Any, tmp_path: Path) -> Registry:
    made: Registry = run(make_registry(database, runtime, tmp_path))
    return made


def token(actor: Actor, *scopes: str) -> Actor:
    return attrs.evolve(actor, origin=Origin.TOKEN, scopes=frozenset(scopes))


async def read(
    registry: Registry, actor: Actor = ANONYMOUS, full_name: str = "ball", **form: Any
) -> Rendered:
    form = {"abbreviated": False, "encoding": None, **form}
    return await registry.packages.reading.packument(actor, parse_name(full_name), **form)


async def document(
    registry: Registry, actor: Actor = ANONYMOUS, full_name: str = "ball", **form: Any
) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await read(registry, actor, full_name, **form)).body)
    return found


def test_both_forms_in_every_encoding(registry: Registry, run: Any) -> None:
    async def scene() -> None:
        await registry.release("ball", "1.0.0", dependencies={"string": "^1.0.0"}, license="MIT")
        published = await registry.release("ball", "1.1.0", bin={"ball": "index.js"})
        full = await document(registry)
        assert full["_rev"] == published.rev
        assert full["dist-tags"] == {"latest": "1.1.0"}
        assert [person["name"] for person in full["maintainers"]] == ["ada"]
        assert list(full["versions"]) == ["1.0.0", "1.1.0"]
        assert set(full["time"]) == {"created", "modified", "1.0.0", "1.1.0"}
        first = full["versions"]["1.0.0"]
        assert first["dependencies"] == {"string": "^1.0.0"}
        assert first["dist"]["tarball"] == f"{HOME}/api/packages/ball/-/ball-1.0.0.tgz"
        assert len(first["dist"]["shasum"]) == 40
        assert first["dist"]["integrity"].startswith("sha512-")

        short = await document(registry, abbreviated=True)
        assert set(short) == {"name", "modified", "dist-tags", "versions"}
        assert "description" not in short["versions"]["1.0.0"]
        assert short["versions"]["1.0.0"]["dist"] == first["dist"]

        seen = set()
        for abbreviated, plain in ((False, full), (True, short)):
            for encoding, unpack in ((None, bytes), ("gzip", gzip.decompress), (
                "br", brotli.decompress,
            )):  # fmt: skip
                made = await read(registry, abbreviated=abbreviated, encoding=encoding)
                assert made.encoding == encoding
                assert json.loads(unpack(made.body)) == plain
                seen.add(made.etag)
        assert len(seen) == 6, "each has a validator of its own"

    run(scene())


def test_it_is_made_once_and_again_after_every_change(registry: Registry, run: Any) -> None:
    changes = registry.packages.changes

    async def scene() -> None:
        await registry.release("ball", "1.0.0")
        first = await read(registry)
        assert await read(registry) is first
        etags = [first.etag]
        for change in (
            registry.release("ball", "2.0.0"),
            changes.set_tag(registry.ada, BALL, "old", "1.0.0", "r"),
            changes.remove_tag(registry.ada, BALL, "old", "r"),
            changes.deprecate_version(registry.ada, BALL, "1.0.0", "no more", "r"),
            changes.add_maintainer(registry.ada, BALL, "bob", "r"),
            changes.star(registry.bob, BALL, True, "r"),
            registry.packages.unpublishing.unpublish_version(registry.ada, BALL, "2.0.0", "r"),
        ):
            await change
            etags.append((await read(registry)).etag)
        assert len(set(etags)) == len(etags)
        last = await document(registry)
        assert list(last["versions"]) == ["1.0.0"]
        assert last["versions"]["1.0.0"]["deprecated"] == "no more"
        assert last["dist-tags"] == {"latest": "1.0.0"}
        assert [person["name"] for person in last["maintainers"]] == ["ada", "bob"]
        assert last["users"] == {"bob": True}

    run(scene())


def test_packages_of_a_private_repository(registry: Registry, run: Any) -> None:
    reading = registry.packages.reading

    async def scene() -> None:
        await registry.release("hush", "1.0.0", repository=SECRET)
        name = parse_name("hush")
        for actor in (ANONYMOUS, registry.bob, registry.root, token(registry.ada, "repo:read")):
            sentences = set()
            for wanted in (name, parse_name("nope")):
                with pytest.raises(NotFound) as caught:
                    await reading.packument(actor, wanted, abbreviated=True, encoding=None)
                sentences.add(caught.value.message.replace(wanted.full, "NAME"))
            assert len(sentences) == 1
            with pytest.raises(NotFound):
                await reading.tarball(actor, name, "hush-1.0.0.tgz")
            with pytest.raises(NotFound):
                await reading.version(actor, name, "1.0.0")
            with pytest.raises(NotFound):
                await reading.tags(actor, name)
            with pytest.raises(NotFound):
                await reading.attestations(actor, name, "1.0.0")
        for actor in (registry.ada, token(registry.ada, "packages:read")):
            assert not (await read(registry, actor, "hush")).public
            assert not (await reading.tarball(actor, name, "hush-1.0.0.tgz")).public
        await registry.packages.changes.add_maintainer(registry.ada, name, "bob", "r")
        assert await reading.tags(registry.bob, name) == {"latest": "1.0.0"}

    run(scene())


def test_a_private_package_of_a_public_repository(registry: Registry, run: Any) -> None:
    async def scene() -> None:
        await registry.release("@ada/inner", "1.0.0", access="restricted")
        row = await registry.packages.rights.see(registry.ada, parse_name("@ada/inner"))
        await registry.world.rights.set_collaborator(row["repo_id"], "bob", "read")
        for actor in (ANONYMOUS, registry.bob):
            with pytest.raises(NotFound):
                await read(registry, actor, "@ada/inner")
        await registry.world.rights.set_collaborator(row["repo_id"], "bob", "write")
        for actor in (registry.ada, registry.bob):
            assert not (await read(registry, actor, "@ada/inner")).public

    run(scene())


def test_tarballs(registry: Registry, run: Any) -> None:
    reading = registry.packages.reading

    async def whole(tarball: Tarball, start: int = 0, stop: int | None = None) -> bytes:
        sink = BytesSink()
        await copy(await tarball.open(start, stop), sink)
        return sink.value()

    async def scene() -> None:
        await registry.release("@ada/ball", "1.0.0-beta.1", tag="beta")
        name = parse_name("@ada/ball")
        tarball = await reading.tarball(ANONYMOUS, name, "ball-1.0.0-beta.1.tgz")
        data = await whole(tarball)
        assert tarball.public
        assert len(data) == tarball.size
        assert hashlib.sha512(data).hexdigest() == tarball.sha512
        dist = (await reading.version(ANONYMOUS, name, "beta"))["dist"]
        assert isinstance(dist, dict)
        assert dist["integrity"] == tarball.integrity
        assert dist["shasum"] == hashlib.sha1(data, usedforsecurity=False).hexdigest()
        assert await whole(tarball, 3, 10) == data[3:10]
        assert await whole(tarball, 5) == data[5:]
        with pytest.raises(NotFound):
            await reading.tarball(ANONYMOUS, name, "ball-1.0.0.tgz")
        for file in ("cube-1.0.0.tgz", "ball-1.0.0.zip", "ball-x.tgz", "../ball-1.0.0.tgz"):
            with pytest.raises(Invalid):
                await reading.tarball(ANONYMOUS, name, file)

    run(scene())


def test_versions_and_tags(registry: Registry, run: Any) -> None:
    reading = registry.packages.reading

    async def scene() -> None:
        await registry.release("ball", "1.0.0")
        await registry.release("ball", "2.0.0-rc.1", tag="next")
        assert await reading.tags(ANONYMOUS, BALL) == {"latest": "1.0.0", "next": "2.0.0-rc.1"}
        for wanted, version in (("1.0.0", "1.0.0"), ("next", "2.0.0-rc.1"), ("latest", "1.0.0")):
            assert (await reading.version(ANONYMOUS, BALL, wanted))["version"] == version
        for wanted in ("3.0.0", "nope", ""):
            with pytest.raises(NotFound):
                await reading.version(ANONYMOUS, BALL, wanted)
        with pytest.raises(NotFound, match="attested"):
            await reading.attestations(ANONYMOUS, BALL, "1.0.0")

    run(scene())


def test_a_package_of_very_many_versions(registry: Registry, database: Database, run: Any) -> None:
    """It is made in pieces, in the order of publishing, and kept: memory does not grow."""
    count = 2000

    async def scene() -> None:
        await registry.release("ball", "0.0.1")
        row = await database.fetch_one(select(packages.c.id))
        model = await database.fetch_one(select(package_versions))
        assert row is not None
        assert model is not None
        start = datetime(2030, 1, 1, tzinfo=UTC)
        await database.execute_many(
            insert(package_versions),
            [
                {
                    **model,
                    "id": f"{number:032d}",
                    "version": f"1.{number}.0",
                    "published_at": start + timedelta(minutes=number),
                }
                for number in range(count)
            ],
        )
        made = await read(registry, abbreviated=True, encoding="gzip")
        found = json.loads(gzip.decompress(made.body))
        assert list(found["versions"]) == ["0.0.1", *(f"1.{number}.0" for number in range(count))]
        kept = registry.packages.reading.kept_bytes
        assert kept == len(made.body)
        for _ in range(1000):
            assert await read(registry, abbreviated=True, encoding="gzip") is made
        assert registry.packages.reading.kept_bytes == kept

    run(scene())


def test_downloads_are_counted_together(registry: Registry, database: Database, run: Any) -> None:
    async def counts() -> tuple[int, dict[str, int]]:
        total = await database.fetch_value(select(packages.c.download_count))
        rows = await database.fetch_all(select(package_versions))
        return total, {row["version"]: row["download_count"] for row in rows}

    async def scene() -> None:
        await registry.release("ball", "1.0.0")
        await registry.release("ball", "2.0.0")
        before = (await read(registry)).etag
        for version in ("1.0.0", "2.0.0", "2.0.0"):
            await registry.packages.reading.tarball(ANONYMOUS, BALL, f"ball-{version}.tgz")
        assert await counts() == (0, {"1.0.0": 0, "2.0.0": 0})
        await registry.packages.downloads.flush()
        await registry.packages.downloads.flush()
        assert await counts() == (3, {"1.0.0": 1, "2.0.0": 2})
        assert (await read(registry)).etag == before

    run(scene())


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
def with_uplink(
    registry: Registry, elsewhere: Elsewhere, database: Database, runtime: Runtime
) -> Reading:
    return Reading(
        database,
        runtime,
        rights=Rights(database, Gate(database), elsewhere),
        blobs=registry.packages.blobs,
        upstream=elsewhere,
        downloads=Downloads(database, runtime),
        site=Site(HOME, "wit.example.org"),
        cache_bytes=1_000_000,
    )


def test_names_that_are_not_here_come_from_the_uplink(
    with_uplink: Reading, elsewhere: Elsewhere, run: Any
) -> None:
    name = parse_name("string")
    found = run(with_uplink.packument(ANONYMOUS, name, abbreviated=True, encoding=None))
    assert found.etag == '"elsewhere"'
    assert run(with_uplink.tags(ANONYMOUS, name)) == {"latest": "3.0.0"}
    assert run(with_uplink.version(ANONYMOUS, name, "3.0.0")) == {"version": "3.0.0"}
    assert run(with_uplink.attestations(ANONYMOUS, name, "3.0.0")) == {"attestations": []}
    with pytest.raises(NotFound, match="no such tarball"):
        run(with_uplink.tarball(ANONYMOUS, name, "string-3.0.0.tgz"))
    assert elsewhere.asked == ["string"] * 5


def test_names_that_are_here_never_come_from_the_uplink(
    registry: Registry, with_uplink: Reading, elsewhere: Elsewhere, run: Any
) -> None:
    """Nor those that the caller may not see: dependency confusion (attack 40)."""
    run(registry.release("string", "1.0.0", repository=SECRET))
    name = parse_name("string")
    for actor in (ANONYMOUS, registry.bob, token(registry.ada, "repo:read")):
        for asking in (
            with_uplink.packument(actor, name, abbreviated=False, encoding=None),
            with_uplink.version(actor, name, "latest"),
            with_uplink.tags(actor, name),
            with_uplink.tarball(actor, name, "string-3.0.0.tgz"),
            with_uplink.attestations(actor, name, "3.0.0"),
        ):
            with pytest.raises(NotFound, match="there is no package string here"):
                run(asking)
    assert run(with_uplink.tags(registry.ada, name)) == {"latest": "1.0.0"}
    assert elsewhere.asked == []
