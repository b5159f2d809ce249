"""Tags, notices, people, stars and taking things away, on both databases."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from sqlalchemy import select, update

from tests.packages.publishing_support import HOME, Registry, make_registry
from wit.access.actor import ANONYMOUS
from wit.db.port import Database
from wit.db.tables import (
    events,
    package_dist_tags,
    package_maintainers,
    package_stars,
    package_versions,
    packages,
)
from wit.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized, WitError
from wit.packages import records
from wit.packages.names import parse_name
from wit.runtime import Runtime

TOOL = parse_name("tool")
OWN = f"{HOME}/bob/own"


@pytest.fixture
def registry(database: Database, runtime: Runtime, run: Any, tmp_path: Path) -> Registry:
    made: Registry = run(make_registry(database, runtime, tmp_path))
    return made


async def tags(db: Database) -> dict[str, str]:
    rows = await db.fetch_all(
        select(package_dist_tags.c.tag, package_versions.c.version).join_from(
            package_dist_tags,
            package_versions,
            package_versions.c.id == package_dist_tags.c.version_id,
        )
    )
    return {row["tag"]: row["version"] for row in rows}


async def kinds(db: Database) -> list[str]:
    rows = await db.fetch_all(
        select(events.c.type).where(events.c.type.like("package.%")).order_by(events.c.seq)
    )
    return [row["type"].removeprefix("package.") for row in rows]


async def fails(error: type[WitError], work: Any) -> str:
    with pytest.raises(error) as caught:
        await work
    return caught.value.message


def test_tags(run: Any, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        changes, db, ada = registry.packages.changes, registry.world.db, registry.ada
        await registry.release("tool", "1.0.0")
        await registry.release("tool", "2.0.0")
        before = await db.fetch_one(select(packages))
        rev = await changes.set_tag(ada, TOOL, "old", "1.0.0", "r")
        after = await db.fetch_one(select(packages))
        assert before is not None
        assert after is not None
        assert after["revision"] == before["revision"] + 1
        assert rev.startswith(f"{after['revision']}-")
        assert await tags(db) == {"latest": "2.0.0", "old": "1.0.0"}
        await changes.set_tag(ada, TOOL, "old", "2.0.0", "r")
        assert (await tags(db))["old"] == "2.0.0"
        await changes.remove_tag(ada, TOOL, "old", "r")
        await fails(NotFound, changes.remove_tag(ada, TOOL, "old", "r"))
        await fails(Invalid, changes.remove_tag(ada, TOOL, "latest", "r"))
        await fails(NotFound, changes.set_tag(ada, TOOL, "old", "3.0.0", "r"))
        await fails(Invalid, changes.set_tag(ada, TOOL, "1.0.0", "1.0.0", "r"))
        await fails(Invalid, changes.set_tag(ada, TOOL, "old", "latest", "r"))
        await fails(Forbidden, changes.set_tag(registry.bob, TOOL, "old", "1.0.0", "r"))
        await fails(Unauthorized, changes.set_tag(ANONYMOUS, TOOL, "old", "1.0.0", "r"))
        assert await tags(db) == {"latest": "2.0.0"}
        monkeypatch.setattr(records, "MAX_TAGS", 2)
        await changes.set_tag(ada, TOOL, "two", "1.0.0", "r")
        await fails(Invalid, changes.set_tag(ada, TOOL, "three", "1.0.0", "r"))
        await changes.set_tag(ada, TOOL, "two", "2.0.0", "r")
        assert await tags(db) == {"latest": "2.0.0", "two": "2.0.0"}

    run(work())


def test_documents_that_are_put_back(run: Any, registry: Registry) -> None:
    async def work() -> None:
        changes, db = registry.packages.changes, registry.world.db
        ada, bob = registry.ada, registry.bob
        await registry.release("tool", "1.0.0")
        await registry.release("tool", "1.1.0")

        async def notices() -> dict[str, Any]:
            rows = await db.fetch_all(select(package_versions))
            return {row["version"]: row["deprecated"] for row in rows}

        document = {"versions": {"1.0.0": {"deprecated": "use 2\0"}, "1.1.0": {}, "9.0.0": {}}}
        done = await registry.publish(ada, {"name": "tool", **document})
        assert done.versions == []
        assert await notices() == {"1.0.0": "use 2", "1.1.0": None}
        await fails(Forbidden, changes.update(bob, TOOL, document, "r"))
        document = {"versions": {"1.0.0": {"deprecated": ""}}}
        await changes.update(ada, TOOL, document, "r")
        assert await notices() == {"1.0.0": None, "1.1.0": None}
        assert (await kinds(db))[2:] == ["deprecated", "deprecated"]

        await changes.update(bob, TOOL, {"users": {"bob": True, "ada": True}}, "r")
        (star,) = await db.fetch_all(select(package_stars))
        assert star["user_id"] == bob.user_id
        await changes.update(bob, TOOL, {"users": {"ada": True}}, "r")
        assert await db.fetch_all(select(package_stars)) == []
        await fails(Unauthorized, changes.update(ANONYMOUS, TOOL, {"users": {}}, "r"))

        people = {"maintainers": [{"name": "ada"}, {"name": "bob", "email": "x"}]}
        await fails(Forbidden, changes.update(bob, TOOL, people, "r"))
        await fails(Conflict, changes.update(ada, TOOL, {**people, "_rev": "1-x"}, "r"))
        rev = await changes.update(ada, TOOL, people, "r")
        assert len(await db.fetch_all(select(package_maintainers))) == 2
        await registry.release("tool", "1.2.0", bob)
        await fails(Conflict, changes.update(ada, TOOL, {**people, "_rev": rev}, "r"))
        await fails(NotFound, changes.update(ada, TOOL, {"maintainers": [{"name": "no"}]}, "r"))
        await fails(Invalid, changes.update(ada, TOOL, {"maintainers": []}, "r"))
        await fails(Invalid, changes.update(ada, TOOL, {"maintainers": [{"name": "bob"}]}, "r"))
        await changes.update(ada, TOOL, {"maintainers": [{"name": "ada"}]}, "r")
        await fails(Forbidden, registry.release("tool", "1.3.0", bob))
        await fails(Invalid, changes.update(ada, TOOL, {"name": "tool"}, "r"))

    run(work())


def test_maintainers_one_by_one(run: Any, registry: Registry) -> None:
    async def work() -> None:
        changes, ada = registry.packages.changes, registry.ada
        await registry.release("tool", "1.0.0")
        await changes.add_maintainer(ada, TOOL, "Bob", "r")
        await changes.add_maintainer(ada, TOOL, "bob", "r")
        await registry.release("tool", "1.1.0", registry.bob)
        await fails(NotFound, changes.add_maintainer(ada, TOOL, "nobody", "r"))
        await fails(Forbidden, changes.add_maintainer(registry.bob, TOOL, "root", "r"))
        await fails(Invalid, changes.remove_maintainer(ada, TOOL, "ada", "r"))
        await changes.remove_maintainer(ada, TOOL, "bob", "r")
        await fails(Forbidden, registry.release("tool", "1.2.0", registry.bob))

    run(work())


def test_private_packages_are_not_there_for_others(run: Any, registry: Registry) -> None:
    async def work() -> None:
        changes, bob = registry.packages.changes, registry.bob
        await registry.release("tool", "1.0.0")
        await fails(Forbidden, changes.set_visibility(bob, TOOL, False, "r"))
        await changes.set_visibility(registry.ada, TOOL, False, "r")
        missing = await fails(NotFound, changes.star(bob, parse_name("absent"), True, "r"))
        hidden = await fails(NotFound, changes.star(bob, TOOL, True, "r"))
        assert hidden.replace("tool", "absent") == missing
        await fails(NotFound, registry.release("tool", "1.1.0", bob))
        await changes.set_visibility(registry.ada, TOOL, True, "r")
        await changes.star(bob, TOOL, True, "r")
        token = attrs.evolve(bob, scopes=frozenset(("packages:read",)))
        await fails(Forbidden, changes.star(token, TOOL, False, "r"))

    run(work())


def test_unpublishing_a_version(run: Any, registry: Registry) -> None:
    async def work() -> None:
        unpublish, db = registry.packages.unpublishing.unpublish_version, registry.world.db
        for version in ("1.0.0", "1.1.0", "2.0.0-rc.1"):
            await registry.release("tool", version)
        await fails(Forbidden, unpublish(registry.bob, TOOL, "1.0.0", "r"))
        await fails(NotFound, unpublish(registry.ada, TOOL, "3.0.0", "r"))
        await unpublish(registry.ada, TOOL, "2.0.0-rc.1", "r")
        assert await tags(db) == {"latest": "1.1.0"}
        await fails(Conflict, registry.release("tool", "2.0.0-rc.1"))
        await unpublish(registry.ada, TOOL, "1.0.0", "r")
        await unpublish(registry.ada, TOOL, "1.1.0", "r")
        assert await tags(db) == {}
        await registry.release("tool", "1.2.0")
        assert await tags(db) == {"latest": "1.2.0"}
        assert (await kinds(db))[3:] == ["unpublished"] * 3 + ["published"]

    run(work())


def test_after_three_days_it_takes_an_owner(run: Any, registry: Registry) -> None:
    async def work() -> None:
        unpublish, db = registry.packages.unpublishing.unpublish_version, registry.world.db
        await registry.release("tool", "1.0.0")
        await registry.release("tool", "1.1.0")
        await registry.packages.changes.add_maintainer(registry.ada, TOOL, "bob", "r")
        old = registry.world.runtime.now() - timedelta(hours=73)
        await db.execute(
            update(package_versions)
            .where(package_versions.c.version == "1.0.0")
            .values(published_at=old)
        )
        assert "72 hours" in await fails(Forbidden, unpublish(registry.bob, TOOL, "1.0.0", "r"))
        await unpublish(registry.bob, TOOL, "1.1.0", "r")
        await unpublish(registry.ada, TOOL, "1.0.0", "r")

    run(work())


def test_what_others_need_stays(run: Any, registry: Registry) -> None:
    async def work() -> None:
        parts, ada = registry.packages.unpublishing, registry.ada
        for version in ("1.0.0", "1.1.0", "2.0.0"):
            await registry.release("tool", version)

        async def needs(name: str, wanted: str, **more: Any) -> None:
            options = {"repository": OWN, "dependencies": {"tool": wanted}, **more}
            await registry.release(name, "1.0.0", registry.bob, **options)

        await needs("app", "^1.0.0")
        await needs("hidden", "2.0.0", access="restricted")
        await registry.release("mine", "1.0.0", dependencies={"tool": "latest"})
        await parts.unpublish_version(ada, TOOL, "1.0.0", "r")  # 1.1.0 will do
        said = await fails(Forbidden, parts.unpublish_version(ada, TOOL, "1.1.0", "r"))
        assert "app" in said
        said = await fails(Forbidden, parts.unpublish_version(ada, TOOL, "2.0.0", "r"))
        assert "1 package" in said
        assert "hidden" not in said
        said = await fails(Forbidden, parts.unpublish_all(ada, TOOL, "r"))
        assert "app, 1 other package here" in said
        ada_as_administrator = attrs.evolve(ada, is_admin=True)
        await parts.unpublish_version(ada_as_administrator, TOOL, "2.0.0", "r")
        await parts.unpublish_all(registry.bob, parse_name("app"), "r")
        await parts.unpublish_all(ada, TOOL, "r")

    run(work())


def test_unpublishing_all(run: Any, registry: Registry) -> None:
    async def work() -> None:
        unpublish, db = registry.packages.unpublishing.unpublish_all, registry.world.db
        await registry.release("tool", "1.0.0")
        await registry.packages.changes.add_maintainer(registry.ada, TOOL, "bob", "r")
        await fails(Forbidden, unpublish(registry.bob, TOOL, "r"))
        await unpublish(registry.ada, TOOL, "r")
        await fails(NotFound, unpublish(registry.ada, TOOL, "r"))
        assert await db.fetch_all(select(package_versions)) == []
        await fails(Conflict, registry.release("tool", "1.0.0"))
        await registry.release("tool", "1.0.1")
        assert await kinds(db) == ["published", "unpublished", "published"]

    run(work())


def test_blobs_without_a_version_are_swept_when_they_are_old(run: Any, registry: Registry) -> None:
    async def work() -> None:
        parts = registry.packages
        await registry.release("tool", "1.0.0")
        await registry.release("tool", "1.1.0")
        rows = await registry.world.db.fetch_all(select(package_versions))
        sha512 = {row["version"]: row["tarball_sha512"] for row in rows}
        await parts.unpublishing.unpublish_version(registry.ada, TOOL, "1.0.0", "r")
        left = await parts.blobs.writer()
        await left.write(b"x")
        await parts.sweeping.sweep()
        assert await parts.blobs.size(sha512["1.0.0"]) is not None
        later = attrs.evolve(
            registry.world.runtime, now=lambda: registry.world.runtime.now() + timedelta(days=2)
        )
        sweeping = type(parts.sweeping)(registry.world.db, later, parts.blobs)
        await sweeping.sweep()
        assert await parts.blobs.size(sha512["1.0.0"]) is None
        assert await parts.blobs.size(sha512["1.1.0"]) is not None
        assert not Path(left.path).exists()  # noqa: ASYNC240
        await left.discard()

    run(work())
