"""Who may do what with packages, and who may give them their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.packages.elsewhere import Elsewhere
from tests.packages.publishing_support import HOME, Registry, make_registry
from wit.access.actor import ANONYMOUS, Actor, Origin
from wit.access.gate import Gate
from wit.db.port import Database
from wit.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized, Unavailable
from wit.packages.names import parse_name
from wit.packages.rights import Act, Rights
from wit.runtime import Runtime

BALL = parse_name("ball")
SECRET = f"git+{HOME}/ada/secret.git"
REPO = {"owner_name": "Ada"}


@pytest.fixture
def registry(database: Database, runtime: Runtime, run: Any, tmp_path: Path) -> Registry:
    made: Registry = run(make_registry(database, runtime, tmp_path))
    return made


def token(actor: Actor, *scopes: str) -> Actor:
    return attrs.evolve(actor, origin=Origin.TOKEN, scopes=frozenset(scopes))


def test_new_names_must_not_exist_elsewhere(
    registry: Registry, database: Database, run: Any
) -> None:
    elsewhere = Elsewhere()
    rights = Rights(database, Gate(database), elsewhere)

    def claim(actor: Actor, text: str) -> None:
        run(rights.claim(actor, parse_name(text), REPO))

    with pytest.raises(Forbidden, match="another registry"):
        claim(registry.ada, "string")
    claim(registry.root, "string")
    claim(registry.ada, "strings")
    elsewhere.down = True
    with pytest.raises(Unavailable):
        claim(registry.ada, "strings")


def test_what_people_may_do(registry: Registry, run: Any) -> None:
    rights = registry.packages.rights

    async def most(actor: Actor, full_name: str = "ball") -> Act:
        row = await rights.see(actor, parse_name(full_name))
        return await rights.act(actor, row)

    async def scene() -> None:
        await registry.release("ball", "1.0.0")
        assert await most(registry.ada) is Act.OWN
        assert await most(registry.bob) is Act.SEE
        assert await most(ANONYMOUS) is Act.SEE
        assert await most(token(registry.ada, "packages:read", "repo:admin")) is Act.SEE
        with pytest.raises(Forbidden, match="lacks the scope packages:write"):
            await rights.own(token(registry.ada, "packages:read"), BALL)
        with pytest.raises(Forbidden, match="not yours to change"):
            await rights.publish(registry.bob, BALL)
        await registry.packages.changes.add_maintainer(registry.ada, BALL, "bob", "r")
        assert await most(registry.bob) is Act.MANAGE
        with pytest.raises(Forbidden, match="owners of Ada/tools"):
            await rights.own(registry.bob, BALL)
        await registry.release("hush", "1.0.0", repository=SECRET)
        row = await rights.publish(token(registry.ada, "packages:write"), parse_name("hush"))
        assert row["repo_private"]

    run(scene())


def test_names_belong_to_owners(registry: Registry, run: Any) -> None:
    rights = registry.packages.rights
    run(rights.claim(registry.ada, parse_name("@ada/ball"), REPO))
    with pytest.raises(Forbidden, match="call the package @ada/ball"):
        run(rights.claim(registry.ada, parse_name("@acme/ball"), REPO))
    run(rights.claim(registry.root, parse_name("@acme/ball"), REPO))
    with pytest.raises(Invalid):
        run(rights.claim(registry.root, parse_name("Ball"), REPO))
    run(registry.release("ball", "1.0.0"))
    with pytest.raises(Conflict, match="taken"):
        run(rights.claim(registry.root, BALL, REPO))


def test_whoever_is_not_signed_in_learns_nothing_by_changing(registry: Registry, run: Any) -> None:
    run(registry.release("hush", "1.0.0", repository=SECRET))
    for text in ("hush", "nope"):
        with pytest.raises(Unauthorized):
            run(registry.packages.rights.manage(ANONYMOUS, parse_name(text)))
        with pytest.raises(NotFound, match=f"there is no package {text} here"):
            run(registry.packages.rights.manage(registry.bob, parse_name(text)))
    for scopes in (("repo:admin",), ("packages:read",)):
        with pytest.raises(NotFound if "repo:admin" in scopes else Forbidden):
            run(registry.packages.rights.own(token(registry.ada, *scopes), parse_name("hush")))
