"""Searching packages, and lists of them: only what the caller may see, page by page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.packages.publishing_support import HOME, Registry, make_registry
from wit.access.actor import ANONYMOUS, Actor, Origin
from wit.db.port import Database
from wit.packages.names import parse_name
from wit.runtime import Runtime

SECRET = f"git+{HOME}/ada/secret.git"


@pytest.fixture
def registry(database: Database, runtime: Runtime, run: Any, tmp_path: Path) -> Registry:
    made: Registry = run(make_registry(database, runtime, tmp_path))
    return made


async def names(
    registry: Registry, text: str, actor: Actor = ANONYMOUS, limit: int = 20, offset: int = 0
) -> list[str]:
    found = await registry.packages.search.find(actor, text, limit, offset)
    return [row["full_name"] for row in found.rows]


def test_words_are_looked_for_everywhere(registry: Registry, run: Any) -> None:
    async def scene() -> None:
        await registry.release("red-ball", "1.0.0", description="a toy")
        await registry.release("ball", "1.0.0", description="plain_one 100%", keywords=["Round"])
        await registry.release("cube", "1.0.0", description="not a Ball")
        assert await names(registry, "ball") == ["ball", "red-ball", "cube"], "best first"
        assert await names(registry, "BALL toy") == ["red-ball"]
        assert await names(registry, "round") == ["ball"]
        assert await names(registry, "100%") == ["ball"]
        assert await names(registry, "plain_") == ["ball"]
        assert await names(registry, "n_ne") == [], "_ is no wildcard"
        assert await names(registry, "nothing") == []
        assert len(await names(registry, "")) == 3
        assert await names(registry, "ball", limit=1, offset=1) == ["red-ball"]

    run(scene())


def test_only_what_the_caller_may_see_is_found_and_counted(registry: Registry, run: Any) -> None:
    search, ada = registry.packages.search, registry.ada

    async def seen(actor: Actor) -> tuple[list[str], int]:
        found = await search.find(actor, "ball", 20, 0)
        return sorted(row["full_name"] for row in found.rows), found.total

    async def scene() -> None:
        await registry.release("ball", "1.0.0")
        await registry.release("ball-hush", "1.0.0", repository=SECRET)
        await registry.release("ball-inner", "1.0.0", access="restricted")
        everything = ["ball", "ball-hush", "ball-inner"]
        unscoped = attrs.evolve(ada, origin=Origin.TOKEN, scopes=frozenset(("repo:admin",)))
        scoped = attrs.evolve(ada, origin=Origin.TOKEN, scopes=frozenset(("packages:read",)))
        for actor in (ANONYMOUS, registry.bob, registry.root, unscoped):
            assert await seen(actor) == (["ball"], 1)
        for actor in (ada, scoped):
            assert await seen(actor) == (everything, 3)

        hush = await registry.packages.rights.see(ada, parse_name("ball-hush"))
        inner = await registry.packages.rights.see(ada, parse_name("ball-inner"))
        set_collaborator = registry.world.rights.set_collaborator
        await set_collaborator(hush["repo_id"], "bob", "read")
        assert await seen(registry.bob) == (["ball", "ball-hush"], 2)
        await set_collaborator(inner["repo_id"], "bob", "read")
        assert await seen(registry.bob) == (["ball", "ball-hush"], 2)
        await set_collaborator(inner["repo_id"], "bob", "write")
        assert await seen(registry.bob) == (everything, 3)
        await registry.world.rights.remove_collaborator(inner["repo_id"], "bob")
        await registry.packages.changes.add_maintainer(ada, parse_name("ball-inner"), "bob", "r")
        assert await seen(registry.bob) == (everything, 3)

    run(scene())


def test_what_npm_reads(registry: Registry, run: Any) -> None:
    async def scene() -> None:
        await registry.release("@ada/ball", "1.0.0", homepage="https://ball.example.org/")
        await registry.release("@ada/ball", "1.1.0", keywords=["round"])
        await registry.release("bare", "1.0.0", description="no @ada/ball")
        answer = await registry.packages.search.answer(ANONYMOUS, "ball", 1, 0)
        assert answer["total"] == 2
        (only,) = answer["objects"]
        package = only["package"]
        assert package.pop("date").endswith("Z")
        ada = {"username": "ada", "email": "ada@users.noreply.wit.example.org"}
        assert package == {
            "name": "@ada/ball",
            "scope": "@ada",
            "version": "1.1.0",
            "description": "for a test",
            "keywords": ["round"],
            "links": {
                "npm": f"{HOME}/api/packages/@ada/ball",
                "repository": f"{HOME}/Ada/tools",
            },
            "maintainers": [ada],
            "publisher": ada,
        }
        assert only["searchScore"] == only["score"]["final"] == 1
        second = await registry.packages.search.answer(ANONYMOUS, "ball", 1, 1)
        assert second["objects"][0]["package"]["scope"] == "unscoped"
        for size, offset in ((0, 0), (20, 5), (-1, -1), (10**9, 10**9)):
            assert (await registry.packages.search.answer(ANONYMOUS, "ball", size, offset))[
                "total"
            ] == 2

    run(scene())


def test_lists(registry: Registry, run: Any) -> None:
    catalog = registry.packages.catalog

    async def listed(actor: Actor, owner: str = "", scope: str = "", limit: int = 20) -> list[str]:
        return [row["full_name"] for row in await catalog.seen(actor, owner, scope, limit, 0)]

    async def scene() -> None:
        await registry.release("@ada/ball", "1.0.0")
        await registry.release("cube", "1.0.0")
        await registry.release("hush", "1.0.0", repository=SECRET)
        await registry.release("own", "1.0.0", registry.bob, repository=f"git+{HOME}/bob/own.git")
        assert await listed(ANONYMOUS) == ["own", "cube", "@ada/ball"], "the latest change first"
        assert await listed(registry.ada) == ["own", "hush", "cube", "@ada/ball"]
        assert await listed(registry.ada, limit=1) == ["own"]
        assert await listed(ANONYMOUS, scope="ada") == ["@ada/ball"]
        ada_id = registry.ada.user_id or ""
        assert await listed(registry.bob, owner=ada_id) == ["cube", "@ada/ball"]
        await registry.packages.changes.add_maintainer(registry.ada, parse_name("cube"), "bob", "r")
        mine = await catalog.own(registry.bob, 20, 0)
        assert [row["full_name"] for row in mine] == ["cube", "own"]

    run(scene())
