"""The API called from within, with a Core over each engine; no door in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from wit import config_sources
from wit.access.actor import ANONYMOUS, Actor, Origin, oauth_scopes, token_scopes
from wit.core import Core
from wit.git.names import RepoName
from wit.operations.api import invoke, wit_api
from wit.operations.call import Call, Client
from wit.operations.registry import Registry
from wit.runtime import Runtime

REGISTRY = wit_api()
CLIENT = Client(address="192.0.2.7", user_agent="test/1.0", request_id="r1")
NOWHERE = "00000000-0000-4000-8000-000000000000"

POWERS: dict[str, dict[str, Any]] = {"user": {}, "admin": {"is_admin": True},
          "superadmin": {"is_admin": True, "is_superadmin": True}}  # fmt: skip


@attrs.frozen
class Api:
    core: Core
    run: Callable[..., Any]
    registry: Registry = REGISTRY

    def __call__(self, name: str, actor: Actor = ANONYMOUS, /, **values: Any) -> Any:
        """The answer, which is checked against the declaration."""
        operation = self.registry.get(name)
        assert operation is not None, name
        call = Call(self.core, actor, CLIENT)
        answer = self.run(invoke(operation, call, values))
        return operation.output_adapter.validate_python(answer, strict=True)

    def user(self, name: str, role: str = "user", shown: str | None = None) -> Actor:
        """A new user, signed in."""
        row = self.run(self.core.users.create(name, f"{name}@example.org", role=role, name=shown))
        return Actor(row["id"], name.lower(), Origin.SESSION, **POWERS[role])

    def repository(self, full_name: str, *, private: bool = False) -> str:
        """The id of a new repository."""
        owner, _, name = full_name.partition("/")
        row = self.run(self.core.repos.create(RepoName(owner, name), private=private))
        return str(row["id"])


def with_token(actor: Actor, *scopes: str) -> Actor:
    """The same person, by a personal access token."""
    granted = token_scopes(frozenset(scopes))
    powerful = "repo:admin" in scopes
    return attrs.evolve(
        actor,
        origin=Origin.TOKEN,
        scopes=granted,
        is_admin=actor.is_admin and powerful,
        is_superadmin=actor.is_superadmin and powerful,
    )


def with_app(actor: Actor, *scopes: str) -> Actor:
    """The same person, by an OAuth app."""
    granted = oauth_scopes(frozenset(scopes))
    return attrs.evolve(
        actor, origin=Origin.OAUTH, scopes=granted, is_admin=False, is_superadmin=False
    )


@pytest.fixture
def configure() -> dict[str, str]:
    """Environment of the Core; tests override it."""
    return {}


@pytest.fixture
def api(
    database_url: str, runtime: Runtime, run: Any, tmp_path: Path, configure: dict[str, str]
) -> Iterator[Api]:
    environ = {"DATABASE_URL": database_url, **configure}
    core = Core(config_sources.load(tmp_path / "data", {}, environ, write_default=False), runtime)
    run(core.open())
    yield Api(core, run)
    run(core.close())
